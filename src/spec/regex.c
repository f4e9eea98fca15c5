#include "spec/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* What one match may cost. The defaults of the library allow seconds; these end within a few milliseconds. */
#define MATCH_STEPS_MAX 200000
#define MATCH_DEPTH_MAX 2000
#define MATCH_HEAP_KIB  4096
#define SHOWN_MAX       80
#define REASON_MAX      256

struct regex {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *limits;
    char *pattern; /* for messages */
};

void regex_free(struct regex *re)
{
    if (!re)
        return;
    pcre2_match_context_free(re->limits);
    pcre2_match_data_free(re->data);
    pcre2_code_free(re->code);
    free(re->pattern);
    free(re);
}

static int bad_pattern(const char *pattern, int code, size_t offset, struct err *err)
{
    PCRE2_UCHAR reason[REASON_MAX];
    if (code == PCRE2_ERROR_NOMEMORY)
        return err_nomem(err);
    if (pcre2_get_error_message(code, reason, sizeof reason) < 0)
        reason[0] = '\0';
    return err_set(err, ERR_INVALID, "'%.*s' is not a regular expression: %s (at offset %zu)", SHOWN_MAX, pattern,
                   (const char *)reason, offset);
}

static int compile(struct regex *re, const char *pattern, struct err *err)
{
    int code;
    PCRE2_SIZE offset;
    size_t n = strlen(pattern);
    if (n > REGEX_PATTERN_MAX)
        return err_set(err, ERR_INVALID, "a regular expression of %zu bytes; at most %d are allowed", n,
                       REGEX_PATTERN_MAX);
    re->code = pcre2_compile((PCRE2_SPTR)pattern, n, PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C,
                             &code, &offset, NULL);
    if (!re->code)
        return bad_pattern(pattern, code, offset, err);
    re->data = pcre2_match_data_create_from_pattern(re->code, NULL);
    re->limits = pcre2_match_context_create(NULL);
    re->pattern = strdup(pattern);
    if (!re->data || !re->limits || !re->pattern)
        return err_nomem(err);
    pcre2_set_match_limit(re->limits, MATCH_STEPS_MAX);
    pcre2_set_depth_limit(re->limits, MATCH_DEPTH_MAX);
    pcre2_set_heap_limit(re->limits, MATCH_HEAP_KIB);
    return 0;
}

int regex_compile(struct regex **out, const char *pattern, struct err *err)
{
    struct regex *re = calloc(1, sizeof *re);
    if (!re)
        return err_nomem(err);
    if (compile(re, pattern, err) < 0) {
        regex_free(re);
        return -1;
    }
    *out = re;
    return 0;
}

static void take_groups(const struct regex *re, struct span subject, struct span *groups, size_t n)
{
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(re->data);
    for (size_t i = 0; i < n; i++) {
        PCRE2_SIZE from = at[2 * i], to = at[2 * i + 1];
        bool set = from != PCRE2_UNSET && to != PCRE2_UNSET && from <= to; /* \K in a lookahead can swap them */
        groups[i] = set ? (struct span){subject.p + from, to - from} : SPAN_LIT("");
    }
}

int regex_match(struct regex *re, struct span subject, bool *matched, struct span *groups, size_t max,
                size_t *group_count, struct err *err)
{
    const char *text = subject.p ? subject.p : "";
    int rc = pcre2_match(re->code, (PCRE2_SPTR)text, subject.n, 0, 0, re->data, re->limits);
    *matched = rc > 0;
    if (group_count)
        *group_count = 0;
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return err_nomem(err);
    if (rc < 0)
        return err_set(err, ERR_LIMIT, "the regular expression '%.*s' takes too much work on '%.*s'", SHOWN_MAX,
                       re->pattern, SPAN_FMT(span_head(subject, SHOWN_MAX)));
    size_t n = pcre2_get_ovector_count(re->data);
    if (n > max)
        n = max;
    take_groups(re, (struct span){text, subject.n}, groups, n);
    if (group_count)
        *group_count = n;
    return 0;
}
