#include "cli/wiring.h"

#include <stdlib.h>

static void policy_of(const struct cli *cli, struct xfer_policy *out)
{
    const struct config *c = cli->config;
    *out = (struct xfer_policy){
        .public_only = config_flag(c, SETTING_XFER_PUBLIC_ONLY),
        .allow = config_list(c, SETTING_XFER_ALLOW),
        .ca_file = config_text(c, SETTING_XFER_CA_FILE),
    };
}

int wiring_open_cache(struct wiring *w, const struct cli *cli, struct err *err)
{
    const struct config *c = cli->config;
    const struct cache_opts opts = {
        .dir = config_text(c, SETTING_CACHE_DIR),
        .max_bytes = config_number(c, SETTING_CACHE_MAX_BYTES),
        .min_free_bytes = config_number(c, SETTING_CACHE_MIN_FREE),
        .ttl_ms = config_number(c, SETTING_CACHE_TTL),
        .durable = config_flag(c, SETTING_CACHE_DURABLE),
    };
    if (!opts.dir)
        return err_set(err, ERR_INVALID, "cache.dir is empty");
    w->runs_dir = str_printf(err, "%s/runs", opts.dir);
    return w->runs_dir ? cache_open(&w->cache, &opts, err) : -1;
}

/* $XDG_STATE_HOME/berth/uploads or ~/.local/state/berth/uploads. */
static int find_uploads_dir(struct wiring *w, struct err *err)
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (xdg && xdg[0] == '/')
        w->uploads_dir = str_printf(err, "%s/berth/uploads", xdg);
    else if (!str_empty(home))
        w->uploads_dir = str_printf(err, "%s/.local/state/berth/uploads", home);
    return err_is_set(err) ? -1 : 0;
}

int wiring_open_http(struct wiring *w, const struct cli *cli, struct err *err)
{
    struct http_opts http = {
        .idle_timeout_ms = (uint32_t)config_number(cli->config, SETTING_XFER_STALL),
        .patience_ms = (uint32_t)config_number(cli->config, SETTING_XFER_PATIENCE),
    };
    policy_of(cli, &http.policy);
    return http_open(&w->http, &http, err);
}

int wiring_open_transfers(struct wiring *w, const struct cli *cli, struct err *err)
{
    const struct config *c = cli->config;
    const struct xfer_opts xfer = {
        .threads = (uint32_t)config_number(c, SETTING_XFER_THREADS),
        .buffer_bytes = config_number(c, SETTING_XFER_BUFFERS),
        .bytes_per_second = config_number(c, SETTING_XFER_BANDWIDTH),
        .max_connections = (uint32_t)config_number(c, SETTING_XFER_CONNECTIONS),
        .max_connections_host = (uint32_t)config_number(c, SETTING_XFER_CONNECTIONS_HOST),
        .no_raw = !config_flag(c, SETTING_XFER_RAW),
        .stall_ms = (uint32_t)config_number(c, SETTING_XFER_STALL),
        .patience_ms = (uint32_t)config_number(c, SETTING_XFER_PATIENCE),
    };
    if (find_uploads_dir(w, err) < 0 || wiring_open_http(w, cli, err) < 0)
        return -1;
    return xfer_open(&w->xfer, &xfer, err);
}

int wiring_open_engine(struct wiring *w, const struct cli *cli, struct err *err)
{
    const struct engine_opts opts = {.where = config_text(cli->config, SETTING_ENGINE)};
    return engine_open(&w->engine, &opts, err);
}

void wiring_release(struct wiring *w)
{
    xfer_free(w->xfer);
    http_free(w->http);
    cache_free(w->cache);
    engine_free(w->engine);
    free(w->runs_dir);
    free(w->uploads_dir);
    *w = (struct wiring){0};
}

/* The endpoint for s3:// inputs that name none: the setting, else the environment as AWS's own tools read it. */
static const char *default_endpoint(const struct config *c)
{
    const char *set = config_text(c, SETTING_S3_ENDPOINT);
    const char *for_s3 = getenv("AWS_ENDPOINT_URL_S3"), *for_all = getenv("AWS_ENDPOINT_URL");
    return set ? set : !str_empty(for_s3) ? for_s3 : !str_empty(for_all) ? for_all : NULL;
}

void wiring_access(const struct cli *cli, struct stage_access *out)
{
    const struct config *c = cli->config;
    const char *addressing = config_text(c, SETTING_S3_ADDRESSING), *hub = getenv("HF_ENDPOINT");
    *out = (struct stage_access){
        .ambient = true,
        .profile = config_text(c, SETTING_S3_PROFILE),
        .endpoint = default_endpoint(c),
        .region = config_text(c, SETTING_S3_REGION),
        .hub = str_empty(hub) ? NULL : hub,
        .addressing = str_eq(addressing, "path")      ? S3_ADDRESS_PATH
                      : str_eq(addressing, "virtual") ? S3_ADDRESS_VIRTUAL
                                                      : S3_ADDRESS_AUTO,
        .mirrors = config_list(c, SETTING_MIRRORS),
        .local_allow = config_list(c, SETTING_LOCAL_ALLOW),
    };
    policy_of(cli, &out->policy);
}
