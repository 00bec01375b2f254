/* SPDX-License-Identifier: Apache-2.0 */
#include "common/limits.h"
#include "worker/context.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void result_init(struct backstep_result *result)
{
    *result = (struct backstep_result){.outcome = BACKSTEP_FAILED};
}

void result_fini(struct backstep_result *result)
{
    free(result->data);
    free(result->rollback_data);
    free(result->error);
    json_decref(result->data_json);
    json_decref(result->rollback_json);
    *result = (struct backstep_result){0};
}

static json_t *parsed(struct span text)
{
    return text.size > 0 ? json_loadb(text.bytes, text.size, JSON_DECODE_ANY, NULL) : NULL;
}

void result_from(struct backstep_result *result, const struct step_result *from)
{
    result_init(result);
    if (from == NULL) {
        return;
    }
    result->outcome = from->skipped ? BACKSTEP_SKIPPED : from->success ? BACKSTEP_SUCCEEDED : BACKSTEP_FAILED;
    result->data_json = parsed(from->data);
    result->rollback_json = parsed(from->rollback_data);
    result->error = strndup(from->error.size > 0 ? from->error.bytes : "", from->error.size);
}

/* Replace `*field` by what printf() would write; nothing where memory is out. */
static void print_to(char **field, const char *format, va_list arguments)
{
    char *text = NULL;
    if (format == NULL || vasprintf(&text, format, arguments) < 0) {
        text = NULL;
    }
    free(*field);
    *field = text;
}

#define PRINT_TO(field, format)                 \
    do {                                        \
        va_list arguments;                      \
        va_start(arguments, format);            \
        print_to((field), (format), arguments); \
        va_end(arguments);                      \
    } while (0)

enum backstep_outcome backstep_succeed(struct backstep_result *result, const char *format, ...)
{
    if (format != NULL) {
        PRINT_TO(&result->data, format);
    }
    return result->outcome = BACKSTEP_SUCCEEDED;
}

enum backstep_outcome backstep_skip(struct backstep_result *result)
{
    return result->outcome = BACKSTEP_SKIPPED;
}

enum backstep_outcome backstep_fail(struct backstep_result *result, const char *format, ...)
{
    PRINT_TO(&result->error, format);
    return result->outcome = BACKSTEP_FAILED;
}

enum backstep_outcome backstep_fail_permanently(struct backstep_result *result, const char *format, ...)
{
    PRINT_TO(&result->error, format);
    return result->outcome = BACKSTEP_FAILED_PERMANENTLY;
}

void backstep_result_set_data(struct backstep_result *result, const char *format, ...)
{
    PRINT_TO(&result->data, format);
}

void backstep_result_set_rollback_data(struct backstep_result *result, const char *format, ...)
{
    PRINT_TO(&result->rollback_data, format);
}

bool backstep_result_success(const struct backstep_result *result)
{
    return result->outcome == BACKSTEP_SUCCEEDED || result->outcome == BACKSTEP_SKIPPED;
}

const struct backstep_json *backstep_result_data(const struct backstep_result *result)
{
    return (const struct backstep_json *)result->data_json;
}

const struct backstep_json *backstep_result_rollback_data(const struct backstep_result *result)
{
    return (const struct backstep_json *)result->rollback_json;
}

const char *backstep_result_error(const struct backstep_result *result)
{
    return result->error != NULL ? result->error : "";
}
