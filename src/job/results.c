#include "base/fs.h"
#include "job/job_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define RECORD_MAX (256u << 20)

static const char *const stream_names[2] = {"stdout", "stderr"};

static int check_empty(int dir_fd, const char *dir, struct err *err)
{
    int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (!d) {
        if (copy >= 0)
            close(copy);
        return err_sys(err, "read results folder %s", dir);
    }
    const char *found = NULL;
    for (struct dirent *e; !found && (e = readdir(d));)
        if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
            found = e->d_name;
    int rc = 0;
    if (found) {
        rc = err_set(err, ERR_EXISTS, "results folder %s is not empty (it holds %s)", dir, found);
        err_hint(err, "name another with --results, or remove it");
    }
    closedir(d);
    return rc;
}

int results_open(struct results *r, const char *dir, uint64_t max_bytes, struct err *err)
{
    r->max_bytes = max_bytes;
    if (fs_mkdirs(dir, 0755, err) < 0 || (r->dir_fd = fs_open_dir(dir, err)) < 0 ||
        check_empty(r->dir_fd, dir, err) < 0)
        return -1;
    for (int k = 0; k < 2; k++) {
        r->stream_fd[k] =
            fs_open_beneath(r->dir_fd, stream_names[k], O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0644, err);
        if (r->stream_fd[k] < 0)
            return -1;
    }
    return fs_mkdirs_beneath(r->dir_fd, "outputs", 0755, err);
}

int results_add(struct results *r, int stream, const void *p, size_t n, struct err *err)
{
    int k = stream == 2;
    uint64_t room = r->max_bytes - r->kept[k];
    size_t keep = n < room ? n : (size_t)room;
    if (keep > 0 && fs_write_all(r->stream_fd[k], p, keep, err) < 0)
        return err_wrap(err, "write %s of the job", stream_names[k]);
    r->kept[k] += keep;
    r->dropped[k] += n - keep;
    return 0;
}

int results_output_dir(struct results *r, const char *dir, const char *name, struct buf *path, struct err *err)
{
    AUTO_STR below = str_printf(err, "outputs/%s", name);
    if (!below || fs_mkdirs_beneath(r->dir_fd, below, 0755, err) < 0)
        return -1;
    AUTO_FD fd = fs_open_beneath(r->dir_fd, below, O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return -1;
    /* Whoever the container runs as writes here. */
    if (fchmod(fd, 0777) < 0)
        return err_sys(err, "chmod %s", below);
    AUTO_STR absolute = realpath(dir, NULL);
    if (!absolute)
        return err_sys(err, "find %s", dir);
    buf_addf(path, "%s/%s", absolute, below);
    return buf_check(path, "path of an output folder", err);
}

int results_finish(struct results *r, int exit_code, struct err *err)
{
    for (int k = 0; k < 2; k++) {
        if (r->dropped[k] == 0)
            continue;
        char mark[128];
        int n = snprintf(mark, sizeof mark, "\n[berth: %" PRIu64 " further bytes of %s were not kept]\n", r->dropped[k],
                         stream_names[k]);
        if (fs_write_all(r->stream_fd[k], mark, (size_t)n, err) < 0)
            return -1;
    }
    char code[16];
    int n = snprintf(code, sizeof code, "%d", exit_code);
    return fs_replace_file(r->dir_fd, "exitCode", code, (size_t)n, 0644, err);
}

int results_write_record(struct results *r, const json_t *record, struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, RECORD_MAX);
    if (json_write(record, true, &text, err) < 0)
        return -1;
    buf_addc(&text, '\n');
    if (buf_check(&text, "run record", err) < 0)
        return -1;
    return fs_replace_file(r->dir_fd, "berth.json", text.p, text.n, 0644, err);
}

void results_release(struct results *r)
{
    auto_close(&r->stream_fd[0]);
    auto_close(&r->stream_fd[1]);
    auto_close(&r->dir_fd);
}
