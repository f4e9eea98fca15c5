#include "proxy.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PAIRS_MAX 32

struct proxy {
    struct sockaddr_un listen_at, forward_to;
    int listen_fd, end_fd;
    pthread_t thread;
    int running;
    struct pollfd fds[2 + 2 * PAIRS_MAX]; /* [0] the end, [1] the listener, then pairs */
    size_t n;
};

static int unix_connect(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof *at) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static void accept_pair(struct proxy *p)
{
    int in = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC), out = unix_connect(&p->forward_to);
    if (in < 0 || out < 0 || p->n + 2 > 2 + 2 * PAIRS_MAX) {
        if (in >= 0)
            close(in);
        if (out >= 0)
            close(out);
        return;
    }
    p->fds[p->n++] = (struct pollfd){.fd = in, .events = POLLIN};
    p->fds[p->n++] = (struct pollfd){.fd = out, .events = POLLIN};
}

static int pass_on(int from, int to)
{
    char buf[65536];
    ssize_t n = read(from, buf, sizeof buf);
    for (ssize_t sent = 0, k; sent < n; sent += k)
        if ((k = send(to, buf + sent, (size_t)(n - sent), MSG_NOSIGNAL)) < 0)
            return -1;
    return n > 0 ? 0 : -1;
}

static void close_pair(struct proxy *p, size_t i)
{
    close(p->fds[i].fd);
    close(p->fds[i + 1].fd);
    p->fds[i] = p->fds[p->n - 2];
    p->fds[i + 1] = p->fds[p->n - 1];
    p->n -= 2;
}

static void *serve(void *ctx)
{
    struct proxy *p = ctx;
    while (poll(p->fds, p->n, -1) >= 0 && !p->fds[0].revents) {
        for (size_t i = p->n - 2; i >= 2; i -= 2) {
            if ((p->fds[i].revents && pass_on(p->fds[i].fd, p->fds[i + 1].fd) < 0) ||
                (p->fds[i + 1].revents && pass_on(p->fds[i + 1].fd, p->fds[i].fd) < 0))
                close_pair(p, i);
        }
        if (p->fds[1].revents)
            accept_pair(p);
    }
    while (p->n > 2)
        close_pair(p, p->n - 2);
    close(p->listen_fd);
    unlink(p->listen_at.sun_path);
    return NULL;
}

struct proxy *proxy_start(const char *listen_at, const char *forward_to)
{
    struct proxy *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->listen_at.sun_family = p->forward_to.sun_family = AF_UNIX;
    snprintf(p->listen_at.sun_path, sizeof p->listen_at.sun_path, "%s", listen_at);
    snprintf(p->forward_to.sun_path, sizeof p->forward_to.sun_path, "%s", forward_to);
    p->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    p->end_fd = eventfd(0, EFD_CLOEXEC);
    if (p->listen_fd < 0 || p->end_fd < 0 ||
        bind(p->listen_fd, (struct sockaddr *)&p->listen_at, sizeof p->listen_at) < 0 ||
        listen(p->listen_fd, PAIRS_MAX) < 0) {
        free(p);
        return NULL;
    }
    p->fds[0] = (struct pollfd){.fd = p->end_fd, .events = POLLIN};
    p->fds[1] = (struct pollfd){.fd = p->listen_fd, .events = POLLIN};
    p->n = 2;
    p->running = pthread_create(&p->thread, NULL, serve, p) == 0;
    return p;
}

void proxy_vanish(struct proxy *p)
{
    unsigned long long one = 1;
    if (!p->running)
        return;
    if (write(p->end_fd, &one, sizeof one) == sizeof one)
        pthread_join(p->thread, NULL);
    p->running = 0;
}

void proxy_stop(struct proxy *p)
{
    proxy_vanish(p);
    close(p->end_fd);
    free(p);
}
