#include "cache/lock.h"

#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#define LOCK_FILES      64
#define LOCK_BUCKETS    4096
#define OFFSET_DIGITS   15 /* 60 bits; the kind stands above them */
#define FILE_DIGITS     2
#define WAIT_FIRST_MS   1
#define WAIT_LONGEST_MS 50

struct held {
    struct held *next;
    struct lock_name name;
    unsigned holders;
    enum lock_mode mode;
};

struct locks {
    int dir_fd;
    pthread_mutex_t mu; /* guards all below */
    int fd[LOCK_FILES]; /* -1: not yet opened */
    struct held *held[LOCK_BUCKETS];
};

static unsigned digit_of(char c)
{
    return c >= 'a' ? (unsigned)(c - 'a') + 10 : (unsigned)(c - '0');
}

struct lock_name lock_name_of(enum lock_kind kind, const char *id)
{
    struct lock_name name = {0};
    const char *p = id[0] == 'r' ? id + 1 : id;
    for (unsigned i = 0; i < OFFSET_DIGITS && *p; i++)
        name.offset = name.offset << 4 | digit_of(*p++);
    for (unsigned i = 0; i < FILE_DIGITS && *p; i++)
        name.file = name.file << 4 | digit_of(*p++);
    name.file %= LOCK_FILES;
    name.offset |= (uint64_t)kind << (4 * OFFSET_DIGITS);
    return name;
}

int locks_open(struct locks **out, int dir_fd, struct err *err)
{
    struct locks *l = calloc(1, sizeof *l);
    if (!l)
        return err_nomem(err);
    l->dir_fd = dir_fd;
    pthread_mutex_init(&l->mu, NULL);
    for (unsigned i = 0; i < LOCK_FILES; i++)
        l->fd[i] = -1;
    *out = l;
    return 0;
}

void locks_free(struct locks *l)
{
    if (!l)
        return;
    for (unsigned i = 0; i < LOCK_FILES; i++)
        auto_close(&l->fd[i]);
    for (unsigned i = 0; i < LOCK_BUCKETS; i++) {
        while (l->held[i]) {
            struct held *h = l->held[i];
            l->held[i] = h->next;
            free(h);
        }
    }
    pthread_mutex_destroy(&l->mu);
    free(l);
}

static struct held **slot_of(struct locks *l, struct lock_name name)
{
    struct held **at = &l->held[name.offset % LOCK_BUCKETS];
    while (*at && ((*at)->name.offset != name.offset || (*at)->name.file != name.file))
        at = &(*at)->next;
    return at;
}

static int file_of(struct locks *l, unsigned file, struct err *err)
{
    char path[8];
    if (l->fd[file] < 0) {
        snprintf(path, sizeof path, "%02x", file);
        l->fd[file] = fs_open_beneath(l->dir_fd, path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
    }
    return l->fd[file];
}

static int set_lock(int fd, struct lock_name name, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)name.offset, .l_len = 1};
    int rc;
    while ((rc = fcntl(fd, F_OFD_SETLK, &lock)) < 0 && errno == EINTR)
        continue;
    return rc;
}

/* First of this process: ask the kernel. */
static int take_new(struct locks *l, struct held **at, struct lock_name name, enum lock_mode mode, struct err *err)
{
    int fd = file_of(l, name.file, err);
    if (fd < 0)
        return -1;
    struct held *h = calloc(1, sizeof *h);
    if (!h)
        return err_nomem(err);
    if (set_lock(fd, name, F_WRLCK) < 0) {
        int rc = errno == EAGAIN || errno == EACCES ? 0 : err_sys(err, "lock");
        free(h);
        return rc;
    }
    *h = (struct held){.name = name, .holders = 1, .mode = mode};
    *at = h;
    return 1;
}

int locks_try(struct locks *l, struct lock_name name, enum lock_mode mode, struct err *err)
{
    int rc = 0;
    pthread_mutex_lock(&l->mu);
    struct held **at = slot_of(l, name);
    if (!*at) {
        rc = take_new(l, at, name, mode, err);
    } else if ((*at)->mode == LOCK_AMONG_THREADS && mode == LOCK_AMONG_THREADS) {
        (*at)->holders++;
        rc = 1;
    }
    pthread_mutex_unlock(&l->mu);
    return rc;
}

int locks_wait(struct locks *l, struct lock_name name, enum lock_mode mode, const struct cancel *cancel,
               struct err *err)
{
    uint64_t pause_ms = WAIT_FIRST_MS;
    for (;;) {
        int rc = locks_try(l, name, mode, err);
        if (rc != 0)
            return rc < 0 ? -1 : 0;
        if (cancel_sleep_ms(cancel, pause_ms, err) < 0) /* a blocking fcntl could not be cancelled */
            return -1;
        pause_ms = pause_ms * 2 < WAIT_LONGEST_MS ? pause_ms * 2 : WAIT_LONGEST_MS;
    }
}

void locks_drop(struct locks *l, struct lock_name name)
{
    pthread_mutex_lock(&l->mu);
    struct held **at = slot_of(l, name), *h = *at;
    if (h && --h->holders == 0) {
        set_lock(l->fd[name.file], name, F_UNLCK);
        *at = h->next;
        free(h);
    }
    pthread_mutex_unlock(&l->mu);
}

unsigned locks_holders(struct locks *l, struct lock_name name)
{
    pthread_mutex_lock(&l->mu);
    const struct held *h = *slot_of(l, name);
    unsigned n = h ? h->holders : 0;
    pthread_mutex_unlock(&l->mu);
    return n;
}
