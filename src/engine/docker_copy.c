#include "archive/archive.h"
#include "base/clock.h"
#include "base/enc.h"
#include "engine/docker.h"

#define LINK_HOPS_MAX    8
#define STAT_MAX         8192 /* of the description of a path */
#define CLEAN_UP_MAX_MS  10000
#define CLEAN_UP_LOOK_MS 10
#define COPY_PATH_MAX    1024
#define GO_MODE_DIR      ((int64_t)1 << 31) /* Go's os.FileMode, which the stat header carries */
#define GO_MODE_LINK     ((int64_t)1 << 27)

enum kind { KIND_NONE, KIND_FILE, KIND_FOLDER, KIND_LINK };

struct source {
    struct docker *d;
    const char *id;
    char path[COPY_PATH_MAX]; /* in the container */
    enum kind kind;
};

static int archive_path(const struct source *s, struct buf *out, struct err *err)
{
    char head[DOCKER_PATH_MAX];
    if (docker_container_path(head, s->id, "/archive?path=", err) < 0)
        return -1;
    buf_adds(out, head);
    percent_encode(out, span_of(s->path), true);
    return buf_check(out, "the path to copy", err);
}

/* X-Docker-Container-Path-Stat: base64 of {"name", "size", "mode", "mtime", "linkTarget"}. */
static int read_stat(struct source *s, const char *header, struct err *err)
{
    size_t n = 0;
    int64_t mode = 0;
    uint8_t text[STAT_MAX];
    struct err bad = ERR_INIT;
    bool readable = base64_decode(text, sizeof text, &n, span_of(header), &bad) == 0;
    AUTO_JSON stat = readable ? json_parse((struct span){(char *)text, n}, &bad) : NULL;
    if (!json_get_i64(stat, "mode", &mode))
        return err_set(err, ERR_PROTOCOL, "the engine describes %s in a way that can't be read", s->path);
    if (mode & GO_MODE_LINK)
        s->kind = KIND_LINK;
    else
        s->kind = (mode & GO_MODE_DIR) ? KIND_FOLDER : KIND_FILE;
    const char *target = json_get_str(stat, "linkTarget");
    if (s->kind != KIND_LINK)
        return 0;
    if (str_empty(target) || target[0] != '/' || strlen(target) >= sizeof s->path)
        return err_set(err, ERR_REFUSED, "%s in the container is a link that leads nowhere", s->path);
    memcpy(s->path, target, strlen(target) + 1); /* the engine has resolved it within the container's own root */
    return 0;
}

static int look(struct source *s, struct err *err)
{
    AUTO_BUF path, url;
    struct http_response resp = {0};
    buf_init(&path, DOCKER_PATH_MAX);
    buf_init(&url, DOCKER_PATH_MAX * 2);
    if (archive_path(s, &path, err) < 0)
        return -1;
    buf_addf(&url, "%s%s", s->d->base, path.p);
    struct http_request req = {
        .method = "HEAD", .url = url.p, .tries = 2, .idle_timeout_ms = DOCKER_IDLE_MS, .keep_redirects = true};
    if (http_call(s->d->http, &req, &resp, err) < 0)
        return docker_unreachable(s->d, err);
    const char *header = http_response_get(&resp, "x-docker-container-path-stat");
    int rc = 0;
    if (resp.status == 404)
        s->kind = KIND_NONE;
    else if (resp.status == 200 && header)
        rc = read_stat(s, header, err);
    else
        rc = err_set(err, docker_status_kind(resp.status), "look at %s in container %s: HTTP %d", s->path, s->id,
                     resp.status);
    http_response_release(&resp);
    return rc;
}

/* Follow links, which the engines archive differently: Docker as the link, Podman as what it leads to. */
static int find(struct source *s, struct err *err)
{
    for (unsigned hop = 0; hop <= LINK_HOPS_MAX; hop++) {
        if (look(s, err) < 0)
            return -1;
        if (s->kind != KIND_LINK)
            return 0;
    }
    return err_set(err, ERR_REFUSED, "%s in the container is behind more than %d links", s->path, LINK_HOPS_MAX);
}

static int64_t read_archive(void *ctx, void *p, size_t max, struct err *err)
{
    return http_stream_read(ctx, p, max, err);
}

static int unpack(struct source *s, int dir_fd, uint64_t max_bytes, struct http_stream *stream, struct err *err)
{
    struct archive_totals totals;
    struct archive_unpack_opts opts = {.limits = {.max_bytes = max_bytes},
                                       .odd = ARCHIVE_ODD_SKIP,
                                       .strip_components = s->kind == KIND_FOLDER ? 1 : 0};
    if (archive_unpack(dir_fd, read_archive, stream, &opts, &totals, err) < 0)
        return err_wrap(err, "copy %s out of the container", s->path);
    return 0;
}

static int copy(struct source *s, int dir_fd, uint64_t max_bytes, struct err *err)
{
    AUTO_BUF path, url, answer;
    struct http_stream *stream = NULL;
    int status = 0;
    buf_init(&path, DOCKER_PATH_MAX);
    buf_init(&url, DOCKER_PATH_MAX * 2);
    buf_init(&answer, ERR_TEXT_MAX);
    if (archive_path(s, &path, err) < 0)
        return -1;
    buf_addf(&url, "%s%s", s->d->base, path.p);
    struct http_request req = {.method = "GET", .url = url.p, .tries = 1, .idle_timeout_ms = DOCKER_IDLE_MS};
    if (http_stream_open(s->d->http, &req, &stream, &status, &answer, err) < 0)
        return docker_unreachable(s->d, err);
    if (!stream)
        return err_set(err, docker_status_kind(status), "copy %s out of the container: %s (HTTP %d)", s->path,
                       buf_str(&answer), status);
    int rc = unpack(s, dir_fd, max_bytes, stream, err);
    http_stream_free(stream);
    return rc;
}

/* Podman unmounts a container's file system some 100 ms after its end, also beneath a copy that has begun. Finds out,
 * too, that a container is not there, for which /archive has the same answer as for a path. */
static int await_clean_up(const struct source *s, struct err *err)
{
    struct docker_state state;
    uint64_t until = clock_mono_ms() + CLEAN_UP_MAX_MS; /* it may have been killed, and never come */
    for (;;) {
        if (docker_inspect(s->d, s->id, &state, err) < 0)
            return -1;
        if (!state.being_cleaned_up || clock_mono_ms() > until)
            return 0;
        if (cancel_sleep_ms(NULL, CLEAN_UP_LOOK_MS, err) < 0)
            return -1;
    }
}

int docker_copy_out(void *self, const char *id, const char *path, int dir_fd, uint64_t max_bytes, bool *found,
                    struct err *err)
{
    struct source s = {.d = self, .id = id};
    *found = false;
    if (snprintf(s.path, sizeof s.path, "%s", path) >= (int)sizeof s.path)
        return err_set(err, ERR_INVALID, "the path to copy out is longer than %zu bytes", sizeof s.path - 1);
    if (await_clean_up(&s, err) < 0 || find(&s, err) < 0)
        return -1;
    if (s.kind == KIND_NONE)
        return 0;
    *found = true;
    return copy(&s, dir_fd, max_bytes, err);
}
