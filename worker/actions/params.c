/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/params.h"

#include "common/names.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct slot {
    const struct action_param *param;
    struct action_values *values;
    size_t index;
};

static size_t index_of(const struct action_values *values, const char *name)
{
    size_t i = 0;
    while (values->table[i].name != NULL && strcmp(values->table[i].name, name) != 0) {
        i++;
    }
    assert(values->table[i].name != NULL);
    return i;
}

static bool integer_parse(const char *text, int64_t *value)
{
    char *end = NULL;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

bool action_size_parse(const char *text, int64_t *bytes)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || value < 0) {
        return false;
    }
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;
    if (*end != '\0' && (unit == NULL || end[1] != '\0')) {
        return false;
    }
    int shift = unit != NULL ? 10 * (int)(unit - units + 1) : 0;
    *bytes = value;
    return !__builtin_mul_overflow(value, INT64_C(1) << shift, bytes);
}

static bool number_parse(const char *text, double *value)
{
    char *end = NULL;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*value);
}

static bool is_choice(const char *choices, const char *text)
{
    size_t size = strlen(text);
    for (const char *at = choices; *at != '\0'; at += *at == '|') {
        size_t length = strcspn(at, "|");
        if (length == size && memcmp(at, text, size) == 0) {
            return true;
        }
        at += length;
    }
    return false;
}

/* What was found, for an error; the storage is the context's. */
static const char *shown(const struct backstep_json *json, struct shown *storage)
{
    char *text = backstep_json_text(json);
    const char *seen = show(storage, span_of(text != NULL ? text : ""));
    free(text);
    return seen;
}

static bool refuse(const struct slot *slot, const struct backstep_json *json, const char *expected, struct error *error)
{
    return error_set(error, ERROR_INVALID, "param '%s': expected %s, found %s", slot->param->name, expected,
                     shown(json, &(struct shown){{0}}));
}

static bool refuse_range(const struct slot *slot, const struct backstep_json *json, const char *what, struct error *error)
{
    const struct action_param *param = slot->param;
    char expected[160];
    if (param->kind == PARAM_NUMBER) {
        snprintf(expected, sizeof expected, "%s from %g to %g", what, param->number_least, param->number_most);
    } else {
        snprintf(expected, sizeof expected, "%s from %" PRId64 " to %" PRId64 " %s", what, param->least, param->most,
                 param->unit != NULL ? param->unit : "");
    }
    return refuse(slot, json, expected, error);
}

static bool read_integer(const struct slot *slot, const struct backstep_json *json, const char *text, struct error *error)
{
    const struct action_param *param = slot->param;
    int64_t *value = &slot->values->integers[slot->index];
    static const char *const whats[] = {[PARAM_INTEGER] = "an integer",
                                        [PARAM_SIZE] = "a size such as 500, 64K, 100M or 2G",
                                        [PARAM_DURATION] = "a duration such as 500ms, 10s or 5m"};
    *value = backstep_json_integer(json, INT64_MIN);
    bool ok = *value != INT64_MIN && param->kind != PARAM_DURATION;
    if (text != NULL) {
        ok = param->kind == PARAM_INTEGER ? integer_parse(text, value)
             : param->kind == PARAM_SIZE  ? action_size_parse(text, value)
                                          : duration_parse(span_of(text), value, NULL);
    }
    return (ok && *value >= param->least && *value <= param->most) || refuse_range(slot, json, whats[param->kind], error);
}

static bool read_number(const struct slot *slot, const struct backstep_json *json, const char *text, struct error *error)
{
    double *value = &slot->values->numbers[slot->index];
    *value = backstep_json_number(json, NAN);
    bool ok = text != NULL ? number_parse(text, value) : isfinite(*value);
    return (ok && *value >= slot->param->number_least && *value <= slot->param->number_most) ||
           refuse_range(slot, json, "a number", error);
}

static bool read_bool(const struct slot *slot, const struct backstep_json *json, const char *text, struct error *error)
{
    bool value = text != NULL ? strcmp(text, "true") == 0 : backstep_json_bool(json, false);
    slot->values->integers[slot->index] = value;
    bool ok = text != NULL ? value || strcmp(text, "false") == 0 : backstep_json_bool(json, true) == value;
    return ok || refuse(slot, json, "true or false", error);
}

static bool read_list(const struct slot *slot, const struct backstep_json *json, const char *text, struct error *error)
{
    for (int i = 0; text == NULL && i < backstep_json_count(json); i++) {
        if (backstep_json_string(backstep_json_element(json, i), NULL) == NULL) {
            return refuse(slot, json, "a list of texts", error);
        }
    }
    return text != NULL || backstep_json_element(json, 0) != NULL || backstep_json_count(json) == 0 ||
           refuse(slot, json, "a list of texts", error);
}

/* "5" on a command line is a number, and may be a name all the same. */
static bool spell(const struct slot *slot, const struct backstep_json *json)
{
    char *text = backstep_json_text(json);
    char *spelled = slot->values->spelled[slot->index];
    bool ok = text != NULL && strchr("-0123456789tf", text[0]) != NULL && strlen(text) < sizeof slot->values->spelled[0];
    if (ok) {
        strcpy(spelled, text);
        slot->values->texts[slot->index] = spelled;
    }
    free(text);
    return ok;
}

static bool read_value(const struct slot *slot, const struct backstep_json *json, const char *text, struct error *error)
{
    slot->values->texts[slot->index] = text;
    switch (slot->param->kind) {
    case PARAM_TEXT: return text != NULL || spell(slot, json) || refuse(slot, json, "a text", error);
    case PARAM_CHOICE:
        return (text != NULL && is_choice(slot->param->choices, text)) || refuse(slot, json, slot->param->choices, error);
    case PARAM_INTEGER:
    case PARAM_SIZE:
    case PARAM_DURATION: return read_integer(slot, json, text, error);
    case PARAM_NUMBER: return read_number(slot, json, text, error);
    case PARAM_BOOL: return read_bool(slot, json, text, error);
    case PARAM_LIST: return read_list(slot, json, text, error);
    }
    return false;
}

/* Not said: absent, null, or an empty text, which is how a pipeline file says "none". */
static bool is_said(const struct backstep_json *json, char **text)
{
    free(*text);
    *text = json != NULL ? backstep_json_text(json) : NULL;
    return *text != NULL && strcmp(*text, "null") != 0 && strcmp(*text, "\"\"") != 0;
}

static bool read_one(const struct slot *slot, struct backstep_context *context, struct error *error)
{
    char *text = NULL;
    const struct backstep_json *json = backstep_json_member(backstep_input(context), slot->param->name);
    if (!is_said(json, &text)) {
        json = backstep_param(context, slot->param->name);
    }
    bool said = is_said(json, &text);
    free(text);
    slot->values->json[slot->index] = said ? json : NULL;
    if (said) {
        return read_value(slot, json, backstep_json_string(json, NULL), error);
    }
    if (slot->param->required) {
        return error_set(error, ERROR_INVALID, "param '%s' is missing: %s", slot->param->name, slot->param->help);
    }
    return slot->param->fallback == NULL || read_value(slot, NULL, slot->param->fallback, error);
}

bool action_values_read(struct action_values *values, const struct action_param *table, struct backstep_context *context,
                        struct error *error)
{
    *values = (struct action_values){.table = table};
    for (size_t i = 0; table[i].name != NULL; i++) {
        assert(i < ACTION_PARAMS_MAX);
        if (!read_one(&(struct slot){.param = &table[i], .values = values, .index = i}, context, error)) {
            return false;
        }
    }
    return true;
}

const char *value_text(const struct action_values *values, const char *name)
{
    return values->texts[index_of(values, name)];
}

int64_t value_integer(const struct action_values *values, const char *name)
{
    return values->integers[index_of(values, name)];
}

double value_number(const struct action_values *values, const char *name)
{
    return values->numbers[index_of(values, name)];
}

static bool split(const char *text, bool (*each)(void *state, const char *item, size_t size), void *state)
{
    for (const char *at = text; *at != '\0'; at += *at == ',') {
        size_t size = strcspn(at, ",");
        if (size > 0 && !each(state, at, size)) {
            return false;
        }
        at += size;
    }
    return true;
}

bool value_list(const struct action_values *values, const char *name, bool (*each)(void *state, const char *item, size_t size),
                void *state)
{
    size_t index = index_of(values, name);
    const struct backstep_json *json = values->json[index];
    if (values->texts[index] != NULL) {
        return split(values->texts[index], each, state);
    }
    for (int i = 0; i < backstep_json_count(json); i++) {
        const char *item = backstep_json_string(backstep_json_element(json, i), "");
        if (!each(state, item, strlen(item))) {
            return false;
        }
    }
    return true;
}
