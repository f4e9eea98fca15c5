#include "s3/host.h"

#include <ctype.h>

/* What stands before the service's domain, read from the right, label by label. In a label, '@' takes the region and
 * '#' anything; what is left on the left is the bucket. First match wins, so the longer forms stand first. */
struct host_form {
    enum s3_service service;
    const char *domain, *form;
    const char *region;  /* where the form has no '@'; "": not told by the host */
    const char *refused; /* NULL: plain S3 */
};

#define ACCESS_POINT "S3 access points"
#define AWS(form, region)                                                                                              \
    {S3_SERVICE_AWS, "amazonaws.com", form, region, NULL},                                                             \
    {                                                                                                                  \
        S3_SERVICE_AWS, "amazonaws.com.cn", form, region, NULL                                                         \
    }
#define AWS_REFUSED(form, what)                                                                                        \
    {S3_SERVICE_AWS, "amazonaws.com", form, "", what},                                                                 \
    {                                                                                                                  \
        S3_SERVICE_AWS, "amazonaws.com.cn", form, "", what                                                             \
    }

static const struct host_form forms[] = {
    AWS_REFUSED("s3-accesspoint.dualstack.@", ACCESS_POINT),
    AWS_REFUSED("s3-accesspoint-fips.dualstack.@", ACCESS_POINT),
    AWS_REFUSED("s3-accesspoint.@", ACCESS_POINT),
    AWS_REFUSED("s3-accesspoint-fips.@", ACCESS_POINT),
    AWS_REFUSED("accesspoint.s3-global", "S3 multi-region access points"),
    AWS_REFUSED("s3-object-lambda.@", "S3 Object Lambda access points"),
    AWS_REFUSED("s3-outposts.@", "S3 on Outposts"),
    AWS_REFUSED("s3express-#.@", "S3 Express directory buckets"),
    AWS_REFUSED("s3-control.@", "the S3 control endpoint"),
    AWS_REFUSED("s3-website.@", "S3 website endpoints (they are no S3 API)"),
    AWS_REFUSED("s3-website-@", "S3 website endpoints (they are no S3 API)"),
    AWS("bucket.#.s3.@.vpce", ""),
    AWS("s3-fips.dualstack.@", ""),
    AWS("s3.dualstack.@", ""),
    AWS("s3-accelerate.dualstack", ""),
    AWS("s3-fips.@", ""),
    AWS("s3.@", ""),
    AWS("s3-fips-@", ""),
    AWS("s3-external-1", "us-east-1"),
    AWS("s3-accelerate", ""),
    AWS("s3-@", ""),
    AWS("s3", ""),
    {S3_SERVICE_GOOGLE, "storage.googleapis.com", "", "auto", NULL},
    {S3_SERVICE_R2, "r2.cloudflarestorage.com", "#.eu", "auto", NULL},
    {S3_SERVICE_R2, "r2.cloudflarestorage.com", "#.fedramp", "auto", NULL},
    {S3_SERVICE_R2, "r2.cloudflarestorage.com", "#", "auto", NULL},
    {S3_SERVICE_OTHER, "digitaloceanspaces.com", "#.cdn", "", NULL}, /* a web cache in front, no S3 API */
    {S3_SERVICE_SPACES, "digitaloceanspaces.com", "@", "", NULL},
    {S3_SERVICE_B2, "backblazeb2.com", "s3.@", "", NULL},
    {S3_SERVICE_WASABI, "wasabisys.com", "s3.@", "", NULL},
    {S3_SERVICE_WASABI, "wasabisys.com", "s3", "us-east-1", NULL},
};

/* "us-gov-west-1": words, a digit at the end. Tells a region from the words that stand in its place elsewhere. */
static bool amazon_region(struct span s)
{
    unsigned dashes = 0;
    for (size_t i = 0; i < s.n; i++)
        dashes += s.p[i] == '-';
    return dashes >= 2 && isdigit((unsigned char)s.p[s.n - 1]);
}

static bool region_span(enum s3_service service, struct span s)
{
    if (s.n == 0 || s.n >= S3_REGION_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!islower((unsigned char)s.p[i]) && !isdigit((unsigned char)s.p[i]) && s.p[i] != '-')
            return false;
    return service != S3_SERVICE_AWS || amazon_region(s);
}

/* A label against its form; a wildcard stands last in a form's label. */
static bool match_label(const struct host_form *f, struct span form, struct span label, struct span *region)
{
    size_t fixed = form.n;
    if (form.n && (form.p[form.n - 1] == '@' || form.p[form.n - 1] == '#'))
        fixed--;
    if (!span_starts(label, (struct span){form.p, fixed}))
        return false;
    struct span rest = {label.p + fixed, label.n - fixed};
    if (fixed == form.n)
        return rest.n == 0;
    if (form.p[fixed] == '#')
        return rest.n > 0;
    *region = rest;
    return region_span(f->service, rest);
}

/* Cut the last label off. */
static struct span last_label(struct span *s)
{
    const char *dot = s->n ? memrchr(s->p, '.', s->n) : NULL;
    size_t at = dot ? (size_t)(dot - s->p) + 1 : 0;
    struct span label = {s->p + at, s->n - at};
    s->n = at > 0 ? at - 1 : 0;
    return label;
}

/* `before` is the host without the service's domain; what the form leaves of it is the bucket. */
static bool match_form(const struct host_form *f, struct span *before, struct span *region)
{
    struct span form = span_of(f->form);
    while (form.n > 0) {
        if (before->n == 0)
            return false;
        struct span wanted = last_label(&form), found = last_label(before);
        if (!match_label(f, wanted, found, region))
            return false;
    }
    return true;
}

/* "a.b.example.com" under "example.com": "a.b". */
static bool before_domain(struct span host, const char *domain, struct span *out)
{
    struct span d = span_of(domain);
    if (!span_ends(host, d))
        return false;
    size_t n = host.n - d.n;
    bool dot = span_ends((struct span){host.p, n}, SPAN_LIT("."));
    *out = (struct span){host.p, dot ? n - 1 : n};
    return dot || n == 0;
}

int s3_host_read(const char *host, struct s3_host *out, struct err *err)
{
    struct span whole = {host, strlen(host)};
    *out = (struct s3_host){.service = S3_SERVICE_OTHER, .endpoint = whole, .bucket = {host, 0}};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        const struct host_form *f = &forms[i];
        struct span before, region = {f->region, strlen(f->region)};
        if (!before_domain(whole, f->domain, &before) || !match_form(f, &before, &region))
            continue;
        if (f->refused) {
            err_set(err, ERR_UNSUPPORTED, "'%.256s': %s are not supported", host, f->refused);
            return err_hint(err, "name the bucket itself: s3://bucket/key, or https://s3.REGION.amazonaws.com/bucket");
        }
        out->service = f->service;
        if (f->service == S3_SERVICE_OTHER)
            return 0;
        out->bucket = before;
        size_t skip = before.n ? before.n + 1 : 0;
        out->endpoint = (struct span){host + skip, whole.n - skip};
        memcpy(out->region, region.p, region.n);
        return 0;
    }
    return 0;
}

bool s3_host_is_amazon(const char *host)
{
    struct span h = span_of(host);
    return span_ends(h, SPAN_LIT(".amazonaws.com")) || span_ends(h, SPAN_LIT(".amazonaws.com.cn"));
}
