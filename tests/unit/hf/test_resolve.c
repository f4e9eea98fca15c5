#include "fake.h"
#include "hf/hf_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define COMMIT           "0123456789abcdef0123456789abcdef01234567"
#define BLOB             "89abcdef0123456789abcdef0123456789abcdef"
#define SHA256           "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define API              "GET https://huggingface.co/api/"
#define FILE(path, size) "{\"type\":\"file\",\"oid\":\"" BLOB "\",\"size\":" size ",\"path\":\"" path "\"}"
#define LARGE(path, size)                                                                                              \
    "{\"type\":\"file\",\"oid\":\"" BLOB "\",\"size\":130,\"path\":\"" path "\",\"lfs\":{\"oid\":\"" SHA256            \
    "\",\"size\":" size ",\"pointerSize\":130},\"xetHash\":\"x\"}"
#define FOLDER(path) "{\"type\":\"directory\",\"oid\":\"" BLOB "\",\"size\":0,\"path\":\"" path "\"}"
#define REVISION(url, more)                                                                                            \
    {                                                                                                                  \
        API url, 200, NULL, "{\"sha\":\"" COMMIT "\"}", more                                                           \
    }
#define END                                                                                                            \
    {                                                                                                                  \
        .expect = NULL                                                                                                 \
    }

struct run {
    struct hf_token *token;
    struct hf *hf;
    struct hf_resolution *r;
    struct err err;
};

static int run_with(struct run *x, const struct source_hf *src, const char *token, const struct hf_opts *opts,
                    const struct fake_answer *script)
{
    const struct hf_token_opts who = {.job = token};
    *x = (struct run){.hf = NULL};
    fake_play(script);
    assert_int_equal(hf_token_open(&x->token, &who, &x->err), 0);
    if (hf_open(&x->hf, src, x->token, opts, &x->err) < 0)
        return -1;
    return hf_resolve(x->hf, NULL, &x->r, &x->err);
}

static int run(struct run *x, const struct source_hf *src, const struct fake_answer *script)
{
    const struct hf_opts opts = {0};
    return run_with(x, src, NULL, &opts, script);
}

static void finish(struct run *x)
{
    assert_true(fake_played_out());
    hf_resolution_free(x->r);
    hf_free(x->hf);
    hf_token_free(x->token);
}

static void a_revision_becomes_a_commit_and_its_tree(void **state)
{
    (void)state;
    const struct source_hf src = {.repo = "o/n"};
    const struct fake_answer script[] = {
        REVISION("models/o/n/revision/main", NULL),
        {API "models/o/n/tree/" COMMIT "?recursive=true&expand=false", 200, NULL,
         "[" FOLDER("d") "," LARGE("d/big", "5000000000") "," FILE("a", "3") "]", NULL},
        END,
    };
    struct run x;
    char version[HF_VERSION_MAX];
    struct xfer_want want;
    assert_int_equal(run(&x, &src, script), 0);
    assert_string_equal(x.r->commit, COMMIT);
    assert_string_equal(x.r->repo, "o/n");
    assert_int_equal(x.r->file_count, 2);
    assert_int_equal(x.r->total_bytes, 5000000003);
    assert_string_equal(x.r->files[0].target, "a");
    assert_null(x.r->snapshot_path);
    assert_int_equal(x.r->link_count, 0);
    assert_string_equal(hf_version(&x.r->files[0], version), "git:" BLOB);
    assert_string_equal(hf_version(&x.r->files[1], version), "sha256:" SHA256);
    assert_int_equal(x.r->files[1].size, 5000000000);
    hf_want(&x.r->files[0], &want);
    assert_true(want.has_full && want.git_blob && want.full.kind == DIGEST_SHA1);
    hf_want(&x.r->files[1], &want);
    assert_true(want.has_full && !want.git_blob && want.full.kind == DIGEST_SHA256);
    assert_null(fake_authorization());
    finish(&x);
}

static void pages_follow_the_query_of_the_link_alone(void **state)
{
    (void)state;
    const struct source_hf src = {.repo = "datasets/o/n", .revision = "refs/pr/1"};
    const struct fake_answer script[] = {
        REVISION("datasets/o/n/revision/refs%2Fpr%2F1", NULL),
        {API "datasets/o/n/tree/" COMMIT "?recursive=true&expand=false", 200,
         "link: <https://evil.example/x?recursive=true&cursor=A%3D>; rel=\"next\"\n", "[" FILE("b", "1") "]", NULL},
        {API "datasets/o/n/tree/" COMMIT "?recursive=true&cursor=A%3D", 200, NULL, "[" FILE("a", "1") "]", NULL},
        END,
    };
    const struct hf_opts opts = {0};
    struct run x;
    assert_int_equal(run_with(&x, &src, "tok", &opts, script), 0);
    assert_int_equal(x.r->file_count, 2);
    assert_string_equal(x.r->files[0].path, "a");
    assert_string_equal(fake_authorization(), "Bearer tok");
    finish(&x);
}

static void a_cycle_of_pages_is_refused(void **state)
{
    (void)state;
    const struct source_hf src = {.repo = "o/n"};
#define PAGE(query, next)                                                                                              \
    {                                                                                                                  \
        API "models/o/n/tree/" COMMIT query, 200, "link: <https://h/?" next ">; rel=next\n", "[]", NULL                \
    }
    const struct fake_answer script[] = {
        REVISION("models/o/n/revision/main", NULL),
        PAGE("?recursive=true&expand=false", "1"),
        PAGE("?1", "2"),
        PAGE("?2", "1"),
        END,
    };
    struct run x;
    assert_int_equal(run(&x, &src, script), -1);
    assert_int_equal(x.err.kind, ERR_PROTOCOL);
    assert_non_null(strstr(x.err.text, "would never end"));
    finish(&x);
}

static void a_new_name_is_told_and_used(void **state)
{
    (void)state;
    const struct source_hf src = {.repo = "spaces/o/n"};
    const struct fake_answer script[] = {
        REVISION("spaces/o/n/revision/main", "https://huggingface.co/api/spaces/p/q/revision/main"),
        {API "spaces/p/q/tree/" COMMIT "?recursive=true&expand=false", 200, NULL, "[" FILE("a", "3") "]", NULL},
        END,
    };
    AUTO_BUF location;
    struct run x;
    buf_init(&location, HF_LOCATION_MAX);
    assert_int_equal(run(&x, &src, script), 0);
    assert_int_equal(x.r->warning_count, 1);
    assert_non_null(strstr(x.r->warnings[0], "now called 'p/q'"));
    hf_location(x.hf, x.r, "a", &location);
    assert_string_equal(buf_str(&location), "https://huggingface.co/spaces/p/q/a");
    finish(&x);
}

static void a_redirect_to_no_name_is_not_one(void **state)
{
    (void)state;
    static const char *const landed[] = {
        "https://h/login",
        "https://h/api/models/../x/revision/main",
        "https://h/api/models/a%2Fb/c/revision/main",
        "https://h/api/models/a",
        "https://h/api/datasets/a/b/revision/main",
        "https://h/api/models/o/n/revision/main",
        "https://h/api/models//b/x",
        "https://h/api/models/.a/b/revision/main",
    };
    char name[HF_NAME_MAX];
    for (size_t i = 0; i < ARRAY_LEN(landed); i++)
        assert_false(hf_renamed("https://h/api/models/o/n/revision/main", landed[i], HF_MODEL, name));
    assert_true(hf_renamed("https://h/api/models/o/n/revision/main", "https://h/api/models/a.b/c-D/revision/main",
                           HF_MODEL, name));
    assert_string_equal(name, "a.b/c-D");
}

static void the_hubs_layout_has_blobs_by_their_digests_and_links_to_them(void **state)
{
    (void)state;
    const struct source_hf src = {.repo = "o/n", .revision = "v1", .hub_layout = true};
    const struct fake_answer script[] = {
        REVISION("models/o/n/revision/v1", NULL),
        {API "models/o/n/tree/" COMMIT "?recursive=true&expand=false", 200, NULL,
         "[" FILE("d/a", "3") "," LARGE("big", "5000000000") "]", NULL},
        END,
    };
    struct run x;
    assert_int_equal(run(&x, &src, script), 0);
    assert_string_equal(x.r->snapshot_path, "models--o--n/snapshots/" COMMIT);
    assert_string_equal(x.r->ref_path, "models--o--n/refs/v1");
    assert_int_equal(x.r->file_count, 2);
    assert_string_equal(x.r->files[0].target, "models--o--n/blobs/" SHA256);
    assert_string_equal(x.r->files[0].path, "big");
    assert_string_equal(x.r->files[1].target, "models--o--n/blobs/" BLOB);
    assert_int_equal(x.r->link_count, 2);
    assert_string_equal(x.r->links[0].path, "models--o--n/snapshots/" COMMIT "/big");
    assert_string_equal(x.r->links[0].to, "models--o--n/blobs/" SHA256);
    assert_string_equal(x.r->links[1].path, "models--o--n/snapshots/" COMMIT "/d/a");
    assert_string_equal(x.r->links[1].to, "models--o--n/blobs/" BLOB);
    finish(&x);
}

static void in_the_hubs_layout_equal_content_is_one_file_of_several_links(void **state)
{
    (void)state;
    static const char *files[] = {"[a-y]*"};
    const struct source_hf src = {.repo = "datasets/n", .revision = COMMIT, .hub_layout = true, .files = {files, 1}};
    const struct fake_answer script[] = {
        REVISION("datasets/n/revision/" COMMIT, NULL),
        {API "datasets/n/tree/" COMMIT "?recursive=true&expand=false", 200, NULL,
         "[" FILE("y", "3") "," LARGE("x", "9") "," FILE("b/c", "3") "," LARGE("a", "9") "," FILE("z", "3") "]", NULL},
        END,
    };
    struct run x;
    assert_int_equal(run(&x, &src, script), 0);
    assert_int_equal(x.r->file_count, 2);
    assert_int_equal(x.r->total_bytes, 12);
    assert_string_equal(x.r->files[0].path, "a");
    assert_string_equal(x.r->files[1].path, "b/c");
    assert_int_equal(x.r->link_count, 4);
    assert_string_equal(x.r->links[0].to, x.r->links[2].to);
    assert_string_equal(x.r->links[1].to, x.r->links[3].to);
    assert_null(x.r->ref_path); /* a commit needs none */
    finish(&x);
}

static void in_the_hubs_layout_one_content_has_one_size(void **state)
{
    (void)state;
    const struct source_hf src = {.repo = "o/n", .hub_layout = true};
    const struct fake_answer script[] = {
        REVISION("models/o/n/revision/main", NULL),
        {API "models/o/n/tree/" COMMIT "?recursive=true&expand=false", 200, NULL,
         "[" FILE("a", "3") "," FILE("b", "4") "]", NULL},
        END,
    };
    struct run x;
    assert_int_equal(run(&x, &src, script), -1);
    assert_int_equal(x.err.kind, ERR_PROTOCOL);
    finish(&x);
}

static void endpoints_and_mirrors_decide_where_requests_go(void **state)
{
    (void)state;
    const struct source_hf src = {.repo = "o/n"};
    const char *const mirrors[] = {"https://huggingface.co=http://near.example:8080/hub/",
                                   "https://huggingface.co.evil=http://evil.example", NULL};
    const struct hf_opts mirrored = {.mirrors = mirrors, .plain_http_refused = true};
    const struct fake_answer script[] = {
        {"GET http://near.example:8080/hub/api/models/o/n/revision/main", 404, "x-error-code: RepoNotFound\n", NULL,
         NULL},
        END,
    };
    struct run x;
    assert_int_equal(run_with(&x, &src, NULL, &mirrored, script), -1);
    assert_non_null(strstr(x.err.text, "https://huggingface.co/o/n")); /* what a person can open */
    finish(&x);

    const struct hf_opts plain = {.endpoint = "http://hub.example", .plain_http_refused = true};
    assert_int_equal(run_with(&x, &src, NULL, &plain, &script[1]), -1);
    assert_int_equal(x.err.kind, ERR_REFUSED);
    finish(&x);

    const struct hf_opts bad = {.endpoint = "https://hub.example/?x=y"};
    assert_int_equal(run_with(&x, &src, NULL, &bad, &script[1]), -1);
    assert_int_equal(x.err.kind, ERR_INVALID);
    finish(&x);
}

static void only_this_machine_is_asked_without_tls(void **state)
{
    (void)state;
    const struct {
        const char *endpoint;
        bool allowed;
    } rows[] = {{"http://127.0.0.1:8", true},       {"http://127.8.9.10", true},  {"http://[::1]:8", true},
                {"http://localhost:8", true},       {"https://h.example", true},  {"http://h.example", false},
                {"http://127.evil.example", false}, {"http://127.0.0.1.x", false}};
    const struct source_hf src = {.repo = "o/n"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct hf_opts opts = {.endpoint = rows[i].endpoint, .plain_http_refused = true};
        struct err err = ERR_INIT;
        struct hf *hf = NULL;
        if ((hf_open(&hf, &src, NULL, &opts, &err) == 0) != rows[i].allowed)
            fail_msg("%s: %s", rows[i].endpoint, err.text);
        assert_int_equal(err.kind, rows[i].allowed ? ERR_NONE : ERR_REFUSED);
        hf_free(hf);
    }
}

static void answers_that_are_no_tree_are_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "{}",
        "[1]",
        "[{\"type\":\"file\"}]",
        "[{\"type\":\"file\",\"path\":\"a\",\"size\":1}]",
        "[{\"type\":\"file\",\"path\":\"a\",\"size\":1,\"oid\":\"" SHA256 "\"}]",
        "[{\"type\":\"file\",\"path\":\"a\",\"size\":-1,\"oid\":\"" BLOB "\"}]",
        "[{\"type\":\"file\",\"path\":\"a\",\"oid\":\"" BLOB "\"}]",
        "[{\"type\":\"file\",\"path\":\"a\",\"size\":1,\"oid\":\"" BLOB "\",\"lfs\":{\"oid\":\"" BLOB
        "\",\"size\":1}}]",
        "[" FILE("a", "1") "," FILE("a", "1") "]",
    };
    const struct source_hf src = {.repo = "o/n"};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        const struct fake_answer script[] = {
            REVISION("models/o/n/revision/main", NULL),
            {API "models/o/n/tree/" COMMIT "?recursive=true&expand=false", 200, NULL, bodies[i], NULL},
            END,
        };
        struct run x;
        assert_int_equal(run(&x, &src, script), -1);
        assert_int_equal(x.err.kind, ERR_PROTOCOL);
        finish(&x);
    }
}

static void a_path_that_can_be_no_file_is_left_out_by_naming_files(void **state)
{
    (void)state;
    const char *const names[] = {"a", "sub/*"};
    const struct source_hf all = {.repo = "o/n"},
                           some = {.repo = "o/n", .files = {(const char **)names, ARRAY_LEN(names)}};
    const struct fake_answer script[] = {
        REVISION("models/o/n/revision/main", NULL),
        {API "models/o/n/tree/" COMMIT "?recursive=true&expand=false", 200, NULL,
         "[" FILE("../x", "1") "," FILE("a", "1") "," FILE("a/b", "1") "," FILE("sub/c", "1") "]", NULL},
        END,
    };
    struct run x;
    assert_int_equal(run(&x, &all, script), -1);
    assert_int_equal(x.err.kind, ERR_REFUSED);
    finish(&x);
    assert_int_equal(run(&x, &some, script), 0);
    assert_int_equal(x.r->file_count, 2);
    assert_string_equal(x.r->files[0].path, "a");
    assert_string_equal(x.r->files[1].path, "sub/c");
    finish(&x);
}

static void a_tree_of_another_commit_is_refused(void **state)
{
    (void)state;
    const struct source_hf src = {.repo = "o/n"};
    const struct fake_answer script[] = {
        REVISION("models/o/n/revision/main", NULL),
        {API "models/o/n/tree/" COMMIT "?recursive=true&expand=false", 200, "x-repo-commit: " BLOB "\n", "[]", NULL},
        END,
    };
    struct run x;
    assert_int_equal(run(&x, &src, script), -1);
    assert_int_equal(x.err.kind, ERR_PROTOCOL);
    finish(&x);
}

static void a_hub_that_is_not_there_is_a_passing_failure(void **state)
{
    (void)state;
    const struct source_hf src = {.repo = "o/n"};
    const struct fake_answer script[] = {{API "models/o/n/revision/main", 0, NULL, NULL, NULL}, END};
    struct run x;
    assert_int_equal(run(&x, &src, script), -1);
    assert_int_equal(x.err.kind, ERR_TRANSIENT);
    finish(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_revision_becomes_a_commit_and_its_tree),
        cmocka_unit_test(pages_follow_the_query_of_the_link_alone),
        cmocka_unit_test(a_cycle_of_pages_is_refused),
        cmocka_unit_test(a_new_name_is_told_and_used),
        cmocka_unit_test(a_redirect_to_no_name_is_not_one),
        cmocka_unit_test(the_hubs_layout_has_blobs_by_their_digests_and_links_to_them),
        cmocka_unit_test(in_the_hubs_layout_equal_content_is_one_file_of_several_links),
        cmocka_unit_test(in_the_hubs_layout_one_content_has_one_size),
        cmocka_unit_test(endpoints_and_mirrors_decide_where_requests_go),
        cmocka_unit_test(only_this_machine_is_asked_without_tls),
        cmocka_unit_test(answers_that_are_no_tree_are_refused),
        cmocka_unit_test(a_path_that_can_be_no_file_is_left_out_by_naming_files),
        cmocka_unit_test(a_tree_of_another_commit_is_refused),
        cmocka_unit_test(a_hub_that_is_not_there_is_a_passing_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
