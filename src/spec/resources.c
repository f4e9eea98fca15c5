/* Nosana's remote resources: `resources[]` of an op and `required_remote_resources[]` of a market. */
#include "spec/dialect.h"
#include "spec/value.h"

struct resource_ctx {
    struct reader *r;
    struct inputs *list;
    bool market;
};

static struct input *add_input(const struct resource_ctx *c, const struct node *entry, const struct node *place,
                               enum source_kind kind, const char *target)
{
    struct input *in = inputs_add(c->r, place, c->list);
    if (!in)
        return NULL;
    in->kind = kind;
    in->target = target;
    in->writable = read_bool(c->r, entry, "allowWrite", false);
    return in;
}

/* An entry of a market is held ready for jobs, not mounted: what is said about mounting has no effect. */
static const char *entry_target(const struct resource_ctx *c, const struct node *entry, const char *fallback)
{
    struct node n = node_get(c->r, entry, "target");
    if (!c->market)
        return n.v || !fallback ? read_target(c->r, entry, "target") : fallback;
    if (n.v)
        warning(c->r, &n, "a target has no effect in a market's required resources");
    return NULL;
}

static void read_iam(const struct resource_ctx *c, const struct node *entry, struct source_s3 *s3)
{
    static const char *const known[] = {"ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION", "SESSION_TOKEN", NULL};
    struct reader *r = c->r;
    struct node iam = read_object(r, entry, "IAM");
    if (!iam.v)
        return;
    bool before = r->any_case;
    r->any_case = c->market || before;
    check_keys(r, &iam, known);
    s3->access_key_id = read_given(r, &iam, "ACCESS_KEY_ID");
    s3->secret_access_key = read_given(r, &iam, "SECRET_ACCESS_KEY");
    s3->session_token = read_given(r, &iam, "SESSION_TOKEN");
    s3->region = read_given(r, &iam, "REGION");
    r->any_case = before;
    if (!s3->access_key_id != !s3->secret_access_key)
        problem(r, &iam, ERR_INVALID, "ACCESS_KEY_ID and SECRET_ACCESS_KEY belong together; found only one of them");
    else if (s3->session_token && !s3->access_key_id)
        problem(r, &iam, ERR_INVALID, "a SESSION_TOKEN needs ACCESS_KEY_ID and SECRET_ACCESS_KEY");
}

/* s3://bucket/key says by itself what `url` and `bucket` say otherwise. */
static void read_place(const struct resource_ctx *c, const struct node *entry, struct source_s3 *s3)
{
    const char scheme[] = "s3://";
    struct node n = node_get(c->r, entry, "url");
    if (!json_is_string(n.v) || strncmp(json_string_value(n.v), scheme, sizeof scheme - 1) != 0) {
        s3->url = read_url(c->r, entry, "url", true);
        return;
    }
    struct span bucket, key;
    const char *url = node_str(c->r, &n);
    struct err err = ERR_INIT;
    if (!url)
        return;
    span_cut(span_of(url + sizeof scheme - 1), '/', &bucket, &key);
    if (value_bucket(bucket, &err) < 0)
        problem_err(c->r, &n, &err);
    else if (s3->bucket && !span_eq(bucket, span_of(s3->bucket)))
        problem(c->r, &n, ERR_INVALID, "another bucket than 'bucket' says");
    s3->bucket = arena_dup_span(c->r->a, bucket);
    s3->key = arena_dup_span(c->r->a, key);
}

static void read_one_s3(const struct resource_ctx *c, const struct node *entry, const struct node *place,
                        const char *target, const struct source_s3 *shared)
{
    struct input *in = add_input(c, entry, place, SOURCE_S3, target);
    if (!in)
        return;
    in->s3 = *shared;
    read_place(c, place, &in->s3);
    in->s3.files = read_files(c->r, place, "files");
}

static void read_s3(const struct resource_ctx *c, const struct node *entry)
{
    static const char *const known[] = {"type",   "url", "buckets",    "target", "files",
                                        "bucket", "IAM", "allowWrite", NULL};
    static const char *const bucket_known[] = {"url", "files", NULL};
    struct reader *r = c->r;
    check_keys(r, entry, known);
    const char *target = entry_target(c, entry, NULL);
    struct source_s3 shared = {.bucket = read_bucket(r, entry, "bucket", false)};
    read_iam(c, entry, &shared);
    struct node url = node_get(r, entry, "url"), buckets = read_list(r, entry, "buckets");
    if (!buckets.v && !url.v) {
        problem(r, &url, ERR_INVALID, "required, but missing (or 'buckets', a list of url and files)");
        return;
    }
    if (!buckets.v) {
        read_one_s3(c, entry, entry, target, &shared);
        return;
    }
    if (url.v || node_get(r, entry, "files").v)
        problem(r, entry, ERR_INVALID, "'buckets' has its own url and files; found them beside it too");
    if (json_array_size(buckets.v) == 0)
        problem(r, &buckets, ERR_INVALID, "an empty list; expected at least one url");
    for (size_t i = 0; i < json_array_size(buckets.v); i++) {
        struct node item = node_item(&buckets, i);
        if (!expect_object(r, &item))
            continue;
        check_keys(r, &item, bucket_known);
        read_one_s3(c, entry, &item, target, &shared);
    }
}

static void read_hf(const struct resource_ctx *c, const struct node *entry)
{
    static const char *const known[] = {"type",        "repo",       "target", "files", "revision",
                                        "accessToken", "allowWrite", "layout", NULL};
    check_keys(c->r, entry, known);
    struct input *in = add_input(c, entry, entry, SOURCE_HF, entry_target(c, entry, NULL));
    if (!in)
        return;
    in->hf.repo = read_hf_repo(c->r, entry, "repo");
    in->hf.revision = read_hf_revision(c->r, entry, "revision");
    in->hf.files = read_files(c->r, entry, "files");
    in->hf.access_token = read_given(c->r, entry, "accessToken");
    in->hf.hub_layout = read_hf_layout(c->r, entry, "layout");
}

static void read_ollama(const struct resource_ctx *c, const struct node *entry)
{
    static const char *const known[] = {"type", "model", "target", "allowWrite", NULL};
    check_keys(c->r, entry, known);
    struct input *in = add_input(c, entry, entry, SOURCE_OLLAMA, entry_target(c, entry, OLLAMA_TARGET));
    if (in)
        in->ollama.model = read_ollama_model(c->r, entry, "model");
}

static const struct resource_type {
    const char *name;
    const char *also; /* what people write instead */
    void (*read)(const struct resource_ctx *c, const struct node *entry);
} resource_types[] = {{"S3", "s3", read_s3}, {"HF", "huggingface", read_hf}, {"Ollama", "ollama", read_ollama}};

static void unknown_type(struct reader *r, const struct node *n, const char *type)
{
    static const char *const known[] = {"S3", "HF", "Ollama", NULL};
    for (size_t i = 0; i < ARRAY_LEN(resource_types); i++) {
        const struct resource_type *t = &resource_types[i];
        if (span_eq_nocase(span_of(type), span_of(t->name)) || span_eq_nocase(span_of(type), span_of(t->also))) {
            problem(r, n, ERR_INVALID, "unknown resource type '%s'; did you mean '%s'?", type, t->name);
            return;
        }
    }
    problem_unknown(r, n, "resource type", type, known);
}

static void read_entry(const struct resource_ctx *c, const struct node *entry)
{
    struct reader *r = c->r;
    struct node spread = node_get(r, entry, "__spread__"), n = node_get(r, entry, "type");
    if (spread.v) {
        not_run(r, entry, "operator '__spread__'");
        return;
    }
    const char *type = need_str(r, entry, "type");
    if (!type)
        return;
    for (size_t i = 0; i < ARRAY_LEN(resource_types); i++) {
        if (str_eq(type, resource_types[i].name)) {
            resource_types[i].read(c, entry);
            return;
        }
    }
    unknown_type(r, &n, type);
}

void resources_read(struct reader *r, const struct node *list, bool market, struct inputs *out)
{
    const struct resource_ctx c = {.r = r, .list = out, .market = market};
    for (size_t i = 0; i < json_array_size(list->v); i++) {
        struct node entry = node_item(list, i);
        if (expect_object(r, &entry))
            read_entry(&c, &entry);
    }
}
