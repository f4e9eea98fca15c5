/* docker_body: what is sent to create a container. Pure.
 *
 * Docker takes the body of its ContainerCreate (API v1.41). Podman takes its own (Libpod API v4.0.0, SpecGenerator)
 * rather than its imitation of Docker's: that one breaks mounts apart at commas and quotes, and ignores requests for
 * GPUs before 5.4. Both say the same: no new privileges, no log kept by the engine (the attached stream is the log),
 * memory without swap above it, explicit ulimits. */
#ifndef BERTH_ENGINE_DOCKER_BODY_H
#define BERTH_ENGINE_DOCKER_BODY_H

#include "base/json.h"
#include "engine/docker.h"
#include "engine/mounts.h"

struct create_plan {
    const struct engine_container *c;
    const char *image; /* the full name */
    const struct mount_plans *mounts;
    struct docker_features features;
    bool has_ipv6; /* this machine's kernel; refused where a container is told to do without what is not there */
    uint64_t nofile, nproc; /* soft and hard alike: Podman 4.3 swaps the two */
};

/* Owned, or NULL with err. */
json_t *docker_create_body(const struct create_plan *p, struct err *err);
json_t *podman_create_body(const struct create_plan *p, struct err *err);

/* Counts, sizes and strings that no engine could take. ERR_INVALID. */
int create_plan_check(const struct create_plan *p, struct err *err);

#define PIDS_DEFAULT  4096
#define GPUS_ALL      UINT32_MAX
#define GPUS_MAX      64
#define CPU_PERIOD_US 100000

#endif
