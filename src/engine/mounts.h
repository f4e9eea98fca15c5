/* mounts: the folders that a container gets, checked before the engine sees them.
 *
 * Both engines create a missing source silently, as an empty folder of root's: so every source is looked at first. And
 * a read-only bind mount leaves the file systems mounted within it writable (mount(2), MS_REC does not go with
 * MS_RDONLY): so those get read-only mounts of their own, and the outer one is bound without them. */
#ifndef BERTH_ENGINE_MOUNTS_H
#define BERTH_ENGINE_MOUNTS_H

#include "base/buf.h"
#include "engine/engine.h"

#define MOUNTS_MAX     4096
#define MOUNT_INFO_MAX ((size_t)16 << 20)

struct mount_plan {
    char *source, *target; /* owned */
    bool writable;
};

struct mount_plans {
    struct mount_plan *v;
    size_t n;
};
void mount_plans_release(struct mount_plans *p);

/* `local`: the engine sees this machine's files, so sources are checked. ERR_NOTFOUND, ERR_INVALID name the source. */
int mount_plans_make(struct mount_plans *out, const struct engine_container *c, bool local, struct err *err);

/* The part of mount_plans_make() that decides: add `m`, whose resolved source is `real`, and what is mounted below
 * that according to `mount_info` (proc(5), /proc/self/mountinfo). Pure. */
int mount_plans_add(struct mount_plans *out, const struct engine_mount *m, const char *real, struct span mount_info,
                    struct err *err);

/* Whether the engine that listens at "unix:///path" is in this process's mount namespace, so that it sees what is
 * mounted from now on. False where that cannot be told. */
bool mounts_are_shared(const char *address);

#endif
