#include "xfer/sched.h"

/* How far into a group's files a pick looks for one whose host has room. */
#define SCAN_MAX 64

void sched_init(struct sched *s, unsigned threads, uint32_t max_connections, uint32_t max_connections_host)
{
    *s = (struct sched){
        .threads = threads, .max_connections = max_connections, .max_connections_host = max_connections_host};
    TAILQ_INIT(&s->ring);
    TAILQ_INIT(&s->delayed);
    LIST_INIT(&s->hosts);
}

/* Behind all that have paid as little or less. */
static void line_up(struct sched *s, struct sched_group *g)
{
    struct sched_group *later = NULL;
    TAILQ_FOREACH(later, &s->ring, ring)
    {
        if (later->finish > g->finish)
            break;
    }
    if (later)
        TAILQ_INSERT_BEFORE(later, g, ring);
    else
        TAILQ_INSERT_TAIL(&s->ring, g, ring);
}

void sched_group_add(struct sched *s, struct sched_group *g)
{
    TAILQ_INIT(&g->again);
    TAILQ_INIT(&g->ready);
    g->finish = s->virtual_bytes;
    line_up(s, g);
}

void sched_group_remove(struct sched *s, struct sched_group *g)
{
    TAILQ_REMOVE(&s->ring, g, ring);
}

void sched_host_add(struct sched *s, struct sched_host *h, uint64_t now_ms)
{
    gate_init(&h->gate, s->max_connections_host, now_ms);
    LIST_INSERT_HEAD(&s->hosts, h, all);
}

void sched_file_add(struct sched_file *f)
{
    if (f->listed)
        return;
    TAILQ_INSERT_TAIL(&f->group->ready, f, ready);
    f->listed = true;
}

void sched_file_remove(struct sched_file *f)
{
    if (!f->listed)
        return;
    TAILQ_REMOVE(&f->group->ready, f, ready);
    f->listed = false;
}

/* ---- parts ---- */

static uint64_t *done_word(struct sched_file *f, uint64_t part)
{
    return f->done ? &f->done[part / 64] : &f->done_few;
}

bool sched_part_is_done(const struct sched_file *f, uint64_t part)
{
    uint64_t word = f->done ? f->done[part / 64] : f->done_few;
    return (word >> part % 64 & 1) != 0;
}

static void advance_prefix(struct sched_file *f)
{
    while (f->prefix_parts < f->part_count && sched_part_is_done(f, f->prefix_parts))
        f->prefix_parts++;
}

static void skip_done(struct sched_file *f)
{
    while (f->next_part < f->part_count && sched_part_is_done(f, f->next_part))
        f->next_part++;
}

void sched_file_cut(struct sched_file *f, uint64_t size, uint64_t part_bytes, uint64_t *done)
{
    f->size = size;
    f->part_bytes = part_bytes;
    f->part_count = size == SCHED_WHOLE || size <= part_bytes ? 1 : (size - 1) / part_bytes + 1;
    f->next_part = f->parts_done = f->prefix_parts = 0;
    f->done = done;
    f->done_few = 0;
    f->prepared = true;
    for (uint64_t i = 0; done && i < f->part_count; i++)
        f->parts_done += sched_part_is_done(f, i);
    advance_prefix(f);
    skip_done(f);
}

bool sched_part_done(struct sched_file *f, uint64_t part)
{
    uint64_t bit = UINT64_C(1) << part % 64;
    uint64_t *word = done_word(f, part);
    if ((*word & bit) == 0) {
        *word |= bit;
        f->parts_done++;
        advance_prefix(f);
    }
    return f->parts_done == f->part_count;
}

void sched_parts_undo(struct sched_file *f, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count && i < f->part_count; i++) {
        uint64_t bit = UINT64_C(1) << i % 64;
        uint64_t *word = done_word(f, i);
        if ((*word & bit) == 0)
            continue;
        *word &= ~bit;
        f->parts_done--;
    }
    if (first < f->prefix_parts)
        f->prefix_parts = first;
    if (first < f->next_part)
        f->next_part = first;
    skip_done(f);
    sched_file_add(f);
}

uint64_t sched_part_length(const struct sched_file *f, uint64_t part)
{
    if (f->size == SCHED_WHOLE)
        return SCHED_WHOLE;
    uint64_t at = part * f->part_bytes;
    return f->size - at < f->part_bytes ? f->size - at : f->part_bytes;
}

uint64_t sched_prefix_bytes(const struct sched_file *f)
{
    if (f->size == SCHED_WHOLE)
        return 0;
    uint64_t bytes = f->prefix_parts * f->part_bytes;
    return bytes < f->size ? bytes : f->size;
}

/* ---- accounting ---- */

/* A thread takes no more than its share, so that the first to wake does not take everything. */
static uint32_t share(const struct sched *s, uint32_t limit)
{
    return (limit + s->threads - 1) / s->threads;
}

static bool engine_has_room(const struct sched *s, unsigned thread)
{
    return s->active < s->max_connections && s->active_by_thread[thread] < share(s, s->max_connections);
}

static bool host_has_room(const struct sched *s, const struct sched_host *h, unsigned thread, uint64_t now_ms)
{
    return !h || (gate_open(&h->gate, h->active, now_ms) && h->active_by_thread[thread] < share(s, h->gate.limit));
}

static void take_place(struct sched *s, struct sched_unit *u, unsigned thread, struct sched_host *h)
{
    s->active++;
    s->active_by_thread[thread]++;
    u->host = h;
    u->stalled = false;
    if (h) {
        h->active++;
        h->active_by_thread[thread]++;
        gate_took(&h->gate, h->active);
    }
}

static void leave_host(struct sched_unit *u, unsigned thread)
{
    if (!u->host)
        return;
    u->host->active--;
    u->host->active_by_thread[thread]--;
    u->host = NULL;
}

void sched_unit_over(struct sched *s, struct sched_unit *u, unsigned thread)
{
    if (u->stalled)
        return;
    leave_host(u, thread);
    s->active--;
    s->active_by_thread[thread]--;
}

void sched_unit_stalled(struct sched *s, struct sched_unit *u, unsigned thread)
{
    sched_unit_over(s, u, thread);
    u->stalled = true;
}

bool sched_unit_to_host(struct sched *s, struct sched_unit *u, unsigned thread, struct sched_host *host,
                        bool redirected, uint64_t now_ms)
{
    if (!u->file->host || redirected)
        u->file->host = u->file->group->usual_host = host;
    if (u->host == host)
        return true;
    leave_host(u, thread);
    if (!redirected && !host_has_room(s, host, thread, now_ms))
        return false;
    u->host = host;
    host->active++;
    host->active_by_thread[thread]++;
    gate_took(&host->gate, host->active);
    return true;
}

/* ---- picking ---- */

void sched_unit_again(struct sched *s, struct sched_unit *u, uint64_t not_before_ms, uint64_t now_ms)
{
    u->not_before_ms = not_before_ms;
    if (not_before_ms <= now_ms) {
        TAILQ_INSERT_TAIL(&u->file->group->again, u, wait);
        return;
    }
    struct sched_unit *after = TAILQ_LAST(&s->delayed, sched_unit_list);
    while (after && after->not_before_ms > not_before_ms)
        after = TAILQ_PREV(after, sched_unit_list, wait);
    if (after)
        TAILQ_INSERT_AFTER(&s->delayed, after, u, wait);
    else
        TAILQ_INSERT_HEAD(&s->delayed, u, wait);
}

static void wake_delayed(struct sched *s, uint64_t now_ms)
{
    struct sched_unit *u;
    while ((u = TAILQ_FIRST(&s->delayed)) && u->not_before_ms <= now_ms) {
        TAILQ_REMOVE(&s->delayed, u, wait);
        TAILQ_INSERT_TAIL(&u->file->group->again, u, wait);
    }
}

static void note_wake(const struct sched_host *h, uint64_t now_ms, uint64_t *wake_ms)
{
    if (h && h->gate.blocked_until_ms > now_ms && h->gate.blocked_until_ms < *wake_ms)
        *wake_ms = h->gate.blocked_until_ms;
}

static struct sched_host *host_of(const struct sched_file *f)
{
    return f->host ? f->host : f->group->usual_host;
}

/* ---- turns: groups share by bytes ---- */

/* Payload that a unit will move, as far as anybody knows. */
static uint64_t unit_bytes(const struct sched_unit *u)
{
    if (u->unprepared)
        return 0;
    return u->length > u->file->part_bytes ? u->file->part_bytes : u->length;
}

/* Let the group pay, and put it behind those that paid less. */
static void charge(struct sched *s, struct sched_group *g, uint64_t bytes)
{
    g->finish += bytes;
    TAILQ_REMOVE(&s->ring, g, ring);
    line_up(s, g);
}

/* A group that had nothing to do meanwhile starts at the present, with no claim to what it did not use. */
static void charge_unit(struct sched *s, struct sched_group *g, const struct sched_unit *u)
{
    if (g->finish < s->virtual_bytes)
        g->finish = s->virtual_bytes;
    s->virtual_bytes = g->finish;
    charge(s, g, unit_bytes(u) + SCHED_UNIT_COST);
}

static struct sched_unit *pick_again(struct sched *s, struct sched_group *g, unsigned thread, uint64_t now_ms,
                                     uint64_t *wake_ms)
{
    struct sched_unit *u = NULL;
    TAILQ_FOREACH(u, &g->again, wait)
    {
        struct sched_host *h = host_of(u->file);
        if (u->file->held)
            continue;
        if (!host_has_room(s, h, thread, now_ms)) {
            note_wake(h, now_ms, wake_ms);
            continue;
        }
        TAILQ_REMOVE(&g->again, u, wait);
        take_place(s, u, thread, h);
        return u;
    }
    return NULL;
}

static void give_part(struct sched_file *f, struct sched_unit *u)
{
    u->part = f->next_part++;
    u->offset = f->size == SCHED_WHOLE ? 0 : u->part * f->part_bytes;
    u->length = sched_part_length(f, u->part);
    u->unprepared = false;
    skip_done(f);
    if (f->next_part >= f->part_count)
        sched_file_remove(f);
}

static struct sched_unit *pick_fresh(struct sched *s, struct sched_group *g, unsigned thread, struct sched_unit *spare,
                                     uint64_t now_ms, uint64_t *wake_ms)
{
    struct sched_file *f = NULL;
    unsigned looked = 0;
    TAILQ_FOREACH(f, &g->ready, ready)
    {
        struct sched_host *h = host_of(f);
        if (++looked > SCAN_MAX)
            break;
        if (f->held)
            continue;
        if (!host_has_room(s, h, thread, now_ms)) {
            note_wake(h, now_ms, wake_ms);
            continue;
        }
        *spare = (struct sched_unit){.file = f};
        if (f->prepared) {
            give_part(f, spare);
        } else {
            spare->unprepared = true;
            sched_file_remove(f);
        }
        take_place(s, spare, thread, h);
        return spare;
    }
    return NULL;
}

struct sched_unit *sched_pick(struct sched *s, unsigned thread, struct sched_unit *spare, uint64_t now_ms,
                              uint64_t *wake_ms)
{
    struct sched_group *g = NULL;
    *wake_ms = SCHED_NEVER;
    wake_delayed(s, now_ms);
    if (!TAILQ_EMPTY(&s->delayed))
        *wake_ms = TAILQ_FIRST(&s->delayed)->not_before_ms;
    if (!engine_has_room(s, thread))
        return NULL;
    TAILQ_FOREACH(g, &s->ring, ring)
    {
        struct sched_unit *u = pick_again(s, g, thread, now_ms, wake_ms);
        if (!u)
            u = pick_fresh(s, g, thread, spare, now_ms, wake_ms);
        if (!u)
            continue;
        charge_unit(s, g, u);
        return u;
    }
    return NULL;
}

bool sched_has_place(const struct sched *s, const struct sched_file *f, unsigned thread)
{
    const struct sched_host *h = host_of(f);
    return engine_has_room(s, thread) && host_has_room(s, h, thread, h ? h->gate.blocked_until_ms : 0);
}

bool sched_prepared(struct sched *s, struct sched_unit *u, unsigned thread)
{
    struct sched_file *f = u->file;
    if (f->next_part >= f->part_count) {
        sched_unit_over(s, u, thread);
        return false;
    }
    if (f->part_count > 1)
        sched_file_add(f);
    give_part(f, u);
    charge(s, f->group, unit_bytes(u));
    return true;
}

struct sched_unit *sched_unit_withdraw(struct sched *s, struct sched_file *f)
{
    struct sched_unit *u = NULL;
    TAILQ_FOREACH(u, &f->group->again, wait)
    {
        if (u->file == f) {
            TAILQ_REMOVE(&f->group->again, u, wait);
            return u;
        }
    }
    TAILQ_FOREACH(u, &s->delayed, wait)
    {
        if (u->file == f) {
            TAILQ_REMOVE(&s->delayed, u, wait);
            return u;
        }
    }
    return NULL;
}
