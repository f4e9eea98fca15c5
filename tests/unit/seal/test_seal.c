#include "base/fs.h"
#include "seal/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>

struct fixture {
    char dir[64], keys[96];
    struct seal_keys *k;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err = ERR_INIT;
    snprintf(f->dir, sizeof f->dir, "/tmp/berth-seal-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->keys, sizeof f->keys, "%s/keys", f->dir);
    assert_int_equal(seal_keys_open(&f->k, f->keys, true, &err), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    seal_keys_free(f->k);
    AUTO_FD tmp = fs_open_dir("/tmp", &err);
    fs_remove_tree(tmp, f->dir + 5, &err);
    free(f);
    return 0;
}

static struct buf sealed(struct fixture *f, const char *plain, const char *bound)
{
    struct err err = ERR_INIT;
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(seal_box(f->k, span_of(plain), span_of(bound), &out, &err), 0);
    return out;
}

static void what_is_sealed_opens_only_for_what_it_is_bound_to(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    AUTO_BUF box = sealed(f, "hush", "job/1/key"), out;
    buf_init(&out, 4096);
    assert_null(memmem(box.p, box.n, "hush", 4));
    assert_int_equal(seal_open(f->k, buf_span(&box), SPAN_LIT("job/1/key"), &out, &err), 0);
    assert_string_equal(buf_str(&out), "hush");
    buf_reset(&out);
    assert_int_equal(seal_open(f->k, buf_span(&box), SPAN_LIT("job/2/key"), &out, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
    assert_int_equal(out.n, 0);
}

static void every_changed_bit_and_every_cut_is_noticed(void **state)
{
    struct fixture *f = *state;
    AUTO_BUF box = sealed(f, "hush", "b"), out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < box.n * 8; i++) {
        struct err err = ERR_INIT;
        box.p[i / 8] = (char)(box.p[i / 8] ^ (1 << i % 8));
        assert_int_equal(seal_open(f->k, buf_span(&box), SPAN_LIT("b"), &out, &err), -1);
        box.p[i / 8] = (char)(box.p[i / 8] ^ (1 << i % 8));
    }
    for (size_t n = 0; n < box.n; n++) {
        struct err err = ERR_INIT;
        assert_int_equal(seal_open(f->k, span_head(buf_span(&box), n), SPAN_LIT("b"), &out, &err), -1);
    }
}

static void after_a_rotation_old_values_open_and_are_known_as_stale(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    AUTO_BUF box = sealed(f, "hush", "b"), out;
    buf_init(&out, 4096);
    assert_false(seal_is_stale(f->k, buf_span(&box)));
    assert_int_equal(seal_keys_rotate(f->keys, &err), 0);
    seal_keys_free(f->k);
    assert_int_equal(seal_keys_open(&f->k, f->keys, false, &err), 0);
    assert_true(seal_is_stale(f->k, buf_span(&box)));
    assert_int_equal(seal_open(f->k, buf_span(&box), SPAN_LIT("b"), &out, &err), 0);
    assert_string_equal(buf_str(&out), "hush");
    AUTO_BUF again = sealed(f, "hush", "b");
    assert_false(seal_is_stale(f->k, buf_span(&again)));
}

static void another_fleets_key_file_opens_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char path[128];
    struct seal_keys *other = NULL;
    AUTO_BUF box = sealed(f, "hush", "b"), out;
    buf_init(&out, 4096);
    snprintf(path, sizeof path, "%s/other", f->dir);
    assert_int_equal(seal_keys_open(&other, path, true, &err), 0);
    assert_int_equal(seal_open(other, buf_span(&box), SPAN_LIT("b"), &out, &err), -1);
    assert_int_equal(err.kind, ERR_NOTFOUND);
    assert_non_null(strstr(err.hint, "same key file"));
    seal_keys_free(other);
}

static void a_key_file_that_others_may_read_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct seal_keys *k = NULL;
    struct stat st;
    assert_int_equal(stat(f->keys, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(chmod(f->keys, 0640), 0);
    assert_int_equal(seal_keys_open(&k, f->keys, false, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    assert_null(k);
}

struct opener {
    const char *path;
    struct seal_keys *k;
    int rc;
};

static void *open_keys(void *arg)
{
    struct opener *o = arg;
    struct err err = ERR_INIT;
    o->rc = seal_keys_open(&o->k, o->path, true, &err);
    return NULL;
}

static void servers_that_start_at_once_agree_on_one_key(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct opener o[8];
    pthread_t threads[ARRAY_LEN(o)];
    snprintf(path, sizeof path, "%s/shared", f->dir);
    for (size_t i = 0; i < ARRAY_LEN(o); i++) {
        o[i] = (struct opener){.path = path, .rc = -1};
        assert_int_equal(pthread_create(&threads[i], NULL, open_keys, &o[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(o); i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < ARRAY_LEN(o); i++) {
        struct err err = ERR_INIT;
        AUTO_BUF box, out;
        buf_init(&box, 4096);
        buf_init(&out, 4096);
        assert_int_equal(o[i].rc, 0);
        assert_int_equal(seal_box(o[i].k, SPAN_LIT("hush"), SPAN_LIT("b"), &box, &err), 0);
        assert_int_equal(seal_open(o[0].k, buf_span(&box), SPAN_LIT("b"), &out, &err), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(o); i++)
        seal_keys_free(o[i].k);
}

static void a_pipe_is_no_key_file_and_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct seal_keys *k = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s/pipe", f->dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(seal_keys_open(&k, path, false, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
}

static void *add_key(void *arg)
{
    struct opener *o = arg;
    struct err err = ERR_INIT;
    o->rc = seal_keys_rotate(o->path, &err);
    return NULL;
}

static void rotations_at_once_lose_no_key(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct opener o[8];
    struct seal_keys *k = NULL;
    pthread_t threads[ARRAY_LEN(o)];
    for (size_t i = 0; i < ARRAY_LEN(o); i++) {
        o[i] = (struct opener){.path = f->keys, .rc = -1};
        assert_int_equal(pthread_create(&threads[i], NULL, add_key, &o[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(o); i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < ARRAY_LEN(o); i++)
        assert_int_equal(o[i].rc, 0);
    assert_int_equal(seal_keys_open(&k, f->keys, false, &err), 0);
    assert_int_equal(seal_keys_count(k), 9);
    seal_keys_free(k);
}

static void a_key_file_stays_its_owners(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct stat st;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(f->keys, 65534, 65534), 0);
    assert_int_equal(seal_keys_rotate(f->keys, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    assert_int_equal(stat(f->keys, &st), 0);
    assert_int_equal(st.st_uid, 65534);
}

static void a_full_key_file_takes_no_more(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    for (int i = 1; i < SEAL_KEYS_MAX; i++)
        assert_int_equal(seal_keys_rotate(f->keys, &err), 0);
    assert_int_equal(seal_keys_rotate(f->keys, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
    struct seal_keys *k = NULL;
    err_clear(&err);
    assert_int_equal(seal_keys_open(&k, f->keys, false, &err), 0);
    AUTO_BUF box = sealed(f, "hush", "b"), out; /* under what is the oldest key by now */
    buf_init(&out, 4096);
    assert_int_equal(seal_open(k, buf_span(&box), SPAN_LIT("b"), &out, &err), 0);
    seal_keys_free(k);
}

static void damaged_key_files_are_refused_without_showing_them(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {"", "berth-keys 2\nAAAA\n", "berth-keys 1\n", "berth-keys 1\nHUSHHUSH\n",
                                        "berth-keys 1\n!!!!\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct err err = ERR_INIT;
        struct seal_keys *k = NULL;
        assert_int_equal(fs_replace_file(AT_FDCWD, f->keys, texts[i], strlen(texts[i]), 0600, &err), 0);
        assert_int_equal(seal_keys_open(&k, f->keys, false, &err), -1);
        assert_int_equal(err.kind, ERR_INVALID);
        assert_null(strstr(err.text, "HUSH"));
    }
}

static void tokens_differ_and_tell_their_role(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char a[SEAL_TOKEN_MAX], b[SEAL_TOKEN_MAX];
    uint8_t ha[SEAL_HASH_BYTES], hb[SEAL_HASH_BYTES], again[SEAL_HASH_BYTES];
    assert_int_equal(seal_token_new(a, 'p', &err), 0);
    assert_int_equal(seal_token_new(b, 'p', &err), 0);
    assert_int_equal(strncmp(a, "berth_p", 7), 0);
    assert_int_equal(strlen(a), 7 + 43);
    assert_string_not_equal(a, b);
    seal_token_hash(ha, span_of(a));
    seal_token_hash(again, span_of(a));
    seal_token_hash(hb, span_of(b));
    assert_true(seal_equal(ha, again, sizeof ha));
    assert_false(seal_equal(ha, hb, sizeof ha));
}

static void a_grant_is_good_for_its_payload_and_until_its_end(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    uint8_t key[SEAL_SUBKEY_BYTES], other[SEAL_SUBKEY_BYTES];
    char grant[SEAL_GRANT_MAX];
    assert_int_equal(seal_subkey(f->k, "peer", "n-1", key, &err), 0);
    assert_int_equal(seal_subkey(f->k, "peer", "n-2", other, &err), 0);
    assert_int_equal(seal_grant_make(key, SPAN_LIT("abc"), 1000, grant, &err), 0);
    assert_int_equal(seal_grant_check(key, SPAN_LIT("abc"), span_of(grant), 999, &err), 0);
    assert_int_equal(seal_grant_check(key, SPAN_LIT("abc"), span_of(grant), 1000, &err), -1);
    assert_int_equal(err.kind, ERR_DENIED);
    err_clear(&err);
    assert_int_equal(seal_grant_check(key, SPAN_LIT("abd"), span_of(grant), 1, &err), -1);
    err_clear(&err);
    assert_int_equal(seal_grant_check(other, SPAN_LIT("abc"), span_of(grant), 1, &err), -1);
    for (size_t i = 0; grant[i]; i++) {
        char saved = grant[i];
        err_clear(&err);
        grant[i] = saved == '2' ? '3' : '2';
        assert_int_equal(seal_grant_check(key, SPAN_LIT("abc"), span_of(grant), 1, &err), -1);
        grant[i] = saved;
    }
    err_clear(&err);
    AUTO_STR padded = str_printf(&err, "1.0%s", grant + 2); /* the same number, written otherwise */
    assert_int_equal(seal_grant_check(key, SPAN_LIT("abc"), span_of(padded), 1, &err), -1);
    assert_int_equal(err.kind, ERR_DENIED);
}

static void only_the_node_opens_what_is_sealed_to_it(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char path[128];
    struct seal_pair *mine = NULL, *again = NULL, *other = NULL;
    AUTO_BUF box, out;
    buf_init(&box, 4096);
    buf_init(&out, 4096);
    snprintf(path, sizeof path, "%s/node", f->dir);
    assert_int_equal(seal_pair_open(&mine, path, true, &err), 0);
    assert_int_equal(seal_pair_open(&again, path, true, &err), 0);
    assert_memory_equal(seal_pair_public(mine), seal_pair_public(again), SEAL_PUBLIC_BYTES);
    snprintf(path, sizeof path, "%s/node2", f->dir);
    assert_int_equal(seal_pair_open(&other, path, true, &err), 0);
    assert_int_equal(seal_to(seal_pair_public(mine), SPAN_LIT("definition"), &box, &err), 0);
    assert_int_equal(seal_from(mine, buf_span(&box), &out, &err), 0);
    assert_string_equal(buf_str(&out), "definition");
    assert_int_equal(seal_from(other, buf_span(&box), &out, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
    seal_pair_free(mine);
    seal_pair_free(again);
    seal_pair_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_sealed_opens_only_for_what_it_is_bound_to, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_changed_bit_and_every_cut_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_a_rotation_old_values_open_and_are_known_as_stale, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_fleets_key_file_opens_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_file_that_others_may_read_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(servers_that_start_at_once_agree_on_one_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pipe_is_no_key_file_and_is_not_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rotations_at_once_lose_no_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_file_stays_its_owners, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_key_file_takes_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_key_files_are_refused_without_showing_them, set_up, tear_down),
        cmocka_unit_test(tokens_differ_and_tell_their_role),
        cmocka_unit_test_setup_teardown(a_grant_is_good_for_its_payload_and_until_its_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_the_node_opens_what_is_sealed_to_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
