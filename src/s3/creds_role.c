/* A role, taken on with other keys: AssumeRole of STS. */
#include "s3/creds_sts.h"

struct source_role {
    struct creds_source base;
    struct creds_source *asker; /* whose keys ask; owned */
    struct sts sts;
    char *arn, *session_name, *external_id;
    uint64_t duration_s;
};

static int write_form(const struct source_role *s, struct buf *form, struct err *err)
{
    const struct role_settings role = {.arn = s->arn, .session_name = s->session_name, .duration_s = s->duration_s};
    sts_form(form, "AssumeRole");
    sts_form_add(form, "ExternalId", s->external_id);
    return sts_form_role(form, s->sts.env, &role, err);
}

static int fetch_role(struct creds_source *base, const struct cancel *cancel, struct creds_grant *out, struct err *err)
{
    struct source_role *s = (struct source_role *)base;
    AUTO(grant_release) struct creds_grant asker = {0};
    AUTO_SECRET_BUF form;
    if (write_form(s, &form, err) < 0)
        return -1;
    int rc = s->asker->ops->fetch(s->asker, cancel, &asker, err);
    if (rc < 0)
        return err_wrap(err, "%s", s->asker->label);
    if (rc == CREDS_NOTHING)
        return err_set(err, ERR_DENIED, "%s has no keys to ask for %s with", s->asker->label, s->arn);
    return sts_call(&s->sts, &form, &asker, cancel, out, err) < 0 ? err_wrap(err, "AssumeRole %s", s->arn) : 0;
}

static int identify_role(const struct creds_source *base, struct buf *out, struct err *err)
{
    const struct source_role *s = (const struct source_role *)base;
    buf_addf(out, "role%c%s%c", 0, s->arn, 0);
    if (s->asker->ops->identify)
        return s->asker->ops->identify(s->asker, out, err);
    buf_addf(out, "%s%c", s->asker->label, 0);
    return buf_check(out, "identity", err);
}

static void free_role(struct creds_source *base)
{
    struct source_role *s = (struct source_role *)base;
    source_free(s->asker);
    sts_release(&s->sts);
    free(s->arn);
    free(s->session_name);
    str_free_secret(s->external_id);
}

static const struct creds_source_ops ops_role = {.fetch = fetch_role, .identify = identify_role, .free = free_role};

static int fill(struct source_role *s, const struct creds_env *env, const struct role_settings *settings,
                struct err *err)
{
    s->base.label = str_printf(err, "%s (%s)", settings->what, settings->arn);
    s->arn = str_dup(settings->arn, err);
    s->session_name = str_dup(settings->session_name, err);
    s->external_id = str_dup(settings->external_id, err);
    s->duration_s = settings->duration_s;
    if (!s->base.label || !s->arn || !s->session_name || !s->external_id)
        return -1;
    return sts_open(&s->sts, env, settings->region, settings->regional, err);
}

int source_role_new(struct creds_source **out, const struct creds_env *env, struct creds_source *base,
                    const struct role_settings *settings, struct err *err)
{
    struct source_role *s = calloc(1, sizeof *s);
    if (!s) {
        source_free(base);
        return err_nomem(err);
    }
    s->base.ops = &ops_role;
    s->asker = base;
    if (fill(s, env, settings, err) < 0) {
        source_free(&s->base);
        return err_wrap(err, "%s", settings->what);
    }
    *out = &s->base;
    return 0;
}
