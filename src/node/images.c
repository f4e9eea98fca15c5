#include "node/images.h"

#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "engine/image_ref.h"

#include <stdlib.h>
#include <string.h>

#define IMAGES_NAME     "images.json"
#define IMAGES_VERSION  1
#define IMAGES_FILE_MAX ((size_t)8 << 20)

static struct closed_repository *find(const struct images *im, const char *name)
{
    for (size_t i = 0; i < im->n; i++)
        if (str_eq(im->v[i].name, name))
            return &im->v[i];
    return NULL;
}

static struct closed_repository *add(struct images *im, const char *name, struct err *err)
{
    if (im->n == IMAGES_MAX) {
        err_set(err, ERR_LIMIT, "jobs' credentials opened %d repositories on this node; it keeps track of no more",
                IMAGES_MAX);
        err_hint(err, "stop the node, remove the images that jobs left, then " IMAGES_NAME " of the state folder");
        return NULL;
    }
    struct closed_repository *more = realloc(im->v, (im->n + 1) * sizeof *more);
    char *copy = str_dup(name, err);
    if (more)
        im->v = more;
    if (!more || !copy) {
        free(copy);
        err_nomem(err);
        return NULL;
    }
    im->v[im->n] = (struct closed_repository){.name = copy};
    return &im->v[im->n++];
}

static void drop(struct images *im, struct closed_repository *r)
{
    free(r->name);
    *r = im->v[--im->n];
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

static json_t *list_of(const struct images *im)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < im->n; i++) {
        if (json_array_append_new(list, json_string(im->v[i].name)) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static int save(const struct images *im, struct err *err)
{
    AUTO_JSON all = json_object();
    AUTO_BUF text;
    buf_init(&text, IMAGES_FILE_MAX);
    if (json_put_u64(all, "version", IMAGES_VERSION, err) < 0 || json_put(all, "repositories", list_of(im), err) < 0 ||
        json_write(all, false, &text, err) < 0 ||
        fs_replace_file(im->dir_fd, IMAGES_NAME, text.p, text.n, 0600, err) < 0)
        return err_wrap(err, "the list of repositories that jobs opened");
    return 0;
}

static int take(struct images *im, const json_t *all, struct err *err)
{
    const json_t *list = json_object_get(all, "repositories");
    int64_t version;
    size_t i;
    json_t *name;
    if (!json_get_i64(all, "version", &version) || !json_is_array(list))
        return err_set(err, ERR_INVALID, "expected {\"version\", \"repositories\"}");
    if (version != IMAGES_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "version %lld is not known here", (long long)version);
    json_array_foreach(list, i, name)
    {
        if (!json_is_string(name))
            return err_set(err, ERR_INVALID, "repositories: expected names");
        struct closed_repository *r = add(im, json_string_value(name), err);
        if (!r)
            return -1;
        r->pulled = true; /* perhaps: a crash may have been in the way */
    }
    return 0;
}

static int load(struct images *im, struct err *err)
{
    AUTO_BUF text;
    struct err why = ERR_INIT;
    buf_init(&text, IMAGES_FILE_MAX);
    if (fs_read_file(im->dir_fd, IMAGES_NAME, IMAGES_FILE_MAX, &text, &why) < 0)
        return why.kind == ERR_NOTFOUND ? 0 : err_move(err, &why);
    AUTO_JSON all = json_parse(buf_span(&text), err);
    return all ? take(im, all, err) : -1;
}

int images_open(struct images *im, int dir_fd, struct err *err)
{
    *im = (struct images){.dir_fd = dir_fd};
    pthread_mutex_init(&im->mu, NULL);
    if (load(im, err) == 0)
        return 0;
    err_wrap(err, IMAGES_NAME " of the state folder");
    err_hint(err, "it says which images came with jobs' credentials: remove those of the engine, then the file");
    images_release(im);
    *im = (struct images){0};
    return -1;
}

void images_release(struct images *im)
{
    for (size_t i = 0; i < im->n; i++)
        free(im->v[i].name);
    free(im->v);
    strv_release(&im->required);
    im->v = NULL;
    im->n = 0;
}

/* --- who may ------------------------------------------------------------------------------------------------------ */

int images_require(struct images *im, const struct strv *names, struct err *err)
{
    struct strv full = {0}, old;
    for (size_t i = 0; i < names->n; i++) {
        struct image_ref ref;
        AUTO_BUF name;
        buf_init(&name, IMAGE_REF_MAX + sizeof DOCKER_HUB + sizeof "/library/:latest");
        if (image_ref_parse(&ref, span_of(names->v[i]), err) == 0) {
            image_ref_write(&ref, &name);
            if (buf_check(&name, "an image's name", err) == 0)
                strv_add(&full, buf_str(&name), err);
        }
        if (err_is_set(err)) {
            strv_release(&full);
            return -1;
        }
    }
    pthread_mutex_lock(&im->mu);
    old = im->required;
    im->required = full;
    pthread_mutex_unlock(&im->mu);
    strv_release(&old);
    return 0;
}

/* An id names an image whoever brought it, and no registry can be asked about one. */
static bool may_use(void *ctx, const char *name, const char *repository)
{
    struct images *im = ctx;
    pthread_mutex_lock(&im->mu);
    bool may = repository && !find(im, repository);
    for (size_t i = 0; i < im->required.n && !may; i++)
        may = str_eq(im->required.v[i], name);
    pthread_mutex_unlock(&im->mu);
    return may;
}

/* Whoever says what is required may name an id: it is their market, and this node's owner joined it. */
static bool may_use_own(void *ctx, const char *name, const char *repository)
{
    return !repository || may_use(ctx, name, repository);
}

static int begin(void *ctx, const char *repository, bool with_credentials, struct err *err)
{
    struct images *im = ctx;
    int rc = 0;
    if (!with_credentials)
        return 0;
    pthread_mutex_lock(&im->mu);
    struct closed_repository *r = find(im, repository);
    bool is_new = !r;
    if (!r)
        r = add(im, repository, err);
    if (r)
        r->pulling++;
    if (!r || (is_new && save(im, err) < 0))
        rc = -1;
    if (rc < 0 && r && --r->pulling == 0 && !r->pulled)
        drop(im, r);
    pthread_mutex_unlock(&im->mu);
    return rc;
}

static void end(void *ctx, const char *repository, bool with_credentials, bool pulled)
{
    struct images *im = ctx;
    struct err err = ERR_INIT;
    pthread_mutex_lock(&im->mu);
    struct closed_repository *r = find(im, repository);
    if (r) {
        r->pulling -= with_credentials;
        if (pulled)
            r->pulled = with_credentials;
        if (r->pulling == 0 && !r->pulled) {
            drop(im, r);
            if (save(im, &err) < 0)
                log_warn("node", "%s", err.text); /* it says more than it has to */
        }
    }
    pthread_mutex_unlock(&im->mu);
}

struct engine_image_guard images_guard(struct images *im)
{
    return (struct engine_image_guard){.may_use = may_use, .begin = begin, .end = end, .ctx = im};
}

struct engine_image_guard images_guard_own(struct images *im)
{
    return (struct engine_image_guard){.may_use = may_use_own, .ctx = im};
}
