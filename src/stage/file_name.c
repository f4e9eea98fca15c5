#include "stage/file_name_priv.h"

#include "base/enc.h"
#include "base/path.h"

/* --- Content-Disposition ------------------------------------------------------------------------------------------ */

static struct span skip_spaces(struct span s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = (struct span){s.p + 1, s.n - 1};
    return s;
}

/* What stands between quotes, its escapes undone (RFC 9110, 5.6.4); a missing closing quote is forgiven. */
static struct span take_quoted(struct span s, struct buf *value)
{
    size_t i = 1;
    for (; i < s.n && s.p[i] != '"'; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n)
            i++;
        buf_addc(value, s.p[i]);
    }
    size_t used = i < s.n ? i + 1 : s.n;
    return (struct span){s.p + used, s.n - used};
}

/* The next `name=value`; what has no '=' (the type itself) is passed over. */
static bool next_parameter(struct span *rest, struct span *name, struct buf *value)
{
    while (rest->n > 0) {
        size_t i = 0;
        while (i < rest->n && rest->p[i] != '=' && rest->p[i] != ';')
            i++;
        *name = span_trim((struct span){rest->p, i});
        bool has_value = i < rest->n && rest->p[i] == '=';
        size_t used = i < rest->n ? i + 1 : i;
        *rest = (struct span){rest->p + used, rest->n - used};
        if (!has_value)
            continue;
        buf_reset(value);
        *rest = skip_spaces(*rest);
        if (rest->n > 0 && rest->p[0] == '"') {
            *rest = take_quoted(*rest, value);
            struct span ignored;
            span_cut(*rest, ';', &ignored, rest);
        } else {
            struct span token;
            span_cut(*rest, ';', &token, rest);
            buf_add_span(value, span_trim(token));
        }
        return true;
    }
    return false;
}

static void add_latin1(struct buf *out, struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x80)
            buf_addc(out, (char)(0xc0 | c >> 6));
        buf_addc(out, (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c));
    }
}

/* charset'language'percent-encoded (RFC 8187, 3.2.1). */
static bool decode_extended(struct span value, struct buf *out)
{
    struct span charset, language, coded;
    struct err why = ERR_INIT;
    AUTO_BUF bytes;
    buf_init(&bytes, FILE_NAME_TEXT_MAX);
    if (!span_cut(value, '\'', &charset, &coded) || !span_cut(coded, '\'', &language, &coded) ||
        percent_decode(&bytes, coded, &why) < 0 || bytes.state != BUF_OK)
        return false;
    buf_reset(out);
    if (span_eq_nocase(charset, SPAN_LIT("UTF-8")) && span_is_utf8(buf_span(&bytes)))
        buf_add_span(out, buf_span(&bytes));
    else if (span_eq_nocase(charset, SPAN_LIT("ISO-8859-1")))
        add_latin1(out, buf_span(&bytes));
    return out->n > 0 && out->state == BUF_OK;
}

bool file_name_of_disposition(struct span field, struct buf *out)
{
    struct span name;
    bool plain = false;
    AUTO_BUF value;
    AUTO_BUF extended;
    buf_init(&value, FILE_NAME_TEXT_MAX);
    buf_init(&extended, FILE_NAME_TEXT_MAX);
    buf_reset(out);
    while (next_parameter(&field, &name, &value)) {
        if (value.state != BUF_OK)
            continue;
        if (span_eq_nocase(name, SPAN_LIT("filename*")) && decode_extended(buf_span(&value), &extended)) {
            buf_reset(out);
            buf_add_span(out, buf_span(&extended));
            return out->state == BUF_OK;
        }
        if (!plain && span_eq_nocase(name, SPAN_LIT("filename")) && value.n > 0) {
            plain = true;
            buf_add_span(out, buf_span(&value));
        }
    }
    return plain && out->state == BUF_OK;
}

/* --- one safe component ------------------------------------------------------------------------------------------- */

static struct span last_component(struct span s)
{
    for (size_t i = s.n; i-- > 0;)
        if (s.p[i] == '/' || s.p[i] == '\\')
            return (struct span){s.p + i + 1, s.n - i - 1};
    return s;
}

static bool reduce(struct span proposed, bool keep_dot, struct buf *out)
{
    AUTO_BUF name;
    struct err unsafe = ERR_INIT;
    buf_init(&name, 2 * FILE_NAME_TEXT_MAX);
    struct span last = span_trim(last_component(proposed));
    if (span_is_utf8(last))
        buf_add_span(&name, last);
    else
        add_latin1(&name, last);
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f)
            name.p[i] = '_';
    if (name.state != BUF_OK || path_check_relative(buf_span(&name), &unsafe) < 0)
        return false;
    if (name.p[0] == '.' && !keep_dot)
        name.p[0] = '_';
    buf_reset(out);
    buf_add_span(out, buf_span(&name));
    return out->state == BUF_OK;
}

/* The last segment of the path, decoded; a URL that cannot be decoded is taken as it stands. */
static void last_segment(const char *url, struct buf *out)
{
    struct span path, ignored;
    struct err why = ERR_INIT;
    span_cut(span_of(url), '#', &path, &ignored);
    span_cut(path, '?', &path, &ignored);
    const char *authority = memmem(path.p, path.n, "://", 3);
    if (authority)
        path = (struct span){authority + 3, path.n - (size_t)(authority + 3 - path.p)};
    const char *slash = path.n > 0 ? memrchr(path.p, '/', path.n) : NULL;
    buf_reset(out);
    if (!slash) /* a host alone */
        return;
    struct span segment = {slash + 1, path.n - (size_t)(slash + 1 - path.p)};
    if (percent_decode(out, segment, &why) < 0) {
        buf_reset(out);
        buf_add_span(out, segment);
    }
}

void file_name_choose(const char *disposition, const char *final_url, const char *asked_url, struct buf *out)
{
    AUTO_BUF proposed;
    AUTO_BUF asked;
    buf_init(&proposed, FILE_NAME_TEXT_MAX);
    buf_init(&asked, FILE_NAME_TEXT_MAX);
    if (disposition && file_name_of_disposition(span_of(disposition), &proposed) &&
        reduce(buf_span(&proposed), false, out))
        return;
    last_segment(final_url, &proposed);
    last_segment(asked_url, &asked);
    bool as_asked = span_eq(buf_span(&proposed), buf_span(&asked));
    if (proposed.state == BUF_OK && reduce(buf_span(&proposed), as_asked, out))
        return;
    buf_reset(out);
    buf_adds(out, FILE_NAME_FALLBACK);
}
