/* SPDX-License-Identifier: Apache-2.0 */
/* One logfmt line on standard error where a decision is made:
 *     ts=2026-01-02T03:04:05.678Z level=warn event=step_failed run=… step=… error="…"
 * Programs log; libraries and pure modules do not. */
#ifndef LOG_H
#define LOG_H

#include "common/span.h"

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_NONE };

void log_set_level(enum log_level level);                         /* default LOG_WARN */
bool log_level_parse(const char *name, enum log_level *level);    /* debug info warn error none */
bool log_enabled(enum log_level level);

/* `format` gives key=value pairs; a value that may hold blanks or control characters goes through LOG_QUOTED:
 *     log_event(LOG_WARN, "step_failed", "run=%s error=%s", run_id, LOG_QUOTED(message)) */
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* From log_hold() to log_release() this thread's lines up to info wait, and go out in one write: one for each of a thousand runs that end
 * at once would cost more than their ends. A warning or worse goes out at once, with what waits before it. Does not nest. */
void log_hold(void);
void log_release(void);

/* A quoted, escaped copy of `span`, at most 1 KiB of it, valid until the enclosing block ends. */
struct log_quoted {
    char bytes[1100];
};
const char *log_quote(struct log_quoted *storage, struct span span);
#define LOG_QUOTED(string) log_quote(&(struct log_quoted){{0}}, span_of(string))
#define LOG_QUOTED_SPAN(span) log_quote(&(struct log_quoted){{0}}, span)

#endif
