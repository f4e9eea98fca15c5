#include "spec/document.h"

#include "spec/template.h"

static const char blank[] = " \t\r\n";

static struct span skip_blank(struct span s)
{
    while (s.n && *s.p && strchr(blank, *s.p))
        s = (struct span){s.p + 1, s.n - 1};
    return s;
}

static struct span skip_bom(struct span s)
{
    return span_starts(s, SPAN_LIT("\xef\xbb\xbf")) ? (struct span){s.p + 3, s.n - 3} : s;
}

/* What begins like a JSON object is JSON, and its mistakes are reported as JSON's; YAML's own {key: value} is not. */
static bool looks_like_json(struct span text)
{
    struct span s = skip_blank(text);
    if (s.n == 0 || *s.p != '{')
        return false;
    s = skip_blank((struct span){s.p + 1, s.n - 1});
    return s.n == 0 || *s.p == '"' || *s.p == '}';
}

/* A run record holds values, not templates: braces in it are just braces. berth writes `berth` as its first member. */
static bool looks_like_record(struct span text)
{
    struct span s = skip_blank(text);
    if (s.n == 0 || *s.p != '{')
        return false;
    return span_starts(skip_blank((struct span){s.p + 1, s.n - 1}), SPAN_LIT("\"berth\""));
}

/* Whether its text will look like a record, whose braces nobody expands. */
static bool is_record(const json_t *root)
{
    return str_eq(json_object_iter_key(json_object_iter((json_t *)root)), "berth");
}

static int parse_text(struct document *d, struct span text, struct err *err)
{
    struct reader *r = &d->reader;
    d->root = looks_like_json(text) ? json_parse(text, err) : yaml_parse(text, &d->lines, err);
    if (!d->root)
        return err_wrap(err, "%s", r->file);
    r->lines = d->lines;
    if (json_is_object(d->root))
        return 0;
    return err_set(err, ERR_INVALID,
                   "%s: not a job: expected 'ops' (Nosana) or 'Tasks' (Bacalhau) at the root, found %s", r->file,
                   json_is_null(d->root) ? "nothing" : "no object");
}

void document_warn_unused(struct document *d)
{
    struct reader *r = &d->reader;
    const struct node root = {0};
    for (size_t i = 0; r->vars.v && r->vars.v[i]; i++) {
        struct span name, value;
        if (!r->vars.used[i] && span_cut(span_of(r->vars.v[i]), '=', &name, &value))
            warning(r, &root, "-V %.*s has no effect: nothing here asks for it", SHOWN(name));
    }
}

static int check_vars(const struct reader *r, struct err *err)
{
    for (size_t i = 0; r->vars.v && r->vars.v[i]; i++)
        if (!strchr(r->vars.v[i], '=') || r->vars.v[i][0] == '=')
            return err_set(err, ERR_USAGE, "-V takes NAME=VALUE");
    return 0;
}

int document_open(struct document *d, struct span text, const struct spec_opts *opts, struct err *err)
{
    AUTO_BUF expanded;
    buf_init(&expanded, SPEC_FILE_MAX);
    *d = (struct document){.strict = opts->strict};
    d->arena = arena_new(0, err);
    if (!d->arena || reader_init(&d->reader, d->arena, opts->file, opts->vars, err) < 0)
        return -1;
    const struct reader *r = &d->reader;
    if (text.n > SPEC_FILE_MAX)
        return err_set(err, ERR_LIMIT, "%s: longer than %u MiB, which no job file is", r->file, SPEC_FILE_MAX >> 20);
    if (check_vars(r, err) < 0)
        return -1;
    text = skip_bom(text);
    if (looks_like_record(text))
        return parse_text(d, text, err);
    if (template_expand(&d->reader, text, &expanded, err) < 0)
        return err_wrap(err, "%s", r->file);
    if (d->reader.problems.found)
        return reader_finish(&d->reader, false, err);
    int rc = parse_text(d, buf_span(&expanded), err);
    mem_wipe(expanded.p, expanded.n); /* a template's values may be secrets */
    return rc;
}

void document_release(struct document *d)
{
    reader_release(&d->reader);
    yaml_lines_free(d->lines);
    json_decref(d->root);
    arena_free(d->arena);
    *d = (struct document){0};
}

int document_finish(struct document *d, struct arena **out, struct err *err)
{
    if (reader_finish(&d->reader, d->strict, err) < 0)
        return -1;
    *out = d->arena;
    d->arena = NULL;
    return 0;
}

json_t *spec_read(struct span text, const struct spec_opts *opts, struct err *err)
{
    struct document d;
    json_t *root = NULL;
    if (document_open(&d, text, opts, err) == 0) {
        root = is_record(d.root) ? json_deep_copy(d.root) : template_quoted(d.root, err);
        if (!root)
            err_nomem(err);
    }
    document_release(&d);
    return root;
}
