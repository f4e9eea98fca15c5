/* What the tests of spec share. JSON in them is written with ' for ", to stay readable. */
#ifndef BERTH_TEST_SPEC_H
#define BERTH_TEST_SPEC_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/yaml.h"
#include "spec/spec.h"

#define TEXT_MAX (8u << 20)

/* A Nosana job with one op whose args go on with `more` (", 'gpu': true"). */
#define NOSANA(more)                                                                                                   \
    "{'version': '0.1', 'type': 'container', 'ops': [{'id': 'one', 'type': 'container/run', 'args': {'image': "        \
    "'img'" more "}}]}"
#define NOSANA_RESOURCE(entry) NOSANA(", 'resources': [" entry "]")
#define NOSANA_ROOT(more)                                                                                              \
    "{'version': '0.1', 'type': 'container', 'ops': [{'id': 'one', 'type': 'container/run', 'args': {'image': "        \
    "'img'}}]" more "}"

/* A Bacalhau job in YAML; `root` is lines of the root, `task` lines of its task, indented by four. */
#define BACALHAU(root, task)                                                                                           \
    "Type: batch\n" root "Tasks:\n  - Name: main\n    Engine:\n      Type: docker\n      Params:\n        Image: "     \
    "img\n" task
#define BACALHAU_S3(params)                                                                                            \
    BACALHAU("", "    InputSources:\n      - Target: /in\n        Source:\n          Type: s3\n          Params:\n"    \
                 "            Bucket: b\n" params)
#define BACALHAU_PUBLISHER(lines) BACALHAU("", "    Publisher:\n      Type: s3\n      Params:\n" lines)

static inline void auto_job(struct job **job)
{
    job_free(*job);
}
#define AUTO_JOB AUTO(auto_job) struct job *

static inline void auto_arena(struct arena **a)
{
    arena_free(*a);
}
#define AUTO_ARENA AUTO(auto_arena) struct arena *

static inline struct job *try_parse(const char *text, const char *const *vars, bool strict, struct err *err)
{
    AUTO_BUF json;
    buf_init(&json, TEXT_MAX);
    bool is_json = text[0] == '{';
    for (const char *c = text; *c; c++)
        buf_addc(&json, is_json && *c == '\'' ? '"' : *c);
    const struct spec_opts opts = {.file = "job", .vars = vars, .strict = strict};
    struct job *job = NULL;
    int rc = spec_parse(buf_span(&json), &opts, &job, err);
    assert_int_equal(rc, job ? 0 : -1);
    assert_int_equal(rc < 0, err_is_set(err));
    return job;
}

static inline struct job *must_parse(const char *text)
{
    struct err err = ERR_INIT;
    struct job *job = try_parse(text, NULL, false, &err);
    if (!job)
        fail_msg("%s\nin: %s", err.text, text);
    return job;
}

/* The text fails with that kind, and its error has `part` in it. */
static inline void must_fail(const char *text, enum err_kind kind, const char *part)
{
    struct err err = ERR_INIT;
    AUTO_JOB job = try_parse(text, NULL, false, &err);
    if (job)
        fail_msg("accepted, wanted: %s\nin: %s", part, text);
    if (!strstr(err.text, part))
        fail_msg("wanted: %s\nfound: %s\nin: %s", part, err.text, text);
    assert_string_equal(err_kind_name(err.kind), err_kind_name(kind));
}

static inline void must_be_invalid(const char *text, const char *part)
{
    must_fail(text, ERR_INVALID, part);
}

static inline bool has_warning(const struct job *job, const char *part)
{
    for (size_t i = 0; i < job->warning_count; i++)
        if (strstr(job->warnings[i], part))
            return true;
    return false;
}

static inline void must_warn(const char *text, const char *part)
{
    AUTO_JOB job = must_parse(text);
    if (!has_warning(job, part))
        fail_msg("no warning with: %s\nin: %s", part, text);
}

static inline void must_not_run(const char *text, const char *part)
{
    struct err err = ERR_INIT;
    AUTO_JOB job = must_parse(text);
    for (size_t i = 0; i < job->unsupported_count; i++) {
        if (strstr(job->unsupported[i].what, part)) {
            assert_int_equal(spec_check_runnable(job, &err), -1);
            assert_int_equal(err.kind, ERR_UNSUPPORTED);
            return;
        }
    }
    fail_msg("not named as not run: %s\nin: %s", part, text);
}

struct fault {
    const char *text, *part;
};

static inline void all_invalid(const struct fault *faults, size_t n)
{
    for (size_t i = 0; i < n; i++)
        must_be_invalid(faults[i].text, faults[i].part);
}
#define ALL_INVALID(faults) all_invalid(faults, ARRAY_LEN(faults))

#define assert_works(call, err)                                                                                        \
    do {                                                                                                               \
        if ((call) < 0)                                                                                                \
            fail_msg("%s", (err)->text);                                                                               \
    } while (0)

#endif
