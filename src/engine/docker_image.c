#include "base/enc.h"
#include "base/log.h"
#include "engine/docker.h"
#include "engine/image_ref.h"
#include "engine/pull_lines.h"
#include "engine/registry_auth.h"

#define PULL_IDLE_MS (30 * 60 * 1000) /* Podman is silent while it takes in a large layer */

/* The image's id, or *present false where the engine does not have it. */
static int find_image(struct docker *d, const char *name, char id[IMAGE_ID_MAX], bool *present, struct err *err)
{
    AUTO_BUF path;
    AUTO_REPLY reply = {0};
    buf_init(&path, DOCKER_PATH_MAX);
    buf_adds(&path, "/images/");
    percent_encode(&path, span_of(name), true);
    buf_adds(&path, "/json");
    if (buf_check(&path, "the image's path", err) < 0 ||
        docker_call(d, &(struct docker_request){.path = path.p}, &reply, err) < 0)
        return -1;
    *present = reply.status == 200;
    if (reply.status == 404)
        return 0;
    const char *found = json_get_str(reply.json, "Id");
    if (reply.status != 200 || !found)
        return docker_refused(&reply, err, "image %s", name);
    bool has_prefix = span_starts(span_of(found), SPAN_LIT("sha256:"));
    if (snprintf(id, IMAGE_ID_MAX, "%s%s", has_prefix ? "" : "sha256:", found) >= IMAGE_ID_MAX)
        return err_set(err, ERR_PROTOCOL, "image %s: the engine's id of it is longer than %d bytes", name,
                       IMAGE_ID_MAX);
    return 0;
}

static int take_progress(void *ctx, const struct http_response *head, const void *p, size_t n, struct err *err)
{
    (void)head;
    return pull_lines_feed(ctx, p, n, err);
}

static void hint_pull(enum err_kind kind, const char *registry, struct err *err)
{
    if (kind == ERR_DENIED)
        err_hint(err, "log in with `docker login %s`, or give the job its registry credentials", registry);
    else if (kind == ERR_NOTFOUND)
        err_hint(err, "check the image's name and tag; a private one also needs registry credentials");
}

/* Both ways in which a pull fails: an error status, and an error inside the stream of a good one. */
static int judge_pull(const struct docker_reply *reply, const struct pull_lines *lines, const char *name,
                      const char *registry, struct err *err)
{
    const char *words = lines->failed ? lines->failure : reply->message;
    if (reply->status == 200 && !lines->failed)
        return 0;
    enum err_kind kind = pull_failure_kind(words);
    if (kind == ERR_TRANSIENT && (reply->status == 400 || reply->status == 404))
        kind = docker_status_kind(reply->status);
    err_set(err, kind, "pull %s: %s", name, words[0] ? words : "the engine gave no reason");
    hint_pull(kind, registry, err);
    return -1;
}

static int pull_path(const struct image_ref *ref, struct buf *path, struct err *err)
{
    AUTO_BUF name;
    buf_init(&name, DOCKER_PATH_MAX);
    buf_addf(&name, "%s/%s", ref->registry, ref->repository);
    buf_adds(path, "/images/create?fromImage=");
    percent_encode(path, buf_span(&name), false);
    buf_adds(path, "&tag="); /* a digest goes there too */
    percent_encode(path, span_of(ref->digest[0] ? ref->digest : ref->tag), false);
    return buf_check(path, "the pull's path", err);
}

static int pull_with(struct docker *d, const struct image_ref *ref, const char *name,
                     const struct engine_pull_opts *opts, struct pull_lines *lines, const char *auth, struct err *err)
{
    AUTO_BUF path;
    AUTO_REPLY reply = {0};
    buf_init(&path, DOCKER_PATH_MAX);
    if (pull_path(ref, &path, err) < 0)
        return -1;
    struct docker_request req = {.method = "POST",
                                 .path = path.p,
                                 .registry_auth = str_empty(auth) ? NULL : auth,
                                 .idle_ms = PULL_IDLE_MS,
                                 .on_body = take_progress,
                                 .ctx = lines,
                                 .cancel = opts->cancel};
    if (docker_call(d, &req, &reply, err) < 0 || pull_lines_end(lines, err) < 0)
        return err_wrap(err, "pull %s", name);
    return judge_pull(&reply, lines, name, ref->registry, err);
}

static int pull(struct docker *d, const struct image_ref *ref, const char *name, const struct engine_pull_opts *opts,
                struct err *err)
{
    struct buf auth;
    struct pull_lines *lines = malloc(sizeof *lines); /* its table of layers is too large for a stack */
    if (!lines)
        return err_nomem(err);
    pull_lines_init(lines);
    lines->progress = opts->progress;
    lines->ctx = opts->ctx;
    buf_init(&auth, AUTH_HEADER_MAX);
    int rc = registry_auth_header(opts->auth, opts->given_only, ref->registry, opts->cancel, &auth, err);
    if (rc == 0) {
        log_debug("engine", "pulling an image (image=%s credentials=%s)", name, auth.n ? "yes" : "no");
        rc = pull_with(d, ref, name, opts, lines, buf_str(&auth), err);
    }
    buf_wipe(&auth);
    pull_lines_release(lines);
    free(lines);
    return rc;
}

static int not_present(const struct image_ref *ref, const char *name, struct err *err)
{
    err_set(err, ERR_NOTFOUND, "image %s is not present", name);
    if (ref->is_id)
        return err_hint(err, "an image id can't be pulled: name the image by repository and tag or digest");
    return err_hint(err, "allow berth to pull it with --pull missing");
}

int docker_image_ensure(void *self, const char *image, const struct engine_pull_opts *opts, char id[IMAGE_ID_MAX],
                        bool *pulled, struct err *err)
{
    static const struct engine_pull_opts defaults = {0};
    struct docker *d = self;
    struct image_ref ref;
    AUTO_BUF name;
    bool present = false;
    *pulled = false;
    opts = opts ? opts : &defaults;
    buf_init(&name, DOCKER_PATH_MAX);
    if (image_ref_parse(&ref, span_of(image), err) < 0)
        return -1;
    image_ref_write(&ref, &name);
    bool look_first = opts->when != ENGINE_PULL_ALWAYS || ref.is_id;
    if (buf_check(&name, "the image's name", err) < 0 || (look_first && find_image(d, name.p, id, &present, err) < 0))
        return -1;
    if (present)
        return 0;
    if (opts->when == ENGINE_PULL_NEVER || ref.is_id)
        return not_present(&ref, name.p, err);
    if (pull(d, &ref, name.p, opts, err) < 0 || find_image(d, name.p, id, &present, err) < 0)
        return -1;
    *pulled = true;
    return present
               ? 0
               : err_set(err, ERR_PROTOCOL, "image %s: the engine pulled it and does not have it afterwards", name.p);
}
