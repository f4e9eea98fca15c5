/* lessons: what servers taught, shared by the clients of a process. Bounded: the oldest lesson gives way. Thread-safe.
 */
#ifndef BERTH_S3_LESSONS_H
#define BERTH_S3_LESSONS_H

#include "s3/host.h"
#include "s3/s3.h"

#include <stdint.h>

/* `spot` is a host, or a host and bucket ("host/bucket"). What is longer than the memory's fields is not remembered. */
void s3_memory_put_place(struct s3_memory *m, const char *spot, unsigned index); /* which guess was right */
bool s3_memory_place(struct s3_memory *m, const char *spot, unsigned *index);
void s3_memory_put_region(struct s3_memory *m, const char *spot, const char *region);
bool s3_memory_region(struct s3_memory *m, const char *spot, char out[S3_REGION_MAX]);
void s3_memory_put_clock(struct s3_memory *m, const char *host, int64_t offset_ms);
int64_t s3_memory_clock(struct s3_memory *m, const char *host); /* 0: as far as known, right */

void s3_memory_put_sums(struct s3_memory *m, const char *host, unsigned which); /* enum sums_known (upload_priv.h) */
bool s3_memory_sums(struct s3_memory *m, const char *host, unsigned *which);

#endif
