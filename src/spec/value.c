#include "spec/value.h"

#include "base/enc.h"
#include "base/path.h"
#include "spec/read.h"
#include "spec/regex.h"

#include <math.h>

#define SHA256_BYTES      32
#define URL_MAX           8192
#define BUCKET_MAX        255
#define IMAGE_MAX         1024
#define NUMBER_LENGTH_MAX 32
#define MODEL_PARTS_MAX   3

static bool is_control_or_space(char c)
{
    return (unsigned char)c <= 0x20 || c == 0x7f;
}

static bool has_control_or_space(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (is_control_or_space(s.p[i]))
            return true;
    return false;
}

static bool is_word_char(char c)
{
    return ascii_is_digit(c) || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '.' || c == '_' || c == '-';
}

static bool is_word(struct span s, const char *also)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_word_char(s.p[i]) && (!s.p[i] || !strchr(also, s.p[i])))
            return false;
    return s.n > 0;
}

static bool contains(struct span s, const char *part)
{
    return s.n && memmem(s.p, s.n, part, strlen(part)) != NULL;
}

int value_target(struct arena *a, struct span s, const char **out, struct err *err)
{
    AUTO_BUF path;
    buf_init(&path, PATH_SAFE_MAX + 1);
    if (path_normalise_target(s, &path, err) < 0)
        return -1;
    *out = arena_dup(a, buf_str(&path));
    return 0;
}

int value_url(struct span s, struct err *err)
{
    static const char after[] = "://";
    const char *colon = s.n ? memmem(s.p, s.n, after, strlen(after)) : NULL;
    if (!colon || s.n > URL_MAX || has_control_or_space(s))
        return err_set(err, ERR_INVALID, "not a URL; expected http:// or https://, a host and a path");
    struct span scheme = {s.p, (size_t)(colon - s.p)};
    struct span rest = {colon + strlen(after), s.n - scheme.n - strlen(after)};
    if (!span_eq_nocase(scheme, SPAN_LIT("http")) && !span_eq_nocase(scheme, SPAN_LIT("https")))
        return err_set(err, ERR_INVALID, "URL scheme '%.*s'; expected http or https", SHOWN(scheme));
    struct span authority = {rest.p, 0};
    while (authority.n < rest.n && !strchr("/?#", rest.p[authority.n]))
        authority.n++;
    if (authority.n == 0)
        return err_set(err, ERR_INVALID, "a URL without a host");
    if (memchr(authority.p, '@', authority.n))
        return err_set(err, ERR_UNSUPPORTED, "not supported: a user name or password inside a URL");
    return 0;
}

bool value_url_is_signed(const char *url)
{
    static const char *const marks[] = {
        "signature=", "sig=", "token=", "api_key=", "apikey=", "password=", "passwd=", "secret="};
    const char *query = url ? strchr(url, '?') : NULL;
    for (size_t i = 0; query && i < ARRAY_LEN(marks); i++)
        if (strcasestr(query, marks[i]))
            return true;
    return false;
}

int value_bucket(struct span s, struct err *err)
{
    if (s.n > BUCKET_MAX || !is_word(s, ":"))
        return err_set(err, ERR_INVALID, "'%.*s' is not a bucket name; expected letters, digits, '.', '_' or '-'",
                       SHOWN(s));
    return 0;
}

int value_checksum_sha256(struct arena *a, struct span s, const char **out, struct err *err)
{
    uint8_t sum[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    size_t n = 0;
    struct err why = ERR_INIT;
    struct span digits = s;
    if (digits.n > 2 && digits.p[0] == '0' && ascii_lower(digits.p[1]) == 'x')
        digits = (struct span){s.p + 2, s.n - 2};
    bool ok = digits.n == 2 * sizeof sum ? hex_decode(sum, sizeof sum, digits, &why) == 0
                                         : base64_decode(sum, sizeof sum, &n, s, &why) == 0 && n == sizeof sum;
    if (!ok)
        return err_set(err, ERR_INVALID, "not a SHA-256; expected 64 hex digits, the same after 0x, or 44 of base64");
    hex_encode(hex, sum, sizeof sum);
    *out = arena_dup(a, hex);
    return 0;
}

int value_regex(const char *pattern, struct err *err)
{
    struct regex *re = NULL;
    int rc = regex_compile(&re, pattern, err);
    regex_free(re);
    return rc;
}

int value_image(struct span s, struct err *err)
{
    if (s.n == 0 || s.n > IMAGE_MAX || has_control_or_space(s) || s.p[0] == '-')
        return err_set(err, ERR_INVALID, "'%.*s' is not an image; expected [HOST/]NAME[:TAG][@DIGEST]", SHOWN(s));
    return 0;
}

int value_env_name(struct span s, struct err *err)
{
    if (s.n == 0 || memchr(s.p, '=', s.n) || memchr(s.p, '\0', s.n))
        return err_set(err, ERR_INVALID, "'%.*s' is not a name for an environment variable", SHOWN(s));
    return 0;
}

int value_hf_repo(struct span s, struct err *err)
{
    struct span rest = s, owner, name;
    bool typed = span_starts(s, SPAN_LIT("datasets/")) || span_starts(s, SPAN_LIT("spaces/"));
    if (typed)
        span_cut(s, '/', &owner, &rest);
    bool two = span_cut(rest, '/', &owner, &name);
    if (!two || !is_word(owner, "") || !is_word(name, "") || contains(rest, "..") || owner.p[0] == '.' ||
        name.p[0] == '.')
        return err_set(err, ERR_INVALID,
                       "'%.*s' is not a repository; expected owner/name, datasets/owner/name or spaces/owner/name",
                       SHOWN(s));
    return 0;
}

int value_hf_revision(struct span s, struct err *err)
{
    if (!is_word(s, "/+@#") || contains(s, "..") || s.p[0] == '/' || s.n > PATH_COMPONENT_MAX)
        return err_set(err, ERR_INVALID, "'%.*s' is not a revision; expected a branch, a tag or a commit", SHOWN(s));
    return 0;
}

int value_hf_layout(struct span s, bool *hub, struct err *err)
{
    *hub = span_eq(s, SPAN_LIT("hub"));
    if (!*hub && !span_eq(s, SPAN_LIT("files")))
        return err_set(err, ERR_INVALID, "unknown layout '%.*s'; expected hub (as the hub's own cache) or files",
                       SHOWN(s));
    return 0;
}

static bool begins_word(struct span s)
{
    return s.n && is_word_char(*s.p) && *s.p != '.' && *s.p != '-';
}

int value_ollama_model(struct span s, struct err *err)
{
    struct span rest = s, part, name, tag;
    bool more = true, ok = is_word(s, "/:") && !contains(s, "..");
    for (size_t n = 0; ok && more; n++) {
        more = span_cut(rest, '/', &part, &rest);
        ok = n < MODEL_PARTS_MAX && begins_word(part);
        if (ok && span_cut(part, ':', &name, &tag)) /* a port, or the tag */
            ok = (n == 0 || !more) && begins_word(tag) && is_word(tag, "");
    }
    if (!ok)
        return err_set(err, ERR_INVALID, "'%.*s' is not a model; expected [HOST/][NAMESPACE/]NAME[:TAG]", SHOWN(s));
    return 0;
}

int value_publish_key(struct span key, struct err *err)
{
    static const char *const known[] = {"executionID", "jobID", "nodeID", "date", "time"};
    struct span rest = key, before, name;
    if (key.n && memchr(key.p, '\0', key.n))
        return err_set(err, ERR_INVALID, "a key with a NUL character in it");
    while (span_cut(rest, '{', &before, &rest)) {
        bool closed = span_cut(rest, '}', &name, &rest), found = false;
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            found |= span_eq(name, span_of(known[i]));
        if (!closed || !found)
            return err_set(err, ERR_INVALID,
                           "unknown placeholder '{%.*s%s' in a key; expected {executionID}, {jobID}, {nodeID}, {date} "
                           "or {time}",
                           SHOWN(name), closed ? "}" : "");
    }
    return 0;
}

int value_encoding(struct span s, enum publish_encoding *out, struct err *err)
{
    if (!span_eq_nocase(s, SPAN_LIT("gzip")) && !span_eq_nocase(s, SPAN_LIT("plain")))
        return err_set(err, ERR_INVALID, "unknown encoding '%.*s'; expected gzip or plain", SHOWN(s));
    *out = span_eq_nocase(s, SPAN_LIT("plain")) ? PUBLISH_PLAIN : PUBLISH_GZIP;
    return 0;
}

int value_network(struct span s, enum network_mode *out, struct err *err)
{
    static const char *const names[] = {[NETWORK_NONE] = "None", [NETWORK_FULL] = "Full", [NETWORK_HTTP] = "HTTP"};
    static const char *const elsewhere[] = {"Host", "Bridge", "Default"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (span_eq_nocase(s, span_of(names[i]))) {
            *out = (enum network_mode)i;
            return 0;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++)
        if (span_eq_nocase(s, span_of(elsewhere[i])))
            return err_set(err, ERR_UNSUPPORTED, "not supported: network '%.*s'", SHOWN(s));
    return err_set(err, ERR_INVALID, "unknown network '%.*s'; expected None, Full or HTTP", SHOWN(s));
}

/* [-]digits[.digits]: what markets compare. */
static bool is_number(struct span s)
{
    size_t digits = 0, points = 0;
    bool is_signed = s.n && (*s.p == '-' || *s.p == '+');
    for (size_t i = is_signed; i < s.n; i++) {
        digits += ascii_is_digit(s.p[i]);
        points += s.p[i] == '.';
    }
    return digits > 0 && points <= 1 && is_signed + digits + points == s.n && s.n < NUMBER_LENGTH_MAX - 1;
}

static int check_compared(const struct constraint *c, struct err *err)
{
    if ((!str_eq(c->op, "gt") && !str_eq(c->op, "lt")) || is_number(span_of(c->values.v[0])))
        return 0;
    return err_set(err, ERR_INVALID, "operator '%s' takes a number, found '%.*s'", c->op,
                   SHOWN(span_of(c->values.v[0])));
}

int value_constraint(const struct constraint *c, struct err *err)
{
    static const struct {
        const char *op;
        size_t min, max;
    } ops[] = {{"in", 1, SIZE_MAX}, {"notin", 1, SIZE_MAX}, {"exists", 0, 0}, {"!", 0, 0}, {"gt", 1, 1}, {"lt", 1, 1},
               {"=", 1, 1},         {"==", 1, 1},           {"!=", 1, 1}};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (!str_eq(c->op, ops[i].op))
            continue;
        if (c->values.n >= ops[i].min && c->values.n <= ops[i].max)
            return check_compared(c, err);
        return err_set(err, ERR_INVALID, "operator '%s' takes %s, found %zu", c->op,
                       ops[i].max == 0   ? "no value"
                       : ops[i].max == 1 ? "one value"
                                         : "one or more values",
                       c->values.n);
    }
    return err_set(err, ERR_INVALID, "unknown operator '%.*s'; expected one of in, notin, exists, !, gt, lt, =, ==, !=",
                   SHOWN(span_of(c->op)));
}

int value_output_name(struct arena *a, struct span s, const char **out, struct err *err)
{
    struct span name = s;
    while (name.n && name.p[0] == '/')
        name = (struct span){name.p + 1, name.n - 1};
    while (name.n && name.p[name.n - 1] == '/')
        name.n--;
    char *folder = name.n ? arena_dup_span(a, name) : NULL;
    for (char *c = folder; c && *c; c++)
        if (*c == '/')
            *c = '-';
    struct err why = ERR_INIT;
    if (name.n == 0 || path_check_relative(folder ? span_of(folder) : name, &why) < 0)
        return err_set(err, ERR_INVALID, "'%.*s' cannot name a results folder", SHOWN(s));
    *out = folder;
    return 0;
}

int value_cpu(struct span s, double *out, struct err *err)
{
    char text[NUMBER_LENGTH_MAX], *end;
    struct span digits = s;
    bool milli = span_ends(s, SPAN_LIT("m"));
    digits.n -= milli;
    bool plain = digits.n > 0 && digits.n < sizeof text && (ascii_is_digit(digits.p[0]) || digits.p[0] == '.');
    for (size_t i = 0; plain && i < digits.n; i++)
        plain = ascii_is_digit(digits.p[i]) || digits.p[i] == '.';
    if (plain) {
        memcpy(text, digits.p, digits.n);
        text[digits.n] = '\0';
        double cores = strtod(text, &end) / (milli ? 1000 : 1);
        if (!*end && isfinite(cores) && cores <= JOB_CPU_MAX) {
            *out = cores;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "'%.*s' is not a number of CPUs; expected cores (0.5) or thousandths (500m)",
                   SHOWN(s));
}

int value_bytes(struct span s, uint64_t *out, struct err *err)
{
    uint64_t bytes;
    if (parse_bytes(s, &bytes, err) < 0)
        return -1;
    if (bytes > INT64_MAX)
        return err_set(err, ERR_INVALID, "'%.*s' is too large", SHOWN(s));
    *out = bytes;
    return 0;
}

int value_gpu(struct span s, uint32_t *out, struct err *err)
{
    struct err why = ERR_INIT;
    uint64_t n;
    if (span_to_u64(s, &n, &why) < 0 || n > JOB_GPU_MAX)
        return err_set(err, ERR_INVALID, "'%.*s' is not a number of GPUs", SHOWN(s));
    *out = (uint32_t)n;
    return 0;
}

bool value_name_is_secret(const char *name)
{
    static const char *const marks[] = {"TOKEN",      "SECRET",      "PASSWORD",   "PASSWD",      "API_KEY",   "APIKEY",
                                        "ACCESS_KEY", "PRIVATE_KEY", "CREDENTIAL", "SESSION_KEY", "PASSPHRASE"};
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        if (strcasestr(name, marks[i]))
            return true;
    return false;
}

bool value_key_is_exact(const char *key)
{
    size_t n = strlen(key);
    return n > 0 && key[n - 1] != '/' && key[n - 1] != '*';
}
