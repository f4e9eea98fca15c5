/* What follows the front of a file is looked at under the file's mutex: its end, on another thread, may make it anew.
 */
#include "xfer/xfer_priv.h"
#include "xfer_rig.h"

static _Thread_local struct xfer_file *growing;
static atomic_uint looks, unguarded;

void __real_file_front_grew(struct xfer_file *f);
void __wrap_file_front_grew(struct xfer_file *f);
bool __real_verify_is_ordered(const struct verify *v);
bool __wrap_verify_is_ordered(const struct verify *v);

void __wrap_file_front_grew(struct xfer_file *f)
{
    growing = f;
    __real_file_front_grew(f);
    growing = NULL;
}

bool __wrap_verify_is_ordered(const struct verify *v)
{
    if (growing) {
        atomic_fetch_add(&looks, 1);
        if (pthread_mutex_trylock(&growing->mu) == 0) {
            atomic_fetch_add(&unguarded, 1);
            pthread_mutex_unlock(&growing->mu);
        }
    }
    return __real_verify_is_ordered(v);
}

static void the_digests_of_a_growing_file_are_looked_at_under_its_mutex(void **state)
{
    struct xrig r;
    struct err err = ERR_INIT;
    xrig_init(&r, state, OBJECT_SIZE);
    r.get.want.has_full = true;
    assert_int_equal(digest_bytes(DIGEST_SHA256, r.bytes, r.size, &r.get.want.full, &err), 0);
    xrig_open(&r, &(struct xfer_opts){.threads = 2});
    atomic_store(&looks, 0);
    xrig_must_succeed(&r);
    assert_true(r.result.verified);
    assert_true(atomic_load(&looks) > 0);
    assert_int_equal(atomic_load(&unguarded), 0);
    xrig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_LANES(the_digests_of_a_growing_file_are_looked_at_under_its_mutex),
    };
    return cmocka_run_group_tests_name("xfer front", tests, NULL, NULL);
}
