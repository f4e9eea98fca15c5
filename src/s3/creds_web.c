/* A role, taken on with a token that an identity provider wrote into a file (Kubernetes, CI services):
 * AssumeRoleWithWebIdentity of STS, which needs no other keys and no signature. The file is read anew each time, since
 * such tokens are short-lived and whoever writes them renews them there. */
#include "s3/creds_sts.h"

struct source_web {
    struct creds_source base;
    struct sts sts;
    char *arn, *session_name, *token_file;
    uint64_t duration_s;
};

static int fetch_web(struct creds_source *base, const struct cancel *cancel, struct creds_grant *out, struct err *err)
{
    struct source_web *s = (struct source_web *)base;
    const struct role_settings role = {.arn = s->arn, .session_name = s->session_name, .duration_s = s->duration_s};
    AUTO_SECRET_BUF token, form;
    buf_init(&token, CREDS_KEY_MAX);
    sts_form(&form, "AssumeRoleWithWebIdentity");
    if (token_read(s->token_file, &token, err) < 0)
        return err_wrap(err, "web identity token");
    sts_form_add(&form, "WebIdentityToken", buf_str(&token));
    if (sts_form_role(&form, s->sts.env, &role, err) < 0)
        return -1;
    if (sts_call(&s->sts, &form, NULL, cancel, out, err) < 0)
        return err_wrap(err, "AssumeRoleWithWebIdentity %s", s->arn);
    return 0;
}

static int identify_web(const struct creds_source *base, struct buf *out, struct err *err)
{
    const struct source_web *s = (const struct source_web *)base;
    buf_addf(out, "web%c%s%c%s%c", 0, s->arn, 0, s->token_file, 0);
    return buf_check(out, "identity", err);
}

static void free_web(struct creds_source *base)
{
    struct source_web *s = (struct source_web *)base;
    sts_release(&s->sts);
    free(s->arn);
    free(s->session_name);
    free(s->token_file);
}

static const struct creds_source_ops ops_web = {.fetch = fetch_web, .identify = identify_web, .free = free_web};

int source_web_new(struct creds_source **out, const struct creds_env *env, const struct role_settings *settings,
                   struct err *err)
{
    struct source_web *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(err);
    s->base.ops = &ops_web;
    s->base.label = str_printf(err, "%s (%s)", settings->what, settings->arn);
    s->arn = str_dup(settings->arn, err);
    s->session_name = str_dup(settings->session_name, err);
    s->token_file = home_path(env, settings->token_file, err);
    s->duration_s = settings->duration_s;
    if (!s->base.label || !s->arn || !s->session_name || !s->token_file ||
        sts_open(&s->sts, env, settings->region, settings->regional, err) < 0) {
        source_free(&s->base);
        return err_wrap(err, "%s", settings->what);
    }
    *out = &s->base;
    return 0;
}

int source_web_from_env(struct creds_source **out, const struct creds_env *env, const char *region, struct err *err)
{
    const struct role_settings settings = {
        .arn = env_get(env, "AWS_ROLE_ARN"),
        .token_file = env_get(env, "AWS_WEB_IDENTITY_TOKEN_FILE"),
        .region = region,
        .what = "web identity",
    };
    *out = NULL;
    if (!settings.token_file)
        return 0;
    if (!settings.arn) {
        err_set(err, ERR_INVALID, "environment: AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not");
        return err_hint(err, "set both or neither");
    }
    return source_web_new(out, env, &settings, err);
}
