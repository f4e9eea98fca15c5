/* A part map file of any content. Properties: it opens; it never claims more than the object has; marking a part and
 * opening anew keeps that mark and every other. */
#include "xfer/partmap.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE  100000u
#define PART  100u
#define PARTS 1000u

static void require(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static struct partmap *open_map(int fd)
{
    struct partmap *m;
    struct err err = ERR_INIT;
    require(partmap_open(&m, fd, SIZE, PART, SPAN_LIT("etag"), &err) == 0);
    require(partmap_count(m) == PARTS);
    require(partmap_done_bytes(m) <= SIZE);
    return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool before[PARTS];
    struct err err = ERR_INIT;
    int fd = memfd_create("map", MFD_CLOEXEC);
    require(fd >= 0);
    struct partmap *m = open_map(fd); /* a good header first, so that the input reaches the records */
    partmap_free(m);
    size_t skip = size > 0 && data[0] % 2 ? 64 : 0;
    if (size > 1)
        require(pwrite(fd, data + 1, size - 1, (off_t)skip) == (ssize_t)(size - 1));
    m = open_map(fd);
    for (uint64_t i = 0; i < PARTS; i++)
        before[i] = partmap_has(m, i);
    require(!partmap_has(m, PARTS) && !partmap_has(m, UINT64_MAX));
    uint64_t part = size > 2 ? (data[1] * 256u + data[2]) % PARTS : 0;
    require(partmap_mark(m, part, &err) == 0);
    partmap_free(m);
    m = open_map(fd);
    for (uint64_t i = 0; i < PARTS; i++)
        require(partmap_has(m, i) == (before[i] || i == part));
    partmap_free(m);
    close(fd);
    return 0;
}
