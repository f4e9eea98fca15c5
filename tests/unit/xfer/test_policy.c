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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
