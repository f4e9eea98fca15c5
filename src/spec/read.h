/* read: typed reading of a parsed document, with every mistake collected and placed.
 *
 * A struct node is a value and the way to it; it lives on the stack of the function that descends, so a path costs
 * nothing until somebody has to be told about it. Readers never stop at a mistake: they note it and go on, so that one
 * run shows all of them. Memory comes from the reader's arena, whose sticky refusal is checked once, at the end. */
#ifndef BERTH_SPEC_READ_H
#define BERTH_SPEC_READ_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/yaml.h"
#include "spec/job.h"

#define SPEC_PROBLEMS_MAX 20  /* problems told at once */
#define SPEC_NOTES_MAX    200 /* warnings, and parts that are not run, kept per job */
#define SPEC_SHOWN_MAX    64  /* bytes of a value from the file that a message repeats */

/* As much of a text as a message repeats: whole characters, and nothing from where it is not UTF-8. */
struct span span_shown(struct span s);
#define SHOWN(s) SPAN_FMT(span_shown(s))

struct reader {
    struct arena *a; /* borrowed */
    const char *file;
    const struct yaml_lines *lines; /* NULL: JSON, whose errors go by path alone */
    bool out_of_memory;             /* for a text on its way to the arena, which keeps its own account */
    bool any_case;                  /* keys match whatever their case */
    bool operators;                 /* %%operators%% may stand in values, as in Nosana's */
    bool lenient;                   /* Bacalhau: null is absent, unknown keys are warnings */
    size_t variables;               /* of the environments of all ops so far */
    struct {
        struct buf text;
        unsigned found, shown;
        enum err_kind kind; /* of the first */
    } problems;
    struct {
        const char **v;
        size_t n;
    } warnings;
    struct {
        struct unsupported *v;
        size_t n;
    } unsupported;
    struct {
        const char *const *v; /* "name=value", NULL-terminated; NULL: none */
        bool *used;
    } vars;
};

struct node {
    json_t *v;             /* NULL: absent */
    const struct node *up; /* NULL at the root */
    const char *key;       /* as in the file; NULL for an element of a list */
    size_t index;
};

/* `vars` may be NULL. -1 where the arena refuses. */
int reader_init(struct reader *r, struct arena *a, const char *file, const char *const *vars, struct err *err);
void reader_release(struct reader *r);

/* -1 with all problems, one a line, where there are any; with `strict` warnings count as such. */
int reader_finish(struct reader *r, bool strict, struct err *err) ATTR_CHECK;

/* The buffer's text in the arena; what did not fit its maximum is left out, what did not fit memory is noted. */
const char *reader_keep(struct reader *r, const struct buf *text);

/* "ops[0].args.resources[1].url, line 12". */
const char *node_at(struct reader *r, const struct node *n);

/* The value of -V NAME=…, or NULL; it counts as used from now on. */
const char *reader_var(struct reader *r, struct span name);

/* About a line of the text, before there are nodes. */
void problem_line(struct reader *r, unsigned line, enum err_kind kind, const char *fmt, ...) ATTR_PRINTF(4, 5);

/* With the node's line but without its path, for a text that names it; ERR_INVALID. */
void problem_here(struct reader *r, const struct node *n, const char *fmt, ...) ATTR_PRINTF(3, 4);

/* Notes about a node. */
void problem(struct reader *r, const struct node *n, enum err_kind kind, const char *fmt, ...) ATTR_PRINTF(4, 5);
void problem_err(struct reader *r, const struct node *n, const struct err *cause);
void warning(struct reader *r, const struct node *n, const char *fmt, ...) ATTR_PRINTF(3, 4);
void not_run(struct reader *r, const struct node *n, const char *fmt, ...) ATTR_PRINTF(3, 4);

/* The same, of ready texts in the arena, or constant; NULL adds nothing. Above SPEC_NOTES_MAX they are dropped. */
void add_not_run(struct reader *r, const char *at, const char *what);

/* The same, unless it is named already. */
void not_run_once(struct reader *r, const char *at, const char *what);

/* "unknown WHAT 'found'; did you mean …?" or "…; expected one of a, b"; `known` ends with NULL. */
void problem_unknown(struct reader *r, const struct node *n, const char *what, const char *found,
                     const char *const *known);

/* Members of an object and elements of a list. An absent member has v == NULL. */
struct node node_get(const struct reader *r, const struct node *object, const char *key);
struct node node_item(const struct node *list, size_t index);

/* The member where it has that type, else absent; another type is a problem. */
struct node read_object(struct reader *r, const struct node *object, const char *key);
struct node need_object(struct reader *r, const struct node *object, const char *key); /* absent is a problem */
struct node read_list(struct reader *r, const struct node *object, const char *key);
/* A member that the formats have and berth has not. */
void refuse_member(struct reader *r, const struct node *object, const char *key, const char *what);

bool expect_object(struct reader *r, const struct node *n);

const char *node_str(struct reader *r, const struct node *n); /* NULL with a problem noted, or where absent */
const char *read_str(struct reader *r, const struct node *object, const char *key);
const char *read_given(struct reader *r, const struct node *object, const char *key); /* "" counts as absent */
const char *need_str(struct reader *r, const struct node *object, const char *key);   /* absent or "" is a problem */
bool read_bool(struct reader *r, const struct node *object, const char *key, bool fallback);
uint64_t read_u64(struct reader *r, const struct node *object, const char *key, uint64_t min, uint64_t max,
                  uint64_t fallback);
int64_t read_i64(struct reader *r, const struct node *object, const char *key, int64_t min, int64_t max,
                 int64_t fallback);
struct job_strs read_strs(struct reader *r, const struct node *object, const char *key);
struct job_strs node_strs(struct reader *r, const struct node *list);
struct job_kvs read_kvs(struct reader *r, const struct node *object, const char *key);

/* Every key of the object must be one of `known` (NULL-terminated); a key given twice in two cases is a problem. */
void check_keys(struct reader *r, const struct node *object, const char *const *known);

/* One key of an object: whether it is known, and where keys have any case, whether it stands there twice. */
bool check_key(struct reader *r, const struct node *member, const char *const *known);

/* A list with room for one entry more; NULL where the arena refuses. `n` is how many it holds now. Its room is told
 * from `n` alone, so all of it must have been added one by one through here. */
void *list_grow(struct arena *a, void *list, size_t n, size_t each);
void strs_add(struct arena *a, struct job_strs *strs, const char *s);
void kvs_add(struct arena *a, struct job_kvs *kvs, const char *name, const char *value, bool secret);

#endif
