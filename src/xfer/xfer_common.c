#include "xfer/xfer_common.h"

#include "base/enc.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;

static void init_curl(void)
{
    /* Without signals of its own (CURLOPT_NOSIGNAL) libcurl cannot keep TLS from writing to a connection that is gone.
     */
    struct sigaction now;
    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int xfer_curl_init(struct err *err)
{
    pthread_once(&curl_once, init_curl);
    return curl_ready == CURLE_OK ? 0 : err_set(err, ERR_SYSTEM, "libcurl: %s", curl_easy_strerror(curl_ready));
}

const char *xfer_ca_file(const struct xfer_policy *policy)
{
    if (!str_empty(policy->ca_file))
        return policy->ca_file;
    const char *bundle = secure_getenv("AWS_CA_BUNDLE");
    if (str_empty(bundle))
        bundle = secure_getenv("SSL_CERT_FILE");
    return str_empty(bundle) ? NULL : bundle;
}

/* Called by libcurl right before connect(), with the address it is going to connect to. */
static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)purpose;
    struct xfer_guard *guard = ctx;
    bool local = guard->unix_socket && a->family == AF_UNIX;
    if (!local && policy_check_address(guard->policy, guard->host, &a->addr, a->addrlen, &guard->refusal) < 0)
        return CURL_SOCKET_BAD;
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* libcurl declares its callbacks' places variadic; the types are checked where its macros can see them. */
#define SET(option, value) (curl_easy_setopt(easy, (option), (value)) == CURLE_OK)

static bool set_protocol(CURL *easy)
{
    return SET(CURLOPT_PROTOCOLS_STR, "http,https") && SET(CURLOPT_FOLLOWLOCATION, 0L) &&
           SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) && SET(CURLOPT_HTTP09_ALLOWED, 0L) &&
           SET(CURLOPT_PATH_AS_IS, 1L) && SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L) &&
           SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) && SET(CURLOPT_HTTP_CONTENT_DECODING, 0L) &&
           SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

static bool set_network(CURL *easy, struct xfer_guard *guard)
{
    /* QUICK_EXIT: a cancelled transfer does not wait for a resolver that is stuck. */
    bool ok = SET(CURLOPT_NOSIGNAL, 1L) && SET(CURLOPT_QUICK_EXIT, 1L) &&
              SET(CURLOPT_OPENSOCKETFUNCTION, open_socket) && SET(CURLOPT_OPENSOCKETDATA, guard) &&
              SET(CURLOPT_TCP_KEEPALIVE, 1L);
    if (ok && (guard->policy->no_proxy_env || guard->unix_socket))
        ok = SET(CURLOPT_PROXY, "") && SET(CURLOPT_NOPROXY, "*");
    return ok;
}

/* libcurl compares the key after each handshake, whether or not it looks at the certificate. */
static bool trust_key(CURL *easy, const char *fingerprint)
{
    uint8_t hash[32] = {0};
    struct err none = ERR_INIT;
    AUTO_BUF pin;
    buf_init(&pin, 128);
    buf_adds(&pin, "sha256//");
    if (hex_decode(hash, sizeof hash, span_of(fingerprint), &none) == 0)
        base64_encode(&pin, hash, sizeof hash);
    return SET(CURLOPT_SSL_VERIFYPEER, 0L) && SET(CURLOPT_SSL_VERIFYHOST, 0L) &&
           SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) && SET(CURLOPT_PINNEDPUBLICKEY, buf_str(&pin));
}

static bool set_trust(CURL *easy, const struct xfer_guard *guard)
{
    if (guard->policy->key_fingerprint[0])
        return trust_key(easy, guard->policy->key_fingerprint);
    bool ok = SET(CURLOPT_SSL_VERIFYPEER, 1L) && SET(CURLOPT_SSL_VERIFYHOST, 2L) &&
              SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    const char *ca_file = xfer_ca_file(guard->policy);
    if (ok && ca_file)
        ok = SET(CURLOPT_CAINFO, ca_file) && SET(CURLOPT_CAPATH, NULL); /* these certificates only */
    return ok;
}

int xfer_curl_setup(CURL *easy, struct xfer_guard *guard, struct err *err)
{
    if (set_protocol(easy) && set_network(easy, guard) && set_trust(easy, guard))
        return 0;
    return err_set(err, ERR_SYSTEM, "libcurl refuses a setting (is it older than 7.85?)");
}

static long os_errno(CURL *easy)
{
    long number = 0;
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &number);
    return number;
}

static void explain_trust(const struct xfer_guard *guard, struct err *err)
{
    const char *ca_file = xfer_ca_file(guard->policy);
    if (ca_file)
        err_hint(err, "certificates are trusted by '%.300s' (ca_file, AWS_CA_BUNDLE or SSL_CERT_FILE)", ca_file);
    else
        err_hint(err,
                 "for a server with a certificate of its own, name its PEM file in AWS_CA_BUNDLE or SSL_CERT_FILE");
}

static enum xfer_failure explain_connect(CURL *easy, CURLcode rc, const char *detail, const char *where,
                                         const struct xfer_guard *guard, struct err *err)
{
    char buf[128];
    switch (rc) {
    case CURLE_COULDNT_RESOLVE_HOST:
        err_set(err, ERR_TRANSIENT, "%s: the host name cannot be resolved", where);
        err_hint(err, "check the host's spelling, and DNS and network of this machine");
        return XFER_FAILURE_PASSING;
    case CURLE_COULDNT_RESOLVE_PROXY:
        err_set(err, ERR_TRANSIENT, "%s: %s", where, detail);
        err_hint(err, "check http_proxy, https_proxy and no_proxy");
        return XFER_FAILURE_PASSING;
    default:
        break;
    }
    if (err_is_set(&guard->refusal)) {
        *err = guard->refusal;
        return XFER_FAILURE_FINAL;
    }
    long number = os_errno(easy);
    const char *reason = number ? strerror_r((int)number, buf, sizeof buf) : detail;
    bool denied = guard->unix_socket && number == EACCES;
    err_set(err, denied ? ERR_DENIED : ERR_TRANSIENT, "%s: cannot connect: %s", where, reason);
    if (guard->unix_socket)
        err_hint(err, "check that the service behind this socket runs and that this user may connect to it");
    else
        err_hint(err, "check that the server runs and that host and port are right");
    return denied ? XFER_FAILURE_FINAL : XFER_FAILURE_PASSING;
}

static void name_peer(const struct url *url, const struct xfer_guard *guard, char *out, size_t n)
{
    if (guard->unix_socket)
        snprintf(out, n, "%s", guard->unix_socket);
    else
        snprintf(out, n, strchr(url->host, ':') ? "[%.256s]:%u" : "%.256s:%u", url->host, url->port);
}

enum xfer_failure xfer_curl_explain(CURL *easy, CURLcode rc, const char *detail, const struct url *url,
                                    const struct xfer_guard *guard, struct err *err)
{
    char where[300];
    name_peer(url, guard, where, sizeof where);
    if (str_empty(detail))
        detail = curl_easy_strerror(rc);
    switch (rc) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        return explain_connect(easy, rc, detail, where, guard, err);
    case CURLE_OPERATION_TIMEDOUT:
        err_set(err, ERR_TIMEOUT, "%s: %s", where, detail);
        return XFER_FAILURE_PASSING;
    case CURLE_SSL_CONNECT_ERROR: /* a reset in the middle of the handshake looks like this, too */
        err_set(err, ERR_PROTOCOL, "%s: TLS: %s", where, detail);
        err_hint(err, "check that the port speaks TLS, and the scheme of the URL");
        return XFER_FAILURE_PASSING;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
        err_set(err, ERR_PROTOCOL, "%s: TLS: %s", where, detail);
        explain_trust(guard, err);
        return XFER_FAILURE_FINAL;
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
        err_set(err, ERR_PROTOCOL, "%s: TLS: the server has another key than the one that was named", where);
        return XFER_FAILURE_FINAL;
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
        err_set(err, ERR_PROTOCOL, "%s: TLS: %s", where, detail);
        return XFER_FAILURE_FINAL;
    case CURLE_OUT_OF_MEMORY:
        err_nomem(err);
        return XFER_FAILURE_FINAL;
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_PARTIAL_FILE:
        err_set(err, ERR_TRANSIENT, "%s: the connection broke: %s", where, detail);
        return XFER_FAILURE_PASSING;
    default:
        err_set(err, ERR_PROTOCOL, "%s: %s", where, detail);
        return XFER_FAILURE_FINAL;
    }
}
