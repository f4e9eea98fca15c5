/* Leases: leases/<name> holds job, process and container as JSON; whoever made it keeps an OFD lock on it. Rows of the
 * index say what it holds. Alive is who still has the lock. */
#include "cache/cache_priv.h"

#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define LEASE_TRIES    8 /* a sweep may look at the file just before it is locked */
#define LEASE_TEXT_MAX 8192
#define LEASES_MAX     100000

static int lock_file(int fd, bool *taken, struct err *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    *taken = fcntl(fd, F_OFD_SETLK, &lock) == 0;
    return *taken || errno == EAGAIN || errno == EACCES ? 0 : err_sys(err, "lock a lease");
}

int lease_is_alive(const struct cache *c, const char *name, bool *alive, struct err *err)
{
    struct err why = ERR_INIT;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    AUTO_FD fd = fs_open_beneath(c->leases_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0, &why);
    *alive = false;
    if (fd < 0)
        return why.kind == ERR_NOTFOUND ? 0 : err_move(err, &why);
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return err_sys(err, "look at lease %s", name);
    *alive = lock.l_type != F_UNLCK;
    return 0;
}

static int write_text(const struct cache_lease *l, struct err *err)
{
    AUTO_JSON text = json_object();
    AUTO_BUF out;
    buf_init(&out, LEASE_TEXT_MAX);
    if (json_put_str(text, "job", l->job, err) < 0 || json_put_u64(text, "pid", (uint64_t)getpid(), err) < 0 ||
        json_put_str(text, "engine", l->engine, err) < 0 || json_put_str(text, "container", l->container, err) < 0 ||
        json_write(text, false, &out, err) < 0)
        return -1;
    if (fs_pwrite_all(l->fd, out.p, out.n, 0, err) < 0)
        return -1;
    return ftruncate(l->fd, (off_t)out.n) < 0 ? err_sys(err, "truncate a lease") : 0;
}

/* A sweep that finds the file between its making and its locking takes it for a dead one and removes it: then another.
 */
static int make_file(struct cache_lease *l, struct err *err)
{
    for (int i = 0; i < LEASE_TRIES; i++) {
        struct stat st;
        bool taken;
        if (rng_id(l->name, err) < 0)
            return -1;
        AUTO_FD fd = fs_open_beneath(l->cache->leases_fd, l->name, O_RDWR | O_CREAT | O_EXCL, 0600, err);
        if (fd < 0 || lock_file(fd, &taken, err) < 0)
            return -1;
        if (fstat(fd, &st) < 0)
            return err_sys(err, "stat a lease");
        if (!taken || st.st_nlink == 0)
            continue;
        l->fd = fd_take(&fd);
        return write_text(l, err);
    }
    return err_set(err, ERR_BUSY, "no lease could be made in %d tries", LEASE_TRIES);
}

static int insert_lease(struct cache_lease *l, struct db *db, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db, "INSERT INTO leases(name, job, pid, created_ms, boot) VALUES ($1, $2, $3, $4, $5) RETURNING n",
                   &s, err) < 0)
        return -1;
    db_bind_text(s, 1, l->name);
    db_bind_text(s, 2, l->job);
    db_bind_i64(s, 3, getpid());
    db_bind_i64(s, 4, cache_now(l->cache));
    db_bind_i64(s, 5, l->cache->boot_id);
    int rc = db_next(s, err);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_SYSTEM, "index: a lease got no row");
    l->n = db_col_i64(s, 0);
    return db_next(s, err);
}

static void lease_release(struct cache_lease *l)
{
    if (l->fd >= 0)
        unlinkat(l->cache->leases_fd, l->name, 0); /* before the lock goes with the descriptor */
    auto_close(&l->fd);
    free(l->job);
    free(l->engine);
    free(l->container);
    free(l);
}

int cache_lease_new(struct cache *c, const char *job_id, struct cache_lease **out, struct err *err)
{
    struct cache_lease *l = calloc(1, sizeof *l);
    if (!l)
        return err_nomem(err);
    l->cache = c;
    l->fd = -1;
    l->job = str_dup(job_id ? job_id : "", err);
    if (l->job && make_file(l, err) == 0 && index_begin(c, err) == 0 &&
        index_end(c, insert_lease(l, c->index.db, err), err) == 0) {
        *out = l;
        return 0;
    }
    lease_release(l);
    return err_wrap(err, "cache: lease for job %s", job_id ? job_id : "");
}

static int update_container(struct cache_lease *l, struct db *db, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db, "UPDATE leases SET engine = $2, container = $3 WHERE n = $1", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, l->n);
    db_bind_text(s, 2, l->engine);
    db_bind_text(s, 3, l->container);
    return db_run(s, err);
}

int cache_lease_set_container(struct cache_lease *l, const char *engine, const char *container_id, struct err *err)
{
    char *where = str_dup(engine, err), *name = where ? str_dup(container_id, err) : NULL;
    if (!name) {
        free(where);
        return err_wrap(err, "cache");
    }
    free(l->engine);
    free(l->container);
    l->engine = where;
    l->container = name;
    if (write_text(l, err) < 0 || index_begin(l->cache, err) < 0 ||
        index_end(l->cache, update_container(l, l->cache->index.db, err), err) < 0)
        return err_wrap(err, "cache: lease of job %s", l->job);
    return 0;
}

static int drop_row(struct db *db, int64_t n, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db, "DELETE FROM leases WHERE n = $1", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, n);
    return db_run(s, err);
}

void cache_lease_free(struct cache_lease *l)
{
    struct err err = ERR_INIT;
    if (!l)
        return;
    writer_drain(l->cache); /* rows under way name this lease */
    if (index_begin(l->cache, &err) < 0 || index_end(l->cache, drop_row(l->cache->index.db, l->n, &err), &err) < 0)
        log_warn("cache", "the lease's row stays until it is swept: %s (job=%s)", err.text, l->job);
    lease_release(l);
}

int lease_add_blob(struct db *db, const struct cache_lease *l, int64_t blob, struct err *err)
{
    struct db_stmt *s = NULL;
    if (!l)
        return 0;
    if (db_prepare(db, "INSERT OR IGNORE INTO lease_blobs(lease, blob) VALUES ($1, $2)", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, l->n);
    db_bind_i64(s, 2, blob);
    return db_run(s, err);
}

int lease_add_snapshot(struct db *db, const struct cache_lease *l, int64_t snapshot, struct err *err)
{
    struct db_stmt *s = NULL;
    if (!l)
        return 0;
    if (db_prepare(db, "INSERT OR IGNORE INTO lease_snapshots(lease, snapshot) VALUES ($1, $2)", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, l->n);
    db_bind_i64(s, 2, snapshot);
    return db_run(s, err);
}

/* One row of the leases, and what became of it. */
struct found_lease {
    int64_t n, boot;
    char name[RNG_ID_MAX];
    char *engine, *container; /* owned */
};

struct found_leases {
    struct found_lease *v;
    size_t n;
};

static void found_release(struct found_leases *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->v[i].engine);
        free(f->v[i].container);
    }
    free(f->v);
}

static int found_add(struct found_leases *f, struct db_stmt *s, struct err *err)
{
    if (f->n >= LEASES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d leases", LEASES_MAX);
    struct found_lease *more = reallocarray(f->v, f->n + 1, sizeof *more);
    if (!more)
        return err_nomem(err);
    f->v = more;
    struct found_lease *l = &more[f->n];
    *l = (struct found_lease){.n = db_col_i64(s, 0), .boot = db_col_i64(s, 4)};
    text_copy(l->name, sizeof l->name, db_col_text(s, 1));
    f->n++;
    if (!db_col_null(s, 2) && !(l->container = str_dup_span(db_col_text(s, 2), err)))
        return -1;
    if (!db_col_null(s, 3) && !(l->engine = str_dup_span(db_col_text(s, 3), err)))
        return -1;
    return 0;
}

static int read_leases(struct db *db, struct found_leases *out, struct err *err)
{
    struct db_stmt *s = NULL;
    int rc;
    if (db_prepare(db, "SELECT n, name, container, engine, boot FROM leases", &s, err) < 0)
        return -1;
    while ((rc = db_next(s, err)) > 0) {
        if (found_add(out, s, err) < 0) {
            db_done(s);
            return -1;
        }
    }
    return rc;
}

static int is_dead(const struct cache *c, const struct found_lease *l, const struct lease_probe *probe, bool *dead,
                   struct err *err)
{
    bool alive;
    *dead = false;
    if (lease_is_alive(c, l->name, &alive, err) < 0)
        return -1;
    if (alive)
        return 0;
    if (!l->container || (l->boot != 0 && l->boot != c->boot_id)) /* no container outlives the machine's boot */
        *dead = true;
    else if (probe && probe->container)
        *dead = probe->container(probe->ctx, l->engine, l->container) == CACHE_CONTAINER_GONE;
    return 0;
}

/* Leases whose process is gone, and whose container is known to be. Who asks the engine holds nothing. */
int lease_reap(struct cache *c, const struct lease_probe *probe, struct err *err)
{
    AUTO(found_release) struct found_leases all = {0};
    int rc = read_leases(index_enter(c), &all, err);
    index_leave(c);
    for (size_t i = 0; rc == 0 && i < all.n; i++) {
        bool dead;
        rc = is_dead(c, &all.v[i], probe, &dead, err);
        if (rc < 0 || !dead)
            continue;
        if ((rc = index_begin(c, err)) == 0)
            rc = index_end(c, drop_row(c->index.db, all.v[i].n, err), err);
        if (rc == 0)
            unlinkat(c->leases_fd, all.v[i].name, 0);
    }
    return rc;
}

static int row_exists(struct cache *c, const char *name, bool *exists, struct err *err)
{
    struct db_stmt *s = NULL;
    int rc = db_prepare(index_enter(c), "SELECT 1 FROM leases WHERE name = $1", &s, err);
    if (rc == 0) {
        db_bind_text(s, 1, name);
        rc = db_next(s, err);
        db_done(s);
    }
    index_leave(c);
    *exists = rc > 0;
    return rc < 0 ? -1 : 0;
}

/* Removed while locked, see make_file(). */
static int sweep_file(struct cache *c, const char *name, struct err *err)
{
    bool exists, taken;
    struct err why = ERR_INIT;
    if (row_exists(c, name, &exists, err) < 0)
        return -1;
    if (exists)
        return 0;
    AUTO_FD fd = fs_open_beneath(c->leases_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0, &why);
    if (fd < 0)
        return why.kind == ERR_NOTFOUND ? 0 : err_move(err, &why);
    if (lock_file(fd, &taken, err) < 0)
        return -1;
    if (!taken)
        return 0;
    if (row_exists(c, name, &exists, err) < 0)
        return -1;
    return !exists && unlinkat(c->leases_fd, name, 0) < 0 && errno != ENOENT ? err_sys(err, "remove leases/%s", name)
                                                                             : 0;
}

int lease_sweep_files(struct cache *c, struct err *err)
{
    AUTO_FD fd = fs_open_beneath(c->leases_fd, ".", O_RDONLY | O_DIRECTORY, 0, err);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return fd < 0 ? -1 : err_sys(err, "list leases");
    fd_take(&fd);
    const struct dirent *e;
    int rc = 0;
    while (rc == 0 && (e = readdir(d)))
        if (strlen(e->d_name) == RNG_ID_MAX - 1)
            rc = sweep_file(c, e->d_name, err);
    closedir(d);
    return rc;
}
