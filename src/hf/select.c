/* Which files of a tree are meant, and whether these can lie in one folder. */
#include "base/near.h"
#include "base/path.h"
#include "hf/glob.h"
#include "hf/hf_priv.h"

#define HINT_NAMES_MAX 3

/* ---- one tree ---- */

/* The end, then '/', then all other characters: what is below a name comes right after it. */
static int rank(char c)
{
    return c == '\0' ? 0 : c == '/' ? 1 : (unsigned char)c + 1;
}

static int by_component(const void *a, const void *b)
{
    const char *x = ((const struct hf_file *)a)->path, *y = ((const struct hf_file *)b)->path;
    while (*x && *x == *y) {
        x++;
        y++;
    }
    return rank(*x) - rank(*y);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct hf_file *)a)->path, ((const struct hf_file *)b)->path);
}

int hf_put_in_order(struct hf_file *files, size_t n, struct err *err)
{
    qsort(files, n, sizeof *files, by_path);
    for (size_t i = 1; i < n; i++)
        if (strcmp(files[i - 1].path, files[i].path) == 0) {
            err_set(err, ERR_PROTOCOL, "the tree lists '%.512s' twice", files[i].path);
            return err_one_line(err);
        }
    return 0;
}

static int check_neighbours(const char *first, const char *second, struct err *err)
{
    if (path_is_below(span_of(second), span_of(first)))
        return err_set(err, ERR_REFUSED, "the tree holds '%.512s' as a file, and '%.512s' below it", first, second);
    return 0;
}

int hf_check_paths(struct hf_file *files, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (path_check_relative(span_of(files[i].path), err) < 0)
            return err_hint(err, "such a path can't become a file below the target; leave it out by naming `files`");
    qsort(files, n, sizeof *files, by_component);
    for (size_t i = 1; i < n; i++)
        if (check_neighbours(files[i - 1].path, files[i].path, err) < 0)
            return err_one_line(err);
    qsort(files, n, sizeof *files, by_path);
    return 0;
}

/* ---- what is meant ---- */

struct choice {
    const struct hf_file *files;
    size_t n, left; /* not chosen yet */
    bool *chosen;
    const struct cancel *cancel;
    unsigned patterns;
};

static void choose(struct choice *c, size_t i)
{
    c->left -= !c->chosen[i];
    c->chosen[i] = true;
}

static bool choose_name(struct choice *c, const char *name)
{
    const struct hf_file key = {.path = name};
    const struct hf_file *hit = c->n ? bsearch(&key, c->files, c->n, sizeof key, by_path) : NULL;
    if (hit)
        choose(c, (size_t)(hit - c->files));
    return hit != NULL;
}

/* What is too long for a file is not compared either: it could cost minutes. It is meant, and refused. */
static bool is_meant(struct span pattern, struct span path)
{
    return path.n > PATH_SAFE_MAX || hf_glob_match(pattern, path);
}

/* Where nothing is left to choose, one match proves that the pattern means something. */
static int choose_pattern(struct choice *c, const char *pattern, bool *found, struct err *err)
{
    *found = false;
    if (++c->patterns > HF_PATTERNS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d patterns in `files`", HF_PATTERNS_MAX);
    for (size_t i = 0; i < c->n && (c->left > 0 || !*found); i++) {
        if (cancel_check(c->cancel, err) < 0)
            return -1;
        if (!is_meant(span_of(pattern), span_of(c->files[i].path)))
            continue;
        choose(c, i);
        *found = true;
    }
    return 0;
}

static bool is_folder(const struct hf_file *files, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (path_is_below(span_of(files[i].path), span_of(name)))
            return true;
    return false;
}

/* Files of that very name in other folders, else those whose whole path is nearly it. */
static void find_near(const struct hf_file *files, size_t n, const char *name, struct near_top *near)
{
    struct span base = path_basename(span_of(name));
    near_top_init(near, span_of(name));
    for (size_t i = 0; i < n && near->n < HINT_NAMES_MAX; i++) {
        struct span path = span_of(files[i].path);
        if (path.n < NEAR_WORD_MAX && span_eq(path_basename(path), base)) {
            memcpy(near->best[near->n], path.p, path.n + 1);
            near->n++;
        }
    }
    if (near->n > 0)
        return;
    for (size_t i = 0; i < n; i++)
        near_top_add(near, span_of(files[i].path));
}

static int not_there(const struct hf_file *files, size_t n, const char *name, struct err *err)
{
    struct near_top near;
    AUTO_BUF names;
    buf_init(&names, ERR_HINT_MAX);
    bool pattern = hf_glob_is_pattern(span_of(name));
    err_set(err, ERR_NOTFOUND,
            pattern ? "no file of the repository matches '%.512s'" : "no file '%.512s' in the repository", name);
    err_one_line(err);
    if (pattern)
        return -1;
    if (is_folder(files, n, name))
        return err_hint(err, "it is a folder: write '%.200s/' to take all of it", name);
    find_near(files, n, name, &near);
    for (size_t i = 0; i < near.n; i++)
        buf_addf(&names, "%s'%s'", i ? ", " : "", near.best[i]);
    return near.n ? err_hint(err, "near it: %s", buf_str(&names)) : -1;
}

int hf_select(const struct hf_file *files, size_t n, const struct job_strs *wanted, const struct cancel *cancel,
              bool *chosen, struct err *err)
{
    struct choice c = {.files = files, .n = n, .left = n, .chosen = chosen, .cancel = cancel};
    for (size_t i = 0; i < n && wanted->n == 0; i++)
        choose(&c, i);
    for (size_t i = 0; i < wanted->n; i++) {
        const char *name = wanted->v[i];
        bool found = choose_name(&c, name);
        if (!found && hf_glob_is_pattern(span_of(name)) && choose_pattern(&c, name, &found, err) < 0)
            return -1;
        if (!found)
            return not_there(files, n, name, err);
    }
    return 0;
}
