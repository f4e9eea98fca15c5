/* The claim. First a look without locks: which queued executions could this node take now? Then one short transaction
 * that takes them, as far as nobody else did meanwhile.
 *
 * The look is bounded. Half of it goes to the front of the queue; the other half goes on where the last one of this
 * node ended, so that what stands far back behind jobs for other machines is seen as well.
 *
 * Executions whose secrets this server's keys do not open are left in the queue, for a server whose keys do. They are
 * found out only when they are taken; from then on a look passes over them, and the claim goes on behind them. */
#include "base/log.h"
#include "base/rng.h"
#include "market/market_priv.h"

#define SCAN_FIRST     CLAIM_CANDIDATES_MAX /* rows of the first page: mostly enough */
#define SCAN_PAGE      64
#define SCAN_PAGES_MAX 16 /* of each half */
#define CROWD_MAX      64
#define CROWD_FIRST    8
#define ROUNDS_MAX     8
#define OTHERS_MAX     256
#define VERDICTS_MAX   32 /* of different requirements, remembered within one look */
#define LEFT_MS        60000

struct looking {
    struct market *m;
    const struct market_caller *c;
    struct node_row node;
    struct arena *a;
    int64_t now_ms;
    uint32_t wanted; /* executions, at most */
    struct {         /* whether requirements fit: most jobs of a market ask for the same */
        char *needs;
        bool confidential, fits;
    } verdicts[VERDICTS_MAX];
    size_t verdict_count;
    struct machine machine; /* less what it runs */
    uint32_t running;
    char found[CLAIM_CANDIDATES_MAX][EXEC_ID_MAX];
    size_t found_count;
    size_t left_count; /* of those found: not to be opened here */
    bool wide;         /* something was left: try to take all that is found, not only as many as are wanted */
    int64_t at_rank;   /* how far the look has come; INT64_MIN: at the beginning, or all seen */
    char at_id[EXEC_ID_MAX];
    uint64_t skip; /* so many at the front of the queue: others are at it */
    struct rng rng;
};

struct candidate {
    char id[EXEC_ID_MAX], job[MARKET_ID_MAX], avoid_node[MARKET_NODE_MAX];
    int64_t rank, queued_ms;
    bool confidential, has_holds;
    char *needs;
};

/* ---- Does it fit? */

static int fits(struct looking *l, const struct candidate *x, bool *out, struct err *err)
{
    struct needs needs;
    for (size_t i = 0; i < l->verdict_count; i++) {
        if (l->verdicts[i].confidential == x->confidential && str_eq(l->verdicts[i].needs, x->needs)) {
            *out = l->verdicts[i].fits;
            return 0;
        }
    }
    if (needs_parse(span_of(x->needs), x->confidential, l->a, &needs, err) < 0)
        return -1;
    *out = decide_fits(&needs, &l->machine);
    if (l->verdict_count < VERDICTS_MAX) {
        l->verdicts[l->verdict_count].needs = x->needs;
        l->verdicts[l->verdict_count].confidential = x->confidential;
        l->verdicts[l->verdict_count++].fits = *out;
    }
    return 0;
}

/* What the node runs is no longer free. */
static int count_used(struct looking *l, struct err *err)
{
    struct query q = query_on(l->m,
                              "SELECT j.needs, j.confidential FROM executions e JOIN jobs j ON j.id = e.job"
                              " WHERE e.node = $1 AND e.state BETWEEN 1 AND 4",
                              err);
    query_text(&q, l->node.id);
    l->machine = l->node.machine;
    l->running = 0;
    while (query_next(&q) == 1) {
        struct needs needs;
        if (needs_parse(db_col_text(q.s, 0), query_get(&q, 1) != 0, l->a, &needs, err) < 0)
            break;
        decide_use(&l->machine, &needs);
        l->running++;
    }
    query_done(&q);
    return err_is_set(err) ? -1 : 0;
}

/* Whether another live node could take it, were it to have room. */
static int others_could(struct looking *l, const struct candidate *x, bool *out, struct err *err)
{
    struct needs needs;
    if (needs_parse(span_of(x->needs), x->confidential, l->a, &needs, err) < 0)
        return -1;
    struct query q = query_on(l->m,
                              "SELECT " NODE_FACTS " FROM nodes n WHERE n.market = $1 AND n.id <> $2"
                              " AND n.state = 'approved' AND n.ready = 1 AND n.last_seen_ms > $3 LIMIT $4",
                              err);
    query_text(&q, l->node.market);
    query_text(&q, l->node.id);
    query_i64(&q, l->now_ms - l->m->opts.lease_ms);
    query_i64(&q, OTHERS_MAX);
    *out = false;
    int rc = 0;
    while (!*out && rc == 0 && query_next(&q) == 1) {
        struct node_row other;
        rc = node_facts_read(l->m, &q, l->now_ms, l->a, &other, err);
        *out = rc == 0 && decide_fits(&needs, &other.machine);
    }
    query_done(&q);
    return err_is_set(err) ? -1 : rc;
}

/* ---- Who holds its inputs? */

/* What the best other live node holds of them beyond what this one does. */
static int missing_bytes(struct looking *l, const struct candidate *x, uint64_t *out, struct err *err)
{
    struct query q = query_on(l->m,
                              "SELECT h.node, CAST(SUM(h.bytes) AS BIGINT) AS held FROM job_holds k"
                              " JOIN node_holds h ON h.hold = k.hold JOIN nodes n ON n.id = h.node"
                              " WHERE k.job = $1 AND n.market = $2 AND n.state = 'approved' AND n.ready = 1"
                              " AND n.last_seen_ms > $3 AND NOT EXISTS (SELECT 1 FROM node_holds mine"
                              " WHERE mine.node = $4 AND mine.hold = k.hold)"
                              " GROUP BY h.node ORDER BY held DESC LIMIT 1",
                              err);
    query_text(&q, x->job);
    query_text(&q, l->node.market);
    query_i64(&q, l->now_ms - l->m->opts.lease_ms);
    query_text(&q, l->node.id);
    int rc = query_next(&q);
    *out = 0;
    if (rc == 1) {
        int64_t bytes = query_get(&q, 1);
        *out = bytes > 0 && bytes != VALUE_NONE ? (uint64_t)bytes : 0;
        query_done(&q);
    }
    return rc < 0 ? -1 : 0;
}

/* ---- What cannot be opened here? */

static struct left *left_slot(struct looking *l, uint64_t hash)
{
    return &l->m->left[hash % LEFT_MAX];
}

static bool is_left(struct looking *l, const char *id)
{
    const uint64_t hash = str_hash(STR_HASH_START, id);
    const struct left *left = left_slot(l, hash);
    return left->what == hash && left->until_ms > l->now_ms;
}

static int consider(struct looking *l, const struct candidate *x, struct err *err)
{
    struct offer o = {.queued_ms = x->queued_ms,
                      .max_window_ms = l->node.max_window_ms,
                      .lost_here = str_eq(x->avoid_node, l->node.id)};
    if (fits(l, x, &o.fits, err) < 0)
        return -1;
    if (!o.fits)
        return 0;
    if (o.lost_here && others_could(l, x, &o.others_could, err) < 0)
        return -1;
    if (x->has_holds && l->now_ms - x->queued_ms < l->node.max_window_ms &&
        missing_bytes(l, x, &o.missing_bytes, err) < 0)
        return -1;
    if (decide_place(&o, l->now_ms) != PLACE_TAKE)
        return 0;
    for (size_t i = 0; i < l->found_count; i++)
        if (str_eq(l->found[i], x->id))
            return 0;
    if (is_left(l, x->id))
        return 0;
    memcpy(l->found[l->found_count++], x->id, EXEC_ID_MAX);
    return 0;
}

/* ---- The look */

static void read_candidate(const struct query *q, struct arena *a, struct candidate *x)
{
    query_str(q, 0, x->id);
    query_str(q, 1, x->job);
    x->rank = query_get(q, 2);
    x->queued_ms = query_get(q, 3);
    query_str(q, 4, x->avoid_node);
    x->confidential = query_get(q, 5) != 0;
    x->needs = query_dup(q, 6, a);
    x->has_holds = query_get(q, 7) != 0;
}

/* A page of the queue after where the look is: how many rows there were. */
static int read_page(struct looking *l, int limit, struct candidate *page, struct err *err)
{
    struct query q =
        query_on(l->m,
                 "SELECT e.id, e.job, e.rank, e.queued_ms, e.avoid_node, j.confidential, j.needs, j.has_holds FROM"
                 " (SELECT id, job, rank, queued_ms, avoid_node FROM executions WHERE market = $1 AND state = 0"
                 " AND (rank, id) > ($2, $3) AND (due_ms IS NULL OR due_ms > $4)"
                 " ORDER BY rank, id LIMIT $5 OFFSET $6) e JOIN jobs j ON j.id = e.job ORDER BY e.rank, e.id",
                 err);
    query_text(&q, l->node.market);
    query_i64(&q, l->at_rank);
    query_text(&q, l->at_id);
    query_i64(&q, l->now_ms);
    query_i64(&q, limit);
    query_i64(&q, (int64_t)l->skip);
    l->skip = 0;
    int n = 0;
    while (query_next(&q) == 1)
        read_candidate(&q, l->a, &page[n++]);
    return err_is_set(err) || arena_check(l->a, err) < 0 ? -1 : n;
}

static bool full(const struct looking *l)
{
    return l->found_count == CLAIM_CANDIDATES_MAX;
}

/* Some more than wanted, since others look at the same front. */
static bool enough(const struct looking *l)
{
    return l->found_count >= l->wanted + CLAIM_CANDIDATES_MAX / 2 || full(l);
}

static int look_on(struct looking *l, struct err *err)
{
    struct candidate *page = arena_array(l->a, SCAN_PAGE, sizeof(*page));
    for (int p = 0; page && p < SCAN_PAGES_MAX && !enough(l); p++) {
        const int limit = p == 0 ? SCAN_FIRST : SCAN_PAGE;
        int n = read_page(l, limit, page, err);
        if (n < 0)
            return -1;
        for (int i = 0; i < n && !full(l); i++) { /* what was read anyway */
            l->at_rank = page[i].rank;
            memcpy(l->at_id, page[i].id, EXEC_ID_MAX);
            if (consider(l, &page[i], err) < 0)
                return -1;
        }
        if (n < limit && !enough(l)) { /* the end */
            l->at_rank = INT64_MIN;
            l->at_id[0] = '\0';
            return 0;
        }
    }
    return arena_check(l->a, err);
}

static int remember_place(struct looking *l, struct err *err)
{
    struct query q = query_on(l->m, "UPDATE nodes SET scan_rank = $2, scan_id = $3 WHERE id = $1", err);
    query_text(&q, l->node.id);
    query_value(&q, l->at_rank == INT64_MIN ? VALUE_NONE : l->at_rank);
    query_text(&q, l->at_id);
    return query_run(&q);
}

static void to_front(struct looking *l)
{
    l->at_rank = INT64_MIN;
    l->at_id[0] = '\0';
}

/* The place from which the look goes on, or, where the last look of this node came further, that one. */
static void go_on(struct looking *l)
{
    if (l->node.scan_rank == VALUE_NONE || l->node.scan_rank < l->at_rank)
        return;
    l->at_rank = l->node.scan_rank;
    memcpy(l->at_id, l->node.scan_id, EXEC_ID_MAX);
}

/* The front, then, where that gave nothing and there is more behind it, on from where the last look ended. */
static int look(struct looking *l, struct err *err)
{
    l->found_count = 0;
    if (look_on(l, err) < 0)
        return -1;
    if (l->found_count || l->at_rank == INT64_MIN)
        return 0;
    go_on(l);
    return look_on(l, err) < 0 ? -1 : remember_place(l, err);
}

/* ---- Taking */

struct taken {
    struct job_row j;
    struct exec_row x;
    json_t *claim; /* CLAIM */
    struct needs needs;
};

static int add_definition(struct market *m, const struct query *q, const char *job, json_t *claim, struct err *err)
{
    const int at = EXEC_COLUMN_COUNT;
    struct span secrets = db_col_text(q->s, at + 1), credentials = db_col_text(q->s, at + 2);
    if (!db_col_null(q->s, at)) {
        json_t *definition = json_object();
        put_i64(definition, "berth", 1, err);
        put_stored(definition, "job", q, at, json_null(), err);
        json_put(claim, "definition", definition, err);
    } else {
        json_put(claim, "definition", json_null(), err);
    }
    json_put(claim, "variables", secrets.p ? unseal_json(m, secrets, job, "variables", err) : json_object(), err);
    return json_put(claim, "credentials",
                    credentials.p ? unseal_json(m, credentials, job, "credentials", err) : json_null(), err);
}

static json_t *claim_json(struct market *m, const struct query *q, const struct job_row *j, const struct exec_row *x,
                          struct err *err)
{
    const int at = EXEC_COLUMN_COUNT;
    json_t *o = json_object();
    json_put_str(o, "job", x->job, err);
    put_i64(o, "index", x->index, err);
    put_i64(o, "count", query_get(q, at + 5), err);
    put_i64(o, "attempt", x->facts.attempt + 1, err);
    put_i64(o, "epoch", x->epoch + 1, err);
    put_i64(o, "lease_ms", m->opts.lease_ms, err);
    struct span name = db_col_text(q->s, at + 3);
    json_put(o, "name", json_stringn(name.p, name.n), err);
    add_definition(m, q, x->job, o, err);
    put_i64(o, "timeout_ms", query_get(q, at + 4), err);
    int64_t total = x->facts.total_deadline_ms;
    put_ms(o, "total_left_ms", total == TIME_NEVER ? VALUE_NONE : total - m->tx.now_ms, err);
    put_bool(o, "confidential", j->confidential, err);
    return o;
}

/* A server with other keys may open it; this one must not stand still before it. Who was remembered in its place is
 * forgotten, which costs a try and a line in the log. */
static void leave_sealed(struct looking *l, const struct exec_row *x, const struct err *why)
{
    const uint64_t hash = str_hash(STR_HASH_START, x->id);
    struct left *left = left_slot(l, hash);
    if (left->what != hash)
        log_warn("market", "left in the queue (execution=%s reason=\"%s\")", x->id, why->text);
    *left = (struct left){hash, l->now_ms + LEFT_MS};
    l->left_count++;
}

static struct query lock_found_start(struct looking *l, struct err *err)
{
    struct query q = query_on(l->m, schema_locks(l->m->db)->claim, err);
    for (size_t i = 0; i < CLAIM_CANDIDATES_MAX; i++)
        query_text(&q, i < l->found_count ? l->found[i] : NULL);
    query_i64(&q, l->wide ? CLAIM_CANDIDATES_MAX : l->wanted);
    query_start(&q);
    return q;
}

/* Rows locked by the one statement; what one costs is counted before the next is taken. */
static int lock_found(struct looking *l, struct query *q, uint32_t limit, struct taken *out, size_t *n, struct err *err)
{
    struct market *m = l->m;
    *n = 0;
    while (*n < limit && query_next(q) == 1) {
        struct taken *t = &out[*n];
        exec_read(q, &t->x);
        job_read(q, EXEC_COLUMN_COUNT + 7, &t->j);
        if (needs_parse(db_col_text(q->s, EXEC_COLUMN_COUNT + 6), t->j.confidential, l->a, &t->needs, err) < 0)
            break;
        if (!decide_fits(&t->needs, &l->machine))
            continue;
        struct err why = ERR_INIT;
        t->claim = claim_json(m, q, &t->j, &t->x, &why);
        if (err_is_set(&why)) {
            market_secrets_free(t->claim);
            leave_sealed(l, &t->x, &why);
            continue;
        }
        decide_use(&l->machine, &t->needs);
        ++*n;
    }
    return err_is_set(err) ? -1 : 0;
}

/* The job as it is now: several executions of one job may be taken in one call, each changes its row. */
static struct job_row *job_of(struct taken *taken, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (str_eq(taken[k].j.id, taken[i].j.id))
            return &taken[k].j;
    return &taken[i].j;
}

static int take(struct looking *l, struct taken *t, struct job_row *j, struct err *err)
{
    struct market *m = l->m;
    struct exec_row *x = &t->x;
    json_t *previous = NULL;
    char reason[REASON_MAX];
    const struct verdict v = {.kind = VERDICT_MOVE, .to = EXEC_CLAIMED};
    memcpy(x->node, l->node.id, sizeof(x->node));
    snprintf(reason, sizeof(reason), "claimed by %s", l->node.id);
    x->epoch++;
    x->facts.attempt++;
    x->claimed_ms = m->tx.now_ms;
    x->started_ms = x->exit_code = VALUE_NONE;
    x->facts.lease_until_ms = m->tx.now_ms + m->opts.lease_ms;
    x->facts.definition_until_ms = j->confidential ? m->tx.now_ms + MARKET_DEFINITION_MS : TIME_NEVER;
    if (exec_apply(m, j, x, &v, reason, err) < 0)
        return -1;
    if (x->facts.attempt > 1 && uploads_json(m, x->id, x->epoch, &previous, err) < 0)
        return -1;
    return json_put(t->claim, "previous_uploads", previous ? previous : json_array(), err);
}

static struct query recheck_start(struct looking *l, struct err *err)
{
    struct query q = query_on(l->m,
                              "UPDATE nodes SET claims = claims + 1 WHERE id = $1 AND state = 'approved'"
                              " AND EXISTS (SELECT 1 FROM tokens WHERE id = $2 AND revoked = 0)"
                              " RETURNING slots, claims",
                              err);
    query_text(&q, l->node.id);
    query_text(&q, l->c->token);
    query_start(&q);
    return q;
}

/* Under the node's row: of two claims of one node at the same time the later one counts again. A node or a token that
 * was turned away since the look has no room. */
static int recheck(struct looking *l, struct query *q, uint32_t *free_slots, struct err *err)
{
    int rc = query_next(q);
    *free_slots = 0;
    if (rc <= 0)
        return rc;
    bool alone = query_get(q, 1) == l->node.claims + 1;
    l->node.slots = (uint32_t)query_get(q, 0);
    l->node.claims = query_get(q, 1);
    query_done(q);
    if (!alone && count_used(l, err) < 0)
        return -1;
    uint32_t left = l->node.slots > l->running ? l->node.slots - l->running : 0;
    *free_slots = left < l->wanted ? left : l->wanted;
    return 0;
}

/* Asked for together: where the node has less room than it had, some are locked for nothing. */
static int take_found(struct looking *l, json_t *claims, struct err *err)
{
    struct taken *taken = calloc(CLAIM_CANDIDATES_MAX, sizeof(*taken));
    uint32_t limit = 0;
    size_t n = 0;
    if (!taken)
        return err_nomem(err);
    struct query room = recheck_start(l, err), found = lock_found_start(l, err);
    int rc = recheck(l, &room, &limit, err);
    if (limit > CLAIM_CANDIDATES_MAX)
        limit = CLAIM_CANDIDATES_MAX;
    l->wanted = limit;
    if (rc == 0 && limit > 0)
        rc = lock_found(l, &found, limit, taken, &n, err);
    query_done(&found);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = take(l, &taken[i], job_of(taken, i), err);
    for (size_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = append(claims, taken[i].claim, err);
        else
            market_secrets_free(taken[i].claim);
    }
    free(taken);
    return rc;
}

/* ---- The call */

static int prepare(struct looking *l, const json_t *holds, struct err *err)
{
    struct market *m = l->m;
    struct query token = token_start(m, l->c, err), facts = node_facts_start(m, l->c->node, err);
    if (market_now(m, &l->now_ms, err) < 0 || token_end(&token, l->now_ms) < 0 ||
        node_facts_end(m, &facts, l->now_ms, l->a, &l->node) < 0)
        return -1;
    if (holds) {
        if (market_begin_at(m, l->now_ms, err) < 0)
            return -1;
        if (market_end(m, node_holds_set(m, l->node.id, holds, err), err) < 0)
            return -1;
    }
    l->machine = l->node.machine;
    l->running = l->node.running;
    if (l->running > 0 && count_used(l, err) < 0)
        return -1;
    uint32_t left = l->node.slots > l->running ? l->node.slots - l->running : 0;
    l->wanted = left < l->wanted ? left : l->wanted;
    return 0;
}

/* Where many nodes race for the front of the queue, all but one would find it taken. Once that happened, claims of this
 * connection start somewhere among the first few; the fewer collide, the closer to the front. */
static void widen(struct market *m)
{
    m->crowd = m->crowd ? m->crowd * 2 : CROWD_FIRST;
    m->crowd = m->crowd < CROWD_MAX ? m->crowd : CROWD_MAX;
}

/* Slower than it widened, or every third claim would collide just to find out. */
static void narrow(struct market *m)
{
    m->crowd -= m->crowd > 0 ? 1 + m->crowd / 16 : 0;
}

static int look_once(struct looking *l, struct err *err)
{
    l->skip = rng_below(&l->rng, l->m->crowd);
    if (look(l, err) < 0)
        return -1;
    if (l->found_count > 0 || l->m->crowd == 0)
        return 0;
    l->skip = l->m->crowd = 0; /* nothing left behind what was skipped */
    to_front(l);
    return look(l, err);
}

/* Nothing of what was found could be taken. False: there is no more to be found. */
static bool after_nothing(struct looking *l)
{
    if (l->wanted == 0)
        return false;
    if (l->left_count > 0 && !l->wide) { /* the others of those found were not tried yet */
        l->wide = true;
        to_front(l);
        return true;
    }
    if (l->at_rank == INT64_MIN)
        return false;
    if (l->left_count > 0)
        go_on(l);
    else
        widen(l->m); /* others took it */
    return true;
}

static int claim(struct looking *l, const json_t *holds, json_t *claims, struct err *err)
{
    if (prepare(l, holds, err) < 0 || rng_bytes(&l->rng.state, sizeof(l->rng.state), err) < 0)
        return -1;
    if (!node_may_claim(&l->node) || l->wanted == 0)
        return 0;
    for (int round = 0; round < ROUNDS_MAX; round++) {
        l->left_count = 0;
        if (look_once(l, err) < 0)
            return -1;
        if (l->found_count == 0)
            return 0;
        if (market_begin_at(l->m, l->now_ms, err) < 0)
            return -1;
        if (market_end(l->m, take_found(l, claims, err), err) < 0)
            return -1;
        if (json_array_size(claims) > 0) {
            if (round == 0)
                narrow(l->m);
            return 0;
        }
        if (!after_nothing(l))
            return 0;
    }
    return l->left_count > 0 ? remember_place(l, err) : 0; /* the next claim begins behind them */
}

int market_node_claim(struct market *m, const struct market_caller *c, uint32_t free_slots, const json_t *holds,
                      json_t **out, struct err *err)
{
    if (need_node(c, err) < 0)
        return -1;
    struct looking *l = calloc(1, sizeof(*l));
    json_t *o = json_object(), *claims = json_array();
    json_put(o, "claims", claims, err);
    if (!l || !o || !claims) {
        err_nomem(err);
    } else if (!err_is_set(err)) {
        *l = (struct looking){.m = m, .c = c, .wanted = free_slots, .at_rank = INT64_MIN, .a = arena_new(0, err)};
        if (l->a)
            claim(l, holds, claims, err);
        arena_free(l->a);
    }
    free(l);
    if (give(out, &o, err) < 0 || !out)
        market_secrets_free(o);
    return err_is_set(err) ? -1 : 0;
}
