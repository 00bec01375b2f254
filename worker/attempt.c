/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/attempt.h"

#include "common/json.h"
#include "common/limits.h"
#include "common/names.h"
#include "worker/evaluation.h"
#include "worker/step_log.h"
#include "worker/wrap.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static bool says_nothing(const struct attempt *attempt)
{
    return attempt->data == NULL && attempt->rollback_data == NULL && attempt->set == NULL && attempt->metrics == NULL &&
           attempt->error == NULL && attempt->elements == NULL;
}

void attempt_fini(struct attempt *attempt)
{
    if (!says_nothing(attempt)) {
        free(attempt->data);
        free(attempt->rollback_data);
        free(attempt->set);
        free(attempt->metrics);
        free(attempt->error);
        for (size_t i = 0; i < attempt->element_count; i++) {
            free((char *)(uintptr_t)attempt->elements[i].bytes);
        }
        free(attempt->elements);
    }
    *attempt = (struct attempt){0};
}

void attempt_fail(struct attempt *attempt, bool permanent, const char *error)
{
    attempt_fini(attempt);
    attempt->outcome = OUTCOME_FAILED;
    attempt->permanent = permanent;
    attempt->error = strdup(error);
}

enum backstep_outcome step_call(const struct backstep_step *step, struct backstep_context *context,
                                const struct backstep_result *done, struct backstep_result *result)
{
    const struct backstep_step *outer = context->step;
    enum backstep_outcome outcome = BACKSTEP_SKIPPED; /* without a rollback there is nothing to undo */
    context->step = step;
    if (!backstep_is_rollback(context)) {
        outcome = step->execute(context, result);
    } else if (step->rollback != NULL) {
        outcome = step->rollback(context, done, result);
    }
    context->step = outer;
    return outcome;
}

static enum backstep_outcome call_with(struct backstep_context *context, const struct backstep_result *done,
                                       struct backstep_result *result)
{
    const struct backstep_step *step = context->step;
    if (!backstep_is_rollback(context) && step->can_skip != NULL && step->can_skip(context)) {
        return BACKSTEP_SKIPPED;
    }
    return context->task->wrap_count > 0 ? wrap_call(step, context, done, result) : step_call(step, context, done, result);
}

static enum backstep_outcome call(struct backstep_context *context, struct backstep_result *result)
{
    const struct context_listener *listener = &context->listener;
    enum backstep_outcome outcome =
        listener->before != NULL ? listener->before(listener->state, context, result) : BACKSTEP_SUCCEEDED;
    if (outcome != BACKSTEP_SUCCEEDED) {
        return outcome;
    }
    if (!backstep_is_rollback(context)) {
        return call_with(context, NULL, result);
    }
    struct backstep_result done;
    result_from(&done, context->task->result);
    outcome = call_with(context, &done, result);
    result_fini(&done);
    return outcome;
}

/* It stays as the step wrote it, but on one line. */
static bool is_json(const char *what, char **text, struct attempt *attempt)
{
    if (*text == NULL) {
        return true;
    }
    struct error error = {0};
    json_t *value = json_read(span_of(*text), &error);
    if (value == NULL) {
        error_prefix(&error, "the step's %s", what);
        attempt_fail(attempt, true, error.message);
        return false;
    }
    if (strpbrk(*text, "\r\n\t") != NULL) {
        free(*text);
        *text = json_text(value);
    }
    json_decref(value);
    return true;
}

static size_t size_of(const char *text)
{
    return text != NULL ? strlen(text) : 0;
}

static void check_size(struct attempt *attempt)
{
    size_t size = size_of(attempt->data) + size_of(attempt->rollback_data) + size_of(attempt->set);
    if (size > LIMIT_RESULT_BYTES) {
        char message[160];
        snprintf(message, sizeof message,
                 "the step's result has %zu bytes; data, rollback_data and what it shares may have %d together", size,
                 LIMIT_RESULT_BYTES);
        attempt_fail(attempt, true, message);
    }
}

/* Bytes that are no UTF-8 become `?`: other languages' readers would refuse the whole event. */
static void repair(char *text)
{
    for (size_t left = strlen(text), size = 1; left > 0; left -= size, text += size) {
        size = 1;
        while (size <= 4 && size <= left && !utf8_is_valid((struct span){text, size})) {
            size++;
        }
        if (size > 4 || size > left) {
            *text = '?';
            size = 1;
        }
    }
}

static void tidy_error(struct attempt *attempt)
{
    if (attempt->error == NULL) {
        return;
    }
    if (strlen(attempt->error) > LIMIT_MESSAGE_BYTES) {
        attempt->error[LIMIT_MESSAGE_BYTES] = '\0';
    }
    if (!utf8_is_valid(span_of(attempt->error))) {
        attempt->error[utf8_cut(span_of(attempt->error), LIMIT_MESSAGE_BYTES).size] = '\0';
        repair(attempt->error);
    }
}

static const struct {
    enum outcome outcome;
    bool permanent, failure;
} meaning[] = {
    [BACKSTEP_SUCCEEDED] = {.outcome = OUTCOME_OK},
    [BACKSTEP_SKIPPED] = {.outcome = OUTCOME_SKIPPED},
    [BACKSTEP_FAILED] = {.outcome = OUTCOME_FAILED, .failure = true},
    [BACKSTEP_FAILED_PERMANENTLY] = {.outcome = OUTCOME_FAILED, .permanent = true, .failure = true},
};

static void take_result(struct attempt *attempt, struct backstep_result *result, enum backstep_outcome outcome)
{
    if ((unsigned)outcome > BACKSTEP_FAILED_PERMANENTLY) {
        attempt_fail(attempt, true, "the step returned an outcome that does not exist");
        return;
    }
    *attempt = (struct attempt){.outcome = meaning[outcome].outcome,
                                .permanent = meaning[outcome].permanent,
                                .data = result->data,
                                .rollback_data = result->rollback_data,
                                .error = meaning[outcome].failure ? result->error : NULL};
    result->data = result->rollback_data = NULL;
    if (meaning[outcome].failure) {
        result->error = NULL;
        if (size_of(attempt->error) == 0) {
            free(attempt->error);
            attempt->error = strdup("the step failed and did not say why");
        }
    }
}

void attempt_run(struct attempt *attempt, const struct task *task, const struct backstep_step *step,
                 struct cancellation *cancellation, const struct context_listener *listener)
{
    struct backstep_context context;
    struct backstep_result result;
    context_init(&context, task, step, cancellation, listener);
    result_init(&result);
    if (evaluate_task(&context, attempt)) {
        take_result(attempt, &result, call(&context, &result));
    }
    step_log_end(&context);
    if (attempt->outcome == OUTCOME_OK || attempt->outcome == OUTCOME_FAILED) {
        attempt->set = context.set != NULL ? json_text(context.set) : NULL;
        attempt->metrics = context.metrics != NULL ? json_text(context.metrics) : NULL;
    }
    bool says = attempt->data != NULL || attempt->rollback_data != NULL || attempt->set != NULL;
    if (says && is_json("data", &attempt->data, attempt) && is_json("rollback data", &attempt->rollback_data, attempt)) {
        check_size(attempt);
    }
    if (attempt->outcome == OUTCOME_FAILED && !attempt->permanent && cancellation_requested(cancellation)) {
        attempt->outcome = OUTCOME_CANCELLED_STARTED;
    }
    attempt->lost = context.lost;
    tidy_error(attempt);
    result_fini(&result);
    context_fini(&context);
}
