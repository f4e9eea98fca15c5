/* A results folder, from its making to the exit code and the record. */
#include "drive.h"

#include "base/fs.h"
#include "base/json.h"
#include "job/job_priv.h"

#include <stdio.h>
#include <string.h>

static char folder[256];

static int prepare(const char *dir)
{
    snprintf(folder, sizeof folder, "%s/results", dir);
    return 0;
}

static int fill(struct results *r, struct err *err)
{
    AUTO_BUF path;
    buf_init(&path, 4096);
    AUTO_JSON record = json_object();
    if (!record)
        return err_nomem(err);
    if (results_output_dir(r, folder, "model", &path, err) < 0 || results_add(r, 1, "hello", 5, err) < 0 ||
        results_add(r, 2, "oh", 2, err) < 0 || json_put_str(record, "berth", "record", err) < 0 ||
        results_write_record(r, record, err) < 0)
        return -1;
    return results_finish(r, 42, err);
}

static int run(struct err *err)
{
    struct results r = {.dir_fd = -1, .stream_fd = {-1, -1}};
    int rc = results_open(&r, folder, 1000, err);
    if (rc == 0)
        rc = fill(&r, err);
    results_release(&r);
    return rc;
}

static bool holds(const char *name, const char *text)
{
    struct err err = ERR_INIT;
    AUTO_BUF found;
    buf_init(&found, 1000);
    AUTO_FD fd = fs_open_dir(folder, &err);
    bool same = fd >= 0 && fs_read_file(fd, name, 999, &found, &err) == 0 && span_eq(buf_span(&found), span_of(text));
    if (!same)
        fprintf(stderr, "%s does not hold %s (%s)\n", name, text, err.text);
    return same;
}

/* The exit code is written last: where it is, the rest is. */
static bool check(bool succeeded)
{
    struct err err = ERR_INIT;
    AUTO_BUF found;
    buf_init(&found, 1000);
    AUTO_FD fd = fs_open_dir(folder, &err);
    bool finished = fd >= 0 && fs_read_file(fd, "exitCode", 999, &found, &err) == 0;
    if (!succeeded && !finished)
        return true;
    return holds("exitCode", "42") && holds("stdout", "hello") && holds("stderr", "oh");
}

const struct work work_results = {"results", prepare, run, check};
