/* hold: names of what an input asks for, the same on servers and nodes, so that jobs find the nodes that hold their
 * inputs: "<kind>|<place>|<revision or version>|<files>" without credentials and target, as SHA-256. Pure. */
#ifndef BERTH_MARKET_HOLD_H
#define BERTH_MARKET_HOLD_H

#include "base/err.h"
#include "spec/job.h"

#define HOLD_KEY_MAX 65

/* 1: named; 0: it has no name (a local folder is another one on every machine). */
int hold_key(const struct input *in, char out[HOLD_KEY_MAX], struct err *err);

#endif
