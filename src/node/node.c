#include "node/node_priv.h"

#include "base/fs.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <time.h>

#define RESULTS_NAME   "results"
#define HEARTBEAT_MS   15000 /* until the server has said */
#define LEASE_MS       45000
#define SECOND_LOOK_MS 100 /* a second signal only raises the level of what is readable already */

/* --- what all threads use ----------------------------------------------------------------------------------------- */

void node_say(const struct node *n, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n->opts->say)
        n->opts->say(n->opts->ctx, text);
}

static void poke(int fd)
{
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one);
    (void)n; /* fails only where it is readable already */
}

void node_wake(struct node *n)
{
    pthread_mutex_lock(&n->mu);
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->mu);
    poke(n->wake_fd);
    poke(n->fence_fd);
}

void node_beat_now(struct node *n)
{
    n->shared.beat_now = true;
    pthread_cond_broadcast(&n->changed);
}

void node_fail(struct node *n, struct err *why)
{
    pthread_mutex_lock(&n->mu);
    err_move(&n->shared.fatal, why);
    pthread_mutex_unlock(&n->mu);
    poke(n->wake_fd);
}

void node_heed(struct node *n, const json_t *answer)
{
    int64_t version = -1;
    const json_t *drain = json_object_get(answer, "drain");
    pthread_mutex_lock(&n->mu);
    if (json_is_boolean(drain))
        n->shared.drain = json_is_true(drain);
    if (json_get_i64(answer, "required_version", &version) && version > n->shared.required_wanted) {
        n->shared.required_wanted = version;
        n->shared.ready = false;
    }
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->mu);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static int open_results(struct node *n, struct err *err)
{
    const struct node_opts *o = n->opts;
    n->results_dir = o->results_dir ? str_dup(o->results_dir, err) : str_printf(err, "%s/" RESULTS_NAME, o->state_dir);
    if (!n->results_dir || fs_mkdirs(n->results_dir, 0700, err) < 0)
        return -1;
    n->private_dirs[0] = o->state_dir;
    n->private_dirs[1] = n->results_dir;
    n->results_fd = fs_open_dir(n->results_dir, err);
    return n->results_fd < 0 ? -1 : 0;
}

static int open_api(struct node *n, struct err *err)
{
    char *own = identity_token(n, err);
    const char *token = own ? own : n->opts->token;
    int rc = -1;
    if (!err_is_set(err) && !token) {
        err_set(err, ERR_USAGE, "this node has no token yet");
        err_hint(err, "give it a join token: --token-file, made by `berth token create --role join`");
    } else if (!err_is_set(err)) {
        const struct api_opts ao = {
            .server = n->opts->server, .token = token, .ca_file = n->opts->ca_file, .connections = NODE_SLOTS_MAX};
        rc = api_open(&n->api, &ao, err);
    }
    str_free_secret(own);
    return rc;
}

static int init(struct node *n, struct err *err)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&n->mu, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&n->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    n->shared.required_wanted = 0;
    n->shared.required_held = -1;
    n->shared.heartbeat_ms = HEARTBEAT_MS;
    n->shared.lease_ms = LEASE_MS;
    n->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    n->fence_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (n->wake_fd < 0 || n->fence_fd < 0)
        return err_sys(err, "eventfd");
    return cancel_init(&n->ending, err) < 0 || cancel_init(&n->over, err) < 0 ? -1 : 0;
}

/* Containers, work folders and results of a process that died. Their executions' wills say the rest. */
static int clean_up_after_crash(struct node *n, struct err *err)
{
    unsigned removed = 0;
    if (job_sweep(n->opts->engine, n->opts->work_root, &removed, err) < 0)
        return -1;
    if (removed)
        node_say(n, "removed %u container%s that an earlier process left", removed, removed == 1 ? "" : "s");
    if (n->opts->keep_results)
        return 0;
    int copy = openat(n->results_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (!d) {
        auto_close(&copy);
        return err_sys(err, "read %s", n->results_dir);
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));)
        if (strncmp(e->d_name, "j-", 2) == 0) /* a job's */
            rc = fs_remove_tree(n->results_fd, e->d_name, err);
    closedir(d);
    return rc;
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static void *(*const threads[])(void *) = {fence_thread, beat_thread, control_thread, required_thread, claim_thread};
#define THREADS ARRAY_LEN(threads)

/* Executions that have ended. */
static void reap(struct node *n)
{
    for (;;) {
        pthread_mutex_lock(&n->mu);
        struct execution **at = &n->shared.running, *e = NULL;
        while (*at && !(*at)->shared.done)
            at = &(*at)->shared.next;
        if (*at) {
            e = *at;
            *at = e->shared.next;
            n->shared.running_count--;
            pthread_cond_broadcast(&n->changed);
        }
        pthread_mutex_unlock(&n->mu);
        if (!e)
            return;
        pthread_join(e->thread, NULL);
        exec_free(e);
    }
}

static bool is_failed(struct node *n)
{
    pthread_mutex_lock(&n->mu);
    bool failed = err_is_set(&n->shared.fatal);
    pthread_mutex_unlock(&n->mu);
    return failed;
}

static bool is_idle(struct node *n)
{
    pthread_mutex_lock(&n->mu);
    bool idle = n->shared.running_count == 0;
    pthread_mutex_unlock(&n->mu);
    return idle;
}

static void give_all_back(struct node *n)
{
    pthread_mutex_lock(&n->mu);
    for (struct execution *e = n->shared.running; e; e = e->shared.next) {
        e->shared.given_back = true;
        cancel_raise(&e->cancel, CANCEL_KILL);
    }
    pthread_mutex_unlock(&n->mu);
}

static void lose_all(struct node *n)
{
    pthread_mutex_lock(&n->mu);
    for (struct execution *e = n->shared.running; e; e = e->shared.next)
        exec_lose(e);
    pthread_mutex_unlock(&n->mu);
}

static void wait_for_news(struct node *n, bool ending)
{
    uint64_t drained;
    struct pollfd fds[2] = {{.fd = n->wake_fd, .events = POLLIN},
                            {.fd = ending ? -1 : n->opts->cancel->event_fd, .events = POLLIN}};
    poll(fds, 2, ending ? SECOND_LOOK_MS : -1);
    if (fds[0].revents)
        (void)!read(n->wake_fd, &drained, sizeof drained);
}

/* The claiming thread must have ended before "nothing runs" is the end. */
static void oversee(struct node *n, pthread_t claims)
{
    bool ending = false;
    for (;;) {
        reap(n);
        enum cancel_level asked = cancel_level_of(n->opts->cancel);
        bool failed = is_failed(n);
        if (failed)
            lose_all(n);
        else if (asked == CANCEL_KILL)
            give_all_back(n);
        if ((asked != CANCEL_NONE || failed) && !ending) {
            ending = true;
            cancel_raise(&n->ending, CANCEL_STOP);
            node_wake(n);
            pthread_join(claims, NULL);
            if (!is_idle(n) && !failed)
                node_say(n, "no new jobs; waiting for those that run (again to give them back)");
            continue;
        }
        if (ending && is_idle(n))
            return;
        wait_for_news(n, ending);
    }
}

static int run_threads(struct node *n, struct err *err)
{
    pthread_t v[THREADS];
    size_t started = 0;
    while (started < THREADS && pthread_create(&v[started], NULL, threads[started], n) == 0)
        started++;
    if (started == THREADS)
        oversee(n, v[--started]); /* the last claims, and is joined */
    else
        err_set(err, ERR_SYSTEM, "cannot start a thread");
    cancel_raise(&n->ending, CANCEL_KILL);
    cancel_raise(&n->over, CANCEL_KILL);
    node_wake(n);
    while (started > 0)
        pthread_join(v[--started], NULL);
    if (!err_is_set(err) && err_is_set(&n->shared.fatal))
        err_move(err, &n->shared.fatal);
    return err_is_set(err) ? -1 : 0;
}

/* Before the first answer of a server an end that is asked for must reach who waits for it. */
struct early_end {
    struct node *node;
    pthread_t thread;
    int done_fd;
};

static void *early_end_thread(void *ctx)
{
    struct early_end *w = ctx;
    struct pollfd fds[2] = {{.fd = w->done_fd, .events = POLLIN},
                            {.fd = w->node->opts->cancel->event_fd, .events = POLLIN}};
    poll(fds, 2, -1);
    if (!fds[0].revents)
        cancel_raise(&w->node->ending, CANCEL_STOP);
    return NULL;
}

static int hello(struct node *n, struct err *err)
{
    struct early_end w = {.node = n, .done_fd = eventfd(0, EFD_CLOEXEC)};
    if (w.done_fd < 0 || pthread_create(&w.thread, NULL, early_end_thread, &w) != 0) {
        auto_close(&w.done_fd);
        return err_set(err, ERR_SYSTEM, "cannot start a thread");
    }
    int rc = node_hello(n, err);
    poke(w.done_fd);
    pthread_join(w.thread, NULL);
    auto_close(&w.done_fd);
    return rc;
}

static void release(struct node *n)
{
    peers_stop(n);
    api_free(n->api);
    holds_release(&n->holds);
    images_release(&n->images);
    seal_pair_free(n->pair);
    auto_close(&n->results_fd);
    auto_close(&n->lock_fd);
    auto_close(&n->state_fd);
    auto_close(&n->wake_fd);
    auto_close(&n->fence_fd);
    cancel_release(&n->ending);
    cancel_release(&n->over);
    free(n->results_dir);
    pthread_cond_destroy(&n->changed);
    pthread_mutex_destroy(&n->mu);
}

int node_run(const struct node_opts *opts, struct err *err)
{
    struct node n = {.opts = opts, .state_fd = -1, .lock_fd = -1, .results_fd = -1, .wake_fd = -1, .fence_fd = -1};
    n.ending.event_fd = n.over.event_fd = -1;
    int rc = init(&n, err);
    if (rc == 0 && identity_open(&n, err) == 0 && open_results(&n, err) == 0 &&
        holds_open(&n.holds, n.state_fd, err) == 0 && images_open(&n.images, n.state_fd, err) == 0 &&
        engine_info(opts->engine, &n.engine, err) == 0 && clean_up_after_crash(&n, err) == 0 &&
        open_api(&n, err) == 0 && peers_start(&n, err) == 0 && hello(&n, err) == 0)
        rc = run_threads(&n, err);
    else
        rc = -1;
    if (rc < 0 && err->kind == ERR_CANCELLED) { /* asked to end before it began */
        err_clear(err);
        rc = 0;
    }
    release(&n);
    return rc;
}
