#include "cli/config.h"

#include "base/fs.h"
#include "base/near.h"
#include "base/yaml.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define CONFIG_FILE_MAX (1u << 20)

enum setting_type { TEXT, BYTES, DURATION, FLAG, NUMBER, LIST };

static const struct {
    const char *name;
    enum setting_type type;
    const char *fallback, *help;
} settings[] = {
#define X(id, name, type, fallback, help) {name, type, fallback, help},
    SETTINGS(X)
#undef X
};

struct value {
    char *text;       /* as written; NULL: not set */
    char *from;       /* where it was set */
    struct strv list; /* LIST */
    uint64_t number;
};

struct config {
    struct value v[SETTING_COUNT];
};

/* --- one value ---------------------------------------------------------------------------------------------------- */

static int parse_flag(const char *text, uint64_t *out, struct err *err)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        if (span_eq_nocase(span_of(text), span_of(yes[i])) || span_eq_nocase(span_of(text), span_of(no[i]))) {
            *out = span_eq_nocase(span_of(text), span_of(yes[i]));
            return 0;
        }
    return err_set(err, ERR_INVALID, "'%s' is neither true nor false", text);
}

static int parse_list(const char *text, struct strv *out, struct err *err)
{
    struct span rest = span_of(text), item;
    while (rest.n > 0) {
        span_cut(rest, ',', &item, &rest);
        item = span_trim(item);
        if (item.n > 0 && strv_addf(out, err, "%.*s", SPAN_FMT(item)) < 0)
            return -1;
    }
    return 0;
}

static int parse_value(enum setting s, struct value *v, struct err *err)
{
    struct span text = span_of(v->text);
    if (span_eq(text, SPAN_LIT("auto")) && settings[s].type == BYTES) {
        v->number = UINT64_MAX;
        return 0;
    }
    switch (settings[s].type) {
    case TEXT:
        return 0;
    case BYTES:
        return parse_bytes(text, &v->number, err);
    case DURATION:
        return parse_duration_ms(text, 1000, &v->number, err);
    case NUMBER:
        return span_to_u64(text, &v->number, err);
    case FLAG:
        return parse_flag(v->text, &v->number, err);
    case LIST:
        return parse_list(v->text, &v->list, err);
    }
    return 0;
}

static void value_release(struct value *v)
{
    free(v->text);
    free(v->from);
    strv_release(&v->list);
    *v = (struct value){0};
}

int config_override(struct config *c, enum setting s, const char *value, const char *from, struct err *err)
{
    struct value v = {.text = str_dup(value, err), .from = str_dup(from, err)};
    if (!v.text || !v.from || parse_value(s, &v, err) < 0) {
        value_release(&v);
        return err_wrap(err, "%s: %s", from, settings[s].name);
    }
    value_release(&c->v[s]);
    c->v[s] = v;
    return 0;
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static int find_setting(struct span name, const char *from, enum setting *out, struct err *err)
{
    const char *names[SETTING_COUNT];
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        names[i] = settings[i].name;
        if (span_eq(name, span_of(names[i]))) {
            *out = (enum setting)i;
            return 0;
        }
    }
    const char *near = near_best(name, names, SETTING_COUNT);
    err_set(err, ERR_INVALID, "%s: unknown setting '%.*s'", from, SPAN_FMT(name));
    return near ? err_hint(err, "did you mean '%s'?", near) : err_hint(err, "berth config show lists them all");
}

static void env_name(enum setting s, char out[64])
{
    int n = snprintf(out, 64, "BERTH_%s", settings[s].name);
    for (int i = 0; i < n; i++)
        out[i] = out[i] == '.' ? '_' : (char)toupper((unsigned char)out[i]);
}

/* --- sources ------------------------------------------------------------------------------------------------------ */

static int set_defaults(struct config *c, struct err *err)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (settings[i].fallback && config_override(c, (enum setting)i, settings[i].fallback, "default", err) < 0)
            return -1;
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    AUTO_STR dir = !str_empty(xdg)    ? str_printf(err, "%s/berth", xdg)
                   : !str_empty(home) ? str_printf(err, "%s/.cache/berth", home)
                                      : str_dup("/var/cache/berth", err);
    return dir ? config_override(c, SETTING_CACHE_DIR, dir, "default", err) : -1;
}

static int scalar_text(const json_t *j, struct buf *out, const char *from, struct err *err)
{
    if (json_is_string(j))
        buf_adds(out, json_string_value(j));
    else if (json_is_integer(j))
        buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(j));
    else if (json_is_boolean(j))
        buf_adds(out, json_is_true(j) ? "true" : "false");
    else
        return err_set(err, ERR_INVALID, "%s: expected text, a number, true or false", from);
    return 0;
}

static int apply_value(struct config *c, struct span name, const json_t *j, const char *from, struct err *err)
{
    enum setting s;
    AUTO_BUF text;
    buf_init(&text, CONFIG_FILE_MAX);
    if (find_setting(name, from, &s, err) < 0)
        return -1;
    if (json_is_null(j))
        return 0;
    if (json_is_array(j)) {
        size_t i;
        json_t *item;
        json_array_foreach(j, i, item)
        {
            if (i > 0)
                buf_addc(&text, ',');
            if (scalar_text(item, &text, from, err) < 0)
                return -1;
        }
    } else if (scalar_text(j, &text, from, err) < 0) {
        return err_wrap(err, "%s", settings[s].name);
    }
    return buf_check(&text, "configuration value", err) < 0 ? -1 : config_override(c, s, buf_str(&text), from, err);
}

/* "cache: {ttl: 2h}" and "cache.ttl: 2h" are the same. */
static int apply_object(struct config *c, const char *prefix, json_t *object, const char *from, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        AUTO_STR name = *prefix ? str_printf(err, "%s.%s", prefix, key) : str_dup(key, err);
        if (!name)
            return -1;
        int rc = json_is_object(value) ? apply_object(c, name, value, from, err)
                                       : apply_value(c, span_of(name), value, from, err);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static int apply_file(struct config *c, const char *path, bool must_exist, struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, CONFIG_FILE_MAX);
    struct err absent = ERR_INIT;
    if (fs_read_file(AT_FDCWD, path, CONFIG_FILE_MAX, &text, &absent) < 0) {
        if (absent.kind == ERR_NOTFOUND && !must_exist)
            return 0;
        return err_move(err, &absent);
    }
    if (span_trim(buf_span(&text)).n == 0)
        return 0;
    AUTO_JSON root = yaml_parse(buf_span(&text), NULL, err);
    if (!root)
        return err_wrap(err, "%s", path);
    if (json_is_null(root))
        return 0;
    if (!json_is_object(root))
        return err_set(err, ERR_INVALID, "%s: expected a mapping of settings", path);
    return apply_object(c, "", root, path, err);
}

static int apply_user_file(struct config *c, const char *given, struct err *err)
{
    if (given)
        return apply_file(c, given, true, err);
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (str_empty(xdg) && str_empty(home))
        return 0;
    AUTO_STR path = !str_empty(xdg) ? str_printf(err, "%s/berth/config.yaml", xdg)
                                    : str_printf(err, "%s/.config/berth/config.yaml", home);
    return path ? apply_file(c, path, false, err) : -1;
}

static int apply_environment(struct config *c, struct err *err)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        char name[64];
        env_name((enum setting)i, name);
        const char *value = getenv(name);
        if (value && config_override(c, (enum setting)i, value, name, err) < 0)
            return -1;
    }
    return 0;
}

static int apply_flags(struct config *c, const struct strv *flags, struct err *err)
{
    for (size_t i = 0; flags && i < flags->n; i++) {
        struct span name, value;
        enum setting s;
        if (!span_cut(span_of(flags->v[i]), '=', &name, &value)) {
            err_set(err, ERR_USAGE, "--set %s: expected NAME=VALUE", flags->v[i]);
            return -1;
        }
        if (find_setting(name, "--set", &s, err) < 0 || config_override(c, s, value.p, "--set", err) < 0)
            return -1;
    }
    return 0;
}

static int check_choices(const struct config *c, struct err *err)
{
    const char *a = c->v[SETTING_S3_ADDRESSING].text;
    if (str_eq(a, "auto") || str_eq(a, "path") || str_eq(a, "virtual"))
        return 0;
    return err_set(err, ERR_INVALID, "%s: s3.addressing is '%s'; it can be auto, path or virtual",
                   c->v[SETTING_S3_ADDRESSING].from, a);
}

int config_load(struct config **out, const struct config_opts *opts, struct err *err)
{
    struct config *c = calloc(1, sizeof *c);
    if (!c)
        return err_nomem(err);
    const char *system_file = opts->system_file ? opts->system_file : "/etc/berth/config.yaml";
    if (set_defaults(c, err) < 0 || apply_file(c, system_file, false, err) < 0 ||
        apply_user_file(c, opts->user_file, err) < 0 || apply_environment(c, err) < 0 ||
        apply_flags(c, opts->flags, err) < 0 || check_choices(c, err) < 0) {
        config_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < SETTING_COUNT; i++)
        value_release(&c->v[i]);
    free(c);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

const char *config_text(const struct config *c, enum setting s)
{
    return str_empty(c->v[s].text) ? NULL : c->v[s].text;
}

uint64_t config_number(const struct config *c, enum setting s)
{
    return c->v[s].number;
}

bool config_flag(const struct config *c, enum setting s)
{
    return c->v[s].number != 0;
}

const char *const *config_list(const struct config *c, enum setting s)
{
    static const char *const none[] = {NULL};
    return c->v[s].list.n ? (const char *const *)c->v[s].list.v : none;
}

json_t *config_show(const struct config *c, struct err *err)
{
    AUTO_JSON all = json_array();
    if (!all) {
        err_nomem(err);
        return NULL;
    }
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        json_t *one = json_object();
        const struct value *v = &c->v[i];
        if (json_put_str(one, "name", settings[i].name, err) < 0 || json_put_str(one, "value", v->text, err) < 0 ||
            json_put_str(one, "from", v->from ? v->from : "default", err) < 0 ||
            json_put_str(one, "help", settings[i].help, err) < 0) {
            json_decref(one);
            return NULL;
        }
        if (json_array_append_new(all, one) < 0) {
            err_nomem(err);
            return NULL;
        }
    }
    return json_incref(all);
}
