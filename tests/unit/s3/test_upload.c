/* How objects are cut into parts, what is aborted, and what becomes of odd answers; a small server in memory stands in
 * for S3. */
#include "fake.h"

#include "s3/upload_priv.h"

#include "base/fs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB        ((uint64_t)1 << 20)
#define GIB        ((uint64_t)1 << 30)
#define TIB        ((uint64_t)1 << 40)
#define PARTS_ROOM 64
#define INTERNAL   "<Error><Code>InternalError</Code><Message>again</Message></Error>"
#define GONE       "<Error><Code>NoSuchUpload</Code></Error>"

/* What it was asked. `bad_*`: the answer instead, of status 0: the usual one. */
struct store {
    pthread_mutex_t mu;
    unsigned puts, creates, parts, completes, aborts, heads, lists;
    struct http_region part[PARTS_ROOM + 1]; /* by number */
    unsigned bad_part, bad_times;            /* 0: every part; times: how often the last request goes wrong */
    int bad_part_status, bad_create_status, bad_abort_status, bad_complete_status;
    const char *bad_part_body, *bad_complete_body, *head_etag, *etag;
    bool gone; /* the upload, when its parts are listed */
};

static int answer(struct http_response *resp, int status, const char *headers, const char *body)
{
    fake_response(resp, status, headers, body);
    return 0;
}

static int take_part(struct store *s, const struct http_request *req, struct http_response *resp)
{
    unsigned number = (unsigned)strtoul(strstr(req->url, "partNumber=") + strlen("partNumber="), NULL, 10);
    s->parts++;
    if (s->bad_part_status && (s->bad_part == 0 || s->bad_part == number))
        return answer(resp, s->bad_part_status, NULL, s->bad_part_body);
    assert_in_range(number, 1, PARTS_ROOM);
    s->part[number] = req->body_file ? *req->body_file : (struct http_region){-1, 0, req->body.n};
    return answer(resp, 200, "etag: \"0123456789abcdef0123456789abcdef\"\n", NULL);
}

static int take_complete(struct store *s, struct http_response *resp)
{
    char body[256];
    if (s->completes++ < s->bad_times)
        return answer(resp, s->bad_complete_status, NULL, s->bad_complete_body);
    snprintf(body, sizeof body, "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>",
             s->etag ? s->etag : "");
    return answer(resp, 200, NULL, body);
}

static int serve_one(struct store *s, const struct http_request *req, struct http_response *resp)
{
    bool part = strstr(req->url, "partNumber="), of_upload = strstr(req->url, "uploadId=up");
    if (strcmp(req->method, "HEAD") == 0) {
        char etag[128];
        s->heads++;
        snprintf(etag, sizeof etag, "etag: %s\n", s->head_etag ? s->head_etag : "\"none\"");
        return answer(resp, s->head_etag ? 200 : 404, etag, NULL);
    }
    if (strcmp(req->method, "GET") == 0 && of_upload) {
        s->lists++;
        return s->gone ? answer(resp, 404, NULL, GONE) : answer(resp, 200, NULL, "<ListPartsResult></ListPartsResult>");
    }
    if (strcmp(req->method, "DELETE") == 0) {
        s->aborts++;
        return answer(resp, s->bad_abort_status ? s->bad_abort_status : 204, NULL, NULL);
    }
    if (strcmp(req->method, "POST") == 0 && !of_upload) {
        s->creates++;
        return s->bad_create_status
                   ? answer(resp, s->bad_create_status, NULL, "<Error><Code>AccessDenied</Code></Error>")
                   : answer(resp, 200, "x-amz-checksum-algorithm: CRC32C\n",
                            "<InitiateMultipartUploadResult><UploadId>up</UploadId></InitiateMultipartUploadResult>");
    }
    if (part)
        return take_part(s, req, resp);
    if (of_upload)
        return take_complete(s, resp);
    s->puts++;
    return answer(resp, 200, "etag: \"0123456789abcdef0123456789abcdef\"\n", NULL);
}

static int serve(void *ctx, const struct http_request *req, struct http_response *resp, struct err *err)
{
    struct store *s = ctx;
    (void)err;
    pthread_mutex_lock(&s->mu);
    int rc = serve_one(s, req, resp);
    pthread_mutex_unlock(&s->mu);
    return rc;
}

struct bench {
    struct store store;
    struct creds *creds;
    struct s3 *s3;
    struct cancel cancel;
    struct err err;
};

static int set_up(void **state)
{
    static const struct source_s3 place = {.bucket = "bkt", .key = "", .region = "us-east-1"};
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    pthread_mutex_init(&b->store.mu, NULL);
    assert_int_equal(cancel_init(&b->cancel, &b->err), 0);
    b->creds = fake_creds("AKID", "secret");
    const struct s3_opts opts = {.cancel = &b->cancel};
    assert_int_equal(s3_open(&b->s3, &place, b->creds, &opts, &b->err), 0);
    fake_serve(serve, &b->store);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    fake_serve(NULL, NULL);
    s3_free(b->s3);
    creds_free(b->creds);
    cancel_release(&b->cancel);
    pthread_mutex_destroy(&b->store.mu);
    free(b);
    return 0;
}

static int sparse_file(uint64_t size)
{
    int fd = memfd_create("upload", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static int put_file(struct bench *b, uint64_t size, const struct s3_upload_opts *opts)
{
    AUTO_FD fd = sparse_file(size);
    struct s3_stored stored = {0};
    int rc = s3_put_file(b->s3, "k", fd, size, opts, &stored, &b->err);
    if (rc == 0)
        assert_int_equal(stored.size, size);
    s3_stored_release(&stored);
    return rc;
}

/* ---- sizes ---- */

static void parts_are_8_MiB_up_to_74_GiB_and_grow_by_whole_MiB_then(void **state)
{
    (void)state;
    static const struct {
        uint64_t size, part;
    } table[] = {
        {0, 8 * MIB},        {1, 8 * MIB},          {GIB, 8 * MIB},       {74 * GIB, 8 * MIB},
        {75 * GIB, 9 * MIB}, {500 * GIB, 54 * MIB}, {5 * TIB, 552 * MIB},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        assert_int_equal(s3_part_bytes(table[i].size), table[i].part);
}

static void any_size_fits_ten_thousand_parts_with_some_to_spare(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (uint64_t size = 1; size <= 5 * TIB; size += size / 7 + 12345) {
        uint64_t part = s3_part_bytes(size), n = (size + part - 1) / part;
        assert_true(n <= S3_PARTS_MAX - 500);
        assert_true(part % MIB == 0 && part >= last && part <= S3_PART_MAX);
        last = part;
    }
    /* At the edge of every part size, the last byte that fits and the one that does not. */
    for (uint64_t part = 8 * MIB; part < 64 * MIB; part += MIB) {
        uint64_t most = 9500 * part - 1;
        assert_int_equal(s3_part_bytes(most), part);
        assert_int_equal(s3_part_bytes(most + 1), part + MIB);
    }
}

static void parts_that_S3_does_not_take_are_refused_before_anything_is_sent(void **state)
{
    struct bench *b = *state;
    static const uint64_t bad[] = {1, S3_PART_MIN - 1, S3_PART_MAX + 1, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct s3_upload_opts opts = {.part_bytes = bad[i]};
        err_clear(&b->err);
        assert_int_equal(put_file(b, 20 * MIB, &opts), -1);
        assert_int_equal(b->err.kind, ERR_INVALID);
    }
    const struct s3_upload_opts small = {.part_bytes = S3_PART_MIN};
    err_clear(&b->err);
    assert_int_equal(put_file(b, S3_PART_MIN * S3_PARTS_MAX + 1, &small), -1);
    assert_int_equal(b->err.kind, ERR_LIMIT);
    assert_int_equal(b->store.creates + b->store.puts + b->store.parts, 0);
}

/* ---- planning ---- */

static void a_file_is_cut_into_equal_parts_and_a_rest(void **state)
{
    struct bench *b = *state;
    static const struct {
        uint64_t size;
        unsigned parts; /* 0: one request */
        uint64_t last;
    } table[] = {
        {0, 0, 0}, {8 * MIB, 0, 0}, {8 * MIB + 1, 2, 1}, {16 * MIB, 2, 8 * MIB}, {40 * MIB - 1, 5, 8 * MIB - 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        b->store.puts = b->store.parts = b->store.creates = 0;
        assert_int_equal(put_file(b, table[i].size, &(struct s3_upload_opts){0}), 0);
        assert_int_equal(b->store.parts, table[i].parts);
        assert_int_equal(b->store.puts, table[i].parts == 0);
        assert_int_equal(b->store.creates, table[i].parts > 0);
        for (unsigned n = 1; n <= table[i].parts; n++) {
            assert_int_equal(b->store.part[n].offset, (n - 1) * 8 * MIB);
            assert_int_equal(b->store.part[n].length, n < table[i].parts ? 8 * MIB : table[i].last);
        }
    }
    assert_int_equal(b->store.aborts, 0);
}

static int write_stream(struct bench *b, uint64_t size, size_t piece, const struct s3_upload_opts *opts)
{
    struct s3_upload *u = NULL;
    struct s3_stored stored = {0};
    AUTO_STR zeros = calloc(1, piece);
    assert_non_null(zeros);
    assert_int_equal(s3_upload_open(&u, b->s3, "k", opts, &b->err), 0);
    int rc = 0;
    for (uint64_t at = 0; rc == 0 && at < size; at += piece)
        rc = s3_upload_write(u, zeros, size - at < piece ? (size_t)(size - at) : piece, &b->err);
    if (rc == 0)
        rc = s3_upload_finish(u, &stored, &b->err);
    s3_stored_release(&stored);
    s3_upload_free(u);
    return rc;
}

static void a_stream_is_one_request_until_it_is_longer_than_a_part(void **state)
{
    struct bench *b = *state;
    static const struct {
        uint64_t size;
        unsigned parts;
    } table[] = {{0, 0}, {1, 0}, {8 * MIB, 0}, {8 * MIB + 1, 2}, {24 * MIB, 3}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        b->store.puts = b->store.parts = 0;
        assert_int_equal(write_stream(b, table[i].size, 1000003, &(struct s3_upload_opts){0}), 0);
        assert_int_equal(b->store.parts, table[i].parts);
        assert_int_equal(b->store.puts, table[i].parts == 0);
        uint64_t sum = 0;
        for (unsigned n = 1; n <= table[i].parts; n++)
            sum += b->store.part[n].length;
        if (table[i].parts)
            assert_int_equal(sum, table[i].size);
    }
}

/* ---- failures ---- */

static void a_part_that_fails_for_good_aborts_the_upload_and_is_named(void **state)
{
    struct bench *b = *state;
    b->store.bad_part = 2;
    b->store.bad_part_status = 403;
    b->store.bad_part_body = "<Error><Code>AccessDenied</Code></Error>";
    assert_int_equal(put_file(b, 40 * MIB, &(struct s3_upload_opts){0}), -1);
    assert_int_equal(b->err.kind, ERR_DENIED);
    assert_non_null(strstr(b->err.text, "part 2"));
    assert_int_equal(b->store.completes, 0);
    assert_int_equal(b->store.aborts, 1);
}

static void an_abort_that_fails_does_not_hide_why_it_was_needed(void **state)
{
    struct bench *b = *state;
    b->store.bad_part_status = 403;
    b->store.bad_part_body = "<Error><Code>AccessDenied</Code></Error>";
    b->store.bad_abort_status = 400;
    assert_int_equal(write_stream(b, 40 * MIB, MIB, &(struct s3_upload_opts){0}), -1);
    assert_int_equal(b->err.kind, ERR_DENIED);
    assert_non_null(strstr(b->err.text, "part "));
    assert_int_equal(b->store.aborts, 1);
}

static void what_was_never_begun_is_not_aborted(void **state)
{
    struct bench *b = *state;
    b->store.bad_create_status = 403;
    assert_int_equal(put_file(b, 40 * MIB, &(struct s3_upload_opts){0}), -1);
    assert_int_equal(b->err.kind, ERR_DENIED);
    assert_int_equal(b->store.parts + b->store.completes + b->store.aborts, 0);
}

static void a_stream_that_is_given_up_is_aborted_also_when_cancelled(void **state)
{
    struct bench *b = *state;
    struct s3_upload *u = NULL;
    AUTO_STR zeros = calloc(1, 9 * MIB);
    assert_int_equal(s3_upload_open(&u, b->s3, "k", &(struct s3_upload_opts){0}, &b->err), 0);
    assert_int_equal(s3_upload_write(u, zeros, 9 * MIB, &b->err), 0);
    assert_int_equal(b->store.creates, 1);
    cancel_raise(&b->cancel, CANCEL_STOP);
    struct s3_stored stored;
    assert_int_equal(s3_upload_finish(u, &stored, &b->err), -1);
    assert_int_equal(b->err.kind, ERR_CANCELLED);
    s3_upload_free(u);
    assert_int_equal(b->store.aborts, 1);
    assert_int_equal(b->store.completes, 0);
}

/* ---- the last request ---- */

static int complete(struct bench *b)
{
    struct upload_part parts[3];
    struct s3_stored stored = {0};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        parts[i] = (struct upload_part){.etag = "\"0123456789abcdef0123456789abcdef\"", .size = 8 * MIB};
    err_clear(&b->err);
    int rc = upload_complete(b->s3, "k", "up", parts, ARRAY_LEN(parts), false, &stored, &b->err);
    if (rc == 0)
        assert_int_equal(stored.size, 24 * MIB);
    s3_stored_release(&stored);
    return rc;
}

static const char *whole_etag(char out[ETAG_MAX + 2])
{
    struct upload_part parts[3];
    struct err err = ERR_INIT;
    char plain[ETAG_MAX];
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        parts[i] = (struct upload_part){.etag = "\"0123456789abcdef0123456789abcdef\""};
    assert_int_equal(upload_expected_etag(parts, ARRAY_LEN(parts), plain, &err), 0);
    snprintf(out, ETAG_MAX + 2, "\"%.*s\"", ETAG_MAX - 1, plain);
    return out;
}

static void a_200_that_holds_an_error_is_no_success_and_tried_again(void **state)
{
    struct bench *b = *state;
    b->store.bad_complete_status = 200;
    b->store.bad_complete_body = INTERNAL;
    b->store.bad_times = 2;
    assert_int_equal(complete(b), 0);
    assert_int_equal(b->store.completes, 3);
}

static void a_200_that_always_holds_an_error_is_a_failure_in_the_end(void **state)
{
    struct bench *b = *state;
    b->store.bad_complete_status = 200;
    b->store.bad_complete_body = INTERNAL;
    b->store.bad_times = UINT32_MAX;
    assert_int_equal(complete(b), -1);
    assert_non_null(strstr(b->err.text, "InternalError"));
    assert_int_equal(b->store.completes, 5);
}

static void a_completion_that_happened_unheard_is_recognised_by_its_etag(void **state)
{
    struct bench *b = *state;
    char etag[ETAG_MAX + 2];
    b->store.bad_complete_status = 404;
    b->store.bad_complete_body = GONE;
    b->store.bad_times = UINT32_MAX;
    b->store.head_etag = whole_etag(etag);
    assert_int_equal(complete(b), 0);
    b->store.head_etag = "\"00000000000000000000000000000000-3\"";
    assert_int_equal(complete(b), -1);
    assert_int_equal(b->err.kind, ERR_NOTFOUND);
    assert_non_null(strstr(b->err.text, "NoSuchUpload"));
    b->store.head_etag = NULL;
    assert_int_equal(complete(b), -1);
}

static void what_is_gone_is_not_completed_over_and_over(void **state)
{
    struct bench *b = *state;
    char etag[ETAG_MAX + 2];
    b->store.bad_complete_status = 500;
    b->store.bad_complete_body = INTERNAL;
    b->store.bad_times = UINT32_MAX;
    b->store.gone = true;
    assert_int_equal(complete(b), -1);
    assert_int_equal(b->err.kind, ERR_NOTFOUND);
    assert_non_null(strstr(b->err.text, "knows its upload no more"));
    assert_in_range(b->store.completes, 1, 2);
    assert_int_equal(b->store.lists, 1);
    b->store.head_etag = whole_etag(etag); /* by the request whose answer was an error */
    assert_int_equal(complete(b), 0);
}

static void an_answer_that_cannot_be_read_is_asked_for_again(void **state)
{
    struct bench *b = *state;
    b->store.bad_complete_status = 200;
    b->store.bad_complete_body = "<CompleteMultipartUploadResult><ETag>";
    b->store.bad_times = 1;
    assert_int_equal(complete(b), 0);
    assert_int_equal(b->store.completes, 2);
    b->store.completes = 0;
    b->store.bad_times = UINT32_MAX;
    assert_int_equal(complete(b), -1);
    assert_true(err_is_set(&b->err));
    assert_int_equal(b->store.completes, 5);
}

static void an_object_of_another_number_of_parts_is_a_failure(void **state)
{
    struct bench *b = *state;
    char etag[ETAG_MAX + 2];
    b->store.etag = "&quot;00000000000000000000000000000000-2&quot;";
    assert_int_equal(complete(b), -1);
    assert_int_equal(b->err.kind, ERR_CORRUPT);
    b->store.etag = "&quot;00000000000000000000000000000000-3&quot;"; /* of encrypted objects it is no MD5 */
    assert_int_equal(complete(b), 0);
    b->store.etag = whole_etag(etag);
    assert_int_equal(complete(b), 0);
}

/* ---- sums ---- */

static void a_payload_is_signed_where_others_could_change_it(void **state)
{
    struct bench *b = *state;
    const struct {
        const char *endpoint;
        bool is_signed;
    } rows[] = {{"http://127.0.0.1:9", false},    {"http://localhost:9", false}, {"http://[::1]:9", false},
                {"https://s3.example", false},    {"http://s3.example", true},   {"http://127.evil.example", true},
                {"http://127.0.0.1.nip.io", true}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct source_s3 place = {.bucket = "bkt", .key = "", .region = "r", .endpoint = rows[i].endpoint};
        const struct s3_body body = {.bytes = SPAN_LIT("x")};
        struct s3 *s3 = NULL;
        struct sums sums;
        assert_int_equal(s3_open(&s3, &place, b->creds, &(struct s3_opts){.cancel = &b->cancel}, &b->err), 0);
        assert_int_equal(sums_compute(s3, &body, SUMS_UNKNOWN, &sums, &b->err), 0);
        if (rows[i].is_signed != (strlen(sums.payload) == 64))
            fail_msg("%s: payload '%s'", rows[i].endpoint, sums.payload);
        s3_free(s3);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(parts_are_8_MiB_up_to_74_GiB_and_grow_by_whole_MiB_then),
        T(any_size_fits_ten_thousand_parts_with_some_to_spare),
        T(parts_that_S3_does_not_take_are_refused_before_anything_is_sent),
        T(a_file_is_cut_into_equal_parts_and_a_rest),
        T(a_stream_is_one_request_until_it_is_longer_than_a_part),
        T(a_part_that_fails_for_good_aborts_the_upload_and_is_named),
        T(an_abort_that_fails_does_not_hide_why_it_was_needed),
        T(what_was_never_begun_is_not_aborted),
        T(a_stream_that_is_given_up_is_aborted_also_when_cancelled),
        T(a_200_that_holds_an_error_is_no_success_and_tried_again),
        T(a_200_that_always_holds_an_error_is_a_failure_in_the_end),
        T(a_completion_that_happened_unheard_is_recognised_by_its_etag),
        T(what_is_gone_is_not_completed_over_and_over),
        T(an_answer_that_cannot_be_read_is_asked_for_again),
        T(an_object_of_another_number_of_parts_is_a_failure),
        T(a_payload_is_signed_where_others_could_change_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
