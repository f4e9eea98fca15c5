#include "s3/place.h"

#include "base/enc.h"

#include <ctype.h>
#include <stdio.h>

#define KEY_MAX    1024 /* bytes; "Object key naming guidelines" */
#define BUCKET_MAX 255  /* the oldest buckets of us-east-1 */

bool place_bucket_is_label(const char *bucket)
{
    size_t n = strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return n >= 3 && n <= 63 && bucket[n] == '\0' && bucket[0] != '-' && bucket[n - 1] != '-';
}

static int check_bucket(const char *bucket, struct err *err)
{
    struct span b = span_of(bucket);
    if (!bucket) /* from a full arena */
        return err_nomem(err);
    if (span_starts(b, SPAN_LIT("arn:"))) {
        err_set(err, ERR_UNSUPPORTED, "bucket '%.256s': S3 access points are not supported", bucket);
        return err_hint(err, "name the bucket itself");
    }
    if (span_ends(b, SPAN_LIT("--x-s3")))
        return err_set(err, ERR_UNSUPPORTED, "bucket '%.256s': S3 Express directory buckets are not supported", bucket);
    bool odd = b.n < 1 || b.n > BUCKET_MAX || bucket[0] == '.';
    for (size_t i = 0; i < b.n; i++)
        odd |= !isalnum((unsigned char)bucket[i]) && !strchr("._-:", bucket[i]);
    if (odd)
        return err_set(err, ERR_INVALID, "'%.256s' is no bucket name", bucket);
    return 0;
}

static int decode_key(struct arena *a, struct span encoded, const char **out, struct err *err)
{
    AUTO_BUF key;
    buf_init(&key, URL_LENGTH_MAX);
    if (percent_decode(&key, encoded, err) < 0 || buf_check(&key, "key", err) < 0)
        return -1;
    if (memchr(buf_str(&key), '\0', key.n))
        return err_set(err, ERR_REFUSED, "the key in the URL holds a NUL byte");
    if (key.n > KEY_MAX)
        return err_set(err, ERR_INVALID, "the key in the URL is longer than %d bytes", KEY_MAX);
    *out = arena_dup_span(a, buf_span(&key));
    return arena_check(a, err);
}

/* "/bucket/a/b" without its bucket; false where it starts with another segment. */
static bool drop_bucket(struct span *path, const char *bucket)
{
    struct span head, tail;
    span_cut(*path, '/', &head, &tail);
    if (!span_eq(head, span_of(bucket)))
        return false;
    *path = tail;
    return true;
}

/* ---- URLs ---- */

struct address {
    struct arena *arena;
    const struct source_s3 *src;
    enum s3_addressing addressing;
    struct url url;
    struct s3_host host;
    struct span path; /* encoded, without the leading slash */
};

static struct s3_place place_at(const struct address *ad, enum s3_style style)
{
    struct s3_place p = {.style = style,
                         .service = ad->host.service,
                         .endpoint = ad->url,
                         .bucket = "",
                         .key = "",
                         .host_region = arena_dup(ad->arena, ad->host.region)};
    p.endpoint.path = "";
    p.endpoint.query = NULL;
    return p;
}

static int add_place(const struct address *ad, struct s3_places *out, struct s3_place p, struct span key,
                     struct err *err)
{
    if (decode_key(ad->arena, key, &p.key, err) < 0)
        return -1;
    out->v[out->n++] = p;
    return 0;
}

/* Style for a bucket that could be asked for in either. */
static enum s3_style style_of(enum s3_addressing asked, enum s3_style otherwise)
{
    if (asked == S3_ADDRESS_PATH)
        return S3_STYLE_PATH;
    return asked == S3_ADDRESS_VIRTUAL ? S3_STYLE_VIRTUAL : otherwise;
}

/* Rules 1 and 2 where the host itself names the bucket, or starts with the one that was given. */
static int bucket_in_host(const struct address *ad, const char *bucket, struct span endpoint, struct s3_places *out,
                          struct err *err)
{
    if (check_bucket(bucket, err) < 0)
        return -1;
    struct s3_place p = place_at(ad, style_of(ad->addressing, S3_STYLE_VIRTUAL));
    p.bucket = bucket;
    p.endpoint.host = arena_dup_span(ad->arena, endpoint);
    return add_place(ad, out, p, ad->path, err);
}

static int bucket_in_path(const struct address *ad, const char *bucket, struct span key, struct s3_places *out,
                          struct err *err)
{
    if (check_bucket(bucket, err) < 0)
        return -1;
    struct s3_place p = place_at(ad, style_of(ad->addressing, S3_STYLE_PATH));
    p.bucket = bucket;
    return add_place(ad, out, p, key, err);
}

static int find_given_bucket(const struct address *ad, struct s3_places *out, struct err *err)
{
    const char *bucket = ad->src->bucket;
    if (ad->host.bucket.n > 0) {
        if (!span_eq(ad->host.bucket, span_of(bucket)))
            return err_set(err, ERR_INVALID, "the URL's host names bucket '%.*s', but bucket says '%s'",
                           SPAN_FMT(ad->host.bucket), bucket);
        return bucket_in_host(ad, bucket, ad->host.endpoint, out, err);
    }
    struct span host = span_of(ad->url.host), name = span_of(bucket);
    if (host.n > name.n + 1 && span_starts(host, name) && host.p[name.n] == '.')
        return bucket_in_host(ad, bucket, (struct span){host.p + name.n + 1, host.n - name.n - 1}, out, err);
    struct span key = ad->path;
    (void)drop_bucket(&key, bucket);
    return bucket_in_path(ad, bucket, key, out, err);
}

static int find_known_host(const struct address *ad, struct s3_places *out, struct err *err)
{
    if (ad->host.bucket.n > 0)
        return bucket_in_host(ad, arena_dup_span(ad->arena, ad->host.bucket), ad->host.endpoint, out, err);
    struct span bucket, key;
    const char *name = NULL;
    span_cut(ad->path, '/', &bucket, &key);
    if (bucket.n == 0) {
        err_set(err, ERR_INVALID, "'https://%s/' names no bucket", ad->url.host);
        return err_hint(err, "put it after the host: https://%s/BUCKET/KEY", ad->url.host);
    }
    if (decode_key(ad->arena, bucket, &name, err) < 0)
        return -1;
    return bucket_in_path(ad, name, key, out, err);
}

static int add_plain(const struct address *ad, struct s3_places *out, struct err *err)
{
    AUTO_BUF url;
    buf_init(&url, URL_LENGTH_MAX);
    url_write(&ad->url, &url);
    if (buf_check(&url, "URL", err) < 0)
        return -1;
    struct s3_place p = place_at(ad, S3_STYLE_PLAIN);
    p.plain_url = arena_dup_span(ad->arena, buf_span(&url));
    return add_place(ad, out, p, ad->path, err);
}

static int find_by_guessing(const struct address *ad, struct s3_places *out, struct err *err)
{
    struct span bucket, key;
    const char *name = NULL;
    span_cut(ad->path, '/', &bucket, &key);
    if (ad->addressing != S3_ADDRESS_PATH && add_place(ad, out, place_at(ad, S3_STYLE_HOST), ad->path, err) < 0)
        return -1;
    struct err no_bucket = ERR_INIT;
    if (bucket.n > 0 && ad->addressing != S3_ADDRESS_VIRTUAL) {
        if (decode_key(ad->arena, bucket, &name, err) < 0)
            return -1;
        if (bucket_in_path(ad, name, key, out, &no_bucket) < 0 && no_bucket.kind == ERR_UNSUPPORTED)
            return err_move(err, &no_bucket);
    }
    /* A folder, a pattern or a list of files can't be one plain object. */
    bool many = ad->path.n == 0 || ad->path.p[ad->path.n - 1] == '/' || ad->path.p[ad->path.n - 1] == '*';
    if (!many && ad->src->files.n == 0)
        return add_plain(ad, out, err);
    if (out->n == 0)
        return err_set(err, ERR_INVALID, "'%s' names no bucket", ad->url.host);
    return 0;
}

/* ?versionId= is understood everywhere; any other query makes the URL one plain object, as it stands. */
static bool version_query(const struct address *ad, const char **version)
{
    struct span q = span_of(ad->url.query);
    if (!span_starts(q, SPAN_LIT("versionId=")) || memchr(q.p, '&', q.n))
        return false;
    struct err ignored = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, URL_LENGTH_MAX);
    struct span value = {q.p + strlen("versionId="), q.n - strlen("versionId=")};
    if (percent_decode(&text, value, &ignored) < 0 || text.state != BUF_OK || memchr(buf_str(&text), '\0', text.n))
        return false;
    *version = arena_dup_span(ad->arena, buf_span(&text));
    return true;
}

static int find_url(struct arena *a, const struct source_s3 *src, enum s3_addressing addressing, struct s3_places *out,
                    struct err *err)
{
    struct address ad = {.arena = a, .src = src, .addressing = addressing};
    if (url_parse(a, span_of(src->url), &ad.url, err) < 0 || s3_host_read(ad.url.host, &ad.host, err) < 0)
        return -1;
    ad.path = span_of(ad.url.path);
    if (ad.path.n > 0 && ad.path.p[0] == '/') {
        ad.path.p++;
        ad.path.n--;
    }
    const char *version = NULL;
    if (ad.url.query && ad.url.query[0] && !version_query(&ad, &version)) {
        if (src->files.n == 0)
            return add_plain(&ad, out, err);
        err_set(err, ERR_INVALID, "the URL of an S3 folder has a query");
        return err_hint(err, "write a '?' that belongs to the key as %%3F");
    }
    int rc;
    if (!str_empty(src->bucket))
        rc = find_given_bucket(&ad, out, err);
    else if (ad.host.service != S3_SERVICE_OTHER)
        rc = find_known_host(&ad, out, err);
    else
        rc = find_by_guessing(&ad, out, err);
    for (size_t i = 0; i < out->n; i++)
        out->v[i].version_id = version;
    return rc;
}

/* ---- s3://bucket/key ---- */

/* "https://gateway.example/s3/" → "/s3" */
static const char *base_path(struct arena *a, const char *path)
{
    size_t n = strlen(path);
    while (n > 0 && path[n - 1] == '/')
        n--;
    return arena_dup_span(a, (struct span){path, n});
}

static int find_uri(struct arena *a, const struct source_s3 *src, const struct place_opts *opts, struct s3_places *out,
                    struct err *err)
{
    if (str_empty(src->bucket))
        return err_set(err, ERR_INVALID, "an S3 source needs a url or a bucket");
    if (check_bucket(src->bucket, err) < 0)
        return -1;
    const char *stated = !str_empty(src->endpoint) ? src->endpoint : opts->default_endpoint;
    bool china = strncmp(opts->region, "cn-", 3) == 0;
    const char *own = arena_printf(a, "https://s3.%s.amazonaws.com%s", opts->region, china ? ".cn" : "");
    if (!own)
        return arena_check(a, err);

    struct s3_place p = {.bucket = arena_dup(a, src->bucket), .key = src->key ? arena_dup(a, src->key) : ""};
    struct s3_host host;
    if (url_parse(a, span_of(str_empty(stated) ? own : stated), &p.endpoint, err) < 0 ||
        s3_host_read(p.endpoint.host, &host, err) < 0)
        return err_wrap(err, "endpoint");
    if (p.endpoint.query)
        return err_set(err, ERR_INVALID, "endpoint '%s' has a query", p.endpoint.host);
    p.service = host.service;
    p.host_region = arena_dup(a, host.region);
    p.endpoint.path = base_path(a, p.endpoint.path);
    if (strlen(p.key ? p.key : "") > KEY_MAX)
        return err_set(err, ERR_INVALID, "the key is longer than %d bytes", KEY_MAX);

    enum s3_style style = str_empty(stated) && place_bucket_is_label(src->bucket) ? S3_STYLE_VIRTUAL : S3_STYLE_PATH;
    if (host.bucket.n > 0) {
        if (!span_eq(host.bucket, span_of(src->bucket)))
            return err_set(err, ERR_INVALID, "the endpoint's host names bucket '%.*s', but the source is in '%s'",
                           SPAN_FMT(host.bucket), src->bucket);
        p.endpoint.host = arena_dup_span(a, host.endpoint);
        style = S3_STYLE_VIRTUAL;
    }
    p.style = style_of(opts->addressing, style);
    out->v[out->n++] = p;
    return arena_check(a, err);
}

int place_find(struct arena *a, const struct source_s3 *src, const struct place_opts *opts, struct s3_places *out,
               struct err *err)
{
    *out = (struct s3_places){.n = 0};
    int rc = str_empty(src->url) ? find_uri(a, src, opts, out, err) : find_url(a, src, opts->addressing, out, err);
    return rc < 0 ? -1 : arena_check(a, err);
}

/* ---- fronts ---- */

/* Only AWS names its regions in hosts that berth may make up; any other host stays as it was written, and so do AWS'
 * special doors (FIPS, acceleration, VPC endpoints). */
static bool follows_region(const struct s3_place *p, const char *region)
{
    struct span host = span_of(p->endpoint.host);
    if (p->service != S3_SERVICE_AWS || span_starts(host, SPAN_LIT("bucket.")) ||
        span_starts(host, SPAN_LIT("s3-fips")) || span_starts(host, SPAN_LIT("s3-accelerate")))
        return false;
    return strcmp(p->host_region[0] ? p->host_region : "us-east-1", region) != 0;
}

static void put_authority(const struct s3_place *p, const char *region, struct buf *out)
{
    if (!follows_region(p, region)) {
        url_authority(&p->endpoint, out);
        return;
    }
    const char *china = strncmp(region, "cn-", 3) == 0 ? ".cn" : "";
    const char *dual = strstr(p->endpoint.host, "dualstack") ? "dualstack." : "";
    buf_addf(out, "s3.%s%s.amazonaws.com%s", dual, region, china);
}

static void put_front(const struct s3_place *p, const char *region, enum s3_style style, struct buf *out)
{
    buf_adds(out, p->endpoint.scheme);
    buf_adds(out, "://");
    if (style == S3_STYLE_VIRTUAL) {
        buf_adds(out, p->bucket);
        buf_addc(out, '.');
    }
    put_authority(p, region, out);
    buf_adds(out, p->endpoint.path);
    if (style == S3_STYLE_PATH) {
        buf_addc(out, '/');
        percent_encode(out, span_of(p->bucket), false);
    }
}

void place_front(const struct s3_place *p, const char *region, struct buf *out)
{
    put_front(p, region, p->style, out);
}

void place_path_front(const struct s3_place *p, const char *region, struct buf *out)
{
    put_front(p, region, p->style == S3_STYLE_VIRTUAL ? S3_STYLE_PATH : p->style, out);
}

void place_endpoint(const struct s3_place *p, const char *region, struct buf *out)
{
    put_front(p, region, S3_STYLE_HOST, out);
}
