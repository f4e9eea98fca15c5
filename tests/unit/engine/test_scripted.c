/* What a real engine can't be made to do on demand: an engine played by a script, over a unix socket. */
#include "../base/test_base.h"
#include "../xfer/loopback.h"

#include "engine/engine.h"

#include <limits.h>
#include <sys/syscall.h>

#define CANARY       "c4n4ry-s3cret"
#define ROUTES_MAX   12
#define REQUESTS_MAX 32
#define NOBODY       65534
#define ID           "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char docker_ping[] = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nServer: Docker/20.10.24 (linux)\r\n"
                                  "Content-Length: 0\r\n\r\n";
static const char podman_ping[] = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nLibpod-Api-Version: 4.3.1\r\n"
                                  "Server: Libpod/4.3.1 (linux)\r\nContent-Length: 0\r\n\r\n";

struct route {
    const char *start; /* of the request: "GET /_ping" */
    int status;
    const char *body;
    size_t body_n; /* 0: strlen(body) */
    bool is_stream;
};

struct played {
    struct scratch scratch;
    char socket[96], address[112];
    struct loopback *server;
    const char *ping;
    struct route routes[ROUTES_MAX];
    size_t route_count;
    char *requests[REQUESTS_MAX];
    size_t request_count;
    struct engine *engine;
};

static enum loopback_then play(void *ctx, const char *request, struct buf *out)
{
    struct played *p = ctx;
    if (p->request_count < REQUESTS_MAX)
        p->requests[p->request_count++] = strdup(request);
    if (strncmp(request, "GET /_ping", 10) == 0) {
        buf_adds(out, p->ping);
        return LOOPBACK_KEEP;
    }
    for (size_t i = 0; i < p->route_count; i++) {
        const struct route *r = &p->routes[i];
        if (strncmp(request, r->start, strlen(r->start)) != 0)
            continue;
        size_t n = r->body_n ? r->body_n : strlen(r->body);
        buf_addf(out, "HTTP/1.1 %d Said\r\n", r->status);
        if (!r->is_stream)
            buf_addf(out, "Content-Length: %zu\r\n", n);
        buf_adds(out, "\r\n");
        buf_add(out, r->body, n);
        return r->is_stream ? LOOPBACK_CLOSE : LOOPBACK_KEEP;
    }
    buf_adds(out, "HTTP/1.1 404 Said\r\nContent-Length: 27\r\n\r\n{\"message\":\"no such thing\"}");
    return LOOPBACK_KEEP;
}

static int played_open(void **state)
{
    struct played *p = calloc(1, sizeof *p);
    void *scratch = NULL;
    if (!p || scratch_open(&scratch) < 0)
        return -1;
    p->scratch = *(struct scratch *)scratch;
    p->ping = docker_ping;
    snprintf(p->socket, sizeof p->socket, "%s/s", p->scratch.path);
    snprintf(p->address, sizeof p->address, "unix://%s", p->socket);
    setenv("DOCKER_CONFIG", p->scratch.path, 1);
    p->server = loopback_start(play, p, p->socket);
    *state = p;
    return p->server ? 0 : -1;
}

static int played_close(void **state)
{
    struct played *p = *state;
    engine_free(p->engine);
    loopback_stop(p->server);
    loopback_free(p->server);
    for (size_t i = 0; i < p->request_count; i++)
        free(p->requests[i]);
    void *scratch = &p->scratch;
    int rc = scratch_close(&scratch);
    free(p);
    return rc;
}

static void route(struct played *p, const char *start, int status, const char *body)
{
    assert_true(p->route_count < ROUTES_MAX);
    p->routes[p->route_count++] = (struct route){.start = start, .status = status, .body = body};
}

static int open_it(struct played *p, struct err *err)
{
    return engine_open(&p->engine, &(struct engine_opts){.where = p->address}, err);
}

/* The request that starts so; NULL: none. To be called after the server has stopped, or between its requests. */
static const char *request_of(const struct played *p, const char *start)
{
    for (size_t i = 0; i < p->request_count; i++)
        if (strncmp(p->requests[i], start, strlen(start)) == 0)
            return p->requests[i];
    return NULL;
}

/* ---- opening ---- */

static void what_is_not_an_engine_is_told_apart(void **state)
{
    struct played *p = *state;
    struct err err = ERR_INIT;
    p->ping = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    assert_int_equal(open_it(p, &err), -1);
    assert_int_equal(err.kind, ERR_PROTOCOL);
    assert_contains(err.text, p->address);
}

static void engines_that_are_too_old_are_refused_with_what_is_needed(void **state)
{
    static const char *const pings[] = {
        "HTTP/1.1 200 OK\r\nApi-Version: 1.40\r\nServer: Docker/19.03 (linux)\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nApi-Version: 2.0\r\nContent-Length: 0\r\n\r\n",
        ("HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nLibpod-Api-Version: 3.4.4\r\nServer: Libpod/3.4.4 (linux)\r\n"
         "Content-Length: 0\r\n\r\n")};
    struct played *p = *state;
    for (size_t i = 0; i < ARRAY_LEN(pings); i++) {
        struct err err = ERR_INIT;
        p->ping = pings[i];
        assert_int_equal(open_it(p, &err), -1);
        assert_int_equal(err.kind, ERR_UNSUPPORTED);
        assert_contains(err.hint, "Docker 20.10");
    }
}

static void newer_engines_are_spoken_to_in_the_newest_version_known(void **state)
{
    struct played *p = *state;
    struct err err = ERR_INIT;
    struct engine_listed *list = NULL;
    size_t n = 0;
    p->ping = "HTTP/1.1 200 OK\r\nApi-Version: 1.99\r\nServer: Docker/99 (linux)\r\nContent-Length: 0\r\n\r\n";
    route(p, "GET /v1.44/containers/json?all=true&filters=%7B%22label%22%3A%5B%22a.b%22%5D%7D", 200, "[]");
    assert_works(open_it(p, &err), &err);
    assert_works(engine_list(p->engine, "a.b", &list, &n, &err), &err);
    free(list);
}

static void an_engine_that_is_not_there_is_named(void **state)
{
    struct played *p = *state;
    struct err err = ERR_INIT;
    struct engine *none = NULL;
    char gone[128];
    snprintf(gone, sizeof gone, "%s.gone", p->address);
    assert_int_equal(engine_open(&none, &(struct engine_opts){.where = gone}, &err), -1);
    assert_contains(err.text, gone);
}

static void the_environment_names_the_engine_where_nothing_else_does(void **state)
{
    struct played *p = *state;
    struct err err = ERR_INIT;
    struct engine *none = NULL;
    char gone[128];
    snprintf(gone, sizeof gone, "%s.gone", p->address);
    setenv("DOCKER_HOST", gone, 1);
    setenv("BERTH_ENGINE", p->address, 1);
    assert_works(engine_open(&p->engine, NULL, &err), &err);
    unsetenv("BERTH_ENGINE");
    assert_int_equal(engine_open(&none, NULL, &err), -1);
    unsetenv("DOCKER_HOST");
    assert_contains(err.text, "DOCKER_HOST");
    assert_contains(err.text, gone);
}

/* ---- pulling ---- */

static int pull(struct played *p, const struct engine_registry_auth *auth, struct err *err)
{
    struct engine_pull_opts opts = {.when = ENGINE_PULL_ALWAYS, .auth = auth};
    char id[IMAGE_ID_MAX];
    bool pulled = false;
    if (!p->engine)
        assert_works(open_it(p, err), err);
    return engine_image_ensure(p->engine, "r.io/a/b:1", &opts, id, &pulled, err);
}

static void a_pull_that_fails_inside_a_good_answer_fails(void **state)
{
    static const struct {
        const char *body;
        enum err_kind kind;
    } rows[] = {
        {"{\"status\":\"x\"}\n{\"errorDetail\":{\"message\":\"unauthorized\"},\"error\":\"unauthorized\"}\n",
         ERR_DENIED},
        {"{\"error\":\"manifest unknown\"}", ERR_NOTFOUND},
        {"{\"error\":\"no space left on device\"}", ERR_NOSPACE},
        {"{\"error\":\"connection reset by peer\"}\n{\"status\":\"end\"}\n", ERR_TRANSIENT},
        {"<html>", ERR_PROTOCOL},
        {"", ERR_PROTOCOL}, /* it said nothing, and does not have the image */
    };
    struct played *p = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        p->route_count = 0;
        route(p, "POST /v1.41/images/create?fromImage=r.io%2Fa%2Fb&tag=1 ", 200, rows[i].body);
        assert_int_equal(pull(p, NULL, &err), -1);
        assert_string_equal(err_kind_name(err.kind), err_kind_name(rows[i].kind));
        assert_contains(err.text, "r.io/a/b:1");
    }
}

static void a_pull_that_is_refused_by_status_fails(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum err_kind kind;
    } rows[] = {
        {404, "{\"message\":\"manifest for r.io/a/b:1 not found\"}", ERR_NOTFOUND},
        {500, "{\"message\":\"Head https://r.io: unauthorized: authentication required\"}", ERR_DENIED},
        {500, "{\"message\":\"dial tcp: no route\"}", ERR_TRANSIENT},
        {400, "{\"message\":\"odd\"}", ERR_INVALID},
        {418, "not json", ERR_TRANSIENT},
    };
    struct played *p = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        p->route_count = 0;
        route(p, "POST /v1.41/images/create", rows[i].status, rows[i].body);
        assert_int_equal(pull(p, NULL, &err), -1);
        assert_string_equal(err_kind_name(err.kind), err_kind_name(rows[i].kind));
    }
}

static void credentials_go_in_their_header_and_nowhere_else(void **state)
{
    struct played *p = *state;
    struct err err = ERR_INIT;
    struct engine_registry_auth auth = {.server = "r.io", .username = "u", .password = CANARY};
    route(p, "POST /v1.41/images/create", 500, "{\"message\":\"unauthorized\"}");
    assert_int_equal(pull(p, &auth, &err), -1);
    assert_int_equal(err.kind, ERR_DENIED);
    assert_null(strstr(err.text, CANARY));
    assert_null(strstr(err.hint, CANARY));
    const char *request = request_of(p, "POST /v1.41/images/create");
    assert_non_null(request);
    /* base64url of {"username":"u","password":"c4n4ry-s3cret","serveraddress":"r.io"} */
    assert_non_null(strcasestr(request,
                               "X-Registry-Auth: eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6ImM0bjRyeS1zM2NyZXQiLCJzZX"
                               "J2ZXJhZGRyZXNzIjoici5pbyJ9\r\n"));
    assert_null(strstr(request, CANARY));
}

static void without_credentials_there_is_no_header(void **state)
{
    struct played *p = *state;
    struct err err = ERR_INIT;
    route(p, "POST /v1.41/images/create", 200, "{\"status\":\"done\"}");
    route(p, "GET /v1.41/images/r.io/a/b%3A1/json", 200, "{\"Id\":\"sha256:" ID "\"}");
    assert_works(pull(p, NULL, &err), &err);
    assert_null(strcasestr(request_of(p, "POST /v1.41/images/create"), "X-Registry-Auth"));
}

/* ---- images that are not for everybody ---- */

struct guarding {
    bool may_use, refuse;
    unsigned asked, begun, ended;
    bool with_credentials, pulled;
    char repository[64], name[128];
};

static bool guard_may_use(void *ctx, const char *name, const char *repository)
{
    struct guarding *g = ctx;
    g->asked++;
    snprintf(g->name, sizeof g->name, "%s", name);
    snprintf(g->repository, sizeof g->repository, "%s", repository ? repository : "none");
    return g->may_use;
}

static int guard_begin(void *ctx, const char *repository, bool with_credentials, struct err *err)
{
    struct guarding *g = ctx;
    g->begun++;
    g->with_credentials = with_credentials;
    snprintf(g->repository, sizeof g->repository, "%s", repository);
    return g->refuse ? err_set(err, ERR_LIMIT, "no more") : 0;
}

static void guard_end(void *ctx, const char *repository, bool with_credentials, bool pulled)
{
    struct guarding *g = ctx;
    g->ended++;
    g->pulled = pulled;
    assert_string_equal(repository, g->repository);
    assert_int_equal(with_credentials, g->with_credentials);
}

static int ensure_guarded(struct played *p, struct guarding *g, const char *image, bool *pulled, struct err *err)
{
    const struct engine_image_guard guard = {guard_may_use, guard_begin, guard_end, g};
    const struct engine_registry_auth auth = {.server = "R.io", .username = "u", .password = CANARY};
    const struct engine_pull_opts opts = {.auth = &auth, .given_only = true, .guard = &guard};
    char id[IMAGE_ID_MAX];
    if (!p->engine)
        assert_works(open_it(p, err), err);
    return engine_image_ensure(p->engine, image, &opts, id, pulled, err);
}

static void what_the_guard_leaves_to_its_registry_is_pulled_though_it_is_there(void **state)
{
    struct played *p = *state;
    struct guarding g = {.may_use = true};
    struct err err = ERR_INIT;
    bool pulled = true;
    route(p, "GET /v1.41/images/R.io/a/b%3A1/json", 200, "{\"Id\":\"sha256:" ID "\"}");
    route(p, "POST /v1.41/images/create", 200, "{\"error\":\"unauthorized\"}");
    assert_works(ensure_guarded(p, &g, "R.io/a/b:1", &pulled, &err), &err);
    assert_false(pulled);
    assert_int_equal(g.asked, 1);
    assert_int_equal(g.begun, 0);
    assert_string_equal(g.name, "R.io/a/b:1");
    assert_string_equal(g.repository, "r.io/a/b");
    g.may_use = false;
    assert_int_equal(ensure_guarded(p, &g, "R.io/a/b:1", &pulled, &err), -1);
    assert_int_equal(err.kind, ERR_DENIED);
    assert_int_equal(g.begun, 1);
    assert_int_equal(g.ended, 1);
    assert_true(g.with_credentials);
    assert_false(g.pulled);
    err_clear(&err);
    p->routes[1].body = "{\"status\":\"Image is up to date\"}";
    assert_works(ensure_guarded(p, &g, "R.io/a/b:1", &pulled, &err), &err);
    assert_true(g.pulled);
}

/* Docker answers a pull of a digest that it has without a word to the registry. */
static void a_digest_that_is_there_is_asked_for_and_not_pulled(void **state)
{
    struct played *p = *state;
    struct guarding g = {0};
    struct err err = ERR_INIT;
    bool pulled = true;
    route(p, "GET /v1.41/images/R.io/a/b%40sha256%3A" ID "/json", 200,
          "{\"Id\":\"sha256:" ID "\",\"RepoDigests\":[7,\"R.io/a/b@sha256:" ID "\"]}");
    route(p, "GET /v1.41/distribution/R.io/a/b%40sha256%3A" ID "/json", 401,
          "{\"message\":\"unauthorized: authentication required\"}");
    assert_int_equal(ensure_guarded(p, &g, "R.io/a/b@sha256:" ID, &pulled, &err), -1);
    assert_int_equal(err.kind, ERR_DENIED);
    assert_non_null(strcasestr(request_of(p, "GET /v1.41/distribution/"), "X-Registry-Auth: "));
    assert_null(request_of(p, "POST /v1.41/images/create"));
    err_clear(&err);
    p->routes[1].status = 200;
    assert_works(ensure_guarded(p, &g, "R.io/a/b@sha256:" ID, &pulled, &err), &err);
    assert_false(pulled);
}

/* Podman finds an image by its digest, whatever repository is named with it. */
static void a_digest_of_another_repository_is_not_there(void **state)
{
    struct played *p = *state;
    struct guarding g = {.may_use = true};
    struct err err = ERR_INIT;
    bool pulled = true;
    p->ping = podman_ping;
    route(p, "GET /v1.41/images/other.io/x%40sha256%3A" ID "/json", 200,
          "{\"Id\":\"sha256:" ID "\",\"RepoDigests\":[\"r.io/a/b@sha256:" ID "\"]}");
    route(p, "POST /v1.41/images/create", 200, "{\"error\":\"unauthorized\"}");
    assert_int_equal(ensure_guarded(p, &g, "other.io/x@sha256:" ID, &pulled, &err), -1);
    assert_int_equal(err.kind, ERR_DENIED);
    assert_int_equal(g.begun, 1);
    err_clear(&err);
    p->routes[0].body = "{\"Id\":\"sha256:" ID "\",\"RepoDigests\":[\"other.io/x@sha256:" ID "\"]}";
    assert_works(ensure_guarded(p, &g, "other.io/x@sha256:" ID, &pulled, &err), &err);
    assert_false(pulled);
}

static void nothing_is_pulled_that_the_guard_could_not_note(void **state)
{
    struct played *p = *state;
    struct guarding g = {.refuse = true};
    struct err err = ERR_INIT;
    bool pulled = true;
    assert_int_equal(ensure_guarded(p, &g, "other.io/a/b:1", &pulled, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
    assert_false(g.with_credentials); /* they are for another registry */
    assert_int_equal(g.ended, 0);
    assert_null(request_of(p, "POST /v1.41/images/create"));
}

static void an_id_that_the_guard_does_not_know_is_refused_unseen(void **state)
{
    struct played *p = *state;
    struct guarding g = {0};
    struct err err = ERR_INIT;
    bool pulled = true;
    route(p, "GET /v1.41/images/sha256%3A" ID "/json", 200, "{\"Id\":\"sha256:" ID "\"}");
    assert_int_equal(ensure_guarded(p, &g, "sha256:" ID, &pulled, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    assert_string_equal(g.repository, "none");
    assert_null(request_of(p, "GET /v1.41/images/"));
    err_clear(&err);
    g.may_use = true;
    assert_works(ensure_guarded(p, &g, "sha256:" ID, &pulled, &err), &err);
    assert_false(pulled);
}

/* ---- running ---- */

static int count_output(void *ctx, int stream, const void *bytes, size_t n, struct err *err)
{
    size_t *total = ctx;
    (void)stream, (void)bytes, (void)err;
    *total += n;
    return 0;
}

#define STATE(more) "{\"State\":{\"Running\":false,\"ExitCode\":0," more "},\"HostConfig\":{},\"Config\":{}}"

static void script_a_run(struct played *p, const char *stream, size_t stream_n)
{
    route(p, "POST /v1.41/containers/" ID "/attach?stream=1&stdout=1&stderr=1 ", 200, stream);
    p->routes[p->route_count - 1].body_n = stream_n;
    p->routes[p->route_count - 1].is_stream = true;
    route(p, "POST /v1.41/containers/" ID "/start ", 204, "");
}

static int run(struct played *p, size_t *output, struct engine_exit *out, struct err *err)
{
    struct engine_run_opts opts = {.output = {.write = count_output, .ctx = output}};
    *output = 0;
    if (!p->engine)
        assert_works(open_it(p, err), err);
    return engine_run(p->engine, ID, &opts, out, err);
}

static void a_run_takes_as_few_requests_as_there_are_steps(void **state)
{
    static const char *const steps[] = {"GET /_ping ",
                                        "GET /v1.41/info ",
                                        "POST /v1.41/containers/create ",
                                        ("POST /v1.41/containers/" ID "/attach"),
                                        ("POST /v1.41/containers/" ID "/start "),
                                        ("POST /v1.41/containers/" ID "/wait"),
                                        ("GET /v1.41/containers/" ID "/json "),
                                        ("DELETE /v1.41/containers/" ID)};
    struct played *p = *state;
    struct err err = ERR_INIT;
    struct engine_exit out;
    struct engine_container c = {.image = "i"};
    char id[CONTAINER_ID_MAX];
    size_t output;
    struct engine_info info; /* what it tells is kept, so that create does not ask again */
    script_a_run(p, "\1\0\0\0\0\0\0\2hi", 10);
    route(p, "GET /v1.41/info ", 200, "{}");
    route(p, "POST /v1.41/containers/create ", 201, "{\"Id\":\"" ID "\",\"Warnings\":[]}");
    route(p, "POST /v1.41/containers/" ID "/wait?condition=not-running ", 200, "{\"StatusCode\":0,\"Error\":null}");
    route(p, "GET /v1.41/containers/" ID "/json ", 200, STATE("\"OOMKilled\":false"));
    route(p, "DELETE /v1.41/containers/" ID "?force=true&v=true ", 204, "");
    assert_works(open_it(p, &err), &err);
    assert_works(engine_info(p->engine, &info, &err), &err);
    assert_works(engine_create(p->engine, &c, id, &err), &err);
    assert_works(run(p, &output, &out, &err), &err);
    assert_works(engine_remove(p->engine, id, &err), &err);
    assert_int_equal(output, 2);
    assert_int_equal(p->request_count, ARRAY_LEN(steps));
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        assert_memory_equal(p->requests[i], steps[i], strlen(steps[i]));
}

static void a_wait_that_ends_with_bad_news_is_an_error(void **state)
{
    static const char *const bodies[] = {"{\"StatusCode\":0,\"Error\":{\"Message\":\"no such container\"}}",
                                         "{\"StatusCode\":0,\"Error\":\"no such container\"}"};
    struct played *p = *state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct err err = ERR_INIT;
        struct engine_exit out;
        size_t output;
        p->route_count = 0;
        script_a_run(p, "\1\0\0\0\0\0\0\2hi", 10);
        route(p, "POST /v1.41/containers/" ID "/wait", 200, bodies[i]);
        assert_int_equal(run(p, &output, &out, &err), -1);
        assert_int_equal(err.kind, ERR_TRANSIENT);
        assert_contains(err.text, "no such container");
    }
}

static void output_that_is_cut_or_garbled_ends_the_run_and_kills_the_container(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        enum err_kind kind;
    } rows[] = {{"\1\0\0\0\0\0\0\5hi", 10, ERR_TRANSIENT},
                {"\1\0\0", 3, ERR_TRANSIENT},
                {"plain text", 10, ERR_PROTOCOL},
                {"\3\0\0\0\0\0\0\4oops", 12, ERR_TRANSIENT}};
    struct played *p = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        struct engine_exit out;
        size_t output, before = p->request_count;
        p->route_count = 0;
        script_a_run(p, rows[i].bytes, rows[i].n);
        route(p, "POST /v1.41/containers/" ID "/kill?signal=KILL ", 204, "");
        assert_int_equal(run(p, &output, &out, &err), -1);
        assert_string_equal(err_kind_name(err.kind), err_kind_name(rows[i].kind));
        assert_true(p->request_count > before);
        assert_non_null(strstr(p->requests[p->request_count - 1], "/kill?signal=KILL"));
    }
}

static void an_engine_that_says_nothing_sensible_is_a_protocol_error(void **state)
{
    struct played *p = *state;
    struct err err = ERR_INIT;
    struct engine_container c = {.image = "i"};
    struct engine_listed *list = NULL;
    size_t n = 0;
    char id[CONTAINER_ID_MAX];
    route(p, "GET /v1.41/info ", 200, "{}");
    route(p, "POST /v1.41/containers/create ", 201, "{\"Id\":7}");
    route(p, "GET /v1.41/containers/json", 200, "[{\"Id\":[]}]");
    assert_works(open_it(p, &err), &err);
    assert_fails(engine_create(p->engine, &c, id, &err), &err, ERR_PROTOCOL);
    assert_fails(engine_list(p->engine, "l", &list, &n, &err), &err, ERR_PROTOCOL);
    p->routes[2].body = "{\"not\":\"a list\"}";
    assert_int_equal(engine_list(p->engine, "l", &list, &n, &err), -1);
    err_clear(&err);
    p->routes[2].body = "half [";
    assert_fails(engine_list(p->engine, "l", &list, &n, &err), &err, ERR_PROTOCOL);
}

static void podmans_own_api_makes_podmans_containers(void **state)
{
    struct played *p = *state;
    struct err err = ERR_INIT;
    struct engine_container c = {.image = "i", .name = "n"};
    char id[CONTAINER_ID_MAX];
    p->ping = podman_ping;
    route(p, "POST /v4.0.0/libpod/containers/create ", 201, "{\"Id\":\"" ID "\"}");
    assert_works(open_it(p, &err), &err);
    assert_works(engine_create(p->engine, &c, id, &err), &err);
    assert_string_equal(id, ID);
    assert_contains(request_of(p, "POST /v4.0.0/libpod/"), "\"name\":\"n\"");
}

/* ---- a network of berth's own ---- */

/* Only engines of root's are asked for one. */
static void open_roots(struct played *p)
{
    struct err err = ERR_INIT;
    if (geteuid() != 0)
        skip();
    assert_works(open_it(p, &err), &err);
}

static void the_network_that_is_there_is_taken(void **state)
{
    struct played *p = *state;
    struct err err = ERR_INIT;
    struct engine_network n;
    open_roots(p);
    route(p, "GET /v1.41/networks/berth-filtered", 200,
          "{\"Driver\":\"bridge\",\"EnableIPv6\":false,\"IPAM\":{\"Config\":[{\"Subnet\":\"172.20.0.0/16\"}]},"
          "\"Options\":{\"com.docker.network.bridge.name\":\"berthf0000abcd\"}}");
    assert_works(engine_network_ensure(p->engine, &n, &err), &err);
    assert_string_equal(n.name, "berth-filtered");
    assert_string_equal(n.bridge, "berthf0000abcd");
    assert_string_equal(n.subnet, "172.20.0.0/16");
    assert_null(request_of(p, "POST"));
}

static void a_network_of_that_name_that_is_not_berths_is_left_alone(void **state)
{
    static const char *const others[] = {
        "{\"driver\":\"macvlan\",\"network_interface\":\"berthf01\",\"subnets\":[{\"subnet\":\"10.9.0.0/24\"}]}",
        "{\"driver\":\"bridge\",\"network_interface\":\"podman1\",\"subnets\":[{\"subnet\":\"10.9.0.0/24\"}]}",
        "{\"driver\":\"bridge\",\"network_interface\":\"berthf\\\" x\",\"subnets\":[{\"subnet\":\"10.9.0.0/24\"}]}",
        "{\"driver\":\"bridge\",\"network_interface\":\"berthf01\",\"subnets\":[{\"subnet\":\"fd00::/64\"}]}",
        "{\"driver\":\"bridge\",\"network_interface\":\"berthf01\",\"subnets\":[{\"subnet\":\"10.9.0.0/24 x\"}]}",
        "{\"driver\":\"bridge\",\"network_interface\":\"berthf01\",\"subnets\":[]}",
        "{\"driver\":\"bridge\",\"network_interface\":\"berthf01\",\"subnets\":[{\"subnet\":\"10.9.0.0/24\"},"
        "{\"subnet\":\"10.8.0.0/24\"}]}",
        "{\"driver\":\"bridge\",\"network_interface\":\"berthf01\",\"ipv6_enabled\":true,"
        "\"subnets\":[{\"subnet\":\"10.9.0.0/24\"}]}",
        "{}"};
    struct played *p = *state;
    struct engine_network n;
    p->ping = podman_ping;
    open_roots(p);
    route(p, "GET /v4.0.0/libpod/networks/berth-filtered/json", 200, "");
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        struct err err = ERR_INIT;
        p->routes[0].body = others[i];
        if (engine_network_ensure(p->engine, &n, &err) == 0)
            fail_msg("taken: %s", others[i]);
        assert_int_equal(err.kind, ERR_EXISTS);
        assert_contains(err.hint, "remove it");
    }
    assert_null(request_of(p, "POST"));
}

static void a_network_is_made_without_ipv6_on_a_bridge_of_a_known_name(void **state)
{
    struct played *p = *state;
    struct err err = ERR_INIT;
    struct engine_network n;
    open_roots(p);
    route(p, "POST /v1.41/networks/create", 500, "{\"message\":\"no address pool\"}");
    assert_int_equal(engine_network_ensure(p->engine, &n, &err), -1);
    assert_contains(err.text, "no address pool");
    const char *asked = request_of(p, "POST /v1.41/networks/create");
    assert_non_null(asked);
    assert_contains(asked, "\"EnableIPv6\":false");
    assert_contains(asked, "\"com.docker.network.bridge.name\":\"berthf");
    assert_contains(asked, "\"com.docker.network.bridge.enable_icc\":\"false\"");
}

/* Whoever listens then is not root, whoever this is. Of this thread alone: libc would disturb the others. */
static void listen_as_a_user(struct played *p)
{
    if (geteuid() != 0)
        return;
    loopback_stop(p->server);
    loopback_free(p->server);
    unlink(p->socket);
    assert_int_equal(chown(p->scratch.path, NOBODY, NOBODY), 0);
    assert_int_equal(syscall(SYS_setresuid, -1, NOBODY, -1), 0);
    p->server = loopback_start(play, p, p->socket);
    assert_int_equal(syscall(SYS_setresuid, -1, 0, -1), 0);
    assert_non_null(p->server);
}

static void a_rootless_engine_is_not_asked_for_a_network(void **state)
{
    struct played *p = *state;
    struct err err = ERR_INIT;
    struct engine_network n;
    listen_as_a_user(p);
    assert_works(open_it(p, &err), &err);
    assert_int_equal(engine_network_ensure(p->engine, &n, &err), -1);
    assert_int_equal(err.kind, ERR_UNSUPPORTED);
    assert_contains(err.text, "rootless");
    assert_null(request_of(p, "GET /v1.41/networks"));
}

/* ---- whether it runs ---- */

static void only_the_engines_own_word_ends_a_container(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum engine_running is;
    } rows[] = {
        {200, "{\"State\":{\"Running\":true}}", ENGINE_RUNNING_YES},
        {200, "{\"State\":{\"Running\":false}}", ENGINE_RUNNING_NO},
        {404, "{\"message\":\"No such container\"}", ENGINE_RUNNING_NO},
        {200, "{}", ENGINE_RUNNING_UNKNOWN},
        {403, "{\"message\":\"not for you\"}", ENGINE_RUNNING_UNKNOWN},
        {500, "{\"message\":\"odd\"}", ENGINE_RUNNING_UNKNOWN},
    };
    struct played *p = *state;
    struct err err = ERR_INIT;
    assert_works(open_it(p, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        p->route_count = 0;
        route(p, "GET /v1.41/containers/" ID "/json ", rows[i].status, rows[i].body);
        assert_int_equal(engine_is_running(p->engine, ID), rows[i].is);
    }
    loopback_stop(p->server);
    unlink(p->socket);
    assert_int_equal(engine_is_running(p->engine, ID), ENGINE_RUNNING_UNKNOWN);
}

static void an_engine_has_one_address_however_its_socket_is_reached(void **state)
{
    struct played *p = *state;
    struct err err = ERR_INIT;
    char link[112], real[PATH_MAX];
    snprintf(link, sizeof link, "%s/l", p->scratch.path);
    assert_int_equal(symlink(p->socket, link), 0);
    assert_works(engine_open(&p->engine, &(struct engine_opts){.where = link}, &err), &err);
    assert_non_null(realpath(p->socket, real));
    assert_string_equal(engine_address(p->engine) + strlen("unix://"), real);
    assert_int_equal(unlink(link), 0);
}

#define played_test(f) cmocka_unit_test_setup_teardown(f, played_open, played_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        played_test(what_is_not_an_engine_is_told_apart),
        played_test(engines_that_are_too_old_are_refused_with_what_is_needed),
        played_test(newer_engines_are_spoken_to_in_the_newest_version_known),
        played_test(an_engine_that_is_not_there_is_named),
        played_test(the_environment_names_the_engine_where_nothing_else_does),
        played_test(a_pull_that_fails_inside_a_good_answer_fails),
        played_test(a_pull_that_is_refused_by_status_fails),
        played_test(what_the_guard_leaves_to_its_registry_is_pulled_though_it_is_there),
        played_test(a_digest_that_is_there_is_asked_for_and_not_pulled),
        played_test(a_digest_of_another_repository_is_not_there),
        played_test(nothing_is_pulled_that_the_guard_could_not_note),
        played_test(an_id_that_the_guard_does_not_know_is_refused_unseen),
        played_test(credentials_go_in_their_header_and_nowhere_else),
        played_test(without_credentials_there_is_no_header),
        played_test(a_run_takes_as_few_requests_as_there_are_steps),
        played_test(a_wait_that_ends_with_bad_news_is_an_error),
        played_test(output_that_is_cut_or_garbled_ends_the_run_and_kills_the_container),
        played_test(an_engine_that_says_nothing_sensible_is_a_protocol_error),
        played_test(the_network_that_is_there_is_taken),
        played_test(a_network_of_that_name_that_is_not_berths_is_left_alone),
        played_test(a_network_is_made_without_ipv6_on_a_bridge_of_a_known_name),
        played_test(a_rootless_engine_is_not_asked_for_a_network),
        played_test(podmans_own_api_makes_podmans_containers),
        played_test(only_the_engines_own_word_ends_a_container),
        played_test(an_engine_has_one_address_however_its_socket_is_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
