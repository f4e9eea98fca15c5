/* What the cache's tests share: a folder of their own, a cache in it whose clock stands until it is moved, and short
 * ways to store and to lay out. Every helper fails the test where something goes wrong. */
#ifndef BERTH_TESTS_CACHE_FIXTURE_H
#define BERTH_TESTS_CACHE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/cache.h"
#include "db/db.h"
#include "xfer/xfer.h"

#include <sys/types.h>

struct fixture {
    char dir[128];   /* removed at the end */
    char cache[160]; /* the cache's folder within */
    int64_t now_ms;
    struct cache *c;
    struct cache_lease *lease;
    struct cache_opts opts;
};

#define NOW_MS INT64_C(1500000000000) /* before any file of the tests was made */

int fixture_setup(void **state); /* in $TMPDIR or /tmp */
int fixture_teardown(void **state);
void fixture_init(struct fixture *f, const char *parent);
void fixture_release(struct fixture *f);
void fixture_open(struct fixture *f);  /* the cache and a lease */
void fixture_close(struct fixture *f); /* both */

/* Fails the test with the error's text. */
#define assert_ok(rc, err) fixture_assert_ok((rc) >= 0, &(err), __FILE__, __LINE__)
void fixture_assert_ok(bool ok, const struct err *err, const char *file, int line);

/* Content is made from a seed; `seed` 0 gives zeros. */
void content_of(unsigned seed, void *out, size_t n);
struct cache_origin origin_of(const char *key, const char *version, uint64_t size);

/* Begin, open, write, commit; with_sha256: its id is its hash. */
struct cache_blob store(struct cache *c, struct cache_lease *l, const char *key, unsigned seed, size_t n,
                        bool with_sha256);
/* The same, giving the outcome back. */
int try_store(struct cache *c, struct cache_lease *l, const char *key, unsigned seed, size_t n, bool with_sha256,
              struct cache_blob *out, struct err *err);

/* A snapshot of `n` files "d<i % 10>/f<i>" of the given blobs. */
void snapshot_of(struct cache *c, struct cache_lease *l, const struct cache_blob *blobs, size_t n,
                 char id[SNAPSHOT_ID_MAX]);
bool is_stored(struct cache *c, const char *key);

/* Numbers straight from the index; paths below the cache's folder. */
int64_t index_number(const struct fixture *f, const char *sql);
void index_do(const struct fixture *f, const char *sql);
bool path_exists(const struct fixture *f, const char *path);
unsigned files_below(const struct fixture *f, const char *path); /* regular files, at any depth */
char *blob_path(const struct fixture *f, const char *id, char out[256]);

/* Index and files agree: every row has its file, of the right size, readable by all and writable by none; every file
 * has its row; every built view has its files. */
void assert_agreement(const struct fixture *f);

/* Run in a child process; a failed assertion aborts it. */
pid_t child_start(void (*work)(void *ctx), void *ctx);
int child_wait(pid_t pid); /* exit status, or -signal */

#endif
