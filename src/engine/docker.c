#include "engine/docker.h"

#include "base/path.h"
#include "engine/cdi.h"

#include <sys/socket.h>
#include <sys/un.h>

#define API_MIN         41 /* 1.41: Docker 20.10, Podman 4 */
#define API_MAX         44 /* what this module was written against; newer Docker engines refuse clients below it */
#define PODMAN_MIN      4
#define CERT_FOLDER_MAX 512

const struct engine_backend docker_backend = {
    .name = "docker",
    .open = docker_open,
    .free = docker_free,
    .info = docker_info,
    .facts = docker_facts,
    .image_ensure = docker_image_ensure,
    .create = docker_create,
    .run = docker_run,
    .copy_out = docker_copy_out,
    .remove = docker_remove,
    .network_ensure = docker_network_ensure,
    .network_check = docker_network_check,
    .list = docker_list,
    .is_running = docker_is_running,
};

/* The PEM files of Docker's own client: ca.pem, cert.pem and key.pem in DOCKER_CERT_PATH. */
struct tls_files {
    char ca[CERT_FOLDER_MAX], cert[CERT_FOLDER_MAX], key[CERT_FOLDER_MAX];
};

static int find_tls_files(struct tls_files *t, struct err *err)
{
    const char *folder = getenv("DOCKER_CERT_PATH");
    if (str_empty(folder))
        return 0; /* the system's authorities, and no certificate of ours */
    struct {
        char *out;
        const char *name;
    } files[] = {{t->ca, "ca.pem"}, {t->cert, "cert.pem"}, {t->key, "key.pem"}};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        if (snprintf(files[i].out, CERT_FOLDER_MAX, "%s/%s", folder, files[i].name) >= CERT_FOLDER_MAX)
            return err_set(err, ERR_INVALID, "DOCKER_CERT_PATH is longer than %d bytes", CERT_FOLDER_MAX);
        if (access(files[i].out, R_OK) < 0)
            return err_sys(err, "%s (from DOCKER_CERT_PATH)", files[i].out);
    }
    return 0;
}

static int open_http(struct docker *d, const struct endpoint *at, struct err *err)
{
    struct tls_files tls = {0};
    struct http_opts opts = {.policy = {.no_proxy_env = true}, .unix_socket = at->socket[0] ? at->socket : NULL};
    if (at->tls && find_tls_files(&tls, err) < 0)
        return -1;
    if (tls.ca[0]) {
        opts.policy.ca_file = tls.ca;
        opts.client_cert = tls.cert;
        opts.client_key = tls.key;
    }
    return http_open(&d->http, &opts, err);
}

/* "4.3.1" → 4, "1.41" → 41 with skip 1. */
static unsigned long version_part(const char *text, unsigned skip)
{
    for (; skip > 0 && text; skip--) {
        text = strchr(text, '.');
        text = text ? text + 1 : NULL;
    }
    return text ? strtoul(text, NULL, 10) : 0;
}

static int settle_version(struct docker *d, const char *root, struct err *err)
{
    unsigned long minor = version_part(d->api_version, 1);
    if (!span_starts(span_of(d->api_version), SPAN_LIT("1.")) || minor < API_MIN ||
        (d->flavour == FLAVOUR_PODMAN && version_part(d->version, 0) < PODMAN_MIN)) {
        err_set(err, ERR_UNSUPPORTED, "container engine %s: API version %s of %s %s is too old", d->address,
                d->api_version[0] ? d->api_version : "(none)", d->flavour == FLAVOUR_PODMAN ? "Podman" : "Docker",
                d->version);
        return err_hint(err, "berth needs Docker 20.10 or later, or Podman 4 or later");
    }
    snprintf(d->base, sizeof d->base, "%s/v1.%lu", root, minor < API_MAX ? minor : API_MAX);
    snprintf(d->libpod, sizeof d->libpod, "%s/v4.0.0/libpod", root);
    return 0;
}

/* The cheapest call there is tells version and flavour: /version takes Podman 4.3 half a second. */
static int say_hello(struct docker *d, const char *root, struct err *err)
{
    char url[320];
    struct http_response resp = {0};
    snprintf(url, sizeof url, "%s/_ping", root);
    struct http_request req = {.url = url, .tries = 1, .idle_timeout_ms = DOCKER_IDLE_MS, .keep_redirects = true};
    if (http_call(d->http, &req, &resp, err) < 0)
        return docker_unreachable(d, err);
    const char *api = http_response_get(&resp, "api-version");
    const char *libpod = http_response_get(&resp, "libpod-api-version"), *server = http_response_get(&resp, "server");
    int rc = resp.status == 200 && api ? 0
                                       : err_set(err, ERR_PROTOCOL, "%s is not a container engine: /_ping answered %d",
                                                 d->address, resp.status);
    if (rc == 0) {
        const char *slash = server ? strchr(server, '/') : NULL;
        d->flavour = libpod ? FLAVOUR_PODMAN : FLAVOUR_DOCKER;
        snprintf(d->api_version, sizeof d->api_version, "%s", api);
        snprintf(d->version, sizeof d->version, "%.*s", slash ? (int)strcspn(slash + 1, " ") : 0,
                 slash ? slash + 1 : "");
        rc = settle_version(d, root, err);
    }
    http_response_release(&resp);
    return rc;
}

/* SO_PEERCRED tells whose process called listen(2), see unix(7). */
static void look_who_serves(struct docker *d, const char *socket_path)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    struct ucred peer = {0};
    socklen_t n = sizeof peer;
    snprintf(where.sun_path, sizeof where.sun_path, "%s", socket_path);
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&where, sizeof where) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
        return;
    d->rootless = peer.uid != 0;
    d->served_by = peer.pid;
}

int docker_open(void **self, const struct endpoint *at, struct err *err)
{
    char root[300];
    struct docker *d = calloc(1, sizeof *d);
    if (!d)
        return err_nomem(err);
    pthread_mutex_init(&d->features.mu, NULL);
    d->local = at->socket[0] != '\0';
    snprintf(d->address, sizeof d->address, "%s", at->address);
    snprintf(root, sizeof root, "%s://%s", at->tls ? "https" : "http", d->local ? "engine" : at->authority);
    if (open_http(d, at, err) < 0 || say_hello(d, root, err) < 0) {
        docker_free(d);
        return -1;
    }
    if (d->local)
        look_who_serves(d, at->socket);
    *self = d;
    return 0;
}

void docker_free(void *self)
{
    struct docker *d = self;
    if (!d)
        return;
    http_free(d->http);
    pthread_mutex_destroy(&d->features.mu);
    free(d);
}
