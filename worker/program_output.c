/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/program_output.h"

#include "common/json.h"
#include "common/limits.h"
#include "common/names.h"
#include "common/text.h"

#include <assert.h>
#include <stdlib.h>

#define FRACTION_UNITS 1000000 /* a progress like [0.25, 1] is counted in millionths */
#define MAX_PROGRESS 1e12      /* so that it still fits 64 bits then */

struct line {
    struct text text;
    uint64_t cut_bytes; /* of this line, beyond what `text` takes */
};

struct program_output {
    struct program_listener listener;
    struct line lines[PROGRAM_STREAM_COUNT];
    struct text violation, reason;
    json_t *data, *rollback_data, *set; /* NULL: none */
    uint64_t logged_bytes, dropped_lines, dropped_bytes;
};

struct program_output *program_output_new(const struct program_listener *listener)
{
    struct program_output *output = calloc(1, sizeof *output);
    if (output == NULL) {
        return NULL;
    }
    output->listener = *listener;
    text_init(&output->lines[PROGRAM_STDOUT].text, LIMIT_PROGRAM_LINE_BYTES);
    text_init(&output->lines[PROGRAM_STDERR].text, LIMIT_PROGRAM_LOG_LINE_BYTES);
    text_init(&output->violation, LIMIT_MESSAGE_BYTES);
    text_init(&output->reason, LIMIT_MESSAGE_BYTES);
    return output;
}

void program_output_free(struct program_output *output)
{
    if (output == NULL) {
        return;
    }
    for (size_t i = 0; i < PROGRAM_STREAM_COUNT; i++) {
        text_fini(&output->lines[i].text);
    }
    text_fini(&output->violation);
    text_fini(&output->reason);
    json_decref(output->data);
    json_decref(output->rollback_data);
    json_decref(output->set);
    free(output);
}

/* ---- members: each returns NULL, or what was expected instead */

static bool is_whole(double number)
{
    return (double)(int64_t)number == number;
}

static int64_t rounded(double number)
{
    return (int64_t)(number + 0.5);
}

static const char *on_progress(struct program_output *output, json_t *value)
{
    const json_t *current = json_array_get(value, 0);
    const json_t *total = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_number(current) || !json_is_number(total)) {
        return "expected [CURRENT, TOTAL], two numbers";
    }
    double current_number = json_number_value(current);
    double total_number = json_number_value(total);
    if (!(total_number > 0)) {
        return "total must be > 0";
    }
    if (!(current_number >= 0 && current_number <= total_number)) {
        return "current must be between 0 and total";
    }
    if (total_number > MAX_PROGRESS) {
        return "total must be at most 10^12";
    }
    bool whole = is_whole(current_number) && is_whole(total_number);
    double unit = whole ? 1 : FRACTION_UNITS;
    int64_t total_units = rounded(total_number * unit);
    if (total_units > 0 && output->listener.progressed != NULL) {
        output->listener.progressed(output->listener.state, rounded(current_number * unit), total_units);
    }
    return NULL;
}

static const char *on_metrics(struct program_output *output, json_t *value)
{
    struct text text;
    if (!json_is_object(value)) {
        return "expected an object";
    }
    text_init(&text, LIMIT_METRICS_BYTES);
    bool fits = json_object_size(value) <= LIMIT_METRICS_KEYS && json_write(value, &text);
    if (fits && output->listener.measured != NULL) {
        output->listener.measured(output->listener.state, text_span(&text));
    }
    text_fini(&text);
    return fits ? NULL : "expected at most 64 keys and 4096 bytes";
}
static_assert(LIMIT_METRICS_KEYS == 64 && LIMIT_METRICS_BYTES == 4096, "the message above says so");

static const char *on_set(struct program_output *output, json_t *value)
{
    if (!json_is_object(value)) {
        return "expected an object";
    }
    if (output->set == NULL) {
        output->set = json_object();
    }
    return json_object_update(output->set, value) == 0 ? NULL : "no memory for it";
}

static const char *keep(json_t **place, json_t *value)
{
    if (!json_is_object(value)) {
        return "expected an object";
    }
    json_decref(*place);
    *place = json_incref(value);
    return NULL;
}

static const char *on_data(struct program_output *output, json_t *value)
{
    return keep(&output->data, value);
}

static const char *on_rollback_data(struct program_output *output, json_t *value)
{
    return keep(&output->rollback_data, value);
}

static const struct member {
    const char *name;
    const char *(*apply)(struct program_output *output, json_t *value);
} members[] = {
    {"progress", on_progress}, {"metrics", on_metrics},
    {"set", on_set},           {"data", on_data},
    {"rollback_data", on_rollback_data},
};

static const char *const member_names[] = {"progress", "metrics", "set", "data", "rollback_data", NULL};

/* ---- violations: the first counts */

static bool begin_violation(struct program_output *output)
{
    return output->violation.size == 0 && text_append_string(&output->violation, "standard output: ");
}

/* A quotation that leaves room for what is said about it. */
static void quote(struct text *text, struct span span)
{
    const size_t most = 256;
    text_append_visible(text, utf8_cut(span, most));
    text_append_string(text, span.size > most ? "..." : "");
}

static void violate_member(struct program_output *output, const char *name, const json_t *value, const char *expected)
{
    struct text shown;
    if (!begin_violation(output)) {
        return;
    }
    text_init(&shown, LIMIT_PROGRAM_LINE_BYTES);
    json_write(value, &shown);
    text_append_char(&output->violation, '"');
    quote(&output->violation, span_of(name));
    text_append_string(&output->violation, "\": ");
    quote(&output->violation, text_span(&shown));
    text_format(&output->violation, ": %s", expected);
    text_fini(&shown);
}

static void violate_unknown(struct program_output *output, const char *name)
{
    if (!begin_violation(output)) {
        return;
    }
    text_append_string(&output->violation, "unknown key \"");
    quote(&output->violation, span_of(name));
    text_append_char(&output->violation, '"');
    name_append_suggestion(&output->violation, span_of(name), member_names);
}

static size_t size_of(const json_t *json)
{
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    size_t size = json != NULL && json_write(json, &text) ? text.size : 0;
    text_fini(&text);
    return size;
}

/* LIMIT_RESULT_BYTES, while it comes: what a step sets again and again must not pile up. */
static void check_result_size(struct program_output *output)
{
    size_t size = size_of(output->data) + size_of(output->rollback_data) + size_of(output->set);
    if (size > LIMIT_RESULT_BYTES && begin_violation(output)) {
        text_format(&output->violation, "data, rollback_data and set are %zu bytes together; the limit is %d", size,
                    LIMIT_RESULT_BYTES);
    }
    if (size > LIMIT_RESULT_BYTES) {
        json_decref(output->set);
        json_decref(output->data);
        output->set = output->data = NULL;
    }
}

/* ---- lines */

static void apply_member(struct program_output *output, const char *name, json_t *value)
{
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (strcmp(name, members[i].name) == 0) {
            const char *expected = members[i].apply(output, value);
            if (expected != NULL) {
                violate_member(output, name, value, expected);
            }
            return;
        }
    }
    violate_unknown(output, name);
}

static bool begins_like_an_object(struct span line)
{
    size_t at = 0;
    while (at < line.size && strchr(" \t\r", line.bytes[at]) != NULL && line.bytes[at] != '\0') {
        at++;
    }
    if (at == line.size || line.bytes[at++] != '{') {
        return false;
    }
    while (at < line.size && (line.bytes[at] == ' ' || line.bytes[at] == '\t')) {
        at++;
    }
    return at < line.size && (line.bytes[at] == '"' || line.bytes[at] == '}');
}

static bool is_blank(struct span line)
{
    for (size_t i = 0; i < line.size; i++) {
        if (strchr(" \t\r\f\v", line.bytes[i]) == NULL || line.bytes[i] == '\0') {
            return false;
        }
    }
    return true;
}

static struct span without_trailing_blanks(struct span line)
{
    while (line.size > 0 && is_blank((struct span){line.bytes + line.size - 1, 1})) {
        line.size--;
    }
    return line;
}

static void on_text(struct program_output *output, enum program_stream stream, struct span line, uint64_t cut_bytes)
{
    uint64_t whole = line.size + cut_bytes;
    uint64_t left = LIMIT_PROGRAM_LOG_BYTES - output->logged_bytes;
    size_t most = left < LIMIT_PROGRAM_LOG_LINE_BYTES ? (size_t)left : LIMIT_PROGRAM_LOG_LINE_BYTES;
    line = utf8_cut(line, most);
    output->logged_bytes += line.size;
    output->dropped_bytes += whole - line.size;
    output->dropped_lines += line.size == 0 && whole > 0;
    if (line.size > 0 && output->listener.logged != NULL) {
        output->listener.logged(output->listener.state, stream, line);
    }
}

/* Returns false where it is no JSON object, and so text. */
static bool on_object(struct program_output *output, struct span line)
{
    json_t *object = begins_like_an_object(line) ? json_read_object(line, NULL) : NULL;
    if (object == NULL) {
        return false;
    }
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) {
        apply_member(output, name, value);
    }
    if (json_object_get(object, "set") || json_object_get(object, "data") || json_object_get(object, "rollback_data")) {
        check_result_size(output);
    }
    json_decref(object);
    return true;
}

static void on_stdout_line(struct program_output *output, struct span line, uint64_t cut_bytes)
{
    if (cut_bytes > 0 && begins_like_an_object(line) && begin_violation(output)) {
        text_format(&output->violation, "a line of %llu bytes that begins like a JSON object; the limit is %d",
                    (unsigned long long)(line.size + cut_bytes), LIMIT_PROGRAM_LINE_BYTES);
    }
    if (cut_bytes > 0 || !on_object(output, line)) {
        on_text(output, PROGRAM_STDOUT, line, cut_bytes);
    }
}

static void on_stderr_line(struct program_output *output, struct span line, uint64_t cut_bytes)
{
    struct span reason = without_trailing_blanks(line);
    if (reason.size > 0) {
        text_clear(&output->reason);
        text_append_visible(&output->reason, reason);
    }
    on_text(output, PROGRAM_STDERR, line, cut_bytes);
}

static void end_line(struct program_output *output, enum program_stream stream)
{
    struct line *line = &output->lines[stream];
    struct span span = text_span(&line->text);
    if (stream == PROGRAM_STDOUT) {
        on_stdout_line(output, span, line->cut_bytes);
    } else {
        on_stderr_line(output, span, line->cut_bytes);
    }
    text_clear(&line->text);
    line->cut_bytes = 0;
}

static void add_to_line(struct line *line, const char *bytes, size_t size)
{
    size_t room = line->text.max_bytes - line->text.size;
    size_t taken = size < room ? size : room;
    if (!text_append(&line->text, bytes, taken)) {
        taken = 0; /* no memory: as if it were too long */
    }
    line->cut_bytes += size - taken;
}

void program_output_feed(struct program_output *output, enum program_stream stream, struct span bytes)
{
    while (bytes.size > 0) {
        const char *newline = memchr(bytes.bytes, '\n', bytes.size);
        size_t size = newline != NULL ? (size_t)(newline - bytes.bytes) : bytes.size;
        add_to_line(&output->lines[stream], bytes.bytes, size);
        if (newline != NULL) {
            end_line(output, stream);
            size++;
        }
        bytes.bytes += size;
        bytes.size -= size;
    }
}

void program_output_end(struct program_output *output)
{
    for (size_t i = 0; i < PROGRAM_STREAM_COUNT; i++) {
        if (output->lines[i].text.size > 0 || output->lines[i].cut_bytes > 0) {
            end_line(output, (enum program_stream)i);
        }
    }
}

/* ---- results */

const char *program_output_violation(const struct program_output *output)
{
    return output->violation.size > 0 ? text_string(&output->violation) : NULL;
}

const char *program_output_reason(const struct program_output *output)
{
    return output->reason.size > 0 ? text_string(&output->reason) : NULL;
}

uint64_t program_output_dropped_lines(const struct program_output *output)
{
    return output->dropped_lines;
}

uint64_t program_output_dropped_bytes(const struct program_output *output)
{
    return output->dropped_bytes;
}

static char *take(json_t **place)
{
    struct text text;
    if (*place == NULL) {
        return NULL;
    }
    text_init(&text, LIMIT_RESULT_BYTES);
    char *taken = json_write(*place, &text) ? text_take(&text) : NULL;
    text_fini(&text);
    json_decref(*place);
    *place = NULL;
    return taken;
}

char *program_output_take_data(struct program_output *output)
{
    return take(&output->data);
}

char *program_output_take_rollback_data(struct program_output *output)
{
    return take(&output->rollback_data);
}

char *program_output_take_set(struct program_output *output)
{
    return take(&output->set);
}
