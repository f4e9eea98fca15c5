#include "../base/test_base.h"

#include "engine/filter.h"

static const struct engine_network network = {
    .name = "berth-filtered", .bridge = "berthf01234567", .subnet = "10.89.3.0/24"};

/* The rules, which must have room. Static: one at a time. */
static const char *rules_of(const char *const *allow, const struct filter_resolvers *resolvers)
{
    static struct buf text;
    static const struct filter_resolvers none = {0};
    struct err err = ERR_INIT;
    buf_release(&text);
    buf_init(&text, FILTER_RULES_MAX);
    filter_rules(&text, &network, allow, resolvers ? resolvers : &none);
    assert_works(buf_check(&text, "rules", &err), &err);
    return buf_str(&text);
}

static struct filter_resolvers resolvers_of(const char *resolv_conf)
{
    struct filter_resolvers r = {0};
    filter_resolvers_read(&r, span_of(resolv_conf));
    return r;
}

/* What a chain of a table says; static, one at a time. */
static const char *chain_of(const char *rules, const char *family, const char *chain)
{
    static char out[4096];
    char head[64];
    snprintf(head, sizeof head, "\ntable %s berthf01234567 {\n", family);
    const char *at = strstr(rules, head);
    assert_non_null(at);
    snprintf(head, sizeof head, "\tchain %s {\n", chain);
    at = strstr(at, head);
    assert_non_null(at);
    at += strlen(head);
    const char *end = strstr(at, "\t}\n");
    assert_non_null(end);
    assert_true((size_t)(end - at) < sizeof out);
    memcpy(out, at, (size_t)(end - at));
    out[end - at] = '\0';
    return out;
}

#define NO "reject with icmpx type admin-prohibited\n"

/* --- rules -------------------------------------------------------------------------------------------------------- */

static void this_machine_is_refused_but_for_replies_and_dns(void **state)
{
    (void)state;
    const struct filter_resolvers r = resolvers_of("nameserver 192.168.1.1\n");
    const char *rules = rules_of(NULL, &r);
    assert_string_equal(chain_of(rules, "inet", "input"),
                        "\t\ttype filter hook input priority filter - 5; policy accept;\n"
                        "\t\tiifname \"berthf01234567\" jump to_this_machine\n");
    assert_string_equal(chain_of(rules, "inet", "to_this_machine"), "\t\tjump known\n\t\t" NO);
    assert_string_equal(chain_of(rules, "inet", "known"),
                        "\t\tmeta nfproto != ipv4 " NO "\t\tip hdrlength != 5 " NO "\t\tct state established accept\n"
                        "\t\tip daddr 192.168.1.1 meta l4proto { tcp, udp } th dport 53 accept\n");
}

static void elsewhere_what_is_not_public_is_refused(void **state)
{
    (void)state;
    const char *rules = rules_of(NULL, NULL);
    assert_string_equal(chain_of(rules, "inet", "forward"),
                        "\t\ttype filter hook forward priority filter - 5; policy accept;\n"
                        "\t\tiifname \"berthf01234567\" jump to_others\n");
    assert_string_equal(chain_of(rules, "inet", "to_others"), "\t\tjump known\n\t\tip daddr @not_public " NO);
    static const char *const within[] = {"10.0.0.0/8",     "127.0.0.0/8",   "169.254.0.0/16", "172.16.0.0/12",
                                         "192.168.0.0/16", "100.64.0.0/10", "224.0.0.0/4",    "168.63.129.16/32"};
    const char *set = strstr(rules, "\tset not_public {\n");
    assert_non_null(set);
    for (size_t i = 0; i < ARRAY_LEN(within); i++)
        assert_contains(set, within[i]);
}

static void neighbours_are_cut_off_by_the_addresses_of_their_network(void **state)
{
    (void)state;
    assert_string_equal(chain_of(rules_of(NULL, NULL), "bridge", "forward"),
                        "\t\ttype filter hook forward priority filter - 5; policy accept;\n"
                        "\t\tip saddr 10.89.3.0/24 drop\n\t\tip daddr 10.89.3.0/24 drop\n"
                        "\t\tether type arp arp daddr ip 10.89.3.0/24 drop\n");
}

static void earlier_rules_are_replaced_whether_there_are_any_or_not(void **state)
{
    static const char *const families[] = {"inet", "bridge"};
    (void)state;
    const char *rules = rules_of(NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        char head[160];
        snprintf(head, sizeof head,
                 "add table %s berthf01234567\ndelete table %s berthf01234567\ntable %s berthf01234567 {\n",
                 families[i], families[i], families[i]);
        assert_contains(rules, head);
    }
}

static void only_exceptions_that_name_a_port_open_this_machine(void **state)
{
    static const char *const allow[] = {"10.1.2.3:8080", "10.4.0.0/16", "192.168.9.9", NULL};
    (void)state;
    const char *rules = rules_of(allow, NULL);
    const char *known = chain_of(rules, "inet", "known");
    assert_contains(known, "\t\tip daddr 10.1.2.3/32 tcp dport 8080 accept\n");
    assert_null(strstr(known, "10.4.0.0"));
    assert_null(strstr(known, "192.168.9.9"));
    assert_string_equal(chain_of(rules, "inet", "to_others"),
                        "\t\tjump known\n\t\tip daddr 10.4.0.0/16 accept\n\t\tip daddr 192.168.9.9/32 accept\n"
                        "\t\tip daddr @not_public " NO);
}

static void what_names_no_ipv4_address_is_no_exception(void **state)
{
    static const char *const allow[] = {"nas.local",
                                        "nas.local:445",
                                        "[fd00::1]:80",
                                        "fd00::/8",
                                        "10.0.0.0/8 junk",
                                        "10.0.0.1:0",
                                        "10.0.0.1; accept\naccept",
                                        NULL};
    (void)state;
    AUTO_STR without = strdup(rules_of(NULL, NULL));
    assert_non_null(without);
    assert_string_equal(rules_of(allow, NULL), without);
}

static void more_exceptions_than_there_is_room_for_are_an_error_and_not_fewer_rules(void **state)
{
    enum { MANY = 40000 };
    AUTO_BUF text;
    struct err err = ERR_INIT;
    static const char *allow[MANY + 1];
    static const struct filter_resolvers none = {0};
    (void)state;
    for (size_t i = 0; i < MANY; i++)
        allow[i] = "10.20.30.40";
    buf_init(&text, FILTER_RULES_MAX);
    filter_rules(&text, &network, allow, &none);
    assert_fails(buf_check(&text, "rules", &err), &err, ERR_LIMIT);
}

/* --- resolvers ---------------------------------------------------------------------------------------------------- */

static void resolvers_are_those_that_containers_can_ask(void **state)
{
    (void)state;
    struct filter_resolvers r = resolvers_of("# nameserver 1.1.1.1\n"
                                             "search nameserver 2.2.2.2\n"
                                             "nameserver 127.0.0.53\n"
                                             "  nameserver\t 192.168.1.1 \r\n"
                                             "nameserver 192.168.1.1\n"
                                             "nameservers 3.3.3.3\n"
                                             "nameserver ::1\n"
                                             "nameserver fe80::1%eth0\n"
                                             "nameserver\n"
                                             "nameserver 10.0.0.1 accept\n"
                                             "nameserver 8.8.8.8");
    assert_int_equal(r.n, 2);
    assert_string_equal(r.v4[0], "192.168.1.1");
    assert_string_equal(r.v4[1], "8.8.8.8");
    filter_resolvers_read(&r, SPAN_LIT("nameserver 9.9.9.9\nnameserver 8.8.8.8\n"));
    assert_int_equal(r.n, 3);
    assert_string_equal(r.v4[2], "9.9.9.9");
}

static void resolvers_are_bounded(void **state)
{
    struct filter_resolvers r = {0};
    (void)state;
    for (unsigned i = 1; i <= FILTER_RESOLVERS_MAX + 1; i++) {
        char line[64];
        snprintf(line, sizeof line, "nameserver 192.168.100.%u\n", 100 + i);
        filter_resolvers_read(&r, span_of(line));
    }
    assert_int_equal(r.n, FILTER_RESOLVERS_MAX);
    assert_string_equal(r.v4[FILTER_RESOLVERS_MAX - 1], "192.168.100.108");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_machine_is_refused_but_for_replies_and_dns),
        cmocka_unit_test(elsewhere_what_is_not_public_is_refused),
        cmocka_unit_test(neighbours_are_cut_off_by_the_addresses_of_their_network),
        cmocka_unit_test(earlier_rules_are_replaced_whether_there_are_any_or_not),
        cmocka_unit_test(only_exceptions_that_name_a_port_open_this_machine),
        cmocka_unit_test(what_names_no_ipv4_address_is_no_exception),
        cmocka_unit_test(more_exceptions_than_there_is_room_for_are_an_error_and_not_fewer_rules),
        cmocka_unit_test(resolvers_are_those_that_containers_can_ask),
        cmocka_unit_test(resolvers_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
