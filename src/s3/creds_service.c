/* What the sources that ask services have in common: one call, and the small files that go with it. */
#include "base/fs.h"
#include "s3/creds_answer.h"
#include "xfer/http.h"

#include <fcntl.h>

#define NEAR_CONNECT_MS 1000
#define NEAR_IDLE_MS    5000
#define HOME_PATH_MAX   4096

int service_call(const struct creds_env *env, bool near, struct http_request *req, struct http_response *resp,
                 struct err *err)
{
    const struct http_opts opts = {.policy = {.no_proxy_env = near, .ca_file = env_get(env, "AWS_CA_BUNDLE")}};
    struct http *http = NULL;
    *resp = (struct http_response){0};
    if (http_open(&http, &opts, err) < 0)
        return -1;
    req->body_max = ANSWER_BYTES_MAX;
    req->keep_redirects = true; /* no service of this kind redirects, and what is sent is for it alone */
    if (near) {
        req->connect_timeout_ms = NEAR_CONNECT_MS;
        if (!req->idle_timeout_ms)
            req->idle_timeout_ms = NEAR_IDLE_MS;
    }
    int rc = http_call(http, req, resp, err);
    http_free(http);
    return rc;
}

void service_release(struct http_response *resp)
{
    if (resp->body.p)
        mem_wipe(resp->body.p, resp->body.cap);
    http_response_release(resp);
}

const char *service_endpoint(const struct creds_env *env, const char *variable)
{
    const char *ignored = env_get(env, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    if (ignored && span_eq_nocase(span_of(ignored), SPAN_LIT("true")))
        return NULL;
    const char *own = env_get(env, variable);
    return own ? own : env_get(env, "AWS_ENDPOINT_URL");
}

void buf_release_wiped(struct buf *b)
{
    if (b->p)
        mem_wipe(b->p, b->cap);
    buf_release(b);
}

int token_read(const char *path, struct buf *out, struct err *err)
{
    if (fs_read_file(AT_FDCWD, path, CREDS_KEY_MAX, out, err) < 0)
        return -1;
    while (out->n && strchr("\r\n\t ", out->p[out->n - 1]))
        out->p[--out->n] = '\0';
    if (out->n == 0)
        return err_set(err, ERR_INVALID, "%s: the file is empty", path);
    for (size_t i = 0; i < out->n; i++)
        if ((unsigned char)out->p[i] < ' ' || out->p[i] == 0x7f)
            return err_set(err, ERR_INVALID, "%s: holds more than one line, or control characters", path);
    return 0;
}

char *home_path(const struct creds_env *env, const char *path, struct err *err)
{
    if (strncmp(path, "~/", 2) != 0)
        return str_dup(path, err);
    const char *home = env_get(env, "HOME");
    return str_printf(err, "%.*s/%s", HOME_PATH_MAX, home ? home : "", path + 2);
}
