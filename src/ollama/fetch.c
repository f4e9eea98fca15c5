/* One blob for the transfer engine. */
#include "ollama/ollama_priv.h"

#include <stdlib.h>

#define DENIALS_MAX 3 /* of tokens that were fresh */

struct ollama_fetch {
    struct ollama *o;
    char hex[DIGEST_HEX_MAX];
    unsigned number;      /* of the token that was sent last */
    unsigned denied;      /* tokens in a row, each once: all parts under way meet the end of the same one */
    unsigned denied_next; /* the first number that is not among them */
};

int ollama_fetch_new(struct ollama_fetch **out, struct ollama *o, const struct ollama_blob *blob, struct err *err)
{
    struct ollama_fetch *f = calloc(1, sizeof *f);
    if (!f)
        return err_nomem(err);
    f->o = o;
    digest_hex(f->hex, &blob->digest);
    *out = f;
    return 0;
}

void ollama_fetch_free(struct ollama_fetch *f)
{
    free(f);
}

static int fetch_request(void *ctx, uint64_t offset, uint64_t length, struct xfer_request *out, struct err *err)
{
    struct ollama_fetch *f = ctx;
    (void)offset; /* Range is the engine's */
    (void)length;
    AUTO_STR authorization = ollama_authorization(f->o, &f->number, err);
    if (!authorization)
        return -1;
    buf_addf(&out->url, "%s/blobs/sha256:%s", f->o->place, f->hex);
    if (*authorization)
        buf_addf(&out->headers, "Authorization: %s\r\n", authorization);
    mem_wipe(authorization, strlen(authorization));
    return buf_check(&out->url, "URL", err) < 0 ? -1 : buf_check(&out->headers, "request headers", err);
}

static enum xfer_verdict fetch_judge(void *ctx, const struct xfer_head *head, struct xfer_want *want, struct err *err)
{
    struct ollama_fetch *f = ctx;
    (void)want; /* the manifest's digest stands */
    if (head->status >= 200 && head->status < 300) {
        f->denied = 0;
        return XFER_ACCEPT;
    }
    if (head->status == 401 && f->number >= f->denied_next) {
        f->denied_next = f->number + 1;
        f->denied++;
    }
    if (head->status == 401 && f->denied <= DENIALS_MAX && ollama_note_challenge(f->o, head->http, err) == 0)
        return XFER_REFRESH;
    char what[DIGEST_HEX_MAX + 16];
    snprintf(what, sizeof what, "blob sha256:%.12s…", f->hex);
    ollama_refuse(f->o, head->status, what, err);
    return XFER_FAIL;
}

static int fetch_refresh(void *ctx, struct err *err)
{
    struct ollama_fetch *f = ctx;
    return ollama_renew_token(f->o, f->number, err);
}

const struct xfer_source ollama_xfer_source = {
    .request = fetch_request,
    .judge = fetch_judge,
    .refresh = fetch_refresh,
};
