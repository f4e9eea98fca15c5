#include "node/holds.h"

#include "base/fs.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define HOLDS_NAME     "holds.json"
#define HOLDS_FILE_MAX ((size_t)4 << 20)

/* Its index; `n` where there is none. */
static size_t find(const struct holds *h, const char *key)
{
    size_t i = 0;
    while (i < h->n && !str_eq(h->v[i].key, key))
        i++;
    return i;
}

static void drop(struct holds *h, size_t i)
{
    memmove(&h->v[i], &h->v[i + 1], (h->n - i - 1) * sizeof *h->v);
    h->n--;
}

static void add(struct holds *h, const struct hold *one)
{
    size_t known = find(h, one->key);
    if (known < h->n)
        drop(h, known);
    else if (h->n == HOLDS_MAX)
        drop(h, 0);
    h->v[h->n++] = *one;
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

static json_t *to_json(const struct holds *h, bool with_snapshots, struct err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < h->n; i++) {
        json_t *one = json_object();
        if (json_put_str(one, "key", h->v[i].key, err) < 0 || json_put_u64(one, "bytes", h->v[i].bytes, err) < 0 ||
            (with_snapshots && json_put_str(one, "snapshot", h->v[i].snapshot, err) < 0) ||
            json_array_append(list, one) < 0)
            err_nomem(err);
        json_decref(one);
    }
    if (list && !err_is_set(err))
        return list;
    json_decref(list);
    if (!err_is_set(err))
        err_nomem(err);
    return NULL;
}

static int save(const struct holds *h, struct err *err)
{
    AUTO_JSON list = to_json(h, true, err);
    AUTO_BUF text;
    buf_init(&text, HOLDS_FILE_MAX);
    if (!list || json_write(list, false, &text, err) < 0)
        return -1;
    return fs_replace_file(h->dir_fd, HOLDS_NAME, text.p, text.n, 0600, err);
}

static void load_one(struct holds *h, const json_t *item)
{
    const char *key = json_get_str(item, "key"), *snapshot = json_get_str(item, "snapshot");
    int64_t bytes = 0;
    struct hold one = {0};
    if (!key || !snapshot || strlen(key) != HOLD_KEY_MAX - 1 || strlen(snapshot) >= sizeof one.snapshot ||
        !json_get_i64(item, "bytes", &bytes) || bytes < 0)
        return;
    snprintf(one.key, sizeof one.key, "%s", key);
    snprintf(one.snapshot, sizeof one.snapshot, "%s", snapshot);
    one.bytes = (uint64_t)bytes;
    add(h, &one);
}

int holds_open(struct holds *h, int dir_fd, struct err *err)
{
    AUTO_BUF text;
    struct err none = ERR_INIT;
    size_t i;
    json_t *item;
    buf_init(&text, HOLDS_FILE_MAX);
    struct hold *v = calloc(HOLDS_MAX, sizeof *v);
    if (!v)
        return err_nomem(err);
    *h = (struct holds){.v = v, .dir_fd = dir_fd, .changed = true};
    pthread_mutex_init(&h->mu, NULL);
    if (fs_read_file(dir_fd, HOLDS_NAME, HOLDS_FILE_MAX, &text, &none) < 0)
        return 0;
    AUTO_JSON list = json_parse(buf_span(&text), &none);
    json_array_foreach(list, i, item) load_one(h, item);
    return 0;
}

void holds_release(struct holds *h)
{
    if (!h->v)
        return;
    free(h->v);
    h->v = NULL;
    pthread_mutex_destroy(&h->mu);
}

/* --- what is known ------------------------------------------------------------------------------------------------ */

int holds_note(struct holds *h, const struct input *in, const json_t *staged, struct err *err)
{
    struct hold one = {0};
    const char *snapshot = json_get_str(staged, "snapshot");
    int64_t bytes = 0;
    if (!snapshot || strlen(snapshot) >= sizeof one.snapshot || !json_get_i64(staged, "bytes", &bytes) || bytes < 0)
        return 0;
    int named = hold_key(in, one.key, err);
    if (named <= 0)
        return named;
    snprintf(one.snapshot, sizeof one.snapshot, "%s", snapshot);
    one.bytes = (uint64_t)bytes;
    pthread_mutex_lock(&h->mu);
    size_t at = find(h, one.key);
    bool same = at < h->n && str_eq(h->v[at].snapshot, one.snapshot) && h->v[at].bytes == one.bytes;
    add(h, &one);
    h->changed |= !same;
    int rc = same ? 0 : save(h, err);
    pthread_mutex_unlock(&h->mu);
    return rc;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Forget what the cache no longer has. */
static int prune(struct holds *h, struct cache *cache, struct err *err)
{
    AUTO_JSON list = cache_list(cache, err);
    size_t n = json_array_size(list), kept = 0;
    const char **there = list ? calloc(n + 1, sizeof *there) : NULL;
    if (!there)
        return err_is_set(err) ? -1 : err_nomem(err);
    for (size_t i = 0; i < n; i++) {
        const char *id = json_get_str(json_array_get(list, i), "snapshot");
        there[i] = id ? id : "";
    }
    qsort((void *)there, n, sizeof *there, compare);
    for (size_t i = 0; i < h->n; i++) {
        const char *wanted = h->v[i].snapshot;
        if (bsearch(&wanted, (void *)there, n, sizeof *there, compare))
            h->v[kept++] = h->v[i];
    }
    h->changed |= kept != h->n;
    h->n = kept;
    free((void *)there);
    return 0;
}

json_t *holds_tell(struct holds *h, struct cache *cache, bool all, struct err *err)
{
    json_t *out = NULL;
    pthread_mutex_lock(&h->mu);
    if ((all || h->changed) && prune(h, cache, err) == 0 && (all || h->changed)) {
        out = to_json(h, false, err);
        h->changed = h->changed && !out;
    }
    pthread_mutex_unlock(&h->mu);
    return out;
}
