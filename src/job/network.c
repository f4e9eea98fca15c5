/* What the container reaches. */
#include "engine/filter.h"
#include "job/job_priv.h"

#define NETWORK_WHY_MAX 512

static void settle_none(struct run *r, const char *why)
{
    r->net.none = true;
    snprintf(r->net.note, sizeof r->net.note, "none: %.*s", NETWORK_WHY_MAX - 1, why);
    run_warn(r, "the job asks for a network and gets none: %s", why);
}

/* Set for each container anew: others may have flushed the rules since the last one. */
static void settle_filtered(struct run *r)
{
    struct err err = ERR_INIT;
    char why[NETWORK_WHY_MAX];
    if (filter_set(r->opts->engine, r->opts->network_allow, &r->net.own, &err) == 0) {
        snprintf(r->net.note, sizeof r->net.note, "filtered");
        return;
    }
    r->net.own = (struct engine_network){0};
    snprintf(why, sizeof why, "the filter cannot be set: %.400s", err.text);
    settle_none(r, why);
}

void run_settle_network(struct run *r)
{
    r->net.none = r->op->network == NETWORK_NONE;
    if (r->net.none || r->opts->network == RUN_NETWORK_FULL)
        snprintf(r->net.note, sizeof r->net.note, "%s", r->net.none ? "none" : "full");
    else if (r->opts->network == RUN_NETWORK_FILTERED)
        settle_filtered(r);
    else
        settle_none(r, "this machine gives jobs none");
}
