/* JSON towards the wire and the tables, pages of lists, and small checks of what comes in. */
#include "base/enc.h"
#include "base/rng.h"
#include "market/market_priv.h"

#define LABEL_BYTES_MAX 256
#define PAGE_BYTES_MAX  (8u << 20) /* of one page; the row that goes above it is its last */

int put_i64(json_t *o, const char *key, int64_t v, struct err *err)
{
    return json_put(o, key, json_integer(v), err);
}

int put_ms(json_t *o, const char *key, int64_t ms, struct err *err)
{
    return json_put(o, key, ms == VALUE_NONE ? json_null() : json_integer(ms), err);
}

int put_bool(json_t *o, const char *key, bool v, struct err *err)
{
    return json_put(o, key, json_boolean(v), err);
}

int put_stored(json_t *o, const char *key, const struct query *q, int col, json_t *fallback, struct err *err)
{
    struct span text = db_col_text(q->s, col);
    if (!text.p)
        return json_put(o, key, fallback, err);
    json_decref(fallback);
    json_t *value = json_parse(text, err);
    return value ? json_put(o, key, value, err) : err_wrap(err, "stored %s", key);
}

int append(json_t *list, json_t *value, struct err *err)
{
    if (err_is_set(err)) {
        json_decref(value);
        return -1;
    }
    return json_array_append_new(list, value) < 0 ? err_nomem(err) : 0;
}

int json_text(const json_t *value, size_t max, const char *what, char **out, struct err *err)
{
    AUTO_BUF b;
    buf_init(&b, max);
    if (!value || json_is_null(value)) {
        *out = NULL;
        return 0;
    }
    if (json_write(value, false, &b, err) < 0)
        return err_wrap(err, "%s", what);
    *out = buf_take(&b, what, err);
    return *out ? 0 : -1;
}

int give(json_t **out, json_t **value, struct err *err)
{
    if (err_is_set(err))
        return -1;
    if (!*value)
        return err_nomem(err);
    if (!out)
        return 0;
    *out = *value;
    *value = NULL;
    return 0;
}

int check_labels(const json_t *labels, struct err *err)
{
    const char *name;
    json_t *value;
    if (!labels)
        return 0;
    if (!json_is_object(labels) || json_object_size(labels) > MARKET_LABELS_MAX)
        return err_set(err, ERR_INVALID, "labels: expected an object of at most %d texts", MARKET_LABELS_MAX);
    json_object_foreach((json_t *)labels, name, value)
    {
        if (!json_is_string(value) || json_string_length(value) > LABEL_BYTES_MAX || strlen(name) > LABEL_BYTES_MAX)
            return err_set(err, ERR_INVALID, "labels: '%.40s' is not a text of at most %d bytes", name,
                           LABEL_BYTES_MAX);
    }
    return 0;
}

/* "<number>.<id>" */
int page_open(const struct market_page *page, struct page_at *at, struct err *err)
{
    uint32_t limit = page && page->limit ? page->limit : MARKET_LIST_DEFAULT;
    *at = (struct page_at){.limit = limit < MARKET_LIST_MAX ? limit : MARKET_LIST_MAX, .first = true};
    if (!page || str_empty(page->next_token))
        return 0;
    struct span number, id;
    struct err why = ERR_INIT;
    uint64_t value = 0;
    bool cut = span_cut(span_of(page->next_token), '.', &number, &id), negative = number.n && number.p[0] == '-';
    if (negative)
        number = (struct span){number.p + 1, number.n - 1};
    if (!cut || id.n >= sizeof(at->id) || !span_is_utf8(id) || span_to_u64(number, &value, &why) < 0 ||
        value > INT64_MAX)
        return err_set(err, ERR_INVALID, "next_token is none that a list of this server gave");
    at->first = false;
    at->number = negative ? -(int64_t)value : (int64_t)value;
    snprintf(at->id, sizeof(at->id), "%.*s", SPAN_FMT(id));
    return 0;
}

json_t *page_rows(struct query *q, struct page_at *at, const struct page_rows *rows, struct err *err)
{
    char token[MARKET_NODE_MAX + 32] = "";
    json_t *o = json_object(), *list = json_array();
    uint32_t n = 0;
    size_t bytes = 0;
    while (query_next(q) == 1) {
        if (n++ == at->limit || bytes > PAGE_BYTES_MAX) {
            snprintf(token, sizeof(token), "%lld.%s", (long long)at->number, at->id);
            break;
        }
        query_str(q, rows->id_column, at->id);
        at->number = rows->number_column < 0 ? 0 : query_get(q, rows->number_column);
        json_t *row = rows->row(rows->ctx, q, err);
        bytes += json_dumpb(row, NULL, 0, JSON_COMPACT);
        append(list, row, err);
    }
    query_done(q);
    json_put(o, rows->things, list, err);
    json_put_str(o, "next_token", token, err);
    return o;
}

int need_operator(const struct market_caller *c, struct err *err)
{
    return c->role == MARKET_OPERATOR ? 0 : err_set(err, ERR_DENIED, "only an operator may do this");
}

int need_node(const struct market_caller *c, struct err *err)
{
    if (c->role == MARKET_NODE && c->node[0])
        return 0;
    err_set(err, ERR_DENIED, "only a node's own token may do this");
    return err_hint(err, "a node gets its token, or its name, by `hello`");
}

int market_check_node(const struct market_caller *c, const char *node, struct err *err)
{
    if (c->role == MARKET_NODE && c->node[0] && str_eq(c->node, node))
        return 0;
    return err_set(err, ERR_NOTFOUND, "no such node");
}

int check_address(const char *what, const char *s, struct err *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
    size_t n = s ? strlen(s) : 0;
    if (n > 0 && n < MARKET_ADDRESS_MAX && strspn(s, allowed) == n && !strchr("-_.", s[0]))
        return 0;
    return err_set(err, ERR_INVALID, "%s: expected 1 to %d of a-z 0-9 - _ . beginning with a letter or digit", what,
                   MARKET_ADDRESS_MAX - 1);
}

int check_token_market(const struct market_caller *c, const char *market, struct err *err)
{
    if (!c->market[0] || str_eq(c->market, market))
        return 0;
    err_set(err, ERR_DENIED, "this token is for market '%s', not for '%.64s'", c->market, market);
    return err_hint(err, "name market '%s', or use a token that was made for '%.64s'", c->market, market);
}

#define ID_CHARS 24
int new_id(const char *prefix, char out[MARKET_ID_MAX], struct err *err)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz012345"; /* 32: five bits each, evenly */
    uint8_t random[ID_CHARS];
    if (rng_bytes(random, sizeof(random), err) < 0)
        return -1;
    int n = snprintf(out, MARKET_ID_MAX, "%s-", prefix);
    for (int i = 0; i < ID_CHARS; i++)
        out[n + i] = alphabet[random[i] % 32];
    out[n + ID_CHARS] = '\0';
    return 0;
}

bool is_sha256(const char *s)
{
    return s && strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}
