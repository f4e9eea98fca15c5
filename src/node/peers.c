/* Blobs for other machines of the market, and from them: the serving side, opt-in, and who is asked for a job.
 *
 * What is served: whole blobs of the cache that the server was told of, for a grant of the server's that names the
 * digest, and to nobody who does not also name the origin that led this machine to it. Neither tokens nor origins are
 * logged. */
#include "node/node_priv.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "httpd/httpd.h"
#include "seal/cert.h"
#include "stage/peer.h"

#define KEY_NAME            "peer-key"
#define SERVE_THREADS       4
#define SERVE_CONNECTIONS   128
#define SERVE_FROM_ONE      64 /* connections from one address: several nodes may share one */
#define SERVE_IDLE_MS       20000
#define SERVE_REQUEST_MS    10000
#define SERVE_BODY_MAX      1024 /* a GET has none */
#define LOCATE_MS           5000
#define FETCH_THREADS       2
#define FETCH_BUFFERS       (UINT64_C(16) << 20)
#define FETCH_CONNECTIONS   32
#define FETCH_FROM_ONE      4
#define FETCH_CONNECT_MS    3000
#define FETCH_TRIES         2
#define FETCH_PATIENCE_MS   3000
#define FETCH_STALL_MS      5000
#define FETCH_STALL_PER_SEC (64u << 10)

struct node_peers {
    struct node *node;
    struct httpd *httpd;
    char address[PEER_ADDRESS_MAX], fingerprint[SEAL_FINGERPRINT_MAX];
    struct blobs blobs;
    pthread_mutex_t mu;
    bool has_key; /* guarded by mu, as the key is */
    uint8_t key[SEAL_SUBKEY_BYTES];
};

/* --- serving ------------------------------------------------------------------------------------------------------ */

static enum httpd_verdict refuse(struct httpd_response *resp, int status, const char *code, const char *message)
{
    resp->status = status;
    buf_addf(&resp->body, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}", code, message);
    return HTTPD_DONE;
}

static bool is_granted(struct node_peers *p, const char *authorization, const char *sha256)
{
    static const struct span scheme = SPAN_LIT("Bearer ");
    struct span token = span_of(authorization);
    struct err why = ERR_INIT;
    if (!authorization || !span_starts(token, scheme))
        return false;
    token = (struct span){token.p + scheme.n, token.n - scheme.n};
    pthread_mutex_lock(&p->mu);
    bool good = p->has_key && seal_grant_check(p->key, span_of(sha256), token, clock_wall_ms(), &why) == 0;
    pthread_mutex_unlock(&p->mu);
    return good;
}

static int open_blob(struct node_peers *p, const char *origin, const char *sha256, int *fd, uint64_t *size,
                     struct err *err)
{
    struct cache_origin from;
    struct arena *a = arena_new(0, err);
    int rc = a ? peer_origin_read(span_of(origin ? origin : ""), a, &from, err) : -1;
    if (rc == 0)
        rc = cache_blob_open(p->node->opts->cache, &from, sha256, fd, size, err);
    arena_free(a);
    return rc;
}

static enum httpd_verdict send_part(struct httpd_request *req, struct httpd_response *resp, int fd, uint64_t size)
{
    char range[80];
    uint64_t first, n;
    int asked = peer_range(httpd_header(req, "Range"), size, &first, &n);
    if (asked < 0) {
        close(fd);
        snprintf(range, sizeof range, "bytes */%llu", (unsigned long long)size);
        httpd_add_header(resp, "Content-Range", httpd_keep(req, range));
        return refuse(resp, 416, "range", "the blob does not reach so far");
    }
    if (asked > 0) {
        snprintf(range, sizeof range, "bytes %llu-%llu/%llu", (unsigned long long)first,
                 (unsigned long long)(first + n - 1), (unsigned long long)size);
        httpd_add_header(resp, "Content-Range", httpd_keep(req, range));
        resp->status = 206;
    }
    httpd_add_header(resp, "Accept-Ranges", "bytes");
    resp->content_type = "application/octet-stream";
    resp->file.given = true;
    resp->file.fd = fd;
    resp->file.offset = first;
    resp->file.bytes = n;
    return HTTPD_DONE;
}

static enum httpd_verdict serve_blob(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    struct node_peers *p = ctx;
    const char *sha256 = httpd_param(req, "sha256");
    struct err why = ERR_INIT;
    uint64_t size = 0;
    int fd = -1;
    if (!peer_digest_ok(sha256) || !is_granted(p, httpd_header(req, "Authorization"), sha256)) {
        httpd_add_header(resp, "WWW-Authenticate", "Bearer");
        return refuse(resp, 401, "unauthenticated", "this takes the server's grant for this blob");
    }
    if (!blobs_has(&p->blobs, sha256) ||
        open_blob(p, httpd_header(req, PEER_ORIGIN_HEADER), sha256, &fd, &size, &why) < 0) {
        if (err_is_set(&why) && why.kind != ERR_NOTFOUND && why.kind != ERR_INVALID)
            log_warn("node", "a blob could not be served (sha256=%.12s reason=\"%s\")", sha256, why.text);
        return refuse(resp, 404, "not_found", "no such blob of this origin");
    }
    log_debug("node", "serving a blob (sha256=%.12s to=%s)", sha256, httpd_client(req));
    return send_part(req, resp, fd, size);
}

static const struct httpd_route routes[] = {
    {.method = "GET", .pattern = PEER_PATH "{sha256}", .handler = serve_blob},
};

/* --- starting ----------------------------------------------------------------------------------------------------- */

/* "https://1.2.3.4:5" as it is bound, without the scheme. */
static struct span bound_to(const struct httpd *h)
{
    struct span address = span_of(httpd_address(h));
    const char *slashes = strstr(address.p, "//");
    return slashes ? span_of(slashes + 2) : address;
}

static bool is_wildcard(struct span address)
{
    return span_starts(address, SPAN_LIT("0.0.0.0:")) || span_starts(address, SPAN_LIT("[::]:"));
}

/* What others are told: --peer-address, which may leave the port to us; else where it listens. */
static int choose_address(struct node_peers *p, struct err *err)
{
    const char *given = p->node->opts->peer_address;
    struct span bound = bound_to(p->httpd);
    if (!given && is_wildcard(bound)) {
        err_set(err, ERR_USAGE, "%.*s is no address that other nodes could connect to", SPAN_FMT(bound));
        return err_hint(err, "name this machine's own with --peer-address");
    }
    snprintf(p->address, sizeof p->address, "%.*s", given ? 0 : (int)bound.n, bound.p);
    if (given && peer_address_ok(span_of(given)))
        snprintf(p->address, sizeof p->address, "%s", given);
    else if (given)
        snprintf(p->address, sizeof p->address, strchr(given, ':') && given[0] != '[' ? "[%.40s]:%u" : "%.42s:%u",
                 given, httpd_port(p->httpd));
    if (peer_address_ok(span_of(p->address)))
        return 0;
    err_set(err, ERR_USAGE, "'%s' is not an IP address", given ? given : p->address);
    return err_hint(err, "--peer-address takes ADDRESS or ADDRESS:PORT, not a name");
}

static int start(struct node_peers *p, struct err *err)
{
    const struct node_opts *o = p->node->opts;
    struct seal_cert cert;
    AUTO_STR path = str_printf(err, "%s/" KEY_NAME, o->state_dir);
    if (!path || seal_cert_open(&cert, path, err) < 0)
        return -1;
    const struct httpd_opts opts = {
        .listen = o->peer_listen,
        .tls_cert_pem = cert.cert,
        .tls_key_pem = cert.key,
        .routes = routes,
        .route_count = ARRAY_LEN(routes),
        .ctx = p,
        .threads = SERVE_THREADS,
        .connections = SERVE_CONNECTIONS,
        .connections_address = SERVE_FROM_ONE,
        .body_max = SERVE_BODY_MAX,
        .request_ms = SERVE_REQUEST_MS,
        .idle_ms = SERVE_IDLE_MS,
        .file_bytes_per_second = o->peer_bytes_per_second,
    };
    memcpy(p->fingerprint, cert.fingerprint, sizeof p->fingerprint);
    int rc = httpd_start(&p->httpd, &opts, err);
    seal_cert_wipe(&cert);
    return rc < 0 ? err_wrap(err, "--peer-listen") : choose_address(p, err);
}

int peers_start(struct node *n, struct err *err)
{
    const struct xfer_opts fetch = {
        .threads = FETCH_THREADS,
        .buffer_bytes = FETCH_BUFFERS,
        .bytes_per_second = n->opts->bytes_per_second,
        .max_connections = FETCH_CONNECTIONS,
        .max_connections_host = FETCH_FROM_ONE,
        .connect_timeout_ms = FETCH_CONNECT_MS,
        .tries = FETCH_TRIES,
        .patience_ms = FETCH_PATIENCE_MS,
        .stall_ms = FETCH_STALL_MS,
        .stall_bytes_per_second = FETCH_STALL_PER_SEC,
    };
    if (xfer_open(&n->peer_xfer, &fetch, err) < 0)
        return -1;
    if (!n->opts->peer_listen)
        return 0;
    struct node_peers *p = calloc(1, sizeof *p);
    if (!p)
        return err_nomem(err);
    p->node = n;
    pthread_mutex_init(&p->mu, NULL);
    blobs_init(&p->blobs);
    n->peers = p;
    if (start(p, err) < 0)
        return -1;
    node_say(n, "serves blobs to other nodes at %s", p->address);
    return 0;
}

void peers_stop(struct node *n)
{
    struct node_peers *p = n->peers;
    n->peers = NULL;
    xfer_free(n->peer_xfer);
    n->peer_xfer = NULL;
    if (!p)
        return;
    httpd_stop(p->httpd);
    blobs_release(&p->blobs);
    mem_wipe(p->key, sizeof p->key);
    pthread_mutex_destroy(&p->mu);
    free(p);
}

int peers_introduce(const struct node *n, json_t *hello, struct err *err)
{
    json_t *peer = n->peers ? json_object() : NULL;
    if (!n->peers)
        return 0;
    json_put_str(peer, "address", n->peers->address, err);
    json_put_str(peer, "fingerprint", n->peers->fingerprint, err);
    return json_put(hello, "peer", peer, err);
}

int peers_welcome(struct node *n, const json_t *answer, struct err *err)
{
    struct node_peers *p = n->peers;
    uint8_t key[SEAL_SUBKEY_BYTES];
    size_t size = 0;
    const char *text = json_get_str(answer, "peer_key");
    if (!p)
        return 0;
    if (!text || base64_decode(key, sizeof key, &size, span_of(text), err) < 0 || size != sizeof key) {
        err_clear(err);
        return err_set(err, ERR_PROTOCOL, "%s: the answer to hello has no key for peers", api_server(n->api));
    }
    pthread_mutex_lock(&p->mu);
    memcpy(p->key, key, sizeof key);
    p->has_key = true;
    pthread_mutex_unlock(&p->mu);
    mem_wipe(key, sizeof key);
    return 0;
}

/* --- heartbeats --------------------------------------------------------------------------------------------------- */

json_t *peers_tell(struct node *n, bool *more, struct err *err)
{
    *more = false;
    return n->peers ? blobs_tell(&n->peers->blobs, n->opts->cache, more, err) : NULL;
}

json_t *peers_bytes(const struct node *n, struct err *err)
{
    struct xfer_stats got;
    json_t *figures = json_object();
    xfer_stats(n->peer_xfer, &got);
    json_put_u64(figures, "sent_bytes", n->peers ? httpd_file_bytes(n->peers->httpd) : 0, err);
    if (json_put_u64(figures, "got_bytes", got.bytes_wire, err) == 0)
        return figures;
    json_decref(figures);
    return NULL;
}

void peers_unsure(struct node *n)
{
    if (n->peers)
        blobs_unsure(&n->peers->blobs);
}

/* --- fetching ----------------------------------------------------------------------------------------------------- */

static int locate(struct node *n, json_t *body, const struct cancel *cancel, const char *const *sha256, size_t count,
                  json_t **out, struct err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++)
        if (json_array_append_new(list, json_string(sha256[i])) < 0)
            err_nomem(err);
    json_put(body, "sha256", list, err);
    const struct node_call call = {
        .what = "locate", .body = body, .once = true, .total_ms = LOCATE_MS, .cancel = cancel};
    return node_call(n, &call, out, err);
}

int peers_locate(void *ctx, const char *const *sha256, size_t n, json_t **out, struct err *err)
{
    const struct execution *e = ctx;
    return locate(e->node, exec_ref(e, err), &e->lost_fd, sha256, n, out, err);
}

int peers_locate_required(void *ctx, const char *const *sha256, size_t n, json_t **out, struct err *err)
{
    struct node *node = ctx;
    return locate(node, json_object(), &node->ending, sha256, n, out, err);
}
