/* What becomes of an execution. */
#include "base/attr.h"
#include "market/decide.h"

static const char *const words[] = {
#define X(name, word) word,
    EXEC_STATES(X)
#undef X
};

#define ENDS (BIT(EXEC_SUCCEEDED) | BIT(EXEC_FAILED) | BIT(EXEC_STOPPED) | BIT(EXEC_TIMED_OUT))

/* A held execution may skip states, since reports are rare and may be lost; it never goes back but to the queue. */
static const uint32_t next_states[EXEC_STATE_COUNT] = {
    [EXEC_QUEUED] = BIT(EXEC_CLAIMED) | BIT(EXEC_STOPPED) | BIT(EXEC_TIMED_OUT) | BIT(EXEC_EXPIRED),
    [EXEC_CLAIMED] = BIT(EXEC_QUEUED) | BIT(EXEC_STAGING) | BIT(EXEC_RUNNING) | BIT(EXEC_PUBLISHING) | ENDS,
    [EXEC_STAGING] = BIT(EXEC_QUEUED) | BIT(EXEC_RUNNING) | BIT(EXEC_PUBLISHING) | ENDS,
    [EXEC_RUNNING] = BIT(EXEC_QUEUED) | BIT(EXEC_PUBLISHING) | ENDS,
    [EXEC_PUBLISHING] = BIT(EXEC_QUEUED) | ENDS,
};

const char *exec_state_word(enum exec_state s)
{
    return s < EXEC_STATE_COUNT ? words[s] : "unknown";
}

bool exec_state_parse(const char *word, enum exec_state *out)
{
    for (unsigned s = 0; s < EXEC_STATE_COUNT; s++) {
        if (str_eq(word, words[s])) {
            *out = (enum exec_state)s;
            return true;
        }
    }
    return false;
}

bool exec_may_move(enum exec_state from, enum exec_state to)
{
    return from < EXEC_STATE_COUNT && to < EXEC_STATE_COUNT && (next_states[from] & BIT(to));
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t decide_due(const struct exec_facts *x)
{
    if (exec_is_ended(x->state))
        return TIME_NEVER;
    if (x->state == EXEC_QUEUED)
        return earlier(x->queue_deadline_ms, x->total_deadline_ms);
    int64_t due = earlier(x->lease_until_ms, x->definition_until_ms);
    return earlier(due, x->stopping ? x->stop_by_ms : x->total_deadline_ms);
}

static struct verdict keep(void)
{
    return (struct verdict){.kind = VERDICT_KEEP};
}

static struct verdict move(enum exec_state to, const char *reason)
{
    return (struct verdict){.kind = VERDICT_MOVE, .to = to, .reason = reason};
}

/* The attempt is over without a result of the job's own making. */
static struct verdict give_up_attempt(const struct exec_facts *x, const char *reason, const char *spent)
{
    if (x->stopping)
        return move(x->stop_as, NULL);
    if (x->attempt >= x->max_attempts)
        return move(EXEC_FAILED, spent);
    struct verdict v = move(EXEC_QUEUED, reason);
    v.avoid = true;
    return v;
}

struct verdict decide_tick(const struct exec_facts *x, int64_t now_ms)
{
    if (now_ms < decide_due(x))
        return keep();
    if (x->state == EXEC_QUEUED)
        return x->total_deadline_ms <= now_ms ? move(EXEC_TIMED_OUT, "the job's total time-out passed in the queue")
                                              : move(EXEC_EXPIRED, "the job's queue time-out passed");
    if (x->lease_until_ms <= now_ms)
        return give_up_attempt(x, "its node was not heard of for a whole lease",
                               "its node was not heard of for a whole lease, and no attempt is left");
    if (x->stopping)
        return x->stop_by_ms <= now_ms ? move(x->stop_as, NULL) : keep();
    if (x->total_deadline_ms <= now_ms)
        return (struct verdict){VERDICT_ASK_STOP, EXEC_TIMED_OUT, false, "the job's total time-out passed"};
    return move(EXEC_FAILED, "the sealed definition did not come in time");
}

struct verdict decide_stop(const struct exec_facts *x)
{
    if (exec_is_ended(x->state) || x->stopping)
        return keep();
    if (x->state == EXEC_QUEUED)
        return move(EXEC_STOPPED, NULL);
    return (struct verdict){VERDICT_ASK_STOP, EXEC_STOPPED, false, NULL};
}

struct verdict decide_report(const struct exec_facts *x, enum exec_state reported)
{
    if (!exec_is_held(x->state) || !exec_is_held(reported) || reported <= x->state)
        return keep();
    return move(reported, NULL);
}

struct verdict decide_finish(const struct exec_facts *x, enum exec_state outcome, bool retry)
{
    if (!exec_is_held(x->state))
        return keep();
    if (outcome == EXEC_SUCCEEDED)
        return move(outcome, NULL);
    if (retry)
        return give_up_attempt(x, NULL, NULL);
    return move(x->stopping && outcome == EXEC_STOPPED ? x->stop_as : outcome, NULL);
}

struct verdict decide_lost(const struct exec_facts *x, const char *reason)
{
    return exec_is_held(x->state) ? give_up_attempt(x, reason, reason) : keep();
}

enum exec_state decide_job_state(const uint32_t counts[EXEC_STATE_COUNT])
{
    static const enum exec_state ended[] = {EXEC_STOPPED, EXEC_EXPIRED, EXEC_TIMED_OUT, EXEC_FAILED};
    for (unsigned s = EXEC_QUEUED; s <= EXEC_PUBLISHING; s++)
        if (counts[s])
            return (enum exec_state)s;
    for (size_t i = 0; i < ARRAY_LEN(ended); i++)
        if (counts[ended[i]])
            return ended[i];
    return EXEC_SUCCEEDED;
}
