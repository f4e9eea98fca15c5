/* The client against answers from a script. */
#include "../xfer/loopback.h"
#include "api/api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOKEN "berth_p_canary"

struct server {
    struct script script;
    struct loopback *loop;
    struct api *api;
};

static void start(struct server *s, const struct script_step *steps, size_t n)
{
    struct err err = ERR_INIT;
    char url[64];
    *s = (struct server){.script = {.steps = steps, .step_count = n}};
    s->loop = loopback_start(script_answer, &s->script, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", loopback_port(s->loop));
    const struct api_opts ao = {.server = url, .token = TOKEN};
    assert_int_equal(api_open(&s->api, &ao, &err), 0);
}

/* What was asked may be looked at afterwards. */
static void stop(struct server *s)
{
    api_free(s->api);
    loopback_stop(s->loop);
}

static void end(struct server *s)
{
    loopback_free(s->loop);
    script_release(&s->script);
}

#define ANSWER(status, body) "HTTP/1.1 " status "\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" body

static void a_call_carries_the_token_and_gives_the_answer(void **state)
{
    static const struct script_step steps[] = {{ANSWER("200 OK", "{\"a\": 42}"), LOOPBACK_CLOSE}};
    struct server s;
    struct err err = ERR_INIT;
    int64_t a = 0;
    (void)state;
    start(&s, steps, 1);
    AUTO_JSON answer = NULL;
    assert_int_equal(api_call(s.api, &(struct api_call){.path = "/api/v1/x?y=z"}, &answer, &err), 0);
    assert_true(json_get_i64(answer, "a", &a));
    assert_int_equal(a, 42);
    stop(&s);
    assert_non_null(strstr(s.script.requests[0], "GET /api/v1/x?y=z HTTP/1.1\r\n"));
    assert_non_null(strstr(s.script.requests[0], "Authorization: Bearer " TOKEN "\r\n"));
    end(&s);
}

static void an_empty_answer_is_an_empty_object(void **state)
{
    static const struct script_step steps[] = {{ANSWER("204 No Content", ""), LOOPBACK_CLOSE}};
    struct server s;
    struct err err = ERR_INIT;
    (void)state;
    start(&s, steps, 1);
    AUTO_JSON answer = NULL;
    assert_int_equal(api_call(s.api, &(struct api_call){.path = "/x"}, &answer, &err), 0);
    assert_int_equal(json_object_size(answer), 0);
    stop(&s);
    end(&s);
}

static void errors_keep_their_kind_words_and_hint(void **state)
{
    static const struct {
        struct script_step step;
        enum err_kind kind;
    } cases[] = {
        {{ANSWER("409 Conflict", "{\"error\":{\"code\":\"lost\",\"message\":\"gone\",\"hint\":\"let it be\"}} "),
          LOOPBACK_CLOSE},
         ERR_CHANGED},
        {{ANSWER("409 Conflict", "{\"error\":{\"code\":\"exists\",\"message\":\"is there\"}} "), LOOPBACK_CLOSE},
         ERR_EXISTS},
        {{ANSWER("404 Not Found", "{\"error\":{\"code\":\"not_found\",\"message\":\"none\"}} "), LOOPBACK_CLOSE},
         ERR_NOTFOUND},
        {{ANSWER("403 Forbidden", "no"), LOOPBACK_CLOSE}, ERR_DENIED},
        {{ANSWER("422 Unprocessable", "{\"error\":{\"code\":\"unsupported\",\"message\":\"never\"}}"), LOOPBACK_CLOSE},
         ERR_UNSUPPORTED},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct server s;
        struct err err = ERR_INIT;
        json_t *refusal = NULL;
        start(&s, &cases[i].step, 1);
        assert_int_equal(api_call(s.api, &(struct api_call){.path = "/x", .refusal = &refusal}, NULL, &err), -1);
        assert_int_equal(err.kind, cases[i].kind);
        assert_null(strstr(err.text, TOKEN));
        if (i == 0) {
            assert_string_equal(err.text, "gone");
            assert_string_equal(err.hint, "let it be");
            assert_non_null(json_object_get(refusal, "error"));
        }
        json_decref(refusal);
        stop(&s);
        end(&s);
    }
}

static void a_post_is_sent_once_unless_it_may_be_repeated(void **state)
{
    static const struct script_step steps[] = {{ANSWER("503 Busy", ""), LOOPBACK_CLOSE},
                                               {ANSWER("503 Busy", ""), LOOPBACK_CLOSE},
                                               {ANSWER("200 OK", "{}"), LOOPBACK_CLOSE}};
    struct server s;
    struct err err = ERR_INIT;
    AUTO_JSON body = json_pack("{s:i}", "a", 1);
    (void)state;
    start(&s, steps, 3);
    assert_int_equal(api_call(s.api, &(struct api_call){.path = "/x", .body = body}, NULL, &err), -1);
    assert_int_equal(err.kind, ERR_BUSY);
    err_clear(&err);
    assert_int_equal(
        api_call(s.api, &(struct api_call){.path = "/x", .body = body, .idempotency_key = "k1"}, NULL, &err), 0);
    stop(&s);
    assert_int_equal(s.script.request_count, 3);
    assert_null(strstr(s.script.requests[0], "Idempotency-Key"));
    assert_non_null(strstr(s.script.requests[2], "Idempotency-Key: k1\r\n"));
    end(&s);
}

static int count_page(void *ctx, const json_t *page, struct err *err)
{
    (void)err;
    *(unsigned *)ctx += (unsigned)json_array_size(json_object_get(page, "jobs"));
    return 0;
}

static void pages_are_followed_to_the_end(void **state)
{
    static const struct script_step steps[] = {
        {ANSWER("200 OK", "{\"jobs\": [1,2], \"next_token\": \"a b\"}"), LOOPBACK_CLOSE},
        {ANSWER("200 OK", "{\"jobs\": [3],    \"next_token\": \"\"}"), LOOPBACK_CLOSE}};
    struct server s;
    struct err err = ERR_INIT;
    unsigned n = 0;
    (void)state;
    start(&s, steps, 2);
    assert_int_equal(api_pages(s.api, "/jobs?limit=2", NULL, count_page, &n, &err), 0);
    assert_int_equal(n, 3);
    stop(&s);
    assert_non_null(strstr(s.script.requests[1], "GET /jobs?limit=2&next_token=a%20b "));
    end(&s);
}

struct seen {
    char text[256];
};

static int note_event(void *ctx, const struct api_event *event, struct err *err)
{
    struct seen *seen = ctx;
    size_t n = strlen(seen->text);
    (void)err;
    snprintf(seen->text + n, sizeof seen->text - n, "%s:%s:%.*s ", event->event, event->id, SPAN_FMT(event->data));
    return 0;
}

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1\n"

static void a_stream_that_is_cut_goes_on_from_the_last_id(void **state)
{
    static const struct script_step steps[] = {
        {STREAM "id: 7\nevent: log\ndata: a\n\nid: 8\ndata: half", LOOPBACK_CLOSE},
        {STREAM "id: 8\nevent: log\ndata: b\n\nevent: end\ndata: c\n\n", LOOPBACK_CLOSE}};
    struct server s;
    struct err err = ERR_INIT;
    struct seen seen = {{0}};
    (void)state;
    start(&s, steps, 2);
    const struct api_events what = {.path = "/logs", .each = note_event, .ctx = &seen};
    assert_int_equal(api_events(s.api, &what, &err), 0);
    assert_string_equal(seen.text, "log:7:a log:8:b end:8:c ");
    stop(&s);
    assert_null(strstr(s.script.requests[0], "Last-Event-ID"));
    assert_non_null(strstr(s.script.requests[1], "Last-Event-ID: 7\r\n"));
    end(&s);
}

static void a_stream_that_is_refused_is_not_asked_for_again(void **state)
{
    static const struct script_step steps[] = {{ANSWER("404 Not Found", ""), LOOPBACK_CLOSE}};
    struct server s;
    struct err err = ERR_INIT;
    struct seen seen = {{0}};
    (void)state;
    start(&s, steps, 1);
    const struct api_events what = {.path = "/logs", .each = note_event, .ctx = &seen};
    assert_int_equal(api_events(s.api, &what, &err), -1);
    assert_int_equal(err.kind, ERR_NOTFOUND);
    stop(&s);
    assert_int_equal(s.script.request_count, 1);
    end(&s);
}

static void a_stream_that_never_says_anything_ends_after_its_tries(void **state)
{
    static const struct script_step steps[] = {{STREAM, LOOPBACK_CLOSE}};
    struct server s;
    struct err err = ERR_INIT;
    struct seen seen = {{0}};
    (void)state;
    start(&s, steps, 1);
    const struct api_events what = {.path = "/logs", .each = note_event, .ctx = &seen, .tries = 3};
    assert_int_equal(api_events(s.api, &what, &err), -1);
    assert_int_equal(err.kind, ERR_TRANSIENT);
    stop(&s);
    assert_int_equal(s.script.request_count, 3);
    end(&s);
}

static void a_token_goes_unencrypted_to_this_machine_only(void **state)
{
    struct err err = ERR_INIT;
    struct api *api = NULL;
    (void)state;
    assert_int_equal(api_open(&api, &(struct api_opts){.server = "http://192.0.2.1:7480", .token = TOKEN}, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    err_clear(&err);
    assert_int_equal(api_open(&api, &(struct api_opts){.server = "http://192.0.2.1:7480"}, &err), 0);
    assert_int_equal(api_set_token(api, TOKEN, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    api_free(api);
    err_clear(&err);
    assert_int_equal(api_open(&api, &(struct api_opts){.server = "https://192.0.2.1:7480"}, &err), 0);
    assert_int_equal(api_set_token(api, TOKEN, &err), 0);
    api_free(api);
    assert_int_equal(api_open(&api, &(struct api_opts){.server = NULL}, &err), -1);
    assert_int_equal(err.kind, ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_carries_the_token_and_gives_the_answer),
        cmocka_unit_test(an_empty_answer_is_an_empty_object),
        cmocka_unit_test(errors_keep_their_kind_words_and_hint),
        cmocka_unit_test(a_post_is_sent_once_unless_it_may_be_repeated),
        cmocka_unit_test(pages_are_followed_to_the_end),
        cmocka_unit_test(a_stream_that_is_cut_goes_on_from_the_last_id),
        cmocka_unit_test(a_stream_that_is_refused_is_not_asked_for_again),
        cmocka_unit_test(a_stream_that_never_says_anything_ends_after_its_tries),
        cmocka_unit_test(a_token_goes_unencrypted_to_this_machine_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
