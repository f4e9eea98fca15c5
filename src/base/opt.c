#include "base/opt.h"

#include "base/near.h"

#include <math.h>

#define NAMES_MAX 128 /* options of one command that are considered for "did you mean" */

struct parser {
    const struct opt *opts;
    char **argv;
    int argc, at; /* argv[at] is the next word */
};

static const struct opt *find_long(const struct opt *opts, struct span name)
{
    for (const struct opt *o = opts; o->name; o++)
        if (span_eq(span_of(o->name), name))
            return o;
    return NULL;
}

static const struct opt *find_letter(const struct opt *opts, char letter)
{
    for (const struct opt *o = opts; o->name; o++)
        if (o->letter == letter)
            return o;
    return NULL;
}

static int unknown_long(const struct opt *opts, struct span name, struct err *err)
{
    const char *names[NAMES_MAX];
    size_t n = 0;
    for (const struct opt *o = opts; o->name && n < NAMES_MAX; o++)
        if (!o->hidden)
            names[n++] = o->name;
    const char *best = near_best(name, names, n);
    err_set(err, ERR_USAGE, "unknown option --%.*s", SPAN_FMT(span_head(name, 64)));
    return best ? err_hint(err, "did you mean --%s?", best) : -1;
}

static int store_choice(const struct opt *o, const char *value, struct err *err)
{
    const char **into = o->into;
    struct span rest = span_of(o->choices), choice;
    bool more;
    do {
        more = span_cut(rest, '|', &choice, &rest);
        if (span_eq(choice, span_of(value))) {
            *into = value;
            return 0;
        }
    } while (more);
    return err_set(err, ERR_USAGE, "--%s: \"%.64s\" is not one of %s", o->name, value, o->choices);
}

/* strtod alone would also take "inf", "nan", "0x1p3" and leading spaces. */
static int store_number(const struct opt *o, const char *value, struct err *err)
{
    size_t length = strlen(value);
    char *end = NULL;
    double number = strtod(value, &end);
    if (length == 0 || strspn(value, "0123456789.eE+-") != length || end != value + length || !isfinite(number))
        return err_set(err, ERR_USAGE, "--%s: \"%.64s\" is not a number", o->name, value);
    *(double *)o->into = number;
    return 0;
}

/* The parsers of base say ERR_INVALID; on a command line that is wrong usage. */
static int store_count(const struct opt *o, const char *value, struct err *err)
{
    struct err why = ERR_INIT;
    uint64_t number = 0;
    int rc = o->type == OPT_U64     ? span_to_u64(span_of(value), &number, &why)
             : o->type == OPT_BYTES ? parse_bytes(span_of(value), &number, &why)
                                    : parse_duration_ms(span_of(value), o->unit_ms, &number, &why);
    if (rc < 0) {
        err_set(err, ERR_USAGE, "--%s: %s", o->name, why.text);
        return why.hint[0] ? err_hint(err, "%s", why.hint) : -1;
    }
    *(uint64_t *)o->into = number;
    return 0;
}

static int store_value(const struct opt *o, const char *value, struct err *err)
{
    switch (o->type) {
    case OPT_FLAG:
        break;
    case OPT_STR:
        *(const char **)o->into = value;
        return 0;
    case OPT_LIST:
        return strv_add(o->into, value, err);
    case OPT_U64:
    case OPT_BYTES:
    case OPT_DURATION:
        return store_count(o, value, err);
    case OPT_NUMBER:
        return store_number(o, value, err);
    case OPT_CHOICE:
        return store_choice(o, value, err);
    }
    *(bool *)o->into = true;
    return 0;
}

/* The value in the next word of the command line. */
static int store_next(struct parser *p, const struct opt *o, struct err *err)
{
    if (p->at >= p->argc)
        return err_set(err, ERR_USAGE, "--%s needs a value (%s)", o->name, o->meta ? o->meta : "VALUE");
    return store_value(o, p->argv[p->at++], err);
}

/* `word` is what follows the two dashes. */
static int parse_long(struct parser *p, const char *word, struct err *err)
{
    struct span name, value;
    bool attached = span_cut(span_of(word), '=', &name, &value);
    const struct opt *o = find_long(p->opts, name);
    if (!o)
        return unknown_long(p->opts, name, err);
    if (o->type == OPT_FLAG && attached)
        return err_set(err, ERR_USAGE, "--%s takes no value", o->name);
    if (o->type == OPT_FLAG || attached)
        return store_value(o, value.p, err); /* value.p runs to the end of the word */
    return store_next(p, o, err);
}

/* "-a", "-abc", "-n VALUE", "-nVALUE"; `word` is what follows the dash. */
static int parse_letters(struct parser *p, const char *word, struct err *err)
{
    for (; *word; word++) {
        const struct opt *o = find_letter(p->opts, *word);
        if (!o) {
            size_t step = span_utf8_step(span_of(word));
            return err_set(err, ERR_USAGE, "unknown option -%.*s", (int)(step ? step : 1), word);
        }
        if (o->type != OPT_FLAG)
            return word[1] ? store_value(o, word + 1, err) : store_next(p, o, err);
        if (store_value(o, NULL, err) < 0)
            return -1;
    }
    return 0;
}

int opt_parse(const struct opt *opts, int argc, char **argv, bool stop_at_first, struct strv *rest, struct err *err)
{
    struct parser p = {.opts = opts, .argv = argv, .argc = argc, .at = 1};
    bool options = true;
    while (p.at < argc) {
        const char *word = argv[p.at++];
        int rc;
        if (options && str_eq(word, "--")) {
            options = false;
            continue;
        }
        if (options && word[0] == '-' && word[1] == '-') {
            rc = parse_long(&p, word + 2, err);
        } else if (options && word[0] == '-' && word[1]) {
            rc = parse_letters(&p, word + 1, err);
        } else {
            options = options && !stop_at_first;
            rc = strv_add(rest, word, err);
        }
        if (rc < 0)
            return -1;
    }
    return 0;
}

static void complete_choices(const struct opt *o, struct span begun, struct buf *out)
{
    struct span rest = span_of(o->choices), choice;
    bool more;
    do {
        more = span_cut(rest, '|', &choice, &rest);
        if (span_starts(choice, begun))
            buf_addf(out, "--%s=%.*s\n", o->name, SPAN_FMT(choice));
    } while (more);
}

void opt_complete(const struct opt *opts, struct span word, struct buf *out)
{
    struct span name = word, begun;
    if (!span_starts(word, SPAN_LIT("-")))
        return;
    bool dashes = span_starts(word, SPAN_LIT("--"));
    if (!dashes && word.n > 1) /* letters are typed faster than completed */
        return;
    name.p += word.n < 2 ? word.n : 2;
    name.n -= word.n < 2 ? word.n : 2;
    bool attached = span_cut(name, '=', &name, &begun);
    for (const struct opt *o = opts; o->name; o++) {
        if (o->hidden || !span_starts(span_of(o->name), name))
            continue;
        if (!attached)
            buf_addf(out, "--%s\n", o->name);
        else if (o->type == OPT_CHOICE && span_eq(span_of(o->name), name))
            complete_choices(o, begun, out);
    }
}
