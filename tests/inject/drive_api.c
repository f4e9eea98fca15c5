/* Calls, pages and events of a server on loopback: what came in is all that was said, or there is an error. */
#include "drive.h"

#include "api/api.h"
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

#define PAGES  3
#define EVENTS 4

static char url[64];
static int64_t answer;
static unsigned pages, events;
static bool ended;

/* ---- the server ---- */

static void add_json(struct buf *out, const char *text)
{
    buf_addf(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(text),
             text);
}

static void add_page(struct buf *out, const char *request)
{
    unsigned at = 0;
    char text[64];
    const char *after = strstr(request, "next_token=");
    if (after)
        sscanf(after, "next_token=%u", &at);
    snprintf(text, sizeof text,
             at + 1 < PAGES ? "{\"page\":%u,\"next_token\":\"%u\"}" : "{\"page\":%u,\"next_token\":\"\"}", at, at + 1);
    add_json(out, text);
}

/* From the event after the last one seen, as a client asks that comes again. */
static void add_events(struct buf *out, const char *request)
{
    unsigned seen = 0;
    const char *last = strcasestr(request, "\r\nlast-event-id: ");
    if (last)
        sscanf(last + strlen("\r\nlast-event-id: "), "%u", &seen);
    buf_adds(out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
    for (unsigned i = seen + 1; i <= EVENTS; i++)
        buf_addf(out, "event: log\nid: %u\ndata: {\"n\":%u}\n\n", i, i);
    buf_adds(out, "event: end\ndata: {}\n\n");
}

static enum loopback_then serve(void *ctx, const char *request, struct buf *out)
{
    (void)ctx;
    if (strstr(request, "/events")) {
        add_events(out, request);
        return LOOPBACK_CLOSE;
    }
    if (strstr(request, "/pages"))
        add_page(out, request);
    else
        add_json(out, "{\"answer\":42}");
    return LOOPBACK_KEEP;
}

static int prepare(const char *dir)
{
    uint16_t port;
    (void)dir;
    if (drive_serve(serve, &port) < 0)
        return -1;
    snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    return 0;
}

/* ---- the client ---- */

static int each_page(void *ctx, const json_t *page, struct err *err)
{
    int64_t at = -1;
    (void)ctx;
    if (!json_get_i64(page, "page", &at) || at != pages)
        return err_set(err, ERR_CORRUPT, "a page out of order");
    pages++;
    return 0;
}

static int each_event(void *ctx, const struct api_event *event, struct err *err)
{
    char id[16];
    (void)ctx;
    if (str_eq(event->event, "end")) {
        ended = true;
        return 0;
    }
    snprintf(id, sizeof id, "%u", events + 1);
    if (!str_eq(event->event, "log") || !str_eq(event->id, id))
        return err_set(err, ERR_CORRUPT, "an event is missing, or comes twice");
    events++;
    return 0;
}

static int ask(struct api *a, struct err *err)
{
    AUTO_JSON body = json_object();
    AUTO_JSON out = NULL;
    AUTO_STR path = api_path(err, "/api/", "a b", "/answer");
    if (!path || json_put_str(body, "question", "?", err) < 0)
        return -1;
    const struct api_call call = {.path = path, .body = body, .idempotency_key = "k", .total_ms = 10000};
    if (api_call(a, &call, &out, err) < 0)
        return -1;
    return json_get_i64(out, "answer", &answer) ? 0 : err_set(err, ERR_CORRUPT, "no answer in it");
}

static int run(struct err *err)
{
    const struct api_opts opts = {.server = url, .token = "berth_p_canary"};
    const struct api_events stream = {.path = "/events", .each = each_event, .tries = 3};
    struct api *a = NULL;
    if (api_open(&a, &opts, err) < 0)
        return -1;
    int rc = ask(a, err) < 0 || api_pages(a, "/pages?limit=1", NULL, each_page, NULL, err) < 0 ||
                     api_events(a, &stream, err) < 0
                 ? -1
                 : 0;
    api_free(a);
    return rc;
}

static bool check(bool succeeded)
{
    bool all = answer == 42 && pages == PAGES && events == EVENTS && ended;
    if (succeeded && !all)
        fprintf(stderr, "only %u pages and %u events came\n", pages, events);
    return !succeeded || all;
}

const struct work work_api = {"api", prepare, run, check};
