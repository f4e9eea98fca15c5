/* The rules of the queue, over both databases. */
#include "market_fixture.h"

#include "market/hold.h"

#include <pthread.h>

static void a_job_runs_once_and_its_history_says_how(void **state)
{
    struct world *w = *state;
    struct posted p = post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    json_t *o = NULL;
    assert_string_equal(state_of(w, p.id), "queued");
    assert_int_equal(claim(w, &n, &c), 1);
    assert_string_equal(c.job, p.id);
    assert_string_equal(state_of(w, p.id), "claimed");
    assert_int_equal(claim(w, &n, NULL), 0);
    beat(w, &n, running_of(&c, "staging"));
    beat(w, &n, running_of(&c, "running"));
    beat(w, &n, running_of(&c, "staging")); /* late: no step back */
    assert_string_equal(state_of(w, p.id), "running");
    OK(market_node_commit(w->m, &n.c, &c.ref, NULL, &err));
    assert_string_equal(state_of(w, p.id), "publishing");
    finish(w, &n, &c);
    assert_string_equal(state_of(w, p.id), "succeeded");
    OK(market_job_history(w->m, &w->poster, p.id, &o, &err));
    static const char *const steps[] = {"claimed", "staging", "running", "publishing", "succeeded"};
    json_t *list = json_object_get(o, "history");
    assert_int_equal(json_array_size(list), ARRAY_LEN(steps));
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        assert_string_equal(json_get_str(json_array_get(list, i), "to"), steps[i]);
    json_decref(o);
}

static void priority_goes_first_then_age(void **state)
{
    struct world *w = *state;
    struct posted old = post_priority(w, 0);
    pass(1000);
    struct posted young = post_priority(w, 0);
    pass(1000);
    struct posted urgent = post_priority(w, 10);
    struct node n = node_named(w, "n1");
    const char *const order[] = {urgent.id, old.id, young.id};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        struct claimed c;
        assert_int_equal(claim(w, &n, &c), 1);
        assert_string_equal(c.job, order[i]);
    }
}

static void waiting_makes_up_for_priority(void **state)
{
    struct world *w = *state;
    struct posted humble = post_priority(w, -5);
    pass(16 * 60000);
    post_priority(w, 10);
    struct node n = node_named(w, "n1");
    struct claimed c;
    assert_int_equal(claim(w, &n, &c), 1);
    assert_string_equal(c.job, humble.id);
}

static void several_executions_come_in_one_call_up_to_the_slots(void **state)
{
    struct world *w = *state;
    struct node n = node_with(w, "n1", 3, "{}", NULL);
    json_t *o = NULL;
    for (int i = 0; i < 5; i++)
        post(w);
    OK(market_node_claim(w->m, &n.c, 8, NULL, &o, &err));
    assert_int_equal(json_array_size(json_object_get(o, "claims")), 3);
    market_secrets_free(o);
    assert_int_equal(claim(w, &n, NULL), 0);
}

static void a_count_is_that_many_executions(void **state)
{
    struct world *w = *state;
    struct market_post p = MARKET_POST_OWN;
    struct posted job = post_with(
        w,
        "{\"Name\":\"many\",\"Type\":\"batch\",\"Count\":3,\"Tasks\":[{\"Name\":\"main\",\"Engine\":{\"Type\":"
        "\"docker\",\"Params\":{\"Image\":\"busybox\"}}}]}",
        &p);
    struct node n = node_named(w, "n1");
    struct claimed c[3];
    unsigned seen = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(claim(w, &n, &c[i]), 1);
        assert_string_equal(c[i].job, job.id);
        seen |= BIT(c[i].ref.index);
    }
    assert_int_equal(seen, 7);
    finish(w, &n, &c[0]);
    finish(w, &n, &c[1]);
    assert_string_equal(state_of(w, job.id), "claimed");
    OK(finish_as(w, &n, &c[2], "failed", false, &err));
    assert_string_equal(state_of(w, job.id), "failed");
}

static void a_lost_lease_queues_it_again_and_refuses_the_late_node(void **state)
{
    struct world *w = *state;
    struct posted p = post(w);
    struct node frozen = node_named(w, "frozen"), other = node_named(w, "other");
    struct claimed first, second;
    assert_int_equal(claim(w, &frozen, &first), 1);
    pass(MARKET_LEASE_MS - 1);
    tick(w);
    assert_string_equal(state_of(w, p.id), "claimed");
    pass(1);
    tick(w);
    assert_string_equal(state_of(w, p.id), "queued");
    REFUSES(ERR_CHANGED, finish_as(w, &frozen, &first, "succeeded", false, &err));
    beat(w, &other, "[]");
    assert_int_equal(claim(w, &other, &second), 1);
    assert_int_equal(second.attempt, 2);
    assert_true(second.ref.epoch > first.ref.epoch);
    uint64_t next;
    REFUSES(ERR_CHANGED, market_node_logs(w->m, &frozen.c, &first.ref, 1, 0, SPAN_LIT("x"), &next, &err));
    REFUSES(ERR_CHANGED, market_node_commit(w->m, &frozen.c, &first.ref, NULL, &err));
    REFUSES(ERR_CHANGED, finish_as(w, &frozen, &first, "succeeded", false, &err));
    REFUSES(ERR_CHANGED, market_node_uploads(w->m, &frozen.c, &first.ref, NULL, NULL, &err));
    finish(w, &other, &second);
    REFUSES(ERR_CHANGED, finish_as(w, &frozen, &first, "succeeded", false, &err));
    assert_int_equal(count_of(w->f->db, "SELECT COUNT(*) FROM results"), 1);
}

static void a_heartbeat_renews_what_is_held_and_names_what_is_lost(void **state)
{
    struct world *w = *state;
    post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    json_t *o = NULL;
    assert_int_equal(claim(w, &n, &c), 1);
    for (int i = 0; i < 10; i++) {
        pass(MARKET_LEASE_MS / 2);
        beat(w, &n, running_of(&c, "running"));
        tick(w);
    }
    assert_string_equal(state_of(w, c.job), "running");
    pass(MARKET_LEASE_MS);
    tick(w);
    AUTO_JSON running = json_of(running_of(&c, "running"));
    const struct market_heartbeat h = {.ready = true, .running = running};
    OK(market_node_heartbeat(w->m, &n.c, &h, &o, &err));
    assert_int_equal(json_array_size(json_object_get(o, "renewed")), 0);
    assert_int_equal(json_array_size(json_object_get(o, "lost")), 1);
    json_decref(o);
}

static void attempts_end(void **state)
{
    struct world *w = *state;
    struct posted p = post(w);
    struct node n = node_named(w, "n1");
    for (int i = 0; i < 3; i++) {
        struct claimed c;
        assert_int_equal(claim(w, &n, &c), 1);
        assert_int_equal(c.attempt, i + 1);
        pass(MARKET_LEASE_MS);
        tick(w);
        beat(w, &n, "[]");
    }
    assert_string_equal(state_of(w, p.id), "failed");
    assert_int_equal(claim(w, &n, NULL), 0);
}

static void the_node_that_lost_it_takes_it_only_if_no_other_could(void **state)
{
    struct world *w = *state;
    post(w);
    struct node a = node_named(w, "a"), b = node_named(w, "b");
    struct claimed c;
    assert_int_equal(claim(w, &a, &c), 1);
    OK(finish_as(w, &a, &c, "failed", true, &err));
    assert_int_equal(claim(w, &a, &c), 0);
    assert_int_equal(claim(w, &b, &c), 1);
    OK(finish_as(w, &b, &c, "failed", true, &err));
    pass(MARKET_LEASE_MS);
    beat(w, &b, "[]"); /* a is gone */
    assert_int_equal(claim(w, &b, &c), 1);
}

static void the_same_finish_again_is_fine_and_another_is_not(void **state)
{
    struct world *w = *state;
    struct posted p = post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    assert_int_equal(claim(w, &n, &c), 1);
    finish(w, &n, &c);
    finish(w, &n, &c);
    REFUSES(ERR_CHANGED, finish_as(w, &n, &c, "failed", false, &err));
    assert_string_equal(state_of(w, p.id), "succeeded");
    assert_int_equal(count_of(w->f->db, "SELECT COUNT(*) FROM results"), 1);
}

static void a_retry_said_twice_queues_it_once(void **state)
{
    struct world *w = *state;
    post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    assert_int_equal(claim(w, &n, &c), 1);
    OK(finish_as(w, &n, &c, "failed", true, &err));
    OK(finish_as(w, &n, &c, "failed", true, &err));
    assert_int_equal(count_of(w->f->db, "SELECT COUNT(*) FROM history"), 2);
}

/* Half a character at the end would be refused by the database. */
static void a_long_reason_is_cut_where_a_character_ends(void **state)
{
    struct world *w = *state;
    char reason[2001] = "";
    for (size_t i = 0; i + 3 < sizeof(reason); i += 3)
        strcat(reason, "\xe2\x82\xac");
    struct posted running = post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    json_t *o = NULL;
    assert_int_equal(claim(w, &n, &c), 1);
    OK(market_job_stop(w->m, &w->poster, running.id, reason, NULL, &err));
    const struct market_finish f = {.outcome = "stopped", .reason = reason};
    OK(market_node_finish(w->m, &n.c, &c.ref, &f, &err));
    OK(market_job_get(w->m, &w->poster, running.id, 0, &o, &err));
    size_t kept = strlen(json_get_str(json_object_get(o, "job"), "reason"));
    assert_true(kept > 500 && kept % 3 == 0);
    json_decref(o);
}

static void a_stop_ends_queued_ones_at_once_and_tells_the_node_of_others(void **state)
{
    struct world *w = *state;
    struct posted waiting = post(w);
    OK(market_job_stop(w->m, &w->poster, waiting.id, "no more", NULL, &err));
    assert_string_equal(state_of(w, waiting.id), "stopped");
    REFUSES(ERR_REFUSED, market_job_stop(w->m, &w->poster, waiting.id, NULL, NULL, &err));

    struct posted running = post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    bool news;
    json_t *o = NULL;
    assert_int_equal(claim(w, &n, &c), 1);
    OK(market_node_control(w->m, &n.c, NULL, 0, &news, NULL, &err));
    assert_false(news);
    OK(market_job_stop(w->m, &w->poster, running.id, "no more", NULL, &err));
    assert_string_equal(w->last_changed, "n1");
    OK(market_node_control(w->m, &n.c, NULL, 0, &news, &o, &err));
    assert_true(news);
    json_t *stop = json_array_get(json_object_get(o, "stop"), 0);
    assert_string_equal(json_get_str(stop, "job"), running.id);
    assert_string_equal(json_get_str(stop, "reason"), "no more");
    json_decref(o);
    OK(market_node_control(w->m, &n.c, NULL, 0, &news, NULL, &err));
    assert_false(news); /* told, for now */
    REFUSES(ERR_REFUSED, market_node_commit(w->m, &n.c, &c.ref, NULL, &err));
    OK(finish_as(w, &n, &c, "stopped", false, &err));
    assert_string_equal(state_of(w, running.id), "stopped");
}

static void a_node_that_ignores_a_stop_loses_its_claim(void **state)
{
    struct world *w = *state;
    struct posted p = post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    assert_int_equal(claim(w, &n, &c), 1);
    OK(market_job_stop(w->m, &w->poster, p.id, NULL, NULL, &err));
    for (int i = 0; i < 4; i++) {
        pass(MARKET_STOP_GRACE_MS / 4);
        beat(w, &n, running_of(&c, "running"));
    }
    tick(w);
    assert_string_equal(state_of(w, p.id), "stopped");
    REFUSES(ERR_CHANGED, finish_as(w, &n, &c, "succeeded", false, &err));
}

static void queue_and_total_time_outs_end_jobs(void **state)
{
    struct world *w = *state;
    struct market_post p = MARKET_POST_OWN;
    p.queue_timeout_ms = 1000;
    struct posted queued = post_with(w, JOB_TEXT, &p);
    p.queue_timeout_ms = 0;
    p.total_timeout_ms = 5000;
    struct posted total = post_with(w, JOB_TEXT, &p);
    struct node n = node_named(w, "n1");
    struct claimed c;
    pass(1000);
    assert_int_equal(claim(w, &n, &c), 1); /* the other one is past its time, though no tick has seen it */
    assert_string_equal(c.job, total.id);
    tick(w);
    assert_string_equal(state_of(w, queued.id), "expired");
    pass(4000);
    beat(w, &n, running_of(&c, "running"));
    tick(w);
    assert_string_equal(state_of(w, total.id), "running");
    bool news;
    OK(market_node_control(w->m, &n.c, NULL, 0, &news, NULL, &err));
    assert_true(news);
    OK(finish_as(w, &n, &c, "stopped", false, &err));
    assert_string_equal(state_of(w, total.id), "timed_out");
}

static void needs_and_constraints_are_matched(void **state)
{
    struct world *w = *state;
    struct market_post p = MARKET_POST_OWN;
    post_with(w,
              "{\"Name\":\"picky\",\"Type\":\"batch\",\"Constraints\":[{\"Key\":\"zone\",\"Operator\":\"in\","
              "\"Values\":[\"eu\"]}],\"Tasks\":[{\"Name\":\"main\",\"Engine\":{\"Type\":\"docker\",\"Params\":{"
              "\"Image\":\"busybox\"}},\"Resources\":{\"GPU\":\"2\",\"CPU\":\"4\"}}]}",
              &p);
    struct node us = node_with(w, "us", 4, "{\"zone\":\"us\"}", NULL),
                eu = node_with(w, "eu", 4, "{\"zone\":\"eu\"}", NULL);
    struct claimed c;
    assert_int_equal(claim(w, &us, &c), 0);
    assert_int_equal(claim(w, &eu, &c), 1);
    /* Its two GPUs are in use now. */
    p = (struct market_post)MARKET_POST_OWN;
    post_with(w,
              "{\"Name\":\"one\",\"Type\":\"batch\",\"Tasks\":[{\"Name\":\"main\",\"Engine\":{\"Type\":\"docker\","
              "\"Params\":{\"Image\":\"busybox\"}},\"Resources\":{\"GPU\":\"1\"}}]}",
              &p);
    assert_int_equal(claim(w, &eu, NULL), 0);
    finish(w, &eu, &c);
    assert_int_equal(claim(w, &eu, NULL), 1);
}

static void jobs_behind_many_that_do_not_fit_are_reached(void **state)
{
    struct world *w = *state;
    struct market_post p = MARKET_POST_OWN;
    post_with(w,
              "{\"Name\":\"elsewhere\",\"Type\":\"batch\",\"Count\":3000,\"Constraints\":[{\"Key\":\"zone\","
              "\"Operator\":\"exists\",\"Values\":[]}],\"Tasks\":[{\"Name\":\"main\",\"Engine\":{\"Type\":\"docker\","
              "\"Params\":{\"Image\":\"busybox\"}}}]}",
              &p);
    pass(1);
    struct posted mine = post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    int looks = 0;
    while (claim(w, &n, &c) == 0 && looks < 20)
        looks++;
    assert_true(looks < 20);
    assert_string_equal(c.job, mine.id);
}

static void nodes_that_may_not_work_get_nothing(void **state)
{
    struct world *w = *state;
    struct posted p = post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    OK(market_node_set(w->m, &w->manager, "n1", MARKET_DRAIN, NULL, &err));
    assert_int_equal(claim(w, &n, NULL), 0);
    OK(market_node_set(w->m, &w->manager, "n1", MARKET_UNDRAIN, NULL, &err));
    const struct market_heartbeat unready = {.ready = false};
    OK(market_node_heartbeat(w->m, &n.c, &unready, NULL, &err));
    assert_int_equal(claim(w, &n, NULL), 0);
    beat(w, &n, "[]");
    pass(MARKET_LEASE_MS);
    assert_int_equal(claim(w, &n, NULL), 0); /* not heard of for too long */
    beat(w, &n, "[]");
    assert_int_equal(claim(w, &n, &c), 1);
    OK(market_node_set(w->m, &w->manager, "n1", MARKET_REJECT, NULL, &err));
    assert_string_equal(state_of(w, p.id), "queued");
    REFUSES(ERR_CHANGED, finish_as(w, &n, &c, "succeeded", false, &err));
    assert_int_equal(claim(w, &n, NULL), 0);
}

#define HF_JOB                                                                                                         \
    "{\"Name\":\"model\",\"Type\":\"batch\",\"Tasks\":[{\"Name\":\"main\",\"Engine\":{\"Type\":\"docker\",\"Params\":" \
    "{"                                                                                                                \
    "\"Image\":\"busybox\"}},\"InputSources\":[{\"Source\":{\"Type\":\"s3\",\"Params\":{\"Bucket\":\"models\","        \
    "\"Key\":\"llama/\"}},\"Target\":\"/in\"}]}]}"

#define TWO_INPUTS_JOB                                                                                                 \
    "{\"Name\":\"model\",\"Type\":\"batch\",\"Tasks\":[{\"Name\":\"main\",\"Engine\":{\"Type\":\"docker\",\"Params\":" \
    "{\"Image\":\"busybox\"}},\"InputSources\":["                                                                      \
    "{\"Source\":{\"Type\":\"s3\",\"Params\":{\"Bucket\":\"b\",\"Key\":\"one/\"}},\"Target\":\"/1\"},"                 \
    "{\"Source\":{\"Type\":\"s3\",\"Params\":{\"Bucket\":\"b\",\"Key\":\"two/\"}},\"Target\":\"/2\"}]}]}"

static void a_job_waits_a_little_for_the_node_that_holds_its_inputs(void **state)
{
    struct world *w = *state;
    struct market_post p = MARKET_POST_OWN;
    struct node has = node_named(w, "has"), lacks = node_named(w, "lacks");
    struct job *job = parse_job(HF_JOB);
    char key[HOLD_KEY_MAX], text[256];
    struct err why = ERR_INIT;
    assert_int_equal(hold_key(&job->ops[0].inputs[0], key, &why), 1);
    job_free(job);
    snprintf(text, sizeof(text), "[{\"key\":\"%s\",\"bytes\":500000000}]", key);
    AUTO_JSON holds = json_of(text);
    const struct market_heartbeat h = {.ready = true, .holds = holds};
    OK(market_node_heartbeat(w->m, &has.c, &h, NULL, &err));
    post_with(w, HF_JOB, &p);
    assert_int_equal(claim(w, &lacks, NULL), 0);
    assert_int_equal(claim(w, &has, NULL), 1);
    post_with(w, HF_JOB, &p);
    pass(3999); /* 500 MB at 125 MB/s */
    assert_int_equal(claim(w, &lacks, NULL), 0);
    pass(1);
    assert_int_equal(claim(w, &lacks, NULL), 1);
}

static void a_node_that_lies_about_what_it_holds_stops_nobodys_claims(void **state)
{
    struct world *w = *state;
    struct market_post p = MARKET_POST_OWN;
    struct node liar = node_named(w, "liar"), other = node_named(w, "other");
    struct job *job = parse_job(TWO_INPUTS_JOB);
    char keys[2][HOLD_KEY_MAX], text[512];
    struct err why = ERR_INIT;
    for (int i = 0; i < 2; i++)
        assert_int_equal(hold_key(&job->ops[0].inputs[i], keys[i], &why), 1);
    job_free(job);
    snprintf(text, sizeof(text), "[{\"key\":\"%s\",\"bytes\":%lld},{\"key\":\"%s\",\"bytes\":%lld}]", keys[0],
             (long long)INT64_MAX, keys[1], (long long)INT64_MAX);
    AUTO_JSON holds = json_of(text);
    const struct market_heartbeat h = {.ready = true, .holds = holds};
    OK(market_node_heartbeat(w->m, &liar.c, &h, NULL, &err));
    OK(market_node_heartbeat(w->m, &liar.c, &h, NULL, &err));
    post_with(w, TWO_INPUTS_JOB, &p);
    assert_int_equal(claim(w, &other, NULL), 0); /* waits for it, as long as for anybody */
    pass(10000);
    assert_int_equal(claim(w, &other, NULL), 1);
}

/* ---- How far it is */

static json_t *execution_of(struct world *w, const char *job, size_t index)
{
    json_t *out = NULL;
    OK(market_job_executions(w->m, &w->poster, job, &out, &err));
    json_t *one = json_incref(json_array_get(json_object_get(out, "executions"), index));
    json_decref(out);
    return one;
}

static void say_progress(struct world *w, const struct node *n, const struct claimed *c, size_t bytes)
{
    json_t *out = NULL, *progress = json_object(), *running = json_array();
    char *text = calloc(1, bytes + 1);
    memset(text, 'x', bytes);
    json_object_set_new(progress, "inputs", json_string(text));
    json_array_append_new(running,
                          json_pack("{s:s,s:i,s:I,s:s,s:o}", "job", c->job, "index", (int)c->ref.index, "epoch",
                                    (json_int_t)c->ref.epoch, "state", "staging", "progress", progress));
    const struct market_heartbeat h = {.ready = true, .running = running};
    OK(market_node_heartbeat(w->m, &n->c, &h, &out, &err));
    assert_int_equal(json_array_size(json_object_get(out, "renewed")), 1);
    json_decref(out);
    json_decref(running);
    free(text);
}

static void progress_is_kept_while_it_is_held_and_short(void **state)
{
    struct world *w = *state;
    struct posted p = post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    assert_int_equal(claim(w, &n, &c), 1);
    say_progress(w, &n, &c, 100);
    AUTO_JSON kept = execution_of(w, p.id, 0);
    assert_int_equal(strlen(json_get_str(json_object_get(kept, "progress"), "inputs")), 100);
    say_progress(w, &n, &c, MARKET_PROGRESS_MAX); /* and some brackets */
    AUTO_JSON dropped = execution_of(w, p.id, 0);
    assert_true(json_is_null(json_object_get(dropped, "progress")));
    assert_string_equal(json_get_str(dropped, "state"), "staging");
    say_progress(w, &n, &c, 100);
    finish(w, &n, &c);
    AUTO_JSON over = execution_of(w, p.id, 0);
    assert_string_equal(json_get_str(over, "state"), "succeeded");
    assert_true(json_is_null(json_object_get(over, "progress")));
}

static void a_new_attempt_begins_without_the_progress_of_the_last(void **state)
{
    struct world *w = *state;
    struct posted p = post(w);
    struct node n = node_named(w, "n1");
    struct claimed c;
    assert_int_equal(claim(w, &n, &c), 1);
    say_progress(w, &n, &c, 100);
    OK(finish_as(w, &n, &c, "failed", true, &err));
    AUTO_JSON again = execution_of(w, p.id, 0);
    assert_string_equal(json_get_str(again, "state"), "queued");
    assert_true(json_is_null(json_object_get(again, "progress")));
}

#define MANY_JOB                                                                                                       \
    "{\"Name\":\"many\",\"Type\":\"batch\",\"Count\":50,\"Tasks\":[{\"Name\":\"main\",\"Engine\":{\"Type\":"           \
    "\"docker\",\"Params\":{\"Image\":\"busybox\"}}}]}"
#define LONG_TEXT_BYTES (1 << 20)

/* Of what an older server kept, too. */
static void an_answer_has_room_for_so_much_progress_only(void **state)
{
    struct world *w = *state;
    struct market_post post = MARKET_POST_OWN;
    struct posted p = post_with(w, MANY_JOB, &post);
    struct buf sql;
    buf_init(&sql, 2 * LONG_TEXT_BYTES);
    buf_adds(&sql, "UPDATE executions SET progress = '{\"inputs\":\"");
    for (int i = 0; i < LONG_TEXT_BYTES; i++)
        buf_adds(&sql, "x");
    buf_adds(&sql, "\"}'");
    must_exec(w->f->db, buf_str(&sql));
    buf_release(&sql);
    json_t *out = NULL;
    OK(market_job_get(w->m, &w->poster, p.id, MARKET_WITH_EXECUTIONS, &out, &err));
    size_t bytes = json_dumpb(out, NULL, 0, JSON_COMPACT), n = json_array_size(json_object_get(out, "executions"));
    json_decref(out);
    assert_int_equal(n, 50);
    assert_in_range(bytes, 7 * LONG_TEXT_BYTES, 9 * LONG_TEXT_BYTES);
}

/* ---- Races */

#define RACERS 8
#define RACED  120

struct racer {
    struct world *w;
    struct node n;
    struct market *m;
    int taken;
    char seen[RACED][MARKET_ID_MAX + 16];
};

static void *race(void *ctx)
{
    struct racer *r = ctx;
    for (int idle = 0; idle < 30 && r->taken < RACED;) {
        struct err err = ERR_INIT;
        json_t *o = NULL, *c;
        int64_t index = 0, epoch = 0;
        size_t i;
        if (market_node_claim(r->m, &r->n.c, 2, NULL, &o, &err) < 0) {
            fprintf(stderr, "claim: %s\n", err.text);
            return NULL;
        }
        idle = json_array_size(json_object_get(o, "claims")) ? 0 : idle + 1;
        json_array_foreach(json_object_get(o, "claims"), i, c)
        {
            const char *job = json_get_str(c, "job");
            json_get_i64(c, "index", &index);
            json_get_i64(c, "epoch", &epoch);
            snprintf(r->seen[r->taken++], sizeof(r->seen[0]), "%s/%lld", job, (long long)index);
            const struct market_ref ref = {job, (uint32_t)index, epoch};
            const struct market_finish f = {.outcome = "succeeded"};
            if (market_node_finish(r->m, &r->n.c, &ref, &f, &err) < 0)
                fprintf(stderr, "finish: %s\n", err.text);
        }
        market_secrets_free(o);
    }
    return NULL;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void racing_nodes_never_get_the_same_execution(void **state)
{
    struct world *w = *state;
    static struct racer racers[RACERS];
    static char all[RACED + 1][MARKET_ID_MAX + 16];
    pthread_t threads[RACERS];
    size_t n = 0;
    for (int i = 0; i < RACED / 4; i++) { /* jobs of four, so that moves of one job race too */
        struct market_post p = MARKET_POST_OWN;
        post_with(w,
                  "{\"Name\":\"four\",\"Type\":\"batch\",\"Count\":4,\"Tasks\":[{\"Name\":\"main\",\"Engine\":{"
                  "\"Type\":\"docker\",\"Params\":{\"Image\":\"busybox\"}}}]}",
                  &p);
    }
    for (int i = 0; i < RACERS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "racer%d", i);
        racers[i] = (struct racer){.w = w, .n = node_named(w, name), .m = open_more(w)};
    }
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    for (int i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < RACERS; i++) {
        for (int k = 0; k < racers[i].taken && n < RACED; k++)
            memcpy(all[n++], racers[i].seen[k], sizeof(all[0]));
        market_free(racers[i].m);
    }
    qsort(all, n, sizeof(all[0]), compare_ids);
    for (size_t i = 1; i < n; i++)
        assert_string_not_equal(all[i - 1], all[i]);
    assert_int_equal(n, RACED);
    assert_int_equal(count_of(w->f->db, "SELECT COUNT(*) FROM results"), RACED);
    assert_int_equal(count_of(w->f->db, "SELECT COUNT(*) FROM jobs WHERE state = 5"), RACED / 4);
    assert_int_equal(count_of(w->f->db, "SELECT COUNT(*) FROM executions WHERE attempt <> 1"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MARKET_TEST(a_job_runs_once_and_its_history_says_how),
        MARKET_TEST(priority_goes_first_then_age),
        MARKET_TEST(waiting_makes_up_for_priority),
        MARKET_TEST(several_executions_come_in_one_call_up_to_the_slots),
        MARKET_TEST(a_count_is_that_many_executions),
        MARKET_TEST(a_lost_lease_queues_it_again_and_refuses_the_late_node),
        MARKET_TEST(a_heartbeat_renews_what_is_held_and_names_what_is_lost),
        MARKET_TEST(attempts_end),
        MARKET_TEST(the_node_that_lost_it_takes_it_only_if_no_other_could),
        MARKET_TEST(the_same_finish_again_is_fine_and_another_is_not),
        MARKET_TEST(a_retry_said_twice_queues_it_once),
        MARKET_TEST(a_stop_ends_queued_ones_at_once_and_tells_the_node_of_others),
        MARKET_TEST(a_long_reason_is_cut_where_a_character_ends),
        MARKET_TEST(a_node_that_ignores_a_stop_loses_its_claim),
        MARKET_TEST(queue_and_total_time_outs_end_jobs),
        MARKET_TEST(needs_and_constraints_are_matched),
        MARKET_TEST(jobs_behind_many_that_do_not_fit_are_reached),
        MARKET_TEST(nodes_that_may_not_work_get_nothing),
        MARKET_TEST(a_job_waits_a_little_for_the_node_that_holds_its_inputs),
        MARKET_TEST(a_node_that_lies_about_what_it_holds_stops_nobodys_claims),
        MARKET_TEST(progress_is_kept_while_it_is_held_and_short),
        MARKET_TEST(a_new_attempt_begins_without_the_progress_of_the_last),
        MARKET_TEST(an_answer_has_room_for_so_much_progress_only),
        MARKET_TEST(racing_nodes_never_get_the_same_execution),
    };
    return RUN_OVER_BOTH(tests);
}
