/* conformance: one suite over every container engine. Each part is a table of tests that get a struct rig as their
 * state; test_conformance.c runs all tables once for each engine in BERTH_TEST_ENGINES. */
#ifndef BERTH_TESTS_CONFORMANCE_H
#define BERTH_TESTS_CONFORMANCE_H

#include "../base/test_base.h"

#include "engine/engine.h"

#define RIG_LABEL "berth.conformance"

struct rig {
    struct engine *engine;
    const char *address;
    const char *image;          /* BERTH_TEST_IMAGE: has busybox in /bin */
    const char *registry_image; /* BERTH_TEST_REGISTRY_IMAGE: of a registry the engine can reach; NULL: none */
    struct engine_info info;
    char folder[64]; /* for one test's files */
    int folder_fd;
};

struct part {
    const struct CMUnitTest *tests;
    size_t n;
};
extern const struct part part_run, part_limits, part_files, part_images;

/* What one container did. */
struct outcome {
    struct buf out, err;
    unsigned started;
    struct engine_exit exit;
    /* For tests that act on output: called after each piece was kept. */
    int (*on_output)(void *ctx, const struct outcome *o, struct err *err);
    void *ctx;
};
void outcome_release(struct outcome *o);

/* A container of the test image that runs `script` by sh, without network. `argv` (4 entries) must outlive it. */
struct engine_container rig_container(const struct rig *r, const char *argv[4], const char *script);

/* Create, run, remove. `opts` may be NULL; its output is replaced. */
int rig_run(const struct rig *r, const struct engine_container *c, const struct engine_run_opts *opts,
            struct outcome *o, struct err *err);

/* The usual: runs `script`, must work. */
void rig_sh(const struct rig *r, const char *script, struct outcome *o);

/* Run a created container, keeping its output in `o`. */
int rig_follow(struct engine *e, const char *id, const struct engine_run_opts *opts, struct outcome *o,
               struct err *err);

void rig_write(const struct rig *r, const char *name, const void *p, size_t n);

/* Whether the engine is on this machine, so that it sees our files and we its sockets. */
bool rig_is_local(const struct rig *r);

int rig_open(void **state);
int rig_close(void **state);
int rig_folder_open(void **state);
int rig_folder_close(void **state);

#define rig_test(f) cmocka_unit_test_setup_teardown(f, rig_folder_open, rig_folder_close)

#endif
