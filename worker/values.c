/* SPDX-License-Identifier: Apache-2.0 */
/* Reading JSON: struct backstep_json is jansson's value under a name of ours. */
#include "common/json.h"
#include "worker/backstep.h"
#include "worker/context.h"

#define JSON(value) ((const json_t *)(value))
#define VALUE(json) ((const struct backstep_json *)(json))

int backstep_json_count(const struct backstep_json *json)
{
    size_t count = json_is_array(JSON(json)) ? json_array_size(JSON(json)) : json_object_size(JSON(json));
    return (int)count;
}

const struct backstep_json *backstep_json_element(const struct backstep_json *json, int index)
{
    return index < 0 ? NULL : VALUE(json_array_get(JSON(json), (size_t)index));
}

const struct backstep_json *backstep_json_member(const struct backstep_json *json, const char *name)
{
    return name != NULL ? VALUE(json_object_get(JSON(json), name)) : NULL;
}

bool backstep_json_bool(const struct backstep_json *json, bool otherwise)
{
    return json_is_boolean(JSON(json)) ? json_is_true(JSON(json)) : otherwise;
}

int64_t backstep_json_integer(const struct backstep_json *json, int64_t otherwise)
{
    return json_is_integer(JSON(json)) ? (int64_t)json_integer_value(JSON(json)) : otherwise;
}

double backstep_json_number(const struct backstep_json *json, double otherwise)
{
    return json_is_number(JSON(json)) ? json_number_value(JSON(json)) : otherwise;
}

const char *backstep_json_string(const struct backstep_json *json, const char *otherwise)
{
    return json_is_string(JSON(json)) ? json_string_value(JSON(json)) : otherwise;
}

const struct backstep_json *backstep_json_parse(const char *text)
{
    return text != NULL ? VALUE(json_read_wrapped(span_of(text), NULL)) : NULL;
}

void backstep_json_free(const struct backstep_json *json)
{
    json_decref((json_t *)(uintptr_t)json);
}

char *json_text(const json_t *value)
{
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    char *bytes = value != NULL && json_write(value, &text) ? text_take(&text) : NULL;
    text_fini(&text);
    return bytes;
}

char *backstep_json_text(const struct backstep_json *json)
{
    return json_text(json != NULL ? JSON(json) : json_null());
}
