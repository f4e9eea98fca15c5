/* Files made to hurt: each must end soon, with words. */
#include "test_spec.h"

#include "base/rng.h"

#define CANARY "CaNaRyX7"

/* Any outcome but a crash, silence, or a job that its record cannot carry. */
static enum err_kind outcome(struct span text, struct err *err)
{
    const struct spec_opts opts = {.file = "job"};
    struct job *job = NULL;
    int rc = spec_parse(text, &opts, &job, err);
    assert_int_equal(rc, job ? 0 : -1);
    assert_true(rc == 0 || err->text[0] != '\0');
    job_free(job);
    return err->kind;
}

static void add_times(struct buf *b, const char *s, size_t times)
{
    for (size_t i = 0; i < times; i++)
        buf_adds(b, s);
}

static void a_file_above_the_limit_is_refused_unread(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, (size_t)SPEC_FILE_MAX + 1);
    add_times(&b, " ", (size_t)SPEC_FILE_MAX + 1);
    assert_int_equal(outcome(buf_span(&b), &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "longer than 4 MiB"));
    err_clear(&err);
    /* Only its length is looked at: this one has no 100 MiB behind it. */
    assert_int_equal(outcome((struct span){buf_str(&b), (size_t)100 << 20}, &err), ERR_LIMIT);
}

static void a_template_cannot_grow_above_the_limit(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF b, var;
    buf_init(&b, TEXT_MAX);
    buf_init(&var, TEXT_MAX);
    buf_adds(&var, "x=");
    add_times(&var, "0123456789abcdef", 4096);
    add_times(&b, "{{.x}}", 1000);
    const char *const vars[] = {buf_str(&var), NULL};
    const struct spec_opts opts = {.file = "job", .vars = vars};
    struct job *job = NULL;
    assert_int_equal(spec_parse(buf_span(&b), &opts, &job, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
}

static void nesting_ten_thousand_deep_is_refused(void **state)
{
    (void)state;
    static const char *const openers[] = {"[", "{\"a\":", "{a: ", "- ", "{\"a\":["};
    for (size_t i = 0; i < ARRAY_LEN(openers); i++) {
        struct err err = ERR_INIT;
        AUTO_BUF b;
        buf_init(&b, TEXT_MAX);
        add_times(&b, openers[i], 10000);
        assert_int_equal(outcome(buf_span(&b), &err), ERR_INVALID);
    }
}

static void an_alias_bomb_is_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, TEXT_MAX);
    buf_adds(&b, "a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (char c = 'b'; c <= 'j'; c++) {
        buf_addf(&b, "%c: &%c [", c, c);
        for (int i = 0; i < 9; i++)
            buf_addf(&b, "%s*%c", i ? "," : "", c - 1);
        buf_adds(&b, "]\n");
    }
    buf_adds(&b, "ops: *j\n");
    assert_int_equal(outcome(buf_span(&b), &err), ERR_INVALID);
}

static void keys_given_twice_are_refused(void **state)
{
    (void)state;
    must_be_invalid("{'version': '0.1', 'version': '0.1'}", "job: line 1");
    must_be_invalid("ops: []\nops: []\n", "job: line 2");
    must_be_invalid(BACALHAU("", "        Image: other\n"), "job: line 8");
    must_be_invalid(BACALHAU("", "        image: other\n"), "given twice");
}

static void what_is_no_job_says_what_was_expected(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {"", "job: not a job: expected 'ops' (Nosana) or 'Tasks' (Bacalhau) at the root, found nothing"},
        {"# nothing\n", "found nothing"},
        {"[]", "found no object"},
        {"42", "found no object"},
        {"just words", "found no object"},
        {"{}", "found no keys"},
        {"{'a': 1}", "found 'a'"},
        {"a: 1\nb: 2\nc: 3\nd: 4\ne: 5\nf: 6\n", "found 'a', 'b', 'c', 'd', 'e', …"},
        {"APIVersion: v1beta1\nSpec: {}\n", "'ops' (Nosana) or 'Tasks' (Bacalhau)"},
        {"{'version': '0.1',}", "job: line 1, column"},
        {"{'version' '0.1'}", "job: line 1, column"},
        {"a: [1\nb: 2\n", "job: line"},
        {"{'ops': 1} x", "job: line 1"},
    };
    ALL_INVALID(faults);
}

static void yaml_in_braces_is_read(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse("{Type: batch, Tasks: [{Engine: {Type: docker, Params: {Image: img}}}]}");
    assert_string_equal(job->ops[0].image, "img");
    AUTO_JOB with_bom = must_parse("\xef\xbb\xbf" BACALHAU("", ""));
    assert_string_equal(with_bom->ops[0].image, "img");
}

static const char *const values[] = {"1", "1.5", "true", "null", "'x'", "[]", "{}", "[[]]", "{'a': {}}", "-1", "1e300"};

/* Which of these values a key takes; a bit each. */
enum {
    INT = 1,
    REAL = 2,
    TRUE = 4,
    NIL = 8,
    STR = 16,
    LIST = 32,
    OBJECT = 64,
    LISTS = 128,
    NESTED = 256,
    LESS = 512,
    HUGE_REAL = 1024
};

struct typed {
    const char *key;
    unsigned takes;
};

/* That a file with this value at this key is taken or, with its key named, refused. */
static void expect_typed(const struct typed *t, size_t value, const char *text)
{
    struct err err = ERR_INIT;
    AUTO_JOB job = try_parse(text, NULL, false, &err);
    bool takes = t->takes >> value & 1;
    if (takes != (job != NULL))
        fail_msg("%s: %s: %s", t->key, values[value], job ? "accepted" : err.text);
    if (!takes && !strstr(err.text, t->key))
        fail_msg("%s: %s is not named: %s", t->key, values[value], err.text);
}

static void wrong_types_anywhere_are_told(void **state)
{
    (void)state;
    static const struct typed keys[] = {{"image", STR},          {"cmd", STR | LIST},   {"entrypoint", STR | LIST},
                                        {"env", OBJECT},         {"work_dir", STR},     {"gpu", TRUE},
                                        {"private", TRUE},       {"volumes", LIST},     {"expose", INT | LIST},
                                        {"resources", LIST},     {"restart_policy", 0}, {"authentication", OBJECT},
                                        {"aliases", STR | LIST}, {"required_vram", INT}};
    for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
        for (size_t v = 0; v < ARRAY_LEN(values); v++) {
            char text[512];
            snprintf(text, sizeof text,
                     "{'version': '0.1', 'type': 'container', 'ops': [{'id': 'a', 'type': 'container/run', 'args': {%s"
                     "'%s': %s}}]}",
                     str_eq(keys[k].key, "image") ? "" : "'image': 'i', ", keys[k].key, values[v]);
            expect_typed(&keys[k], v, text);
        }
    }
}

static void wrong_types_at_the_root_are_told(void **state)
{
    (void)state;
    static const struct typed roots[] = {
        {"version", 0}, {"type", 0}, {"ops", 0}, {"meta", OBJECT | NESTED}, {"global", OBJECT}};
    for (size_t k = 0; k < ARRAY_LEN(roots); k++) {
        for (size_t v = 0; v < ARRAY_LEN(values); v++) {
            char text[512];
            const char *key = roots[k].key;
            snprintf(text, sizeof text, "{%s%s%s'%s': %s}", str_eq(key, "version") ? "" : "'version': '0.1', ",
                     str_eq(key, "type") ? "" : "'type': 'container', ",
                     str_eq(key, "ops") ? ""
                                        : "'ops': [{'id': 'a', 'type': 'container/run', 'args': {'image': 'i'}}], ",
                     key, values[v]);
            expect_typed(&roots[k], v, text);
        }
    }
}

static void mistakes_are_all_told_up_to_twenty(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_JOB few = try_parse(NOSANA(", 'a': 1, 'b': 2, 'gpu': 3"), NULL, false, &err);
    assert_null(few);
    assert_non_null(strstr(err.text, "ops[0].args.a: unknown key\n"));
    assert_non_null(strstr(err.text, "\njob: ops[0].args.b: unknown key\n"));
    assert_non_null(strstr(err.text, "\njob: ops[0].args.gpu: expected true or false"));
    err_clear(&err);
    AUTO_BUF b;
    buf_init(&b, TEXT_MAX);
    buf_adds(&b, "{");
    for (int i = 0; i < 50; i++)
        buf_addf(&b, "'k%d': 1, ", i);
    buf_adds(&b, "'ops': [{}]}");
    AUTO_JOB many = try_parse(buf_str(&b), NULL, false, &err);
    assert_null(many);
    unsigned lines = 1;
    for (const char *c = err.text; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 20 + 1);
    assert_non_null(strstr(err.text, " more"));
}

/* One op's `depends_on`, and the environment that all have. */
static void add_ops(struct buf *b, size_t ops, size_t depends, size_t env)
{
    buf_reset(b);
    buf_adds(b, "{'version': '0.1', 'type': 'container', 'global': {'image': 'i', 'env': {");
    for (size_t i = 0; i < env; i++)
        buf_addf(b, "%s'E%zu': ''", i ? ", " : "", i);
    buf_adds(b, "}}, 'ops': [{'id': 'first', 'type': 'container/run', 'args': {}, 'execution': {'depends_on': [");
    for (size_t i = 0; i < depends; i++)
        buf_addf(b, "%s'o1'", i ? ", " : "");
    buf_adds(b, "]}}");
    for (size_t i = 1; i < ops; i++)
        buf_addf(b, ", {'id': 'o%zu', 'type': 'container/run', 'args': {}}", i);
    buf_adds(b, "]}");
}

static void what_grows_with_the_number_of_ops_has_a_ceiling(void **state)
{
    (void)state;
    AUTO_BUF b;
    buf_init(&b, TEXT_MAX);
    add_ops(&b, 256, 256, 64);
    AUTO_JOB most = must_parse(buf_str(&b));
    assert_int_equal(most->ops[255].env.n, 64);
    assert_int_equal(most->ops[0].depends_on.n, 256);
    add_ops(&b, 256, 0, 65);
    must_fail(buf_str(&b), ERR_LIMIT, "more than 16384 environment variables in all ops");
    add_ops(&b, 2, 257, 0);
    must_fail(buf_str(&b), ERR_LIMIT, "ops[0].execution.depends_on: more than 256 ops");
}

static void no_number_of_warnings_hides_an_unknown_key(void **state)
{
    (void)state;
    AUTO_BUF b;
    buf_init(&b, TEXT_MAX);
    buf_adds(&b, "{'version': '0.1', 'type': 'container', 'ops': [{'id': 'a', 'type': 'container/run', 'results': {");
    for (int i = 0; i < 250; i++)
        buf_addf(&b, "%s'r%d': {'regex': 'x', 'logType': ['stdin']}", i ? ", " : "", i);
    buf_adds(&b, "}, 'args': {'image': 'i', 'comand': ['rm']}}]}");
    must_be_invalid(buf_str(&b), "ops[0].args.comand: unknown key");
}

static void hundreds_of_thousands_of_mistakes_end(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, TEXT_MAX);
    buf_adds(&b,
             "{\"version\": \"0.1\", \"type\": \"container\", \"ops\": [{\"id\": \"a\", \"type\": \"container/run\", "
             "\"args\": {\"image\": \"i\", \"env\": {");
    for (int i = 0; i < 150000; i++)
        buf_addf(&b, "%s\"k%d\": 1", i ? "," : "", i);
    buf_adds(&b, "}}}]}");
    assert_int_equal(outcome(buf_span(&b), &err), ERR_INVALID);
    err_clear(&err);
    buf_reset(&b);
    buf_adds(&b, "{\"ops\": [");
    add_times(&b, "0,", 1500000);
    buf_adds(&b, "0]}");
    assert_int_equal(outcome(buf_span(&b), &err), ERR_INVALID);
}

/* Each spelling that is told takes a look at every key: behind so many, only the first few may be. */
static void many_spellings_of_one_key_among_many_others_end(void **state)
{
    (void)state;
    static const char word[] = "environmentvariables";
    struct err err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, TEXT_MAX);
    buf_adds(&b, "{\"Type\": \"batch\", \"Tasks\": [{\"Engine\": {\"Type\": \"docker\", \"Params\": {\"Image\": \"i\"");
    for (int i = 0; i < 150000; i++)
        buf_addf(&b, ",\"%x\":0", i);
    for (unsigned i = 0; i < 70000; i++) {
        buf_adds(&b, ",\"");
        for (size_t k = 0; word[k]; k++)
            buf_addc(&b, (char)(i >> k & 1 ? word[k] - 'a' + 'A' : word[k]));
        buf_adds(&b, "\":0");
    }
    buf_adds(&b, "}}}]}");
    assert_int_equal(outcome(buf_span(&b), &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "given twice, also as 'environmentvariables'"));
    assert_non_null(strstr(err.text, " more"));
}

static void random_bytes_never_crash(void **state)
{
    (void)state;
    struct rng rng = {.state = 20240607};
    static const char seed[] = BACALHAU("Name: n\n", "    Env: {A: b}\n");
    for (int round = 0; round < 3000; round++) {
        char text[sizeof seed];
        struct err err = ERR_INIT;
        memcpy(text, seed, sizeof seed);
        uint64_t changes = round % 3 ? 1 + rng_below(&rng, 4) : sizeof seed;
        for (uint64_t i = 0; i < changes; i++)
            text[rng_below(&rng, sizeof seed - 1)] = (char)rng_below(&rng, 256);
        outcome((struct span){text, sizeof seed - 1}, &err);
    }
}

/* F34: what stands in a secret's place is in no error, whatever is wrong with it or around it. */
static void no_secret_is_in_an_error_or_a_warning(void **state)
{
    (void)state;
    static const char *const texts[] = {
        NOSANA_RESOURCE("{'type': 'S3', 'url': 'x', 'target': 'y', 'IAM': {'ACCESS_KEY_ID': '" CANARY "'}}"),
        NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://a:" CANARY "@h/x', 'target': '/y'}"),
        NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x?sig=" CANARY " ', 'target': '/y'}"),
        NOSANA_RESOURCE("{'type': 'HF', 'repo': 'x', 'target': 'y', 'accessToken': '" CANARY "'}"),
        NOSANA(", 'env': {'TOKEN': '" CANARY "'}, 'gpu': 1"),
        NOSANA(", 'authentication': {'docker': {'password': '" CANARY "'}}"),
        "{'version': '0.1', 'ops': '" CANARY "',}",
        "{'IAM': '" CANARY "' 'x'}",
        BACALHAU("", "    Env: {A: '" CANARY "\n"),
        BACALHAU("", "        EnvironmentVariables: [" CANARY "]\n"),
        BACALHAU("", "    InputSources: [{Target: x, Source: {Type: s3PreSigned, Params: {PreSignedURL: 'ftp://" CANARY
                     "'}}}]\n"),
        BACALHAU("", "    InputSources: [{Target: x, Source: {Type: huggingface, Params: {Repo: o, AccessToken: " CANARY
                     "}}}]\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct err err = ERR_INIT;
        AUTO_JOB job = try_parse(texts[i], NULL, true, &err);
        if (job || strstr(err.text, CANARY) || strstr(err.hint, CANARY))
            fail_msg("%s: %s", texts[i], err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_above_the_limit_is_refused_unread),
        cmocka_unit_test(a_template_cannot_grow_above_the_limit),
        cmocka_unit_test(nesting_ten_thousand_deep_is_refused),
        cmocka_unit_test(an_alias_bomb_is_refused),
        cmocka_unit_test(keys_given_twice_are_refused),
        cmocka_unit_test(what_is_no_job_says_what_was_expected),
        cmocka_unit_test(yaml_in_braces_is_read),
        cmocka_unit_test(wrong_types_anywhere_are_told),
        cmocka_unit_test(wrong_types_at_the_root_are_told),
        cmocka_unit_test(mistakes_are_all_told_up_to_twenty),
        cmocka_unit_test(what_grows_with_the_number_of_ops_has_a_ceiling),
        cmocka_unit_test(no_number_of_warnings_hides_an_unknown_key),
        cmocka_unit_test(hundreds_of_thousands_of_mistakes_end),
        cmocka_unit_test(many_spellings_of_one_key_among_many_others_end),
        cmocka_unit_test(random_bytes_never_crash),
        cmocka_unit_test(no_secret_is_in_an_error_or_a_warning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
