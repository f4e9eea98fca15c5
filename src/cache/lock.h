/* lock: names that one holder at a time may work on, across threads and processes.
 *
 * A name is a byte of one of LOCK_FILES lock files, chosen by the 66 bits that its id begins with; the lock is an OFD
 * lock (fcntl(2)), which vanishes with its process. Ids are hashes or random, so that two names meet in one byte only
 * by an accident that would merely make one wait for the other. The kernel keeps the locks of one file in a list; many
 * files keep the lists short. Since all threads share the files' descriptors, a table in memory tells threads apart.
 *
 * Order, so that nobody waits in a circle: origin, then view, then blob, then the index; nobody waits for a blob while
 * blobs of its own are pending (writer.c). */
#ifndef BERTH_CACHE_LOCK_H
#define BERTH_CACHE_LOCK_H

#include "base/cancel.h"
#include "base/err.h"

#include <stdint.h>

struct locks;

enum lock_kind {
    LOCK_ORIGIN, /* being fetched; guards its partial */
    LOCK_BLOB,   /* being stored or removed: from the file's appearance to its row, and the other way round */
    LOCK_VIEW,   /* being built or removed */
};

struct lock_name {
    uint64_t offset;
    unsigned file;
};

/* `id`: at least 17 hex digits, a leading 'r' aside. */
struct lock_name lock_name_of(enum lock_kind kind, const char *id);

enum lock_mode {
    LOCK_ALONE,
    LOCK_AMONG_THREADS, /* threads of this process may hold it together, each to drop it */
};

/* `dir_fd` is borrowed. */
int locks_open(struct locks **out, int dir_fd, struct err *err);
void locks_free(struct locks *l);

/* 1: taken; 0: somebody else has it; -1: error. */
int locks_try(struct locks *l, struct lock_name name, enum lock_mode mode, struct err *err);
/* Until taken; ERR_CANCELLED. */
int locks_wait(struct locks *l, struct lock_name name, enum lock_mode mode, const struct cancel *cancel,
               struct err *err);
void locks_drop(struct locks *l, struct lock_name name);
/* Threads of this process that hold it. */
unsigned locks_holders(struct locks *l, struct lock_name name);

#endif
