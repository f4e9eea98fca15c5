/* A result published file by file: what its manifest names, and nothing else. */
#include "base/enc.h"
#include "base/fs.h"
#include "base/path.h"
#include "digest/digest.h"
#include "job/get_priv.h"

#include <errno.h>
#include <fcntl.h>

#define ENTRIES_MAX  1000000
#define FILES_FOLDER "files" /* of their own: any name may be one of theirs */

static bool is_file(const json_t *entry)
{
    return !json_object_get(entry, "folder") && !json_object_get(entry, "link");
}

/* ---- checks, before anything is fetched ---- */

static int check_file(const json_t *entry, const char *path, struct getting *g, struct err *err)
{
    int64_t size = -1;
    const char *sha256 = json_get_str(entry, "sha256");
    uint64_t room = g->opts->limits.max_bytes ? g->opts->limits.max_bytes : UINT64_C(1) << 40;
    if (!json_get_i64(entry, "size", &size) || size < 0 || !sha256)
        return err_set(err, ERR_CORRUPT, "the manifest says no size or checksum of %.700s", path);
    if ((uint64_t)size > room - g->got->totals.bytes)
        return err_set(err, ERR_LIMIT, "the manifest names more than %llu bytes", (unsigned long long)room);
    g->got->totals.files++;
    g->got->totals.bytes += (uint64_t)size;
    return 0;
}

static int check_entry(const json_t *entry, struct getting *g, struct err *err)
{
    const char *path = json_get_str(entry, "path"), *link = json_get_str(entry, "link");
    if (!path)
        return err_set(err, ERR_CORRUPT, "the manifest has an entry without a path");
    if (path_check_relative(span_of(path), err) < 0)
        return -1;
    if (is_file(entry))
        return check_file(entry, path, g, err);
    if (json_object_get(entry, "link") && !link)
        return err_set(err, ERR_CORRUPT, "the manifest's link %.700s leads nowhere", path);
    const char *fault = link ? archive_link_fault(path, span_of(link)) : NULL;
    if (fault)
        return err_set(err, ERR_REFUSED, "the link %.700s %s", path, fault);
    ++*(link ? &g->got->totals.links : &g->got->totals.folders);
    return 0;
}

static int check_entries(struct getting *g, const json_t *entries, struct err *err)
{
    uint64_t most = g->opts->limits.max_entries ? g->opts->limits.max_entries : ENTRIES_MAX;
    if (!json_is_array(entries))
        return err_set(err, ERR_CORRUPT, "the manifest has no entries");
    if (json_array_size(entries) > most)
        return err_set(err, ERR_LIMIT, "the manifest names more than %llu files", (unsigned long long)most);
    for (size_t i = 0; i < json_array_size(entries); i++)
        if (check_entry(json_array_get(entries, i), g, err) < 0)
            return err_one_line(err);
    return 0;
}

/* ---- fetching ---- */

/* The folder of the manifest, and in it the files by name. */
static int files_of(const struct input *at, const json_t *entries, struct arena *a, struct input *out, struct err *err)
{
    struct span key = span_of(at->s3.key), name = path_basename(key);
    size_t n = json_array_size(entries), count = 0;
    const char **files = arena_array(a, n + 1, sizeof *files);
    if (at->kind != SOURCE_S3)
        return err_set(err, ERR_UNSUPPORTED, "a result of single files cannot be got by a URL");
    for (size_t i = 0; files && i < n; i++)
        if (is_file(json_array_get(entries, i)))
            files[count++] = json_get_str(json_array_get(entries, i), "path");
    *out = (struct input){.kind = SOURCE_S3, .at = "", .target = "/" FILES_FOLDER, .s3 = at->s3};
    out->s3.key = arena_dup_span(a, (struct span){key.p, key.n - name.n});
    out->s3.exact_key = false;
    out->s3.version_id = out->s3.checksum_sha256 = NULL;
    out->s3.files = (struct job_strs){files, count};
    return arena_check(a, err);
}

static int fetch_files(struct getting *g, const struct input *at, const json_t *entries, struct err *err)
{
    struct arena *a = arena_new(0, err);
    struct input files = {0};
    int rc = a ? files_of(at, entries, a, &files, err) : -1;
    if (rc == 0 && files.s3.files.n > 0)
        rc = get_fetch(g, &files, GET_PLAIN, err);
    arena_free(a);
    return rc;
}

/* ---- putting together ---- */

static int check_content(struct getting *g, int fd, const json_t *entry, const char *path, struct err *err)
{
    struct digest_value is, wanted;
    struct digest *d = NULL;
    int64_t size = 0;
    struct stat st;
    json_get_i64(entry, "size", &size);
    if (fstat(fd, &st) < 0)
        return err_sys(err, "look at %s", path);
    if (st.st_size != size)
        return err_set(err, ERR_CORRUPT, "%.700s is not the file that was published: its size differs", path);
    if (digest_parse(DIGEST_SHA256, span_of(json_get_str(entry, "sha256")), &wanted, err) < 0 ||
        digest_open(&d, BIT(DIGEST_SHA256), err) < 0)
        return -1;
    int rc = digest_fd(d, fd, 0, (uint64_t)size, g->opts->stage.cancel, err);
    if (rc == 0)
        rc = digest_final(d, DIGEST_SHA256, &is, err);
    digest_free(d);
    if (rc == 0 && !digest_equal(&is, &wanted))
        rc = err_set(err, ERR_CORRUPT, "%.700s is not the file that was published", path);
    return rc;
}

static int check_contents(struct getting *g, const json_t *entries, int files_fd, struct err *err)
{
    for (size_t i = 0; i < json_array_size(entries); i++) {
        const json_t *entry = json_array_get(entries, i);
        const char *path = json_get_str(entry, "path");
        if (!is_file(entry))
            continue;
        AUTO_FD fd = fs_open_beneath(files_fd, path, O_RDONLY, 0, err);
        if (fd < 0 || check_content(g, fd, entry, path, err) < 0 || cancel_check(g->opts->stage.cancel, err) < 0)
            return err_one_line(err);
    }
    return 0;
}

static int make_parent(struct getting *g, const char *path, struct err *err)
{
    struct span name = path_basename(span_of(path));
    if (name.p == path)
        return 0;
    AUTO_STR parent = str_dup_span((struct span){path, (size_t)(name.p - path) - 1}, err);
    return parent ? fs_mkdirs_beneath(g->out_fd, parent, 0755, err) : -1;
}

/* Within `files`, then into place: both sides are confined, and hold no links yet. */
static int place_file(struct getting *g, int files_fd, const json_t *entry, const char *path, struct err *err)
{
    AUTO_FD fd = fs_open_beneath(files_fd, path, O_RDONLY, 0, err);
    if (fd < 0 || make_parent(g, path, err) < 0)
        return -1;
    bool executable = json_is_true(json_object_get(entry, "executable"));
    if (fchmod(fd, executable ? 0755 : 0644) < 0 || renameat(files_fd, path, g->out_fd, path) < 0)
        return err_sys(err, "put %s in its place", path);
    return 0;
}

static int place_link(struct getting *g, const json_t *entry, const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    AUTO_STR parent = slash ? str_dup_span((struct span){path, (size_t)(slash - path)}, err) : str_dup(".", err);
    if (!parent || make_parent(g, path, err) < 0)
        return -1;
    AUTO_FD fd = !slash ? openat(g->out_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                        : fs_open_beneath(g->out_fd, parent, O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return err_is_set(err) ? -1 : err_sys(err, "open the folder");
    return symlinkat(json_get_str(entry, "link"), fd, name) < 0 ? err_sys(err, "make the link %s", path) : 0;
}

/* Links last: nothing is ever put through one. What was moved is not there for another try, so that an interruption
 * has had its say before this, which is quickly done. */
static int place_all(struct getting *g, const json_t *entries, bool links, int files_fd, struct err *err)
{
    for (size_t i = 0; i < json_array_size(entries); i++) {
        const json_t *entry = json_array_get(entries, i);
        const char *path = json_get_str(entry, "path");
        bool link = json_object_get(entry, "link") != NULL;
        if (link != links)
            continue;
        int rc = link             ? place_link(g, entry, path, err)
                 : is_file(entry) ? place_file(g, files_fd, entry, path, err)
                                  : fs_mkdirs_beneath(g->out_fd, path, 0755, err);
        if (rc < 0)
            return -1;
    }
    return 0;
}

int get_plain(struct getting *g, const struct input *manifest_at, const json_t *manifest, struct err *err)
{
    const json_t *entries = json_object_get(manifest, "entries");
    if (check_entries(g, entries, err) < 0 || fetch_files(g, manifest_at, entries, err) < 0 ||
        fs_mkdirs_beneath(g->fetched_fd, GET_PLAIN "/" FILES_FOLDER, 0700, err) < 0)
        return -1;
    AUTO_FD files = fs_open_beneath(g->fetched_fd, GET_PLAIN "/" FILES_FOLDER, O_RDONLY | O_DIRECTORY, 0, err);
    if (files < 0 || check_contents(g, entries, files, err) < 0 || place_all(g, entries, false, files, err) < 0)
        return -1;
    return place_all(g, entries, true, files, err);
}
