/* Sealed values: no bytes open that were not sealed; what was sealed opens as it was, bound to what it was bound to;
 * a bit of it altered, or its end cut off, and it opens no more. The same of what is sealed to a node. */
#include "seal/seal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX ((size_t)1 << 22)

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* A key file that no folder has. */
static void keyfile(const char *text, char path[32])
{
    int fd = memfd_create("keys", 0);
    require(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, 0600) == 0);
    snprintf(path, 32, "/proc/self/fd/%d", fd);
}

static struct seal_keys *keys;
static struct seal_pair *pair;

static void set_up(void)
{
    static const char key[] = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTEyMzQ=\n";
    struct err err = ERR_INIT;
    char path[32], text[128];
    snprintf(text, sizeof text, "berth-keys 1\n%s", key);
    keyfile(text, path);
    require(seal_keys_open(&keys, path, false, &err) == 0);
    snprintf(text, sizeof text, "berth-node-key 1\n%s", key);
    keyfile(text, path);
    require(seal_pair_open(&pair, path, false, &err) == 0);
}

/* How it opens: 0 or -1 as seal_open() says, with its promises kept. `to_node`: as what was sealed to a node. */
static int opens(bool to_node, struct span sealed, struct span bound_to, struct buf *plain)
{
    struct err err = ERR_INIT;
    buf_init(plain, TEXT_MAX);
    int rc = to_node ? seal_from(pair, sealed, plain, &err) : seal_open(keys, sealed, bound_to, plain, &err);
    require(rc == 0 ? !err_is_set(&err) : err.kind == ERR_CORRUPT || err.kind == ERR_NOTFOUND);
    require(rc == 0 || plain->n == 0);
    return rc;
}

static void require_shut(bool to_node, struct span sealed, struct span bound_to)
{
    struct buf plain;
    require(opens(to_node, sealed, bound_to, &plain) < 0);
    seal_wipe(&plain);
}

static void check_made(bool to_node, struct span text, struct span bound_to, struct span other, size_t at)
{
    struct err err = ERR_INIT;
    struct buf sealed, plain;
    buf_init(&sealed, TEXT_MAX);
    require((to_node ? seal_to(seal_pair_public(pair), text, &sealed, &err)
                     : seal_box(keys, text, bound_to, &sealed, &err)) == 0);
    require(opens(to_node, buf_span(&sealed), bound_to, &plain) == 0 && span_eq(buf_span(&plain), text));
    seal_wipe(&plain);
    if (!to_node) {
        require(!seal_is_stale(keys, buf_span(&sealed)));
        if (!span_eq(other, bound_to))
            require_shut(to_node, buf_span(&sealed), other);
    }
    at %= sealed.n;
    require_shut(to_node, span_head(buf_span(&sealed), at), bound_to);
    sealed.p[at] = (char)(sealed.p[at] ^ (1 << at % 8));
    require_shut(to_node, buf_span(&sealed), bound_to);
    seal_wipe(&sealed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A place to alter it at, what it is bound to up to the first NUL, and a text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint16_t at;
    if (!keys)
        set_up();
    const struct span all = {(const char *)data, n};
    require_shut(false, all, SPAN_LIT("job"));
    require_shut(true, all, SPAN_LIT(""));
    if (n < sizeof at)
        return 0;
    memcpy(&at, data, sizeof at);
    struct span bound_to, text;
    span_cut((struct span){all.p + sizeof at, n - sizeof at}, '\0', &bound_to, &text);
    check_made(false, text, bound_to, text, at);
    check_made(true, text, bound_to, text, at);
    return 0;
}
