/* limit: the floor that the transfer engine is measured against: the smallest program that receives N ranges of one
 * object on N sockets and writes them in place, by T threads. No HTTP library, no TLS, no verification, no retries.
 *
 *     limit HOST PORT PATH SIZE OUTPUT [RANGES [THREADS [BUFFER_KIB]]]
 *
 * Prints wall seconds, CPU seconds and CPU seconds per GiB. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RANGES_MAX  256
#define THREADS_MAX 64
#define HEAD_MAX    4096

static struct {
    struct sockaddr_in addr;
    const char *host, *path;
    uint64_t size;
    int out;
    unsigned ranges, threads;
    size_t buffer;
} opt;

struct range {
    uint64_t at, end;
    int fd;
    bool headless; /* the head has been read */
};

static void die(const char *what)
{
    fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void range_start(struct range *r, unsigned i)
{
    r->at = opt.size / opt.ranges * i;
    r->end = i + 1 == opt.ranges ? opt.size : opt.size / opt.ranges * (i + 1);
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (r->fd < 0 || connect(r->fd, (struct sockaddr *)&opt.addr, sizeof opt.addr) < 0)
        die("connect");
    char req[HEAD_MAX];
    int n = snprintf(req, sizeof req, "GET %s HTTP/1.1\r\nHost: %s\r\nRange: bytes=%llu-%llu\r\n\r\n", opt.path,
                     opt.host, (unsigned long long)r->at, (unsigned long long)(r->end - 1));
    if (n < 0 || (size_t)n >= sizeof req || send(r->fd, req, (size_t)n, 0) != n)
        die("send");
}

/* Receive once; true while there is more to come. */
static bool range_step(struct range *r, char *buf)
{
    uint64_t left = r->end - r->at;
    size_t want = left < opt.buffer && r->headless ? (size_t)left : opt.buffer;
    ssize_t n = recv(r->fd, buf, want, 0);
    if (n <= 0)
        die("recv");
    char *body = buf;
    if (!r->headless) {
        char *end = memmem(buf, (size_t)n, "\r\n\r\n", 4);
        if (!end || memcmp(buf, "HTTP/1.1 206", 12) != 0)
            die("no 206 in the first bytes");
        body = end + 4;
        n -= body - buf;
        r->headless = true;
    }
    if (n > 0 && pwrite(opt.out, body, (size_t)n, (off_t)r->at) != n)
        die("pwrite");
    r->at += (uint64_t)n;
    return r->at < r->end;
}

static void *run(void *arg)
{
    unsigned first = *(const unsigned *)arg, n = 0;
    struct range ranges[RANGES_MAX] = {0};
    struct pollfd polls[RANGES_MAX];
    char *buf = malloc(opt.buffer);
    if (!buf)
        die("malloc");
    for (unsigned i = first; i < opt.ranges; i += opt.threads) {
        range_start(&ranges[n], i);
        polls[n] = (struct pollfd){.fd = ranges[n].fd, .events = POLLIN};
        n++;
    }
    unsigned open = n;
    while (open > 0) {
        if (poll(polls, n, -1) < 0)
            die("poll");
        for (unsigned i = 0; i < n; i++) {
            if (polls[i].revents == 0 || range_step(&ranges[i], buf))
                continue;
            close(ranges[i].fd);
            polls[i] = (struct pollfd){.fd = -1};
            open--;
        }
    }
    free(buf);
    return NULL;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static unsigned arg_number(int argc, char **argv, int i, unsigned fallback, unsigned max)
{
    unsigned long n = argc > i ? strtoul(argv[i], NULL, 10) : fallback;
    return n == 0 || n > max ? fallback : (unsigned)n;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: limit HOST PORT PATH SIZE OUTPUT [RANGES [THREADS [BUFFER_KIB]]]\n");
        return 2;
    }
    opt.host = argv[1];
    opt.addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10))};
    opt.path = argv[3];
    opt.size = strtoull(argv[4], NULL, 10);
    opt.ranges = arg_number(argc, argv, 6, 4, RANGES_MAX);
    opt.threads = arg_number(argc, argv, 7, 2, THREADS_MAX);
    opt.buffer = (size_t)arg_number(argc, argv, 8, 256, 65536) * 1024;
    if (inet_pton(AF_INET, opt.host, &opt.addr.sin_addr) != 1)
        die("HOST must be an IPv4 address");
    opt.out = open(argv[5], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (opt.out < 0)
        die(argv[5]);

    struct timespec a, b;
    pthread_t threads[THREADS_MAX];
    unsigned numbers[THREADS_MAX];
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (unsigned t = 0; t < opt.threads; t++) {
        numbers[t] = t;
        if (pthread_create(&threads[t], NULL, run, &numbers[t]) != 0)
            die("pthread_create");
    }
    for (unsigned t = 0; t < opt.threads; t++)
        pthread_join(threads[t], NULL);
    clock_gettime(CLOCK_MONOTONIC, &b);

    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    double wall = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    double cpu = seconds(use.ru_utime) + seconds(use.ru_stime);
    printf("wall_s=%.3f cpu_s=%.3f cpu_s_per_gib=%.3f rss_mib=%ld\n", wall, cpu, cpu / ((double)opt.size / (1 << 30)),
           use.ru_maxrss / 1024);
    return 0;
}
