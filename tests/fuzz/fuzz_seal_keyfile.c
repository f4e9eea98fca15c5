/* Key files: any bytes are keys, or an error with words. Keys that were read seal and open; a key more on top leaves
 * what was sealed before readable, as stale, and what is sealed under it to those that have read it alone. */
#include "base/fs.h"
#include "seal/seal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void require(bool holds)
{
    if (!holds)
        abort();
}

static char folder[] = "/tmp/berth-fuzz-XXXXXX", path[sizeof folder + 8];

static void clean_up(void)
{
    unlink(path);
    rmdir(folder);
}

static void put_file(const uint8_t *data, size_t n)
{
    if (!path[0]) {
        require(mkdtemp(folder) != NULL);
        snprintf(path, sizeof path, "%s/keys", folder);
        atexit(clean_up);
    }
    AUTO_FD fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    require(fd >= 0 && write(fd, data, n) == (ssize_t)n);
}

static void require_opens(const struct seal_keys *k, struct span sealed, enum err_kind expected, bool stale)
{
    struct err err = ERR_INIT;
    struct buf plain;
    buf_init(&plain, 1024);
    int rc = seal_open(k, sealed, SPAN_LIT("bound"), &plain, &err);
    require(err.kind == expected && (rc < 0 || span_eq(buf_span(&plain), SPAN_LIT("plain"))));
    require(seal_is_stale(k, sealed) == stale);
    seal_wipe(&plain);
}

static void check_rotated(const struct seal_keys *old)
{
    struct err err = ERR_INIT;
    struct seal_keys *fresh = NULL;
    AUTO_BUF before, after;
    buf_init(&before, 1024);
    buf_init(&after, 1024);
    require(seal_box(old, SPAN_LIT("plain"), SPAN_LIT("bound"), &before, &err) == 0);
    require_opens(old, buf_span(&before), ERR_NONE, false);
    if (seal_keys_rotate(path, &err) < 0) {
        require(err.kind == ERR_LIMIT); /* keys, or bytes */
        return;
    }
    require(seal_keys_open(&fresh, path, false, &err) == 0);
    require(seal_box(fresh, SPAN_LIT("plain"), SPAN_LIT("bound"), &after, &err) == 0);
    require_opens(fresh, buf_span(&before), ERR_NONE, true);
    require_opens(fresh, buf_span(&after), ERR_NONE, false);
    require_opens(old, buf_span(&after), ERR_NOTFOUND, true);
    seal_keys_free(fresh);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT, pair_err = ERR_INIT;
    struct seal_keys *k = NULL;
    struct seal_pair *p = NULL;
    put_file(data, n);
    require((seal_keys_open(&k, path, false, &err) == 0) == (k != NULL));
    require(k || err.kind == ERR_INVALID || err.kind == ERR_LIMIT);
    require(seal_pair_open(&p, path, false, &pair_err) < 0 || !k); /* its first line tells them apart */
    if (k)
        check_rotated(k);
    seal_keys_free(k);
    seal_pair_free(p);
    return 0;
}
