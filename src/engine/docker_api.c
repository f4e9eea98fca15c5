#include "base/enc.h"
#include "engine/docker.h"

#include <stdarg.h>

#define MESSAGE_PART 300 /* of an error body that is not JSON */

void docker_reply_release(struct docker_reply *r)
{
    json_decref(r->json);
    *r = (struct docker_reply){0};
}

enum err_kind docker_status_kind(int status)
{
    switch (status) {
    case 400:
        return ERR_INVALID;
    case 401:
    case 403:
        return ERR_DENIED;
    case 404:
        return ERR_NOTFOUND;
    case 409:
        return ERR_BUSY;
    case 502:
    case 503:
    case 504:
        return ERR_TRANSIENT;
    default:
        return ERR_SYSTEM;
    }
}

int docker_refused(const struct docker_reply *r, struct err *err, const char *fmt, ...)
{
    AUTO_BUF what;
    va_list ap;
    buf_init(&what, ERR_TEXT_MAX);
    va_start(ap, fmt);
    buf_vaddf(&what, fmt, ap);
    va_end(ap);
    return err_set(err, docker_status_kind(r->status), "%s: %s (HTTP %d)", buf_str(&what),
                   r->message[0] ? r->message : "no reason given", r->status);
}

int docker_unreachable(const struct docker *d, struct err *err)
{
    err_wrap(err, "container engine %s", d->address);
    if (err->kind == ERR_TRANSIENT)
        err_hint(err, "is it still running? `berth doctor` tells what berth sees of it");
    return -1;
}

int docker_container_path(char out[DOCKER_PATH_MAX], const char *id, const char *tail, struct err *err)
{
    AUTO_BUF path;
    buf_init(&path, DOCKER_PATH_MAX - 1);
    buf_adds(&path, "/containers/");
    percent_encode(&path, span_of(id), false);
    buf_adds(&path, tail);
    if (buf_check(&path, "the container's path", err) < 0)
        return -1;
    memcpy(out, path.p, path.n + 1);
    return 0;
}

void docker_words(char out[DOCKER_WORDS_MAX], const json_t *answer, struct span body)
{
    const char *words = json_get_str(answer, "message");
    struct span text = span_trim(words ? span_of(words) : body);
    if (!words && text.n > MESSAGE_PART)
        text.n = MESSAGE_PART;
    snprintf(out, DOCKER_WORDS_MAX, "%.*s", SPAN_FMT(text));
}

static int read_reply(struct docker *d, const struct http_response *resp, struct docker_reply *reply, struct err *err)
{
    struct err bad = ERR_INIT;
    struct span body = buf_span(&resp->body);
    reply->status = resp->status;
    if (body.n > 0)
        reply->json = json_parse(body, &bad);
    if (bad.kind == ERR_NOMEM)
        return err_move(err, &bad);
    if (resp->status >= 400)
        docker_words(reply->message, reply->json, body);
    else if (body.n > 0 && !reply->json)
        return err_set(err, ERR_PROTOCOL, "container engine %s: answered %d with what is not JSON: %s", d->address,
                       resp->status, bad.text);
    return 0;
}

static int add_headers(const struct docker_request *req, struct http_header headers[2])
{
    int n = 0;
    if (req->body)
        headers[n++] = (struct http_header){"Content-Type", "application/json"};
    if (req->registry_auth)
        headers[n++] = (struct http_header){"X-Registry-Auth", req->registry_auth};
    return n;
}

/* What may be sent twice may also go out on a kept connection that could be dead by now. */
static bool may_repeat(const char *method)
{
    return !method || str_eq(method, "HEAD") || str_eq(method, "DELETE");
}

int docker_call(struct docker *d, const struct docker_request *req, struct docker_reply *reply, struct err *err)
{
    AUTO_BUF url, body;
    struct http_header headers[2];
    struct http_response resp = {0};
    *reply = (struct docker_reply){0};
    buf_init(&url, sizeof d->base + DOCKER_PATH_MAX);
    buf_init(&body, DOCKER_ANSWER_MAX);
    buf_addf(&url, "%s%s", req->libpod ? d->libpod : d->base, req->path);
    if (buf_check(&url, "the request", err) < 0 || (req->body && json_write(req->body, false, &body, err) < 0))
        return -1;
    struct http_request call = {
        .method = req->method,
        .url = url.p,
        .headers = headers,
        .header_count = (size_t)add_headers(req, headers),
        .body = buf_span(&body),
        .on_body = req->on_body,
        .ctx = req->ctx,
        .body_max = DOCKER_ANSWER_MAX,
        .idle_timeout_ms = req->idle_ms ? req->idle_ms : DOCKER_IDLE_MS,
        .tries = may_repeat(req->method) ? 2 : 1,
        .keep_redirects = true,
        .cancel = req->cancel,
    };
    int rc = http_call(d->http, &call, &resp, err);
    rc = rc < 0 ? docker_unreachable(d, err) : read_reply(d, &resp, reply, err);
    http_response_release(&resp);
    return rc;
}
