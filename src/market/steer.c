/* What a poster does to a job it has: stop it, seal a definition to its node, read its secrets for signing. */
#include "market/market_priv.h"

#define SEALED_MAX  (8u << 20) /* base64 of a confidential definition */
#define INDICES_MAX 10000

/* The executions that are not over, by index: a job may have thousands, and one statement runs at a time. */
static int live_indices(struct market *m, const char *id, uint32_t **out, size_t *n, struct err *err)
{
    uint32_t *v = calloc(INDICES_MAX, sizeof(*v));
    if (!v)
        return err_nomem(err);
    struct query q = query_on(m, "SELECT idx FROM executions WHERE job = $1 AND state < 5 ORDER BY idx LIMIT $2", err);
    query_text(&q, id);
    query_i64(&q, INDICES_MAX);
    *n = 0;
    while (query_next(&q) == 1)
        v[(*n)++] = (uint32_t)query_get(&q, 0);
    *out = v;
    return err_is_set(err) ? -1 : 0;
}

static int stop_one(struct market *m, struct job_row *j, uint32_t index, const char *reason, struct err *err)
{
    struct exec_row x;
    int rc = exec_load(m, j->id, index, &x, err);
    if (rc <= 0)
        return rc;
    const struct verdict v = decide_stop(&x.facts);
    return exec_apply(m, j, &x, &v, reason, err);
}

static const char *who_stopped(const struct job_row *j, const struct market_caller *c)
{
    return str_eq(j->owner, c->token) ? "stopped by its poster" : "stopped by an operator";
}

static int stop_all(struct market *m, const struct market_caller *c, const char *id, const char *reason,
                    struct err *err)
{
    struct job_row j;
    uint32_t *indices = NULL;
    size_t n = 0;
    int rc = job_lock(m, id, &j, err);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_NOTFOUND, "no job '%.40s'", id);
    if (exec_is_ended(j.state))
        return err_set(err, ERR_REFUSED, "job %s has ended: %s", id, exec_state_word(j.state));
    if (str_empty(reason))
        reason = who_stopped(&j, c);
    rc = live_indices(m, id, &indices, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = stop_one(m, &j, indices[i], reason, err);
    free(indices);
    return rc;
}

int market_job_stop(struct market *m, const struct market_caller *c, const char *id, const char *reason, json_t **out,
                    struct err *err)
{
    char whole[MARKET_ID_MAX];
    if (job_find(m, c, id, whole, err) < 0 || market_begin(m, err) < 0)
        return -1;
    int rc = stop_all(m, c, whole, reason, err);
    if (market_end(m, rc, err) < 0)
        return -1;
    return out ? market_job_get(m, c, whole, 0, out, err) : 0;
}

/* ---- Confidential definitions */

int definition_keep(struct market *m, const char *exec, int64_t epoch, const char *sealed, struct err *err)
{
    struct query q = query_on(m,
                              "INSERT INTO definitions (execution, epoch, sealed) VALUES ($1, $2, $3)"
                              " ON CONFLICT (execution) DO UPDATE SET epoch = $2, sealed = $3",
                              err);
    query_text(&q, exec);
    query_i64(&q, epoch);
    query_text(&q, sealed);
    return query_run(&q);
}

static int define_locked(struct market *m, const char *id, uint32_t index, int64_t epoch, const char *sealed,
                         struct err *err)
{
    struct job_row j = {0};
    struct exec_row x = {0};
    int rc = exec_lock(m, id, index, &j, &x, err);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_NOTFOUND, "job %.40s has no execution %u", id, index);
    if (!j.confidential)
        return err_set(err, ERR_REFUSED, "job %s is not confidential: its definition is known", id);
    if (x.epoch != epoch || !exec_is_held(x.facts.state))
        return err_set(err, ERR_CHANGED, "execution %u is not claimed under epoch %lld (any more)", index,
                       (long long)epoch);
    x.facts.definition_until_ms = TIME_NEVER;
    market_changed(m, x.job, false);
    market_changed(m, x.node, true);
    return definition_keep(m, x.id, epoch, sealed, err) < 0 ? -1 : exec_store(m, &x, err);
}

int market_job_define(struct market *m, const struct market_caller *c, const char *id, uint32_t index, int64_t epoch,
                      const char *sealed, struct err *err)
{
    char whole[MARKET_ID_MAX];
    if (str_empty(sealed) || strlen(sealed) > SEALED_MAX)
        return err_set(err, ERR_INVALID, "sealed: expected at most %u bytes of base64", SEALED_MAX);
    if (job_find(m, c, id, whole, err) < 0 || market_begin(m, err) < 0)
        return -1;
    return market_end(m, define_locked(m, whole, index, epoch, sealed, err), err);
}

/* ---- Secrets, for the server's own signing */

static json_t *unseal_column(const struct market *m, const struct query *q, int col, const char *id, const char *name,
                             json_t *fallback, struct err *err)
{
    struct span sealed = db_col_text(q->s, col);
    if (!sealed.p)
        return fallback;
    json_decref(fallback);
    return unseal_json(m, sealed, id, name, err);
}

int market_job_secrets(struct market *m, const struct market_caller *c, const char *id, json_t **out, struct err *err)
{
    char whole[MARKET_ID_MAX];
    if (job_find(m, c, id, whole, err) < 0)
        return -1;
    struct query q = query_on(m, "SELECT definition, secrets, credentials FROM jobs WHERE id = $1 AND owner = $2", err);
    query_text(&q, whole);
    query_text(&q, c->token);
    int rc = query_next(&q);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_NOTFOUND, "job %s is another poster's", whole);
    json_t *o = json_object(), *definition = json_object();
    put_i64(definition, "berth", 1, err);
    put_stored(definition, "job", &q, 0, json_null(), err);
    json_put(o, "definition", definition, err);
    json_put(o, "variables", unseal_column(m, &q, 1, whole, "variables", json_object(), err), err);
    json_put(o, "credentials", unseal_column(m, &q, 2, whole, "credentials", json_null(), err), err);
    query_done(&q);
    if (give(out, &o, err) < 0 || !out)
        market_secrets_free(o);
    return err_is_set(err) ? -1 : 0;
}
