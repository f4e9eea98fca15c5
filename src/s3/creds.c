/* The life of keys: fetched when first asked for, shared, refreshed before they end. */
#include "s3/creds_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "digest/digest.h"

#include <pthread.h>
#include <time.h>

#define WAIT_SLICE_MS 100 /* how often a waiting thread looks whether it was cancelled */
#define IDENTITY_MAX  ((size_t)64 << 10)

struct creds {
    /* Never change after creds_open(). */
    struct creds_env env;
    struct creds_found found;
    creds_clock_fn *now;
    void *now_ctx;

    struct {
        pthread_mutex_t mu;
        pthread_cond_t settled;   /* a refresh ended */
        struct creds_grant grant; /* access_key_id NULL: none at hand */
        bool refreshing;
        bool nothing;       /* the source was asked and has no keys */
        unsigned rounds;    /* refreshes that ended */
        struct err failure; /* of the last one; not set where it went well */
        int64_t retry_at_ms;
    } shared;
};

static int64_t wall_clock(void *ctx)
{
    (void)ctx;
    return clock_wall_ms();
}

void creds_set_clock(struct creds *c, creds_clock_fn *now_ms, void *ctx)
{
    c->now = now_ms;
    c->now_ctx = ctx;
}

int creds_open(struct creds **out, const struct creds_opts *opts, struct err *err)
{
    struct creds *c = calloc(1, sizeof *c);
    if (!c)
        return err_nomem(err);
    c->now = wall_clock;
    pthread_mutex_init(&c->shared.mu, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->shared.settled, &attr);
    pthread_condattr_destroy(&attr);
    if (env_open(&c->env, opts->env, err) < 0 || chain_find(&c->found, opts, &c->env, err) < 0) {
        creds_free(c);
        return err_wrap(err, "credentials");
    }
    struct creds_source *source = c->found.source;
    if (source && source->ops->fixed && source->ops->fetch(source, NULL, &c->shared.grant, err) < 0) {
        creds_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

void creds_free(struct creds *c)
{
    if (!c)
        return;
    source_free(c->found.source);
    free(c->found.region);
    env_release(&c->env);
    grant_release(&c->shared.grant);
    pthread_cond_destroy(&c->shared.settled);
    pthread_mutex_destroy(&c->shared.mu);
    free(c);
}

/* ---- handing out ---- */

static char *append(char **at, const char *s)
{
    if (!s)
        return NULL;
    char *start = *at;
    *at = stpcpy(start, s) + 1;
    return start;
}

/* All strings in one piece of storage, which creds_keys_release() can wipe without asking for lengths. */
static int copy_keys(const struct creds_grant *g, struct creds_keys *out, struct err *err)
{
    size_t n = strlen(g->access_key_id) + strlen(g->secret_access_key) + 2;
    if (g->session_token)
        n += strlen(g->session_token) + 1;
    char *at = malloc(n);
    if (!at)
        return err_nomem(err);
    *out = (struct creds_keys){.storage = at, .storage_bytes = n};
    out->keys.access_key_id = append(&at, g->access_key_id);
    out->keys.secret_access_key = append(&at, g->secret_access_key);
    out->keys.session_token = append(&at, g->session_token);
    return 0;
}

void creds_keys_release(struct creds_keys *k)
{
    if (k->storage)
        mem_wipe(k->storage, k->storage_bytes);
    free(k->storage);
    *k = (struct creds_keys){0};
}

/* ---- refreshing ---- */

/* KEYS_AGEING: still good, but it is time for others and nobody asks for them. */
enum freshness { KEYS_ABSENT, KEYS_AGEING, KEYS_FRESH };

/* Under the lock, as all below. */
static bool has_nothing(const struct creds *c)
{
    return !c->found.source || c->shared.nothing;
}

static enum freshness freshness_of(const struct creds *c, int64_t now)
{
    const struct creds_grant *g = &c->shared.grant;
    if (has_nothing(c))
        return KEYS_FRESH;
    if (!g->access_key_id || (g->expires_ms && now >= g->expires_ms))
        return KEYS_ABSENT;
    bool late = g->expires_ms && now >= g->expires_ms - CREDS_REFRESH_EARLY_MS;
    bool asked = c->shared.refreshing || now < c->shared.retry_at_ms;
    return late && !asked ? KEYS_AGEING : KEYS_FRESH;
}

/* What an ended fetch changes. */
static void settle(struct creds *c, int rc, struct creds_grant *fresh, const struct err *why, int64_t now)
{
    c->shared.refreshing = false;
    c->shared.rounds++;
    c->shared.failure = *why;
    c->shared.retry_at_ms = now + CREDS_RETRY_MS; /* also for keys that were given with less than five minutes to go */
    if (rc == 0) {
        grant_release(&c->shared.grant);
        c->shared.grant = *fresh;
        *fresh = (struct creds_grant){0};
    } else if (rc == CREDS_NOTHING) {
        c->shared.nothing = true;
    }
    pthread_cond_broadcast(&c->shared.settled);
}

/* The lock is released while the source is asked. */
static int refresh(struct creds *c, const struct cancel *cancel, struct err *err)
{
    struct creds_source *source = c->found.source;
    struct creds_grant fresh = {0};
    struct err why = ERR_INIT;
    c->shared.refreshing = true;
    pthread_mutex_unlock(&c->shared.mu);
    int rc = source->ops->fetch(source, cancel, &fresh, &why);
    int64_t now = c->now(c->now_ctx);
    if (rc == 0 && fresh.expires_ms && fresh.expires_ms <= now) {
        rc = err_set(&why, ERR_DENIED, "it gave keys that have ended already");
        err_hint(&why, "is this machine's clock right?");
    }
    if (rc < 0)
        err_wrap(&why, "credentials: %s", source->label);
    pthread_mutex_lock(&c->shared.mu);
    settle(c, rc, &fresh, &why, now);
    grant_release(&fresh);
    if (rc >= 0)
        return 0;
    if (freshness_of(c, now) != KEYS_ABSENT) {
        log_warn("s3", "keys not refreshed yet, the present ones still hold (reason=\"%s\")", why.text);
        return 0;
    }
    return err_move(err, &why);
}

/* Another thread refreshes: wait for how that ends, and share its failure unless it was only that thread's own. */
static int await_other(struct creds *c, const struct cancel *cancel, struct err *err)
{
    unsigned round = c->shared.rounds;
    while (c->shared.refreshing && c->shared.rounds == round) {
        if (cancel_check(cancel, err) < 0)
            return -1;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WAIT_SLICE_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&c->shared.settled, &c->shared.mu, &until);
    }
    struct err why = c->shared.failure;
    return err_is_set(&why) && why.kind != ERR_CANCELLED ? err_move(err, &why) : 0;
}

/* Make sure that there are keys. */
static int settle_keys(struct creds *c, const struct cancel *cancel, struct err *err)
{
    for (;;) {
        int64_t now = c->now(c->now_ctx);
        if (freshness_of(c, now) == KEYS_FRESH)
            return 0;
        if (!c->shared.refreshing)
            return refresh(c, cancel, err);
        if (await_other(c, cancel, err) < 0)
            return -1;
    }
}

int creds_get(struct creds *c, const struct cancel *cancel, struct creds_keys *out, struct err *err)
{
    *out = (struct creds_keys){0};
    pthread_mutex_lock(&c->shared.mu);
    int rc = settle_keys(c, cancel, err);
    if (rc == 0 && !has_nothing(c))
        rc = copy_keys(&c->shared.grant, out, err);
    pthread_mutex_unlock(&c->shared.mu);
    return rc;
}

bool creds_peek(struct creds *c, struct creds_keys *out)
{
    struct err err = ERR_INIT;
    *out = (struct creds_keys){0};
    pthread_mutex_lock(&c->shared.mu);
    bool good = freshness_of(c, c->now(c->now_ctx)) == KEYS_FRESH;
    if (good && !has_nothing(c))
        good = copy_keys(&c->shared.grant, out, &err) == 0;
    pthread_mutex_unlock(&c->shared.mu);
    return good;
}

void creds_expired(struct creds *c, const char *access_key_id)
{
    if (!c->found.source || c->found.source->ops->fixed)
        return;
    pthread_mutex_lock(&c->shared.mu);
    if (str_eq(c->shared.grant.access_key_id, access_key_id))
        grant_release(&c->shared.grant);
    pthread_mutex_unlock(&c->shared.mu);
}

/* ---- what can be said about them ---- */

const char *creds_describe(struct creds *c)
{
    pthread_mutex_lock(&c->shared.mu);
    bool nothing = has_nothing(c);
    pthread_mutex_unlock(&c->shared.mu);
    return nothing ? "none (anonymous)" : c->found.source->label;
}

const char *creds_region(struct creds *c)
{
    return c->found.region;
}

bool creds_anonymous(struct creds *c)
{
    struct err unused = ERR_INIT;
    pthread_mutex_lock(&c->shared.mu);
    if (c->found.source && c->found.source->ops->may_lack && !c->shared.rounds)
        (void)settle_keys(c, NULL, &unused);
    bool nothing = has_nothing(c);
    pthread_mutex_unlock(&c->shared.mu);
    return nothing;
}

static int write_identity(struct creds *c, struct buf *out, struct err *err)
{
    const struct creds_source *s = c->found.source;
    if (s && s->ops->identify)
        return s->ops->identify(s, out, err);
    if (settle_keys(c, NULL, err) < 0)
        return -1;
    if (has_nothing(c))
        return err_set(err, ERR_INVALID, "there are no credentials to tell whose they are");
    buf_addf(out, "told%c%s%c", 0, c->shared.grant.identity ? c->shared.grant.identity : c->shared.grant.access_key_id,
             0);
    return buf_check(out, "identity", err);
}

int creds_scope(struct creds *c, uint8_t out[32], struct err *err)
{
    AUTO_BUF identity;
    buf_init(&identity, IDENTITY_MAX);
    buf_addf(&identity, "berth scope 1%c", 0);
    pthread_mutex_lock(&c->shared.mu);
    int rc = write_identity(c, &identity, err);
    pthread_mutex_unlock(&c->shared.mu);
    struct digest_value v;
    if (rc == 0)
        rc = digest_bytes(DIGEST_SHA256, buf_str(&identity), identity.n, &v, err);
    if (rc == 0)
        memcpy(out, v.bytes, 32);
    if (identity.p)
        mem_wipe(identity.p, identity.n);
    return rc;
}
