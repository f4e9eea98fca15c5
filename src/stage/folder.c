/* `berth fetch`: the same inputs, straight below a folder. */
#include "base/fs.h"
#include "stage/stage_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define PARTIAL_FOLDER ".berth-partial"

static void list_files(struct stage_input *in)
{
    struct stage *s = in->stage;
    if (!s->folder.opts->each)
        return;
    pthread_mutex_lock(&s->folder.mu);
    for (size_t i = 0; i < in->source->file_count; i++) {
        struct source_file f;
        in->source->ops->file(in->source, i, &f);
        s->folder.opts->each(s->folder.opts->ctx, f.name ? f.name : f.path, f.size, f.version);
    }
    pthread_mutex_unlock(&s->folder.mu);
}

static int make_folders(struct stage_input *in, struct err *err)
{
    for (size_t i = 0; i < in->source->folder_count; i++) {
        AUTO_STR path = store_folder_path(in, in->source->folders[i], err);
        if (!path || fs_mkdirs_beneath(in->stage->folder.dir_fd, path, 0755, err) < 0)
            return -1;
    }
    return 0;
}

int fetch_to_folder(struct stage_input *in, struct err *err)
{
    struct stage *s = in->stage;
    if (s->folder.opts->dry_run) {
        list_files(in);
        return 0;
    }
    if (make_folders(in, err) < 0)
        return -1;
    input_set_phase(in, STAGE_DOWNLOADING);
    return fetch_files(in, err);
}

static int make_links(struct stage *s, struct err *err)
{
    for (size_t i = 0; i < s->n; i++)
        if (store_folder_links(&s->in[i], err) < 0)
            return stage_name_input(err, stage_label(s, i));
    return 0;
}

static int open_folder(struct stage *s, const struct stage_fetch_opts *opts, struct err *err)
{
    s->store = &store_folder;
    s->folder.opts = opts;
    if (opts->dry_run)
        return 0;
    if (fs_mkdirs(opts->dir, 0755, err) < 0 || (s->folder.dir_fd = fs_open_dir(opts->dir, err)) < 0)
        return -1;
    if (fs_mkdirs_beneath(s->folder.dir_fd, PARTIAL_FOLDER, 0700, err) < 0)
        return -1;
    s->folder.partial_fd = fs_open_beneath(s->folder.dir_fd, PARTIAL_FOLDER, O_RDONLY | O_DIRECTORY, 0, err);
    return s->folder.partial_fd < 0 ? -1 : 0;
}

int stage_fetch(struct stage *s, const struct stage_fetch_opts *opts, struct err *err)
{
    bool was_there = access(opts->dir, F_OK) == 0;
    if (open_folder(s, opts, err) < 0)
        return err_wrap(err, "fetch to %s", opts->dir);
    int rc = stage_run_inputs(s, err);
    if (rc == 0 && !opts->dry_run)
        rc = make_links(s, err);
    if (s->folder.dir_fd >= 0)
        unlinkat(s->folder.dir_fd, PARTIAL_FOLDER, AT_REMOVEDIR); /* stays while it holds something to resume */
    if (rc < 0 && !was_there && s->folder.dir_fd >= 0)
        rmdir(opts->dir); /* likewise */
    return rc;
}
