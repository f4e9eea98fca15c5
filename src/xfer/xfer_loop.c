/* A transfer thread: takes units from the scheduler while it may, waits, lets its lanes work. */
#include "xfer/xfer_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define EVENTS_MAX 64
#define SPARES_MAX 32
#define BUFFER_MAX (1024u * 1024)
#define OWNERS_MIN 64
#define BUFFER_MIN (64u * 1024)

struct loop {
    struct xfer *x;
    unsigned index;
    int epoll_fd, wake_fd;
    pthread_t thread;
    bool running;

    atomic_bool poked;  /* wake_fd was written and not read since */
    atomic_bool hungry; /* found nothing to do and has not woken since; awake, it asks again before it sleeps */

    /* this thread only */
    uint64_t now_ms;
    uint64_t wake_ms; /* when the scheduler may have more */
    uint64_t tick_ms; /* when to look at every exchange next */
    struct watch wake;
    struct watch **owners; /* by file descriptor: who waits for it */
    size_t owner_count;
    struct exchange_list live;
    struct exchange_list spares;
    unsigned spare_count;
    struct pump_list pumps;
    struct grave *graves;
    struct lane *raw, *curl;
    void *buffer;
    size_t buffer_bytes;
};

/* ---- watches and graves ---- */

static int grow_owners(struct loop *l, size_t fd, struct err *err)
{
    size_t count = fd < OWNERS_MIN ? OWNERS_MIN : 2 * fd;
    struct watch **grown = realloc(l->owners, count * sizeof(struct watch *));
    if (!grown) {
        err_nomem(err);
        return -1;
    }
    memset(grown + l->owner_count, 0, (count - l->owner_count) * sizeof(struct watch *));
    l->owners = grown;
    l->owner_count = count;
    return 0;
}

static void loop_unregister(struct loop *l, struct watch *w)
{
    if (l->owners && w->fd >= 0 && (size_t)w->fd < l->owner_count && l->owners[w->fd] == w)
        l->owners[w->fd] = NULL;
    w->events = 0;
}

/* libcurl may close a socket before it says that it is done with it, and by then the number can be somebody else's. So
 * a registration that ends is not taken back by number: `owners` says whose a number is now, events for nobody's are
 * dropped when they come, and the kernel forgets a closed one by itself. */
int loop_watch(struct loop *l, struct watch *w, uint32_t events, struct err *err)
{
    struct epoll_event ev = {.events = events, .data.fd = w->fd};
    size_t fd = (size_t)w->fd;
    if (fd >= l->owner_count && grow_owners(l, fd, err) < 0)
        return -1;
    if (l->owners[fd] == w && events == w->events)
        return 0;
    if (events == 0) { /* the caller's own, open socket: not even its end is of interest */
        epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
        loop_unregister(l, w);
        return 0;
    }
    int op = l->owners[fd] == w ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(l->epoll_fd, op, w->fd, &ev) < 0 &&
        ((errno != EEXIST && errno != ENOENT) ||
         epoll_ctl(l->epoll_fd, errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, w->fd, &ev) < 0))
        return err_sys(err, "epoll_ctl");
    l->owners[fd] = w;
    w->events = events;
    return 0;
}

void loop_unwatch(struct loop *l, struct watch *w)
{
    loop_unregister(l, w);
    w->ready = NULL;
}

static void dispatch(struct loop *l, int fd, uint32_t events)
{
    struct watch *w = l->owners && (size_t)fd < l->owner_count ? l->owners[fd] : NULL;
    if (w)
        w->ready(w, events);
    else
        epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void loop_bury(struct loop *l, struct grave *g)
{
    g->next = l->graves;
    l->graves = g;
}

static void fill_graves(struct loop *l)
{
    while (l->graves) {
        struct grave *g = l->graves;
        l->graves = g->next;
        free(g);
    }
}

uint64_t loop_now_ms(const struct loop *l)
{
    return l->now_ms;
}

struct xfer *loop_xfer(const struct loop *l)
{
    return l->x;
}

unsigned loop_index(const struct loop *l)
{
    return l->index;
}

struct pump_list *loop_pumps(struct loop *l)
{
    return &l->pumps;
}

void *loop_buffer(struct loop *l, size_t *n)
{
    *n = l->buffer_bytes;
    return l->buffer;
}

/* ---- waking ----
 *
 * Wake-ups are dear where files are small, so new work wakes one thread, and none where all that could take it are
 * awake. No work is left lying for that:
 *
 * - A thread asks sched_pick() until it is told "nothing", and only then sleeps. That answer and `hungry = true` are
 * one step under shared.mu. So whoever queues work under that mutex finds the thread hungry, or it has yet to ask and
 * will see the work, in whatever order it cleared `hungry` when it woke.
 * - Clearing `hungry` to poke a thread spends it: the next file queued meanwhile wakes another one. A woken thread may
 *   thus take what somebody else was woken for, but not leave its own place empty for it.
 * - Who is hungry without a place is not woken. Places come free by units that end, and the thread of such a unit is
 *   awake and asks; by a gate that opens further, which wakes all that are hungry (tell_gate); and by a host's rest
 * that ends, for which the one that knew the hour wakes the others (turn). */

void loop_poke(struct loop *l)
{
    uint64_t one = 1;
    if (atomic_exchange(&l->poked, true))
        return;
    atomic_fetch_add_explicit(&l->x->stats.wake_ups, 1, memory_order_relaxed);
    ssize_t n = write(l->wake_fd, &one, sizeof one);
    (void)n; /* only a full counter fails, and then the thread is awake */
}

void xfer_poke_all(struct xfer *x)
{
    for (unsigned i = 0; i < x->thread_count; i++)
        loop_poke(x->loops[i]);
}

void xfer_poke_hungry(struct xfer *x)
{
    for (unsigned i = 0; i < x->thread_count; i++) {
        if (atomic_exchange(&x->loops[i]->hungry, false))
            loop_poke(x->loops[i]);
    }
}

struct loop *xfer_helper_locked(struct xfer *x, const struct sched_file *f)
{
    for (unsigned i = 0; i < x->thread_count; i++) {
        struct loop *l = x->loops[i];
        if (atomic_load(&l->hungry) && sched_has_place(&x->shared.sched, f, i) && atomic_exchange(&l->hungry, false))
            return l;
    }
    return NULL;
}

static void on_wake(struct watch *w, uint32_t events)
{
    struct loop *l = (struct loop *)((char *)w - offsetof(struct loop, wake));
    uint64_t n;
    (void)events;
    /* In this order: a poke between the two writes nothing, but what it is about is seen below. */
    ssize_t got = read(l->wake_fd, &n, sizeof n);
    (void)got;
    atomic_store(&l->poked, false);
    l->tick_ms = 0; /* somebody set a flag: look at every exchange */
}

/* ---- exchanges ---- */

struct exchange *loop_spare(struct loop *l, struct err *err)
{
    struct exchange *ex = TAILQ_FIRST(&l->spares);
    if (ex) {
        TAILQ_REMOVE(&l->spares, ex, live);
        l->spare_count--;
        return ex;
    }
    ex = calloc(1, sizeof *ex);
    if (!ex) {
        err_nomem(err);
        return NULL;
    }
    http_response_init(&ex->resp, XFER_ERROR_BODY_MAX);
    buf_init(&ex->req.url, URL_LENGTH_MAX);
    buf_init(&ex->req.headers, XFER_HEAD_BYTES_MAX);
    buf_init(&ex->url_text, URL_LENGTH_MAX);
    buf_init(&ex->authority, URL_LENGTH_MAX);
    buf_init(&ex->lines, XFER_HEAD_BYTES_MAX);
    return ex;
}

void loop_recycle(struct loop *l, struct exchange *ex)
{
    if (l->spare_count >= SPARES_MAX) {
        exchange_free(ex);
        return;
    }
    exchange_blank(ex);
    TAILQ_INSERT_HEAD(&l->spares, ex, live);
    l->spare_count++;
}

void loop_adopt(struct loop *l, struct exchange *ex)
{
    ex->loop = l;
    TAILQ_INSERT_TAIL(&l->live, ex, live);
}

void loop_release(struct loop *l, struct exchange *ex)
{
    TAILQ_REMOVE(&l->live, ex, live);
}

struct lane *loop_lane(struct loop *l, const struct lane_ops *ops, struct err *err)
{
    struct lane **slot = ops == &lane_raw ? &l->raw : &l->curl;
    if (!*slot && ops->open(slot, l, err) < 0)
        return NULL;
    return *slot;
}

/* Take one unit; false where there is none now. */
static bool take_unit(struct loop *l)
{
    struct xfer *x = l->x;
    struct err err = ERR_INIT;
    struct exchange *spare = loop_spare(l, &err);
    if (!spare) {
        l->wake_ms = l->now_ms + XFER_TICK_MS; /* out of memory: what is under way will give some back */
        return false;
    }
    pthread_mutex_lock(&x->shared.mu);
    struct sched_unit *u = sched_pick(&x->shared.sched, l->index, &spare->unit, l->now_ms, &l->wake_ms);
    struct exchange *ex = (struct exchange *)u;
    if (ex)
        exchange_take_locked(ex);
    else
        atomic_store(&l->hungry, true); /* under the mutex: whoever queues later sees it */
    pthread_mutex_unlock(&x->shared.mu);
    if (ex != spare)
        loop_recycle(l, spare);
    if (!ex)
        return false;
    loop_adopt(l, ex);
    exchange_begin(ex);
    return true;
}

static void look_at_all(struct loop *l)
{
    struct exchange *ex, *next;
    for (ex = TAILQ_FIRST(&l->live); ex; ex = next) {
        next = TAILQ_NEXT(ex, live);
        exchange_look(ex, l->now_ms);
    }
    if (l->index == 0)
        xfer_look_for_cancelled(l->x);
    l->tick_ms = l->now_ms + XFER_TICK_MS;
}

static void resume_paid(struct loop *l)
{
    struct exchange *ex, *next;
    uint64_t now_us = clock_mono_us();
    for (ex = TAILQ_FIRST(&l->live); ex; ex = next) {
        next = TAILQ_NEXT(ex, live);
        if (ex->resume_us == 0 || ex->resume_us > now_us)
            continue;
        ex->resume_us = 0;
        ex->ops->resume(ex->lane, ex);
    }
}

/* ---- the loop ---- */

static bool work_is_queued(struct loop *l)
{
    struct xfer *x = l->x;
    pthread_mutex_lock(&x->shared.mu);
    bool any = x->shared.files > 0;
    pthread_mutex_unlock(&x->shared.mu);
    return any;
}

static int wait_ms(struct loop *l)
{
    uint64_t until = l->wake_ms;
    struct pump *p = NULL;
    struct exchange *ex = NULL;
    LIST_FOREACH(p, &l->pumps, all)
    {
        if (p->deadline_ms < until)
            until = p->deadline_ms;
    }
    if ((!TAILQ_EMPTY(&l->live) || (l->index == 0 && work_is_queued(l))) && l->tick_ms < until)
        until = l->tick_ms;
    TAILQ_FOREACH(ex, &l->live, live)
    {
        if (ex->resume_us != 0 && ex->resume_us / 1000 < until)
            until = ex->resume_us / 1000 + 1;
    }
    if (until == UINT64_MAX)
        return -1;
    return until <= l->now_ms ? 0 : until - l->now_ms > INT32_MAX ? INT32_MAX : (int)(until - l->now_ms);
}

static void kick_pumps(struct loop *l)
{
    struct pump *p, *next;
    for (p = LIST_FIRST(&l->pumps); p; p = next) {
        next = LIST_NEXT(p, all);
        if (p->deadline_ms <= l->now_ms)
            pump_kick(p);
    }
}

static void turn(struct loop *l)
{
    struct epoll_event events[EVENTS_MAX];
    while (take_unit(l))
        ;
    int n = epoll_wait(l->epoll_fd, events, EVENTS_MAX, wait_ms(l));
    atomic_store(&l->hungry, false);
    l->now_ms = clock_mono_ms();
    if (l->now_ms >= l->wake_ms)
        xfer_poke_hungry(l->x); /* what rested may be more than this thread's share */
    for (int i = 0; i < n; i++)
        dispatch(l, events[i].data.fd, events[i].events);
    kick_pumps(l);
    resume_paid(l);
    if (l->now_ms >= l->tick_ms)
        look_at_all(l);
    fill_graves(l);
}

static void *run(void *arg)
{
    struct loop *l = arg;
    l->now_ms = clock_mono_ms();
    while (!atomic_load(&l->x->stopping) || !TAILQ_EMPTY(&l->live) || work_is_queued(l))
        turn(l);
    return NULL;
}

/* ---- life ---- */

/* Half of the ceiling is for the raw lane's buffers, one a thread; the other half for libcurl's, one a connection. */
static size_t buffer_share(const struct xfer *x)
{
    uint64_t share = x->opts.buffer_bytes / 2 / x->opts.threads;
    return share > BUFFER_MAX ? BUFFER_MAX : share < BUFFER_MIN ? BUFFER_MIN : (size_t)share;
}

static int set_up(struct loop *l, struct err *err)
{
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0)
        return err_sys(err, "epoll_create1");
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0)
        return err_sys(err, "eventfd");
    l->buffer_bytes = buffer_share(l->x);
    l->buffer = malloc(l->buffer_bytes);
    if (!l->buffer)
        return err_nomem(err);
    xfer_count_buffer(l->x, (int64_t)l->buffer_bytes);
    l->wake = (struct watch){.fd = l->wake_fd, .ready = on_wake};
    return loop_watch(l, &l->wake, EPOLLIN, err);
}

int loop_open(struct loop **out, struct xfer *x, unsigned index, struct err *err)
{
    struct loop *l = calloc(1, sizeof *l);
    if (!l)
        return err_nomem(err);
    l->x = x;
    l->index = index;
    l->epoll_fd = l->wake_fd = -1;
    TAILQ_INIT(&l->live);
    TAILQ_INIT(&l->spares);
    LIST_INIT(&l->pumps);
    if (set_up(l, err) < 0) {
        loop_free(l);
        return -1;
    }
    *out = l;
    return 0;
}

int loop_start(struct loop *l, struct err *err)
{
    int rc = pthread_create(&l->thread, NULL, run, l);
    if (rc != 0) {
        errno = rc;
        return err_sys(err, "start a transfer thread");
    }
    l->running = true;
    return 0;
}

void loop_stop(struct loop *l)
{
    if (!l->running)
        return;
    loop_poke(l);
    pthread_join(l->thread, NULL);
    l->running = false;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    if (l->raw)
        lane_raw.free(l->raw);
    if (l->curl)
        lane_curl.free(l->curl);
    fill_graves(l);
    while (!TAILQ_EMPTY(&l->spares)) {
        struct exchange *ex = TAILQ_FIRST(&l->spares);
        TAILQ_REMOVE(&l->spares, ex, live);
        exchange_free(ex);
    }
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    free(l->owners);
    free(l->buffer);
    free(l);
}
