#include "s3/sigv4.h"

#include "base/clock.h"
#include "base/enc.h"
#include "digest/digest.h"

#include <ctype.h>
#include <stdio.h>

#define ALGORITHM      "AWS4-HMAC-SHA256"
#define CANONICAL_MAX  ((size_t)64 << 10)
#define TO_SIGN_MAX    1024
#define SECRET_ROOM    4096
#define HEX_SHA256_MAX 65
#define DATE_LENGTH    8 /* "20150830" of "20150830T123600Z" */

/* What is derived from one request before anything is hashed. */
struct signing {
    char time[TIME_MAX];
    char scope[160]; /* date/region/service */
    struct sigv4_header headers[SIGV4_HEADERS_MAX];
    size_t header_count;
};

/* ---- headers ---- */

static int span_cmp_nocase(struct span a, struct span b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    for (size_t i = 0; i < n; i++) {
        int d = tolower((unsigned char)a.p[i]) - tolower((unsigned char)b.p[i]);
        if (d)
            return d;
    }
    return (a.n > b.n) - (a.n < b.n);
}

/* Insertion keeps the order of equal names, whose values are joined in it. */
static int add_header(struct signing *s, struct span name, struct span value, struct err *err)
{
    if (s->header_count == SIGV4_HEADERS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d headers to sign", SIGV4_HEADERS_MAX);
    if (name.n == 0 || memchr(name.p, '\n', name.n) || memchr(value.p ? value.p : "", '\n', value.n) ||
        memchr(value.p ? value.p : "", '\r', value.n))
        return err_set(err, ERR_INVALID, "header '%.*s' has no name or holds a line break",
                       (int)(name.n < 64 ? name.n : 64), name.p);
    size_t i = s->header_count++;
    for (; i > 0 && span_cmp_nocase(s->headers[i - 1].name, name) > 0; i--)
        s->headers[i] = s->headers[i - 1];
    s->headers[i] = (struct sigv4_header){name, value};
    return 0;
}

static bool is_s3(const struct sigv4_request *req)
{
    return str_eq(req->service, "s3");
}

/* `presigned`: date, token and payload hash travel in the query, so only Host and the caller's headers are signed. */
static int prepare(struct signing *s, const struct sigv4_request *req, const struct s3_keys *keys, bool presigned,
                   struct err *err)
{
    s->header_count = 0;
    time_compact(s->time, req->now_ms);
    int n = snprintf(s->scope, sizeof s->scope, "%.*s/%s/%s", DATE_LENGTH, s->time, req->region, req->service);
    if (n < 0 || (size_t)n >= sizeof s->scope)
        return err_set(err, ERR_LIMIT, "region '%.32s…' is too long", req->region);

    if (add_header(s, SPAN_LIT("host"), req->host, err) < 0)
        return -1;
    for (size_t i = 0; i < req->header_count; i++)
        if (add_header(s, req->headers[i].name, req->headers[i].value, err) < 0)
            return -1;
    if (presigned)
        return 0;
    if (add_header(s, SPAN_LIT("x-amz-date"), span_of(s->time), err) < 0)
        return -1;
    if (is_s3(req) && add_header(s, SPAN_LIT("x-amz-content-sha256"), span_of(req->payload_hash), err) < 0)
        return -1;
    if (keys->session_token && add_header(s, SPAN_LIT("x-amz-security-token"), span_of(keys->session_token), err) < 0)
        return -1;
    return 0;
}

static void put_lower(struct buf *out, struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_addc(out, (char)tolower((unsigned char)s.p[i]));
}

/* Trimmed, runs of spaces as one. */
static void put_value(struct buf *out, struct span value)
{
    struct span v = span_trim(value);
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] != ' ' || v.p[i - 1] != ' ') /* v.p[0] is no space */
            buf_addc(out, v.p[i]);
}

static bool same_name_as_before(const struct sigv4_header *headers, size_t i)
{
    return i > 0 && span_eq_nocase(headers[i].name, headers[i - 1].name);
}

static void put_headers(struct buf *out, const struct signing *s)
{
    for (size_t i = 0; i < s->header_count; i++) {
        if (same_name_as_before(s->headers, i)) {
            buf_addc(out, ',');
        } else {
            if (i > 0)
                buf_addc(out, '\n');
            put_lower(out, s->headers[i].name);
            buf_addc(out, ':');
        }
        put_value(out, s->headers[i].value);
    }
    buf_addc(out, '\n');
}

static void put_signed_names(struct buf *out, const struct signing *s)
{
    for (size_t i = 0; i < s->header_count; i++) {
        if (same_name_as_before(s->headers, i))
            continue;
        if (i > 0)
            buf_addc(out, ';');
        put_lower(out, s->headers[i].name);
    }
}

/* ---- path and query ---- */

/* RFC 3986, 5.2.4, with runs of slashes as one; the result is encoded once more. */
static int put_normal_path(struct buf *out, struct span path, struct err *err)
{
    AUTO_BUF plain;
    buf_init(&plain, CANONICAL_MAX);
    bool folder = true; /* does the path so far end in a slash? */
    for (size_t at = 0; at < path.n;) {
        const char *slash = memchr(path.p + at, '/', path.n - at);
        size_t end = slash ? (size_t)(slash - path.p) : path.n;
        struct span part = {path.p + at, end - at};
        at = end + 1;
        folder = slash != NULL;
        if (part.n == 0)
            continue;
        if (span_eq(part, SPAN_LIT(".")) || span_eq(part, SPAN_LIT(".."))) {
            folder = true;
            while (part.n == 2 && plain.n > 0 && plain.p[--plain.n] != '/')
                ;
            continue;
        }
        buf_addc(&plain, '/');
        buf_add_span(&plain, part);
    }
    if (folder || plain.n == 0)
        buf_addc(&plain, '/');
    if (buf_check(&plain, "request path", err) < 0)
        return -1;
    percent_encode(out, buf_span(&plain), true);
    return 0;
}

struct param {
    struct span name, value;
};

static int span_cmp(struct span a, struct span b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int d = n ? memcmp(a.p, b.p, n) : 0;
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int param_cmp(const struct param *a, const struct param *b)
{
    int d = span_cmp(a->name, b->name);
    return d ? d : span_cmp(a->value, b->value);
}

static int split_query(struct span query, struct param *params, size_t *count, struct err *err)
{
    size_t n = 0;
    while (query.n > 0) {
        struct span one;
        span_cut(query, '&', &one, &query);
        if (one.n == 0)
            continue;
        if (n == SIGV4_PARAMS_MAX)
            return err_set(err, ERR_LIMIT, "more than %d query parameters to sign", SIGV4_PARAMS_MAX);
        struct param p;
        span_cut(one, '=', &p.name, &p.value);
        size_t i = n++;
        for (; i > 0 && param_cmp(&params[i - 1], &p) > 0; i--)
            params[i] = params[i - 1];
        params[i] = p;
    }
    *count = n;
    return 0;
}

static int put_query(struct buf *out, struct span query, struct err *err)
{
    struct param params[SIGV4_PARAMS_MAX];
    size_t n = 0;
    if (split_query(query, params, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_addc(out, '&');
        buf_add_span(out, params[i].name);
        buf_addc(out, '=');
        buf_add_span(out, params[i].value);
    }
    return 0;
}

static int put_canonical(struct buf *out, const struct sigv4_request *req, const struct signing *s, struct span query,
                         const char *payload_hash, struct err *err)
{
    buf_adds(out, req->method);
    buf_addc(out, '\n');
    if (!req->normalise_path)
        buf_add_span(out, req->path);
    else if (put_normal_path(out, req->path, err) < 0)
        return -1;
    buf_addc(out, '\n');
    if (put_query(out, query, err) < 0)
        return -1;
    buf_addc(out, '\n');
    put_headers(out, s);
    buf_addc(out, '\n');
    put_signed_names(out, s);
    buf_addc(out, '\n');
    buf_adds(out, payload_hash);
    return buf_check(out, "canonical request", err);
}

int sigv4_canonical_request(const struct sigv4_request *req, const struct s3_keys *keys, struct buf *out,
                            struct err *err)
{
    struct signing s;
    if (prepare(&s, req, keys, false, err) < 0)
        return -1;
    return put_canonical(out, req, &s, req->query, req->payload_hash, err);
}

/* ---- keys and signatures ---- */

void sigv4_cache_init(struct sigv4_cache *c)
{
    *c = (struct sigv4_cache){.mu = PTHREAD_MUTEX_INITIALIZER};
}

void sigv4_cache_release(struct sigv4_cache *c)
{
    str_free_secret(c->secret);
    c->secret = NULL;
    mem_wipe(c->key, sizeof c->key);
    pthread_mutex_destroy(&c->mu);
}

static int hmac_text(const uint8_t *key, size_t key_n, struct span text, uint8_t out[32], struct err *err)
{
    return digest_hmac_sha256(key, key_n, text.p, text.n, out, err);
}

static int derive_key(const char *secret, const char *scope, uint8_t out[32], struct err *err)
{
    AUTO_BUF first;
    buf_init(&first, SECRET_ROOM);
    buf_adds(&first, "AWS4");
    buf_adds(&first, secret);
    int rc = buf_check(&first, "secret access key", err);

    struct span date, region, service, rest;
    span_cut(span_of(scope), '/', &date, &rest);
    span_cut(rest, '/', &region, &service);
    uint8_t a[32], b[32];
    if (rc == 0)
        rc = hmac_text((const uint8_t *)first.p, first.n, date, a, err);
    if (rc == 0)
        rc = hmac_text(a, sizeof a, region, b, err);
    if (rc == 0)
        rc = hmac_text(b, sizeof b, service, a, err);
    if (rc == 0)
        rc = hmac_text(a, sizeof a, SPAN_LIT("aws4_request"), out, err);
    mem_wipe(a, sizeof a);
    mem_wipe(b, sizeof b);
    if (first.p)
        mem_wipe(first.p, first.n);
    return rc;
}

static int signing_key(const struct sigv4_request *req, const struct s3_keys *keys, const char *scope, uint8_t out[32],
                       struct err *err)
{
    struct sigv4_cache *c = req->cache;
    if (!c)
        return derive_key(keys->secret_access_key, scope, out, err);
    int rc = 0;
    pthread_mutex_lock(&c->mu);
    if (!c->secret || strcmp(c->scope, scope) != 0 || strcmp(c->secret, keys->secret_access_key) != 0) {
        char *copy = str_dup(keys->secret_access_key, err);
        rc = copy ? derive_key(copy, scope, c->key, err) : -1;
        str_free_secret(c->secret);
        c->secret = copy;
        snprintf(c->scope, sizeof c->scope, "%s", rc == 0 ? scope : "");
    }
    if (rc == 0)
        memcpy(out, c->key, sizeof c->key);
    pthread_mutex_unlock(&c->mu);
    return rc;
}

static int sign_canonical(const struct sigv4_request *req, const struct s3_keys *keys, const struct signing *s,
                          struct span canonical, char hex[HEX_SHA256_MAX], struct err *err)
{
    struct digest_value hash;
    char hash_hex[DIGEST_HEX_MAX];
    if (digest_bytes(DIGEST_SHA256, canonical.p, canonical.n, &hash, err) < 0)
        return -1;
    AUTO_BUF text;
    buf_init(&text, TO_SIGN_MAX);
    buf_addf(&text, ALGORITHM "\n%s\n%s/aws4_request\n%s", s->time, s->scope, digest_hex(hash_hex, &hash));
    if (buf_check(&text, "string to sign", err) < 0)
        return -1;

    uint8_t key[32], signature[32];
    int rc = signing_key(req, keys, s->scope, key, err);
    if (rc == 0)
        rc = hmac_text(key, sizeof key, buf_span(&text), signature, err);
    mem_wipe(key, sizeof key);
    if (rc == 0)
        hex_encode(hex, signature, sizeof signature);
    return rc;
}

int sigv4_sign(const struct sigv4_request *req, const struct s3_keys *keys, struct buf *headers, struct err *err)
{
    if (!keys->access_key_id)
        return 0;
    struct signing s;
    char signature[HEX_SHA256_MAX];
    AUTO_BUF canonical;
    buf_init(&canonical, CANONICAL_MAX);
    if (prepare(&s, req, keys, false, err) < 0 ||
        put_canonical(&canonical, req, &s, req->query, req->payload_hash, err) < 0 ||
        sign_canonical(req, keys, &s, buf_span(&canonical), signature, err) < 0)
        return -1;

    buf_addf(headers, "Authorization: " ALGORITHM " Credential=%s/%s/aws4_request, SignedHeaders=", keys->access_key_id,
             s.scope);
    put_signed_names(headers, &s);
    buf_addf(headers, ", Signature=%s\r\nx-amz-date: %s\r\n", signature, s.time);
    if (is_s3(req))
        buf_addf(headers, "x-amz-content-sha256: %s\r\n", req->payload_hash);
    if (keys->session_token)
        buf_addf(headers, "x-amz-security-token: %s\r\n", keys->session_token);
    return buf_check(headers, "signed headers", err);
}

static void put_param(struct buf *out, const char *name, struct span value)
{
    if (out->n > 0)
        buf_addc(out, '&');
    buf_adds(out, name);
    buf_addc(out, '=');
    percent_encode(out, value, false);
}

int sigv4_presign(const struct sigv4_request *req, const struct s3_keys *keys, uint32_t expires_s, struct buf *query,
                  struct err *err)
{
    if (!keys->access_key_id)
        return err_set(err, ERR_DENIED, "a URL can't be signed without credentials");
    if (expires_s == 0 || expires_s > SIGV4_EXPIRES_MAX_S)
        return err_set(err, ERR_INVALID, "a signed URL may live 1 to %d seconds, not %u", SIGV4_EXPIRES_MAX_S,
                       expires_s);
    struct signing s;
    if (prepare(&s, req, keys, true, err) < 0)
        return -1;

    AUTO_BUF own, names, credential, canonical;
    buf_init(&own, CANONICAL_MAX);
    buf_init(&names, CANONICAL_MAX);
    buf_init(&credential, CANONICAL_MAX);
    buf_init(&canonical, CANONICAL_MAX);
    put_signed_names(&names, &s);
    buf_addf(&credential, "%s/%s/aws4_request", keys->access_key_id, s.scope);
    buf_add_span(&own, req->query);
    put_param(&own, "X-Amz-Algorithm", SPAN_LIT(ALGORITHM));
    put_param(&own, "X-Amz-Credential", buf_span(&credential));
    put_param(&own, "X-Amz-Date", span_of(s.time));
    buf_addf(&own, "&X-Amz-Expires=%u", expires_s);
    if (keys->session_token)
        put_param(&own, "X-Amz-Security-Token", span_of(keys->session_token));
    put_param(&own, "X-Amz-SignedHeaders", buf_span(&names));

    char signature[HEX_SHA256_MAX];
    const char *payload = is_s3(req) ? "UNSIGNED-PAYLOAD" : req->payload_hash;
    if (buf_check(&names, "header names", err) < 0 || buf_check(&credential, "credential", err) < 0 ||
        buf_check(&own, "signed query", err) < 0 ||
        put_canonical(&canonical, req, &s, buf_span(&own), payload, err) < 0 ||
        sign_canonical(req, keys, &s, buf_span(&canonical), signature, err) < 0)
        return -1;
    buf_add_span(query, buf_span(&own));
    buf_addf(query, "&X-Amz-Signature=%s", signature);
    return buf_check(query, "signed query", err);
}
