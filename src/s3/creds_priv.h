/* creds_priv: the inside of the credential chain. Nothing here leaves the folder.
 *
 * A *source* is a place that gives keys: the environment, a program, a web service. Finding one (creds_chain.c) reads
 * files and variables only; fetch() is what may block. A *grant* is what a source gave: keys with an end. Caching,
 * refreshing and handing out are creds.c's and the same for all sources. */
#ifndef BERTH_S3_CREDS_PRIV_H
#define BERTH_S3_CREDS_PRIV_H

#include "s3/creds.h"

#define CREDS_REFRESH_EARLY_MS (5 * 60 * 1000)
#define CREDS_RETRY_MS         (60 * 1000) /* between refreshes, while the keys at hand are still good */
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

/* Constructors return 0 with *out NULL where there is nothing of the kind, -1 where what is there is broken. `env`
 * outlives the source. */
int source_static_new(struct creds_source **out, const struct s3_keys *keys, const char *what, struct err *err);
int source_env_new(struct creds_source **out, const struct creds_env *env, struct err *err);
int source_process_new(struct creds_source **out, const struct creds_env *env, struct span command, const char *what,
                       struct err *err);
int source_container_new(struct creds_source **out, const struct creds_env *env, struct err *err);

/* `ask_anyway`: also where the firmware says that this is no EC2 machine. */
int source_instance_new(struct creds_source **out, const struct creds_env *env, bool ask_anyway, struct err *err);

struct sso_settings {
    const char *start_url, *region, *account_id, *role_name;
    const char *session;        /* NULL: settings of the older form, without a session */
    const char *profile, *what; /* for messages */
};
int source_sso_new(struct creds_source **out, const struct creds_env *env, const struct sso_settings *settings,
                   struct err *err);

struct role_settings {
    const char *arn;
    const char *session_name; /* NULL: AWS_ROLE_SESSION_NAME, else one is made up */
    const char *external_id;  /* NULL: none */
    const char *token_file;   /* with web identity */
    uint64_t duration_s;      /* 0: STS' own default, an hour */
    const char *region;       /* NULL: none */
    const char *regional;     /* sts_regional_endpoints of the profile; NULL: AWS_STS_REGIONAL_ENDPOINTS */
    const char *what;         /* for messages */
};
/* AssumeRole with the keys of `base`, which becomes the source's own, also on failure. */
int source_role_new(struct creds_source **out, const struct creds_env *env, struct creds_source *base,
                    const struct role_settings *settings, struct err *err);
/* AssumeRoleWithWebIdentity. */
int source_web_new(struct creds_source **out, const struct creds_env *env, const struct role_settings *settings,
                   struct err *err);
/* The same by AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN. */
int source_web_from_env(struct creds_source **out, const struct creds_env *env, const char *region, struct err *err);

/* ---- asking services ---- */

struct http_request;
struct http_response;

/* One call. `near`: a service of this machine, for which no proxy is used and one second is enough to connect. The
 * answer may hold secrets: release it with service_release(). */
int service_call(const struct creds_env *env, bool near, struct http_request *req, struct http_response *resp,
                 struct err *err);
void service_release(struct http_response *resp); /* wiped */

/* AWS_ENDPOINT_URL_<service>, else AWS_ENDPOINT_URL; NULL: none, or AWS_IGNORE_CONFIGURED_ENDPOINT_URLS. */
const char *service_endpoint(const struct creds_env *env, const char *variable);

/* A small file that holds a token, without the line break at its end. `out` was initialised with CREDS_KEY_MAX. */
int token_read(const char *path, struct buf *out, struct err *err);
void buf_release_wiped(struct buf *b);
#define AUTO_SECRET_BUF AUTO(buf_release_wiped) struct buf

/* "~/x" beneath $HOME, else the path as it stands. Owned; NULL with `err` set. */
char *home_path(const struct creds_env *env, const char *path, struct err *err);

/* Whether DMI data say that this is not an EC2 machine; what is unknown is "". Pure. */
struct dmi {
    char sys_vendor[64], board_vendor[64], bios_vendor[64], bios_version[64];
};
bool dmi_rules_out_ec2(const struct dmi *dmi);

/* Whether keys may be asked for at this URL: https, or plain http to loopback and the addresses of ECS and EKS. */
int container_check_url(const char *url, struct err *err);

/* Words separated by white space, with quotes of both kinds and backslashes as a shell has them, and nothing more of a
 * shell. ERR_INVALID. Pure. */
int command_split(struct span command, struct strv *out, struct err *err);

/* ---- profiles ---- */

struct profiles {
    char *credentials_path, *config_path;
    struct buf credentials, config; /* text of the files; empty where there is none */
};
int profiles_open(struct profiles *p, const struct creds_env *env, struct err *err);
void profiles_release(struct profiles *p);
bool profiles_have(const struct profiles *p, const char *name);
/* A setting of a profile, owned; "" where it has none. NULL: out of memory. */
char *profiles_get(const struct profiles *p, const char *profile, const char *name, struct err *err);
/* *out NULL: the profile has no credentials. */
int source_profile_new(struct creds_source **out, const struct creds_env *env, const struct profiles *p,
                       const char *name, const char *region, struct err *err);

/* ---- the chain ---- */

struct creds_found {
    struct creds_source *source; /* NULL: anonymous */
    char *region;                /* NULL: none */
};
int chain_find(struct creds_found *out, const struct creds_opts *opts, const struct creds_env *env, struct err *err);

/* ---- for tests ---- */

typedef int64_t creds_clock_fn(void *ctx);
void creds_set_clock(struct creds *c, creds_clock_fn *now_ms, void *ctx); /* before the first use */

#endif
