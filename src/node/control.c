/* The long poll that is always open: stop, drain, new requirements. */
#include "node/node_priv.h"

#include "base/log.h"

#define REPEATED_MS 1000 /* between answers that say nothing new */

/* Whether any of it was news. */
static bool take_stops(struct node *n, const json_t *answer)
{
    size_t i;
    json_t *one;
    bool news = false;
    pthread_mutex_lock(&n->mu);
    json_array_foreach(json_object_get(answer, "stop"), i, one)
    {
        struct execution *e = exec_find(n, one);
        const char *reason = json_get_str(one, "reason");
        if (!e || e->shared.stopped)
            continue;
        news = true;
        exec_stop(e, reason ? reason : "stopped on request");
    }
    pthread_mutex_unlock(&n->mu);
    return news;
}

static json_t *control_body(struct node *n, bool *any, struct err *err)
{
    json_t *body = json_object(), *running = running_list(n, false, err);
    *any = json_array_size(running) > 0;
    pthread_mutex_lock(&n->mu);
    int64_t known = n->shared.required_wanted;
    pthread_mutex_unlock(&n->mu);
    if (json_put(body, "running", running, err) == 0 &&
        json_put(body, "required_version", json_integer(known < 0 ? 0 : known), err) == 0 &&
        json_put_u64(body, "wait_ms", LONG_POLL_MS, err) == 0)
        return body;
    json_decref(body);
    return NULL;
}

void *control_thread(void *ctx)
{
    struct node *n = ctx;
    struct back_off pause = {0};
    while (cancel_level_of(&n->over) == CANCEL_NONE) {
        struct err err = ERR_INIT;
        AUTO_JSON answer = NULL;
        bool any = false;
        const struct node_call call = {
            .what = "control", .body = control_body(n, &any, &err), .total_ms = LONG_CALL_MS, .cancel = &n->over};
        if (node_call(n, &call, &answer, &err) < 0) {
            if (err.kind == ERR_CANCELLED || back_off_wait(&pause, &n->over) < 0)
                break;
            log_debug("node", "control: trying again (reason=\"%s\")", err.text);
            continue;
        }
        pause.failed = 0;
        node_heed(n, answer);
        bool repeated = json_array_size(json_object_get(answer, "stop")) > 0 && !take_stops(n, answer);
        if (repeated && cancel_sleep_ms(&n->over, REPEATED_MS, &err) < 0)
            break;
    }
    return NULL;
}
