#include "test_base.h"

#include "base/opt.h"

static struct {
    bool quiet, verbose;
    const char *dir, *mode;
    struct strv env;
    uint64_t jobs, size, wait;
    double cpus;
} got;

static const struct opt table[] = {
    {.name = "quiet", .letter = 'q', .type = OPT_FLAG, .into = &got.quiet, .help = "Say less."},
    {.name = "verbose", .letter = 'v', .type = OPT_FLAG, .into = &got.verbose, .help = "Say more."},
    {.name = "dir", .letter = 'd', .type = OPT_STR, .into = &got.dir, .meta = "DIR", .help = "Where things are kept."},
    {.name = "env",
     .letter = 'e',
     .type = OPT_LIST,
     .into = &got.env,
     .meta = "NAME=VALUE",
     .help = "Set a variable; may be given again."},
    {.name = "jobs", .letter = 'j', .type = OPT_U64, .into = &got.jobs, .meta = "N", .help = "How many at once."},
    {.name = "size", .type = OPT_BYTES, .into = &got.size, .meta = "BYTES", .help = "A ceiling."},
    {.name = "wait", .type = OPT_DURATION, .into = &got.wait, .unit_ms = 1000, .meta = "TIME", .help = "How long."},
    {.name = "cpus", .type = OPT_NUMBER, .into = &got.cpus, .meta = "N", .help = "How many."},
    {.name = "mode",
     .letter = 'm',
     .type = OPT_CHOICE,
     .into = &got.mode,
     .choices = "fast|safe|fastest",
     .help = "How."},
    {.name = "debug-internals", .type = OPT_FLAG, .into = &got.verbose, .hidden = true},
    {0},
};

static struct strv rest;

static int reset(void **state)
{
    (void)state;
    strv_release(&got.env);
    strv_release(&rest);
    memset(&got, 0, sizeof got);
    return 0;
}

/* Parse words, the command's own name in front; NULL ends them. */
static int parse(struct err *err, bool stop_at_first, const char *const *words)
{
    char *argv[20] = {(char[]){"cmd"}};
    static char copies[20][64];
    int argc = 1;
    for (; words[argc - 1]; argc++) {
        snprintf(copies[argc], sizeof copies[argc], "%s", words[argc - 1]);
        argv[argc] = copies[argc];
    }
    return opt_parse(table, argc, argv, stop_at_first, &rest, err);
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void every_type_is_stored(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_works(parse(&err, false,
                       WORDS("--quiet", "--dir", "/x", "--env=A=1", "-e", "B=2", "-j4", "--size", "1.5GiB", "--wait=90",
                             "--cpus", "0.5", "--mode=safe")),
                 &err);
    assert_true(got.quiet);
    assert_false(got.verbose);
    assert_string_equal(got.dir, "/x");
    assert_int_equal(got.env.n, 2);
    assert_string_equal(got.env.v[0], "A=1");
    assert_string_equal(got.env.v[1], "B=2");
    assert_int_equal(got.jobs, 4);
    assert_int_equal(got.size, 1610612736);
    assert_int_equal(got.wait, 90000);
    assert_true(got.cpus == 0.5);
    assert_string_equal(got.mode, "safe");
    assert_int_equal(rest.n, 0);
}

static void letters_cluster_and_take_values(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_works(parse(&err, false, WORDS("-qvd/x", "-mfast", "-j", "7")), &err);
    assert_true(got.quiet && got.verbose);
    assert_string_equal(got.dir, "/x");
    assert_string_equal(got.mode, "fast");
    assert_int_equal(got.jobs, 7);
}

static void values_may_look_like_options(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_works(parse(&err, false, WORDS("--dir", "--quiet", "-e", "--", "--env=", "--cpus", "-1.5")), &err);
    assert_false(got.quiet);
    assert_string_equal(got.dir, "--quiet");
    assert_int_equal(got.env.n, 2);
    assert_string_equal(got.env.v[0], "--");
    assert_string_equal(got.env.v[1], "");
    assert_true(got.cpus == -1.5);
}

static void the_last_value_counts(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_works(parse(&err, false, WORDS("--dir", "a", "--dir=b", "-j1", "-j2")), &err);
    assert_string_equal(got.dir, "b");
    assert_int_equal(got.jobs, 2);
}

static void operands_may_stand_anywhere_and_dashes_end_the_options(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_works(parse(&err, false, WORDS("a", "-q", "-", "b", "--", "-v", "--", "--nope")), &err);
    assert_true(got.quiet);
    assert_false(got.verbose);
    static const char *const want[] = {"a", "-", "b", "-v", "--", "--nope"};
    assert_int_equal(rest.n, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_string_equal(rest.v[i], want[i]);
}

static void the_first_operand_can_end_the_options(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_works(parse(&err, true, WORDS("-q", "image", "ls", "-v", "--", "--nope")), &err);
    assert_true(got.quiet);
    assert_false(got.verbose);
    assert_int_equal(rest.n, 5);
    assert_string_equal(rest.v[3], "--");
    reset(NULL);
    assert_works(parse(&err, true, WORDS("--", "-q", "x")), &err);
    assert_false(got.quiet);
    assert_string_equal(rest.v[0], "-q");
}

static void wrong_usage_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *words[3];
        const char *text;
    } rows[] = {
        {{"--dir"}, "--dir needs a value (DIR)"},
        {{"-d"}, "--dir needs a value (DIR)"},
        {{"-qd"}, "--dir needs a value (DIR)"},
        {{"--quiet=yes"}, "--quiet takes no value"},
        {{"--quiet="}, "--quiet takes no value"},
        {{"-x"}, "unknown option -x"},
        {{"-qx"}, "unknown option -x"},
        {{"-\xc3\xa9"}, "unknown option -\xc3\xa9"},
        {{"--jobs", "-1"}, "--jobs: \"-1\" is not a whole number"},
        {{"--jobs=18446744073709551616"}, "too large"},
        {{"--jobs="}, "--jobs: a number is missing"},
        {{"--size", "lots"}, "--size: \"lots\" is not a size"},
        {{"--wait", "soon"}, "--wait: \"soon\" is not a duration"},
        {{"--mode", "slow"}, "--mode: \"slow\" is not one of fast|safe|fastest"},
        {{"--mode", "fast|safe"}, "is not one of"},
        {{"--mode="}, "is not one of"},
        {{"--cpus", "nan"}, "is not a number"},
        {{"--cpus", "inf"}, "is not a number"},
        {{"--cpus", "0x2"}, "is not a number"},
        {{"--cpus", " 1"}, "is not a number"},
        {{"--cpus", "1e999"}, "is not a number"},
        {{"--cpus="}, "is not a number"},
        {{"--=x"}, "unknown option --"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        assert_int_equal(parse(&err, false, rows[i].words), -1);
        assert_int_equal(err.kind, ERR_USAGE);
        assert_contains(err.text, rows[i].text);
    }
    assert_null(got.mode);
    assert_int_equal(got.jobs, 0);
}

static void a_misspelt_option_gets_a_suggestion(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_int_equal(parse(&err, false, WORDS("--quite=1")), -1);
    assert_string_equal(err.text, "unknown option --quite");
    assert_string_equal(err.hint, "did you mean --quiet?");
    err_clear(&err);
    assert_int_equal(parse(&err, false, WORDS("--debug-internal")), -1);
    assert_string_equal(err.hint, ""); /* hidden ones are not offered */
    err_clear(&err);
    assert_works(parse(&err, false, WORDS("--debug-internals")), &err);
}

static const struct opt_command command = {
    .name = "cache ls",
    .summary = "List what is kept",
    .args = "[PREFIX…]",
    .about = "List what is kept here, newest first.\n\nA second *paragraph* with some_name that is long enough to be "
             "wrapped once.",
    .examples = "berth cache ls\nberth cache ls s3://b/",
};

static void help_is_aligned_and_wrapped(void **state)
{
    (void)state;
    AUTO_BUF out;
    buf_init(&out, 10000);
    opt_help(&command, table, 50, &out);
    assert_contains(buf_str(&out),
                    "Usage: berth cache ls [OPTIONS] [PREFIX…]\n\nList what is kept here, newest first.\n\nA second");
    assert_contains(buf_str(&out), "\nOptions:\n  -q, --quiet           Say less.\n");
    assert_contains(buf_str(&out), "      --size BYTES      A ceiling.\n");
    assert_contains(buf_str(&out),
                    "  -e, --env NAME=VALUE  Set a variable; may be\n                        given again.\n");
    assert_contains(buf_str(&out), "  -m, --mode fast|safe|fastest\n                        How.\n");
    assert_contains(buf_str(&out), "\nExamples:\n  berth cache ls\n  berth cache ls s3://b/\n");
    assert_null(strstr(buf_str(&out), "debug-internals"));
    struct span left = buf_span(&out), line;
    while (span_cut(left, '\n', &line, &left))
        assert_in_range(line.n, 0, 52); /* "…" has three bytes */
}

static void a_command_without_options_or_story_has_short_help(void **state)
{
    (void)state;
    static const struct opt none[] = {{0}};
    static const struct opt_command bare = {.name = "version", .summary = "Show the version"};
    AUTO_BUF out;
    buf_init(&out, 1000);
    opt_help(&bare, none, 0, &out);
    assert_string_equal(buf_str(&out), "Usage: berth version\n\nShow the version\n");
}

static void the_man_page_marks_and_escapes(void **state)
{
    (void)state;
    AUTO_BUF out;
    buf_init(&out, 10000);
    opt_man(&command, table, &out);
    assert_contains(buf_str(&out), "## berth cache ls\n");
    assert_contains(buf_str(&out), "*-e*, *--env* _NAME=VALUE_\n\tSet a variable");
    assert_contains(buf_str(&out), "\\*paragraph\\* with some\\_name");
    assert_contains(buf_str(&out), "* [_OPTIONS_] \\[PREFIX…]\n");
    assert_contains(buf_str(&out), "```\nberth cache ls\n");
    assert_null(strstr(buf_str(&out), "debug-internals"));
}

static void choices_that_have_a_name_are_told_with_the_meaning(void **state)
{
    (void)state;
    static const char *when, *kind;
    static const struct opt choosy[] = {
        {.name = "colour",
         .type = OPT_CHOICE,
         .into = &when,
         .meta = "WHEN",
         .choices = "auto|always|never",
         .help = "When"},
        {.name = "kind", .type = OPT_CHOICE, .into = &kind, .meta = "KIND", .choices = "only", .help = "Which"},
        {0},
    };
    AUTO_BUF help, man;
    buf_init(&help, 10000);
    buf_init(&man, 10000);
    opt_help(&command, choosy, 0, &help);
    opt_man(&command, choosy, &man);
    assert_contains(buf_str(&help), "      --colour WHEN  When (auto, always or never)\n");
    assert_contains(buf_str(&help), "      --kind KIND    Which (only)\n");
    assert_contains(buf_str(&man), "*--colour* _WHEN_\n\tWhen (auto, always or never)\n");
}

static void completion_offers_what_fits(void **state)
{
    (void)state;
    static const struct {
        const char *word, *candidates;
    } rows[] = {
        {"--qu", "--quiet\n"},
        {"--mode=fa", "--mode=fast\n--mode=fastest\n"},
        {"--mo", "--mode\n"},
        {"--mode=x", ""},
        {"--dir=x", ""},
        {"x", ""},
        {"", ""},
        {"-q", ""},
        {"--debug", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_BUF out;
        buf_init(&out, 1000);
        opt_complete(table, span_of(rows[i].word), &out);
        assert_string_equal(buf_str(&out), rows[i].candidates);
    }
    AUTO_BUF all;
    buf_init(&all, 1000);
    opt_complete(table, SPAN_LIT("-"), &all);
    assert_string_equal(buf_str(&all), "--quiet\n--verbose\n--dir\n--env\n--jobs\n--size\n--wait\n--cpus\n--mode\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_type_is_stored, reset, reset),
        cmocka_unit_test_setup_teardown(letters_cluster_and_take_values, reset, reset),
        cmocka_unit_test_setup_teardown(values_may_look_like_options, reset, reset),
        cmocka_unit_test_setup_teardown(the_last_value_counts, reset, reset),
        cmocka_unit_test_setup_teardown(operands_may_stand_anywhere_and_dashes_end_the_options, reset, reset),
        cmocka_unit_test_setup_teardown(the_first_operand_can_end_the_options, reset, reset),
        cmocka_unit_test_setup_teardown(wrong_usage_is_named, reset, reset),
        cmocka_unit_test_setup_teardown(a_misspelt_option_gets_a_suggestion, reset, reset),
        cmocka_unit_test(help_is_aligned_and_wrapped),
        cmocka_unit_test(a_command_without_options_or_story_has_short_help),
        cmocka_unit_test(the_man_page_marks_and_escapes),
        cmocka_unit_test(choices_that_have_a_name_are_told_with_the_meaning),
        cmocka_unit_test(completion_offers_what_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
