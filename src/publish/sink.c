#include "publish/sink_priv.h"

#include "base/fs.h"
#include "base/path.h"
#include "base/rng.h"

#include <fcntl.h>
#include <stdio.h>

#define PATH_ROOM 4096

/* ---- a local file ---- */

static int open_local(struct sink *s, struct err *err)
{
    char id[RNG_ID_MAX];
    AUTO_STR folder = str_dup(buf_str(&s->key), err);
    if (!folder || rng_id(id, err) < 0)
        return -1;
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    if (slash && fs_mkdirs(folder, 0755, err) < 0)
        return -1;
    s->dir_fd = fs_open_dir(slash ? folder : ".", err);
    if (s->dir_fd < 0)
        return -1;
    snprintf(s->temporary, sizeof s->temporary, ".berth-%.16s.part", id);
    s->fd = openat(s->dir_fd, s->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (s->fd >= 0)
        return 0;
    s->temporary[0] = '\0';
    return err_sys(err, "create a file beside %s", buf_str(&s->key));
}

static int finish_local(struct sink *s, struct publish_result *out, struct err *err)
{
    const char *path = buf_str(&s->key), *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    int flags = s->opts->to->only_new ? RENAME_NOREPLACE : 0;
    if (fs_fsync(s->fd, path, err) < 0)
        return -1;
    if (renameat2(s->dir_fd, s->temporary, s->dir_fd, name, (unsigned)flags) < 0)
        return err_sys(err, "write %s", path);
    s->temporary[0] = '\0';
    if (fs_fsync(s->dir_fd, "the folder of the archive", err) < 0)
        return -1;
    out->path = realpath(path, NULL);
    return out->path ? 0 : err_sys(err, "find %s", path);
}

/* ---- an object ---- */

/* A folder is the same as long as it is there, wherever it is moved; what is in it now, the parts tell. */
static int name_source(struct sink *s, int dir_fd, struct err *err)
{
    struct stat st;
    if (fstat(dir_fd, &st) < 0)
        return err_sys(err, "look at the folder");
    snprintf(s->source, sizeof s->source, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return 0;
}

static int open_s3(struct sink *s, int dir_fd, uint64_t most, struct err *err)
{
    const struct publish_opts *o = s->opts;
    if (name_source(s, dir_fd, err) < 0)
        return -1;
    s->storing = (struct storing){o, &s->target, buf_str(&s->key)};
    const struct s3_upload_opts how = {.put = target_put_opts(o->to),
                                       .part_bytes = s3_part_bytes(most),
                                       .buffer_bytes = o->buffer_bytes,
                                       .begun = o->begun ? storing_begun : NULL,
                                       .commit = o->commit ? storing_commit : NULL,
                                       .ctx = &s->storing,
                                       .journal_dir = o->access.journal_dir,
                                       .journal_name = s->source};
    if (target_open(&s->target, o, err) < 0)
        return -1;
    return s3_upload_open(&s->upload, s->target.s3, buf_str(&s->key), &how, err);
}

static int finish_s3(struct sink *s, struct publish_result *out, struct err *err)
{
    struct s3_stored stored;
    if (s3_upload_finish(s->upload, &stored, err) < 0)
        return -1;
    int rc = target_describe(&s->target, s->opts, buf_str(&s->key), &stored, out, err);
    s3_stored_release(&stored);
    return rc;
}

/* ---- either ---- */

int sink_open(struct sink *s, int dir_fd, const struct publish_opts *opts, uint64_t most, struct err *err)
{
    *s = (struct sink){.opts = opts, .dir_fd = -1, .fd = -1};
    buf_init(&s->key, PATH_ROOM);
    if (publish_key(opts->to->key, PUBLISH_GZIP, &opts->names, &s->key, err) < 0 ||
        digest_open(&s->sha256, BIT(DIGEST_SHA256), err) < 0)
        return -1;
    return opts->to->kind == PUBLISH_LOCAL ? open_local(s, err) : open_s3(s, dir_fd, most, err);
}

int sink_write(struct sink *s, const void *p, size_t n, struct err *err)
{
    s->bytes += n;
    if (digest_update(s->sha256, p, n, err) < 0)
        return -1;
    return s->upload ? s3_upload_write(s->upload, p, n, err) : fs_write_all(s->fd, p, n, err);
}

static int tell_sum(struct sink *s, struct publish_result *out, struct err *err)
{
    struct digest_value v;
    AUTO_BUF text;
    buf_init(&text, sizeof out->sha256);
    if (digest_final(s->sha256, DIGEST_SHA256, &v, err) < 0)
        return -1;
    digest_base64(&text, &v);
    snprintf(out->sha256, sizeof out->sha256, "%s", buf_str(&text));
    return buf_check(&text, "checksum", err);
}

int sink_finish(struct sink *s, struct publish_result *out, struct err *err)
{
    if (cancel_check(s->opts->cancel, err) < 0 || tell_sum(s, out, err) < 0)
        return -1;
    out->stored_bytes = s->bytes;
    if (s->upload)
        return finish_s3(s, out, err);
    if (s->opts->commit && s->opts->commit(s->opts->ctx, err) < 0)
        return -1;
    return finish_local(s, out, err);
}

bool sink_outdated(const struct sink *s)
{
    return s->upload && s3_upload_outdated(s->upload);
}

void sink_release(struct sink *s)
{
    s3_upload_free(s->upload);
    target_release(&s->target);
    if (s->temporary[0])
        (void)unlinkat(s->dir_fd, s->temporary, 0);
    auto_close(&s->fd);
    auto_close(&s->dir_fd);
    digest_free(s->sha256);
    buf_release(&s->key);
}
