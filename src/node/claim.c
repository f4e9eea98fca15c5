/* Claims, by long poll, up to the slots that are free. */
#include "node/node_priv.h"

#include "base/log.h"

#define LEASE_PART 3

/* Blocks until something may be claimed; 0: never again. */
static uint32_t wait_for_slots(struct node *n)
{
    uint32_t slots = n->opts->slots ? n->opts->slots : 1, free_slots = 0;
    pthread_mutex_lock(&n->mu);
    while (cancel_level_of(&n->ending) == CANCEL_NONE) {
        bool may = n->shared.ready && !n->shared.drain;
        free_slots = may && n->shared.running_count < slots ? slots - n->shared.running_count : 0;
        if (free_slots)
            break;
        pthread_cond_wait(&n->changed, &n->mu);
    }
    pthread_mutex_unlock(&n->mu);
    return cancel_level_of(&n->ending) == CANCEL_NONE ? free_slots : 0;
}

/* Each claim becomes its execution's alone, which wipes it on another thread. */
static void start_all(struct node *n, const json_t *answer, uint64_t asked_ms)
{
    json_t *claims = json_object_get(answer, "claims");
    while (json_array_size(claims) > 0) {
        struct err err = ERR_INIT;
        json_t *claim = json_incref(json_array_get(claims, 0));
        json_array_remove(claims, 0);
        if (exec_start(n, claim, asked_ms, &err) < 0)
            node_say(n, "a claim could not be started, and goes to another node when its lease ends: %s", err.text);
    }
}

/* The lease counts from before the request: a poll must not wait most of it away. */
static uint32_t poll_ms(struct node *n)
{
    pthread_mutex_lock(&n->mu);
    uint32_t ms = n->shared.lease_ms / LEASE_PART;
    pthread_mutex_unlock(&n->mu);
    return ms < LONG_POLL_MS ? ms : LONG_POLL_MS;
}

static int claim_some(struct node *n, uint32_t free_slots, struct err *err)
{
    json_t *answer = NULL, *body = json_object();
    if (json_put_u64(body, "free", free_slots, err) < 0 || json_put_u64(body, "wait_ms", poll_ms(n), err) < 0) {
        json_decref(body);
        return -1;
    }
    uint64_t asked = boot_ms();
    /* Not repeated: a claim whose answer was lost is held by nobody, and ends with its lease. */
    const struct node_call call = {
        .what = "claim", .body = body, .once = true, .total_ms = LONG_CALL_MS, .cancel = &n->ending};
    if (node_call(n, &call, &answer, err) < 0)
        return -1;
    start_all(n, answer, asked);
    json_decref(answer);
    return 0;
}

/* What an earlier process could not say anymore goes first: its executions are other nodes' then. */
static int deliver_first(struct node *n, struct back_off *pause)
{
    for (;;) {
        struct err err = ERR_INIT;
        int left = wills_deliver(n, &err);
        if (left <= 0) {
            if (left < 0)
                node_say(n, "%s", err.text);
            return 0;
        }
        if (back_off_wait(pause, &n->ending) < 0)
            return -1;
    }
}

void *claim_thread(void *ctx)
{
    struct node *n = ctx;
    struct back_off pause = {0};
    uint32_t free_slots;
    if (deliver_first(n, &pause) < 0)
        return NULL;
    while ((free_slots = wait_for_slots(n)) > 0) {
        struct err err = ERR_INIT;
        if (claim_some(n, free_slots, &err) == 0) {
            pause.failed = 0;
            continue;
        }
        if (err.kind == ERR_CANCELLED)
            break;
        log_info("node", "no claims (reason=\"%s\")", err.text);
        if (back_off_wait(&pause, &n->ending) < 0)
            break;
    }
    return NULL;
}
