/* Which of the guessed places is the place (rule 3 of place.h). */
#include "base/log.h"
#include "s3/s3_priv.h"

#include <stdio.h>

/* What one guess was answered, for the error that lists them all. */
struct guess {
    int status; /* 0: an answer that is no listing */
    char code[64];
};

static int try_listing(struct s3 *s3, const struct s3_place *p, struct guess *g, struct err *err)
{
    struct fault f = {0};
    AUTO_STR prefix = str_dup(p->key, err);
    if (!prefix)
        return -1;
    size_t n = strlen(prefix);
    if (n > 0 && prefix[n - 1] == '*')
        prefix[n - 1] = '\0';
    if (s3_probe(s3, prefix, &g->status, &f, err) < 0)
        return -1;
    if (!s3_ok(g->status))
        snprintf(g->code, sizeof g->code, "%s", f.code);
    return 0;
}

static int try_plain(struct s3 *s3, const struct s3_place *p, struct guess *g, struct err *err)
{
    struct http_response resp;
    if (s3_head_ask(s3, p->key, NULL, &resp, err) < 0)
        return -1;
    struct fault f;
    s3_read_fault(&resp, &f);
    g->status = resp.status;
    snprintf(g->code, sizeof g->code, "%s", f.code);
    http_response_release(&resp);
    return 0;
}

static void tell_guess(const struct s3_place *p, const struct guess *g, struct buf *out)
{
    buf_adds(out, out->n ? "; " : "");
    switch (p->style) {
    case S3_STYLE_HOST:
        buf_addf(out, "the host as the bucket: ");
        break;
    case S3_STYLE_PATH:
    case S3_STYLE_VIRTUAL:
        buf_addf(out, "'%.64s' as the bucket: ", p->bucket);
        break;
    case S3_STYLE_PLAIN:
        buf_addf(out, "the URL as one object: ");
        break;
    }
    if (g->status == 0)
        buf_adds(out, "an answer that is no listing");
    else
        buf_addf(out, g->code[0] ? "HTTP %d %s" : "HTTP %d", g->status, g->code);
}

static int none_fits(struct s3 *s3, const struct guess *guesses, struct err *err)
{
    AUTO_BUF tries;
    buf_init(&tries, ERR_TEXT_MAX);
    bool denied = false, missing = true;
    for (size_t i = 0; i < s3->places.n; i++) {
        tell_guess(&s3->places.v[i], &guesses[i], &tries);
        denied |= guesses[i].status == 401 || guesses[i].status == 403;
        missing &= guesses[i].status == 404 || guesses[i].status == 0;
    }
    char name[S3_NAME_MAX];
    s3_name(s3, s3->places.v[0].key, name);
    err_set(err,
            denied    ? ERR_DENIED
            : missing ? ERR_NOTFOUND
                      : ERR_PROTOCOL,
            "%.400s: no S3 bucket and no object found here; tried %s", name, buf_str(&tries));
    if (denied)
        return err_hint(err,
                        "allow s3:ListBucket to these credentials, or name the objects one by one (files); "
                        "credentials used: %s",
                        creds_describe(s3->creds));
    return err_hint(err, "name the bucket with 'bucket', or check the URL");
}

static int settle_at(struct s3 *s3, size_t i, struct err *err)
{
    log_debug("s3", "found the place (spot=%s guess=%zu)", s3->spot, i + 1);
    s3_memory_put_place(s3->memory, s3->spot, (unsigned)i);
    return s3_choose(s3, &s3->places.v[i], true, err);
}

/* A bucket that may not be listed can still hold the one object that is asked for. 1: found; 0: not. */
static int try_object(struct s3 *s3, size_t i, const struct guess *g, struct err *err)
{
    const struct s3_place *p = &s3->places.v[i];
    struct span key = span_of(p->key);
    bool refused = (g->status == 401 || g->status == 403) && p->style != S3_STYLE_PLAIN;
    if (!refused || key.n == 0 || strchr("/*", key.p[key.n - 1]))
        return 0;
    struct http_response resp;
    if (s3_choose(s3, p, false, err) < 0 || s3_head_ask(s3, p->key, NULL, &resp, err) < 0)
        return -1;
    bool found = s3_ok(resp.status);
    http_response_release(&resp);
    return found;
}

int s3_settle(struct s3 *s3, struct err *err)
{
    if (s3_settled(s3))
        return 0;
    struct guess guesses[S3_PLACES_MAX] = {0};
    for (size_t i = 0; i < s3->places.n; i++) {
        const struct s3_place *p = &s3->places.v[i];
        if (s3_choose(s3, p, false, err) < 0)
            return -1;
        int rc = p->style == S3_STYLE_PLAIN ? try_plain(s3, p, &guesses[i], err) : try_listing(s3, p, &guesses[i], err);
        if (rc < 0)
            return -1;
        if (!s3_ok(guesses[i].status))
            continue;
        return settle_at(s3, i, err);
    }
    for (size_t i = 0; i < s3->places.n; i++) {
        int found = try_object(s3, i, &guesses[i], err);
        if (found != 0)
            return found < 0 ? -1 : settle_at(s3, i, err);
    }
    if (s3_choose(s3, &s3->places.v[0], false, err) < 0)
        return -1;
    return none_fits(s3, guesses, err);
}
