/* The order in which sources are looked for: the first one found is the one, broken or not. */
#include "s3/creds_priv.h"

static int find_region(char **out, const struct creds_env *env, struct err *err)
{
    const char *region = env_get(env, "AWS_REGION");
    if (!region)
        region = env_get(env, "AWS_DEFAULT_REGION");
    if (!region)
        return 0;
    *out = str_dup(region, err);
    return *out ? 0 : -1;
}

int chain_find(struct creds_found *out, const struct creds_opts *opts, const struct creds_env *env, struct err *err)
{
    if (opts->ambient && find_region(&out->region, env, err) < 0)
        return -1;
    if (!str_empty(opts->job.access_key_id))
        return source_static_new(&out->source, &opts->job, "the job's own IAM keys", err);
    if (!opts->ambient)
        return 0;
    return source_env_new(&out->source, env, err);
}
