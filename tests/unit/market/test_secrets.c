/* What jobs and markets bring along that is nobody's business: sealed, handed to whom it is for; over both databases.
 */
#include "market_fixture.h"

#include "base/enc.h"
#include "base/fs.h"

/* ---- Secrets */

#define SECRET_JOB                                                                                                     \
    "{\"version\":\"0.1\",\"type\":\"container\",\"ops\":[{\"type\":\"container/"                                      \
    "run\",\"id\":\"a\",\"args\":{\"image\":"                                                                          \
    "\"busybox\",\"cmd\":[\"true\"],\"resources\":[{\"type\":\"S3\",\"url\":\"https://s3.example/bucket\",\"target\":" \
    "\"/in\",\"IAM\":{\"ACCESS_KEY_ID\":\"AKIAVISIBLE\",\"SECRET_ACCESS_KEY\":\"" SECRET_TEXT                          \
    "\",\"REGION\":\"eu\"}},"                                                                                          \
    "{\"type\":\"HF\",\"repo\":\"a/b\",\"target\":\"/hf\",\"accessToken\":\"hf_" SECRET_TEXT "\"}]}}]}"

static struct posted post_secret(struct world *w)
{
    struct market_post p = MARKET_POST_OWN;
    const struct market_credentials credentials = {.access_key_id = "AKIA2", .secret_access_key = "2" SECRET_TEXT};
    p.credentials = &credentials;
    return post_with(w, SECRET_JOB, &p);
}

static bool says(const json_t *value, const char *text)
{
    char *all = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    bool found = strstr(all, text) != NULL;
    free(all);
    return found;
}

static void secrets_reach_the_node_that_claims_and_nobody_else(void **state)
{
    struct world *w = *state;
    struct posted p = post_secret(w);
    struct node n = node_named(w, "n1");
    json_t *out = NULL;
    OK(market_job_get(w->m, &w->manager, p.id, MARKET_WITH_HISTORY | MARKET_WITH_EXECUTIONS, &out, &err));
    assert_false(says(out, SECRET_TEXT));
    assert_false(says(out, "AKIA"));
    json_decref(out);
    OK(market_node_claim(w->m, &n.c, 1, NULL, &out, &err));
    const json_t *claim = json_array_get(json_object_get(out, "claims"), 0),
                 *variables = json_object_get(claim, "variables");
    assert_false(says(json_object_get(claim, "definition"), SECRET_TEXT));
    assert_string_equal(json_get_str(variables, "input0.secret_access_key"), SECRET_TEXT);
    assert_string_equal(json_get_str(variables, "input1.access_token"), "hf_" SECRET_TEXT);
    assert_string_equal(json_get_str(json_object_get(claim, "credentials"), "secret_access_key"), "2" SECRET_TEXT);

    /* Definition and variables make the job again. */
    const char *vars[16];
    char lines[16][256];
    size_t k = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)variables, name, value)
    {
        snprintf(lines[k], sizeof(lines[k]), "%s=%s", name, json_string_value(value));
        vars[k] = lines[k];
        k++;
    }
    vars[k] = NULL;
    char *definition = json_dumps(json_object_get(claim, "definition"), JSON_COMPACT);
    struct job *job = NULL;
    const struct spec_opts o = {.file = "claim", .vars = vars};
    OK(spec_parse(span_of(definition), &o, &job, &err));
    assert_string_equal(job->ops[0].inputs[0].s3.secret_access_key, SECRET_TEXT);
    job_free(job);
    free(definition);
    market_secrets_free(out);

    OK(market_job_secrets(w->m, &w->poster, p.id, &out, &err));
    assert_true(says(out, SECRET_TEXT));
    market_secrets_free(out);
}

/* All that is in the database, as a file or as dumped text. */
static bool database_says(struct world *w, const char *text)
{
    static const char *const suffixes[] = {"", "-wal"};
    bool found = false;
    if (db_test_url) {
        char command[2048];
        snprintf(command, sizeof(command),
                 "$(ls /usr/lib/postgresql/*/bin/pg_dump | tail -1) --inserts '%s' | grep -c -e '%s' >/dev/null",
                 w->f->url, text);
        return system(command) == 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char path[256];
        struct err err = ERR_INIT;
        struct buf b;
        snprintf(path, sizeof(path), "%s%s", w->f->path, suffixes[i]);
        buf_init(&b, 64 << 20);
        if (fs_read_file(AT_FDCWD, path, 64 << 20, &b, &err) == 0)
            found = found || memmem(b.p, b.n, text, strlen(text));
        else if (i == 0)
            fail_msg("%s", err.text);
        buf_release(&b);
    }
    return found;
}

static void no_secret_is_in_the_database_in_plain(void **state)
{
    struct world *w = *state;
    json_t *out = NULL;
    post_secret(w);
    const char required[] =
        "{\"required_images\":[\"busybox\"],\"required_remote_resources\":[{\"type\":\"S3\",\"url\":"
        "\"https://s3.example/b\",\"IAM\":{\"ACCESS_KEY_ID\":\"AKIA\",\"SECRET_ACCESS_KEY\":\"" SECRET_TEXT "\"}}]}";
    OK(market_required_put(w->m, &w->manager, MARKET, span_of(required), NULL, &err));
    const struct market_token_opts o = {.role = MARKET_POSTER, .name = "marker-in-plain"};
    OK(market_token_new(w->m, &w->manager, &o, &out, &err));
    assert_true(database_says(w, "marker-in-plain")); /* the search finds what is there */
    assert_false(database_says(w, SECRET_TEXT));
    assert_false(database_says(w, json_get_str(out, "token")));
    json_decref(out);
}

static void a_job_that_cannot_be_opened_stands_in_nobodys_way(void **state)
{
    struct world *w = *state;
    struct posted sealed = post_secret(w);
    struct posted open = post(w);
    struct node n = node_with(w, "n1", 4, "{}", NULL);
    struct seal_keys *others = NULL;
    struct market *m = NULL;
    struct claimed c;
    char path[128];
    snprintf(path, sizeof(path), "%s/other-keys", w->f->dir);
    OK(seal_keys_open(&others, path, true, &err));
    const struct market_opts o = {.db_url = w->f->url, .keys = others, .now_ms = fake_clock};
    OK(market_open(&m, &o, &err));
    assert_int_equal(claim_on(m, &n, &c), 1);
    assert_string_equal(c.job, open.id);
    assert_int_equal(claim_on(m, &n, NULL), 0);
    assert_int_equal(claim(w, &n, &c), 1);
    assert_string_equal(c.job, sealed.id);
    market_free(m);
    seal_keys_free(others);
}

static struct posted post_behind(struct world *w, int sealed)
{
    for (int i = 0; i < sealed; i++)
        post_secret(w);
    pass(1); /* or their ids alone would say who comes first */
    struct posted p = post(w);
    pass(1);
    return p;
}

/* More of them than one claim tries: it goes on where the last one ended. */
static void however_many_cannot_be_opened_the_market_goes_on(void **state)
{
    struct world *w = *state;
    struct seal_keys *others = NULL;
    struct market *m = NULL;
    struct claimed c;
    char path[128];
    struct posted first = post_behind(w, 10), last = post_behind(w, 60);
    struct node n = node_named(w, "n1");
    snprintf(path, sizeof(path), "%s/other-keys", w->f->dir);
    OK(seal_keys_open(&others, path, true, &err));
    const struct market_opts o = {.db_url = w->f->url, .keys = others, .now_ms = fake_clock};
    OK(market_open(&m, &o, &err));
    assert_int_equal(claim_on(m, &n, &c), 1);
    assert_string_equal(c.job, first.id);
    if (claim_on(m, &n, &c) == 0)
        assert_int_equal(claim_on(m, &n, &c), 1);
    assert_string_equal(c.job, last.id);
    assert_int_equal(claim(w, &n, NULL), 1);
    market_free(m);
    seal_keys_free(others);
}

static void what_is_left_is_tried_again_after_a_while(void **state)
{
    struct world *w = *state;
    struct posted sealed = post_secret(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    const char *broken = db_test_url ? "UPDATE jobs SET secrets = '\\x00' || secrets"
                                     : "UPDATE jobs SET secrets = CAST(x'00' || secrets AS BLOB)",
               *whole = db_test_url ? "UPDATE jobs SET secrets = substring(secrets from 2)"
                                    : "UPDATE jobs SET secrets = substr(secrets, 2)";
    must_exec(w->f->db, broken);
    assert_int_equal(claim(w, &n, NULL), 0);
    must_exec(w->f->db, whole);
    assert_int_equal(claim(w, &n, NULL), 0);
    pass(60000);
    beat(w, &n, "[]");
    assert_int_equal(claim(w, &n, &c), 1);
    assert_string_equal(c.job, sealed.id);
}

static void what_no_claim_could_read_is_refused_at_posting(void **state)
{
    struct world *w = *state;
    struct market_post p = MARKET_POST_OWN;
    AUTO_BUF text;
    buf_init(&text, 1 << 20);
    buf_adds(
        &text,
        "{\"Name\":\"long\",\"Type\":\"batch\",\"Constraints\":[{\"Key\":\"k\",\"Operator\":\"in\",\"Values\":[\"v\"");
    for (int i = 0; i < 2000; i++)
        buf_addf(&text, ",\"value-%d\"", i);
    buf_adds(
        &text,
        "]}],\"Tasks\":[{\"Name\":\"main\",\"Engine\":{\"Type\":\"docker\",\"Params\":{\"Image\":\"busybox\"}}}]}");
    struct job *job = parse_job(buf_str(&text));
    p.market = MARKET;
    p.job = job;
    REFUSES(ERR_INVALID, market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
    job_free(job);
    static const char *const wrong[] = {"{\"colour\":\"blue\"}", "{\"cpus memory_bytes\":1}", "{\"gpu_all\":1}",
                                        "{\"constraints\":[{\"key\":\"k\",\"op\":\"in notin\",\"values\":[]}]}"};
    p.job = NULL;
    p.confidential = true;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        AUTO_JSON requires = json_of(wrong[i]);
        p.requires = requires;
        REFUSES(ERR_INVALID, market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
    }
}

static void a_label_may_be_called_secret(void **state)
{
    struct world *w = *state;
    struct market_post p = MARKET_POST_OWN;
    json_t *out = NULL;
    struct posted id = post_with(
        w,
        "{\"Name\":\"train\",\"Type\":\"batch\",\"Labels\":{\"secret\":\"of success\"},\"Tasks\":[{\"Name\":\"main\","
        "\"Engine\":{\"Type\":\"docker\",\"Params\":{\"Image\":\"busybox\"}}}]}",
        &p);
    OK(market_job_secrets(w->m, &w->poster, id.id, &out, &err));
    assert_int_equal(json_object_size(json_object_get(out, "variables")), 0);
    const json_t *labels = json_object_get(json_object_get(json_object_get(out, "definition"), "job"), "labels");
    assert_string_equal(json_get_str(labels, "secret"), "of success");
    market_secrets_free(out);
}

static void required_resources_show_no_secrets_but_nodes_get_them(void **state)
{
    struct world *w = *state;
    struct node n = node_named(w, "n1");
    json_t *out = NULL;
    int64_t version;
    OK(market_required_get(w->m, MARKET, &out, &err));
    assert_int_equal(json_array_size(json_object_get(out, "required_images")), 0);
    json_decref(out);
    const char text[] =
        "{\"required_images\":[\"busybox\"],\"required_remote_resources\":[{\"type\":\"S3\",\"url\":"
        "\"https://s3.example/models\",\"files\":[\"a\"],\"IAM\":{\"ACCESS_KEY_ID\":\"AKIA\",\"SECRET_ACCESS_KEY\":"
        "\"" SECRET_TEXT "\",\"REGION\":\"r\"}},{\"type\":\"HF\",\"repo\":\"a/b\",\"accessToken\":\"" SECRET_TEXT
        "\"},{\"type\":\"Ollama\",\"model\":\"llama3\"}]}";
    REFUSES(ERR_DENIED, market_required_put(w->m, &w->poster, MARKET, span_of(text), NULL, &err));
    OK(market_required_put(w->m, &w->manager, MARKET, span_of(text), &out, &err));
    assert_false(says(out, SECRET_TEXT));
    assert_false(says(out, "AKIA"));
    const json_t *list = json_object_get(out, "required_remote_resources");
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(json_get_str(json_array_get(list, 0), "url"), "https://s3.example/models");
    /* The public form is itself a document that says the same. */
    char *again = json_dumps(out, JSON_COMPACT);
    OK(market_required_put(w->m, &w->manager, MARKET, span_of(again), NULL, &err));
    free(again);
    json_decref(out);
    OK(market_required_put(w->m, &w->manager, MARKET, span_of(text), NULL, &err));
    OK(market_required_get(w->m, MARKET, &out, &err));
    assert_false(says(out, SECRET_TEXT));
    json_decref(out);
    OK(market_node_required(w->m, &n.c, &out, &err));
    assert_true(json_get_i64(out, "required_version", &version) && version == 3);
    assert_false(says(json_object_get(out, "resources"), SECRET_TEXT));
    assert_string_equal(json_get_str(json_object_get(out, "variables"), "input0.secret_access_key"), SECRET_TEXT);
    market_secrets_free(out);
    bool news;
    OK(market_node_control(w->m, &n.c, NULL, 3, &news, NULL, &err));
    assert_false(news);
    OK(market_node_control(w->m, &n.c, NULL, 2, &news, NULL, &err));
    assert_true(news);
    REFUSES(ERR_DENIED, market_node_required(w->m, &w->poster, NULL, &err));
    OK(market_node_set(w->m, &w->manager, "n1", MARKET_REJECT, NULL, &err));
    REFUSES(ERR_DENIED, market_node_required(w->m, &n.c, NULL, &err));
}

/* ---- New keys */

static struct market *open_with(const struct world *w, const struct seal_keys *keys)
{
    struct market *m = NULL;
    const struct market_opts o = {.db_url = w->f->url, .keys = keys, .now_ms = fake_clock, .busy_timeout_ms = 60000};
    OK(market_open(&m, &o, &err));
    return m;
}

static struct market_reseal reseal_all(struct market *m)
{
    struct market_reseal pass = {0};
    for (bool more = true; more;)
        OK(market_reseal(m, &pass, &more, &err));
    return pass;
}

/* As an operator does it, once all is sealed anew. */
static void keep_the_first_key_only(const char *path)
{
    AUTO_BUF text;
    buf_init(&text, 4096);
    OK(fs_read_file(AT_FDCWD, path, 4096, &text, &err));
    struct span head, key, rest;
    span_cut(buf_span(&text), '\n', &head, &rest);
    span_cut(rest, '\n', &key, &rest);
    AUTO_FD fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0 && write(fd, text.p, text.n - rest.n) == (ssize_t)(text.n - rest.n));
}

static void under_a_new_key_all_is_sealed_anew_and_older_ones_can_go(void **state)
{
    struct world *w = *state;
    const char required[] = "{\"required_images\":[],\"required_remote_resources\":[{\"type\":\"HF\",\"repo\":\"a/b\","
                            "\"accessToken\":\"" SECRET_TEXT "\"}]}";
    enum { JOBS = 130 }; /* more than one batch */
    for (int i = 0; i < JOBS; i++)
        post_secret(w);
    OK(market_required_put(w->m, &w->manager, MARKET, span_of(required), NULL, &err));
    assert_int_equal(reseal_all(w->m).renewed, 0);

    struct seal_keys *both = NULL, *last = NULL;
    char path[128];
    snprintf(path, sizeof(path), "%s/keys", w->f->dir);
    OK(seal_keys_rotate(path, &err));
    OK(seal_keys_open(&both, path, false, &err));
    struct market *m = open_with(w, both);
    struct market_reseal pass = reseal_all(m);
    assert_int_equal(pass.renewed, 2 * JOBS + 1);
    assert_int_equal(pass.closed, 0);
    assert_int_equal(reseal_all(m).renewed, 0);
    market_free(m);
    pass = reseal_all(w->m); /* a server that has not heard of the key leaves things as they are */
    assert_int_equal(pass.renewed, 0);
    assert_int_equal(pass.closed, 2 * JOBS + 1);

    keep_the_first_key_only(path);
    OK(seal_keys_open(&last, path, false, &err));
    m = open_with(w, last);
    struct node n = node_named(w, "n1");
    const struct market_heartbeat ready = {.ready = true, .required_version = 1};
    json_t *out = NULL;
    OK(market_node_heartbeat(m, &n.c, &ready, NULL, &err));
    OK(market_node_claim(m, &n.c, 1, NULL, &out, &err));
    const json_t *claim = json_array_get(json_object_get(out, "claims"), 0);
    assert_string_equal(json_get_str(json_object_get(claim, "variables"), "input1.access_token"), "hf_" SECRET_TEXT);
    assert_string_equal(json_get_str(json_object_get(claim, "credentials"), "secret_access_key"), "2" SECRET_TEXT);
    market_secrets_free(out);
    OK(market_node_required(m, &n.c, &out, &err));
    assert_true(says(out, SECRET_TEXT));
    market_secrets_free(out);
    market_free(m);
    seal_keys_free(both);
    seal_keys_free(last);
}

/* ---- Confidential jobs */

static json_t *post_confidential(struct world *w)
{
    struct market_post p = MARKET_POST_OWN;
    json_t *out = NULL;
    p.market = MARKET;
    p.confidential = true;
    OK(market_job_post(w->m, &w->poster, &p, NULL, &out, &err));
    return out;
}

static void a_confidential_definition_goes_to_the_node_under_its_epoch(void **state)
{
    struct world *w = *state;
    json_t *out = post_confidential(w);
    char id[MARKET_ID_MAX];
    snprintf(id, sizeof(id), "%s", json_get_str(json_object_get(out, "job"), "id"));
    json_decref(out);
    struct node n = node_named(w, "n1");
    struct claimed c;
    assert_int_equal(claim(w, &n, &c), 1);
    REFUSES(ERR_NOTFOUND, market_node_definition(w->m, &n.c, &c.ref, NULL, &err));
    OK(market_job_executions(w->m, &w->poster, id, &out, &err));
    assert_non_null(json_get_str(json_array_get(json_object_get(out, "executions"), 0), "public_key"));
    json_decref(out);
    REFUSES(ERR_CHANGED, market_job_define(w->m, &w->poster, id, 0, c.ref.epoch + 1, "c2VhbGVk", &err));
    OK(market_job_define(w->m, &w->poster, id, 0, c.ref.epoch, "c2VhbGVk", &err));
    OK(market_node_definition(w->m, &n.c, &c.ref, &out, &err));
    assert_string_equal(json_get_str(out, "sealed"), "c2VhbGVk");
    json_decref(out);
    for (int i = 0; i < 6; i++) {
        pass(MARKET_DEFINITION_MS / 6);
        beat(w, &n, running_of(&c, "running"));
        tick(w);
    }
    assert_string_equal(state_of(w, id), "running");
    finish(w, &n, &c);
    assert_int_equal(count_of(w->f->db, "SELECT COUNT(*) FROM definitions"), 0);
}

static void a_definition_that_does_not_come_fails_the_job(void **state)
{
    struct world *w = *state;
    json_t *out = post_confidential(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    assert_int_equal(claim(w, &n, &c), 1);
    for (int i = 0; i < 6; i++) {
        pass(MARKET_DEFINITION_MS / 6);
        beat(w, &n, running_of(&c, "claimed"));
    }
    tick(w);
    assert_string_equal(state_of(w, c.job), "failed");
    json_decref(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MARKET_TEST(secrets_reach_the_node_that_claims_and_nobody_else),
        MARKET_TEST(no_secret_is_in_the_database_in_plain),
        MARKET_TEST(a_job_that_cannot_be_opened_stands_in_nobodys_way),
        MARKET_TEST(however_many_cannot_be_opened_the_market_goes_on),
        MARKET_TEST(what_is_left_is_tried_again_after_a_while),
        MARKET_TEST(what_no_claim_could_read_is_refused_at_posting),
        MARKET_TEST(a_label_may_be_called_secret),
        MARKET_TEST(required_resources_show_no_secrets_but_nodes_get_them),
        MARKET_TEST(under_a_new_key_all_is_sealed_anew_and_older_ones_can_go),
        MARKET_TEST(a_confidential_definition_goes_to_the_node_under_its_epoch),
        MARKET_TEST(a_definition_that_does_not_come_fails_the_job),
    };
    return RUN_OVER_BOTH(tests);
}
