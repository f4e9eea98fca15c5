/* Every file an object (or, in a local folder, a file) of its own, many at once, and at last the manifest that names
 * them.
 *
 * The thread that walks opens files and hands them to workers; large ones it stores itself, in parts. */
#include "publish/shelf_priv.h"

#include "base/fs.h"
#include "base/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>

#define WORKERS       16
#define QUEUE_MAX     64                  /* open files that wait */
#define IN_MEMORY_MAX ((uint64_t)1 << 20) /* files up to here are read once */
#define MANIFEST_MAX  ((size_t)512 << 20)
#define MAX_BYTES     ((uint64_t)1 << 40)
#define MAX_ENTRIES   1000000
#define LINK_ROOM     4096

struct plain;

/* All are kept for the manifest, so they are small. */
struct entry {
    struct plain *plain;
    struct entry *next; /* in the order of the walk */
    char *target;       /* of a link; NULL: a file or a folder */
    uint64_t size;
    struct timespec modified;
    struct digest_value sha256;
    int fd; /* of a file, until it is stored */
    bool folder, executable;
    char path[];
};

struct plain {
    const struct publish_opts *opts;
    struct target target;
    struct buf prefix;
    struct shelf shelf; /* instead, of a local folder */
    bool local;
    struct pool *pool;
    struct entry *first, **end;
    struct odd_ones odd;
    struct archive_totals *totals;
    uint64_t total_bytes;
    pthread_mutex_t mu;
    struct { /* under mu */
        uint64_t done;
        struct err err; /* the first */
    } shared;
};

/* ---- one file, on any thread ---- */

static int fault(struct plain *p, struct err *err)
{
    pthread_mutex_lock(&p->mu);
    struct err first = p->shared.err;
    pthread_mutex_unlock(&p->mu);
    return err_is_set(&first) ? err_move(err, &first) : 0;
}

static int put_small(const struct entry *e, const char *key, struct digest_value *sha256, struct s3_stored *stored,
                     struct err *err)
{
    size_t n = (size_t)e->size;
    AUTO_STR bytes = malloc(n + 1);
    if (!bytes)
        return err_nomem(err);
    const struct s3_body body = {.bytes = {bytes, n}};
    const struct s3_put_opts how = target_put_opts(e->plain->opts->to);
    if (fs_pread_all(e->fd, bytes, n, 0, err) < 0 || digest_bytes(DIGEST_SHA256, bytes, n, sha256, err) < 0)
        return -1;
    return s3_put(e->plain->target.s3, key, &body, &how, stored, err);
}

static int hash_file(const struct entry *e, struct digest_value *out, struct err *err)
{
    struct digest *d = NULL;
    if (digest_open(&d, BIT(DIGEST_SHA256), err) < 0)
        return -1;
    int rc = digest_fd(d, e->fd, 0, e->size, e->plain->opts->cancel, err);
    if (rc == 0)
        rc = digest_final(d, DIGEST_SHA256, out, err);
    digest_free(d);
    return rc;
}

struct hashing {
    const struct entry *entry;
    struct digest_value *sha256;
    struct err err;
};

static void *hash_thread(void *ctx)
{
    struct hashing *h = ctx;
    hash_file(h->entry, h->sha256, &h->err);
    return NULL;
}

/* Hashed for the manifest while it is sent. */
static int put_large(const struct entry *e, const char *key, struct digest_value *sha256, struct s3_stored *stored,
                     struct err *err)
{
    struct storing storing = {e->plain->opts, &e->plain->target, key};
    const struct s3_upload_opts how = {.put = target_put_opts(e->plain->opts->to),
                                       .begun = e->plain->opts->begun ? storing_begun : NULL,
                                       .ctx = &storing};
    struct hashing h = {.entry = e, .sha256 = sha256};
    pthread_t thread;
    if (pthread_create(&thread, NULL, hash_thread, &h) != 0)
        return err_set(err, ERR_SYSTEM, "cannot start a thread");
    int rc = s3_put_file(e->plain->target.s3, key, e->fd, e->size, &how, stored, err);
    pthread_join(thread, NULL);
    if (rc == 0 && err_is_set(&h.err)) {
        s3_stored_release(stored);
        rc = err_move(err, &h.err);
    }
    return rc;
}

/* What is in the manifest must be what was stored. */
static int check_unchanged(const struct entry *e, struct err *err)
{
    struct stat now;
    if (fstat(e->fd, &now) < 0)
        return err_sys(err, "look at %s", e->path);
    if ((uint64_t)now.st_size == e->size && now.st_mtim.tv_sec == e->modified.tv_sec &&
        now.st_mtim.tv_nsec == e->modified.tv_nsec)
        return 0;
    return err_set(err, ERR_CHANGED, "%s changed while it was stored", e->path);
}

static int store_locally(struct entry *e, struct err *err)
{
    struct stat st;
    if (fstat(e->fd, &st) < 0)
        return err_sys(err, "look at %s", e->path);
    st.st_size = (off_t)e->size;
    if (shelf_file(&e->plain->shelf, e->path, e->fd, &st, err) < 0 || hash_file(e, &e->sha256, err) < 0)
        return -1;
    return check_unchanged(e, err);
}

static int store(struct entry *e, struct err *err)
{
    if (e->plain->local)
        return store_locally(e, err);
    struct s3_stored stored = {0};
    AUTO_STR key = str_printf(err, "%s%s", buf_str(&e->plain->prefix), e->path);
    bool small = e->size <= IN_MEMORY_MAX;
    if (!key || (small ? put_small : put_large)(e, key, &e->sha256, &stored, err) < 0)
        return -1;
    s3_stored_release(&stored);
    return check_unchanged(e, err);
}

static void store_entry(void *ctx)
{
    struct entry *e = ctx;
    struct plain *p = e->plain;
    struct err err = ERR_INIT;
    if (fault(p, &err) == 0)
        store(e, &err);
    auto_close(&e->fd);
    e->fd = -1;
    pthread_mutex_lock(&p->mu);
    if (err_is_set(&err)) {
        err_move(&p->shared.err, &err);
    } else {
        p->shared.done += e->size;
        if (p->opts->progress)
            p->opts->progress(p->opts->ctx, p->shared.done, p->total_bytes);
    }
    pthread_mutex_unlock(&p->mu);
}

/* ---- the walk ---- */

static struct entry *add_entry(struct plain *p, const struct fs_entry *from, struct err *err)
{
    size_t n = strlen(from->path);
    struct entry *e = calloc(1, sizeof *e + n + 1);
    if (!e) {
        err_nomem(err);
        return NULL;
    }
    memcpy(e->path, from->path, n + 1);
    e->plain = p;
    e->fd = -1;
    *p->end = e;
    p->end = &e->next;
    return e;
}

static int leave_out(struct plain *p, const char *path, const char *why)
{
    p->totals->skipped++;
    odd_ones_tell(&p->odd, path, why);
    return 0;
}

static int add_link(struct plain *p, const struct fs_entry *from, struct err *err)
{
    char target[LINK_ROOM];
    ssize_t n = readlinkat(from->parent_fd, from->name, target, sizeof target - 1);
    if (n < 0)
        return errno == ENOENT ? 0 : err_sys(err, "read the link %s", from->path);
    target[n] = '\0';
    const char *why = archive_link_fault(from->path, (struct span){target, (size_t)n});
    if (why || !span_is_utf8((struct span){target, (size_t)n}))
        return leave_out(p, from->path, "a link that cannot be published was left out");
    struct entry *e = add_entry(p, from, err);
    if (!e || !(e->target = str_dup(target, err)))
        return -1;
    p->totals->links++;
    return p->local ? shelf_link(&p->shelf, e->path, target, err) : 0;
}

static int check_limits(const struct plain *p, const struct fs_entry *from, struct err *err)
{
    const struct publish_opts *o = p->opts;
    uint64_t most = o->max_entries ? o->max_entries : MAX_ENTRIES, room = o->max_bytes ? o->max_bytes : MAX_BYTES;
    const struct archive_totals *t = p->totals;
    if (t->files + t->folders + t->links >= most)
        return err_set(err, ERR_LIMIT, "more than %" PRIu64 " files and folders", most);
    if (S_ISREG(from->st.st_mode) && (uint64_t)from->st.st_size > room - t->bytes)
        return err_set(err, ERR_LIMIT, "%s: more than %" PRIu64 " bytes in all", from->path, room);
    if (!p->local && p->prefix.n + strlen(from->path) > PUBLISH_KEY_MAX)
        return err_set(err, ERR_LIMIT, "%.512s: its key would be longer than the %d bytes that S3 allows", from->path,
                       PUBLISH_KEY_MAX);
    if (!str_eq(from->path, PUBLISH_MANIFEST))
        return 0;
    err_set(err, ERR_EXISTS, "the folder has a file " PUBLISH_MANIFEST " of its own");
    return err_hint(err, "rename it, or publish an archive (encoding=gzip)");
}

static int add_file(struct plain *p, const struct fs_entry *from, struct err *err)
{
    AUTO_FD fd = openat(from->parent_fd, from->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(err, "open %s", from->path);
    if (fstat(fd, &st) < 0)
        return err_sys(err, "look at %s", from->path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CHANGED, "%s was replaced while it was read", from->path);
    struct entry *e = add_entry(p, from, err);
    if (!e)
        return -1;
    e->size = (uint64_t)st.st_size;
    e->modified = st.st_mtim;
    e->executable = st.st_mode & 0111;
    e->fd = fd_take(&fd);
    p->totals->files++;
    p->totals->bytes += (uint64_t)st.st_size;
    if ((uint64_t)st.st_size <= S3_PART_DEFAULT)
        return pool_submit(p->pool, store_entry, e, err);
    store_entry(e);
    return 0;
}

static int add_folder(struct plain *p, const struct fs_entry *from, struct err *err)
{
    if (p->local && shelf_is(&p->shelf, &from->st))
        return err_set(err, ERR_INVALID, "the results would be inside the folder that is published");
    struct entry *e = add_entry(p, from, err);
    if (!e)
        return -1;
    e->folder = true;
    p->totals->folders++;
    return p->local ? shelf_folder(&p->shelf, e->path, err) : 0;
}

static int visit(void *ctx, const struct fs_entry *from, struct err *err)
{
    struct plain *p = ctx;
    mode_t mode = from->st.st_mode;
    if (cancel_check(p->opts->cancel, err) < 0 || fault(p, err) < 0)
        return -1;
    if (!span_is_utf8(span_of(from->path)))
        return leave_out(p, from->path, "its name is not UTF-8, which keys must be; it was left out");
    if (!S_ISDIR(mode) && !S_ISREG(mode) && !S_ISLNK(mode))
        return leave_out(p, from->path, "a FIFO, socket or device was left out");
    if (check_limits(p, from, err) < 0)
        return -1;
    if (S_ISREG(mode))
        return add_file(p, from, err);
    if (S_ISLNK(mode))
        return add_link(p, from, err);
    return add_folder(p, from, err);
}

/* ---- the manifest ---- */

/* One line: {"path", "size", "sha256"} of a file, {"path", "link"}, {"path", "folder"}. */
static int write_entry(const struct entry *e, struct buf *out, struct err *err)
{
    char hex[DIGEST_HEX_MAX];
    AUTO_JSON line = json_object();
    if (json_put_str(line, "path", e->path, err) < 0)
        return -1;
    if (e->folder) {
        if (json_put(line, "folder", json_true(), err) < 0)
            return -1;
    } else if (e->target) {
        if (json_put_str(line, "link", e->target, err) < 0)
            return -1;
    } else if (json_put_u64(line, "size", e->size, err) < 0 ||
               json_put_str(line, "sha256", digest_hex(hex, &e->sha256), err) < 0) {
        return -1;
    }
    if (e->executable && json_put(line, "executable", json_true(), err) < 0)
        return -1;
    return json_write(line, false, out, err);
}

static int write_manifest(const struct plain *p, struct buf *out, struct err *err)
{
    buf_adds(out, "{\"berth_manifest\": 1, \"entries\": [\n");
    for (const struct entry *e = p->first; e; e = e->next) {
        if (write_entry(e, out, err) < 0)
            return -1;
        buf_adds(out, e->next ? ",\n" : "\n");
    }
    buf_adds(out, "]}\n");
    return buf_check(out, "manifest", err);
}

static int tell_sum(struct span text, struct publish_result *out, struct err *err)
{
    struct digest_value v;
    AUTO_BUF sum;
    buf_init(&sum, sizeof out->sha256);
    if (digest_bytes(DIGEST_SHA256, text.p, text.n, &v, err) < 0)
        return -1;
    digest_base64(&sum, &v);
    snprintf(out->sha256, sizeof out->sha256, "%s", buf_str(&sum));
    return buf_check(&sum, "checksum", err);
}

static int put_manifest_object(struct plain *p, struct span text, struct publish_result *out, struct err *err)
{
    struct s3_stored stored;
    struct s3_put_opts how = target_put_opts(p->opts->to);
    const struct s3_body body = {.bytes = text};
    AUTO_STR key = str_printf(err, "%s" PUBLISH_MANIFEST, buf_str(&p->prefix));
    how.content_type = "application/json";
    if (!key || s3_put(p->target.s3, key, &body, &how, &stored, err) < 0)
        return -1;
    int rc = target_describe(&p->target, p->opts, key, &stored, out, err);
    s3_stored_release(&stored);
    return rc;
}

static int put_manifest(struct plain *p, struct publish_result *out, struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, MANIFEST_MAX);
    if (write_manifest(p, &text, err) < 0 || tell_sum(buf_span(&text), out, err) < 0)
        return -1;
    out->stored_bytes = p->totals->bytes + text.n;
    if (p->local && shelf_text(&p->shelf, PUBLISH_MANIFEST, buf_span(&text), err) < 0)
        return -1;
    if (p->opts->commit && p->opts->commit(p->opts->ctx, err) < 0)
        return -1;
    return p->local ? shelf_commit(&p->shelf, &out->path, err) : put_manifest_object(p, buf_span(&text), out, err);
}

/* ---- all of it ---- */

static int open_place(struct plain *p, struct err *err)
{
    return p->local ? shelf_open(&p->shelf, buf_str(&p->prefix), err) : target_open(&p->target, p->opts, err);
}

static int store_all(struct plain *p, int dir_fd, struct err *err)
{
    p->pool = pool_new("publish", WORKERS, QUEUE_MAX, err);
    if (!p->pool)
        return -1;
    int rc = fs_walk(dir_fd, visit, p, err);
    if (rc < 0) { /* what waits need not be stored */
        pthread_mutex_lock(&p->mu);
        if (!err_is_set(&p->shared.err))
            p->shared.err = *err;
        pthread_mutex_unlock(&p->mu);
    }
    pool_free(p->pool);
    odd_ones_end(&p->odd);
    return rc < 0 ? -1 : fault(p, err);
}

static int run(struct plain *p, int dir_fd, struct publish_result *out, struct err *err)
{
    const struct publish_opts *o = p->opts;
    const struct archive_pack_opts limits = {
        .max_bytes = o->max_bytes, .max_entries = o->max_entries, .cancel = o->cancel};
    uint64_t ignored = 0;
    if (archive_measure(dir_fd, &limits, &ignored, &out->totals, err) < 0)
        return -1;
    p->total_bytes = out->totals.bytes;
    out->totals = (struct archive_totals){0};
    if (publish_key(o->to->key, PUBLISH_PLAIN, &o->names, &p->prefix, err) < 0 || open_place(p, err) < 0 ||
        store_all(p, dir_fd, err) < 0 || cancel_check(o->cancel, err) < 0)
        return -1;
    return put_manifest(p, out, err);
}

int publish_plain(int dir_fd, const struct publish_opts *opts, struct publish_result *out, struct err *err)
{
    struct plain p = {.opts = opts,
                      .odd = {.opts = opts},
                      .totals = &out->totals,
                      .shelf = SHELF_NONE,
                      .local = opts->to->kind == PUBLISH_LOCAL};
    p.end = &p.first;
    buf_init(&p.prefix, 2 * PUBLISH_KEY_MAX);
    pthread_mutex_init(&p.mu, NULL);
    int rc = run(&p, dir_fd, out, err);
    target_release(&p.target);
    shelf_release(&p.shelf);
    while (p.first) {
        struct entry *e = p.first;
        p.first = e->next;
        auto_close(&e->fd);
        free(e->target);
        free(e);
    }
    pthread_mutex_destroy(&p.mu);
    buf_release(&p.prefix);
    return rc;
}
