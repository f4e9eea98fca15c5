#include "job/get_priv.h"

#include "base/fs.h"
#include "base/path.h"
#include "digest/digest.h"
#include "job/unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#define FETCHED "fetched"
#define OUT     "out"

#define KEY_TEXT_MAX ((size_t)256 << 10)

/* ---- what was published ---- */

static int read_checksum(const char *text, struct arena *a, const char **out, struct err *err)
{
    struct digest_value v;
    char hex[DIGEST_HEX_MAX];
    if (!text)
        return 0;
    if (digest_parse(DIGEST_SHA256, span_of(text), &v, err) < 0)
        return err_wrap(err, "ChecksumSHA256");
    *out = arena_dup(a, digest_hex(hex, &v));
    return arena_check(a, err);
}

static int read_s3(const json_t *params, struct arena *a, struct input *out, struct err *err)
{
    struct source_s3 *s3 = &out->s3;
    out->kind = SOURCE_S3;
    *s3 = (struct source_s3){.bucket = json_get_str(params, "Bucket"),
                             .key = json_get_str(params, "Key"),
                             .exact_key = true,
                             .endpoint = json_get_str(params, "Endpoint"),
                             .region = json_get_str(params, "Region"),
                             .version_id = json_get_str(params, "VersionID")};
    if (str_empty(s3->bucket) || str_empty(s3->key))
        return err_set(err, ERR_INVALID, "a published result without Bucket or Key");
    return read_checksum(json_get_str(params, "ChecksumSHA256"), a, &s3->checksum_sha256, err);
}

/* A server that signed a URL for the object spares us credentials; the checksum comes along. A manifest's files have no
 * URLs, so that a plain result is got as it was published. */
static int prefer_url(const char *url, struct arena *a, struct input *out, struct err *err)
{
    const struct source_s3 s3 = out->s3;
    if (str_empty(url) || out->kind != SOURCE_S3 || !span_ends(span_of(s3.key), SPAN_LIT(".tar.gz")))
        return 0;
    struct pin *pin = arena_alloc(a, sizeof *pin);
    if (!pin)
        return arena_check(a, err);
    pin->path = arena_dup_span(a, path_basename(span_of(s3.key)));
    pin->sha256 = s3.checksum_sha256;
    pin->size = UINT64_MAX;
    *out = (struct input){
        .kind = SOURCE_URL, .at = "", .pins = pin, .pin_count = 1, .url = {.url = url, .presigned = true}};
    return arena_check(a, err);
}

int job_published_read(const json_t *document, struct arena *a, struct input *out, struct err *err)
{
    const json_t *result = json_object_get(document, "published");
    bool record = json_object_get(document, "berth") || result;
    if (record && (!result || json_is_null(result))) {
        err_set(err, ERR_NOTFOUND, "this run published nothing");
        const char *why = json_get_str(document, "publish_error");
        return why ? err_hint(err, "publishing failed: %s", why) : -1;
    }
    if (!result)
        result = document;
    const char *type = json_get_str(result, "Type");
    const json_t *params = json_object_get(result, "Params");
    *out = (struct input){.at = ""};
    if (!type || !json_is_object(params))
        return err_set(err, ERR_INVALID, "neither a run record (berth.json) nor a published result");
    if (str_eq(type, "s3"))
        return read_s3(params, a, out, err) < 0 ? -1 : prefer_url(json_get_str(document, "url"), a, out, err);
    if (str_eq(type, "local"))
        return err_set(err, ERR_UNSUPPORTED, "published on its own machine, at %.700s",
                       json_get_str(params, "Path") ? json_get_str(params, "Path") : "?");
    return err_set(err, ERR_UNSUPPORTED, "published by '%.64s', which berth cannot read", type);
}

/* ---- what is fetched is known again ---- */

const char *get_checksum(const struct input *in)
{
    return in->kind == SOURCE_S3 ? in->s3.checksum_sha256 : in->pin_count > 0 ? in->pins[0].sha256 : NULL;
}

/* Of a signed URL the query is another each time. */
static void add_place(const struct input *in, struct buf *out)
{
    struct span place, query;
    span_cut(span_of(in->url.url), '?', &place, &query);
    buf_add_span(out, get_checksum(in) || in->url.presigned ? place : span_of(in->url.url));
}

int get_key(const struct input *in, char out[GET_KEY_CHARS + 1], struct err *err)
{
    const struct source_s3 none = {0}, *s3 = in->kind == SOURCE_S3 ? &in->s3 : &none;
    const char *const parts[] = {s3->endpoint, s3->bucket, s3->key, s3->version_id, get_checksum(in)};
    struct digest_value v;
    char hex[DIGEST_HEX_MAX];
    AUTO_BUF text;
    buf_init(&text, KEY_TEXT_MAX);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        buf_addf(&text, "%s\n", parts[i] ? parts[i] : "");
    if (in->kind != SOURCE_S3)
        add_place(in, &text);
    if (buf_check(&text, "name of a result", err) < 0 || digest_bytes(DIGEST_SHA256, text.p, text.n, &v, err) < 0)
        return -1;
    snprintf(out, GET_KEY_CHARS + 1, "%.*s", GET_KEY_CHARS, digest_hex(hex, &v));
    return 0;
}

/* ---- fetching ---- */

static int fetch_once(struct getting *g, const struct input *in, const char *folder, struct err *err)
{
    struct stage *s = NULL;
    AUTO_STR dir = str_printf(err, "%s/" FETCHED "/%s/%s", g->part, g->key, folder);
    if (!dir || stage_new(&s, &g->opts->stage, in, 1, err) < 0)
        return -1;
    const struct stage_fetch_opts how = {.dir = dir};
    if (g->opts->watch)
        g->opts->watch(g->opts->watch_ctx, s, 1);
    int rc = stage_fetch(s, &how, err);
    if (g->opts->watch)
        g->opts->watch(g->opts->watch_ctx, NULL, 0);
    stage_free(s);
    return rc;
}

/* s3:GetObject does not cover versions: who may not read this one may still read the key, and the checksum tells
 * whether that is it. */
int get_fetch(struct getting *g, const struct input *in, const char *folder, struct err *err)
{
    struct err first = ERR_INIT;
    if (fetch_once(g, in, folder, &first) == 0)
        return 0;
    bool other = first.kind == ERR_DENIED && in->kind == SOURCE_S3 && in->s3.version_id && in->s3.checksum_sha256;
    if (!other)
        return err_move(err, &first);
    struct input latest = *in;
    struct err second = ERR_INIT;
    latest.s3.version_id = NULL;
    return fetch_once(g, &latest, folder, &second) == 0 ? 0 : err_move(err, &first);
}

/* The one file that was fetched. Where it came by a URL, only the server knew what it is called. */
static int find_object(int object_fd, char name[PATH_COMPONENT_MAX + 1], struct err *err)
{
    AUTO_FD fd = openat(object_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return err_sys(err, "list what was fetched");
    fd_take(&fd);
    unsigned found = 0;
    for (const struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.' &&
            (str_eq(e->d_name, ".") || str_eq(e->d_name, "..") || str_eq(e->d_name, ".berth-partial")))
            continue;
        snprintf(name, PATH_COMPONENT_MAX + 1, "%s", e->d_name);
        found++;
    }
    closedir(d);
    if (found == 1)
        return 0;
    return err_set(err, ERR_INVALID, "a published result is one object; here are %u", found);
}

/* ---- unpacking ---- */

static int unpack(struct getting *g, int object_fd, const char *name, struct err *err)
{
    AUTO_FD fd = fs_open_beneath(object_fd, name, O_RDONLY, 0, err);
    if (fd < 0)
        return -1;
    int rc = unpack_apart(fd, g->out_fd, &g->opts->limits, g->opts->stage.cancel, &g->got->totals, err);
    return rc < 0 ? err_wrap(err, "%s", name) : 0;
}

/* NULL without error: not a manifest. */
static json_t *read_manifest(int object_fd, const char *name, struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, GET_MANIFEST_MAX);
    int64_t form = 0;
    if (!str_eq(name, GET_MANIFEST))
        return NULL;
    if (fs_read_file(object_fd, name, GET_MANIFEST_MAX, &text, err) < 0)
        return NULL;
    AUTO_JSON manifest = json_parse(buf_span(&text), err);
    if (manifest && (!json_get_i64(manifest, "berth_manifest", &form) || form != 1))
        err_set(err, ERR_UNSUPPORTED, GET_MANIFEST ": not a manifest that this version knows");
    return err_is_set(err) ? NULL : json_incref(manifest);
}

static int keep_raw(struct getting *g, int object_fd, const char *name, struct err *err)
{
    struct stat st;
    if (renameat(object_fd, name, g->out_fd, name) < 0 || fstatat(g->out_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, "keep %s", name);
    g->got->totals = (struct archive_totals){.files = 1, .bytes = (uint64_t)st.st_size};
    return 0;
}

static int fill_out(struct getting *g, const struct input *from, struct err *err)
{
    char name[PATH_COMPONENT_MAX + 1];
    AUTO_FD object = fs_open_beneath(g->fetched_fd, GET_OBJECT, O_RDONLY | O_DIRECTORY, 0, err);
    if (object < 0 || find_object(object, name, err) < 0)
        return -1;
    if (g->opts->raw)
        return keep_raw(g, object, name, err);
    AUTO_JSON manifest = read_manifest(object, name, err);
    if (err_is_set(err))
        return -1;
    return manifest ? get_plain(g, from, manifest, err) : unpack(g, object, name, err);
}

/* ---- the folder ---- */

int get_check_target(const char *dir, struct err *err)
{
    if (rmdir(dir) == 0 || errno == ENOENT)
        return 0;
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) {
        err_set(err, ERR_EXISTS, "%s is there already, and not empty", dir);
        return err_hint(err, "name another folder, or remove it");
    }
    return err_sys(err, "use %s", dir);
}

static int open_part(struct getting *g, struct err *err)
{
    g->part = str_printf(err, "%s.part", g->opts->dir);
    if (!g->part || fs_mkdirs(g->part, 0700, err) < 0 || (g->part_fd = fs_open_dir(g->part, err)) < 0)
        return -1;
    /* What was fetched is taken up again; what was unpacked is not. */
    if (fs_remove_tree(g->part_fd, OUT, err) < 0 || fs_mkdirs_beneath(g->part_fd, FETCHED, 0700, err) < 0 ||
        fs_mkdirs_beneath(g->part_fd, OUT, 0755, err) < 0)
        return -1;
    g->all_fd = fs_open_beneath(g->part_fd, FETCHED, O_RDONLY | O_DIRECTORY, 0, err);
    if (g->all_fd < 0 || fs_mkdirs_beneath(g->all_fd, g->key, 0700, err) < 0)
        return -1;
    g->fetched_fd = fs_open_beneath(g->all_fd, g->key, O_RDONLY | O_DIRECTORY, 0, err);
    g->out_fd = fs_open_beneath(g->part_fd, OUT, O_RDONLY | O_DIRECTORY, 0, err);
    return g->fetched_fd < 0 || g->out_fd < 0 ? -1 : 0;
}

static int move_out(struct getting *g, struct err *err)
{
    if (renameat(g->part_fd, OUT, AT_FDCWD, g->opts->dir) < 0)
        return err_sys(err, "move the results to %s", g->opts->dir);
    if (fs_remove_tree(g->part_fd, FETCHED, err) < 0)
        return -1;
    /* What another get left there, of other results, stays. */
    return rmdir(g->part) < 0 && errno != ENOTEMPTY && errno != EEXIST ? err_sys(err, "remove %s", g->part) : 0;
}

/* What cannot be unpacked need not be kept for another try; of other results it may. */
static void clean_up(struct getting *g, const struct err *failure)
{
    struct err ignored = ERR_INIT;
    bool resumable = failure->kind == ERR_CANCELLED || failure->kind == ERR_TRANSIENT || failure->kind == ERR_TIMEOUT ||
                     failure->kind == ERR_NOSPACE;
    if (g->part_fd < 0)
        return;
    fs_remove_tree(g->part_fd, OUT, &ignored);
    if (resumable || (g->all_fd >= 0 && fs_remove_tree(g->all_fd, g->key, &ignored) < 0))
        return;
    if (unlinkat(g->part_fd, FETCHED, AT_REMOVEDIR) == 0)
        rmdir(g->part);
}

int job_get(const struct input *from, const struct job_get_opts *opts, struct job_got *got, struct err *err)
{
    struct getting g = {.opts = opts, .got = got, .part_fd = -1, .all_fd = -1, .fetched_fd = -1, .out_fd = -1};
    *got = (struct job_got){.verified = get_checksum(from) != NULL};
    int rc = get_key(from, g.key, err) < 0 ? -1 : get_check_target(opts->dir, err);
    if (rc == 0 && (rc = open_part(&g, err)) == 0) {
        rc = get_fetch(&g, from, GET_OBJECT, err);
        if (rc == 0)
            rc = fill_out(&g, from, err);
        if (rc == 0)
            rc = move_out(&g, err);
    }
    if (rc < 0)
        clean_up(&g, err);
    auto_close(&g.fetched_fd);
    auto_close(&g.all_fd);
    auto_close(&g.out_fd);
    auto_close(&g.part_fd);
    free(g.part);
    return rc;
}
