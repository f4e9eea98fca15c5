/* job: one model for both dialects of job files; nothing above this module knows which one it was.
 *
 * All of a struct job lives in its arena and is constant after spec_parse(). Strings are never NULL unless the comment
 * says so; lists are counted arrays. `at` fields say where in the file a thing stands ("ops[0].args.resources[1].url,
 * line 12"), for errors that come later than parsing. */
#ifndef BERTH_SPEC_JOB_H
#define BERTH_SPEC_JOB_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

enum job_dialect { JOB_NOSANA, JOB_BACALHAU, JOB_RECORD };

/* X(name, word) */
#define SOURCE_KINDS(X)                                                                                                \
    X(S3, "s3")                                                                                                        \
    X(HF, "huggingface")                                                                                               \
    X(OLLAMA, "ollama")                                                                                                \
    X(URL, "url")                                                                                                      \
    X(PRESIGNED, "s3PreSigned")                                                                                        \
    X(LOCAL, "localDirectory")

enum source_kind {
#define X(name, word) SOURCE_##name,
    SOURCE_KINDS(X)
#undef X
};

struct job_kv {
    const char *name, *value;
    bool secret; /* never shown, never logged */
};

struct job_kvs {
    struct job_kv *v;
    size_t n;
};

struct job_strs {
    const char **v; /* n entries and a NULL */
    size_t n;
};

enum partition_kind { PARTITION_NONE, PARTITION_OBJECT, PARTITION_REGEX, PARTITION_SUBSTRING, PARTITION_DATE };

struct partition {
    enum partition_kind kind;
    const char *pattern;     /* regex; NULL otherwise */
    uint32_t start, end;     /* substring */
    const char *date_format; /* date: a Go layout ("2006-01-02") or strftime's ("%Y-%m-%d"); NULL otherwise */
};

/* One S3 place as written; `s3_resolve()` gives it its meaning. Exactly one of `url` and `bucket`+`key` leads. */
struct source_s3 {
    const char *url;       /* NULL for s3://bucket/key forms */
    const char *bucket;    /* NULL: from the url */
    const char *key;       /* decoded, as given; NULL with url */
    bool exact_key;        /* the `s3` source of Bacalhau: a key without slash or star is that object, nothing else */
    struct job_strs files; /* names relative to url; empty: everything */
    const char *endpoint, *region; /* NULL: not given */
    const char *filter;            /* regular expression, NULL */
    const char *version_id;        /* NULL */
    const char *checksum_sha256;   /* 64 lower-case hex digits, whatever form the file used; NULL */
    struct partition partition;
    const char *access_key_id, *secret_access_key, *session_token; /* NULL: none given; secrets */
    bool requester_pays;
    const char *sse_customer_key; /* base64, secret, NULL */
};

struct source_hf {
    const char *repo;     /* "owner/name", "datasets/owner/name", "spaces/owner/name" */
    const char *revision; /* NULL: main */
    struct job_strs files;
    const char *access_token; /* secret, NULL */
    bool hub_layout;
};

struct source_ollama {
    const char *model; /* "[host/][namespace/]name[:tag]" */
};

struct source_url {
    const char *url;
    bool presigned; /* the query is a secret: s3PreSigned, or a URL that carries a signature */
};

struct source_local {
    const char *path;
};

/* One object that an earlier run resolved this input to (a run record's `inputs[].objects[]`). */
struct pin {
    const char *path;                       /* below the target */
    const char *key;                        /* NULL where it is the path */
    const char *version_id, *etag, *sha256; /* NULL: not recorded */
    uint64_t size;                          /* UINT64_MAX: not recorded */
};

struct input {
    enum source_kind kind;
    const char *alias;   /* NULL */
    const char *target;  /* normalised, absolute; NULL in a market's required resources */
    bool target_default; /* nobody named it: it is the imperative form's own */
    const char *at;
    bool writable;
    const char *resolved; /* from a run record: the commit or manifest digest used then; NULL */
    struct pin *pins;     /* from a run record: exactly these objects, in these versions */
    size_t pin_count;     /* 0: resolve anew */
    union {
        struct source_s3 s3;
        struct source_hf hf;
        struct source_ollama ollama;
        struct source_url url;
        struct source_local local;
    };
};

struct output {
    const char *name; /* one safe path component */
    const char *path; /* normalised, absolute */
    const char *at;
};

enum publisher_kind { PUBLISH_NONE, PUBLISH_S3, PUBLISH_S3MANAGED, PUBLISH_LOCAL };
enum publish_encoding { PUBLISH_GZIP, PUBLISH_PLAIN };

struct publisher {
    enum publisher_kind kind;
    const char *bucket, *key, *endpoint, *region; /* NULL: not given; of PUBLISH_LOCAL, `key` is a path */
    enum publish_encoding encoding;
    const char *at;
    /* How objects are stored; only the imperative form has words for these. NULL: as the bucket has it. */
    const char *storage_class, *sse, *sse_kms_key_id, *tags, *acl;
    const char *sse_customer_key; /* base64, secret */
    bool only_new;                /* what is there is not replaced */
};

enum network_mode { NETWORK_NONE, NETWORK_FULL, NETWORK_HTTP };

#define GPU_ALL UINT32_MAX /* `gpu: true`: every GPU of the machine, at least one */

struct limits {
    double cpu; /* cores; 0: no limit */
    uint64_t memory_bytes, disk_bytes;
    uint32_t gpu_count; /* or GPU_ALL */
    uint32_t required_vram_mib;
};

struct constraint {
    const char *key, *op;
    struct job_strs values;
};

struct registry_auth {
    const char *server, *username; /* NULL: not given */
    const char *password;          /* secret */
    const char *email;
};

/* What the job wants that `berth run` does not do; refused there by name, accepted by validation. */
struct unsupported {
    const char *what; /* "ops[1]: several ops" */
    const char *at;
    bool by_market; /* a market runs it */
};

enum op_kind { OP_RUN, OP_CREATE_VOLUME };

struct op {
    enum op_kind kind;
    const char *id;
    const char *at;
    const char *image;
    struct job_strs command;    /* exec form (a string became {"/bin/sh","-c",…}); empty: the image's own */
    struct job_strs entrypoint; /* empty: the image's own */
    struct job_kvs env;
    const char *work_dir; /* NULL: the image's own */
    struct input *inputs;
    size_t input_count;
    struct output *outputs;
    size_t output_count;
    struct limits limits;
    bool private_logs;
    enum network_mode network;
    struct job_strs network_domains;
    struct registry_auth auth; /* server NULL and username NULL: none */
    struct job_strs depends_on;
    const char *group; /* NULL */
    /* results: name → regular expression over the logs */
    struct op_result {
        const char *name, *regex;
        bool from_stdout, from_stderr;
    } * results;
    size_t result_count;
};

struct job {
    struct arena *arena;
    enum job_dialect dialect;
    const char *file; /* as given, for messages */
    const char *name; /* never empty: from the file, else the first op's id, else "job" */
    const char *type; /* "container", "batch", "ops" */
    const char *namespace_name;
    uint32_t count;
    int32_t priority;
    struct job_kvs labels, meta;
    struct constraint *constraints;
    size_t constraint_count;
    struct op *ops;
    size_t op_count; /* at least 1 */
    struct publisher publisher;
    uint64_t execution_timeout_ms, queue_timeout_ms, total_timeout_ms; /* 0: none */
    struct unsupported *unsupported;                                   /* parsed and understood, but not run yet */
    size_t unsupported_count;
    const char **warnings; /* things that have no effect here; with place */
    size_t warning_count;
};

/* A market's required resources: images and inputs without targets. */
struct required_resources {
    struct arena *arena;
    struct job_strs images;
    struct input *inputs;
    size_t input_count;
};

#endif
