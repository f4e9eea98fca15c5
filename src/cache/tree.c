/* The list of a snapshot. Canonical form: a header line, then one record an entry, in tree order: 'f' path NUL blob NUL
 * size NUL, 'd' path NUL, or 'l' path NUL path of a file NUL. In tree order '/' sorts before every other byte, so that
 * what lies below a folder comes right after it, and a file that something lies below stands right before that. Pure.
 */
#include "cache/cache_priv.h"

#include "base/path.h"

#define LIST_HEADER "berth snapshot 1\n"

/* '/' is the least. */
static int rank(char c)
{
    return c == '\0' ? 0 : c == '/' ? 1 : (unsigned char)c + 1;
}

static int tree_compare(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return rank(*a) - rank(*b);
}

static int by_path(const void *a, const void *b)
{
    const struct tree_entry *x = a, *y = b;
    int order = tree_compare(x->path, y->path);
    return order ? order : tree_is_folder(y) - tree_is_folder(x); /* of two alike, the folder comes first */
}

static bool lies_below(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && path[n] == '/';
}

static int check_path(const char *path, struct err *err)
{
    unsigned depth = 0;
    if (path_check_relative(span_of(path), err) < 0)
        return -1;
    for (const char *p = path; *p; p++)
        depth += *p == '/';
    if (depth > CACHE_DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "%s lies deeper than %d folders", path, CACHE_DEPTH_MAX);
    return 0;
}

static int check_file(const struct cache_file *file, struct err *err)
{
    if (check_path(file->path, err) < 0)
        return -1;
    if (!blob_id_ok(file->blob))
        return err_set(err, ERR_INVALID, "%s: \"%.80s\" is not a blob's id", file->path, file->blob ? file->blob : "");
    if (file->size > INT64_MAX)
        return err_set(err, ERR_INVALID, "%s: its size is not known", file->path);
    return 0;
}

static int fill_entries(const struct cache_tree *in, struct tree *out, struct err *err)
{
    for (size_t i = 0; i < in->file_count; i++) {
        const struct cache_file *f = &in->files[i];
        if (check_file(f, err) < 0)
            return -1;
        out->v[out->n++] = (struct tree_entry){.path = f->path, .blob = f->blob, .size = f->size};
    }
    for (size_t i = 0; i < in->folder_count; i++) {
        if (check_path(in->folders[i], err) < 0)
            return -1;
        out->v[out->n++] = (struct tree_entry){.path = in->folders[i]};
    }
    for (size_t i = 0; i < in->link_count; i++) {
        const struct cache_link *l = &in->links[i];
        if (check_path(l->path, err) < 0 || check_path(l->to, err) < 0)
            return -1;
        out->v[out->n++] = (struct tree_entry){.path = l->path, .to = l->to};
    }
    return 0;
}

/* Neighbours that exclude one another are refused; folders that something implies are dropped. */
static int settle_neighbours(struct tree *t, struct err *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct tree_entry *e = &t->v[i], *next = i + 1 < t->n ? e + 1 : NULL;
        bool same = next && str_eq(e->path, next->path), below = next && lies_below(next->path, e->path);
        if (same && !tree_is_folder(next))
            return err_set(err, ERR_INVALID,
                           tree_is_folder(e) ? "%s is to be a folder and a file" : "two files are to be at %s",
                           e->path);
        if (below && !tree_is_folder(e))
            return err_set(err, ERR_INVALID, "%s is to be a file and %s to lie below it", e->path, next->path);
        if (tree_is_folder(e) && (same || below))
            continue;
        t->files += e->blob != NULL;
        t->links += e->to != NULL;
        if (__builtin_add_overflow(t->bytes, e->size, &t->bytes) || t->bytes > INT64_MAX)
            return err_set(err, ERR_LIMIT, "%s: the sizes add up to more than can be", e->path);
        t->v[kept++] = *e;
    }
    t->n = kept;
    return 0;
}

static int by_path_alone(const void *a, const void *b)
{
    const struct tree_entry *x = a, *y = b;
    return tree_compare(x->path, y->path);
}

static int check_links(const struct tree *t, struct err *err)
{
    for (size_t i = 0; t->links && i < t->n; i++) {
        const struct tree_entry *link = &t->v[i], key = {.path = link->to};
        if (!link->to)
            continue;
        const struct tree_entry *file = bsearch(&key, t->v, t->n, sizeof *t->v, by_path_alone);
        if (!file || !file->blob)
            return err_set(err, ERR_INVALID, "%s is to be a link to %s, where no file is to be", link->path, link->to);
    }
    return 0;
}

static bool too_many(const struct cache_tree *in)
{
    return in->file_count > CACHE_PATHS_MAX || in->folder_count > CACHE_PATHS_MAX - in->file_count ||
           in->link_count > CACHE_PATHS_MAX - in->file_count - in->folder_count;
}

int tree_sort(const struct cache_tree *in, struct tree *out, struct err *err)
{
    *out = (struct tree){0};
    if (too_many(in))
        return err_set(err, ERR_LIMIT, "%zu files, %zu folders and %zu links; at most %d can be in one snapshot",
                       in->file_count, in->folder_count, in->link_count, CACHE_PATHS_MAX);
    out->v = calloc(in->file_count + in->folder_count + in->link_count + 1, sizeof *out->v);
    if (!out->v)
        return err_nomem(err);
    if (fill_entries(in, out, err) == 0) {
        qsort(out->v, out->n, sizeof *out->v, by_path);
        if (settle_neighbours(out, err) == 0 && check_links(out, err) == 0)
            return 0;
    }
    tree_release(out);
    return -1;
}

void tree_release(struct tree *t)
{
    free(t->v);
    *t = (struct tree){0};
}

int tree_encode(const struct tree *t, struct buf *out, struct err *err)
{
    buf_adds(out, LIST_HEADER);
    for (size_t i = 0; i < t->n; i++) {
        const struct tree_entry *e = &t->v[i];
        buf_addc(out, e->blob ? 'f' : e->to ? 'l' : 'd');
        buf_add(out, e->path, strlen(e->path) + 1);
        if (e->to)
            buf_add(out, e->to, strlen(e->to) + 1);
        if (!e->blob)
            continue;
        buf_add(out, e->blob, strlen(e->blob) + 1);
        buf_addf(out, "%llu", (unsigned long long)e->size);
        buf_addc(out, '\0');
    }
    return buf_check(out, "the list of the snapshot", err);
}

static int take_field(struct span *rest, const char **out, struct err *err)
{
    struct span field;
    if (!span_cut(*rest, '\0', &field, rest))
        return err_set(err, ERR_CORRUPT, "the list of the snapshot is cut off");
    *out = field.p;
    return 0;
}

static int spoiled(const struct err *why, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "the list of the snapshot: %s", why->text);
}

static int take_file(struct span *rest, struct tree_entry *e, struct err *err)
{
    const char *size = "";
    struct err why = ERR_INIT;
    if (take_field(rest, &e->blob, err) < 0 || take_field(rest, &size, err) < 0)
        return -1;
    struct cache_file file = {.path = e->path, .blob = e->blob};
    if (span_to_u64(span_of(size), &file.size, &why) < 0 || check_file(&file, &why) < 0)
        return spoiled(&why, err);
    e->size = file.size;
    return 0;
}

static int take_entry(struct span *rest, struct tree_entry *e, struct err *err)
{
    struct err why = ERR_INIT;
    *e = (struct tree_entry){.path = ""};
    if (take_field(rest, &e->path, err) < 0)
        return -1;
    char kind = *e->path;
    if (kind)
        e->path++;
    switch (kind) {
    case 'f':
        return take_file(rest, e, err);
    case 'l':
        if (take_field(rest, &e->to, err) < 0)
            return -1;
        return check_path(e->path, &why) < 0 || check_path(e->to, &why) < 0 ? spoiled(&why, err) : 0;
    case 'd':
        return check_path(e->path, &why) < 0 ? spoiled(&why, err) : 0;
    default:
        return err_set(err, ERR_CORRUPT, "the list of the snapshot has an entry of no known kind");
    }
}

/* Entries out of order, or excluding one another, are not what tree_encode() wrote. */
static int check_order(const struct tree *t, struct err *err)
{
    if (t->n < 2)
        return 0;
    const struct tree_entry *e = &t->v[t->n - 2], *next = e + 1;
    if (tree_compare(e->path, next->path) >= 0 || lies_below(next->path, e->path))
        return err_set(err, ERR_CORRUPT, "the list of the snapshot is out of order at %s", next->path);
    return 0;
}

static int grow(struct tree *t, size_t *room, struct err *err)
{
    if (t->n < *room)
        return 0;
    if (t->n >= CACHE_PATHS_MAX)
        return err_set(err, ERR_LIMIT, "the list of the snapshot has more than %d entries", CACHE_PATHS_MAX);
    *room = *room ? *room * 2 : 64;
    struct tree_entry *more = reallocarray(t->v, *room, sizeof *more);
    if (!more)
        return err_nomem(err);
    t->v = more;
    return 0;
}

int tree_decode(struct span list, struct tree *out, struct err *err)
{
    size_t room = 0;
    *out = (struct tree){0};
    if (!span_starts(list, SPAN_LIT(LIST_HEADER)))
        return err_set(err, ERR_CORRUPT, "the list of the snapshot has no header");
    struct span rest = {list.p + strlen(LIST_HEADER), list.n - strlen(LIST_HEADER)};
    while (rest.n) {
        if (grow(out, &room, err) < 0 || take_entry(&rest, &out->v[out->n], err) < 0)
            goto fail;
        const struct tree_entry *e = &out->v[out->n++];
        out->files += e->blob != NULL;
        out->links += e->to != NULL;
        if (check_order(out, err) < 0)
            goto fail;
        if (__builtin_add_overflow(out->bytes, e->size, &out->bytes)) {
            err_set(err, ERR_CORRUPT, "the list of the snapshot: the sizes add up to more than can be");
            goto fail;
        }
    }
    struct err why = ERR_INIT;
    if (check_links(out, &why) == 0)
        return 0;
    spoiled(&why, err);
fail:
    tree_release(out);
    return -1;
}

int tree_id(struct span list, char id[SNAPSHOT_ID_MAX], struct err *err)
{
    struct digest_value hash;
    char hex[DIGEST_HEX_MAX];
    if (digest_bytes(DIGEST_SHA256, list.p, list.n, &hash, err) < 0)
        return -1;
    text_copy(id, SNAPSHOT_ID_MAX, span_of(digest_hex(hex, &hash)));
    return 0;
}
