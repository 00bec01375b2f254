/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include "common/text.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 4096
#define HELD_BYTES (4 * LINE_BYTES)

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
    if (span.size == 0) {
        return "\"\"";
    }
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

/* ---- lines that wait */

static _Thread_local struct {
    bool holding;
    size_t used;
    char bytes[HELD_BYTES];
} held;

static void write_all(const char *bytes, size_t size)
{
    ssize_t written = write(STDERR_FILENO, bytes, size); /* one write: lines of several threads do not mix */
    (void)written;
}

static void write_held(void)
{
    if (held.used > 0) {
        write_all(held.bytes, held.used);
        held.used = 0;
    }
}

void log_hold(void)
{
    held.holding = true;
}

void log_release(void)
{
    write_held();
    held.holding = false;
}

static void write_line(enum log_level level, const char *line, size_t size)
{
    if (!held.holding) {
        write_all(line, size);
        return;
    }
    if (held.used + size > sizeof held.bytes) {
        write_held();
    }
    memcpy(held.bytes + held.used, line, size);
    held.used += size;
    if (level >= LOG_WARN) {
        write_held();
    }
}

/* ---- lines */

/* The calendar is asked once a second. */
static size_t write_time(char *line, size_t size, const struct timespec *now)
{
    static _Thread_local struct {
        time_t second;
        char text[32];
    } last;
    if (last.text[0] == '\0' || last.second != now->tv_sec) {
        struct tm parts;
        gmtime_r(&now->tv_sec, &parts);
        strftime(last.text, sizeof last.text, "ts=%Y-%m-%dT%H:%M:%S", &parts);
        last.second = now->tv_sec;
    }
    return (size_t)snprintf(line, size, "%s.%03ldZ", last.text, now->tv_nsec / 1000000);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if (!log_enabled(level)) {
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    char line[LINE_BYTES];
    size_t used = write_time(line, sizeof line, &now);
    used += (size_t)snprintf(line + used, sizeof line - used, " level=%s event=%s ", level_names[level], event);
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    va_end(arguments);
    used = used + (size_t)more < sizeof line - 2 ? used + (size_t)more : sizeof line - 2;
    line[used++] = '\n';
    write_line(level, line, used);
}
