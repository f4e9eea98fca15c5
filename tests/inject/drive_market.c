/* A market on SQLite from an empty file to a finished job: whatever fails, what was acknowledged is there when the
 * database is opened again, a job's counts are those of its executions, and no secret lies in the file. */
#include "drive.h"

#include "market/market.h"
#include "seal/seal.h"
#include "spec/spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARKET "gpu"
#define NODE   "n-1"
#define SECRET "hunter2-never-in-plain-text"
#define OUTPUT "hello\n"

static const char job_text[] =
    "{\"version\":\"0.1\",\"type\":\"container\",\"ops\":[{\"id\":\"op\",\"type\":\"container/run\",\"args\":{"
    "\"image\":\"busybox\",\"cmd\":[\"true\"],\"resources\":[{\"type\":\"S3\",\"url\":\"https://s3.example/b/d\","
    "\"target\":\"/data\",\"IAM\":{\"ACCESS_KEY_ID\":\"a\",\"SECRET_ACCESS_KEY\":\"" SECRET "\"}}]}}]}";

static char folder[256], db_url[300], keys_path[300];
static struct job *job;
static struct seal_keys *keys;
static struct { /* said to be done */
    bool first, market, joined, posted, claimed, logged, finished;
    char operator[SEAL_TOKEN_MAX], job[MARKET_ID_MAX];
} told;

static int prepare(const char *dir)
{
    struct err err = ERR_INIT;
    const struct spec_opts opts = {.file = "job"};
    snprintf(folder, sizeof folder, "%s", dir);
    snprintf(db_url, sizeof db_url, "sqlite:%s/market.db", dir);
    snprintf(keys_path, sizeof keys_path, "%s/keys", dir);
    return seal_keys_open(&keys, keys_path, true, &err) < 0 || spec_parse(span_of(job_text), &opts, &job, &err) < 0 ? -1
                                                                                                                    : 0;
}

static int open_market(struct market **out, struct err *err)
{
    const struct market_opts opts = {.db_url = db_url, .keys = keys};
    return market_open(out, &opts, err);
}

/* ---- the operator */

static int begin(struct market *m, struct market_caller *manager, struct err *err)
{
    const struct market_settings settings = MARKET_SETTINGS_KEEP;
    if (market_token_first(m, told.operator, err) < 0)
        return -1;
    told.first = true;
    if (market_token_auth(m, span_of(told.operator), manager, err) < 0 ||
        market_put(m, manager, MARKET, &settings, NULL, NULL, err) < 0)
        return -1;
    told.market = true;
    return 0;
}

static int token_of(struct market *m, const struct market_caller *manager, enum market_role role,
                    struct market_caller *out, struct err *err)
{
    const struct market_token_opts opts = {.role = role, .market = MARKET};
    json_t *made = NULL;
    int rc = market_token_new(m, manager, &opts, &made, err);
    if (rc == 0)
        rc = market_token_auth(m, span_of(json_get_str(made, "token")), out, err);
    market_secrets_free(made);
    return rc;
}

/* ---- the poster */

static int post(struct market *m, const struct market_caller *poster, struct err *err)
{
    struct market_post p = MARKET_POST_OWN;
    json_t *out = NULL;
    p.market = MARKET;
    p.job = job;
    p.idempotency_key = "once";
    if (market_job_post(m, poster, &p, NULL, &out, err) < 0)
        return -1;
    snprintf(told.job, sizeof told.job, "%s", json_get_str(json_object_get(out, "job"), "id"));
    told.posted = true;
    json_decref(out);
    return 0;
}

/* ---- the node */

static int join(struct market *m, const struct market_caller *by, struct market_caller *out, struct err *err)
{
    const struct market_hello hello = {.node = NODE, .slots = 1};
    const struct market_heartbeat ready = {.ready = true, .required_version = MARKET_KEEP};
    json_t *answer = NULL;
    int rc = market_node_hello(m, by, &hello, &answer, err);
    if (rc == 0)
        rc = market_token_auth(m, span_of(json_get_str(answer, "token")), out, err);
    market_secrets_free(answer);
    if (rc < 0)
        return -1;
    told.joined = true;
    return market_node_heartbeat(m, out, &ready, NULL, err);
}

static int take(struct market *m, const struct market_caller *node, struct market_ref *x, struct err *err)
{
    json_t *answer = NULL;
    if (market_node_claim(m, node, 1, NULL, &answer, err) < 0)
        return -1;
    const json_t *claim = json_array_get(json_object_get(answer, "claims"), 0);
    const char *secret = json_get_str(json_object_get(claim, "variables"), "input0.secret_access_key");
    *x = (struct market_ref){.job = told.job, .epoch = 1};
    told.claimed = str_eq(json_get_str(claim, "job"), told.job) && str_eq(secret, SECRET);
    market_secrets_free(answer);
    return told.claimed ? 0 : err_set(err, ERR_SYSTEM, "no claim, or one without its secret");
}

static int work(struct market *m, const struct market_caller *node, struct err *err)
{
    struct market_ref x;
    uint64_t next = 0;
    const struct market_finish end = {.outcome = "succeeded", .has_exit_code = true};
    if (take(m, node, &x, err) < 0 || market_node_logs(m, node, &x, 1, 0, SPAN_LIT(OUTPUT), &next, err) < 0)
        return -1;
    told.logged = true;
    if (market_node_commit(m, node, &x, NULL, err) < 0 || market_node_finish(m, node, &x, &end, err) < 0)
        return -1;
    told.finished = true;
    return 0;
}

static int run(struct err *err)
{
    struct market *m = NULL;
    struct market_caller manager, poster, joining, node;
    bool more = false;
    int rc = open_market(&m, err) < 0 || begin(m, &manager, err) < 0 ||
                     token_of(m, &manager, MARKET_POSTER, &poster, err) < 0 ||
                     token_of(m, &manager, MARKET_JOIN, &joining, err) < 0 || join(m, &joining, &node, err) < 0 ||
                     post(m, &poster, err) < 0 || work(m, &node, err) < 0 || market_tick(m, &more, err) < 0
                 ? -1
                 : 0;
    market_free(m);
    return rc;
}

/* ---- afterwards */

static bool complain(const char *what, const struct err *err)
{
    fprintf(stderr, "%s: %s\n", what, err->text);
    return false;
}

static bool counts_agree(const json_t *shown)
{
    static const char *const held[] = {"claimed", "staging", "running", "publishing"};
    const json_t *counts = json_object_get(json_object_get(shown, "job"), "executions");
    const char *state = json_get_str(json_array_get(json_object_get(shown, "executions"), 0), "state");
    int64_t n = 0, all = 0, one;
    const char *word;
    json_t *value;
    json_object_foreach((json_t *)counts, word, value) all += json_integer_value(value);
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        n += json_get_i64(counts, held[i], &one) ? one : 0;
    bool is_held = !str_eq(state, "queued") && !str_eq(state, "succeeded");
    return all == 1 && n == is_held && (is_held || (state && json_get_i64(counts, state, &one) && one == 1));
}

static bool job_is_there(struct market *m, const struct market_caller *manager, struct err *err)
{
    AUTO_JSON shown = NULL;
    AUTO_JSON log = NULL;
    if (market_job_get(m, manager, told.job, MARKET_WITH_EXECUTIONS, &shown, err) < 0)
        return complain("the job that was posted is gone", err);
    const char *state = json_get_str(json_object_get(shown, "job"), "state");
    if (!counts_agree(shown) || (told.claimed && str_eq(state, "queued")) ||
        (told.finished && !str_eq(state, "succeeded")))
        return complain("the job's state is not what it was", err);
    if (market_job_logs(m, manager, told.job, 0, NULL, 0, &log, err) < 0 ||
        (told.logged && json_array_size(json_object_get(log, "events")) != 1))
        return complain("the job's log is gone", err);
    return true;
}

static bool all_is_there(struct market *m, struct err *err)
{
    struct market_caller manager;
    char token[SEAL_TOKEN_MAX];
    if (!told.first) /* the database opens, and was not half made */
        return market_token_first(m, token, err) >= 0 || complain("no token can be made", err);
    if (market_token_auth(m, span_of(told.operator), &manager, err) < 0)
        return complain("the first token is gone", err);
    if (told.market && market_get(m, MARKET, NULL, err) < 0)
        return complain("the market is gone", err);
    if (told.joined && market_node_get(m, &manager, NODE, NULL, err) < 0)
        return complain("the node is gone", err);
    return !told.posted || job_is_there(m, &manager, err);
}

static bool check(bool succeeded)
{
    struct err err = ERR_INIT;
    struct market *m = NULL;
    bool well = open_market(&m, &err) == 0 ? all_is_there(m, &err) : complain("the database does not open", &err);
    market_free(m);
    if (drive_folder_holds(folder, SECRET)) {
        fprintf(stderr, "a secret lies in plain text\n");
        well = false;
    }
    seal_keys_free(keys);
    job_free(job);
    return well && (!succeeded || told.finished);
}

const struct work work_market = {"market", prepare, run, check};
