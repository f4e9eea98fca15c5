#include "hf/fault.h"

#include "base/json.h"
#include "xfer/retry.h"

#include <ctype.h>

#define FAULT_BODY_MAX ((size_t)64 << 10)

/* ---- reading ---- */

/* The hub's words become part of error lines. */
static void copy_message(char *out, size_t room, const char *text)
{
    size_t n = 0;
    for (; text[n] && n + 1 < room; n++)
        out[n] = iscntrl((unsigned char)text[n]) ? '?' : text[n];
    out[n] = '\0';
}

static enum hf_fault_code find_code(const char *word)
{
    static const char *const words[] = {
#define X(name, text) text,
        HF_FAULT_CODES(X)
#undef X
    };
    for (size_t i = 1; word && i < ARRAY_LEN(words); i++)
        if (strcmp(words[i], word) == 0)
            return (enum hf_fault_code)i;
    return HF_FAULT_NONE;
}

static void read_body(struct hf_fault *f, struct span body)
{
    struct err ignored = ERR_INIT;
    if (body.n == 0 || body.n > FAULT_BODY_MAX)
        return;
    AUTO_JSON root = json_parse(body, &ignored);
    const char *text = json_get_str(root, "error");
    if (text)
        copy_message(f->message, sizeof f->message, text);
}

void hf_fault_read(const struct http_response *resp, struct hf_fault *out)
{
    const char *message = http_response_get(resp, "x-error-message");
    *out = (struct hf_fault){.status = resp->status, .code = find_code(http_response_get(resp, "x-error-code"))};
    if (!str_empty(message))
        copy_message(out->message, sizeof out->message, message);
    else
        read_body(out, buf_span(&resp->body));
}

/* ---- telling ---- */

static int report_gated(const struct hf_fault_context *c, struct err *err)
{
    err_set(err, ERR_DENIED, "%s is gated: accept the terms at %s/%s", c->repo, c->endpoint, c->repo);
    if (c->anonymous)
        return err_hint(err, "then give the token of that account, as accessToken or HF_TOKEN");
    return err_hint(err, "with the account of %s; some owners let people in by hand", c->token);
}

static int report_disabled(const struct hf_fault_context *c, struct err *err)
{
    return err_set(err, ERR_DENIED, "%s: the hub has disabled access to this repository", c->repo);
}

static int report_repository(const struct hf_fault_context *c, struct err *err)
{
    err_set(err, ERR_NOTFOUND, "no such repository: %s/%s", c->endpoint, c->repo);
    return err_hint(err,
                    "check owner and name (datasets and spaces are written datasets/owner/name, spaces/owner/name); a "
                    "private one needs a token that may see it, this was asked with: %s",
                    c->token);
}

static int report_revision(const struct hf_fault_context *c, struct err *err)
{
    err_set(err, ERR_NOTFOUND, "%s has no revision '%s'", c->repo, c->revision);
    return err_hint(err, "name a branch, a tag or a whole commit; see %s/%s/tree/main", c->endpoint, c->repo);
}

static int report_entry(const struct hf_fault_context *c, struct err *err)
{
    return err_set(err, ERR_NOTFOUND, "no file '%s' in %s at %s", c->path ? c->path : "", c->repo, c->revision);
}

static int report_unauthorised(const struct hf_fault_context *c, struct err *err)
{
    if (c->anonymous) {
        err_set(err, ERR_DENIED, "%s: the hub wants a token here (HTTP 401)", c->repo);
        return err_hint(err, "the repository is private, gated, or not there; give accessToken or HF_TOKEN");
    }
    err_set(err, ERR_DENIED, "%s: the hub does not accept %s (HTTP 401)", c->repo, c->token);
    return err_hint(err, "it may be mistyped, expired or revoked: see %s/settings/tokens", c->endpoint);
}

static int report_forbidden(const struct hf_fault *f, const struct hf_fault_context *c, struct err *err)
{
    err_set(err, ERR_DENIED, "%s: refused (HTTP %d)%s%s", c->repo, f->status, f->message[0] ? ": " : "", f->message);
    return err_hint(err, "asked with: %s; a fine-grained token needs read access to this repository", c->token);
}

static int report_status(const struct hf_fault *f, const struct hf_fault_context *c, struct err *err)
{
    if (f->status == 429) {
        err_set(err, ERR_TRANSIENT, "%s: the hub limits the rate of requests (HTTP 429)", c->endpoint);
        return err_hint(err, c->anonymous ? "requests with a token have higher limits" : "try again in some minutes");
    }
    enum err_kind kind = retry_status(f->status) ? ERR_TRANSIENT : ERR_PROTOCOL;
    return err_set(err, kind, "%s: HTTP %d%s%s", c->repo, f->status, f->message[0] ? ": " : "", f->message);
}

int hf_fault_report(const struct hf_fault *f, const struct hf_fault_context *c, struct err *err)
{
    if (f->code == HF_FAULT_GATED)
        return report_gated(c, err);
    if (f->code == HF_FAULT_DISABLED)
        return report_disabled(c, err);
    if (f->status == 401)
        return report_unauthorised(c, err);
    if (f->status == 403)
        return report_forbidden(f, c, err);
    if (f->code == HF_FAULT_REPOSITORY)
        return report_repository(c, err);
    if (f->code == HF_FAULT_REVISION)
        return report_revision(c, err);
    if (f->code == HF_FAULT_ENTRY || (f->status == 404 && c->path))
        return report_entry(c, err);
    if (f->status == 404)
        return report_repository(c, err);
    return report_status(f, c, err);
}
