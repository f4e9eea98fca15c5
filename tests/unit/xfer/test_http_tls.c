/* Certificates and proxies: who is trusted, and who is asked. */
#include "base/enc.h"
#include "http_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <sys/socket.h>

/* A TLS server with a certificate of its own for 127.0.0.1; one request a connection. */
struct tls_server {
    SSL_CTX *ctx;
    int listener;
    char url[64], ca_file[64], fingerprint[65]; /* of its public key */
    unsigned answered;
    pthread_t thread;
};

static X509 *make_certificate(EVP_PKEY *key)
{
    X509 *x = X509_new();
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"loopback", -1, -1, 0);
    X509_set_issuer_name(x, name);
    X509_set_pubkey(x, key);
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    assert_non_null(san);
    X509_add_ext(x, san, -1);
    X509_EXTENSION_free(san);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    return x;
}

static void take_fingerprint(X509 *x, char out[65])
{
    unsigned char *der = NULL;
    uint8_t hash[SHA256_DIGEST_LENGTH];
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    assert_true(n > 0);
    SHA256(der, (size_t)n, hash);
    hex_encode(out, hash, sizeof hash);
    OPENSSL_free(der);
}

static void serve_one(struct tls_server *s, int fd)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    SSL *ssl = SSL_new(s->ctx);
    char request[4096];
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1 && SSL_read(ssl, request, sizeof request) > 0) {
        s->answered++;
        SSL_write(ssl, answer, sizeof answer - 1);
        SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    close(fd);
}

static void *serve_all(void *ctx)
{
    struct tls_server *s = ctx;
    for (int fd; (fd = accept(s->listener, NULL, NULL)) >= 0;)
        serve_one(s, fd);
    return NULL;
}

static void tls_start(struct tls_server *s)
{
    *s = (struct tls_server){.ca_file = "/tmp/berth-ca-XXXXXX"};
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key);
    FILE *f = fdopen(mkstemp(s->ca_file), "w");
    assert_true(f && PEM_write_X509(f, certificate) == 1 && fclose(f) == 0);
    s->ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(s->ctx, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(s->ctx, key), 1);
    take_fingerprint(certificate, s->fingerprint);
    X509_free(certificate);
    EVP_PKEY_free(key);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(s->listener, 8), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&in, &n), 0);
    snprintf(s->url, sizeof s->url, "https://127.0.0.1:%u/", ntohs(in.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, serve_all, s), 0);
}

static void tls_stop(struct tls_server *s)
{
    shutdown(s->listener, SHUT_RDWR); /* accept() returns */
    pthread_join(s->thread, NULL);
    close(s->listener);
    unlink(s->ca_file);
    SSL_CTX_free(s->ctx);
}

static int ask_under(const char *url, const struct xfer_policy *policy, struct err *err)
{
    struct http_opts opts = {.policy = *policy};
    struct http *http;
    struct waits waits = {0};
    assert_int_equal(http_open(&http, &opts, err), 0);
    http_set_wait(http, record_wait, &waits);
    struct http_request req = {.url = url, .tries = 3};
    struct http_response resp;
    int rc = http_call(http, &req, &resp, err);
    int status = resp.status;
    http_response_release(&resp);
    http_free(http);
    return rc < 0 ? -1 : status;
}

static int ask(const char *url, const char *ca_file, struct err *err)
{
    const struct xfer_policy policy = {.no_proxy_env = true, .ca_file = ca_file};
    return ask_under(url, &policy, err);
}

static void must_trust(const struct tls_server *s, const char *ca_file)
{
    struct err err = ERR_INIT;
    if (ask(s->url, ca_file, &err) != 200)
        fail_msg("%s (%s)", err.text, err.hint);
}

static void an_unknown_certificate_is_refused_at_once_with_the_way_to_trust_it(void **state)
{
    (void)state;
    struct tls_server s;
    struct err err = ERR_INIT;
    tls_start(&s);
    assert_int_equal(ask(s.url, NULL, &err), -1);
    tls_stop(&s);
    assert_int_equal(err.kind, ERR_PROTOCOL);
    assert_non_null(strstr(err.text, "certificate"));
    assert_non_null(strstr(err.hint, "AWS_CA_BUNDLE"));
    assert_null(strstr(err.text, "tries"));
    assert_int_equal(s.answered, 0);
}

static void certificates_are_trusted_by_policy_then_by_environment(void **state)
{
    (void)state;
    struct tls_server s;
    struct err err = ERR_INIT;
    tls_start(&s);
    must_trust(&s, s.ca_file);
    setenv("SSL_CERT_FILE", s.ca_file, 1);
    must_trust(&s, NULL);
    setenv("AWS_CA_BUNDLE", "/nonexistent.pem", 1); /* comes before SSL_CERT_FILE */
    assert_int_equal(ask(s.url, NULL, &err), -1);
    assert_int_equal(err.kind, ERR_PROTOCOL);
    assert_non_null(strstr(err.text, "/nonexistent.pem"));
    err_clear(&err);
    setenv("AWS_CA_BUNDLE", s.ca_file, 1);
    unsetenv("SSL_CERT_FILE");
    must_trust(&s, NULL);
    unsetenv("AWS_CA_BUNDLE");
    tls_stop(&s);
}

static void a_certificate_for_another_name_is_refused(void **state)
{
    (void)state;
    struct tls_server s;
    struct err err = ERR_INIT;
    tls_start(&s);
    char url[64];
    snprintf(url, sizeof url, "https://localhost%s", strrchr(s.url, ':'));
    assert_int_equal(ask(url, s.ca_file, &err), -1);
    tls_stop(&s);
    assert_int_equal(err.kind, ERR_PROTOCOL);
    assert_non_null(strstr(err.text, "localhost"));
    assert_int_equal(s.answered, 0);
}

static void a_named_key_is_trusted_whatever_its_certificate_says_and_no_other(void **state)
{
    (void)state;
    struct tls_server s;
    struct err err = ERR_INIT;
    struct xfer_policy policy = {.no_proxy_env = true};
    char url[64];
    tls_start(&s);
    snprintf(policy.key_fingerprint, sizeof policy.key_fingerprint, "%s", s.fingerprint);
    snprintf(url, sizeof url, "https://localhost%s", strrchr(s.url, ':'));
    assert_int_equal(ask_under(s.url, &policy, &err), 200);
    assert_int_equal(ask_under(url, &policy, &err), 200);
    policy.key_fingerprint[0] = policy.key_fingerprint[0] == '0' ? '1' : '0';
    policy.ca_file = s.ca_file; /* counts for nothing then */
    assert_int_equal(ask_under(s.url, &policy, &err), -1);
    assert_int_equal(err.kind, ERR_PROTOCOL);
    err_clear(&err);
    snprintf(policy.key_fingerprint, sizeof policy.key_fingerprint, "no digest");
    assert_int_equal(ask_under(s.url, &policy, &err), -1);
    tls_stop(&s);
    assert_int_equal(s.answered, 2);
}

static void where_a_key_is_named_nothing_is_asked_without_tls(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct xfer_policy policy = {.no_proxy_env = true};
    memset(policy.key_fingerprint, '0', sizeof policy.key_fingerprint - 1);
    assert_int_equal(ask_under("http://127.0.0.1:9/", &policy, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
}

/* ---- proxies ---- */

static int ask_by_proxy(const struct xfer_policy *policy, const char *url, struct script *script, struct err *err)
{
    static const struct script_step steps[] = {{OK_HELLO, LOOPBACK_KEEP}};
    *script = (struct script){.steps = steps, .step_count = 1};
    struct loopback *proxy = loopback_start(script_answer, script, NULL);
    char address[64];
    snprintf(address, sizeof address, "http://127.0.0.1:%u", loopback_port(proxy));
    setenv("http_proxy", address, 1);
    struct http_opts opts = {.policy = *policy};
    struct http *http;
    assert_int_equal(http_open(&http, &opts, err), 0);
    struct http_request req = {.url = url, .tries = 1};
    struct http_response resp;
    int rc = http_call(http, &req, &resp, err);
    http_response_release(&resp);
    http_free(http);
    loopback_free(proxy);
    unsetenv("http_proxy");
    return rc;
}

static void the_proxy_of_the_environment_is_used_for_ones_own_requests(void **state)
{
    (void)state;
    struct xfer_policy policy = {0};
    struct script script;
    struct err err = ERR_INIT;
    assert_int_equal(ask_by_proxy(&policy, "http://somewhere.invalid/x", &script, &err), 0);
    assert_int_equal(script.request_count, 1);
    assert_non_null(strstr(script.requests[0], "GET http://somewhere.invalid/x HTTP/1.1"));
    script_release(&script);
    setenv("no_proxy", "somewhere.invalid", 1);
    assert_int_equal(ask_by_proxy(&policy, "http://somewhere.invalid/x", &script, &err), -1);
    unsetenv("no_proxy");
    assert_int_equal(script.request_count, 0);
    script_release(&script);
}

static void a_proxy_that_is_not_vouched_for_is_not_used(void **state)
{
    (void)state;
    struct xfer_policy policy = {.no_proxy_env = true};
    struct script script;
    struct err err = ERR_INIT;
    assert_int_equal(ask_by_proxy(&policy, "http://somewhere.invalid/x", &script, &err), -1);
    assert_int_equal(script.request_count, 0);
    script_release(&script);
}

static void a_private_proxy_serves_a_public_only_policy_only_where_it_is_allowed(void **state)
{
    (void)state;
    static const char *const allow[] = {"127.0.0.1", NULL};
    struct xfer_policy policy = {.public_only = true};
    struct script script;
    struct err err = ERR_INIT;
    assert_int_equal(ask_by_proxy(&policy, "http://somewhere.invalid/x", &script, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    assert_int_equal(script.request_count, 0);
    script_release(&script);
    policy.allow = allow;
    err_clear(&err);
    assert_int_equal(ask_by_proxy(&policy, "http://somewhere.invalid/x", &script, &err), 0);
    assert_int_equal(script.request_count, 1);
    script_release(&script);
}

static void a_private_address_in_the_url_is_refused_before_a_proxy_sees_it(void **state)
{
    (void)state;
    static const char *const allow[] = {"127.0.0.1", NULL};
    struct xfer_policy policy = {.public_only = true, .allow = allow};
    struct script script;
    struct err err = ERR_INIT;
    assert_int_equal(ask_by_proxy(&policy, "http://169.254.169.254/latest", &script, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    assert_int_equal(script.request_count, 0);
    script_release(&script);
}

/* The machine's own settings must not decide these tests. */
static int clear_environment(void **state)
{
    (void)state;
    static const char *const names[] = {"AWS_CA_BUNDLE", "SSL_CERT_FILE", "http_proxy", "https_proxy", "HTTPS_PROXY",
                                        "no_proxy",      "NO_PROXY",      "all_proxy",  "ALL_PROXY"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unsetenv(names[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_certificate_is_refused_at_once_with_the_way_to_trust_it),
        cmocka_unit_test(certificates_are_trusted_by_policy_then_by_environment),
        cmocka_unit_test(a_certificate_for_another_name_is_refused),
        cmocka_unit_test(a_named_key_is_trusted_whatever_its_certificate_says_and_no_other),
        cmocka_unit_test(where_a_key_is_named_nothing_is_asked_without_tls),
        cmocka_unit_test(the_proxy_of_the_environment_is_used_for_ones_own_requests),
        cmocka_unit_test(a_proxy_that_is_not_vouched_for_is_not_used),
        cmocka_unit_test(a_private_proxy_serves_a_public_only_policy_only_where_it_is_allowed),
        cmocka_unit_test(a_private_address_in_the_url_is_refused_before_a_proxy_sees_it),
    };
    return cmocka_run_group_tests(tests, clear_environment, NULL);
}
