/* Any call of the API by anybody. Input: "METHOD TARGET", whose token, the body, a line each; "$J" is a job that one
 * node holds, "$N" that node. Whatever is asked: the answer is a success or a refusal with words, never a failure of
 * the server; what was posted by one is seen and touched by its poster, operators and the node that holds it alone; and
 * no secret of it is in any answer. */
#include "../unit/server/fake.h"
#include "market/market_priv.h"

#include <stdlib.h>
#include <unistd.h>

#define MARKET "m"
#define TEXT   (16u << 20)
#define PUBLIC "c4n4ry" /* in all of the job that its poster may see */
#define SECRET "s3cr3t-c4n4ry-n0b0dy"
#define TABLES 64
#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x)) {                                                                                                    \
            fprintf(stderr, "not so: %s\n", #x);                                                                       \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)
#define LEASE 36000000 /* nobody goes away while this runs */

static const char job_body[] =
    "{\"market\":\"" MARKET "\",\"labels\":{\"l\":\"" PUBLIC "\"},\"definition\":{\"Name\":\"" PUBLIC
    "\",\"Type\":\"batch\","
    "\"Tasks\":[{\"Name\":\"main\",\"Engine\":{\"Type\":\"docker\",\"Params\":{\"Image\":\"" PUBLIC "\"}},"
    "\"InputSources\":[{\"Target\":\"/d\",\"Source\":{\"Type\":\"s3PreSigned\",\"Params\":{\"PreSignedURL\":"
    "\"https://h/" PUBLIC "?X-Amz-Signature=" SECRET "\"}}}]}]},\"credentials\":{\"access_key_id\":\"a\","
    "\"secret_access_key\":\"" SECRET "\"}}";
static const char open_body[] =
    "{\"market\":\"" MARKET "\",\"definition\":{\"Name\":\"free\",\"Type\":\"batch\",\"Tasks\":[{\"Name\":\"main\","
    "\"Engine\":{\"Type\":\"docker\",\"Params\":{\"Image\":\"busybox\"}}}]}}";

/* X(name, letter): who asks. */
#define PEOPLE(X) X(OPERATOR, 'o') X(POSTER, 'p') X(STRANGER, 's') X(HOLDER, 'n') X(OTHER, 'm') X(JOINER, 'j')
enum person {
#define X(name, letter) name,
    PEOPLE(X)
#undef X
        NOBODY,
};
static const char letters[] = {
#define X(name, letter) letter,
    PEOPLE(X)
#undef X
};

static struct fake_server fake;
static char tokens[NOBODY][SEAL_TOKEN_MAX], job[MARKET_ID_MAX];
static char tables[TABLES][64];
static size_t table_count;

/* ---- the world ---- */

static json_t *ask(const char *method, const char *target, enum person who, const char *body)
{
    struct err err = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, TEXT);
    const struct fake_call call = {method, target, tokens[who], span_of(body)};
    int status = fake_call(&fake, &call, &text);
    MUST(status == 200 || status == 201);
    json_t *answer = json_parse(buf_span(&text), &err);
    MUST(answer);
    return answer;
}

static void keep_token(enum person who, json_t *answer)
{
    snprintf(tokens[who], SEAL_TOKEN_MAX, "%s", json_get_str(answer, "token"));
    json_decref(answer);
}

static void make_node(enum person who, const char *id)
{
    char body[128];
    snprintf(body, sizeof body, "{\"version\":1,\"node\":\"%s\",\"slots\":4}", id);
    keep_token(who, ask("POST", "/api/v1/node/hello", JOINER, body));
    snprintf(body, sizeof body, "{\"version\":1,\"node\":\"%s\",\"ready\":true,\"required_version\":0}", id);
    json_decref(ask("POST", "/api/v1/node/heartbeat", who, body));
}

static void post_and_claim(void)
{
    char body[512];
    json_t *posted = ask("POST", "/api/v1/orchestrator/jobs", POSTER, job_body);
    snprintf(job, sizeof job, "%s", json_get_str(json_object_get(posted, "job"), "id"));
    json_decref(posted);
    json_t *claims = ask("POST", "/api/v1/node/claim", HOLDER, "{\"version\":1,\"node\":\"n\",\"free\":1}");
    MUST(json_array_size(json_object_get(claims, "claims")) == 1);
    json_decref(claims);
    snprintf(body, sizeof body,
             "{\"version\":1,\"node\":\"n\",\"job\":\"%s\",\"index\":0,\"epoch\":1,\"stream\":1,\"offset\":0,"
             "\"data\":\"YzRuNHJ5\"}",
             job);
    json_decref(ask("POST", "/api/v1/node/logs", HOLDER, body));
    json_decref(ask("POST", "/api/v1/orchestrator/jobs", POSTER, open_body)); /* for whoever claims */
}

/* ---- what it was, to go back to ---- */

static struct db *database(void)
{
    struct err err = ERR_INIT;
    struct market *m = server_take(&fake.server, &err);
    MUST(m);
    server_give(&fake.server, m, false);
    return m->db;
}

static void execute(const char *fmt, const char *table)
{
    struct err err = ERR_INIT;
    char sql[256];
    snprintf(sql, sizeof sql, fmt, table, table);
    MUST(db_exec(database(), sql, &err) == 0);
}

static void keep_world(void)
{
    struct err err = ERR_INIT;
    struct db_stmt *s;
    execute("ATTACH ':memory:' AS kept", "");
    MUST(db_prepare(database(), "SELECT name FROM main.sqlite_master WHERE type = 'table'", &s, &err) == 0);
    while (db_next(s, &err) == 1) {
        MUST(table_count < TABLES);
        snprintf(tables[table_count++], sizeof tables[0], "%.*s", SPAN_FMT(db_col_text(s, 0)));
    }
    for (size_t i = 0; i < table_count; i++)
        execute("CREATE TABLE kept.%s AS SELECT * FROM main.%s", tables[i]);
}

static void restore_world(void)
{
    execute("BEGIN", "");
    execute("PRAGMA defer_foreign_keys = ON", "");
    for (size_t i = 0; i < table_count; i++) {
        execute("DELETE FROM main.%s", tables[i]);
        execute("INSERT INTO main.%s SELECT * FROM kept.%s", tables[i]);
    }
    execute("COMMIT", "");
}

static void set_up(void)
{
    static const char *const files[] = {"db", "db-wal", "db-shm", "keys"};
    struct err err = ERR_INIT;
    char dir[] = "/tmp/berth-fuzz-XXXXXX", path[64];
    MUST(mkdtemp(dir) && fake_open(&fake, dir, &err) == 0);
    fake.server.opts.lease_ms = LEASE;
    struct market *m = server_take(&fake.server, &err);
    MUST(m && market_token_first(m, tokens[OPERATOR], &err) == 1);
    server_give(&fake.server, m, false);
    json_decref(ask("PUT", "/api/markets/" MARKET, OPERATOR, "{}"));
    keep_token(POSTER, ask("POST", "/api/v1/tokens", OPERATOR, "{\"role\":\"poster\"}"));
    keep_token(STRANGER, ask("POST", "/api/v1/tokens", OPERATOR, "{\"role\":\"poster\"}"));
    keep_token(JOINER, ask("POST", "/api/v1/tokens", OPERATOR, "{\"role\":\"join\",\"market\":\"" MARKET "\"}"));
    make_node(HOLDER, "n");
    make_node(OTHER, "other");
    post_and_claim();
    keep_world();
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

/* ---- what is promised ---- */

static bool has(struct span text, const char *part)
{
    return text.n && memmem(text.p, text.n, part, strlen(part));
}

static bool may_see(enum person who)
{
    return who == POSTER || who == OPERATOR || who == HOLDER;
}

static void check_words(int status, struct span text)
{
    struct err err = ERR_INIT;
    AUTO_JSON answer = json_parse(text, &err);
    const char *message = json_get_str(json_object_get(answer, "error"), "message");
    MUST(message && message[0] && status < 500);
}

/* One row of the job and its execution, as text. */
static void read_job(struct buf *out)
{
    struct err err = ERR_INIT;
    struct db_stmt *s;
    MUST(db_prepare(database(),
                    "SELECT j.state || ',' || j.moves || ',' || e.state || ',' || e.epoch || ',' || e.node || ',' ||"
                    " e.log_bytes || ',' || COALESCE(e.stop_as, '') || ',' || COALESCE(e.progress, '') || ',' ||"
                    " COALESCE(e.lease_until_ms, '') || ',' || (SELECT COUNT(*) FROM uploads)"
                    " FROM jobs j JOIN executions e ON e.job = j.id WHERE j.id = $1",
                    &s, &err) == 0);
    db_bind_text(s, 1, job);
    MUST(db_next(s, &err) == 1);
    buf_add_span(out, db_col_text(s, 0));
    db_done(s);
}

static void check_call(const struct fake_call *call, enum person who)
{
    AUTO_BUF before, after, text;
    buf_init(&before, TEXT);
    buf_init(&after, TEXT);
    buf_init(&text, TEXT);
    read_job(&before);
    int status = fake_call(&fake, call, &text);
    if (status == FAKE_NOTHING)
        return;
    MUST(fake.server.idle.n == 1 && fake.server.idle.out == 0); /* given back, and of more use */
    if (status != FAKE_WAITS && status >= 400)
        check_words(status, buf_span(&text));
    MUST(!has(buf_span(&text), SECRET));
    if (!may_see(who)) {
        read_job(&after);
        MUST(!has(buf_span(&text), PUBLIC) && !has(buf_span(&text), "YzRuNHJ5"));
        MUST(span_eq(buf_span(&before), buf_span(&after)));
    }
    if (!str_eq(call->method, "GET"))
        restore_world();
}

/* ---- the input ---- */

static char *fill_in(struct span text)
{
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, TEXT);
    for (size_t i = 0; i < text.n; i++) {
        bool name = text.p[i] == '$' && i + 1 < text.n && (text.p[i + 1] == 'J' || text.p[i + 1] == 'N');
        if (name)
            buf_adds(&out, text.p[++i] == 'J' ? job : "n");
        else
            buf_addc(&out, text.p[i]);
    }
    char *filled = buf_take(&out, "input", &err);
    MUST(filled);
    return filled;
}

static enum person person_of(struct span word)
{
    for (unsigned i = 0; i < NOBODY; i++)
        if (word.n == 1 && word.p[0] == letters[i])
            return (enum person)i;
    return NOBODY;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct span input = {(const char *)data, n}, head, word, body;
    if (!fake.route_count)
        set_up();
    if (!span_cut(input, '\n', &head, &input) || !span_cut(input, '\n', &word, &body) ||
        has((struct span){(const char *)data, n}, PUBLIC) || has((struct span){(const char *)data, n}, "YzRu") ||
        memchr(head.p, 0, head.n) || memchr(word.p, 0, word.n))
        return 0;
    AUTO_STR line = fill_in(head);
    AUTO_STR text = fill_in(body);
    AUTO_STR own = fill_in(word);
    enum person who = person_of(word);
    char *target = line, *method = strsep(&target, " ");
    if (!target)
        return 0;
    const struct fake_call call = {.method = method,
                                   .target = target,
                                   .token = who < NOBODY ? tokens[who]
                                            : *own       ? own
                                                         : NULL,
                                   .body = span_of(text)};
    check_call(&call, who);
    return 0;
}
