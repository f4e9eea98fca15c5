#include "xfer/http1.h"

#include <limits.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* RFC 9110, 5.6.2: token characters. */
static bool is_token_char(char c)
{
    if (is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_token_char(s.p[i]))
            return false;
    }
    return s.n > 0;
}

/* RFC 9110, 5.5: visible characters, space, tab, and bytes above ASCII. */
static bool is_field_value(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static struct span trim_blank(struct span s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

size_t http1_head_length(struct span text)
{
    size_t max = text.n < HTTP1_HEAD_MAX ? text.n : HTTP1_HEAD_MAX;
    const char *end = text.p + max;
    const char *p = text.p;
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        if (!lf)
            return 0;
        const char *next = lf + 1;
        if (next < end && *next == '\n')
            return (size_t)(next + 1 - text.p);
        if (next + 1 < end && next[0] == '\r' && next[1] == '\n')
            return (size_t)(next + 2 - text.p);
        p = next;
    }
    return 0;
}

/* The next line without its end; false at the end of the text. */
static bool next_line(struct span *text, struct span *line)
{
    if (text->n == 0)
        return false;
    const char *lf = memchr(text->p, '\n', text->n);
    size_t n = lf ? (size_t)(lf - text->p) : text->n;
    size_t used = lf ? n + 1 : n;
    *line = (struct span){text->p, n};
    if (n > 0 && line->p[n - 1] == '\r')
        line->n--;
    text->p += used;
    text->n -= used;
    return true;
}

/* "HTTP/1.1 200 OK"; the reason may be missing, and with it (against the letter, as many servers do) its space. */
static int parse_status_line(struct http1_head *out, struct span line, struct err *err)
{
    if (line.n < 12 || memcmp(line.p, "HTTP/1.", 7) != 0 || !is_digit(line.p[7]) || line.p[8] != ' ')
        return err_set(err, ERR_PROTOCOL, "the answer does not begin with an HTTP/1 status line");
    for (size_t i = 9; i < 12; i++) {
        if (!is_digit(line.p[i]))
            return err_set(err, ERR_PROTOCOL, "the status line has no three-digit status");
    }
    if ((line.n > 12 && line.p[12] != ' ') || !is_field_value(line))
        return err_set(err, ERR_PROTOCOL, "the status line is malformed");
    out->minor = (unsigned)(line.p[7] - '0');
    out->status = (line.p[9] - '0') * 100 + (line.p[10] - '0') * 10 + (line.p[11] - '0');
    if (out->status < 100)
        return err_set(err, ERR_PROTOCOL, "status %03d is out of range", out->status);
    return 0;
}

static int parse_field(struct http1_head *out, struct span line, struct err *err)
{
    struct span name, value;
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return err_set(err, ERR_PROTOCOL, "a header line is folded");
    if (!span_cut(line, ':', &name, &value) || !is_token(name))
        return err_set(err, ERR_PROTOCOL, "a header line has no proper name");
    if (!is_field_value(value))
        return err_set(err, ERR_PROTOCOL, "header %.*s has control characters", SPAN_FMT(name));
    if (out->field_count == HTTP1_FIELDS_MAX)
        return err_set(err, ERR_PROTOCOL, "the answer has more than %d headers", HTTP1_FIELDS_MAX);
    out->fields[out->field_count++] = (struct http1_field){name, trim_blank(value)};
    return 0;
}

/* Whether a comma-separated list holds `word`. */
static bool list_has(struct span list, const char *word)
{
    struct span item;
    bool more = true;
    while (more) {
        struct span rest;
        more = span_cut(list, ',', &item, &rest);
        if (span_eq_nocase(trim_blank(item), span_of(word)))
            return true;
        list = rest;
    }
    return false;
}

static int learn_length(struct http1_head *out, struct span value, bool *has_length, struct err *err)
{
    uint64_t n;
    struct err ignored = ERR_INIT;
    if (span_to_u64(value, &n, &ignored) < 0 || n > INT64_MAX)
        return err_set(err, ERR_PROTOCOL, "Content-Length is not a number");
    if (*has_length && n != out->content_length)
        return err_set(err, ERR_PROTOCOL, "two values of Content-Length differ");
    *has_length = true;
    out->content_length = n;
    return 0;
}

/* RFC 9112, 6.3: where the body ends; 9.3: whether the connection may be used again. */
static int learn_framing(struct http1_head *out, bool head_request, struct err *err)
{
    bool has_length = false, chunked = false, close = false, keep = false;
    for (size_t i = 0; i < out->field_count; i++) {
        struct span name = out->fields[i].name, value = out->fields[i].value;
        if (span_eq_nocase(name, SPAN_LIT("content-length"))) {
            if (learn_length(out, value, &has_length, err) < 0)
                return -1;
        } else if (span_eq_nocase(name, SPAN_LIT("transfer-encoding"))) {
            if (chunked || !span_eq_nocase(value, SPAN_LIT("chunked")))
                return err_set(err, ERR_PROTOCOL, "transfer encoding %.*s was not asked for", SPAN_FMT(value));
            chunked = true;
        } else if (span_eq_nocase(name, SPAN_LIT("connection"))) {
            close = close || list_has(value, "close");
            keep = keep || list_has(value, "keep-alive");
        }
    }
    if (has_length && chunked)
        return err_set(err, ERR_PROTOCOL, "the answer has both Content-Length and chunked encoding");
    if (head_request || out->status < 200 || out->status == 204 || out->status == 304)
        out->framing = HTTP1_NO_BODY;
    else if (chunked)
        out->framing = HTTP1_CHUNKED;
    else
        out->framing = has_length ? HTTP1_LENGTH : HTTP1_TO_CLOSE;
    out->keep_alive = out->framing != HTTP1_TO_CLOSE && !close && (out->minor >= 1 || keep);
    return 0;
}

int http1_parse_head(struct http1_head *out, struct span text, bool head_request, struct err *err)
{
    struct span line;
    out->field_count = 0;
    out->content_length = 0;
    if (text.n > HTTP1_HEAD_MAX)
        return err_set(err, ERR_PROTOCOL, "the head of the answer is longer than %d bytes", HTTP1_HEAD_MAX);
    if (!next_line(&text, &line) || parse_status_line(out, line, err) < 0)
        return err_set(err, ERR_PROTOCOL, "the answer is empty");
    while (next_line(&text, &line) && line.n > 0) {
        if (parse_field(out, line, err) < 0)
            return -1;
    }
    return learn_framing(out, head_request, err);
}

struct span http1_get(const struct http1_head *h, const char *name)
{
    struct span wanted = span_of(name);
    for (size_t i = 0; i < h->field_count; i++) {
        if (span_eq_nocase(h->fields[i].name, wanted))
            return h->fields[i].value;
    }
    return (struct span){NULL, 0};
}

int http1_parse_content_range(struct span value, struct http1_range *out, struct err *err)
{
    struct span range, total, first, last;
    struct err bad = ERR_INIT;
    if (value.n < 6 || !span_eq_nocase((struct span){value.p, 6}, SPAN_LIT("bytes ")))
        return err_set(err, ERR_PROTOCOL, "Content-Range is not in bytes: %.*s", SPAN_FMT(value));
    value = (struct span){value.p + 6, value.n - 6};
    if (!span_cut(value, '/', &range, &total) || !span_cut(range, '-', &first, &last) ||
        span_to_u64(first, &out->first, &bad) < 0 || span_to_u64(last, &out->last, &bad) < 0)
        return err_set(err, ERR_PROTOCOL, "Content-Range is malformed: %.*s", SPAN_FMT(value));
    if (span_eq(total, SPAN_LIT("*")))
        out->total = UINT64_MAX;
    else if (span_to_u64(total, &out->total, &bad) < 0)
        return err_set(err, ERR_PROTOCOL, "Content-Range is malformed: %.*s", SPAN_FMT(value));
    if (out->first > out->last || out->last >= out->total)
        return err_set(err, ERR_PROTOCOL, "Content-Range is out of order: %.*s", SPAN_FMT(value));
    return 0;
}

void http1_write_request(struct buf *out, const char *method, struct span target, struct span authority,
                         const char *user_agent, struct span headers)
{
    buf_adds(out, method);
    buf_addc(out, ' ');
    buf_add_span(out, target);
    buf_adds(out, " HTTP/1.1\r\nHost: ");
    buf_add_span(out, authority);
    buf_adds(out, "\r\nUser-Agent: ");
    buf_adds(out, user_agent);
    buf_adds(out, "\r\nAccept: */*\r\n");
    buf_add_span(out, headers);
    buf_adds(out, "\r\n");
}

int http1_check_lines(struct span headers, struct err *err)
{
    while (headers.n > 0) {
        const char *lf = memchr(headers.p, '\n', headers.n);
        struct span line = {headers.p, lf ? (size_t)(lf - headers.p) : 0};
        struct span name, value;
        if (!lf || line.n == 0 || line.p[line.n - 1] != '\r')
            return err_set(err, ERR_INVALID, "a request header does not end in CR LF");
        line.n--;
        if (!span_cut(line, ':', &name, &value) || !is_token(name))
            return err_set(err, ERR_INVALID, "a request header has no proper name");
        if (!is_field_value(value))
            return err_set(err, ERR_INVALID, "request header %.*s has control characters", SPAN_FMT(name));
        headers.n -= (size_t)(lf + 1 - headers.p);
        headers.p = lf + 1;
    }
    return 0;
}
