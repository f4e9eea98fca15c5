/* document: a job file's text to a parsed value, templates applied, ready to be read. Home use of this module. */
#ifndef BERTH_SPEC_DOCUMENT_H
#define BERTH_SPEC_DOCUMENT_H

#include "spec/read.h"
#include "spec/spec.h"

struct document {
    struct arena *arena; /* taken by the job that comes of it */
    json_t *root;
    struct yaml_lines *lines; /* NULL: JSON */
    struct reader reader;
    bool strict;
};

/* Release in either case. Errors: LIMIT (the text is above SPEC_FILE_MAX), INVALID with file and line. */
int document_open(struct document *d, struct span text, const struct spec_opts *opts, struct err *err);
void document_release(struct document *d);

static inline struct node document_root(const struct document *d)
{
    return (struct node){.v = d->root};
}

/* Warn of -V values that nothing asked for. */
void document_warn_unused(struct document *d);

/* The problems, if there are any; else the arena is the caller's. */
int document_finish(struct document *d, struct arena **out, struct err *err);

#endif
