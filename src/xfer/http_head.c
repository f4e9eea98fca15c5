#include "xfer/xfer_common.h"

#include "base/clock.h"
#include "xfer/retry.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void http_response_init(struct http_response *r, size_t body_max)
{
    *r = (struct http_response){0};
    buf_init(&r->body, body_max);
}

static void drop_fields(struct http_response *r)
{
    for (size_t i = 0; i < r->header_count; i++)
        free((char *)r->headers[i].name); /* one block holds name and value */
    free(r->headers);
    r->headers = NULL;
    r->header_count = r->header_bytes = 0;
}

void http_response_reset(struct http_response *r)
{
    drop_fields(r);
    buf_reset(&r->body);
    r->status = 0;
    r->date_ms = 0;
    r->effective_url[0] = '\0';
}

void http_response_release(struct http_response *r)
{
    drop_fields(r);
    buf_release(&r->body);
    *r = (struct http_response){0};
}

const char *http_response_get(const struct http_response *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (strcasecmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return NULL;
}

uint64_t http_response_wait_ms(const struct http_response *r)
{
    const char *after = http_response_get(r, "retry-after"), *limit = http_response_get(r, "ratelimit");
    if (after) /* a date is meant by the server's clock, not by ours */
        return retry_after_ms(span_of(after), r->date_ms ? r->date_ms : clock_wall_ms());
    return limit && r->status == 429 ? retry_rate_limit_ms(span_of(limit)) : 0;
}

static struct span without_line_end(struct span line)
{
    if (line.n && line.p[line.n - 1] == '\n')
        line.n--;
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

int http_response_status_line(struct http_response *r, struct span line, struct err *err)
{
    line = without_line_end(line);
    bool version = span_starts(line, SPAN_LIT("HTTP/1.0 ")) || span_starts(line, SPAN_LIT("HTTP/1.1 "));
    if (!version || line.n < 12 || (line.n > 12 && line.p[12] != ' '))
        return err_set(err, ERR_PROTOCOL, "the answer does not start with an HTTP/1 status line");
    int status = 0;
    for (size_t i = 9; i < 12; i++) {
        if (line.p[i] < '0' || line.p[i] > '9')
            return err_set(err, ERR_PROTOCOL, "the answer's status is not a number");
        status = status * 10 + (line.p[i] - '0');
    }
    if (status < 100 || status > 599)
        return err_set(err, ERR_PROTOCOL, "the answer's status %d is outside 100 to 599", status);
    r->status = status;
    return 0;
}

/* RFC 9110, 5.6.2. */
static bool is_token(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.n > 0;
}

static bool has_line_breaks(struct span s)
{
    return memchr(s.p, '\0', s.n) || memchr(s.p, '\r', s.n) || memchr(s.p, '\n', s.n);
}

static bool has_controls(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

int xfer_check_header(struct span name, struct span value, struct err *err)
{
    if (!is_token(name))
        return err_set(err, ERR_INVALID, "'%.*s' is no name for a header", (int)(name.n < 64 ? name.n : 64), name.p);
    if (has_controls(value))
        return err_set(err, ERR_INVALID, "the value of header %.*s has control characters",
                       (int)(name.n < 64 ? name.n : 64), name.p);
    return 0;
}

/* The array doubles whenever its length is a power of two, so its capacity needs no field of its own. */
static int make_room(struct http_response *r, struct err *err)
{
    size_t n = r->header_count;
    if (n & (n - 1))
        return 0;
    struct http_header *grown = reallocarray(r->headers, n ? 2 * n : 1, sizeof *grown);
    if (!grown)
        return err_nomem(err);
    r->headers = grown;
    return 0;
}

static void note_date(struct http_response *r, const char *name, struct span value)
{
    if (strcmp(name, "date") != 0 || r->date_ms)
        return;
    struct err ignored = ERR_INIT;
    int64_t at;
    if (time_parse_http(value, &at, &ignored) == 0)
        r->date_ms = at;
}

int http_response_add(struct http_response *r, struct span name, struct span value, struct err *err)
{
    value = span_trim(value);
    if (!is_token(name))
        return err_set(err, ERR_PROTOCOL, "the answer has a header with a broken name");
    if (value.n && has_line_breaks(value))
        return err_set(err, ERR_PROTOCOL, "the answer's header %.*s is broken", (int)(name.n < 64 ? name.n : 64),
                       name.p);
    if (r->header_count >= XFER_HEADERS_MAX)
        return err_set(err, ERR_LIMIT, "the answer has more than %d headers", XFER_HEADERS_MAX);
    if (value.n > XFER_HEAD_BYTES_MAX || name.n + value.n > XFER_HEAD_BYTES_MAX - r->header_bytes)
        return err_set(err, ERR_LIMIT, "the answer's headers are longer than %d bytes", XFER_HEAD_BYTES_MAX);
    if (make_room(r, err) < 0)
        return -1;
    char *block = malloc(name.n + value.n + 2);
    if (!block)
        return err_nomem(err);
    for (size_t i = 0; i < name.n; i++)
        block[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] + ('a' - 'A')) : name.p[i];
    block[name.n] = '\0';
    if (value.n)
        memcpy(block + name.n + 1, value.p, value.n);
    block[name.n + 1 + value.n] = '\0';
    r->headers[r->header_count++] = (struct http_header){block, block + name.n + 1};
    r->header_bytes += name.n + value.n;
    note_date(r, block, value);
    return 0;
}

int http_response_field_line(struct http_response *r, struct span line, struct err *err)
{
    struct span name, value;
    if (!span_cut(without_line_end(line), ':', &name, &value))
        return err_set(err, ERR_PROTOCOL, "the answer has a header line without ':'");
    return http_response_add(r, name, value, err);
}
