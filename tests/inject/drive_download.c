/* An object fetched in parts from a server on loopback. */
#include "drive.h"

#include "base/fs.h"
#include "xfer/xfer.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define OBJECT_BYTES 150000
#define PART_BYTES   65536

static char folder[256], url[64];
static unsigned char object[OBJECT_BYTES];

/* ---- the server ---- */

static enum loopback_then serve(void *ctx, const char *request, struct buf *out)
{
    (void)ctx;
    unsigned long long first = 0, last = OBJECT_BYTES - 1;
    const char *range = strcasestr(request, "\r\nrange: bytes=");
    if (range)
        sscanf(range + strlen("\r\nrange: bytes="), "%llu-%llu", &first, &last);
    buf_addf(out, "HTTP/1.1 %s\r\nContent-Length: %llu\r\n", range ? "206 Partial Content" : "200 OK",
             last - first + 1);
    if (range)
        buf_addf(out, "Content-Range: bytes %llu-%llu/%d\r\n", first, last, OBJECT_BYTES);
    buf_adds(out, "\r\n");
    buf_add(out, object + first, last - first + 1);
    return LOOPBACK_KEEP;
}

static int prepare(const char *dir)
{
    uint16_t port;
    snprintf(folder, sizeof folder, "%s", dir);
    drive_fill(1, object, sizeof object);
    if (drive_serve(serve, &port) < 0)
        return -1;
    snprintf(url, sizeof url, "http://127.0.0.1:%u/object", port);
    return 0;
}

/* ---- the client ---- */

struct download {
    int fd;
    struct err *err;
    bool done, verified;
    pthread_mutex_t mu;
    pthread_cond_t ended;
};

static int request(void *ctx, uint64_t offset, uint64_t length, struct xfer_request *out, struct err *err)
{
    (void)ctx;
    (void)offset;
    (void)length;
    buf_adds(&out->url, url);
    return buf_check(&out->url, "URL", err);
}

static enum xfer_verdict judge(void *ctx, const struct xfer_head *head, struct xfer_want *want, struct err *err)
{
    (void)ctx;
    (void)want;
    if (head->status == 200 || head->status == 206)
        return XFER_ACCEPT;
    err_set(err, ERR_PROTOCOL, "HTTP %d", head->status);
    return XFER_FAIL;
}

static int open_sink(void *ctx, uint64_t size, int *fd, struct partmap **map, struct err *err)
{
    struct download *d = ctx;
    (void)size;
    (void)map;
    (void)err;
    *fd = d->fd;
    return 0;
}

static void on_done(void *ctx, const struct xfer_result *result, const struct err *err)
{
    struct download *d = ctx;
    pthread_mutex_lock(&d->mu);
    if (err)
        *d->err = *err;
    d->verified = !err && result->verified;
    d->done = true;
    pthread_cond_signal(&d->ended);
    pthread_mutex_unlock(&d->mu);
}

static int fetch(struct xfer *x, struct download *d, struct err *err)
{
    static const struct xfer_source source = {.request = request, .judge = judge};
    static const struct xfer_sink sink = {.open = open_sink};
    struct xfer_group group = {0};
    struct xfer_get get = {.group = &group,
                           .name = "object",
                           .size = OBJECT_BYTES,
                           .part_bytes = PART_BYTES,
                           .source = &source,
                           .source_ctx = d,
                           .sink = &sink,
                           .sink_ctx = d,
                           .done = on_done,
                           .done_ctx = d};
    get.want.has_full = true;
    if (digest_bytes(DIGEST_SHA256, object, sizeof object, &get.want.full, err) < 0 || xfer_get_start(x, &get, err) < 0)
        return -1;
    pthread_mutex_lock(&d->mu);
    while (!d->done)
        pthread_cond_wait(&d->ended, &d->mu);
    pthread_mutex_unlock(&d->mu);
    return err_is_set(err) ? -1 : 0;
}

static int run(struct err *err)
{
    const struct xfer_opts opts = {
        .threads = 1, .hash_threads = 1, .tries = 2, .stall_ms = 1000, .connect_timeout_ms = 2000};
    struct download d = {.err = err, .mu = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    struct xfer *x;
    AUTO_FD dir = fs_open_dir(folder, err);
    if (dir < 0)
        return -1;
    AUTO_FD fd = fs_open_beneath(dir, "object", O_RDWR | O_CREAT, 0600, err);
    d.fd = fd;
    if (fd < 0 || xfer_open(&x, &opts, err) < 0)
        return -1;
    int rc = fetch(x, &d, err);
    xfer_free(x);
    if (rc == 0 && !d.verified)
        return err_set(err, ERR_CORRUPT, "done and not verified");
    return rc;
}

static bool check(bool succeeded)
{
    return !succeeded || drive_file_is(folder, "object", 1, OBJECT_BYTES);
}

const struct work work_download = {"download", prepare, run, check};
