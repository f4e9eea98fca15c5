#include "test_base.h"

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

#include <pthread.h>

/* Everything the hook was given. */
struct capture {
    char text[64 << 10];
    size_t n;
    unsigned lines;
    bool torn; /* a call that was not exactly one line */
};

static void keep(void *ctx, const char *line, size_t n)
{
    struct capture *c = ctx;
    c->lines++;
    c->torn |= n == 0 || line[n - 1] != '\n' || memchr(line, '\n', n - 1);
    if (n < sizeof c->text - c->n) {
        memcpy(c->text + c->n, line, n);
        c->n += n;
        c->text[c->n] = '\0';
    }
}

static struct capture seen;

static int start(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof seen);
    log_set_hook(keep, &seen);
    log_setup(LOG_INFO, LOG_TEXT, false);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    log_set_hook(NULL, NULL);
    log_setup(LOG_INFO, LOG_TEXT, false);
    return 0;
}

static void a_line_is_module_and_text(void **state)
{
    (void)state;
    log_info("xfer", "got %s (bytes=%d)", "k", 5);
    log_warn("xfer", "slow");
    log_error("cache", "broken");
    assert_string_equal(seen.text, "xfer: got k (bytes=5)\nwarning: xfer: slow\nerror: cache: broken\n");
}

static void levels_below_the_set_one_say_nothing(void **state)
{
    (void)state;
    log_debug("a", "hidden");
    assert_int_equal(seen.lines, 0);
    log_setup(LOG_DEBUG, LOG_TEXT, false);
    log_debug("a", "shown");
    log_setup(LOG_ERROR, LOG_TEXT, false);
    assert_int_equal(log_level_now(), LOG_ERROR);
    log_warn("a", "hidden");
    assert_string_equal(seen.text, "debug: a: shown\n");
}

static void one_event_stays_one_harmless_line(void **state)
{
    (void)state;
    log_info("m", "%s", "a\nb\x1b[31m\r\xff\xc3\xa9\xc2\x9b\xc2\xa0");
    assert_string_equal(seen.text, "m: a b?[31m??\xc3\xa9?\xc2\xa0\n");
    assert_false(seen.torn);
}

static void json_lines_are_json_whatever_the_text(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    log_setup(LOG_INFO, LOG_JSON, true);
    log_warn("m", "%s", "say \"hi\" \\ \n\x01\xff\xe2\x82\xac\xc2\x9b");
    assert_non_null(strstr(seen.text, "\\u009b"));
    AUTO_JSON line = json_parse((struct span){seen.text, seen.n}, &err);
    assert_non_null(line);
    assert_string_equal(json_get_str(line, "level"), "warning");
    assert_string_equal(json_get_str(line, "module"), "m");
    assert_string_equal(json_get_str(line, "message"), "say \"hi\" \\ \n\x01\xef\xbf\xbd\xe2\x82\xac\xc2\x9b");
    assert_non_null(json_get_str(line, "time"));
    assert_false(seen.torn);
}

static void overlong_texts_are_cut_and_say_so(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char text[9000];
    memset(text, '\x01', sizeof text - 1); /* each becomes six characters in JSON */
    text[sizeof text - 1] = '\0';
    log_setup(LOG_INFO, LOG_JSON, false);
    log_info("m", "%s", text);
    AUTO_JSON line = json_parse((struct span){seen.text, seen.n}, &err);
    assert_non_null(line);
    const char *message = json_get_str(line, "message");
    assert_int_equal(strlen(message), 4095);
    assert_string_equal(message + 4092, "...");
}

static void without_a_hook_lines_go_to_standard_error(void **state)
{
    (void)state;
    int ends[2], kept = dup(STDERR_FILENO);
    char text[64] = "";
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    log_set_hook(NULL, NULL);
    log_info("m", "x");
    assert_int_equal(dup2(kept, STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(read(ends[0], text, sizeof text - 1), 5);
    assert_string_equal(text, "m: x\n");
    close(kept);
    close(ends[0]);
    close(ends[1]);
}

static void colour_appears_only_where_asked(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, true);
    log_error("m", "x");
    assert_contains(seen.text, "\033[31m");
    assert_contains(seen.text, "\033[0m x\n");
}

static void *shout(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_info("thread", "line %d of %s", i, (const char *)arg);
    return NULL;
}

static void lines_of_many_threads_do_not_mix(void **state)
{
    (void)state;
    static char names[][2] = {"a", "b", "c", "d"};
    pthread_t ids[ARRAY_LEN(names)];
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(pthread_create(&ids[i], NULL, shout, names[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        pthread_join(ids[i], NULL);
    assert_int_equal(seen.lines, 800);
    assert_false(seen.torn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_is_module_and_text, start, stop),
        cmocka_unit_test_setup_teardown(levels_below_the_set_one_say_nothing, start, stop),
        cmocka_unit_test_setup_teardown(one_event_stays_one_harmless_line, start, stop),
        cmocka_unit_test_setup_teardown(json_lines_are_json_whatever_the_text, start, stop),
        cmocka_unit_test_setup_teardown(overlong_texts_are_cut_and_say_so, start, stop),
        cmocka_unit_test_setup_teardown(without_a_hook_lines_go_to_standard_error, start, stop),
        cmocka_unit_test_setup_teardown(colour_appears_only_where_asked, start, stop),
        cmocka_unit_test_setup_teardown(lines_of_many_threads_do_not_mix, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
