/* From text to a job: which format it is, and who reads it. */
#include "spec/dialect.h"
#include "spec/document.h"
#include "spec/spec.h"

#define KEYS_SHOWN 5

static bool has_key_any_case(const json_t *object, const char *wanted)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (span_eq_nocase(span_of(key), span_of(wanted)))
            return true;
    }
    return false;
}

enum spec_root spec_root_of(const json_t *document)
{
    if (!json_is_object(document))
        return SPEC_UNKNOWN;
    if (json_object_get(document, "berth"))
        return SPEC_RECORD;
    if (json_object_get(document, "ops"))
        return SPEC_NOSANA;
    if (has_key_any_case(document, "Tasks"))
        return SPEC_BACALHAU;
    if (json_object_get(document, "required_images") || json_object_get(document, "required_remote_resources"))
        return SPEC_REQUIRED_RESOURCES;
    return SPEC_UNKNOWN;
}

static int not_a_job(const struct document *d, struct err *err)
{
    AUTO_BUF found;
    buf_init(&found, ERR_TEXT_MAX / 2);
    const char *key;
    json_t *value;
    size_t n = 0;
    json_object_foreach(d->root, key, value)
    {
        if (n < KEYS_SHOWN)
            buf_addf(&found, "%s'%.*s'", n ? ", " : "", SHOWN(span_of(key)));
        n++;
    }
    if (buf_check(&found, "the list of keys", err) < 0)
        return -1;
    bool old = has_key_any_case(d->root, "APIVersion") && has_key_any_case(d->root, "Spec");
    err_set(err, ERR_INVALID, "%s: not a job: expected 'ops' (Nosana) or 'Tasks' (Bacalhau) at the root, found %s%s",
            d->reader.file, n ? buf_str(&found) : "no keys", n > KEYS_SHOWN ? ", …" : "");
    return old ? err_hint(err, "this is a Bacalhau v1beta1 file; its successor lists the work under 'Tasks'") : -1;
}

static int required_resources_instead(const struct document *d, struct err *err)
{
    err_set(err, ERR_INVALID, "%s: not a job: this is a market's required-resources document", d->reader.file);
    return err_hint(err, "a market takes it: berth market required-resources");
}

static int read_by_root(struct document *d, struct job *job, struct err *err)
{
    const struct node root = document_root(d);
    struct reader *r = &d->reader;
    switch (spec_root_of(d->root)) {
    case SPEC_NOSANA:
        job->dialect = JOB_NOSANA;
        nosana_read(r, &root, job);
        break;
    case SPEC_BACALHAU:
        job->dialect = JOB_BACALHAU;
        bacalhau_read(r, &root, job);
        break;
    case SPEC_RECORD:
        job->dialect = JOB_RECORD;
        record_read(r, &root, job);
        break;
    case SPEC_REQUIRED_RESOURCES:
        return required_resources_instead(d, err);
    case SPEC_UNKNOWN:
        return not_a_job(d, err);
    }
    document_warn_unused(d);
    job_check(r, &root, job);
    return 0;
}

static int read_job(struct document *d, struct job **out, struct err *err)
{
    struct job *job = arena_alloc(d->arena, sizeof *job);
    if (!job)
        return arena_check(d->arena, err);
    job->file = arena_dup(d->arena, d->reader.file);
    if (read_by_root(d, job, err) < 0 || document_finish(d, &job->arena, err) < 0)
        return -1;
    *out = job;
    return 0;
}

int spec_parse(struct span text, const struct spec_opts *opts, struct job **out, struct err *err)
{
    struct document d;
    int rc = document_open(&d, text, opts, err);
    if (rc == 0)
        rc = read_job(&d, out, err);
    document_release(&d);
    return rc;
}

void job_free(struct job *job)
{
    if (job)
        arena_free(job->arena); /* the job itself lives there */
}

static int read_required(struct document *d, struct required_resources **out, struct err *err)
{
    static const char *const known[] = {"required_images", "required_remote_resources", NULL};
    const struct node root = document_root(d);
    struct reader *r = &d->reader;
    struct inputs inputs = {0};
    if (spec_root_of(d->root) != SPEC_REQUIRED_RESOURCES && json_object_size(d->root) > 0)
        return err_set(err, ERR_INVALID, "%s: expected '%s' or '%s' at the root", r->file, known[0], known[1]);
    struct required_resources *required = arena_alloc(d->arena, sizeof *required);
    if (!required)
        return arena_check(d->arena, err);
    check_keys(r, &root, known);
    required->images = read_images(r, &root, known[0]);
    struct node resources = read_list(r, &root, known[1]);
    resources_read(r, &resources, true, &inputs);
    required->inputs = inputs.v;
    required->input_count = inputs.n;
    document_warn_unused(d);
    if (document_finish(d, &required->arena, err) < 0)
        return -1;
    *out = required;
    return 0;
}

int spec_parse_required(struct span text, const struct spec_opts *opts, struct required_resources **out,
                        struct err *err)
{
    struct document d;
    int rc = document_open(&d, text, opts, err);
    if (rc == 0)
        rc = read_required(&d, out, err);
    document_release(&d);
    return rc;
}

void required_resources_free(struct required_resources *r)
{
    if (r)
        arena_free(r->arena);
}
