/* What stands under `Params` in a Bacalhau specification: input sources and publishers by type. */
#include "spec/date_layout.h"
#include "spec/dialect.h"
#include "spec/value.h"

#define SUBSTRING_MAX 65535

static const char *const typed_known[] = {"Type", "Params", NULL};

static void read_by_regex(struct reader *r, const struct node *n, struct partition *p)
{
    p->kind = PARTITION_REGEX;
    if (need_str(r, n, "Pattern"))
        p->pattern = read_regex(r, n, "Pattern");
}

static void read_by_substring(struct reader *r, const struct node *n, struct partition *p)
{
    struct node end = node_get(r, n, "EndIndex");
    p->kind = PARTITION_SUBSTRING;
    p->start = (uint32_t)read_u64(r, n, "StartIndex", 0, SUBSTRING_MAX, 0);
    p->end = (uint32_t)read_u64(r, n, "EndIndex", 0, SUBSTRING_MAX, 0);
    if (p->end <= p->start)
        problem(r, &end, ERR_INVALID, "EndIndex must be greater than StartIndex, %u", p->start);
}

static void read_by_date(struct reader *r, const struct node *n, struct partition *p)
{
    struct node format = node_get(r, n, "DateFormat");
    struct date_layout layout;
    struct err err = ERR_INIT;
    p->kind = PARTITION_DATE;
    p->date_format = need_str(r, n, "DateFormat");
    if (p->date_format && date_layout_parse(&layout, span_of(p->date_format), &err) < 0)
        problem_err(r, &format, &err);
}

static void read_partition(struct reader *r, const struct node *params, struct partition *p)
{
    static const char *const known[] = {"Type", "Pattern", "StartIndex", "EndIndex", "DateFormat", NULL};
    static const char *const types[] = {"none", "object", "regex", "substring", "date", NULL};
    struct node n = read_object(r, params, "Partition");
    if (!n.v)
        return;
    check_keys(r, &n, known);
    struct node type_node = node_get(r, &n, "Type");
    const char *type = read_given(r, &n, "Type");
    if (!type || span_eq_nocase(span_of(type), span_of(types[0])))
        return;
    if (span_eq_nocase(span_of(type), span_of(types[1])))
        p->kind = PARTITION_OBJECT;
    else if (span_eq_nocase(span_of(type), span_of(types[2])))
        read_by_regex(r, &n, p);
    else if (span_eq_nocase(span_of(type), span_of(types[3])))
        read_by_substring(r, &n, p);
    else if (span_eq_nocase(span_of(type), span_of(types[4])))
        read_by_date(r, &n, p);
    else
        problem_unknown(r, &type_node, "partition type", type, types);
}

/* With a prefix there is no single version or sum to speak of. */
static void drop_single_object_fields(struct reader *r, const struct node *params, struct source_s3 *s3)
{
    struct node version = node_get(r, params, "VersionID"), sum = node_get(r, params, "ChecksumSHA256");
    if (s3->exact_key)
        return;
    if (s3->version_id)
        warning(r, &version, "has no effect: the key stands for more than one object");
    if (s3->checksum_sha256)
        warning(r, &sum, "has no effect: the key stands for more than one object");
    s3->version_id = s3->checksum_sha256 = NULL;
}

static void read_s3(struct reader *r, const struct node *params, struct input *in)
{
    static const char *const known[] = {"Bucket",         "Key",       "Filter", "Region", "Endpoint", "VersionID",
                                        "ChecksumSHA256", "Partition", NULL};
    struct source_s3 *s3 = &in->s3;
    check_keys(r, params, known);
    in->kind = SOURCE_S3;
    const char *key = read_str(r, params, "Key"), *sum = read_given(r, params, "ChecksumSHA256");
    struct node sum_node = node_get(r, params, "ChecksumSHA256");
    struct err err = ERR_INIT;
    s3->bucket = read_bucket(r, params, "Bucket", true);
    s3->key = key ? key : "";
    s3->exact_key = value_key_is_exact(s3->key);
    s3->filter = read_regex(r, params, "Filter");
    s3->region = read_given(r, params, "Region");
    s3->endpoint = read_url(r, params, "Endpoint", false);
    s3->version_id = read_given(r, params, "VersionID");
    if (sum && value_checksum_sha256(r->a, span_of(sum), &s3->checksum_sha256, &err) < 0)
        problem_err(r, &sum_node, &err);
    drop_single_object_fields(r, params, s3);
    read_partition(r, params, &s3->partition);
}

static void read_presigned(struct reader *r, const struct node *params, struct input *in)
{
    static const char *const known[] = {"PreSignedURL", NULL};
    check_keys(r, params, known);
    in->kind = SOURCE_PRESIGNED;
    in->url = (struct source_url){.url = read_url(r, params, "PreSignedURL", true), .presigned = true};
}

static void read_download(struct reader *r, const struct node *params, struct input *in)
{
    static const char *const known[] = {"URL", NULL};
    check_keys(r, params, known);
    in->kind = SOURCE_URL;
    in->url.url = read_url(r, params, "URL", true);
    in->url.presigned = value_url_is_signed(in->url.url);
}

static void read_local(struct reader *r, const struct node *params, struct input *in)
{
    static const char *const known[] = {"SourcePath", "ReadWrite", NULL};
    struct node n = node_get(r, params, "SourcePath");
    check_keys(r, params, known);
    in->kind = SOURCE_LOCAL;
    in->local.path = need_str(r, params, "SourcePath");
    in->writable = read_bool(r, params, "ReadWrite", false);
    if (in->local.path && in->local.path[0] != '/')
        problem(r, &n, ERR_INVALID, "expected an absolute path");
}

static void read_hf(struct reader *r, const struct node *params, struct input *in)
{
    static const char *const known[] = {"Repo", "Revision", "Files", "AccessToken", "Layout", NULL};
    check_keys(r, params, known);
    in->kind = SOURCE_HF;
    in->hf.repo = read_hf_repo(r, params, "Repo");
    in->hf.revision = read_hf_revision(r, params, "Revision");
    in->hf.files = read_files(r, params, "Files");
    in->hf.access_token = read_given(r, params, "AccessToken");
    in->hf.hub_layout = read_hf_layout(r, params, "Layout");
}

static void read_ollama(struct reader *r, const struct node *params, struct input *in)
{
    static const char *const known[] = {"Model", NULL};
    check_keys(r, params, known);
    in->kind = SOURCE_OLLAMA;
    in->ollama.model = read_ollama_model(r, params, "Model");
}

static void refuse_type(struct reader *r, const struct node *n, const char *what, const char *type,
                        const char *const *elsewhere, const char *const *known)
{
    for (; *elsewhere; elsewhere++) {
        if (span_eq_nocase(span_of(type), span_of(*elsewhere))) {
            problem(r, n, ERR_UNSUPPORTED, "not supported: %s '%s'", what, *elsewhere);
            return;
        }
    }
    problem_unknown(r, n, what, type, known);
}

static void read_source(struct reader *r, const struct node *source, struct input *in)
{
    static const char *const known[] = {"s3",          "s3PreSigned", "urlDownload", "localDirectory",
                                        "huggingface", "ollama",      NULL};
    static void (*const readers[])(struct reader *, const struct node *, struct input *) = {
        read_s3, read_presigned, read_download, read_local, read_hf, read_ollama};
    static const char *const elsewhere[] = {"ipfs",  "git",      "gitlfs",  "repoclone", "repocloneLFS", "inline",
                                            "azure", "filecoin", "estuary", "gcs",       "noop",         NULL};
    check_keys(r, source, typed_known);
    struct node type_node = node_get(r, source, "Type"), params = read_object(r, source, "Params");
    const char *type = need_str(r, source, "Type");
    for (size_t i = 0; type && i < ARRAY_LEN(readers); i++) {
        if (span_eq_nocase(span_of(type), span_of(known[i]))) {
            readers[i](r, &params, in);
            return;
        }
    }
    if (type)
        refuse_type(r, &type_node, "source type", type, elsewhere, known);
}

void bacalhau_input_read(struct reader *r, const struct node *n, struct input *in)
{
    static const char *const known[] = {"Source", "Alias", "Target", NULL};
    check_keys(r, n, known);
    in->alias = read_given(r, n, "Alias");
    in->target = read_target(r, n, "Target");
    struct node source = need_object(r, n, "Source");
    if (source.v)
        read_source(r, &source, in);
}

static void read_publish_s3(struct reader *r, const struct node *params, struct publisher *p)
{
    static const char *const known[] = {"Bucket", "Key", "Endpoint", "Region", "Encoding", NULL};
    struct node key_node = node_get(r, params, "Key"), encoding_node = node_get(r, params, "Encoding");
    struct err err = ERR_INIT, encoding_err = ERR_INIT;
    check_keys(r, params, known);
    p->kind = PUBLISH_S3;
    p->bucket = read_bucket(r, params, "Bucket", true);
    p->key = need_str(r, params, "Key");
    p->endpoint = read_url(r, params, "Endpoint", false);
    p->region = read_given(r, params, "Region");
    const char *encoding = read_given(r, params, "Encoding");
    if (p->key && value_publish_key(span_of(p->key), &err) < 0)
        problem_err(r, &key_node, &err);
    if (encoding && value_encoding(span_of(encoding), &p->encoding, &encoding_err) < 0)
        problem_err(r, &encoding_node, &encoding_err);
}

void bacalhau_publisher_read(struct reader *r, const struct node *task, struct publisher *p)
{
    static const char *const known[] = {"s3", "s3managed", "local", "noop", NULL};
    static const char *const elsewhere[] = {"ipfs", "estuary", "filecoin", "azure", "gcs", NULL};
    static const char *const no_params[] = {NULL};
    struct node n = read_object(r, task, "Publisher");
    if (!n.v || json_object_size(n.v) == 0)
        return;
    p->at = node_at(r, &n);
    check_keys(r, &n, typed_known);
    struct node type_node = node_get(r, &n, "Type"), params = read_object(r, &n, "Params");
    const char *type = json_object_size(params.v) ? need_str(r, &n, "Type") : read_given(r, &n, "Type");
    if (!type)
        return;
    if (span_eq_nocase(span_of(type), span_of(known[0]))) {
        read_publish_s3(r, &params, p);
        return;
    }
    check_keys(r, &params, no_params);
    if (span_eq_nocase(span_of(type), span_of(known[1])))
        p->kind = PUBLISH_S3MANAGED;
    else if (span_eq_nocase(span_of(type), span_of(known[2])))
        p->kind = PUBLISH_LOCAL;
    else if (!span_eq_nocase(span_of(type), span_of(known[3]))) /* noop publishes nothing, as does none */
        refuse_type(r, &type_node, "publisher", type, elsewhere, known);
}
