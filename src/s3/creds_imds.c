/* Keys of an EC2 machine's role, from its metadata service, version 2: a token first, then the role's name, then its
 * keys.
 *
 * "Use IMDSv2" of the Amazon EC2 User Guide, "IMDS credential provider" of the AWS SDKs and Tools Reference Guide.
 * Version 1 is not spoken: a service that gives no token is none. On machines that are no EC2 instances its address
 * leads nowhere, and connecting there may hang; so the firmware is looked at first, the first call has one second and
 * one try, and a process that met silence does not ask again. In a container behind one more hop the answer to the
 * token call does not arrive; the same second ends that. */
#include "base/fs.h"
#include "base/log.h"
#include "s3/creds_answer.h"
#include "xfer/http.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>

#define IMDS_ORIGIN_4      "http://169.254.169.254"
#define IMDS_ORIGIN_6      "http://[fd00:ec2::254]"
#define IMDS_TOKEN_TTL_S   "21600" /* six hours, the most there is */
#define IMDS_TOKEN_MAX     1024
#define IMDS_FIRST_IDLE_MS 1000
#define IMDS_TRIES         3
#define IMDS_ROLES         "/latest/meta-data/iam/security-credentials/"
#define ROLE_MAX           64
#define DMI_FOLDER         "/sys/class/dmi/id/"

/* Whether the usual address was silent once. */
static atomic_bool silent;

struct source_instance {
    struct creds_source base;
    const struct creds_env *env;
    char *origin; /* without a slash at its end */
    bool usual;   /* the origin is IMDS_ORIGIN_4 or _6 */
};

/* ---- the firmware ---- */

bool dmi_rules_out_ec2(const struct dmi *dmi)
{
    const char *const fields[] = {dmi->sys_vendor, dmi->board_vendor, dmi->bios_vendor, dmi->bios_version};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (strcasestr(fields[i], "amazon"))
            return false;
    /* Older instances are Xen guests, and say little more. Without a vendor nothing is known. */
    return dmi->sys_vendor[0] && strcasecmp(dmi->sys_vendor, "xen") != 0;
}

static void read_dmi(const char *name, char out[64])
{
    AUTO_BUF text;
    struct err unused = ERR_INIT;
    char path[64];
    buf_init(&text, 256);
    snprintf(path, sizeof path, DMI_FOLDER "%s", name);
    out[0] = '\0';
    if (fs_read_file(AT_FDCWD, path, 256, &text, &unused) == 0)
        snprintf(out, 64, "%.*s", SPAN_FMT(span_head(span_trim(buf_span(&text)), 63)));
}

static bool firmware_rules_out(void)
{
    struct dmi dmi = {0};
    read_dmi("sys_vendor", dmi.sys_vendor);
    read_dmi("board_vendor", dmi.board_vendor);
    read_dmi("bios_vendor", dmi.bios_vendor);
    read_dmi("bios_version", dmi.bios_version);
    return dmi_rules_out_ec2(&dmi);
}

/* ---- calls ---- */

static int get(struct source_instance *s, const char *token, const char *path, const struct cancel *cancel,
               struct http_response *resp, struct err *err)
{
    AUTO_STR url = str_printf(err, "%s%s", s->origin, path);
    if (!url)
        return -1;
    const struct http_header header = {"X-aws-ec2-metadata-token", token};
    struct http_request req = {
        .url = url, .headers = &header, .header_count = 1, .tries = IMDS_TRIES, .cancel = cancel};
    return service_call(s->env, true, &req, resp, err);
}

/* 0 with a token, CREDS_NOTHING where nobody is there or gives one, -1. */
static int get_token(struct source_instance *s, const struct cancel *cancel, struct buf *token, struct err *err)
{
    if (s->usual && atomic_load(&silent))
        return CREDS_NOTHING;
    AUTO_STR url = str_printf(err, "%s/latest/api/token", s->origin);
    if (!url)
        return -1;
    const struct http_header header = {"X-aws-ec2-metadata-token-ttl-seconds", IMDS_TOKEN_TTL_S};
    struct http_request req = {.method = "PUT",
                               .url = url,
                               .headers = &header,
                               .header_count = 1,
                               .idle_timeout_ms = IMDS_FIRST_IDLE_MS,
                               .tries = 1,
                               .cancel = cancel};
    struct http_response resp;
    struct err why = ERR_INIT;
    if (service_call(s->env, true, &req, &resp, &why) < 0) {
        if (why.kind != ERR_TRANSIENT && why.kind != ERR_TIMEOUT)
            return err_move(err, &why);
        if (s->usual)
            atomic_store(&silent, true);
        log_debug("s3", "no EC2 instance metadata here (reason=\"%s\")", why.text);
        return CREDS_NOTHING;
    }
    int rc = resp.status == 200 && resp.body.n && resp.body.n <= IMDS_TOKEN_MAX ? 0 : CREDS_NOTHING;
    if (rc == 0)
        buf_add_span(token, span_trim(buf_span(&resp.body)));
    else
        log_debug("s3", "EC2 instance metadata gave no token (status=%d)", resp.status);
    service_release(&resp);
    return rc == 0 ? buf_check(token, "token of EC2 instance metadata", err) : rc;
}

static int refused(const struct http_response *resp, struct err *err)
{
    return err_set(err, resp->status >= 500 || resp->status == 429 ? ERR_TRANSIENT : ERR_DENIED, "%s: HTTP %d",
                   resp->effective_url, resp->status);
}

/* The first line of the list; CREDS_NOTHING where the machine has no role. */
static int get_role(struct source_instance *s, const char *token, const struct cancel *cancel, char out[ROLE_MAX + 1],
                    struct err *err)
{
    static const char name[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-";
    struct http_response resp;
    if (get(s, token, IMDS_ROLES, cancel, &resp, err) < 0)
        return -1;
    struct span first, rest;
    span_cut(span_trim(buf_span(&resp.body)), '\n', &first, &rest);
    first = span_trim(first);
    snprintf(out, ROLE_MAX + 1, "%.*s", SPAN_FMT(span_head(first, ROLE_MAX)));
    int rc = 0;
    if (resp.status == 404 || (resp.status == 200 && first.n == 0))
        rc = CREDS_NOTHING;
    else if (resp.status != 200)
        rc = refused(&resp, err);
    else if (first.n > ROLE_MAX || out[strspn(out, name)])
        rc = err_set(err, ERR_PROTOCOL, "%s: the answer is not the name of a role", resp.effective_url);
    service_release(&resp);
    return rc;
}

static int get_keys(struct source_instance *s, const char *token, const char *role, const struct cancel *cancel,
                    struct creds_grant *out, struct err *err)
{
    struct http_response resp;
    AUTO_STR path = str_printf(err, IMDS_ROLES "%s", role);
    if (!path || get(s, token, path, cancel, &resp, err) < 0)
        return -1;
    int rc = resp.status != 200 ? refused(&resp, err) : 0;
    if (rc == 0 && answer_json(ANSWER_INSTANCE, buf_span(&resp.body), out, err) < 0)
        rc = err_wrap(err, "%s", resp.effective_url);
    service_release(&resp);
    return rc;
}

static int fetch_instance(struct creds_source *base, const struct cancel *cancel, struct creds_grant *out,
                          struct err *err)
{
    struct source_instance *s = (struct source_instance *)base;
    AUTO_SECRET_BUF token;
    char role[ROLE_MAX + 1];
    buf_init(&token, IMDS_TOKEN_MAX);
    int rc = get_token(s, cancel, &token, err);
    if (rc == 0)
        rc = get_role(s, buf_str(&token), cancel, role, err);
    if (rc == 0)
        rc = get_keys(s, buf_str(&token), role, cancel, out, err);
    if (rc == 0 && !(out->identity = str_printf(err, "EC2 role %s", role)))
        rc = -1;
    return rc;
}

static void free_instance(struct creds_source *base)
{
    free(((struct source_instance *)base)->origin);
}

static const struct creds_source_ops ops_instance = {
    .fetch = fetch_instance,
    .free = free_instance,
    .may_lack = true,
};

/* ---- finding it ---- */

static int find_origin(struct source_instance *s, struct err *err)
{
    const char *given = env_get(s->env, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
    const char *mode = env_get(s->env, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    bool six = mode && span_eq_nocase(span_of(mode), SPAN_LIT("ipv6"));
    struct span origin = span_of(given ? given : six ? IMDS_ORIGIN_6 : IMDS_ORIGIN_4);
    while (origin.n && origin.p[origin.n - 1] == '/')
        origin.n--;
    s->usual = !given;
    s->origin = str_dup_span(origin, err);
    return s->origin ? 0 : -1;
}

int source_instance_new(struct creds_source **out, const struct creds_env *env, bool ask_anyway, struct err *err)
{
    const char *disabled = env_get(env, "AWS_EC2_METADATA_DISABLED");
    bool given = env_get(env, "AWS_EC2_METADATA_SERVICE_ENDPOINT") != NULL;
    *out = NULL;
    if (disabled && span_eq_nocase(span_of(disabled), SPAN_LIT("true")))
        return 0;
    if (!given && !ask_anyway && (atomic_load(&silent) || firmware_rules_out()))
        return 0;
    struct source_instance *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(err);
    s->base.ops = &ops_instance;
    s->env = env;
    if (!(s->base.label = str_dup("EC2 instance metadata", err)) || find_origin(s, err) < 0) {
        source_free(&s->base);
        return -1;
    }
    *out = &s->base;
    return 0;
}
