/* Keys that are simply there: in the job, in variables, in a file. And the environment they are looked for in. */
#include "s3/creds_priv.h"

/* ---- the environment ---- */

int env_open(struct creds_env *env, const char *const *list, struct err *err)
{
    env->given = list != NULL;
    for (; list && *list; list++)
        if (strv_add(&env->list, *list, err) < 0)
            return -1;
    return 0;
}

void env_release(struct creds_env *env)
{
    for (size_t i = 0; i < env->list.n; i++)
        mem_wipe(env->list.v[i], strlen(env->list.v[i]));
    strv_release(&env->list);
}

const char *env_get(const struct creds_env *env, const char *name)
{
    const char *value = env->given ? NULL : getenv(name);
    size_t n = strlen(name);
    for (size_t i = 0; i < env->list.n && !value; i++)
        if (strncmp(env->list.v[i], name, n) == 0 && env->list.v[i][n] == '=')
            value = env->list.v[i] + n + 1;
    return str_empty(value) ? NULL : value;
}

/* ---- grants ---- */

void grant_release(struct creds_grant *g)
{
    str_free_secret(g->access_key_id);
    str_free_secret(g->secret_access_key);
    str_free_secret(g->session_token);
    free(g->identity);
    *g = (struct creds_grant){0};
}

/* Ids and tokens become header lines. */
static int check_key(const char *what, const char *value, struct err *err)
{
    if (str_empty(value))
        return err_set(err, ERR_INVALID, "the %s is empty", what);
    size_t n = strnlen(value, CREDS_KEY_MAX + 1);
    if (n > CREDS_KEY_MAX)
        return err_set(err, ERR_INVALID, "the %s is longer than %d bytes", what, CREDS_KEY_MAX);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)value[i] <= ' ' || value[i] == 0x7f) {
            err_set(err, ERR_INVALID, "the %s holds a space or a control character", what);
            return err_hint(err, "a line break at its end, from a copy or a file, is the usual cause");
        }
    return 0;
}

int grant_set(struct creds_grant *g, const char *access_key_id, const char *secret_access_key, const char *token,
              struct err *err)
{
    if (check_key("access key id", access_key_id, err) < 0 ||
        check_key("secret access key", secret_access_key, err) < 0 ||
        (!str_empty(token) && check_key("session token", token, err) < 0))
        return -1;
    g->access_key_id = str_dup(access_key_id, err);
    g->secret_access_key = str_dup(secret_access_key, err);
    g->session_token = str_empty(token) ? NULL : str_dup(token, err);
    return err_is_set(err) ? -1 : 0;
}

/* ---- keys that are simply there ---- */

struct source_static {
    struct creds_source base;
    struct creds_grant keys;
};

static int fetch_static(struct creds_source *base, const struct cancel *cancel, struct creds_grant *out,
                        struct err *err)
{
    const struct creds_grant *k = &((const struct source_static *)base)->keys;
    (void)cancel;
    return grant_set(out, k->access_key_id, k->secret_access_key, k->session_token, err);
}

/* The secret is part of it: an access key id is not a secret, and whoever only knows that is somebody else. */
static int identify_static(const struct creds_source *base, struct buf *out, struct err *err)
{
    const struct creds_grant *k = &((const struct source_static *)base)->keys;
    buf_addf(out, "keys%c%s%c%s%c", 0, k->access_key_id, 0, k->secret_access_key, 0);
    return buf_check(out, "identity", err);
}

static void free_static(struct creds_source *base)
{
    grant_release(&((struct source_static *)base)->keys);
}

static const struct creds_source_ops ops_static = {
    .fetch = fetch_static,
    .identify = identify_static,
    .free = free_static,
    .fixed = true,
};

/* "environment (AKIA…1234)": enough to tell keys apart, and nothing of short ids, which may be made by hand. */
static char *label_with_id(const char *what, const char *id, struct err *err)
{
    size_t n = strlen(id);
    return n < 16 ? str_dup(what, err) : str_printf(err, "%s (%.4s…%s)", what, id, id + n - 4);
}

int source_static_new(struct creds_source **out, const struct s3_keys *keys, const char *what, struct err *err)
{
    struct source_static *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(err);
    s->base.ops = &ops_static;
    if (grant_set(&s->keys, keys->access_key_id, keys->secret_access_key, keys->session_token, err) < 0 ||
        !(s->base.label = label_with_id(what, keys->access_key_id, err))) {
        source_free(&s->base);
        return err_wrap(err, "%s", what);
    }
    *out = &s->base;
    return 0;
}

int source_env_new(struct creds_source **out, const struct creds_env *env, struct err *err)
{
    const struct s3_keys keys = {
        .access_key_id = env_get(env, "AWS_ACCESS_KEY_ID"),
        .secret_access_key = env_get(env, "AWS_SECRET_ACCESS_KEY"),
        .session_token = env_get(env, "AWS_SESSION_TOKEN"),
    };
    *out = NULL;
    if (!keys.access_key_id && !keys.secret_access_key)
        return 0;
    if (!keys.access_key_id || !keys.secret_access_key) {
        err_set(err, ERR_INVALID, "environment: %s is set, but %s is not",
                keys.access_key_id ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                keys.access_key_id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
        return err_hint(err, "set both or neither");
    }
    return source_static_new(out, &keys, "environment", err);
}

void source_free(struct creds_source *s)
{
    if (!s)
        return;
    s->ops->free(s);
    free(s->label);
    free(s);
}
