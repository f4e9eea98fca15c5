/* A throw-away PostgreSQL for a test program, by tools/servers. */
#ifndef BERTH_TESTS_DB_PG_SERVER_H
#define BERTH_TESTS_DB_PG_SERVER_H

#include "db_fixture.h"

#include <unistd.h>

static char pg_dir[] = "/tmp/berth-pg-XXXXXX";

static inline int pg_stop(void **state)
{
    (void)state;
    char command[512];
    snprintf(command, sizeof(command), "'%s' stop %s", BERTH_SERVERS, pg_dir);
    return system(command) == 0 ? 0 : -1;
}

/* `which`: the servers to start, the last of which is the one to test with. */
static inline int pg_start_these(const char *which, const char *last, void **state)
{
    char command[512], answer[4096];
    static char url[256];
    if (!mkdtemp(strcpy(pg_dir, "/tmp/berth-pg-XXXXXX")))
        return -1;
    snprintf(command, sizeof(command), "'%s' start %s %s", BERTH_SERVERS, pg_dir, which);
    FILE *f = popen(command, "r");
    if (!f)
        return -1;
    size_t n = fread(answer, 1, sizeof(answer) - 1, f);
    answer[n] = '\0';
    const char *at = pclose(f) == 0 ? strstr(answer, last) : NULL;
    at = at ? strstr(at, "\"url\": \"") : NULL;
    if (!at || sscanf(at, "\"url\": \"%255[^\"]", url) != 1) {
        fprintf(stderr, "no %s to test with: `tools/setup servers` installs it\n", last);
        pg_stop(state);
        return -1;
    }
    db_test_url = url;
    return 0;
}

static inline int pg_start(void **state)
{
    return pg_start_these("postgres", "postgres", state);
}

/* PostgreSQL behind a transaction pooler. */
static inline int pg_start_pooled(void **state)
{
    return pg_start_these("postgres pgbouncer", "pgbouncer", state);
}

static inline bool pg_has_pooler(void)
{
    return access("/usr/sbin/pgbouncer", X_OK) == 0;
}

#endif
