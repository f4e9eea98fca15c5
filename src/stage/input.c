/* One input's way: resolve, compare with what the cache has, prove, fetch, make the snapshot. */
#include "base/clock.h"
#include "base/rng.h"
#include "stage/stage_priv.h"

void input_set_phase(struct stage_input *in, enum stage_phase phase)
{
    atomic_store(&in->shown.phase, (int)phase);
    const struct stage_opts *opts = &in->stage->opts;
    if (!opts->phase)
        return;
    pthread_mutex_lock(&in->stage->warn_mu);
    opts->phase(opts->ctx, in->index, phase);
    pthread_mutex_unlock(&in->stage->warn_mu);
}

static bool is_public(const struct stage_input *in)
{
    static const uint8_t nobody[32];
    return memcmp(in->source->principal, nobody, sizeof nobody) == 0;
}

static void forget_plan(struct stage_input *in)
{
    free(in->own.blobs);
    free(in->own.proved);
    in->own.blobs = NULL;
    in->own.proved = NULL;
    in->own.verified = in->own.by_size = 0;
    peers_forget(in);
    atomic_store(&in->shown.files_done, 0);
    atomic_store(&in->shown.files_cached, 0);
    atomic_store(&in->shown.bytes_cached, 0);
    /* What an earlier attempt fetched is found in the cache or folder by the next. */
    struct peer_figures peers;
    peers_figures(in, &peers);
    atomic_store(&in->shown.peer_files, 0);
    atomic_store(&in->shown.bytes_before, atomic_load(&in->shown.group.bytes_done) + peers.bytes_done);
}

/* Fields are told apart by their NUL. */
static int add_field(struct digest *d, const char *field, struct err *err)
{
    return field ? digest_update(d, field, strlen(field) + 1, err) : digest_update(d, "", 1, err);
}

/* Marked by what no path of a file or folder is. */
static int add_link(struct digest *d, const struct cache_link *link, struct err *err)
{
    if (add_field(d, "/", err) < 0 || add_field(d, link->path, err) < 0)
        return -1;
    return add_field(d, link->to, err);
}

/* Where it comes from counts as much as what it is called and how large it is: equal lists of two origins are two
 * lists, and who may read the one has shown nothing of the other. */
static int add_file(struct digest *d, const struct source_file *f, struct err *err)
{
    char size[32];
    snprintf(size, sizeof size, "%llu", (unsigned long long)f->size);
    if (add_field(d, f->path, err) < 0 || add_field(d, f->location, err) < 0 || add_field(d, size, err) < 0)
        return -1;
    return add_field(d, f->version, err);
}

/* The hash of the resolved list. Without a version for every file it is made unique: such lists never match. */
static int take_fingerprint(struct stage_input *in, struct err *err)
{
    struct source *src = in->source;
    struct digest *d = NULL;
    if (digest_open(&d, BIT(DIGEST_SHA256), err) < 0)
        return -1;
    uint64_t total = 0;
    in->own.steady = true;
    int rc = add_field(d, src->ops->name, err);
    for (size_t i = 0; i < src->file_count && rc == 0; i++) {
        struct source_file f;
        src->ops->file(src, i, &f);
        if (f.size != XFER_SIZE_UNKNOWN)
            total += f.size;
        if (!f.version)
            in->own.steady = false;
        rc = add_file(d, &f, err);
    }
    for (size_t i = 0; i < src->folder_count && rc == 0; i++)
        rc = add_field(d, src->folders[i], err);
    for (size_t i = 0; i < src->link_count && rc == 0; i++)
        rc = add_link(d, &src->links[i], err);
    if (rc == 0 && !in->own.steady) {
        uint8_t once[16];
        rc = rng_bytes(once, sizeof once, err);
        if (rc == 0)
            rc = digest_update(d, once, sizeof once, err);
    }
    struct digest_value v;
    if (rc == 0)
        rc = digest_final(d, DIGEST_SHA256, &v, err);
    if (rc == 0)
        memcpy(in->own.fingerprint, v.bytes, sizeof in->own.fingerprint);
    digest_free(d);
    atomic_store(&in->shown.files_total, src->file_count);
    atomic_store(&in->shown.bytes_total, total);
    return rc;
}

/* --- what the cache has ------------------------------------------------------------------------------------------- */

static int look_up_batch(struct stage_input *in, size_t first, size_t n, struct err *err)
{
    struct source *src = in->source;
    struct arena *a = arena_new(0, err);
    if (!a)
        return -1;
    struct cache_origin *origins = arena_array(a, n, sizeof *origins);
    struct cache_blob *blobs = arena_array(a, n, sizeof *blobs);
    int rc = origins && blobs ? 0 : err_nomem(err);
    for (size_t k = 0; k < n && rc == 0; k++) {
        struct source_file f;
        src->ops->file(src, first + k, &f);
        origins[k] = (struct cache_origin){src->ops->name, arena_dup(a, f.location), arena_dup(a, f.version), f.size};
        in->own.proved[first + k] = f.proved || f.content.p;
    }
    if (rc == 0)
        rc = arena_check(a, err);
    if (rc == 0)
        rc = cache_lookup(in->stage->opts.cache, in->stage->lease, origins, n, blobs, err);
    for (size_t k = 0; k < n && rc == 0; k++) {
        if (!blobs[k].found)
            continue;
        memcpy(in->own.blobs[first + k].id, blobs[k].id, sizeof blobs[k].id);
        in->own.blobs[first + k].size = blobs[k].size;
        atomic_fetch_add(&in->shown.files_done, 1);
        atomic_fetch_add(&in->shown.files_cached, 1);
        atomic_fetch_add(&in->shown.bytes_cached, blobs[k].size);
    }
    arena_free(a);
    return rc;
}

static int look_up(struct stage_input *in, struct err *err)
{
    size_t n = in->source->file_count;
    in->own.blobs = calloc(n ? n : 1, sizeof *in->own.blobs);
    in->own.proved = calloc(n ? n : 1, sizeof *in->own.proved);
    if (!in->own.blobs || !in->own.proved)
        return err_nomem(err);
    for (size_t i = 0; i < n; i += STAGE_LOOKUP_BATCH) {
        size_t batch = n - i < STAGE_LOOKUP_BATCH ? n - i : STAGE_LOOKUP_BATCH;
        if (look_up_batch(in, i, batch, err) < 0)
            return -1;
    }
    return 0;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct cache_file *)a)->path, ((const struct cache_file *)b)->path);
}

/* Snapshots have an order of their own, in which what lies below a folder comes right behind it. */
static void match_proofs(struct stage_input *in, struct cache_file *old, size_t n)
{
    qsort(old, n, sizeof *old, by_path);
    for (size_t i = 0; i < in->source->file_count; i++) {
        struct source_file f;
        in->source->ops->file(in->source, i, &f);
        const struct cache_file key = {.path = f.path}, *was = bsearch(&key, old, n, sizeof *old, by_path);
        if (was && str_eq(was->blob, in->own.blobs[i].id))
            in->own.proved[i] = true;
    }
}

/* Files that the last snapshot of this identity had, unchanged, are as proved as that snapshot is. */
static int inherit_proofs(struct stage_input *in, const struct cache_entry *last, struct err *err)
{
    struct stage *s = in->stage;
    bool has = false;
    if (cache_proof_has(s->opts.cache, in->own.scope, last->fingerprint, &has, err) < 0)
        return -1;
    if (!has)
        return 0;
    struct arena *a = arena_new(STAGE_TREE_BYTES_MAX, err);
    struct cache_tree old;
    if (!a)
        return -1;
    int rc = cache_snapshot_list(s->opts.cache, last->snapshot, a, &old, err);
    struct cache_file *files = rc == 0 ? arena_array(a, old.file_count + 1, sizeof *files) : NULL;
    if (rc == 0 && !files)
        rc = arena_check(a, err) < 0 ? -1 : err_nomem(err);
    if (rc == 0 && old.file_count > 0) {
        memcpy(files, old.files, old.file_count * sizeof *files);
        match_proofs(in, files, old.file_count);
    }
    arena_free(a);
    return rc;
}

static void mark_all_cached(struct stage_input *in)
{
    atomic_store(&in->shown.files_done, atomic_load(&in->shown.files_total));
    atomic_store(&in->shown.files_cached, atomic_load(&in->shown.files_total));
    atomic_store(&in->shown.bytes_cached, atomic_load(&in->shown.bytes_total));
}

/* 1: the snapshot of last time is what the origin has now, and this credential may read it: nothing to do per file. */
static int use_last(struct stage_input *in, struct cache_entry *last, bool *found, struct err *err)
{
    struct stage *s = in->stage;
    if (cache_entry_get(s->opts.cache, s->lease, in->source->identity, in->own.scope, last, found, err) < 0)
        return -1;
    if (!*found || in->source->unasked || !in->own.steady ||
        memcmp(last->fingerprint, in->own.fingerprint, sizeof last->fingerprint) != 0)
        return 0;
    bool proved = false;
    if (cache_proof_has(s->opts.cache, in->own.scope, in->own.fingerprint, &proved, err) < 0)
        return -1;
    if (!proved)
        return 0;
    memcpy(in->own.snapshot, last->snapshot, sizeof in->own.snapshot);
    mark_all_cached(in);
    return 1;
}

/* --- what is missing ---------------------------------------------------------------------------------------------- */

static int reserve_room(struct stage_input *in, struct err *err)
{
    uint64_t missing = 0, files = 0;
    for (size_t i = 0; i < in->source->file_count; i++) {
        struct source_file f;
        if (in->own.blobs[i].id[0])
            continue;
        files++;
        in->source->ops->file(in->source, i, &f);
        if (f.size != XFER_SIZE_UNKNOWN && __builtin_add_overflow(missing, f.size, &missing))
            return err_set(err, ERR_LIMIT, "the sizes of the files overflow");
    }
    return files ? cache_reserve(in->stage->opts.cache, in->stage->lease, missing, files + in->source->link_count, err)
                 : 0;
}

static int make_snapshot(struct stage_input *in, struct err *err)
{
    struct stage *s = in->stage;
    struct source *src = in->source;
    struct arena *a = arena_new(STAGE_TREE_BYTES_MAX, err);
    if (!a)
        return -1;
    struct cache_file *files = arena_array(a, src->file_count ? src->file_count : 1, sizeof *files);
    int rc = files ? 0 : err_nomem(err);
    for (size_t i = 0; i < src->file_count && rc == 0; i++) {
        struct source_file f;
        src->ops->file(src, i, &f);
        const struct held_blob *b = &in->own.blobs[i];
        files[i] = (struct cache_file){.path = arena_dup(a, f.path), .blob = b->id, .size = b->size};
    }
    struct cache_tree tree = {files, src->file_count, src->folders, src->folder_count, src->links, src->link_count};
    if (rc == 0)
        rc = arena_check(a, err);
    if (rc == 0)
        rc = cache_snapshot_make(s->opts.cache, s->lease, &tree, in->own.snapshot, err);
    arena_free(a);
    return rc;
}

static int remember(struct stage_input *in, struct err *err)
{
    struct cache_entry entry = {.identity = in->source->identity, .downloaded_ms = clock_wall_ms()};
    entry.last_used_ms = entry.downloaded_ms;
    memcpy(entry.scope, in->own.scope, sizeof entry.scope);
    memcpy(entry.fingerprint, in->own.fingerprint, sizeof entry.fingerprint);
    memcpy(entry.snapshot, in->own.snapshot, sizeof entry.snapshot);
    if (cache_entry_put(in->stage->opts.cache, &entry, err) < 0)
        return -1;
    return cache_proof_put(in->stage->opts.cache, in->own.scope, in->own.fingerprint, err);
}

/* What a snapshot holds, for the figures of an input whose origin did not tell. */
static int count_snapshot(struct stage_input *in, const char *snapshot, struct err *err)
{
    struct arena *a = arena_new(STAGE_TREE_BYTES_MAX, err);
    if (!a)
        return -1;
    struct cache_tree tree = {0};
    int rc = cache_snapshot_list(in->stage->opts.cache, snapshot, a, &tree, err);
    uint64_t bytes = 0;
    for (size_t i = 0; i < tree.file_count; i++)
        bytes += tree.files[i].size;
    atomic_store(&in->shown.files_total, tree.file_count);
    atomic_store(&in->shown.bytes_total, bytes);
    arena_free(a);
    return rc;
}

/* The origin cannot be reached: what this credential had within the TTL, where the configuration allows it. */
static int use_stale(struct stage_input *in, struct err *err)
{
    struct stage *s = in->stage;
    if (!s->opts.stale_if_error || (err->kind != ERR_TRANSIENT && err->kind != ERR_TIMEOUT))
        return -1;
    struct cache_entry last;
    struct err second = ERR_INIT;
    bool found = false, proved = false;
    if (cache_entry_get(s->opts.cache, s->lease, in->source->identity, in->own.scope, &last, &found, &second) < 0 ||
        !found || last.expired ||
        cache_proof_has(s->opts.cache, in->own.scope, last.fingerprint, &proved, &second) < 0 || !proved ||
        count_snapshot(in, last.snapshot, &second) < 0)
        return -1;
    stage_warn(s, in->index, "%s; using the copy from the cache, since stale_if_error is on", err->text);
    err_clear(err);
    memcpy(in->own.snapshot, last.snapshot, sizeof in->own.snapshot);
    memcpy(in->own.fingerprint, last.fingerprint, sizeof in->own.fingerprint);
    in->own.stale = true;
    mark_all_cached(in);
    return 0;
}

/* --- the way ------------------------------------------------------------------------------------------------------ */

static int resolve(struct stage_input *in, struct err *err)
{
    uint64_t start = clock_mono_ms();
    input_set_phase(in, STAGE_RESOLVING);
    int rc = in->source->ops->resolve(in->source, err);
    atomic_fetch_add(&in->shown.resolve_ms, clock_mono_ms() - start);
    return rc < 0 ? -1 : take_fingerprint(in, err);
}

static int fetch_missing(struct stage_input *in, struct err *err)
{
    if (reserve_room(in, err) < 0)
        return -1;
    input_set_phase(in, STAGE_DOWNLOADING);
    uint64_t start = clock_mono_ms();
    int rc = fetch_files(in, err);
    atomic_fetch_add(&in->shown.fetch_ms, clock_mono_ms() - start);
    return rc;
}

static int through_cache(struct stage_input *in, struct err *err)
{
    struct cache_entry last;
    bool found = false;
    int same = use_last(in, &last, &found, err);
    if (same != 0)
        return same < 0 ? -1 : 0;
    if (look_up(in, err) < 0)
        return -1;
    bool proved = false, asked = !in->source->unasked;
    if (asked && found && inherit_proofs(in, &last, err) < 0)
        return -1;
    if (asked && cache_proof_has(in->stage->opts.cache, in->own.scope, in->own.fingerprint, &proved, err) < 0)
        return -1;
    input_set_phase(in, STAGE_CHECKING);
    if (!proved && fetch_prove(in, err) < 0)
        return -1;
    if (peers_plan(in, proved, err) < 0 || fetch_missing(in, err) < 0)
        return -1;
    input_set_phase(in, STAGE_STORING);
    if (make_snapshot(in, err) < 0)
        return -1;
    return remember(in, err);
}

static int attempt(struct stage_input *in, struct err *err)
{
    forget_plan(in);
    struct stage *s = in->stage;
    if (resolve(in, err) < 0)
        return s->opts.cache ? use_stale(in, err) : -1;
    if (s->opts.cache && in->source->host_path)
        return 0; /* mounted from where it lies */
    return s->opts.cache ? through_cache(in, err) : fetch_to_folder(in, err);
}

int input_run(struct stage_input *in, struct err *err)
{
    if (in->stage->opts.cache && !is_public(in) &&
        cache_scope_key(in->stage->opts.cache, in->source->principal, in->own.scope, err) < 0)
        return -1;
    int rc = attempt(in, err);
    if (rc < 0 && err->kind == ERR_CHANGED && in->source->input->pin_count > 0) {
        err_hint(err,
                 "the recorded version is gone; remove the input's objects from the record to take what is there now");
    } else if (rc < 0 && err->kind == ERR_CHANGED) {
        /* Something was overwritten meanwhile: once more from what is there now; unchanged files are not fetched again.
         */
        stage_warn(in->stage, in->index, "%s; resolving again", err->text);
        err_clear(err);
        rc = attempt(in, err);
    }
    input_set_phase(in, rc < 0 ? STAGE_FAILED : STAGE_READY);
    return rc;
}
