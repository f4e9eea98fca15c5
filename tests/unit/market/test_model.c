/* Every state that two nodes and two executions can get into, by search.
 *
 * The server's part is decide.h itself, as the SQL calls it. Around it everything goes wrong that can: answers are
 * lost, messages come late and twice, nodes crash, start again, freeze and wake, time passes between any two steps. In
 * every state: one result at most, one node at most that believes it holds an execution; and from every state in which
 * a node is up, both executions come to an end once things go well. */
#include "market/decide.h"

#include "base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define NODES    2
#define EXECS    2
#define LEASE    2 /* in units of time */
#define ATTEMPTS 2
#define NOBODY   2 /* of a node's number */

enum { UP, FROZEN, DOWN };
enum { SENT_NOTHING, SENT_SUCCESS, SENT_RETRY };

struct model {
    struct {
        uint8_t state, attempt, node, avoid, lease, stopping; /* the epoch is the attempt: both grow with each claim */
    } x[EXECS];
    struct {
        uint8_t how, seen; /* seen: units for which the server still takes it for live */
        struct {
            uint8_t epoch, lease;     /* what the node believes; epoch 0: does not hold it */
            uint8_t sent, sent_epoch; /* a finish on its way: may arrive never, once, twice */
        } h[EXECS];
    } n[NODES];
};

/* ---- As a number, the same for states that differ only in the names of nodes and executions. */

static uint64_t pack(const struct model *m, const int nodes[NODES], const int execs[EXECS])
{
    static const uint8_t same[] = {0, 1, 2};
    uint8_t as[3];
    uint64_t v = 0;
    memcpy(as, same, sizeof(as));
    for (uint8_t i = 0; i < NODES; i++)
        as[nodes[i]] = i;
#define ADD(bits, value) v = v << (bits) | (uint64_t)(value)
    for (int i = 0; i < EXECS; i++) {
        const int x = execs[i];
        ADD(4, m->x[x].state);
        ADD(2, m->x[x].attempt);
        ADD(2, as[m->x[x].node]);
        ADD(2, as[m->x[x].avoid]);
        ADD(2, m->x[x].lease);
        ADD(1, m->x[x].stopping);
    }
    for (int i = 0; i < NODES; i++) {
        const int n = nodes[i];
        ADD(2, m->n[n].how);
        ADD(2, m->n[n].seen);
        for (int k = 0; k < EXECS; k++) {
            const int x = execs[k];
            ADD(2, m->n[n].h[x].epoch);
            ADD(2, m->n[n].h[x].lease);
            ADD(3, m->n[n].h[x].sent ? 2 * m->n[n].h[x].sent_epoch + m->n[n].h[x].sent : 0);
        }
    }
#undef ADD
    return v;
}

static uint64_t canonical(const struct model *m)
{
    static const int orders[2][2] = {{0, 1}, {1, 0}};
    uint64_t best = UINT64_MAX;
    for (int n = 0; n < 2; n++) {
        for (int x = 0; x < 2; x++) {
            uint64_t v = pack(m, orders[n], orders[x]);
            best = v < best ? v : best;
        }
    }
    return best;
}

/* ---- The server, by the pure decisions */

static struct exec_facts facts_of(const struct model *m, int x)
{
    return (struct exec_facts){
        .state = (enum exec_state)m->x[x].state,
        .attempt = m->x[x].attempt,
        .max_attempts = ATTEMPTS,
        .lease_until_ms = m->x[x].lease,
        .definition_until_ms = TIME_NEVER,
        .queue_deadline_ms = TIME_NEVER,
        .total_deadline_ms = TIME_NEVER,
        .stopping = m->x[x].stopping,
        .stop_as = EXEC_STOPPED,
        .stop_by_ms = TIME_NEVER,
    };
}

static void apply(struct model *m, int x, const struct verdict *v)
{
    if (v->kind == VERDICT_KEEP)
        return;
    if (v->kind == VERDICT_ASK_STOP) {
        m->x[x].stopping = 1;
        return;
    }
    assert_true(exec_may_move((enum exec_state)m->x[x].state, v->to));
    m->x[x].state = (uint8_t)v->to;
    if (v->to == EXEC_QUEUED) {
        m->x[x].avoid = v->avoid ? m->x[x].node : NOBODY;
        m->x[x].node = NOBODY;
        m->x[x].lease = m->x[x].stopping = 0;
    }
    if (exec_is_ended(v->to)) {
        m->x[x].lease = m->x[x].stopping = 0;
        m->x[x].avoid = NOBODY;
    }
}

static bool holds(const struct model *m, int n, int x, int epoch)
{
    return exec_is_held((enum exec_state)m->x[x].state) && m->x[x].node == n && m->x[x].attempt == epoch;
}

static bool server_claims(struct model *m, int n, int x)
{
    const struct offer o = {.fits = true, .lost_here = m->x[x].avoid == n, .others_could = m->n[1 - n].seen > 0};
    m->n[n].seen = LEASE;
    if (m->x[x].state != EXEC_QUEUED || decide_place(&o, 0) != PLACE_TAKE)
        return false;
    m->x[x].state = EXEC_CLAIMED;
    m->x[x].attempt++;
    m->x[x].node = (uint8_t)n;
    m->x[x].avoid = NOBODY;
    m->x[x].lease = LEASE;
    return true;
}

static bool server_renews(struct model *m, int n, int x, int epoch)
{
    m->n[n].seen = LEASE;
    if (!holds(m, n, x, epoch))
        return false;
    const struct exec_facts f = facts_of(m, x);
    const struct verdict v = decide_report(&f, EXEC_RUNNING);
    apply(m, x, &v);
    m->x[x].lease = LEASE;
    return true;
}

/* A finish arrives, perhaps late, perhaps again. */
static void server_finishes(struct model *m, int n, int x)
{
    if (!holds(m, n, x, m->n[n].h[x].sent_epoch))
        return;
    const struct exec_facts f = facts_of(m, x);
    const bool retry = m->n[n].h[x].sent == SENT_RETRY;
    const struct verdict v = decide_finish(&f, retry ? EXEC_FAILED : EXEC_SUCCEEDED, retry);
    apply(m, x, &v);
}

static void server_ticks(struct model *m, int x)
{
    const struct exec_facts f = facts_of(m, x);
    const struct verdict v = decide_tick(&f, 0);
    apply(m, x, &v);
}

/* ---- Nodes and time */

static void forget(struct model *m, int n, int x)
{
    m->n[n].h[x].epoch = m->n[n].h[x].lease = 0;
}

static void count_down(uint8_t *v)
{
    if (*v > 0)
        --*v;
}

static void time_passes(struct model *m)
{
    for (int x = 0; x < EXECS; x++)
        count_down(&m->x[x].lease);
    for (int n = 0; n < NODES; n++) {
        count_down(&m->n[n].seen);
        for (int x = 0; x < EXECS; x++) {
            if (m->n[n].h[x].epoch == 0)
                continue;
            count_down(&m->n[n].h[x].lease);
            if (m->n[n].h[x].lease == 0 && m->n[n].how == UP)
                forget(m, n, x); /* it fences itself */
        }
    }
}

static void node_claims(struct model *m, int n, int x, bool answered)
{
    if (!server_claims(m, n, x) || !answered)
        return;
    m->n[n].h[x].epoch = m->x[x].attempt;
    m->n[n].h[x].lease = LEASE;
}

static void node_beats(struct model *m, int n, int x, bool answered)
{
    bool renewed = server_renews(m, n, x, m->n[n].h[x].epoch);
    if (answered && renewed)
        m->n[n].h[x].lease = LEASE;
    else if (answered)
        forget(m, n, x);
}

static void node_sends(struct model *m, int n, int x, uint8_t what)
{
    m->n[n].h[x].sent = what;
    m->n[n].h[x].sent_epoch = m->n[n].h[x].epoch;
    forget(m, n, x);
}

/* ---- The search */

static struct {
    uint64_t *slots; /* 0: free; the packed state plus one */
    size_t capacity, n;
    struct model *queue;
    size_t queue_n, queue_capacity;
} search;

static void see(const struct model *m)
{
    const uint64_t key = canonical(m) + 1;
    size_t i = (size_t)(key * 0x9e3779b97f4a7c15u >> 20);
    for (;; i++) {
        uint64_t *slot = &search.slots[i & (search.capacity - 1)];
        if (*slot == key)
            return;
        if (*slot == 0) {
            *slot = key;
            break;
        }
    }
    search.n++;
    if (search.n * 2 > search.capacity || search.queue_n == search.queue_capacity)
        fail_msg("more states than were thought of");
    search.queue[search.queue_n++] = *m;
}

#define STEP(what)                                                                                                     \
    do {                                                                                                               \
        struct model next = *m;                                                                                        \
        what;                                                                                                          \
        see(&next);                                                                                                    \
    } while (0)

static void steps_of_execution(const struct model *m, int n, int x)
{
    const uint8_t epoch = m->n[n].h[x].epoch;
    if (m->n[n].h[x].sent) {
        STEP(server_finishes(&next, n, x)); /* and stays on its way: it may come again */
        STEP(next.n[n].h[x].sent = next.n[n].h[x].sent_epoch = 0);
    }
    if (m->n[n].how != UP)
        return;
    if (epoch == 0) {
        STEP(node_claims(&next, n, x, true));
        STEP(node_claims(&next, n, x, false));
        return;
    }
    STEP(node_beats(&next, n, x, true));
    STEP(node_beats(&next, n, x, false));
    STEP(node_sends(&next, n, x, SENT_SUCCESS));
    STEP(node_sends(&next, n, x, SENT_RETRY));
}

static void node_wakes(struct model *m, int n)
{
    m->n[n].how = UP;
    for (int x = 0; x < EXECS; x++)
        if (m->n[n].h[x].lease == 0)
            forget(m, n, x); /* its own clock went on */
}

static void node_crashes(struct model *m, int n)
{
    m->n[n].how = DOWN;
    for (int x = 0; x < EXECS; x++)
        forget(m, n, x);
}

static void steps(const struct model *m)
{
    STEP(time_passes(&next));
    for (int x = 0; x < EXECS; x++) {
        STEP(server_ticks(&next, x));
        const struct exec_facts f = facts_of(m, x);
        const struct verdict stop = decide_stop(&f);
        STEP(apply(&next, x, &stop));
    }
    for (int n = 0; n < NODES; n++) {
        for (int x = 0; x < EXECS; x++)
            steps_of_execution(m, n, x);
        if (m->n[n].how == UP) {
            STEP(next.n[n].how = FROZEN);
            STEP(node_crashes(&next, n));
        } else {
            STEP(node_wakes(&next, n));
        }
    }
}

/* ---- What holds in every state */

static void check_holders(const struct model *m)
{
    for (int x = 0; x < EXECS; x++) {
        int believers = 0;
        for (int n = 0; n < NODES; n++)
            believers += m->n[n].how == UP && m->n[n].h[x].epoch > 0 && m->n[n].h[x].lease > 0;
        assert_true(believers <= 1);
    }
}

/* A finish that belongs to an earlier attempt, or comes after the end, changes nothing, whoever sends it. */
static void check_late_finish(const struct model *m, int n, int x, uint8_t epoch)
{
    struct model late = *m;
    late.n[n].h[x].sent = SENT_SUCCESS;
    late.n[n].h[x].sent_epoch = epoch;
    server_finishes(&late, n, x);
    assert_int_equal(late.x[x].state, m->x[x].state);
}

static void check_results(const struct model *m)
{
    for (int x = 0; x < EXECS; x++)
        for (int n = 0; n < NODES; n++)
            for (uint8_t epoch = 1; epoch <= ATTEMPTS; epoch++)
                if (exec_is_ended((enum exec_state)m->x[x].state) || epoch < m->x[x].attempt || m->x[x].node != n)
                    check_late_finish(m, n, x, epoch);
}

static bool all_ended(const struct model *m)
{
    for (int x = 0; x < EXECS; x++)
        if (!exec_is_ended((enum exec_state)m->x[x].state))
            return false;
    return true;
}

/* From here on nothing goes wrong: nodes that are up work on, those that are not stay so. */
#define ROUNDS_MAX (4 * LEASE * ATTEMPTS * EXECS)
static void check_end_is_reached(const struct model *from)
{
    struct model m = *from;
    if (m.n[0].how != UP && m.n[1].how != UP)
        return;
    for (int round = 0; round < ROUNDS_MAX && !all_ended(&m); round++) {
        for (int n = 0; n < NODES; n++) {
            for (int x = 0; x < EXECS && m.n[n].how == UP; x++) {
                if (m.n[n].h[x].epoch == 0)
                    node_claims(&m, n, x, true);
                else
                    node_beats(&m, n, x, true);
                if (m.n[n].h[x].epoch > 0) {
                    node_sends(&m, n, x, SENT_SUCCESS);
                    server_finishes(&m, n, x);
                }
            }
        }
        time_passes(&m);
        for (int x = 0; x < EXECS; x++)
            server_ticks(&m, x);
    }
    assert_true(all_ended(&m));
}

static void nothing_is_lost_and_nothing_happens_twice(void **state)
{
    (void)state;
    struct model start = {0};
    search.capacity = (size_t)1 << 23;
    search.queue_capacity = (size_t)1 << 22;
    search.slots = calloc(search.capacity, sizeof(*search.slots));
    search.queue = calloc(search.queue_capacity, sizeof(*search.queue));
    assert_true(search.slots && search.queue);
    for (int x = 0; x < EXECS; x++)
        start.x[x].node = start.x[x].avoid = NOBODY;
    see(&start);
    for (size_t i = 0; i < search.queue_n; i++) {
        const struct model m = search.queue[i];
        check_holders(&m);
        check_results(&m);
        check_end_is_reached(&m);
        steps(&m);
    }
    print_message("%zu states\n", search.n);
    assert_true(search.n > 10000);
    free(search.slots);
    free(search.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost_and_nothing_happens_twice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
