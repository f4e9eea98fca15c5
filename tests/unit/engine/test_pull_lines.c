#include "../base/test_base.h"

#include "engine/pull_lines.h"

struct seen {
    unsigned calls;
    uint64_t done, total;
    char status[64];
};

static void note(void *ctx, const char *status, uint64_t done, uint64_t total)
{
    struct seen *s = ctx;
    s->calls++;
    s->done = done;
    s->total = total;
    snprintf(s->status, sizeof s->status, "%s", status);
}

/* Feed `text` in pieces of `step` bytes. */
static int feed(struct pull_lines *p, struct seen *seen, const char *text, size_t step, struct err *err)
{
    size_t n = strlen(text);
    pull_lines_init(p);
    p->progress = note;
    p->ctx = seen;
    for (size_t at = 0; at < n; at += step)
        if (pull_lines_feed(p, text + at, n - at < step ? n - at : step, err) < 0)
            return -1;
    return pull_lines_end(p, err);
}

static void progress_sums_what_is_downloaded_of_all_layers(void **state)
{
    static const char text[] =
        "{\"status\":\"Pulling from a/b\",\"id\":\"1\"}\r\n"
        "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":10,\"total\":100},\"id\":\"x\"}\r\n"
        "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":5,\"total\":50},\"id\":\"y\"}\r\n"
        "{\"status\":\"Download complete\",\"progressDetail\":{},\"id\":\"x\"}\n\n"
        "{\"status\":\"Extracting\",\"progressDetail\":{\"current\":1,\"total\":100},\"id\":\"x\"}\n"
        "{\"status\":\"Digest: sha256:00\"}";
    (void)state;
    for (size_t step = 1; step < 200; step += 13) {
        static struct pull_lines p;
        struct seen seen = {0};
        struct err err = ERR_INIT;
        assert_works(feed(&p, &seen, text, step, &err), &err);
        assert_int_equal(seen.calls, 6);
        assert_int_equal(seen.done, 105);
        assert_int_equal(seen.total, 150);
        assert_string_equal(seen.status, "Digest: sha256:00");
        assert_false(p.failed);
        pull_lines_release(&p);
    }
}

static void a_failure_inside_the_stream_is_noted_and_the_first_counts(void **state)
{
    static struct pull_lines p;
    struct seen seen = {0};
    struct err err = ERR_INIT;
    (void)state;
    assert_works(feed(&p, &seen,
                      "{\"progressDetail\":{},\"errorDetail\":{\"message\":\"manifest unknown\"},\"error\":\"x\"}\n"
                      "{\"error\":\"second\"}\n{\"status\":\"going on\"}\n",
                      7, &err),
                 &err);
    assert_true(p.failed);
    assert_string_equal(p.failure, "manifest unknown");
    assert_string_equal(seen.status, "going on");
    pull_lines_release(&p);
}

static void what_is_not_json_lines_is_refused(void **state)
{
    static const char *const bad[] = {"<html>\n", "[1]\n", "{\"status\":\n", "{} {}\n", "{\"status\":\"cut"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        static struct pull_lines p;
        struct seen seen = {0};
        struct err err = ERR_INIT;
        assert_fails(feed(&p, &seen, bad[i], 100, &err), &err, ERR_PROTOCOL);
        pull_lines_release(&p);
    }
}

static void odd_members_are_overlooked(void **state)
{
    static struct pull_lines p;
    struct seen seen = {0};
    struct err err = ERR_INIT;
    (void)state;
    assert_works(feed(&p, &seen,
                      "{\"status\":7,\"id\":[]}\n{\"status\":\"Downloading\",\"id\":\"x\",\"progressDetail\":7}\n"
                      "{\"status\":\"Downloading\",\"id\":\"x\",\"progressDetail\":{\"current\":9,\"total\":-1}}\n"
                      "{\"status\":\"Downloading\",\"id\":\"x\",\"progressDetail\":{\"current\":9,\"total\":4}}\n"
                      "{\"status\":\"Downloading\",\"id\":\"y\",\"progressDetail\":{\"total\":9223372036854775807}}\n"
                      "{\"status\":\"Downloading\",\"id\":\"z\",\"progressDetail\":{\"total\":9223372036854775807}}\n"
                      "{\"status\":\"Downloading\",\"id\":\"w\",\"progressDetail\":{\"total\":9223372036854775807}}\n",
                      100, &err),
                 &err);
    assert_int_equal(seen.done, 4);
    pull_lines_release(&p);
}

static void lines_and_layers_are_bounded(void **state)
{
    static struct pull_lines p;
    struct seen seen = {0};
    struct err err = ERR_INIT;
    char line[128];
    AUTO_STR long_line = malloc(PULL_LINE_MAX + 2);
    (void)state;
    assert_non_null(long_line);
    memset(long_line, 'x', PULL_LINE_MAX + 1);
    long_line[PULL_LINE_MAX + 1] = '\0';
    assert_fails(feed(&p, &seen, long_line, 1000, &err), &err, ERR_PROTOCOL);
    pull_lines_release(&p);
    pull_lines_init(&p);
    for (int i = 0; i < PULL_LAYERS_MAX + 10; i++) {
        int n = snprintf(line, sizeof line, "{\"status\":\"Pulling fs layer\",\"id\":\"%d\"}\n", i);
        assert_works(pull_lines_feed(&p, line, (size_t)n, &err), &err);
    }
    assert_int_equal(p.layer_count, PULL_LAYERS_MAX);
    pull_lines_release(&p);
}

static void a_registrys_words_tell_the_kind_of_failure(void **state)
{
    static const struct {
        const char *words;
        enum err_kind kind;
    } rows[] = {
        {"unauthorized: authentication required", ERR_DENIED},
        {"Requesting bearer token: invalid status code from registry 403 (Forbidden)", ERR_DENIED},
        {"pull access denied for x, repository does not exist or may require 'docker login'", ERR_NOTFOUND},
        {"denied: requested access to the resource is denied", ERR_DENIED},
        {"manifest for x:1 not found: manifest unknown: manifest unknown", ERR_NOTFOUND},
        {"write /var/lib/x: no space left on device", ERR_NOSPACE},
        {"no matching manifest for linux/arm64 in the manifest list entries", ERR_UNSUPPORTED},
        {"dial tcp 127.0.0.1:1: connect: connection refused", ERR_TRANSIENT},
        {"received unexpected HTTP status: 500 Internal Server Error", ERR_TRANSIENT},
        {"layer sha256:401403 is on its way", ERR_TRANSIENT},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_string_equal(err_kind_name(pull_failure_kind(rows[i].words)), err_kind_name(rows[i].kind));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_sums_what_is_downloaded_of_all_layers),
        cmocka_unit_test(a_failure_inside_the_stream_is_noted_and_the_first_counts),
        cmocka_unit_test(what_is_not_json_lines_is_refused),
        cmocka_unit_test(odd_members_are_overlooked),
        cmocka_unit_test(lines_and_layers_are_bounded),
        cmocka_unit_test(a_registrys_words_tell_the_kind_of_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
