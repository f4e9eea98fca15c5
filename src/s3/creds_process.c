/* credential_process: a program that prints keys.
 *
 * "Process credential provider" of the AWS SDKs and Tools Reference Guide. The program runs without a shell, its
 * standard error is never shown, since nobody knows what it writes there, and nothing is added to its arguments. */
#include "base/proc.h"
#include "s3/creds_answer.h"

#define PROCESS_TIMEOUT_MS (60 * 1000)
#define PROCESS_WORDS_MAX  256

struct source_process {
    struct creds_source base;
    const struct creds_env *env;
    char *command; /* may hold secrets that its author put there: wiped, never shown */
    struct strv words;
};

/* ---- words ---- */

/* One word, up to white space outside quotes; `at` moves behind it. */
static int split_word(struct span command, size_t *at, struct buf *word, struct err *err)
{
    char quote = 0;
    size_t i = *at;
    for (; i < command.n; i++) {
        char c = command.p[i];
        if (!quote && (c == ' ' || c == '\t'))
            break;
        if (c == quote)
            quote = 0;
        else if (!quote && (c == '"' || c == '\''))
            quote = c;
        else if (c == '\\' && quote != '\'' && i + 1 < command.n &&
                 (!quote || command.p[i + 1] == '"' || command.p[i + 1] == '\\'))
            buf_addc(word, command.p[++i]);
        else
            buf_addc(word, c);
    }
    *at = i;
    return quote ? err_set(err, ERR_INVALID, "a quote in the command is not closed") : 0;
}

int command_split(struct span command, struct strv *out, struct err *err)
{
    if (command.n == 0)
        return err_set(err, ERR_INVALID, "the command is empty");
    if (memchr(command.p, '\0', command.n) || memchr(command.p, '\n', command.n))
        return err_set(err, ERR_INVALID, "the command is more than one line");
    for (size_t at = 0;;) {
        AUTO_SECRET_BUF word;
        buf_init(&word, command.n + 1);
        while (at < command.n && (command.p[at] == ' ' || command.p[at] == '\t'))
            at++;
        if (at == command.n)
            return out->n ? 0 : err_set(err, ERR_INVALID, "the command is empty");
        if (out->n == PROCESS_WORDS_MAX)
            return err_set(err, ERR_INVALID, "the command has more than %d words", PROCESS_WORDS_MAX);
        if (split_word(command, &at, &word, err) < 0 || buf_check(&word, "command", err) < 0 ||
            strv_add(out, buf_str(&word), err) < 0)
            return -1;
    }
}

/* ---- the source ---- */

static int run(struct source_process *s, const struct cancel *cancel, struct proc_result *result, struct err *err)
{
    const struct proc_opts opts = {
        .argv = (const char *const *)s->words.v,
        .env = s->env->given ? (const char *const *)s->env->list.v : NULL,
        .timeout_ms = PROCESS_TIMEOUT_MS,
        .output_max = ANSWER_BYTES_MAX,
        .cancel = cancel,
    };
    if (proc_run(&opts, result, err) < 0)
        return -1;
    if (result->exit_code == 0)
        return 0;
    if (result->signal)
        err_set(err, ERR_DENIED, "'%s' was ended by signal %d", s->words.v[0], result->signal);
    else
        err_set(err, ERR_DENIED, "'%s' ended with exit code %d", s->words.v[0], result->exit_code);
    return err_hint(err, "run the profile's credential_process by hand to see why");
}

static int fetch_process(struct creds_source *base, const struct cancel *cancel, struct creds_grant *out,
                         struct err *err)
{
    struct source_process *s = (struct source_process *)base;
    struct proc_result result = {0};
    int rc = run(s, cancel, &result, err);
    if (rc == 0)
        rc = answer_json(ANSWER_PROCESS, buf_span(&result.out), out, err);
    buf_release_wiped(&result.out);
    buf_release_wiped(&result.err_text);
    proc_result_release(&result);
    return rc < 0 ? err_wrap(err, "credential_process") : 0;
}

static int identify_process(const struct creds_source *base, struct buf *out, struct err *err)
{
    buf_addf(out, "process%c%s%c", 0, ((const struct source_process *)base)->command, 0);
    return buf_check(out, "identity", err);
}

static void free_process(struct creds_source *base)
{
    struct source_process *s = (struct source_process *)base;
    for (size_t i = 0; i < s->words.n; i++)
        mem_wipe(s->words.v[i], strlen(s->words.v[i]));
    strv_release(&s->words);
    str_free_secret(s->command);
}

static const struct creds_source_ops ops_process = {
    .fetch = fetch_process,
    .identify = identify_process,
    .free = free_process,
};

int source_process_new(struct creds_source **out, const struct creds_env *env, struct span command, const char *what,
                       struct err *err)
{
    struct source_process *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(err);
    s->base.ops = &ops_process;
    s->env = env;
    if (!(s->base.label = str_dup(what, err)) || !(s->command = str_dup_span(command, err)) ||
        command_split(command, &s->words, err) < 0) {
        source_free(&s->base);
        return err_wrap(err, "%s: credential_process", what);
    }
    *out = &s->base;
    return 0;
}
