/* The client: where the repository is, and one request to it. */
#include "base/enc.h"
#include "base/log.h"
#include "hf/hf_priv.h"
#include "xfer/url.h"

#define CLIENT_ARENA_MAX ((size_t)1 << 20)

static const struct {
    const char *api, *prefix, *folder;
} kinds[] = {
#define X(name, api, prefix, folder) {api, prefix, folder},
    HF_KINDS(X)
#undef X
};

const char *hf_kind_prefix(enum hf_kind kind)
{
    return kinds[kind].prefix;
}

const char *hf_kind_folder(enum hf_kind kind)
{
    return kinds[kind].folder;
}

/* ---- addresses ---- */

/* As berth writes URLs: lower-case host, no default port, no slash at the end. */
static const char *normal_url(struct arena *a, struct span text, const char *what, struct err *err)
{
    struct url url;
    AUTO_BUF out;
    buf_init(&out, HF_URL_MAX);
    if (url_parse(a, text, &url, err) < 0) {
        err_wrap(err, "%s", what);
        return NULL;
    }
    if (url.query) {
        err_set(err, ERR_INVALID, "%s '%s' has a query", what, url.host);
        return NULL;
    }
    url_write(&url, &out);
    if (buf_check(&out, what, err) < 0)
        return NULL;
    while (out.n > 0 && out.p[out.n - 1] == '/')
        out.n--;
    const char *side = arena_dup_span(a, buf_span(&out));
    return arena_check(a, err) < 0 ? NULL : side;
}

/* "https://h/a" starts "https://h/a" and "https://h/a/b", not "https://h/ab". */
static bool starts_at_segment(struct span text, struct span start)
{
    return span_starts(text, start) && (text.n == start.n || text.p[start.n] == '/');
}

/* The longest left side that starts the endpoint is replaced by its right side. */
static int apply_mirrors(struct hf *hf, const char *const *mirrors, bool *mirrored, struct err *err)
{
    size_t longest = 0;
    hf->front = hf->endpoint;
    *mirrored = false;
    for (; mirrors && *mirrors; mirrors++) {
        struct span from, to;
        if (!span_cut(span_of(*mirrors), '=', &from, &to)) {
            err_set(err, ERR_INVALID, "mirror '%.256s' has no '='", *mirrors);
            return err_hint(err, "write it as https://from=http://to");
        }
        const char *left = normal_url(hf->arena, span_trim(from), "mirror", err);
        const char *right = left ? normal_url(hf->arena, span_trim(to), "mirror", err) : NULL;
        if (!right)
            return -1;
        if (!starts_at_segment(span_of(hf->endpoint), span_of(left)) || strlen(left) <= longest)
            continue;
        longest = strlen(left);
        hf->front = arena_printf(hf->arena, "%s%s", right, hf->endpoint + longest);
        *mirrored = true;
    }
    return arena_check(hf->arena, err);
}

/* The operator's own mirrors are theirs to judge. */
static int check_scheme(struct hf *hf, bool mirrored, bool refused, struct err *err)
{
    struct url u;
    if (url_parse(hf->arena, span_of(hf->front), &u, err) < 0)
        return -1;
    if (mirrored || !str_eq(u.scheme, "http") || url_is_loopback(&u))
        return 0;
    hf->plain_http = true;
    if (!refused)
        return 0;
    err_set(err, ERR_REFUSED, "http://%s: only https is allowed here", u.host);
    return err_hint(err, "use https, or have the operator map this endpoint by a mirror");
}

/* ---- life ---- */

static int split_repo(struct hf *hf, const char *repo, struct err *err)
{
    struct span name = span_of(repo);
    hf->kind = HF_MODEL;
    for (size_t k = HF_DATASET; k < ARRAY_LEN(kinds); k++)
        if (span_starts(name, span_of(kinds[k].prefix))) {
            hf->kind = (enum hf_kind)k;
            name.p += strlen(kinds[k].prefix);
            name.n -= strlen(kinds[k].prefix);
            break;
        }
    if (name.n == 0 || name.n >= sizeof hf->name)
        return err_set(err, ERR_INVALID, "'%.256s' is not the name of a repository", repo);
    snprintf(hf->name, sizeof hf->name, "%.*s", SPAN_FMT(name));
    return 0;
}

static int set_up(struct hf *hf, const struct hf_opts *opts, struct err *err)
{
    bool mirrored = false;
    const char *endpoint = str_empty(opts->endpoint) ? HF_ENDPOINT_DEFAULT : opts->endpoint;
    hf->arena = arena_new(CLIENT_ARENA_MAX, err);
    if (!hf->arena || split_repo(hf, hf->src->repo, err) < 0)
        return -1;
    hf->endpoint = normal_url(hf->arena, span_of(endpoint), "endpoint of the hub", err);
    if (!hf->endpoint || apply_mirrors(hf, opts->mirrors, &mirrored, err) < 0)
        return -1;
    return check_scheme(hf, mirrored, opts->plain_http_refused, err);
}

int hf_open(struct hf **out, const struct source_hf *src, const struct hf_token *token, const struct hf_opts *opts,
            struct err *err)
{
    struct hf *hf = calloc(1, sizeof *hf);
    if (!hf)
        return err_nomem(err);
    hf->http = opts->http;
    hf->token = token;
    hf->src = src;
    hf->cancel = opts->cancel;
    if (set_up(hf, opts, err) < 0) {
        hf_free(hf);
        return -1;
    }
    *out = hf;
    return 0;
}

void hf_free(struct hf *hf)
{
    if (!hf)
        return;
    arena_free(hf->arena);
    free(hf);
}

/* ---- requests ---- */

void hf_api_url(const struct hf *hf, const char *what, const char *revision, struct buf *out)
{
    buf_addf(out, "%s/api/%s/%s/%s/", hf->front, kinds[hf->kind].api, hf->name, what);
    percent_encode(out, span_of(revision), false);
}

void hf_file_url(const struct hf *hf, const char *commit, const char *path, struct buf *out)
{
    buf_addf(out, "%s/%s%s/resolve/%s/", hf->front, kinds[hf->kind].prefix, hf->name, commit);
    percent_encode(out, span_of(path), true);
}

int hf_exchange(const struct hf *hf, const struct hf_ask *ask, struct http_response *resp, struct err *err)
{
    struct buf bearer;
    buf_init(&bearer, HF_AUTH_MAX);
    hf_token_write(hf->token, &bearer);
    const struct http_header header = {"Authorization", buf_str(&bearer)};
    const struct http_request req = {
        .method = ask->method,
        .url = ask->url,
        .headers = &header,
        .header_count = bearer.n > 0,
        .body_max = ask->body_max,
        .keep_redirects = ask->keep_redirects,
        .cancel = hf->cancel,
    };
    int rc = buf_check(&bearer, "token", err);
    if (rc == 0)
        rc = http_call(hf->http, &req, resp, err);
    if (bearer.p)
        mem_wipe(bearer.p, bearer.cap);
    buf_release(&bearer);
    return rc;
}

/* ---- new names ---- */

static bool is_name_char(char c)
{
    char low = ascii_lower(c);
    return ascii_is_digit(c) || (low >= 'a' && low <= 'z') || c == '.' || c == '_' || c == '-';
}

static bool is_word(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_name_char(s.p[i]))
            return false;
    return s.n > 0 && s.p[0] != '.';
}

static bool is_name(struct span s)
{
    struct span owner, name;
    return span_cut(s, '/', &owner, &name) && is_word(owner) && is_word(name) && s.n < HF_NAME_MAX;
}

/* What stands between "/api/models/" and the word after owner/name. */
static bool cut_name(const char *url, enum hf_kind kind, struct span *out)
{
    char mark[32];
    int n = snprintf(mark, sizeof mark, "/api/%s/", kinds[kind].api);
    const char *at = strstr(url, mark);
    if (!at)
        return false;
    struct span rest = span_of(at + n), owner, name, after;
    if (!span_cut(rest, '/', &owner, &rest) || !span_cut(rest, '/', &name, &after))
        return false;
    *out = (struct span){owner.p, (size_t)(name.p + name.n - owner.p)};
    return true;
}

bool hf_renamed(const char *asked, const char *answered, enum hf_kind kind, char name[HF_NAME_MAX])
{
    struct span old, now;
    if (!cut_name(asked, kind, &old) || !cut_name(answered, kind, &now) || span_eq(old, now) || !is_name(now))
        return false;
    memcpy(name, now.p, now.n);
    name[now.n] = '\0';
    return true;
}
