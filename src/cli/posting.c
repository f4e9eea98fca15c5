#include "cli/posting.h"

#include "base/rng.h"
#include "cli/confidential.h"
#include "cli/remote.h"
#include "cli/table.h"

#include <stdlib.h>

#define EVENT_MAX ((size_t)4 << 20)

static int put_credentials(const struct posting_opts *o, json_t *body, struct err *err)
{
    static const struct {
        const char *env, *name;
    } from[] = {{"AWS_ACCESS_KEY_ID", "access_key_id"},
                {"AWS_SECRET_ACCESS_KEY", "secret_access_key"},
                {"AWS_SESSION_TOKEN", "session_token"},
                {"AWS_REGION", "region"}};
    if (!o->credentials)
        return 0;
    if (!str_eq(o->credentials, "env"))
        return err_set(err, ERR_USAGE, "--credentials: '%.64s' is not env, which takes them from AWS_*",
                       o->credentials);
    AUTO_JSON c = json_object();
    for (size_t i = 0; i < ARRAY_LEN(from); i++)
        if (!str_empty(getenv(from[i].env)) && json_put_str(c, from[i].name, getenv(from[i].env), err) < 0)
            return -1;
    if (!json_object_get(c, "access_key_id") || !json_object_get(c, "secret_access_key"))
        return err_set(err, ERR_USAGE,
                       "--credentials env: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set");
    return json_put(body, "credentials", json_incref(c), err);
}

static int put_number(json_t *body, const char *name, uint64_t value, struct err *err)
{
    return value ? json_put_u64(body, name, value, err) : 0;
}

/* What only the node is to read, and what the server needs to find one. */
struct posting {
    json_t *body;
    json_t *sealed; /* NULL: not confidential */
};

static void posting_release(struct posting *p)
{
    json_decref(p->body);
    json_decref(p->sealed);
}

/* Members of the job itself go to the sealed part where there is one. */
static int put_job(struct posting *p, const struct posting_opts *o, json_t *definition, const json_t *needs,
                   struct err *err)
{
    json_t *into = p->sealed ? p->sealed : p->body;
    if (json_put(into, "definition", json_incref(definition), err) < 0 ||
        (o->publish && json_put_str(into, "publish", o->publish, err) < 0) || put_credentials(o, into, err) < 0)
        return -1;
    return p->sealed ? json_put(p->body, "requires", json_incref((json_t *)needs), err) : 0;
}

static int make_posting(struct posting *p, const struct posting_opts *o, json_t *definition, const json_t *needs,
                        struct err *err)
{
    p->body = json_object();
    p->sealed = o->confidential ? json_object() : NULL;
    json_t *body = p->body;
    return put_job(p, o, definition, needs, err) < 0 || json_put_u64(body, "version", 1, err) < 0 ||
                   json_put_str(body, "market", o->market, err) < 0 ||
                   (o->labels && json_put(body, "labels", remote_labels(o->labels, err), err) < 0) ||
                   put_number(body, "timeout_ms", o->timeout_ms, err) < 0 ||
                   put_number(body, "queue_timeout_ms", o->queue_ms, err) < 0 ||
                   put_number(body, "total_timeout_ms", o->total_ms, err) < 0 ||
                   (o->confidential && json_put(body, "confidential", json_true(), err) < 0) ||
                   (o->priority && json_put(body, "priority", json_integer(*o->priority), err) < 0)
               ? -1
               : 0;
}

static int send_posting(const struct cli *cli, struct api *api, const struct posting_opts *o, const struct posting *p,
                        json_t **job, struct err *err)
{
    char made_key[RNG_ID_MAX];
    AUTO_JSON answer = NULL;
    if (rng_id(made_key, err) < 0)
        return -1;
    /* With a key a lost answer costs a repetition, not a second job. */
    const struct api_call call = {
        .path = REMOTE_JOBS, .body = p->body, .idempotency_key = o->key ? o->key : made_key, .cancel = &cli->cancel};
    if (api_call(api, &call, &answer, err) < 0)
        return -1;
    *job = json_incref(json_object_get(answer, "job"));
    return *job && json_get_str(*job, "id") ? 0 : err_set(err, ERR_PROTOCOL, "the server's answer names no job");
}

/* The first line of those that follow. */
static int say_event(json_t *job, struct err *err)
{
    AUTO_JSON event = json_object();
    AUTO_BUF line;
    buf_init(&line, EVENT_MAX);
    if (json_put_str(event, "event", "posted", err) < 0 || json_put(event, "job", json_incref(job), err) < 0 ||
        json_write(event, false, &line, err) < 0)
        return -1;
    puts(buf_str(&line));
    return 0;
}

static int say_posted(const struct posting_opts *o, json_t *job, struct err *err)
{
    const char *id = json_get_str(job, "id");
    int rc = 0;
    if (o->id_only)
        text_line(stdout, "%s", id);
    else if (globals.json && o->follow)
        rc = say_event(job, err);
    else if (globals.json && !o->wait)
        rc = cli_print_json(json_incref(job), err);
    else if (!globals.quiet)
        text_line(stderr, "posted %s to %s", id, o->market);
    fflush(stdout);
    return rc;
}

/* Until its end; with --json, what became of it. An interruption ends the waiting, not the job. */
static int wait_for(struct cli *cli, struct api *api, const struct posting_opts *o, const char *id, int *code,
                    struct err *err)
{
    AUTO_JSON answer = NULL;
    AUTO_STR path = api_path(err, REMOTE_JOBS "/", id, NULL);
    if (!path || remote_logs(cli, api, id, 0, true, o->follow, code, err) < 0) {
        if (err->kind == ERR_CANCELLED)
            err_hint(err, "the job goes on: `berth job logs --follow %s` shows it, `berth job stop %s` ends it", id,
                     id);
        return -1;
    }
    if (!globals.json || o->follow || o->id_only)
        return 0;
    return api_call(api, &(struct api_call){.path = path, .cancel = &cli->cancel}, &answer, err) < 0
               ? -1
               : cli_print_json(json_incref(json_object_get(answer, "job")), err);
}

static int post(struct cli *cli, struct api *api, const struct posting_opts *o, const struct posting *p, int *code,
                struct err *err)
{
    json_t *job = NULL;
    int rc = send_posting(cli, api, o, p, &job, err) < 0 || say_posted(o, job, err) < 0 ? -1 : 0;
    const char *id = json_get_str(job, "id");
    if (rc == 0 && p->sealed)
        rc = confidential_deliver(cli, api, id, p->sealed, err);
    if (rc == 0 && (o->wait || o->follow))
        rc = wait_for(cli, api, o, id, code, err);
    json_decref(job);
    return rc;
}

int posting_send(struct cli *cli, const struct posting_opts *o, json_t *definition, json_t *needs, struct err *err)
{
    struct posting p = {0};
    struct api *api = NULL;
    int code = 0;
    if (!definition || !needs || make_posting(&p, o, definition, needs, err) < 0 || remote_open(cli, &api, err) < 0 ||
        post(cli, api, o, &p, &code, err) < 0)
        code = err->kind == ERR_CANCELLED ? cli_signal_exit_code() : EXIT_BERTH;
    api_free(api);
    json_decref(definition);
    json_decref(needs);
    posting_release(&p);
    return code;
}
