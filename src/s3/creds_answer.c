#include "s3/creds_answer.h"

#include "base/clock.h"
#include "s3/xml.h"

void answer_wipe(json_t *document)
{
    const char *key;
    json_t *value;
    json_object_foreach(document, key, value)
    {
        if (json_is_string(value))
            mem_wipe((char *)json_string_value(value), json_string_length(value));
        else if (json_is_object(value))
            answer_wipe(value);
    }
}

static void release_wiped(json_t **document)
{
    answer_wipe(*document);
    json_decref(*document);
}
#define AUTO_SECRET_JSON AUTO(release_wiped) json_t *

/* ---- JSON ---- */

static const struct dialect {
    const char *inside;              /* the member that holds the keys; NULL: the document itself */
    const char *id, *secret, *token; /* names of members */
    const char *expires;             /* RFC 3339, or milliseconds since 1970 */
    const char *identity;            /* NULL: not told */
    bool temporary;                  /* token and end are required */
} dialects[] = {
    [ANSWER_PROCESS] = {NULL, "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration", NULL, false},
    [ANSWER_CONTAINER] = {NULL, "AccessKeyId", "SecretAccessKey", "Token", "Expiration", "RoleArn", false},
    [ANSWER_INSTANCE] = {NULL, "AccessKeyId", "SecretAccessKey", "Token", "Expiration", NULL, true},
    [ANSWER_SSO] = {"roleCredentials", "accessKeyId", "secretAccessKey", "sessionToken", "expiration", NULL, true},
};

static int parse_expiry(struct span text, int64_t *out_ms, struct err *err)
{
    struct err unused = ERR_INIT;
    if (time_parse_iso(text, out_ms, &unused) < 0 || *out_ms <= 0)
        return err_set(err, ERR_PROTOCOL, "the time at which the keys end is not a date");
    return 0;
}

static int read_expiry(const json_t *keys, const struct dialect *d, int64_t *out_ms, struct err *err)
{
    const json_t *value = json_object_get(keys, d->expires);
    if (json_is_string(value))
        return parse_expiry(span_of(json_string_value(value)), out_ms, err);
    if (json_is_integer(value) && json_integer_value(value) > 0) {
        *out_ms = json_integer_value(value);
        return 0;
    }
    if (value && !json_is_null(value))
        return err_set(err, ERR_PROTOCOL, "%s is not a date", d->expires);
    return 0;
}

static int read_keys(const json_t *keys, const struct dialect *d, struct creds_grant *out, struct err *err)
{
    const char *token = json_get_str(keys, d->token), *identity = d->identity ? json_get_str(keys, d->identity) : NULL;
    if (!json_get_str(keys, d->id) || !json_get_str(keys, d->secret) || (d->temporary && !token))
        return err_set(err, ERR_PROTOCOL, "the answer lacks %s, %s%s%s", d->id, d->secret, d->temporary ? " or " : "",
                       d->temporary ? d->token : "");
    if (grant_set(out, json_get_str(keys, d->id), json_get_str(keys, d->secret), token, err) < 0 ||
        read_expiry(keys, d, &out->expires_ms, err) < 0)
        return -1;
    if (!out->expires_ms && d->temporary)
        return err_set(err, ERR_PROTOCOL, "the answer lacks %s", d->expires);
    if (identity && !(out->identity = str_dup(identity, err)))
        return -1;
    return 0;
}

/* What stands around the keys says that these are some. */
static int check_frame(enum answer_dialect dialect, const json_t *document, struct err *err)
{
    int64_t version = 0;
    const char *code = json_get_str(document, "Code");
    if (dialect == ANSWER_PROCESS && (!json_get_i64(document, "Version", &version) || version != 1))
        return err_set(err, ERR_PROTOCOL, "the answer is not of Version 1");
    if (dialect == ANSWER_INSTANCE && code && !str_eq(code, "Success"))
        return err_set(err, ERR_DENIED, "the answer's Code is '%.64s'", code);
    return 0;
}

int answer_json(enum answer_dialect dialect, struct span text, struct creds_grant *out, struct err *err)
{
    const struct dialect *d = &dialects[dialect];
    struct err why = ERR_INIT;
    if (text.n > ANSWER_BYTES_MAX)
        return err_set(err, ERR_PROTOCOL, "an answer of more than %zu bytes", ANSWER_BYTES_MAX);
    AUTO_SECRET_JSON document = json_parse(text, &why);
    if (!document && why.kind == ERR_NOMEM)
        return err_nomem(err);
    const json_t *keys = d->inside ? json_object_get(document, d->inside) : document;
    if (!json_is_object(keys)) /* a parser's words may quote the text, and with it a secret */
        return err_set(err, ERR_PROTOCOL, "the answer is not the JSON object it should be");
    if (check_frame(dialect, document, err) == 0 && read_keys(keys, d, out, err) == 0)
        return 0;
    grant_release(out);
    return -1;
}

/* ---- XML ---- */

#define STS_KEYS_DEPTH 4 /* AssumeRoleResponse / AssumeRoleResult / Credentials / AccessKeyId */

struct sts_reading {
    bool in_keys;
    char *id, *secret, *token; /* wiped at the end */
    int64_t expires_ms;
    struct answer_fault fault;
};

static int open_sts(void *ctx, const char *name, unsigned depth, struct err *err)
{
    struct sts_reading *r = ctx;
    (void)err;
    if (depth == STS_KEYS_DEPTH - 1)
        r->in_keys = strcmp(name, "Credentials") == 0;
    return 0;
}

static int take_secret(char **into, struct span text, struct err *err)
{
    str_free_secret(*into);
    *into = str_dup_span(text, err);
    return *into ? 0 : -1;
}

/* What does not fit is left out, whole characters only. */
static void copy_text(char *out, size_t room, struct span text)
{
    size_t n = 0, step;
    while (n < text.n && (step = span_utf8_step((struct span){text.p + n, text.n - n})) && n + step < room)
        n += step;
    memcpy(out, text.p, n);
    out[n] = '\0';
}

static int close_sts(void *ctx, const char *name, unsigned depth, struct span text, struct err *err)
{
    struct sts_reading *r = ctx;
    text = span_trim(text);
    if (strcmp(name, "Code") == 0)
        copy_text(r->fault.code, sizeof r->fault.code, text);
    if (strcmp(name, "Message") == 0)
        copy_text(r->fault.message, sizeof r->fault.message, text);
    if (depth != STS_KEYS_DEPTH || !r->in_keys)
        return 0;
    if (strcmp(name, "AccessKeyId") == 0)
        return take_secret(&r->id, text, err);
    if (strcmp(name, "SecretAccessKey") == 0)
        return take_secret(&r->secret, text, err);
    if (strcmp(name, "SessionToken") == 0)
        return take_secret(&r->token, text, err);
    return strcmp(name, "Expiration") == 0 ? parse_expiry(text, &r->expires_ms, err) : 0;
}

static void release_reading(struct sts_reading *r)
{
    str_free_secret(r->id);
    str_free_secret(r->secret);
    str_free_secret(r->token);
}

static int read_sts(struct span text, struct sts_reading *r, struct err *err)
{
    static const struct xml_events events = {.open = open_sts, .close = close_sts};
    struct xml *x = xml_open(&events, r, ANSWER_BYTES_MAX, err);
    if (!x)
        return -1;
    int rc = xml_feed(x, text.p, text.n, err) < 0 || xml_finish(x, err) < 0 ? -1 : 0;
    xml_free(x);
    return rc;
}

int answer_sts(struct span text, struct creds_grant *out, struct err *err)
{
    AUTO(release_reading) struct sts_reading r = {0};
    if (read_sts(text, &r, err) < 0)
        return -1;
    if (!r.id || !r.secret || !r.token || !r.expires_ms)
        return err_set(err, ERR_PROTOCOL, "the answer lacks keys, a token or their end");
    out->expires_ms = r.expires_ms;
    if (grant_set(out, r.id, r.secret, r.token, err) == 0)
        return 0;
    grant_release(out);
    return -1;
}

void answer_sts_fault(struct span text, struct answer_fault *out)
{
    AUTO(release_reading) struct sts_reading r = {0};
    struct err unused = ERR_INIT;
    (void)read_sts(text, &r, &unused);
    *out = r.fault;
}
