/* Whose requests they are: the job's token, or what Hugging Face's own tools would use. */
#include "base/fs.h"
#include "digest/digest.h"
#include "hf/hf_priv.h"

#include <fcntl.h>

#define TOKEN_BYTES_MAX 4096
#define TOKEN_PATH_MAX  4096

struct hf_token {
    char *text; /* NULL: anonymous */
    char *described;
};

struct environment {
    const char *const *list; /* NULL: the process' own */
};

/* NULL: absent or empty. */
static const char *env_get(const struct environment *env, const char *name)
{
    const char *value = env->list ? NULL : getenv(name);
    size_t n = strlen(name);
    for (const char *const *e = env->list; e && *e && !value; e++)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
            value = *e + n + 1;
    return str_empty(value) ? NULL : value;
}

/* Taken without the white space around it, as a copy or a file may have it. Nothing but white space: no token. */
static int take_text(struct hf_token *t, struct span text, const char *what, struct err *err)
{
    text = span_trim(text);
    if (text.n == 0)
        return 0;
    if (text.n > TOKEN_BYTES_MAX)
        return err_set(err, ERR_INVALID, "%s is longer than %d bytes", what, TOKEN_BYTES_MAX);
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] <= ' ' || (unsigned char)text.p[i] >= 0x7f)
            return err_set(err, ERR_INVALID, "%s holds a space, or characters that no token has", what);
    t->text = str_dup_span(text, err);
    t->described = str_dup(what, err);
    return t->text && t->described ? 0 : -1;
}

static int take_file(struct hf_token *t, const char *path, struct err *err)
{
    struct buf text;
    struct err why = ERR_INIT;
    AUTO_STR what = str_printf(err, "the token in %.1024s", path);
    if (!what)
        return -1;
    buf_init(&text, TOKEN_BYTES_MAX + 1);
    int rc = fs_read_file(AT_FDCWD, path, TOKEN_BYTES_MAX, &text, &why);
    if (rc < 0)
        rc = why.kind == ERR_NOTFOUND ? 0 : err_move(err, &why);
    else
        rc = take_text(t, buf_span(&text), what, err);
    if (text.p)
        mem_wipe(text.p, text.cap);
    buf_release(&text);
    return rc;
}

/* Where `huggingface-cli login` leaves it. NULL: there is no home either, or no memory (in `err`). */
static char *token_path(const struct environment *env, struct err *err)
{
    const char *given = env_get(env, "HF_TOKEN_PATH"), *home = env_get(env, "HF_HOME");
    const char *cache = env_get(env, "XDG_CACHE_HOME"), *user = env_get(env, "HOME");
    const char *path = given ? given : home ? home : cache;
    const char *below = given ? "" : home ? "/token" : "/huggingface/token";
    if (!path && !user)
        return NULL;
    if (!path)
        return str_printf(err, "%.*s/.cache/huggingface/token", TOKEN_PATH_MAX, user);
    if (strncmp(path, "~/", 2) == 0 && user)
        return str_printf(err, "%.*s/%s%s", TOKEN_PATH_MAX, user, path + 2, below);
    return str_printf(err, "%.*s%s", TOKEN_PATH_MAX, path, below);
}

static bool is_yes(const char *value)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    for (size_t i = 0; value && i < ARRAY_LEN(yes); i++)
        if (span_eq_nocase(span_of(value), span_of(yes[i])))
            return true;
    return false;
}

static int take_ambient(struct hf_token *t, const struct environment *env, struct err *err)
{
    static const char *const names[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"};
    if (is_yes(env_get(env, "HF_HUB_DISABLE_IMPLICIT_TOKEN")))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(names) && !t->text; i++) {
        const char *value = env_get(env, names[i]);
        if (value && take_text(t, span_of(value),
                               i == 0 ? "the token of HF_TOKEN" : "the token of HUGGING_FACE_HUB_TOKEN", err) < 0)
            return -1;
    }
    if (t->text)
        return 0;
    AUTO_STR path = token_path(env, err);
    if (!path)
        return err_is_set(err) ? -1 : 0;
    return take_file(t, path, err);
}

int hf_token_open(struct hf_token **out, const struct hf_token_opts *opts, struct err *err)
{
    const struct environment env = {opts->env};
    struct hf_token *t = calloc(1, sizeof *t);
    if (!t)
        return err_nomem(err);
    int rc = 0;
    if (!str_empty(opts->job))
        rc = take_text(t, span_of(opts->job), "the job's accessToken", err);
    else if (opts->ambient)
        rc = take_ambient(t, &env, err);
    if (rc < 0) {
        hf_token_free(t);
        return -1;
    }
    *out = t;
    return 0;
}

void hf_token_free(struct hf_token *t)
{
    if (!t)
        return;
    str_free_secret(t->text);
    free(t->described);
    free(t);
}

bool hf_token_anonymous(const struct hf_token *t)
{
    return t->text == NULL;
}

const char *hf_token_describe(const struct hf_token *t)
{
    return t->text ? t->described : "none (anonymous)";
}

int hf_token_scope(const struct hf_token *t, uint8_t out[32], struct err *err)
{
    static const char purpose[] = "huggingface token";
    if (!t->text)
        return err_set(err, ERR_INVALID, "anonymous requests have no scope");
    return digest_hmac_sha256(purpose, strlen(purpose), t->text, strlen(t->text), out, err);
}

void hf_token_write(const struct hf_token *t, struct buf *out)
{
    if (t->text)
        buf_addf(out, "Bearer %s", t->text);
}
