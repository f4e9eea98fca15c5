#include "ollama/ollama.h"

#define PARTS_MAX 3

static bool is_alnum(char c)
{
    return ascii_is_digit(c) || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

/* Letters, digits and `more`; the first one no punctuation but '_'. ".." would be a way up. */
static bool is_part(struct span s, const char *more)
{
    if (s.n == 0 || (!is_alnum(s.p[0]) && s.p[0] != '_' && s.p[0] != '['))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && (s.p[i] == '\0' || !strchr(more, s.p[i])))
            return false;
    return !memmem(s.p, s.n, "..", 2);
}

static int take(char *out, size_t max, struct span part, const char *more, const char *what, struct span whole,
                struct err *err)
{
    if (part.n > max || !is_part(part, more))
        return err_set(err, ERR_INVALID, "'%.*s' is no %s, in the model '%.*s'", SPAN_FMT(span_head(part, max)), what,
                       SPAN_FMT(span_head(whole, OLLAMA_HOST_MAX)));
    memcpy(out, part.p, part.n);
    out[part.n] = '\0';
    return 0;
}

static bool must_be_host(struct span s)
{
    return memchr(s.p, '.', s.n) || memchr(s.p, ':', s.n) || span_eq(s, SPAN_LIT("localhost"));
}

int ollama_ref_parse(struct ollama_ref *out, struct span text, struct err *err)
{
    struct span parts[PARTS_MAX], rest = text;
    struct span host = SPAN_LIT(OLLAMA_HOST_DEFAULT), space = SPAN_LIT(OLLAMA_NAMESPACE_DEFAULT),
                tag = SPAN_LIT(OLLAMA_TAG_DEFAULT), name;
    size_t n = 0;
    bool more = true;
    for (; more && n < PARTS_MAX; n++)
        more = span_cut(rest, '/', &parts[n], &rest);
    if (more) {
        err_set(err, ERR_INVALID, "'%.*s' has too many parts for a model", SPAN_FMT(span_head(text, OLLAMA_HOST_MAX)));
        return err_hint(err, "write it as [HOST/][NAMESPACE/]NAME[:TAG]");
    }
    struct span last = parts[n - 1], after;
    if (span_cut(last, ':', &name, &after))
        tag = after;
    bool has_host = n == 3 || (n == 2 && must_be_host(parts[0]));
    if (has_host)
        host = parts[0];
    if (n == 3 || (n == 2 && !has_host))
        space = parts[n - 2];
    if (take(out->host, OLLAMA_HOST_MAX, host, "-_.:[]", "host", text, err) < 0 ||
        take(out->space, OLLAMA_PART_MAX, space, "-_", "namespace", text, err) < 0 ||
        take(out->name, OLLAMA_PART_MAX, name, "-_.", "name", text, err) < 0 ||
        take(out->tag, OLLAMA_PART_MAX, tag, "-_.", "tag", text, err) < 0)
        return -1;
    return 0;
}

void ollama_ref_write(const struct ollama_ref *ref, struct buf *out)
{
    buf_addf(out, "%s/%s/%s:%s", ref->host, ref->space, ref->name, ref->tag);
}
