/* Joining: who this node is, and a token of its own for a join token. */
#include "node/node_priv.h"

#include "base/enc.h"
#include "base/log.h"

#define HOST_MAX     65
#define TIMES_MIN_MS 100
#define TIMES_MAX_MS 600000

static int put_public_key(const struct node *n, json_t *body, struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, 128);
    base64_encode(&text, seal_pair_public(n->pair), SEAL_PUBLIC_BYTES);
    return json_put_str(body, "public_key", buf_str(&text), err);
}

static json_t *hello_body(const struct node *n, struct err *err)
{
    const struct node_opts *o = n->opts;
    char host[HOST_MAX] = "";
    json_t *body = json_object();
    if (!o->name && gethostname(host, sizeof host - 1) < 0)
        host[0] = '\0';
    json_put_str(body, "name", o->name ? o->name : host, err);
    if (o->market)
        json_put_str(body, "market", o->market, err);
    json_put_u64(body, "slots", o->slots ? o->slots : 1, err);
    json_put(body, "info", info_json(n, err), err);
    json_put(body, "labels", o->labels ? json_incref((json_t *)o->labels) : json_object(), err);
    put_public_key(n, body, err);
    peers_introduce(n, body, err);
    if (!err_is_set(err))
        return body;
    json_decref(body);
    return NULL;
}

static int take_welcome(struct node *n, const json_t *answer, struct err *err)
{
    const json_t *self = json_object_get(answer, "node");
    const char *market = json_get_str(self, "market"), *token = json_get_str(answer, "token");
    int64_t beat = 0, lease = 0;
    if (!market || strlen(market) >= sizeof n->market)
        return err_set(err, ERR_PROTOCOL, "%s: the answer to hello names no market", api_server(n->api));
    snprintf(n->market, sizeof n->market, "%s", market);
    if (token && (identity_keep_token(n, token, err) < 0 || api_set_token(n->api, token, err) < 0))
        return -1;
    if (!token && n->opts->token && identity_keep_given(n, err) < 0) /* it was a node's token */
        return -1;
    if (peers_welcome(n, answer, err) < 0)
        return -1;
    pthread_mutex_lock(&n->mu);
    if (json_get_i64(answer, "heartbeat_ms", &beat) && beat >= TIMES_MIN_MS && beat <= TIMES_MAX_MS)
        n->shared.heartbeat_ms = (uint32_t)beat;
    if (json_get_i64(answer, "lease_ms", &lease) && lease >= TIMES_MIN_MS && lease <= TIMES_MAX_MS)
        n->shared.lease_ms = (uint32_t)lease;
    if (str_eq(json_get_str(self, "state"), "pending"))
        snprintf(n->shared.readiness, READINESS_MAX, "waiting for approval");
    pthread_mutex_unlock(&n->mu);
    node_heed(n, answer);
    return 0;
}

int node_hello(struct node *n, struct err *err)
{
    struct back_off pause = {0};
    for (;;) {
        struct err failure = ERR_INIT;
        json_t *answer = NULL;
        const struct node_call call = {.what = "hello", .body = hello_body(n, &failure), .cancel = &n->ending};
        int rc = node_call(n, &call, &answer, &failure);
        if (rc == 0) {
            rc = take_welcome(n, answer, err);
            secrets_free(answer);
            return rc;
        }
        if (!worth_repeating(failure.kind)) {
            if (failure.kind == ERR_DENIED || failure.kind == ERR_EXISTS)
                err_hint(&failure, "make a token with `berth token create --role join --market MARKET`");
            return err_move(err, &failure);
        }
        node_say(n, "%s; trying again", failure.text);
        if (back_off_wait(&pause, &n->ending) < 0)
            return err_set(err, ERR_CANCELLED, "interrupted before the server answered");
    }
}
