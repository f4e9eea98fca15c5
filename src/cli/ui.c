#include "cli/ui.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/log.h"
#include "cli/bars.h"
#include "cli/table.h"

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TICK_MS   100   /* bars */
#define LINE_MS   10000 /* sober lines */
#define EVENT_MS  1000  /* JSON progress events */
#define BARS_MAX  24    /* rows on screen; the rest is in the total */
#define FRAME_MAX (64u << 10)
#define EVENT_MAX (64u << 20)

enum ui_mode { UI_BARS, UI_LINES, UI_JSON, UI_QUIET };

struct ui {
    enum ui_mode mode;
    bool colour;
    unsigned width;
    pthread_t thread;
    int end_fd;
    pthread_mutex_t mu; /* guards all below, and the screen */
    const struct stage *stage;
    size_t inputs;
    struct rate *rates; /* inputs + 1: the last is the total's */
    unsigned drawn;     /* rows of bars on screen */
    uint64_t said_ms;   /* when the last line or event was written */
    char work[160];     /* what else is under way: an image pulled, results published */
    uint64_t work_done, work_total;
    const char *phase;
};

/* --- the screen, always under mu ---------------------------------------------------------------------------------- */

static void put(int fd, struct span s)
{
    struct err ignored = ERR_INIT; /* a closed terminal or pipe is no reason to fail the job */
    fs_write_all(fd, s.p, s.n, &ignored);
}

static void erase(struct ui *ui)
{
    if (ui->drawn == 0)
        return;
    AUTO_BUF b;
    buf_init(&b, 64);
    buf_addf(&b, "\033[%uA\r\033[J", ui->drawn);
    put(STDERR_FILENO, buf_span(&b));
    ui->drawn = 0;
}

static void write_event(struct ui *ui, const char *name, json_t *event)
{
    AUTO_JSON e = event ? event : json_object();
    AUTO_BUF b;
    buf_init(&b, EVENT_MAX);
    struct err err = ERR_INIT;
    char time[TIME_MAX];
    (void)ui;
    if (json_put_str(e, "event", name, &err) < 0 ||
        json_put_str(e, "time", time_iso(time, clock_wall_ms()), &err) < 0 || json_write(e, false, &b, &err) < 0)
        return;
    buf_addc(&b, '\n');
    put(STDOUT_FILENO, buf_span(&b));
}

static void draw_row(struct ui *ui, const char *label, const struct stage_progress *p, const struct rate *rate,
                     struct buf *b)
{
    bar_line(label, p, rate, ui->width, ui->colour, b);
    buf_adds(b, "\033[K\n");
    ui->drawn++;
}

static void draw_work(struct ui *ui, struct buf *b)
{
    char done[HUMAN_MAX], total[HUMAN_MAX];
    if (!ui->work[0])
        return;
    text_printable(span_of(ui->work), b);
    if (ui->work_total > 0)
        buf_addf(b, " %s of %s", human_bytes(done, ui->work_done), human_bytes(total, ui->work_total));
    buf_adds(b, "\033[K\n");
    ui->drawn++;
}

static void draw(struct ui *ui, uint64_t now_ms)
{
    AUTO_BUF b;
    buf_init(&b, FRAME_MAX);
    if (ui->drawn > 0)
        buf_addf(&b, "\033[%uA\r", ui->drawn);
    ui->drawn = 0;
    struct stage_progress sum = {.phase = STAGE_READY};
    for (size_t i = 0; i < ui->inputs; i++) {
        struct stage_progress p;
        stage_progress(ui->stage, i, &p);
        rate_add(&ui->rates[i], p.bytes_done - p.bytes_cached, now_ms);
        progress_sum(&sum, &p);
        if (i < BARS_MAX)
            draw_row(ui, stage_label(ui->stage, i), &p, &ui->rates[i], &b);
    }
    rate_add(&ui->rates[ui->inputs], sum.bytes_done - sum.bytes_cached, now_ms);
    if (ui->inputs > 1)
        draw_row(ui, "total", &sum, &ui->rates[ui->inputs], &b);
    draw_work(ui, &b);
    buf_adds(&b, "\033[J");
    put(STDERR_FILENO, buf_span(&b));
}

static void say_lines(struct ui *ui, uint64_t now_ms)
{
    for (size_t i = 0; i < ui->inputs; i++) {
        struct stage_progress p;
        stage_progress(ui->stage, i, &p);
        rate_add(&ui->rates[i], p.bytes_done - p.bytes_cached, now_ms);
        if (p.phase == STAGE_READY || p.phase == STAGE_WAITING)
            continue;
        AUTO_BUF b;
        buf_init(&b, FRAME_MAX);
        progress_line(stage_label(ui->stage, i), &p, &ui->rates[i], &b);
        buf_addc(&b, '\n');
        put(STDERR_FILENO, buf_span(&b));
    }
}

static json_t *progress_event(const struct ui *ui, size_t i, const struct stage_progress *p)
{
    struct err err = ERR_INIT;
    json_t *e = json_object();
    json_put_u64(e, "input", i, &err);
    json_put_str(e, "label", stage_label(ui->stage, i), &err);
    json_put_str(e, "phase", stage_phase_name(p->phase), &err);
    json_put_u64(e, "files_total", p->files_total, &err);
    json_put_u64(e, "files_done", p->files_done, &err);
    json_put_u64(e, "files_cached", p->files_cached, &err);
    json_put_u64(e, "bytes_total", p->bytes_total, &err);
    json_put_u64(e, "bytes_done", p->bytes_done, &err);
    json_put_u64(e, "bytes_cached", p->bytes_cached, &err);
    json_put_u64(e, "retries", p->retries, &err);
    json_put_u64(e, "stalled", p->stalled, &err);
    return e;
}

static void say_events(struct ui *ui)
{
    for (size_t i = 0; i < ui->inputs; i++) {
        struct stage_progress p;
        stage_progress(ui->stage, i, &p);
        write_event(ui, "progress", progress_event(ui, i, &p));
    }
}

/* What the inputs came to, once, when staging ends. */
static void say_last(struct ui *ui)
{
    for (size_t i = 0; i < ui->inputs; i++) {
        struct stage_progress p;
        stage_progress(ui->stage, i, &p);
        AUTO_BUF b;
        buf_init(&b, FRAME_MAX);
        progress_line(stage_label(ui->stage, i), &p, &ui->rates[i], &b);
        buf_addc(&b, '\n');
        put(STDERR_FILENO, buf_span(&b));
    }
}

static void tick(struct ui *ui, uint64_t now_ms)
{
    if (!ui->stage)
        return;
    if (ui->mode == UI_BARS) {
        draw(ui, now_ms);
    } else if (ui->mode == UI_LINES && now_ms - ui->said_ms >= LINE_MS) {
        ui->said_ms = now_ms;
        say_lines(ui, now_ms);
    } else if (ui->mode == UI_JSON && now_ms - ui->said_ms >= EVENT_MS) {
        ui->said_ms = now_ms;
        say_events(ui);
    }
}

static void *ticker(void *ctx)
{
    struct ui *ui = ctx;
    struct pollfd end = {.fd = ui->end_fd, .events = POLLIN};
    while (poll(&end, 1, TICK_MS) == 0) {
        pthread_mutex_lock(&ui->mu);
        tick(ui, clock_mono_ms());
        pthread_mutex_unlock(&ui->mu);
    }
    return NULL;
}

/* --- told from outside -------------------------------------------------------------------------------------------- */

static void log_through_ui(void *ctx, const char *line, size_t n)
{
    struct ui *ui = ctx;
    pthread_mutex_lock(&ui->mu);
    erase(ui);
    put(STDERR_FILENO, (struct span){line, n});
    pthread_mutex_unlock(&ui->mu);
}

void ui_stage(struct ui *ui, const struct stage *stage, size_t inputs)
{
    pthread_mutex_lock(&ui->mu);
    if (!stage && ui->stage) {
        erase(ui);
        if (ui->mode == UI_JSON)
            say_events(ui);
        else if (ui->mode != UI_QUIET)
            say_last(ui);
    }
    ui->stage = NULL;
    ui->inputs = 0;
    free(ui->rates);
    ui->rates = stage ? calloc(inputs + 1, sizeof *ui->rates) : NULL;
    if (ui->rates) {
        ui->stage = stage;
        ui->inputs = inputs;
        ui->said_ms = clock_mono_ms();
    }
    pthread_mutex_unlock(&ui->mu);
}

void ui_phase(struct ui *ui, const char *phase)
{
    pthread_mutex_lock(&ui->mu);
    ui->phase = phase;
    if (ui->mode == UI_JSON) {
        struct err err = ERR_INIT;
        json_t *e = json_object();
        json_put_str(e, "phase", phase, &err);
        write_event(ui, "phase", e);
    }
    pthread_mutex_unlock(&ui->mu);
}

static void set_work(struct ui *ui, const char *kind, const char *what, uint64_t done_bytes, uint64_t total_bytes)
{
    pthread_mutex_lock(&ui->mu);
    snprintf(ui->work, sizeof ui->work, "%s%s", kind, what);
    ui->work_done = done_bytes;
    ui->work_total = total_bytes;
    pthread_mutex_unlock(&ui->mu);
}

void ui_pull(struct ui *ui, const char *status, uint64_t done_bytes, uint64_t total_bytes)
{
    set_work(ui, status[0] ? "image: " : "", status, done_bytes, total_bytes);
}

void ui_publish(struct ui *ui, uint64_t done_bytes, uint64_t total_bytes)
{
    set_work(ui, "", "publishing", done_bytes, total_bytes);
}

/* Text where it is text, base64 where it is not. */
static json_t *output_event(int stream, const void *p, size_t n)
{
    struct err err = ERR_INIT;
    json_t *e = json_object();
    json_put_str(e, "stream", stream == 2 ? "stderr" : "stdout", &err);
    json_t *text = json_stringn(p, n);
    if (text) {
        json_put(e, "text", text, &err);
        return e;
    }
    AUTO_BUF b;
    buf_init(&b, 2 * n + 16);
    base64_encode(&b, p, n);
    json_put_str(e, "base64", buf_str(&b), &err);
    return e;
}

void ui_output(struct ui *ui, int stream, const void *p, size_t n)
{
    pthread_mutex_lock(&ui->mu);
    if (ui->mode == UI_JSON) {
        write_event(ui, "output", output_event(stream, p, n));
    } else {
        erase(ui);
        put(stream == 2 ? STDERR_FILENO : STDOUT_FILENO, (struct span){p, n});
    }
    pthread_mutex_unlock(&ui->mu);
}

static void say(struct ui *ui, const char *lead, const char *tint, const char *text)
{
    AUTO_BUF b;
    buf_init(&b, FRAME_MAX);
    if (ui->colour && tint)
        buf_addf(&b, "%s%s\033[0m", tint, lead);
    else
        buf_adds(&b, lead);
    text_printable_lines(span_of(text), &b);
    buf_addc(&b, '\n');
    erase(ui);
    put(STDERR_FILENO, buf_span(&b));
}

void ui_warn(struct ui *ui, const char *text)
{
    pthread_mutex_lock(&ui->mu);
    if (ui->mode == UI_JSON) {
        struct err err = ERR_INIT;
        json_t *e = json_object();
        json_put_str(e, "text", text, &err);
        write_event(ui, "warning", e);
    } else {
        say(ui, "warning: ", "\033[33m", text);
    }
    pthread_mutex_unlock(&ui->mu);
}

void ui_note(struct ui *ui, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&ui->mu);
    if (ui->mode == UI_BARS || ui->mode == UI_LINES)
        say(ui, "", NULL, text);
    pthread_mutex_unlock(&ui->mu);
}

void ui_event(struct ui *ui, const char *name, json_t *event)
{
    pthread_mutex_lock(&ui->mu);
    if (ui->mode == UI_JSON)
        write_event(ui, name, event);
    else
        json_decref(event);
    pthread_mutex_unlock(&ui->mu);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

int ui_new(struct ui **out, const struct cli *cli, struct err *err)
{
    struct ui *ui = calloc(1, sizeof *ui);
    if (!ui)
        return err_nomem(err);
    ui->mode = globals.json ? UI_JSON : globals.quiet ? UI_QUIET : cli->terminal ? UI_BARS : UI_LINES;
    ui->colour = cli->colour;
    ui->width = cli->width;
    pthread_mutex_init(&ui->mu, NULL);
    ui->end_fd = eventfd(0, EFD_CLOEXEC);
    if (ui->end_fd < 0 || pthread_create(&ui->thread, NULL, ticker, ui) != 0) {
        err_sys(err, "start the progress display");
        auto_close(&ui->end_fd);
        pthread_mutex_destroy(&ui->mu);
        free(ui);
        return -1;
    }
    if (ui->mode == UI_BARS)
        log_set_hook(log_through_ui, ui);
    *out = ui;
    return 0;
}

void ui_free(struct ui *ui)
{
    if (!ui)
        return;
    log_set_hook(NULL, NULL);
    uint64_t one = 1;
    ssize_t n = write(ui->end_fd, &one, sizeof one);
    (void)n; /* an eventfd takes eight bytes */
    pthread_join(ui->thread, NULL);
    erase(ui);
    auto_close(&ui->end_fd);
    pthread_mutex_destroy(&ui->mu);
    free(ui->rates);
    free(ui);
}

static void on_phase(void *ctx, enum run_phase phase)
{
    ui_phase(ctx, run_phase_name(phase));
}

static void on_stage(void *ctx, const struct stage *stage, size_t inputs)
{
    ui_stage(ctx, stage, inputs);
}

static void on_pull(void *ctx, const char *status, uint64_t done_bytes, uint64_t total_bytes)
{
    ui_pull(ctx, status, done_bytes, total_bytes);
}

static void on_output(void *ctx, int stream, const void *p, size_t n)
{
    ui_output(ctx, stream, p, n);
}

static void on_warn(void *ctx, const char *text)
{
    ui_warn(ctx, text);
}

static void on_publish(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    ui_publish(ctx, done_bytes, total_bytes);
}

struct run_events ui_run_events(struct ui *ui)
{
    return (struct run_events){.phase = on_phase,
                               .stage = on_stage,
                               .pull = on_pull,
                               .publish = on_publish,
                               .output = on_output,
                               .warn = on_warn,
                               .ctx = ui};
}
