/* jobfile: read a job file from disk or standard input, bounded, and parse it. */
#ifndef BERTH_CLI_JOBFILE_H
#define BERTH_CLI_JOBFILE_H

#include "spec/spec.h"

/* "-" is standard input. ERR_LIMIT above SPEC_FILE_MAX. */
int jobfile_read(const char *path, struct buf *out, struct err *err);
int jobfile_parse(const char *path, const struct strv *vars, bool strict, struct job **out, struct err *err);

#endif
