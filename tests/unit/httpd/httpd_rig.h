/* A client that writes bytes and reads them, over real sockets on loopback. */
#ifndef BERTH_TEST_HTTPD_RIG_H
#define BERTH_TEST_HTTPD_RIG_H

#include "httpd/httpd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <sys/socket.h>

static inline int dial(struct httpd *h)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_port = htons(httpd_port(h)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof sin), 0);
    return fd;
}

static inline void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Everything up to the connection's end. */
static inline void hear(int fd, struct buf *out)
{
    char piece[4096];
    ssize_t n;
    buf_init(out, 1 << 20);
    while ((n = recv(fd, piece, sizeof piece, 0)) > 0)
        buf_add(out, piece, (size_t)n);
    close(fd);
}

static inline struct buf ask(struct httpd *h, const char *request)
{
    struct buf out;
    int fd = dial(h);
    say(fd, request);
    hear(fd, &out);
    return out;
}

#define END " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

#endif
