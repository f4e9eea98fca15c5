/* TLS, with a certificate made for the test. */
#include "httpd_rig.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <sys/syscall.h>

/* How often a connection was read from that had nothing to say; GnuTLS reads by here. */
static atomic_int vain_reads;

ssize_t recv(int fd, void *to, size_t n, int flags)
{
    ssize_t got = syscall(SYS_recvfrom, fd, to, n, flags, NULL, NULL);
    if (got < 0 && errno == EAGAIN)
        atomic_fetch_add(&vain_reads, 1);
    return got;
}

struct files {
    char cert[32], key[32];
};

static void make_pair(struct files *f)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    assert_non_null(key);
    assert_non_null(x);
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"loopback", -1, -1,
                               0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    snprintf(f->cert, sizeof f->cert, "/tmp/berth-cert-XXXXXX");
    snprintf(f->key, sizeof f->key, "/tmp/berth-key-XXXXXX");
    FILE *c = fdopen(mkstemp(f->cert), "w"), *k = fdopen(mkstemp(f->key), "w");
    assert_true(c && PEM_write_X509(c, x) == 1 && fclose(c) == 0);
    assert_true(k && PEM_write_PrivateKey(k, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(k) == 0);
    X509_free(x);
    EVP_PKEY_free(key);
}

static int set_up(void **state)
{
    struct files *f = calloc(1, sizeof *f);
    assert_non_null(f);
    make_pair(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct files *f = *state;
    unlink(f->cert);
    unlink(f->key);
    free(f);
    return 0;
}

static enum httpd_verdict hello(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx, (void)req;
    buf_adds(&resp->body, "hello");
    return HTTPD_DONE;
}

static const struct httpd_route routes[] = {{.method = "GET", .pattern = "/", .handler = hello}};

static int start(struct httpd **out, const char *cert, const char *key, struct err *err)
{
    const struct httpd_opts opts = {.listen = "127.0.0.1:0",
                                    .tls_cert = cert,
                                    .tls_key = key,
                                    .routes = routes,
                                    .route_count = ARRAY_LEN(routes),
                                    .threads = 1};
    return httpd_start(out, &opts, err);
}

/* The answer's first bytes; "" where no session came about. `highest` is a TLS version. */
static void ask_tls(struct httpd *h, int highest, char out[4096])
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(ctx);
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(ctx, highest);
    SSL *ssl = SSL_new(ctx);
    int fd = dial(h);
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    size_t n = 0;
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) == 1 && SSL_write(ssl, request, sizeof request - 1) > 0)
        for (int got; n < 4095 && (got = SSL_read(ssl, out + n, (int)(4095 - n))) > 0;)
            n += (size_t)got;
    out[n] = 0;
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
}

static void tls_answers_from_version_1_2_on(void **state)
{
    struct files *f = *state;
    struct err err = ERR_INIT;
    struct httpd *h = NULL;
    char answer[4096];
    assert_int_equal(start(&h, f->cert, f->key, &err), 0);
    assert_int_equal(strncmp(httpd_address(h), "https://127.0.0.1:", 18), 0);
    ask_tls(h, TLS1_3_VERSION, answer);
    assert_non_null(strstr(answer, "hello"));
    ask_tls(h, TLS1_2_VERSION, answer);
    assert_non_null(strstr(answer, "hello"));
    ask_tls(h, TLS1_1_VERSION, answer);
    assert_string_equal(answer, "");
    httpd_stop(h);
}

static void plain_http_on_a_tls_port_is_not_answered(void **state)
{
    struct files *f = *state;
    struct err err = ERR_INIT;
    struct httpd *h = NULL;
    assert_int_equal(start(&h, f->cert, f->key, &err), 0);
    AUTO_BUF a = ask(h, "GET /" END "\r\n");
    assert_null(strstr(buf_str(&a), "hello"));
    httpd_stop(h);
}

static void who_begins_a_session_and_says_no_more_costs_nothing(void **state)
{
    enum { SILENT = 4, OTHERS = 30, READS_EACH = 20 };
    struct files *f = *state;
    struct err err = ERR_INIT;
    struct httpd *h = NULL;
    int silent[SILENT];
    char answer[4096];
    assert_int_equal(start(&h, f->cert, f->key, &err), 0);
    for (size_t i = 0; i < SILENT; i++) {
        silent[i] = dial(h);
        if (i % 2) /* a record's head, and not the record */
            assert_int_equal(write(silent[i], "\x16\x03\x01\x02", 4), 4);
    }
    atomic_store(&vain_reads, 0);
    for (size_t i = 0; i < OTHERS; i++) {
        ask_tls(h, TLS1_3_VERSION, answer);
        assert_non_null(strstr(answer, "hello"));
    }
    assert_true(atomic_load(&vain_reads) > 0); /* or they are not counted */
    assert_true(atomic_load(&vain_reads) < (SILENT + OTHERS) * READS_EACH);
    for (size_t i = 0; i < SILENT; i++)
        close(silent[i]);
    httpd_stop(h);
}

static void half_a_pair_and_files_that_are_none_are_refused(void **state)
{
    struct files *f = *state;
    struct {
        const char *cert, *key;
        const char *named;
    } cases[] = {{f->cert, NULL, "its key"},
                 {NULL, f->key, "its key"},
                 {"/nowhere/cert.pem", f->key, "/nowhere/cert.pem"},
                 {f->key, f->cert, "does not start"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = ERR_INIT;
        struct httpd *h = NULL;
        assert_int_equal(start(&h, cases[i].cert, cases[i].key, &err), -1);
        assert_null(h);
        assert_non_null(strstr(err.text, cases[i].named));
        assert_null(strstr(err.text, "PRIVATE"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tls_answers_from_version_1_2_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(plain_http_on_a_tls_port_is_not_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_begins_a_session_and_says_no_more_costs_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(half_a_pair_and_files_that_are_none_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
