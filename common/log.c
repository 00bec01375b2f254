/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include "common/text.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"debug", "info", "warn", "error", "none"};
static _Atomic int threshold = LOG_WARN;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

bool log_level_parse(const char *name, enum log_level *level)
{
    for (int i = LOG_DEBUG; i <= LOG_NONE; i++) {
        if (strcmp(level_names[i], name) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load(&threshold);
}

const char *log_quote(struct log_quoted *storage, struct span span)
{
    struct text text;
    text_init(&text, sizeof storage->bytes - 8);
    span.size = span.size > 1024 ? 1024 : span.size;
    while (!text_append_json_string(&text, span) && span.size > 0) { /* escapes made it longer: cut it */
        text_clear(&text);
        span.size /= 2;
    }
    memcpy(storage->bytes, text_string(&text), text.size + 1);
    text_fini(&text);
    return storage->bytes;
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if (!log_enabled(level)) {
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm parts;
    gmtime_r(&now.tv_sec, &parts);
    char line[4096];
    int used = (int)strftime(line, sizeof line, "ts=%Y-%m-%dT%H:%M:%S", &parts);
    used += snprintf(line + used, sizeof line - (size_t)used, ".%03ldZ level=%s event=%s ", now.tv_nsec / 1000000,
                     level_names[level], event);
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    va_end(arguments);
    used = used + more < (int)sizeof line - 2 ? used + more : (int)sizeof line - 2;
    line[used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, (size_t)used); /* one write: lines of several threads do not mix */
    (void)written;
}
