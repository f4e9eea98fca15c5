/* How libssl, below libcurl, reads from the socket: two records at a time instead of a head and a body each. */
#include "xfer/xfer_common.h"

#include <openssl/ssl.h>
#include <string.h>

/* More than two would not pay: with each record libssl moves what lies behind it to the front of its buffer. */
#define RECORDS_AHEAD 2
#define AHEAD_BYTES   (RECORDS_AHEAD * (size_t)(SSL3_RT_HEADER_LENGTH + SSL3_RT_MAX_TLS13_ENCRYPTED_LENGTH))

static CURLcode read_ahead(CURL *easy, void *ssl_ctx, void *unused)
{
    (void)easy;
    (void)unused;
    SSL_CTX_set_read_ahead((SSL_CTX *)ssl_ctx, 1);
    SSL_CTX_set_default_read_buffer_len((SSL_CTX *)ssl_ctx, AHEAD_BYTES);
    return CURLE_OK;
}

void xfer_tls_read_ahead(CURL *easy)
{
    const char *library = curl_version_info(CURLVERSION_NOW)->ssl_version;
    if (library && strncmp(library, "OpenSSL/", strlen("OpenSSL/")) == 0) /* another one's context is of another type */
        curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, read_ahead);
}
