/* The tables. One text for both databases: BIGINT, TEXT and BLOB.
 *
 * States are the numbers of enum exec_state: 0 is queued, 1 to 4 are held. An absent time is NULL. */
#include "base/attr.h"
#include "market/market_priv.h"

static const char *const migrations[] = {
    "CREATE TABLE markets("
    " address TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, created_ms BIGINT NOT NULL,"
    " locality_window_ms BIGINT NOT NULL, max_attempts BIGINT NOT NULL, max_queued BIGINT NOT NULL,"
    " retention_ms BIGINT NOT NULL, max_log_bytes BIGINT NOT NULL,"
    " required_version BIGINT NOT NULL DEFAULT 0, required_public TEXT, required_sealed BLOB);"
    "CREATE TABLE tokens("
    " id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, role TEXT NOT NULL, name TEXT NOT NULL, market TEXT NOT NULL,"
    " node TEXT NOT NULL, created_ms BIGINT NOT NULL, expires_ms BIGINT, revoked BIGINT NOT NULL DEFAULT 0);"
    "CREATE INDEX tokens_created ON tokens(created_ms, id);"
    "CREATE TABLE nodes("
    " id TEXT PRIMARY KEY, name TEXT NOT NULL, market TEXT NOT NULL REFERENCES markets(address),"
    " state TEXT NOT NULL, ready BIGINT NOT NULL DEFAULT 0, readiness TEXT NOT NULL DEFAULT '',"
    " created_ms BIGINT NOT NULL, last_seen_ms BIGINT NOT NULL, slots BIGINT NOT NULL, info TEXT NOT NULL,"
    " labels TEXT NOT NULL, cache TEXT, public_key TEXT, peer_address TEXT, peer_fingerprint TEXT,"
    " token TEXT NOT NULL, joined_by TEXT, token_used BIGINT NOT NULL DEFAULT 0, claims BIGINT NOT NULL DEFAULT 0,"
    " scan_rank BIGINT, scan_id TEXT, drain_told BIGINT NOT NULL DEFAULT 0);"
    "CREATE INDEX nodes_market ON nodes(market, id);"
    "CREATE TABLE node_holds("
    " node TEXT NOT NULL REFERENCES nodes(id) ON DELETE CASCADE, hold TEXT NOT NULL, bytes BIGINT NOT NULL,"
    " PRIMARY KEY (node, hold));"
    "CREATE INDEX node_holds_hold ON node_holds(hold);"
    "CREATE TABLE node_blobs("
    " node TEXT NOT NULL REFERENCES nodes(id) ON DELETE CASCADE, sha256 TEXT NOT NULL, added_ms BIGINT NOT NULL,"
    " PRIMARY KEY (node, sha256));"
    "CREATE INDEX node_blobs_sha256 ON node_blobs(sha256);"
    "CREATE INDEX node_blobs_age ON node_blobs(node, added_ms);"
    "CREATE TABLE jobs("
    " id TEXT PRIMARY KEY, market TEXT NOT NULL REFERENCES markets(address), owner TEXT NOT NULL, name TEXT NOT NULL,"
    " priority BIGINT NOT NULL, count BIGINT NOT NULL, labels TEXT NOT NULL, created_ms BIGINT NOT NULL,"
    " finished_ms BIGINT, timeout_ms BIGINT NOT NULL, queue_timeout_ms BIGINT NOT NULL, total_deadline_ms BIGINT,"
    " state BIGINT NOT NULL, counts TEXT NOT NULL, moves BIGINT NOT NULL, reason TEXT NOT NULL, exit_code BIGINT,"
    " node TEXT NOT NULL, confidential BIGINT NOT NULL, needs TEXT NOT NULL, has_holds BIGINT NOT NULL, definition "
    "TEXT,"
    " shown TEXT NOT NULL, secrets BLOB, credentials BLOB);"
    "CREATE INDEX jobs_created ON jobs(created_ms, id);"
    "CREATE INDEX jobs_owner ON jobs(owner, created_ms, id);"
    "CREATE INDEX jobs_priority ON jobs(priority, id);"
    "CREATE INDEX jobs_state ON jobs(state, id);"
    "CREATE INDEX jobs_ended ON jobs(market, finished_ms) WHERE finished_ms IS NOT NULL;"
    "CREATE TABLE job_labels("
    " job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, name TEXT NOT NULL, value TEXT NOT NULL,"
    " PRIMARY KEY (job, name));"
    "CREATE INDEX job_labels_name ON job_labels(name, value);"
    "CREATE TABLE job_holds("
    " job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, hold TEXT NOT NULL, PRIMARY KEY (job, hold));"
    "CREATE TABLE executions("
    " id TEXT PRIMARY KEY, job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, idx BIGINT NOT NULL,"
    " market TEXT NOT NULL, rank BIGINT NOT NULL, state BIGINT NOT NULL, attempt BIGINT NOT NULL DEFAULT 0,"
    " max_attempts BIGINT NOT NULL, epoch BIGINT NOT NULL DEFAULT 0, node TEXT NOT NULL DEFAULT '',"
    " avoid_node TEXT NOT NULL DEFAULT '', due_ms BIGINT, lease_until_ms BIGINT, definition_until_ms BIGINT,"
    " queue_deadline_ms BIGINT, total_deadline_ms BIGINT, stop_as BIGINT, stop_by_ms BIGINT, stop_told_ms BIGINT,"
    " reason TEXT NOT NULL DEFAULT '', queued_ms BIGINT NOT NULL, claimed_ms BIGINT, started_ms BIGINT,"
    " finished_ms BIGINT, exit_code BIGINT, progress TEXT, record TEXT, log_seq BIGINT NOT NULL DEFAULT 0,"
    " log_bytes BIGINT NOT NULL DEFAULT 0, log_attempt BIGINT NOT NULL DEFAULT 0,"
    " out_offset BIGINT NOT NULL DEFAULT 0, err_offset BIGINT NOT NULL DEFAULT 0, UNIQUE (job, idx));"
    "CREATE INDEX executions_queue ON executions(market, rank, id) WHERE state = 0;"
    "CREATE INDEX executions_held ON executions(market, state) WHERE state BETWEEN 1 AND 4;"
    "CREATE INDEX executions_node ON executions(node) WHERE state BETWEEN 1 AND 4;"
    "CREATE INDEX executions_due ON executions(due_ms) WHERE due_ms IS NOT NULL;"
    "CREATE TABLE history("
    " job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, seq BIGINT NOT NULL, at_ms BIGINT NOT NULL,"
    " idx BIGINT NOT NULL, attempt BIGINT NOT NULL, epoch BIGINT NOT NULL, from_state BIGINT NOT NULL,"
    " to_state BIGINT NOT NULL, node TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (job, seq));"
    "CREATE TABLE logs("
    " execution TEXT NOT NULL REFERENCES executions(id) ON DELETE CASCADE, seq BIGINT NOT NULL,"
    " attempt BIGINT NOT NULL, stream BIGINT NOT NULL, at_offset BIGINT NOT NULL, bytes BIGINT NOT NULL, data BLOB,"
    " PRIMARY KEY (execution, seq));"
    "CREATE TABLE uploads("
    " execution TEXT NOT NULL REFERENCES executions(id) ON DELETE CASCADE, record TEXT NOT NULL,"
    " epoch BIGINT NOT NULL, at_ms BIGINT NOT NULL, PRIMARY KEY (execution, record));"
    "CREATE TABLE results("
    " job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, idx BIGINT NOT NULL, attempt BIGINT NOT NULL,"
    " epoch BIGINT NOT NULL, exit_code BIGINT, published TEXT, at_ms BIGINT NOT NULL, PRIMARY KEY (job, idx));"
    "CREATE TABLE definitions("
    " execution TEXT PRIMARY KEY REFERENCES executions(id) ON DELETE CASCADE, epoch BIGINT NOT NULL,"
    " sealed TEXT NOT NULL);"
    "CREATE TABLE idempotency("
    " owner TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL,"
    " job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, created_ms BIGINT NOT NULL, PRIMARY KEY (owner, key));"
    "CREATE INDEX idempotency_age ON idempotency(created_ms);"
    "CREATE INDEX idempotency_job ON idempotency(job);",
    /* Markets that were there take as much of one poster as they took before; new ones say how much. */
    "ALTER TABLE markets ADD COLUMN max_per_poster BIGINT NOT NULL DEFAULT 10000000;"
    "CREATE INDEX jobs_live ON jobs(owner, market, count) WHERE finished_ms IS NULL;",
    /* Over a node's life, and what it said last since its start, from which it counts anew. */
    "ALTER TABLE nodes ADD COLUMN peer_sent_bytes BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE nodes ADD COLUMN peer_sent_seen BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE nodes ADD COLUMN peer_got_bytes BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE nodes ADD COLUMN peer_got_seen BIGINT NOT NULL DEFAULT 0;",
};

int schema_migrate(struct db *db, struct err *err)
{
    return db_migrate(db, migrations, ARRAY_LEN(migrations), err);
}

/* The statements that lock rows, the one thing in which the databases differ: SQLite has one writer, so nothing is ever
 * locked by another. NO KEY: rows of other tables may refer to a locked one meanwhile.
 *
 * The claim: of the candidates $1 … $8, lock at most $9 that are still queued and that nobody else is just taking.
 * After EXEC_COLUMNS and the first seven come JOB_ROW_COLUMNS: the job's row is locked as well. The sum keeps
 * PostgreSQL from looking for the ids all through the queue's index. */
#define CLAIM_SQL                                                                                                      \
    "SELECT " EXEC_COLUMNS                                                                                             \
    ", j.definition, j.secrets, j.credentials, j.name, j.timeout_ms, j.count, j.needs, " JOB_ROW_COLUMNS               \
    " FROM executions e JOIN jobs j ON j.id = e.job WHERE e.id IN ($1, $2, $3, $4, $5, $6, $7, $8)"                    \
    " AND e.state + 0 = 0 ORDER BY e.rank, e.id LIMIT $9"
#define JOB_SQL "SELECT " JOB_ROW_COLUMNS " FROM jobs j WHERE j.id = $1"
#define EXEC_SQL                                                                                                       \
    "SELECT " EXEC_COLUMNS ", " JOB_ROW_COLUMNS " FROM executions e JOIN jobs j ON j.id = e.job"                       \
    " WHERE e.job = $1 AND e.idx = $2"

const struct schema_locks *schema_locks(struct db *db)
{
    static const struct schema_locks sqlite = {CLAIM_SQL, JOB_SQL, EXEC_SQL},
                                     postgres = {CLAIM_SQL " FOR NO KEY UPDATE OF e, j SKIP LOCKED",
                                                 JOB_SQL " FOR NO KEY UPDATE", EXEC_SQL " FOR NO KEY UPDATE OF j, e"};
    return db_engine(db) == DB_POSTGRES ? &postgres : &sqlite;
}
