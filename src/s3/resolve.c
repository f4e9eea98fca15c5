/* From what a source says to the objects it means now. */
#include "base/path.h"
#include "s3/keys.h"
#include "s3/s3_priv.h"
#include "spec/regex.h"
#include "spec/spec.h"

#include <stdio.h>

#define RESULT_ARENA_MAX ((size_t)48 << 20)
#define ARCHIVED_LOOKS   16 /* archived objects of a listing that are asked one by one whether they are restored */

struct resolving {
    struct s3 *s3;
    const struct source_s3 *src;
    const char *version_id;
    struct keys_plan plan;
    struct regex *filter;             /* NULL: none */
    struct partition_plan *partition; /* NULL: not divided */
    uint32_t partition_index;
    struct s3_resolution *r;
    size_t folder_room, warning_room;
    uint64_t seen; /* objects listed, before filter and partition */
    unsigned archived_looks;
};

/* ---- adding ---- */

static int add_string(struct arena *a, const char ***list, size_t *n, size_t *room, const char *s, struct err *err)
{
    if (*n == *room) {
        size_t wanted = *room ? *room * 2 : 16;
        const char **bigger = arena_array(a, wanted, sizeof *bigger);
        if (!bigger)
            return arena_check(a, err);
        if (*n > 0)
            memcpy(bigger, *list, *n * sizeof *bigger);
        *list = bigger;
        *room = wanted;
    }
    (*list)[(*n)++] = arena_dup(a, s);
    return arena_check(a, err);
}

static int warn(struct resolving *v, const char *text, struct err *err)
{
    return add_string(v->r->arena, &v->r->warnings, &v->r->warning_count, &v->warning_room, text, err);
}

static int name_key(struct resolving *v, const char *key, struct err *err)
{
    char name[S3_NAME_MAX];
    s3_name(v->s3, key, name);
    return err_wrap(err, "%.700s", name);
}

static int check_path(struct resolving *v, const char *key, struct span path, struct err *err)
{
    if (path_check_relative(path, err) == 0)
        return 0;
    name_key(v, key, err);
    return err_hint(err,
                    "such a key can't become a file below the target; leave it out by a Filter or a longer prefix");
}

/* Zero-byte "x/" objects are how consoles make folders. */
static int add_marker(struct resolving *v, const struct s3_object *o, struct err *err)
{
    const char *path = o->key + v->plan.base_n;
    struct span folder = {path, strlen(path)};
    if (o->size > 0) {
        err_set(err, ERR_REFUSED, "the key ends in '/' but holds %llu bytes: a folder can't have content",
                (unsigned long long)o->size);
        return name_key(v, o->key, err);
    }
    if (folder.n == 0)
        return 0; /* the target itself */
    folder.n--;
    if (check_path(v, o->key, folder, err) < 0)
        return -1;
    return add_string(v->r->arena, &v->r->folders, &v->r->folder_count, &v->folder_room, path, err);
}

static int wanted_here(struct resolving *v, const char *key, bool *wanted, struct err *err)
{
    uint32_t index = v->partition_index;
    if (v->partition && partition_index(v->partition, span_of(key), &index, err) < 0)
        return name_key(v, key, err);
    *wanted = index == v->partition_index;
    return 0;
}

static int passes_filter(struct resolving *v, const char *key, bool *passes, struct err *err)
{
    *passes = true;
    if (!v->filter)
        return 0;
    size_t groups;
    if (regex_match(v->filter, span_of(key + strlen(v->plan.prefix)), passes, NULL, 0, &groups, err) < 0)
        return name_key(v, key, err);
    return 0;
}

/* A listing seldom says whether an archived object is restored; the object does. */
static int check_archived(struct resolving *v, const struct s3_object *o, struct err *err)
{
    struct s3_object looked;
    if (!o->archived || v->archived_looks >= ARCHIVED_LOOKS)
        return 0;
    v->archived_looks++;
    if (s3_head(v->s3, o->key, NULL, v->r->arena, &looked, err) < 0)
        return -1;
    return looked.archived ? s3_refuse_archived(v->s3, o->key, err) : 0;
}

/* Up to all there is room for: a server may state any size. */
static void add_size(struct s3_resolution *r, uint64_t size)
{
    if (size != XFER_SIZE_UNKNOWN && __builtin_add_overflow(r->total_bytes, size, &r->total_bytes))
        r->total_bytes = UINT64_MAX;
}

static int take_listed(void *ctx, const struct s3_object *o, struct err *err)
{
    struct resolving *v = ctx;
    bool passes = true, wanted = true;
    size_t n = strlen(o->key);
    v->seen++;
    if (passes_filter(v, o->key, &passes, err) < 0)
        return -1;
    if (n > 0 && o->key[n - 1] == '/')
        return passes || o->size > 0 ? add_marker(v, o, err) : 0;
    if (!passes)
        return 0;
    if (wanted_here(v, o->key, &wanted, err) < 0)
        return -1;
    if (!wanted)
        return 0;
    if (check_path(v, o->key, span_of(o->key + v->plan.base_n), err) < 0 || check_archived(v, o, err) < 0)
        return -1;
    add_size(v->r, o->size);
    return s3_objects_add(v->r->objects, o, err);
}

/* ---- putting in order ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct s3_object *)a)->path, ((const struct s3_object *)b)->path);
}

/* Files and folders, merged in the order of their bytes, must be one tree. Markers still end in '/'. */
static int check_tree(struct resolving *v, struct err *err)
{
    struct s3_resolution *r = v->r;
    struct tree_check *t = calloc(1, sizeof *t);
    if (!t)
        return err_nomem(err);
    int rc = 0;
    size_t f = 0;
    for (size_t i = 0; rc == 0 && i < r->object_count; i++) {
        struct s3_object o;
        s3_resolution_get(r, i, &o);
        while (rc == 0 && f < r->folder_count && strcmp(r->folders[f], o.path) < 0)
            rc = tree_check_add(t, r->folders[f++], err);
        if (rc == 0)
            rc = tree_check_add(t, o.path, err);
    }
    while (rc == 0 && f < r->folder_count)
        rc = tree_check_add(t, r->folders[f++], err);
    free(t);
    return rc < 0 ? name_key(v, v->plan.prefix, err) : 0;
}

static int put_in_order(struct resolving *v, struct err *err)
{
    struct s3_resolution *r = v->r;
    if (r->looked)
        qsort(r->looked, r->object_count, sizeof *r->looked, by_path);
    else if (s3_objects_sort(r->objects, err) < 0)
        return -1;
    else
        r->object_count = s3_objects_count(r->objects);
    if (r->folder_count > 0)
        qsort(r->folders, r->folder_count, sizeof *r->folders, by_text);
    if (check_tree(v, err) < 0)
        return -1;
    for (size_t i = 0; i < r->folder_count; i++) {
        struct span marker = span_of(r->folders[i]);
        r->folders[i] = arena_dup_span(r->arena, (struct span){marker.p, marker.n - 1});
    }
    return arena_check(r->arena, err);
}

/* ---- one object, or some by name ---- */

static int take_looked(struct resolving *v, struct s3_object *o, struct err *err)
{
    bool wanted = true;
    if (o->archived)
        return s3_refuse_archived(v->s3, o->key, err);
    if (wanted_here(v, o->key, &wanted, err) < 0)
        return -1;
    if (!wanted)
        return 0;
    o->path = o->key + v->plan.base_n;
    if (check_path(v, o->key, span_of(o->path), err) < 0)
        return -1;
    add_size(v->r, o->size);
    v->r->looked[v->r->object_count++] = *o;
    return 0;
}

static int use_stated_checksum(struct resolving *v, struct s3_object *o, struct err *err)
{
    if (str_empty(v->src->checksum_sha256))
        return 0;
    o->want.has_full = true;
    if (digest_parse(DIGEST_SHA256, span_of(v->src->checksum_sha256), &o->want.full, err) < 0)
        return err_wrap(err, "ChecksumSHA256");
    return 0;
}

static int resolve_object(struct resolving *v, struct err *err)
{
    const char *slash = strrchr(v->plan.key, '/');
    struct s3_object o;
    v->plan.base_n = slash ? (size_t)(slash + 1 - v->plan.key) : 0;
    v->r->looked = arena_array(v->r->arena, 1, sizeof *v->r->looked);
    if (!v->r->looked)
        return arena_check(v->r->arena, err);
    if (s3_head(v->s3, v->plan.key, v->version_id, v->r->arena, &o, err) < 0) {
        if (err->kind == ERR_NOTFOUND && !v->version_id && v->plan.mode == KEYS_OBJECT)
            s3_hint_near(v->s3, v->plan.key, err);
        else if (err->kind == ERR_NOTFOUND && v->version_id)
            err_hint(err, "asked for version '%.128s': check VersionID", v->version_id);
        return -1;
    }
    if (use_stated_checksum(v, &o, err) < 0 || take_looked(v, &o, err) < 0)
        return -1;
    v->r->single = v->r->object_count == 1;
    return 0;
}

/* ---- the objects of an earlier run ---- */

static int take_pin(struct resolving *v, const struct pin *pin, struct s3_object *o, struct err *err)
{
    const char *key = pin->key;
    if (!key && v->plan.mode == KEYS_OBJECT)
        key = v->plan.key;
    else if (!key)
        key = arena_printf(v->r->arena, "%.*s%s", (int)v->plan.base_n, v->plan.prefix, pin->path);
    *o = (struct s3_object){
        .key = key, .path = pin->path, .size = pin->size, .etag = pin->etag, .version_id = pin->version_id};
    if (!key)
        return arena_check(v->r->arena, err);
    if (!pin->etag && !pin->version_id && !pin->sha256) {
        err_set(err, ERR_INVALID, "%s: the record names no version of it", pin->path);
        return err_hint(err, "remove the objects from the record to take what is there now");
    }
    if (pin->sha256) {
        o->want.has_full = true;
        if (digest_parse(DIGEST_SHA256, span_of(pin->sha256), &o->want.full, err) < 0)
            return -1;
    }
    add_size(v->r, o->size);
    return check_path(v, o->key, span_of(o->path), err);
}

static int resolve_pins(struct resolving *v, const struct s3_resolve_opts *opts, struct err *err)
{
    v->r->looked = arena_array(v->r->arena, opts->pin_count, sizeof *v->r->looked);
    if (!v->r->looked)
        return arena_check(v->r->arena, err);
    for (size_t i = 0; i < opts->pin_count; i++)
        if (take_pin(v, &opts->pins[i], &v->r->looked[v->r->object_count++], err) < 0)
            return -1;
    v->r->single = v->plan.mode == KEYS_OBJECT && opts->pin_count == 1;
    return 0;
}

/* Sorted, each once. */
static const char **file_keys(struct resolving *v, size_t *count, struct err *err)
{
    const struct job_strs *files = &v->src->files;
    const char **keys = arena_array(v->r->arena, files->n, sizeof *keys);
    size_t n = 0;
    for (size_t i = 0; keys && i < files->n; i++)
        keys[i] = arena_printf(v->r->arena, "%s%s", v->plan.prefix, files->v[i]);
    if (arena_check(v->r->arena, err) < 0 || !keys)
        return NULL;
    qsort(keys, files->n, sizeof *keys, by_text);
    for (size_t i = 0; i < files->n; i++)
        if (n == 0 || strcmp(keys[n - 1], keys[i]) != 0)
            keys[n++] = keys[i];
    *count = n;
    return keys;
}

static int resolve_files(struct resolving *v, struct err *err)
{
    size_t n;
    const char **keys = file_keys(v, &n, err);
    if (!keys)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (check_path(v, keys[i], span_of(keys[i] + v->plan.base_n), err) < 0)
            return -1;
    struct s3_object *looked = arena_array(v->r->arena, n, sizeof *looked);
    v->r->looked = looked;
    if (!looked)
        return arena_check(v->r->arena, err);
    if (s3_look(v->s3, keys, n, v->r->arena, looked, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct s3_object o = looked[i]; /* what is taken moves to the front */
        if (take_looked(v, &o, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- listings ---- */

static int nothing_there(struct resolving *v, struct err *err)
{
    char name[S3_NAME_MAX];
    if (v->plan.mode == KEYS_FOLDER_OR_OBJECT) {
        s3_name(v->s3, v->plan.key, name);
        err_set(err, ERR_NOTFOUND, "%.700s: no such object, and no key starts with '%.512s'", name, v->plan.prefix);
        s3_hint_near(v->s3, v->plan.key, err);
        return -1;
    }
    s3_name(v->s3, v->plan.prefix, name);
    if (v->plan.prefix[0] == '\0')
        return err_set(err, ERR_NOTFOUND, "%.700s: the bucket is empty", name);
    err_set(err, ERR_NOTFOUND, "%.700s: no key starts with '%.512s'", name, v->plan.prefix);
    s3_hint_near(v->s3, v->plan.prefix, err);
    return -1;
}

static int resolve_listing(struct resolving *v, struct err *err)
{
    struct err why = ERR_INIT;
    int rc = s3_list(v->s3, v->plan.prefix, NULL, take_listed, v, &why);
    bool denied = rc < 0 && why.kind == ERR_DENIED && v->seen == 0;
    if (v->plan.mode == KEYS_FOLDER_OR_OBJECT && (denied || (rc == 0 && v->seen == 0))) {
        struct err missing = ERR_INIT;
        if (resolve_object(v, &missing) == 0)
            return denied ? warn(v, "the bucket may not be listed: taken as one object", err) : 0;
        if (!denied && missing.kind == ERR_NOTFOUND)
            return nothing_there(v, err);
        if (!denied)
            return err_move(err, &missing);
    }
    if (rc < 0)
        return err_move(err, &why);
    if (v->seen == 0)
        return nothing_there(v, err);
    if (v->filter && s3_objects_count(v->r->objects) == 0 && !v->partition &&
        warn(v, "the Filter excludes every object: the folder is empty", err) < 0)
        return -1;
    if (!str_empty(v->src->checksum_sha256) &&
        warn(v, "ChecksumSHA256 has no effect on a prefix: it is for a single object", err) < 0)
        return -1;
    return 0;
}

/* ---- the whole ---- */

static int describe_place(struct resolving *v, struct err *err)
{
    struct s3_resolution *r = v->r;
    const struct s3_place *p = s3_place_now(v->s3);
    char region[S3_REGION_MAX];
    AUTO_BUF endpoint;
    buf_init(&endpoint, S3_URL_MAX);
    s3_region_now(v->s3, region);
    place_endpoint(p, region, &endpoint);
    r->endpoint = arena_dup_span(r->arena, buf_span(&endpoint));
    r->bucket = arena_dup(r->arena, p->bucket);
    r->region = arena_dup(r->arena, region);
    if (buf_check(&endpoint, "endpoint", err) < 0)
        return -1;
    return arena_check(r->arena, err);
}

static int prepare(struct resolving *v, const struct s3_resolve_opts *opts, struct err *err)
{
    struct s3_resolution *r = v->r;
    r->arena = arena_new(RESULT_ARENA_MAX, err);
    r->objects = r->arena ? s3_objects_new(err) : NULL;
    if (!r->objects)
        return -1;
    /* Named files have the same URLs whatever a guessed place turns out to be. */
    if (v->src->files.n == 0 && s3_settle(v->s3, err) < 0)
        return -1;
    const struct s3_place *p = s3_place_now(v->s3);
    v->version_id = !str_empty(v->src->version_id) ? v->src->version_id : p->version_id;
    bool many = p->key[0] == '\0' || strchr("/*", p->key[strlen(p->key) - 1]) || v->src->files.n > 0;
    if (v->version_id && many) {
        if (warn(v, "VersionID has no effect on a prefix: it is for a single object", err) < 0)
            return -1;
        v->version_id = NULL;
    }
    if (keys_plan(r->arena, v->src, p->key, v->version_id, &v->plan, err) < 0)
        return -1;
    if (p->style == S3_STYLE_PLAIN)
        v->plan.mode = KEYS_OBJECT;
    if (v->s3->plain_http && warn(v, "plain http: others may read and change what is moved", err) < 0)
        return -1;
    if (!str_empty(v->src->filter) && regex_compile(&v->filter, v->src->filter, err) < 0)
        return err_wrap(err, "Filter");
    if (v->src->partition.kind == PARTITION_NONE || opts->partition_count < 2)
        return 0;
    v->partition_index = opts->partition_index;
    return partition_open(&v->partition, &v->src->partition, p->key, opts->partition_count, err);
}

static int resolve(struct resolving *v, const struct s3_resolve_opts *opts, struct err *err)
{
    if (prepare(v, opts, err) < 0)
        return -1;
    v->r->base_n = v->plan.base_n;
    int rc;
    if (opts->pin_count > 0)
        return resolve_pins(v, opts, err) < 0 || put_in_order(v, err) < 0 ? -1 : describe_place(v, err);
    switch (v->plan.mode) {
    case KEYS_OBJECT:
        rc = resolve_object(v, err);
        break;
    case KEYS_FILES:
        rc = resolve_files(v, err);
        break;
    default:
        rc = resolve_listing(v, err);
        break;
    }
    if (rc < 0 || put_in_order(v, err) < 0)
        return -1;
    return describe_place(v, err);
}

int s3_resolve(struct s3 *s3, const struct source_s3 *src, const struct s3_resolve_opts *opts,
               struct s3_resolution **out, struct err *err)
{
    struct resolving v = {.s3 = s3, .src = src};
    v.r = calloc(1, sizeof *v.r);
    if (!v.r)
        return err_nomem(err);
    int rc = resolve(&v, opts, err);
    regex_free(v.filter);
    partition_free(v.partition);
    if (rc < 0) {
        s3_resolution_free(v.r);
        s3_one_line(err->text);
        s3_one_line(err->hint);
        return -1;
    }
    *out = v.r;
    return 0;
}

void s3_resolution_free(struct s3_resolution *r)
{
    if (!r)
        return;
    s3_objects_free(r->objects);
    arena_free(r->arena);
    free(r);
}

void s3_resolution_get(struct s3_resolution *r, size_t i, struct s3_object *out)
{
    if (r->looked) {
        *out = r->looked[i];
        return;
    }
    s3_objects_get(r->objects, i, out);
    out->path = out->key + r->base_n;
}
