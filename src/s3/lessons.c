#include "s3/lessons.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define LESSONS_MAX 256
#define SPOT_MAX    520 /* a host and a bucket */

enum lesson_kind { LESSON_PLACE, LESSON_REGION, LESSON_CLOCK, LESSON_SUMS };

struct lesson {
    enum lesson_kind kind;
    char spot[SPOT_MAX];
    unsigned index;
    char region[S3_REGION_MAX];
    int64_t offset_ms;
};

struct s3_memory {
    pthread_mutex_t mu;
    struct lesson lessons[LESSONS_MAX];
    size_t count, oldest;
};

struct s3_memory *s3_memory_new(struct err *err)
{
    struct s3_memory *m = calloc(1, sizeof *m);
    if (m)
        pthread_mutex_init(&m->mu, NULL);
    else
        err_nomem(err);
    return m;
}

void s3_memory_free(struct s3_memory *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->mu);
    free(m);
}

static struct lesson *find(struct s3_memory *m, enum lesson_kind kind, const char *spot)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->lessons[i].kind == kind && strcmp(m->lessons[i].spot, spot) == 0)
            return &m->lessons[i];
    return NULL;
}

static void put(struct s3_memory *m, const struct lesson *lesson)
{
    pthread_mutex_lock(&m->mu);
    struct lesson *to = find(m, lesson->kind, lesson->spot);
    if (!to && m->count < LESSONS_MAX)
        to = &m->lessons[m->count++];
    if (!to) {
        to = &m->lessons[m->oldest];
        m->oldest = (m->oldest + 1) % LESSONS_MAX;
    }
    *to = *lesson;
    pthread_mutex_unlock(&m->mu);
}

static bool get(struct s3_memory *m, enum lesson_kind kind, const char *spot, struct lesson *out)
{
    pthread_mutex_lock(&m->mu);
    const struct lesson *l = find(m, kind, spot);
    if (l)
        *out = *l;
    pthread_mutex_unlock(&m->mu);
    return l != NULL;
}

static bool set_spot(struct lesson *l, const char *spot)
{
    int n = snprintf(l->spot, sizeof l->spot, "%s", spot);
    return n >= 0 && (size_t)n < sizeof l->spot;
}

void s3_memory_put_place(struct s3_memory *m, const char *spot, unsigned index)
{
    struct lesson l = {.kind = LESSON_PLACE, .index = index};
    if (set_spot(&l, spot))
        put(m, &l);
}

bool s3_memory_place(struct s3_memory *m, const char *spot, unsigned *index)
{
    struct lesson l;
    if (!get(m, LESSON_PLACE, spot, &l))
        return false;
    *index = l.index;
    return true;
}

void s3_memory_put_region(struct s3_memory *m, const char *spot, const char *region)
{
    struct lesson l = {.kind = LESSON_REGION};
    snprintf(l.region, sizeof l.region, "%s", region);
    if (set_spot(&l, spot))
        put(m, &l);
}

bool s3_memory_region(struct s3_memory *m, const char *spot, char out[S3_REGION_MAX])
{
    struct lesson l;
    if (!get(m, LESSON_REGION, spot, &l))
        return false;
    memcpy(out, l.region, S3_REGION_MAX);
    return true;
}

void s3_memory_put_clock(struct s3_memory *m, const char *host, int64_t offset_ms)
{
    struct lesson l = {.kind = LESSON_CLOCK, .offset_ms = offset_ms};
    if (set_spot(&l, host))
        put(m, &l);
}

int64_t s3_memory_clock(struct s3_memory *m, const char *host)
{
    struct lesson l;
    return get(m, LESSON_CLOCK, host, &l) ? l.offset_ms : 0;
}

void s3_memory_put_sums(struct s3_memory *m, const char *host, unsigned which)
{
    struct lesson l = {.kind = LESSON_SUMS, .index = which};
    if (set_spot(&l, host))
        put(m, &l);
}

bool s3_memory_sums(struct s3_memory *m, const char *host, unsigned *which)
{
    struct lesson l;
    if (!get(m, LESSON_SUMS, host, &l))
        return false;
    *which = l.index;
    return true;
}
