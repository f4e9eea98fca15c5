/* The inputs of a run record: what they are, and which versions they had. */
#include "base/path.h"
#include "spec/date_layout.h"
#include "spec/dialect.h"
#include "spec/record.h"
#include "spec/value.h"

#define VERSION_MARK     "version " /* before a version id; an ETag has none */
#define PIN_SIZE_UNKNOWN UINT64_MAX

static void read_partition(struct reader *r, const struct node *input, struct partition *p)
{
    static const char *const known[] = {"kind", "pattern", "start", "end", "date_format", NULL};
    struct node n = read_object(r, input, "partition"), format = node_get(r, &n, "date_format");
    struct date_layout layout;
    struct err err = ERR_INIT;
    if (!n.v)
        return;
    check_keys(r, &n, known);
    p->kind = (enum partition_kind)record_word(r, &n, "kind", record_partition_words);
    p->pattern = read_regex(r, &n, "pattern");
    p->start = (uint32_t)read_u64(r, &n, "start", 0, UINT16_MAX, 0);
    p->end = (uint32_t)read_u64(r, &n, "end", 0, UINT16_MAX, 0);
    p->date_format = read_given(r, &n, "date_format");
    if (p->kind == PARTITION_DATE && date_layout_parse(&layout, span_of(p->date_format), &err) < 0)
        problem_err(r, &format, &err);
    if ((p->kind == PARTITION_REGEX && !p->pattern) || (p->kind == PARTITION_SUBSTRING && p->end <= p->start))
        problem(r, &n, ERR_INVALID, "incomplete");
}

static const char *read_secret_url(struct reader *r, const struct node *n, bool required)
{
    struct node url = node_get(r, n, "url");
    struct err err = ERR_INIT;
    if (!json_is_object(url.v))
        return read_url(r, n, "url", required);
    const char *s = record_node_secret(r, &url);
    if (s && value_url(span_of(s), &err) < 0)
        problem_err(r, &url, &err);
    return s;
}

static void read_s3(struct reader *r, const struct node *n, struct source_s3 *s)
{
    struct node sum_node = node_get(r, n, "checksum_sha256");
    struct err err = ERR_INIT;
    s->url = read_secret_url(r, n, false);
    s->bucket = read_bucket(r, n, "bucket", !s->url && !node_get(r, n, "url").v);
    s->key = read_str(r, n, "key");
    s->exact_key = read_bool(r, n, "exact_key", false);
    s->files = read_files(r, n, "files");
    s->endpoint = read_url(r, n, "endpoint", false);
    s->region = read_given(r, n, "region");
    s->filter = read_regex(r, n, "filter");
    s->version_id = read_given(r, n, "version_id");
    const char *sum = read_given(r, n, "checksum_sha256");
    if (sum && value_checksum_sha256(r->a, span_of(sum), &s->checksum_sha256, &err) < 0)
        problem_err(r, &sum_node, &err);
    read_partition(r, n, &s->partition);
    s->access_key_id = record_secret(r, n, "access_key_id");
    s->secret_access_key = record_secret(r, n, "secret_access_key");
    s->session_token = record_secret(r, n, "session_token");
    s->requester_pays = read_bool(r, n, "requester_pays", false);
    s->sse_customer_key = record_secret(r, n, "sse_customer_key");
    if (!s->url && s->bucket && !s->key)
        s->key = "";
}

static void read_hf(struct reader *r, const struct node *n, struct source_hf *s)
{
    s->repo = read_hf_repo(r, n, "repo");
    s->revision = read_hf_revision(r, n, "revision");
    s->files = read_files(r, n, "files");
    s->access_token = record_secret(r, n, "access_token");
    s->hub_layout = read_bool(r, n, "hub_layout", false);
}

static void read_local(struct reader *r, const struct node *n, struct source_local *s)
{
    struct node path = node_get(r, n, "path");
    s->path = need_str(r, n, "path");
    if (s->path && s->path[0] != '/')
        problem(r, &path, ERR_INVALID, "expected an absolute path");
}

void record_input_read(struct reader *r, const struct node *n, struct input *in)
{
    static const char *const s3[] = {"kind",
                                     "alias",
                                     "target",
                                     "writable",
                                     "url",
                                     "bucket",
                                     "key",
                                     "exact_key",
                                     "files",
                                     "endpoint",
                                     "region",
                                     "filter",
                                     "version_id",
                                     "checksum_sha256",
                                     "partition",
                                     "access_key_id",
                                     "session_token",
                                     "secret_access_key",
                                     "requester_pays",
                                     "sse_customer_key",
                                     NULL};
    static const char *const hf[] = {"kind",     "alias", "target",       "writable",   "repo",
                                     "revision", "files", "access_token", "hub_layout", NULL};
    static const char *const ollama[] = {"kind", "alias", "target", "writable", "model", NULL};
    static const char *const url[] = {"kind", "alias", "target", "writable", "url", "presigned", NULL};
    static const char *const local[] = {"kind", "alias", "target", "writable", "path", NULL};
    static const char *const *const keys[] = {[SOURCE_S3] = s3,   [SOURCE_HF] = hf,         [SOURCE_OLLAMA] = ollama,
                                              [SOURCE_URL] = url, [SOURCE_PRESIGNED] = url, [SOURCE_LOCAL] = local};
    in->kind = (enum source_kind)record_word(r, n, "kind", record_source_words);
    in->alias = read_given(r, n, "alias");
    in->target = read_target(r, n, "target");
    in->writable = read_bool(r, n, "writable", false);
    check_keys(r, n, keys[in->kind]);
    switch (in->kind) {
    case SOURCE_S3:
        read_s3(r, n, &in->s3);
        break;
    case SOURCE_HF:
        read_hf(r, n, &in->hf);
        break;
    case SOURCE_OLLAMA:
        in->ollama.model = read_ollama_model(r, n, "model");
        break;
    case SOURCE_URL:
    case SOURCE_PRESIGNED:
        in->url.url = read_secret_url(r, n, true);
        in->url.presigned = read_bool(r, n, "presigned", false) || value_url_is_signed(in->url.url);
        break;
    case SOURCE_LOCAL:
        read_local(r, n, &in->local);
        break;
    }
}

/* One object as it was then. `version` is what stage writes: "version ID", or the ETag. */
static void read_pin(struct reader *r, const struct node *n, struct pin *pin)
{
    struct node path_node = node_get(r, n, "path"), sum_node = node_get(r, n, "sha256");
    struct err path_err = ERR_INIT, sum_err = ERR_INIT;
    pin->path = need_str(r, n, "path");
    pin->key = read_given(r, n, "key");
    const char *version = read_given(r, n, "version"), *sum = read_given(r, n, "sha256");
    if (version && strncmp(version, VERSION_MARK, strlen(VERSION_MARK)) == 0)
        pin->version_id = version + strlen(VERSION_MARK);
    else
        pin->etag = version;
    pin->size = read_u64(r, n, "size", 0, INT64_MAX, PIN_SIZE_UNKNOWN);
    if (pin->path && path_check_relative(span_of(pin->path), &path_err) < 0)
        problem_err(r, &path_node, &path_err);
    if (sum && value_checksum_sha256(r->a, span_of(sum), &pin->sha256, &sum_err) < 0)
        problem_err(r, &sum_node, &sum_err);
}

/* A record lists only the first objects of a very large input; such a list pins nothing. */
static bool is_whole(struct reader *r, const struct node *n, size_t listed)
{
    return read_u64(r, n, "files", 0, INT64_MAX, listed) <= listed;
}

void record_pins_read(struct reader *r, const struct node *n, struct input *in)
{
    struct node list = read_list(r, n, "objects");
    size_t count = json_array_size(list.v);
    in->resolved = read_given(r, n, "resolved");
    if (count == 0)
        return;
    if (!is_whole(r, n, count)) {
        warning(r, &list, "the record lists only some of the objects: this input is resolved anew");
        return;
    }
    in->pins = arena_array(r->a, count, sizeof *in->pins);
    for (size_t i = 0; in->pins && i < count; i++) {
        struct node item = node_item(&list, i);
        if (expect_object(r, &item))
            read_pin(r, &item, &in->pins[i]);
    }
    in->pin_count = in->pins ? count : 0;
}
