/* Containers and folders that a killed berth left behind. */
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "job/job_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int sweep_containers(struct engine *engine, int root_fd, unsigned *removed, struct err *err)
{
    struct engine_listed *list = NULL;
    size_t n = 0;
    if (engine_list(engine, JOB_LABEL, &list, &n, err) < 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; list && i < n && rc == 0; i++) {
        struct err unsafe = ERR_INIT;
        AUTO_FD lock = -1;
        if (path_check_relative(span_of(list[i].label), &unsafe) < 0 || strchr(list[i].label, '/') ||
            !workplace_is_orphan(root_fd, list[i].label, &lock))
            continue;
        rc = engine_remove(engine, list[i].id, err);
        if (rc == 0) {
            log_info("job", "removed the container of a run that was killed (job=%s)", list[i].label);
            (*removed)++;
        }
    }
    free(list);
    return rc;
}

static int sweep_folder(int root_fd, const char *work_root, const char *id, struct err *err)
{
    AUTO_STR path = str_printf(err, "%s/%s", work_root, id);
    if (!path || stage_sweep(path, err) < 0)
        return -1;
    return fs_remove_tree(root_fd, id, err);
}

/* Folders after containers: a folder is what says that a container is ours. */
static int sweep_folders(int root_fd, const char *work_root, struct err *err)
{
    int copy = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (!d) {
        if (copy >= 0)
            close(copy);
        return err_sys(err, "read the folder of runs");
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        AUTO_FD lock = -1;
        if (e->d_name[0] != '.' && workplace_is_orphan(root_fd, e->d_name, &lock))
            rc = sweep_folder(root_fd, work_root, e->d_name, err);
    }
    closedir(d);
    return rc;
}

int job_sweep(struct engine *engine, const char *work_root, unsigned *removed, struct err *err)
{
    *removed = 0;
    struct err absent = ERR_INIT;
    AUTO_FD root = fs_open_dir(work_root, &absent);
    if (root < 0)
        return absent.kind == ERR_NOTFOUND ? 0 : err_move(err, &absent);
    if (sweep_containers(engine, root, removed, err) < 0)
        return err_wrap(err, "remove what killed runs left");
    return sweep_folders(root, work_root, err);
}
