/* wiring: from settings to open modules. What is opened is closed by wiring_release(), in the right order. */
#ifndef BERTH_CLI_WIRING_H
#define BERTH_CLI_WIRING_H

#include "cache/cache.h"
#include "cli/cli.h"
#include "engine/engine.h"
#include "stage/stage.h"
#include "xfer/http.h"
#include "xfer/xfer.h"

struct wiring {
    struct cache *cache;
    struct xfer *xfer;
    struct http *http;
    struct engine *engine;
    char *runs_dir;    /* parent of per-run folders, beside the cache's own */
    char *uploads_dir; /* what unfinished uploads have stored; NULL: this user has no place for it */
};

int wiring_open_cache(struct wiring *w, const struct cli *cli, struct err *err);
int wiring_open_http(struct wiring *w, const struct cli *cli, struct err *err); /* single calls alone */
int wiring_open_transfers(struct wiring *w, const struct cli *cli, struct err *err);
int wiring_open_engine(struct wiring *w, const struct cli *cli, struct err *err);
void wiring_release(struct wiring *w);

/* How inputs are reached, for the job's own author. Borrows from the configuration. */
void wiring_access(const struct cli *cli, struct stage_access *out);

#endif
