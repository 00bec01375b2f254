/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/text.h"
#include "worker/context.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void result_init(struct backstep_result *result)
{
    memset(result, 0, offsetof(struct backstep_result, timestamp) + 1);
    result->outcome = BACKSTEP_FAILED;
}

void result_fini(struct backstep_result *result)
{
    if (result->data == NULL && result->rollback_data == NULL && result->error == NULL && result->data_json == NULL &&
        result->rollback_json == NULL) {
        return; /* most results have been taken, or say nothing */
    }
    free(result->data);
    free(result->rollback_data);
    free(result->error);
    json_decref(result->data_json);
    json_decref(result->rollback_json);
}

static json_t *parsed(struct span text)
{
    return text.size > 0 ? json_loadb(text.bytes, text.size, JSON_DECODE_ANY, NULL) : NULL;
}

void result_from(struct backstep_result *result, const struct step_result *from)
{
    result_init(result);
    result->foreign = true;
    if (from == NULL) {
        return;
    }
    result->outcome = from->skipped ? BACKSTEP_SKIPPED : from->success ? BACKSTEP_SUCCEEDED : BACKSTEP_FAILED;
    result->data_json = parsed(from->data);
    result->rollback_json = parsed(from->rollback_data);
    result->error = text_copy(from->error);
}

/* Replace `*field` by what printf() would write; nothing where memory is out. `*parsed` was made of the old one. */
static void print_to(char **field, json_t **parsed, const char *format, va_list arguments)
{
    char *text = NULL;
    if (format == NULL || vasprintf(&text, format, arguments) < 0) {
        text = NULL;
    }
    free(*field);
    *field = text;
    if (parsed != NULL) {
        json_decref(*parsed);
        *parsed = NULL;
    }
}

#define PRINT_TO(field, parsed, format)                                                                                            \
    do {                                                                                                                           \
        va_list arguments;                                                                                                         \
        va_start(arguments, format);                                                                                               \
        print_to((field), (parsed), (format), arguments);                                                                          \
        va_end(arguments);                                                                                                         \
    } while (0)

enum backstep_outcome backstep_succeed(struct backstep_result *result, const char *format, ...)
{
    if (result == NULL) {
        return BACKSTEP_FAILED_PERMANENTLY;
    }
    if (format != NULL) {
        PRINT_TO(&result->data, &result->data_json, format);
    }
    return result->outcome = BACKSTEP_SUCCEEDED;
}

enum backstep_outcome backstep_skip(struct backstep_result *result)
{
    if (result == NULL) {
        return BACKSTEP_FAILED_PERMANENTLY;
    }
    return result->outcome = BACKSTEP_SKIPPED;
}

enum backstep_outcome backstep_fail(struct backstep_result *result, const char *format, ...)
{
    if (result == NULL) {
        return BACKSTEP_FAILED_PERMANENTLY;
    }
    PRINT_TO(&result->error, NULL, format);
    return result->outcome = BACKSTEP_FAILED;
}

enum backstep_outcome backstep_fail_permanently(struct backstep_result *result, const char *format, ...)
{
    if (result == NULL) {
        return BACKSTEP_FAILED_PERMANENTLY;
    }
    PRINT_TO(&result->error, NULL, format);
    return result->outcome = BACKSTEP_FAILED_PERMANENTLY;
}

void backstep_result_set_data(struct backstep_result *result, const char *format, ...)
{
    if (result == NULL) {
        return;
    }
    PRINT_TO(&result->data, &result->data_json, format);
}

void backstep_result_set_rollback_data(struct backstep_result *result, const char *format, ...)
{
    if (result == NULL) {
        return;
    }
    PRINT_TO(&result->rollback_data, &result->rollback_json, format);
}

/* ---------------------------------------------------------------- what a result says */

bool backstep_result_success(const struct backstep_result *result)
{
    if (result == NULL) {
        return false;
    }
    return result->outcome == BACKSTEP_SUCCEEDED || result->outcome == BACKSTEP_SKIPPED;
}

bool backstep_result_skipped(const struct backstep_result *result)
{
    if (result == NULL) {
        return false;
    }
    return result->outcome == BACKSTEP_SKIPPED;
}

/* Parsed on first use; nobody outside can tell. */
static const struct backstep_json *parse_once(const char *text, json_t *const *parsed_json)
{
    if (*parsed_json == NULL && text != NULL) {
        *(json_t **)(uintptr_t)parsed_json = json_read(span_of(text), NULL);
    }
    return (const struct backstep_json *)*parsed_json;
}

const struct backstep_json *backstep_result_data(const struct backstep_result *result)
{
    if (result == NULL) {
        return NULL;
    }
    return parse_once(result->data, &result->data_json);
}

const struct backstep_json *backstep_result_rollback_data(const struct backstep_result *result)
{
    if (result == NULL) {
        return NULL;
    }
    return parse_once(result->rollback_data, &result->rollback_json);
}

const char *backstep_result_error(const struct backstep_result *result)
{
    if (result == NULL) {
        return "";
    }
    return result->error != NULL ? result->error : "";
}

const char *backstep_result_timestamp(const struct backstep_result *result)
{
    if (result == NULL) {
        return "";
    }
    int64_t time_ms = result->time_ms > 0 ? result->time_ms : result->foreign ? 0 : clock_realtime_ms();
    char *out = (char *)(uintptr_t)result->timestamp;
    struct tm utc;
    time_t seconds = (time_t)(time_ms / 1000);
    out[0] = '\0';
    if (time_ms > 0 && gmtime_r(&seconds, &utc) != NULL) {
        size_t used = strftime(out, sizeof result->timestamp, "%Y-%m-%dT%H:%M:%S", &utc);
        snprintf(out + used, sizeof result->timestamp - used, ".%03dZ", (int)(time_ms % 1000));
    }
    return out;
}

/* Into a copy: what does not fit changes nothing. */
static bool merge(struct backstep_result *result, const json_t *more)
{
    json_t *now = (json_t *)(uintptr_t)backstep_result_data(result);
    if ((result->data != NULL && now == NULL) || (now != NULL && !json_is_object(now)) || !json_is_object(more)) {
        return false;
    }
    json_t *merged = now != NULL ? json_copy(now) : json_object();
    char *text = json_object_update(merged, (json_t *)(uintptr_t)more) == 0 ? json_text(merged) : NULL;
    if (text == NULL) {
        json_decref(merged);
        return false;
    }
    free(result->data);
    json_decref(result->data_json);
    result->data = text;
    result->data_json = merged;
    return true;
}

bool backstep_result_merge_data(struct backstep_result *result, const char *format, ...)
{
    if (result == NULL) {
        return false;
    }
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int size = format != NULL ? vasprintf(&text, format, arguments) : -1;
    va_end(arguments);
    if (size < 0) {
        return false;
    }
    json_t *more = json_read(span_of(text), NULL);
    bool ok = merge(result, more);
    json_decref(more);
    free(text);
    return ok;
}
