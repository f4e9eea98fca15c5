/* What a hub sends: descriptions, pages of trees, Link headers, new names; and the patterns of jobs. Whatever comes is
 * an error or a sound list: paths stay below the target, sorted, none in another's way. */
#include "base/path.h"
#include "hf/glob.h"
#include "hf/hf_priv.h"
#include "hf/link.h"

#include <stdlib.h>

#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x))                                                                                                      \
            abort();                                                                                                   \
    } while (0)
#define FILES_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct listed {
    struct hf_file files[FILES_MAX];
    size_t n;
};

static int keep(void *ctx, const struct hf_file *f, struct err *err)
{
    struct listed *l = ctx;
    MUST(f->path && f->size <= INT64_MAX);
    if (l->n == FILES_MAX)
        return err_set(err, ERR_LIMIT, "enough");
    l->files[l->n++] = *f;
    return 0;
}

static void check_tree(struct listed *l, struct span pattern)
{
    struct err err = ERR_INIT;
    static bool chosen[FILES_MAX];
    if (hf_put_in_order(l->files, l->n, &err) < 0 || hf_check_paths(l->files, l->n, &err) < 0) {
        MUST(err_is_set(&err));
        return;
    }
    for (size_t i = 0; i < l->n; i++) {
        MUST(path_check_relative(span_of(l->files[i].path), &err) == 0);
        MUST(i == 0 || strcmp(l->files[i - 1].path, l->files[i].path) < 0);
        for (size_t k = 0; k < l->n; k++)
            MUST(!path_is_below(span_of(l->files[i].path), span_of(l->files[k].path)));
    }
    AUTO_STR word = str_dup_span(pattern, &err);
    const char *wanted[] = {word};
    const struct job_strs list = {wanted, 1};
    memset(chosen, 0, sizeof chosen);
    if (!word || hf_select(l->files, l->n, &list, NULL, chosen, &err) < 0)
        return;
    bool any = false;
    for (size_t i = 0; i < l->n; i++) {
        any |= chosen[i];
        MUST(!chosen[i] || strcmp(word, l->files[i].path) == 0 ||
             hf_glob_match(span_of(word), span_of(l->files[i].path)));
    }
    MUST(any);
}

static void check_json(struct span text, struct span pattern)
{
    struct err err = ERR_INIT, second = ERR_INIT;
    const char *commit = NULL;
    static struct listed l;
    struct arena *a = arena_new(0, &err);
    MUST(a);
    if (hf_read_commit(a, text, &commit, &err) == 0)
        MUST(hf_is_commit(span_of(commit)));
    else
        MUST(err.kind == ERR_PROTOCOL);
    l.n = 0;
    if (hf_read_tree(a, text, keep, &l, &second) == 0)
        check_tree(&l, pattern);
    else
        MUST(err_is_set(&second));
    arena_free(a);
}

static void check_link(struct span header)
{
    struct span target;
    if (hf_link_next(header, &target)) {
        MUST(target.n > 0 && target.p > header.p && target.p + target.n < header.p + header.n);
        MUST(!memchr(target.p, '>', target.n));
    }
}

static void check_name(struct span url)
{
    char name[HF_NAME_MAX];
    struct err err = ERR_INIT;
    AUTO_STR text = str_dup_span(url, &err);
    if (!text || !hf_renamed("https://h/api/models/o/n/revision/main", text, HF_MODEL, name))
        return;
    MUST(strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") == strlen(name));
    MUST(strchr(name, '/') && strchr(name, '/') == strrchr(name, '/') && name[0] != '.' && !strstr(name, "/."));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span first, rest;
    span_cut((struct span){(const char *)data, size}, '\n', &first, &rest);
    if (first.n > PATH_SAFE_MAX)
        return 0;
    check_json(rest, first);
    check_link(first);
    check_name(first);
    MUST(hf_glob_match(SPAN_LIT("*"), first));
    return 0;
}
