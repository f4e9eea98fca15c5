#include "s3/fault.h"

#include "s3/xml.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* S3 refuses signatures that are off by more than 15 minutes. */
#define CLOCK_SKEW_MS ((int64_t)15 * 60 * 1000)

bool fault_region_valid(const char *region)
{
    size_t n = strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return n > 0 && n <= 32 && region[n] == '\0' && region[0] != '-';
}

/* ---- reading ---- */

/* A server's words become part of error lines: no control characters. */
static void copy_text(char *out, size_t room, struct span s)
{
    size_t n = s.n < room ? s.n : room - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = iscntrl((unsigned char)s.p[i]) ? '?' : s.p[i];
    out[n] = '\0';
}

static int on_open(void *ctx, const char *name, unsigned depth, struct err *err)
{
    (void)ctx;
    if (depth == 1 && strcmp(name, "Error") != 0)
        return err_set(err, ERR_PROTOCOL, "not an S3 error");
    return 0;
}

static int on_close(void *ctx, const char *name, unsigned depth, struct span text, struct err *err)
{
    struct fault *f = ctx;
    (void)err;
    if (depth != 2)
        return 0;
    struct span s = span_trim(text);
    if (strcmp(name, "Code") == 0)
        copy_text(f->code, sizeof f->code, s);
    else if (strcmp(name, "Message") == 0)
        copy_text(f->message, sizeof f->message, s);
    else if (strcmp(name, "Region") == 0 && !f->region[0])
        copy_text(f->region, sizeof f->region, s);
    else if (strcmp(name, "Endpoint") == 0)
        copy_text(f->endpoint, sizeof f->endpoint, s);
    return 0;
}

static const struct xml_events fault_events = {on_open, on_close};

static void read_body(struct fault *f, struct span body)
{
    struct err ignored = ERR_INIT;
    if (body.n == 0 || body.n > FAULT_BODY_MAX)
        return;
    struct xml *x = xml_open(&fault_events, f, FAULT_BODY_MAX, &ignored);
    if (x && xml_feed(x, body.p, body.n, &ignored) == 0)
        (void)xml_finish(x, &ignored);
    xml_free(x);
}

/* "bucket.s3-us-west-2.amazonaws.com", "bucket.s3.us-west-2.amazonaws.com" */
static void region_of_endpoint(struct fault *f)
{
    const char *at = strstr(f->endpoint, "s3-");
    if (!at)
        at = strstr(f->endpoint, "s3.");
    const char *end = at ? strstr(at, ".amazonaws.com") : NULL;
    if (end && end > at + 3)
        copy_text(f->region, sizeof f->region, (struct span){at + 3, (size_t)(end - at - 3)});
}

void fault_read(struct fault *out, int status, const char *region_header, int64_t date_ms, struct span body)
{
    *out = (struct fault){.status = status, .date_ms = date_ms};
    if (region_header)
        copy_text(out->region, sizeof out->region, span_trim(span_of(region_header)));
    read_body(out, body);
    if (!out->region[0])
        region_of_endpoint(out);
    if (!fault_region_valid(out->region))
        out->region[0] = '\0';
}

/* ---- curing ---- */

static bool code_is(const struct fault *f, const char *const *codes)
{
    for (; *codes; codes++)
        if (strcmp(f->code, *codes) == 0)
            return true;
    return false;
}

static const char *const codes_expired[] = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", NULL};
static const char *const codes_transient[] = {
    "RequestTimeout", "SlowDown", "InternalError", "OperationAborted", "Throttling", "ServiceUnavailable", NULL};

enum fault_cure fault_cure(const struct fault *f, bool anonymous, const char *region, int64_t now_ms)
{
    bool elsewhere = f->status == 301 || f->status == 307 || f->status == 400 || f->status == 403;
    if (elsewhere && f->region[0] && strcmp(f->region, region) != 0)
        return FAULT_REGION;
    if (code_is(f, codes_transient))
        return FAULT_RETRY;
    if (anonymous)
        return FAULT_FINAL;
    if (code_is(f, codes_expired))
        return FAULT_EXPIRED;
    int64_t off = f->date_ms ? f->date_ms - now_ms : 0;
    bool far = off > CLOCK_SKEW_MS || off < -CLOCK_SKEW_MS;
    if (strcmp(f->code, "RequestTimeTooSkewed") == 0)
        return f->date_ms ? FAULT_CLOCK : FAULT_FINAL;
    if (far && (f->status == 403 || f->status == 400)) /* HEAD answers carry no code */
        return FAULT_CLOCK;
    return FAULT_FINAL;
}

/* ---- telling ---- */

#define SUBJECT_LENGTH_MAX 700

struct telling {
    const char *code; /* NULL: by status */
    int status;
    enum err_kind kind;
    const char *text; /* after "NAME: " */
    const char *hint; /* NULL: none, or decided by the kind */
};

static const struct telling tellings[] = {
    {"NoSuchKey", 0, ERR_NOTFOUND, "no such object", NULL},
    {"NoSuchBucket", 0, ERR_NOTFOUND, "no such bucket", "check the bucket's name, and the endpoint it is at"},
    {"NoSuchVersion", 0, ERR_NOTFOUND, "the object has no such version", "check VersionID"},
    {"InvalidBucketName", 0, ERR_INVALID, "the server refuses this bucket name", NULL},
    {"KeyTooLongError", 0, ERR_INVALID, "the key is longer than S3 allows", NULL},
    {"MethodNotAllowed", 405, ERR_NOTFOUND, "not an object that can be read (a delete marker?)",
     "choose a VersionID that holds data"},
    {"InvalidObjectState", 0, ERR_UNSUPPORTED, "the object is archived in Glacier and is not restored",
     "restore it first (S3 RestoreObject), then run again"},
    {"PreconditionFailed", 412, ERR_CHANGED, "changed while downloading", NULL},
    {"InvalidRange", 416, ERR_CHANGED, "is shorter than it was: changed while downloading", NULL},
    {"InvalidAccessKeyId", 0, ERR_DENIED, "the server does not know the access key id",
     "check ACCESS_KEY_ID, and that it belongs to this endpoint"},
    {"SignatureDoesNotMatch", 0, ERR_DENIED, "the signature does not match: the secret access key is wrong",
     "check SECRET_ACCESS_KEY, and that no proxy changes the requests"},
    {"ExpiredToken", 0, ERR_DENIED, "the credentials have expired", "get new ones and run again"},
    {"InvalidToken", 0, ERR_DENIED, "the session token is malformed or belongs to other keys", "check SESSION_TOKEN"},
    {"TokenRefreshRequired", 0, ERR_DENIED, "the session token must be refreshed", "get new ones and run again"},
    {"RequestTimeTooSkewed", 0, ERR_DENIED, "this machine's clock is too far from the server's",
     "set the clock (timedatectl set-ntp true)"},
    {"AuthorizationHeaderMalformed", 0, ERR_DENIED, "signed for the wrong region", "state the bucket's region"},
    {"PermanentRedirect", 301, ERR_INVALID, "the bucket is at another endpoint",
     "state the bucket's endpoint or region"},
    {"TemporaryRedirect", 307, ERR_TRANSIENT, "the bucket is being moved to another endpoint",
     "state the bucket's region"},
    {"RequestTimeout", 0, ERR_TRANSIENT, "the server waited too long", NULL},
    {"SlowDown", 0, ERR_TRANSIENT, "the server asks to slow down, still after all tries", NULL},
    {"InternalError", 0, ERR_TRANSIENT, "the server had an internal error, still after all tries", NULL},
    {"AllAccessDisabled", 0, ERR_DENIED, "all access to the bucket is disabled", NULL},
    {"AccountProblem", 0, ERR_DENIED, "there is a problem with the bucket's account", NULL},
    {"UserSuspended", 0, ERR_DENIED, "the account of these credentials is suspended", NULL},
    {"KMS.DisabledException", 0, ERR_DENIED, "the KMS key of the object is disabled", NULL},
    {"NotImplemented", 501, ERR_UNSUPPORTED, "the server does not implement this request", NULL},
    {"AccessDenied", 403, ERR_DENIED, NULL, NULL},
    {NULL, 401, ERR_DENIED, NULL, NULL},
    {NULL, 404, ERR_NOTFOUND, "not found", NULL},
    {NULL, 408, ERR_TRANSIENT, "the server waited too long", NULL},
    {NULL, 429, ERR_TRANSIENT, "the server asks to slow down, still after all tries", NULL},
    {NULL, 503, ERR_TRANSIENT, "the server is overloaded, still after all tries", NULL},
};

static const struct telling *find_telling(const struct fault *f)
{
    for (size_t i = 0; f->code[0] && i < ARRAY_LEN(tellings); i++)
        if (tellings[i].code && strcmp(tellings[i].code, f->code) == 0)
            return &tellings[i];
    for (size_t i = 0; i < ARRAY_LEN(tellings); i++)
        if (tellings[i].status == f->status)
            return &tellings[i];
    return NULL;
}

static const char *permission(enum s3_action action)
{
    static const char *const names[] = {
#define X(name, word) word,
        S3_ACTIONS(X)
#undef X
    };
    return names[action];
}

/* "HTTP 403 AccessDenied" */
static void answer_text(const struct fault *f, char *out, size_t room)
{
    snprintf(out, room, f->code[0] ? "HTTP %d %s" : "HTTP %d", f->status, f->code);
}

static int tell_denied(const struct fault *f, const struct fault_context *c, const char *answer, struct err *err)
{
    const char *wanted = c->versioned && c->action != S3_ACTION_LIST ? "s3:GetObjectVersion" : permission(c->action);
    err_set(err, ERR_DENIED, "%.*s: access denied (%s): %s is not allowed with credentials: %s", SUBJECT_LENGTH_MAX,
            c->name, answer, wanted, c->credentials);
    if (c->keyed_by_customer)
        return err_hint(err, "the key of SSE-C may be another than the object's");
    if (c->action >= S3_ACTION_PUT && !c->anonymous)
        return err_hint(err, "allow %s to these credentials", wanted);
    if (c->action >= S3_ACTION_PUT)
        return err_hint(err, "give credentials that are allowed %s: in the environment, or as a profile", wanted);
    if (c->anonymous && f->status == 401)
        return err_hint(err, "the server wants credentials: give them (IAM, or the environment)");
    if (c->anonymous)
        return err_hint(err,
                        "the bucket is not public (or the object does not exist): give credentials that are allowed %s",
                        wanted);
    if (c->action != S3_ACTION_LIST)
        return err_hint(err,
                        "allow %s to these credentials; S3 also answers so for keys that do not exist where "
                        "s3:ListBucket is not allowed%s",
                        wanted, c->requester_pays ? "" : ", and for requester-pays buckets");
    return err_hint(err, "allow s3:ListBucket to these credentials, or name the objects one by one (files)");
}

int fault_report(const struct fault *f, const struct fault_context *c, struct err *err)
{
    char answer[96];
    answer_text(f, answer, sizeof answer);
    const struct telling *t = find_telling(f);
    if (t && !t->text)
        return tell_denied(f, c, answer, err);
    if (c->keyed_by_customer && f->status == 400) {
        err_set(err, ERR_DENIED, "%.*s: %s with a customer's encryption key (SSE-C)", SUBJECT_LENGTH_MAX, c->name,
                answer);
        return err_hint(err, "check that the object was stored with this very key");
    }
    if (!c->keyed_by_customer && f->status == 400 && strstr(f->message, "Server Side Encryption")) {
        err_set(err, ERR_DENIED, "%.*s: the object is encrypted with a customer's key (SSE-C) (%s)", SUBJECT_LENGTH_MAX,
                c->name, answer);
        return err_hint(err, "give the key it was stored with");
    }
    if (!t) {
        enum err_kind kind = f->status >= 500 ? ERR_TRANSIENT : ERR_PROTOCOL;
        return err_set(err, kind, "%.*s: %s from %s%s%s", SUBJECT_LENGTH_MAX, c->name, answer, c->host,
                       f->message[0] ? ": " : "", f->message);
    }
    err_set(err, t->kind, "%.*s: %s (%s)", SUBJECT_LENGTH_MAX, c->name, t->text, answer);
    if (f->region[0] && strcmp(f->region, c->region) != 0)
        return err_hint(err, "the bucket is in region %s, the request was for %s", f->region, c->region);
    if (t->kind == ERR_NOTFOUND && c->versioned)
        return err_hint(err, "check the key, and that the object has this VersionID");
    if (t->kind == ERR_DENIED && !t->hint)
        return err_hint(err, "the credentials used: %s", c->credentials);
    return t->hint ? err_hint(err, "%s; credentials used: %s", t->hint, c->credentials) : -1;
}
