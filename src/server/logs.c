/* A job's logs and states as server-sent events. */
#include "server/server_priv.h"

#include "base/clock.h"

#include <stdio.h>

#define CURSOR_MAX  128
#define PIECE_BYTES (256u << 10)
/* Then the client comes again from where it is. */
#define STREAM_MAX_MS 600000

struct follow {
    struct server *s;
    struct market_caller caller;
    char job[MARKET_ID_MAX];
    uint32_t index;
    bool follow;
    char cursor[CURSOR_MAX];
    char state[32]; /* the last one told */
    uint64_t begun_ms, told_ms;
};

static void put_event(struct buf *out, const char *name, const char *id, const json_t *data)
{
    struct err err = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, 1u << 20);
    if (json_write(data, false, &text, &err) < 0) {
        out->state = BUF_NOMEM;
        return;
    }
    buf_addf(out, "event: %s\n", name);
    if (id)
        buf_addf(out, "id: %s\n", id);
    buf_adds(out, "data: ");
    buf_add_span(out, buf_span(&text));
    buf_adds(out, "\n\n");
}

/* {"state", "exit_code", "reason"} of the answer. */
static void put_state(struct buf *out, const char *name, const json_t *answer)
{
    static const char *const members[] = {"state", "exit_code", "reason"};
    AUTO_JSON data = json_object();
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (json_object_get(answer, members[i]))
            json_object_set(data, members[i], json_object_get(answer, members[i]));
    put_event(out, name, NULL, data);
}

static void tell(struct follow *f, const json_t *answer, struct buf *out)
{
    const json_t *events = json_object_get(answer, "events");
    const char *state = json_get_str(answer, "state"), *cursor = json_get_str(answer, "cursor");
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *e = json_array_get(events, i);
        put_event(out, json_get_str(e, "event"), json_get_str(e, "id"), json_object_get(e, "data"));
    }
    if (cursor)
        snprintf(f->cursor, sizeof f->cursor, "%s", cursor);
    if (state && !str_eq(state, f->state)) {
        snprintf(f->state, sizeof f->state, "%s", state);
        put_state(out, "state", answer);
    }
}

static int next(void *ctx, struct httpd_request *req, struct buf *out, uint32_t *wait_ms)
{
    struct follow *f = ctx;
    struct err err = ERR_INIT;
    AUTO_JSON answer = NULL;
    *wait_ms = POLL_MS;
    httpd_watch(req, f->job);
    struct market *m = server_take(f->s, &err);
    int rc = m ? market_token_check(m, &f->caller, &err) : -1;
    if (rc == 0)
        rc = market_job_logs(m, &f->caller, f->job, f->index, f->cursor, PIECE_BYTES, &answer, &err);
    bool over = err.kind == ERR_NOTFOUND || err.kind == ERR_DENIED;
    server_give(f->s, m, rc < 0 && !over);
    if (rc < 0) /* job or token are gone, or the database is: the client comes again, and hears it then */
        return !over;
    tell(f, answer, out);
    size_t events = json_array_size(json_object_get(answer, "events"));
    if (json_get_bool(answer, "ended", false) || (!f->follow && events == 0)) {
        put_state(out, "end", answer);
        return 0;
    }
    uint64_t now = clock_mono_ms();
    if (out->n == 0 && now - f->told_ms > KEEP_ALIVE_MS)
        buf_adds(out, ": alive\n\n");
    if (out->n)
        f->told_ms = now;
    if (events)
        *wait_ms = 0;
    return now - f->begun_ms < STREAM_MAX_MS;
}

static const struct httpd_stream logs = {next, free};

int logs_stream(struct call *c, json_t **out, struct err *err)
{
    AUTO_JSON job = NULL;
    uint32_t index = 0;
    const char *follow = httpd_query(c->req, "follow"), *since = httpd_query(c->req, "since"),
               *last = httpd_header(c->req, "Last-Event-ID");
    (void)out;
    if (query_u32(c, "index", UINT32_MAX, &index, err) < 0 ||
        market_job_get(c->m, &c->caller, httpd_param(c->req, "id"), 0, &job, err) < 0)
        return -1;
    const char *cursor = last ? last : since ? since : "", *id = json_get_str(json_object_get(job, "job"), "id");
    int64_t executions = 0;
    if (strlen(cursor) >= CURSOR_MAX || !id)
        return err_set(err, ERR_INVALID, "since: not a cursor of this API");
    if (!json_get_i64(json_object_get(job, "job"), "count", &executions) || index >= executions)
        return err_set(err, ERR_NOTFOUND, "%s has no execution %u", id, index);
    AUTO_JSON probe = NULL; /* what is wrong is said by a status, not in a stream */
    if (market_job_logs(c->m, &c->caller, id, index, cursor, 1, &probe, err) < 0)
        return -1;
    struct follow *f = calloc(1, sizeof *f);
    if (!f)
        return err_nomem(err);
    f->s = c->s;
    f->caller = c->caller;
    f->index = index;
    f->follow = follow && !str_eq(follow, "0") && !str_eq(follow, "false");
    f->begun_ms = f->told_ms = clock_mono_ms();
    snprintf(f->job, sizeof f->job, "%s", id);
    snprintf(f->cursor, sizeof f->cursor, "%s", cursor);
    c->resp->content_type = "text/event-stream";
    c->resp->stream = &logs;
    c->resp->stream_ctx = f;
    c->answered = true;
    return 0;
}
