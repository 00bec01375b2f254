/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json.h"

#include "common/limits.h"
#include "common/names.h"

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

json_t *json_read(struct span span, struct error *error)
{
    json_error_t fault;
    if (depth_of(span) > LIMIT_JSON_DEPTH) {
        error_set(error, ERROR_INVALID, "JSON nested deeper than %d", LIMIT_JSON_DEPTH);
        return NULL;
    }
    json_t *json = json_loadb(span.size > 0 ? span.bytes : "", span.size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &fault);
    if (json == NULL) {
        error_set(error, ERROR_INVALID, "no JSON: line %d, column %d: %s", fault.line, fault.column, SHOWN(span_of(fault.text)));
    }
    return json;
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

static int append(const char *bytes, size_t size, void *text)
{
    return text_append(text, bytes, size) ? 0 : -1;
}

bool json_write(const json_t *json, struct text *text)
{
    return json_dump_callback(json, append, text, JSON_ENCODE_ANY | JSON_COMPACT) == 0;
}

const char *json_type_name(const json_t *json)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object",      [JSON_ARRAY] = "an array", [JSON_STRING] = "a string", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",         [JSON_TRUE] = "true",      [JSON_FALSE] = "false",     [JSON_NULL] = "null",
    };
    return json == NULL ? "nothing" : names[json_typeof(json)];
}
