#include "job/unpack.h"

#include "base/fs.h"
#include "base/proc.h"
#include "base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define SELF       "/proc/self/exe"
#define NUMBER_MAX 24
#define EXIT_USAGE 2

/* The helper's answer. Both sides are one program, so its layout is its own business; whether to believe it is not. */
struct report {
    struct archive_totals totals;
    struct err err;
};

/* ---- the helper ---- */

static int64_t read_fd(void *ctx, void *p, size_t max, struct err *err)
{
    const int *fd = ctx;
    ssize_t n;
    do
        n = read(*fd, p, max);
    while (n < 0 && errno == EINTR);
    return n < 0 ? err_sys(err, "read the archive") : n;
}

static bool read_limits(char **argv, struct archive_limits *out)
{
    struct err ignored = ERR_INIT;
    uint64_t ratio = 0;
    if (span_to_u64(span_of(argv[0]), &out->max_bytes, &ignored) < 0 ||
        span_to_u64(span_of(argv[1]), &out->max_entries, &ignored) < 0 ||
        span_to_u64(span_of(argv[2]), &ratio, &ignored) < 0 || ratio > UINT32_MAX)
        return false;
    out->max_ratio = (uint32_t)ratio;
    return true;
}

static void work(const struct archive_limits *limits, struct report *report)
{
    const struct archive_unpack_opts opts = {.limits = *limits};
    int in = STDIN_FILENO;
    AUTO_FD folder = fs_open_dir(".", &report->err);
    if (folder >= 0 && sandbox_enter(folder, &report->err) == 0)
        archive_unpack(folder, read_fd, &in, &opts, &report->totals, &report->err);
}

int unpack_helper(int argc, char **argv)
{
    struct archive_limits limits;
    struct err unsaid = ERR_INIT;
    struct report report;
    memset(&report, 0, sizeof report); /* it goes out as bytes, the padding too */
    if (argc != 5 || !read_limits(argv + 2, &limits)) {
        fputs("berth " UNPACK_HELPER ": berth starts this itself, to unpack what it got\n", stderr);
        return EXIT_USAGE;
    }
    work(&limits, &report);
    bool said = fs_write_all(STDOUT_FILENO, &report, sizeof report, &unsaid) == 0;
    _exit(said ? 0 : 1); /* what others do at exit is not for in here */
}

/* ---- who starts it ---- */

/* Whatever an archive made of the helper, this is all that comes back. */
static int believe(const struct proc_result *result, struct archive_totals *totals, struct err *err)
{
    struct report report;
    if (result->signal) {
        err_set(err, ERR_SYSTEM, "the helper that unpacks was ended: %s", strsignal(result->signal));
        return err_hint(err, "the archive may mean harm; --raw keeps it packed, as it was published");
    }
    if (result->out.n != sizeof report)
        return err_set(err, ERR_SYSTEM, "the helper that unpacks ended without an answer (exit code %d)",
                       result->exit_code);
    memcpy(&report, result->out.p, sizeof report);
    report.err.text[ERR_TEXT_MAX - 1] = report.err.hint[ERR_HINT_MAX - 1] = '\0';
    *totals = report.totals;
    if (report.err.kind == ERR_NONE)
        return 0;
    err_set(err, report.err.kind <= ERR_SYSTEM ? report.err.kind : ERR_SYSTEM, "%s", report.err.text);
    err_one_line(err);
    return report.err.hint[0] ? err_hint(err, "%s", report.err.hint) : -1;
}

int unpack_apart(int archive_fd, int dir_fd, const struct archive_limits *limits, const struct cancel *cancel,
                 struct archive_totals *totals, struct err *err)
{
    char bytes[NUMBER_MAX], entries[NUMBER_MAX], ratio[NUMBER_MAX], folder[NUMBER_MAX + sizeof "/proc/self/fd/"];
    AUTO_FD in = fcntl(archive_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (in < 0)
        return err_sys(err, "start the helper that unpacks");
    snprintf(bytes, sizeof bytes, "%" PRIu64, limits->max_bytes);
    snprintf(entries, sizeof entries, "%" PRIu64, limits->max_entries);
    snprintf(ratio, sizeof ratio, "%" PRIu32, limits->max_ratio);
    snprintf(folder, sizeof folder, "/proc/self/fd/%d", dir_fd);
    const struct proc_opts opts = {
        .argv = (const char *const[]){SELF, UNPACK_HELPER, bytes, entries, ratio, NULL},
        .env = (const char *const[]){NULL},
        .cwd = folder,
        .input_fd = in,
        .dies_with_us = true,
        .timeout_ms = UINT64_MAX,
        .output_max = sizeof(struct report),
        .cancel = cancel,
    };
    struct proc_result result;
    int rc = proc_run(&opts, &result, err);
    if (rc == 0)
        rc = believe(&result, totals, err);
    proc_result_release(&result);
    return rc;
}
