#include "xfer/xfer_common.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static int check_literal(const struct xfer_policy *policy, const struct url *url, struct err *err)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(url->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(url->port)};
    if (inet_pton(AF_INET, url->host, &v4.sin_addr) == 1)
        return policy_check_address(policy, url->host, (const struct sockaddr *)&v4, sizeof v4, err);
    if (inet_pton(AF_INET6, url->host, &v6.sin6_addr) == 1)
        return policy_check_address(policy, url->host, (const struct sockaddr *)&v6, sizeof v6, err);
    return 0;
}

int xfer_check_url(const struct xfer_policy *policy, const struct url *url, struct err *err)
{
    if ((policy->https_only || policy->key_fingerprint[0]) && !str_eq(url->scheme, "https")) {
        err_set(err, ERR_REFUSED, "%s: only https is allowed here", url->host);
        return err_hint(err, "use the https:// form of the URL");
    }
    return check_literal(policy, url, err);
}

/* Headers that name the asker or belong to one host; of others, any whose name sounds like a credential. */
static const char *const bound_names[] = {"authorization", "cookie", "host", "origin", "referer"};
static const char *const bound_prefixes[] = {"x-amz-", "x-goog-", "x-ms-", "x-registry-"};
static const char *const bound_words[] = {"auth", "cookie",  "token",     "secret",     "passw",
                                          "-key", "session", "signature", "credential", "apikey"};

bool xfer_header_is_bound(struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(bound_names); i++)
        if (span_eq_nocase(name, span_of(bound_names[i])))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(bound_prefixes); i++) {
        struct span prefix = span_of(bound_prefixes[i]);
        if (name.n >= prefix.n && span_eq_nocase((struct span){name.p, prefix.n}, prefix))
            return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(bound_words); i++) {
        struct span word = span_of(bound_words[i]);
        for (size_t at = 0; at + word.n <= name.n; at++)
            if (span_eq_nocase((struct span){name.p + at, word.n}, word))
                return true;
    }
    return false;
}

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* RFC 9110, 15.4: 303 asks for a GET; 301 and 302 turn a POST into one, as all clients do; 307 and 308 never. */
static bool becomes_get(int status, const char *method)
{
    if (status == 303)
        return !str_eq(method, "GET") && !str_eq(method, "HEAD");
    return (status == 301 || status == 302) && str_eq(method, "POST");
}

static int follow(struct arena *a, const struct xfer_policy *policy, const struct url *from, const char *location,
                  struct url *to, struct err *err)
{
    struct err why = ERR_INIT;
    if (url_resolve(a, from, span_of(location), to, &why) == 0 && xfer_check_url(policy, to, &why) == 0)
        return 0;
    /* A broken Location is the server's fault, not that of the URL the user gave. */
    if (why.kind == ERR_INVALID || why.kind == ERR_UNSUPPORTED || why.kind == ERR_LIMIT)
        why.kind = ERR_PROTOCOL;
    err_wrap(&why, "redirected by %s", from->host);
    return err_move(err, &why);
}

int xfer_redirect_decide(struct arena *a, const struct xfer_policy *policy, const char *method, const struct url *from,
                         unsigned hops, const struct http_response *answer, struct xfer_redirect *out, struct err *err)
{
    *out = (struct xfer_redirect){0};
    const char *location = http_response_get(answer, "location");
    if (!is_redirect(answer->status) || str_empty(location))
        return 0;
    if (hops >= XFER_REDIRECTS_MAX)
        return err_set(err, ERR_LIMIT, "%s redirects once more after %d redirects", from->host, XFER_REDIRECTS_MAX);
    if (follow(a, policy, from, location, &out->to, err) < 0)
        return -1;
    out->follow = true;
    out->other_origin = !url_same_origin(from, &out->to);
    out->as_get = becomes_get(answer->status, method);
    return 0;
}
