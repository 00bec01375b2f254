/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/log_line.h"

#include "common/json.h"
#include "coordinator/cli/plain_line.h"
#include "coordinator/cli/summary.h"

#include <inttypes.h>

static const struct {
    const char *name, *colour;
} levels[] = {
    [LOG_DEBUG] = {"debug", "\033[2m"},
    [LOG_INFO] = {"info", ""},
    [LOG_WARN] = {"warn", "\033[33m"},
    [LOG_ERROR] = {"error", "\033[31m"},
};

static const char *const sources[] = {"handler", "stderr", "stdout"};

static void begin(const struct message *message, int64_t time_ms, const struct log_style *style, const char *word, struct text *out)
{
    struct span run_id = message->event.run_id;
    const char *direction = plain_direction(message->event.ticket.direction);
    if (style->colour) {
        plain_begin_of_one(out, time_ms, style->saga, message->log.step, direction, word);
    } else {
        plain_begin(out, time_ms, run_id, style->saga, message->log.step, direction, word);
    }
    if (message->event.ticket.instance > 0) {
        text_format(out, "#%" PRIu32 " ", message->event.ticket.instance);
    }
}

/* The event, what is said of it, and its data, of which there may be any. */
static void append_line(const struct log_line *line, struct text *out)
{
    const struct span parts[] = {line->event, line->text, line->data};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        text_append_visible(out, parts[i]);
        text_append_string(out, parts[i].size > 0 ? " " : "");
    }
}

static void append_dropped(const struct log_lines *log, struct text *out)
{
    if (log->dropped_lines > 0) {
        text_format(out, "%" PRIu64 " line%s, ", log->dropped_lines, log->dropped_lines == 1 ? "" : "s");
    }
    text_format(out, "%" PRIu64 " bytes: more than is kept", log->dropped_bytes);
}

void log_lines_text(const struct message *message, int64_t time_ms, const struct log_style *style, struct text *out)
{
    const struct log_lines *log = &message->log;
    for (size_t i = 0; i < log->count; i++) {
        const struct log_line *line = &log->lines[i];
        if (line->level < style->level) {
            continue;
        }
        const char *colour = style->colour ? levels[line->level].colour : "";
        text_append_string(out, colour);
        begin(message, line->time_ms, style, levels[line->level].name, out);
        append_line(line, out);
        plain_end(out);
        if (colour[0] != '\0') {
            out->size--; /* the colour ends before the line does */
            text_append_string(out, "\033[0m\n");
        }
    }
    if (log->dropped_lines > 0 || log->dropped_bytes > 0) {
        begin(message, log->count > 0 ? log->lines[log->count - 1].time_ms : time_ms, style, "dropped", out);
        append_dropped(log, out);
        plain_end(out);
    }
}

/* ---- JSON */

static void append_field(struct text *out, const char *name, struct span value)
{
    if (value.size > 0) {
        text_format(out, ",\"%s\":", name);
        text_append_json_string(out, value);
    }
}

static void begin_object(const struct message *message, int64_t time_ms, struct text *out)
{
    text_append_string(out, "{\"time\":\"");
    append_timestamp(out, time_ms);
    text_append_char(out, '"');
    append_field(out, "run_id", message->event.run_id);
    append_field(out, "step", message->log.step);
    if (message->event.ticket.instance > 0) {
        text_format(out, ",\"instance\":%" PRIu32, message->event.ticket.instance);
    }
    append_field(out, "direction", span_of(plain_direction(message->event.ticket.direction)));
    text_format(out, ",\"attempt\":%" PRIu32, message->log.attempt);
    append_field(out, "worker", message->event.worker);
}

static void append_object(const struct message *message, const struct log_line *line, struct text *out)
{
    begin_object(message, line->time_ms, out);
    append_field(out, "level", span_of(levels[line->level].name));
    append_field(out, "source", span_of(sources[line->source]));
    append_field(out, "event", line->event);
    append_field(out, "text", line->text);
    if (line->data.size > 0 && json_is_valid(line->data)) {
        text_append_string(out, ",\"data\":");
        text_append_span(out, line->data);
    }
    text_append_string(out, "}\n");
}

void log_lines_json(const struct message *message, int64_t time_ms, const struct log_style *style, struct text *out)
{
    const struct log_lines *log = &message->log;
    for (size_t i = 0; i < log->count; i++) {
        if (log->lines[i].level >= style->level) {
            append_object(message, &log->lines[i], out);
        }
    }
    if (log->dropped_lines > 0 || log->dropped_bytes > 0) {
        begin_object(message, log->count > 0 ? log->lines[log->count - 1].time_ms : time_ms, out);
        text_format(out, ",\"dropped_lines\":%" PRIu64 ",\"dropped_bytes\":%" PRIu64 "}\n", log->dropped_lines, log->dropped_bytes);
    }
}
