#include "engine/engine_priv.h"

static int parse_unix(struct endpoint *out, struct span path, struct err *err)
{
    if (path.n == 0 || path.p[0] != '/')
        return err_set(err, ERR_INVALID, "engine address \"%s\": the socket's path must be absolute", out->address);
    if (path.n >= sizeof out->socket)
        return err_set(err, ERR_INVALID, "engine address \"%s\": a socket's path has at most %zu bytes", out->address,
                       sizeof out->socket - 1);
    memcpy(out->socket, path.p, path.n);
    out->socket[path.n] = '\0';
    return 0;
}

/* Docker's own client turns TLS on by DOCKER_TLS_VERIFY; without that word, by certificates. Berth always verifies. */
static bool tls_wanted(void)
{
    return !str_empty(getenv("DOCKER_TLS_VERIFY")) || !str_empty(getenv("DOCKER_CERT_PATH"));
}

static int parse_tcp(struct endpoint *out, struct span authority, bool tls, struct err *err)
{
    if (span_ends(authority, SPAN_LIT("/")))
        authority.n--;
    if (authority.n == 0 || authority.n >= sizeof out->authority || memchr(authority.p, '/', authority.n) ||
        memchr(authority.p, '@', authority.n))
        return err_set(err, ERR_INVALID, "engine address \"%s\" is not tcp://host:port", out->address);
    const char *bracket = memrchr(authority.p, ']', authority.n), *colon = memrchr(authority.p, ':', authority.n);
    bool has_port = colon && (!bracket || colon > bracket);
    snprintf(out->authority, sizeof out->authority, "%.*s%s", SPAN_FMT(authority),
             has_port ? ""
             : tls    ? ":2376"
                      : ":2375"); /* the ports registered for Docker */
    out->tls = tls;
    return 0;
}

int endpoint_parse(struct endpoint *out, const char *text, struct err *err)
{
    static const struct {
        const char *scheme;
        bool is_tcp, tls;
    } schemes[] = {
        {"tcp://", true, false}, {"http://", true, false}, {"https://", true, true}, {"unix://", false, false}};
    struct span s = span_of(text);
    *out = (struct endpoint){0};
    if (s.n + sizeof "unix://" > sizeof out->address)
        return err_set(err, ERR_INVALID, "the engine's address is longer than %zu bytes", sizeof out->address);
    snprintf(out->address, sizeof out->address, "%s%s", text[0] == '/' ? "unix://" : "", text);
    if (text[0] == '/')
        return parse_unix(out, s, err);
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        struct span scheme = span_of(schemes[i].scheme);
        if (!span_starts(s, scheme))
            continue;
        struct span rest = {s.p + scheme.n, s.n - scheme.n};
        if (!schemes[i].is_tcp)
            return parse_unix(out, rest, err);
        return parse_tcp(out, rest, schemes[i].tls || tls_wanted(), err);
    }
    err_set(err, ERR_UNSUPPORTED, "engine address \"%s\" is of no kind that berth knows", text);
    return err_hint(err, "berth reaches engines by docker, podman, unix:///path or tcp://host:port; for ssh, forward "
                         "the socket: ssh -L /tmp/engine.sock:/run/docker.sock host");
}
