/* One node, two attempts at the same execution: what it still says of the first does not count for the second. Over
 * both databases. */
#include "market_fixture.h"

/* The same node claims, is not heard of for a lease, and claims again: it alone could. */
static void claim_twice(struct world *w, const struct node *n, struct claimed *first, struct claimed *second)
{
    assert_int_equal(claim(w, n, first), 1);
    pass(MARKET_LEASE_MS);
    tick(w);
    beat(w, n, "[]");
    assert_int_equal(claim(w, n, second), 1);
    assert_int_equal(second->ref.index, first->ref.index);
    assert_true(second->ref.epoch > first->ref.epoch);
}

static void an_end_of_an_earlier_attempt_is_refused(void **state)
{
    struct world *w = *state;
    struct posted p = post(w);
    struct node n = node_named(w, "n1");
    struct claimed first, second;
    claim_twice(w, &n, &first, &second);
    REFUSES(ERR_CHANGED, finish_as(w, &n, &first, "failed", false, &err));
    assert_string_equal(state_of(w, p.id), "claimed");
    finish(w, &n, &second);
    assert_string_equal(state_of(w, p.id), "succeeded");
    assert_int_equal(count_of(w->f->db, "SELECT COUNT(*) FROM results"), 1);
}

static void nothing_of_an_earlier_attempt_is_written(void **state)
{
    struct world *w = *state;
    post(w);
    struct node n = node_named(w, "n1");
    struct claimed first, second;
    uint64_t next;
    claim_twice(w, &n, &first, &second);
    REFUSES(ERR_CHANGED, market_node_logs(w->m, &n.c, &first.ref, 1, 0, SPAN_LIT("x"), &next, &err));
    REFUSES(ERR_CHANGED, market_node_commit(w->m, &n.c, &first.ref, NULL, &err));
    REFUSES(ERR_CHANGED, market_node_uploads(w->m, &n.c, &first.ref, NULL, NULL, &err));
    OK(market_node_logs(w->m, &n.c, &second.ref, 1, 0, SPAN_LIT("x"), &next, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MARKET_TEST(an_end_of_an_earlier_attempt_is_refused),
        MARKET_TEST(nothing_of_an_earlier_attempt_is_written),
    };
    return RUN_OVER_BOTH(tests);
}
