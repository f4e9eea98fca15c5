/* Jobs as posters and operators see them. */
#include "server/server_priv.h"

#include "spec/spec.h"

#include <inttypes.h>

#define JOBS "/api/v1/orchestrator/jobs"

/* --- posting ------------------------------------------------------------------------------------------------------ */

static int read_vars(const struct call *c, struct strv *vars, struct err *err)
{
    const json_t *given = NULL;
    const char *name;
    json_t *value;
    if (body_json(c, "variables", JSON_OBJECT, &given, err) < 0)
        return -1;
    json_object_foreach((json_t *)given, name, value)
    {
        if (!json_is_string(value))
            return err_set(err, ERR_INVALID, "variables.%s: must be a string", name);
        if (strv_addf(vars, err, "%s=%s", name, json_string_value(value)) < 0)
            return -1;
    }
    return 0;
}

static int parse_definition(const struct call *c, struct job **out, struct err *err)
{
    const json_t *definition = NULL;
    struct strv vars = {0};
    struct buf text;
    buf_init(&text, SPEC_FILE_MAX);
    int rc = body_need(c, "definition", err) < 0 || body_json(c, "definition", JSON_OBJECT, &definition, err) < 0 ||
                     read_vars(c, &vars, err) < 0 || json_write(definition, false, &text, err) < 0
                 ? -1
                 : 0;
    const struct spec_opts opts = {.file = "definition", .vars = (const char *const *)vars.v};
    if (rc == 0)
        rc = spec_parse(buf_span(&text), &opts, out, err);
    if (rc == 0)
        rc = spec_check_market(*out, err);
    if (text.p)
        mem_wipe(text.p, text.n);
    buf_release(&text);
    for (size_t i = 0; i < vars.n; i++)
        mem_wipe(vars.v[i], strlen(vars.v[i]));
    strv_release(&vars);
    return rc;
}

static int read_credentials(const struct call *c, struct market_credentials *out, bool *given, struct err *err)
{
    const json_t *v = NULL;
    if (body_json(c, "credentials", JSON_OBJECT, &v, err) < 0)
        return -1;
    *given = v != NULL;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)v, name, value)
    {
        const char **to = str_eq(name, "access_key_id")       ? &out->access_key_id
                          : str_eq(name, "secret_access_key") ? &out->secret_access_key
                          : str_eq(name, "session_token")     ? &out->session_token
                          : str_eq(name, "region")            ? &out->region
                                                              : NULL;
        if (!to || !json_is_string(value))
            return err_set(err, ERR_INVALID, "credentials.%.60s: %s", name, to ? "must be a string" : "unknown");
        *to = json_string_value(value);
    }
    if (v && (str_empty(out->access_key_id) || str_empty(out->secret_access_key)))
        return err_set(err, ERR_INVALID, "credentials: access_key_id and secret_access_key go together");
    return 0;
}

static int read_post(const struct call *c, struct market_post *post, struct market_credentials *credentials,
                     int32_t *priority, struct err *err)
{
    int64_t p = 0, sealed = 0;
    bool given = false;
    if (body_need(c, "market", err) < 0 || body_str(c, "market", &post->market, err) < 0 ||
        body_i64(c, "timeout_ms", 0, INT64_MAX / 2, &post->timeout_ms, err) < 0 ||
        body_i64(c, "queue_timeout_ms", 0, INT64_MAX / 2, &post->queue_timeout_ms, err) < 0 ||
        body_i64(c, "total_timeout_ms", 0, INT64_MAX / 2, &post->total_timeout_ms, err) < 0 ||
        body_i64(c, "priority", -100, 100, &p, err) < 0 ||
        body_json(c, "labels", JSON_OBJECT, &post->labels, err) < 0 ||
        body_str(c, "publish", &post->publish, err) < 0 || body_bool(c, "confidential", &post->confidential, err) < 0 ||
        body_i64(c, "sealed_count", 1, 10000, &sealed, err) < 0 ||
        body_json(c, "requires", JSON_OBJECT, &post->requires, err) < 0 ||
        read_credentials(c, credentials, &given, err) < 0)
        return -1;
    if (json_is_integer(json_object_get(c->body, "priority"))) { /* null says nothing, as of all members */
        *priority = (int32_t)p;
        post->priority = priority;
    }
    post->sealed_count = (uint32_t)sealed;
    post->credentials = given ? credentials : NULL;
    post->idempotency_key = httpd_header(c->req, "Idempotency-Key");
    post->body = httpd_body(c->req);
    if (post->idempotency_key && (!*post->idempotency_key || strlen(post->idempotency_key) > IDEMPOTENCY_MAX))
        return err_set(err, ERR_INVALID, "Idempotency-Key: must be 1 to %d bytes", IDEMPOTENCY_MAX);
    return 0;
}

static int put_warnings(json_t *out, const struct job *job, struct err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < job->warning_count; i++)
        json_array_append_new(list, json_string(job->warnings[i]));
    return json_put(out, "warnings", list, err);
}

/* Where the results are to go: "publish" of the request before the job's own. */
static int check_publisher(const struct call *c, const struct market_post *post, struct err *err)
{
    bool managed = post->publish ? str_eq(post->publish, "s3managed")
                                 : post->job && post->job->publisher.kind == PUBLISH_S3MANAGED;
    if (!managed || c->s->managed)
        return 0;
    err_set(err, ERR_UNSUPPORTED, "publisher s3managed: this server has no place for managed results");
    return err_hint(err, "publish to a bucket of your own: s3://BUCKET/KEY");
}

static int post_job(struct call *c, json_t **out, struct err *err)
{
    struct market_post post = MARKET_POST_OWN;
    struct market_credentials credentials = {0};
    int32_t priority = 0;
    struct job *job = NULL;
    bool again = false;
    if (read_post(c, &post, &credentials, &priority, err) < 0)
        return -1;
    if (post.confidential && json_object_get(c->body, "definition"))
        return err_set(err, ERR_INVALID,
                       "definition: a confidential job's comes later, sealed to the node that claimed it");
    int rc = post.confidential ? 0 : parse_definition(c, &job, err);
    post.job = job;
    if (rc == 0)
        rc = check_publisher(c, &post, err);
    if (rc == 0)
        rc = market_job_post(c->m, &c->caller, &post, &again, out, err);
    if (rc == 0 && job && job->warning_count)
        rc = put_warnings(*out, job, err);
    c->status = again ? 200 : 201;
    job_free(job);
    return rc;
}

/* --- seeing ------------------------------------------------------------------------------------------------------- */

static int list_jobs(struct call *c, json_t **out, struct err *err)
{
    struct market_job_query q = {.state = httpd_query(c->req, "state"), .market = httpd_query(c->req, "market")};
    const char *label = httpd_query(c->req, "label"), *order = httpd_query(c->req, "order_by"),
               *reverse = httpd_query(c->req, "reverse");
    struct span name, value;
    if (query_page(c, &q.page, err) < 0)
        return -1;
    if (label) {
        bool has_value = span_cut(span_of(label), '=', &name, &value);
        AUTO_STR n = str_dup_span(name, err);
        if (!n)
            return -1;
        q.label_name = httpd_keep(c->req, n);
        q.label_value = has_value ? value.p : NULL;
        if (!q.label_name)
            return err_nomem(err);
    }
    if (order && !str_eq(order, "created") && !str_eq(order, "priority") && !str_eq(order, "state"))
        return err_set(err, ERR_INVALID, "order_by: created, priority or state");
    q.order = str_eq(order, "priority") ? MARKET_BY_PRIORITY
              : str_eq(order, "state")  ? MARKET_BY_STATE
                                        : MARKET_BY_CREATED;
    q.reverse = reverse && !str_eq(reverse, "0") && !str_eq(reverse, "false");
    return market_job_list(c->m, &c->caller, &q, out, err);
}

static int get_job(struct call *c, json_t **out, struct err *err)
{
    const char *include = httpd_query(c->req, "include");
    unsigned with = 0;
    struct span rest = include ? span_of(include) : (struct span){0}, word;
    while (rest.n) {
        span_cut(rest, ',', &word, &rest);
        if (span_eq(word, SPAN_LIT("history")))
            with |= MARKET_WITH_HISTORY;
        else if (span_eq(word, SPAN_LIT("executions")))
            with |= MARKET_WITH_EXECUTIONS;
        else
            return err_set(err, ERR_INVALID, "include: history and executions, separated by a comma");
    }
    return market_job_get(c->m, &c->caller, httpd_param(c->req, "id"), with, out, err);
}

static int stop_job(struct call *c, json_t **out, struct err *err)
{
    const char *reason = httpd_query(c->req, "reason");
    return market_job_stop(c->m, &c->caller, httpd_param(c->req, "id"), reason, out, err);
}

static int job_history(struct call *c, json_t **out, struct err *err)
{
    return market_job_history(c->m, &c->caller, httpd_param(c->req, "id"), out, err);
}

static int job_executions(struct call *c, json_t **out, struct err *err)
{
    return market_job_executions(c->m, &c->caller, httpd_param(c->req, "id"), out, err);
}

static int job_results(struct call *c, json_t **out, struct err *err)
{
    AUTO_JSON job = NULL;
    if (market_job_get(c->m, &c->caller, httpd_param(c->req, "id"), 0, &job, err) < 0)
        return -1;
    const char *id = json_get_str(json_object_get(job, "job"), "id"); /* the whole one */
    if (market_job_results(c->m, &c->caller, id, out, err) < 0)
        return -1;
    return results_sign(c, id, json_object_get(*out, "results"), err);
}

static int define_job(struct call *c, json_t **out, struct err *err)
{
    int64_t index = 0, epoch = 0;
    const char *sealed = NULL;
    if (body_i64(c, "index", 0, UINT32_MAX, &index, err) < 0 || body_need(c, "epoch", err) < 0 ||
        body_i64(c, "epoch", 1, INT64_MAX, &epoch, err) < 0 || body_need(c, "sealed", err) < 0 ||
        body_str(c, "sealed", &sealed, err) < 0)
        return -1;
    *out = json_object();
    return market_job_define(c->m, &c->caller, httpd_param(c->req, "id"), (uint32_t)index, epoch, sealed, err);
}

static const char *const post_members[] = {
    "market",           "definition", "variables",   "timeout_ms", "priority",     "labels",       "queue_timeout_ms",
    "total_timeout_ms", "publish",    "credentials", "requires",   "confidential", "sealed_count", NULL};
static const char *const define_members[] = {"index", "epoch", "sealed", NULL};
static const char *const list_queries[] = {"state",      "label",    "market",  "limit",
                                           "next_token", "order_by", "reverse", NULL};
static const char *const get_queries[] = {"include", NULL};
static const char *const stop_queries[] = {"reason", NULL};
static const char *const log_queries[] = {"index", "follow", "since", NULL};

#define PEOPLE (ROLE_BIT(POSTER) | ROLE_BIT(OPERATOR))

const struct route_about routes_jobs[] = {
    ROUTE("PUT", JOBS, PEOPLE, post_members, post_job, .body_max = POST_BODY_MAX),
    ROUTE("POST", JOBS, PEOPLE, post_members, post_job, .body_max = POST_BODY_MAX),
    ROUTE("GET", JOBS, PEOPLE, NULL, list_jobs, .queries = list_queries),
    ROUTE("GET", JOBS "/{id}", PEOPLE, NULL, get_job, .queries = get_queries),
    ROUTE("DELETE", JOBS "/{id}", PEOPLE, NULL, stop_job, .queries = stop_queries),
    ROUTE("GET", JOBS "/{id}/history", PEOPLE, NULL, job_history),
    ROUTE("GET", JOBS "/{id}/executions", PEOPLE, NULL, job_executions),
    ROUTE("GET", JOBS "/{id}/results", PEOPLE, NULL, job_results),
    ROUTE("GET", JOBS "/{id}/logs", PEOPLE, NULL, logs_stream, .queries = log_queries),
    ROUTE("PUT", JOBS "/{id}/definition", PEOPLE, define_members, define_job, .body_max = SEALED_BODY_MAX),
    {0},
};
