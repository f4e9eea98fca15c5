#include "ollama/challenge.h"

#include "base/enc.h"

#define VALUE_MAX 4096

static struct span skip(struct span s, const char *set)
{
    while (s.n > 0 && s.p[0] != '\0' && strchr(set, s.p[0]))
        s = (struct span){s.p + 1, s.n - 1};
    return s;
}

/* RFC 9110, 5.6.2. */
static struct span take_token(struct span *rest)
{
    static const char set[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t n = 0;
    while (n < rest->n && rest->p[n] != '\0' && strchr(set, rest->p[n]))
        n++;
    struct span token = {rest->p, n};
    *rest = (struct span){rest->p + n, rest->n - n};
    return token;
}

/* False: a quote without end. */
static bool take_value(struct span *rest, struct buf *value)
{
    buf_reset(value);
    if (rest->n == 0 || rest->p[0] != '"') {
        buf_add_span(value, take_token(rest));
        return true;
    }
    for (size_t i = 1; i < rest->n; i++) {
        if (rest->p[i] == '"') {
            *rest = (struct span){rest->p + i + 1, rest->n - i - 1};
            return true;
        }
        if (rest->p[i] == '\\' && i + 1 < rest->n)
            i++;
        buf_addc(value, rest->p[i]);
    }
    return false;
}

static void keep(struct arena *a, struct challenge *c, struct span name, const struct buf *value)
{
    const char **slot = span_eq_nocase(name, SPAN_LIT("realm"))     ? &c->realm
                        : span_eq_nocase(name, SPAN_LIT("service")) ? &c->service
                        : span_eq_nocase(name, SPAN_LIT("scope"))   ? &c->scope
                                                                    : NULL;
    if (slot && !*slot)
        *slot = arena_dup_span(a, buf_span(value));
}

int challenge_parse(struct arena *a, struct span field, struct challenge *out, struct err *err)
{
    AUTO_BUF value;
    buf_init(&value, VALUE_MAX);
    struct span rest = skip(field, " \t,"), scheme = take_token(&rest);
    *out = (struct challenge){0};
    if (scheme.n == 0)
        return err_set(err, ERR_PROTOCOL, "the registry does not say how to log in");
    out->scheme = arena_dup_span(a, scheme);
    for (;;) {
        rest = skip(rest, " \t,");
        struct span name = take_token(&rest);
        rest = skip(rest, " \t");
        if (name.n == 0 || rest.n == 0 || rest.p[0] != '=')
            break; /* the end, or the next challenge */
        rest = skip((struct span){rest.p + 1, rest.n - 1}, " \t");
        if (!take_value(&rest, &value) || value.state != BUF_OK)
            return err_set(err, ERR_PROTOCOL, "the registry's challenge cannot be read");
        keep(a, out, name, &value);
    }
    return arena_check(a, err);
}

static void add_parameter(struct buf *out, char separator, const char *name, const char *value)
{
    buf_addf(out, "%c%s=", separator, name);
    percent_encode(out, span_of(value), false);
}

int challenge_token_url(const struct challenge *c, const char *scope, struct buf *out, struct err *err)
{
    if (str_empty(c->realm))
        return err_set(err, ERR_PROTOCOL, "the registry's challenge names no realm");
    char separator = strchr(c->realm, '?') ? '&' : '?';
    buf_adds(out, c->realm);
    if (!str_empty(c->service)) {
        add_parameter(out, separator, "service", c->service);
        separator = '&';
    }
    add_parameter(out, separator, "scope", str_empty(c->scope) ? scope : c->scope);
    return buf_check(out, "address of a token", err);
}
