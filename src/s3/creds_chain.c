/* The order in which sources are looked for: the first one found is the one, broken or not. */
#include "base/log.h"
#include "s3/creds_priv.h"

struct chain {
    const struct creds_env *env;
    struct profiles profiles;
    const char *profile; /* its name */
    bool named;          /* somebody asked for that profile, so it must be there */
};

/* ---- the region ---- */

static int find_region(char **out, const struct chain *c, struct err *err)
{
    const char *region = env_get(c->env, "AWS_REGION");
    if (!region)
        region = env_get(c->env, "AWS_DEFAULT_REGION");
    *out = region ? str_dup(region, err) : profiles_get(&c->profiles, c->profile, "region", err);
    if (!*out)
        return -1;
    if (!**out) {
        free(*out);
        *out = NULL;
    }
    return 0;
}

/* ---- the sources ---- */

static int find_profile(struct creds_source **out, const struct chain *c, const char *region, struct err *err)
{
    if (!c->named && !profiles_have(&c->profiles, c->profile))
        return 0;
    return source_profile_new(out, c->env, &c->profiles, c->profile, region, err);
}

static int find_instance(struct creds_source **out, const struct chain *c, const char *region, struct err *err)
{
    (void)region;
    return source_instance_new(out, c->env, false, err);
}

static int find_container(struct creds_source **out, const struct chain *c, const char *region, struct err *err)
{
    (void)region;
    return source_container_new(out, c->env, err);
}

static int find_web(struct creds_source **out, const struct chain *c, const char *region, struct err *err)
{
    return source_web_from_env(out, c->env, region, err);
}

static int find_ambient(struct creds_source **out, const struct chain *c, const char *region, struct err *err)
{
    static int (*const order[])(struct creds_source **, const struct chain *, const char *, struct err *) = {
        find_profile,
        find_web,
        find_container,
        find_instance,
    };
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(order) && rc == 0 && !*out; i++)
        rc = order[i](out, c, region, err);
    return rc;
}

/* Keys are at hand, and the profile only adds a region: its files may be as they will. */
static int find_region_only(struct creds_found *out, struct chain *c, struct err *err)
{
    struct err why = ERR_INIT;
    if (profiles_open(&c->profiles, c->env, &why) < 0) {
        log_debug("s3", "profiles not read (reason=\"%s\")", why.text);
        profiles_release(&c->profiles);
        c->profiles = (struct profiles){0};
    }
    return find_region(&out->region, c, err);
}

static int find_all(struct creds_found *out, struct chain *c, const struct creds_opts *opts, struct err *err)
{
    if (!str_empty(opts->job.access_key_id) || !str_empty(opts->job.secret_access_key)) {
        if (source_static_new(&out->source, &opts->job, "the job's own IAM keys", err) < 0)
            return -1;
        return opts->ambient ? find_region_only(out, c, err) : 0;
    }
    if (!opts->ambient)
        return 0;
    /* A profile that was asked for by option comes before the environment's keys, one of AWS_PROFILE after them. */
    if (str_empty(opts->profile) && source_env_new(&out->source, c->env, err) < 0)
        return -1;
    if (out->source)
        return find_region_only(out, c, err);
    if (profiles_open(&c->profiles, c->env, err) < 0 || find_region(&out->region, c, err) < 0)
        return -1;
    return find_ambient(&out->source, c, out->region, err);
}

int chain_find(struct creds_found *out, const struct creds_opts *opts, const struct creds_env *env, struct err *err)
{
    const char *name = str_empty(opts->profile) ? env_get(env, "AWS_PROFILE") : opts->profile;
    struct chain c = {.env = env, .profile = name ? name : "default", .named = name != NULL};
    int rc = find_all(out, &c, opts, err);
    profiles_release(&c.profiles);
    return rc;
}
