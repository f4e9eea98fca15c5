/* Sources, publishers and results paths as options on a command line write them. */
#include "spec/read.h"

#include "base/path.h"
#include "spec/spec.h"
#include "spec/value.h"

#include <string.h>

#define INPUT_TARGET           "/inputs"
#define INPUT_FORM             "expected URI[:PATH] or src=URI,dst=PATH,opt=NAME=VALUE"
#define SHOWN_MAX              120
#define IMPERATIVE_OPTIONS_MAX 32

/* One option text taken apart. */
struct fields {
    struct span uri, target;
    struct span options[IMPERATIVE_OPTIONS_MAX]; /* "name=value" */
    size_t option_count;
};

enum field { FIELD_NONE, FIELD_SOURCE, FIELD_TARGET, FIELD_OPTION };

static const struct {
    const char *start;
    enum field field;
} field_names[] = {
    {"src=", FIELD_SOURCE},    {"source=", FIELD_SOURCE}, {"dst=", FIELD_TARGET},    {"destination=", FIELD_TARGET},
    {"target=", FIELD_TARGET}, {"opt=", FIELD_OPTION},    {"option=", FIELD_OPTION},
};

/* Which field begins here; its name is cut off. */
static enum field field_at(struct span *s)
{
    for (size_t i = 0; i < ARRAY_LEN(field_names); i++) {
        size_t n = strlen(field_names[i].start);
        if (!span_starts(*s, span_of(field_names[i].start)))
            continue;
        *s = (struct span){s->p + n, s->n - n};
        return field_names[i].field;
    }
    return FIELD_NONE;
}

/* Up to the comma before the next named field: any other comma belongs to the value, since keys may hold them. */
static struct span take_value(struct span *rest)
{
    struct span value = {rest->p, 0};
    for (; value.n < rest->n; value.n++) {
        struct span after = {rest->p + value.n + 1, rest->n - value.n - 1};
        if (rest->p[value.n] == ',' && field_at(&after) != FIELD_NONE) {
            *rest = (struct span){rest->p + value.n + 1, rest->n - value.n - 1};
            return value;
        }
    }
    *rest = (struct span){rest->p + rest->n, 0};
    return value;
}

static int store(struct fields *f, enum field field, struct span value, struct err *err)
{
    if (field == FIELD_OPTION) {
        if (f->option_count == ARRAY_LEN(f->options))
            return err_set(err, ERR_USAGE, "more than %d options for one source", IMPERATIVE_OPTIONS_MAX);
        f->options[f->option_count++] = value;
        return 0;
    }
    struct span *slot = field == FIELD_TARGET ? &f->target : &f->uri;
    if (slot->p)
        return err_set(err, ERR_USAGE, "%s given twice", field == FIELD_TARGET ? "dst" : "src");
    *slot = value;
    return 0;
}

static int split_fields(struct span text, struct fields *f, struct err *err)
{
    struct span rest = text;
    *f = (struct fields){0};
    bool first = true;
    while (rest.n > 0) {
        enum field field = field_at(&rest);
        if (field == FIELD_NONE && !first)
            return err_set(err, ERR_USAGE, INPUT_FORM);
        struct span value = take_value(&rest);
        if (store(f, field == FIELD_NONE ? FIELD_SOURCE : field, value, err) < 0)
            return -1;
        first = false;
    }
    return f->uri.n ? 0 : err_set(err, ERR_USAGE, "no source; " INPUT_FORM);
}

/* "URI:/target": at the last colon before a slash that is not the scheme's. */
static void split_target(struct fields *f)
{
    if (f->target.p)
        return;
    for (size_t i = f->uri.n; i-- > 0;) {
        bool here = f->uri.p[i] == ':' && i + 1 < f->uri.n && f->uri.p[i + 1] == '/';
        if (!here || (i + 2 < f->uri.n && f->uri.p[i + 2] == '/'))
            continue;
        f->target = (struct span){f->uri.p + i + 1, f->uri.n - i - 1};
        f->uri.n = i;
        return;
    }
}

/* What an error may show of a word. What follows '?' or '=' may be a secret (a pre-signed URL in the wrong place, say),
 * and so may what stands before '@'. */
static struct span shown(struct span word)
{
    static const char ends[] = {'?', '#', '='};
    for (size_t i = 0; i < word.n; i++)
        if (memchr(ends, word.p[i], sizeof ends))
            word.n = i;
    const char *login_end = word.n ? memchr(word.p, '@', word.n) : NULL;
    if (login_end)
        word = (struct span){login_end + 1, word.n - (size_t)(login_end + 1 - word.p)};
    return span_head(word, SHOWN_MAX);
}

/* The option's value, with its slot emptied so that what is left over at the end is unknown. */
static const char *take_option(struct arena *a, struct fields *f, const char *name)
{
    for (size_t i = 0; i < f->option_count; i++) {
        struct span key, value;
        if (!span_cut(f->options[i], '=', &key, &value) || !span_eq_nocase(key, span_of(name)))
            continue;
        f->options[i] = (struct span){0};
        return value.n ? arena_dup_span(a, value) : NULL;
    }
    return NULL;
}

static int no_more_options(const struct fields *f, const char *known, struct err *err)
{
    for (size_t i = 0; i < f->option_count; i++)
        if (f->options[i].p)
            return err_set(err, ERR_USAGE, "unknown option 'opt=%.*s'; expected %s", SPAN_FMT(shown(f->options[i])),
                           known);
    return 0;
}

static int input_s3(struct arena *a, struct span place, struct fields *f, struct input *in, struct err *err)
{
    struct span bucket, key;
    struct source_s3 *s3 = &in->s3;
    in->kind = SOURCE_S3;
    span_cut(place, '/', &bucket, &key);
    if (value_bucket(bucket, err) < 0)
        return -1;
    *s3 = (struct source_s3){.bucket = arena_dup_span(a, bucket), .key = arena_dup_span(a, key)};
    if (!s3->bucket || !s3->key)
        return arena_check(a, err);
    s3->exact_key = value_key_is_exact(s3->key);
    s3->endpoint = take_option(a, f, "endpoint");
    s3->region = take_option(a, f, "region");
    s3->version_id = take_option(a, f, "versionID");
    s3->filter = take_option(a, f, "filter");
    const char *sum = take_option(a, f, "checksum-256");
    if ((s3->endpoint && value_url(span_of(s3->endpoint), err) < 0) ||
        (s3->filter && value_regex(s3->filter, err) < 0) ||
        (sum && value_checksum_sha256(a, span_of(sum), &s3->checksum_sha256, err) < 0))
        return -1;
    if (!s3->exact_key && (s3->version_id || s3->checksum_sha256))
        return err_set(err, ERR_USAGE, "versionID and checksum-256 need a key of one object, not a prefix");
    return no_more_options(f, "endpoint, region, versionID, checksum-256 or filter", err);
}

/* owner/name[@rev][/path], with datasets/ or spaces/ before it where it is one. */
static int input_hf(struct arena *a, struct span place, struct fields *f, struct input *in, struct err *err)
{
    struct span rest = place, part, repo = {place.p, 0}, path = {0}, revision = {0};
    bool typed = span_starts(place, SPAN_LIT("datasets/")) || span_starts(place, SPAN_LIT("spaces/"));
    bool more = true;
    for (int i = 0; more && i < 2 + typed; i++) {
        more = span_cut(rest, '/', &part, &rest);
        repo.n = (size_t)(part.p + part.n - place.p);
    }
    path = more ? rest : path;
    struct span name = repo;
    if (span_cut(name, '@', &repo, &revision) && value_hf_revision(revision, err) < 0)
        return -1;
    if (value_hf_repo(repo, err) < 0)
        return -1;
    in->kind = SOURCE_HF;
    in->hf = (struct source_hf){.repo = arena_dup_span(a, repo)};
    in->hf.revision = revision.n ? arena_dup_span(a, revision) : take_option(a, f, "revision");
    if (in->hf.revision && value_hf_revision(span_of(in->hf.revision), err) < 0)
        return -1;
    if (path.n) { /* a folder means what is below it */
        bool folder = span_ends(path, SPAN_LIT("/"));
        const char *glob = arena_printf(a, "%.*s%s", SPAN_FMT(path), folder ? "*" : "");
        if (glob && path_check_relative(span_of(glob), err) < 0)
            return -1;
        strs_add(a, &in->hf.files, glob);
    }
    const char *layout = take_option(a, f, "layout");
    if (layout && value_hf_layout(span_of(layout), &in->hf.hub_layout, err) < 0)
        return -1;
    return no_more_options(f, "revision or layout", err);
}

static int input_ollama(struct arena *a, struct span place, struct fields *f, struct input *in, struct err *err)
{
    if (value_ollama_model(place, err) < 0)
        return -1;
    in->kind = SOURCE_OLLAMA;
    in->ollama.model = arena_dup_span(a, place);
    return no_more_options(f, "none", err);
}

static int input_url(struct arena *a, struct fields *f, struct input *in, struct err *err)
{
    if (value_url(f->uri, err) < 0)
        return -1;
    in->kind = SOURCE_URL;
    in->url.url = arena_dup_span(a, f->uri);
    in->url.presigned = value_url_is_signed(in->url.url);
    return no_more_options(f, "none", err);
}

static int input_file(struct arena *a, struct span place, struct fields *f, struct input *in, struct err *err)
{
    if (place.n == 0 || place.p[0] != '/')
        return err_set(err, ERR_INVALID, "file:// takes an absolute path: file:///path");
    in->kind = SOURCE_LOCAL;
    in->local.path = arena_dup_span(a, place);
    const char *write = take_option(a, f, "rw");
    in->writable = str_eq(write, "true");
    if (write && !in->writable && !str_eq(write, "false"))
        return err_set(err, ERR_USAGE, "opt=rw takes true or false");
    return no_more_options(f, "rw", err);
}

static int input_by_scheme(struct arena *a, struct fields *f, struct input *in, struct err *err)
{
    static const char after[] = "://";
    const char *colon = f->uri.p ? memmem(f->uri.p, f->uri.n, after, strlen(after)) : NULL;
    if (!colon)
        return err_set(err, ERR_USAGE, "'%.*s' has no scheme; expected s3://, hf://, ollama://, http(s):// or file://",
                       SPAN_FMT(shown(f->uri)));
    struct span scheme = {f->uri.p, (size_t)(colon - f->uri.p)};
    struct span place = {colon + 3, f->uri.n - scheme.n - 3};
    if (span_eq(scheme, SPAN_LIT("s3")))
        return input_s3(a, place, f, in, err);
    if (span_eq(scheme, SPAN_LIT("hf")))
        return input_hf(a, place, f, in, err);
    if (span_eq(scheme, SPAN_LIT("ollama")))
        return input_ollama(a, place, f, in, err);
    if (span_eq(scheme, SPAN_LIT("file")))
        return input_file(a, place, f, in, err);
    if (span_eq(scheme, SPAN_LIT("http")) || span_eq(scheme, SPAN_LIT("https")))
        return input_url(a, f, in, err);
    return err_set(err, ERR_UNSUPPORTED, "not supported: source '%.*s://'", SPAN_FMT(span_head(scheme, SHOWN_MAX)));
}

int spec_parse_input(struct arena *a, struct span src, struct input *out, struct err *err)
{
    struct fields f;
    struct input in = {.at = ""};
    if (split_fields(src, &f, err) < 0)
        return err_wrap(err, "input");
    split_target(&f);
    if (input_by_scheme(a, &f, &in, err) < 0)
        return err_wrap(err, "input");
    struct span target = f.target.p                 ? f.target
                         : in.kind == SOURCE_OLLAMA ? span_of(OLLAMA_TARGET)
                                                    : span_of(INPUT_TARGET);
    if (value_target(a, target, &in.target, err) < 0)
        return err_wrap(err, "input");
    in.target_default = !f.target.p;
    if (arena_check(a, err) < 0)
        return -1;
    *out = in;
    return 0;
}

/* How objects are stored, in the words of S3's own headers. */
static int publisher_storage(struct arena *a, struct fields *f, struct publisher *p, struct err *err)
{
    p->storage_class = take_option(a, f, "storage-class");
    p->sse = take_option(a, f, "sse");
    p->sse_kms_key_id = take_option(a, f, "sse-kms-key-id");
    p->sse_customer_key = take_option(a, f, "sse-c");
    p->tags = take_option(a, f, "tags");
    p->acl = take_option(a, f, "acl");
    const char *none = take_option(a, f, "if-none-match");
    p->only_new = none != NULL;
    if (none && !str_eq(none, "*"))
        return err_set(err, ERR_USAGE, "if-none-match=%.64s; expected '*': nothing is to be replaced", none);
    if (p->sse && !str_eq(p->sse, "AES256") && !str_eq(p->sse, "aws:kms") && !str_eq(p->sse, "aws:kms:dsse"))
        return err_set(err, ERR_USAGE, "sse=%.64s; expected AES256, aws:kms or aws:kms:dsse", p->sse);
    if (p->sse && p->sse_customer_key)
        return err_set(err, ERR_USAGE, "sse and sse-c exclude each other");
    return 0;
}

static int publisher_s3(struct arena *a, struct fields *f, struct publisher *p, struct err *err)
{
    struct span place = {f->uri.p + 5, f->uri.n - 5}, bucket, key;
    span_cut(place, '/', &bucket, &key);
    if (value_bucket(bucket, err) < 0 || value_publish_key(key, err) < 0)
        return -1;
    if (key.n == 0)
        return err_set(err, ERR_USAGE, "expected s3://BUCKET/KEY; the key is missing");
    *p = (struct publisher){.kind = PUBLISH_S3, .at = ""};
    p->bucket = arena_dup_span(a, bucket);
    p->key = arena_dup_span(a, key);
    p->endpoint = take_option(a, f, "endpoint");
    p->region = take_option(a, f, "region");
    const char *encoding = take_option(a, f, "encoding");
    if ((p->endpoint && value_url(span_of(p->endpoint), err) < 0) ||
        (encoding && value_encoding(span_of(encoding), &p->encoding, err) < 0) || publisher_storage(a, f, p, err) < 0)
        return -1;
    return no_more_options(f,
                           "endpoint, region, encoding, storage-class, sse, sse-kms-key-id, sse-c, tags, acl or "
                           "if-none-match",
                           err);
}

/* An archive in a folder of this machine: file:///results/{jobID}.tar.gz. Or plain, a folder: file:///results/{jobID}
 */
static int publisher_file(struct arena *a, struct fields *f, struct publisher *p, struct err *err)
{
    const size_t scheme = strlen("file://");
    struct span path = {f->uri.p + scheme, f->uri.n - scheme};
    if (f->uri.n <= scheme || path.p[0] != '/')
        return err_set(err, ERR_USAGE,
                       "expected file:///FOLDER/NAME.tar.gz, or with opt=encoding=plain file:///FOLDER");
    if (value_publish_key(path, err) < 0)
        return -1;
    *p = (struct publisher){.kind = PUBLISH_LOCAL, .at = "", .key = arena_dup_span(a, path)};
    const char *encoding = take_option(a, f, "encoding");
    if (encoding && value_encoding(span_of(encoding), &p->encoding, err) < 0)
        return -1;
    return no_more_options(f, "encoding", err);
}

static int publisher_by_scheme(struct arena *a, struct fields *f, struct publisher *p, struct err *err)
{
    struct span scheme, place;
    if (span_starts(f->uri, SPAN_LIT("s3://")))
        return publisher_s3(a, f, p, err);
    if (span_starts(f->uri, SPAN_LIT("file://")))
        return publisher_file(a, f, p, err);
    bool local = span_eq(f->uri, SPAN_LIT("local")), managed = span_eq(f->uri, SPAN_LIT("s3managed"));
    if (local || managed) {
        *p = (struct publisher){.kind = local ? PUBLISH_LOCAL : PUBLISH_S3MANAGED, .at = ""};
        return no_more_options(f, "none", err);
    }
    span_cut(f->uri, ':', &scheme, &place);
    if (span_eq(scheme, SPAN_LIT("ipfs")))
        return err_set(err, ERR_UNSUPPORTED, "not supported: publisher 'ipfs'");
    return err_set(err, ERR_USAGE, "'%.*s'; expected s3://BUCKET/KEY, file:///PATH, s3managed or local",
                   SPAN_FMT(shown(f->uri)));
}

int spec_check_publish_key(struct span key, struct err *err)
{
    return value_publish_key(key, err);
}

int spec_parse_publisher(struct arena *a, struct span pub, struct publisher *out, struct err *err)
{
    struct fields f;
    struct publisher p = {0};
    if (split_fields(pub, &f, err) < 0 || publisher_by_scheme(a, &f, &p, err) < 0)
        return err_wrap(err, "publisher");
    if (f.target.p)
        return err_set(err, ERR_USAGE, "publisher: takes no dst");
    if (arena_check(a, err) < 0)
        return -1;
    *out = p;
    return 0;
}

int spec_parse_output(struct arena *a, struct span name_path, struct output *out, struct err *err)
{
    struct span name, path;
    struct output o = {.at = ""};
    if (!span_cut(name_path, ':', &name, &path))
        return err_set(err, ERR_USAGE, "output: expected NAME:PATH, found '%.*s'",
                       SPAN_FMT(span_head(name_path, SHOWN_MAX)));
    if (value_output_name(a, name, &o.name, err) < 0 || value_target(a, path, &o.path, err) < 0)
        return err_wrap(err, "output");
    if (arena_check(a, err) < 0)
        return -1;
    *out = o;
    return 0;
}
