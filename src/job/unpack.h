/* unpack: a foreign archive to a folder, by a helper process in a sandbox (base/sandbox.h).
 *
 * The helper is this program started anew with the word below and an empty environment: its memory holds no secret, and
 * what the archive may make of the reader there ends at the folder. It reads the archive from its standard input, has
 * the folder as its working directory, and answers with one record of fixed size on its standard output. */
#ifndef BERTH_JOB_UNPACK_H
#define BERTH_JOB_UNPACK_H

#include "archive/archive.h"

#define UNPACK_HELPER "unpack-helper" /* MAX_BYTES MAX_ENTRIES MAX_RATIO */

/* Like archive_unpack(), which it has done elsewhere; what is odd is refused. Both descriptors are borrowed; the
 * archive is read from where `archive_fd` stands. ERR_SYSTEM as well: the helper could not be started, or a signal
 * ended it. */
int unpack_apart(int archive_fd, int dir_fd, const struct archive_limits *limits, const struct cancel *cancel,
                 struct archive_totals *totals, struct err *err);

/* The helper, from main(): argv[1] is UNPACK_HELPER. Returns the exit code. */
int unpack_helper(int argc, char **argv);

#endif
