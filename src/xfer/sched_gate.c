/* How many units may be under way at one host: additive increase while it helps, multiplicative decrease when the host
 * asks for it. */
#include "xfer/retry.h"
#include "xfer/sched.h"

void gate_init(struct gate *g, uint32_t max, uint64_t now_ms)
{
    *g = (struct gate){.max = max, .limit = max < GATE_START ? max : GATE_START, .window_start_ms = now_ms};
}

bool gate_open(const struct gate *g, uint32_t active, uint64_t now_ms)
{
    return now_ms >= g->blocked_until_ms && active < g->limit;
}

void gate_took(struct gate *g, uint32_t active)
{
    if (active >= g->limit)
        g->saturated = true;
}

static void next_window(struct gate *g, uint64_t now_ms)
{
    g->window_start_ms = now_ms;
    g->window_worth = 0;
    g->saturated = false;
}

/* One window is over. Growing goes on as long as each step raised the goodput; a step that did not is taken back. */
static void judge_window(struct gate *g, uint64_t elapsed_ms, uint64_t now_ms)
{
    uint64_t rate = g->window_worth * 1000 / elapsed_ms;
    if (!g->saturated || now_ms < g->hold_until_ms) {
        next_window(g, now_ms);
        return;
    }
    if (rate > g->best_rate + g->best_rate * GATE_GAIN_PERCENT / 100) {
        uint32_t more = g->max - g->limit < GATE_STEP ? g->max - g->limit : GATE_STEP;
        g->best_rate = rate;
        g->limit += more;
        g->last_step = more;
    } else {
        g->limit -= g->last_step;
        g->last_step = 0;
        g->best_rate = rate - rate * GATE_GAIN_PERCENT / 100; /* conditions change: the next probe starts afresh */
        g->hold_until_ms = now_ms + GATE_HOLD_MS;
    }
    next_window(g, now_ms);
}

void gate_succeeded(struct gate *g, uint64_t bytes, uint64_t now_ms)
{
    g->pressed_since_ms = 0;
    g->presses = 0;
    g->window_worth += bytes + GATE_UNIT_WORTH;
    uint64_t elapsed = now_ms - g->window_start_ms;
    if (now_ms > g->window_start_ms && elapsed >= GATE_WINDOW_MS)
        judge_window(g, elapsed, now_ms);
}

void gate_pressed(struct gate *g, uint64_t started_ms, uint64_t retry_after_ms, uint64_t now_ms, struct rng *rng)
{
    bool same_volley = g->presses > 0 && started_ms < g->pressed_at_ms;
    unsigned exponent = g->presses < GATE_EXPONENT_MAX ? g->presses : GATE_EXPONENT_MAX;
    uint64_t rest = same_volley ? retry_after_ms : retry_delay_ms(exponent, retry_after_ms, rng);
    if (now_ms + rest > g->blocked_until_ms)
        g->blocked_until_ms = now_ms + rest;
    if (g->pressed_since_ms == 0)
        g->pressed_since_ms = now_ms;
    if (same_volley)
        return;
    g->limit = g->limit > 1 ? g->limit / 2 : 1;
    g->presses++;
    g->last_step = 0;
    g->pressed_at_ms = now_ms;
    g->best_rate = 0;
    g->hold_until_ms = g->blocked_until_ms;
    next_window(g, g->blocked_until_ms);
}

bool gate_lost_patience(const struct gate *g, uint64_t patience_ms, uint64_t now_ms)
{
    /* Another thread's present may be a little later than ours. */
    return g->pressed_since_ms != 0 && now_ms >= g->pressed_since_ms && now_ms - g->pressed_since_ms >= patience_ms;
}
