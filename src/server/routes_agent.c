/* The agent's side. */
#include "server/server_priv.h"

#include "base/enc.h"
#include "s3/upload.h"

#define NODE              "/api/v1/node/"
#define PRESIGNED_URL_MAX 16384

static const char *const peer_members[] = {"address", "fingerprint", NULL};
static const char *const blob_members[] = {"add", "remove", "reset", NULL};
static const char *const peers_members[] = {"sent_bytes", "got_bytes", NULL};
static const char *const presign_members[] = {"bytes", "upload_id", "part", "url", NULL};

static int read_ref(const struct call *c, struct market_ref *x, struct err *err)
{
    int64_t index = 0;
    if (body_need(c, "job", err) < 0 || body_str(c, "job", &x->job, err) < 0 || body_need(c, "epoch", err) < 0 ||
        body_i64(c, "index", 0, UINT32_MAX, &index, err) < 0 || body_i64(c, "epoch", 1, INT64_MAX, &x->epoch, err) < 0)
        return -1;
    x->index = (uint32_t)index;
    return 0;
}

/* How much longer a long poll may take; 0: not at all. */
static int left_to_wait(const struct call *c, uint32_t *out, struct err *err)
{
    int64_t wait = 0;
    if (body_i64(c, "wait_ms", 0, WAIT_MAX_MS, &wait, err) < 0)
        return -1;
    uint64_t waited = httpd_waited_ms(c->req);
    *out = waited >= (uint64_t)wait ? 0 : (uint32_t)((uint64_t)wait - waited);
    return 0;
}

static void wait_more(struct call *c, uint32_t left)
{
    c->wait = true;
    c->wait_ms = left < POLL_MS ? left : POLL_MS;
}

static int hello(struct call *c, json_t **out, struct err *err)
{
    struct market_hello h = {0};
    int64_t slots = 1;
    const json_t *peer = NULL;
    if (body_need(c, "node", err) < 0 || body_str(c, "node", &h.node, err) < 0 ||
        body_str(c, "name", &h.name, err) < 0 || body_str(c, "market", &h.market, err) < 0 ||
        body_i64(c, "slots", 1, MARKET_SLOTS_MAX, &slots, err) < 0 ||
        body_json(c, "info", JSON_OBJECT, &h.info, err) < 0 ||
        body_json(c, "labels", JSON_OBJECT, &h.labels, err) < 0 || body_str(c, "public_key", &h.public_key, err) < 0 ||
        body_json(c, "peer", JSON_OBJECT, &peer, err) < 0 || body_only(peer, "peer", peer_members, err) < 0)
        return -1;
    h.slots = (uint32_t)slots;
    h.peer_address = json_get_str(peer, "address");
    h.peer_fingerprint = json_get_str(peer, "fingerprint");
    return market_node_hello(c->m, &c->caller, &h, out, err);
}

static int required(struct call *c, json_t **out, struct err *err)
{
    return market_node_required(c->m, &c->caller, out, err);
}

static int claim(struct call *c, json_t **out, struct err *err)
{
    int64_t n = 1;
    uint32_t left = 0;
    const json_t *holds = NULL;
    if (body_i64(c, "free", 1, MARKET_SLOTS_MAX, &n, err) < 0 || left_to_wait(c, &left, err) < 0 ||
        body_json(c, "holds", JSON_ARRAY, &holds, err) < 0)
        return -1;
    httpd_watch(c->req, c->caller.market);
    httpd_watch(c->req, c->caller.node);
    if (httpd_client_gone(c->req)) /* a job given away here would wait for its lease to end */
        return err_set(err, ERR_REFUSED, "the node went away");
    if (market_node_claim(c->m, &c->caller, (uint32_t)n, httpd_state(c->req) ? NULL : holds, out, err) < 0)
        return -1;
    size_t got = json_array_size(json_object_get(*out, "claims"));
    metrics_claims(&c->s->metrics, got);
    if (got == 0 && left > 0)
        wait_more(c, left);
    return 0;
}

static int control(struct call *c, json_t **out, struct err *err)
{
    const json_t *running = NULL;
    int64_t known = 0;
    uint32_t left = 0;
    bool news = false;
    if (body_json(c, "running", JSON_ARRAY, &running, err) < 0 || left_to_wait(c, &left, err) < 0 ||
        body_i64(c, "required_version", 0, INT64_MAX, &known, err) < 0)
        return -1;
    httpd_watch(c->req, c->caller.node);
    if (market_node_control(c->m, &c->caller, running, known, &news, out, err) < 0)
        return -1;
    if (!news && left > 0)
        wait_more(c, left);
    return 0;
}

static int read_peer_bytes(const json_t *peers, const char *name, int64_t *out, struct err *err)
{
    const json_t *n = json_object_get(peers, name);
    if (!n || (json_get_i64(peers, name, out) && *out >= 0 && *out <= MARKET_PEER_BYTES_MAX))
        return 0;
    return err_set(err, ERR_INVALID, "peers.%s: must be a number of bytes", name);
}

static int heartbeat(struct call *c, json_t **out, struct err *err)
{
    struct market_heartbeat h = {.required_version = MARKET_KEEP};
    const json_t *blobs = NULL, *peers = NULL;
    if (body_i64(c, "required_version", 0, INT64_MAX, &h.required_version, err) < 0 ||
        body_json(c, "running", JSON_ARRAY, &h.running, err) < 0 || body_bool(c, "ready", &h.ready, err) < 0 ||
        body_str(c, "readiness", &h.readiness, err) < 0 || body_json(c, "cache", JSON_OBJECT, &h.cache, err) < 0 ||
        body_json(c, "holds", JSON_ARRAY, &h.holds, err) < 0 || body_json(c, "blobs", JSON_OBJECT, &blobs, err) < 0 ||
        body_json(c, "peers", JSON_OBJECT, &peers, err) < 0)
        return -1;
    if (body_only(blobs, "blobs", blob_members, err) < 0 || body_only(peers, "peers", peers_members, err) < 0 ||
        read_peer_bytes(peers, "sent_bytes", &h.peer_sent_bytes, err) < 0 ||
        read_peer_bytes(peers, "got_bytes", &h.peer_got_bytes, err) < 0)
        return -1;
    h.blobs_add = json_object_get(blobs, "add");
    h.blobs_remove = json_object_get(blobs, "remove");
    h.blobs_reset = json_get_bool(blobs, "reset", false);
    return market_node_heartbeat(c->m, &c->caller, &h, out, err);
}

static int logs(struct call *c, json_t **out, struct err *err)
{
    struct market_ref x;
    int64_t stream = 0, offset = 0;
    const char *data = "";
    uint64_t next = 0;
    size_t n = 0;
    if (read_ref(c, &x, err) < 0 || body_i64(c, "stream", 1, 2, &stream, err) < 0 ||
        body_i64(c, "offset", 0, INT64_MAX, &offset, err) < 0 || body_str(c, "data", &data, err) < 0)
        return -1;
    uint8_t *bytes = malloc(MARKET_LOG_BYTES_MAX);
    if (!bytes)
        return err_nomem(err);
    int rc = stream == 0 ? err_set(err, ERR_INVALID, "stream: must be 1 or 2")
                         : base64_decode(bytes, MARKET_LOG_BYTES_MAX, &n, span_of(data), err);
    if (rc == 0)
        rc = market_node_logs(c->m, &c->caller, &x, (int)stream, (uint64_t)offset,
                              (struct span){(const char *)bytes, n}, &next, err);
    free(bytes);
    *out = json_object();
    struct err putting = ERR_INIT;
    if (rc == 0 || err->kind == ERR_REFUSED) /* of a gap, too */
        json_put_u64(*out, "next_offset", next, &putting);
    return rc;
}

/* {"bytes": N} asks for a grant, {"upload_id", "part": N} or {"upload_id", "url": "complete" or "abort"} for one more
 * URL of it. */
static int presign(struct call *c, const struct market_ref *x, const json_t *asked, json_t *out, struct err *err)
{
    int64_t bytes = 0, part = 0;
    const char *id = json_get_str(asked, "upload_id"), *last = json_get_str(asked, "url");
    if (body_only(asked, "presign", presign_members, err) < 0)
        return -1;
    if (!c->s->managed)
        return err_set(err, ERR_UNSUPPORTED, "presign: this server has no place for managed results");
    if (!id) {
        json_t *grant = NULL;
        if (json_object_get(asked, "bytes") && (!json_get_i64(asked, "bytes", &bytes) || bytes < 0))
            return err_set(err, ERR_INVALID, "presign.bytes: must be a whole number from 0");
        if (managed_grant(c->s->managed, x, (uint64_t)bytes, &grant, err) == 0)
            return json_put(out, "grant", grant, err);
        json_decref(grant);
        return -1;
    }
    json_get_i64(asked, "part", &part);
    bool ending = str_eq(last, "complete") || str_eq(last, "abort");
    if (ending == (part != 0) || part < 0 || part > S3_PARTS_MAX)
        return err_set(err, ERR_INVALID, "presign: either part, from 1 to %d, or url: complete or abort", S3_PARTS_MAX);
    AUTO_BUF url;
    buf_init(&url, PRESIGNED_URL_MAX);
    return managed_url(c->s->managed, x, id, (unsigned)part, last, &url, err) < 0
               ? -1
               : json_put_str(out, "url", buf_str(&url), err);
}

static int uploads(struct call *c, json_t **out, struct err *err)
{
    struct market_ref x;
    const json_t *record = NULL, *asked = NULL;
    if (read_ref(c, &x, err) < 0 || body_json(c, "record", JSON_OBJECT, &record, err) < 0 ||
        body_json(c, "presign", JSON_OBJECT, &asked, err) < 0)
        return -1;
    if (record && asked)
        return err_set(err, ERR_INVALID, "presign: a managed upload needs no record");
    if (market_node_uploads(c->m, &c->caller, &x, record, out, err) < 0)
        return -1; /* the claim moved on, most likely: no URL then */
    c->worded = asked != NULL;
    return asked ? presign(c, &x, asked, *out, err) : 0;
}

static int commit(struct call *c, json_t **out, struct err *err)
{
    struct market_ref x;
    return read_ref(c, &x, err) < 0 ? -1 : market_node_commit(c->m, &c->caller, &x, out, err);
}

static int finish(struct call *c, json_t **out, struct err *err)
{
    struct market_ref x;
    struct market_finish f = {0};
    int64_t code = 0;
    if (read_ref(c, &x, err) < 0 || body_need(c, "outcome", err) < 0 || body_str(c, "outcome", &f.outcome, err) < 0 ||
        body_i64(c, "exit_code", INT32_MIN, INT32_MAX, &code, err) < 0 || body_str(c, "reason", &f.reason, err) < 0 ||
        body_json(c, "published", JSON_OBJECT, &f.published, err) < 0 ||
        body_json(c, "record", JSON_OBJECT, &f.record, err) < 0 || body_bool(c, "retry", &f.retry, err) < 0)
        return -1;
    f.has_exit_code = json_is_integer(json_object_get(c->body, "exit_code"));
    f.exit_code = (int32_t)code;
    *out = json_object();
    return market_node_finish(c->m, &c->caller, &x, &f, err);
}

static int locate(struct call *c, json_t **out, struct err *err)
{
    struct market_ref x;
    const json_t *digests = NULL;
    bool required = !json_object_get(c->body, "job") && !json_object_get(c->body, "index") &&
                    !json_object_get(c->body, "epoch"); /* what the market requires, rather than a job */
    if ((!required && read_ref(c, &x, err) < 0) || body_need(c, "sha256", err) < 0 ||
        body_json(c, "sha256", JSON_ARRAY, &digests, err) < 0)
        return -1;
    return market_node_locate(c->m, &c->caller, required ? NULL : &x, digests, out, err);
}

static int definition(struct call *c, json_t **out, struct err *err)
{
    struct market_ref x;
    uint32_t left = 0;
    if (read_ref(c, &x, err) < 0 || left_to_wait(c, &left, err) < 0)
        return -1;
    httpd_watch(c->req, x.job);
    int rc = market_node_definition(c->m, &c->caller, &x, out, err);
    if (rc < 0 && err->kind == ERR_NOTFOUND && left > 0) {
        err_clear(err);
        wait_more(c, left);
        return 0;
    }
    return rc;
}

#define REF "job", "index", "epoch"
static const char *const hello_members[] = {"name", "market", "slots", "info", "labels", "public_key", "peer", NULL};
static const char *const none[] = {NULL};
static const char *const claim_members[] = {"free", "wait_ms", "holds", NULL};
static const char *const control_members[] = {"running", "required_version", "wait_ms", NULL};
static const char *const heartbeat_members[] = {
    "running", "ready", "required_version", "readiness", "cache", "holds", "blobs", "peers", NULL};
static const char *const logs_members[] = {REF, "stream", "offset", "data", NULL};
static const char *const uploads_members[] = {REF, "record", "presign", NULL};
static const char *const ref_members[] = {REF, NULL};
static const char *const finish_members[] = {REF,         "outcome", "exit_code", "reason",
                                             "published", "record",  "retry",     NULL};
static const char *const locate_members[] = {REF, "sha256", NULL};
static const char *const definition_members[] = {REF, "wait_ms", NULL};

#define AGENT(name, roles_, members_, ...)                                                                             \
    ROUTE("POST", NODE #name, roles_, members_, name, .node_message = true, .body_max = NODE_BODY_MAX, __VA_ARGS__)

const struct route_about routes_agent[] = {
    AGENT(hello, ROLE_BIT(NODE) | ROLE_BIT(JOIN), hello_members, .lasting = true),
    AGENT(required, ROLE_BIT(NODE), none),
    AGENT(claim, ROLE_BIT(NODE), claim_members, .looks_at_token = true),
    AGENT(control, ROLE_BIT(NODE), control_members),
    AGENT(heartbeat, ROLE_BIT(NODE), heartbeat_members),
    AGENT(logs, ROLE_BIT(NODE), logs_members),
    AGENT(uploads, ROLE_BIT(NODE), uploads_members),
    AGENT(commit, ROLE_BIT(NODE), ref_members),
    AGENT(finish, ROLE_BIT(NODE), finish_members),
    AGENT(locate, ROLE_BIT(NODE), locate_members),
    AGENT(definition, ROLE_BIT(NODE), definition_members),
    {0},
};
