/* value: what single values of a job file may be, decided without a document around them. Pure.
 *
 * Shared by both dialects, the imperative form and the run record, so that a bucket or a target means the same in all
 * of them. Each returns -1 with ERR_INVALID (or UNSUPPORTED) whose text fits behind "place: ". Results live in the
 * arena; where it refuses, they are NULL and the arena says so at the end. */
#ifndef BERTH_SPEC_VALUE_H
#define BERTH_SPEC_VALUE_H

#include "base/arena.h"
#include "base/str.h"
#include "spec/job.h"

#define JOB_COUNT_MAX     100000u
#define JOB_TIMEOUT_S_MAX UINT64_C(315360000) /* ten years */
#define JOB_GPU_MAX       1024u
#define JOB_CPU_MAX       65536.0

#define OLLAMA_TARGET "/root/.ollama/models"

int value_target(struct arena *a, struct span s, const char **out, struct err *err);
int value_url(struct span s, struct err *err); /* http or https, a host, no user name or password */
bool value_url_is_signed(const char *url);     /* its query lets whoever holds it in */
int value_bucket(struct span s, struct err *err);
int value_checksum_sha256(struct arena *a, struct span s, const char **out, struct err *err); /* to 64 hex digits */
int value_regex(const char *pattern, struct err *err);
int value_image(struct span s, struct err *err);
int value_env_name(struct span s, struct err *err);
int value_hf_repo(struct span s, struct err *err);
int value_hf_revision(struct span s, struct err *err);
int value_hf_layout(struct span s, bool *hub, struct err *err); /* "hub", "files" */
int value_ollama_model(struct span s, struct err *err);
int value_publish_key(struct span key, struct err *err); /* unknown {placeholder} */
int value_encoding(struct span s, enum publish_encoding *out, struct err *err);
int value_network(struct span s, enum network_mode *out, struct err *err);
int value_constraint(const struct constraint *c, struct err *err);

/* The folder below outputs/ that a result path's name stands for: "/outputs" → "outputs", "/a/b" → "a-b". */
int value_output_name(struct arena *a, struct span s, const char **out, struct err *err);

int value_cpu(struct span s, double *out, struct err *err);     /* "500m", "0.5", "2" */
int value_bytes(struct span s, uint64_t *out, struct err *err); /* "1Gb"; at most INT64_MAX, as JSON has it */
int value_gpu(struct span s, uint32_t *out, struct err *err);

/* What an environment variable of this name usually holds. */
bool value_name_is_secret(const char *name);

/* A `Key` of Bacalhau's s3: one object, or what begins with it. */
bool value_key_is_exact(const char *key);

#endif
