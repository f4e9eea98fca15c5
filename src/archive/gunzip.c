/* Reading gzip (RFC 1952) as a stream, any number of members one after another, each checked against its CRC and
 * length. Zero bytes may follow each (tape blocks), anything else but a member may not. */
#include "archive/archive.h"

#include <isa-l/igzip_lib.h>
#include <string.h>

#define INPUT_BYTES    ((size_t)64 << 10)
#define OUTPUT_MAX     ((size_t)1 << 30) /* igzip counts in 32 bits */
#define GZIP_MAGIC_1   0x1f
#define PADDING_BYTE   0
#define RESERVED_FLAGS 0xe0 /* RFC 1952, 2.3.1.2: an error where set */

enum gunzip_place { BETWEEN_MEMBERS, IN_HEADER, IN_BODY };

struct gunzip {
    archive_read_fn read;
    void *ctx;
    bool ended; /* the source has no more */
    enum gunzip_place place;
    uint64_t members;
    struct isal_gzip_header header; /* kept, since a header may come in pieces */
    struct inflate_state state;
    uint8_t input[INPUT_BYTES];
};

int gunzip_open(struct gunzip **out, archive_read_fn read, void *ctx, struct err *err)
{
    struct gunzip *g = malloc(sizeof(*g));
    if (!g)
        return err_nomem(err);
    memset(g, 0, offsetof(struct gunzip, input));
    g->read = read;
    g->ctx = ctx;
    isal_inflate_init(&g->state);
    *out = g;
    return 0;
}

void gunzip_free(struct gunzip *g)
{
    free(g);
}

/* 1: there is input, 0: the source has ended. */
static int refill(struct gunzip *g, struct err *err)
{
    if (g->state.avail_in)
        return 1;
    if (g->ended)
        return 0;
    int64_t n = g->read(g->ctx, g->input, sizeof(g->input), err);
    if (n < 0)
        return -1;
    g->ended = n == 0;
    g->state.next_in = g->input;
    g->state.avail_in = (uint32_t)n;
    return n > 0;
}

static int truncated(struct err *err)
{
    return err_set(err, ERR_CORRUPT, "the gzip stream is cut short");
}

static int damaged(int rc, struct err *err)
{
    switch (rc) {
    case ISAL_INCORRECT_CHECKSUM:
        return err_set(err, ERR_CORRUPT, "the gzip stream does not have the checksum or length that it states");
    case ISAL_INVALID_WRAPPER:
    case ISAL_UNSUPPORTED_METHOD:
        return err_set(err, ERR_CORRUPT, "no gzip header where one should be");
    default:
        return err_set(err, ERR_CORRUPT, "the gzip stream is damaged (igzip error %d)", rc);
    }
}

/* 1: a member begins, 0: none follows. */
static int start_member(struct gunzip *g, struct err *err)
{
    for (;;) {
        int rc = refill(g, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            return g->members ? 0 : truncated(err);
        if (*g->state.next_in == GZIP_MAGIC_1)
            break;
        if (g->members == 0 || *g->state.next_in != PADDING_BYTE)
            return damaged(ISAL_INVALID_WRAPPER, err);
        g->state.next_in++;
        g->state.avail_in--;
    }
    isal_inflate_reset(&g->state);
    g->state.crc_flag = ISAL_GZIP_NO_HDR_VER; /* the header is read apart, the trailer is verified */
    isal_gzip_header_init(&g->header);
    g->members++;
    g->place = IN_HEADER;
    return 1;
}

static int read_header(struct gunzip *g, struct err *err)
{
    int rc = refill(g, err);
    if (rc <= 0)
        return rc < 0 ? -1 : truncated(err);
    rc = isal_read_gzip_header(&g->state, &g->header);
    if (rc == ISAL_DECOMP_OK && (g->header.flags & RESERVED_FLAGS))
        return damaged(ISAL_INVALID_WRAPPER, err);
    if (rc == ISAL_DECOMP_OK)
        g->place = IN_BODY;
    else if (rc != ISAL_END_INPUT)
        return damaged(rc, err);
    return 0;
}

/* Unpack into `p`; 0 bytes where the member ended or more input is needed. */
static int64_t read_body(struct gunzip *g, void *p, size_t max, struct err *err)
{
    int more = refill(g, err);
    if (more < 0)
        return -1;
    g->state.next_out = p;
    g->state.avail_out = (uint32_t)max;
    int rc = isal_inflate(&g->state);
    if (rc < 0)
        return damaged(rc, err);
    size_t got = max - g->state.avail_out;
    if (g->state.block_state == ISAL_BLOCK_FINISH)
        g->place = BETWEEN_MEMBERS;
    else if (got == 0 && more == 0)
        return truncated(err);
    return (int64_t)got;
}

int64_t gunzip_read(struct gunzip *g, void *p, size_t max, struct err *err)
{
    if (max > OUTPUT_MAX)
        max = OUTPUT_MAX;
    while (max) {
        int64_t n = 0;
        switch (g->place) {
        case BETWEEN_MEMBERS:
            n = start_member(g, err);
            if (n <= 0)
                return n;
            break;
        case IN_HEADER:
            if (read_header(g, err) < 0)
                return -1;
            break;
        case IN_BODY:
            n = read_body(g, p, max, err);
            if (n != 0)
                return n;
            break;
        }
    }
    return 0;
}
