#include "base/clock.h"
#include "base/log.h"
#include "engine/frames.h"
#include "engine/run_watch.h"

#define READ_BYTES        ((size_t)64 << 10)
#define EXIT_CANT_EXEC    126
#define EXIT_NOT_FOUND    127
#define EXIT_NO_START     125
#define EXIT_BY_SIGKILL   137
#define ATTACH_ANSWER_MAX ((size_t)64 << 10) /* of a refusal */

#define SETTLE_LOOKS 25
#define SETTLE_MS    4

/* One run, from attach to the end. */
struct run {
    struct docker *d;
    const char *id;
    const struct engine_run_opts *opts;
    struct engine_exit *out;
    char url[DOCKER_PATH_MAX + sizeof((struct docker *)0)->base]; /* the stream borrows it */
    struct http_stream *stream;
    struct run_watch watch;
    struct frames frames;
    uint64_t started_mono_ms;
};

/* ---- start ---- */

/* The engines' statuses differ (Docker 400, Podman 500); the runtime's words are the same. */
static int exit_code_of_failure(const char *words)
{
    if (strstr(words, "docker-init") || strstr(words, "catatonit"))
        return EXIT_NO_START; /* the engine's init is what is missing, not the command */
    bool about_exec = strstr(words, "exec:") || strstr(words, "exec ");
    if (strstr(words, "executable file not found") || strstr(words, "command that was not found") ||
        (about_exec && strstr(words, "no such file or directory")))
        return EXIT_NOT_FOUND;
    if (about_exec &&
        (strstr(words, "permission denied") || strstr(words, "exec format error") || strstr(words, "is a directory")))
        return EXIT_CANT_EXEC;
    return EXIT_NO_START;
}

/* The engine could not start the container: a result of the run, not an error. */
static void did_not_start(struct run *r, const char *words)
{
    r->out->end = ENGINE_NOT_STARTED;
    r->out->exit_code = exit_code_of_failure(words);
    snprintf(r->out->reason, sizeof r->out->reason, "%s", words);
}

/* Podman makes the container ready when it is attached to, so a command that is not there is found out here. */
static int not_attached(struct run *r, int status, struct span body, bool *began, struct err *err)
{
    struct err not_json = ERR_INIT;
    char words[DOCKER_WORDS_MAX];
    AUTO_JSON answer = json_parse(body, &not_json);
    docker_words(words, answer, body);
    *began = false;
    if (r->d->flavour != FLAVOUR_PODMAN || status == 404)
        return err_set(err, docker_status_kind(status), "attach to container %.12s: %s (HTTP %d)", r->id, words,
                       status);
    did_not_start(r, words);
    return 0;
}

/* The stream first, so that no byte is lost. Without Upgrade the answer is a plain body that goes on to the end. */
static int attach(struct run *r, bool *began, struct err *err)
{
    char path[DOCKER_PATH_MAX];
    AUTO_BUF answer;
    int status = 0;
    buf_init(&answer, ATTACH_ANSWER_MAX);
    if (docker_container_path(path, r->id, "/attach?stream=1&stdout=1&stderr=1", err) < 0)
        return -1;
    snprintf(r->url, sizeof r->url, "%s%s", r->d->base, path);
    /* The default idle limit is of the answer's head alone: a quiet container may be quiet. */
    struct http_request req = {.method = "POST", .url = r->url, .tries = 1, .cancel = &r->watch.give_up};
    if (http_stream_open(r->d->http, &req, &r->stream, &status, &answer, err) < 0)
        return docker_unreachable(r->d, err);
    return r->stream ? 0 : not_attached(r, status, buf_span(&answer), began, err);
}

static int start(struct run *r, bool *began, struct err *err)
{
    char path[DOCKER_PATH_MAX];
    AUTO_REPLY reply = {0};
    if (docker_container_path(path, r->id, "/start", err) < 0 ||
        docker_call(r->d, &(struct docker_request){.method = "POST", .path = path}, &reply, err) < 0)
        return -1;
    if (reply.status == 304)
        return err_set(err, ERR_BUSY, "container %.12s runs already", r->id);
    if (reply.status == 404 && strcasestr(reply.message, "no such container"))
        return docker_refused(&reply, err, "start container %.12s", r->id);
    *began = reply.status / 100 == 2;
    if (*began)
        return 0;
    did_not_start(r, reply.message);
    return 0;
}

/* ---- stream ---- */

static int hand_over(struct run *r, struct span in, struct err *err)
{
    const struct engine_output *output = &r->opts->output;
    while (in.n > 0) {
        enum frame_stream stream;
        struct span data;
        if (frames_next(&r->frames, &in, &stream, &data, err) < 0)
            return -1;
        if (data.n == 0)
            continue;
        if (stream == FRAME_ENGINE)
            return err_set(err, ERR_TRANSIENT, "the engine broke the output off: %.*s", (int)data.n, data.p);
        if (r->out->first_output_ms == UINT64_MAX)
            r->out->first_output_ms = clock_mono_ms() - r->started_mono_ms;
        if (output->write && output->write(output->ctx, stream == FRAME_STDERR ? 2 : 1, data.p, data.n, err) < 0)
            return -1;
    }
    return 0;
}

static int read_output(struct run *r, struct err *err)
{
    AUTO_STR chunk = malloc(READ_BYTES);
    if (!chunk)
        return err_nomem(err);
    for (;;) {
        int64_t n = http_stream_read(r->stream, chunk, READ_BYTES, err);
        if (n < 0)
            return docker_unreachable(r->d, err);
        if (n == 0)
            return frames_end(&r->frames, err);
        if (hand_over(r, (struct span){chunk, (size_t)n}, err) < 0)
            return -1;
    }
}

/* ---- end ---- */

/* Until it does not run. The answer may be 200 with the bad news in `Error` (Podman, when somebody removes it). */
static int wait_long(struct run *r, struct err *err)
{
    char path[DOCKER_PATH_MAX];
    AUTO_REPLY reply = {0};
    if (docker_container_path(path, r->id, "/wait?condition=not-running", err) < 0)
        return -1;
    struct docker_request req = {
        .method = "POST", .path = path, .idle_ms = DOCKER_NO_IDLE, .cancel = &r->watch.give_up};
    if (docker_call(r->d, &req, &reply, err) < 0)
        return -1;
    const char *bad = json_get_str(json_object_get(reply.json, "Error"), "Message");
    if (!bad)
        bad = json_get_str(reply.json, "Error");
    if (!str_empty(bad))
        return err_set(err, ERR_TRANSIENT, "wait for container %.12s: %s", r->id, bad);
    return reply.status == 200 ? 0 : docker_refused(&reply, err, "wait for container %.12s", r->id);
}

/* The output has ended, so most containers have too. Docker's wait tells at once; Podman's looks every quarter of a
 * second, so it is asked for the state a few times before it is left to wait. */
static int await_end(struct run *r, struct docker_state *state, struct err *err)
{
    for (unsigned i = 0; r->d->flavour == FLAVOUR_PODMAN && i < SETTLE_LOOKS; i++) {
        if (docker_inspect(r->d, r->id, state, err) < 0)
            return -1;
        if (!state->running)
            return 0;
        if (cancel_sleep_ms(&r->watch.give_up, SETTLE_MS, err) < 0)
            return -1;
    }
    return wait_long(r, err) < 0 ? -1 : docker_inspect(r->d, r->id, state, err);
}

/* Docker tells; of Podman the cgroup was watched. Where that could not be: killed, under a limit, and not by us. */
static bool ran_out_of_memory(const struct run *r, const struct docker_state *state)
{
    if (state->exit_code == 0)
        return false; /* something in it was killed, and it coped */
    if (state->oom_killed || r->watch.result.oom_seen)
        return true;
    return r->d->flavour == FLAVOUR_PODMAN && !r->watch.result.oom_watched && !r->watch.result.killed_by_us &&
           state->memory_bytes > 0 && state->exit_code == EXIT_BY_SIGKILL;
}

static void conclude(struct run *r, const struct docker_state *state)
{
    struct engine_exit *out = r->out;
    out->exit_code = state->exit_code;
    out->started_ms = state->started_ms;
    out->finished_ms = state->finished_ms > state->started_ms ? state->finished_ms : state->started_ms;
    snprintf(out->reason, sizeof out->reason, "%s", state->error);
    if (r->watch.result.killed_by_us && r->watch.result.why == WATCH_TIMED_OUT)
        out->end = ENGINE_TIMED_OUT;
    else if (r->watch.result.killed_by_us && r->watch.result.why == WATCH_STOPPED)
        out->end = ENGINE_STOPPED;
    else if (ran_out_of_memory(r, state))
        out->end = ENGINE_OOM;
    else
        out->end = ENGINE_EXITED;
}

/* The caller's own writer failed, or the stream broke: nobody follows this container any more. */
static void kill_unfollowed(struct run *r)
{
    char path[DOCKER_PATH_MAX];
    AUTO_REPLY reply = {0};
    struct err ignored = ERR_INIT;
    if (docker_container_path(path, r->id, "/kill?signal=KILL", &ignored) == 0)
        (void)docker_call(r->d, &(struct docker_request){.method = "POST", .path = path}, &reply, &ignored);
    if (err_is_set(&ignored))
        log_debug("engine", "container not killed (container=%.12s reason=%s)", r->id, ignored.text);
}

/* The engine went away, or does not end what it was told to kill. */
static int lost(struct run *r, struct err *err)
{
    if (cancel_level_of(&r->watch.give_up) == CANCEL_NONE)
        return err_wrap(err, "container %.12s", r->id);
    err_clear(err);
    err_set(err, ERR_TRANSIENT, "container %.12s: the engine does not end it, %d s after KILL", r->id,
            GIVE_UP_MS / 1000);
    return err_hint(
        err,
        "look at the engine's own log; the next `berth run`, or the node when it starts, removes what is left behind");
}

static int follow(struct run *r, struct err *err)
{
    struct docker_state state = {0};
    if (r->opts->output.started)
        r->opts->output.started(r->opts->output.ctx);
    int rc = read_output(r, err);
    if (rc < 0)
        kill_unfollowed(r);
    else
        rc = await_end(r, &state, err);
    run_watch_join(&r->watch);
    if (rc < 0)
        return lost(r, err);
    conclude(r, &state);
    return 0;
}

static int run(struct run *r, struct err *err)
{
    bool began = true;
    if (attach(r, &began, err) < 0 || (began && start(r, &began, err) < 0))
        return -1;
    if (!began)
        return 0;
    r->started_mono_ms = clock_mono_ms();
    if (run_watch_start(&r->watch, err) < 0) {
        kill_unfollowed(r);
        return -1;
    }
    return follow(r, err);
}

int docker_run(void *self, const char *id, const struct engine_run_opts *opts, struct engine_exit *out, struct err *err)
{
    struct run r = {.d = self, .id = id, .opts = opts, .out = out};
    *out = (struct engine_exit){.exit_code = EXIT_NO_START, .first_output_ms = UINT64_MAX};
    if (cancel_level_of(opts->cancel) != CANCEL_NONE) {
        out->end = ENGINE_STOPPED;
        return 0;
    }
    if (run_watch_init(&r.watch, r.d, id, opts, err) < 0)
        return -1;
    int rc = run(&r, err);
    http_stream_free(r.stream);
    run_watch_release(&r.watch);
    return rc;
}
