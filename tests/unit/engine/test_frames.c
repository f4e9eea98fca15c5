#include "../base/test_base.h"

#include "engine/frames.h"

/* "\1\0\0\0\0\0\0\2hi" and so on: what is fed, in pieces of `step` bytes, comes out by stream. */
static int feed(const char *bytes, size_t n, size_t step, struct buf out[4], struct err *err)
{
    struct frames f = {0};
    for (size_t at = 0; at < n; at += step) {
        struct span in = {bytes + at, n - at < step ? n - at : step};
        while (in.n > 0) {
            enum frame_stream stream;
            struct span data;
            if (frames_next(&f, &in, &stream, &data, err) < 0)
                return -1;
            if (data.n)
                buf_add_span(&out[stream], data);
        }
    }
    return frames_end(&f, err);
}

static void init(struct buf out[4])
{
    for (size_t i = 0; i < 4; i++)
        buf_init(&out[i], 1 << 20);
}

static void release(struct buf out[4])
{
    for (size_t i = 0; i < 4; i++)
        buf_release(&out[i]);
}

static void frames_are_taken_apart_however_they_arrive(void **state)
{
    static const char bytes[] = "\1\0\0\0\0\0\0\2hi\2\0\0\0\0\0\0\3err\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\1!";
    (void)state;
    for (size_t step = 1; step < sizeof bytes; step++) {
        struct buf out[4];
        struct err err = ERR_INIT;
        init(out);
        assert_works(feed(bytes, sizeof bytes - 1, step, out, &err), &err);
        assert_string_equal(buf_str(&out[FRAME_STDOUT]), "hi!");
        assert_string_equal(buf_str(&out[FRAME_STDERR]), "err");
        release(out);
    }
}

static void a_length_takes_all_its_32_bits(void **state)
{
    (void)state;
    struct frames f = {0};
    struct err err = ERR_INIT;
    struct span in = {"\2\0\0\0\xff\xfe\xfd\xfcx", 9}, data;
    enum frame_stream stream;
    assert_works(frames_next(&f, &in, &stream, &data, &err), &err);
    assert_int_equal(stream, FRAME_STDERR);
    assert_int_equal(data.n, 1);
    assert_int_equal(f.left, 0xfffefdfc - 1);
}

static void what_is_not_a_frame_is_refused(void **state)
{
    static const char *const bad[] = {"\4\0\0\0\0\0\0\1x", "\1\1\0\0\0\0\0\1x", "\1\0\1\0\0\0\0\1x",
                                      "\1\0\0\1\0\0\0\1x", "plain text"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf out[4];
        struct err err = ERR_INIT;
        init(out);
        assert_fails(feed(bad[i], 9, 9, out, &err), &err, ERR_PROTOCOL);
        release(out);
    }
}

static void a_stream_that_ends_within_a_frame_was_cut(void **state)
{
    static const char bytes[] = "\1\0\0\0\0\0\0\2hi";
    (void)state;
    for (size_t n = 0; n < sizeof bytes; n++) {
        struct buf out[4];
        struct err err = ERR_INIT;
        init(out);
        if (n == 0 || n == sizeof bytes - 1)
            assert_works(feed(bytes, n, 3, out, &err), &err);
        else
            assert_fails(feed(bytes, n, 3, out, &err), &err, ERR_TRANSIENT);
        release(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_taken_apart_however_they_arrive),
        cmocka_unit_test(a_length_takes_all_its_32_bits),
        cmocka_unit_test(what_is_not_a_frame_is_refused),
        cmocka_unit_test(a_stream_that_ends_within_a_frame_was_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
