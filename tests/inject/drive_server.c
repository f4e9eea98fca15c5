/* Requests to a server: a job is posted, claimed, logged and finished, and looked at. Whatever fails: an answer is
 * JSON, a refusal has words, what was answered with success has happened, and a server that was in trouble serves
 * again. */
#include "drive.h"

#include "../unit/server/fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARKET "gpu"
#define NODE   "n-1"
#define SECRET "hunter2-never-in-plain-text"
#define JOBS   "/api/v1/orchestrator/jobs"
#define ASK    "/api/v1/node/"

static const char job_body[] =
    "{\"market\":\"" MARKET
    "\",\"definition\":{\"version\":\"0.1\",\"type\":\"container\",\"ops\":[{\"id\":\"op\",\"type\":"
    "\"container/run\",\"args\":{\"image\":\"busybox\",\"cmd\":[\"true\"],\"resources\":[{\"type\":\"S3\",\"url\":"
    "\"https://s3.example/b/d\",\"target\":\"/data\",\"IAM\":{\"ACCESS_KEY_ID\":\"a\",\"SECRET_ACCESS_KEY\":\"" SECRET
    "\"}}]}}]}}";

static char folder[256];
static struct fake_server fake;
static struct {
    char operator[SEAL_TOKEN_MAX], poster[SEAL_TOKEN_MAX], node[SEAL_TOKEN_MAX];
} tokens;
static struct { /* answered with success */
    char job[MARKET_ID_MAX];
    bool claimed, logged, finished;
} told;
static bool mumbled; /* an answer that nobody can read */

/* ---- a request */

/* The answer; NULL with `err` where it is a refusal. */
static json_t *ask(const char *method, const char *target, const char *token, const char *body, struct err *err)
{
    struct err reading = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, 1u << 20);
    const struct fake_call call = {.method = method, .target = target, .token = token, .body = span_of(body)};
    int status = fake_call(&fake, &call, &text);
    json_t *answer = text.n ? json_parse(buf_span(&text), &reading) : NULL;
    if (answer && (status == 200 || status == 201))
        return answer;
    const char *message = json_get_str(json_object_get(answer, "error"), "message");
    bool short_of_memory = (status == 500 && text.n == 0) || reading.kind == ERR_NOMEM || text.state == BUF_NOMEM;
    if (!message && status != FAKE_WAITS && !short_of_memory) {
        fprintf(stderr, "%s %s: HTTP %d: %s\n", method, target, status, buf_str(&text));
        mumbled = true;
    }
    err_set(err, ERR_PROTOCOL, "HTTP %d: %s", status, message ? message : "");
    json_decref(answer);
    return NULL;
}

static int tell(const char *what, const char *body, struct err *err)
{
    char target[64];
    snprintf(target, sizeof target, ASK "%s", what);
    AUTO_JSON answer = ask("POST", target, tokens.node, body, err);
    return answer ? 0 : -1;
}

/* ---- undisturbed */

static int keep_token(json_t *answer, char out[SEAL_TOKEN_MAX])
{
    const char *token = json_get_str(answer, "token");
    snprintf(out, SEAL_TOKEN_MAX, "%s", token ? token : "");
    json_decref(answer);
    return *out ? 0 : -1;
}

static int make_world(struct err *err)
{
    char join[SEAL_TOKEN_MAX];
    struct market *m = server_take(&fake.server, err);
    int rc = m ? market_token_first(m, tokens.operator, err) : -1;
    server_give(&fake.server, m, false);
    if (rc < 0)
        return -1;
    AUTO_JSON market = ask("PUT", "/api/markets/" MARKET, tokens.operator, "{}", err);
    if (!market ||
        keep_token(ask("POST", "/api/v1/tokens", tokens.operator, "{\"role\":\"poster\"}", err), tokens.poster) < 0 ||
        keep_token(ask("POST", "/api/v1/tokens", tokens.operator, "{\"role\":\"join\",\"market\":\"" MARKET "\"}", err),
                   join) < 0 ||
        keep_token(ask("POST", ASK "hello", join, "{\"version\":1,\"node\":\"" NODE "\"}", err), tokens.node) < 0)
        return -1;
    return tell("heartbeat", "{\"version\":1,\"node\":\"" NODE "\",\"ready\":true,\"required_version\":0}", err);
}

static int prepare(const char *dir)
{
    struct err err = ERR_INIT;
    snprintf(folder, sizeof folder, "%s", dir);
    if (fake_open(&fake, dir, &err) == 0 && make_world(&err) == 0)
        return 0;
    fprintf(stderr, "%s\n", err.text);
    return -1;
}

/* ---- disturbed */

static int post(struct err *err)
{
    AUTO_JSON answer = ask("POST", JOBS, tokens.poster, job_body, err);
    const char *id = json_get_str(json_object_get(answer, "job"), "id");
    snprintf(told.job, sizeof told.job, "%s", id ? id : "");
    return answer ? 0 : -1;
}

static int claim(struct err *err)
{
    AUTO_JSON answer = ask("POST", ASK "claim", tokens.node, "{\"version\":1,\"node\":\"" NODE "\",\"free\":1}", err);
    const json_t *one = json_array_get(json_object_get(answer, "claims"), 0);
    if (!answer)
        return -1;
    told.claimed = str_eq(json_get_str(json_object_get(one, "variables"), "input0.secret_access_key"), SECRET);
    return told.claimed ? 0 : err_set(err, ERR_SYSTEM, "no claim, or one without its secret");
}

static int say(const char *what, const char *more, struct err *err)
{
    AUTO_STR body = str_printf(err, "{\"version\":1,\"node\":\"" NODE "\",\"job\":\"%s\",\"index\":0,\"epoch\":1%s}",
                               told.job, more);
    return body ? tell(what, body, err) : -1;
}

static int look(const char *of, struct err *err)
{
    AUTO_STR target = str_printf(err, JOBS "/%s%s", told.job, of);
    AUTO_JSON answer = target ? ask("GET", target, tokens.poster, "", err) : NULL;
    return answer ? 0 : -1;
}

static int run(struct err *err)
{
    if (post(err) < 0 || claim(err) < 0 || say("logs", ",\"stream\":1,\"offset\":0,\"data\":\"aGVsbG8K\"", err) < 0)
        return -1;
    told.logged = true;
    if (say("uploads", "", err) < 0 || say("commit", "", err) < 0 || say("locate", ",\"sha256\":[]", err) < 0 ||
        say("finish", ",\"outcome\":\"succeeded\",\"exit_code\":0", err) < 0)
        return -1;
    told.finished = true;
    return look("?include=history,executions", err) < 0 || look("/results", err) < 0 || look("/history", err) < 0 ? -1
                                                                                                                  : 0;
}

/* ---- afterwards */

static bool state_is_right(struct err *err)
{
    AUTO_STR target = str_printf(err, JOBS "/%s", told.job);
    AUTO_JSON answer = target ? ask("GET", target, tokens.poster, "", err) : NULL;
    const char *state = json_get_str(json_object_get(answer, "job"), "state");
    return state && !(told.claimed && str_eq(state, "queued")) && !(told.finished && !str_eq(state, "succeeded"));
}

static bool log_is_there(struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, 1u << 20);
    AUTO_STR target = str_printf(err, JOBS "/%s/logs", told.job);
    const struct fake_call call = {.method = "GET", .target = target, .token = tokens.poster};
    return target && fake_call(&fake, &call, &text) == 200 && strstr(buf_str(&text), "aGVsbG8K");
}

static bool check(bool succeeded)
{
    struct err err = ERR_INIT;
    AUTO_JSON jobs = ask("GET", JOBS, tokens.poster, "", &err); /* it serves again */
    bool well = jobs && !mumbled && (!*told.job || state_is_right(&err)) && (!told.logged || log_is_there(&err));
    if (!well)
        fprintf(stderr, "what was answered did not happen: %s\n", err.text);
    fake_close(&fake);
    if (drive_folder_holds(folder, SECRET)) {
        fprintf(stderr, "a secret lies in plain text\n");
        well = false;
    }
    return well && (!succeeded || told.finished);
}

const struct work work_server = {"server", prepare, run, check};
