/* Keys of a container's task or pod: one GET to an address that its orchestrator put into the environment.
 *
 * "Container credential provider" of the AWS SDKs and Tools Reference Guide. The answer is somebody's keys and the
 * request may carry a token, so the address must be https, this machine, or one of those that ECS and EKS serve. */
#include "s3/creds_answer.h"
#include "xfer/http.h"
#include "xfer/url.h"

#include <arpa/inet.h>

#define ECS_ORIGIN      "http://169.254.170.2"
#define CONTAINER_TRIES 3
#define CONTAINER_WORD  "container credentials"

struct source_container {
    struct creds_source base;
    const struct creds_env *env;
    char *url;
};

/* ---- where ---- */

static bool host_is_near(const char *host)
{
    static const char *const orchestrators[] = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23"};
    for (size_t i = 0; i < ARRAY_LEN(orchestrators); i++)
        if (str_eq(host, orchestrators[i]))
            return true;
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, host, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &six) == 1)
        return IN6_IS_ADDR_LOOPBACK(&six);
    return str_eq(host, "localhost");
}

int container_check_url(const char *url, struct err *err)
{
    struct arena *a = arena_new(0, err);
    if (!a)
        return -1;
    struct url u;
    int rc = url_parse(a, span_of(url), &u, err);
    if (rc == 0 && !str_eq(u.scheme, "https") && !host_is_near(u.host)) {
        rc = err_set(err, ERR_REFUSED, "keys are not fetched from %.255s over plain http", u.host);
        err_hint(err, "https, a loopback address, 169.254.170.2, 169.254.170.23 and [fd00:ec2::23] are allowed");
    }
    arena_free(a);
    return rc;
}

/* ---- the token ---- */

static int read_token(const struct source_container *s, struct buf *out, struct err *err)
{
    const char *file = env_get(s->env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *token = env_get(s->env, "AWS_CONTAINER_AUTHORIZATION_TOKEN");
    buf_init(out, CREDS_KEY_MAX);
    if (file)
        return token_read(file, out, err) < 0 ? err_wrap(err, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") : 0;
    if (!token)
        return 0;
    if (strpbrk(token, "\r\n"))
        return err_set(err, ERR_INVALID, "AWS_CONTAINER_AUTHORIZATION_TOKEN holds a line break");
    buf_adds(out, token);
    return buf_check(out, "AWS_CONTAINER_AUTHORIZATION_TOKEN", err);
}

/* ---- the source ---- */

static int read_answer(const struct http_response *resp, struct creds_grant *out, struct err *err)
{
    if (resp->status == 200)
        return answer_json(ANSWER_CONTAINER, buf_span(&resp->body), out, err) < 0
                   ? err_wrap(err, "%s", resp->effective_url)
                   : 0;
    err_set(err, resp->status >= 500 ? ERR_TRANSIENT : ERR_DENIED, "%s: HTTP %d", resp->effective_url, resp->status);
    if (resp->status == 401 || resp->status == 403)
        err_hint(err, "it wants another AWS_CONTAINER_AUTHORIZATION_TOKEN");
    return -1;
}

static int fetch_container(struct creds_source *base, const struct cancel *cancel, struct creds_grant *out,
                           struct err *err)
{
    struct source_container *s = (struct source_container *)base;
    AUTO_SECRET_BUF token;
    if (read_token(s, &token, err) < 0)
        return -1;
    const struct http_header headers[] = {{"Accept", "application/json"}, {"Authorization", buf_str(&token)}};
    struct http_request req = {
        .url = s->url,
        .headers = headers,
        .header_count = token.n ? 2 : 1,
        .tries = CONTAINER_TRIES,
        .cancel = cancel,
    };
    struct http_response resp;
    if (service_call(s->env, true, &req, &resp, err) < 0)
        return -1;
    int rc = read_answer(&resp, out, err);
    service_release(&resp);
    return rc;
}

static void free_container(struct creds_source *base)
{
    free(((struct source_container *)base)->url);
}

/* EKS serves every pod at the same address, so that only the answer can tell whose keys they are. */
static const struct creds_source_ops ops_container = {.fetch = fetch_container, .free = free_container};

static char *find_url(const struct creds_env *env, struct err *err)
{
    const char *relative = env_get(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = env_get(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (!relative)
        return str_dup(full, err);
    if (relative[0] == '/')
        return str_printf(err, ECS_ORIGIN "%s", relative);
    err_set(err, ERR_INVALID, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not start with a slash");
    return NULL;
}

int source_container_new(struct creds_source **out, const struct creds_env *env, struct err *err)
{
    *out = NULL;
    if (!env_get(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") && !env_get(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI"))
        return 0;
    struct source_container *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(err);
    s->base.ops = &ops_container;
    s->env = env;
    if (!(s->base.label = str_dup(CONTAINER_WORD, err)) || !(s->url = find_url(env, err)) ||
        container_check_url(s->url, err) < 0) {
        source_free(&s->base);
        return err_wrap(err, CONTAINER_WORD);
    }
    *out = &s->base;
    return 0;
}
