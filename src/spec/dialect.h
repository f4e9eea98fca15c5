/* dialect: the readers of the formats, one function each, and what they share. Home use of this module. */
#ifndef BERTH_SPEC_DIALECT_H
#define BERTH_SPEC_DIALECT_H

#include "spec/read.h"

/* Ceilings on what one job may hold; the searches for duplicates below are quadratic. */
#define JOB_OPS_MAX     256
#define JOB_INPUTS_MAX  4096  /* per op */
#define JOB_OUTPUTS_MAX 256   /* per op */
#define JOB_ENV_MAX     4096  /* per op */
#define JOB_ENV_ALL_MAX 16384 /* in all ops: each gets those of 'global' anew */

void nosana_read(struct reader *r, const struct node *root, struct job *job);
void bacalhau_read(struct reader *r, const struct node *root, struct job *job);
void record_read(struct reader *r, const struct node *root, struct job *job);

/* Nosana's `resources[]`; in a market's required resources entries have no target and IAM keys any case. */
struct inputs {
    struct input *v;
    size_t n;
};
void resources_read(struct reader *r, const struct node *list, bool market, struct inputs *out);

/* One of Bacalhau's `InputSources[]`, and its `Publisher`. */
void bacalhau_input_read(struct reader *r, const struct node *n, struct input *in);
void bacalhau_publisher_read(struct reader *r, const struct node *task, struct publisher *p);

/* Room for one input more, zeroed; NULL where there are too many or no memory. */
struct input *inputs_add(struct reader *r, const struct node *n, struct inputs *list);

/* Set a variable; a later one of the same name replaces the earlier. */
void env_set(struct reader *r, const struct node *n, struct job_kvs *env, const char *name, const char *value,
             bool secret);
void env_merge(struct reader *r, const struct node *n, struct job_kvs *env, const struct job_kvs *more, bool secret);

/* Readers of members whose value has rules of its own (value.h). NULL where absent or wrong. */
const char *read_target(struct reader *r, const struct node *object, const char *key);
const char *read_url(struct reader *r, const struct node *object, const char *key, bool required);
const char *read_regex(struct reader *r, const struct node *object, const char *key);
const char *read_bucket(struct reader *r, const struct node *object, const char *key, bool required);
const char *read_image(struct reader *r, const struct node *object, const char *key, bool required);
const char *read_hf_repo(struct reader *r, const struct node *object, const char *key);
const char *read_hf_revision(struct reader *r, const struct node *object, const char *key);
bool read_hf_layout(struct reader *r, const struct node *object, const char *key); /* hub */
const char *read_ollama_model(struct reader *r, const struct node *object, const char *key);
struct job_strs read_images(struct reader *r, const struct node *object, const char *key);
struct job_strs read_files(struct reader *r, const struct node *object, const char *key);

/* Name Nosana's %%operators%% in any string below the node as not run. */
void operators_note(struct reader *r, const struct node *n);

/* Rules that hold for a job whatever it came from: names, duplicates, mounts; what is not run is noted. */
void job_check(struct reader *r, const struct node *root, struct job *job);

#endif
