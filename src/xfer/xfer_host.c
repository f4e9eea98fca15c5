/* Origins and policies, each kept once. */
#include "xfer/xfer_priv.h"

#include <stdlib.h>

struct policy_copy {
    struct policy_copy *next;
    struct xfer_policy policy; /* its strings are the two below */
    struct strv allow;
    char *ca_file;
};

static bool same_allow(const char *const *a, const char *const *b)
{
    while (a && b && *a && *b && str_eq(*a, *b)) {
        a++;
        b++;
    }
    return (!a || !*a) && (!b || !*b);
}

static bool same_policy(const struct xfer_policy *a, const struct xfer_policy *b)
{
    return a->public_only == b->public_only && a->no_proxy_env == b->no_proxy_env && a->https_only == b->https_only &&
           str_eq(a->ca_file, b->ca_file) && str_eq(a->key_fingerprint, b->key_fingerprint) &&
           same_allow(a->allow, b->allow);
}

static void copy_free(struct policy_copy *c)
{
    strv_release(&c->allow);
    free(c->ca_file);
    free(c);
}

static int copy_strings(struct policy_copy *c, const struct xfer_policy *p, struct err *err)
{
    for (const char *const *a = p->allow; a && *a; a++) {
        if (strv_add(&c->allow, *a, err) < 0)
            return -1;
    }
    if (p->ca_file && !(c->ca_file = str_dup(p->ca_file, err)))
        return -1;
    return 0;
}

const struct xfer_policy *policy_intern(struct xfer *x, const struct xfer_policy *p, struct err *err)
{
    for (struct policy_copy *c = x->shared.policies; c; c = c->next) {
        if (same_policy(&c->policy, p))
            return &c->policy;
    }
    struct policy_copy *c = calloc(1, sizeof *c);
    if (!c) {
        err_nomem(err);
        return NULL;
    }
    if (copy_strings(c, p, err) < 0) {
        copy_free(c);
        return NULL;
    }
    c->policy = *p;
    c->policy.allow = c->allow.n > 0 ? (const char *const *)c->allow.v : NULL;
    c->policy.ca_file = c->ca_file;
    c->next = x->shared.policies;
    x->shared.policies = c;
    return &c->policy;
}

/* Whether a proxy may stand between, as libcurl reads the environment. */
static bool proxy_possible(const struct xfer_policy *policy)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < ARRAY_LEN(names) && !policy->no_proxy_env; i++) {
        if (!str_empty(getenv(names[i])))
            return true;
    }
    return false;
}

static void host_free(struct xfer_host *h)
{
    arena_free(h->arena);
    free(h);
}

static struct xfer_host *host_new(const struct xfer_policy *policy, const struct url *url, struct err *err)
{
    struct xfer_host *h = calloc(1, sizeof *h);
    if (!h) {
        err_nomem(err);
        return NULL;
    }
    h->arena = arena_new(0, err);
    if (h->arena) {
        h->url = (struct url){.scheme = arena_dup(h->arena, url->scheme),
                              .host = arena_dup(h->arena, url->host),
                              .port = url->port,
                              .path = "/",
                              .default_port = url->default_port};
    }
    if (!h->arena || arena_check(h->arena, err) < 0) {
        host_free(h);
        return NULL;
    }
    h->policy = policy;
    h->tls = str_eq(url->scheme, "https");
    h->raw_fit = !proxy_possible(policy);
    return h;
}

struct xfer_host *host_intern(struct xfer *x, const struct xfer_policy *policy, const struct url *url, struct err *err)
{
    struct sched_host *s = NULL;
    LIST_FOREACH(s, &x->shared.sched.hosts, all)
    {
        struct xfer_host *h = (struct xfer_host *)s;
        if (h->policy == policy && url_same_origin(&h->url, url))
            return h;
    }
    struct xfer_host *h = host_new(policy, url, err);
    if (h)
        sched_host_add(&x->shared.sched, &h->sched, clock_mono_ms());
    return h;
}

void hosts_free(struct xfer *x)
{
    while (!LIST_EMPTY(&x->shared.sched.hosts)) {
        struct xfer_host *h = (struct xfer_host *)LIST_FIRST(&x->shared.sched.hosts);
        LIST_REMOVE(&h->sched, all);
        host_free(h);
    }
    while (x->shared.policies) {
        struct policy_copy *c = x->shared.policies;
        x->shared.policies = c->next;
        copy_free(c);
    }
}
