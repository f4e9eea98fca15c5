#include "engine/filter.h"

#include "base/fs.h"
#include "base/proc.h"
#include "xfer/policy.h"

#include <arpa/inet.h>
#include <fcntl.h>

#define NFT_TIMEOUT_MS 30000
#define RESOLV_MAX     65536

/* Told at once, a job that may not connect fails; it does not wait. */
#define NO "reject with icmpx type admin-prohibited"

/* --- the text ----------------------------------------------------------------------------------------------------- */

static void add_refused(struct buf *out)
{
    char range[POLICY_RANGE_MAX];
    buf_adds(out, "\tset not_public {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\tauto-merge\n\t\telements = { ");
    for (size_t i = 0; policy_range_v4(i, range); i++)
        buf_addf(out, "%s%s", i ? ", " : "", range);
    buf_adds(out, " }\n\t}\n");
}

static void add_resolvers(struct buf *out, const struct filter_resolvers *r)
{
    for (size_t i = 0; i < r->n; i++)
        buf_addf(out, "\t\tip daddr %s meta l4proto { tcp, udp } th dport 53 accept\n", r->v4[i]);
}

static void add_exceptions(struct buf *out, const char *const *allow, bool with_port)
{
    struct policy_exception x;
    for (; allow && *allow; allow++) {
        if (!policy_exception_v4(*allow, &x) || (x.port != 0) != with_port)
            continue;
        if (with_port)
            buf_addf(out, "\t\tip daddr %s tcp dport %u accept\n", x.range, x.port);
        else
            buf_addf(out, "\t\tip daddr %s accept\n", x.range);
    }
}

/* A base chain that sends what comes from the bridge to `to`; the rest is none of its business. */
static void add_hook(struct buf *out, const char *hook, const char *bridge, const char *to)
{
    buf_addf(out,
             "\tchain %s {\n\t\ttype filter hook %s priority filter - 5; policy accept;\n"
             "\t\tiifname \"%s\" jump %s\n\t}\n",
             hook, hook, bridge, to);
}

/* "add" keeps "delete" from failing where there is none yet; all of it is one transaction. */
static void add_replacement(struct buf *out, const char *family, const char *table)
{
    buf_addf(out, "add table %s %s\ndelete table %s %s\ntable %s %s {\n", family, table, family, table, family, table);
}

void filter_rules(struct buf *out, const struct engine_network *network, const char *const *allow,
                  const struct filter_resolvers *resolvers)
{
    add_replacement(out, "inet", network->bridge);
    add_refused(out);
    /* Options may hold a source route: the address that is judged is not where it goes then. Nobody needs them. */
    buf_adds(out, "\tchain known {\n\t\tmeta nfproto != ipv4 " NO "\n\t\tip hdrlength != 5 " NO "\n"
                  "\t\tct state established accept\n");
    add_resolvers(out, resolvers);
    add_exceptions(out, allow, true);
    buf_adds(out, "\t}\n\tchain to_this_machine {\n\t\tjump known\n\t\t" NO "\n\t}\n"
                  "\tchain to_others {\n\t\tjump known\n");
    add_exceptions(out, allow, false);
    buf_adds(out, "\t\tip daddr @not_public " NO "\n\t}\n");
    add_hook(out, "input", network->bridge, "to_this_machine");
    add_hook(out, "forward", network->bridge, "to_others");
    buf_adds(out, "}\n");
    /* What one port of a bridge sends to another never comes by the hooks above, be it for one or, as broadcasts, for
     * all. Its addresses tell this bridge from others: not all kernels can be asked for the name. */
    add_replacement(out, "bridge", network->bridge);
    buf_adds(out, "\tchain forward {\n\t\ttype filter hook forward priority filter - 5; policy accept;\n");
    buf_addf(out, "\t\tip saddr %s drop\n\t\tip daddr %s drop\n\t\tether type arp arp daddr ip %s drop\n\t}\n}\n",
             network->subnet, network->subnet, network->subnet);
}

static void add_resolver(struct filter_resolvers *r, struct span address)
{
    if (r->n == FILTER_RESOLVERS_MAX || address.n >= sizeof r->v4[0])
        return;
    char *text = r->v4[r->n];
    uint8_t four[4];
    memcpy(text, address.p, address.n);
    text[address.n] = '\0';
    if (inet_pton(AF_INET, text, four) != 1 || four[0] == 127)
        return;
    for (size_t i = 0; i < r->n; i++)
        if (str_eq(r->v4[i], text))
            return;
    r->n++;
}

void filter_resolvers_read(struct filter_resolvers *r, struct span text)
{
    struct span line;
    while (text.n > 0) {
        span_cut(text, '\n', &line, &text);
        struct span word = span_trim(line);
        size_t key = 0;
        while (key < word.n && word.p[key] != ' ' && word.p[key] != '\t')
            key++;
        if (span_eq(span_head(word, key), SPAN_LIT("nameserver")))
            add_resolver(r, span_trim((struct span){word.p + key, word.n - key}));
    }
}

/* --- into the kernel ---------------------------------------------------------------------------------------------- */

/* What engines hand to containers: the machine's own, or where that is systemd's stub on loopback, those behind it. */
static void find_resolvers(struct filter_resolvers *r)
{
    static const char *const places[] = {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        struct err absent = ERR_INIT;
        AUTO_BUF text;
        buf_init(&text, RESOLV_MAX);
        if (fs_read_file(AT_FDCWD, places[i], RESOLV_MAX, &text, &absent) == 0)
            filter_resolvers_read(r, buf_span(&text));
    }
}

static int judge(const struct proc_result *result, struct err *err)
{
    struct span words = buf_span(&result->err_text), line, rest;
    if (result->exit_code == 0)
        return 0;
    span_cut(span_trim(words), '\n', &line, &rest);
    bool denied = strstr(buf_str(&result->err_text), "Operation not permitted") != NULL;
    err_set(err, denied ? ERR_DENIED : ERR_UNSUPPORTED, "nft: %.*s", (int)span_head(line, 200).n, line.p);
    return denied ? err_hint(err, "packet filters are root's to set") : -1;
}

static int nft(const struct engine_network *network, const char *const *allow, bool check_only, struct err *err)
{
    AUTO_BUF rules;
    struct filter_resolvers resolvers = {0};
    buf_init(&rules, FILTER_RULES_MAX);
    find_resolvers(&resolvers);
    filter_rules(&rules, network, allow, &resolvers);
    if (buf_check(&rules, "the packet filter", err) < 0)
        return -1;
    const char *const argv[] = {"nft", "-f", "-", check_only ? "-c" : NULL, NULL};
    const struct proc_opts opts = {.argv = argv, .input = buf_span(&rules), .timeout_ms = NFT_TIMEOUT_MS};
    struct proc_result result = {0};
    int rc = proc_run(&opts, &result, err);
    if (rc < 0 && err->kind == ERR_NOTFOUND)
        err_hint(err, "install the package nftables");
    if (rc == 0)
        rc = judge(&result, err);
    proc_result_release(&result);
    return rc;
}

int filter_set(struct engine *e, const char *const *allow, struct engine_network *out, struct err *err)
{
    return engine_network_ensure(e, out, err) < 0 ? -1 : nft(out, allow, false, err);
}

int filter_check(struct engine *e, struct err *err)
{
    static const struct engine_network sample = {"berth-check", "berthfcheck", "192.0.2.0/24"};
    return engine_network_check(e, err) < 0 ? -1 : nft(&sample, NULL, true, err);
}
