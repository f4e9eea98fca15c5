/* Wake-ups from other servers on the same database, where it has them. */
#include "base/cancel.h"
#include "market/market_priv.h"

struct market_listener {
    struct db *db;
    bool silent; /* this database tells nobody anything */
};

int market_listen(struct market_listener **out, const char *db_url, struct err *err)
{
    struct market_listener *l = calloc(1, sizeof(*l));
    if (!l)
        return err_nomem(err);
    const struct db_opts opts = {.url = db_url};
    if (db_open(&l->db, &opts, err) < 0)
        goto fail;
    l->silent = db_engine(l->db) == DB_SQLITE;
    if (!l->silent && db_listen(l->db, LISTEN_CHANNEL, err) < 0)
        goto fail;
    *out = l;
    return 0;
fail:
    market_listen_free(l);
    return err_wrap(err, "market");
}

int market_listen_wait(struct market_listener *l, uint32_t timeout_ms, char what[MARKET_NODE_MAX], struct err *err)
{
    const char *payload = "";
    if (l->silent)
        return cancel_sleep_ms(NULL, timeout_ms, err) < 0 ? -1 : 0;
    int rc = db_wait_notify(l->db, timeout_ms, &payload, err);
    if (rc == 1)
        snprintf(what, MARKET_NODE_MAX, "%s", payload);
    return rc;
}

void market_listen_free(struct market_listener *l)
{
    if (!l)
        return;
    db_free(l->db);
    free(l);
}
