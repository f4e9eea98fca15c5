/* config: settings from flags, BERTH_* environment variables, ~/.config/berth/config.yaml and /etc/berth/config.yaml,
 * in that order; `berth config show` prints each with where it came from.
 *
 * The file is a YAML mapping, nested or dotted ("cache: {max_bytes: 100GB}" or "cache.max_bytes: 100GB"). Unknown names
 * are errors with "did you mean". */
#ifndef BERTH_CLI_CONFIG_H
#define BERTH_CLI_CONFIG_H

#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

#include <stdint.h>

/* X(id, name, type, default, help) */
#define SETTINGS(X)                                                                                                    \
    X(CACHE_DIR, "cache.dir", TEXT, NULL, "where the cache lives")                                                     \
    X(CACHE_MAX_BYTES, "cache.max_bytes", BYTES, "0", "quota of the cache; 0: only cache.min_free counts")             \
    X(CACHE_MIN_FREE, "cache.min_free", BYTES, "auto", "free space the cache leaves; auto: 10 % of the disk")          \
    X(CACHE_TTL, "cache.ttl", DURATION, "24h", "how long unused data is kept at least")                                \
    X(CACHE_STALE, "cache.stale_if_error", FLAG, "false", "use cached data when its origin cannot be reached")         \
    X(CACHE_DURABLE, "cache.durable", FLAG, "true", "flush data to disk before the index names it")                    \
    X(XFER_THREADS, "xfer.threads", NUMBER, "0", "transfer threads; 0: one a core, at most 4")                         \
    X(XFER_CONNECTIONS, "xfer.max_connections", NUMBER, "64", "connections in all")                                    \
    X(XFER_CONNECTIONS_HOST, "xfer.max_connections_host", NUMBER, "32", "connections to one host")                     \
    X(XFER_BANDWIDTH, "xfer.bytes_per_second", BYTES, "0", "bandwidth for all downloads together; 0: unlimited")       \
    X(XFER_BUFFERS, "xfer.buffer_bytes", BYTES, "32MiB", "memory for all transfer buffers")                            \
    X(XFER_STALL, "xfer.stall", DURATION, "30s",                                                                       \
      "silence for so long (or, of a download, less than 1 KiB/s) is not waited out, but asked again")                 \
    X(XFER_PATIENCE, "xfer.patience", DURATION, "60s",                                                                 \
      "a server that only refuses or fails is asked again for so long")                                                \
    X(XFER_RAW, "xfer.raw", FLAG, "true", "read large downloads without libcurl in between, where that is possible")   \
    X(XFER_PUBLIC_ONLY, "xfer.public_only", FLAG, "false", "refuse loopback, link-local and private addresses")        \
    X(XFER_ALLOW, "xfer.allow", LIST, "", "hosts and networks exempt from xfer.public_only")                           \
    X(XFER_CA_FILE, "xfer.ca_file", TEXT, NULL, "CA certificates (PEM) instead of the system's")                       \
    X(S3_ENDPOINT, "s3.endpoint", TEXT, NULL, "endpoint for s3:// inputs that name none")                              \
    X(S3_REGION, "s3.region", TEXT, NULL, "region for s3:// inputs that name none")                                    \
    X(S3_ADDRESSING, "s3.addressing", TEXT, "auto", "auto, path or virtual")                                           \
    X(S3_PROFILE, "s3.profile", TEXT, NULL, "profile of ~/.aws to use")                                                \
    X(MIRRORS, "mirrors", LIST, "", "FROM=TO: fetch URLs that begin with FROM from TO")                                \
    X(LOCAL_ALLOW, "local.allow", LIST, "", "folders that localDirectory inputs may name")                             \
    X(ENGINE, "engine", TEXT, NULL, "docker, podman, unix:///PATH or tcp://HOST:PORT")                                 \
    X(SERVER_URL, "server.url", TEXT, NULL, "the berth server that jobs are posted to")                                \
    X(SERVER_TOKEN_FILE, "server.token_file", TEXT, NULL, "a file with the token for it; BERTH_TOKEN goes before")     \
    X(SERVE_LISTEN, "serve.listen", TEXT, "127.0.0.1:7480", "where `berth serve` listens")                             \
    X(SERVE_DB, "serve.db", TEXT, NULL,                                                                                \
      "its database: sqlite:/PATH or postgresql://…; unset: a file in serve.state_dir")                                \
    X(SERVE_STATE_DIR, "serve.state_dir", TEXT, NULL, "where it keeps keys, tokens and its own database")              \
    X(SERVE_KEY_FILE, "serve.key_file", TEXT, NULL, "keys that seal secrets; all servers of a fleet share them")       \
    X(SERVE_TLS_CERT, "serve.tls_cert", TEXT, NULL, "certificate (PEM) of the server")                                 \
    X(SERVE_TLS_KEY, "serve.tls_key", TEXT, NULL, "its key (PEM)")                                                     \
    X(SERVE_INSECURE, "serve.insecure", FLAG, "false", "listen without TLS beyond this machine, too")                  \
    X(SERVE_THREADS, "serve.threads", NUMBER, "0", "threads that answer requests; 0: 8")                               \
    X(SERVE_RATE, "serve.requests_per_second", NUMBER, "0", "of one token or address; 0: 200")                         \
    X(SERVE_REQUEST, "serve.request_timeout", DURATION, "30s", "how long a request may take to arrive whole")          \
    X(SERVE_LEASE, "serve.lease", DURATION, "45s", "how long a node holds a job without a sign of life")               \
    X(SERVE_MANAGED, "serve.managed_bucket", TEXT, NULL,                                                               \
      "s3://BUCKET/PREFIX where results of publishers s3managed go, by the server's own credentials")                  \
    X(SERVE_PRESIGN, "serve.presign", DURATION, "30m", "how long URLs of results are good for")                        \
    X(NODE_STATE_DIR, "node.state_dir", TEXT, NULL, "where `berth node start` keeps its id, token and keys")           \
    X(NODE_ALLOW_BUCKETS, "node.allow_buckets", LIST, "",                                                              \
      "buckets that jobs without credentials may use with this node's own, at s3.endpoint")                            \
    X(NODE_NETWORK, "node.network", TEXT, "filtered",                                                                  \
      "of jobs that ask for one: filtered (public addresses, xfer.allow), none, or full (all this machine reaches)")   \
    X(NODE_PEER_LISTEN, "node.peer_listen", TEXT, NULL,                                                                \
      "ADDRESS:PORT where other nodes of the market may fetch from this one's cache; empty: nowhere")                  \
    X(NODE_PEER_ADDRESS, "node.peer_address", TEXT, NULL, "where they reach it: ADDRESS or ADDRESS:PORT")              \
    X(NODE_PEER_BANDWIDTH, "node.peer_bytes_per_second", BYTES, "0",                                                   \
      "bandwidth for all that they fetch from this node together; 0: unlimited")                                       \
    X(NODE_PUBLIC_ONLY, "node.public_only", FLAG, "true", "xfer.public_only for what nodes fetch")

enum setting {
#define X(id, name, type, fallback, help) SETTING_##id,
    SETTINGS(X)
#undef X
        SETTING_COUNT
};

struct config;

struct config_opts {
    const char *user_file;    /* NULL: $XDG_CONFIG_HOME/berth/config.yaml or ~/.config/…; given: must exist */
    const char *system_file;  /* NULL: /etc/berth/config.yaml */
    const struct strv *flags; /* NAME=VALUE */
};

int config_load(struct config **out, const struct config_opts *opts, struct err *err);
void config_free(struct config *c);

/* Values were checked when loaded, so that reading them cannot fail. */
const char *config_text(const struct config *c, enum setting s); /* NULL: not set */
uint64_t config_number(const struct config *c, enum setting s);  /* bytes, ms, counts; "auto" is UINT64_MAX */
bool config_flag(const struct config *c, enum setting s);
const char *const *config_list(const struct config *c, enum setting s); /* NULL-terminated */

/* A flag of its own that overrides the setting ("--engine"). */
int config_override(struct config *c, enum setting s, const char *value, const char *from, struct err *err);

json_t *config_show(const struct config *c, struct err *err); /* array of {name, value, from, help} */

#endif
