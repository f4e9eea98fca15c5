/* Any answer becomes an error with a kind and a text; what is believed of it (region) can't lead to a strange host. */
#include "s3/fault.h"

#include <stdlib.h>

#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x))                                                                                                      \
            abort();                                                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    int status = 300 + (data[0] | data[1] << 8) % 300;
    bool anonymous = data[2] & 1;
    struct fault f;
    fault_read(&f, status, NULL, (int64_t)data[3] << 40, (struct span){(const char *)data + 4, size - 4});
    MUST(f.status == status);
    MUST(f.region[0] == '\0' || fault_region_valid(f.region));
    MUST(memchr(f.code, '\0', sizeof f.code) && memchr(f.message, '\0', sizeof f.message));

    enum fault_cure cure = fault_cure(&f, anonymous, "us-east-1", 0);
    MUST(cure != FAULT_REGION || strcmp(f.region, "us-east-1") != 0);
    MUST(!anonymous || (cure != FAULT_CLOCK && cure != FAULT_EXPIRED));

    const struct fault_context who = {.action = (enum s3_action)(data[2] % 3),
                                      .name = "s3://bucket/key",
                                      .credentials = "none (anonymous)",
                                      .region = "us-east-1",
                                      .host = "host.example",
                                      .anonymous = anonymous,
                                      .keyed_by_customer = data[2] & 2,
                                      .requester_pays = data[2] & 4,
                                      .versioned = data[2] & 8};
    struct err err = ERR_INIT;
    MUST(fault_report(&f, &who, &err) == -1 && err_is_set(&err));
    MUST(strncmp(err.text, "s3://bucket/key: ", 17) == 0);
    for (const char *p = err.text; *p; p++)
        MUST((unsigned char)*p >= ' ');
    return 0;
}
