#include "xfer/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct arena *arena;

static int make_arena(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    arena = arena_new(0, &err);
    return arena ? 0 : -1;
}

static int drop_arena(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

static struct url parse(const char *text)
{
    struct url u;
    struct err err = ERR_INIT;
    if (url_parse(arena, span_of(text), &u, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return u;
}

static void check_written(const struct url *u, const char *want)
{
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, URL_LENGTH_MAX);
    url_write(u, &out);
    assert_int_equal(buf_check(&out, "URL", &err), 0);
    assert_string_equal(buf_str(&out), want);
}

static void check_refused(const char *text, enum err_kind kind)
{
    struct url u;
    struct err err = ERR_INIT;
    if (url_parse(arena, span_of(text), &u, &err) == 0)
        fail_msg("%s was taken", text);
    if (err.kind != kind)
        fail_msg("%s: %s: %s", text, err_kind_name(err.kind), err.text);
    assert_null(strstr(err.text, "secret"));
}

static void a_url_comes_apart_into_its_parts(void **state)
{
    (void)state;
    struct url u = parse("https://Host.Example:8443/a/b%20c?x=1&y=#frag");
    assert_string_equal(u.scheme, "https");
    assert_string_equal(u.host, "host.example");
    assert_int_equal(u.port, 8443);
    assert_false(u.default_port);
    assert_string_equal(u.path, "/a/b%20c");
    assert_string_equal(u.query, "x=1&y=");
    check_written(&u, "https://host.example:8443/a/b%20c?x=1&y=");
}

static void the_port_of_the_scheme_is_the_default_and_is_not_written(void **state)
{
    (void)state;
    struct url plain = parse("http://h");
    assert_int_equal(plain.port, 80);
    assert_null(plain.query);
    check_written(&plain, "http://h/");
    struct url tls = parse("HTTPS://h:443/");
    assert_int_equal(tls.port, 443);
    assert_true(tls.default_port);
    check_written(&tls, "https://h/");
}

static void an_ipv6_host_has_brackets_only_when_written(void **state)
{
    (void)state;
    struct url u = parse("http://[2001:DB8::1]:8080/x");
    assert_string_equal(u.host, "2001:db8::1");
    check_written(&u, "http://[2001:db8::1]:8080/x");
    AUTO_BUF authority;
    buf_init(&authority, 256);
    url_authority(&u, &authority);
    assert_string_equal(buf_str(&authority), "[2001:db8::1]:8080");
}

static void the_path_and_query_stay_as_they_were_written(void **state)
{
    (void)state;
    struct url u = parse("http://h/a/../b//c/%2e%2E/+%2B?q=a+b%2Fc&X-Amz-Signature=%20");
    assert_string_equal(u.path, "/a/../b//c/%2e%2E/+%2B");
    assert_string_equal(u.query, "q=a+b%2Fc&X-Amz-Signature=%20");
}

static void spaces_and_non_ascii_bytes_are_percent_encoded(void **state)
{
    (void)state;
    struct url u = parse("http://h/my file/é?a b");
    check_written(&u, "http://h/my%20file/%C3%A9?a%20b");
}

static void an_address_in_an_odd_spelling_is_read_as_the_address_it_is(void **state)
{
    (void)state;
    assert_string_equal(parse("http://0x7f.1/").host, "127.0.0.1");
    assert_string_equal(parse("http://2130706433/").host, "127.0.0.1");
    check_refused("http://%31%32%37.1/", ERR_INVALID); /* would be read as a name */
    const struct url base = parse("http://host/");
    struct url out;
    struct err err = ERR_INIT;
    assert_int_equal(url_resolve(arena, &base, SPAN_LIT("//%31%32%37.1/x"), &out, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
}

static void what_is_no_http_url_is_refused(void **state)
{
    (void)state;
    check_refused("", ERR_INVALID);
    check_refused("host/path", ERR_INVALID);
    check_refused("http://", ERR_INVALID);
    check_refused("http:/host/", ERR_INVALID);
    check_refused("http:///host/", ERR_INVALID);
    check_refused("http://h:0/", ERR_INVALID);
    check_refused("http://h:65536/", ERR_INVALID);
    check_refused("http://h:80x/", ERR_INVALID);
    check_refused("http://[fe80::1%25eth0]/", ERR_INVALID);
    check_refused("http://b\xc3\xbc"
                  "cher.example/",
                  ERR_INVALID);
    check_refused("http://a%2fb/", ERR_INVALID);
    check_refused("http://h/a\r\nX-Injected: 1", ERR_INVALID);
    check_refused("ftp://h/", ERR_UNSUPPORTED);
    check_refused("s3://bucket/key", ERR_UNSUPPORTED);
    check_refused("file:///etc/passwd", ERR_UNSUPPORTED);
}

static void credentials_in_a_url_are_refused_and_not_shown(void **state)
{
    (void)state;
    check_refused("http://user:secret@h/", ERR_REFUSED);
    check_refused("http://secret@h/", ERR_REFUSED);
    check_refused("ftp://user:secret@h/", ERR_REFUSED);
}

static void a_url_above_the_limit_is_refused(void **state)
{
    (void)state;
    static char text[URL_LENGTH_MAX + 2];
    memset(text, 'a', sizeof text - 1);
    memcpy(text, "http://h/", 9);
    check_refused(text, ERR_LIMIT);
    text[URL_LENGTH_MAX] = '\0';
    parse(text);
    text[URL_LENGTH_MAX - 1] = ' '; /* three bytes once encoded */
    check_refused(text, ERR_LIMIT);
}

static void check_resolved(const char *reference, const char *want)
{
    struct url base = parse("https://h.example:8443/a/b/c?q=1"), u;
    struct err err = ERR_INIT;
    if (url_resolve(arena, &base, span_of(reference), &u, &err) < 0)
        fail_msg("%s: %s", reference, err.text);
    check_written(&u, want);
}

static void references_resolve_against_their_base(void **state)
{
    (void)state;
    check_resolved("d", "https://h.example:8443/a/b/d");
    check_resolved("../d?x", "https://h.example:8443/a/d?x");
    check_resolved("/d", "https://h.example:8443/d");
    check_resolved("?y=2", "https://h.example:8443/a/b/c?y=2");
    check_resolved("//other/z", "https://other/z");
    check_resolved("http://other/a/../z#f", "http://other/a/../z");
    check_resolved("#f", "https://h.example:8443/a/b/c?q=1");
    check_resolved("", "https://h.example:8443/a/b/c?q=1");
    check_resolved("/a b", "https://h.example:8443/a%20b");
}

static void references_to_other_schemes_and_with_credentials_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"file:///etc/passwd", "javascript:1", "ftp://h/", "http://u:p@h/", "//u:p@h/"};
    struct url base = parse("https://h/"), u;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        if (url_resolve(arena, &base, span_of(bad[i]), &u, &err) == 0)
            fail_msg("%s was taken", bad[i]);
    }
}

static void check_redacted(const char *text, const char *want)
{
    AUTO_BUF out;
    buf_init(&out, URL_LENGTH_MAX);
    url_redact(span_of(text), &out);
    assert_string_equal(buf_str(&out), want);
}

static void redacting_hides_query_user_and_controls_even_in_broken_urls(void **state)
{
    (void)state;
    check_redacted("https://h/a?X-Amz-Signature=s", "https://h/a?…");
    check_redacted("https://user:pass@h/a", "https://h/a");
    check_redacted("https://a@b@h/a@b", "https://h/a@b");
    check_redacted("user:pass@h", "h");
    check_redacted("https://h/a#token", "https://h/a");
    check_redacted("ftp://u:p@h?x", "ftp://h?…");
    check_redacted("a\nb", "a?b");
    check_redacted("", "");
}

static void an_origin_is_scheme_host_and_port(void **state)
{
    (void)state;
    struct url a = parse("https://h/a"), b = parse("https://H:443/b?c"), c = parse("http://h:443/"),
               d = parse("https://h:444/"), e = parse("https://h2/");
    assert_true(url_same_origin(&a, &b));
    assert_false(url_same_origin(&a, &c));
    assert_false(url_same_origin(&a, &d));
    assert_false(url_same_origin(&a, &e));
}

static void loopback_is_told_from_names_that_look_like_it(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool loopback;
    } cases[] = {{"http://localhost:1/", true},     {"http://127.9.9.9/", true},      {"http://[::1]:5000/", true},
                 {"http://127.0.0.1.evil/", false}, {"http://127.example/", false},   {"http://10.0.0.1/", false},
                 {"http://[::2]/", false},          {"http://localhost.evil/", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct url u = parse(cases[i].url);
        assert_int_equal(url_is_loopback(&u), cases[i].loopback);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_comes_apart_into_its_parts),
        cmocka_unit_test(the_port_of_the_scheme_is_the_default_and_is_not_written),
        cmocka_unit_test(an_ipv6_host_has_brackets_only_when_written),
        cmocka_unit_test(the_path_and_query_stay_as_they_were_written),
        cmocka_unit_test(spaces_and_non_ascii_bytes_are_percent_encoded),
        cmocka_unit_test(an_address_in_an_odd_spelling_is_read_as_the_address_it_is),
        cmocka_unit_test(what_is_no_http_url_is_refused),
        cmocka_unit_test(credentials_in_a_url_are_refused_and_not_shown),
        cmocka_unit_test(a_url_above_the_limit_is_refused),
        cmocka_unit_test(references_resolve_against_their_base),
        cmocka_unit_test(references_to_other_schemes_and_with_credentials_are_refused),
        cmocka_unit_test(redacting_hides_query_user_and_controls_even_in_broken_urls),
        cmocka_unit_test(an_origin_is_scheme_host_and_port),
        cmocka_unit_test(loopback_is_told_from_names_that_look_like_it),
    };
    return cmocka_run_group_tests(tests, make_arena, drop_arena);
}
