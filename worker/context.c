/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/context.h"
#include "worker/references.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/limits.h"
#include "worker/step_log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct context_note {
    struct context_note *next;
    char text[];
};

static int64_t now_ms(const struct backstep_context *context)
{
    const struct context_listener *listener = &context->listener;
    return listener->now_ms != NULL ? listener->now_ms(listener->state) : clock_monotonic_ms();
}

void context_init(struct backstep_context *context, const struct task *task, const struct backstep_step *step,
                  struct cancellation *cancellation, const struct context_listener *listener)
{
    memset(context, 0, offsetof(struct backstep_context, error) + 1);
    context->task = task;
    context->step = step;
    context->cancellation = cancellation;
    context->listener = *listener;
    if (task->timeout_ms > 0) {
        context->deadline_ms = now_ms(context) + task->timeout_ms;
    }
}

/* Most steps ask for little, and say little. */
static bool holds_values(const struct backstep_context *context)
{
    return context->params != NULL || context->input != NULL || context->results != NULL || context->shared != NULL ||
           context->set != NULL || context->metrics != NULL || context->errors != NULL;
}

static void forget_values(struct backstep_context *context)
{
    json_t *values[] = {context->params,  context->input,  context->results,    context->shared,   context->set,
                        context->metrics, context->errors, context->own_params, context->own_input};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        json_decref(values[i]);
    }
}

void context_fini(struct backstep_context *context)
{
    if (holds_values(context)) {
        forget_values(context);
    }
    while (context->notes != NULL) {
        struct context_note *next = context->notes->next;
        free(context->notes);
        context->notes = next;
    }
    if (context->json != NULL) {
        free(context->json);
    }
}

static bool fail(struct backstep_context *context, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct backstep_context *context, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context->error, sizeof context->error, format, arguments);
    va_end(arguments);
    return false;
}

/* A copy of `span`, NUL-terminated, that lives as long as the context. "" where memory is out. */
static const char *keep(struct backstep_context *context, struct span span)
{
    struct context_note *note = malloc(sizeof *note + span.size + 1);
    if (note == NULL) {
        return "";
    }
    if (span.size > 0) {
        memcpy(note->text, span.bytes, span.size);
    }
    note->text[span.size] = '\0';
    note->next = context->notes;
    context->notes = note;
    return note->text;
}

static const char *once(const struct backstep_context *context, const char *const *field, struct span span)
{
    if (*field == NULL) { /* made on first use; nobody outside can tell */
        *(const char **)field = keep((struct backstep_context *)context, span);
    }
    return *field;
}

/* ---------------------------------------------------------------- what it is told */

char *idempotency_key(const struct task *task)
{
    char *key = NULL;
    const char *direction = task->ticket.direction == DIRECTION_ROLLBACK ? "rollback" : "execute";
    int size = asprintf(&key, "%.*s/%.*s/%" PRIu32 "/%s", SPAN_ARGS(task->run_id), SPAN_ARGS(task->step), task->ticket.instance,
                        direction);
    return size < 0 ? NULL : key;
}

const char *backstep_run_id(const struct backstep_context *context)
{
    if (context == NULL) {
        return "";
    }
    return once(context, &context->run_id, context->task->run_id);
}

const char *backstep_pipeline(const struct backstep_context *context)
{
    if (context == NULL) {
        return "";
    }
    return once(context, &context->pipeline, context->task->pipeline);
}

const char *backstep_step_name(const struct backstep_context *context)
{
    if (context == NULL) {
        return "";
    }
    return once(context, &context->step_name, context->task->step);
}

bool backstep_is_rollback(const struct backstep_context *context)
{
    if (context == NULL) {
        return false;
    }
    return context->task->ticket.direction == DIRECTION_ROLLBACK;
}

int backstep_attempt(const struct backstep_context *context)
{
    if (context == NULL) {
        return 0;
    }
    return (int)context->task->attempt;
}

const char *backstep_idempotency_key(const struct backstep_context *context)
{
    if (context == NULL) {
        return "";
    }
    if (context->key != NULL) {
        return context->key;
    }
    char *key = idempotency_key(context->task);
    const char *kept = once(context, &context->key, span_of(key));
    free(key);
    return kept;
}

void *backstep_state(const struct backstep_context *context)
{
    if (context == NULL) {
        return NULL;
    }
    return context->step->state;
}

const char *backstep_error(const struct backstep_context *context)
{
    if (context == NULL) {
        return "the context is NULL";
    }
    return context->error;
}

/* A value of the task; nothing at all is `otherwise`. NULL: it is no JSON, which only a foreign client can have sent. */
static json_t *parse(struct backstep_context *context, const char *what, struct span text, json_t *otherwise)
{
    if (text.size == 0) {
        return otherwise;
    }
    json_decref(otherwise);
    json_error_t error;
    json_t *value = json_loadb(text.bytes, text.size, JSON_DECODE_ANY, &error);
    if (value == NULL) {
        fail(context, "%s: not JSON: %s", what, error.text);
    }
    return value;
}

/* The data of the step that began the pipeline this one is part of. */
static struct span scope_params(struct backstep_context *context)
{
    const struct task *task = context->task;
    for (size_t i = 0; i < task->result_count; i++) {
        if (task->results[i].scope && span_equal(task->results[i].step, task->scope)) {
            return task->results[i].data;
        }
    }
    return (struct span){0};
}

static json_t *params(struct backstep_context *context)
{
    if (context->params == NULL) {
        bool inner = context->task->scope.size > 0;
        context->params = parse(context, "params", inner ? scope_params(context) : context->task->params, json_object());
    }
    return context->params;
}

static json_t *input(struct backstep_context *context)
{
    if (context->input == NULL) {
        context->input = parse(context, "input", context->task->input, json_object());
    }
    return context->input;
}

/* What a step is given. One that begins a pipeline hands its input on, by the log: references stay what they are. Borrowed. */
static json_t *own(struct backstep_context *context, json_t *given, json_t **resolved)
{
    struct error error = {0};
    if (*resolved == NULL && given != NULL) {
        *resolved = context->task->kind == PLAN_SCOPE ? json_incref(given) : references_resolve(given, &error);
        if (*resolved == NULL) {
            fail(context, "%s", error.message);
        }
    }
    return *resolved;
}

static json_t *own_params(struct backstep_context *context)
{
    return own(context, params(context), &context->own_params);
}

static json_t *own_input(struct backstep_context *context)
{
    return own(context, input(context), &context->own_input);
}

/* The name as it is seen from where the task stands: without "scope/". Empty: from there it is not seen. */
static struct span seen_name(const struct backstep_context *context, struct span name)
{
    struct span scope = context->task->scope;
    if (scope.size == 0) {
        return name;
    }
    bool inside = name.size > scope.size && name.bytes[scope.size] == '/' && memcmp(name.bytes, scope.bytes, scope.size) == 0;
    return inside ? (struct span){name.bytes + scope.size + 1, name.size - scope.size - 1} : (struct span){0};
}

/* A pipeline in a pipeline is an object of its steps: "a/b" is the member b of the member a. Takes `data`. */
static bool put_result(json_t *all, struct span name, json_t *data)
{
    const char *slash = memchr(name.bytes, '/', name.size);
    for (; slash != NULL; slash = memchr(name.bytes, '/', name.size)) {
        size_t size = (size_t)(slash - name.bytes);
        json_t *inner = json_object_getn(all, name.bytes, size);
        if (!json_is_object(inner)) {
            inner = json_object();
            if (json_object_setn_new(all, name.bytes, size, inner) != 0) {
                json_decref(data);
                return false;
            }
        }
        all = inner;
        name = (struct span){slash + 1, name.size - size - 1};
    }
    return json_object_setn_new(all, name.bytes, name.size, data) == 0;
}

/* Of the step that begins a pipeline only the pipeline is seen, not its params. */
static json_t *result_data(struct backstep_context *context, const struct step_result *result)
{
    if (result->skipped) {
        return json_null();
    }
    return result->scope ? json_object() : parse(context, "result", result->data, json_object());
}

/* In process the results are collected for the steps that ask for them only. */
static void need(struct backstep_context *context)
{
    if (!context->needed && context->listener.need != NULL) {
        context->needed = true;
        context->listener.need(context->listener.state, context);
    }
}

static json_t *results(struct backstep_context *context)
{
    if (context->results != NULL) {
        return context->results;
    }
    need(context);
    json_t *all = json_object();
    for (size_t i = 0; i < context->task->result_count; i++) {
        const struct step_result *result = &context->task->results[i];
        struct span name = seen_name(context, result->step);
        json_t *data = name.size > 0 ? result_data(context, result) : NULL;
        if (name.size > 0 && (data == NULL || !put_result(all, name, data))) {
            json_decref(all);
            return NULL;
        }
    }
    return context->results = all;
}

static json_t *shared(struct backstep_context *context)
{
    if (context->shared != NULL) {
        return context->shared;
    }
    need(context);
    json_t *all = json_object();
    for (size_t i = 0; i < context->task->set_count; i++) {
        json_t *set = parse(context, "shared", context->task->sets[i], json_object());
        if (set == NULL || json_object_update(all, set) != 0) {
            fail(context, "shared: not an object");
            json_decref(set);
            json_decref(all);
            return NULL;
        }
        json_decref(set);
    }
    return context->shared = all;
}

static const struct backstep_json *value(const json_t *json)
{
    return (const struct backstep_json *)json;
}

const struct backstep_json *backstep_param(struct backstep_context *context, const char *name)
{
    if (context == NULL) {
        return NULL;
    }
    return name != NULL ? value(json_object_get(own_params(context), name)) : NULL;
}

const struct backstep_json *backstep_input(struct backstep_context *context)
{
    if (context == NULL) {
        return NULL;
    }
    return value(own_input(context));
}

const struct backstep_json *backstep_step_data(struct backstep_context *context, const char *step)
{
    if (context == NULL) {
        return NULL;
    }
    const json_t *data = step != NULL ? json_object_get(results(context), step) : NULL;
    return json_is_null(data) ? NULL : value(data);
}

const struct backstep_json *backstep_context_get(struct backstep_context *context, const char *name)
{
    if (context == NULL) {
        return NULL;
    }
    const json_t *own = name != NULL ? json_object_get(context->set, name) : NULL;
    return own != NULL || name == NULL ? value(own) : value(json_object_get(shared(context), name));
}

const struct backstep_json *backstep_errors(struct backstep_context *context)
{
    if (context == NULL) {
        return NULL;
    }
    const struct step_result *result = context->task->result;
    if (context->errors == NULL) {
        context->errors = json_array();
        if (backstep_is_rollback(context) && result != NULL && result->error.size > 0) {
            json_array_append_new(context->errors,
                                  json_pack("{s:s%, s:s%}", "step", context->task->step.bytes, context->task->step.size, "error",
                                            result->error.bytes, result->error.size));
        }
    }
    return value(context->errors);
}

static json_t *result_value(struct backstep_context *context)
{
    const struct step_result *result = context->task->result;
    if (result == NULL || !backstep_is_rollback(context)) {
        return json_null();
    }
    json_t *data = parse(context, "result", result->data, json_object());
    json_t *rollback_data = parse(context, "result", result->rollback_data, json_object());
    return json_pack("{s:b, s:o*, s:o*, s:s%}", "success", (int)(result->success || result->skipped), "data", data, "rollback_data",
                     rollback_data, "error", result->error.size > 0 ? result->error.bytes : "", result->error.size);
}

/* Of an instance of a step that fans out: its element, and which it is, from 0. */
static bool add_element(struct backstep_context *context, json_t *all)
{
    const struct task *task = context->task;
    if (task->ticket.instance == 0) {
        return true;
    }
    json_t *element = parse(context, "element", task->element, json_null());
    return element != NULL && json_object_set_new(all, "element", element) == 0 &&
           json_object_set_new(all, "index", json_integer((json_int_t)task->ticket.instance - 1)) == 0;
}

json_t *context_view(struct backstep_context *context)
{
    json_t *all = json_pack("{s:O, s:O, s:O}", "params", params(context), "steps", results(context), "shared", shared(context));
    if (all != NULL && add_element(context, all)) {
        return all;
    }
    json_decref(all);
    if (context->error[0] == '\0') {
        fail(context, "the context is no JSON");
    }
    return NULL;
}

void context_set_input(struct backstep_context *context, json_t *input)
{
    json_decref(context->input);
    json_decref(context->own_input);
    context->own_input = NULL;
    context->input = json_incref(input);
}

const char *backstep_context_json(struct backstep_context *context)
{
    if (context == NULL) {
        return NULL;
    }
    if (context->json != NULL) {
        return context->json;
    }
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:O, s:O, s:O, s:O, s:o}", "run_id", backstep_run_id(context), "pipeline",
                  backstep_pipeline(context), "step", backstep_step_name(context), "direction",
                  backstep_is_rollback(context) ? "rollback" : "execute", "attempt", backstep_attempt(context), "idempotency_key",
                  backstep_idempotency_key(context), "input", own_input(context), "params", own_params(context), "steps",
                  results(context), "shared", shared(context), "result", result_value(context));
    if (all != NULL && add_element(context, all)) {
        context->json = json_text(all);
    }
    json_decref(all);
    if (context->json == NULL && context->error[0] == '\0') {
        fail(context, "the context is no JSON");
    }
    return context->json;
}

/* ---------------------------------------------------------------- what it says */

const char *backstep_quote(struct backstep_context *context, const char *string)
{
    if (context == NULL) {
        return "";
    }
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    text_append_json_string(&text, span_of(string != NULL ? string : ""));
    const char *kept = keep(context, text_span(&text));
    text_fini(&text);
    return kept;
}

const char *backstep_format(struct backstep_context *context, const char *format, ...)
{
    if (context == NULL) {
        return "";
    }
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    const char *kept = size >= 0 ? keep(context, span_of(text)) : "";
    free(size >= 0 ? text : NULL);
    return kept;
}

static json_t *print_json(struct backstep_context *context, const char *what, const char *format, va_list arguments)
{
    char *text = NULL;
    struct error error = {0};
    if (format == NULL || vasprintf(&text, format, arguments) < 0) {
        fail(context, "%s: %s", what, format == NULL ? "nothing is no JSON" : "out of memory");
        return NULL;
    }
    json_t *json = json_read(span_of(text), &error);
    if (json == NULL) {
        fail(context, "%s: %s", what, error.message);
    }
    free(text);
    return json;
}

bool backstep_context_set(struct backstep_context *context, const char *name, const char *format, ...)
{
    if (context == NULL) {
        return false;
    }
    if (name == NULL || name[0] == '\0') {
        return fail(context, "a shared value has no name");
    }
    va_list arguments;
    va_start(arguments, format);
    json_t *json = print_json(context, name, format, arguments);
    va_end(arguments);
    if (context->set == NULL) {
        context->set = json_object();
    }
    if (json == NULL) {
        return false;
    }
    return json_object_set_new(context->set, name, json) == 0 || fail(context, "a shared value's name is no UTF-8");
}

bool backstep_set_progress(struct backstep_context *context, int64_t current, int64_t total)
{
    if (context == NULL) {
        return false;
    }
    if (total <= 0) {
        return fail(context, "total must be > 0, got %" PRId64, total);
    }
    if (current < 0 || current > total) {
        return fail(context, "current must be between 0 and %" PRId64 ", got %" PRId64, total, current);
    }
    context->listener.progressed(context->listener.state, (uint64_t)current, (uint64_t)total, (struct span){0});
    return true;
}

/* Merge into a copy: what does not fit changes nothing. */
static bool merge_metrics(struct backstep_context *context, json_t *more)
{
    json_t *merged = context->metrics != NULL ? json_copy(context->metrics) : json_object();
    bool merges = json_object_update(merged, more) == 0;
    char *text = merges ? json_text(merged) : NULL;
    bool ok = true;
    if (text == NULL) {
        ok = fail(context, "metrics: not a JSON object");
    } else if (json_object_size(merged) > LIMIT_METRICS_KEYS) {
        ok = fail(context, "metrics: more than %d keys", LIMIT_METRICS_KEYS);
    } else if (strlen(text) > LIMIT_METRICS_BYTES) {
        ok = fail(context, "metrics: more than %d bytes", LIMIT_METRICS_BYTES);
    } else {
        json_decref(context->metrics);
        context->metrics = json_incref(merged);
        context->listener.progressed(context->listener.state, 0, 0, span_of(text));
    }
    json_decref(merged);
    free(text);
    return ok;
}

bool backstep_set_metrics(struct backstep_context *context, const char *format, ...)
{
    if (context == NULL) {
        return false;
    }
    va_list arguments;
    va_start(arguments, format);
    json_t *more = print_json(context, "metrics", format, arguments);
    va_end(arguments);
    bool ok = more != NULL && merge_metrics(context, more);
    json_decref(more);
    return ok;
}

static enum log_level level_of(enum backstep_level level)
{
    static const enum log_level levels[] = {
        [BACKSTEP_DEBUG] = LOG_DEBUG, [BACKSTEP_INFO] = LOG_INFO, [BACKSTEP_WARN] = LOG_WARN, [BACKSTEP_ERROR] = LOG_ERROR};
    return (unsigned)level <= BACKSTEP_ERROR ? levels[level] : LOG_INFO;
}

static void say(struct backstep_context *context, enum backstep_level level, const char *format, va_list arguments)
{
    char *text = NULL;
    int size = format != NULL ? vasprintf(&text, format, arguments) : -1;
    if (size >= 0) {
        step_log(context, level_of(level), (struct span){0}, (struct span){text, (size_t)size}, (struct span){0});
        free(text);
    }
}

void backstep_log(struct backstep_context *context, const char *format, ...)
{
    if (context == NULL) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    say(context, BACKSTEP_INFO, format, arguments);
    va_end(arguments);
}

void backstep_log_message(struct backstep_context *context, enum backstep_level level, const char *format, ...)
{
    if (context == NULL) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    say(context, level, format, arguments);
    va_end(arguments);
}

bool backstep_log_event(struct backstep_context *context, enum backstep_level level, const char *event, const char *format, ...)
{
    if (context == NULL) {
        return false;
    }
    json_t *data = NULL;
    if (format != NULL) {
        va_list arguments;
        va_start(arguments, format);
        data = print_json(context, "data", format, arguments);
        va_end(arguments);
    }
    bool ok = format == NULL || json_is_object(data) || fail(context, "data of the event: not a JSON object");
    char *text = json_is_object(data) ? json_text(data) : NULL;
    step_log(context, level_of(level), span_of(event != NULL && event[0] != '\0' ? event : "event"), (struct span){0},
             span_of(text));
    free(text);
    json_decref(data);
    return ok;
}

int64_t backstep_time_left_ms(const struct backstep_context *context)
{
    if (context == NULL) {
        return -1;
    }
    if (context->deadline_ms == 0) {
        return -1;
    }
    int64_t left_ms = context->deadline_ms - now_ms(context);
    return left_ms > 0 ? left_ms : 0;
}

bool backstep_cancelled(const struct backstep_context *context)
{
    if (context == NULL) {
        return false;
    }
    return cancellation_requested(context->cancellation) || backstep_time_left_ms(context) == 0;
}

int backstep_cancel_fd(struct backstep_context *context)
{
    if (context == NULL) {
        return -1;
    }
    return cancellation_fd(context->cancellation);
}
