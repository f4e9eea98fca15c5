#include "xfer/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static void free_parts(CURLU **u)
{
    curl_url_cleanup(*u);
}
#define AUTO_PARTS AUTO(free_parts) CURLU *

static void free_part(char **s)
{
    curl_free(*s);
}
#define AUTO_PART AUTO(free_part) char *

#define PORT_HTTP  80
#define PORT_HTTPS 443

/* Spaces and bytes outside ASCII become %XX, as every client sends them; controls are refused (they would split the
 * request). A fragment never leaves the client. */
static int clean_text(struct span text, struct buf *out, struct err *err)
{
    if (text.n > URL_LENGTH_MAX)
        return err_set(err, ERR_LIMIT, "URL is longer than %d bytes", URL_LENGTH_MAX);
    for (size_t i = 0; i < text.n && text.p[i] != '#'; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c < 0x20 || c == 0x7f)
            return err_set(err, ERR_INVALID, "URL has a control character at byte %zu", i);
        if (c == ' ' || c >= 0x80)
            buf_addf(out, "%%%02X", c);
        else
            buf_addc(out, (char)c);
    }
    return buf_check(out, "URL", err);
}

static int bad_url(struct span text, const char *why, enum err_kind kind, struct err *err)
{
    AUTO_BUF shown;
    buf_init(&shown, URL_LENGTH_MAX * 4);
    url_redact(text, &shown);
    return err_set(err, kind, "URL '%.512s' %s", buf_str(&shown), why);
}

/* libcurl also takes "http:/host" and "http:///host"; a URL that reads differently to different eyes is refused. */
static bool has_authority(const char *clean)
{
    const char *colon = strchr(clean, ':');
    return colon && strncmp(colon, "://", 3) == 0 && colon[3] != '/' && colon[3] != '\0';
}

/* libcurl decodes "%31%32%37.1" after it has looked for addresses in odd spellings, and so would miss 127.0.0.1.
 * `slashes` begins with the two before the authority. */
static int check_host_plain(const char *slashes, struct span text, struct err *err)
{
    struct span authority = {slashes + 2, strcspn(slashes + 2, "/?")};
    return memchr(authority.p, '%', authority.n) ? bad_url(text, "has a host with '%'", ERR_INVALID, err) : 0;
}

static int explain_parse(CURLUcode rc, struct span text, struct err *err)
{
    switch (rc) {
    case CURLUE_OUT_OF_MEMORY:
        return err_nomem(err);
    case CURLUE_UNSUPPORTED_SCHEME:
        return bad_url(text, "is neither http nor https", ERR_UNSUPPORTED, err);
    case CURLUE_USER_NOT_ALLOWED:
        bad_url(text, "carries a user name or password", ERR_REFUSED, err);
        return err_hint(err, "give credentials in the fields meant for them; URLs end up in logs");
    default:
        return bad_url(text, curl_url_strerror(rc), ERR_INVALID, err);
    }
}

static int get_part(struct arena *a, CURLU *parts, CURLUPart what, CURLUcode absent, unsigned flags, const char **out,
                    struct err *err)
{
    AUTO_PART text = NULL;
    CURLUcode rc = curl_url_get(parts, what, &text, flags);
    *out = NULL;
    if (rc == absent)
        return 0;
    if (rc != CURLUE_OK)
        return rc == CURLUE_OUT_OF_MEMORY ? err_nomem(err)
                                          : err_set(err, ERR_INVALID, "URL: %s", curl_url_strerror(rc));
    *out = arena_dup(a, text);
    return *out ? 0 : err_nomem(err);
}

static int take_host(struct arena *a, CURLU *parts, struct span text, struct url *out, struct err *err)
{
    const char *zone = NULL, *host = NULL;
    if (get_part(a, parts, CURLUPART_HOST, CURLUE_NO_HOST, 0, &host, err) < 0 ||
        get_part(a, parts, CURLUPART_ZONEID, CURLUE_NO_ZONEID, 0, &zone, err) < 0)
        return -1;
    if (!host || !host[0])
        return bad_url(text, "names no host", ERR_INVALID, err);
    if (zone)
        return bad_url(text, "has an address with a zone", ERR_INVALID, err);
    size_t n = strlen(host), skip = host[0] == '[';
    char *lower = arena_dup_span(a, (struct span){host + skip, n - 2 * skip});
    if (!lower)
        return err_nomem(err);
    if (strchr(lower, '%'))
        return bad_url(text, "has a host with '%'", ERR_INVALID, err);
    for (char *c = lower; *c; c++) {
        if ((unsigned char)*c >= 0x80) {
            bad_url(text, "has a host that is not ASCII", ERR_INVALID, err);
            return err_hint(err, "write the host in its xn-- form");
        }
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + ('a' - 'A'));
    }
    out->host = lower;
    return 0;
}

static int take_port(CURLU *parts, struct span text, struct url *out, struct err *err)
{
    uint16_t standard = str_eq(out->scheme, "https") ? PORT_HTTPS : PORT_HTTP;
    AUTO_PART digits = NULL;
    CURLUcode rc = curl_url_get(parts, CURLUPART_PORT, &digits, 0);
    out->port = standard;
    if (rc == CURLUE_OK) {
        uint64_t port;
        struct err ignored = ERR_INIT;
        if (span_to_u64(span_of(digits), &port, &ignored) < 0 || port == 0 || port > UINT16_MAX)
            return bad_url(text, "has a port outside 1 to 65535", ERR_INVALID, err);
        out->port = (uint16_t)port;
    } else if (rc != CURLUE_NO_PORT) {
        return explain_parse(rc, text, err);
    }
    out->default_port = out->port == standard;
    return 0;
}

static int take_parts(struct arena *a, CURLU *parts, struct span text, struct url *out, struct err *err)
{
    *out = (struct url){0};
    if (get_part(a, parts, CURLUPART_SCHEME, CURLUE_NO_SCHEME, 0, &out->scheme, err) < 0)
        return -1;
    if (!str_eq(out->scheme, "http") && !str_eq(out->scheme, "https"))
        return bad_url(text, "is neither http nor https", ERR_UNSUPPORTED, err);
    if (take_host(a, parts, text, out, err) < 0 || take_port(parts, text, out, err) < 0)
        return -1;
    if (get_part(a, parts, CURLUPART_PATH, CURLUE_LAST, 0, &out->path, err) < 0)
        return -1;
    return get_part(a, parts, CURLUPART_QUERY, CURLUE_NO_QUERY, 0, &out->query, err);
}

#define PARSE_FLAGS (CURLU_PATH_AS_IS | CURLU_DISALLOW_USER)

int url_parse(struct arena *a, struct span text, struct url *out, struct err *err)
{
    AUTO_BUF clean;
    buf_init(&clean, URL_LENGTH_MAX);
    if (clean_text(text, &clean, err) < 0)
        return -1;
    AUTO_PARTS parts = curl_url();
    if (!parts)
        return err_nomem(err);
    CURLUcode rc = curl_url_set(parts, CURLUPART_URL, buf_str(&clean), PARSE_FLAGS);
    if (rc != CURLUE_OK)
        return explain_parse(rc, text, err);
    if (take_parts(a, parts, text, out, err) < 0)
        return -1;
    if (!has_authority(buf_str(&clean)))
        return bad_url(text, "lacks '//' and a host after its scheme", ERR_INVALID, err);
    return check_host_plain(strchr(buf_str(&clean), ':') + 1, text, err);
}

void url_authority(const struct url *u, struct buf *out)
{
    bool v6 = strchr(u->host, ':') != NULL;
    buf_addf(out, v6 ? "[%s]" : "%s", u->host);
    if (!u->default_port)
        buf_addf(out, ":%u", u->port);
}

void url_write(const struct url *u, struct buf *out)
{
    buf_adds(out, u->scheme);
    buf_adds(out, "://");
    url_authority(u, out);
    buf_adds(out, u->path);
    if (u->query) {
        buf_addc(out, '?');
        buf_adds(out, u->query);
    }
}

/* RFC 3986, 3.1: a scheme, then ':'. */
static bool has_scheme(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    return n > 0 && s[n] == ':' && (s[0] < '0' || s[0] > '9') && !strchr("+-.", s[0]);
}

int url_resolve(struct arena *a, const struct url *base, struct span reference, struct url *out, struct err *err)
{
    AUTO_BUF from, to;
    buf_init(&from, URL_LENGTH_MAX);
    buf_init(&to, URL_LENGTH_MAX);
    url_write(base, &from);
    if (buf_check(&from, "URL", err) < 0 || clean_text(reference, &to, err) < 0)
        return -1;
    if (to.n == 0)
        return url_parse(a, buf_span(&from), out, err);
    if (has_scheme(buf_str(&to)))
        return url_parse(a, buf_span(&to), out, err);
    AUTO_PARTS parts = curl_url();
    if (!parts)
        return err_nomem(err);
    CURLUcode rc = curl_url_set(parts, CURLUPART_URL, buf_str(&from), PARSE_FLAGS);
    if (rc == CURLUE_OK)
        rc = curl_url_set(parts, CURLUPART_URL, buf_str(&to), CURLU_DISALLOW_USER);
    if (rc != CURLUE_OK)
        return explain_parse(rc, reference, err);
    if (take_parts(a, parts, reference, out, err) < 0)
        return -1;
    return strncmp(buf_str(&to), "//", 2) == 0 ? check_host_plain(buf_str(&to), reference, err) : 0;
}

/* After the last '@' of what stands where the authority would be: user and password are dropped unseen. */
static struct span without_user(struct span authority)
{
    const char *at = memrchr(authority.p, '@', authority.n);
    return at ? (struct span){at + 1, authority.n - (size_t)(at + 1 - authority.p)} : authority;
}

static void add_printable(struct buf *out, struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        buf_addc(out, c < 0x20 || c == 0x7f ? '?' : s.p[i]);
    }
}

static size_t find_any(struct span s, const char *set)
{
    size_t i = 0;
    while (i < s.n && (s.p[i] == '\0' || !strchr(set, s.p[i])))
        i++;
    return i;
}

void url_redact(struct span text, struct buf *out)
{
    if (text.n == 0)
        return;
    size_t end = find_any(text, "?#");
    struct span shown = {text.p, end};
    const char *mark = memmem(shown.p, shown.n, "://", 3);
    if (mark) {
        size_t n = (size_t)(mark + 3 - shown.p);
        add_printable(out, (struct span){shown.p, n});
        shown = (struct span){shown.p + n, shown.n - n};
    }
    size_t n = find_any(shown, "/\\");
    add_printable(out, without_user((struct span){shown.p, n}));
    add_printable(out, (struct span){shown.p + n, shown.n - n});
    if (end < text.n && text.p[end] == '?')
        buf_adds(out, "?…");
}

bool url_same_origin(const struct url *a, const struct url *b)
{
    return a->port == b->port && str_eq(a->scheme, b->scheme) && str_eq(a->host, b->host);
}

bool url_is_loopback(const struct url *u)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, u->host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
    if (inet_pton(AF_INET6, u->host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return str_eq(u->host, "localhost");
}
