/* str: views into text (struct span), owned strings, string lists.
 *
 * Views in, bounded buffers out: a function that reads text takes a span; one that makes text fills a struct buf. */
#ifndef BERTH_BASE_STR_H
#define BERTH_BASE_STR_H

#include "base/attr.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct span {
    const char *p;
    size_t n;
};

#define SPAN_LIT(s)                                                                                                    \
    (struct span)                                                                                                      \
    {                                                                                                                  \
        (s), sizeof(s) - 1                                                                                             \
    }
#define SPAN_FMT(s) (int)(s).n, (s).p /* for "%.*s" */

static inline struct span span_of(const char *s)
{
    return (struct span){s, s ? strlen(s) : 0};
}

/* The first `n` bytes at most. */
static inline struct span span_head(struct span s, size_t n)
{
    return (struct span){s.p, s.n < n ? s.n : n};
}

/* ASCII, whatever the locale says. */
static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}
static inline bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool span_eq(struct span a, struct span b);
bool span_eq_nocase(struct span a, struct span b); /* ASCII */
bool span_starts(struct span s, struct span prefix);
bool span_ends(struct span s, struct span suffix);
struct span span_trim(struct span s); /* spaces, tabs, CR, LF */

/* Split off what stands before `sep`; false where there is none (then *head = s, *tail = empty). */
bool span_cut(struct span s, char sep, struct span *head, struct span *tail);

/* The length of the UTF-8 character at the front (RFC 3629: no surrogates, no overlong forms); 0: not one, or empty. */
size_t span_utf8_step(struct span s);
/* A control character at the front: C0, DEL, or C1 in UTF-8, in which U+009B is "ESC [" to many terminals. */
bool span_starts_control(struct span s);
bool span_is_utf8(struct span s);
/* As much of `text` as fits in `size` bytes with its NUL, up to the end of a character; it may be `out` itself. */
void str_fit(char *out, size_t size, const char *text);

/* Decimal without sign, spaces or overflow. */
int span_to_u64(struct span s, uint64_t *out, struct err *err);

/* FNV-1a, 64 bits, for tables of ours: nothing to rely on against who chooses the texts. `before`: STR_HASH_START, or
 * the hash of what stands before `s`. */
#define STR_HASH_START UINT64_C(14695981039346656037)
uint64_t str_hash(uint64_t before, const char *s);

bool str_eq(const char *a, const char *b); /* NULL equals NULL only */
bool str_empty(const char *s);             /* NULL or "" */

/* Owned copies (of "" for NULL); NULL with ERR_NOMEM set. Free with free(). */
char *str_dup(const char *s, struct err *err);
char *str_dup_span(struct span s, struct err *err);
char *str_printf(struct err *err, const char *fmt, ...) ATTR_PRINTF(2, 3);

/* Overwrite, then free: for secrets. NULL is fine. */
void str_free_secret(char *s);
void mem_wipe(void *p, size_t n); /* never optimised away */

/* A growing list of owned strings, always followed by a NULL entry. */
struct strv {
    char **v;
    size_t n;
};
int strv_add(struct strv *v, const char *s, struct err *err);
int strv_addf(struct strv *v, struct err *err, const char *fmt, ...) ATTR_PRINTF(3, 4);
void strv_release(struct strv *v);

/* Sizes and times for people: "512 B", "1.5 GiB"; "850ms", "3.2s", "3m12s", "2h03m". `out` is returned. */
#define HUMAN_MAX 24
char *human_bytes(char out[HUMAN_MAX], uint64_t bytes);
char *human_duration(char out[HUMAN_MAX], uint64_t ms);

/* Byte sizes as job files and options write them. A plain number is bytes; B, K, M, G, T follow in either case, with
 * "i" or "iB" in powers of 1024 ("1.5Gi", "512KiB") and alone or with "B" in powers of 1000 ("10GB", "512m"), as
 * Bacalhau reads them. A fraction needs a unit above the byte. ERR_INVALID with a hint. */
int parse_bytes(struct span s, uint64_t *out, struct err *err);
/* "90s", "10m", "2h", "1d", "1h30m", "1.5h", "250ms"; a bare number counts in `bare_unit_ms` (0: refused). */
int parse_duration_ms(struct span s, uint64_t bare_unit_ms, uint64_t *out_ms, struct err *err);

#endif
