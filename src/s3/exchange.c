/* One question to the server, with the cures that its answer may ask for. */
#include "base/log.h"
#include "s3/s3_priv.h"

#include <stdio.h>

#define EXTRA_TRIES      4 /* region, clock, keys, and one for the server's own troubles */
#define SIGNED_LINES_MAX 32
#define SECRET_START     8 /* characters of a secret that are enough to know it by */

/* ---- faults and cures ---- */

void s3_read_fault(const struct http_response *resp, struct fault *out)
{
    fault_read(out, resp->status, http_response_get(resp, "x-amz-bucket-region"), resp->date_ms, buf_span(&resp->body));
}

enum fault_cure s3_find_cure(struct s3 *s3, const struct fault *f)
{
    char region[S3_REGION_MAX];
    s3_region_now(s3, region);
    if (s3_place_now(s3)->style == S3_STYLE_PLAIN)
        return FAULT_FINAL;
    return fault_cure(f, creds_anonymous(s3->creds), region, s3_clock_now(s3));
}

bool s3_keeps_redirects(struct s3 *s3)
{
    return s3_place_now(s3)->service == S3_SERVICE_AWS;
}

/* A region is only learned for another host where that host is Amazon's; others are signed anew, where they are. */
static bool cure_region(struct s3 *s3, const char *region)
{
    struct err why = ERR_INIT;
    log_info("s3", "signing for another region (bucket=%s region=%s)", s3->spot, region);
    if (s3_move(s3, region, &why) < 0) {
        log_warn("s3", "can't change the region (reason=\"%s\")", why.text);
        return false;
    }
    s3_memory_put_region(s3->memory, s3->spot, region);
    return true;
}

static bool cure_clock(struct s3 *s3, int64_t date_ms)
{
    const char *host = s3->places.v[0].endpoint.host;
    int64_t offset = s3_memory_clock(s3->memory, host) + date_ms - s3_clock_now(s3);
    log_warn("s3", "this machine's clock is off; signing by the server's (host=%s seconds=%lld)", host,
             (long long)(offset / 1000));
    s3_memory_put_clock(s3->memory, host, offset);
    atomic_fetch_add(&s3->lessons, 1);
    return true;
}

bool s3_apply_cure(struct s3 *s3, enum fault_cure cure, const struct fault *f, const char *access_key_id)
{
    switch (cure) {
    case FAULT_FINAL:
        return false;
    case FAULT_RETRY:
        return true;
    case FAULT_REGION:
        return cure_region(s3, f->region);
    case FAULT_CLOCK:
        return cure_clock(s3, f->date_ms);
    case FAULT_EXPIRED:
        creds_expired(s3->creds, access_key_id);
        atomic_fetch_add(&s3->lessons, 1);
        return true;
    }
    return false;
}

/* A message that quotes a secret ends before it. The start of one is looked for: servers cut, and so does fault_read().
 */
static void hide(char *message, const char *secret)
{
    char start[SECRET_START + 1];
    if (str_empty(secret))
        return;
    snprintf(start, sizeof start, "%s", secret);
    char *at = strstr(message, start);
    if (at)
        *at = '\0';
}

/* Some servers repeat in their message what they were sent. */
static void hide_secrets(struct s3 *s3, struct fault *f)
{
    AUTO(creds_keys_release) struct creds_keys who = {0};
    bool known = creds_peek(s3->creds, &who);
    hide(f->message, who.keys.session_token);
    hide(f->message, who.keys.secret_access_key);
    hide(f->message, s3->sse_key);
    if (!known || s3_place_now(s3)->style == S3_STYLE_PLAIN)
        f->message[0] = '\0'; /* the keys are gone by now; the URL itself may be the secret */
}

int s3_report(struct s3 *s3, const struct s3_ask *ask, const struct fault *answer, bool versioned, struct err *err)
{
    struct fault f = *answer;
    hide_secrets(s3, &f);
    char name[S3_NAME_MAX], region[S3_REGION_MAX];
    s3_name(s3, ask->key ? ask->key : "", name);
    s3_region_now(s3, region);
    const struct fault_context who = {.action = ask->action,
                                      .name = name,
                                      .credentials = creds_describe(s3->creds),
                                      .region = region,
                                      .host = s3_place_now(s3)->endpoint.host,
                                      .anonymous = creds_anonymous(s3->creds),
                                      .keyed_by_customer = s3->sse_key != NULL,
                                      .requester_pays = s3->requester_pays,
                                      .versioned = versioned};
    return fault_report(&f, &who, err);
}

/* ---- asking ---- */

struct asking {
    struct s3 *s3;
    const struct s3_ask *ask;
    const struct s3_taker *taker;
    struct buf lines;
    struct http_header headers[SIGNED_LINES_MAX];
    char access_key_id[256]; /* that signed last */
};

/* "Name: value\r\n" lines, cut up in place. */
static int split_lines(struct buf *lines, struct http_header *out, size_t max, size_t *count, struct err *err)
{
    size_t n = 0;
    char *at = lines->p, *end = lines->p ? lines->p + lines->n : NULL;
    while (at < end) {
        char *colon = memchr(at, ':', (size_t)(end - at)), *cr = memchr(at, '\r', (size_t)(end - at));
        if (!colon || !cr || colon > cr || n == max)
            return err_set(err, ERR_INVALID, "request headers that can't be sent");
        *colon = *cr = '\0';
        out[n++] = (struct http_header){at, colon + 2};
        at = cr + 2;
    }
    *count = n;
    return 0;
}

static const struct cancel *cancel_of(const struct asking *a)
{
    return a->ask->cleaning_up ? NULL : a->s3->cancel;
}

static int sign(void *ctx, const char *method, const char *url, const struct http_header **headers, size_t *n,
                struct err *err)
{
    struct asking *a = ctx;
    struct s3_ask ask = *a->ask;
    ask.method = method;
    AUTO(creds_keys_release) struct creds_keys who = {0};
    if (creds_get(a->s3->creds, cancel_of(a), &who, err) < 0)
        return -1;
    snprintf(a->access_key_id, sizeof a->access_key_id, "%s", who.keys.access_key_id ? who.keys.access_key_id : "");
    buf_reset(&a->lines);
    if (s3_write_headers(a->s3, &ask, url, &who.keys, &a->lines, err) < 0)
        return -1;
    if (ask.range)
        buf_addf(&a->lines, "Range: %s\r\n", ask.range);
    if (buf_check(&a->lines, "request headers", err) < 0)
        return -1;
    *headers = a->headers;
    return split_lines(&a->lines, a->headers, SIGNED_LINES_MAX, n, err);
}

static int on_body(void *ctx, const struct http_response *head, const void *p, size_t n, struct err *err)
{
    const struct asking *a = ctx;
    (void)head;
    return a->taker->take(a->taker->ctx, p, n, err);
}

static int ask_once(struct asking *a, struct http_response *resp, struct err *err)
{
    AUTO_BUF url;
    buf_init(&url, S3_URL_MAX);
    if (s3_write_url(a->s3, a->ask, &url, err) < 0)
        return -1;
    const struct http_request req = {
        .method = a->ask->method,
        .url = buf_str(&url),
        .on_body = a->taker ? on_body : NULL,
        .ctx = a,
        .body_max = a->ask->part_digests ? S3_PARTS_BODY_MAX
                    : a->ask->body_max   ? a->ask->body_max
                                         : FAULT_BODY_MAX,
        .keep_redirects = s3_keeps_redirects(a->s3),
        .body = a->ask->body,
        .body_file = a->ask->body_file,
        .idle_timeout_ms = a->ask->idle_timeout_ms,
        .total_timeout_ms = a->ask->cleaning_up ? S3_CLEAN_UP_MS : 0,
        .tries = a->ask->tries,
        .sign = sign,
        .sign_ctx = a,
        .cancel = cancel_of(a),
        .cancel_grace_ms = a->ask->makes ? S3_CLEAN_UP_MS : 0,
    };
    return http_call(a->s3->http, &req, resp, err);
}

static int exchange(struct asking *a, struct http_response *resp, struct err *err)
{
    unsigned cured = 0; /* BIT(enum fault_cure): each helps once */
    for (unsigned tries = 0;; tries++) {
        if (ask_once(a, resp, err) < 0)
            return -1;
        if (s3_ok(resp->status))
            return 0;
        struct fault f;
        s3_read_fault(resp, &f);
        enum fault_cure cure = s3_find_cure(a->s3, &f);
        if (tries == EXTRA_TRIES || (cured & BIT(cure)) || !s3_apply_cure(a->s3, cure, &f, a->access_key_id))
            return 0;
        cured |= BIT(cure);
        http_response_release(resp);
        if (a->taker && a->taker->again && a->taker->again(a->taker->ctx, err) < 0)
            return -1;
    }
}

int s3_exchange(struct s3 *s3, const struct s3_ask *ask, const struct s3_taker *taker, struct http_response *resp,
                struct err *err)
{
    struct asking a = {.s3 = s3, .ask = ask, .taker = taker};
    buf_init(&a.lines, S3_HEADERS_MAX);
    int rc = exchange(&a, resp, err);
    if (a.lines.p)
        mem_wipe(a.lines.p, a.lines.cap);
    buf_release(&a.lines);
    return rc;
}
