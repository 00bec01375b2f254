/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json.h"

#include "common/limits.h"
#include "common/names.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How deep brackets nest, without a parser that recurses: what stands in strings does not count. */
static size_t depth_of(struct span span)
{
    size_t depth = 0, most = 0;
    bool in_string = false;
    for (size_t i = 0; i < span.size; i++) {
        char character = span.bytes[i];
        if (in_string) {
            i += character == '\\';
            in_string = character != '"';
        } else if (character == '"') {
            in_string = true;
        } else if (character == '[' || character == '{') {
            depth++;
            most = depth > most ? depth : most;
        } else if ((character == ']' || character == '}') && depth > 0) {
            depth--;
        }
    }
    return most;
}

static json_t *read_within(struct span span, size_t depth, struct error *error)
{
    json_error_t fault;
    if (span.size == 0) {
        error_set(error, ERROR_INVALID, "is empty, where JSON is expected");
        return NULL;
    }
    if (depth_of(span) > depth) {
        error_set(error, ERROR_INVALID, "JSON nested deeper than %zu", depth);
        return NULL;
    }
    json_t *json = json_loadb(span.bytes, span.size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &fault);
    if (json == NULL) {
        error_set(error, ERROR_INVALID, "no JSON: line %d, column %d: %s", fault.line, fault.column, SHOWN(span_of(fault.text)));
    }
    return json;
}

json_t *json_read(struct span span, struct error *error)
{
    return read_within(span, LIMIT_JSON_DEPTH, error);
}

json_t *json_read_wrapped(struct span span, struct error *error)
{
    return read_within(span, LIMIT_JSON_DEPTH + LIMIT_JSON_WRAPPING, error);
}

bool json_is_valid(struct span span)
{
    json_t *json = json_read(span, NULL);
    json_decref(json);
    return json != NULL;
}

json_t *json_read_object(struct span span, struct error *error)
{
    json_t *json = json_read(span, error);
    if (json != NULL && !json_is_object(json)) {
        error_set(error, ERROR_INVALID, "is %s, not an object", json_type_name(json));
        json_decref(json);
        return NULL;
    }
    return json;
}

/* The shortest text that reads back as the same number: jansson would write 0.1 as 0.10000000000000001. */
static void write_real(double value, struct text *text)
{
    char digits[40];
    int precision = 15;
    do {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
    } while (precision++ < 17 && strtod(digits, NULL) != value);
    text_append_string(text, digits);
    if (strpbrk(digits, ".e") == NULL) {
        text_append_string(text, ".0"); /* it stays a real number */
    }
}

static void write_value(const json_t *json, struct text *text);

static void write_array(const json_t *json, struct text *text)
{
    text_append_char(text, '[');
    for (size_t i = 0; i < json_array_size(json); i++) {
        text_append_string(text, i > 0 ? "," : "");
        write_value(json_array_get(json, i), text);
    }
    text_append_char(text, ']');
}

static void write_object(json_t *json, struct text *text)
{
    const char *key, *comma = "";
    json_t *value;
    text_append_char(text, '{');
    json_object_foreach(json, key, value) {
        text_append_string(text, comma);
        text_append_json_string(text, span_of(key));
        text_append_char(text, ':');
        write_value(value, text);
        comma = ",";
    }
    text_append_char(text, '}');
}

static void write_value(const json_t *json, struct text *text)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT: write_object((json_t *)(uintptr_t)json, text); break;
    case JSON_ARRAY: write_array(json, text); break;
    case JSON_STRING:
        text_append_json_string(text, (struct span){json_string_value(json), json_string_length(json)});
        break;
    case JSON_INTEGER: text_format(text, "%" JSON_INTEGER_FORMAT, json_integer_value(json)); break;
    case JSON_REAL: write_real(json_real_value(json), text); break;
    case JSON_TRUE: text_append_string(text, "true"); break;
    case JSON_FALSE: text_append_string(text, "false"); break;
    case JSON_NULL: text_append_string(text, "null"); break;
    }
}

bool json_write(const json_t *json, struct text *text)
{
    write_value(json, text);
    return !text->overflow;
}

const char *json_type_name(const json_t *json)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object",      [JSON_ARRAY] = "an array", [JSON_STRING] = "a string", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",         [JSON_TRUE] = "true",      [JSON_FALSE] = "false",     [JSON_NULL] = "null",
    };
    return json == NULL ? "nothing" : names[json_typeof(json)];
}
