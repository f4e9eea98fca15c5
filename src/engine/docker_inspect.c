#include "base/clock.h"
#include "engine/docker.h"

#define NEVER_YEAR "0001-" /* Go's zero time: it has not happened */

/* Both engines write nanoseconds and, Podman, an offset in some versions; what can't be read is unknown, 0. */
static int64_t read_time(const json_t *state, const char *key)
{
    struct err unreadable = ERR_INIT;
    const char *text = json_get_str(state, key);
    int64_t ms = 0;
    if (!text || span_starts(span_of(text), SPAN_LIT(NEVER_YEAR)) ||
        time_parse_iso(span_of(text), &ms, &unreadable) < 0)
        return 0;
    return ms;
}

static int read_int(const json_t *state, const char *key)
{
    int64_t v = 0;
    return json_get_i64(state, key, &v) && v >= INT32_MIN && v <= INT32_MAX ? (int)v : 0;
}

static int ask(struct docker *d, const char *id, struct docker_reply *reply, struct err *err)
{
    char path[DOCKER_PATH_MAX];
    if (docker_container_path(path, id, "/json", err) < 0)
        return -1;
    return docker_call(d, &(struct docker_request){.path = path}, reply, err);
}

int docker_inspect(struct docker *d, const char *id, struct docker_state *out, struct err *err)
{
    AUTO_REPLY reply = {0};
    int64_t memory = 0;
    if (ask(d, id, &reply, err) < 0)
        return -1;
    const json_t *state = json_object_get(reply.json, "State");
    if (reply.status != 200 || !state) {
        docker_refused(&reply, err, "container %s", id);
        return -1;
    }
    *out = (struct docker_state){
        .running = json_get_bool(state, "Running", false),
        .being_cleaned_up = str_eq(json_get_str(state, "Status"), "stopped"), /* then "exited", as Docker always */
        .oom_killed = json_get_bool(state, "OOMKilled", false),
        .exit_code = read_int(state, "ExitCode"),
        .pid = read_int(state, "Pid"),
        .started_ms = read_time(state, "StartedAt"),
        .finished_ms = read_time(state, "FinishedAt"),
    };
    if (json_get_i64(json_object_get(reply.json, "HostConfig"), "Memory", &memory) && memory > 0)
        out->memory_bytes = (uint64_t)memory;
    const char *signal = json_get_str(json_object_get(reply.json, "Config"), "StopSignal");
    const char *error = json_get_str(state, "Error");
    snprintf(out->stop_signal, sizeof out->stop_signal, "%s", signal ? signal : "");
    snprintf(out->error, sizeof out->error, "%s", error ? error : "");
    return 0;
}

/* Only the engine's own word that it has no such container is one: a socket that isn't there is "not found", too. */
int docker_is_running(void *self, const char *id, bool *running, struct err *err)
{
    AUTO_REPLY reply = {0};
    if (ask(self, id, &reply, err) < 0)
        return -1;
    const json_t *state = json_object_get(reply.json, "State");
    if (reply.status != 404 && (reply.status != 200 || !state)) {
        docker_refused(&reply, err, "container %s", id);
        return -1;
    }
    *running = json_get_bool(state, "Running", false);
    return 0;
}
