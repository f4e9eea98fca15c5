/* Only one attempt's result may ever appear: uploads are known to the server, those of earlier attempts are aborted
 * before one of this attempt gets leave to complete. */
#include "node/node_priv.h"

#include "base/log.h"

void uploads_abort(const struct uploads *u, const json_t *list)
{
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        struct err err = ERR_INIT;
        const char *bucket = json_get_str(one, "bucket");
        const struct publisher *to = u->access.to;
        /* Another node recorded it: where requests are signed for is for the job alone to say. */
        const struct publish_upload upload = {to->bucket, json_get_str(one, "key"), json_get_str(one, "upload_id"),
                                              to->endpoint, to->region};
        if (!bucket || !str_eq(bucket, to->bucket) || !upload.key || !upload.upload_id)
            continue;
        if (publish_abort(&u->access, &upload, &err) < 0)
            log_warn("node", "an earlier attempt's upload could not be aborted (execution=%s key=%.256s reason=\"%s\")",
                     u->exec->tag, upload.key, err.text);
    }
}

static int put_record(json_t *body, const struct publish_upload *upload, struct err *err)
{
    json_t *record = json_object();
    json_put_str(record, "bucket", upload->bucket, err);
    json_put_str(record, "key", upload->key, err);
    json_put_str(record, "upload_id", upload->upload_id, err);
    json_put_str(record, "endpoint", upload->endpoint, err);
    json_put_str(record, "region", upload->region, err);
    return json_put(body, "record", record, err);
}

int uploads_begun(void *ctx, const struct publish_upload *upload, struct err *err)
{
    const struct uploads *u = ctx;
    AUTO_JSON body = exec_ref(u->exec, err);
    AUTO_JSON answer = NULL;
    if (!body || put_record(body, upload, err) < 0 || exec_call(u->exec, "uploads", body, &answer, NULL, err) < 0)
        return -1;
    uploads_abort(u, json_object_get(answer, "previous"));
    return 0;
}

int uploads_commit(void *ctx, struct err *err)
{
    const struct uploads *u = ctx;
    struct execution *e = u->exec;
    AUTO_JSON body = exec_ref(e, err);
    AUTO_JSON answer = NULL;
    int64_t lease = 0;
    uint64_t asked = boot_ms();
    if (!body || exec_call(e, "commit", body, &answer, NULL, err) < 0)
        return -1;
    pthread_mutex_lock(&e->node->mu);
    if (json_get_i64(answer, "lease_ms", &lease))
        e->shared.lease_until_ms = lease_extend(e->shared.lease_until_ms, asked, lease);
    bool held = !e->shared.lost && e->shared.lease_until_ms > boot_ms();
    pthread_mutex_unlock(&e->node->mu);
    return held ? 0 : err_set(err, ERR_CANCELLED, "the claim was lost");
}

/* --- results that the server keeps -------------------------------------------------------------------------------- */

/* Steals `asked`. */
static json_t *presign(struct uploads *u, json_t *asked, struct err *err)
{
    AUTO_JSON body = exec_ref(u->exec, err);
    json_t *answer = NULL;
    if (json_put(body, "presign", asked, err) < 0 || exec_call(u->exec, "uploads", body, &answer, NULL, err) < 0)
        return NULL;
    return answer;
}

json_t *uploads_grant(void *ctx, uint64_t bytes, struct err *err)
{
    struct uploads *u = ctx;
    json_t *asked = json_object();
    json_put_u64(asked, "bytes", bytes, err);
    AUTO_JSON answer = presign(u, asked, err);
    json_t *grant = json_object_get(answer, "grant");
    const char *id = json_get_str(grant, "upload_id");
    if (answer && !grant)
        err_set(err, ERR_PROTOCOL, "the server answers without a grant");
    if (id && !(u->granted = str_dup(id, err)))
        return NULL;
    return json_incref(grant);
}

int uploads_more(void *ctx, enum s3_grant_for what, unsigned part, struct buf *url, struct err *err)
{
    struct uploads *u = ctx;
    json_t *asked = json_object();
    json_put_str(asked, "upload_id", u->granted ? u->granted : "", err);
    if (what == S3_GRANT_FOR_PART)
        json_put_u64(asked, "part", part, err);
    else
        json_put_str(asked, "url", what == S3_GRANT_FOR_COMPLETE ? "complete" : "abort", err);
    AUTO_JSON answer = presign(u, asked, err);
    const char *given = json_get_str(answer, "url");
    if (!answer)
        return -1;
    buf_adds(url, given ? given : "");
    return given ? buf_check(url, "URL", err) : err_set(err, ERR_PROTOCOL, "the server answers without a URL");
}

void uploads_release(struct uploads *u)
{
    free(u->granted);
    u->granted = NULL;
}
