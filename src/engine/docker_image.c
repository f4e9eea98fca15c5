#include "base/enc.h"
#include "base/log.h"
#include "engine/docker.h"
#include "engine/image_ref.h"
#include "engine/pull_lines.h"
#include "engine/registry_auth.h"

#define PULL_IDLE_MS (30 * 60 * 1000) /* Podman is silent while it takes in a large layer */

static bool is_of(const json_t *image, const struct image_ref *ref)
{
    size_t i;
    json_t *name;
    json_array_foreach(json_object_get(image, "RepoDigests"), i, name)
    {
        struct image_ref its;
        struct err ignored = ERR_INIT;
        if (json_is_string(name) && image_ref_parse(&its, span_of(json_string_value(name)), &ignored) == 0 &&
            str_eq(its.registry, ref->registry) && str_eq(its.repository, ref->repository) &&
            str_eq(its.digest, ref->digest))
            return true;
    }
    return false;
}

/* The image's id, or *present false where the engine does not have it. `digest_of` (may be NULL): nor where it is this
 * digest's, but of other repositories alone, which is all the same to Podman. */
static int find_image(struct docker *d, const char *name, const struct image_ref *digest_of, char id[IMAGE_ID_MAX],
                      bool *present, struct err *err)
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
    *present = reply.status == 200 && (!digest_of || is_of(reply.json, digest_of));
    if (reply.status == 404 || (reply.status == 200 && !*present))
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

/* An image that somebody wants. */
struct wanted {
    struct image_ref ref;
    const char *name, *repository; /* full; as guards know it */
    const struct engine_pull_opts *opts;
};

/* Told by the words of engine or registry, which is all there is. */
static int refused(const struct wanted *w, const char *doing, int status, const char *words, struct err *err)
{
    enum err_kind kind = pull_failure_kind(words);
    if (kind == ERR_TRANSIENT && (status == 400 || status == 404))
        kind = docker_status_kind(status);
    err_set(err, kind, "%s %s: %s", doing, w->name, words[0] ? words : "the engine gave no reason");
    hint_pull(kind, w->ref.registry, err);
    return -1;
}

/* Both ways in which a pull fails: an error status, and an error inside the stream of a good one. */
static int judge_pull(const struct wanted *w, const struct docker_reply *reply, const struct pull_lines *lines,
                      struct err *err)
{
    if (reply->status == 200 && !lines->failed)
        return 0;
    return refused(w, "pull", reply->status, lines->failed ? lines->failure : reply->message, err);
}

static int pull_path(const struct wanted *w, struct buf *path, struct err *err)
{
    AUTO_BUF name;
    buf_init(&name, DOCKER_PATH_MAX);
    buf_addf(&name, "%s/%s", w->ref.registry, w->ref.repository);
    buf_adds(path, "/images/create?fromImage=");
    percent_encode(path, buf_span(&name), false);
    buf_adds(path, "&tag="); /* a digest goes there too */
    percent_encode(path, span_of(w->ref.digest[0] ? w->ref.digest : w->ref.tag), false);
    return buf_check(path, "the pull's path", err);
}

static int pull_with(struct docker *d, const struct wanted *w, const char *auth, struct pull_lines *lines,
                     struct err *err)
{
    AUTO_BUF path;
    AUTO_REPLY reply = {0};
    buf_init(&path, DOCKER_PATH_MAX);
    if (pull_path(w, &path, err) < 0)
        return -1;
    struct docker_request req = {.method = "POST",
                                 .path = path.p,
                                 .registry_auth = auth,
                                 .idle_ms = PULL_IDLE_MS,
                                 .on_body = take_progress,
                                 .ctx = lines,
                                 .cancel = w->opts->cancel};
    if (docker_call(d, &req, &reply, err) < 0 || pull_lines_end(lines, err) < 0)
        return err_wrap(err, "pull %s", w->name);
    return judge_pull(w, &reply, lines, err);
}

static int pull_guarded(struct docker *d, const struct wanted *w, const char *auth, struct pull_lines *lines,
                        struct err *err)
{
    const struct engine_image_guard *guard = w->opts->guard;
    if (guard && guard->begin && guard->begin(guard->ctx, w->repository, auth != NULL, err) < 0)
        return -1;
    int rc = pull_with(d, w, auth, lines, err);
    if (guard && guard->end)
        guard->end(guard->ctx, w->repository, auth != NULL, rc == 0);
    return rc;
}

/* `auth` NULL: without credentials. */
static int pull(struct docker *d, const struct wanted *w, const char *auth, struct err *err)
{
    struct pull_lines *lines = malloc(sizeof *lines); /* its table of layers is too large for a stack */
    if (!lines)
        return err_nomem(err);
    pull_lines_init(lines);
    lines->progress = w->opts->progress;
    lines->ctx = w->opts->ctx;
    log_debug("engine", "pulling an image (image=%s credentials=%s)", w->name, auth ? "yes" : "no");
    int rc = pull_guarded(d, w, auth, lines, err);
    pull_lines_release(lines);
    free(lines);
    return rc;
}

/* Whether the registry gives it to who has these credentials; nothing comes. */
static int ask_registry(struct docker *d, const struct wanted *w, const char *auth, struct err *err)
{
    AUTO_BUF path;
    AUTO_REPLY reply = {0};
    buf_init(&path, DOCKER_PATH_MAX);
    buf_adds(&path, "/distribution/");
    percent_encode(&path, span_of(w->name), true);
    buf_adds(&path, "/json");
    const struct docker_request req = {.path = path.p, .registry_auth = auth, .cancel = w->opts->cancel};
    if (buf_check(&path, "the image's path", err) < 0 || docker_call(d, &req, &reply, err) < 0)
        return err_wrap(err, "ask for %s", w->name);
    return reply.status == 200 ? 0 : refused(w, "ask for", reply.status, reply.message, err);
}

/* A pull, too, asks the registry, but for one: Docker answers a digest that it has by itself. */
static int pull_or_ask(struct docker *d, const struct wanted *w, bool present, bool *pulled, struct err *err)
{
    struct buf header;
    bool ask = present && w->ref.digest[0] && d->flavour != FLAVOUR_PODMAN;
    buf_init(&header, AUTH_HEADER_MAX);
    int rc = registry_auth_header(w->opts->auth, w->opts->given_only, w->ref.registry, w->opts->cancel, &header, err);
    const char *auth = header.n ? buf_str(&header) : NULL;
    if (rc == 0)
        rc = ask ? ask_registry(d, w, auth, err) : pull(d, w, auth, err);
    buf_wipe(&header);
    *pulled = rc == 0 && !ask;
    return rc;
}

/* Registries are hosts, whose names say the same in either case. */
static int guarded_name(const struct image_ref *ref, struct buf *out, struct err *err)
{
    buf_addf(out, "%s/%s", ref->registry, ref->repository);
    if (buf_check(out, "the image's repository", err) < 0)
        return -1;
    for (size_t i = 0; i < out->n; i++)
        out->p[i] = ascii_lower(out->p[i]);
    return 0;
}

static bool may_use(const struct wanted *w)
{
    const struct engine_image_guard *guard = w->opts->guard;
    return !guard || guard->may_use(guard->ctx, w->name, w->ref.is_id ? NULL : w->repository);
}

static int not_present(const struct image_ref *ref, const char *name, struct err *err)
{
    err_set(err, ERR_NOTFOUND, "image %s is not present", name);
    if (ref->is_id)
        return err_hint(err, "an image id can't be pulled: name the image by repository and tag or digest");
    return err_hint(err, "allow berth to pull it with --pull missing");
}

static int refuse_id(const char *name, struct err *err)
{
    err_set(err, ERR_REFUSED, "image %s: an id says nothing of who may use it", name);
    return err_hint(err, "name the image by repository and tag or digest, so that its registry can be asked");
}

static int ensure(struct docker *d, const struct wanted *w, char id[IMAGE_ID_MAX], bool *pulled, struct err *err)
{
    bool present = false, look_first = w->opts->when != ENGINE_PULL_ALWAYS || w->ref.is_id;
    if (w->ref.is_id && !may_use(w))
        return refuse_id(w->name, err);
    bool by_digest = w->opts->guard && w->ref.digest[0] && !w->ref.is_id;
    if (look_first && find_image(d, w->name, by_digest ? &w->ref : NULL, id, &present, err) < 0)
        return -1;
    /* The guard is asked after the look: what somebody else's pull brought meanwhile was closed before. */
    if (present && (w->ref.is_id || may_use(w)))
        return 0;
    if (w->opts->when == ENGINE_PULL_NEVER || w->ref.is_id)
        return not_present(&w->ref, w->name, err);
    if (pull_or_ask(d, w, present, pulled, err) < 0 || find_image(d, w->name, NULL, id, &present, err) < 0)
        return -1;
    return present
               ? 0
               : err_set(err, ERR_PROTOCOL, "image %s: the engine pulled it and does not have it afterwards", w->name);
}

int docker_image_ensure(void *self, const char *image, const struct engine_pull_opts *opts, char id[IMAGE_ID_MAX],
                        bool *pulled, struct err *err)
{
    static const struct engine_pull_opts defaults = {0};
    struct wanted w = {.opts = opts ? opts : &defaults};
    AUTO_BUF name;
    AUTO_BUF repository;
    *pulled = false;
    buf_init(&name, DOCKER_PATH_MAX);
    buf_init(&repository, DOCKER_PATH_MAX);
    if (image_ref_parse(&w.ref, span_of(image), err) < 0)
        return -1;
    image_ref_write(&w.ref, &name);
    if (buf_check(&name, "the image's name", err) < 0 || guarded_name(&w.ref, &repository, err) < 0)
        return -1;
    w.name = buf_str(&name);
    w.repository = buf_str(&repository);
    return ensure(self, &w, id, pulled, err);
}
