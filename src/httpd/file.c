/* Files that handlers have opened, sent piece by piece: counted, and paced where there is a rate. */
#include "httpd/httpd_priv.h"

#include "base/clock.h"

#include <errno.h>
#include <unistd.h>

/* Of a response: it may live longer than the request, of which only read_file() knows. */
struct file_body {
    struct httpd_request *request;
    int fd;
    uint64_t offset;
};

/* How many bytes may go now; 0: the connection sleeps until more may. */
static size_t allowed(struct httpd_request *r, size_t max)
{
    struct httpd *h = r->h;
    uint32_t wait_ms = 0;
    if (!h->opts.file_bytes_per_second || atomic_load(&h->stopping))
        return max;
    pthread_mutex_lock(&h->files.mu);
    size_t n = pace_take(&h->files.pace, r->client, max, clock_mono_us(), &wait_ms);
    pthread_mutex_unlock(&h->files.mu);
    if (n > 0)
        return n;
    waits_begin_run(r); /* it watches nothing */
    return waits_suspend(r, wait_ms) ? 0 : max;
}

static ssize_t read_file(void *cls, uint64_t pos, char *out, size_t max)
{
    struct file_body *b = cls;
    size_t n = allowed(b->request, max);
    if (n == 0)
        return 0;
    ssize_t got;
    do
        got = pread(b->fd, out, n, (off_t)(b->offset + pos));
    while (got < 0 && errno == EINTR);
    if (got <= 0) /* the file is shorter than its handler said */
        return MHD_CONTENT_READER_END_WITH_ERROR;
    atomic_fetch_add(&b->request->h->files.sent, (uint_fast64_t)got);
    return got;
}

static void free_file(void *cls)
{
    struct file_body *b = cls;
    close(b->fd);
    free(b);
}

struct MHD_Response *file_response(struct httpd_request *r, const struct httpd_response *resp)
{
    struct file_body *b = calloc(1, sizeof *b);
    if (!b) {
        close(resp->file.fd);
        return NULL;
    }
    *b = (struct file_body){.request = r, .fd = resp->file.fd, .offset = resp->file.offset};
    struct MHD_Response *response =
        MHD_create_response_from_callback(resp->file.bytes, FILE_PIECE, read_file, b, free_file);
    if (!response)
        free_file(b);
    return response;
}

uint64_t httpd_file_bytes(const struct httpd *h)
{
    return atomic_load(&h->files.sent);
}
