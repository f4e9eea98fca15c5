/* A URL as a source: one file below the target, whatever server it lies on.
 *
 * What is there is found out by HEAD, or, where that is refused (a URL signed for GET allows nothing else), by asking
 * for the first byte. Only a strong ETag makes bytes that were fetched before count again: without one the file is
 * fetched anew each time, and stored once if it is the same.
 *
 * Queries are taken for secrets: labels, identities, records and errors have scheme, host and path. Who asks with
 * another query is somebody else; what the query of an unsigned URL asks for is part of what is asked, by its hash. */
#include "base/enc.h"
#include "stage/file_name_priv.h"
#include "stage/stage_priv.h"
#include "stage/url_answer_priv.h"
#include "xfer/mirror.h"
#include "xfer/url.h"

#include <stdlib.h>

#define VERSION_MAX    (URL_VALIDATOR_MAX + 16)
#define PROBE_BODY_MAX (64u << 10) /* of an error's body; nothing in it is shown */

struct source_url_state {
    struct source base;
    char *url;      /* what is asked: mirrored, with its query */
    char *shown;    /* the same without the query */
    char *location; /* `shown`, and the hash of a query that asks for something */
    bool plain;     /* http:// over a network, by nobody's word but the job's */
    /* After resolve(): */
    struct url_answer now;
    struct buf name, version;
};

static struct source_url_state *state_of(struct source *s)
{
    return (struct source_url_state *)s;
}

static const char *version_of(const struct url_answer *a, struct buf *scratch)
{
    buf_reset(scratch);
    if (!url_etag_is_strong(a->etag))
        return NULL;
    buf_addf(scratch, "etag %s", a->etag);
    return scratch->state == BUF_OK ? buf_str(scratch) : NULL;
}

/* --- what is there ------------------------------------------------------------------------------------------------ */

static int refuse_status(const struct source_url_state *s, int status, struct err *err)
{
    bool has_query = strchr(s->url, '?') != NULL;
    switch (status) {
    case 400:
        err_set(err, ERR_INVALID, "%.700s: HTTP 400: the server does not understand the request", s->shown);
        return has_query ? err_hint(err, "was the URL copied as a whole? it may have been cut at a '&'") : -1;
    case 401:
    case 407:
        err_set(err, ERR_DENIED, "%.700s: HTTP %d: it wants credentials", s->shown, status);
        return err_hint(err, "URL inputs have none: use a pre-signed URL, or the source type of that service");
    case 403:
        err_set(err, ERR_DENIED, "%.700s: HTTP 403: access denied", s->shown);
        return err_hint(err, has_query ? "if the URL is signed, it may have expired: make a new one"
                                       : "it may not be public");
    case 404:
    case 410:
        err_set(err, ERR_NOTFOUND, "%.700s: HTTP %d: there is no such file", s->shown, status);
        return err_hint(err, "check the spelling of the URL");
    case 412:
        return err_set(err, ERR_CHANGED, "%.700s: changed while downloading", s->shown);
    default:
        break;
    }
    bool passing = status == 408 || status == 429 || status >= 500;
    return err_set(err, passing ? ERR_TRANSIENT : ERR_PROTOCOL, "%.700s: HTTP %d", s->shown, status);
}

struct probe {
    struct source_url_state *s;
    bool answered; /* the head of a good answer has been read */
};

static void read_head(struct probe *p, const struct http_response *resp)
{
    struct source_url_state *s = p->s;
    const char *disposition = http_response_get(resp, "content-disposition");
    url_answer_read(resp, &s->now);
    /* Longer ones are cut off, and their last segments with them. */
    bool whole = strlen(resp->effective_url) + 1 < sizeof resp->effective_url;
    file_name_choose(disposition, whole ? resp->effective_url : s->shown, s->shown, &s->name);
    p->answered = true;
}

/* A server that knows no ranges sends the whole file: its head is all that is wanted. */
static int stop_at_body(void *ctx, const struct http_response *head, const void *p, size_t n, struct err *err)
{
    struct probe *probe = ctx;
    (void)p;
    (void)n;
    read_head(probe, head);
    return err_set(err, ERR_CANCELLED, "the head is enough");
}

static int ask(struct probe *p, const char *method, struct http_response *resp, struct err *err)
{
    static const struct http_header first_byte = {"Range", "bytes=0-0"};
    bool get = str_eq(method, "GET");
    const struct http_request req = {
        .method = method,
        .url = p->s->url,
        .headers = &first_byte,
        .header_count = get ? 1 : 0,
        .on_body = get ? stop_at_body : NULL,
        .ctx = p,
        .body_max = PROBE_BODY_MAX,
        .cancel = &p->s->base.stage->stop,
    };
    return http_call(p->s->base.stage->opts.http, &req, resp, err);
}

/* By HEAD; where that is refused, or tells of nothing, by a GET of the first byte. */
static int probe(struct probe *p, struct err *err)
{
    struct http_response resp;
    struct err stopped = ERR_INIT;
    if (ask(p, "HEAD", &resp, err) < 0)
        return -1;
    bool good = resp.status >= 200 && resp.status < 300;
    if (good)
        read_head(p, &resp);
    http_response_release(&resp);
    if (good && p->s->now.size != 0)
        return 0;
    p->answered = false;
    if (ask(p, "GET", &resp, &stopped) < 0)
        return p->answered ? 0 : err_move(err, &stopped);
    int status = resp.status;
    good = (status >= 200 && status < 300) || status == 416;
    if (good)
        read_head(p, &resp);
    http_response_release(&resp);
    if (good && status != 206)
        p->s->now.size = 0; /* there is no first byte */
    return good ? 0 : refuse_status(p->s, status, err);
}

static bool has_page_name(struct span name)
{
    static const char *const ends[] = {".html", ".htm", ".xhtml", ".php", ".asp", ".aspx", ".jsp"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (span_ends(name, span_of(ends[i])))
            return true;
    return !memchr(name.p, '.', name.n);
}

/* An earlier run's file, by its name; whether it still is the same file, its ETag says, else its SHA-256. */
static int take_pin(struct source_url_state *s, const struct pin *pin, struct err *err)
{
    static const char mark[] = "etag ";
    const char *etag = pin->etag;
    if (etag && strncmp(etag, mark, strlen(mark)) == 0)
        etag += strlen(mark);
    if (etag && url_etag_is_strong(s->now.etag) && !str_eq(etag, s->now.etag)) {
        err_set(err, ERR_NOTFOUND, "%.700s is no longer what the recorded run had: ETag was %.128s, is %.128s",
                s->shown, etag, s->now.etag);
        return err_hint(err, "run the job itself to take what is there now");
    }
    if (pin->sha256) {
        s->now.has_digest = true;
        if (digest_parse(DIGEST_SHA256, span_of(pin->sha256), &s->now.digest, err) < 0)
            return -1;
    }
    buf_reset(&s->name);
    buf_adds(&s->name, pin->path);
    return buf_check(&s->name, "name of a recorded file", err);
}

static int resolve_url(struct source *base, struct err *err)
{
    struct source_url_state *s = state_of(base);
    struct probe p = {.s = s};
    if (s->plain)
        stage_warn(base->stage, base->index, "%s: plain http: others on the way can read and change it", s->shown);
    if (probe(&p, err) < 0 || buf_check(&s->name, "file name", err) < 0)
        return -1;
    if (base->input->pin_count > 0 && take_pin(s, &base->input->pins[0], err) < 0)
        return -1;
    if (s->now.html && !has_page_name(buf_span(&s->name)))
        stage_warn(base->stage, base->index, "%s is a web page (text/html): is it the file that is meant?", s->shown);
    base->file_count = 1;
    base->single = true;
    return 0;
}

static void file_url(struct source *base, size_t i, struct source_file *out)
{
    struct source_url_state *s = state_of(base);
    (void)i;
    *out = (struct source_file){.path = buf_str(&s->name),
                                .location = s->location,
                                .version = version_of(&s->now, &s->version),
                                .size = s->now.size,
                                .modified_ms = s->now.modified_ms,
                                .proved = true};
}

/* --- one transfer ------------------------------------------------------------------------------------------------- */

struct url_transfer {
    const struct source_url_state *s;
    struct url_answer known; /* what all its answers must be about */
    struct buf version;
};

static int request_url(void *ctx, uint64_t offset, uint64_t length, struct xfer_request *out, struct err *err)
{
    const struct url_transfer *t = ctx;
    (void)offset; /* Range is the engine's */
    (void)length;
    buf_adds(&out->url, t->s->url);
    if (url_etag_is_strong(t->known.etag))
        buf_addf(&out->headers, "If-Match: %s\r\n", t->known.etag);
    return buf_check(&out->url, "URL", err) < 0 ? -1 : buf_check(&out->headers, "request headers", err);
}

static enum xfer_verdict judge_url(void *ctx, const struct xfer_head *head, struct xfer_want *want, struct err *err)
{
    struct url_transfer *t = ctx;
    struct url_answer now;
    if (head->status < 200 || head->status >= 300) {
        refuse_status(t->s, head->status, err);
        return XFER_FAIL;
    }
    url_answer_read(head->http, &now);
    const char *differs = url_answer_differs(&t->known, &now);
    if (differs) {
        err_set(err, ERR_CHANGED, "%.700s: changed while downloading: another %s", t->s->shown, differs);
        return XFER_FAIL;
    }
    if (!t->known.etag[0])
        memcpy(t->known.etag, now.etag, sizeof now.etag);
    if (!t->known.modified_text[0])
        memcpy(t->known.modified_text, now.modified_text, sizeof now.modified_text);
    if (!want->has_full && now.has_digest) {
        want->has_full = true;
        want->full = now.digest;
    }
    return XFER_ACCEPT;
}

static const struct xfer_source transfer_source = {.request = request_url, .judge = judge_url};

static int get_begin_url(struct source *base, size_t i, struct xfer_get *get, struct err *err)
{
    struct source_url_state *s = state_of(base);
    struct url_transfer *t = calloc(1, sizeof *t);
    (void)i;
    if (!t)
        return err_nomem(err);
    t->s = s;
    t->known = s->now;
    buf_init(&t->version, VERSION_MAX);
    get->name = s->shown;
    get->size = s->now.size;
    get->want.has_full = s->now.has_digest;
    get->want.full = s->now.digest;
    get->want.compute = BIT(DIGEST_SHA256); /* mostly nothing else tells what it was */
    get->source = &transfer_source;
    get->source_ctx = t;
    return 0;
}

static const char *get_version_url(void *ctx)
{
    struct url_transfer *t = ctx;
    return version_of(&t->known, &t->version);
}

static void get_end_url(void *ctx)
{
    struct url_transfer *t = ctx;
    buf_release(&t->version);
    free(t);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static int describe_url(const struct source *base, json_t *into, struct err *err)
{
    return json_put_str(into, "url", ((const struct source_url_state *)base)->shown, err);
}

static void free_url(struct source *base)
{
    struct source_url_state *s = state_of(base);
    str_free_secret(s->url);
    free(s->shown);
    free(s->location);
    buf_release(&s->name);
    buf_release(&s->version);
    free(base->identity);
    free(base->label);
    free(s);
}

static const struct source_ops ops_url = {
    .name = "url",
    .resolve = resolve_url,
    .file = file_url,
    .get_begin = get_begin_url,
    .get_version = get_version_url,
    .get_end = get_end_url,
    .describe = describe_url,
    .free = free_url,
};

static int write_text(char **out, const struct url *u, struct err *err)
{
    AUTO_BUF b;
    buf_init(&b, URL_LENGTH_MAX);
    url_write(u, &b);
    *out = buf_take(&b, "URL", err);
    return *out ? 0 : -1;
}

/* What is asked, at the mirror's place where there is one. */
static int take_address(struct source_url_state *s, struct arena *a, struct url *u, struct err *err)
{
    struct mirrors mirrors;
    AUTO_STR written = NULL;
    AUTO_BUF mirrored;
    buf_init(&mirrored, URL_LENGTH_MAX);
    if (url_parse(a, span_of(s->base.input->url.url), u, err) < 0 || write_text(&written, u, err) < 0 ||
        mirrors_read(a, s->base.stage->opts.access.mirrors, &mirrors, err) < 0)
        return -1;
    bool elsewhere = mirrors_apply(&mirrors, span_of(written), &mirrored);
    if (elsewhere && (buf_check(&mirrored, "URL", err) < 0 || url_parse(a, buf_span(&mirrored), u, err) < 0))
        return -1;
    s->plain = !elsewhere && str_eq(u->scheme, "http") && !url_is_loopback(u);
    return write_text(&s->url, u, err);
}

/* A query may let in whoever has it, so each is a principal of its own. A signature asks for nothing by itself; any
 * other query does. */
static int take_query(struct source_url_state *s, const struct url *u, struct err *err)
{
    struct digest_value v;
    char hex[DIGEST_HEX_MAX];
    if (!u->query) {
        s->location = str_dup(s->shown, err);
        return s->location ? 0 : -1;
    }
    if (digest_bytes(DIGEST_SHA256, s->url, strlen(s->url), &v, err) < 0)
        return -1;
    memcpy(s->base.principal, v.bytes, sizeof s->base.principal);
    s->location = s->base.input->url.presigned ? str_dup(s->shown, err)
                                               : str_printf(err, "%s?sha256=%s", s->shown, digest_hex(hex, &v));
    return s->location ? 0 : -1;
}

static int set_up(struct source_url_state *s, struct err *err)
{
    struct arena *a = arena_new(0, err);
    struct url u;
    if (!a)
        return -1;
    int rc = take_address(s, a, &u, err);
    if (rc == 0) {
        struct url bare = u;
        bare.query = NULL;
        rc = write_text(&s->shown, &bare, err);
    }
    if (rc == 0)
        rc = take_query(s, &u, err);
    arena_free(a);
    if (rc < 0)
        return -1;
    const struct input *in = s->base.input;
    s->base.label = str_printf(err, in->target ? "%s → %s" : "%s", s->shown, in->target);
    s->base.identity = str_printf(err, "%s\nsource=url\nlocation=%s%s%s", s->shown, s->location,
                                  in->pin_count ? "\npinned=" : "", in->pin_count ? in->pins[0].path : "");
    return s->base.label && s->base.identity ? 0 : -1;
}

int source_url_new(struct source **out, struct stage *stage, size_t index, struct err *err)
{
    struct source_url_state *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(err);
    s->base = (struct source){.ops = &ops_url, .input = &stage->inputs[index], .stage = stage, .index = index};
    buf_init(&s->name, FILE_NAME_TEXT_MAX);
    buf_init(&s->version, VERSION_MAX);
    if (set_up(s, err) < 0) {
        free_url(&s->base);
        return -1;
    }
    *out = &s->base;
    return 0;
}
