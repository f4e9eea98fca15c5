#include "xfer_rig.h"

#include "base/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define TEXTS_MAX 64

bool lane_is_raw = false, lane_is_curl = true; /* the value: no_raw */

/* ---- the server ---- */

static void read_ask(const struct xrig *r, const char *text, struct ask *ask)
{
    unsigned long long first, last;
    *ask = (struct ask){.text = text, .number = r->asks, .head = strncmp(text, "HEAD ", 5) == 0};
    const char *range = strcasestr(text, "\r\nrange: bytes=");
    ask->ranged = range && sscanf(range + strlen("\r\nrange: bytes="), "%llu-%llu", &first, &last) == 2;
    ask->first = ask->ranged ? first : 0;
    ask->last = ask->ranged ? last : r->size - 1;
}

void answer_head(const struct xrig *r, const struct ask *ask, struct buf *out)
{
    uint64_t n = r->size == 0 ? 0 : ask->last - ask->first + 1;
    buf_adds(out, ask->ranged ? "HTTP/1.1 206 Partial Content\r\n" : "HTTP/1.1 200 OK\r\n");
    if (ask->ranged)
        buf_addf(out, "Content-Range: bytes %llu-%llu/%zu\r\n", (unsigned long long)ask->first,
                 (unsigned long long)ask->last, r->size);
    buf_addf(out, "Content-Length: %llu\r\n", (unsigned long long)n);
    if (r->etag)
        buf_addf(out, "ETag: %s\r\n", r->etag);
    buf_adds(out, r->extra ? r->extra : "");
    buf_adds(out, "\r\n");
}

void answer_cut(struct xrig *r, const struct ask *ask, uint64_t n, struct buf *out)
{
    answer_head(r, ask, out);
    buf_add(out, r->bytes + ask->first, n);
    r->sent += n;
}

static enum loopback_then serve(void *ctx, const char *text, struct buf *out)
{
    struct xrig *r = ctx;
    struct ask ask;
    struct err ignored = ERR_INIT;
    read_ask(r, text, &ask);
    if (r->texts.n < TEXTS_MAX)
        strv_add(&r->texts, text, &ignored);
    r->asks++;
    int then = r->fault ? r->fault(r, &ask, out) : GO_ON;
    if (then != GO_ON)
        return (enum loopback_then)then;
    answer_cut(r, &ask, ask.head || r->size == 0 ? 0 : ask.last - ask.first + 1, out);
    return LOOPBACK_KEEP;
}

/* ---- source and sink ---- */

static int request(void *ctx, uint64_t offset, uint64_t length, struct xfer_request *out, struct err *err)
{
    struct xrig *r = ctx;
    (void)offset;
    (void)length;
    (void)err;
    r->signed_requests++;
    buf_adds(&out->url, r->url);
    buf_adds(&out->headers, r->headers ? r->headers : "");
    return 0;
}

static enum xfer_verdict judge(void *ctx, const struct xfer_head *head, struct xfer_want *want, struct err *err)
{
    struct xrig *r = ctx;
    r->judged++;
    if (r->judge)
        return r->judge(r, head, want, err);
    if (head->status == 200 || head->status == 206)
        return XFER_ACCEPT;
    if (head->status == 412)
        err_set(err, ERR_CHANGED, "changed while downloading");
    else
        err_set(err, ERR_NOTFOUND, "HTTP %d: %s", head->status, buf_str(&head->http->body));
    return XFER_FAIL;
}

static int refresh(void *ctx, struct err *err)
{
    struct xrig *r = ctx;
    r->refreshed++;
    return r->refresh ? r->refresh(r, err) : 0;
}

static int open_sink(void *ctx, uint64_t size, int *fd, struct partmap **map, struct err *err)
{
    struct xrig *r = ctx;
    r->opened++;
    r->given_size = size;
    if (r->open_error) {
        errno = r->open_error;
        return err_sys(err, "open");
    }
    *fd = r->fd;
    *map = r->map;
    return 0;
}

static void done(void *ctx, const struct xfer_result *result, const struct err *err)
{
    struct xrig *r = ctx;
    pthread_mutex_lock(&r->mu);
    r->dones++;
    r->pending--;
    r->result = *result;
    if (result->head && http_response_get(result->head, "etag"))
        snprintf(r->head_etag, sizeof r->head_etag, "%s", http_response_get(result->head, "etag"));
    if (err)
        r->err = *err;
    pthread_cond_signal(&r->cond);
    pthread_mutex_unlock(&r->mu);
}

static const struct xfer_source source = {.request = request, .judge = judge, .refresh = refresh};
static const struct xfer_sink sink = {.open = open_sink};

/* ---- the rig ---- */

void xrig_init(struct xrig *r, void **state, size_t size)
{
    struct rng rng = {.state = size + 1};
    struct err err = ERR_INIT;
    *r = (struct xrig){.no_raw = *(bool *)*state, .size = size, .etag = "\"v1\"", .map_fd = -1};
    pthread_mutex_init(&r->mu, NULL);
    pthread_cond_init(&r->cond, NULL);
    r->bytes = malloc(size + 1);
    assert_non_null(r->bytes);
    for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
        uint64_t next = rng_next(&rng);
        memcpy(r->bytes + i, &next, size - i < sizeof next ? size - i : sizeof next);
    }
    r->fd = memfd_create("sink", MFD_CLOEXEC);
    assert_true(r->fd >= 0);
    assert_int_equal(cancel_init(&r->cancel, &err), 0);
    r->group.cancel = &r->cancel;
    r->group.policy.no_proxy_env = true;
    r->get = (struct xfer_get){.group = &r->group,
                               .name = "s3://bucket/key",
                               .size = size,
                               .source = &source,
                               .source_ctx = r,
                               .sink = &sink,
                               .sink_ctx = r,
                               .done = done,
                               .done_ctx = r};
}

void xrig_open(struct xrig *r, const struct xfer_opts *opts)
{
    struct xfer_opts o = opts ? *opts : (struct xfer_opts){.threads = 1};
    struct err err = ERR_INIT;
    if (o.part_bytes == 0)
        o.part_bytes = PART;
    o.no_raw = r->no_raw;
    r->server = loopback_start(serve, r, NULL);
    snprintf(r->url, sizeof r->url, "http://127.0.0.1:%u/bucket/key?sig=canary", loopback_port(r->server));
    if (xfer_open(&r->x, &o, &err) < 0)
        fail_msg("%s", err.text);
}

void xrig_start(struct xrig *r)
{
    struct err err = ERR_INIT;
    pthread_mutex_lock(&r->mu);
    r->pending++;
    pthread_mutex_unlock(&r->mu);
    if (xfer_get_start(r->x, &r->get, &err) < 0)
        fail_msg("%s", err.text);
}

void xrig_wait(struct xrig *r)
{
    pthread_mutex_lock(&r->mu);
    while (r->pending > 0)
        pthread_cond_wait(&r->cond, &r->mu);
    pthread_mutex_unlock(&r->mu);
}

void xrig_run(struct xrig *r)
{
    if (!r->x)
        xrig_open(r, NULL);
    xrig_start(r);
    xrig_wait(r);
    loopback_stop(r->server);
    assert_null(strstr(r->err.text, "canary"));
}

static void must_be_the_object(struct xrig *r)
{
    struct stat st;
    assert_int_equal(fstat(r->fd, &st), 0);
    assert_int_equal(st.st_size, r->size);
    uint8_t *got = malloc(r->size + 1);
    assert_non_null(got);
    assert_int_equal(pread(r->fd, got, r->size, 0), r->size);
    assert_true(memcmp(got, r->bytes, r->size) == 0);
    free(got);
}

void xrig_must_succeed(struct xrig *r)
{
    xrig_run(r);
    if (err_is_set(&r->err))
        fail_msg("%s: %s", err_kind_name(r->err.kind), r->err.text);
    assert_int_equal(r->result.size, r->size);
    assert_int_equal(atomic_load(&r->group.files_done), 1);
    assert_int_equal(atomic_load(&r->group.bytes_done), r->size);
    assert_int_equal(atomic_load(&r->group.stalled), 0);
    must_be_the_object(r);
}

void xrig_must_fail(struct xrig *r, enum err_kind kind, const char *word)
{
    xrig_run(r);
    if (r->err.kind != kind || !strstr(r->err.text, word))
        fail_msg("%s: %s", err_kind_name(r->err.kind), r->err.text);
    assert_int_equal(atomic_load(&r->group.files_done), 0);
}

bool xrig_asked(const struct xrig *r, size_t request_number, const char *text)
{
    assert_true(request_number < r->texts.n);
    return strcasestr(r->texts.v[request_number], text) != NULL;
}

void xrig_close(struct xrig *r)
{
    xfer_free(r->x);
    assert_int_equal(r->pending, 0);
    if (r->server)
        loopback_free(r->server);
    partmap_free(r->map);
    if (r->map_fd >= 0)
        close(r->map_fd);
    close(r->fd);
    cancel_release(&r->cancel);
    strv_release(&r->texts);
    free(r->bytes);
    pthread_cond_destroy(&r->cond);
    pthread_mutex_destroy(&r->mu);
}
