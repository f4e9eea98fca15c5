#include "cli/confidential.h"

#include "base/enc.h"
#include "cli/remote.h"
#include "seal/seal.h"
#include "spec/spec.h"

#define LOOK_MS    300
#define SEALED_MAX (8u << 20)
#define EPOCHS_MAX 10000 /* executions of one job */

static json_t *constraints(const struct job *job, struct err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < job->constraint_count; i++) {
        const struct constraint *c = &job->constraints[i];
        json_t *values = json_array();
        for (size_t k = 0; k < c->values.n; k++)
            json_array_append_new(values, json_string(c->values.v[k]));
        json_t *one = json_object();
        json_put_str(one, "key", c->key, err);
        json_put_str(one, "op", c->op, err);
        json_put(one, "values", values, err);
        json_array_append_new(list, one);
    }
    return list;
}

json_t *confidential_requires(const struct job *job, struct err *err)
{
    json_t *o = json_object();
    const struct limits *l = &job->ops[0].limits;
    if (l->cpu > 0)
        json_put(o, "cpus", json_real(l->cpu), err);
    if (l->memory_bytes)
        json_put_u64(o, "memory_bytes", l->memory_bytes, err);
    if (l->disk_bytes)
        json_put_u64(o, "disk_bytes", l->disk_bytes, err);
    if (l->gpu_count == GPU_ALL)
        json_put(o, "gpu_all", json_true(), err);
    else if (l->gpu_count)
        json_put_u64(o, "gpus", l->gpu_count, err);
    if (l->required_vram_mib)
        json_put_u64(o, "vram_mib", l->required_vram_mib, err);
    if (job->constraint_count)
        json_put(o, "constraints", constraints(job, err), err);
    if (!err_is_set(err))
        return o;
    json_decref(o);
    return NULL;
}

/* --- delivering --------------------------------------------------------------------------------------------------- */

static int seal_for(const char *public_key, struct span plain, struct buf *base64, struct err *err)
{
    uint8_t key[SEAL_PUBLIC_BYTES];
    size_t n = 0;
    struct buf sealed;
    if (base64_decode(key, sizeof key, &n, span_of(public_key), err) < 0 || n != sizeof key)
        return err_set(err, ERR_PROTOCOL, "the node's public key is not %d bytes in base64", SEAL_PUBLIC_BYTES);
    buf_init(&sealed, SEALED_MAX);
    int rc = seal_to(key, plain, &sealed, err);
    if (rc == 0) {
        base64_encode(base64, (const uint8_t *)sealed.p, sealed.n);
        rc = buf_check(base64, "sealed definition", err);
    }
    buf_release(&sealed);
    return rc;
}

static int put_definition(const struct cli *cli, struct api *api, const char *id, const json_t *execution,
                          struct span plain, struct err *err)
{
    AUTO_BUF base64;
    AUTO_STR path = api_path(err, REMOTE_JOBS "/", id, "/definition");
    AUTO_JSON body = json_object();
    buf_init(&base64, SEALED_MAX * 2);
    if (!path || seal_for(json_get_str(execution, "public_key"), plain, &base64, err) < 0 ||
        json_put_u64(body, "version", 1, err) < 0 ||
        json_put(body, "index", json_incref(json_object_get(execution, "index")), err) < 0 ||
        json_put(body, "epoch", json_incref(json_object_get(execution, "epoch")), err) < 0 ||
        json_put_str(body, "sealed", buf_str(&base64), err) < 0)
        return -1;
    struct err refused = ERR_INIT;
    const struct api_call call = {.method = "PUT", .path = path, .body = body, .cancel = &cli->cancel};
    if (api_call(api, &call, NULL, &refused) == 0 ||
        refused.kind == ERR_CHANGED) /* claimed anew: the next look sees it */
        return 0;
    return err_move(err, &refused);
}

/* 1: nobody waits for it any more, 0: look again. */
static int look(const struct cli *cli, struct api *api, const char *id, struct span plain, struct err *err)
{
    AUTO_JSON answer = NULL;
    AUTO_STR path = api_path(err, REMOTE_JOBS "/", id, "/executions");
    if (!path || api_call(api, &(struct api_call){.path = path, .cancel = &cli->cancel}, &answer, err) < 0)
        return -1;
    const json_t *list = json_object_get(answer, "executions");
    bool waiting = false;
    for (size_t i = 0; i < json_array_size(list) && i < EPOCHS_MAX; i++) {
        const json_t *x = json_array_get(list, i);
        const char *state = json_get_str(x, "state");
        waiting |= str_eq(state, "queued") || str_eq(state, "claimed");
        if (str_eq(state, "claimed") && json_get_str(x, "public_key") &&
            put_definition(cli, api, id, x, plain, err) < 0)
            return -1;
    }
    return !waiting;
}

int confidential_deliver(const struct cli *cli, struct api *api, const char *id, const json_t *whole, struct err *err)
{
    struct buf plain;
    int rc;
    buf_init(&plain, SEALED_MAX);
    rc = json_write(whole, false, &plain, err);
    while (rc == 0 && (rc = look(cli, api, id, buf_span(&plain), err)) == 0)
        rc = cancel_sleep_ms(&cli->cancel, LOOK_MS, err);
    seal_wipe(&plain);
    return rc < 0 ? -1 : 0;
}
