/* A cache opened, two blobs stored, a snapshot made of them and looked at; afterwards it is opened again, repaired, and
 * must hold what success promised. */
#include "drive.h"

#include "base/fs.h"
#include "cache/cache.h"
#include "xfer/partmap.h"

#include <stdio.h>
#include <string.h>

#define BLOBS      2
#define BLOB_BYTES 50000
#define PART_BYTES 16384

static char folder[256], snapshot[SNAPSHOT_ID_MAX];
static char content[BLOBS][BLOB_BYTES];

static int prepare(const char *dir)
{
    snprintf(folder, sizeof folder, "%s/cache", dir);
    for (unsigned i = 0; i < BLOBS; i++)
        drive_fill(i + 1, content[i], BLOB_BYTES);
    return 0;
}

static struct cache_origin origin_of(unsigned i)
{
    return (struct cache_origin){"s3", i ? "https://s3.example/b/one" : "https://s3.example/b/zero", "\"v\"",
                                 BLOB_BYTES};
}

static int fill(struct cache_fill *f, unsigned i, struct err *err)
{
    int fd;
    struct partmap *map;
    if (cache_fill_open(f, BLOB_BYTES, PART_BYTES, &fd, &map, err) < 0)
        return -1;
    for (uint64_t part = 0; part < partmap_count(map); part++) {
        uint64_t at = part * PART_BYTES, n = BLOB_BYTES - at < PART_BYTES ? BLOB_BYTES - at : PART_BYTES;
        if (fs_pwrite_all(fd, content[i] + at, n, at, err) < 0 || partmap_mark(map, part, err) < 0)
            return -1;
    }
    return 0;
}

static int store(struct cache *c, struct cache_lease *l, unsigned i, struct cache_blob *out, struct err *err)
{
    struct cache_fill *f;
    enum cache_fill_state state;
    struct cache_verified how = {.has_sha256 = true};
    const struct cache_origin origin = origin_of(i);
    if (digest_bytes(DIGEST_SHA256, content[i], BLOB_BYTES, &how.sha256, err) < 0 ||
        cache_fill_begin(c, l, &origin, &f, out, &state, err) < 0)
        return -1;
    if (state != CACHE_FILL_MINE)
        return err_set(err, ERR_SYSTEM, "an empty cache says that it has the object");
    if (fill(f, i, err) == 0)
        return cache_fill_commit(f, NULL, BLOB_BYTES, &how, out, err);
    cache_fill_abandon(f, true);
    return -1;
}

static int use(struct cache *c, struct cache_lease *l, struct err *err)
{
    struct cache_blob blobs[BLOBS];
    for (unsigned i = 0; i < BLOBS; i++)
        if (store(c, l, i, &blobs[i], err) < 0)
            return -1;
    if (cache_fill_flush(c, err) < 0)
        return -1;
    const struct cache_file files[BLOBS] = {{"d/a", blobs[0].id, BLOB_BYTES}, {"d/b", blobs[1].id, BLOB_BYTES}};
    const struct cache_tree tree = {.files = files, .file_count = BLOBS};
    AUTO_BUF path;
    buf_init(&path, 4096);
    if (cache_snapshot_make(c, l, &tree, snapshot, err) < 0)
        return -1;
    return cache_snapshot_view(c, snapshot, &path, err);
}

static int run(struct err *err)
{
    const struct cache_opts opts = {.dir = folder, .durable = true};
    struct cache *c = NULL;
    struct cache_lease *l = NULL;
    if (cache_open(&c, &opts, err) < 0)
        return -1;
    int rc = cache_lease_new(c, "job", &l, err);
    if (rc == 0)
        rc = use(c, l, err);
    cache_lease_free(l);
    cache_free(c);
    return rc;
}

static bool complain(const char *what, const struct err *err)
{
    fprintf(stderr, "%s: %s\n", what, err->text);
    return false;
}

/* What success promised: both files in the view, with their bytes. */
static bool has_all(struct cache *c, struct err *err)
{
    struct cache_lease *l = NULL;
    AUTO_BUF path;
    buf_init(&path, 4096);
    if (cache_lease_new(c, "look", &l, err) < 0)
        return false;
    bool well = cache_snapshot_view(c, snapshot, &path, err) == 0 &&
                drive_file_is(buf_str(&path), "d/a", 1, BLOB_BYTES) &&
                drive_file_is(buf_str(&path), "d/b", 2, BLOB_BYTES);
    cache_lease_free(l);
    return well;
}

static bool check(bool succeeded)
{
    struct err err = ERR_INIT;
    const struct cache_opts opts = {.dir = folder};
    const struct cache_verify_opts repair = {.repair = true}, look = {0};
    struct cache_verify_result first, second;
    struct cache *c;
    if (cache_open(&c, &opts, &err) < 0)
        return complain("the cache cannot be opened again", &err);
    bool well = cache_verify(c, &repair, &first, &err) == 0 && cache_verify(c, &look, &second, &err) == 0;
    if (!well)
        complain("the cache cannot be verified", &err);
    else if (first.damaged || (succeeded && first.missing) || second.missing || second.orphans)
        well = complain("verify finds damage", &err);
    else if (succeeded && !has_all(c, &err))
        well = complain("what was stored is not there", &err);
    cache_free(c);
    return well;
}

const struct work work_cache = {"cache", prepare, run, check};
