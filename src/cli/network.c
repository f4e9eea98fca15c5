#include "cli/network.h"

#include "engine/filter.h"

static const char *const words[] = {
    [RUN_NETWORK_FULL] = "full", [RUN_NETWORK_FILTERED] = "filtered", [RUN_NETWORK_NONE] = "none"};

int network_of(const struct config *c, enum run_network *out, struct err *err)
{
    const char *text = config_text(c, SETTING_NODE_NETWORK);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (str_eq(words[i], text)) {
            *out = (enum run_network)i;
            return 0;
        }
    }
    err_set(err, ERR_USAGE, "node.network: \"%s\" is not known", text ? text : "");
    return err_hint(err, "it is filtered, none or full");
}

bool network_describe(struct engine *engine, enum run_network network, char out[NETWORK_TEXT_MAX])
{
    static const char *const results[] = {
        [RUN_NETWORK_FULL] = "containers of a market's jobs may reach all that this machine reaches",
        [RUN_NETWORK_FILTERED] = "containers of a market's jobs may reach public addresses",
        [RUN_NETWORK_NONE] = "containers of a market's jobs have no network"};
    struct err err = ERR_INIT;
    if (network != RUN_NETWORK_FILTERED || filter_check(engine, &err) == 0) {
        snprintf(out, NETWORK_TEXT_MAX, "%s", results[network]);
        return true;
    }
    snprintf(out, NETWORK_TEXT_MAX, "%s: the filter cannot be set: %.400s", results[RUN_NETWORK_NONE], err.text);
    return false;
}
