/* confidential: a job whose definition only the node that claimed it can read: the server gets what it needs for
 * placement, and later a text sealed to that node's public key. */
#ifndef BERTH_CLI_CONFIDENTIAL_H
#define BERTH_CLI_CONFIDENTIAL_H

#include "api/api.h"
#include "cli/cli.h"
#include "spec/job.h"

/* What a node must have: {"cpus", "memory_bytes", …}, as docs/api.md has `requires`. Owned. */
json_t *confidential_requires(const struct job *job, struct err *err);

/* Wait for each execution to be claimed, and seal `whole` ({"definition", "variables", "credentials", "publish"}) to
 * its node. Returns when every one has it, or has ended. */
int confidential_deliver(const struct cli *cli, struct api *api, const char *id, const json_t *whole, struct err *err);

#endif
