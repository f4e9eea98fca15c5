#include "seal/seal_priv.h"

#include "base/enc.h"
#include "base/fs.h"
#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/file.h>
#include <sys/stat.h>

#define KEY_TEXT_MAX 64 /* base64 of a key, NUL */

int seal_setup(struct err *err)
{
    return sodium_init() < 0 ? err_set(err, ERR_SYSTEM, "libsodium does not start") : 0;
}

static void key_id(uint8_t id[KEY_ID_BYTES], const uint8_t key[KEY_BYTES])
{
    uint8_t hash[crypto_generichash_BYTES];
    crypto_generichash(hash, sizeof hash, key, KEY_BYTES, NULL, 0);
    memcpy(id, hash, KEY_ID_BYTES);
}

static void add_random_key(struct buf *text)
{
    uint8_t key[KEY_BYTES];
    char line[KEY_TEXT_MAX];
    randombytes_buf(key, sizeof key);
    sodium_bin2base64(line, sizeof line, key, sizeof key, sodium_base64_VARIANT_ORIGINAL);
    buf_adds(text, line);
    buf_addc(text, '\n');
    sodium_memzero(key, sizeof key);
    sodium_memzero(line, sizeof line);
}

static int open_folder_of(const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    AUTO_STR folder =
        !slash ? str_dup(".", err) : str_dup_span((struct span){path, slash == path ? 1 : (size_t)(slash - path)}, err);
    return folder ? fs_open_dir(folder, err) : -1;
}

/* What is sealed under a new key must not outlive the name of its file. */
static int fsync_folder_of(const char *path, struct err *err)
{
    AUTO_FD fd = open_folder_of(path, err);
    return fd < 0 ? -1 : fs_fsync(fd, path, err);
}

/* Exclusive, so that two that start at once agree on one file. */
static int create_file(const char *path, const char *magic, struct err *err)
{
    struct buf text;
    buf_init(&text, KEYFILE_MAX);
    buf_addf(&text, "%s\n", magic);
    add_random_key(&text);
    char id[RNG_ID_MAX]; /* a process id is not enough: in containers that share a volume they are alike */
    AUTO_STR temporary = rng_id(id, err) < 0 ? NULL : str_printf(err, "%s.new.%s", path, id);
    int rc = !temporary || buf_check(&text, path, err) < 0 ? -1 : 0;
    if (rc == 0)
        rc = fs_replace_file(AT_FDCWD, temporary, text.p, text.n, 0600, err);
    seal_wipe(&text);
    if (rc == 0 && link(temporary, path) < 0 && errno != EEXIST)
        rc = err_sys(err, "create %s", path);
    if (temporary)
        unlink(temporary);
    return rc < 0 ? rc : fsync_folder_of(path, err);
}

static int read_text(const char *path, struct buf *text, struct err *err)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused below, not waited for */
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, "open %s", path);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0) {
        err_set(err, ERR_REFUSED, "%s: a key file must be a regular file that only its owner may read", path);
        return err_hint(err, "chmod 600 %s; if others could read it, make a new key", path);
    }
    if (st.st_size > KEYFILE_MAX)
        return err_set(err, ERR_INVALID, "%s: too long for a key file", path);
    char *room = buf_reserve(text, (size_t)st.st_size);
    if (!room || fs_pread_all(fd, room, (size_t)st.st_size, 0, err) < 0)
        return err_is_set(err) ? -1 : buf_check(text, path, err);
    buf_grew(text, (size_t)st.st_size);
    return 0;
}

static int parse(struct keyfile *k, const char *path, const char *magic, struct span text, struct err *err)
{
    struct span line;
    span_cut(text, '\n', &line, &text);
    if (!span_eq(line, span_of(magic)))
        return err_set(err, ERR_INVALID, "%s: its first line is not \"%s\"", path, magic);
    for (size_t number = 2; text.n > 0; number++) {
        span_cut(text, '\n', &line, &text);
        line = span_trim(line);
        size_t n = 0;
        if (line.n == 0)
            continue;
        if (k->n == SEAL_KEYS_MAX)
            return err_set(err, ERR_LIMIT, "%s: more than %d keys", path, SEAL_KEYS_MAX);
        if (sodium_base642bin(k->key[k->n], KEY_BYTES, line.p, line.n, NULL, &n, NULL, sodium_base64_VARIANT_ORIGINAL) <
                0 ||
            n != KEY_BYTES)
            return err_set(err, ERR_INVALID, "%s: line %zu is not a key of %d bytes in base64", path, number,
                           KEY_BYTES);
        key_id(k->id[k->n], k->key[k->n]);
        k->n++;
    }
    return k->n > 0 ? 0 : err_set(err, ERR_INVALID, "%s: no key in it", path);
}

struct keyfile *keyfile_read(const char *path, const char *magic, bool create, struct err *err)
{
    if (seal_setup(err) < 0)
        return NULL;
    if (create && access(path, F_OK) < 0 && create_file(path, magic, err) < 0)
        return NULL;
    struct keyfile *k = sodium_malloc(sizeof *k);
    if (!k) {
        err_nomem(err);
        return NULL;
    }
    k->n = 0;
    struct buf text;
    buf_init(&text, KEYFILE_MAX + 1);
    int rc = read_text(path, &text, err) < 0 || parse(k, path, magic, buf_span(&text), err) < 0 ? -1 : 0;
    seal_wipe(&text);
    if (rc < 0) {
        sodium_free(k);
        return NULL;
    }
    sodium_mprotect_readonly(k);
    return k;
}

/* Who replaces the file becomes its owner. */
static int check_owner(const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_sys(err, "open %s", path);
    if (st.st_uid == geteuid())
        return 0;
    err_set(err, ERR_REFUSED, "%s belongs to user %u, who could no longer read it", path, (unsigned)st.st_uid);
    return err_hint(err, "run this as that user: sudo -u '#%u' …", (unsigned)st.st_uid);
}

static int add(const char *path, const char *magic, struct err *err)
{
    struct keyfile *k = check_owner(path, err) < 0 ? NULL : keyfile_read(path, magic, false, err);
    if (!k)
        return -1;
    size_t n = k->n;
    sodium_free(k);
    if (n == SEAL_KEYS_MAX)
        return err_set(err, ERR_LIMIT, "%s holds %d keys already; take out the oldest", path, SEAL_KEYS_MAX);
    struct buf old, text;
    buf_init(&old, KEYFILE_MAX + 1);
    buf_init(&text, KEYFILE_MAX);
    int rc = read_text(path, &old, err);
    if (rc == 0) {
        struct span first, rest;
        span_cut(buf_span(&old), '\n', &first, &rest);
        buf_addf(&text, "%s\n", magic);
        add_random_key(&text);
        buf_add_span(&text, rest);
        rc = buf_check(&text, path, err) < 0 ? -1 : fs_replace_file(AT_FDCWD, path, text.p, text.n, 0600, err);
    }
    seal_wipe(&old);
    seal_wipe(&text);
    return rc;
}

/* The folder is what is locked: the file is another one after each addition. */
int keyfile_add(const char *path, const char *magic, struct err *err)
{
    AUTO_FD turn = open_folder_of(path, err);
    if (turn < 0)
        return -1;
    if (flock(turn, LOCK_EX) < 0)
        return err_sys(err, "lock the folder of %s", path);
    return add(path, magic, err);
}
