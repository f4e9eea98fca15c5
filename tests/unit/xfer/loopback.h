/* loopback: a small HTTP server on 127.0.0.1 (or a unix socket) in a thread of the test, which answers each request by
 * asking a function. It serves many connections at once, from one thread, so the function needs no locks; what it wrote
 * may be looked at after loopback_stop(). */
#ifndef BERTH_TESTS_LOOPBACK_H
#define BERTH_TESTS_LOOPBACK_H

#include "base/buf.h"

#include <stdint.h>

enum loopback_then {
    LOOPBACK_KEEP,
    LOOPBACK_CLOSE,
    LOOPBACK_RESET, /* RST instead of an orderly end */
    LOOPBACK_HOLD,  /* say nothing more until the client goes */
};

typedef enum loopback_then loopback_answer_fn(void *ctx, const char *request, struct buf *out);

struct loopback;

struct loopback *loopback_start(loopback_answer_fn *answer, void *ctx, const char *unix_path);
void loopback_stop(struct loopback *l);
uint16_t loopback_port(const struct loopback *l);
unsigned loopback_connections(const struct loopback *l); /* accepted so far; after loopback_stop() */
void loopback_free(struct loopback *l);

/* The usual function: answers from a list, one a request; the last one goes on. */
#define SCRIPT_REQUESTS_MAX 32
struct script {
    const struct script_step {
        const char *answer;
        enum loopback_then then;
    } * steps;
    size_t step_count;
    size_t request_count;
    char *requests[SCRIPT_REQUESTS_MAX]; /* whole, as received */
};
loopback_answer_fn script_answer;
void script_release(struct script *s);

#endif
