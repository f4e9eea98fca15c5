/* xfer_get: the transfer engine alone, for measurements: fetch URLs into a folder.
 *
 *     xfer_get [-r] [-d KIND] [-t THREADS] [-c CONNECTIONS] DIR URL…      (sizes are asked for by HEAD)
 *     xfer_get … -s SIZE DIR URL…                                         (all of that size)
 *     xfer_get … -l LIST -s SIZE DIR                                      (one URL a line)
 *
 * -r: every byte through libcurl; -d: a digest to compute over each file. Prints one line of figures. */
#include "base/fs.h"
#include "base/path.h"
#include "xfer/xfer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define LIST_MAX (64u * 1024 * 1024)

struct item {
    const char *url;
    int fd;
    uint64_t size;
};

static struct {
    int dir;
    struct strv urls;
    struct xfer_group group;
    pthread_mutex_t mu;
    pthread_cond_t cond;
    size_t left, failed;
} bench = {.mu = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static int request(void *ctx, uint64_t offset, uint64_t length, struct xfer_request *out, struct err *err)
{
    const struct item *it = ctx;
    (void)offset;
    (void)length;
    (void)err;
    buf_adds(&out->url, it->url);
    return 0;
}

static enum xfer_verdict judge(void *ctx, const struct xfer_head *head, struct xfer_want *want, struct err *err)
{
    (void)ctx;
    (void)want;
    if (head->status == 200 || head->status == 206)
        return XFER_ACCEPT;
    err_set(err, ERR_NOTFOUND, "HTTP %d", head->status);
    return XFER_FAIL;
}

static int open_file(void *ctx, uint64_t size, int *fd, struct partmap **map, struct err *err)
{
    struct item *it = ctx;
    struct span name = path_basename(span_of(it->url));
    (void)size;
    *map = NULL;
    it->fd = openat(bench.dir, name.p, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (it->fd < 0)
        return err_sys(err, "open %s", name.p);
    *fd = it->fd;
    return 0;
}

static void done(void *ctx, const struct xfer_result *result, const struct err *err)
{
    struct item *it = ctx;
    if (err)
        fprintf(stderr, "xfer_get: %s\n", err->text);
    else
        it->size = result->size;
    if (it->fd >= 0)
        close(it->fd);
    it->fd = -1;
    pthread_mutex_lock(&bench.mu);
    bench.failed += err != NULL;
    if (--bench.left == 0)
        pthread_cond_signal(&bench.cond);
    pthread_mutex_unlock(&bench.mu);
}

static void wait_all(void)
{
    pthread_mutex_lock(&bench.mu);
    while (bench.left > 0)
        pthread_cond_wait(&bench.cond, &bench.mu);
    pthread_mutex_unlock(&bench.mu);
}

static const struct xfer_source source = {.request = request, .judge = judge};
static const struct xfer_sink sink = {.open = open_file};

static int start_all(struct xfer *x, struct item *items, size_t n, bool head, const struct xfer_want *want,
                     struct err *err)
{
    bench.left = n;
    for (size_t i = 0; i < n; i++) {
        struct xfer_get get = {.group = &bench.group,
                               .name = items[i].url,
                               .size = items[i].size,
                               .want = *want,
                               .source = &source,
                               .source_ctx = &items[i],
                               .sink = &sink,
                               .sink_ctx = &items[i],
                               .head_only = head,
                               .done = done,
                               .done_ctx = &items[i]};
        if (xfer_get_start(x, &get, err) < 0)
            return -1;
    }
    wait_all();
    return 0;
}

static int read_list(const char *path, struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, LIST_MAX);
    if (fs_read_file(AT_FDCWD, path, LIST_MAX, &text, err) < 0)
        return -1;
    struct span rest = buf_span(&text), line;
    while (span_cut(rest, '\n', &line, &rest)) {
        if (line.n > 0 && strv_addf(&bench.urls, err, "%.*s", SPAN_FMT(line)) < 0)
            return -1;
    }
    return 0;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void report(struct xfer *x, double wall, const struct rusage *before)
{
    struct rusage use;
    struct xfer_stats stats;
    getrusage(RUSAGE_SELF, &use);
    xfer_stats(x, &stats);
    double cpu = seconds(use.ru_utime) + seconds(use.ru_stime) - seconds(before->ru_utime) - seconds(before->ru_stime);
    printf("wall_s=%.3f cpu_s=%.3f gib_per_s=%.2f requests=%llu retries=%llu connections=%llu rss_mib=%ld failed=%zu\n",
           wall, cpu, (double)stats.bytes_written / (1 << 30) / wall, (unsigned long long)stats.requests,
           (unsigned long long)stats.retries, (unsigned long long)stats.connections_opened, use.ru_maxrss / 1024,
           bench.failed);
}

static int run(const struct xfer_opts *opts, const char *dir, uint64_t size, const struct xfer_want *want,
               struct err *err)
{
    struct xfer *x;
    struct timespec a, b;
    struct rusage before;
    static const struct xfer_want nothing;
    if (fs_mkdirs(dir, 0755, err) < 0 || (bench.dir = fs_open_dir(dir, err)) < 0)
        return -1;
    struct item *items = calloc(bench.urls.n + 1, sizeof *items);
    if (!items)
        return err_nomem(err);
    for (size_t i = 0; i < bench.urls.n; i++)
        items[i] = (struct item){.url = bench.urls.v[i], .fd = -1, .size = size};
    int rc = xfer_open(&x, opts, err);
    if (rc == 0) {
        getrusage(RUSAGE_SELF, &before);
        if (size == XFER_SIZE_UNKNOWN)
            rc = start_all(x, items, bench.urls.n, true, &nothing, err);
        clock_gettime(CLOCK_MONOTONIC, &a);
        if (rc == 0)
            rc = start_all(x, items, bench.urls.n, false, want, err);
        clock_gettime(CLOCK_MONOTONIC, &b);
        report(x, (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9, &before);
        xfer_free(x);
    }
    free(items);
    return rc;
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    struct xfer_opts opts = {0};
    struct xfer_want want = {0};
    enum digest_kind kind;
    const char *list = NULL;
    uint64_t size = XFER_SIZE_UNKNOWN;
    int c, rc = 0;
    while (rc == 0 && (c = getopt(argc, argv, "rd:t:c:s:l:")) != -1) {
        if (c == 'r')
            opts.no_raw = true;
        else if (c == 'd' && (rc = digest_kind_parse(span_of(optarg), &kind, &err)) == 0)
            want.compute |= BIT(kind);
        else if (c == 't')
            opts.threads = (uint32_t)strtoul(optarg, NULL, 10);
        else if (c == 'c')
            opts.max_connections_host = (uint32_t)strtoul(optarg, NULL, 10);
        else if (c == 's')
            size = strtoull(optarg, NULL, 10);
        else if (c == 'l')
            list = optarg;
    }
    if (rc == 0 && list)
        rc = read_list(list, &err);
    for (int i = optind + 1; rc == 0 && i < argc; i++)
        rc = strv_add(&bench.urls, argv[i], &err);
    if (rc == 0 && optind < argc)
        rc = run(&opts, argv[optind], size, &want, &err);
    else if (rc == 0)
        rc = err_set(&err, ERR_USAGE, "usage: xfer_get [-r] [-d KIND] [-t N] [-c N] [-s SIZE] [-l LIST] DIR URL...");
    strv_release(&bench.urls);
    if (rc < 0)
        fprintf(stderr, "xfer_get: %s\n", err.text);
    return rc < 0 || bench.failed ? 1 : 0;
}
