/* Checksums of payloads: which, and their values. */
#include "s3/upload_priv.h"

/* Whether others could change what is sent, unseen by TLS. */
static bool in_the_clear(struct s3 *s3)
{
    const struct url *e = &s3_place_now(s3)->endpoint;
    return !str_eq(e->scheme, "https") && !url_is_loopback(e);
}

enum sums_known sums_known(struct s3 *s3)
{
    unsigned which = SUMS_UNKNOWN;
    if (s3_place_now(s3)->service == S3_SERVICE_AWS)
        return SUMS_CRC32C;
    return s3_memory_sums(s3->memory, s3_place_now(s3)->endpoint.host, &which) ? (enum sums_known)which : SUMS_UNKNOWN;
}

void sums_learn(struct s3 *s3, enum sums_known what)
{
    s3_memory_put_sums(s3->memory, s3_place_now(s3)->endpoint.host, what);
}

static int read_body(struct s3 *s3, const struct s3_body *body, struct digest *d, struct err *err)
{
    const struct http_region *r = body->file;
    if (!r)
        return digest_update(d, body->bytes.p, body->bytes.n, err);
    struct err why = ERR_INIT;
    if (digest_fd(d, r->fd, r->offset, r->length, s3->cancel, &why) == 0)
        return 0;
    if (why.kind == ERR_CORRUPT)
        return err_set(err, ERR_CHANGED, "the file became shorter while it was read");
    return err_move(err, &why);
}

static int final_base64(struct digest *d, enum digest_kind kind, char *out, size_t room, struct err *err)
{
    struct digest_value v;
    AUTO_BUF text;
    buf_init(&text, 64);
    if (digest_final(d, kind, &v, err) < 0)
        return -1;
    digest_base64(&text, &v);
    snprintf(out, room, "%s", buf_str(&text));
    return buf_check(&text, "checksum", err);
}

static int final_all(struct digest *d, unsigned kinds, struct sums *out, struct err *err)
{
    struct digest_value v;
    if (kinds & BIT(DIGEST_SHA256)) {
        if (digest_final(d, DIGEST_SHA256, &v, err) < 0)
            return -1;
        digest_hex(out->payload, &v);
    } else {
        snprintf(out->payload, sizeof out->payload, "UNSIGNED-PAYLOAD");
    }
    if ((kinds & BIT(DIGEST_CRC32C)) && final_base64(d, DIGEST_CRC32C, out->crc32c, sizeof out->crc32c, err) < 0)
        return -1;
    return kinds & BIT(DIGEST_MD5) ? final_base64(d, DIGEST_MD5, out->md5, sizeof out->md5, err) : 0;
}

int sums_compute(struct s3 *s3, const struct s3_body *body, enum sums_known known, struct sums *out, struct err *err)
{
    unsigned kinds = known != SUMS_MD5 ? BIT(DIGEST_CRC32C) : 0;
    if (in_the_clear(s3))
        kinds |= BIT(DIGEST_SHA256);
    else if (known != SUMS_CRC32C)
        kinds |= BIT(DIGEST_MD5);
    *out = (struct sums){0};
    struct digest *d = NULL;
    if (digest_open(&d, kinds, err) < 0)
        return -1;
    int rc = read_body(s3, body, d, err);
    if (rc == 0)
        rc = final_all(d, kinds, out, err);
    digest_free(d);
    return rc;
}
