#include "httpd/httpd_priv.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define BODY_MAX_DEFAULT    (UINT64_C(8) << 20)
#define BODIES_MAX_DEFAULT  (UINT64_C(256) << 20)
#define BODY_SMALL_DEFAULT  (UINT64_C(64) << 10)
#define HEAD_MAX_DEFAULT    16384
#define CONNECTIONS_DEFAULT 4096
#define THREADS_DEFAULT     8
#define REQUEST_MS_DEFAULT  30000
#define IDLE_MS_DEFAULT     60000
#define PEM_MAX             ((size_t)1 << 20)
#define BACKLOG             512

/* "host:port" or "[v6]:port". */
static int split_listen(const char *text, char host[128], char port[16], struct err *err)
{
    struct span s = span_of(text), h = s, p = {0};
    if (s.n && s.p[0] == '[') {
        struct span rest;
        if (!span_cut((struct span){s.p + 1, s.n - 1}, ']', &h, &rest) || rest.n < 2 || rest.p[0] != ':')
            return err_set(err, ERR_USAGE, "'%s' is not [ADDRESS]:PORT", text);
        p = (struct span){rest.p + 1, rest.n - 1};
    } else if (!span_cut(s, ':', &h, &p)) {
        return err_set(err, ERR_USAGE, "'%s' is not ADDRESS:PORT", text);
    }
    uint64_t number = 0;
    if (h.n == 0 || h.n >= 128 || p.n >= 16 || span_to_u64(p, &number, err) < 0 || number > UINT16_MAX) {
        err_clear(err);
        return err_set(err, ERR_USAGE, "'%s' is not ADDRESS:PORT", text);
    }
    snprintf(host, 128, "%.*s", SPAN_FMT(h));
    snprintf(port, 16, "%.*s", SPAN_FMT(p));
    return 0;
}

static int listen_on(const char *text, int *out, struct err *err)
{
    char host[128], port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list = NULL;
    if (split_listen(text, host, port, err) < 0)
        return -1;
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0)
        return err_set(err, ERR_INVALID, "listen on '%s': %s", text, gai_strerror(rc));
    AUTO_FD fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    bool bad = fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
               bind(fd, list->ai_addr, list->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0;
    int saved = errno;
    freeaddrinfo(list);
    errno = saved;
    if (bad) {
        err_sys(err, "listen on %s", text);
        return saved == EADDRINUSE ? err_hint(err, "another program has this port; choose one with --listen") : -1;
    }
    *out = fd_take(&fd);
    return 0;
}

static void name_address(struct httpd *h, int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof ss;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getsockname(fd, (struct sockaddr *)&ss, &n) < 0 ||
        getnameinfo((struct sockaddr *)&ss, n, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) !=
            0)
        return;
    h->port = (uint16_t)strtoul(port, NULL, 10);
    bool v6 = ss.ss_family == AF_INET6;
    snprintf(h->address, sizeof h->address, "%s://%s%.96s%s:%u", h->tls ? "https" : "http", v6 ? "[" : "", host,
             v6 ? "]" : "", h->port);
}

static void fill_defaults(struct httpd_opts *o)
{
    if (!o->threads)
        o->threads = THREADS_DEFAULT;
    if (!o->connections)
        o->connections = CONNECTIONS_DEFAULT;
    if (!o->body_max)
        o->body_max = BODY_MAX_DEFAULT;
    if (!o->bodies_max)
        o->bodies_max = BODIES_MAX_DEFAULT;
    if (!o->body_small)
        o->body_small = BODY_SMALL_DEFAULT;
    if (!o->head_max)
        o->head_max = HEAD_MAX_DEFAULT;
    if (!o->request_ms)
        o->request_ms = REQUEST_MS_DEFAULT;
    if (!o->idle_ms)
        o->idle_ms = IDLE_MS_DEFAULT;
}

static void log_daemon(void *cls, const char *fmt, va_list ap) ATTR_PRINTF(2, 0);
static void log_daemon(void *cls, const char *fmt, va_list ap)
{
    char text[256];
    (void)cls;
    vsnprintf(text, sizeof text, fmt, ap);
    text[strcspn(text, "\n")] = 0;
    log_debug("httpd", "%s", text);
}

/* Instead of MHD_quiesce_daemon(), which in 0.9.75 takes the socket out of each worker's epoll set as the worker itself
 * may do at that moment, and aborts where both do. */
static enum MHD_Result accept_until_stopped(void *cls, const struct sockaddr *who, socklen_t n)
{
    const struct httpd *h = cls;
    (void)who, (void)n;
    return atomic_load(&h->stopping) ? MHD_NO : MHD_YES;
}

static size_t unescape(void *cls, struct MHD_Connection *c, char *text)
{
    (void)cls, (void)c;
    return route_unescape(text);
}

static int start_daemon(struct httpd *h, int fd, const char *cert, const char *key, struct err *err)
{
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL},
    };
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    /* With epoll, 0.9.75 asks again and again, as fast as it can, who has begun a TLS session and says no more. */
    unsigned flags = (cert ? MHD_USE_TLS | MHD_USE_POLL_INTERNAL_THREAD : MHD_USE_EPOLL_INTERNAL_THREAD) |
                     MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_ITC;
    h->daemon = MHD_start_daemon(
        flags, 0, accept_until_stopped, h, serve_access, h, MHD_OPTION_EXTERNAL_LOGGER, log_daemon, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, h->opts.threads, MHD_OPTION_CONNECTION_LIMIT,
        h->opts.connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT, h->opts.connections_address,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)((h->opts.idle_ms + 999) / 1000), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)h->opts.head_max * 2, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_NOTIFY_COMPLETED,
        serve_completed, h, MHD_OPTION_NOTIFY_CONNECTION, serve_connection, h, MHD_OPTION_ARRAY, cert ? tls : none,
        MHD_OPTION_END);
    if (h->daemon)
        return 0;
    err_set(err, ERR_SYSTEM, "the HTTP server does not start on %s", h->opts.listen);
    return h->opts.tls_cert
               ? err_hint(err, "is %s a PEM certificate, and %s its key?", h->opts.tls_cert, h->opts.tls_key)
               : -1;
}

static int read_pem(const char *path, const char *text, struct buf *out, struct err *err)
{
    if (text)
        buf_adds(out, text);
    if (!path || fs_read_file(AT_FDCWD, path, PEM_MAX, out, err) == 0)
        return buf_check(out, "TLS", err);
    return err_wrap(err, "TLS");
}

int httpd_start(struct httpd **out, const struct httpd_opts *opts, struct err *err)
{
    AUTO_BUF cert, key;
    buf_init(&cert, PEM_MAX);
    buf_init(&key, PEM_MAX);
    *out = NULL;
    if (!opts->tls_cert != !opts->tls_key || !opts->tls_cert_pem != !opts->tls_key_pem)
        return err_set(err, ERR_USAGE, "TLS needs a certificate and its key");
    if (read_pem(opts->tls_cert, opts->tls_cert_pem, &cert, err) < 0 ||
        read_pem(opts->tls_key, opts->tls_key_pem, &key, err) < 0)
        return -1;
    struct httpd *h = calloc(1, sizeof *h);
    if (!h)
        return err_nomem(err);
    h->opts = *opts;
    h->tls = cert.n > 0;
    h->timer_fd = -1;
    fill_defaults(&h->opts);
    pthread_mutex_init(&h->waits.mu, NULL);
    pthread_cond_init(&h->waits.none_handled, NULL);
    pthread_mutex_init(&h->conns.mu, NULL);
    pthread_mutex_init(&h->files.mu, NULL);
    pace_init(&h->files.pace, h->opts.file_bytes_per_second, clock_mono_us());
    int fd = -1;
    int rc = listen_on(opts->listen, &fd, err);
    if (rc == 0) {
        name_address(h, fd);
        rc = start_daemon(h, fd, cert.n ? buf_str(&cert) : NULL, buf_str(&key), err);
        if (rc < 0)
            close(fd);
    }
    if (rc == 0)
        rc = waits_start_timer(h, err);
    if (key.p)
        mem_wipe(key.p, key.n);
    if (rc < 0) {
        httpd_stop(h);
        return -1;
    }
    *out = h;
    return 0;
}

uint16_t httpd_port(const struct httpd *h)
{
    return h->port;
}

const char *httpd_address(const struct httpd *h)
{
    return h->address;
}

void httpd_stop(struct httpd *h)
{
    if (!h)
        return;
    atomic_store(&h->stopping, true);
    if (h->daemon) {
        waits_say_farewell(h);
        waits_stop_timer(h);
        MHD_stop_daemon(h->daemon); /* closes the listening socket, too */
    }
    waits_stop_timer(h);
    pthread_cond_destroy(&h->waits.none_handled);
    pthread_mutex_destroy(&h->waits.mu);
    pthread_mutex_destroy(&h->conns.mu);
    pthread_mutex_destroy(&h->files.mu);
    free(h);
}
