/* Which execution of a job an object belongs to.
 *
 * The rules are those of Bacalhau's S3 partitioning, so that a job file means the same files in both. */
#include "spec/date_layout.h"
#include "spec/regex.h"
#include "spec/spec.h"

#define FNV_OFFSET UINT32_C(2166136261)
#define FNV_PRIME  UINT32_C(16777619)

struct partition_plan {
    enum partition_kind kind;
    uint32_t start, end, count;
    struct regex *regex;       /* NULL: not by pattern */
    struct date_layout layout; /* by date */
    char *prefix;              /* owned; what is cut off a key before it is looked at */
};

static uint32_t fnv1a(uint32_t hash, struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        hash = (hash ^ (unsigned char)s.p[i]) * FNV_PRIME;
    return hash;
}

void partition_free(struct partition_plan *plan)
{
    if (!plan)
        return;
    regex_free(plan->regex);
    free(plan->prefix);
    free(plan);
}

static int fill(struct partition_plan *plan, const struct partition *p, const char *source_key, struct err *err)
{
    struct span prefix = span_trim(span_of(source_key ? source_key : ""));
    if (span_ends(prefix, SPAN_LIT("*")))
        prefix.n--;
    plan->prefix = str_dup_span(prefix, err);
    if (!plan->prefix)
        return -1;
    if (p->kind == PARTITION_REGEX)
        return regex_compile(&plan->regex, p->pattern ? p->pattern : "", err);
    if (p->kind == PARTITION_DATE)
        return date_layout_parse(&plan->layout, span_of(p->date_format ? p->date_format : ""), err);
    return 0;
}

int partition_open(struct partition_plan **out, const struct partition *p, const char *source_key, uint32_t count,
                   struct err *err)
{
    struct partition_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return err_nomem(err);
    *plan = (struct partition_plan){.kind = p->kind, .start = p->start, .end = p->end, .count = count ? count : 1};
    if (fill(plan, p, source_key, err) < 0) {
        partition_free(plan);
        return err_wrap(err, "partition");
    }
    *out = plan;
    return 0;
}

static struct span below_prefix(const struct partition_plan *plan, struct span key)
{
    size_t n = strlen(plan->prefix);
    if (span_starts(key, span_of(plan->prefix)))
        key = (struct span){key.p + n, key.n - n};
    return key.n && *key.p == '/' ? (struct span){key.p + 1, key.n - 1} : key;
}

/* The capture groups, joined by a character that no key holds; the whole match where there are none. */
static int hash_matches(const struct partition_plan *plan, struct span key, uint32_t *hash, bool *found,
                        struct err *err)
{
    static const struct span unit_separator = {"\x1f", 1};
    struct span groups[REGEX_GROUPS_MAX];
    size_t n, used = 0;
    if (regex_match(plan->regex, key, found, groups, ARRAY_LEN(groups), &n, err) < 0)
        return -1;
    if (!*found || groups[0].n == 0) {
        *found = false;
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if (groups[i].n == 0)
            continue;
        *hash = used++ ? fnv1a(*hash, unit_separator) : *hash;
        *hash = fnv1a(*hash, groups[i]);
    }
    if (used == 0)
        *hash = fnv1a(*hash, groups[0]);
    return 0;
}

/* The bytes of characters [start, end) of UTF-8 text; false where it is shorter. */
static bool characters(struct span s, uint32_t start, uint32_t end, struct span *out)
{
    size_t at = 0, from = 0;
    for (uint32_t count = 0; count < end; count++) {
        if (count == start)
            from = at;
        if (at >= s.n)
            return false;
        do
            at++;
        while (at < s.n && ((unsigned char)s.p[at] & 0xc0) == 0x80);
    }
    *out = (struct span){s.p + from, at - from};
    return true;
}

int partition_index(struct partition_plan *plan, struct span key, uint32_t *out, struct err *err)
{
    uint32_t hash = FNV_OFFSET;
    bool found = true;
    struct span below = below_prefix(plan, key), part = SPAN_LIT("");
    char date[DATE_LAYOUT_MAX];
    switch (plan->kind) {
    case PARTITION_OBJECT:
        hash = fnv1a(hash, key);
        break;
    case PARTITION_REGEX:
        if (hash_matches(plan, below, &hash, &found, err) < 0)
            return -1;
        break;
    case PARTITION_SUBSTRING:
        found = characters(below, plan->start, plan->end, &part);
        hash = fnv1a(hash, part);
        break;
    case PARTITION_DATE:
        found = date_layout_match(&plan->layout, below, date);
        hash = found ? fnv1a(hash, span_of(date)) : hash;
        break;
    case PARTITION_NONE:
        found = false; /* nothing is divided: the caller gives every execution every key */
        break;
    }
    *out = found ? hash % plan->count : 0;
    return 0;
}
