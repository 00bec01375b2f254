/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/step_log.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/names.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- tidying */

static bool is_blank(char byte)
{
    return byte != '\0' && strchr(" \t\r\f\v\n", byte) != NULL;
}

static struct span trimmed(struct span span)
{
    while (span.size > 0 && is_blank(span.bytes[span.size - 1])) {
        span.size--;
    }
    return span;
}

/* Each byte that is no UTF-8 becomes `?`, and so does NUL, which would end a string on the wire. */
static struct span repaired(struct text *text, struct span span)
{
    if (utf8_is_valid(span) && (span.size == 0 || memchr(span.bytes, '\0', span.size) == NULL)) {
        return span;
    }
    for (size_t at = 0, size; at < span.size; at += size) {
        size = 1;
        while (size < 4 && at + size < span.size && !utf8_is_valid((struct span){span.bytes + at, size})) {
            size++;
        }
        struct span character = {span.bytes + at, size};
        if (!utf8_is_valid(character) || span.bytes[at] == '\0') {
            size = 1;
            character = span_of("?");
        }
        text_append_span(text, character);
    }
    return text_span(text);
}

/* ---- the bound */

/* What is left for this attempt; the line is cut to it. false: nothing of it fits. */
static bool fits(struct backstep_context *context, struct log_line *line)
{
    uint64_t left = LIMIT_PROGRAM_LOG_BYTES - context->logged_bytes;
    uint64_t fixed = line->event.size + line->data.size;
    size_t most = left > fixed ? (size_t)(left - fixed) : 0;
    struct span whole = line->text;
    if (line->event.size > LIMIT_LOG_EVENT_BYTES || line->data.size > LIMIT_PROGRAM_LOG_LINE_BYTES || fixed > left ||
        (fixed == 0 && most == 0)) {
        context->unlogged_lines++;
        context->unlogged_bytes += fixed + whole.size;
        return false;
    }
    line->text = utf8_cut(whole, most < LIMIT_PROGRAM_LOG_LINE_BYTES ? most : LIMIT_PROGRAM_LOG_LINE_BYTES);
    context->logged_bytes += fixed + line->text.size;
    context->unlogged_bytes += whole.size - line->text.size;
    return true;
}

/* Whoever runs it in process has no topic, and wants them on the terminal. */
static void say_here(struct backstep_context *context, const struct log_line *line)
{
    enum log_level level = context->listener.logged == NULL ? line->level : LOG_DEBUG;
    static const char *const sources[] = {"handler", "stderr", "stdout"};
    if (!log_enabled(level)) {
        return; /* before the quoting: that costs more than all the rest */
    }
    log_event(level, "step_says", "run=%s step=%s source=%s said=%s text=%s data=%s", backstep_run_id(context),
              LOG_QUOTED(backstep_step_name(context)), sources[line->source], LOG_QUOTED_SPAN(line->event),
              LOG_QUOTED_SPAN(line->text), LOG_QUOTED_SPAN(line->data));
}

static void take(struct backstep_context *context, struct log_line *line)
{
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    line->time_ms = clock_realtime_ms();
    line->text = repaired(&text, line->text);
    if (fits(context, line)) {
        say_here(context, line);
        if (context->listener.logged != NULL) {
            context->listener.logged(context->listener.state, line);
        }
    }
    text_fini(&text);
}

/* ---- what is said */

void step_log(struct backstep_context *context, enum log_level level, struct span event, struct span text, struct span data)
{
    struct log_line line = {.level = level, .source = LOG_SOURCE_HANDLER, .event = event, .text = trimmed(text), .data = data};
    take(context, &line);
}

/* The words of the usual libraries, in any case. */
static bool level_of(struct span word, enum log_level *level)
{
    static const struct {
        const char *word;
        enum log_level level;
    } words[] = {{"trace", LOG_DEBUG},  {"debug", LOG_DEBUG}, {"info", LOG_INFO}, {"notice", LOG_INFO}, {"warn", LOG_WARN},
                 {"warning", LOG_WARN}, {"error", LOG_ERROR}, {"err", LOG_ERROR}, {"fatal", LOG_ERROR}, {"critical", LOG_ERROR}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (word.size == strlen(words[i].word) && strncasecmp(word.bytes, words[i].word, word.size) == 0) {
            *level = words[i].level;
            return true;
        }
    }
    return false;
}

/* `level=warn` at the beginning, or after a blank. */
static void find_level(struct span text, enum log_level *level)
{
    static const char mark[] = "level=";
    size_t size = sizeof mark - 1;
    for (size_t at = 0; at + size < text.size; at++) {
        if (memcmp(text.bytes + at, mark, size) != 0 || (at > 0 && !is_blank(text.bytes[at - 1]))) {
            continue;
        }
        struct span word = {text.bytes + at + size, 0};
        while (word.bytes + word.size < text.bytes + text.size && !is_blank(word.bytes[word.size])) {
            word.size++;
        }
        level_of(word, level);
        return;
    }
}

/* Take a string out of the object. */
static struct span member(json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return (struct span){json_string_value(value), json_string_length(value)};
}

static void take_object(struct backstep_context *context, struct log_line *line, json_t *object)
{
    json_t *rest = json_copy(object);
    struct text data;
    text_init(&data, SIZE_MAX / 2);
    line->event = member(object, "event");
    line->text = trimmed(member(object, "message"));
    if (line->event.size > 0 && line->event.size <= LIMIT_LOG_EVENT_BYTES) {
        json_object_del(rest, "event");
    } else {
        line->event = (struct span){0};
    }
    if (line->text.size > 0) {
        json_object_del(rest, "message");
    }
    if (level_of(member(object, "level"), &line->level)) {
        json_object_del(rest, "level");
    }
    if (json_object_size(rest) > 0 && json_write(rest, &data)) {
        line->data = text_span(&data);
    }
    take(context, line);
    text_fini(&data);
    json_decref(rest);
}

void step_log_program(struct backstep_context *context, enum log_source source, struct span line)
{
    struct log_line said = {.level = LOG_INFO, .source = source, .text = trimmed(line)};
    if (said.text.size == 0) {
        return;
    }
    json_t *object = said.text.bytes[0] == '{' ? json_read_object(said.text, NULL) : NULL;
    if (object != NULL && json_object_size(object) > 0) {
        take_object(context, &said, object);
    } else {
        find_level(said.text, &said.level);
        take(context, &said);
    }
    json_decref(object);
}

void step_log_dropped(struct backstep_context *context, uint64_t lines, uint64_t bytes)
{
    context->unlogged_lines += lines;
    context->unlogged_bytes += bytes;
}

void step_log_end(struct backstep_context *context)
{
    if (context->unlogged_bytes == 0 && context->unlogged_lines == 0) {
        return;
    }
    log_event(LOG_WARN, "step_text_dropped", "run=%s step=%s lines=%llu bytes=%llu", backstep_run_id(context),
              LOG_QUOTED(backstep_step_name(context)), (unsigned long long)context->unlogged_lines,
              (unsigned long long)context->unlogged_bytes);
    if (context->listener.log_dropped != NULL) {
        context->listener.log_dropped(context->listener.state, context->unlogged_lines, context->unlogged_bytes);
    }
    context->unlogged_lines = context->unlogged_bytes = 0;
}
