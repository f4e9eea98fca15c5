/* log: one line per event on stderr: `module: what (key=value …)`, or one JSON object with LOG_JSON.
 *
 * Thread-safe; lines are never interleaved. Never pass a secret, a signed query or a token: URLs go through
 * url_redact(). While a progress display owns the terminal it registers a hook, so that lines and bars do not mix. */
#ifndef BERTH_BASE_LOG_H
#define BERTH_BASE_LOG_H

#include "base/attr.h"

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

void log_setup(enum log_level level, enum log_format format, bool colour);
enum log_level log_level_now(void);

/* Called with each finished line (newline included) instead of writing it to stderr; NULL restores that. */
void log_set_hook(void (*write_line)(void *ctx, const char *line, size_t n), void *ctx);

/* The text is "what (key=value …)". */
void log_line(enum log_level level, const char *module, const char *fmt, ...) ATTR_PRINTF(3, 4);

#define log_error(module, ...) log_line(LOG_ERROR, module, __VA_ARGS__)
#define log_warn(module, ...)  log_line(LOG_WARN, module, __VA_ARGS__)
#define log_info(module, ...)  log_line(LOG_INFO, module, __VA_ARGS__)
#define log_debug(module, ...)                                                                                         \
    do {                                                                                                               \
        if (log_level_now() >= LOG_DEBUG)                                                                              \
            log_line(LOG_DEBUG, module, __VA_ARGS__);                                                                  \
    } while (0)

#endif
