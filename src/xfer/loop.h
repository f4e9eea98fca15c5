/* loop: one transfer thread's event loop: epoll, libcurl multi handles driven by it, deadlines.
 *
 * Everything here belongs to the thread that runs the loop, except loop_poke(). */
#ifndef BERTH_XFER_LOOP_H
#define BERTH_XFER_LOOP_H

#include "base/err.h"

#include <curl/curl.h>
#include <stdint.h>
#include <sys/queue.h>

struct loop;
struct xfer;

/* Something that waits for a file descriptor. Its memory goes by loop_bury(), after the batch of events under way. */
struct watch {
    int fd;
    uint32_t events; /* as registered */
    void (*ready)(struct watch *w, uint32_t events);
};

int loop_watch(struct loop *l, struct watch *w, uint32_t events, struct err *err); /* 0 events: none */
void loop_unwatch(struct loop *l, struct watch *w);

/* free(p) once no event of this batch can refer to it. `p` starts with a struct grave, which is overwritten. */
struct grave {
    struct grave *next;
};
void loop_bury(struct loop *l, struct grave *g);

uint64_t loop_now_ms(const struct loop *l);
struct xfer *loop_xfer(const struct loop *l);
unsigned loop_index(const struct loop *l);

/* Wake the thread from anywhere. */
void loop_poke(struct loop *l);

/* The thread's receive buffer, shared by all of its connections since each read is written out at once. */
void *loop_buffer(struct loop *l, size_t *n);

/* A libcurl multi handle in a loop. `done` is told of each handle that ended, and may remove and free it. */
struct pump {
    LIST_ENTRY(pump) all;
    struct loop *loop;
    CURLM *multi;
    uint64_t deadline_ms; /* UINT64_MAX: none */
    void (*done)(void *ctx, CURL *easy, CURLcode rc);
    void *ctx;
};
int pump_open(struct pump *p, struct loop *l, void (*done)(void *ctx, CURL *easy, CURLcode rc), void *ctx,
              struct err *err);
void pump_release(struct pump *p); /* every easy handle was removed before */

/* For the loop itself. */
LIST_HEAD(pump_list, pump);
struct pump_list *loop_pumps(struct loop *l);
void pump_kick(struct pump *p); /* its deadline has come */

#endif
