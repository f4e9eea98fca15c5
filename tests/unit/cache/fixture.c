#include "fixture.h"

#include "base/fs.h"
#include "base/rng.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void fixture_assert_ok(bool ok, const struct err *err, const char *file, int line)
{
    if (ok)
        return;
    print_error("%s\n", err->text);
    _fail(file, line);
}

static int64_t fixture_now(void *ctx)
{
    return ((struct fixture *)ctx)->now_ms;
}

void fixture_init(struct fixture *f, const char *parent)
{
    *f = (struct fixture){.now_ms = NOW_MS};
    snprintf(f->dir, sizeof f->dir, "%s/berth-cache-XXXXXX", parent);
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->cache, sizeof f->cache, "%s/cache", f->dir);
    f->opts = (struct cache_opts){.dir = f->cache, .now_ms = fixture_now, .now_ctx = f};
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    return type == FTW_DP ? rmdir(path) : unlink(path);
}

static int make_writable(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    return type == FTW_D || type == FTW_DNR ? chmod(path, 0700) : 0;
}

void fixture_release(struct fixture *f)
{
    fixture_close(f);
    nftw(f->dir, make_writable, 32, FTW_PHYS);
    nftw(f->dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

void fixture_open(struct fixture *f)
{
    struct err err = ERR_INIT;
    assert_ok(cache_open(&f->c, &f->opts, &err), err);
    assert_ok(cache_lease_new(f->c, "job-1", &f->lease, &err), err);
}

void fixture_close(struct fixture *f)
{
    cache_lease_free(f->lease);
    cache_free(f->c);
    f->lease = NULL;
    f->c = NULL;
}

int fixture_setup(void **state)
{
    const char *parent = getenv("TMPDIR");
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    fixture_init(f, parent ? parent : "/tmp");
    fixture_open(f);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    fixture_release(*state);
    free(*state);
    return 0;
}

void content_of(unsigned seed, void *out, size_t n)
{
    struct rng rng = {.state = seed};
    unsigned char *p = out;
    for (size_t i = 0; i < n; i++)
        p[i] = seed ? (unsigned char)rng_next(&rng) : 0;
}

struct cache_origin origin_of(const char *key, const char *version, uint64_t size)
{
    return (struct cache_origin){.source = "s3", .location = key, .version = version, .size = size};
}

int try_store(struct cache *c, struct cache_lease *l, const char *key, unsigned seed, size_t n, bool with_sha256,
              struct cache_blob *out, struct err *err)
{
    struct cache_origin origin = origin_of(key, "v1", n);
    struct cache_verified how = {.has_sha256 = with_sha256};
    enum cache_fill_state state;
    struct cache_fill *fill;
    struct partmap *map;
    int fd;
    if (cache_fill_begin(c, l, &origin, &fill, out, &state, err) < 0)
        return -1;
    if (state == CACHE_FILL_HIT)
        return 0;
    assert_int_equal(state, CACHE_FILL_MINE);
    char *content = malloc(n + 1);
    assert_non_null(content);
    content_of(seed, content, n);
    if (with_sha256)
        assert_ok(digest_bytes(DIGEST_SHA256, content, n, &how.sha256, err), *err);
    int rc = cache_fill_open(fill, n, 0, &fd, &map, err);
    if (rc == 0)
        rc = fs_pwrite_all(fd, content, n, 0, err);
    free(content);
    if (rc < 0) {
        cache_fill_abandon(fill, false);
        return -1;
    }
    return cache_fill_commit(fill, NULL, n, &how, out, err);
}

struct cache_blob store(struct cache *c, struct cache_lease *l, const char *key, unsigned seed, size_t n,
                        bool with_sha256)
{
    struct err err = ERR_INIT;
    struct cache_blob blob;
    assert_ok(try_store(c, l, key, seed, n, with_sha256, &blob, &err), err);
    assert_true(blob.found);
    return blob;
}

void snapshot_of(struct cache *c, struct cache_lease *l, const struct cache_blob *blobs, size_t n,
                 char id[SNAPSHOT_ID_MAX])
{
    struct err err = ERR_INIT;
    struct arena *a = arena_new(0, &err);
    assert_non_null(a);
    struct cache_file *files = arena_array(a, n + 1, sizeof *files);
    assert_non_null(files);
    for (size_t i = 0; i < n; i++)
        files[i] = (struct cache_file){arena_printf(a, "d%zu/f%zu", i % 10, i), blobs[i].id, blobs[i].size};
    struct cache_tree tree = {.files = files, .file_count = n};
    assert_ok(cache_snapshot_make(c, l, &tree, id, &err), err);
    arena_free(a);
}

bool is_stored(struct cache *c, const char *key)
{
    struct err err = ERR_INIT;
    struct cache_blob blob;
    struct cache_origin origin = origin_of(key, "v1", XFER_SIZE_UNKNOWN);
    assert_ok(cache_fill_flush(c, &err), err);
    assert_ok(cache_lookup(c, NULL, &origin, 1, &blob, &err), err);
    return blob.found;
}

static struct db *open_index(const struct fixture *f)
{
    char url[256];
    struct err err = ERR_INIT;
    struct db *db;
    snprintf(url, sizeof url, "sqlite:%s/index.db", f->cache);
    struct db_opts opts = {.url = url};
    assert_ok(db_open(&db, &opts, &err), err);
    return db;
}

int64_t index_number(const struct fixture *f, const char *sql)
{
    struct err err = ERR_INIT;
    struct db *db = open_index(f);
    struct db_stmt *s;
    assert_ok(db_prepare(db, sql, &s, &err), err);
    int rc = db_next(s, &err);
    assert_ok(rc, err);
    assert_int_equal(rc, 1);
    int64_t n = db_col_i64(s, 0);
    db_free(db);
    return n;
}

void index_do(const struct fixture *f, const char *sql)
{
    struct err err = ERR_INIT;
    struct db *db = open_index(f);
    assert_ok(db_exec(db, sql, &err), err);
    db_free(db);
}

bool path_exists(const struct fixture *f, const char *path)
{
    char whole[512];
    struct stat st;
    snprintf(whole, sizeof whole, "%s/%s", f->cache, path);
    return lstat(whole, &st) == 0;
}

static unsigned counted;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path;
    (void)type;
    (void)ftw;
    counted += S_ISREG(st->st_mode);
    return 0;
}

unsigned files_below(const struct fixture *f, const char *path)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", f->cache, path);
    counted = 0;
    assert_int_equal(nftw(whole, count_one, 32, FTW_PHYS), 0);
    return counted;
}

char *blob_path(const struct fixture *f, const char *id, char out[256])
{
    snprintf(out, 256, "%s/blobs/%.2s/%s", f->cache, id, id);
    return out;
}

static void assert_rows_have_files(const struct fixture *f, struct db *db)
{
    struct err err = ERR_INIT;
    struct db_stmt *s;
    assert_ok(db_prepare(db, "SELECT id, size FROM blobs WHERE lost = 0", &s, &err), err);
    int rc;
    while ((rc = db_next(s, &err)) > 0) {
        char path[256];
        struct stat st;
        if (lstat(blob_path(f, db_col_text(s, 0).p, path), &st) < 0)
            fail_msg("%s has a row and no file", path);
        assert_true(S_ISREG(st.st_mode));
        assert_int_equal(st.st_mode & 07777, 0444);
        assert_int_equal(st.st_size, db_col_i64(s, 1));
    }
    assert_ok(rc, err);
}

static void assert_views_whole(const struct fixture *f, struct db *db)
{
    struct err err = ERR_INIT;
    struct db_stmt *s;
    assert_ok(db_prepare(db, "SELECT id, files FROM snapshots WHERE view_boot >= 0", &s, &err), err);
    int rc;
    while ((rc = db_next(s, &err)) > 0) {
        char path[256];
        snprintf(path, sizeof path, "views/%s", db_col_text(s, 0).p);
        assert_int_equal(files_below(f, path), db_col_i64(s, 1));
    }
    assert_ok(rc, err);
}

void assert_agreement(const struct fixture *f)
{
    struct db *db = open_index(f);
    assert_rows_have_files(f, db);
    assert_views_whole(f, db);
    db_free(db);
    assert_int_equal(files_below(f, "blobs"), index_number(f, "SELECT count(*) FROM blobs WHERE lost = 0"));
}

pid_t child_start(void (*work)(void *ctx), void *ctx)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setenv("CMOCKA_TEST_ABORT", "1", 1); /* or a failure would go on with the next test, in the child */
        work(ctx);
        _exit(0);
    }
    return pid;
}

int child_wait(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
