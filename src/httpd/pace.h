/* pace: who may send how many bytes of files when, so that all together stay below a rate and readers get alike.
 *
 * Bytes are given out as they come about: to each address that reads its part, of which it can save up a little, and
 * what those who are slower do not take to whoever asks. How many connections an address has makes no difference.
 * Pure: takes its clock as an argument; for one thread at a time. */
#ifndef BERTH_HTTPD_PACE_H
#define BERTH_HTTPD_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACE_READERS 128     /* more at once live on what others leave */
#define PACE_SAVED_S 0.5     /* what all have saved up, and what they have left, are each worth so much at most */
#define PACE_GRAIN   4096    /* fewer bytes are not worth a piece */
#define PACE_GONE_US 3000000 /* who asked for nothing in so long reads no more */

struct pace {
    double per_us; /* bytes; 0: unlimited */
    double most;   /* saved up of all, and left */
    double left;
    uint64_t at_us;
    struct pace_reader {
        uint64_t who; /* hashed; 0: nobody */
        uint64_t asked_us;
        double saved;
    } readers[PACE_READERS];
};

void pace_init(struct pace *p, uint64_t bytes_per_second, uint64_t now_us);
/* How many of `want` bytes the reader `who` may be sent now; 0: to ask again after *wait_ms. */
size_t pace_take(struct pace *p, const char *who, size_t want, uint64_t now_us, uint32_t *wait_ms);

#endif
