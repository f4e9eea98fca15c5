/* The last message of each execution, on disk until the server has it: "<state>/wills/<job>-<index>-<epoch>.json". */
#include "node/node_priv.h"

#include "base/fs.h"
#include "base/log.h"

#include <dirent.h>
#include <fcntl.h>

#define WILLS    "wills"
#define WILL_MAX ((size_t)4 << 20)
#define SUFFIX   ".json"

static char *will_path(const char *tag, struct err *err)
{
    return str_printf(err, WILLS "/%s" SUFFIX, tag);
}

/* What is true if nothing else is ever written. */
static json_t *of_a_crash(const struct execution *e, struct err *err)
{
    json_t *will = exec_ref(e, err);
    if (json_put_str(will, "outcome", "failed", err) == 0 &&
        json_put_str(will, "reason", "the node ended before the job did", err) == 0 &&
        json_put(will, "retry", json_true(), err) == 0)
        return will;
    json_decref(will);
    return NULL;
}

int will_write(struct execution *e, const json_t *finish, struct err *err)
{
    AUTO_JSON will = finish ? json_incref((json_t *)finish) : of_a_crash(e, err);
    AUTO_STR path = will_path(e->tag, err);
    AUTO_BUF text;
    buf_init(&text, WILL_MAX);
    if (!will || !path || fs_mkdirs_beneath(e->node->state_fd, WILLS, 0700, err) < 0 ||
        json_write(will, false, &text, err) < 0)
        return -1;
    /* A job's inputs do not wait for the disk: should a power cut take what a crash leaves to say, the lease ends. */
    return (finish ? fs_replace_file : fs_replace_file_unsynced)(e->node->state_fd, path, text.p, text.n, 0600, err);
}

void will_remove(struct execution *e)
{
    struct err err = ERR_INIT;
    AUTO_STR path = will_path(e->tag, &err);
    if (path)
        unlinkat(e->node->state_fd, path, 0);
}

/* 1: not now. A will that no server wants is no good anymore. */
static int deliver(struct node *n, int dir_fd, const char *name, struct err *err)
{
    AUTO_BUF text;
    struct err failure = ERR_INIT;
    buf_init(&text, WILL_MAX);
    if (fs_read_file(dir_fd, name, WILL_MAX, &text, err) < 0)
        return -1;
    json_t *will = json_parse(buf_span(&text), &failure);
    const struct node_call call = {.what = "finish", .body = will, .cancel = &n->ending};
    if (will && node_call(n, &call, NULL, &failure) < 0 &&
        (worth_repeating(failure.kind) || failure.kind == ERR_CANCELLED))
        return 1;
    log_info("node", "delivered what an earlier process left (will=%s answer=\"%s\")", name,
             err_is_set(&failure) ? failure.text : "taken");
    return unlinkat(dir_fd, name, 0) < 0 ? err_sys(err, "remove %s", name) : 0;
}

int wills_deliver(struct node *n, struct err *err)
{
    int left = 0;
    if (fs_mkdirs_beneath(n->state_fd, WILLS, 0700, err) < 0)
        return -1;
    AUTO_FD dir_fd = fs_open_beneath(n->state_fd, WILLS, O_RDONLY | O_DIRECTORY, 0, err);
    int copy = dir_fd < 0 ? -1 : openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (!d) {
        auto_close(&copy);
        return err_is_set(err) ? -1 : err_sys(err, "read " WILLS);
    }
    for (struct dirent *entry; !err_is_set(err) && (entry = readdir(d));)
        if (span_ends(span_of(entry->d_name), SPAN_LIT(SUFFIX)) && entry->d_name[0] != '.')
            left |= deliver(n, dir_fd, entry->d_name, err);
    closedir(d);
    return err_is_set(err) ? -1 : left;
}
