#include "conformance.h"

#define OUTPUT_MAX ((size_t)64 << 20)

void outcome_release(struct outcome *o)
{
    buf_release(&o->out);
    buf_release(&o->err);
}

struct engine_container rig_container(const struct rig *r, const char *argv[4], const char *script)
{
    static const char *const labels[] = {RIG_LABEL "=yes", NULL};
    argv[0] = "sh";
    argv[1] = "-c";
    argv[2] = script;
    argv[3] = NULL;
    return (struct engine_container){.image = r->image, .command = argv, .labels = labels, .network_none = true};
}

static int keep(void *ctx, int stream, const void *p, size_t n, struct err *err)
{
    struct outcome *o = ctx;
    struct buf *b = stream == 1 ? &o->out : &o->err;
    assert_true(stream == 1 || stream == 2);
    buf_add(b, p, n);
    if (buf_check(b, "output", err) < 0)
        return -1;
    return o->on_output ? o->on_output(o->ctx, o, err) : 0;
}

static void note_start(void *ctx)
{
    struct outcome *o = ctx;
    o->started++;
}

int rig_follow(struct engine *e, const char *id, const struct engine_run_opts *opts, struct outcome *o, struct err *err)
{
    struct engine_run_opts mine = opts ? *opts : (struct engine_run_opts){0};
    buf_init(&o->out, OUTPUT_MAX);
    buf_init(&o->err, OUTPUT_MAX);
    mine.output = (struct engine_output){.write = keep, .started = note_start, .ctx = o};
    return engine_run(e, id, &mine, &o->exit, err);
}

int rig_run(const struct rig *r, const struct engine_container *c, const struct engine_run_opts *opts,
            struct outcome *o, struct err *err)
{
    char id[CONTAINER_ID_MAX];
    struct err remove = ERR_INIT;
    if (engine_create(r->engine, c, id, err) < 0) {
        buf_init(&o->out, 0);
        buf_init(&o->err, 0);
        return -1;
    }
    int rc = rig_follow(r->engine, id, opts, o, err);
    assert_int_equal(engine_is_running(r->engine, id), ENGINE_RUNNING_NO);
    assert_works(engine_remove(r->engine, id, &remove), &remove);
    return rc;
}

void rig_sh(const struct rig *r, const char *script, struct outcome *o)
{
    const char *argv[4];
    struct err err = ERR_INIT;
    struct engine_container c = rig_container(r, argv, script);
    assert_works(rig_run(r, &c, NULL, o, &err), &err);
}

void rig_write(const struct rig *r, const char *name, const void *p, size_t n)
{
    struct err err = ERR_INIT;
    assert_works(fs_replace_file(r->folder_fd, name, p, n, 0644, &err), &err);
}

bool rig_is_local(const struct rig *r)
{
    return span_starts(span_of(r->info.address), SPAN_LIT("unix://"));
}

int rig_folder_open(void **state)
{
    struct rig *r = *state;
    snprintf(r->folder, sizeof r->folder, "/tmp/berth-engine-XXXXXX");
    if (!mkdtemp(r->folder) || chmod(r->folder, 0755) < 0)
        return -1;
    r->folder_fd = open(r->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return r->folder_fd < 0 ? -1 : 0;
}

int rig_folder_close(void **state)
{
    struct rig *r = *state;
    struct err err = ERR_INIT;
    close(r->folder_fd);
    AUTO_FD tmp = fs_open_dir("/tmp", &err);
    return tmp < 0 ? -1 : fs_remove_tree(tmp, r->folder + strlen("/tmp/"), &err);
}
