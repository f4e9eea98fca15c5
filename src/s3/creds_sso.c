/* A person's sign-on: `aws sso login` leaves a token in a file, the portal gives keys for it.
 *
 * "IAM Identity Center credential provider" of the AWS SDKs and Tools Reference Guide; GetRoleCredentials of the IAM
 * Identity Center Portal API. The token is read anew each time, so that another login is seen. */
#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "digest/digest.h"
#include "s3/creds_answer.h"
#include "s3/fault.h"
#include "xfer/http.h"

#include <fcntl.h>

#define SSO_FILE_MAX ((size_t)64 << 10)
#define SSO_URL_MAX  4096

struct source_sso {
    struct creds_source base;
    const struct creds_env *env;
    char *url;        /* of the question, with account and role, neither of which is secret */
    char *token_file; /* ~/.aws/sso/cache/<SHA-1>.json */
    char *identity;
    char *profile;
};

static int log_in_again(const struct source_sso *s, struct err *err)
{
    return err_hint(err, "log in: aws sso login --profile %s", s->profile);
}

/* ---- the token ---- */

static int read_document(const struct source_sso *s, const json_t *document, struct buf *token, struct err *err)
{
    const char *value = json_get_str(document, "accessToken"), *expires = json_get_str(document, "expiresAt");
    int64_t expires_ms = 0;
    struct err unused = ERR_INIT;
    /* Older versions of the AWS CLI wrote "UTC" for "Z". */
    AUTO_STR end = str_dup(expires, err);
    if (!end)
        return -1;
    size_t n = strlen(end);
    if (n > 3 && strcmp(end + n - 3, "UTC") == 0)
        memcpy(end + n - 3, "Z", 2);
    if (str_empty(value) || time_parse_iso(span_of(end), &expires_ms, &unused) < 0)
        return err_set(err, ERR_INVALID, "%s: holds no access token with an end", s->token_file);
    if (expires_ms <= clock_wall_ms()) {
        err_set(err, ERR_DENIED, "the login ended at %s", end);
        return log_in_again(s, err);
    }
    buf_adds(token, value);
    return buf_check(token, "access token", err);
}

static int read_login(const struct source_sso *s, struct buf *token, struct err *err)
{
    AUTO_SECRET_BUF text;
    struct err why = ERR_INIT;
    buf_init(&text, SSO_FILE_MAX);
    buf_init(token, CREDS_KEY_MAX);
    if (fs_read_file(AT_FDCWD, s->token_file, SSO_FILE_MAX, &text, &why) < 0) {
        if (why.kind != ERR_NOTFOUND)
            return err_move(err, &why);
        err_set(err, ERR_DENIED, "nobody is logged in (%s does not exist)", s->token_file);
        return log_in_again(s, err);
    }
    json_t *document = json_parse(buf_span(&text), &why);
    if (!document) /* the parser's words may quote the text */
        return err_set(err, ERR_INVALID, "%s: not a JSON document", s->token_file);
    int rc = read_document(s, document, token, err);
    answer_wipe(document);
    json_decref(document);
    return rc;
}

/* ---- the source ---- */

static int read_answer(const struct source_sso *s, const struct http_response *resp, struct creds_grant *out,
                       struct err *err)
{
    if (resp->status == 200)
        return answer_json(ANSWER_SSO, buf_span(&resp->body), out, err) < 0 ? err_wrap(err, "%s", resp->effective_url)
                                                                            : 0;
    err_set(err, resp->status >= 500 || resp->status == 429 ? ERR_TRANSIENT : ERR_DENIED, "%s: HTTP %d",
            resp->effective_url, resp->status);
    if (resp->status == 401)
        return log_in_again(s, err);
    if (resp->status == 403 || resp->status == 404)
        err_hint(err, "does sso_account_id have the role sso_role_name, and may you use it?");
    return -1;
}

static int fetch_sso(struct creds_source *base, const struct cancel *cancel, struct creds_grant *out, struct err *err)
{
    struct source_sso *s = (struct source_sso *)base;
    AUTO_SECRET_BUF token;
    if (read_login(s, &token, err) < 0)
        return err_wrap(err, "single sign-on");
    const struct http_header header = {"x-amz-sso_bearer_token", buf_str(&token)};
    struct http_request req = {.url = s->url, .headers = &header, .header_count = 1, .cancel = cancel};
    struct http_response resp;
    if (service_call(s->env, false, &req, &resp, err) < 0)
        return err_wrap(err, "single sign-on");
    int rc = read_answer(s, &resp, out, err);
    service_release(&resp);
    return rc < 0 ? err_wrap(err, "single sign-on") : 0;
}

static int identify_sso(const struct creds_source *base, struct buf *out, struct err *err)
{
    buf_adds(out, ((const struct source_sso *)base)->identity);
    return buf_check(out, "identity", err);
}

static void free_sso(struct creds_source *base)
{
    struct source_sso *s = (struct source_sso *)base;
    free(s->url);
    free(s->token_file);
    free(s->identity);
    free(s->profile);
}

static const struct creds_source_ops ops_sso = {.fetch = fetch_sso, .identify = identify_sso, .free = free_sso};

/* ---- finding it ---- */

/* The AWS CLI names the file by the session, or by the start URL in settings of the older form. */
static char *find_token_file(const struct creds_env *env, const struct sso_settings *settings, struct err *err)
{
    const char *name = settings->session ? settings->session : settings->start_url;
    struct digest_value v;
    char hex[DIGEST_HEX_MAX];
    if (digest_bytes(DIGEST_SHA1, name, strlen(name), &v, err) < 0)
        return NULL;
    AUTO_STR path = str_printf(err, "~/.aws/sso/cache/%s.json", digest_hex(hex, &v));
    return path ? home_path(env, path, err) : NULL;
}

static char *find_url(const struct creds_env *env, const struct sso_settings *settings, struct err *err)
{
    const char *given = service_endpoint(env, "AWS_ENDPOINT_URL_SSO");
    AUTO_BUF url;
    buf_init(&url, SSO_URL_MAX);
    if (given)
        buf_add_span(&url, span_head(span_of(given), strlen(given) - (given[strlen(given) - 1] == '/')));
    else
        buf_addf(&url, "https://portal.sso.%s.amazonaws.com%s", settings->region,
                 strncmp(settings->region, "cn-", 3) == 0 ? ".cn" : "");
    buf_adds(&url, "/federation/credentials?role_name=");
    percent_encode(&url, span_of(settings->role_name), false);
    buf_adds(&url, "&account_id=");
    percent_encode(&url, span_of(settings->account_id), false);
    return buf_take(&url, "URL of the SSO portal", err);
}

static int check(const struct sso_settings *settings, struct err *err)
{
    const char *const required[][2] = {{"sso_start_url", settings->start_url},
                                       {"sso_region", settings->region},
                                       {"sso_account_id", settings->account_id},
                                       {"sso_role_name", settings->role_name}};
    for (size_t i = 0; i < ARRAY_LEN(required); i++)
        if (str_empty(required[i][1]))
            return err_set(err, ERR_INVALID, "%s: single sign-on needs %s", settings->what, required[i][0]);
    if (!fault_region_valid(settings->region))
        return err_set(err, ERR_INVALID, "%s: '%.64s' can't be the name of a region (sso_region)", settings->what,
                       settings->region);
    return 0;
}

int source_sso_new(struct creds_source **out, const struct creds_env *env, const struct sso_settings *settings,
                   struct err *err)
{
    if (check(settings, err) < 0)
        return -1;
    struct source_sso *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(err);
    s->base.ops = &ops_sso;
    s->env = env;
    s->base.label = str_printf(err, "%s (single sign-on)", settings->what);
    s->url = find_url(env, settings, err);
    s->token_file = find_token_file(env, settings, err);
    s->identity =
        str_printf(err, "single sign-on\n%s\n%s\n%s", settings->start_url, settings->account_id, settings->role_name);
    s->profile = str_dup(settings->profile, err);
    if (err_is_set(err)) {
        source_free(&s->base);
        return err_wrap(err, "%s", settings->what);
    }
    *out = &s->base;
    return 0;
}
