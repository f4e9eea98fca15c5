/* http1: what the raw lane needs of HTTP/1.1 (RFC 9112): the head of an answer, and where its body ends.
 *
 * Pure: bytes in, decisions out; nothing here reads a socket, allocates or keeps time. The parser is strict where
 * leniency lets two parties disagree about where a message ends (request smuggling): obsolete line folding, spaces
 * before the colon, a repeated Content-Length that differs, Content-Length together with chunked, and control
 * characters are refused with ERR_PROTOCOL. A bare LF as line end is accepted (RFC 9112, 2.2). Every size is bounded.
 */
#ifndef BERTH_XFER_HTTP1_H
#define BERTH_XFER_HTTP1_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

#define HTTP1_HEAD_MAX    (64 * 1024) /* bytes of status line and header fields together */
#define HTTP1_FIELDS_MAX  256
#define HTTP1_TRAILER_MAX (16 * 1024)
#define HTTP1_CHUNK_LINE  256 /* bytes of one chunk-size line, extensions included */

struct http1_field {
    struct span name; /* as sent */
    struct span value;
};

enum http1_framing {
    HTTP1_NO_BODY,  /* HEAD, 1xx, 204, 304 */
    HTTP1_LENGTH,   /* Content-Length */
    HTTP1_CHUNKED,  /* Transfer-Encoding: chunked */
    HTTP1_TO_CLOSE, /* neither: the body ends with the connection */
};

/* Spans point into the text that was parsed. */
struct http1_head {
    int status;
    unsigned minor; /* of HTTP/1.x */
    bool keep_alive;
    enum http1_framing framing;
    uint64_t content_length; /* with HTTP1_LENGTH */
    size_t field_count;
    struct http1_field fields[HTTP1_FIELDS_MAX];
};

/* The length of the head at the front of `text`, its empty line included; 0 where it is not complete yet. Looks only
 * at the first HTTP1_HEAD_MAX bytes; a caller that holds more without a result has a head that is too long. */
size_t http1_head_length(struct span text);

/* Parse a complete head. `head_request`: the answer to HEAD, which has no body whatever its fields say. */
int http1_parse_head(struct http1_head *out, struct span text, bool head_request, struct err *err);

/* The first field of that name (any case), or a span with p == NULL. */
struct span http1_get(const struct http1_head *h, const char *name);

/* "bytes 0-99/1000" and "bytes 0-99/" "*" (RFC 9110, 14.4); total is UINT64_MAX for an unknown one. ERR_PROTOCOL. */
struct http1_range {
    uint64_t first, last, total;
};
int http1_parse_content_range(struct span value, struct http1_range *out, struct err *err);

/* Where a body stands. Feed it what was received; it gives back pieces of payload, in order, as views of the input. */
enum http1_chunk_state { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER };

struct http1_body {
    enum http1_framing framing;
    bool complete;
    uint64_t left; /* of the body (HTTP1_LENGTH) or of this chunk */
    enum http1_chunk_state state;
    size_t line_n;   /* bytes of the line or trailer under way */
    bool line_empty; /* nothing but CR seen on this trailer line */
    bool size_done;  /* the digits of the chunk size are over */
    bool extension;  /* behind the ';' */
    unsigned size_digits;
};

void http1_body_start(struct http1_body *b, const struct http1_head *head);

/* Take bytes from the front of `in` (which shrinks) and set *data to the next piece of payload; an empty *data means
 * that more input is needed, or that the body is complete. ERR_PROTOCOL for broken chunks. */
int http1_body_next(struct http1_body *b, struct span *in, struct span *data, struct err *err);

/* The connection ended: 0 where that completes the body, else ERR_TRANSIENT with what was missing. */
int http1_body_end(struct http1_body *b, struct err *err);

/* "GET /path HTTP/1.1\r\nHost: …\r\n…\r\n"; `headers` are whole "Name: value\r\n" lines. Adding is checked by the
 * buffer's own sticky error. */
void http1_write_request(struct buf *out, const char *method, struct span target, struct span authority,
                         const char *user_agent, struct span headers);

/* Whether `headers` are well-formed lines, without control characters, so that none of them can end the request early.
 * ERR_INVALID names the line. */
int http1_check_lines(struct span headers, struct err *err);

#endif
