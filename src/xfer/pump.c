/* A libcurl multi handle driven by a loop's epoll. */
#include "xfer/loop.h"

#include <stdlib.h>
#include <sys/epoll.h>

struct pump_watch {
    union {
        struct watch watch;
        struct grave grave;
    };
    struct pump *pump;
};

static void collect(struct pump *p)
{
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(p->multi, &left))) {
        if (msg->msg == CURLMSG_DONE)
            p->done(p->ctx, msg->easy_handle, msg->data.result);
    }
}

static void socket_ready(struct watch *w, uint32_t events)
{
    struct pump *p = ((struct pump_watch *)w)->pump;
    int running, mask = 0;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        mask |= CURL_CSELECT_IN;
    if (events & EPOLLOUT)
        mask |= CURL_CSELECT_OUT;
    if (events & EPOLLERR)
        mask |= CURL_CSELECT_ERR;
    curl_multi_socket_action(p->multi, w->fd, mask, &running);
    collect(p);
}

void pump_kick(struct pump *p)
{
    int running;
    p->deadline_ms = UINT64_MAX;
    curl_multi_socket_action(p->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(p);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    struct pump *p = ctx;
    struct pump_watch *w = socket_ctx;
    struct err err = ERR_INIT;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w) {
            curl_multi_assign(p->multi, fd, NULL);
            loop_unwatch(p->loop, &w->watch);
            loop_bury(p->loop, &w->grave);
        }
        return 0;
    }
    if (!w) {
        w = calloc(1, sizeof *w);
        if (!w)
            return -1;
        w->watch = (struct watch){.fd = fd, .ready = socket_ready};
        w->pump = p;
        curl_multi_assign(p->multi, fd, w);
    }
    uint32_t events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) | (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    return loop_watch(p->loop, &w->watch, events, &err);
}

static int on_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    struct pump *p = ctx;
    (void)multi;
    p->deadline_ms = timeout_ms < 0 ? UINT64_MAX : loop_now_ms(p->loop) + (uint64_t)timeout_ms;
    return 0;
}

int pump_open(struct pump *p, struct loop *l, void (*done)(void *ctx, CURL *easy, CURLcode rc), void *ctx,
              struct err *err)
{
    *p = (struct pump){.loop = l, .done = done, .ctx = ctx, .deadline_ms = UINT64_MAX};
    p->multi = curl_multi_init();
    if (!p->multi)
        return err_nomem(err);
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p);
    curl_multi_setopt(p->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    LIST_INSERT_HEAD(loop_pumps(l), p, all);
    return 0;
}

void pump_release(struct pump *p)
{
    if (!p->multi)
        return;
    curl_multi_cleanup(p->multi);
    p->multi = NULL;
    LIST_REMOVE(p, all);
}
