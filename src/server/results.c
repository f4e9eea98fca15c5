/* URLs for published results. The keys that the job's poster brought sign them, for that poster alone; the server's own
 * only what lies in the job's own folder of the place for managed results: a node says where it published, and could
 * name whatever those keys open. Nothing of what it says makes this server send a request either. */
#include "server/server_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "s3/creds.h"
#include "s3/s3.h"

#define PRESIGN_S_DEFAULT 1800
#define URL_MAX           16384

/* The credentials of {"credentials": {…}}; false: none. */
static bool posters_keys(const json_t *secrets, struct s3_keys *out)
{
    const json_t *c = json_object_get(secrets, "credentials");
    *out = (struct s3_keys){
        .access_key_id = json_get_str(c, "access_key_id"),
        .secret_access_key = json_get_str(c, "secret_access_key"),
        .session_token = json_get_str(c, "session_token"),
    };
    return out->access_key_id && out->secret_access_key;
}

/* By endpoint, bucket and region as stated: a place that has to be found out is left to whoever has the keys. */
static int sign(const struct call *c, const json_t *params, const struct s3_keys *keys, unsigned seconds,
                struct buf *url, struct err *err)
{
    const struct publish_access *a = &c->s->opts.results;
    const struct creds_opts who = {.job = *keys};
    const struct s3_opts how = {
        .http = c->s->opts.http,
        .addressing = a->addressing,
        .default_endpoint = a->endpoint,
        .default_region = a->region,
        .mirrors = a->mirrors,
    };
    const struct source_s3 place = {
        .bucket = json_get_str(params, "Bucket"),
        .key = "",
        .endpoint = json_get_str(params, "Endpoint"),
        .region = json_get_str(params, "Region"),
    };
    struct creds *creds = NULL;
    struct s3 *s3 = NULL;
    int rc = creds_open(&creds, &who, err) < 0 || s3_open(&s3, &place, creds, &how, err) < 0 ||
                     s3_presign_get(s3, json_get_str(params, "Key"), json_get_str(params, "VersionID"), seconds, url,
                                    err) < 0
                 ? -1
                 : 0;
    s3_free(s3);
    creds_free(creds);
    return rc;
}

static int add_url(struct call *c, const char *job, json_t *result, const struct s3_keys *keys, struct err *err)
{
    const json_t *published = json_object_get(result, "published"), *params = json_object_get(published, "Params");
    unsigned seconds = c->s->opts.presign_s ? c->s->opts.presign_s : PRESIGN_S_DEFAULT;
    const char *bucket = json_get_str(params, "Bucket"), *key = json_get_str(params, "Key");
    struct err signing = ERR_INIT;
    AUTO_BUF url;
    buf_init(&url, URL_MAX);
    if (!str_eq(json_get_str(published, "Type"), "s3") || str_empty(bucket) || str_empty(key))
        return 0;
    bool managed = managed_holds(c->s->managed, job, bucket, key);
    if (!managed && !keys)
        return 0;
    const char *version = json_get_str(params, "VersionID");
    if ((managed ? managed_get_url(c->s->managed, key, version, seconds, &url, &signing)
                 : sign(c, params, keys, seconds, &url, &signing)) < 0) {
        log_debug("server", "no URL for a result of %s: %s", job, signing.text);
        return 0; /* whoever has the keys can get it without */
    }
    return json_put_str(result, "url", buf_str(&url), err) < 0 ||
                   json_put(result, "expires_ms", json_integer(clock_wall_ms() + (int64_t)seconds * 1000), err) < 0
               ? -1
               : 0;
}

int results_sign(struct call *c, const char *job, json_t *results, struct err *err)
{
    struct s3_keys keys = {0};
    struct err none = ERR_INIT;
    json_t *secrets = NULL;
    int rc = 0;
    if (market_job_secrets(c->m, &c->caller, job, &secrets, &none) < 0 && none.kind != ERR_NOTFOUND)
        return err_move(err, &none);
    bool own = posters_keys(secrets, &keys);
    for (size_t i = 0; i < json_array_size(results) && rc == 0; i++)
        rc = add_url(c, job, json_array_get(results, i), own ? &keys : NULL, err);
    market_secrets_free(secrets);
    return rc;
}
