#include "node/node_priv.h"

#include "base/log.h"

#define LIMIT_TRIES 20

bool worth_repeating(enum err_kind kind)
{
    return kind == ERR_TRANSIENT || kind == ERR_TIMEOUT || kind == ERR_BUSY || kind == ERR_LIMIT ||
           kind == ERR_SYSTEM || kind == ERR_PROTOCOL;
}

int back_off_wait(struct back_off *b, const struct cancel *cancel)
{
    struct err err = ERR_INIT;
    if (b->failed == 0 && rng_bytes(&b->rng, sizeof b->rng, &err) < 0)
        return -1;
    uint64_t ceiling = (uint64_t)BACK_OFF_MS << (b->failed < 5 ? b->failed : 5);
    if (ceiling > BACK_OFF_MAX_MS)
        ceiling = BACK_OFF_MAX_MS;
    b->failed++;
    return cancel_sleep_ms(cancel, ceiling / 2 + rng_below(&b->rng, ceiling / 2), &err);
}

void secrets_free(json_t *value)
{
    if (!value)
        return;
    json_wipe(value);
    json_decref(value);
}

int node_call(struct node *n, const struct node_call *call, json_t **out, struct err *err)
{
    AUTO_JSON body = call->body;
    AUTO_STR path = str_printf(err, API_NODE "%s", call->what);
    if (!body || !path || err_is_set(err))
        return err_is_set(err) ? -1 : err_nomem(err);
    if (json_put_u64(body, "version", 1, err) < 0 || json_put_str(body, "node", n->id, err) < 0)
        return -1;
    const struct api_call c = {.path = path,
                               .body = body,
                               .repeat = !call->once,
                               .total_ms = call->total_ms ? call->total_ms : CALL_MS,
                               .cancel = call->cancel,
                               .refusal = call->refusal};
    return api_call(n->api, &c, out, err);
}

json_t *exec_ref(const struct execution *e, struct err *err)
{
    json_t *ref = json_object();
    if (json_put_str(ref, "job", e->job, err) == 0 && json_put_u64(ref, "index", e->index, err) == 0 &&
        json_put_u64(ref, "epoch", (uint64_t)e->epoch, err) == 0)
        return ref;
    json_decref(ref);
    return NULL;
}

int exec_call(struct execution *e, const char *what, const json_t *body, json_t **out, json_t **refusal,
              struct err *err)
{
    struct node *n = e->node;
    struct back_off pause = {0};
    for (;;) {
        struct err failure = ERR_INIT;
        struct node_call call = {
            .what = what, .body = json_copy((json_t *)body), .cancel = &e->lost_fd, .refusal = refusal};
        int rc = node_call(n, &call, out, &failure);
        if (rc == 0)
            return 0;
        if (failure.kind == ERR_CHANGED) {
            pthread_mutex_lock(&n->mu);
            exec_lose(e);
            pthread_mutex_unlock(&n->mu);
        }
        bool too_much = failure.kind == ERR_LIMIT && pause.failed >= LIMIT_TRIES; /* 413 is no matter of time */
        if (!worth_repeating(failure.kind) || too_much)
            return err_move(err, &failure);
        if (refusal) {
            json_decref(*refusal);
            *refusal = NULL;
        }
        log_info("node", "%s: trying again (execution=%s reason=\"%s\")", what, e->tag, failure.text);
        if (back_off_wait(&pause, &e->lost_fd) < 0)
            return err_set(err, ERR_CANCELLED, "the claim was lost");
    }
}
