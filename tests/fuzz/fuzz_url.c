/* URLs from anywhere: what is taken reads the same again after it was written, never holds what would split a request,
 * resolves within http(s), and is shown without its query. */
#include "xfer/url.h"

#include <stdlib.h>
#include <string.h>

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void write_url(const struct url *u, struct buf *out)
{
    struct err err = ERR_INIT;
    buf_init(out, (size_t)URL_LENGTH_MAX * 4);
    url_write(u, out);
    require(buf_check(out, "URL", &err) == 0);
}

static void check_url(struct arena *a, const struct url *u)
{
    require(str_eq(u->scheme, "http") || str_eq(u->scheme, "https"));
    require(u->port > 0 && u->host[0] && u->path[0] == '/');
    require(u->default_port == (u->port == (str_eq(u->scheme, "https") ? 443 : 80)));
    require(!strpbrk(u->host, "/?#@[]\\ \r\n") && !strpbrk(u->path, "?# \r\n"));
    require(!u->query || !strpbrk(u->query, "# \r\n"));
    AUTO_BUF once;
    write_url(u, &once);
    if (once.n > URL_LENGTH_MAX)
        return; /* a default path or bracket made it just too long to be read again */
    struct url again;
    struct err err = ERR_INIT;
    require(url_parse(a, buf_span(&once), &again, &err) == 0);
    AUTO_BUF twice;
    write_url(&again, &twice);
    require(once.n == twice.n && memcmp(buf_str(&once), buf_str(&twice), once.n) == 0);
    require(url_same_origin(u, &again));
}

static void check_redacted(struct span text)
{
    AUTO_BUF shown;
    buf_init(&shown, text.n + 16);
    url_redact(text, &shown);
    struct err err = ERR_INIT;
    require(buf_check(&shown, "URL", &err) == 0);
    const char *query = memchr(text.p, '?', text.n);
    size_t before = query ? (size_t)(query - text.p) : text.n;
    require(shown.n <= before + strlen("?…"));
    for (size_t i = 0; i < shown.n; i++)
        require((unsigned char)shown.p[i] >= 0x20);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input: a URL, a newline, a reference to resolve against it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    struct span text = {(const char *)data, size}, first, reference;
    if (size == 0)
        return 0;
    struct arena *a = arena_new(0, &err);
    require(a != NULL);
    span_cut(text, '\n', &first, &reference);
    if (first.n)
        check_redacted(first);
    struct url base, resolved;
    if (url_parse(a, first, &base, &err) == 0) {
        check_url(a, &base);
        if (url_resolve(a, &base, reference, &resolved, &err) == 0)
            check_url(a, &resolved);
        else
            require(err_is_set(&err));
    } else {
        require(err_is_set(&err));
    }
    arena_free(a);
    return 0;
}
