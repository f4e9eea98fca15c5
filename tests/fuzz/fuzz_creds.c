/* What credentials are read from: shared files, documents of programs and services, commands. Whatever the bytes are,
 * views stay inside the text and mean the same when looked up, keys that are taken can stand in a header, what is
 * refused leaves nothing behind, and words survive being quoted and split again. */
#include "s3/creds_answer.h"
#include "s3/creds_ini.h"

#include <stdlib.h>

#define LOOKUPS_MAX 32 /* each walks the text again */

static void require(bool ok)
{
    if (!ok)
        abort();
}

/* ---- shared files ---- */

struct seen {
    struct span text;
    unsigned line;
    size_t lookups;
};

static void require_inside(const struct seen *s, struct span part)
{
    require(part.n == 0 || (part.p >= s->text.p && part.p + part.n <= s->text.p + s->text.n));
}

static void check_lookup(struct span text, const struct ini_item *item)
{
    struct err err = ERR_INIT;
    AUTO_STR kind = str_dup_span(item->kind, &err);
    AUTO_STR section = str_dup_span(item->section, &err);
    AUTO_STR name = str_dup_span(item->name, &err);
    require(kind && section && name && ini_has(text, kind, section));
    struct span last = ini_get(text, kind, section, name);
    require(last.p && last.p >= item->value.p); /* this one, or one further down */
}

static int check_item(void *ctx, const struct ini_item *item, struct err *err)
{
    struct seen *s = ctx;
    (void)err;
    require_inside(s, item->kind);
    require_inside(s, item->section);
    require_inside(s, item->name);
    require_inside(s, item->value);
    require(item->line > s->line);
    s->line = item->line;
    require(!memchr(item->name.n ? item->name.p : "x", '\n', item->name.n));
    return 0;
}

static int check_found(void *ctx, const struct ini_item *item, struct err *err)
{
    struct seen *s = ctx;
    (void)err;
    if (item->name.n && s->lookups++ < LOOKUPS_MAX)
        check_lookup(s->text, item);
    return 0;
}

static void check_ini(struct span text)
{
    struct err err = ERR_INIT;
    struct seen s = {.text = text};
    if (ini_walk(text, check_item, &s, &err) < 0) {
        require(err.kind == ERR_INVALID);
        require(!ini_has(text, "", "default"));
        return;
    }
    require(!err_is_set(&err) && ini_walk(text, check_found, &s, &err) == 0);
}

/* ---- documents ---- */

static void require_header_value(const char *s)
{
    require(s && s[0]);
    for (; *s; s++)
        require((unsigned char)*s > ' ' && *s != 0x7f);
}

static void check_answer(int rc, struct creds_grant *g, const struct err *err)
{
    require((rc < 0) == err_is_set(err));
    if (rc == 0) {
        require_header_value(g->access_key_id);
        require_header_value(g->secret_access_key);
        if (g->session_token)
            require_header_value(g->session_token);
        require(g->expires_ms >= 0);
    } else {
        require(!g->access_key_id && !g->secret_access_key && !g->session_token && !g->identity);
    }
    grant_release(g);
}

static void check_sts(struct span text)
{
    struct creds_grant g = {0};
    struct err err = ERR_INIT;
    struct answer_fault fault;
    int rc = answer_sts(text, &g, &err);
    require(rc < 0 || (g.session_token && g.expires_ms));
    check_answer(rc, &g, &err);
    answer_sts_fault(text, &fault);
    require(span_is_utf8(span_of(fault.code)) && span_is_utf8(span_of(fault.message)));
}

/* ---- commands ---- */

static void quote(struct buf *out, const char *word)
{
    buf_addc(out, '"');
    for (; *word; word++) {
        if (*word == '"' || *word == '\\')
            buf_addc(out, '\\');
        buf_addc(out, *word);
    }
    buf_adds(out, "\" ");
}

static void check_command(struct span text)
{
    struct err err = ERR_INIT;
    struct strv words = {0}, again = {0};
    if (command_split(text, &words, &err) == 0) {
        AUTO_BUF quoted;
        buf_init(&quoted, text.n * 8 + 1024);
        for (size_t i = 0; i < words.n; i++)
            quote(&quoted, words.v[i]);
        require(words.n > 0 && buf_check(&quoted, "command", &err) == 0);
        require(command_split(buf_span(&quoted), &again, &err) == 0 && again.n == words.n);
        for (size_t i = 0; i < words.n; i++)
            require(str_eq(words.v[i], again.v[i]));
    } else {
        require(err_is_set(&err));
    }
    strv_release(&words);
    strv_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte says what the rest is read as. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct span text = {(const char *)data + 1, size - 1};
    switch (data[0] % 7) {
    case 0:
        check_ini(text);
        break;
    case 1:
        check_sts(text);
        break;
    case 2:
        check_command(text);
        break;
    default: {
        struct creds_grant g = {0};
        struct err err = ERR_INIT;
        int rc = answer_json((enum answer_dialect)(data[0] % 7 - 3), text, &g, &err);
        check_answer(rc, &g, &err);
    }
    }
    return 0;
}
