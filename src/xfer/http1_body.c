/* Where a body ends: by its length, by chunks (RFC 9112, 7.1), or with the connection. */
#include "xfer/http1.h"

void http1_body_start(struct http1_body *b, const struct http1_head *head)
{
    *b = (struct http1_body){.framing = head->framing, .state = CHUNK_SIZE};
    if (head->framing == HTTP1_LENGTH)
        b->left = head->content_length;
    b->complete = head->framing == HTTP1_NO_BODY || (head->framing == HTTP1_LENGTH && head->content_length == 0);
}

static void take(struct span *in, size_t n)
{
    in->p += n;
    in->n -= n;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static void begin_line(struct http1_body *b, enum http1_chunk_state state)
{
    b->state = state;
    b->line_n = 0;
    b->line_empty = true;
    b->size_done = b->extension = false;
    b->size_digits = 0;
}

/* One character of "1a3f;extension\r\n". */
static int chunk_size_char(struct http1_body *b, char c, struct err *err)
{
    if (++b->line_n > HTTP1_CHUNK_LINE)
        return err_set(err, ERR_PROTOCOL, "a chunk-size line is longer than %d bytes", HTTP1_CHUNK_LINE);
    if (c == '\n') {
        if (b->size_digits == 0)
            return err_set(err, ERR_PROTOCOL, "a chunk has no size");
        begin_line(b, b->left > 0 ? CHUNK_DATA : CHUNK_TRAILER);
        return 0;
    }
    int digit = hex_digit(c);
    if (!b->size_done && digit >= 0) {
        if (b->size_digits++ == 0)
            b->left = 0;
        if (b->left > (uint64_t)INT64_MAX >> 4)
            return err_set(err, ERR_PROTOCOL, "a chunk's size is too large");
        b->left = b->left << 4 | (uint64_t)digit;
        return 0;
    }
    if (!b->extension && c != ';' && c != '\r' && c != ' ' && c != '\t')
        return err_set(err, ERR_PROTOCOL, "a chunk's size is not a number");
    b->size_done = true;
    b->extension = b->extension || c == ';';
    return 0;
}

/* The CR LF behind a chunk's data. */
static int chunk_end_char(struct http1_body *b, char c, struct err *err)
{
    if (c == '\n') {
        begin_line(b, CHUNK_SIZE);
        return 0;
    }
    if (c != '\r' || b->line_n++ > 0)
        return err_set(err, ERR_PROTOCOL, "a chunk is longer than its size");
    return 0;
}

/* Trailers are read and forgotten. `line_n` counts over all of them. */
static int trailer_char(struct http1_body *b, char c, struct err *err)
{
    if (++b->line_n > HTTP1_TRAILER_MAX)
        return err_set(err, ERR_PROTOCOL, "the trailers are longer than %d bytes", HTTP1_TRAILER_MAX);
    if (c == '\n') {
        b->complete = b->line_empty;
        b->line_empty = true;
    } else if (c != '\r') {
        b->line_empty = false;
    }
    return 0;
}

static int chunked_next(struct http1_body *b, struct span *in, struct span *data, struct err *err)
{
    while (in->n > 0 && !b->complete) {
        if (b->state == CHUNK_DATA) {
            data->p = in->p;
            data->n = in->n < b->left ? in->n : (size_t)b->left;
            take(in, data->n);
            b->left -= data->n;
            if (b->left == 0)
                begin_line(b, CHUNK_DATA_END);
            return 0;
        }
        char c = in->p[0];
        take(in, 1);
        int rc = b->state == CHUNK_SIZE       ? chunk_size_char(b, c, err)
                 : b->state == CHUNK_DATA_END ? chunk_end_char(b, c, err)
                                              : trailer_char(b, c, err);
        if (rc < 0)
            return -1;
    }
    return 0;
}

int http1_body_next(struct http1_body *b, struct span *in, struct span *data, struct err *err)
{
    *data = (struct span){in->p, 0};
    if (b->complete || in->n == 0)
        return 0;
    if (b->framing == HTTP1_CHUNKED)
        return chunked_next(b, in, data, err);
    data->n = in->n;
    if (b->framing == HTTP1_LENGTH) {
        if (data->n > b->left)
            data->n = (size_t)b->left;
        b->left -= data->n;
        b->complete = b->left == 0;
    }
    take(in, data->n);
    return 0;
}

int http1_body_end(struct http1_body *b, struct err *err)
{
    if (b->complete)
        return 0;
    if (b->framing == HTTP1_TO_CLOSE) {
        b->complete = true;
        return 0;
    }
    if (b->framing == HTTP1_LENGTH)
        return err_set(err, ERR_TRANSIENT, "the connection ended %llu bytes before the body did",
                       (unsigned long long)b->left);
    return err_set(err, ERR_TRANSIENT, "the connection ended before the last chunk");
}
