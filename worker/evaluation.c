/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/evaluation.h"

#include "common/expression.h"
#include "common/json.h"
#include "common/limits.h"
#include "worker/evaluator.h"

#include <stdio.h>
#include <stdlib.h>

/* The evaluations of one attempt. */
struct work {
    struct backstep_context *context;
    struct attempt *attempt;
    json_t *view; /* what expressions see; NULL until one is evaluated */
    char *view_text; /* the same, for the helper; NULL until it is asked */
    int64_t left_ms;
    struct error error;
};

/* Ends the attempt. Returns false. */
static bool fail(struct work *work, const char *where, bool permanent)
{
    error_prefix(&work->error, "%s", where);
    attempt_fail(work->attempt, permanent, work->error.message);
    return false;
}

static bool fail_limit(struct work *work, const char *where, const char *what, size_t found, size_t most)
{
    error_set(&work->error, ERROR_INVALID, "%s: %zu; the most is %zu", what, found, most);
    return fail(work, where, true);
}

/* ---------------------------------------------------------------- one value of the view, or what jq makes of it */

static bool is_name(char character, bool first)
{
    return character == '_' || (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           (!first && character >= '0' && character <= '9');
}

/* ".params.name" is what nearly all templates hold: it is looked up here, at no cost, and keeps a number that jq's doubles would round. NULL: it
 * is something else, or does not fit the values, and jq is to say what it makes of it. Borrowed from `value`. */
static json_t *look_up(json_t *value, struct span path)
{
    size_t at = 0;
    do {
        size_t begin = ++at;
        while (at < path.size && is_name(path.bytes[at], at == begin)) {
            at++;
        }
        if (path.bytes[begin - 1] != '.' || at == begin || (!json_is_object(value) && !json_is_null(value))) {
            return NULL;
        }
        json_t *member = json_object_getn(value, path.bytes + begin, at - begin);
        value = member != NULL ? member : json_null();
    } while (at < path.size);
    return value;
}

static bool make_view(struct work *work)
{
    if (work->view == NULL) {
        work->view = context_view(work->context);
    }
    if (work->view == NULL) {
        error_set(&work->error, ERROR_INVALID, "%s", backstep_error(work->context));
    }
    return work->view != NULL;
}

static bool write_view(struct work *work)
{
    if (work->view_text == NULL) {
        work->view_text = json_text(work->view);
    }
    return work->view_text != NULL || error_set(&work->error, ERROR_TRANSIENT, "out of memory");
}

static bool is_permanent(enum evaluation_end end)
{
    return end == EVALUATION_FAILED;
}

/* Ask the helper. The values are owed json_decref(); NULL where it failed, and the attempt has ended. */
static bool ask(struct work *work, const char *where, const struct span *expressions, size_t count, json_t **values)
{
    struct backstep_context *context = work->context;
    struct evaluation evaluation = {
        .expressions = expressions, .count = count, .left_ms = &work->left_ms, .cancel_fd = cancellation_fd(context->cancellation)};
    char **texts = calloc(count, sizeof *texts);
    enum evaluation_end end = EVALUATION_NOT_STARTED;
    if (context->listener.evaluator == NULL) {
        error_set(&work->error, ERROR_INVALID, "nobody evaluates jq here");
        end = EVALUATION_FAILED;
    } else if (texts != NULL && write_view(work)) {
        evaluation.input = span_of(work->view_text);
        end = evaluator_run(context->listener.evaluator, &evaluation, texts, &work->error);
    }
    for (size_t i = 0; end == EVALUATION_DONE && i < count; i++) {
        values[i] = json_read(span_of(texts[i]), &work->error);
        if (values[i] == NULL) {
            expression_blame(expressions[i], "gives what is of no use", &work->error);
            end = EVALUATION_FAILED;
        }
    }
    for (size_t i = 0; texts != NULL && i < count; i++) {
        free(texts[i]);
    }
    free(texts);
    context->lost |= end == EVALUATION_LOST;
    return end == EVALUATION_DONE || fail(work, where, is_permanent(end));
}

static void forget(json_t **values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        json_decref(values[i]);
        values[i] = NULL;
    }
}

/* All of them, each where it is cheapest. */
static bool evaluate(struct work *work, const char *where, const struct span *expressions, size_t count, json_t **values)
{
    if (!make_view(work)) {
        return fail(work, where, true);
    }
    struct span *asked = calloc(count + 1, sizeof *asked);
    json_t **answers = calloc(count + 1, sizeof *answers);
    size_t *places = calloc(count + 1, sizeof *places);
    size_t asked_count = 0;
    if (asked == NULL || answers == NULL || places == NULL) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        values[i] = json_incref(look_up(work->view, expressions[i]));
        if (values[i] == NULL) {
            places[asked_count] = i;
            asked[asked_count++] = expressions[i];
        }
    }
    bool ok = asked_count == 0 || ask(work, where, asked, asked_count, answers);
    for (size_t i = 0; i < asked_count; i++) {
        values[places[i]] = answers[i];
    }
    if (!ok) {
        forget(values, count);
    }
    free(asked);
    free(answers);
    free(places);
    return ok;
}

static bool is_true(const json_t *value)
{
    return !json_is_false(value) && !json_is_null(value);
}

/* ---------------------------------------------------------------- each */

static bool take_elements(struct work *work, struct span expression, const json_t *list)
{
    struct attempt *attempt = work->attempt;
    size_t total = 0;
    if (!json_is_array(list)) {
        error_set(&work->error, ERROR_INVALID, "it gives %s, not a list", json_type_name(list));
        expression_blame(expression, "is not for each", &work->error);
        return fail(work, "each", true);
    }
    size_t count = json_array_size(list);
    if (count > LIMIT_ELEMENTS) {
        return fail_limit(work, "each", "elements of the list", count, LIMIT_ELEMENTS);
    }
    attempt->outcome = OUTCOME_OK;
    attempt->expanded = true;
    attempt->elements = calloc(count + 1, sizeof *attempt->elements);
    for (size_t i = 0; attempt->elements != NULL && i < count; i++) {
        char *text = json_text(json_array_get(list, i));
        attempt->elements[i] = span_of(text);
        attempt->element_count = i + 1;
        total += attempt->elements[i].size;
    }
    return total <= LIMIT_CONTEXT_BYTES || fail_limit(work, "each", "bytes of the list's elements", total, LIMIT_CONTEXT_BYTES);
}

static void expand(struct work *work, struct span each)
{
    json_t *list = NULL;
    if (evaluate(work, "each", &each, 1, &list)) {
        take_elements(work, each, list);
        json_decref(list);
    }
}

/* ---------------------------------------------------------------- templates */

/* What a walk over the input collects, and then puts in place, in the same order. */
struct templates {
    struct work *work;
    struct span *expressions;
    json_t **values;
    size_t count, room, next;
};

static void add_expression(struct templates *templates, struct span expression)
{
    if (templates->count == templates->room) {
        templates->room = templates->room * 2 + 8;
        templates->expressions = realloc(templates->expressions, templates->room * sizeof *templates->expressions);
        if (templates->expressions == NULL) {
            abort();
        }
    }
    templates->expressions[templates->count++] = expression;
}

static struct span string_of(const json_t *string)
{
    return (struct span){json_string_value(string), json_string_length(string)};
}

static bool collect_string(struct templates *templates, struct span rest)
{
    struct template_part part;
    enum template_step step;
    while ((step = template_next(&rest, &part, &templates->work->error)) == TEMPLATE_PART) {
        if (part.kind == TEMPLATE_EXPRESSION) {
            add_expression(templates, part.text);
        }
    }
    return step == TEMPLATE_END;
}

static bool collect(struct templates *templates, const json_t *value)
{
    const char *key;
    json_t *member;
    size_t index;
    bool ok = true;
    if (json_is_string(value)) {
        return collect_string(templates, string_of(value));
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        ok = ok && collect(templates, member);
    }
    json_array_foreach(value, index, member)
    {
        ok = ok && collect(templates, member);
    }
    return ok;
}

static void append_value(struct text *text, const json_t *value)
{
    if (json_is_string(value)) {
        text_append_span(text, string_of(value));
        return;
    }
    char *written = json_text(value);
    text_append_string(text, written != NULL ? written : "");
    free(written);
}

static json_t *join(struct templates *templates, struct span rest)
{
    struct text text;
    struct template_part part;
    text_init(&text, LIMIT_CONTEXT_BYTES);
    while (template_next(&rest, &part, NULL) == TEMPLATE_PART) {
        if (part.kind == TEMPLATE_EXPRESSION) {
            append_value(&text, templates->values[templates->next++]);
        } else {
            text_append_span(&text, part.text);
        }
    }
    json_t *joined = text.overflow ? NULL : json_stringn(text_string(&text), text.size);
    text_fini(&text);
    return joined;
}

/* A new value; NULL: it is too large. */
static json_t *fill(struct templates *templates, const json_t *value)
{
    struct span expression;
    const char *key;
    json_t *member;
    size_t index;
    if (json_is_string(value) && template_is_value(string_of(value), &expression)) {
        return json_incref(templates->values[templates->next++]);
    }
    if (json_is_string(value)) {
        return join(templates, string_of(value));
    }
    json_t *copy = json_is_object(value)  ? json_object()
                   : json_is_array(value) ? json_array()
                                          : json_incref((json_t *)(uintptr_t)value);
    bool ok = true;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        ok = ok && json_object_set_new(copy, key, fill(templates, member)) == 0;
    }
    json_array_foreach(value, index, member)
    {
        ok = ok && json_array_append_new(copy, fill(templates, member)) == 0;
    }
    if (!ok) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

static bool check_input(struct work *work, json_t *input)
{
    char *text = json_text(input);
    size_t size = text != NULL ? strlen(text) : 0;
    free(text);
    if (text == NULL || size > LIMIT_CONTEXT_BYTES) {
        return fail_limit(work, "with", "bytes of the step's input", text != NULL ? size : LIMIT_CONTEXT_BYTES + 1,
                          LIMIT_CONTEXT_BYTES);
    }
    context_set_input(work->context, input);
    return true;
}

static bool fill_input(struct templates *templates, const json_t *input)
{
    struct work *work = templates->work;
    if (!collect(templates, input)) {
        return fail(work, "with", true);
    }
    templates->values = calloc(templates->count + 1, sizeof *templates->values);
    if (templates->values == NULL) {
        abort();
    }
    if (templates->count > 0 && !evaluate(work, "with", templates->expressions, templates->count, templates->values)) {
        return false;
    }
    json_t *filled = fill(templates, input);
    bool ok = check_input(work, filled);
    json_decref(filled);
    forget(templates->values, templates->count);
    return ok;
}

static bool evaluate_templates(struct work *work)
{
    struct templates templates = {.work = work};
    const json_t *input = (const json_t *)backstep_input(work->context);
    if (input == NULL) {
        error_set(&work->error, ERROR_INVALID, "%s", backstep_error(work->context));
        return fail(work, "with", true);
    }
    bool ok = fill_input(&templates, input);
    free(templates.expressions);
    free(templates.values);
    return ok;
}

/* ---------------------------------------------------------------- when, assert */

/* false: not so, or it could not be told, and the attempt has ended. */
static bool holds(struct work *work, const char *where, struct span expression, bool *known)
{
    json_t *value = NULL;
    *known = evaluate(work, where, &expression, 1, &value);
    bool so = *known && is_true(value);
    json_decref(value);
    return so;
}

static bool evaluate_when(struct work *work, struct span when)
{
    bool known = false;
    if (when.size == 0 || holds(work, "when", when, &known)) {
        return true;
    }
    if (known) {
        work->attempt->outcome = OUTCOME_SKIPPED;
    }
    return false;
}

/* What does not hold today may hold at the next attempt: not permanent, so that `retry` is what it says. */
static bool evaluate_assert(struct work *work, const struct task *task)
{
    bool known = false;
    if (task->kind != PLAN_VALIDATE || task->assert.size == 0 || holds(work, "assert", task->assert, &known)) {
        return true;
    }
    if (known && task->message.size > 0) {
        struct text message;
        text_init(&message, LIMIT_MESSAGE_BYTES);
        text_append_span(&message, task->message);
        attempt_fail(work->attempt, false, text_string(&message));
        text_fini(&message);
    } else if (known) {
        error_set(&work->error, ERROR_REJECTED, "it gives false or null");
        expression_blame(task->assert, "does not hold", &work->error);
        attempt_fail(work->attempt, false, work->error.message);
    }
    return false;
}

static bool evaluate_all(struct work *work)
{
    const struct task *task = work->context->task;
    if (backstep_is_rollback(work->context)) {
        return !task->templated || work->context->step->rollback == NULL || evaluate_templates(work);
    }
    if (task->each.size > 0) {
        expand(work, task->each);
        return false;
    }
    return evaluate_when(work, task->when) && (!task->templated || evaluate_templates(work)) && evaluate_assert(work, task);
}

static bool has_expressions(const struct task *task)
{
    return task->when.size > 0 || task->each.size > 0 || task->templated || task->kind == PLAN_VALIDATE;
}

bool evaluate_task(struct backstep_context *context, struct attempt *attempt)
{
    if (!has_expressions(context->task)) {
        return true;
    }
    int64_t timeout_ms = context->task->timeout_ms;
    struct work work = {.context = context,
                        .attempt = attempt,
                        .left_ms = timeout_ms > 0 && timeout_ms < LIMIT_EXPRESSION_MS ? timeout_ms : LIMIT_EXPRESSION_MS};
    bool go_on = evaluate_all(&work);
    json_decref(work.view);
    free(work.view_text);
    return go_on;
}
