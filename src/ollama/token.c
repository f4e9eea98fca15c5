/* The token that a registry hands to anybody who may read: fetched once it is asked for, renewed when it has expired.
 */
#include "ollama/challenge.h"
#include "ollama/ollama_priv.h"
#include "xfer/url.h"

#define TOKEN_BODY_MAX ((size_t)64 << 10)

char *ollama_authorization(struct ollama *o, unsigned *number, struct err *err)
{
    pthread_mutex_lock(&o->token.mu);
    *number = o->token.number;
    char *copy = str_dup(o->token.header, err);
    pthread_mutex_unlock(&o->token.mu);
    return copy;
}

static int keep_token(struct ollama *o, const struct http_response *resp, struct err *err)
{
    struct err quiet = ERR_INIT; /* its text could quote the answer */
    AUTO_JSON answer = json_parse(buf_span(&resp->body), &quiet);
    const char *token = json_get_str(answer, "token");
    if (str_empty(token))
        token = json_get_str(answer, "access_token");
    if (str_empty(token))
        return err_set(err, ERR_PROTOCOL, "%s: the answer holds no token", resp->effective_url);
    for (const char *c = token; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f)
            return err_set(err, ERR_PROTOCOL, "%s: the token holds odd characters", resp->effective_url);
    char *header = str_printf(err, "Bearer %s", token);
    if (!header)
        return -1;
    pthread_mutex_lock(&o->token.mu);
    str_free_secret(o->token.header);
    o->token.header = header;
    o->token.number++;
    pthread_mutex_unlock(&o->token.mu);
    return 0;
}

static int ask_for_token(struct ollama *o, const char *url, struct err *err)
{
    struct http_response resp;
    const struct http_request req = {.url = url, .body_max = TOKEN_BODY_MAX, .cancel = o->cancel};
    if (strncmp(o->place, "https:", strlen("https:")) == 0 && strncmp(url, "https:", strlen("https:")) != 0)
        return err_set(err, ERR_REFUSED, "%s sends for its token to a place without TLS", o->ref.host);
    if (http_call(o->http, &req, &resp, err) < 0)
        return -1;
    int rc = resp.status == 200 ? keep_token(o, &resp, err)
                                : err_set(err, resp.status >= 500 ? ERR_TRANSIENT : ERR_DENIED, "%s: no token: HTTP %d",
                                          resp.effective_url, resp.status);
    if (resp.body.p)
        mem_wipe(resp.body.p, resp.body.cap);
    http_response_release(&resp);
    return rc;
}

static int answer_challenge(struct ollama *o, const char *field, struct err *err)
{
    struct challenge c;
    struct arena *a = arena_new(0, err);
    if (!a)
        return -1;
    AUTO_BUF url;
    AUTO_STR scope = str_printf(err, "repository:%s/%s:pull", o->ref.space, o->ref.name);
    buf_init(&url, URL_LENGTH_MAX);
    int rc = scope ? challenge_parse(a, span_of(field), &c, err) : -1;
    if (rc == 0 && !span_eq_nocase(span_of(c.scheme), SPAN_LIT("Bearer"))) {
        rc = err_set(err, ERR_DENIED, "%s wants a login (%.40s)", o->ref.host, c.scheme);
        err_hint(err, "models are fetched without one: use a registry that lets anybody read, or a mirror of this one");
    }
    if (rc == 0)
        rc = challenge_token_url(&c, scope, &url, err);
    if (rc == 0)
        rc = ask_for_token(o, buf_str(&url), err);
    arena_free(a);
    return rc;
}

int ollama_renew_token(struct ollama *o, unsigned number, struct err *err)
{
    AUTO_STR challenge = NULL;
    int rc = 0;
    pthread_mutex_lock(&o->renewing);
    pthread_mutex_lock(&o->token.mu);
    bool stale = o->token.number == number; /* else another blob's answer has been here */
    if (stale)
        challenge = str_dup(o->token.challenge, err);
    pthread_mutex_unlock(&o->token.mu);
    if (stale)
        rc = challenge ? answer_challenge(o, challenge, err) : -1;
    pthread_mutex_unlock(&o->renewing);
    return rc;
}

int ollama_note_challenge(struct ollama *o, const struct http_response *resp, struct err *err)
{
    const char *field = http_response_get(resp, "www-authenticate");
    if (str_empty(field))
        return err_set(err, ERR_DENIED, "%s: HTTP 401 without a word on how to log in", o->ref.host);
    pthread_mutex_lock(&o->token.mu);
    if (!str_eq(o->token.challenge, field))
        o->token.challenge = arena_dup(o->arena, field); /* few, since the arena is bounded */
    int rc = arena_check(o->arena, err);
    pthread_mutex_unlock(&o->token.mu);
    return rc;
}
