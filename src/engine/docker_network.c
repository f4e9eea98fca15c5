/* The network that berth makes for containers of strangers. */
#include "engine/docker.h"

#include <arpa/inet.h>
#include <sys/stat.h>

#define NETWORK_NAME  "berth-filtered"
#define BRIDGE_PREFIX "berthf" /* and eight digits of the engine's address: two engines can't share a bridge */
#define LABEL_NAME    "berth.network"
#define DOCKER_BRIDGE "com.docker.network.bridge.name"
#define DOCKER_ICC    "com.docker.network.bridge.enable_icc"

/* FNV-1a; it only has to differ between the few engines of one machine. */
static uint32_t hash_of(const char *text)
{
    uint32_t h = UINT32_C(2166136261);
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * UINT32_C(16777619);
    return h;
}

static json_t *make_body(const struct docker *d, struct err *err)
{
    char bridge[ENGINE_BRIDGE_MAX];
    snprintf(bridge, sizeof bridge, BRIDGE_PREFIX "%08x", hash_of(d->address));
    json_t *body = d->flavour == FLAVOUR_PODMAN
                       ? json_pack("{s:s, s:s, s:s, s:b, s:b, s:{s:s}}", "name", NETWORK_NAME, "driver", "bridge",
                                   "network_interface", bridge, "dns_enabled", 0, "ipv6_enabled", 0, "labels",
                                   LABEL_NAME, "filtered")
                       : json_pack("{s:s, s:b, s:s, s:b, s:{s:s, s:s}, s:{s:s}}", "Name", NETWORK_NAME,
                                   "CheckDuplicate", 1, "Driver", "bridge", "EnableIPv6", 0, "Options", DOCKER_BRIDGE,
                                   bridge, DOCKER_ICC, "false", "Labels", LABEL_NAME, "filtered");
    if (!body)
        err_nomem(err);
    return body;
}

static bool is_bridge_of_ours(const char *name)
{
    size_t prefix = strlen(BRIDGE_PREFIX);
    return name && strncmp(name, BRIDGE_PREFIX, prefix) == 0 && strlen(name) < ENGINE_BRIDGE_MAX &&
           strspn(name + prefix, "0123456789abcdef") == strlen(name + prefix);
}

static bool is_subnet(const char *text)
{
    struct span address, bits;
    char host[INET_ADDRSTRLEN];
    uint64_t n;
    uint8_t four[4];
    struct err ignored = ERR_INIT;
    if (!span_cut(span_of(text), '/', &address, &bits) || address.n == 0 || address.n >= sizeof host)
        return false;
    memcpy(host, address.p, address.n);
    host[address.n] = '\0';
    return inet_pton(AF_INET, host, four) == 1 && span_to_u64(bits, &n, &ignored) == 0 && n > 0 && n <= 32;
}

static int take_network(const struct docker *d, const json_t *found, struct engine_network *out, struct err *err)
{
    bool podman = d->flavour == FLAVOUR_PODMAN;
    const json_t *subnets =
        podman ? json_object_get(found, "subnets") : json_object_get(json_object_get(found, "IPAM"), "Config");
    const char *driver = json_get_str(found, podman ? "driver" : "Driver");
    const char *bridge = podman ? json_get_str(found, "network_interface")
                                : json_get_str(json_object_get(found, "Options"), DOCKER_BRIDGE);
    const char *subnet = json_get_str(json_array_get(subnets, 0), podman ? "subnet" : "Subnet");
    if (!str_eq(driver, "bridge") || !is_bridge_of_ours(bridge) || json_array_size(subnets) != 1 ||
        !is_subnet(subnet) || strlen(subnet) >= sizeof out->subnet ||
        json_get_bool(found, podman ? "ipv6_enabled" : "EnableIPv6", false)) {
        err_set(err, ERR_EXISTS, "the engine's network %s is not one that berth has made", NETWORK_NAME);
        return err_hint(err, "remove it, so that berth can make its own");
    }
    snprintf(out->name, sizeof out->name, "%s", NETWORK_NAME);
    snprintf(out->bridge, sizeof out->bridge, "%s", bridge);
    snprintf(out->subnet, sizeof out->subnet, "%s", subnet);
    return 0;
}

/* 1: it is there, 0: it is not. */
static int look(struct docker *d, struct engine_network *out, struct err *err)
{
    AUTO_REPLY reply = {0};
    bool podman = d->flavour == FLAVOUR_PODMAN;
    struct docker_request req = {.path = podman ? "/networks/" NETWORK_NAME "/json" : "/networks/" NETWORK_NAME,
                                 .libpod = podman};
    if (docker_call(d, &req, &reply, err) < 0)
        return -1;
    if (reply.status == 404)
        return 0;
    if (reply.status != 200)
        return docker_refused(&reply, err, "look at the network %s", NETWORK_NAME);
    return take_network(d, reply.json, out, err) < 0 ? -1 : 1;
}

/* Whoever is faster makes it: a refusal counts only where there is none afterwards. */
static int make(struct docker *d, struct engine_network *out, struct err *err)
{
    AUTO_REPLY reply = {0};
    AUTO_JSON body = make_body(d, err);
    struct docker_request req = {
        .method = "POST", .path = "/networks/create", .libpod = d->flavour == FLAVOUR_PODMAN, .body = body};
    if (!body || docker_call(d, &req, &reply, err) < 0)
        return -1;
    int found = look(d, out, err);
    if (found != 0)
        return found < 0 ? -1 : 0;
    if (reply.status / 100 == 2)
        return err_set(err, ERR_PROTOCOL, "the engine made the network %s, and does not have it", NETWORK_NAME);
    return docker_refused(&reply, err, "make the network %s", NETWORK_NAME);
}

int docker_network_ensure(void *self, struct engine_network *out, struct err *err)
{
    struct docker *d = self;
    if (docker_network_check(d, err) < 0)
        return -1;
    int found = look(d, out, err);
    return found > 0 ? 0 : found < 0 ? -1 : make(d, out, err);
}

/* The engine's bridges are in its process's network namespace. Each has files of its own in /proc/PID/net, which
 * anybody may look at; the name of the namespace itself, /proc/PID/ns/net, is for those alone who may trace the engine.
 */
static bool shares_our_network(const struct docker *d)
{
    char path[64];
    struct stat theirs, ours;
    snprintf(path, sizeof path, "/proc/%d/net/dev", (int)d->served_by);
    return d->served_by > 0 && stat(path, &theirs) == 0 && stat("/proc/self/net/dev", &ours) == 0 &&
           theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

int docker_network_check(void *self, struct err *err)
{
    const struct docker *d = self;
    if (!d->local)
        return err_set(err, ERR_UNSUPPORTED, "container engine %s is not on this machine", d->address);
    if (d->rootless)
        return err_set(err, ERR_UNSUPPORTED, "container engine %s is rootless", d->address);
    if (!shares_our_network(d))
        return err_set(err, ERR_UNSUPPORTED, "container engine %s has another network namespace than this process",
                       d->address);
    return 0;
}
