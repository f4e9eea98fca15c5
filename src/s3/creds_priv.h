/* creds_priv: the inside of the credential chain. Nothing here leaves the folder.
 *
 * A *source* is a place that gives keys: the environment, a program, a web service. Finding one (creds_chain.c) reads
 * files and variables only; fetch() is what may block. A *grant* is what a source gave: keys with an end. Caching,
 * refreshing and handing out are creds.c's and the same for all sources. */
#ifndef BERTH_S3_CREDS_PRIV_H
#define BERTH_S3_CREDS_PRIV_H

#include "s3/creds.h"

#define CREDS_REFRESH_EARLY_MS (5 * 60 * 1000)
#define CREDS_RETRY_MS         (60 * 1000) /* between failed refreshes, while the keys at hand are still good */
#define CREDS_KEY_MAX          16384       /* bytes of one key or token; session tokens are about a thousand */

/* ---- grants ---- */

struct creds_grant {
    char *access_key_id, *secret_access_key;
    char *session_token; /* NULL: none */
    int64_t expires_ms;  /* 0: never */
    char *identity;      /* whose keys they are, where only the answer tells; else NULL */
};
void grant_release(struct creds_grant *g); /* wiped */

/* Copies. `token` NULL or "": none. ERR_INVALID where a key is absent, too long, or can't stand in a header. */
int grant_set(struct creds_grant *g, const char *access_key_id, const char *secret_access_key, const char *token,
              struct err *err);

/* ---- the environment ---- */

/* The process environment, or the list that creds_opts gave; copied, and wiped at the end. */
struct creds_env {
    bool given;
    struct strv list;
};
int env_open(struct creds_env *env, const char *const *list, struct err *err);
void env_release(struct creds_env *env);
const char *env_get(const struct creds_env *env, const char *name); /* NULL: absent or empty. Borrowed. */

/* ---- sources ---- */

#define CREDS_NOTHING 1 /* fetch(): the place was asked and has no keys; requests stay unsigned */

struct creds_source;
struct creds_source_ops {
    /* 0, -1, or CREDS_NOTHING. One call at a time. */
    int (*fetch)(struct creds_source *s, const struct cancel *cancel, struct creds_grant *out, struct err *err);
    /* Appends what tells this identity from others; NULL: the grant's `identity` does. */
    int (*identify)(const struct creds_source *s, struct buf *out, struct err *err);
    void (*free)(struct creds_source *s);
    bool fixed;    /* fetch() always gives the same keys */
    bool may_lack; /* fetch() may give CREDS_NOTHING */
};

/* The head of every source. */
struct creds_source {
    const struct creds_source_ops *ops;
    char *label; /* for creds_describe() */
};
void source_free(struct creds_source *s); /* NULL is fine */

/* Constructors return 0 with *out NULL where there is nothing of the kind, -1 where what is there is broken. */
int source_static_new(struct creds_source **out, const struct s3_keys *keys, const char *what, struct err *err);
int source_env_new(struct creds_source **out, const struct creds_env *env, struct err *err);

/* ---- the chain ---- */

struct creds_found {
    struct creds_source *source; /* NULL: anonymous */
    char *region;                /* NULL: none */
};
/* `env` outlives the source. */
int chain_find(struct creds_found *out, const struct creds_opts *opts, const struct creds_env *env, struct err *err);

/* ---- for tests ---- */

typedef int64_t creds_clock_fn(void *ctx);
void creds_set_clock(struct creds *c, creds_clock_fn *now_ms, void *ctx); /* before the first use */

#endif
