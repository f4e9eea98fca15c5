/* Writing gzip on several threads. The caller fills one slot of a ring, workers compress full ones, and the caller
 * hands finished ones on, the oldest first. */
#include "archive/deflate_priv.h"
#include "archive/pack.h"
#include "base/pool.h"

#include <pthread.h>
#include <string.h>

#define THREADS_DEFAULT_MAX 4
#define SLOTS_A_THREAD      2

enum slot_state { SLOT_FILLING, SLOT_COMPRESSING, SLOT_DONE };

struct slot {
    struct gzip *gzip;
    struct deflater *deflater;
    uint8_t *in, *out;
    size_t in_n, out_n;
    uint32_t crc;
    enum slot_state state; /* under gzip->mu */
};

struct gzip {
    archive_write_fn write;
    void *ctx;
    struct pool *pool;
    pthread_mutex_t mu;
    pthread_cond_t done; /* a slot became SLOT_DONE */
    struct slot *slots;
    size_t slot_count;
    /* The caller's thread only: */
    size_t filling, oldest; /* slots; the ring is empty where they are equal and that one is being filled */
    uint32_t crc;
    uint64_t total;
    bool head_written;
};

/* RFC 1952, 2.3: deflate, no name, no time, an unknown system; so that equal content gives equal bytes. */
static const uint8_t gzip_head[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff};
static const uint8_t last_block[2] = {0x03, 0x00}; /* an empty block with fixed codes, and final */

uint64_t gzip_bound(uint64_t n)
{
    uint64_t blocks = n / GZIP_BLOCK_BYTES + 1;
    return sizeof gzip_head + sizeof last_block + 8 + blocks * deflate_bound(GZIP_BLOCK_BYTES);
}

static void compress_slot(void *ctx)
{
    struct slot *s = ctx;
    s->out_n = deflate_block(s->deflater, s->in, s->in_n, s->out, &s->crc);
    pthread_mutex_lock(&s->gzip->mu);
    s->state = SLOT_DONE;
    pthread_cond_signal(&s->gzip->done);
    pthread_mutex_unlock(&s->gzip->mu);
}

static int write_head(struct gzip *g, struct err *err)
{
    if (g->head_written)
        return 0;
    g->head_written = true;
    return g->write(g->ctx, gzip_head, sizeof gzip_head, err);
}

/* Hand on the oldest slot, which is full, once it is compressed. */
static int drain_oldest(struct gzip *g, struct err *err)
{
    struct slot *s = &g->slots[g->oldest];
    pthread_mutex_lock(&g->mu);
    while (s->state != SLOT_DONE)
        pthread_cond_wait(&g->done, &g->mu);
    s->state = SLOT_FILLING;
    pthread_mutex_unlock(&g->mu);
    g->oldest = (g->oldest + 1) % g->slot_count;
    g->crc = crc32_join(g->crc, s->crc, s->in_n);
    g->total += s->in_n;
    s->in_n = 0;
    if (write_head(g, err) < 0)
        return -1;
    return g->write(g->ctx, s->out, s->out_n, err);
}

static int submit(struct gzip *g, struct err *err)
{
    struct slot *s = &g->slots[g->filling];
    s->state = SLOT_COMPRESSING; /* no worker knows it yet */
    if (pool_submit(g->pool, compress_slot, s, err) < 0)
        return -1;
    g->filling = (g->filling + 1) % g->slot_count;
    return g->filling == g->oldest ? drain_oldest(g, err) : 0;
}

int gzip_write(struct gzip *g, const void *p, size_t n, struct err *err)
{
    const uint8_t *from = p;
    while (n > 0) {
        struct slot *s = &g->slots[g->filling];
        size_t room = GZIP_BLOCK_BYTES - s->in_n, piece = n < room ? n : room;
        memcpy(s->in + s->in_n, from, piece);
        s->in_n += piece;
        from += piece;
        n -= piece;
        if (s->in_n == GZIP_BLOCK_BYTES && submit(g, err) < 0)
            return -1;
    }
    return 0;
}

static void put_le32(uint8_t *to, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(v >> (8 * i));
}

int gzip_finish(struct gzip *g, struct err *err)
{
    if (g->slots[g->filling].in_n > 0 && submit(g, err) < 0)
        return -1;
    while (g->oldest != g->filling)
        if (drain_oldest(g, err) < 0)
            return -1;
    uint8_t tail[sizeof last_block + 8];
    memcpy(tail, last_block, sizeof last_block);
    put_le32(tail + sizeof last_block, g->crc);
    put_le32(tail + sizeof last_block + 4, (uint32_t)g->total); /* modulo 2^32, as the format has it */
    return write_head(g, err) < 0 ? -1 : g->write(g->ctx, tail, sizeof tail, err);
}

void gzip_free(struct gzip *g)
{
    if (!g)
        return;
    pool_free(g->pool);
    for (size_t i = 0; g->slots && i < g->slot_count; i++) {
        deflater_free(g->slots[i].deflater);
        free(g->slots[i].in);
        free(g->slots[i].out);
    }
    free(g->slots);
    pthread_cond_destroy(&g->done);
    pthread_mutex_destroy(&g->mu);
    free(g);
}

static unsigned threads_of(unsigned asked)
{
    if (asked > 0)
        return asked < GZIP_THREADS_MAX ? asked : GZIP_THREADS_MAX;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores < THREADS_DEFAULT_MAX ? (unsigned)cores : THREADS_DEFAULT_MAX;
}

static int set_up(struct gzip *g, unsigned threads, struct err *err)
{
    g->slot_count = (size_t)threads * SLOTS_A_THREAD + 1; /* and the one being filled */
    g->slots = calloc(g->slot_count, sizeof *g->slots);
    if (!g->slots)
        return err_nomem(err);
    for (size_t i = 0; i < g->slot_count; i++) {
        struct slot *s = &g->slots[i];
        s->gzip = g;
        s->deflater = deflater_new();
        s->in = malloc(GZIP_BLOCK_BYTES);
        s->out = malloc(deflate_bound(GZIP_BLOCK_BYTES));
        if (!s->deflater || !s->in || !s->out)
            return err_nomem(err);
    }
    g->pool = pool_new("gzip", threads, 0, err);
    return g->pool ? 0 : -1;
}

int gzip_open(struct gzip **out, unsigned threads, archive_write_fn write, void *ctx, struct err *err)
{
    struct gzip *g = calloc(1, sizeof *g);
    if (!g)
        return err_nomem(err);
    pthread_mutex_init(&g->mu, NULL);
    pthread_cond_init(&g->done, NULL);
    g->write = write;
    g->ctx = ctx;
    if (set_up(g, threads_of(threads), err) < 0) {
        gzip_free(g);
        return -1;
    }
    *out = g;
    return 0;
}
