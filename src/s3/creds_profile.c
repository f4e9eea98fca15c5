/* Profiles: named sets of settings in ~/.aws/credentials and ~/.aws/config, and the source that one describes.
 *
 * A profile's settings of both files count together, those of the credentials file first. In what order the kinds of
 * credentials are looked for: a role to take on, single sign-on, keys, a program. */
#include "base/fs.h"
#include "base/near.h"
#include "s3/creds_ini.h"
#include "s3/creds_priv.h"

#include <fcntl.h>

#define PROFILE_CHAIN_MAX 8 /* profiles that name each other by source_profile */
#define ROLE_DURATION_MIN 900
#define ROLE_DURATION_MAX 43200
#define PROFILES_NEAR_MAX 64

/* ---- files ---- */

static int read_file(struct buf *out, const char *path, struct err *err)
{
    struct err why = ERR_INIT;
    buf_init(out, INI_BYTES_MAX);
    if (fs_read_file(AT_FDCWD, path, INI_BYTES_MAX, out, &why) == 0 || why.kind == ERR_NOTFOUND)
        return 0;
    return err_move(err, &why);
}

static int accept_item(void *ctx, const struct ini_item *item, struct err *err)
{
    (void)ctx;
    (void)item;
    (void)err;
    return 0;
}

int profiles_open(struct profiles *p, const struct creds_env *env, struct err *err)
{
    const char *credentials = env_get(env, "AWS_SHARED_CREDENTIALS_FILE"), *config = env_get(env, "AWS_CONFIG_FILE");
    *p = (struct profiles){0};
    p->credentials_path = home_path(env, credentials ? credentials : "~/.aws/credentials", err);
    p->config_path = home_path(env, config ? config : "~/.aws/config", err);
    if (!p->credentials_path || !p->config_path || read_file(&p->credentials, p->credentials_path, err) < 0 ||
        read_file(&p->config, p->config_path, err) < 0)
        return -1;
    if (ini_walk(buf_span(&p->credentials), accept_item, NULL, err) < 0)
        return err_wrap(err, "%s", p->credentials_path);
    if (ini_walk(buf_span(&p->config), accept_item, NULL, err) < 0)
        return err_wrap(err, "%s", p->config_path);
    return 0;
}

void profiles_release(struct profiles *p)
{
    free(p->credentials_path);
    free(p->config_path);
    buf_release_wiped(&p->credentials);
    buf_release_wiped(&p->config);
}

/* ---- settings ---- */

/* In the configuration, the section of "default" may go without the word "profile". */
static const char *kind_in_config(const struct profiles *p, const char *name)
{
    bool bare = str_eq(name, "default") && !ini_has(buf_span(&p->config), "profile", name);
    return bare ? "" : "profile";
}

bool profiles_have(const struct profiles *p, const char *name)
{
    return ini_has(buf_span(&p->credentials), "", name) || ini_has(buf_span(&p->config), kind_in_config(p, name), name);
}

static struct span find_setting(const struct profiles *p, const char *profile, const char *name)
{
    struct span value = ini_get(buf_span(&p->credentials), "", profile, name);
    return value.n ? value : ini_get(buf_span(&p->config), kind_in_config(p, profile), profile, name);
}

char *profiles_get(const struct profiles *p, const char *profile, const char *name, struct err *err)
{
    return str_dup_span(find_setting(p, profile, name), err);
}

/* ---- one profile ---- */

/* X(name): what a profile may say about credentials. */
#define SETTINGS(X)                                                                                                    \
    X(aws_access_key_id)                                                                                               \
    X(aws_secret_access_key)                                                                                           \
    X(aws_session_token)                                                                                               \
    X(credential_process)                                                                                              \
    X(credential_source)                                                                                               \
    X(duration_seconds)                                                                                                \
    X(external_id)                                                                                                     \
    X(mfa_serial)                                                                                                      \
    X(region)                                                                                                          \
    X(role_arn)                                                                                                        \
    X(role_session_name)                                                                                               \
    X(source_profile)                                                                                                  \
    X(sso_account_id)                                                                                                  \
    X(sso_region)                                                                                                      \
    X(sso_role_name)                                                                                                   \
    X(sso_session)                                                                                                     \
    X(sso_start_url)                                                                                                   \
    X(sts_regional_endpoints)                                                                                          \
    X(web_identity_token_file)

/* All of them as owned strings, "" where unset. */
struct profile {
#define X(name) char *name;
    SETTINGS(X)
#undef X
    char *what; /* "profile 'dev'" */
};

static int profile_read(struct profile *out, const struct profiles *p, const char *name, struct err *err)
{
    *out = (struct profile){.what = str_printf(err, "profile '%.128s'", name)};
#define X(setting) out->setting = profiles_get(p, name, #setting, err);
    SETTINGS(X)
#undef X
    return err_is_set(err) ? -1 : 0;
}

static void profile_release(struct profile *s)
{
#define X(setting) str_free_secret(s->setting);
    SETTINGS(X)
#undef X
    free(s->what);
}
#define AUTO_PROFILE AUTO(profile_release) struct profile

/* ---- from settings to a source ---- */

struct finding {
    const struct creds_env *env;
    const struct profiles *profiles;
    const char *region;                   /* of the environment; NULL: none */
    const char *chain[PROFILE_CHAIN_MAX]; /* profiles on the way here */
    size_t depth;
};

static int find_profile(struct creds_source **out, struct finding *f, const char *name, struct err *err);

static int find_keys(struct creds_source **out, const struct finding *f, const struct profile *s, struct err *err)
{
    const struct s3_keys keys = {s->aws_access_key_id, s->aws_secret_access_key, s->aws_session_token};
    bool id = keys.access_key_id[0], secret = keys.secret_access_key[0];
    if (id != secret)
        return err_set(err, ERR_INVALID, "%s: has %s, but no %s", s->what,
                       id ? "aws_access_key_id" : "aws_secret_access_key",
                       id ? "aws_secret_access_key" : "aws_access_key_id");
    if (id)
        return source_static_new(out, &keys, s->what, err);
    if (s->credential_process[0])
        return source_process_new(out, f->env, span_of(s->credential_process), s->what, err);
    return 0;
}

static int find_named(struct creds_source **out, const struct finding *f, const struct profile *s, struct err *err)
{
    int rc = 0;
    if (str_eq(s->credential_source, "Environment"))
        rc = source_env_new(out, f->env, err);
    else if (str_eq(s->credential_source, "Ec2InstanceMetadata"))
        rc = source_instance_new(out, f->env, true, err);
    else if (str_eq(s->credential_source, "EcsContainer"))
        rc = source_container_new(out, f->env, err);
    else
        rc = err_set(err, ERR_INVALID, "it is none of Environment, Ec2InstanceMetadata and EcsContainer");
    if (rc == 0 && !*out)
        rc = err_set(err, ERR_NOTFOUND, "there are no keys at '%s'", s->credential_source);
    return rc < 0 ? err_wrap(err, "%s: credential_source", s->what) : 0;
}

static int find_source_profile(struct creds_source **out, struct finding *f, const struct profile *s, struct err *err)
{
    if (str_eq(s->source_profile, f->chain[f->depth - 1])) { /* itself: the keys beside its role */
        if (find_keys(out, f, s, err) < 0)
            return -1;
    } else if (find_profile(out, f, s->source_profile, err) < 0) {
        return err_wrap(err, "%s: source_profile", s->what);
    }
    if (!*out)
        return err_set(err, ERR_INVALID, "%s: source_profile '%.128s' has no credentials", s->what, s->source_profile);
    return 0;
}

static int read_duration(const struct profile *s, uint64_t *out, struct err *err)
{
    struct err unused = ERR_INIT;
    if (!s->duration_seconds[0])
        return 0;
    if (span_to_u64(span_of(s->duration_seconds), out, &unused) < 0 || *out < ROLE_DURATION_MIN ||
        *out > ROLE_DURATION_MAX)
        return err_set(err, ERR_INVALID, "%s: duration_seconds is not a number from %d to %d", s->what,
                       ROLE_DURATION_MIN, ROLE_DURATION_MAX);
    return 0;
}

static int find_role(struct creds_source **out, struct finding *f, const struct profile *s, struct err *err)
{
    struct role_settings role = {
        .arn = s->role_arn,
        .session_name = s->role_session_name,
        .external_id = s->external_id,
        .token_file = s->web_identity_token_file,
        .region = f->region ? f->region : s->region,
        .regional = s->sts_regional_endpoints,
        .what = s->what,
    };
    struct creds_source *asker = NULL;
    if (read_duration(s, &role.duration_s, err) < 0)
        return -1;
    if (s->mfa_serial[0]) {
        err_set(err, ERR_UNSUPPORTED, "%s: a role that wants a one-time password (mfa_serial)", s->what);
        return err_hint(err, "let a credential_process ask for it, or export the keys of `aws sts assume-role`");
    }
    bool profile = s->source_profile[0], named = s->credential_source[0];
    if (profile && named)
        return err_set(err, ERR_INVALID, "%s: has both source_profile and credential_source", s->what);
    if (s->web_identity_token_file[0] && !profile && !named)
        return source_web_new(out, f->env, &role, err);
    if (!profile && !named) {
        err_set(err, ERR_INVALID, "%s: has role_arn, but does not say whose keys ask for the role", s->what);
        return err_hint(err, "add source_profile, credential_source or web_identity_token_file");
    }
    int rc = profile ? find_source_profile(&asker, f, s, err) : find_named(&asker, f, s, err);
    return rc < 0 ? -1 : source_role_new(out, f->env, asker, &role, err);
}

static int find_sso(struct creds_source **out, const struct finding *f, const struct profile *s, struct err *err)
{
    struct span config = buf_span(&f->profiles->config);
    AUTO_STR url = str_dup_span(ini_get(config, "sso-session", s->sso_session, "sso_start_url"), err);
    AUTO_STR region = str_dup_span(ini_get(config, "sso-session", s->sso_session, "sso_region"), err);
    if (!url || !region)
        return -1;
    bool session = s->sso_session[0];
    if (session && !ini_has(config, "sso-session", s->sso_session))
        return err_set(err, ERR_INVALID, "%s: %s has no section [sso-session %.128s]", s->what,
                       f->profiles->config_path, s->sso_session);
    const struct sso_settings settings = {
        .start_url = session ? url : s->sso_start_url,
        .region = session ? region : s->sso_region,
        .account_id = s->sso_account_id,
        .role_name = s->sso_role_name,
        .session = session ? s->sso_session : NULL,
        .profile = f->chain[f->depth - 1],
        .what = s->what,
    };
    return source_sso_new(out, f->env, &settings, err);
}

/* ---- a name that there is not ---- */

struct names {
    const char *v[PROFILES_NEAR_MAX];
    char text[PROFILES_NEAR_MAX][NEAR_WORD_MAX];
    size_t n;
};

static int collect_name(void *ctx, const struct ini_item *item, struct err *err)
{
    struct names *names = ctx;
    (void)err;
    bool profile = item->kind.n == 0 || span_eq(item->kind, SPAN_LIT("profile"));
    if (item->name.n || !profile || item->section.n >= NEAR_WORD_MAX || names->n == PROFILES_NEAR_MAX)
        return 0;
    memcpy(names->text[names->n], item->section.p, item->section.n);
    names->v[names->n] = names->text[names->n];
    names->n++;
    return 0;
}

static int no_such_profile(const struct profiles *p, const char *name, struct err *err)
{
    struct err unused = ERR_INIT;
    err_set(err, ERR_NOTFOUND, "there is no profile '%.128s' in %s or %s", name, p->credentials_path, p->config_path);
    struct names *names = calloc(1, sizeof *names);
    if (!names)
        return -1;
    (void)ini_walk(buf_span(&p->credentials), collect_name, names, &unused);
    (void)ini_walk(buf_span(&p->config), collect_name, names, &unused);
    const char *near = near_best(span_of(name), names->v, names->n);
    if (near)
        err_hint(err, "did you mean '%s'?", near);
    free(names);
    return -1;
}

static int find_profile(struct creds_source **out, struct finding *f, const char *name, struct err *err)
{
    for (size_t i = 0; i < f->depth; i++)
        if (str_eq(f->chain[i], name))
            return err_set(err, ERR_INVALID, "profile '%.128s' is its own source, by way of others", name);
    if (f->depth == PROFILE_CHAIN_MAX)
        return err_set(err, ERR_INVALID, "more than %d profiles name each other", PROFILE_CHAIN_MAX);
    if (!profiles_have(f->profiles, name))
        return no_such_profile(f->profiles, name, err);
    AUTO_PROFILE s;
    int rc = profile_read(&s, f->profiles, name, err);
    f->chain[f->depth++] = name;
    if (rc == 0 && s.role_arn[0])
        rc = find_role(out, f, &s, err);
    else if (rc == 0 && (s.sso_account_id[0] || s.sso_role_name[0]))
        rc = find_sso(out, f, &s, err);
    else if (rc == 0)
        rc = find_keys(out, f, &s, err);
    f->depth--;
    return rc;
}

int source_profile_new(struct creds_source **out, const struct creds_env *env, const struct profiles *p,
                       const char *name, const char *region, struct err *err)
{
    struct finding f = {.env = env, .profiles = p, .region = region};
    *out = NULL;
    return find_profile(out, &f, name, err);
}
