/* s3, inside: the client's state and how a request is put together, sent and cured. */
#ifndef BERTH_S3_S3_PRIV_H
#define BERTH_S3_S3_PRIV_H

#include "s3/fault.h"
#include "s3/lessons.h"
#include "s3/mirror.h"
#include "s3/place.h"
#include "s3/s3.h"

#include <pthread.h>
#include <stdatomic.h>

#define S3_URL_MAX     ((size_t)16 << 10)
#define S3_HEADERS_MAX ((size_t)32 << 10)
#define S3_NAME_MAX    2048

struct s3 {
    /* Never changes after s3_open(). */
    struct arena *arena;
    struct http *http;
    struct creds *creds;
    const struct cancel *cancel;
    struct s3_memory *memory, *own_memory;
    struct mirrors mirrors;
    struct s3_places places;
    const char *spot; /* what the memory knows a guessed place by */
    bool plain_http_refused;
    bool plain_http; /* and not the operator's own mirror or this machine: worth a warning */
    bool requester_pays;
    char *sse_key, *sse_key_md5; /* base64; NULL: none */

    struct sigv4_cache signing; /* guards itself */

    struct {
        pthread_mutex_t mu;
        const struct s3_place *place; /* one of `places` */
        bool settled;                 /* the place answered as it should, or nothing had to be guessed */
        char region[S3_REGION_MAX];
        char *front; /* of `place` for `region`, mirrors applied; owned */
        bool mirrored;
    } now;
    struct {
        pthread_mutex_t mu;
        struct creds_keys keys; /* those that sign on transfer threads */
    } last;
    /* Counts what was learned, so that signatures kept by others know that they are stale. */
    atomic_uint lessons;
};

/* ---- what is asked ---- */

struct s3_ask {
    enum s3_action action;
    const char *method;
    const char *key;         /* NULL: the bucket */
    struct span query;       /* encoded; may be empty */
    const char *range;       /* of a probing GET; NULL */
    bool checksum_mode;      /* have stored checksums stated */
    bool part_digests;       /* GetObjectAttributes: those of the parts */
    const char *part_marker; /* parts after this one; NULL */
    /* What is sent with it; all borrowed, and zero for what only asks. */
    struct span body;
    const struct http_region *body_file; /* instead of `body` */
    const char *payload_hash;            /* for x-amz-content-sha256; NULL: of no body */
    const struct sigv4_header *headers;  /* further ones, signed; at most S3_ASK_HEADERS_MAX */
    size_t header_count;
    bool if_none;             /* only where no object has this key */
    size_t body_max;          /* of the answer; 0: FAULT_BODY_MAX */
    unsigned tries;           /* 0: as http_call() has it */
    uint32_t idle_timeout_ms; /* likewise */
    bool cleaning_up;         /* goes on when all else was cancelled, for a while */
    bool makes;               /* something that must be known to be undone: once asked, its answer is awaited */
};
#define S3_ASK_HEADERS_MAX 8
#define S3_CLEAN_UP_MS     15000

/* The URL by what is known now. */
int s3_write_url(struct s3 *s3, const struct s3_ask *ask, struct buf *url, struct err *err);

/* Header lines for the URL, signed with `keys` unless they are anonymous or the place is plain. */
int s3_write_headers(struct s3 *s3, const struct s3_ask *ask, const char *url, const struct s3_keys *keys,
                     struct buf *headers, struct err *err);

/* "versionId=…" or "". */
int s3_version_query(const char *version_id, struct buf *out, struct err *err);

/* Ask, and cure what can be cured (region, clock, expired keys), each once. 0: an answer came, whatever its status.
 * `take` gets the pieces of a 2xx body; `again` is called before each further try. NULL: the body is in `resp`. */
struct s3_taker {
    int (*take)(void *ctx, const void *p, size_t n, struct err *err);
    int (*again)(void *ctx, struct err *err);
    void *ctx;
};
int s3_exchange(struct s3 *s3, const struct s3_ask *ask, const struct s3_taker *taker, struct http_response *resp,
                struct err *err);

static inline bool s3_ok(int status)
{
    return status >= 200 && status < 300;
}

/* The fault of an answer, what cures it, and the cure (true where something changed; EXPIRED only forgets the keys). */
void s3_read_fault(const struct http_response *resp, struct fault *out);
enum fault_cure s3_find_cure(struct s3 *s3, const struct fault *f);
bool s3_apply_cure(struct s3 *s3, enum fault_cure cure, const struct fault *f, const char *access_key_id);
/* Amazon redirects to other regions: berth goes there by itself, signed for them, and nowhere else. */
bool s3_keeps_redirects(struct s3 *s3);
int s3_report(struct s3 *s3, const struct s3_ask *ask, const struct fault *answer, bool versioned, struct err *err);

/* ---- what is known now ---- */

/* The first of the guessed places that answers a listing (or, plain, a HEAD) is the place. Nothing where it is known.
 */
int s3_settle(struct s3 *s3, struct err *err);
bool s3_settled(struct s3 *s3);
const struct s3_place *s3_place_now(struct s3 *s3);
int s3_choose(struct s3 *s3, const struct s3_place *place, bool settled, struct err *err);
int s3_move(struct s3 *s3, const char *region, struct err *err); /* another region */
void s3_region_now(struct s3 *s3, char out[S3_REGION_MAX]);
int64_t s3_clock_now(struct s3 *s3); /* wall clock, corrected */

/* "s3://bucket/key", or the URL where the host is the bucket. */
void s3_name(struct s3 *s3, const char *key, char out[S3_NAME_MAX]);

/* Keys may hold line breaks, errors may not. */
void s3_one_line(char *text);

/* ---- list.c ---- */

/* Whether the place as chosen answers listings: *status 2xx: yes; 0: something that is none; else `f` says why not. */
int s3_probe(struct s3 *s3, const char *prefix, int *status, struct fault *f, struct err *err);

/* ---- head.c ---- */

/* The part of s3_head() that waits; then s3_head_read() fills in without waiting. */
int s3_head_ask(struct s3 *s3, const char *key, const char *version_id, struct http_response *resp, struct err *err);
int s3_head_read(struct s3 *s3, const char *key, const char *version_id, const struct http_response *resp,
                 struct arena *a, struct s3_object *out, struct err *err);

/* HEAD many keys at once; results in order. Strings go to the arena. */
int s3_look(struct s3 *s3, const char *const *keys, size_t n, struct arena *a, struct s3_object *out, struct err *err);

/* What an answer's headers state: a digest into `want`, unless it has one already. Checksums count where the answer is
 * about the whole object (`whole`, or they say so). */
void s3_learn_digest(const struct http_response *resp, bool whole, bool md5_etags, struct xfer_want *want);
/* Size of the whole object: the total of Content-Range, else Content-Length; XFER_SIZE_UNKNOWN. */
uint64_t s3_read_size(const struct http_response *resp);
/* Whether ETags of 32 digits are MD5s here: S3 servers, not any web server. */
bool s3_md5_etags(struct s3 *s3, const struct http_response *resp);

/* The error for an object in Glacier that is not restored. Returns -1. */
int s3_refuse_archived(struct s3 *s3, const char *key, struct err *err);

/* ---- parts.c ---- */

#define S3_PARTS_BODY_MAX ((size_t)4 << 20)
struct s3_parts {
    struct digest_value *v; /* owned */
    size_t n;
    uint64_t part_bytes, total_bytes;
};

/* Whether the answer states only a checksum of checksums, and of which kind. */
bool s3_composite_kind(const struct http_response *resp, enum digest_kind *kind);
/* The digests of the parts of an object of `size` bytes. False where the server does not tell them or they are not of
 * one size; `why` says more, which is no failure. Release in either case. */
bool s3_read_parts(struct s3 *s3, const char *key, const char *version_id, enum digest_kind kind, uint64_t size,
                   struct s3_parts *out, struct err *why);
void s3_parts_release(struct s3_parts *p);

/* ---- keyring.c ---- */

int s3_have_keys(struct s3 *s3, struct err *err);  /* so that s3_sign_now() has some; may block */
int s3_renew_keys(struct s3 *s3, struct err *err); /* those of s3_sign_now() have expired; may block */
int s3_sign_now(struct s3 *s3, const struct s3_ask *ask, const char *url, struct buf *headers, struct err *err);

/* Names near a key that is not there, as a hint; nothing where a listing is not allowed. */
void s3_hint_near(struct s3 *s3, const char *missing, struct err *err);

#endif
