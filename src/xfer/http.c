#include "xfer/http_priv.h"

#include <stdlib.h>
#include <string.h>

static int wait_for_real(void *ctx, const struct cancel *cancel, uint64_t ms, struct err *err)
{
    (void)ctx;
    return cancel_sleep_ms(cancel, ms, err);
}

void http_set_wait(struct http *h, http_wait_fn *wait, void *ctx)
{
    h->wait = wait;
    h->wait_ctx = ctx;
}

static int copy(char **to, const char *from, struct err *err)
{
    if (!from)
        return 0;
    *to = str_dup(from, err);
    return *to ? 0 : -1;
}

static int copy_policy(struct http *h, const struct xfer_policy *from, struct err *err)
{
    if (h->unix_socket) { /* whoever named the socket has decided where requests go */
        h->policy.no_proxy_env = true;
        return 0;
    }
    h->policy = *from;
    if (copy(&h->ca_file, from->ca_file, err) < 0)
        return -1;
    for (size_t i = 0; from->allow && from->allow[i]; i++)
        if (strv_add(&h->allow, from->allow[i], err) < 0)
            return -1;
    h->policy.ca_file = h->ca_file;
    h->policy.allow = (const char *const *)h->allow.v;
    return 0;
}

static int copy_opts(struct http *h, const struct http_opts *opts, struct err *err)
{
    h->max_connections = opts->max_connections ? opts->max_connections : HTTP_MAX_CONNECTIONS_DEFAULT;
    h->idle_timeout_ms = opts->idle_timeout_ms ? opts->idle_timeout_ms : HTTP_IDLE_TIMEOUT_MS;
    h->patience_ms = opts->patience_ms ? opts->patience_ms : HTTP_PATIENCE_MS;
    if (copy(&h->unix_socket, opts->unix_socket, err) < 0 || copy_policy(h, &opts->policy, err) < 0 ||
        copy(&h->client_cert, opts->client_cert, err) < 0 || copy(&h->client_key, opts->client_key, err) < 0)
        return -1;
    return copy(&h->user_agent, opts->user_agent ? opts->user_agent : "berth/" BERTH_VERSION, err);
}

static void free_opened(struct http **h)
{
    http_free(*h);
}

int http_open(struct http **out, const struct http_opts *opts, struct err *err)
{
    *out = NULL;
    if (xfer_curl_init(err) < 0)
        return -1;
    AUTO(free_opened) struct http *h = calloc(1, sizeof *h);
    if (!h)
        return err_nomem(err);
    pthread_mutex_init(&h->shared.mu, NULL);
    h->wait = wait_for_real;
    if (copy_opts(h, opts, err) < 0 || rng_bytes(&h->shared.rng, sizeof h->shared.rng, err) < 0)
        return -1;
    *out = h;
    h = NULL;
    return 0;
}

uint32_t http_patience_ms(const struct http *h)
{
    return h->patience_ms;
}

static void slot_free(struct http_slot *slot)
{
    if (!slot)
        return;
    curl_easy_cleanup(slot->easy);
    curl_multi_cleanup(slot->multi);
    free(slot);
}

void http_free(struct http *h)
{
    if (!h)
        return;
    while (h->shared.idle) {
        struct http_slot *slot = h->shared.idle;
        h->shared.idle = slot->next;
        slot_free(slot);
    }
    pthread_mutex_destroy(&h->shared.mu);
    strv_release(&h->allow);
    free(h->ca_file);
    free(h->unix_socket);
    free(h->client_cert);
    free(h->client_key);
    free(h->user_agent);
    free(h);
}

/* Equal origins hash alike; that unlike ones rarely do costs a connection, nothing else. */
static uint64_t hash_origin(const struct url *url)
{
    return str_hash(str_hash(STR_HASH_START, url->scheme), url->host) ^ url->port;
}

static struct http_slot *slot_new(struct err *err)
{
    struct http_slot *slot = calloc(1, sizeof *slot);
    if (!slot) {
        err_nomem(err);
        return NULL;
    }
    slot->easy = curl_easy_init();
    slot->multi = curl_multi_init();
    if (slot->easy && slot->multi && curl_multi_setopt(slot->multi, CURLMOPT_MAXCONNECTS, 1L) == CURLM_OK)
        return slot;
    slot_free(slot);
    err_nomem(err);
    return NULL;
}

struct http_slot *http_slot_take(struct http *h, const struct url *url, struct err *err)
{
    uint64_t origin = hash_origin(url);
    pthread_mutex_lock(&h->shared.mu);
    struct http_slot **at = &h->shared.idle;
    while (*at && (*at)->origin != origin)
        at = &(*at)->next;
    struct http_slot *slot = *at;
    if (slot) {
        *at = slot->next;
        h->shared.idle_count--;
    }
    pthread_mutex_unlock(&h->shared.mu);
    if (!slot)
        slot = slot_new(err);
    if (slot) {
        slot->next = NULL;
        slot->origin = origin;
    }
    return slot;
}

/* The least recently used slot, taken off the list. */
static struct http_slot *cut_last(struct http *h)
{
    struct http_slot **at = &h->shared.idle;
    while ((*at)->next)
        at = &(*at)->next;
    struct http_slot *last = *at;
    *at = NULL;
    h->shared.idle_count--;
    return last;
}

void http_slot_give(struct http *h, struct http_slot *slot)
{
    struct http_slot *surplus = NULL;
    pthread_mutex_lock(&h->shared.mu);
    slot->next = h->shared.idle;
    h->shared.idle = slot;
    if (++h->shared.idle_count > h->max_connections)
        surplus = cut_last(h);
    pthread_mutex_unlock(&h->shared.mu);
    slot_free(surplus);
}
