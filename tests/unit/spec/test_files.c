/* Whole files: the examples of this project, and a folder of real ones where there is one (BERTH_TEST_CASES). */
#include "test_spec.h"

#include "base/fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>

static bool is_job_file(const char *name)
{
    struct span s = span_of(name);
    return span_ends(s, SPAN_LIT(".json")) || span_ends(s, SPAN_LIT(".yaml"));
}

/* The outcome in the words of the folder's list. */
static const char *verdict_of(const char *dir, const char *path, const char *const *vars, struct err *err)
{
    AUTO_FD fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_BUF text;
    buf_init(&text, SPEC_FILE_MAX + 1);
    assert_true(fd >= 0);
    assert_works(fs_read_file(fd, path, SPEC_FILE_MAX + 1, &text, err), err);
    const struct spec_opts opts = {.file = path, .vars = vars};
    struct job *job = NULL;
    if (spec_parse(buf_span(&text), &opts, &job, err) == 0) {
        job_free(job);
        return "ok";
    }
    if (strstr(err->text, "template value"))
        return "template";
    if (strstr(err->text, "required-resources"))
        return "market";
    return err->kind == ERR_UNSUPPORTED ? "unsupported" : "reject";
}

static void the_examples_of_this_project_are_valid(void **state)
{
    (void)state;
    const char *dir = getenv("BERTH_EXAMPLES_DIR");
    unsigned seen = 0;
    if (!dir)
        fail_msg("BERTH_EXAMPLES_DIR is not set; run this by meson test");
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));) {
        struct err err = ERR_INIT;
        if (!is_job_file(e->d_name))
            continue;
        const char *verdict = verdict_of(dir, e->d_name, NULL, &err);
        if (strcmp(verdict, "ok") != 0)
            fail_msg("%s: %s: %s", e->d_name, verdict, err.text);
        seen++;
    }
    closedir(d);
    assert_true(seen > 0);
}

/* "| folder/file | verdict | words |" */
static bool row_of(struct span line, struct span *file, struct span *verdict, struct span *words)
{
    struct span rest, nothing;
    if (!span_cut(line, '|', &nothing, &rest) || !span_cut(rest, '|', file, &rest) ||
        !span_cut(rest, '|', verdict, &rest))
        return false;
    span_cut(rest, '|', words, &rest);
    *file = span_trim(*file);
    *verdict = span_trim(*verdict);
    *words = span_trim(*words);
    return file->n && memchr(file->p, '/', file->n);
}

static void check_row(const char *dir, struct span file, struct span wanted, struct span words)
{
    struct err err = ERR_INIT;
    char path[512];
    snprintf(path, sizeof path, "%.*s", SPAN_FMT(file));
    const char *verdict = verdict_of(dir, path, NULL, &err);
    if (!span_eq(span_of(verdict), wanted))
        fail_msg("%s: %s, wanted %.*s: %s", path, verdict, SPAN_FMT(wanted), err.text);
    /* The last word of "engine flibble", "not a job" stands in the error. */
    const char *last = words.n ? memrchr(words.p, ' ', words.n) : NULL;
    if (last && !memmem(err.text, strlen(err.text), last + 1, (size_t)(words.p + words.n - last - 1)))
        fail_msg("%s: not named (%.*s): %s", path, SPAN_FMT(words), err.text);
}

static void real_files_get_the_verdict_they_should(void **state)
{
    (void)state;
    const char *dir = getenv("BERTH_TEST_CASES");
    struct err err = ERR_INIT;
    if (!dir || !*dir) {
        print_message("no folder of real job files (BERTH_TEST_CASES): skipped\n");
        skip();
    }
    AUTO_FD fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    AUTO_BUF list;
    buf_init(&list, SPEC_FILE_MAX);
    assert_works(fs_read_file(fd, "README.md", SPEC_FILE_MAX, &list, &err), &err);
    struct span rest = buf_span(&list), line, file, verdict, words;
    unsigned rows = 0;
    while (rest.n) {
        span_cut(rest, '\n', &line, &rest);
        if (!row_of(line, &file, &verdict, &words))
            continue;
        check_row(dir, file, verdict, words);
        rows++;
    }
    assert_true(rows > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_this_project_are_valid),
        cmocka_unit_test(real_files_get_the_verdict_they_should),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
