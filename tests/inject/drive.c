#include "drive.h"

#include "base/fs.h"
#include "base/rng.h"
#include "digest/digest.h"
#include "inject.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)64 << 20)

static const struct work *const works[] = {&work_parse, &work_cache, &work_results, &work_unpack, &work_download,
                                           &work_seal,  &work_api,   &work_market,  &work_server, &work_node};
static const char *const kinds[] = {
#define X(name, word, number) word,
    INJECT_KINDS(X)
#undef X
};

enum { ALL_WELL = 0, BROKEN = 1, USAGE = 2, NOT_REACHED = 3 };

void drive_fill(unsigned seed, void *out, size_t n)
{
    struct rng rng = {.state = seed};
    unsigned char *p = out;
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)rng_next(&rng);
}

bool drive_file_is(const char *dir, const char *path, unsigned seed, size_t n)
{
    struct err err = ERR_INIT;
    AUTO_BUF found, wanted;
    buf_init(&found, n + 1);
    buf_init(&wanted, n + 1);
    AUTO_FD fd = fs_open_dir(dir, &err);
    if (fd < 0 || fs_read_file(fd, path, n, &found, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return false;
    }
    char *room = buf_reserve(&wanted, n);
    if (!room)
        return false;
    drive_fill(seed, room, n);
    if (found.n == n && memcmp(found.p, room, n) == 0)
        return true;
    fprintf(stderr, "%s has other bytes than were to be written\n", path);
    return false;
}

bool drive_folder_holds(const char *dir, const char *text)
{
    struct err err = ERR_INIT;
    bool found = false;
    AUTO_FD fd = fs_open_dir(dir, &err);
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        AUTO_BUF content;
        buf_init(&content, FILE_BYTES_MAX);
        if (fs_read_file(fd, e->d_name, FILE_BYTES_MAX, &content, &err) == 0 && content.n)
            found |= memmem(content.p, content.n, text, strlen(text)) != NULL;
        err_clear(&err);
    }
    if (d)
        closedir(d);
    return found;
}

static _Noreturn void serve_until_killed(loopback_answer_fn *answer, int tell)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct loopback *l = loopback_start(answer, NULL, NULL);
    uint16_t port = loopback_port(l);
    if (write(tell, &port, sizeof port) != sizeof port)
        _exit(BROKEN);
    for (;;)
        pause();
}

int drive_serve(loopback_answer_fn *answer, uint16_t *port)
{
    int told[2];
    if (pipe2(told, O_CLOEXEC) < 0)
        return -1;
    pid_t server = fork();
    if (server == 0)
        serve_until_killed(answer, told[1]);
    bool up = server > 0 && read(told[0], port, sizeof *port) == sizeof *port;
    close(told[0]);
    close(told[1]);
    return up ? 0 : -1;
}

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

/* OpenSSL 3.0 does not survive running out of memory while it sets itself up, which it does once a process. */
static int set_up_libraries(struct err *err)
{
    struct digest *d;
    struct digest_value v;
    if (digest_open(&d, BIT(DIGEST_SHA256) | BIT(DIGEST_MD5) | BIT(DIGEST_SHA1), err) < 0)
        return -1;
    digest_free(d);
    uint8_t mac[32];
    return digest_bytes(DIGEST_SHA256, "", 0, &v, err) < 0 ? -1 : digest_hmac_sha256("k", 1, "", 0, mac, err);
}

static int drive(const struct work *w, enum inject_kind kind, unsigned long nth, const char *dir)
{
    struct err err = ERR_INIT;
    if (set_up_libraries(&err) < 0 || w->prepare(dir) < 0)
        return BROKEN;
    int before = open_descriptors();
    inject_arm(kind, nth);
    int rc = w->run(&err);
    bool reached = inject_disarm();
    int after = open_descriptors();
    if (rc < 0 && !err_is_set(&err)) {
        fprintf(stderr, "it failed and does not say why\n");
        return BROKEN;
    }
    if (rc < 0 && !reached) {
        fprintf(stderr, "it failed undisturbed: %s\n", err.text);
        return BROKEN;
    }
    if (after > before) {
        fprintf(stderr, "%d descriptors are left open\n", after - before);
        return BROKEN;
    }
    if (!w->check(rc == 0))
        return BROKEN;
    return reached ? ALL_WELL : NOT_REACHED;
}

int main(int argc, char **argv)
{
    const struct work *w = NULL;
    size_t kind = 0;
    for (size_t i = 0; argc == 4 && i < ARRAY_LEN(works); i++)
        if (strcmp(works[i]->name, argv[1]) == 0)
            w = works[i];
    while (argc == 4 && kind < ARRAY_LEN(kinds) && strcmp(kinds[kind], argv[2]) != 0)
        kind++;
    if (!w || kind == ARRAY_LEN(kinds)) {
        fprintf(stderr, "usage: drive WORK KIND NTH\n");
        return USAGE;
    }
    char dir[] = "/tmp/berth-inject-XXXXXX";
    if (!mkdtemp(dir)) {
        perror(dir);
        return BROKEN;
    }
    int rc = drive(w, (enum inject_kind)kind, strtoul(argv[3], NULL, 10), dir);
    struct err ignored = ERR_INIT;
    AUTO_FD tmp = fs_open_dir("/tmp", &ignored);
    fs_remove_tree(tmp, dir + strlen("/tmp/"), &ignored);
    return rc;
}
