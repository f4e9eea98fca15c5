/* spec: job files of both dialects, and the imperative form, to one struct job.
 *
 * The root decides: `ops` → Nosana; `Tasks` (any case) → Bacalhau; `berth` → a run record. JSON or YAML in either.
 * Nothing is silently ignored: unknown keys are errors (with "did you mean"), or warnings where the format says so.
 * Pure: no file, no network, no clock. */
#ifndef BERTH_SPEC_SPEC_H
#define BERTH_SPEC_SPEC_H

#include "base/json.h"
#include "spec/job.h"

#define SPEC_FILE_MAX (4u << 20)

struct spec_opts {
    const char *file;        /* name for messages */
    const char *const *vars; /* "name=value" of -V, NULL-terminated; NULL: none. For templates and a record's secrets */
    bool strict;             /* warnings become errors */
};

/* What a document is by its root, without validating it. */
enum spec_root { SPEC_UNKNOWN, SPEC_NOSANA, SPEC_BACALHAU, SPEC_RECORD, SPEC_REQUIRED_RESOURCES };
enum spec_root spec_root_of(const json_t *document);

/* Owned job. Errors: INVALID ("FILE: ops[0].args.imge: unknown key; did you mean 'image'?", in YAML "FILE:12: …", which
 * is the line after templates are filled in: a -V value of several lines moves those that follow it),
 * UNSUPPORTED ("not supported: …"), LIMIT (above SPEC_FILE_MAX, which the caller may read by one byte), USAGE (a -V
 * without '='). All problems found (at most 20) are in the text, one a line; the first decides the kind. A record's
 * `inputs[]`, those of all ops in order, pin the versions: `objects[]` of {path, key, version, size, sha256} where
 * `version` is "version ID" or an ETag, and `resolved`, a commit or manifest digest. */
int spec_parse(struct span text, const struct spec_opts *opts, struct job **out, struct err *err);
void job_free(struct job *job);

/* A document as a value, templates filled in and nothing checked; for handing it on: where braces were meant or came by
 * a -V value they are quoted, so that its JSON, parsed again, is the same document. Owned; holds secrets where it does.
 */
json_t *spec_read(struct span text, const struct spec_opts *opts, struct err *err);

int spec_parse_required(struct span text, const struct spec_opts *opts, struct required_resources **out,
                        struct err *err);
void required_resources_free(struct required_resources *r);

/* The imperative form: "src=s3://bucket/key,dst=/path,opt=region=R" or "URI[:DST]", with s3://, hf://, ollama://,
 * http(s):// and file://. A comma that no field name follows belongs to the key. Errors: USAGE for the form, INVALID
 * for a value, UNSUPPORTED for a scheme. Strings go to the arena; `at` is "". */
int spec_parse_input(struct arena *a, struct span src, struct input *out, struct err *err);
int spec_parse_publisher(struct arena *a, struct span pub, struct publisher *out, struct err *err);

/* Whether a publisher's key or path holds no placeholder but the known ones. ERR_INVALID. */
int spec_check_publish_key(struct span key, struct err *err);
int spec_parse_output(struct arena *a, struct span name_path, struct output *out, struct err *err); /* NAME:PATH */

struct spec_docker_run {
    const char *image;
    const char *const *command; /* NULL-terminated or NULL */
    const struct strv *inputs, *outputs, *env, *labels, *constraints;
    const char *publisher, *entrypoint, *work_dir, *name, *network;
    struct strv *domains;
    double cpu;
    uint64_t memory_bytes, disk_bytes, timeout_ms;
    uint32_t gpu;
    uint32_t count;
    int32_t priority;
};
/* Owned job, the same as a specification of these words would make; strings are copied. */
int spec_from_docker_run(const struct spec_docker_run *r, struct job **out, struct err *err);

/* The `job` member of a run record: the whole model; spec_parse() of {"berth": 1, "job": …} gives an equal one. A
 * secret is written as {"secret": NAME}; reading it back needs "NAME=value" among the vars. Owned. */
json_t *spec_to_json(const struct job *job, struct err *err);

/* The job as a Bacalhau specification, secrets as they are (to be posted) or as "***" (to be shown), and braces quoted.
 * Owned. UNSUPPORTED where that format has no words for a part of the model: several ops, a Nosana `url`, a registry's
 * login, private logs, … */
json_t *spec_to_bacalhau(const struct job *job, bool secrets, struct err *err);

/* -1 with ERR_UNSUPPORTED, the name and place of the first thing that `berth run` does not do. */
int spec_check_runnable(const struct job *job, struct err *err);
/* `berth run --publish`: in place of the job's own publisher. ERR_UNSUPPORTED: s3managed. */
int spec_override_publisher(struct job *job, struct span pub, struct err *err);

/* Likewise, of what no market runs: several executions it does. */
int spec_check_market(const struct job *job, struct err *err);

/* How `Partition` divides the keys of a source over `count` executions: FNV-1a 32 of the partition key modulo count;
 * what does not match belongs to 0. The partition key of `object` is the whole object key; the others look at the key
 * without `source_key` (as written; a trailing star is dropped) and one slash after it. One thread at a time. */
struct partition_plan;
int partition_open(struct partition_plan **out, const struct partition *p, const char *source_key, uint32_t count,
                   struct err *err);
void partition_free(struct partition_plan *plan);
int partition_index(struct partition_plan *plan, struct span key, uint32_t *out, struct err *err);

#endif
