#include "s3/creds_sts.h"

#include "base/clock.h"
#include "base/enc.h"
#include "digest/digest.h"
#include "s3/creds_answer.h"
#include "s3/fault.h"
#include "xfer/http.h"
#include "xfer/url.h"

#define STS_GLOBAL_URL    "https://sts.amazonaws.com/"
#define STS_GLOBAL_REGION "us-east-1"
#define STS_LINES_MAX     8
#define FORM_TYPE         "application/x-www-form-urlencoded; charset=utf-8"

/* ---- where ---- */

/* Regions whose requests go to the global endpoint with "legacy" ("AWS STS Regional endpoints" of the guide). */
static bool is_legacy_region(const char *region)
{
    static const char *const regions[] = {
        "ap-northeast-1", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "aws-global", "ca-central-1",
        "eu-central-1",   "eu-north-1", "eu-west-1",      "eu-west-2",      "eu-west-3",  "sa-east-1",
        "us-east-1",      "us-east-2",  "us-west-1",      "us-west-2",
    };
    for (size_t i = 0; i < ARRAY_LEN(regions); i++)
        if (str_eq(region, regions[i]))
            return true;
    return false;
}

static char *find_url(const struct creds_env *env, const char *region, bool global, struct err *err)
{
    const char *given = service_endpoint(env, "AWS_ENDPOINT_URL_STS");
    if (given)
        return str_dup(given, err);
    if (global)
        return str_dup(STS_GLOBAL_URL, err);
    return str_printf(err, "https://sts.%s.amazonaws.com%s/", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}

int sts_open(struct sts *sts, const struct creds_env *env, const char *region, const char *regional, struct err *err)
{
    const char *wish = env_get(env, "AWS_STS_REGIONAL_ENDPOINTS");
    if (!wish)
        wish = str_empty(regional) ? "regional" : regional;
    if (!str_eq(wish, "legacy") && !str_eq(wish, "regional"))
        return err_set(err, ERR_INVALID, "AWS_STS_REGIONAL_ENDPOINTS is neither 'regional' nor 'legacy'");
    if (!str_empty(region) && !fault_region_valid(region))
        return err_set(err, ERR_INVALID, "'%.64s' can't be the name of a region", region);
    bool global =
        str_empty(region) || str_eq(region, "aws-global") || (str_eq(wish, "legacy") && is_legacy_region(region));
    sts->env = env;
    sts->url = find_url(env, region, global, err);
    bool custom = service_endpoint(env, "AWS_ENDPOINT_URL_STS") != NULL;
    bool own_region = !str_empty(region) && !str_eq(region, "aws-global") && (custom || !global);
    sts->region = str_dup(own_region ? region : STS_GLOBAL_REGION, err);
    return sts->url && sts->region ? 0 : -1;
}

void sts_release(struct sts *sts)
{
    free(sts->url);
    free(sts->region);
}

/* ---- the question ---- */

void sts_form(struct buf *form, const char *action)
{
    buf_init(form, STS_FORM_MAX);
    buf_addf(form, "Action=%s&Version=2011-06-15", action);
}

void sts_form_add(struct buf *form, const char *name, const char *value)
{
    if (str_empty(value))
        return;
    buf_addf(form, "&%s=", name);
    percent_encode(form, span_of(value), false);
}

int sts_form_role(struct buf *form, const struct creds_env *env, const struct role_settings *role, struct err *err)
{
    const char *session = str_empty(role->session_name) ? env_get(env, "AWS_ROLE_SESSION_NAME") : role->session_name;
    AUTO_STR made_up = str_printf(err, "berth-%lld", (long long)clock_wall_ms());
    AUTO_STR duration = str_printf(err, "%llu", (unsigned long long)role->duration_s);
    if (!made_up || !duration)
        return -1;
    sts_form_add(form, "RoleArn", role->arn);
    sts_form_add(form, "RoleSessionName", session ? session : made_up);
    sts_form_add(form, "DurationSeconds", role->duration_s ? duration : NULL);
    return 0;
}

/* "Name: value\r\n" lines, cut up in place. */
static size_t split_lines(char *lines, struct http_header *out, size_t max)
{
    size_t n = 0;
    for (char *end; n < max && (end = strstr(lines, "\r\n")); lines = end + 2) {
        *end = '\0';
        char *colon = strstr(lines, ": ");
        if (!colon)
            continue;
        *colon = '\0';
        out[n++] = (struct http_header){lines, colon + 2};
    }
    return n;
}

static int sign(const struct sts *sts, const struct url *url, const struct buf *form, const struct creds_grant *signer,
                struct buf *lines, struct err *err)
{
    AUTO_BUF host;
    struct digest_value v;
    char hash[DIGEST_HEX_MAX];
    buf_init(&host, 512);
    url_authority(url, &host);
    if (buf_check(&host, "host", err) < 0 || digest_bytes(DIGEST_SHA256, buf_str(form), form->n, &v, err) < 0)
        return -1;
    const struct sigv4_header type = {SPAN_LIT("content-type"), SPAN_LIT(FORM_TYPE)};
    const struct sigv4_request req = {.method = "POST",
                                      .host = buf_span(&host),
                                      .path = span_of(url->path),
                                      .query = span_of(url->query),
                                      .headers = &type,
                                      .header_count = 1,
                                      .payload_hash = digest_hex(hash, &v),
                                      .region = sts->region,
                                      .service = "sts",
                                      .now_ms = clock_wall_ms(),
                                      .normalise_path = true};
    const struct s3_keys keys = {signer->access_key_id, signer->secret_access_key, signer->session_token};
    return sigv4_sign(&req, &keys, lines, err);
}

/* ---- the answer ---- */

/* What is worth more words than its code. The messages of all others stay unsaid: that of a wrong signature quotes the
 * request, with its token. */
static const struct cure {
    const char *code;
    bool tell; /* the message holds no secret and says what is wrong */
    const char *hint;
} cures[] = {
    {"AccessDenied", true, "the role's trust policy must name who asks, and its conditions (external id) must hold"},
    {"ValidationError", true, NULL},
    {"RegionDisabledException", true, "switch the region's STS endpoint on, or set AWS_REGION"},
    {"IDPRejectedClaim", true, NULL},
    {"ExpiredTokenException", false, "the web identity token has ended; whoever writes its file must renew it"},
    {"ExpiredToken", false, "the keys that ask for the role have ended"},
    {"InvalidIdentityToken", false, "the role must trust the issuer of the web identity token"},
    {"InvalidClientTokenId", false, "the access key that asks for the role is not known to AWS"},
    {"SignatureDoesNotMatch", false, "the secret key is wrong, or this machine's clock is"},
    {"SignatureExpired", false, "is this machine's clock right?"},
};

static int refused(const struct http_response *resp, struct err *err)
{
    struct answer_fault fault;
    answer_sts_fault(buf_span(&resp->body), &fault);
    const struct cure *cure = NULL;
    for (size_t i = 0; i < ARRAY_LEN(cures) && !cure; i++)
        if (str_eq(fault.code, cures[i].code))
            cure = &cures[i];
    bool transient = resp->status >= 500 || resp->status == 429 || str_eq(fault.code, "Throttling");
    bool tell = cure && cure->tell && fault.message[0];
    err_set(err, transient ? ERR_TRANSIENT : ERR_DENIED, "%s: HTTP %d%s%s%s%s", resp->effective_url, resp->status,
            fault.code[0] ? " " : "", fault.code, tell ? ": " : "", tell ? fault.message : "");
    return cure && cure->hint ? err_hint(err, "%s", cure->hint) : -1;
}

int sts_call(const struct sts *sts, const struct buf *form, const struct creds_grant *signer,
             const struct cancel *cancel, struct creds_grant *out, struct err *err)
{
    if (buf_check(form, "request to STS", err) < 0)
        return -1;
    struct arena *a = arena_new(0, err);
    struct url url;
    AUTO_SECRET_BUF lines;
    buf_init(&lines, STS_FORM_MAX);
    if (!a)
        return -1;
    int rc = url_parse(a, span_of(sts->url), &url, err);
    if (rc == 0 && signer)
        rc = sign(sts, &url, form, signer, &lines, err);
    arena_free(a);
    if (rc < 0)
        return -1;
    struct http_header headers[STS_LINES_MAX + 1] = {{"Content-Type", FORM_TYPE}};
    size_t n = lines.n ? split_lines(lines.p, headers + 1, STS_LINES_MAX) : 0;
    struct http_request req = {.method = "POST",
                               .url = sts->url,
                               .headers = headers,
                               .header_count = n + 1,
                               .body = buf_span(form),
                               .cancel = cancel};
    struct http_response resp;
    if (service_call(sts->env, false, &req, &resp, err) < 0)
        return -1;
    rc = resp.status != 200 ? refused(&resp, err) : answer_sts(buf_span(&resp.body), out, err);
    service_release(&resp);
    return rc;
}
