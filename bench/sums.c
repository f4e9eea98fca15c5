/* sums: the checksums of a file as S3 states them, for servers that are to state them. `sums FILE` */
#include "digest/digest.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static const enum digest_kind kinds[] = {DIGEST_CRC32C, DIGEST_CRC64NVME};

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    struct stat st;
    AUTO_FD fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0 || fstat(fd, &st) < 0) {
        fprintf(stderr, "sums: name one readable file\n");
        return 2;
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct digest *d = NULL;
        struct digest_value v;
        AUTO_BUF text;
        buf_init(&text, 128);
        if (digest_open(&d, BIT(kinds[i]), &err) == 0 && digest_fd(d, fd, 0, (uint64_t)st.st_size, NULL, &err) == 0 &&
            digest_final(d, kinds[i], &v, &err) == 0) {
            digest_base64(&text, &v);
            printf("%s %s\n", digest_name(kinds[i]), buf_str(&text));
        }
        digest_free(d);
    }
    if (err_is_set(&err))
        fprintf(stderr, "sums: %s\n", err.text);
    return err_is_set(&err);
}
