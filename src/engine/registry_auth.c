#include "engine/registry_auth.h"

#include "base/enc.h"
#include "base/fs.h"
#include "base/proc.h"
#include "engine/image_ref.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>

#define CONFIG_MAX        ((size_t)4 << 20)
#define HELPER_TIMEOUT_MS 30000
#define HELPER_NAME_MAX   64
#define HUB_KEY           "https://index.docker.io/v1/"
#define TOKEN_USER        "<token>" /* a helper's word for "the secret is an identity token" */

void buf_wipe(struct buf *b)
{
    if (b->p)
        mem_wipe(b->p, b->cap);
    buf_release(b);
}

void registry_login_release(struct registry_login *l)
{
    str_free_secret(l->username);
    str_free_secret(l->password);
    str_free_secret(l->identity_token);
    *l = (struct registry_login){0};
}

/* What config.json calls a registry: Docker Hub has a historic URL. */
static const char *server_key(const char *registry)
{
    return str_eq(registry, DOCKER_HUB) ? HUB_KEY : registry;
}

/* "https://host:port/v1/" → "host:port", and Docker Hub's names → one. */
static struct span key_host(struct span key)
{
    static const char *const hub[] = {"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"};
    struct span rest;
    if (span_starts(key, SPAN_LIT("https://")))
        key = (struct span){key.p + 8, key.n - 8};
    else if (span_starts(key, SPAN_LIT("http://")))
        key = (struct span){key.p + 7, key.n - 7};
    span_cut(key, '/', &key, &rest);
    for (size_t i = 0; i < ARRAY_LEN(hub); i++)
        if (span_eq_nocase(key, span_of(hub[i])))
            return SPAN_LIT(DOCKER_HUB);
    return key;
}

/* The `auths` entry, by its exact key or by host. */
static const json_t *find_entry(const json_t *auths, const char *registry)
{
    const json_t *exact = json_object_get(auths, server_key(registry));
    const char *key;
    json_t *value;
    if (exact)
        return exact;
    json_object_foreach((json_t *)auths, key, value)
    {
        if (span_eq_nocase(key_host(span_of(key)), span_of(registry)))
            return value;
    }
    return NULL;
}

static int decode_pair(struct span coded, struct registry_login *out, struct err *err)
{
    if (coded.n > AUTH_FIELD_MAX)
        return err_set(err, ERR_LIMIT, "its \"auth\" is longer than %zu bytes", AUTH_FIELD_MAX);
    size_t n = 0;
    AUTO_STR plain = malloc(coded.n + 1);
    struct span user, password;
    int rc = -1;
    if (!plain)
        return err_nomem(err);
    if (base64_decode((uint8_t *)plain, coded.n, &n, coded, err) == 0) {
        if (span_cut((struct span){plain, n}, ':', &user, &password)) {
            out->username = str_dup_span(user, err);
            out->password = out->username ? str_dup_span(password, err) : NULL;
            rc = out->password ? 0 : -1;
        } else {
            err_set(err, ERR_INVALID, "its \"auth\" is not user:password in base64");
        }
    }
    mem_wipe(plain, coded.n);
    return rc;
}

static int read_entry(const json_t *entry, struct registry_login *out, struct err *err)
{
    const char *token = json_get_str(entry, "identitytoken"), *coded = json_get_str(entry, "auth");
    const char *user = json_get_str(entry, "username"), *password = json_get_str(entry, "password");
    if (!str_empty(token)) {
        out->identity_token = str_dup(token, err);
        return out->identity_token ? 0 : -1;
    }
    if (!str_empty(coded))
        return decode_pair(span_of(coded), out, err);
    if (str_empty(user) || !password)
        return 0;
    out->username = str_dup(user, err);
    out->password = out->username ? str_dup(password, err) : NULL;
    return out->password ? 0 : -1;
}

static bool login_is_empty(const struct registry_login *l)
{
    return !l->username && !l->identity_token;
}

static int ask_helper(const char *name, const char *registry, registry_helper_fn helper, void *ctx,
                      struct registry_login *out, struct err *err)
{
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_' && *c != '.')
            return err_set(err, ERR_INVALID, "the credential helper's name has an odd character");
    if (strlen(name) > HELPER_NAME_MAX)
        return err_set(err, ERR_INVALID, "the credential helper's name is too long");
    return helper(ctx, name, server_key(registry), out, err);
}

int registry_auth_find(const json_t *config, const char *registry, registry_helper_fn helper, void *ctx,
                       struct registry_login *out, struct err *err)
{
    *out = (struct registry_login){0};
    const json_t *helpers = json_object_get(config, "credHelpers");
    const char *name = json_get_str(helpers, server_key(registry));
    if (!name)
        name = json_get_str(helpers, registry);
    if (str_empty(name))
        name = json_get_str(config, "credsStore");
    if (!str_empty(name) && ask_helper(name, registry, helper, ctx, out, err) < 0)
        return err_wrap(err, "credentials of %s", registry);
    if (!login_is_empty(out))
        return 0;
    const json_t *entry = find_entry(json_object_get(config, "auths"), registry);
    if (entry && read_entry(entry, out, err) < 0) {
        registry_login_release(out);
        return err_wrap(err, "credentials of %s", registry);
    }
    return 0;
}

static int read_answer(const char *program, const struct proc_result *r, struct registry_login *out, struct err *err)
{
    struct err quiet = ERR_INIT; /* its text could quote the answer */
    AUTO_JSON answer = json_parse(buf_span(&r->out), &quiet);
    const char *user = json_get_str(answer, "Username"), *secret = json_get_str(answer, "Secret");
    if (!user || !secret)
        return err_set(err, ERR_PROTOCOL, "%s answered without Username and Secret", program);
    if (str_eq(user, TOKEN_USER)) {
        out->identity_token = str_dup(secret, err);
        return out->identity_token ? 0 : -1;
    }
    out->username = str_dup(user, err);
    out->password = out->username ? str_dup(secret, err) : NULL;
    return out->password ? 0 : -1;
}

/* A helper that has nothing for a server says so on stdout and exits 1. */
static int judge_answer(const char *program, const struct proc_result *r, struct registry_login *out, struct err *err)
{
    if (r->exit_code == 0)
        return read_answer(program, r, out, err);
    if (memmem(buf_str(&r->out), r->out.n, "credentials not found", strlen("credentials not found")))
        return 0;
    err_set(err, ERR_SYSTEM, "%s ended with %d", program, r->exit_code);
    return err_hint(err, "log in again with `docker login`, or take the helper out of ~/.docker/config.json");
}

static int run_helper(void *ctx, const char *name, const char *server, struct registry_login *out, struct err *err)
{
    char program[sizeof "docker-credential-" + HELPER_NAME_MAX];
    snprintf(program, sizeof program, "docker-credential-%s", name);
    const struct cancel *const *cancel = ctx;
    const char *const argv[] = {program, "get", NULL};
    struct proc_opts opts = {.argv = argv,
                             .input = span_of(server),
                             .timeout_ms = HELPER_TIMEOUT_MS,
                             .output_max = AUTH_FIELD_MAX * 2,
                             .cancel = *cancel};
    struct proc_result result = {0};
    int rc = proc_run(&opts, &result, err);
    if (rc == 0)
        rc = judge_answer(program, &result, out, err);
    if (rc < 0)
        registry_login_release(out);
    buf_wipe(&result.out);
    proc_result_release(&result);
    return rc;
}

static int config_path(struct buf *path, struct err *err)
{
    const char *folder = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
    if (!str_empty(folder))
        buf_addf(path, "%s/config.json", folder);
    else if (!str_empty(home))
        buf_addf(path, "%s/.docker/config.json", home);
    return buf_check(path, "the path of Docker's config.json", err);
}

static int find_in_config(const char *registry, const struct cancel *cancel, struct registry_login *out,
                          struct err *err)
{
    AUTO_BUF path;
    struct buf text;
    struct err read = ERR_INIT;
    buf_init(&path, PATH_MAX);
    if (config_path(&path, err) < 0)
        return -1;
    if (path.n == 0)
        return 0;
    buf_init(&text, CONFIG_MAX);
    if (fs_read_file(AT_FDCWD, path.p, CONFIG_MAX, &text, &read) < 0) {
        buf_wipe(&text);
        return read.kind == ERR_NOTFOUND ? 0 : err_move(err, &read);
    }
    AUTO_JSON config = json_parse(buf_span(&text), err);
    buf_wipe(&text);
    if (!config)
        return err_wrap(err, "%s", path.p);
    return registry_auth_find(config, registry, run_helper, &cancel, out, err);
}

/* base64 → base64url (RFC 4648, 5); the padding stays, as both engines take it. */
static void make_url_safe(struct buf *b)
{
    for (size_t i = 0; i < b->n; i++)
        b->p[i] = b->p[i] == '+' ? '-' : b->p[i] == '/' ? '_' : b->p[i];
}

static int write_header(const char *server, const struct registry_login *login, const char *email, struct buf *header,
                        struct err *err)
{
    AUTO_JSON body = json_object();
    struct buf text;
    if (login->identity_token) {
        json_put_str(body, "identitytoken", login->identity_token, err);
    } else {
        json_put_str(body, "username", login->username, err);
        json_put_str(body, "password", login->password, err);
    }
    if (email)
        json_put_str(body, "email", email, err);
    json_put_str(body, "serveraddress", server, err);
    buf_init(&text, AUTH_HEADER_MAX);
    if (!err_is_set(err) && json_write(body, false, &text, err) == 0) {
        base64_encode(header, (const uint8_t *)text.p, text.n);
        make_url_safe(header);
    }
    buf_wipe(&text);
    return err_is_set(err) ? -1 : buf_check(header, "the registry credentials", err);
}

/* What a job names for one registry is not handed to another. */
static bool meant_for(const struct engine_registry_auth *given, const char *registry)
{
    return str_empty(given->server) || span_eq_nocase(key_host(span_of(given->server)), span_of(registry));
}

int registry_auth_header(const struct engine_registry_auth *given, bool given_only, const char *registry,
                         const struct cancel *cancel, struct buf *header, struct err *err)
{
    struct registry_login login = {0};
    const char *email = NULL;
    if (given && !str_empty(given->username) && meant_for(given, registry)) {
        email = given->email;
        login.username = str_dup(given->username, err);
        login.password = login.username ? str_dup(given->password ? given->password : "", err) : NULL;
    } else if (!given_only && find_in_config(registry, cancel, &login, err) < 0) {
        return -1;
    }
    int rc = 0;
    if (err_is_set(err))
        rc = -1;
    else if (!login_is_empty(&login))
        rc = write_header(server_key(registry), &login, email, header, err);
    registry_login_release(&login);
    return rc;
}
