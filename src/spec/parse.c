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

static int read_job(struct document *d, struct job *job, struct err *err)
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
    return 0;
}

int spec_parse(struct span text, const struct spec_opts *opts, struct job **out, struct err *err)
{
    struct document d;
    struct arena *arena = NULL;
    int rc = document_open(&d, text, opts, err);
    struct job *job = rc == 0 ? arena_alloc(d.arena, sizeof *job) : NULL;
    if (rc == 0 && !job)
        rc = arena_check(d.arena, err);
    if (rc == 0)
        rc = read_job(&d, job, err);
    if (rc == 0) {
        const struct node root = document_root(&d);
        job->file = arena_dup(d.arena, d.reader.file);
        document_warn_unused(&d);
        job_check(&d.reader, &root, job);
        rc = document_finish(&d, &arena, err);
    }
    if (rc == 0) {
        job->arena = arena;
        *out = job;
    }
    document_release(&d);
    return rc;
}

void job_free(struct job *job)
{
    if (job)
        arena_free(job->arena); /* the job itself lives there */
}

static void read_required(struct reader *r, const struct node *root, struct required_resources *out)
{
    static const char *const known[] = {"required_images", "required_remote_resources", NULL};
    struct inputs inputs = {0};
    check_keys(r, root, known);
    struct node resources = read_list(r, root, "required_remote_resources");
    out->images = read_images(r, root, "required_images");
    resources_read(r, &resources, true, &inputs);
    out->inputs = inputs.v;
    out->input_count = inputs.n;
}

int spec_parse_required(struct span text, const struct spec_opts *opts, struct required_resources **out,
                        struct err *err)
{
    struct document d;
    struct arena *arena = NULL;
    int rc = document_open(&d, text, opts, err);
    struct required_resources *required = rc == 0 ? arena_alloc(d.arena, sizeof *required) : NULL;
    if (rc == 0 && !required)
        rc = arena_check(d.arena, err);
    if (rc == 0 && spec_root_of(d.root) != SPEC_REQUIRED_RESOURCES && json_object_size(d.root) > 0)
        rc = err_set(err, ERR_INVALID, "%s: expected 'required_images' or 'required_remote_resources' at the root",
                     d.reader.file);
    if (rc == 0) {
        const struct node root = document_root(&d);
        read_required(&d.reader, &root, required);
        document_warn_unused(&d);
        rc = document_finish(&d, &arena, err);
    }
    if (rc == 0) {
        required->arena = arena;
        *out = required;
    }
    document_release(&d);
    return rc;
}

void required_resources_free(struct required_resources *r)
{
    if (r)
        arena_free(r->arena);
}
