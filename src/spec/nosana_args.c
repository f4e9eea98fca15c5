/* `args` of container/run. */
#include "spec/dialect.h"
#include "spec/nosana.h"
#include "spec/value.h"

#define PORT_MAX        65535
#define VRAM_GB_MAX     100000
#define RESTARTS_MAX    1000000
#define REMOVE_IF_EMPTY "__remove-if-empty__"

struct job_strs nosana_command(struct reader *r, const struct node *object, const char *key, bool shell)
{
    struct job_strs words = {0};
    struct node n = node_get(r, object, key);
    if (json_is_array(n.v))
        return read_strs(r, object, key);
    const char *s = node_str(r, &n);
    if (!s || !*s)
        return words;
    if (shell) {
        strs_add(r->a, &words, "/bin/sh");
        strs_add(r->a, &words, "-c");
    }
    strs_add(r->a, &words, s);
    return words;
}

static bool is_port(struct span s, uint64_t *port)
{
    struct err why = ERR_INIT;
    return span_to_u64(s, port, &why) == 0 && *port >= 1 && *port <= PORT_MAX;
}

static bool is_port_text(const char *s)
{
    struct span first, last;
    uint64_t from, to;
    if (strstr(s, "%%"))
        return true; /* filled in when the job runs */
    if (!span_cut(span_of(s), '-', &first, &last))
        return is_port(first, &from);
    return is_port(first, &from) && is_port(last, &to) && from < to;
}

static void check_port(struct reader *r, const struct node *n)
{
    static const char *const known[] = {"port", "type", "health_checks", NULL};
    static const char *const types[] = {"web", "api", "webapi", "websocket", "none", NULL};
    const json_int_t port = json_integer_value(n->v);
    if (json_is_object(n->v) && !node_get(r, n, "__spread__").v) {
        check_keys(r, n, known);
        struct node inner = node_get(r, n, "port"), type_node = node_get(r, n, "type");
        const char *type = read_str(r, n, "type");
        read_list(r, n, "health_checks");
        if (json_is_object(inner.v) || !inner.v)
            problem(r, &inner, ERR_INVALID, "expected a port");
        else
            check_port(r, &inner);
        for (size_t i = 0; type && types[i]; i++)
            if (str_eq(type, types[i]))
                type = NULL;
        if (type)
            problem_unknown(r, &type_node, "service type", type, types);
        return;
    }
    bool number = json_is_integer(n->v) && port >= 1 && port <= PORT_MAX;
    bool text = json_is_string(n->v) && is_port_text(json_string_value(n->v));
    if (!number && !text && !json_is_object(n->v))
        problem(r, n, ERR_INVALID, "expected a port (1 to %d), a range like '8000-8010', or a list of these", PORT_MAX);
}

static void read_expose(struct reader *r, const struct node *args)
{
    struct node n = node_get(r, args, "expose");
    if (!n.v)
        return;
    if (!json_is_array(n.v))
        check_port(r, &n);
    for (size_t i = 0; i < json_array_size(n.v); i++) {
        struct node item = node_item(&n, i);
        check_port(r, &item);
    }
    not_run(r, &n, "expose: publishing ports");
}

static void read_volumes(struct reader *r, const struct node *args)
{
    static const char *const known[] = {"name", "dest", NULL};
    struct node list = read_list(r, args, "volumes");
    for (size_t i = 0; i < json_array_size(list.v); i++) {
        struct node item = node_item(&list, i);
        if (!expect_object(r, &item))
            continue;
        check_keys(r, &item, known);
        need_str(r, &item, "name");
        read_target(r, &item, "dest");
    }
    if (json_array_size(list.v))
        not_run(r, &list, "volumes");
}

static void read_restart_policy(struct reader *r, const struct node *args)
{
    static const char *const known[] = {"policy", "restart_tries", NULL};
    static const char *const policies[] = {"no", "always", "on-failure", "unless-stopped", NULL};
    struct node policy = read_object(r, args, "restart_policy");
    if (!policy.v)
        return;
    check_keys(r, &policy, known);
    struct node name_node = node_get(r, &policy, "policy");
    const char *name = need_str(r, &policy, "policy");
    read_u64(r, &policy, "restart_tries", 0, RESTARTS_MAX, 0);
    if (str_eq(name, "no"))
        return;
    for (size_t i = 0; name && policies[i]; i++) {
        if (str_eq(name, policies[i])) {
            not_run(r, &policy, "restart_policy '%s'", name);
            return;
        }
    }
    if (name)
        problem_unknown(r, &name_node, "restart policy", name, policies);
}

static void read_authentication(struct reader *r, const struct node *args, struct op *op)
{
    static const char *const known[] = {"docker", NULL};
    static const char *const docker_known[] = {"username", "password", "email", "server", NULL};
    struct node auth = read_object(r, args, "authentication");
    if (!auth.v)
        return;
    check_keys(r, &auth, known);
    struct node docker = read_object(r, &auth, "docker");
    if (!docker.v)
        return;
    check_keys(r, &docker, docker_known);
    op->auth = (struct registry_auth){.server = read_given(r, &docker, "server"),
                                      .username = read_given(r, &docker, "username"),
                                      .password = read_given(r, &docker, "password"),
                                      .email = read_given(r, &docker, "email")};
    if (op->auth.password && !op->auth.username)
        problem(r, &docker, ERR_INVALID, "a password without a username");
}

/* A warning, since there is nobody else who could use the names. */
static void read_aliases(struct reader *r, const struct node *args)
{
    struct node n = node_get(r, args, "aliases");
    if (nosana_command(r, args, "aliases", false).n)
        warning(r, &n, "aliases have no effect: no other container runs beside this one");
}

static struct job_strs drop_marker(struct job_strs words)
{
    size_t kept = 0;
    for (size_t i = 0; i < words.n; i++)
        if (!str_eq(words.v[i], REMOVE_IF_EMPTY))
            words.v[kept++] = words.v[i];
    if (words.v)
        words.v[kept] = NULL;
    words.n = kept;
    return words;
}

static void read_env(struct reader *r, const struct node *args, const struct nosana_globals *globals, struct op *op)
{
    struct node env = node_get(r, args, "env");
    struct job_kvs own = read_kvs(r, args, "env");
    env_merge(r, args, &op->env, &globals->env, op->private_logs);
    env_merge(r, &env, &op->env, &own, op->private_logs);
}

static void read_image_or_global(struct reader *r, const struct node *args, const struct nosana_globals *globals,
                                 struct op *op)
{
    struct node n = node_get(r, args, "image");
    const char *image = read_image(r, args, "image", n.v || !globals->image);
    op->image = image ? image : globals->image ? globals->image : "";
}

void nosana_args_read(struct reader *r, const struct node *args, const struct nosana_globals *globals, struct op *op)
{
    static const char *const known[] = {"image",    "cmd",           "entrypoint",     "env",
                                        "work_dir", "gpu",           "private",        "volumes",
                                        "expose",   "resources",     "restart_policy", "authentication",
                                        "aliases",  "required_vram", "output",         NULL};
    check_keys(r, args, known);
    refuse_member(r, args, "output", "output of an op");
    op->kind = OP_RUN;
    read_image_or_global(r, args, globals, op);
    op->command = drop_marker(nosana_command(r, args, "cmd", true));
    op->entrypoint = drop_marker(nosana_command(r, args, "entrypoint", false));
    if (!op->entrypoint.n && !node_get(r, args, "entrypoint").v)
        op->entrypoint = globals->entrypoint;
    const char *work_dir = read_given(r, args, "work_dir");
    op->work_dir = work_dir ? work_dir : globals->work_dir;
    op->limits.gpu_count = read_bool(r, args, "gpu", globals->gpu) ? GPU_ALL : 0;
    op->limits.required_vram_mib = (uint32_t)read_u64(r, args, "required_vram", 0, VRAM_GB_MAX, 0) * 1024;
    op->private_logs = read_bool(r, args, "private", false);
    read_env(r, args, globals, op);
    read_authentication(r, args, op);
    read_aliases(r, args);
    read_expose(r, args);
    read_volumes(r, args);
    read_restart_policy(r, args);
    struct node resources = read_list(r, args, "resources");
    struct inputs inputs = {0};
    resources_read(r, &resources, false, &inputs);
    op->inputs = inputs.v;
    op->input_count = inputs.n;
}
