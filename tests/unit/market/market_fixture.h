/* A market in an empty database of its own for each test, with a clock that only moves when told to. */
#ifndef BERTH_TESTS_MARKET_FIXTURE_H
#define BERTH_TESTS_MARKET_FIXTURE_H

#include "../db/pg_server.h"

#include "base/json.h"
#include "market/market.h"
#include "seal/seal.h"
#include "spec/spec.h"

#include <stdatomic.h>

#define MARKET      "gpu"
#define SECRET_TEXT "hunter2-never-in-plain-text"

static _Atomic int64_t fake_now_ms;

static inline int64_t fake_clock(void *ctx)
{
    (void)ctx;
    return atomic_load(&fake_now_ms);
}

static inline void pass(int64_t ms)
{
    atomic_fetch_add(&fake_now_ms, ms);
}

struct world {
    struct fixture *f;
    struct seal_keys *keys;
    struct market *m;
    struct market_caller manager, poster, stranger;
    int changed; /* times somebody was told */
    char last_changed[MARKET_NODE_MAX];
};

#define MARKET_TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_remove)
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        struct err err = ERR_INIT;                                                                                     \
        if ((call) < 0)                                                                                                \
            fail_msg("%s: %s", #call, err.text);                                                                       \
    } while (0)
#define REFUSES(expected, call)                                                                                        \
    do {                                                                                                               \
        struct err err = ERR_INIT;                                                                                     \
        assert_int_equal((call), -1);                                                                                  \
        if (err.kind != (expected))                                                                                    \
            fail_msg("%s: %s (%s)", #call, err.text, err_kind_name(err.kind));                                         \
    } while (0)

static inline void note_changed(void *ctx, const char *what)
{
    struct world *w = ctx;
    w->changed++;
    snprintf(w->last_changed, sizeof(w->last_changed), "%s", what);
}

static inline struct market *open_more(const struct world *w)
{
    struct market *m = NULL;
    const struct market_opts o = {.db_url = w->f->url, .keys = w->keys, .now_ms = fake_clock, .busy_timeout_ms = 60000};
    OK(market_open(&m, &o, &err));
    return m;
}

/* A token of a role, and who that makes its holder. */
static inline struct market_caller caller_of(struct world *w, enum market_role role, const char *market)
{
    json_t *out = NULL;
    struct market_caller c;
    const struct market_token_opts o = {.role = role, .market = market};
    OK(market_token_new(w->m, &w->manager, &o, &out, &err));
    OK(market_token_auth(w->m, span_of(json_get_str(out, "token")), &c, &err));
    json_decref(out);
    return c;
}

static inline int world_make(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct err why = ERR_INIT;
    char token[SEAL_TOKEN_MAX], path[128];
    if (!w || fixture_make((void **)&w->f) < 0)
        return -1;
    atomic_store(&fake_now_ms, 1700000000000);
    if (db_test_url)
        must_exec(w->f->db, "DROP DOMAIN blob");
    snprintf(path, sizeof(path), "%s/keys", w->f->dir);
    const struct market_opts o = {
        .db_url = w->f->url, .now_ms = fake_clock, .changed = note_changed, .changed_ctx = w, .busy_timeout_ms = 60000};
    struct market_opts with_keys = o;
    if (seal_keys_open(&w->keys, path, true, &why) < 0)
        return -1;
    with_keys.keys = w->keys;
    if (market_open(&w->m, &with_keys, &why) < 0 || market_token_first(w->m, token, &why) != 1 ||
        market_token_auth(w->m, span_of(token), &w->manager, &why) < 0) {
        fprintf(stderr, "%s\n", why.text);
        return -1;
    }
    const struct market_settings s = MARKET_SETTINGS_KEEP;
    OK(market_put(w->m, &w->manager, MARKET, &s, NULL, NULL, &err));
    w->poster = caller_of(w, MARKET_POSTER, NULL);
    w->stranger = caller_of(w, MARKET_POSTER, NULL);
    *state = w;
    return 0;
}

static inline int world_remove(void **state)
{
    struct world *w = *state;
    void *f = w->f;
    market_free(w->m);
    seal_keys_free(w->keys);
    free(w);
    return fixture_remove(&f);
}

/* ---- Jobs */

#define JOB_TEXT                                                                                                       \
    "{\"Name\":\"train\",\"Type\":\"batch\",\"Count\":1,\"Tasks\":[{\"Name\":\"main\",\"Engine\":{\"Type\":"           \
    "\"docker\","                                                                                                      \
    "\"Params\":{\"Image\":\"busybox\",\"Parameters\":[\"true\"]}}}]}"

static inline struct job *parse_job(const char *text)
{
    struct job *job = NULL;
    const struct spec_opts o = {.file = "job.json"};
    OK(spec_parse(span_of(text), &o, &job, &err));
    return job;
}

struct posted {
    char id[MARKET_ID_MAX];
};

static inline struct posted post_with(struct world *w, const char *text, struct market_post *p)
{
    struct job *job = parse_job(text);
    json_t *out = NULL;
    struct posted id;
    p->market = MARKET;
    p->job = job;
    OK(market_job_post(w->m, &w->poster, p, NULL, &out, &err));
    snprintf(id.id, sizeof(id.id), "%s", json_get_str(json_object_get(out, "job"), "id"));
    json_decref(out);
    job_free(job);
    return id;
}

static inline struct posted post(struct world *w)
{
    struct market_post p = MARKET_POST_OWN;
    return post_with(w, JOB_TEXT, &p);
}

static inline struct posted post_priority(struct world *w, int32_t priority)
{
    struct market_post p = MARKET_POST_OWN;
    p.priority = &priority;
    return post_with(w, JOB_TEXT, &p);
}

static inline const char *state_of(struct world *w, const char *id)
{
    static char state[32];
    json_t *out = NULL;
    OK(market_job_get(w->m, &w->manager, id, 0, &out, &err));
    snprintf(state, sizeof(state), "%s", json_get_str(json_object_get(out, "job"), "state"));
    json_decref(out);
    return state;
}

/* ---- Nodes */

#define INFO_TEXT                                                                                                      \
    "{\"version\":\"1\",\"cpus\":8,\"memory_bytes\":68719476736,\"disk_bytes\":1099511627776,"                         \
    "\"gpus\":[{\"name\":\"RTX 3090\",\"memory_mib\":24576},{\"name\":\"RTX 3090\",\"memory_mib\":24576}]}"

struct node {
    struct market_caller c;
    char name[MARKET_NODE_MAX];
};

static inline json_t *json_of(const char *text)
{
    struct err err = ERR_INIT;
    json_t *v = json_parse(span_of(text), &err);
    if (!v)
        fail_msg("%s", err.text);
    return v;
}

static inline void beat(struct world *w, const struct node *n, const char *running)
{
    AUTO_JSON r = json_of(running);
    const struct market_heartbeat h = {.ready = true, .running = r};
    OK(market_node_heartbeat(w->m, &n->c, &h, NULL, &err));
}

static inline struct node node_with(struct world *w, const char *name, uint32_t slots, const char *labels,
                                    const char *peer)
{
    struct node n;
    AUTO_JSON info = json_of(INFO_TEXT);
    AUTO_JSON l = json_of(labels);
    json_t *out = NULL;
    struct market_caller join = caller_of(w, MARKET_JOIN, MARKET);
    const struct market_hello h = {
        .node = name,
        .slots = slots,
        .info = info,
        .labels = l,
        .public_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        .peer_address = peer,
        .peer_fingerprint = peer ? "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" : NULL};
    OK(market_node_hello(w->m, &join, &h, &out, &err));
    OK(market_token_auth(w->m, span_of(json_get_str(out, "token")), &n.c, &err));
    json_decref(out);
    snprintf(n.name, sizeof(n.name), "%s", name);
    beat(w, &n, "[]");
    return n;
}

static inline struct node node_named(struct world *w, const char *name)
{
    return node_with(w, name, 4, "{}", NULL);
}

struct claimed {
    char job[MARKET_ID_MAX];
    struct market_ref ref;
    int64_t attempt;
};

/* 1: claimed one, 0: none. */
static inline int claim_on(struct market *m, const struct node *n, struct claimed *out)
{
    json_t *o = NULL;
    int64_t index = 0, epoch = 0;
    OK(market_node_claim(m, &n->c, 1, NULL, &o, &err));
    json_t *claims = json_object_get(o, "claims"), *c = json_array_get(claims, 0);
    int count = (int)json_array_size(claims);
    assert_true(count <= 1);
    if (c && out) {
        snprintf(out->job, sizeof(out->job), "%s", json_get_str(c, "job"));
        assert_true(json_get_i64(c, "index", &index) && json_get_i64(c, "epoch", &epoch));
        assert_true(json_get_i64(c, "attempt", &out->attempt));
        out->ref = (struct market_ref){out->job, (uint32_t)index, epoch};
    }
    market_secrets_free(o);
    return count;
}

static inline int claim(struct world *w, const struct node *n, struct claimed *out)
{
    return claim_on(w->m, n, out);
}

static inline void tick(struct world *w)
{
    bool more;
    OK(market_tick(w->m, &more, &err));
}

static inline int finish_as(struct world *w, const struct node *n, const struct claimed *c, const char *outcome,
                            bool retry, struct err *err)
{
    const struct market_finish f = {.outcome = outcome, .has_exit_code = true, .retry = retry};
    return market_node_finish(w->m, &n->c, &c->ref, &f, err);
}

static inline void finish(struct world *w, const struct node *n, const struct claimed *c)
{
    OK(finish_as(w, n, c, "succeeded", false, &err));
}

static inline const char *running_of(const struct claimed *c, const char *state)
{
    static char text[256];
    snprintf(text, sizeof(text), "[{\"job\":\"%s\",\"index\":%u,\"epoch\":%lld,\"state\":\"%s\"}]", c->job,
             c->ref.index, (long long)c->ref.epoch, state);
    return text;
}

/* Both databases, one after the other. */
#define RUN_OVER_BOTH(tests)                                                                                           \
    (cmocka_run_group_tests_name("SQLite", tests, NULL, NULL) +                                                        \
     cmocka_run_group_tests_name("PostgreSQL", tests, pg_start, pg_stop))

#endif
