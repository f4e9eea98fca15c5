#include "fixture.h"

#include <stdlib.h>
#include <string.h>

static const char secret[] = "X-Amz-Signature=c4n4ry";

static void make_entry(struct fixture *f, const char *identity, const char *key, uint8_t scope,
                       char id[SNAPSHOT_ID_MAX])
{
    struct err err = ERR_INIT;
    struct cache_entry e = {.identity = identity, .scope = {scope}};
    struct cache_blob b = store(f->c, f->lease, key, (unsigned)key[0], 100, true);
    snapshot_of(f->c, f->lease, &b, 1, e.snapshot);
    assert_ok(cache_entry_put(f->c, &e, &err), err);
    memcpy(id, e.snapshot, SNAPSHOT_ID_MAX);
}

static void an_entry_is_for_one_identity_and_one_scope(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char id[SNAPSHOT_ID_MAX];
    struct cache_entry got;
    bool found;
    const uint8_t mine[32] = {1}, other[32] = {2};
    make_entry(f, "s3://bucket/key", "a", 1, id);
    assert_ok(cache_entry_get(f->c, f->lease, "s3://bucket/key", mine, &got, &found, &err), err);
    assert_true(found);
    assert_string_equal(got.snapshot, id);
    assert_int_equal(got.downloaded_ms, NOW_MS);
    assert_ok(cache_entry_get(f->c, f->lease, "s3://bucket/key", other, &got, &found, &err), err);
    assert_false(found);
    assert_ok(cache_entry_get(f->c, f->lease, "s3://bucket/kex", mine, &got, &found, &err), err);
    assert_false(found);
    struct cache_entry bad = {.identity = "x", .snapshot = "none"};
    assert_int_equal(cache_entry_put(f->c, &bad, &err), -1);
    assert_int_equal(err.kind, ERR_NOTFOUND);
}

static void a_proof_holds_for_its_credential_and_list_until_the_ttl(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const uint8_t who[32] = {1}, other[32] = {2}, list[32] = {3};
    bool has;
    assert_ok(cache_proof_put(f->c, who, list, &err), err);
    assert_ok(cache_proof_has(f->c, who, list, &has, &err), err);
    assert_true(has);
    assert_ok(cache_proof_has(f->c, other, list, &has, &err), err);
    assert_false(has);
    assert_ok(cache_proof_has(f->c, who, other, &has, &err), err);
    assert_false(has);
    f->now_ms += INT64_C(86400001);
    assert_ok(cache_proof_has(f->c, who, list, &has, &err), err);
    assert_false(has);
    f->now_ms = NOW_MS - 1000; /* the clock was set back */
    assert_ok(cache_proof_has(f->c, who, list, &has, &err), err);
    assert_false(has);
}

static void scopes_of_two_caches_tell_nothing_about_one_another(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct fixture other;
    const uint8_t who[32] = {1}, whom[32] = {2};
    uint8_t a[32], again[32], b[32], c[32];
    fixture_init(&other, "/tmp");
    fixture_open(&other);
    assert_ok(cache_scope_key(f->c, who, a, &err), err);
    assert_ok(cache_scope_key(f->c, who, again, &err), err);
    assert_ok(cache_scope_key(f->c, whom, b, &err), err);
    assert_ok(cache_scope_key(other.c, who, c, &err), err);
    assert_memory_equal(a, again, 32);
    assert_memory_not_equal(a, b, 32);
    assert_memory_not_equal(a, c, 32);
    fixture_release(&other);
}

static void the_list_shows_what_there_is_without_secrets(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char a[SNAPSHOT_ID_MAX], b[SNAPSHOT_ID_MAX], identity[128];
    snprintf(identity, sizeof identity, "url https://me:c4n4ry@host/file?%s exact", secret);
    make_entry(f, identity, "a", 0, a);
    f->now_ms += 5;
    make_entry(f, "s3 https://host/bucket/", "b", 1, b);
    assert_ok(cache_pin(f->c, a, "market x", &err), err);
    AUTO_JSON list = cache_list(f->c, &err);
    assert_non_null(list);
    assert_int_equal(json_array_size(list), 2);
    json_t *first = json_array_get(list, 0), *second = json_array_get(list, 1);
    assert_string_equal(json_get_str(first, "snapshot"), b);
    assert_string_equal(json_get_str(second, "origin"), "url https://…@host/file?… exact");
    assert_true(json_is_true(json_object_get(second, "public")));
    assert_true(json_is_false(json_object_get(first, "public")));
    assert_string_equal(json_string_value(json_array_get(json_object_get(second, "pinned_by"), 0)), "market x");
    assert_int_equal(json_integer_value(json_object_get(first, "leases")), 1);
    assert_int_equal(json_integer_value(json_object_get(first, "bytes")), 100);
    assert_int_equal(json_integer_value(json_object_get(first, "downloaded_ms")), NOW_MS + 5);
    AUTO_BUF text;
    buf_init(&text, 1 << 20);
    assert_ok(json_write(list, false, &text, &err), err);
    assert_null(strstr(buf_str(&text), "c4n4ry"));
}

static void no_secret_of_an_identity_or_a_location_reaches_the_disk(void **state)
{
    struct fixture *f = *state;
    char id[SNAPSHOT_ID_MAX], identity[128], command[300];
    snprintf(identity, sizeof identity, "url https://host/file?%s", secret);
    make_entry(f, identity, "a", 0, id);
    store(f->c, f->lease, identity, 5, 10, false);
    fixture_close(f);
    snprintf(command, sizeof command, "! grep -rq c4n4ry %s", f->cache);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c,concurrency-mt-unsafe): a path of our own */
}

static void snapshots_are_found_by_prefix_or_identity(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char a[SNAPSHOT_ID_MAX], b[SNAPSHOT_ID_MAX], got[SNAPSHOT_ID_MAX], brief[16];
    make_entry(f, "s3://bucket/a", "a", 0, a);
    make_entry(f, "url https://host/x?sig=1", "b", 0, b);
    snprintf(brief, sizeof brief, "%.6s", a);
    assert_ok(cache_find(f->c, brief, got, &err), err);
    assert_string_equal(got, a);
    assert_ok(cache_find(f->c, "url https://host/x?sig=1", got, &err), err);
    assert_string_equal(got, b);
    assert_ok(cache_find(f->c, "url https://host/x?…", got, &err), err);
    assert_string_equal(got, b);
    brief[5] = '\0';
    assert_int_equal(cache_find(f->c, brief, got, &err), -1);
    assert_int_equal(err.kind, ERR_NOTFOUND);
    err_clear(&err);
    assert_int_equal(cache_find(f->c, "", got, &err), -1);
}

static void what_is_in_use_or_pinned_is_not_removed_by_hand(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char id[SNAPSHOT_ID_MAX];
    uint64_t freed;
    make_entry(f, "s3://bucket/a", "a", 0, id);
    assert_ok(cache_pin(f->c, id, "user", &err), err);
    assert_int_equal(cache_remove(f->c, id, true, &freed, &err), -1);
    assert_int_equal(err.kind, ERR_BUSY);
    cache_lease_free(f->lease);
    f->lease = NULL;
    err_clear(&err);
    assert_int_equal(cache_remove(f->c, id, false, &freed, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    err_clear(&err);
    assert_ok(cache_remove(f->c, id, true, &freed, &err), err);
    assert_int_equal(freed, 100);
    assert_int_equal(cache_remove(f->c, id, true, &freed, &err), -1);
    assert_int_equal(err.kind, ERR_NOTFOUND);
    assert_agreement(f);
}

static void the_whole_and_one_snapshot_can_be_looked_at(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char id[SNAPSHOT_ID_MAX];
    make_entry(f, "s3://bucket/a", "a", 0, id);
    AUTO_JSON whole = cache_stat(f->c, NULL, &err);
    AUTO_JSON one = cache_stat(f->c, id, &err);
    assert_true(whole && one);
    assert_int_equal(json_integer_value(json_object_get(whole, "blobs")), 1);
    assert_int_equal(json_integer_value(json_object_get(whole, "blobs_bytes")), 100);
    assert_int_equal(json_array_size(json_object_get(whole, "jobs")), 1);
    assert_int_equal(json_integer_value(json_object_get(one, "own_bytes")), 100);
    assert_true(json_is_true(json_object_get(one, "built")));
    assert_null(cache_stat(f->c, "nothing", &err));
    assert_int_equal(err.kind, ERR_NOTFOUND);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_entry_is_for_one_identity_and_one_scope),
        TEST(a_proof_holds_for_its_credential_and_list_until_the_ttl),
        TEST(scopes_of_two_caches_tell_nothing_about_one_another),
        TEST(the_list_shows_what_there_is_without_secrets),
        TEST(no_secret_of_an_identity_or_a_location_reaches_the_disk),
        TEST(snapshots_are_found_by_prefix_or_identity),
        TEST(what_is_in_use_or_pinned_is_not_removed_by_hand),
        TEST(the_whole_and_one_snapshot_can_be_looked_at),
    };
    return cmocka_run_group_tests_name("cache admin", tests, NULL, NULL);
}
