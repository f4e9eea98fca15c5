/* PublishedResult, as another job's input sources have it. */
#include "publish/publish_priv.h"

void publish_result_release(struct publish_result *r)
{
    free(r->bucket);
    free(r->key);
    free(r->endpoint);
    free(r->region);
    free(r->version_id);
    free(r->path);
    *r = (struct publish_result){0};
}

static int put_given(json_t *into, const char *name, const char *value, struct err *err)
{
    return str_empty(value) ? 0 : json_put_str(into, name, value, err);
}

static int put_params(json_t *params, const struct publish_result *r, struct err *err)
{
    if (put_given(params, "Bucket", r->bucket, err) < 0 || put_given(params, "Key", r->key, err) < 0 ||
        put_given(params, "Endpoint", r->endpoint, err) < 0 || put_given(params, "Region", r->region, err) < 0 ||
        put_given(params, "VersionID", r->version_id, err) < 0 ||
        put_given(params, r->kind == PUBLISH_S3MANAGED ? "URL" : "Path", r->path, err) < 0)
        return -1;
    return put_given(params, "ChecksumSHA256", r->sha256, err);
}

static const char *word_of(enum publisher_kind kind)
{
    return kind == PUBLISH_LOCAL ? "local" : kind == PUBLISH_S3MANAGED ? "s3managed" : "s3";
}

json_t *publish_result_json(const struct publish_result *r, struct err *err)
{
    AUTO_JSON result = json_object();
    AUTO_JSON params = json_object();
    if (!result || !params) {
        err_nomem(err);
        return NULL;
    }
    if (put_params(params, r, err) < 0 || json_put_str(result, "Type", word_of(r->kind), err) < 0 ||
        json_put(result, "Params", json_incref(params), err) < 0)
        return NULL;
    return json_incref(result);
}
