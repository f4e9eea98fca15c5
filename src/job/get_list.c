/* Which executions' results there are, and what their folders are called. */
#include "base/path.h"
#include "job/get_priv.h"

#define SHORT_ID_CHARS 8
#define NAME_CHARS     64

char *job_short_name(const char *of, struct err *err)
{
    struct span whole, rest, id, manifest = SPAN_LIT("/" GET_MANIFEST);
    span_cut(span_of(of), '?', &whole, &rest);
    if (span_ends(whole, manifest)) /* all are called so; the prefix tells them apart */
        whole.n -= manifest.n;
    span_cut(path_basename(whole), '.', &id, &rest);
    if (span_starts(id, SPAN_LIT("j-")) || span_starts(id, SPAN_LIT("e-")))
        id = span_head((struct span){id.p + 2, id.n - 2}, SHORT_ID_CHARS);
    AUTO_BUF name;
    buf_init(&name, NAME_CHARS);
    for (size_t i = 0; i < id.n && i < NAME_CHARS; i++) {
        char c = ascii_lower(id.p[i]);
        buf_addc(&name, ascii_is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '_' ? id.p[i] : '-');
    }
    return buf_take(&name, "name", err);
}

void job_executions_release(struct job_executions *x)
{
    free(x->v);
    *x = (struct job_executions){0};
}

int job_executions_add(struct job_executions *x, const struct job_execution *one, struct err *err)
{
    if (x->n == JOB_EXECUTIONS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d executions", JOB_EXECUTIONS_MAX);
    struct job_execution *v = reallocarray(x->v, x->n + 1, sizeof *v);
    if (!v)
        return err_nomem(err);
    x->v = v;
    x->v[x->n++] = *one;
    return 0;
}

static int add_document(struct job_executions *x, const json_t *document, struct arena *a, struct err *err)
{
    struct job_execution one = {.index = -1};
    const char *id = json_get_str(document, "id");
    if (job_published_read(document, a, &one.input, err) < 0)
        return -1;
    if (!json_get_i64(document, "index", &one.index) || one.index < 0)
        one.index = -1;
    const char *place = one.input.kind == SOURCE_S3 ? one.input.s3.key : one.input.url.url;
    AUTO_STR name = job_short_name(id ? id : place, err);
    if (!name)
        return -1;
    one.id = name[0] ? arena_dup(a, name) : NULL;
    return arena_check(a, err) < 0 ? -1 : job_executions_add(x, &one, err);
}

int job_executions_read(struct job_executions *x, const json_t *document, struct arena *a, struct err *err)
{
    const json_t *list = json_is_array(document) ? document : json_object_get(document, "results");
    if (!list)
        return add_document(x, document, a, err);
    if (json_array_size(list) == 0)
        return err_set(err, ERR_NOTFOUND, "a list without results");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (add_document(x, json_array_get(list, i), a, err) < 0)
            return err_wrap(err, "result %zu", i);
    return 0;
}

/* ---- names ---- */

enum name_by { BY_INDEX, BY_ID, BY_PLACE };

static const char *name_by(const struct job_executions *x, size_t i, enum name_by by, struct arena *a)
{
    const struct job_execution *one = &x->v[i];
    switch (by) {
    case BY_INDEX:
        return one->index >= 0 ? arena_printf(a, "%lld", (long long)one->index) : NULL;
    case BY_ID:
        return one->id;
    case BY_PLACE:
    default:
        return arena_printf(a, "%zu", i);
    }
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Whether all have a name of this kind, and each its own. */
static bool try_names(struct job_executions *x, enum name_by by, const char **sorted, struct arena *a)
{
    for (size_t i = 0; i < x->n; i++) {
        sorted[i] = x->v[i].name = name_by(x, i, by, a);
        if (!sorted[i])
            return false;
    }
    qsort(sorted, x->n, sizeof *sorted, compare_names);
    for (size_t i = 1; i < x->n; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            return false;
    return true;
}

int job_executions_name(struct job_executions *x, struct arena *a, struct err *err)
{
    const char **sorted = arena_array(a, x->n + 1, sizeof *sorted);
    if (sorted && !try_names(x, BY_INDEX, sorted, a) && !try_names(x, BY_ID, sorted, a))
        try_names(x, BY_PLACE, sorted, a);
    return arena_check(a, err);
}
