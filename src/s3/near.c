/* Near misses for a key that is not there. */
#include "base/near.h"

#include "s3/s3_priv.h"

#define NEAR_LEVELS_MAX 8
#define NEAR_NAMES_MAX  5000 /* looked at, of one folder */

struct neighbours {
    struct near_top top;
    size_t parent_n, seen;
    bool same_folder; /* a folder of the very name */
};

static int add_name(void *ctx, const struct s3_object *object, struct err *err)
{
    struct neighbours *n = ctx;
    (void)err;
    struct span name = span_of(object->key + n->parent_n);
    if (span_ends(name, SPAN_LIT("/")))
        n->same_folder |= span_eq((struct span){name.p, name.n - 1}, n->top.word);
    if (name.n > 0)
        near_top_add(&n->top, name);
    return ++n->seen >= NEAR_NAMES_MAX;
}

/* "a/b/c" → "a/b/", "c"; a slash or star at the end of the key does not count. */
static struct span cut_last(struct span *key)
{
    while (key->n > 0 && (key->p[key->n - 1] == '/' || key->p[key->n - 1] == '*'))
        key->n--;
    size_t at = key->n;
    while (at > 0 && key->p[at - 1] != '/')
        at--;
    struct span name = {key->p + at, key->n - at};
    key->n = at;
    return name;
}

static void hint(const struct neighbours *n, struct span parent, struct err *err)
{
    AUTO_BUF names;
    buf_init(&names, ERR_HINT_MAX);
    if (n->same_folder) {
        err_hint(err, "'%.*s%.*s/' is a folder: end the key with '/' to take all of it", SPAN_FMT(parent),
                 SPAN_FMT(n->top.word));
        return;
    }
    for (size_t i = 0; i < n->top.n; i++)
        buf_addf(&names, "%s'%.*s%s'", i ? ", " : "", SPAN_FMT(parent), n->top.best[i]);
    err_hint(err, "near it: %s", buf_str(&names));
}

void s3_hint_near(struct s3 *s3, const char *missing, struct err *err)
{
    struct span key = span_of(missing);
    for (int level = 0; level < NEAR_LEVELS_MAX && key.n > 0; level++) {
        struct neighbours n = {.seen = 0};
        struct err ignored = ERR_INIT;
        struct span name = cut_last(&key);
        AUTO_STR parent = str_dup_span(key, &ignored);
        if (!parent || name.n == 0)
            return;
        n.parent_n = key.n;
        near_top_init(&n.top, name);
        if (s3_list(s3, parent, "/", add_name, &n, &ignored) < 0)
            return;
        if (n.top.n > 0) {
            hint(&n, key, err);
            return;
        }
    }
}
