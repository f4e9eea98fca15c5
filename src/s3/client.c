#include "s3/s3_priv.h"

#include "base/clock.h"
#include "base/enc.h"

#include <ctype.h>
#include <stdio.h>

#define ARENA_MAX     ((size_t)1 << 20)
#define SSE_KEY_BYTES 32 /* AES-256 */

/* ---- what is known now ---- */

const struct s3_place *s3_place_now(struct s3 *s3)
{
    pthread_mutex_lock(&s3->now.mu);
    const struct s3_place *p = s3->now.place;
    pthread_mutex_unlock(&s3->now.mu);
    return p;
}

bool s3_settled(struct s3 *s3)
{
    pthread_mutex_lock(&s3->now.mu);
    bool settled = s3->now.settled;
    pthread_mutex_unlock(&s3->now.mu);
    return settled;
}

void s3_region_now(struct s3 *s3, char out[S3_REGION_MAX])
{
    pthread_mutex_lock(&s3->now.mu);
    memcpy(out, s3->now.region, S3_REGION_MAX);
    pthread_mutex_unlock(&s3->now.mu);
}

int64_t s3_clock_now(struct s3 *s3)
{
    return clock_wall_ms() + s3_memory_clock(s3->memory, s3->places.v[0].endpoint.host);
}

/* A new place or region, and the front that follows from them. */
static int set_now(struct s3 *s3, const struct s3_place *place, const char *region, bool settled, struct err *err)
{
    AUTO_BUF front;
    bool mirrored;
    buf_init(&front, S3_URL_MAX);
    if (mirrors_front(&s3->mirrors, place, region, &front, &mirrored, err) < 0)
        return -1;
    char *text = buf_take(&front, "address", err);
    if (!text)
        return -1;
    pthread_mutex_lock(&s3->now.mu);
    free(s3->now.front);
    s3->now.front = text;
    s3->now.place = place;
    s3->now.settled = settled;
    s3->now.mirrored = mirrored;
    snprintf(s3->now.region, sizeof s3->now.region, "%s", region);
    pthread_mutex_unlock(&s3->now.mu);
    atomic_fetch_add(&s3->lessons, 1);
    return 0;
}

int s3_choose(struct s3 *s3, const struct s3_place *place, bool settled, struct err *err)
{
    char region[S3_REGION_MAX];
    s3_region_now(s3, region);
    return set_now(s3, place, region, settled, err);
}

int s3_move(struct s3 *s3, const char *region, struct err *err)
{
    return set_now(s3, s3_place_now(s3), region, s3_settled(s3), err);
}

void s3_name(struct s3 *s3, const char *key, char out[S3_NAME_MAX])
{
    const struct s3_place *p = s3_place_now(s3);
    AUTO_BUF authority;
    buf_init(&authority, S3_NAME_MAX);
    url_authority(&p->endpoint, &authority);
    if (p->style == S3_STYLE_PATH || p->style == S3_STYLE_VIRTUAL)
        snprintf(out, S3_NAME_MAX, "s3://%s/%s", p->bucket, key);
    else
        snprintf(out, S3_NAME_MAX, "%s://%s/%s", p->endpoint.scheme, buf_str(&authority), key);
    s3_one_line(out);
}

void s3_one_line(char *text)
{
    for (; *text; text++)
        if (iscntrl((unsigned char)*text))
            *text = '?';
}

/* ---- opening ---- */

static int read_sse_key(struct s3 *s3, const char *text, struct err *err)
{
    uint8_t key[SSE_KEY_BYTES];
    size_t n = 0;
    struct err bad = ERR_INIT;
    if (base64_decode(key, sizeof key, &n, span_of(text), &bad) < 0 || n != sizeof key) {
        mem_wipe(key, sizeof key);
        return err_set(err, ERR_INVALID, "the customer's encryption key (SSE-C) is not base64 of %d bytes",
                       SSE_KEY_BYTES);
    }
    struct digest_value md5;
    AUTO_BUF sum;
    buf_init(&sum, 64);
    int rc = digest_bytes(DIGEST_MD5, key, sizeof key, &md5, err);
    mem_wipe(key, sizeof key);
    if (rc < 0)
        return -1;
    digest_base64(&sum, &md5);
    s3->sse_key = arena_dup(s3->arena, text);
    s3->sse_key_md5 = arena_dup_span(s3->arena, buf_span(&sum));
    return arena_check(s3->arena, err);
}

/* Plain http shows and lets others change what is moved. The operator's own mirrors are theirs to judge. */
static int check_scheme(struct s3 *s3, struct err *err)
{
    const struct url *e = &s3->now.place->endpoint;
    bool plain = strncmp(s3->now.front, "http://", 7) == 0;
    if (!plain || s3->now.mirrored || url_is_loopback(e))
        return 0;
    if (s3->plain_http_refused) {
        err_set(err, ERR_REFUSED, "http://%s: only https is allowed here", e->host);
        return err_hint(err, "use https, or have the operator allow this endpoint");
    }
    if (s3->sse_key) {
        err_set(err, ERR_REFUSED, "http://%s: an encryption key (SSE-C) is not sent in the clear", e->host);
        return err_hint(err, "use https");
    }
    s3->plain_http = true;
    return 0;
}

/* Spec, host, environment or profile, configuration; the server may teach another (exchange.c). */
static const char *first_region(const struct source_s3 *src, const char *host_region, struct creds *creds,
                                const struct s3_opts *opts)
{
    if (!str_empty(src->region))
        return src->region;
    if (!str_empty(host_region))
        return host_region;
    const char *ambient = creds_region(creds);
    if (!str_empty(ambient))
        return ambient;
    return str_empty(opts->default_region) ? "us-east-1" : opts->default_region;
}

/* "host/first-segment" for a place that has to be guessed, "host/bucket" for others. */
static const char *spot_of(struct s3 *s3)
{
    const struct s3_place *p = &s3->places.v[0];
    if (p->bucket[0])
        return arena_printf(s3->arena, "%s/%s", p->endpoint.host, p->bucket);
    struct span first, rest;
    span_cut(span_of(p->key), '/', &first, &rest);
    return arena_printf(s3->arena, "%s/%.*s", p->endpoint.host, SPAN_FMT(first));
}

static int find_place(struct s3 *s3, const struct source_s3 *src, const struct s3_opts *opts, struct err *err)
{
    const struct place_opts how = {.addressing = opts->addressing,
                                   .default_endpoint = opts->default_endpoint,
                                   .region = first_region(src, NULL, s3->creds, opts)};
    if (!fault_region_valid(how.region))
        return err_set(err, ERR_INVALID, "'%.64s' is no region", how.region);
    if (place_find(s3->arena, src, &how, &s3->places, err) < 0 || mirrors_narrow(&s3->mirrors, &s3->places, err) < 0)
        return -1;
    s3->spot = spot_of(s3);
    if (arena_check(s3->arena, err) < 0)
        return -1;

    char learned[S3_REGION_MAX];
    const char *region = first_region(src, s3->places.v[0].host_region, s3->creds, opts);
    if (s3_memory_region(s3->memory, s3->spot, learned))
        region = learned;
    unsigned right = 0;
    bool known = s3_memory_place(s3->memory, s3->spot, &right) && right < s3->places.n;
    return set_now(s3, &s3->places.v[known ? right : 0], region, known || s3->places.n == 1, err);
}

static int set_up(struct s3 *s3, const struct source_s3 *src, const struct s3_opts *opts, struct err *err)
{
    s3->arena = arena_new(ARENA_MAX, err);
    if (!s3->arena)
        return -1;
    s3->memory = opts->memory;
    if (!s3->memory)
        s3->memory = s3->own_memory = s3_memory_new(err);
    if (!s3->memory || mirrors_read(s3->arena, opts->mirrors, &s3->mirrors, err) < 0)
        return -1;
    if (!str_empty(src->sse_customer_key) && read_sse_key(s3, src->sse_customer_key, err) < 0)
        return -1;
    if (find_place(s3, src, opts, err) < 0)
        return -1;
    return check_scheme(s3, err);
}

int s3_open(struct s3 **out, const struct source_s3 *src, struct creds *creds, const struct s3_opts *opts,
            struct err *err)
{
    struct s3 *s3 = calloc(1, sizeof *s3);
    if (!s3)
        return err_nomem(err);
    s3->http = opts->http;
    s3->creds = creds;
    s3->cancel = opts->cancel;
    s3->plain_http_refused = opts->plain_http_refused;
    s3->requester_pays = src->requester_pays;
    pthread_mutex_init(&s3->now.mu, NULL);
    pthread_mutex_init(&s3->last.mu, NULL);
    sigv4_cache_init(&s3->signing);
    if (set_up(s3, src, opts, err) < 0) {
        s3_free(s3);
        return -1;
    }
    *out = s3;
    return 0;
}

void s3_free(struct s3 *s3)
{
    if (!s3)
        return;
    sigv4_cache_release(&s3->signing);
    pthread_mutex_destroy(&s3->now.mu);
    pthread_mutex_destroy(&s3->last.mu);
    creds_keys_release(&s3->last.keys);
    free(s3->now.front);
    s3_memory_free(s3->own_memory);
    if (s3->sse_key)
        mem_wipe(s3->sse_key, strlen(s3->sse_key));
    arena_free(s3->arena);
    free(s3);
}

/* ---- requests ---- */

int s3_version_query(const char *version_id, struct buf *out, struct err *err)
{
    if (str_empty(version_id))
        return 0;
    buf_adds(out, "versionId=");
    percent_encode(out, span_of(version_id), false);
    return buf_check(out, "version id", err);
}

int s3_write_url(struct s3 *s3, const struct s3_ask *ask, struct buf *url, struct err *err)
{
    pthread_mutex_lock(&s3->now.mu);
    const struct s3_place *p = s3->now.place;
    size_t front_n = strlen(s3->now.front);
    buf_add(url, s3->now.front, front_n);
    pthread_mutex_unlock(&s3->now.mu);
    if (p->style == S3_STYLE_PLAIN) {
        /* As it was written, signature and all, but at the place a mirror gives it. */
        const char *path = strchr(strstr(p->plain_url, "://") + 3, '/');
        buf_adds(url, path ? path : "/");
        return buf_check(url, "URL", err);
    }
    if (ask->key) {
        buf_addc(url, '/');
        percent_encode(url, span_of(ask->key), true);
    } else if (url->state == BUF_OK && !strchr(strstr(buf_str(url), "://") + 3, '/')) {
        buf_addc(url, '/'); /* host only: "https://bucket.host/?…", but "https://host/bucket?…" */
    }
    if (ask->query.n > 0) {
        buf_addc(url, '?');
        buf_add_span(url, ask->query);
    }
    return buf_check(url, "URL", err);
}

/* "https://host:port/path?query" as it was written by s3_write_url() or came from a redirect on the same host. */
static void split_url(const char *url, struct sigv4_request *req)
{
    struct span rest = span_of(url), whole;
    const char *start = strstr(url, "://");
    if (start)
        rest = span_of(start + 3);
    const char *slash = memchr(rest.p, '/', rest.n);
    size_t host_n = slash ? (size_t)(slash - rest.p) : rest.n;
    req->host = (struct span){rest.p, host_n};
    whole = slash ? (struct span){slash, rest.n - host_n} : SPAN_LIT("/");
    span_cut(whole, '?', &req->path, &req->query);
}

static size_t extra_headers(const struct s3 *s3, const struct s3_ask *ask, bool anonymous, struct sigv4_header *out)
{
    size_t n = 0;
    if (s3->requester_pays && !anonymous)
        out[n++] = (struct sigv4_header){SPAN_LIT("x-amz-request-payer"), SPAN_LIT("requester")};
    if (s3->sse_key && ask->key) {
        out[n++] =
            (struct sigv4_header){SPAN_LIT("x-amz-server-side-encryption-customer-algorithm"), SPAN_LIT("AES256")};
        out[n++] = (struct sigv4_header){SPAN_LIT("x-amz-server-side-encryption-customer-key"), span_of(s3->sse_key)};
        out[n++] =
            (struct sigv4_header){SPAN_LIT("x-amz-server-side-encryption-customer-key-md5"), span_of(s3->sse_key_md5)};
    }
    if (ask->part_digests)
        out[n++] = (struct sigv4_header){SPAN_LIT("x-amz-object-attributes"), SPAN_LIT("ObjectParts")};
    if (ask->part_marker)
        out[n++] = (struct sigv4_header){SPAN_LIT("x-amz-part-number-marker"), span_of(ask->part_marker)};
    if (ask->checksum_mode)
        out[n++] = (struct sigv4_header){SPAN_LIT("x-amz-checksum-mode"), SPAN_LIT("ENABLED")};
    if (ask->if_none)
        out[n++] = (struct sigv4_header){SPAN_LIT("if-none-match"), SPAN_LIT("*")};
    for (size_t i = 0; i < ask->header_count && i < S3_ASK_HEADERS_MAX; i++)
        out[n++] = ask->headers[i];
    return n;
}

#define EXTRA_HEADERS_MAX (8 + S3_ASK_HEADERS_MAX)

int s3_write_headers(struct s3 *s3, const struct s3_ask *ask, const char *url, const struct s3_keys *keys,
                     struct buf *headers, struct err *err)
{
    if (s3_place_now(s3)->style == S3_STYLE_PLAIN)
        return 0;
    char region[S3_REGION_MAX];
    s3_region_now(s3, region);
    struct sigv4_header extra[EXTRA_HEADERS_MAX];
    struct sigv4_request req = {.method = ask->method,
                                .headers = extra,
                                .header_count = extra_headers(s3, ask, keys->access_key_id == NULL, extra),
                                .payload_hash = ask->payload_hash ? ask->payload_hash : SIGV4_EMPTY_PAYLOAD,
                                .region = region,
                                .service = "s3",
                                .now_ms = s3_clock_now(s3),
                                .cache = &s3->signing};
    split_url(url, &req);
    for (size_t i = 0; i < req.header_count; i++)
        buf_addf(headers, "%.*s: %.*s\r\n", SPAN_FMT(extra[i].name), SPAN_FMT(extra[i].value));
    if (sigv4_sign(&req, keys, headers, err) < 0)
        return -1;
    return buf_check(headers, "request headers", err);
}

void s3_where(struct s3 *s3, struct buf *endpoint, char region[S3_REGION_NAME_MAX])
{
    _Static_assert(S3_REGION_NAME_MAX >= S3_REGION_MAX, "a region fits");
    s3_region_now(s3, region);
    place_endpoint(s3_place_now(s3), region, endpoint);
}

void s3_location(struct s3 *s3, const char *key, struct buf *out)
{
    pthread_mutex_lock(&s3->now.mu);
    const struct s3_place *p = s3->now.place;
    if (s3->now.mirrored || p->style != S3_STYLE_VIRTUAL)
        buf_adds(out, s3->now.front);
    else
        place_path_front(p, s3->now.region, out);
    pthread_mutex_unlock(&s3->now.mu);
    buf_addc(out, '/');
    buf_adds(out, key);
}

/* ---- pre-signed URLs ---- */

int s3_presign(struct s3 *s3, const char *method, const char *key, struct span query, uint32_t expires_s,
               struct buf *url, struct err *err)
{
    if (s3->sse_key)
        return err_set(err, ERR_UNSUPPORTED, "a signed URL can't carry a customer's encryption key (SSE-C)");
    if (s3_settle(s3, err) < 0)
        return -1;
    const struct s3_ask ask = {.action = S3_ACTION_GET, .method = method, .key = key};
    AUTO_BUF plain;
    buf_init(&plain, S3_URL_MAX);
    AUTO(creds_keys_release) struct creds_keys who = {0};
    if (s3_write_url(s3, &ask, &plain, err) < 0 || creds_get(s3->creds, s3->cancel, &who, err) < 0)
        return -1;

    char region[S3_REGION_MAX];
    s3_region_now(s3, region);
    struct sigv4_request req = {.method = method,
                                .payload_hash = SIGV4_EMPTY_PAYLOAD,
                                .region = region,
                                .service = "s3",
                                .now_ms = s3_clock_now(s3)};
    split_url(buf_str(&plain), &req);
    req.query = query;
    buf_add_span(url, buf_span(&plain));
    buf_addc(url, '?');
    AUTO_BUF signed_query;
    buf_init(&signed_query, S3_URL_MAX);
    if (sigv4_presign(&req, &who.keys, expires_s, &signed_query, err) < 0)
        return -1;
    buf_add_span(url, buf_span(&signed_query));
    return buf_check(url, "signed URL", err);
}

int s3_presign_get(struct s3 *s3, const char *key, const char *version_id, uint32_t expires_s, struct buf *url,
                   struct err *err)
{
    AUTO_BUF query;
    buf_init(&query, S3_URL_MAX);
    if (s3_version_query(version_id, &query, err) < 0)
        return -1;
    if (s3->requester_pays)
        buf_addf(&query, "%sx-amz-request-payer=requester", query.n ? "&" : "");
    return s3_presign(s3, "GET", key, buf_span(&query), expires_s, url, err);
}
