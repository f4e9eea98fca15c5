#include "xfer/sched.h"

void bucket_init(struct bucket *b, uint64_t rate, uint64_t now_us)
{
    *b = (struct bucket){.rate = rate, .at_us = now_us};
    b->level = (int64_t)(rate / 1000 * BUCKET_BURST_MS);
}

uint64_t bucket_spend(struct bucket *b, uint64_t n, uint64_t now_us)
{
    if (b->rate == 0)
        return 0;
    if (now_us < b->at_us) /* read before another thread's, which spent first */
        now_us = b->at_us;
    double burst = (double)b->rate * BUCKET_BURST_MS / 1000.0;
    double level = (double)b->level + (double)(now_us - b->at_us) * (double)b->rate / 1e6;
    level = (level > burst ? burst : level) - (double)n;
    b->level = (int64_t)level;
    b->at_us = now_us;
    return level >= 0 ? 0 : (uint64_t)(-level * 1e6 / (double)b->rate) + 1;
}

void stall_start(struct stall_meter *m, uint64_t now_ms)
{
    *m = (struct stall_meter){.window_start_ms = now_ms};
}

enum stall stall_check(struct stall_meter *m, uint64_t min_bytes_per_second, uint64_t window_ms, uint64_t now_ms)
{
    uint64_t elapsed = now_ms - m->window_start_ms;
    if (elapsed >= window_ms && elapsed > 0) {
        bool slow = m->window_bytes < min_bytes_per_second * elapsed / 1000;
        m->slow_windows = slow ? m->slow_windows + 1 : 0;
        m->window_start_ms = now_ms;
        m->window_bytes = 0;
    }
    return m->slow_windows == 0 ? STALL_NONE : m->slow_windows == 1 ? STALL_SLOW : STALL_DEAD;
}
