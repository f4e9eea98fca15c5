#include "loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CONNECTIONS_MAX 64
#define REQUEST_MAX     (4u * 1024 * 1024)
#define TLS_HANDSHAKE   0x16 /* the first byte of a client that wants TLS (RFC 8446, 5.1) */

struct connection {
    int fd; /* -1: free */
    bool held;
    struct buf in;
};

struct loopback {
    loopback_answer_fn *answer;
    void *ctx;
    int listener, stop_fd;
    uint16_t port;
    unsigned accepted;
    pthread_t thread;
    struct connection connections[CONNECTIONS_MAX];
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(99);
}

static void hang_up(struct connection *c, bool reset)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c->fd);
    c->fd = -1;
    c->held = false;
    buf_release(&c->in);
}

static void accept_one(struct loopback *l)
{
    int fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
    must(fd >= 0, "accept");
    l->accepted++;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (l->connections[i].fd < 0) {
            l->connections[i].fd = fd;
            buf_init(&l->connections[i].in, REQUEST_MAX);
            return;
        }
    }
    must(false, "too many connections");
}

/* The length of the whole request at the front; 0: not there yet. A TLS hello counts as one, to be answered wrongly. */
static size_t request_length(const struct buf *in)
{
    const char *text = buf_str(in), *end = strstr(text, "\r\n\r\n");
    if (text[0] == TLS_HANDSHAKE)
        return in->n;
    if (!end)
        return 0;
    size_t head = (size_t)(end - text) + 4;
    const char *length = strcasestr(text, "\r\ncontent-length:");
    if (length && length < end) {
        size_t body = strtoull(length + strlen("\r\ncontent-length:"), NULL, 10);
        return in->n >= head + body ? head + body : 0;
    }
    const char *chunked = strcasestr(text, "\r\ntransfer-encoding: chunked");
    if (!chunked || chunked > end)
        return head;
    const char *last = memmem(text + head - 2, in->n - head + 2, "\r\n0\r\n\r\n", 7);
    return last ? (size_t)(last - text) + 7 : 0;
}

static void send_all(int fd, const struct buf *b)
{
    for (size_t sent = 0; sent < b->n;) {
        ssize_t n = send(fd, b->p + sent, b->n - sent, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the client went; some tests are about that */
        sent += (size_t)n;
    }
}

static void serve(struct loopback *l, struct connection *c)
{
    char *room = buf_reserve(&c->in, 65536);
    must(room != NULL, "request");
    ssize_t n = recv(c->fd, room, 65536, 0);
    if (n <= 0) {
        hang_up(c, false);
        return;
    }
    buf_grew(&c->in, (size_t)n);
    for (size_t length; !c->held && (length = request_length(&c->in)) > 0;) {
        char *request = strndup(buf_str(&c->in), length);
        struct buf out;
        buf_init(&out, REQUEST_MAX);
        enum loopback_then then = l->answer(l->ctx, request, &out);
        send_all(c->fd, &out);
        buf_release(&out);
        free(request);
        buf_drop_front(&c->in, length);
        if (then == LOOPBACK_CLOSE || then == LOOPBACK_RESET) {
            hang_up(c, then == LOOPBACK_RESET);
            return;
        }
        c->held = then == LOOPBACK_HOLD;
    }
}

static void *run(void *ctx)
{
    struct loopback *l = ctx;
    for (;;) {
        struct pollfd fds[CONNECTIONS_MAX + 2] = {{l->stop_fd, POLLIN, 0}, {l->listener, POLLIN, 0}};
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
            fds[i + 2] = (struct pollfd){l->connections[i].fd, POLLIN, 0};
        must(poll(fds, CONNECTIONS_MAX + 2, -1) > 0, "poll");
        if (fds[0].revents)
            return NULL;
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
            if (fds[i + 2].fd >= 0 && fds[i + 2].revents)
                serve(l, &l->connections[i]);
        if (fds[1].revents)
            accept_one(l);
    }
}

static int listen_unix(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    must(strlen(path) < sizeof un.sun_path, "path");
    strcpy(un.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && bind(fd, (struct sockaddr *)&un, sizeof un) == 0 && listen(fd, 64) == 0, path);
    return fd;
}

static int listen_tcp(uint16_t *port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && bind(fd, (struct sockaddr *)&in, sizeof in) == 0 && listen(fd, 64) == 0, "listen");
    must(getsockname(fd, (struct sockaddr *)&in, &n) == 0, "getsockname");
    *port = ntohs(in.sin_port);
    return fd;
}

struct loopback *loopback_start(loopback_answer_fn *answer, void *ctx, const char *unix_path)
{
    struct loopback *l = calloc(1, sizeof *l);
    must(l != NULL, "calloc");
    l->answer = answer;
    l->ctx = ctx;
    l->stop_fd = eventfd(0, EFD_CLOEXEC);
    l->listener = unix_path ? listen_unix(unix_path) : listen_tcp(&l->port);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        l->connections[i].fd = -1;
    must(l->stop_fd >= 0 && pthread_create(&l->thread, NULL, run, l) == 0, "thread");
    return l;
}

void loopback_stop(struct loopback *l)
{
    if (l->stop_fd < 0)
        return;
    uint64_t one = 1;
    must(write(l->stop_fd, &one, sizeof one) == sizeof one, "eventfd");
    pthread_join(l->thread, NULL);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (l->connections[i].fd >= 0)
            hang_up(&l->connections[i], false);
    close(l->listener);
    close(l->stop_fd);
    l->stop_fd = -1;
}

uint16_t loopback_port(const struct loopback *l)
{
    return l->port;
}

unsigned loopback_connections(const struct loopback *l)
{
    return l->accepted;
}

void loopback_free(struct loopback *l)
{
    loopback_stop(l);
    free(l);
}

enum loopback_then script_answer(void *ctx, const char *request, struct buf *out)
{
    struct script *s = ctx;
    size_t at = s->request_count < s->step_count ? s->request_count : s->step_count - 1;
    if (s->request_count < SCRIPT_REQUESTS_MAX)
        s->requests[s->request_count] = strdup(request);
    s->request_count++;
    buf_adds(out, s->steps[at].answer);
    return s->steps[at].then;
}

void script_release(struct script *s)
{
    for (size_t i = 0; i < SCRIPT_REQUESTS_MAX; i++)
        free(s->requests[i]);
}
