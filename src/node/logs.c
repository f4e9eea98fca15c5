/* A job's log to the server, in order, out of the files in the results folder: nothing is kept in memory but one piece,
 * and a server that is away costs nothing but time. */
#include "node/node_priv.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

#define APART_MS 200 /* output of so long goes together */

struct sender {
    struct execution *exec;
    int fd[2]; /* -1: not there yet */
    uint64_t offset[2];
    bool refused; /* the server wants no more of it */
    uint8_t *piece;
};

static const char *const names[2] = {"stdout", "stderr"};

static int open_stream(struct sender *s, int k)
{
    struct err absent = ERR_INIT;
    AUTO_STR path = str_printf(&absent, "%s/%s", s->exec->tag, names[k]);
    if (s->fd[k] < 0 && path)
        s->fd[k] = fs_open_beneath(s->exec->node->results_fd, path, O_RDONLY, 0, &absent);
    return s->fd[k];
}

static json_t *piece_body(const struct sender *s, int k, size_t n, struct err *err)
{
    json_t *body = exec_ref(s->exec, err);
    AUTO_BUF data;
    buf_init(&data, LOG_PIECE * 2);
    base64_encode(&data, s->piece, n);
    if (buf_check(&data, "piece of a log", err) == 0 && json_put_u64(body, "stream", (uint64_t)k + 1, err) == 0 &&
        json_put_u64(body, "offset", s->offset[k], err) == 0 && json_put_str(body, "data", buf_str(&data), err) == 0)
        return body;
    json_decref(body);
    return NULL;
}

/* Where the server says that the log goes on; false: it does not say. */
static bool follow(struct sender *s, int k, const json_t *answer)
{
    int64_t next = -1;
    if (!json_get_i64(answer, "next_offset", &next) || next < 0)
        return false;
    s->offset[k] = (uint64_t)next;
    return true;
}

static int send_piece(struct sender *s, int k, size_t n, struct err *err)
{
    AUTO_JSON body = piece_body(s, k, n, err);
    AUTO_JSON answer = NULL;
    json_t *refusal = NULL;
    if (!body)
        return -1;
    uint64_t before = s->offset[k];
    int rc = exec_call(s->exec, "logs", body, &answer, &refusal, err);
    if (rc == 0 && !follow(s, k, answer))
        s->offset[k] = before + n;
    if (rc < 0 && err->kind == ERR_REFUSED && follow(s, k, refusal) && s->offset[k] < before) {
        err_clear(err); /* the server misses something: once more from there */
        rc = 0;
    }
    json_decref(refusal);
    return rc;
}

/* All that is there now. */
static int send_stream(struct sender *s, int k, struct err *err)
{
    if (open_stream(s, k) < 0)
        return 0;
    for (;;) {
        ssize_t n = pread(s->fd[k], s->piece, LOG_PIECE, (off_t)s->offset[k]);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_sys(err, "read %s of the job", names[k]) : 0;
        if (send_piece(s, k, (size_t)n, err) < 0)
            return -1;
    }
}

static void send_all(struct sender *s)
{
    struct err err = ERR_INIT;
    if (s->refused || (send_stream(s, 0, &err) == 0 && send_stream(s, 1, &err) == 0))
        return;
    s->refused = true;
    if (err.kind != ERR_CANCELLED)
        log_warn("node", "the log goes no further (execution=%s reason=\"%s\")", s->exec->tag, err.text);
}

/* Blocks until there is output, and a little longer; false: no more will come. */
static bool wait_for_output(struct execution *e)
{
    pthread_mutex_lock(&e->log.mu);
    while (!e->log.more && !e->log.over)
        pthread_cond_wait(&e->log.changed, &e->log.mu);
    uint64_t due = clock_mono_ms() + APART_MS;
    const struct timespec at = {.tv_sec = (time_t)(due / 1000), .tv_nsec = (long)(due % 1000) * 1000000};
    while (!e->log.over && clock_mono_ms() < due)
        pthread_cond_timedwait(&e->log.changed, &e->log.mu, &at);
    bool goes_on = !e->log.over;
    e->log.more = false;
    pthread_mutex_unlock(&e->log.mu);
    return goes_on;
}

static void *log_thread(void *ctx)
{
    struct execution *e = ctx;
    struct sender s = {.exec = e, .fd = {-1, -1}, .piece = malloc(LOG_PIECE)};
    s.refused = !s.piece;
    while (wait_for_output(e))
        send_all(&s);
    send_all(&s);
    auto_close(&s.fd[0]);
    auto_close(&s.fd[1]);
    free(s.piece);
    return NULL;
}

int logs_start(struct execution *e, pthread_t *thread, struct err *err)
{
    return pthread_create(thread, NULL, log_thread, e) == 0 ? 0 : err_set(err, ERR_SYSTEM, "cannot start a thread");
}

void logs_more(struct execution *e)
{
    pthread_mutex_lock(&e->log.mu);
    if (!e->log.more) {
        e->log.more = true;
        pthread_cond_signal(&e->log.changed);
    }
    pthread_mutex_unlock(&e->log.mu);
}

void logs_end(struct execution *e, pthread_t thread)
{
    pthread_mutex_lock(&e->log.mu);
    e->log.over = true;
    pthread_cond_signal(&e->log.changed);
    pthread_mutex_unlock(&e->log.mu);
    pthread_join(thread, NULL);
}
