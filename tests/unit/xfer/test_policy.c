#include "xfer/policy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include <cmocka.h>

static int check(const struct xfer_policy *p, const char *host, const char *address, uint16_t port, struct err *err)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (inet_pton(AF_INET, address, &in.sin_addr) == 1)
        return policy_check_address(p, host, (struct sockaddr *)&in, sizeof in, err);
    assert_int_equal(inet_pton(AF_INET6, address, &in6.sin6_addr), 1);
    return policy_check_address(p, host, (struct sockaddr *)&in6, sizeof in6, err);
}

static bool passes(const struct xfer_policy *p, const char *host, const char *address, uint16_t port)
{
    struct err err = ERR_INIT;
    return check(p, host, address, port, &err) == 0;
}

static void public_addresses_pass(void **state)
{
    (void)state;
    static const char *const fine[] = {"1.1.1.1",         "8.8.8.8",         "9.255.255.255",   "11.0.0.0",
                                       "100.63.255.255",  "100.128.0.0",     "172.15.255.255",  "172.32.0.0",
                                       "192.167.255.255", "192.169.0.0",     "198.17.255.255",  "198.20.0.0",
                                       "223.255.255.255", "52.216.0.1",      "2606:4700::1111", "2a00:1450::1",
                                       "::ffff:8.8.8.8",  "2002:808:808::1", "64:ff9b::808:808"};
    struct xfer_policy p = {.public_only = true};
    for (size_t i = 0; i < ARRAY_LEN(fine); i++)
        if (!passes(&p, "h", fine[i], 443))
            fail_msg("%s was refused", fine[i]);
}

static void special_addresses_are_refused_with_their_class(void **state)
{
    (void)state;
    static const struct {
        const char *address, *what;
    } bad[] = {
        {"0.0.0.0", "this network"},
        {"10.1.2.3", "private"},
        {"100.64.0.1", "carrier-grade NAT"},
        {"127.0.0.1", "loopback"},
        {"127.255.255.254", "loopback"},
        {"169.254.1.1", "link-local"},
        {"169.254.169.254", "metadata"},
        {"168.63.129.16", "metadata"},
        {"100.100.100.200", "metadata"},
        {"172.16.0.1", "private"},
        {"172.31.255.255", "private"},
        {"192.0.0.192", "reserved"},
        {"192.168.1.1", "private"},
        {"198.19.0.1", "benchmarking"},
        {"203.0.113.9", "documentation"},
        {"224.0.0.1", "multicast"},
        {"255.255.255.255", "reserved"},
        {"::", "unspecified"},
        {"::1", "loopback"},
        {"fd00:ec2::254", "metadata"},
        {"fd12::1", "private"},
        {"fe80::1", "link-local"},
        {"fec0::1", "site-local"},
        {"ff02::1", "multicast"},
        {"2001::1", "reserved"},
        {"2001:db8::1", "documentation"},
        {"3fff::1", "documentation"},
        {"::ffff:127.0.0.1", "loopback"},
        {"::ffff:10.0.0.1", "private"},
        {"::127.0.0.1", "reserved"},
        {"64:ff9b::a9fe:a9fe", "metadata"},
        {"64:ff9b:1::1", "reserved"},
        {"2002:7f00:1::", "loopback"},
        {"2002:c0a8:101::1", "private"},
        {"100::1", "reserved"},
        {"4000::1", "reserved"},
    };
    struct xfer_policy p = {.public_only = true};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        if (check(&p, "host.example", bad[i].address, 80, &err) == 0)
            fail_msg("%s passed", bad[i].address);
        assert_int_equal(err.kind, ERR_REFUSED);
        if (!strstr(err.text, bad[i].what))
            fail_msg("%s: %s", bad[i].address, err.text);
    }
}

static void a_refusal_names_host_and_address_and_what_would_allow_it(void **state)
{
    (void)state;
    struct xfer_policy p = {.public_only = true};
    struct err err = ERR_INIT;
    assert_int_equal(check(&p, "rebind.example", "10.9.8.7", 9000, &err), -1);
    assert_non_null(strstr(err.text, "rebind.example"));
    assert_non_null(strstr(err.text, "10.9.8.7"));
    assert_non_null(strstr(err.hint, "rebind.example:9000"));
}

static void without_public_only_everything_passes(void **state)
{
    (void)state;
    struct xfer_policy p = {0};
    assert_true(passes(&p, "h", "127.0.0.1", 80));
    assert_true(passes(&p, "h", "fe80::1", 80));
}

static void the_allow_list_takes_hosts_ports_addresses_and_ranges(void **state)
{
    (void)state;
    static const char *const allow[] = {"Minio.local",
                                        "gw.local:9000",
                                        "10.1.0.0/16",
                                        "192.168.7.7",
                                        "[::1]:8080",
                                        "fd00:5::/32",
                                        "192.168.8.8:9000",
                                        "2002:0a02::/32",
                                        "172.16.0.0/x",
                                        "172.16.0.0/33",
                                        "[::2",
                                        "h.local:0",
                                        "/8",
                                        "",
                                        ":80",
                                        NULL};
    struct xfer_policy p = {.public_only = true, .allow = allow};
    assert_true(passes(&p, "minio.LOCAL", "10.200.0.1", 1));
    assert_true(passes(&p, "gw.local", "127.0.0.1", 9000));
    assert_false(passes(&p, "gw.local", "127.0.0.1", 9001));
    assert_true(passes(&p, "any", "10.1.255.255", 80));
    assert_true(passes(&p, "any", "::ffff:10.1.2.3", 80));
    assert_true(passes(&p, "any", "2002:0a01:0203::1", 80));
    assert_false(passes(&p, "any", "10.2.0.0", 80));
    assert_true(passes(&p, "any", "192.168.7.7", 5));
    assert_true(passes(&p, "any", "::1", 8080));
    assert_false(passes(&p, "any", "::1", 8081));
    assert_true(passes(&p, "any", "fd00:5::1", 80));
    assert_false(passes(&p, "any", "fd00:6::1", 80));
    assert_true(passes(&p, "any", "192.168.8.8", 9000));
    assert_false(passes(&p, "any", "192.168.8.8", 80));
    assert_false(passes(&p, "any", "172.16.0.0", 80));
    assert_false(passes(&p, "::2", "fe80::2", 80));
    assert_false(passes(&p, "h.local", "127.0.0.1", 80));
    assert_false(passes(&p, "", "127.0.0.1", 80));
}

static void a_range_of_all_ipv4_does_not_open_ipv6(void **state)
{
    (void)state;
    static const char *const allow[] = {"0.0.0.0/0", NULL};
    struct xfer_policy p = {.public_only = true, .allow = allow};
    assert_true(passes(&p, "h", "127.0.0.1", 80));
    assert_false(passes(&p, "h", "::1", 80));
}

static void other_address_families_are_refused(void **state)
{
    (void)state;
    struct xfer_policy p = {.public_only = true};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct err err = ERR_INIT;
    assert_int_equal(policy_check_address(&p, "h", (struct sockaddr *)&un, sizeof un, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x08080808)};
    struct err short_err = ERR_INIT;
    assert_int_equal(policy_check_address(&p, "h", (struct sockaddr *)&in, 4, &short_err), -1);
}

/* First and last address of "a.b.c.d/n". */
static void ends_of(const char *range, char first[INET_ADDRSTRLEN], char last[INET_ADDRSTRLEN])
{
    unsigned bits = 0;
    assert_int_equal(sscanf(range, "%15[0-9.]/%u", first, &bits), 2);
    assert_in_range(bits, 1, 32);
    struct in_addr a;
    assert_int_equal(inet_pton(AF_INET, first, &a), 1);
    uint32_t rest = (uint32_t)((UINT64_C(1) << (32 - bits)) - 1);
    assert_int_equal(ntohl(a.s_addr) & rest, 0);
    a.s_addr |= htonl(rest);
    assert_non_null(inet_ntop(AF_INET, &a, last, INET_ADDRSTRLEN));
}

static bool is_in_a_range(const char *address)
{
    char range[POLICY_RANGE_MAX];
    struct in_addr a;
    assert_int_equal(inet_pton(AF_INET, address, &a), 1);
    for (size_t i = 0; policy_range_v4(i, range); i++) {
        char first[INET_ADDRSTRLEN], last[INET_ADDRSTRLEN];
        struct in_addr from, to;
        ends_of(range, first, last);
        assert_int_equal(inet_pton(AF_INET, first, &from), 1);
        assert_int_equal(inet_pton(AF_INET, last, &to), 1);
        if (ntohl(a.s_addr) >= ntohl(from.s_addr) && ntohl(a.s_addr) <= ntohl(to.s_addr))
            return true;
    }
    return false;
}

static void the_ranges_for_filters_are_those_that_are_refused_here(void **state)
{
    (void)state;
    struct xfer_policy p = {.public_only = true};
    char range[POLICY_RANGE_MAX];
    size_t n = 0;
    for (; policy_range_v4(n, range); n++) {
        char first[INET_ADDRSTRLEN], last[INET_ADDRSTRLEN];
        ends_of(range, first, last);
        if (passes(&p, "h", first, 80) || passes(&p, "h", last, 80))
            fail_msg("%s is public here", range);
    }
    assert_in_range(n, 1, 100);
    static const char *const places[] = {
        "0.0.0.0",        "9.255.255.255",   "10.255.255.255", "11.0.0.0",       "100.63.255.255", "100.64.0.0",
        "100.128.0.0",    "127.0.0.1",       "168.63.129.16",  "168.63.129.17",  "169.254.1.1",    "172.15.255.255",
        "172.31.255.255", "172.32.0.0",      "192.0.0.8",      "192.0.2.1",      "192.88.99.1",    "192.167.255.255",
        "192.168.0.0",    "198.17.255.255",  "198.19.255.255", "198.51.100.1",   "203.0.113.1",    "223.255.255.255",
        "224.0.0.0",      "239.255.255.255", "240.0.0.0",      "255.255.255.255"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (is_in_a_range(places[i]) == passes(&p, "h", places[i], 80))
            fail_msg("%s is seen differently", places[i]);
}

static void exceptions_for_filters_are_entries_that_name_ipv4_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *entry, *range;
        uint16_t port;
    } good[] = {
        {"10.1.2.3", "10.1.2.3/32", 0},         {" 10.1.2.3 ", "10.1.2.3/32", 0},
        {"10.1.2.3:8080", "10.1.2.3/32", 8080}, {"10.1.2.3:65535", "10.1.2.3/32", 65535},
        {"10.1.2.3/16", "10.1.0.0/16", 0},      {"0.0.0.0/0", "0.0.0.0/0", 0},
        {"::ffff:10.9.8.7", "10.9.8.7/32", 0},  {"[::ffff:10.9.8.7]:80", "10.9.8.7/32", 80},
    };
    struct policy_exception x;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (!policy_exception_v4(good[i].entry, &x))
            fail_msg("%s is none", good[i].entry);
        assert_string_equal(x.range, good[i].range);
        assert_int_equal(x.port, good[i].port);
    }
    static const char *const none[] = {"",
                                       "nas.local",
                                       "nas.local:80",
                                       "10.1.2",
                                       "10.1.2.3:0",
                                       "10.1.2.3:65536",
                                       "10.1.2.3:x",
                                       "10.0.0.0/33",
                                       "10.0.0.0/",
                                       "10.0.0.0/8:80",
                                       "::1",
                                       "[::1]:80",
                                       "fd00::/8",
                                       "::/0",
                                       "10.1.2.3 accept",
                                       "/8"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        if (policy_exception_v4(none[i], &x))
            fail_msg("%s is %s", none[i], x.range);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(public_addresses_pass),
        cmocka_unit_test(special_addresses_are_refused_with_their_class),
        cmocka_unit_test(a_refusal_names_host_and_address_and_what_would_allow_it),
        cmocka_unit_test(without_public_only_everything_passes),
        cmocka_unit_test(the_allow_list_takes_hosts_ports_addresses_and_ranges),
        cmocka_unit_test(a_range_of_all_ipv4_does_not_open_ipv6),
        cmocka_unit_test(other_address_families_are_refused),
        cmocka_unit_test(the_ranges_for_filters_are_those_that_are_refused_here),
        cmocka_unit_test(exceptions_for_filters_are_entries_that_name_ipv4_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
