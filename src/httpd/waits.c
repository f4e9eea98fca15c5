/* Those that wait: suspended connections, woken by key or by the clock. */
#include "httpd/httpd_priv.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

static uint64_t hash_of(const char *key)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (; *key; key++)
        hash = (hash ^ (uint8_t)*key) * UINT64_C(1099511628211);
    return hash;
}

static void unlist(struct httpd *h, struct waiter *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        h->waits.first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->prev = w->next = NULL;
    w->listed = false;
}

static void resume(struct httpd *h, struct waiter *w)
{
    struct httpd_request *r = (struct httpd_request *)((char *)w - offsetof(struct httpd_request, waiter));
    unlist(h, w);
    MHD_resume_connection(r->connection);
}

void waits_begin_run(struct httpd_request *r)
{
    r->waiter.watched_n = 0;
}

void httpd_watch(struct httpd_request *r, const char *key)
{
    struct waiter *w = &r->waiter;
    if (w->watched_n == HTTPD_WATCH_MAX)
        return;
    uint64_t hash = hash_of(key);
    pthread_mutex_lock(&r->h->waits.mu);
    w->watched[w->watched_n].hash = hash;
    w->watched[w->watched_n++].generation = r->h->waits.generation[hash % WAKE_SLOTS];
    pthread_mutex_unlock(&r->h->waits.mu);
}

bool waits_suspend(struct httpd_request *r, uint32_t ms)
{
    struct httpd *h = r->h;
    struct waiter *w = &r->waiter;
    bool now = false;
    pthread_mutex_lock(&h->waits.mu);
    for (size_t i = 0; i < w->watched_n; i++)
        now |= h->waits.generation[w->watched[i].hash % WAKE_SLOTS] != w->watched[i].generation;
    now |= atomic_load(&h->stopping);
    if (!now) {
        w->until_ms = clock_mono_ms() + (ms < HTTPD_WAIT_MAX_MS ? ms : HTTPD_WAIT_MAX_MS);
        w->prev = NULL;
        w->next = h->waits.first;
        if (w->next)
            w->next->prev = w;
        h->waits.first = w;
        w->listed = true;
        MHD_suspend_connection(r->connection);
    }
    pthread_mutex_unlock(&h->waits.mu);
    return !now;
}

void httpd_wake(struct httpd *h, const char *key, unsigned most)
{
    uint64_t hash = hash_of(key);
    unsigned woken = 0;
    pthread_mutex_lock(&h->waits.mu);
    h->waits.generation[hash % WAKE_SLOTS]++;
    for (struct waiter *w = h->waits.first, *next; w && (most == 0 || woken < most); w = next) {
        next = w->next;
        bool hit = false;
        for (size_t i = 0; i < w->watched_n; i++)
            hit |= w->watched[i].hash == hash; /* not the slot: `most` must not be spent on other keys */
        if (hit) {
            resume(h, w);
            woken++;
        }
    }
    pthread_mutex_unlock(&h->waits.mu);
}

void waits_handled(struct httpd *h, int change)
{
    pthread_mutex_lock(&h->waits.mu);
    h->waits.handled += (unsigned)change;
    if (h->waits.handled == 0)
        pthread_cond_broadcast(&h->waits.none_handled);
    pthread_mutex_unlock(&h->waits.mu);
}

void waits_say_farewell(struct httpd *h)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FAREWELL_S;
    pthread_mutex_lock(&h->waits.mu);
    while (h->waits.first)
        resume(h, h->waits.first);
    while (h->waits.handled > 0 && pthread_cond_timedwait(&h->waits.none_handled, &h->waits.mu, &until) == 0)
        ;
    pthread_mutex_unlock(&h->waits.mu);
}

static void resume_due(struct httpd *h, uint64_t now)
{
    pthread_mutex_lock(&h->waits.mu);
    for (struct waiter *w = h->waits.first, *next; w; w = next) {
        next = w->next;
        if (w->until_ms <= now)
            resume(h, w);
    }
    pthread_mutex_unlock(&h->waits.mu);
}

/* A request that trickles in keeps microhttpd's own clock quiet; this one does not listen to bytes. */
static void cut_slow(struct httpd *h, uint64_t now)
{
    pthread_mutex_lock(&h->conns.mu);
    for (struct conn *c = h->conns.first; c; c = c->next)
        if (c->since_ms && now - c->since_ms > h->opts.request_ms)
            shutdown(c->fd, SHUT_RDWR);
    pthread_mutex_unlock(&h->conns.mu);
}

static void *timer_thread(void *arg)
{
    struct httpd *h = arg;
    struct pollfd end = {.fd = h->timer_fd, .events = POLLIN};
    while (poll(&end, 1, TICK_MS) == 0 || (end.revents == 0 && errno == EINTR)) {
        uint64_t now = clock_mono_ms();
        resume_due(h, now);
        cut_slow(h, now);
    }
    return NULL;
}

int waits_start_timer(struct httpd *h, struct err *err)
{
    h->timer_fd = eventfd(0, EFD_CLOEXEC);
    if (h->timer_fd < 0)
        return err_sys(err, "eventfd");
    if (pthread_create(&h->timer, NULL, timer_thread, h) != 0)
        return err_set(err, ERR_SYSTEM, "cannot start a thread");
    h->timer_runs = true;
    return 0;
}

void waits_stop_timer(struct httpd *h)
{
    if (h->timer_runs) {
        eventfd_write(h->timer_fd, 1);
        pthread_join(h->timer, NULL);
        h->timer_runs = false;
    }
    if (h->timer_fd >= 0)
        close(h->timer_fd);
    h->timer_fd = -1;
}
