/* creds_ini: the grammar of ~/.aws/config and ~/.aws/credentials. Pure, and without copies: the text holds secrets.
 *
 * "Shared config and credentials files" of the AWS SDKs and Tools Reference Guide: `[kind name]` or `[name]`, then
 * `name = value` lines; '#' or ';' starts a comment at the start of a line, and after white space elsewhere; a
 * line that is indented deeper goes on with the value above, or is a setting nested in it where that is empty (nothing
 * here reads those). Names of settings have no case. Of two equal settings the last counts. */
#ifndef BERTH_S3_CREDS_INI_H
#define BERTH_S3_CREDS_INI_H

#include "base/err.h"
#include "base/str.h"

#define INI_BYTES_MAX ((size_t)1 << 20)

/* All spans are views of the text. */
struct ini_item {
    struct span kind;        /* "profile" of [profile dev]; empty for [dev] */
    struct span section;     /* "dev"; quotes around it are taken off */
    struct span name, value; /* name empty: the section's own line. A continued value holds its line breaks. */
    unsigned line;
};

/* Each section line and each setting, in order; a return other than 0 ends the walk with it. ERR_INVALID "line 3: …",
 * which never quotes the text. */
int ini_walk(struct span text, int (*visit)(void *ctx, const struct ini_item *item, struct err *err), void *ctx,
             struct err *err);

bool ini_has(struct span text, const char *kind, const char *section);
/* The value, or {NULL, 0}. A text that is not well-formed has no settings. */
struct span ini_get(struct span text, const char *kind, const char *section, const char *name);

#endif
