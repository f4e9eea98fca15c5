#include "node/blobs.h"

#include "base/enc.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 256

/* --- lists -------------------------------------------------------------------------------------------------------- */

struct list {
    struct blob_digest *v;
    size_t n, room;
};

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct blob_digest));
}

static int add(struct list *l, const struct blob_digest *d, struct err *err)
{
    if (l->n == l->room) {
        size_t room = l->room ? l->room * 2 : FIRST_ROOM;
        struct blob_digest *bigger = reallocarray(l->v, room, sizeof *bigger);
        if (!bigger)
            return err_nomem(err);
        l->v = bigger;
        l->room = room;
    }
    l->v[l->n++] = *d;
    return 0;
}

static int add_blob(void *ctx, const char *sha256, struct err *err)
{
    struct blob_digest d;
    if (hex_decode(d.b, sizeof d.b, span_of(sha256), err) < 0)
        return -1;
    return add(ctx, &d, err);
}

static int put(json_t *list, const struct blob_digest *d, struct err *err)
{
    char hex[2 * sizeof d->b + 1];
    hex_encode(hex, d->b, sizeof d->b);
    return json_array_append_new(list, json_string(hex)) < 0 ? err_nomem(err) : 0;
}

/* --- what is told ------------------------------------------------------------------------------------------------- */

void blobs_init(struct blobs *b)
{
    *b = (struct blobs){.unsure = true};
    pthread_mutex_init(&b->mu, NULL);
}

void blobs_release(struct blobs *b)
{
    free(b->told);
    b->told = NULL;
    pthread_mutex_destroy(&b->mu);
}

void blobs_unsure(struct blobs *b)
{
    pthread_mutex_lock(&b->mu);
    b->unsure = true;
    pthread_mutex_unlock(&b->mu);
}

bool blobs_has(struct blobs *b, const char *sha256)
{
    struct blob_digest d = {0};
    struct err none = ERR_INIT;
    if (hex_decode(d.b, sizeof d.b, span_of(sha256), &none) < 0)
        return false;
    pthread_mutex_lock(&b->mu);
    bool has = b->n > 0 && bsearch(&d, b->told, b->n, sizeof d, compare) != NULL;
    pthread_mutex_unlock(&b->mu);
    return has;
}

/* Walks both sorted lists; what does not fit into the message stays for the next. `kept`: what is told afterwards. */
static int differ(const struct list *old, const struct list *now, struct list *kept, json_t *added, json_t *removed,
                  bool *more, struct err *err)
{
    size_t i = 0, k = 0;
    int rc = 0;
    while (rc == 0 && (i < old->n || k < now->n)) {
        int order = i == old->n ? 1 : k == now->n ? -1 : compare(&old->v[i], &now->v[k]);
        json_t *into = order < 0 ? removed : added;
        bool full = order != 0 && json_array_size(into) == BLOBS_TOLD_MAX;
        const struct blob_digest *d = order < 0 ? &old->v[i] : &now->v[k];
        *more |= full;
        if (order != 0 && !full)
            rc = put(into, d, err);
        if (rc == 0 && (order == 0 || (order > 0) != full))
            rc = add(kept, d, err);
        i += order <= 0;
        k += order >= 0;
    }
    return rc;
}

static json_t *tell(struct blobs *b, const struct list *now, bool *more, struct err *err)
{
    struct list old = {.v = b->told, .n = b->unsure ? 0 : b->n}, kept = {0};
    json_t *added = json_array(), *removed = json_array(), *out = NULL;
    if (!added || !removed)
        err_nomem(err);
    bool same = !err_is_set(err) && differ(&old, now, &kept, added, removed, more, err) == 0 && !b->unsure &&
                json_array_size(added) == 0 && json_array_size(removed) == 0;
    if (!err_is_set(err) && !same) {
        out = json_object();
        json_put(out, "add", json_incref(added), err);
        json_put(out, "remove", json_incref(removed), err);
        json_put(out, "reset", json_boolean(b->unsure), err);
    }
    json_decref(added);
    json_decref(removed);
    if (err_is_set(err)) {
        json_decref(out);
        free(kept.v);
        return NULL;
    }
    free(b->told);
    b->told = kept.v;
    b->n = kept.n;
    b->unsure = false;
    return out;
}

json_t *blobs_tell(struct blobs *b, struct cache *cache, bool *more, struct err *err)
{
    struct list now = {0};
    json_t *out = NULL;
    *more = false;
    if (cache_blobs(cache, BLOBS_MAX, add_blob, &now, err) == 0) {
        if (now.n > 0)
            qsort(now.v, now.n, sizeof *now.v, compare);
        pthread_mutex_lock(&b->mu);
        out = tell(b, &now, more, err);
        pthread_mutex_unlock(&b->mu);
    }
    free(now.v);
    return out;
}
