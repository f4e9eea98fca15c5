/* network: what containers of a market's jobs reach: the setting node.network, and what comes of it on this machine. */
#ifndef BERTH_CLI_NETWORK_H
#define BERTH_CLI_NETWORK_H

#include "cli/config.h"
#include "job/run.h"

/* The setting. ERR_USAGE: it is none of the three. */
int network_of(const struct config *c, enum run_network *out, struct err *err);

/* One sentence for people; false where `network` is not what jobs get. Changes nothing. */
#define NETWORK_TEXT_MAX 640
bool network_describe(struct engine *engine, enum run_network network, char out[NETWORK_TEXT_MAX]);

#endif
