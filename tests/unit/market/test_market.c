/* Who may see and do what, logs, markets and nodes; over both databases. */
#include "market_fixture.h"

#include "base/enc.h"
#include "base/fs.h"

#define BLOB "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* ---- Tokens */

static void only_the_first_operator_token_is_free(void **state)
{
    struct world *w = *state;
    char token[SEAL_TOKEN_MAX];
    struct err err = ERR_INIT;
    assert_int_equal(market_token_first(w->m, token, &err), 0);
    assert_int_equal(w->manager.role, MARKET_OPERATOR);
}

static void a_revoked_or_expired_token_opens_nothing(void **state)
{
    struct world *w = *state;
    struct market_caller c;
    json_t *out = NULL;
    const struct market_token_opts o = {.role = MARKET_POSTER, .ttl_ms = 1000};
    OK(market_token_new(w->m, &w->manager, &o, &out, &err));
    struct span token = span_of(json_get_str(out, "token"));
    OK(market_token_auth(w->m, token, &c, &err));
    pass(999);
    OK(market_token_check(w->m, &c, &err));
    pass(1);
    REFUSES(ERR_DENIED, market_token_check(w->m, &c, &err));
    REFUSES(ERR_DENIED, market_token_auth(w->m, token, &c, &err));
    json_decref(out);
    const struct market_token_opts forever = {.role = MARKET_POSTER};
    OK(market_token_new(w->m, &w->manager, &forever, &out, &err));
    token = span_of(json_get_str(out, "token"));
    OK(market_token_revoke(w->m, &w->manager, json_get_str(out, "id"), &err));
    REFUSES(ERR_DENIED, market_token_auth(w->m, token, &c, &err));
    REFUSES(ERR_DENIED, market_token_auth(w->m, SPAN_LIT("berth_nothing"), &c, &err));
    REFUSES(ERR_DENIED, market_token_new(w->m, &w->poster, &forever, NULL, &err));
    REFUSES(ERR_NOTFOUND, market_token_revoke(w->m, &w->manager, "t-none", &err));
    json_decref(out);
}

static void a_token_says_for_which_markets_it_is(void **state)
{
    struct world *w = *state;
    static const struct market_token_opts wrong[] = {
        {.role = MARKET_NODE}, {.role = MARKET_JOIN}, {.role = MARKET_OPERATOR, .market = MARKET}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        REFUSES(ERR_INVALID, market_token_new(w->m, &w->manager, &wrong[i], NULL, &err));
    assert_string_equal(caller_of(w, MARKET_POSTER, MARKET).market, MARKET);
    assert_string_equal(caller_of(w, MARKET_OPERATOR, NULL).market, "");
}

static void lists_come_in_pages(void **state)
{
    struct world *w = *state;
    char next[128] = "";
    size_t seen = 0;
    for (int i = 0; i < 5; i++) {
        caller_of(w, MARKET_POSTER, NULL);
        post(w);
        pass(1);
    }
    do {
        json_t *out = NULL;
        const struct market_page page = {.limit = 2, .next_token = next};
        OK(market_token_list(w->m, &w->manager, &page, &out, &err));
        seen += json_array_size(json_object_get(out, "tokens"));
        snprintf(next, sizeof(next), "%s", json_get_str(out, "next_token"));
        json_decref(out);
    } while (next[0]);
    assert_int_equal(seen, 8);
    for (unsigned order = MARKET_BY_CREATED; order <= MARKET_BY_STATE; order++) {
        for (int reverse = 0; reverse < 2; reverse++) {
            int64_t before = reverse ? 0 : INT64_MAX, at;
            seen = 0;
            do {
                json_t *out = NULL, *job;
                size_t i;
                const struct market_job_query q = {
                    .order = (enum market_order)order, .reverse = reverse, .page = {.limit = 2, .next_token = next}};
                OK(market_job_list(w->m, &w->poster, &q, &out, &err));
                json_array_foreach(json_object_get(out, "jobs"), i, job)
                {
                    assert_true(json_get_i64(job, "created_ms", &at));
                    if (order == MARKET_BY_CREATED)
                        assert_true(reverse ? at > before : at < before);
                    before = at;
                    seen++;
                }
                snprintf(next, sizeof(next), "%s", json_get_str(out, "next_token"));
                json_decref(out);
            } while (next[0]);
            assert_int_equal(seen, 5);
        }
    }
    const struct market_page bad = {.next_token = "nonsense"};
    REFUSES(ERR_INVALID, market_token_list(w->m, &w->manager, &bad, NULL, &err));
}

/* ---- Ownership */

static size_t listed(struct world *w, const struct market_caller *c, const struct market_job_query *q)
{
    json_t *out = NULL;
    OK(market_job_list(w->m, c, q, &out, &err));
    size_t n = json_array_size(json_object_get(out, "jobs"));
    json_decref(out);
    return n;
}

/* As many jobs as there are, in pages of bounded size. */
static size_t read_all_pages(struct world *w, uint32_t limit, size_t *pages, size_t *largest)
{
    char token[128] = "";
    size_t jobs = 0;
    *pages = *largest = 0;
    do {
        json_t *out = NULL;
        const struct market_job_query q = {.page = {.limit = limit, .next_token = token}};
        OK(market_job_list(w->m, &w->manager, &q, &out, &err));
        size_t n = json_array_size(json_object_get(out, "jobs")), bytes = json_dumpb(out, NULL, 0, JSON_COMPACT);
        assert_true(n > 0);
        snprintf(token, sizeof(token), "%s", json_get_str(out, "next_token"));
        jobs += n;
        *largest = bytes > *largest ? bytes : *largest;
        (*pages)++;
        json_decref(out);
    } while (token[0]);
    return jobs;
}

#define JOB_SHOWN_BYTES (3 << 20)
#define LARGE_JOBS      7

/* Those of an older server show whatever their posters put into them. */
static void a_page_of_large_jobs_ends_early_and_none_is_passed_over(void **state)
{
    struct world *w = *state;
    struct buf sql;
    size_t pages, largest;
    for (int i = 0; i < LARGE_JOBS; i++)
        post(w);
    buf_init(&sql, 2 * JOB_SHOWN_BYTES);
    buf_adds(&sql, "UPDATE jobs SET shown = '{\"images\":[],\"publish\":null,\"inputs\":[\"");
    for (int i = 0; i < JOB_SHOWN_BYTES; i++)
        buf_adds(&sql, "x");
    buf_adds(&sql, "\"]}'");
    must_exec(w->f->db, buf_str(&sql));
    buf_release(&sql);
    assert_int_equal(read_all_pages(w, 500, &pages, &largest), LARGE_JOBS);
    assert_int_equal(pages, 3); /* three of them on each */
    assert_true(largest < 4 * JOB_SHOWN_BYTES);
    assert_int_equal(read_all_pages(w, 1, &pages, &largest), LARGE_JOBS);
    assert_int_equal(pages, LARGE_JOBS);
}

static void of_a_job_with_many_inputs_the_first_are_shown_and_the_others_counted(void **state)
{
    struct world *w = *state;
    struct market_post p = MARKET_POST_OWN;
    struct buf text;
    buf_init(&text, 8 << 20);
    buf_adds(&text,
             "{\"Name\":\"many\",\"Type\":\"batch\",\"Tasks\":[{\"Name\":\"main\",\"Engine\":{\"Type\":\"docker\","
             "\"Params\":{\"Image\":\"busybox\"}},\"InputSources\":[");
    for (int i = 0; i < 480; i++) {
        buf_addf(&text, "%s{\"Source\":{\"Type\":\"urlDownload\",\"Params\":{\"URL\":\"https://example.com/",
                 i ? "," : "");
        for (int k = 0; k < 1000; k++)
            buf_adds(&text, "long");
        buf_addf(&text, "\"}},\"Target\":\"/in/%d\"}", i);
    }
    buf_adds(&text, "]}]}");
    struct posted job = post_with(w, buf_str(&text), &p);
    buf_release(&text);
    json_t *out = NULL;
    OK(market_job_get(w->m, &w->poster, job.id, 0, &out, &err));
    const json_t *inputs = json_object_get(json_object_get(out, "job"), "inputs");
    size_t n = json_array_size(inputs);
    char last[64];
    snprintf(last, sizeof(last), "… and %zu more", 480 - (n - 1));
    assert_true(n > 2);
    assert_string_equal(json_string_value(json_array_get(inputs, n - 1)), last);
    assert_true(json_dumpb(out, NULL, 0, JSON_COMPACT) < 40000);
    json_decref(out);
}

static void a_poster_sees_its_own_jobs_only(void **state)
{
    struct world *w = *state;
    struct posted p = post(w);
    struct node n = node_named(w, "n1");
    const struct market_job_query all = {0};
    OK(market_job_get(w->m, &w->poster, p.id, MARKET_WITH_HISTORY | MARKET_WITH_EXECUTIONS, NULL, &err));
    OK(market_job_get(w->m, &w->manager, p.id, 0, NULL, &err));
    const struct market_caller *const others[] = {&w->stranger, &n.c};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        const struct market_caller *c = others[i];
        REFUSES(ERR_NOTFOUND, market_job_get(w->m, c, p.id, 0, NULL, &err));
        REFUSES(ERR_NOTFOUND, market_job_history(w->m, c, p.id, NULL, &err));
        REFUSES(ERR_NOTFOUND, market_job_executions(w->m, c, p.id, NULL, &err));
        REFUSES(ERR_NOTFOUND, market_job_results(w->m, c, p.id, NULL, &err));
        REFUSES(ERR_NOTFOUND, market_job_logs(w->m, c, p.id, 0, NULL, 0, NULL, &err));
        REFUSES(ERR_NOTFOUND, market_job_stop(w->m, c, p.id, NULL, NULL, &err));
        REFUSES(ERR_NOTFOUND, market_job_define(w->m, c, p.id, 0, 1, "AAAA", &err));
        REFUSES(ERR_NOTFOUND, market_job_secrets(w->m, c, p.id, NULL, &err));
    }
    REFUSES(ERR_NOTFOUND, market_job_secrets(w->m, &w->manager, p.id, NULL, &err)); /* not even an operator */
    assert_int_equal(listed(w, &w->poster, &all), 1);
    assert_int_equal(listed(w, &w->stranger, &all), 0);
    assert_int_equal(listed(w, &w->manager, &all), 1);
    assert_string_equal(state_of(w, p.id), "queued");
}

static void a_node_writes_only_what_it_holds(void **state)
{
    struct world *w = *state;
    post(w);
    struct node holder = node_named(w, "holder"), other = node_named(w, "other");
    struct claimed c;
    uint64_t next;
    assert_int_equal(claim(w, &holder, &c), 1);
    AUTO_JSON none = json_array();
    REFUSES(ERR_CHANGED, market_node_logs(w->m, &other.c, &c.ref, 1, 0, SPAN_LIT("x"), &next, &err));
    REFUSES(ERR_CHANGED, market_node_uploads(w->m, &other.c, &c.ref, NULL, NULL, &err));
    REFUSES(ERR_CHANGED, market_node_commit(w->m, &other.c, &c.ref, NULL, &err));
    REFUSES(ERR_CHANGED, market_node_locate(w->m, &other.c, &c.ref, none, NULL, &err));
    REFUSES(ERR_CHANGED, market_node_definition(w->m, &other.c, &c.ref, NULL, &err));
    REFUSES(ERR_CHANGED, finish_as(w, &other, &c, "succeeded", false, &err));
    REFUSES(ERR_DENIED, market_node_claim(w->m, &w->poster, 1, NULL, NULL, &err));
    REFUSES(ERR_NOTFOUND, market_check_node(&other.c, "holder", &err));
    OK(market_check_node(&holder.c, "holder", &err));
    finish(w, &holder, &c);
}

static void a_token_for_one_market_posts_to_no_other(void **state)
{
    struct world *w = *state;
    const struct market_settings s = MARKET_SETTINGS_KEEP;
    OK(market_put(w->m, &w->manager, "other", &s, NULL, NULL, &err));
    struct market_caller c = caller_of(w, MARKET_POSTER, "other");
    struct job *job = parse_job(JOB_TEXT);
    struct market_post p = MARKET_POST_OWN;
    p.job = job;
    p.market = MARKET;
    REFUSES(ERR_DENIED, market_job_post(w->m, &c, &p, NULL, NULL, &err));
    p.market = "other";
    OK(market_job_post(w->m, &c, &p, NULL, NULL, &err));
    p.market = "nowhere";
    REFUSES(ERR_NOTFOUND, market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
    job_free(job);
}

/* ---- Posting */

static void revoke_all_with_the_next_holds(struct world *w)
{
    must_exec(w->f->db, db_test_url ? "CREATE FUNCTION revoke_all() RETURNS trigger AS"
                                      " $$BEGIN UPDATE tokens SET revoked = 1; RETURN NULL; END$$ LANGUAGE plpgsql;"
                                      "CREATE TRIGGER t AFTER INSERT ON node_holds EXECUTE FUNCTION revoke_all()"
                                    : "CREATE TRIGGER t AFTER INSERT ON node_holds"
                                      " BEGIN UPDATE tokens SET revoked = 1; END");
}

static void a_token_that_is_revoked_gets_no_claim_however_late_that_comes(void **state)
{
    struct world *w = *state;
    struct node n = node_named(w, "n1"), other = node_named(w, "n2");
    AUTO_JSON holds = json_of("[{\"key\":\"" BLOB "\",\"bytes\":1}]");
    json_t *out = NULL;
    post(w);
    OK(market_token_check(w->m, &n.c, &err));
    OK(market_token_revoke(w->m, &w->manager, n.c.token, &err));
    REFUSES(ERR_DENIED, market_token_check(w->m, &n.c, &err));
    REFUSES(ERR_DENIED, market_node_claim(w->m, &n.c, 1, NULL, NULL, &err));

    revoke_all_with_the_next_holds(w); /* after the claim has looked at its token, before it takes */
    OK(market_node_claim(w->m, &other.c, 1, holds, &out, &err));
    assert_int_equal(json_array_size(json_object_get(out, "claims")), 0);
    market_secrets_free(out);
    REFUSES(ERR_DENIED, market_node_claim(w->m, &other.c, 1, NULL, NULL, &err));
}

static void the_same_key_and_body_give_the_same_job_again(void **state)
{
    struct world *w = *state;
    struct market_post p = MARKET_POST_OWN;
    p.idempotency_key = "key-1";
    p.body = SPAN_LIT("{\"a\":1}");
    struct posted first = post_with(w, JOB_TEXT, &p), second = post_with(w, JOB_TEXT, &p);
    assert_string_equal(first.id, second.id);
    assert_int_equal(count_of(w->f->db, "SELECT COUNT(*) FROM jobs"), 1);
    struct job *job = parse_job(JOB_TEXT);
    bool again = false;
    p.job = job;
    OK(market_job_post(w->m, &w->poster, &p, &again, NULL, &err));
    assert_true(again);
    OK(market_job_post(w->m, &w->stranger, &p, &again, NULL, &err)); /* keys are each token's own */
    assert_false(again);
    p.body = SPAN_LIT("{\"a\":2}");
    REFUSES(ERR_EXISTS, market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
    job_free(job);
}

static void a_full_queue_takes_no_more(void **state)
{
    struct world *w = *state;
    struct market_settings s = MARKET_SETTINGS_KEEP;
    s.max_queued = 2;
    OK(market_put(w->m, &w->manager, MARKET, &s, NULL, NULL, &err));
    post(w);
    post(w);
    struct job *job = parse_job(JOB_TEXT);
    struct market_post p = MARKET_POST_OWN;
    p.job = job;
    p.market = MARKET;
    REFUSES(ERR_LIMIT, market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
    job_free(job);
}

/* Nobody else's share of the queue, no market's but this one, and only what has not ended. */
static void a_poster_has_only_so_many_jobs_that_have_not_ended(void **state)
{
    struct world *w = *state;
    struct market_settings s = MARKET_SETTINGS_KEEP;
    OK(market_put(w->m, &w->manager, "other", &s, NULL, NULL, &err));
    s.max_per_poster = 2;
    OK(market_put(w->m, &w->manager, MARKET, &s, NULL, NULL, &err));
    struct node n = node_named(w, "n1");
    struct claimed c;
    struct posted first = post(w);
    pass(1);
    struct posted second = post(w);
    struct job *job = parse_job(JOB_TEXT);
    struct market_post p = MARKET_POST_OWN;
    struct err why = ERR_INIT;
    p.job = job;
    p.market = MARKET;
    assert_int_equal(market_job_post(w->m, &w->poster, &p, NULL, NULL, &why), -1);
    assert_int_equal(why.kind, ERR_LIMIT);
    assert_non_null(strstr(why.text, "2 executions"));
    assert_non_null(strstr(why.hint, "max_per_poster"));
    OK(market_job_post(w->m, &w->stranger, &p, NULL, NULL, &err));
    for (int i = 0; i < 3; i++)
        OK(market_job_post(w->m, &w->manager, &p, NULL, NULL, &err));
    p.market = "other";
    OK(market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
    p.market = MARKET;
    assert_int_equal(claim(w, &n, &c), 1); /* one that runs counts, too */
    assert_string_equal(c.ref.job, first.id);
    REFUSES(ERR_LIMIT, market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
    finish(w, &n, &c);
    OK(market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
    REFUSES(ERR_LIMIT, market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
    OK(market_job_stop(w->m, &w->poster, second.id, NULL, NULL, &err));
    OK(market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
    job_free(job);
}

static void executions_count_for_their_poster_and_not_jobs(void **state)
{
    struct world *w = *state;
    struct market_settings s = MARKET_SETTINGS_KEEP;
    s.max_per_poster = 3;
    OK(market_put(w->m, &w->manager, MARKET, &s, NULL, NULL, &err));
    struct market_post p = MARKET_POST_OWN;
    p.market = MARKET;
    p.confidential = true;
    p.sealed_count = 4;
    REFUSES(ERR_LIMIT, market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
    p.sealed_count = 3;
    OK(market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
    p.sealed_count = 1;
    REFUSES(ERR_LIMIT, market_job_post(w->m, &w->poster, &p, NULL, NULL, &err));
}

static int64_t per_poster(struct market *m, const char *address)
{
    json_t *out = NULL;
    int64_t v = 0;
    OK(market_get(m, address, &out, &err));
    assert_true(json_get_i64(json_object_get(out, "market"), "max_per_poster", &v));
    json_decref(out);
    return v;
}

static void markets_of_an_older_berth_take_as_much_of_a_poster_as_before(void **state)
{
    struct world *w = *state;
    must_exec(w->f->db, "DROP INDEX jobs_live");
    must_exec(w->f->db, "ALTER TABLE markets DROP COLUMN max_per_poster");
    must_exec(w->f->db, "ALTER TABLE nodes DROP COLUMN peer_sent_bytes");
    must_exec(w->f->db, "ALTER TABLE nodes DROP COLUMN peer_sent_seen");
    must_exec(w->f->db, "ALTER TABLE nodes DROP COLUMN peer_got_bytes");
    must_exec(w->f->db, "ALTER TABLE nodes DROP COLUMN peer_got_seen");
    must_exec(w->f->db, "UPDATE schema_version SET version = 1");
    market_free(w->m);
    w->m = open_more(w);
    assert_int_equal(per_poster(w->m, MARKET), 10000000);
    const struct market_settings s = MARKET_SETTINGS_KEEP;
    OK(market_put(w->m, &w->manager, "new", &s, NULL, NULL, &err));
    assert_int_equal(per_poster(w->m, "new"), MARKET_POSTER_JOBS);
    assert_int_equal(per_poster(w->m, MARKET), 10000000);
}

static void what_a_post_says_goes_over_the_file(void **state)
{
    struct world *w = *state;
    AUTO_JSON labels = json_of("{\"team\":\"blue\",\"run\":\"7\"}");
    struct market_post p = MARKET_POST_OWN;
    const int32_t priority = 7;
    json_t *out = NULL;
    int64_t v;
    p.labels = labels;
    p.priority = &priority;
    p.timeout_ms = 1234;
    p.publish = "s3://results/{jobID}/";
    struct posted id = post_with(w, JOB_TEXT, &p);
    OK(market_job_get(w->m, &w->poster, id.id, 0, &out, &err));
    const json_t *job = json_object_get(out, "job");
    assert_true(json_get_i64(job, "timeout_ms", &v) && v == 1234);
    assert_true(json_get_i64(job, "priority", &v) && v == 7);
    assert_string_equal(json_get_str(json_object_get(job, "labels"), "team"), "blue");
    assert_non_null(strstr(json_get_str(job, "publish"), "s3://results/"));
    json_decref(out);
    const struct market_job_query blue = {.label_name = "team", .label_value = "blue"},
                                  red = {.label_name = "team", .label_value = "red"}, any = {.label_name = "run"},
                                  queued = {.state = "queued"}, failed = {.state = "failed"};
    assert_int_equal(listed(w, &w->poster, &blue), 1);
    assert_int_equal(listed(w, &w->poster, &red), 0);
    assert_int_equal(listed(w, &w->manager, &any), 1);
    assert_int_equal(listed(w, &w->poster, &queued), 1);
    assert_int_equal(listed(w, &w->poster, &failed), 0);
}

static void a_unique_beginning_of_an_id_will_do(void **state)
{
    struct world *w = *state;
    struct posted p = post(w);
    char beginning[MARKET_ID_MAX];
    snprintf(beginning, sizeof(beginning), "%.8s", p.id);
    OK(market_job_get(w->m, &w->poster, beginning, 0, NULL, &err));
    beginning[7] = '\0';
    REFUSES(ERR_NOTFOUND, market_job_get(w->m, &w->poster, beginning, 0, NULL, &err));
    REFUSES(ERR_NOTFOUND, market_job_get(w->m, &w->poster, "j-%%%%%%%%", 0, NULL, &err));
    REFUSES(ERR_NOTFOUND, market_job_get(w->m, &w->poster, "", 0, NULL, &err));
}

/* ---- Logs */

static char *read_log(struct world *w, const char *id, char cursor[32], struct buf *out, bool *ended, int *gaps)
{
    json_t *o = NULL, *e;
    size_t i;
    OK(market_job_logs(w->m, &w->poster, id, 0, cursor, 0, &o, &err));
    json_array_foreach(json_object_get(o, "events"), i, e)
    {
        uint8_t bytes[4096];
        size_t n;
        const char *data = json_get_str(json_object_get(e, "data"), "data");
        if (!data) {
            ++*gaps;
            continue;
        }
        OK(base64_decode(bytes, sizeof(bytes), &n, span_of(data), &err));
        buf_add(out, bytes, n);
    }
    snprintf(cursor, 32, "%s", json_get_str(o, "cursor"));
    *ended = json_get_bool(o, "ended", false);
    json_decref(o);
    return out->p;
}

static void logs_are_kept_in_order_and_once(void **state)
{
    struct world *w = *state;
    post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    uint64_t next;
    char cursor[32] = "";
    bool ended;
    int gaps = 0;
    AUTO_BUF text;
    buf_init(&text, 4096);
    assert_int_equal(claim(w, &n, &c), 1);
    OK(market_node_logs(w->m, &n.c, &c.ref, 1, 0, SPAN_LIT("hello "), &next, &err));
    assert_int_equal(next, 6);
    OK(market_node_logs(w->m, &n.c, &c.ref, 1, 0, SPAN_LIT("hello "), &next, &err)); /* the answer was lost */
    OK(market_node_logs(w->m, &n.c, &c.ref, 1, 3, SPAN_LIT("lo wor"), &next, &err)); /* overlaps */
    assert_int_equal(next, 9);
    REFUSES(ERR_REFUSED, market_node_logs(w->m, &n.c, &c.ref, 1, 20, SPAN_LIT("far"), &next, &err));
    assert_int_equal(next, 9);
    assert_string_equal(read_log(w, c.job, cursor, &text, &ended, &gaps), "hello wor");
    assert_false(ended);
    OK(market_node_logs(w->m, &n.c, &c.ref, 1, 9, SPAN_LIT("ld\xff"), &next, &err)); /* any bytes */
    finish(w, &n, &c);
    assert_string_equal(read_log(w, c.job, cursor, &text, &ended, &gaps), "hello world\xff");
    assert_true(ended);
    assert_int_equal(gaps, 0);
    REFUSES(ERR_INVALID, market_job_logs(w->m, &w->poster, c.job, 0, "nonsense", 0, NULL, &err));
}

static void above_the_ceiling_logs_leave_one_gap(void **state)
{
    struct world *w = *state;
    struct market_settings s = MARKET_SETTINGS_KEEP;
    s.max_log_bytes = 4096;
    OK(market_put(w->m, &w->manager, MARKET, &s, NULL, NULL, &err));
    post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    uint64_t next = 0;
    char cursor[32] = "", block[1000];
    bool ended;
    int gaps = 0;
    AUTO_BUF text;
    memset(block, 'x', sizeof(block));
    buf_init(&text, 65536);
    assert_int_equal(claim(w, &n, &c), 1);
    for (int i = 0; i < 20; i++)
        OK(market_node_logs(w->m, &n.c, &c.ref, 1, next, (struct span){block, sizeof(block)}, &next, &err));
    assert_int_equal(next, 20000);
    finish(w, &n, &c);
    read_log(w, c.job, cursor, &text, &ended, &gaps);
    assert_int_equal(text.n, 4096);
    assert_int_equal(gaps, 1);
    assert_true(ended);
    assert_int_equal(count_of(w->f->db, "SELECT SUM(bytes) FROM logs"), 20000);
}

static void a_new_attempt_writes_its_log_from_the_beginning(void **state)
{
    struct world *w = *state;
    post(w);
    struct node a = node_named(w, "a"), b = node_named(w, "b");
    struct claimed c;
    uint64_t next;
    char cursor[32] = "";
    bool ended;
    int gaps = 0;
    AUTO_BUF text;
    buf_init(&text, 4096);
    assert_int_equal(claim(w, &a, &c), 1);
    OK(market_node_logs(w->m, &a.c, &c.ref, 1, 0, SPAN_LIT("first "), &next, &err));
    OK(finish_as(w, &a, &c, "failed", true, &err));
    assert_int_equal(claim(w, &b, &c), 1);
    OK(market_node_logs(w->m, &b.c, &c.ref, 1, 0, SPAN_LIT("second"), &next, &err));
    assert_int_equal(next, 6);
    assert_string_equal(read_log(w, c.job, cursor, &text, &ended, &gaps), "first second");
}

/* ---- Uploads, results, peers */

static void uploads_of_earlier_attempts_are_named_to_the_next(void **state)
{
    struct world *w = *state;
    post(w);
    struct node a = node_named(w, "a"), b = node_named(w, "b");
    struct claimed c;
    json_t *out = NULL;
    AUTO_JSON record = json_of("{\"bucket\":\"b\",\"key\":\"k\",\"upload_id\":\"u1\",\"region\":null}");
    AUTO_JSON wrong = json_of("{\"bucket\":\"b\",\"key\":\"k\",\"secret\":\"u1\"}");
    assert_int_equal(claim(w, &a, &c), 1);
    REFUSES(ERR_INVALID, market_node_uploads(w->m, &a.c, &c.ref, wrong, NULL, &err));
    OK(market_node_uploads(w->m, &a.c, &c.ref, record, NULL, &err));
    OK(market_node_uploads(w->m, &a.c, &c.ref, record, &out, &err));
    assert_int_equal(json_array_size(json_object_get(out, "previous")), 0);
    json_decref(out);
    OK(finish_as(w, &a, &c, "failed", true, &err));
    OK(market_node_claim(w->m, &b.c, 1, NULL, &out, &err));
    const json_t *claim_b = json_array_get(json_object_get(out, "claims"), 0),
                 *previous = json_object_get(claim_b, "previous_uploads");
    assert_int_equal(json_array_size(previous), 1);
    assert_string_equal(json_get_str(json_array_get(previous, 0), "upload_id"), "u1");
    market_secrets_free(out);
}

static void a_result_says_where_it_is(void **state)
{
    struct world *w = *state;
    struct posted p = post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    json_t *out = NULL;
    int64_t v;
    AUTO_JSON published = json_of("{\"url\":\"s3://b/k\"}");
    AUTO_JSON record = json_of("{\"berth\":1}");
    assert_int_equal(claim(w, &n, &c), 1);
    const struct market_finish f = {.outcome = "failed",
                                    .has_exit_code = true,
                                    .exit_code = 3,
                                    .reason = "exit 3",
                                    .published = published,
                                    .record = record};
    OK(market_node_finish(w->m, &n.c, &c.ref, &f, &err));
    OK(market_job_results(w->m, &w->poster, p.id, &out, &err));
    const json_t *r = json_array_get(json_object_get(out, "results"), 0);
    assert_true(json_get_i64(r, "exit_code", &v) && v == 3);
    assert_string_equal(json_get_str(json_object_get(r, "published"), "url"), "s3://b/k");
    json_decref(out);
    OK(market_job_get(w->m, &w->poster, p.id, MARKET_WITH_EXECUTIONS, &out, &err));
    assert_string_equal(json_get_str(json_object_get(out, "job"), "reason"), "exit 3");
    assert_true(json_get_i64(json_object_get(out, "job"), "exit_code", &v) && v == 3);
    json_decref(out);
}

static void peers_are_named_to_who_holds_an_execution(void **state)
{
    struct world *w = *state;
    post(w);
    struct node has = node_with(w, "has", 1, "{}", "10.0.0.1:7481"), asks = node_with(w, "asks", 1, "{}", NULL);
    struct claimed c;
    json_t *out = NULL, *hello = NULL;
    AUTO_JSON blobs = json_of("[\"" BLOB "\"]");
    const struct market_heartbeat h = {.ready = true, .blobs_add = blobs};
    OK(market_node_heartbeat(w->m, &has.c, &h, NULL, &err));
    assert_int_equal(claim(w, &asks, &c), 1);
    OK(market_node_locate(w->m, &asks.c, &c.ref, blobs, &out, &err));
    const json_t *peer = json_array_get(json_object_get(json_object_get(out, "peers"), BLOB), 0);
    assert_string_equal(json_get_str(peer, "address"), "10.0.0.1:7481");

    /* The grant opens that digest at that peer, and nothing else. */
    const struct market_hello again = {.node = "has", .peer_address = "10.0.0.1:7481", .peer_fingerprint = BLOB};
    OK(market_node_hello(w->m, &has.c, &again, &hello, &err));
    uint8_t key[SEAL_SUBKEY_BYTES];
    size_t n;
    struct span grant = span_of(json_get_str(peer, "token"));
    OK(base64_decode(key, sizeof(key), &n, span_of(json_get_str(hello, "peer_key")), &err));
    OK(seal_grant_check(key, span_of(BLOB), grant, fake_clock(NULL), &err));
    REFUSES(ERR_DENIED, seal_grant_check(key, SPAN_LIT("another"), grant, fake_clock(NULL), &err));
    REFUSES(ERR_DENIED, seal_grant_check(key, span_of(BLOB), grant, fake_clock(NULL) + MARKET_GRANT_MS, &err));
    json_decref(out);
    json_decref(hello);

    const struct market_heartbeat gone = {.ready = true, .blobs_remove = blobs};
    OK(market_node_heartbeat(w->m, &has.c, &gone, NULL, &err));
    OK(market_node_locate(w->m, &asks.c, &c.ref, blobs, &out, &err));
    assert_int_equal(json_object_size(json_object_get(out, "peers")), 0);
    assert_true(json_get_bool(out, "others", false)); /* it serves still, only not this */
    json_decref(out);
    const struct market_hello silent = {.node = "has"};
    AUTO_JSON none = json_array();
    OK(market_node_hello(w->m, &has.c, &silent, NULL, &err));
    OK(market_node_locate(w->m, &asks.c, &c.ref, none, &out, &err));
    assert_false(json_get_bool(out, "others", true));
    json_decref(out);
}

static void peers_are_named_for_what_a_market_requires_to_its_approved_nodes(void **state)
{
    struct world *w = *state;
    struct node has = node_with(w, "has", 1, "{}", "10.0.0.1:7481"), asks = node_named(w, "asks");
    struct market_caller pending = caller_of(w, MARKET_NODE, MARKET), elsewhere = caller_of(w, MARKET_JOIN, "other");
    json_t *out = NULL, *joined = NULL;
    AUTO_JSON blobs = json_of("[\"" BLOB "\"]");
    const struct market_heartbeat h = {.ready = true, .blobs_add = blobs};
    OK(market_node_heartbeat(w->m, &has.c, &h, NULL, &err));
    OK(market_node_locate(w->m, &asks.c, NULL, blobs, &out, &err));
    const json_t *peer = json_array_get(json_object_get(json_object_get(out, "peers"), BLOB), 0);
    assert_string_equal(json_get_str(peer, "node"), "has");
    json_decref(out);

    const struct market_hello hello = {.node = "pending"}, there = {.node = "there"};
    OK(market_node_hello(w->m, &pending, &hello, NULL, &err));
    snprintf(pending.node, sizeof(pending.node), "pending");
    REFUSES(ERR_DENIED, market_node_locate(w->m, &pending, NULL, blobs, NULL, &err));
    OK(market_node_set(w->m, &w->manager, "asks", MARKET_REJECT, NULL, &err));
    REFUSES(ERR_DENIED, market_node_locate(w->m, &asks.c, NULL, blobs, NULL, &err));
    REFUSES(ERR_DENIED, market_node_locate(w->m, &w->poster, NULL, blobs, NULL, &err));

    const struct market_settings s = MARKET_SETTINGS_KEEP;
    OK(market_put(w->m, &w->manager, "other", &s, NULL, NULL, &err));
    OK(market_node_hello(w->m, &elsewhere, &there, &joined, &err));
    struct market_caller stranger;
    OK(market_token_auth(w->m, span_of(json_get_str(joined, "token")), &stranger, &err));
    OK(market_node_locate(w->m, &stranger, NULL, blobs, &out, &err));
    assert_int_equal(json_object_size(json_object_get(out, "peers")), 0);
    assert_false(json_get_bool(out, "others", true));
    json_decref(out);
    json_decref(joined);
}

static size_t peers_for(struct world *w, const struct node *n, const json_t *blobs)
{
    json_t *out = NULL;
    OK(market_node_locate(w->m, &n->c, NULL, blobs, &out, &err));
    size_t found = json_object_size(json_object_get(out, "peers"));
    json_decref(out);
    return found;
}

static size_t holds_of(struct world *w, const char *node)
{
    json_t *out = NULL;
    OK(market_node_get(w->m, &w->manager, node, &out, &err));
    size_t n = json_array_size(json_object_get(json_object_get(out, "node"), "holds"));
    json_decref(out);
    return n;
}

static void tick_all(struct world *w)
{
    bool more = true;
    for (int i = 0; more; i++) {
        assert_true(i < 10);
        OK(market_tick(w->m, &more, &err));
    }
}

static void what_a_node_had_is_forgotten_once_it_is_gone_for_long(void **state)
{
    struct world *w = *state;
    struct node gone = node_with(w, "gone", 1, "{}", "10.0.0.1:7481"),
                lives = node_with(w, "lives", 1, "{}", "10.0.0.2:7481"), asks = node_named(w, "asks");
    AUTO_JSON blobs = json_of("[\"" BLOB "\"]");
    AUTO_JSON holds = json_of("[{\"key\":\"" BLOB "\",\"bytes\":1}]");
    const struct market_heartbeat has = {.ready = true, .blobs_add = blobs, .holds = holds};
    OK(market_node_heartbeat(w->m, &gone.c, &has, NULL, &err));
    OK(market_node_heartbeat(w->m, &lives.c, &has, NULL, &err));
    pass(MARKET_NODE_GONE_MS - 1);
    tick_all(w);
    assert_int_equal(holds_of(w, "gone"), 1);
    beat(w, &lives, "[]");
    pass(1);
    tick_all(w);
    assert_int_equal(holds_of(w, "gone"), 0);
    assert_int_equal(holds_of(w, "lives"), 1);
    beat(w, &gone, "[]");
    beat(w, &asks, "[]");
    json_t *out = NULL;
    OK(market_node_locate(w->m, &asks.c, NULL, blobs, &out, &err));
    const json_t *peers = json_object_get(json_object_get(out, "peers"), BLOB);
    assert_int_equal(json_array_size(peers), 1);
    assert_string_equal(json_get_str(json_array_get(peers, 0), "node"), "lives");
    json_decref(out);
    const struct market_heartbeat again = {.ready = true, .blobs_reset = true, .blobs_add = blobs, .holds = holds};
    OK(market_node_heartbeat(w->m, &gone.c, &again, NULL, &err));
    tick_all(w);
    assert_int_equal(holds_of(w, "gone"), 1);
    OK(market_node_heartbeat(w->m, &lives.c, &(struct market_heartbeat){.ready = true, .blobs_remove = blobs}, NULL,
                             &err));
    assert_int_equal(peers_for(w, &asks, blobs), 1);
}

static void assert_peer_bytes(const struct world *w, const char *node, int64_t sent, int64_t got)
{
    json_t *out = NULL;
    int64_t v = -1;
    OK(market_node_get(w->m, &w->poster, node, &out, &err));
    const json_t *peers = json_object_get(json_object_get(out, "node"), "peers");
    assert_true(json_get_i64(peers, "sent_bytes", &v));
    assert_int_equal(v, sent);
    assert_true(json_get_i64(peers, "got_bytes", &v));
    assert_int_equal(v, got);
    json_decref(out);
}

static void beat_with(const struct world *w, const struct node *n, int64_t sent, int64_t got)
{
    const struct market_heartbeat h = {.ready = true, .peer_sent_bytes = sent, .peer_got_bytes = got};
    OK(market_node_heartbeat(w->m, &n->c, &h, NULL, &err));
}

static void what_nodes_sent_to_each_other_adds_up_over_their_starts(void **state)
{
    struct world *w = *state;
    struct node a = node_with(w, "a", 1, "{}", "10.0.0.1:7481"), b = node_named(w, "b");
    const struct market_hello again = {.node = "a"};
    json_t *out = NULL;
    int64_t v;
    assert_peer_bytes(w, "a", 0, 0);
    beat_with(w, &a, 100, 7);
    beat_with(w, &a, 100, 7); /* the answer was lost */
    beat_with(w, &a, 150, 7);
    beat_with(w, &a, 0, 0); /* does not say */
    beat_with(w, &a, 160, 8);
    assert_peer_bytes(w, "a", 160, 8);
    OK(market_node_hello(w->m, &a.c, &again, NULL, &err));
    beat_with(w, &a, 200, 1); /* more than before, and all of it new */
    assert_peer_bytes(w, "a", 360, 9);
    beat_with(w, &a, 50, 1); /* started anew, unheard of */
    assert_peer_bytes(w, "a", 410, 9);
    beat_with(w, &b, 0, 400);
    OK(market_numbers(w->m, &out, &err));
    const json_t *bytes = json_object_get(json_object_get(out, "peer_bytes"), MARKET);
    assert_true(json_get_i64(bytes, "sent", &v) && v == 410);
    assert_true(json_get_i64(bytes, "got", &v) && v == 409);
    json_decref(out);
}

static void a_node_that_lies_about_bytes_overflows_nothing(void **state)
{
    struct world *w = *state;
    struct node a = node_named(w, "a");
    for (int i = 0; i < 10; i++) {
        beat_with(w, &a, MARKET_PEER_BYTES_MAX, MARKET_PEER_BYTES_MAX);
        beat_with(w, &a, MARKET_PEER_BYTES_MAX - 1, 1);
    }
    json_t *out = NULL;
    int64_t v;
    OK(market_numbers(w->m, &out, &err));
    const json_t *bytes = json_object_get(json_object_get(out, "peer_bytes"), MARKET);
    assert_true(json_get_i64(bytes, "sent", &v) && v >= MARKET_PEER_BYTES_MAX && v <= 2 * MARKET_PEER_BYTES_MAX);
    assert_true(json_get_i64(bytes, "got", &v) && v >= MARKET_PEER_BYTES_MAX && v <= 2 * MARKET_PEER_BYTES_MAX);
    json_decref(out);
}

/* ---- Nodes */

static void a_join_token_makes_a_node_once(void **state)
{
    struct world *w = *state;
    struct market_caller join = caller_of(w, MARKET_JOIN, MARKET), c;
    json_t *first = NULL, *second = NULL;
    const struct market_hello h = {.node = "n1"};
    OK(market_node_hello(w->m, &join, &h, &first, &err));
    OK(market_node_hello(w->m, &join, &h, &second, &err)); /* the answer was lost */
    REFUSES(ERR_DENIED, market_token_auth(w->m, span_of(json_get_str(first, "token")), &c, &err));
    OK(market_token_auth(w->m, span_of(json_get_str(second, "token")), &c, &err));
    const struct market_heartbeat beat_once = {.ready = true};
    OK(market_node_heartbeat(w->m, &c, &beat_once, NULL, &err));
    REFUSES(ERR_EXISTS, market_node_hello(w->m, &join, &h, NULL, &err));
    struct market_caller other = caller_of(w, MARKET_JOIN, MARKET);
    REFUSES(ERR_EXISTS, market_node_hello(w->m, &other, &h, NULL, &err));
    REFUSES(ERR_DENIED, market_node_hello(w->m, &w->poster, &h, NULL, &err));
    json_decref(first);
    json_decref(second);
}

/* What its holder may know is what the token says: the answer is the same whether the other market is there or not. */
static void a_join_token_for_another_market_is_told_which_it_is_for(void **state)
{
    struct world *w = *state;
    static const char *const others[] = {MARKET, "nowhere"};
    struct market_caller join = caller_of(w, MARKET_JOIN, "other");
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        const struct market_hello h = {.node = "n1", .market = others[i]};
        char text[128], hint[128];
        struct err why = ERR_INIT;
        assert_int_equal(market_node_hello(w->m, &join, &h, NULL, &why), -1);
        snprintf(text, sizeof text, "this token is for market 'other', not for '%s'", others[i]);
        snprintf(hint, sizeof hint, "name market 'other', or use a token that was made for '%s'", others[i]);
        assert_int_equal(why.kind, ERR_DENIED);
        assert_string_equal(why.text, text);
        assert_string_equal(why.hint, hint);
    }
    const struct market_hello none = {.node = "n1"}, named = {.node = "n1", .market = "other"};
    struct err why = ERR_INIT;
    assert_int_equal(market_node_hello(w->m, &join, &none, NULL, &why), -1);
    assert_int_equal(why.kind, ERR_NOTFOUND);
    assert_string_equal(why.text, "no market 'other', which this token is for");
    assert_non_null(strstr(why.hint, "berth market create other"));
    const struct market_settings s = MARKET_SETTINGS_KEEP;
    OK(market_put(w->m, &w->manager, "other", &s, NULL, NULL, &err));
    OK(market_node_hello(w->m, &join, &named, NULL, &err));
}

static void a_node_token_awaits_approval_and_stays_with_its_node(void **state)
{
    struct world *w = *state;
    json_t *out = NULL;
    struct market_caller c = caller_of(w, MARKET_NODE, MARKET);
    const struct market_hello h = {.node = "n1"}, other = {.node = "n2"};
    OK(market_node_hello(w->m, &c, &h, &out, &err));
    assert_null(json_object_get(out, "token"));
    assert_string_equal(json_get_str(json_object_get(out, "node"), "state"), "pending");
    json_decref(out);
    snprintf(c.node, sizeof(c.node), "n1"); /* as its next market_token_auth() says */
    post(w);
    const struct node n = {.c = c};
    beat(w, &n, "[]");
    assert_int_equal(claim(w, &n, NULL), 0);
    REFUSES(ERR_NOTFOUND, market_node_hello(w->m, &c, &other, NULL, &err));
    OK(market_node_set(w->m, &w->manager, "n1", MARKET_APPROVE, NULL, &err));
    assert_int_equal(claim(w, &n, NULL), 1);
    REFUSES(ERR_DENIED, market_node_set(w->m, &w->poster, "n1", MARKET_APPROVE, NULL, &err));
    REFUSES(ERR_NOTFOUND, market_node_set(w->m, &w->manager, "nobody", MARKET_DRAIN, NULL, &err));
}

static void nodes_and_markets_are_listed_as_they_are(void **state)
{
    struct world *w = *state;
    json_t *out = NULL;
    int64_t v;
    struct node a = node_named(w, "a");
    node_named(w, "b");
    post(w);
    post(w);
    assert_int_equal(claim(w, &a, NULL), 1);
    OK(market_node_list(w->m, &w->poster, NULL, NULL, &out, &err));
    assert_int_equal(json_array_size(json_object_get(out, "nodes")), 2);
    json_decref(out);
    OK(market_node_get(w->m, &w->poster, "a", &out, &err));
    assert_true(json_get_i64(json_object_get(out, "node"), "running", &v) && v == 1);
    json_decref(out);
    OK(market_list(w->m, NULL, &out, &err));
    const json_t *market = json_array_get(json_object_get(out, "markets"), 0);
    assert_true(json_get_i64(json_object_get(market, "nodes"), "ready", &v) && v == 2);
    assert_true(json_get_i64(json_object_get(market, "queue"), "queued", &v) && v == 1);
    assert_true(json_get_i64(json_object_get(market, "queue"), "running", &v) && v == 1);
    json_decref(out);
    OK(market_numbers(w->m, &out, &err));
    assert_true(json_get_i64(json_object_get(json_object_get(out, "jobs"), MARKET), "queued", &v) && v == 1);
    json_decref(out);
    REFUSES(ERR_NOTFOUND, market_get(w->m, "nowhere", NULL, &err));
    const struct market_settings s = MARKET_SETTINGS_KEEP;
    REFUSES(ERR_INVALID, market_put(w->m, &w->manager, "No Address", &s, NULL, NULL, &err));
    REFUSES(ERR_DENIED, market_put(w->m, &w->poster, "fine", &s, NULL, NULL, &err));
}

static void ended_jobs_are_forgotten_after_their_time(void **state)
{
    struct world *w = *state;
    struct market_settings s = MARKET_SETTINGS_KEEP;
    s.retention_ms = 10000;
    OK(market_put(w->m, &w->manager, MARKET, &s, NULL, NULL, &err));
    struct node n = node_named(w, "n1");
    struct claimed c;
    uint64_t next;
    struct posted done = post(w);
    assert_int_equal(claim(w, &n, &c), 1);
    OK(market_node_logs(w->m, &n.c, &c.ref, 1, 0, SPAN_LIT("x"), &next, &err));
    finish(w, &n, &c);
    struct posted waiting = post(w);
    pass(9999);
    tick(w);
    assert_string_equal(state_of(w, done.id), "succeeded");
    pass(1);
    tick(w);
    REFUSES(ERR_NOTFOUND, market_job_get(w->m, &w->poster, done.id, 0, NULL, &err));
    assert_string_equal(state_of(w, waiting.id), "queued");
    assert_int_equal(count_of(w->f->db, "SELECT COUNT(*) FROM logs"), 0);
    assert_int_equal(count_of(w->f->db, "SELECT COUNT(*) FROM results"), 0);
}

static void another_server_hears_of_a_post(void **state)
{
    struct world *w = *state;
    struct market_listener *l = NULL;
    char what[MARKET_NODE_MAX] = "";
    OK(market_listen(&l, w->f->url, &err));
    post(w);
    int rc = 0;
    struct err err = ERR_INIT;
    for (int i = 0; i < 10 && db_test_url && !str_eq(what, MARKET); i++)
        rc = market_listen_wait(l, 5000, what, &err);
    if (db_test_url)
        assert_string_equal(what, MARKET);
    else
        rc = market_listen_wait(l, 0, what, &err);
    assert_int_equal(rc, db_test_url ? 1 : 0);
    assert_string_equal(w->last_changed, MARKET);
    market_listen_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MARKET_TEST(only_the_first_operator_token_is_free),
        MARKET_TEST(a_revoked_or_expired_token_opens_nothing),
        MARKET_TEST(a_token_that_is_revoked_gets_no_claim_however_late_that_comes),
        MARKET_TEST(a_token_says_for_which_markets_it_is),
        MARKET_TEST(lists_come_in_pages),
        MARKET_TEST(a_page_of_large_jobs_ends_early_and_none_is_passed_over),
        MARKET_TEST(of_a_job_with_many_inputs_the_first_are_shown_and_the_others_counted),
        MARKET_TEST(a_poster_sees_its_own_jobs_only),
        MARKET_TEST(a_node_writes_only_what_it_holds),
        MARKET_TEST(a_token_for_one_market_posts_to_no_other),
        MARKET_TEST(the_same_key_and_body_give_the_same_job_again),
        MARKET_TEST(a_full_queue_takes_no_more),
        MARKET_TEST(a_poster_has_only_so_many_jobs_that_have_not_ended),
        MARKET_TEST(executions_count_for_their_poster_and_not_jobs),
        MARKET_TEST(markets_of_an_older_berth_take_as_much_of_a_poster_as_before),
        MARKET_TEST(what_a_post_says_goes_over_the_file),
        MARKET_TEST(a_unique_beginning_of_an_id_will_do),
        MARKET_TEST(logs_are_kept_in_order_and_once),
        MARKET_TEST(above_the_ceiling_logs_leave_one_gap),
        MARKET_TEST(a_new_attempt_writes_its_log_from_the_beginning),
        MARKET_TEST(uploads_of_earlier_attempts_are_named_to_the_next),
        MARKET_TEST(a_result_says_where_it_is),
        MARKET_TEST(peers_are_named_to_who_holds_an_execution),
        MARKET_TEST(what_a_node_had_is_forgotten_once_it_is_gone_for_long),
        MARKET_TEST(peers_are_named_for_what_a_market_requires_to_its_approved_nodes),
        MARKET_TEST(what_nodes_sent_to_each_other_adds_up_over_their_starts),
        MARKET_TEST(a_node_that_lies_about_bytes_overflows_nothing),
        MARKET_TEST(a_join_token_makes_a_node_once),
        MARKET_TEST(a_join_token_for_another_market_is_told_which_it_is_for),
        MARKET_TEST(a_node_token_awaits_approval_and_stays_with_its_node),
        MARKET_TEST(nodes_and_markets_are_listed_as_they_are),
        MARKET_TEST(ended_jobs_are_forgotten_after_their_time),
        MARKET_TEST(another_server_hears_of_a_post),
    };
    return RUN_OVER_BOTH(tests);
}
