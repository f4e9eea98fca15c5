/* The cryptographic kinds: OpenSSL's algorithms, looked up once for the life of the process (a look-up costs more than
 * hashing a small message). */
#include "digest/digest.h"

#include "digest/evp_priv.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct {
    EVP_MD *sha256, *sha1, *md5;
    EVP_MAC *hmac;
} fetched;

static void fetch_all(void)
{
    fetched.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    fetched.sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    fetched.md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    fetched.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    ERR_clear_error();
}

static const EVP_MD *md_of(enum digest_kind kind)
{
    pthread_once(&once, fetch_all);
    switch (kind) {
    case DIGEST_SHA256:
        return fetched.sha256;
    case DIGEST_SHA1:
        return fetched.sha1;
    case DIGEST_MD5:
        return fetched.md5;
    default:
        return NULL;
    }
}

static int missing(const char *name, struct err *err)
{
    err_set(err, ERR_UNSUPPORTED, "OpenSSL on this machine offers no %s", name);
    return err_hint(err, "a FIPS provider leaves out old algorithms; see `openssl list -digest-algorithms`");
}

int evp_fail(const char *what, struct err *err)
{
    char text[256];
    unsigned long code = ERR_get_error();
    ERR_error_string_n(code, text, sizeof(text));
    ERR_clear_error();
    return err_set(err, ERR_SYSTEM, "%s: OpenSSL: %s", what, text);
}

int evp_start(EVP_MD_CTX **out, enum digest_kind kind, struct err *err)
{
    const EVP_MD *md = md_of(kind);
    if (!md)
        return missing(digest_name(kind), err);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx)
        return err_nomem(err);
    if (EVP_DigestInit_ex2(ctx, md, NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return evp_fail(digest_name(kind), err);
    }
    *out = ctx;
    return 0;
}

int digest_hmac_sha256(const void *key, size_t key_n, const void *p, size_t n, uint8_t out[32], struct err *err)
{
    pthread_once(&once, fetch_all);
    if (!fetched.hmac)
        return missing("HMAC", err);
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(fetched.hmac);
    if (!ctx)
        return err_nomem(err);

    char hash[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, hash, 0),
        OSSL_PARAM_construct_end(),
    };
    size_t got = 0;
    /* A NULL key would mean "the one set before"; an empty one is a key like any other. */
    bool ok = EVP_MAC_init(ctx, key_n ? key : (const void *)"", key_n, params) == 1 &&
              (n == 0 || EVP_MAC_update(ctx, p, n) == 1) && EVP_MAC_final(ctx, out, &got, 32) == 1 && got == 32;
    EVP_MAC_CTX_free(ctx); /* wipes the key */
    return ok ? 0 : evp_fail("hmac-sha256", err);
}
