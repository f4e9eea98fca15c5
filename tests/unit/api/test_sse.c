#include "api/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static int note(void *ctx, const struct api_event *e, struct err *err)
{
    (void)err;
    buf_addf(ctx, "[%s|%s|%.*s]", e->event, e->id, SPAN_FMT(e->data));
    return span_eq(e->data, SPAN_LIT("stop")) ? 1 : 0;
}

/* The same events however the bytes are cut. */
static void expect(const char *text, const char *events)
{
    size_t n = strlen(text);
    for (size_t step = 1; step <= n; step++) {
        struct err err = ERR_INIT;
        struct sse s;
        AUTO_BUF out;
        buf_init(&out, 4096);
        sse_init(&s);
        for (size_t i = 0; i < n; i += step)
            assert_int_equal(sse_feed(&s, (struct span){text + i, step < n - i ? step : n - i}, note, &out, &err), 0);
        assert_string_equal(buf_str(&out), events);
        sse_release(&s);
    }
}

static void events_are_the_same_however_the_bytes_are_cut(void **state)
{
    (void)state;
    expect("data: a\n\n", "[message||a]");
    expect("event: log\nid: 7\ndata: {}\n\ndata: b\n\n", "[log|7|{}][message|7|b]");
    expect("data: a\r\ndata: b\r\n\r\n", "[message||a\nb]");
    expect("data:a\rdata:b\r\r", "[message||a\nb]");
    expect("\xef\xbb\xbf"
           "data: x\n\n",
           "[message||x]");
}

static void comments_empty_events_and_unknown_fields_say_nothing(void **state)
{
    (void)state;
    expect(": alive\n\n\nevent: x\n\nnonsense: 1\nid\n\n", "");
    expect("data\n\n", "[message||]");
    expect("data: half", "");
}

static void a_new_connection_forgets_half_an_event_but_not_the_id(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct sse s;
    AUTO_BUF out;
    buf_init(&out, 4096);
    sse_init(&s);
    assert_int_equal(sse_feed(&s, SPAN_LIT("id: 3\ndata: a\n\nevent: x\ndata: lo"), note, &out, &err), 0);
    sse_restart(&s);
    assert_int_equal(sse_feed(&s, SPAN_LIT("data: b\n\n"), note, &out, &err), 0);
    assert_string_equal(buf_str(&out), "[message|3|a][message|3|b]");
    sse_release(&s);
}

static void the_reader_can_end_it(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct sse s;
    AUTO_BUF out;
    buf_init(&out, 4096);
    sse_init(&s);
    assert_int_equal(sse_feed(&s, SPAN_LIT("data: stop\n\ndata: b\n\n"), note, &out, &err), 1);
    assert_string_equal(buf_str(&out), "[message||stop]");
    sse_release(&s);
}

static void a_line_without_an_end_is_bounded(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct sse s;
    char piece[65536];
    AUTO_BUF out;
    buf_init(&out, 4096);
    memset(piece, 'x', sizeof piece);
    sse_init(&s);
    int rc = 0;
    for (int i = 0; i < 64 && rc == 0; i++)
        rc = sse_feed(&s, (struct span){piece, sizeof piece}, note, &out, &err);
    assert_int_equal(rc, -1);
    assert_int_equal(err.kind, ERR_LIMIT);
    sse_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_the_same_however_the_bytes_are_cut),
        cmocka_unit_test(comments_empty_events_and_unknown_fields_say_nothing),
        cmocka_unit_test(a_new_connection_forgets_half_an_event_but_not_the_id),
        cmocka_unit_test(the_reader_can_end_it),
        cmocka_unit_test(a_line_without_an_end_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
