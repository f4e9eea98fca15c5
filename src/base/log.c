#include "base/log.h"

#include "base/clock.h"
#include "base/str.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>

#define LOG_TEXT_MAX 4096                     /* longer texts are cut */
#define LOG_LINE_MAX (6 * LOG_TEXT_MAX + 512) /* every byte may become \u00XX */

static atomic_int current_level = LOG_INFO;

static struct {
    pthread_mutex_t mu;
    enum log_format format;
    bool colour;
    void (*write_line)(void *ctx, const char *line, size_t n);
    void *ctx;
} sink = {.mu = PTHREAD_MUTEX_INITIALIZER};

static const struct {
    const char *word, *prefix, *colour;
} levels[] = {
    [LOG_ERROR] = {"error", "error: ", "\033[31m"},
    [LOG_WARN] = {"warning", "warning: ", "\033[33m"},
    [LOG_INFO] = {"info", "", "\033[36m"},
    [LOG_DEBUG] = {"debug", "debug: ", "\033[2m"},
};

void log_setup(enum log_level level, enum log_format format, bool colour)
{
    pthread_mutex_lock(&sink.mu);
    sink.format = format;
    sink.colour = colour;
    pthread_mutex_unlock(&sink.mu);
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

enum log_level log_level_now(void)
{
    return (enum log_level)atomic_load_explicit(&current_level, memory_order_relaxed);
}

void log_set_hook(void (*write_line)(void *ctx, const char *line, size_t n), void *ctx)
{
    pthread_mutex_lock(&sink.mu);
    sink.write_line = write_line;
    sink.ctx = ctx;
    pthread_mutex_unlock(&sink.mu);
}

/* A line under construction. Lines are made on the stack, so that running out of memory can still be reported. */
struct line {
    char p[LOG_LINE_MAX];
    size_t n;
};

static void add(struct line *l, const char *p, size_t n)
{
    size_t room = sizeof l->p - 1 - l->n; /* the newline always fits */
    if (n > room)
        n = room;
    memcpy(l->p + l->n, p, n);
    l->n += n;
}

static void adds(struct line *l, const char *s)
{
    add(l, s, strlen(s));
}

/* One line stays one line, and a terminal obeys nobody's escape codes: control characters become '?'. */
static void add_printable(struct line *l, struct span s)
{
    while (s.n > 0) {
        size_t step = span_utf8_step(s);
        if (*s.p == '\n')
            adds(l, " ");
        else if (step == 0 || span_starts_control(s))
            adds(l, "?");
        else
            add(l, s.p, step);
        step = step ? step : 1;
        s.p += step;
        s.n -= step;
    }
}

static void add_json_string(struct line *l, struct span s)
{
    adds(l, "\"");
    while (s.n > 0) {
        size_t step = span_utf8_step(s);
        unsigned char c = (unsigned char)*s.p;
        char code[8];
        if (step == 0) {
            adds(l, "\\ufffd");
        } else if (c == '"' || c == '\\') {
            add(l, (char[]){'\\', (char)c}, 2);
        } else if (span_starts_control(s)) {
            snprintf(code, sizeof code, "\\u%04x", step == 1 ? c : (unsigned char)s.p[1]); /* C2 80 is U+0080 */
            adds(l, code);
        } else {
            add(l, s.p, step);
        }
        step = step ? step : 1;
        s.p += step;
        s.n -= step;
    }
    adds(l, "\"");
}

static void make_text(struct line *l, enum log_level level, const char *module, struct span text, bool colour)
{
    adds(l, colour ? levels[level].colour : "");
    adds(l, levels[level].prefix);
    adds(l, module);
    adds(l, colour ? ":\033[0m " : ": ");
    add_printable(l, text);
}

static void make_json(struct line *l, enum log_level level, const char *module, struct span text)
{
    char now[TIME_MAX];
    adds(l, "{\"time\":\"");
    adds(l, time_iso(now, clock_wall_ms()));
    adds(l, "\",\"level\":\"");
    adds(l, levels[level].word);
    adds(l, "\",\"module\":");
    add_json_string(l, span_of(module));
    adds(l, ",\"message\":");
    add_json_string(l, text);
    adds(l, "}");
}

/* Nobody can be told where standard error itself fails, so errors end the attempt. */
static void write_stderr(const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(STDERR_FILENO, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return;
        p += done;
        n -= (size_t)done;
    }
}

void log_line(enum log_level level, const char *module, const char *fmt, ...)
{
    if (level > log_level_now())
        return;
    int saved = errno;
    char text[LOG_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        text[0] = '\0';
    else if ((size_t)n >= sizeof text)
        memcpy(text + sizeof text - 4, "...", 4);

    struct line l;
    l.n = 0;
    pthread_mutex_lock(&sink.mu);
    if (sink.format == LOG_JSON)
        make_json(&l, level, module, span_of(text));
    else
        make_text(&l, level, module, span_of(text), sink.colour);
    l.p[l.n++] = '\n';
    if (sink.write_line)
        sink.write_line(sink.ctx, l.p, l.n);
    else
        write_stderr(l.p, l.n);
    pthread_mutex_unlock(&sink.mu);
    errno = saved;
}
