/* nosana: what the files of the Nosana reader share. Never included elsewhere. */
#ifndef BERTH_SPEC_NOSANA_H
#define BERTH_SPEC_NOSANA_H

#include "spec/read.h"

/* `global`: what an op's args fall back to. */
struct nosana_globals {
    const char *image, *work_dir; /* NULL: not given */
    bool gpu;
    struct job_strs entrypoint;
    struct job_kvs env;
};

void nosana_args_read(struct reader *r, const struct node *args, const struct nosana_globals *globals, struct op *op);
void nosana_log_types(struct reader *r, const struct node *result, struct op_result *out);

/* A string or a list of strings; a string is for the shell where `shell`, else one word. */
struct job_strs nosana_command(struct reader *r, const struct node *object, const char *key, bool shell);

/* Ids are unique; depends_on names ops of the same group, without a circle. */
void nosana_check_order(struct reader *r, const struct node *list, const struct op *ops, size_t n);

#endif
