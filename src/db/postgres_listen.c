/* PostgreSQL: LISTEN and NOTIFY, the only thing that needs a session of its own. */
#include "db/postgres_priv.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>

int pg_listen_on(struct pg_db *db, const char *channel, struct err *err)
{
    char *quoted = PQescapeIdentifier(db->conn, channel, strlen(channel));
    char *sql = quoted ? str_printf(err, "LISTEN %s", quoted) : NULL;
    PQfreemem(quoted);
    if (!sql)
        return err_set(err, ERR_INVALID, "database %s: not the name of a channel", db->name);
    PGresult *result = PQexec(db->conn, sql);
    int rc = PQresultStatus(result) == PGRES_COMMAND_OK ? 0 : pg_fail(db, result, sql, err);
    PQclear(result);
    free(sql);
    return rc;
}

int pg_listen(struct db *base, const char *channel, struct err *err)
{
    struct pg_db *db = pg_of(base);
    if (pg_flush(db, err) < 0 || pg_ensure(db, err) < 0 || pg_listen_on(db, channel, err) < 0)
        return -1;
    return strv_add(&db->channels, channel, err);
}

/* 1: a notification, 0: none has come yet. */
static int take(struct pg_db *db, const char **payload, struct err *err)
{
    PGnotify *n = PQnotifies(db->conn);
    if (!n)
        return 0;
    free(db->payload);
    db->payload = str_dup(n->extra, err);
    PQfreemem(n);
    *payload = db->payload;
    return db->payload ? 1 : -1;
}

int pg_wait_notify(struct db *base, uint32_t timeout_ms, const char **payload, struct err *err)
{
    struct pg_db *db = pg_of(base);
    const uint64_t end_ms = clock_mono_ms() + timeout_ms;
    *payload = "";
    if (PQstatus(db->conn) != CONNECTION_OK)
        return pg_ensure(db, err) < 0 ? -1 : 1; /* what came meanwhile was missed */
    for (;;) {
        int rc = take(db, payload, err);
        uint64_t now_ms = clock_mono_ms();
        if (rc != 0)
            return rc;
        uint64_t left_ms = now_ms < end_ms ? end_ms - now_ms : 0;
        struct pollfd fd = {.fd = PQsocket(db->conn), .events = POLLIN};
        int ready = poll(&fd, 1, left_ms < INT32_MAX ? (int)left_ms : INT32_MAX);
        if (ready < 0 && errno != EINTR)
            return err_sys(err, "database %s: poll", db->name);
        if (ready > 0 && !PQconsumeInput(db->conn))
            return pg_fail(db, NULL, "LISTEN", err);
        if (ready == 0 && left_ms < INT32_MAX)
            return 0;
    }
}
