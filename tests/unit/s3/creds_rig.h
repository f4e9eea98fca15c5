/* creds_rig: a home folder of its own, an environment of its own, a clock that stands still, and a scripted server that
 * plays whatever service a test needs. Nothing of this machine's own credentials is seen. */
#ifndef BERTH_TESTS_CREDS_RIG_H
#define BERTH_TESTS_CREDS_RIG_H

#include "../xfer/loopback.h"
#include "base/clock.h"
#include "base/fs.h"
#include "s3/creds_priv.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define NOON        "2030-06-01T12:00:00Z"
#define MINUTE_MS   (60 * 1000)
#define RIG_STEPS   12
#define KEY_OF_TEST "AKIATESTTESTTEST0001"

struct creds_rig {
    char home[64], url[64];
    struct strv env;
    struct loopback *server;
    struct script script;
    struct script_step steps[RIG_STEPS];
    char *answers[RIG_STEPS];
    size_t step_count;
    _Atomic int64_t now_ms;
    struct creds *creds;
    struct creds_keys keys;
    struct err err;
};

static inline int64_t rig_now(void *ctx)
{
    return ((struct creds_rig *)ctx)->now_ms;
}

static inline void rig_set(struct creds_rig *r, const char *name, const char *fmt, ...) ATTR_PRINTF(3, 4);
static inline void rig_set(struct creds_rig *r, const char *name, const char *fmt, ...)
{
    char value[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    assert_int_equal(strv_addf(&r->env, &r->err, "%s=%s", name, value), 0);
}

static inline void rig_open(struct creds_rig *r)
{
    *r = (struct creds_rig){.home = "/tmp/berth-creds-XXXXXX"};
    assert_non_null(mkdtemp(r->home));
    int64_t noon = 0;
    assert_int_equal(time_parse_iso(SPAN_LIT(NOON), &noon, &r->err), 0);
    r->now_ms = noon;
    rig_set(r, "HOME", "%s", r->home);
    rig_set(r, "PATH", "/usr/bin:/bin");
    rig_set(r, "AWS_EC2_METADATA_DISABLED", "%s", "true");
}

static inline void rig_close(struct creds_rig *r)
{
    creds_keys_release(&r->keys);
    creds_free(r->creds);
    if (r->server)
        loopback_free(r->server);
    script_release(&r->script);
    for (size_t i = 0; i < RIG_STEPS; i++)
        free(r->answers[i]);
    strv_release(&r->env);
    struct err err = ERR_INIT;
    int tmp = open("/tmp", O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(fs_remove_tree(tmp, r->home + strlen("/tmp/"), &err), 0);
    close(tmp);
}

/* ---- files ---- */

static inline void rig_write(struct creds_rig *r, const char *name, const char *fmt, ...) ATTR_PRINTF(3, 4);
static inline void rig_write(struct creds_rig *r, const char *name, const char *fmt, ...)
{
    char path[512], text[8192];
    va_list ap;
    snprintf(path, sizeof path, "%s/%s", r->home, name);
    *strrchr(path, '/') = '\0';
    assert_int_equal(fs_mkdirs(path, 0700, &r->err), 0);
    snprintf(path, sizeof path, "%s/%s", r->home, name);
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    assert_in_range(n, 0, sizeof text - 1);
    assert_int_equal(fs_replace_file(AT_FDCWD, path, text, (size_t)n, 0700, &r->err), 0);
}

/* ---- the server ---- */

static inline void rig_answer(struct creds_rig *r, int status, const char *body)
{
    assert_true(r->step_count < RIG_STEPS);
    assert_true(asprintf(&r->answers[r->step_count], "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s", status,
                         strlen(body), body) > 0);
    r->steps[r->step_count].answer = r->answers[r->step_count];
    r->step_count++;
}

/* After all answers are known. */
static inline void rig_serve(struct creds_rig *r)
{
    r->script = (struct script){.steps = r->steps, .step_count = r->step_count};
    r->server = loopback_start(script_answer, &r->script, NULL);
    snprintf(r->url, sizeof r->url, "http://127.0.0.1:%u", loopback_port(r->server));
}

static inline bool rig_sent(const struct creds_rig *r, size_t request, const char *text)
{
    assert_true(request < r->script.request_count);
    return strstr(r->script.requests[request], text) != NULL;
}

/* The request line and headers of a request, where no secret of a form may stand. */
static inline bool rig_sent_in_line(const struct creds_rig *r, size_t request, const char *text)
{
    assert_true(request < r->script.request_count);
    const char *line = r->script.requests[request], *end = strchr(line, '\r');
    const char *at = strstr(line, text);
    return at && at < end;
}

/* ---- asking ---- */

static inline int rig_find(struct creds_rig *r, const struct creds_opts *opts)
{
    struct creds_opts o = opts ? *opts : (struct creds_opts){.ambient = true};
    o.env = (const char *const *)r->env.v;
    int rc = creds_open(&r->creds, &o, &r->err);
    if (rc == 0)
        creds_set_clock(r->creds, rig_now, r);
    return rc;
}

static inline int rig_get(struct creds_rig *r)
{
    creds_keys_release(&r->keys);
    return creds_get(r->creds, NULL, &r->keys, &r->err);
}

static inline void must_find(struct creds_rig *r)
{
    if (rig_find(r, NULL) < 0)
        fail_msg("%s", r->err.text);
}

static inline void must_get(struct creds_rig *r, const char *id, const char *secret, const char *token)
{
    if (rig_get(r) < 0)
        fail_msg("%s", r->err.text);
    assert_string_equal(r->keys.keys.access_key_id, id);
    assert_string_equal(r->keys.keys.secret_access_key, secret);
    if (token)
        assert_string_equal(r->keys.keys.session_token, token);
    else
        assert_null(r->keys.keys.session_token);
}

/* Either finding or getting fails, with these words and without a canary. */
static inline void must_fail(struct creds_rig *r, enum err_kind kind, const char *words)
{
    assert_true(rig_find(r, NULL) < 0 || rig_get(r) < 0);
    if (r->err.kind != kind || !strstr(r->err.text, words))
        fail_msg("%s: %s", err_kind_name(r->err.kind), r->err.text);
    assert_null(strstr(r->err.text, "canary"));
    assert_null(strstr(r->err.hint, "canary"));
}

#endif
