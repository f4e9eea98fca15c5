#include "test_base.h"

#include "base/cancel.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

static bool readable(const struct cancel *c)
{
    struct pollfd p = {.fd = c->event_fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void levels_only_rise(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct cancel c;
    assert_works(cancel_init(&c, &err), &err);
    assert_int_equal(cancel_level_of(&c), CANCEL_NONE);
    assert_works(cancel_check(&c, &err), &err);
    assert_false(readable(&c));
    cancel_raise(&c, CANCEL_KILL);
    cancel_raise(&c, CANCEL_STOP);
    assert_int_equal(cancel_level_of(&c), CANCEL_KILL);
    assert_true(readable(&c));
    assert_fails(cancel_check(&c, &err), &err, ERR_CANCELLED);
    cancel_release(&c);
}

static void raising_nothing_wakes_nobody(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct cancel c;
    assert_works(cancel_init(&c, &err), &err);
    cancel_raise(&c, CANCEL_NONE);
    assert_false(readable(&c));
    cancel_release(&c);
    cancel_release(&c);
}

static void null_is_never_cancelled(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_int_equal(cancel_level_of(NULL), CANCEL_NONE);
    assert_works(cancel_check(NULL, &err), &err);
    assert_works(cancel_sleep_ms(NULL, 1, &err), &err);
}

static void *raise_it(void *arg)
{
    cancel_raise(arg, CANCEL_STOP);
    return NULL;
}

/* Without the wake-up this would sleep until the test runner gives up on it. */
static void a_sleeper_wakes_when_another_thread_cancels(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct cancel c;
    pthread_t id;
    assert_works(cancel_init(&c, &err), &err);
    assert_int_equal(pthread_create(&id, NULL, raise_it, &c), 0);
    assert_fails(cancel_sleep_ms(&c, UINT64_MAX, &err), &err, ERR_CANCELLED);
    pthread_join(id, NULL);
    cancel_release(&c);
}

static struct cancel from_handler;

static void on_signal(int sig)
{
    (void)sig;
    cancel_raise(&from_handler, CANCEL_STOP);
}

static void a_signal_handler_may_cancel_and_keeps_errno(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_works(cancel_init(&from_handler, &err), &err);
    struct sigaction action = {.sa_handler = on_signal}, before;
    sigaction(SIGUSR1, &action, &before);
    errno = ENOTTY;
    raise(SIGUSR1);
    assert_int_equal(errno, ENOTTY);
    assert_true(readable(&from_handler));
    assert_int_equal(cancel_level_of(&from_handler), CANCEL_STOP);
    sigaction(SIGUSR1, &before, NULL);
    cancel_release(&from_handler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_only_rise),
        cmocka_unit_test(raising_nothing_wakes_nobody),
        cmocka_unit_test(null_is_never_cancelled),
        cmocka_unit_test(a_sleeper_wakes_when_another_thread_cancels),
        cmocka_unit_test(a_signal_handler_may_cancel_and_keeps_errno),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
