/* xfer_common: what single calls and the bulk engine share: setting up libcurl under a policy, reading heads, following
 * redirects, and saying what went wrong. Private to this folder.
 *
 * Nothing here keeps state besides libcurl's own global set-up; every function may be called from any thread. */
#ifndef BERTH_XFER_COMMON_H
#define BERTH_XFER_COMMON_H

#include "base/arena.h"
#include "xfer/http.h"
#include "xfer/policy.h"
#include "xfer/url.h"

#include <curl/curl.h>

#define XFER_REDIRECTS_MAX      5
#define XFER_CONNECT_TIMEOUT_MS 20000
#define XFER_HEADERS_MAX        256         /* fields of one head */
#define XFER_HEAD_BYTES_MAX     (64 * 1024) /* names and values of one head together */

/* ---- libcurl ---- */

/* libcurl's global set-up, once a process; SIGPIPE is ignored from then on, unless the program handles it. */
int xfer_curl_init(struct err *err);

/* Which sockets one easy handle may open. Lives as long as the handle uses it; not shared between threads. */
struct xfer_guard {
    const struct xfer_policy *policy;
    const char *host;        /* of the request under way, for the check and its words */
    const char *unix_socket; /* the local socket all requests go to, which is not checked; NULL: TCP */
    struct err refusal;      /* why the last socket was refused; clear it before each request */
};

/* The file with the certificates to trust: policy->ca_file, AWS_CA_BUNDLE, SSL_CERT_FILE; NULL: the system's. */
const char *xfer_ca_file(const struct xfer_policy *policy);

/* Make a fresh (or reset) easy handle obey berth's rules: http and https only, HTTP/1.1, no redirects, no decoding, no
 * signals, no netrc; certificates and proxies by the policy; every socket past `guard` (borrowed). */
int xfer_curl_setup(CURL *easy, struct xfer_guard *guard, struct err *err);

/* Let TLS read more than it was asked for, which saves system calls. Only for who reads until nothing is left each time
 * that the socket is ready: what TLS holds back, epoll cannot see. */
void xfer_tls_read_ahead(CURL *easy);

/* What a failed transfer means for the next try. */
enum xfer_failure { XFER_FAILURE_PASSING, XFER_FAILURE_FINAL };

/* Say what `rc`, the outcome of a transfer on `easy`, means for a request to `url`: the error names host and port, the
 * reason (`detail` is the handle's CURLOPT_ERRORBUFFER) and what to try. ERR_REFUSED where the guard refused,
 * ERR_PROTOCOL for TLS and HTTP faults, ERR_TIMEOUT, ERR_NOMEM, else ERR_TRANSIENT. */
enum xfer_failure xfer_curl_explain(CURL *easy, CURLcode rc, const char *detail, const struct url *url,
                                    const struct xfer_guard *guard, struct err *err);

/* ---- requests ---- */

/* Whether the policy lets this URL be asked for at all: https_only, and addresses written as the host. */
int xfer_check_url(const struct xfer_policy *policy, const struct url *url, struct err *err);

/* Whether this header says who is asking (Authorization, Cookie, every x-amz-…, tokens and keys) or belongs to one host
 * (Host), and so must not go to another origin. */
bool xfer_header_is_bound(struct span name);

/* ERR_INVALID where a header could break the request apart (controls in it, a name that is no token). */
int xfer_check_header(struct span name, struct span value, struct err *err);

/* ---- answers ---- */

/* Start a response anew: what it held is released, `body_max` bounds its body. */
void http_response_init(struct http_response *r, size_t body_max);
void http_response_reset(struct http_response *r);

/* "HTTP/1.1 200 OK" (RFC 9112, 4); ERR_PROTOCOL. Line ends are optional here and below. */
int http_response_status_line(struct http_response *r, struct span line, struct err *err);

/* "Name: value" (RFC 9112, 5); ERR_PROTOCOL for what is no field, ERR_LIMIT above the bounds. */
int http_response_field_line(struct http_response *r, struct span line, struct err *err);
int http_response_add(struct http_response *r, struct span name, struct span value, struct err *err);

/* How long the server asks to wait before another try: Retry-After, else RateLimit; 0: it does not say. */
uint64_t http_response_wait_ms(const struct http_response *r);

/* ---- redirects ---- */

struct xfer_redirect {
    bool follow;       /* false: the answer is final */
    struct url to;     /* strings in the arena */
    bool other_origin; /* headers of xfer_header_is_bound() must go, for the rest of the chain; so must signing */
    bool as_get;       /* the method becomes GET, the body and its headers go */
};

/* Decide about an answer to `method` from `from` (RFC 9110, 15.4). `hops`: redirects followed so far. ERR_LIMIT beyond
 * XFER_REDIRECTS_MAX, ERR_PROTOCOL for an unusable Location, ERR_REFUSED where the policy does not let it be followed.
 * The address behind the new host is checked when its socket is opened. */
int xfer_redirect_decide(struct arena *a, const struct xfer_policy *policy, const char *method, const struct url *from,
                         unsigned hops, const struct http_response *answer, struct xfer_redirect *out, struct err *err);

#endif
