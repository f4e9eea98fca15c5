/* The certificate, as another implementation reads it. */
#include "base/enc.h"
#include "base/fs.h"
#include "seal/cert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <sys/stat.h>

static const uint8_t one[SEAL_CERT_KEY_BYTES] = {1}, two[SEAL_CERT_KEY_BYTES] = {2};

static BIO *bio_of(const char *text)
{
    return BIO_new_mem_buf(text, -1);
}

static void a_certificate_is_signed_by_its_own_key(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct seal_cert c;
    assert_int_equal(seal_cert_make(&c, one, &err), 0);
    BIO *cert = bio_of(c.cert), *key = bio_of(c.key);
    X509 *x = PEM_read_bio_X509(cert, NULL, NULL, NULL);
    EVP_PKEY *private_key = PEM_read_bio_PrivateKey(key, NULL, NULL, NULL);
    assert_non_null(x);
    assert_non_null(private_key);
    assert_int_equal(X509_verify(x, X509_get0_pubkey(x)), 1);
    assert_int_equal(X509_check_private_key(x, private_key), 1);
    assert_int_equal(X509_cmp_current_time(X509_get0_notBefore(x)), -1);
    assert_int_equal(X509_cmp_current_time(X509_get0_notAfter(x)), 1);
    EVP_PKEY_free(private_key);
    X509_free(x);
    BIO_free(cert);
    BIO_free(key);
    seal_cert_wipe(&c);
}

static void the_fingerprint_is_that_of_the_public_key(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct seal_cert c;
    unsigned char *der = NULL;
    uint8_t hash[SHA256_DIGEST_LENGTH];
    char hex[SEAL_FINGERPRINT_MAX];
    assert_int_equal(seal_cert_make(&c, one, &err), 0);
    BIO *cert = bio_of(c.cert);
    X509 *x = PEM_read_bio_X509(cert, NULL, NULL, NULL);
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    assert_true(n > 0);
    SHA256(der, (size_t)n, hash);
    hex_encode(hex, hash, sizeof hash);
    assert_string_equal(c.fingerprint, hex);
    OPENSSL_free(der);
    X509_free(x);
    BIO_free(cert);
}

static void equal_keys_give_equal_certificates_and_others_do_not(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct seal_cert a, again, b;
    assert_int_equal(seal_cert_make(&a, one, &err) + seal_cert_make(&again, one, &err) + seal_cert_make(&b, two, &err),
                     0);
    assert_memory_equal(&a, &again, sizeof a);
    assert_string_not_equal(a.cert, b.cert);
    assert_string_not_equal(a.fingerprint, b.fingerprint);
}

static void the_key_is_kept_for_its_owner_alone(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char dir[] = "/tmp/berth-cert-XXXXXX", path[64];
    struct seal_cert a, again;
    struct stat st;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/peer-key", dir);
    assert_int_equal(seal_cert_open(&a, path, &err), 0);
    assert_int_equal(seal_cert_open(&again, path, &err), 0);
    assert_memory_equal(&a, &again, sizeof a);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(seal_cert_open(&again, path, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_is_signed_by_its_own_key),
        cmocka_unit_test(the_fingerprint_is_that_of_the_public_key),
        cmocka_unit_test(equal_keys_give_equal_certificates_and_others_do_not),
        cmocka_unit_test(the_key_is_kept_for_its_owner_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
