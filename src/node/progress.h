/* progress: how far an execution's inputs are, made short enough for a heartbeat. Pure. */
#ifndef BERTH_NODE_PROGRESS_H
#define BERTH_NODE_PROGRESS_H

#include "base/json.h"

/* `inputs` is a list of {"input", "phase", COUNT: number, …}. As many of the first as fit into `max` bytes of text
 * stay; the rest becomes one last entry "N more" in the phase of the first of them that is not ready, whose counts are
 * their sums: what is added up over all entries is what it was before. */
int progress_fit(json_t *inputs, size_t max, struct err *err);

#endif
