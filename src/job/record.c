/* berth.json: what ran, with what, how long, how it ended. */
#include "base/clock.h"
#include "job/job_priv.h"
#include "spec/spec.h"

static const char *const end_words[] = {
    [ENGINE_EXITED] = "exited",   [ENGINE_OOM] = "out_of_memory",       [ENGINE_TIMED_OUT] = "timed_out",
    [ENGINE_STOPPED] = "stopped", [ENGINE_NOT_STARTED] = "not_started",
};

static int add_times(const struct run *r, json_t *into, struct err *err)
{
    char text[TIME_MAX];
    json_t *phases = json_object();
    for (int p = 0; p < RUN_DONE; p++)
        if (json_put_u64(phases, run_phase_name((enum run_phase)p), r->result->phase_ms[p], err) < 0)
            break;
    if (json_put(into, "phases_ms", phases, err) < 0 ||
        json_put_str(into, "begun", time_iso(text, r->begun_ms), err) < 0 ||
        json_put_str(into, "finished", time_iso(text, r->finished_ms), err) < 0)
        return -1;
    if (r->result->first_output_ms != UINT64_MAX)
        return json_put_u64(into, "first_output_ms", r->result->first_output_ms, err);
    return 0;
}

static int add_pair(json_t *into, const char *name, const char *key1, const char *value1, const char *key2,
                    const char *value2, struct err *err)
{
    json_t *pair = json_object();
    if (json_put_str(pair, key1, value1, err) < 0 || json_put_str(pair, key2, value2, err) < 0) {
        json_decref(pair);
        return -1;
    }
    return json_put(into, name, pair, err);
}

static int add_engine(const struct run *r, json_t *into, struct err *err)
{
    if (add_pair(into, "engine", "name", r->info.name, "version", r->info.version, err) < 0)
        return -1;
    return add_pair(into, "image", "name", r->op->image, "id", r->image_id, err);
}

static int add_network(const struct run *r, json_t *into, struct err *err)
{
    return *r->net.note ? json_put_str(into, "network", r->net.note, err) : 0;
}

static json_t *inputs_of(const struct run *r, struct err *err)
{
    AUTO_JSON list = json_array();
    if (!list)
        err_nomem(err);
    for (size_t i = 0; list && r->stage && i < r->op->input_count; i++) {
        json_t *one = stage_record(r->stage, i, err);
        if (!one || json_array_append_new(list, one) < 0) {
            err_nomem(err);
            return NULL;
        }
    }
    return json_incref(list);
}

static void *describe_thread(void *ctx)
{
    struct run *r = ctx;
    r->describing.inputs = inputs_of(r, &r->describing.err);
    return NULL;
}

void run_describe_inputs(struct run *r)
{
    r->describing.running = r->stage && pthread_create(&r->describing.thread, NULL, describe_thread, r) == 0;
}

void run_describe_end(struct run *r)
{
    if (r->describing.running)
        pthread_join(r->describing.thread, NULL);
    r->describing.running = false;
    json_decref(r->describing.inputs);
    r->describing.inputs = NULL;
}

static int add_inputs(struct run *r, json_t *into, struct err *err)
{
    if (!r->describing.running)
        return json_put(into, "inputs", inputs_of(r, err), err);
    pthread_join(r->describing.thread, NULL);
    r->describing.running = false;
    if (err_is_set(&r->describing.err))
        return err_move(err, &r->describing.err);
    json_t *inputs = r->describing.inputs;
    r->describing.inputs = NULL;
    return json_put(into, "inputs", inputs, err);
}

static int add_end(const struct run *r, const struct err *failure, json_t *into, struct err *err)
{
    if (json_put(into, "exit_code", json_integer(r->result->exit_code), err) < 0)
        return -1;
    if (!failure) {
        if (json_put_str(into, "end", end_words[r->exit.end], err) < 0)
            return -1;
        return r->exit.reason[0] ? json_put_str(into, "reason", r->exit.reason, err) : 0;
    }
    if (json_put_str(into, "end", "failed", err) < 0 ||
        json_put_str(into, "error_kind", err_kind_name(failure->kind), err) < 0)
        return -1;
    return json_put_str(into, "error", failure->text, err);
}

static int add_logs(const struct run *r, json_t *into, struct err *err)
{
    json_t *logs = json_object();
    if (json_put_u64(logs, "stdout_bytes", r->results.kept[0], err) < 0 ||
        json_put_u64(logs, "stderr_bytes", r->results.kept[1], err) < 0 ||
        json_put_u64(logs, "stdout_dropped", r->results.dropped[0], err) < 0 ||
        json_put_u64(logs, "stderr_dropped", r->results.dropped[1], err) < 0) {
        json_decref(logs);
        return -1;
    }
    return json_put(into, "logs", logs, err);
}

json_t *run_record(struct run *r, const struct err *failure, struct err *err)
{
    const struct run_market *m = &r->opts->market;
    AUTO_JSON record = json_object();
    if (!record) {
        err_nomem(err);
        return NULL;
    }
    if (json_put(record, "berth", json_integer(1), err) < 0 ||
        json_put_str(record, "id", m->job_id ? m->job_id : r->result->job_id, err) < 0 ||
        json_put(record, "attempt", json_integer(m->attempt ? m->attempt : 1), err) < 0 ||
        add_end(r, failure, record, err) < 0 || json_put(record, "job", spec_to_json(r->opts->job, err), err) < 0 ||
        add_engine(r, record, err) < 0 || add_network(r, record, err) < 0 || add_inputs(r, record, err) < 0 ||
        add_logs(r, record, err) < 0 || add_times(r, record, err) < 0)
        return NULL;
    return json_incref(record);
}
