/* The client: its place, and manifests. */
#include "ollama/ollama_priv.h"
#include "xfer/mirror.h"
#include "xfer/url.h"

#include <stdlib.h>

#define DIGEST_START "sha256:"
#define ACCEPTED     "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"

/* --- opening ------------------------------------------------------------------------------------------------------ */

static int find_place(struct ollama *o, const char *const *entries, struct err *err)
{
    struct mirrors mirrors;
    struct url u;
    AUTO_BUF text;
    AUTO_BUF front;
    buf_init(&text, URL_LENGTH_MAX);
    buf_init(&front, URL_LENGTH_MAX);
    buf_addf(&text, "https://%s/v2/%s/%s", o->ref.host, o->ref.space, o->ref.name);
    if (buf_check(&text, "address of a model", err) < 0 || url_parse(o->arena, buf_span(&text), &u, err) < 0 ||
        mirrors_read(o->arena, entries, &mirrors, err) < 0)
        return -1;
    if (url_is_loopback(&u)) {
        u.scheme = "http";
        u.default_port = u.port == 80;
    }
    buf_reset(&text);
    url_write(&u, &text);
    if (buf_check(&text, "address of a model", err) < 0)
        return -1;
    if (!mirrors_apply(&mirrors, buf_span(&text), &front))
        buf_add_span(&front, buf_span(&text));
    if (buf_check(&front, "address of a model", err) < 0)
        return -1;
    o->place = arena_dup_span(o->arena, buf_span(&front));
    return arena_check(o->arena, err);
}

int ollama_open(struct ollama **out, const char *model, const struct ollama_opts *opts, struct err *err)
{
    struct ollama *o = calloc(1, sizeof *o);
    if (!o)
        return err_nomem(err);
    o->http = opts->http;
    o->cancel = opts->cancel;
    pthread_mutex_init(&o->token.mu, NULL);
    pthread_mutex_init(&o->renewing, NULL);
    o->arena = arena_new(0, err);
    int rc = o->arena ? ollama_ref_parse(&o->ref, span_of(model), err) : -1;
    if (rc == 0 && find_place(o, opts->mirrors, err) < 0)
        rc = err_wrap(err, "model %s", model);
    if (rc < 0) {
        ollama_free(o);
        return -1;
    }
    *out = o;
    return 0;
}

void ollama_free(struct ollama *o)
{
    if (!o)
        return;
    str_free_secret(o->token.header);
    pthread_mutex_destroy(&o->token.mu);
    pthread_mutex_destroy(&o->renewing);
    arena_free(o->arena);
    free(o);
}

const struct ollama_ref *ollama_ref(const struct ollama *o)
{
    return &o->ref;
}

const char *ollama_place(const struct ollama *o)
{
    return o->place;
}

/* --- manifests ---------------------------------------------------------------------------------------------------- */

static int call(struct ollama *o, const char *url, unsigned *number, struct http_response *resp, struct err *err)
{
    AUTO_STR authorization = ollama_authorization(o, number, err);
    if (!authorization)
        return -1;
    const struct http_header headers[] = {{"Accept", ACCEPTED}, {"Authorization", authorization}};
    const struct http_request req = {.url = url,
                                     .headers = headers,
                                     .header_count = *authorization ? 2 : 1,
                                     .body_max = OLLAMA_MANIFEST_MAX,
                                     .cancel = o->cancel};
    int rc = http_call(o->http, &req, resp, err);
    mem_wipe(authorization, strlen(authorization));
    return rc;
}

int ollama_refuse(const struct ollama *o, int status, const char *what, struct err *err)
{
    AUTO_BUF name;
    buf_init(&name, 2 * OLLAMA_HOST_MAX + 3 * OLLAMA_PART_MAX);
    ollama_ref_write(&o->ref, &name);
    switch (status) {
    case 401:
    case 403:
        err_set(err, ERR_DENIED, "%s: %s: HTTP %d: access denied", buf_str(&name), what, status);
        return err_hint(err, "is the model private? Berth has no login for Ollama registries");
    case 404:
        err_set(err, ERR_NOTFOUND, "%s: %s: HTTP 404: the registry does not have it", buf_str(&name), what);
        return err_hint(err, "check name and tag; those of the public registry are listed at ollama.com/search");
    default:
        break;
    }
    bool passing = status == 408 || status == 429 || status >= 500;
    return err_set(err, passing ? ERR_TRANSIENT : ERR_PROTOCOL, "%s: %s: HTTP %d", buf_str(&name), what, status);
}

/* One manifest by tag or digest; a challenge is answered once. */
static int get_manifest(struct ollama *o, const char *reference, struct http_response *resp, struct err *err)
{
    AUTO_STR url = str_printf(err, "%s/manifests/%s", o->place, reference);
    unsigned number;
    if (!url || call(o, url, &number, resp, err) < 0)
        return -1;
    if (resp->status == 401) {
        int rc = ollama_note_challenge(o, resp, err);
        http_response_release(resp);
        if (rc < 0 || ollama_renew_token(o, number, err) < 0 || call(o, url, &number, resp, err) < 0)
            return -1;
    }
    if (resp->status == 200)
        return 0;
    int status = resp->status;
    http_response_release(resp);
    return ollama_refuse(o, status, "manifest", err);
}

/* What came against what the registry says of it. */
static int check_digest(const struct ollama *o, const struct http_response *resp, char out[OLLAMA_DIGEST_MAX],
                        struct err *err)
{
    struct digest_value v;
    char hex[DIGEST_HEX_MAX];
    if (digest_bytes(DIGEST_SHA256, buf_str(&resp->body), resp->body.n, &v, err) < 0)
        return -1;
    snprintf(out, OLLAMA_DIGEST_MAX, DIGEST_START "%s", digest_hex(hex, &v));
    const char *stated = http_response_get(resp, "docker-content-digest");
    bool comparable = stated && strncmp(stated, DIGEST_START, strlen(DIGEST_START)) == 0;
    if (comparable && !span_eq_nocase(span_of(stated), span_of(out)))
        return err_set(err, ERR_CORRUPT, "%s: the manifest is %s, not %.80s as the registry says", o->ref.host, out,
                       stated);
    return 0;
}

static int take_manifest(struct ollama *o, const struct http_response *resp, struct ollama_resolution **out,
                         struct err *err)
{
    struct ollama_resolution *r = calloc(1, sizeof *r);
    if (!r)
        return err_nomem(err);
    r->arena = arena_new(0, err);
    int rc = r->arena ? check_digest(o, resp, r->digest, err) : -1;
    if (rc == 0) {
        r->text = (struct span){arena_dup_span(r->arena, buf_span(&resp->body)), resp->body.n};
        rc = arena_check(r->arena, err);
    }
    if (rc == 0 && ollama_manifest_parse(r->arena, r->text, &r->manifest, err) < 0)
        rc = err_wrap(err, "manifest of %s/%s:%s", o->ref.space, o->ref.name, o->ref.tag);
    if (rc < 0) {
        ollama_resolution_free(r);
        return -1;
    }
    *out = r;
    return 0;
}

static int resolve_reference(struct ollama *o, const char *reference, struct ollama_resolution **out, struct err *err)
{
    struct http_response resp;
    if (get_manifest(o, reference, &resp, err) < 0)
        return -1;
    int rc = take_manifest(o, &resp, out, err);
    http_response_release(&resp);
    return rc;
}

/* The tag first: not all registries give manifests by digest. */
int ollama_resolve(struct ollama *o, const char *digest, struct ollama_resolution **out, struct err *err)
{
    struct err why = ERR_INIT;
    if (resolve_reference(o, o->ref.tag, out, &why) == 0 && (!digest || str_eq((*out)->digest, digest)))
        return 0;
    if (!digest || (err_is_set(&why) && why.kind != ERR_NOTFOUND))
        return err_move(err, &why);
    if (!err_is_set(&why))
        ollama_resolution_free(*out);
    *out = NULL;
    if (resolve_reference(o, digest, out, err) < 0)
        return err_hint(err, "the tag points elsewhere now, and the manifest of the recorded run is gone");
    if (str_eq((*out)->digest, digest))
        return 0;
    err_set(err, ERR_CORRUPT, "%s: asked for the manifest %.80s, it gave %s", o->ref.host, digest, (*out)->digest);
    ollama_resolution_free(*out);
    *out = NULL;
    return -1;
}

void ollama_resolution_free(struct ollama_resolution *r)
{
    if (!r)
        return;
    arena_free(r->arena);
    free(r);
}
