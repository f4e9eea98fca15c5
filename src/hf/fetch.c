/* One file: its requests for the transfer engine, what answers must say of it, and the proof that it may be read. */
#include "base/enc.h"
#include "hf/fault.h"
#include "hf/hf_priv.h"
#include "xfer/url.h"

#define GIT_OID_BYTES 20

size_t hf_oid_bytes(const struct hf_file *f)
{
    return f->lfs ? HF_OID_MAX : GIT_OID_BYTES;
}

const char *hf_version(const struct hf_file *f, char out[HF_VERSION_MAX])
{
    size_t n = (size_t)snprintf(out, HF_VERSION_MAX, "%s:", f->lfs ? "sha256" : "git");
    hex_encode(out + n, f->oid, hf_oid_bytes(f));
    return out;
}

void hf_location(const struct hf *hf, const struct hf_resolution *r, const char *path, struct buf *out)
{
    buf_addf(out, "%s/%s/%s", hf->front, r->repo, path);
}

void hf_want(const struct hf_file *f, struct xfer_want *out)
{
    *out = (struct xfer_want){.has_full = true, .git_blob = !f->lfs};
    out->full.kind = f->lfs ? DIGEST_SHA256 : DIGEST_SHA1;
    memcpy(out->full.bytes, f->oid, hf_oid_bytes(f));
}

/* ---- what answers say ---- */

static int check_linked(const struct http_response *resp, const struct hf_file *f, struct err *err)
{
    const char *size = http_response_get(resp, "x-linked-size"), *etag = http_response_get(resp, "x-linked-etag");
    uint64_t bytes;
    struct err ignored = ERR_INIT;
    if (size && (span_to_u64(span_trim(span_of(size)), &bytes, &ignored) < 0 || bytes != f->size))
        return err_set(err, ERR_PROTOCOL,
                       "%s: the hub states %llu bytes in the tree, %.32s for the file (X-Linked-Size)", f->path,
                       (unsigned long long)f->size, size);
    if (!etag)
        return 0;
    char oid[2 * HF_OID_MAX + 1];
    hex_encode(oid, f->oid, hf_oid_bytes(f));
    struct span text = span_trim(span_of(etag));
    if (text.n >= 2 && text.p[0] == '"' && text.p[text.n - 1] == '"')
        text = (struct span){text.p + 1, text.n - 2};
    if (!span_eq_nocase(text, span_of(oid)))
        return err_set(err, ERR_PROTOCOL, "%s: the hub states %s in the tree, %.80s for the file (X-Linked-ETag)",
                       f->path, oid, etag);
    return 0;
}

int hf_check_answer(const struct http_response *resp, const char *commit, const struct hf_file *f, struct err *err)
{
    const char *answered = http_response_get(resp, "x-repo-commit");
    if (answered && !span_eq(span_trim(span_of(answered)), span_of(commit)))
        return err_set(err, ERR_PROTOCOL, "commit %s was asked for, but %.64s answered (X-Repo-Commit)", commit,
                       answered);
    return f ? check_linked(resp, f, err) : 0;
}

/* ---- the proof ---- */

/* Where the hub itself sends on (a new name, a cached answer) is followed; elsewhere is storage, which is only named to
 * those who may read. 1: followed; 0: `resp` is final. */
static int follow_own(const struct http_response *resp, struct buf *url, struct err *err)
{
    const char *location = http_response_get(resp, "location");
    struct url from, to;
    if (resp->status < 300 || resp->status > 399 || str_empty(location))
        return 0;
    struct arena *a = arena_new(0, err);
    if (!a)
        return -1;
    int rc = url_parse(a, buf_span(url), &from, err);
    if (rc == 0)
        rc = url_resolve(a, &from, span_of(location), &to, err);
    bool own = rc == 0 && url_same_origin(&from, &to);
    if (own) {
        buf_reset(url);
        url_write(&to, url);
        rc = buf_check(url, "URL", err);
    }
    arena_free(a);
    return rc < 0 ? -1 : own;
}

static int refuse(const struct hf *hf, const struct hf_resolution *r, const char *path,
                  const struct http_response *resp, struct err *err)
{
    struct hf_fault f;
    const struct hf_fault_context c = {
        .endpoint = hf->endpoint,
        .repo = r->repo,
        .revision = r->commit,
        .path = path,
        .token = hf_token_describe(hf->token),
        .anonymous = hf_token_anonymous(hf->token),
    };
    hf_fault_read(resp, &f);
    return hf_fault_report(&f, &c, err);
}

int hf_prove(struct hf *hf, const struct hf_resolution *r, const struct hf_file *f, struct err *err)
{
    AUTO_BUF url;
    buf_init(&url, HF_URL_MAX);
    hf_file_url(hf, r->commit, f->path, &url);
    if (buf_check(&url, "URL", err) < 0)
        return -1;
    bool vouched = false; /* a page for people, a log-in form say, is no file of the repository */
    for (unsigned hops = 0; hops <= HF_REDIRECTS_MAX; hops++) {
        struct http_response resp;
        const struct hf_ask ask = {.method = "HEAD", .url = buf_str(&url), .keep_redirects = true};
        if (hf_exchange(hf, &ask, &resp, err) < 0)
            return -1;
        int followed = follow_own(&resp, &url, err), rc = followed < 0 ? -1 : 0;
        if (followed == 0 && (resp.status < 200 || resp.status > 399))
            rc = refuse(hf, r, f->path, &resp, err);
        else if (rc == 0)
            rc = hf_check_answer(&resp, r->commit, f, err);
        vouched |= http_response_get(&resp, "x-repo-commit") != NULL;
        http_response_release(&resp);
        if (rc == 0 && followed == 0 && !vouched)
            rc = err_set(err, ERR_PROTOCOL, "%s: the answer names no commit (X-Repo-Commit): this is no hub", f->path);
        if (rc < 0 || followed == 0)
            return rc;
    }
    return err_set(err, ERR_LIMIT, "%s: the hub redirects more than %d times", f->path, HF_REDIRECTS_MAX);
}

/* ---- transfers ---- */

struct hf_fetch {
    struct hf_file file;
    char *path, *url;
    char *commit, *repo, *endpoint; /* for messages */
    const struct hf_token *token;
};

static char *file_url(const struct hf *hf, const struct hf_resolution *r, const struct hf_file *f, struct err *err)
{
    AUTO_BUF url;
    buf_init(&url, HF_URL_MAX);
    hf_file_url(hf, r->commit, f->path, &url);
    return buf_take(&url, "URL", err);
}

int hf_fetch_new(struct hf_fetch **out, const struct hf *hf, const struct hf_resolution *r, const struct hf_file *f,
                 struct err *err)
{
    struct hf_fetch *t = calloc(1, sizeof *t);
    if (!t)
        return err_nomem(err);
    t->token = hf->token;
    t->file = *f;
    t->file.path = t->path = str_dup(f->path, err);
    t->url = file_url(hf, r, f, err);
    t->commit = str_dup(r->commit, err);
    t->repo = str_dup(r->repo, err);
    t->endpoint = str_dup(hf->endpoint, err);
    if (!t->path || !t->url || !t->commit || !t->repo || !t->endpoint) {
        hf_fetch_free(t);
        return -1;
    }
    *out = t;
    return 0;
}

void hf_fetch_free(struct hf_fetch *t)
{
    if (!t)
        return;
    free(t->path);
    free(t->url);
    free(t->commit);
    free(t->repo);
    free(t->endpoint);
    free(t);
}

static int fetch_request(void *ctx, uint64_t offset, uint64_t length, struct xfer_request *out, struct err *err)
{
    const struct hf_fetch *t = ctx;
    (void)offset; /* Range is the engine's */
    (void)length;
    buf_adds(&out->url, t->url);
    if (!hf_token_anonymous(t->token)) {
        buf_adds(&out->headers, "Authorization: ");
        hf_token_write(t->token, &out->headers);
        buf_adds(&out->headers, "\r\n");
    }
    return buf_check(&out->headers, "request headers", err);
}

static enum xfer_verdict fetch_judge(void *ctx, const struct xfer_head *head, struct xfer_want *want, struct err *err)
{
    const struct hf_fetch *t = ctx;
    struct hf_fault f;
    (void)want;
    if (head->status >= 200 && head->status < 300)
        return hf_check_answer(head->http, t->commit, &t->file, err) < 0 ? XFER_FAIL : XFER_ACCEPT;
    const struct hf_fault_context c = {
        .endpoint = t->endpoint,
        .repo = t->repo,
        .revision = t->commit,
        .path = t->path,
        .token = hf_token_describe(t->token),
        .anonymous = hf_token_anonymous(t->token),
    };
    hf_fault_read(head->http, &f);
    hf_fault_report(&f, &c, err);
    return XFER_FAIL;
}

const struct xfer_source hf_xfer_source = {.request = fetch_request, .judge = fetch_judge};
