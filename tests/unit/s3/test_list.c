/* Pages that are read ahead of their turn: by a server that knows in which order it was asked, and waits for it. */
#include "fake.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define PAGES_MAX    64
#define KEYS         20 /* of a page */
#define WAIT_SECONDS 30 /* after which a test fails instead of hanging */

struct server {
    pthread_mutex_t mu;
    pthread_cond_t asked;
    unsigned requests[PAGES_MAX]; /* under mu */
    unsigned pages;
    bool token_last;
    int await;         /* page 0 goes on after its token only once this page was asked for; -1: at once */
    int failing;       /* this page's first answer breaks off among its keys; -1: none */
    bool breaks;       /* page 0 breaks off at its first request, having named page `await` */
    unsigned keys_got; /* the caller's thread */
    unsigned stop_at;
    bool disordered;
};

static void server_init(struct server *s, unsigned pages)
{
    *s = (struct server){.pages = pages, .await = -1, .failing = -1};
    pthread_mutex_init(&s->mu, NULL);
    pthread_cond_init(&s->asked, NULL);
}

static void server_release(struct server *s)
{
    pthread_cond_destroy(&s->asked);
    pthread_mutex_destroy(&s->mu);
}

/* Whether `page` was asked for within the time there is. */
static bool await_request(struct server *s, unsigned page)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += WAIT_SECONDS;
    pthread_mutex_lock(&s->mu);
    while (s->requests[page] == 0 && pthread_cond_timedwait(&s->asked, &s->mu, &end) == 0)
        continue;
    bool asked = s->requests[page] > 0;
    pthread_mutex_unlock(&s->mu);
    return asked;
}

static unsigned count_request(struct server *s, unsigned page)
{
    pthread_mutex_lock(&s->mu);
    unsigned before = s->requests[page]++;
    pthread_cond_broadcast(&s->asked);
    pthread_mutex_unlock(&s->mu);
    return before;
}

static int say(const struct http_request *req, struct http_response *resp, const char *text, struct err *err)
{
    return req->on_body(req->ctx, resp, text, strlen(text), err);
}

static int say_token(const struct http_request *req, struct http_response *resp, unsigned next, struct err *err)
{
    char text[128];
    snprintf(text, sizeof text, "<IsTruncated>true</IsTruncated><NextContinuationToken>t%u</NextContinuationToken>",
             next);
    return say(req, resp, text, err);
}

static int say_keys(const struct http_request *req, struct http_response *resp, unsigned page, struct err *err)
{
    char text[128];
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(text, sizeof text, "<Contents><Key>p/%03u-%03u</Key><Size>1</Size></Contents>", page, i);
        if (say(req, resp, text, err) < 0)
            return -1;
    }
    return 0;
}

static int say_page(struct server *s, const struct http_request *req, struct http_response *resp, unsigned page,
                    bool first_time, struct err *err)
{
    bool breaks = s->breaks && page == 0 && first_time, more = page + 1 < s->pages;
    unsigned next = breaks ? (unsigned)s->await : page + 1;
    if (say(req, resp, "<ListBucketResult>", err) < 0 ||
        (more && !s->token_last && say_token(req, resp, next, err) < 0))
        return -1;
    if (page == 0 && first_time && s->await >= 0 && !await_request(s, (unsigned)s->await))
        return err_set(err, ERR_PROTOCOL, "page %d was not asked for", s->await);
    if (!breaks && say_keys(req, resp, page, err) < 0)
        return -1;
    if (breaks || (first_time && (int)page == s->failing))
        return err_set(err, ERR_TRANSIENT, "connection reset");
    if (more && s->token_last && say_token(req, resp, next, err) < 0)
        return -1;
    return say(req, resp, "</ListBucketResult>", err);
}

static int serve(void *ctx, const struct http_request *req, struct http_response *resp, struct err *err)
{
    struct server *s = ctx;
    const char *token = strstr(req->url, "continuation-token=t");
    unsigned page = token ? (unsigned)strtoul(token + strlen("continuation-token=t"), NULL, 10) : 0;
    unsigned before = count_request(s, page);
    fake_response(resp, 200, NULL, NULL);
    if (say_page(s, req, resp, page, before == 0, err) == 0)
        return 0;
    http_response_release(resp);
    return -1;
}

static int take(void *ctx, const struct s3_object *o, struct err *err)
{
    struct server *s = ctx;
    char expected[32];
    (void)err;
    snprintf(expected, sizeof expected, "p/%03u-%03u", s->keys_got / KEYS, s->keys_got % KEYS);
    if (strcmp(o->key, expected) != 0)
        s->disordered = true;
    s->keys_got++;
    return s->stop_at && s->keys_got == s->stop_at ? 7 : 0;
}

static int list(struct server *s)
{
    const struct source_s3 src = {.bucket = "bkt", .key = "p/", .endpoint = "https://gate.example"};
    const struct s3_opts opts = {0};
    struct creds *creds = fake_creds("AKID", "secret");
    struct s3 *s3 = NULL;
    struct err err = ERR_INIT;
    fake_serve(serve, s);
    assert_int_equal(s3_open(&s3, &src, creds, &opts, &err), 0);
    int rc = s3_list(s3, "p/", NULL, take, s, &err);
    if (rc < 0)
        print_message("%s\n", err.text);
    s3_free(s3);
    creds_free(creds);
    return rc;
}

/* ---- */

static void keys_come_in_order_and_each_page_is_asked_for_once(void **state)
{
    (void)state;
    for (int last = 0; last < 2; last++) {
        struct server s;
        server_init(&s, PAGES_MAX);
        s.token_last = last;
        assert_int_equal(list(&s), 0);
        assert_int_equal(s.keys_got, PAGES_MAX * KEYS);
        assert_false(s.disordered);
        for (size_t i = 0; i < PAGES_MAX; i++)
            assert_int_equal(s.requests[i], 1);
        server_release(&s);
    }
}

static void the_next_page_is_asked_for_as_soon_as_it_is_named(void **state)
{
    (void)state;
    struct server s;
    server_init(&s, 8);
    s.await = 3; /* each ahead page names the next one, while page 0 is still on its way */
    assert_int_equal(list(&s), 0);
    assert_int_equal(s.keys_got, 8 * KEYS);
    assert_false(s.disordered);
    server_release(&s);
}

static void what_failed_ahead_is_asked_for_again_in_its_turn(void **state)
{
    (void)state;
    struct server s;
    server_init(&s, 4);
    s.await = s.failing = 1;
    assert_int_equal(list(&s), 0);
    assert_int_equal(s.keys_got, 4 * KEYS);
    assert_false(s.disordered);
    assert_int_equal(s.requests[1], 2);
    server_release(&s);
}

static void a_page_that_turns_out_not_to_be_next_is_dropped(void **state)
{
    (void)state;
    struct server s;
    server_init(&s, 6);
    s.await = 4; /* named by the first try of page 0, which breaks off; its second names page 1 */
    s.breaks = true;
    assert_int_equal(list(&s), 0);
    assert_int_equal(s.keys_got, 6 * KEYS);
    assert_false(s.disordered);
    assert_int_equal(s.requests[0], 2);
    assert_int_equal(s.requests[1], 1);
    assert_int_equal(s.requests[4], 2);
    server_release(&s);
}

static void who_has_seen_enough_ends_the_listing(void **state)
{
    (void)state;
    struct server s;
    server_init(&s, PAGES_MAX);
    s.stop_at = 2 * KEYS + 1;
    assert_int_equal(list(&s), 7);
    assert_int_equal(s.keys_got, 2 * KEYS + 1);
    assert_int_equal(s.requests[PAGES_MAX - 1], 0);
    server_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_in_order_and_each_page_is_asked_for_once),
        cmocka_unit_test(the_next_page_is_asked_for_as_soon_as_it_is_named),
        cmocka_unit_test(what_failed_ahead_is_asked_for_again_in_its_turn),
        cmocka_unit_test(a_page_that_turns_out_not_to_be_next_is_dropped),
        cmocka_unit_test(who_has_seen_enough_ends_the_listing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
