/* Several executions: each fetched beside the folder, under a name that stands for what it is; then put together, and
 * the whole moved into place. */
#include "base/fs.h"
#include "job/get_priv.h"

#include <errno.h>
#include <fcntl.h>

#define OUT "out"

struct fetching {
    const struct job_executions *from;
    const struct job_get_opts *opts;
    struct job_got *got;
    char *part; /* "<dir>.part" */
    int part_fd, out_fd;
    char (*keys)[GET_KEY_CHARS + 1]; /* of each: its folder below part */
    const char **names;              /* the same, as a list */
};

/* ---- what is fetched is known again ---- */

static bool is_fixed(const struct input *in)
{
    return get_checksum(in) || (in->kind == SOURCE_S3 && in->s3.version_id);
}

static int find_keys(struct fetching *f, struct err *err)
{
    f->keys = calloc(f->from->n + 1, sizeof *f->keys);
    f->names = calloc(f->from->n + 1, sizeof *f->names);
    if (!f->keys || !f->names)
        return err_nomem(err);
    for (size_t i = 0; i < f->from->n; i++) {
        if (get_key(&f->from->v[i].input, f->keys[i], err) < 0)
            return -1;
        f->names[i] = f->keys[i];
        for (size_t k = 0; k < i; k++)
            if (strcmp(f->keys[k], f->keys[i]) == 0)
                return err_set(err, ERR_INVALID, "executions %s and %s are one and the same result", f->from->v[k].name,
                               f->from->v[i].name);
    }
    return 0;
}

/* ---- fetching ---- */

static int fetch_one(struct fetching *f, size_t i, struct err *err)
{
    const struct job_execution *one = &f->from->v[i];
    struct job_get_opts opts = *f->opts;
    struct job_got got;
    struct stat st;
    bool there = fstatat(f->part_fd, f->keys[i], &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && is_fixed(&one->input)) {
        f->got->verified = f->got->verified && get_checksum(&one->input);
        return 0;
    }
    if (there && fs_remove_tree(f->part_fd, f->keys[i], err) < 0)
        return -1;
    AUTO_STR dir = str_printf(err, "%s/%s", f->part, f->keys[i]);
    if (!dir)
        return -1;
    opts.dir = dir;
    if (job_get(&one->input, &opts, &got, err) < 0)
        return err_wrap(err, "execution %s", one->name);
    f->got->verified = f->got->verified && got.verified;
    return 0;
}

/* ---- putting together ---- */

static int count(void *ctx, const struct fs_entry *e, struct err *err)
{
    struct archive_totals *t = ctx;
    (void)err;
    if (S_ISREG(e->st.st_mode)) {
        t->files++;
        t->bytes += (uint64_t)e->st.st_size;
    } else {
        ++*(S_ISDIR(e->st.st_mode) ? &t->folders : &t->links);
    }
    return 0;
}

static int put_together(struct fetching *f, bool merge, struct err *err)
{
    if (merge) {
        if (get_merge(f->part_fd, f->names, f->from, f->out_fd, f->opts->stage.cancel, err) < 0)
            return -1;
    } else {
        for (size_t i = 0; i < f->from->n; i++)
            if (renameat(f->part_fd, f->keys[i], f->out_fd, f->from->v[i].name) < 0)
                return err_sys(err, "move execution %s to its place", f->from->v[i].name);
    }
    return fs_walk(f->out_fd, count, &f->got->totals, err);
}

static int move_out(struct fetching *f, struct err *err)
{
    if (renameat(f->part_fd, OUT, AT_FDCWD, f->opts->dir) < 0)
        return err_sys(err, "move the results to %s", f->opts->dir);
    if (fs_remove_tree(f->part_fd, GET_MERGING, err) < 0)
        return -1;
    /* What another get left there, of other results, stays. */
    return rmdir(f->part) < 0 && errno != ENOTEMPTY && errno != EEXIST ? err_sys(err, "remove %s", f->part) : 0;
}

static int get_all(struct fetching *f, bool merge, struct err *err)
{
    f->part = str_printf(err, "%s.part", f->opts->dir);
    if (!f->part || find_keys(f, err) < 0 || fs_mkdirs(f->part, 0700, err) < 0 ||
        (f->part_fd = fs_open_dir(f->part, err)) < 0 || fs_remove_tree(f->part_fd, OUT, err) < 0 ||
        fs_remove_tree(f->part_fd, GET_MERGING, err) < 0 || fs_mkdirs_beneath(f->part_fd, OUT, 0755, err) < 0 ||
        (f->out_fd = fs_open_beneath(f->part_fd, OUT, O_RDONLY | O_DIRECTORY, 0, err)) < 0)
        return -1;
    for (size_t i = 0; i < f->from->n; i++)
        if (fetch_one(f, i, err) < 0)
            return -1;
    return put_together(f, merge, err) < 0 ? -1 : move_out(f, err);
}

/* What is whole stays for another try; the rest is job_get()'s to keep or not. */
static void clean_up(struct fetching *f)
{
    struct err ignored = ERR_INIT;
    if (f->part_fd >= 0 && fs_remove_tree(f->part_fd, OUT, &ignored) == 0 &&
        fs_remove_tree(f->part_fd, GET_MERGING, &ignored) == 0)
        rmdir(f->part);
}

int job_get_all(const struct job_executions *from, bool merge, const struct job_get_opts *opts, struct job_got *got,
                struct err *err)
{
    struct fetching f = {.from = from, .opts = opts, .got = got, .part_fd = -1, .out_fd = -1};
    *got = (struct job_got){.verified = true};
    int rc = get_check_target(opts->dir, err);
    if (rc == 0 && (rc = get_all(&f, merge, err)) < 0)
        clean_up(&f);
    auto_close(&f.out_fd);
    auto_close(&f.part_fd);
    free(f.part);
    free(f.keys);
    free(f.names);
    return rc;
}
