/* SPDX-License-Identifier: Apache-2.0 */
/* Pipelines in pipelines become one plan: the step that uses one stays, as its scope, and the inner steps follow it. */
#include "common/expression.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/names.h"
#include "common/pipeline_internal.h"

#include <stdlib.h>

/* Where the steps of the plan as written come to stand. */
struct nest {
    struct reader *reader;
    struct pipeline *pipeline;
    const struct plan_step *written; /* with the indexes of the file */
    uint32_t written_count;
    uint32_t *place; /* of each of them in the flat plan */
    struct plan_step *steps;
    struct pipeline_place *places;
    double *shares;
    uint32_t count;
};

static void *take(struct nest *nest, size_t count, size_t size)
{
    void *memory = arena_take_array(&nest->pipeline->arena, count > 0 ? count : 1, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static const struct pipeline *inner_of(const struct nest *nest, uint32_t index)
{
    return nest->reader->drafts[index].pipeline;
}

/* ---- params: what the inner pipeline declares, from `with` or its defaults */

static const struct node *given_of(const struct node *with, struct span name)
{
    const struct node *node = with != NULL ? with->first : NULL;
    while (node != NULL && !span_equal(node->key, name)) {
        node = node->next;
    }
    return node;
}

/* A default is no template, whatever it holds: "${" in it becomes "$${". In JSON text both stand in strings only. */
static void append_default(struct text *json, struct span fallback, bool templated)
{
    for (size_t i = 0; i < fallback.size; i++) {
        if (templated && i + 1 < fallback.size && fallback.bytes[i] == '$' && fallback.bytes[i + 1] == '{') {
            text_append_char(json, '$');
        }
        text_append_char(json, fallback.bytes[i]);
    }
}

/* One, and no text beside it: what stands in "${ .params.user }:hunter2" stands on the log. */
static bool is_expression(const struct node *node)
{
    struct span expression;
    return node->kind == NODE_SCALAR && template_is_value(node->scalar, &expression);
}

static void append_reference(struct text *json, struct span reference)
{
    text_append_string(json, "{\"$secret\":");
    text_append_span(json, reference);
    text_append_char(json, '}');
}

/* What stands in the file stands on the log. An expression may hand on a secret of the pipeline around. */
static void append_secret(struct reader *reader, const struct node *given, struct text *json)
{
    if (is_expression(given)) {
        node_append_json(given, json);
        return;
    }
    struct text value;
    text_init(&value, LIMIT_CONTEXT_BYTES);
    node_append_json(given, &value);
    if (!pipeline_is_reference(text_span(&value))) {
        size_t outer = reader_enter(reader, "%s", SHOWN(given->key));
        reader_problem(reader, given->line,
                       "is secret, and its value would stand on the log: give {env: NAME} or {file: NAME}, which the worker resolves, or "
                       "${ .params.NAME } of a secret parameter");
        reader_leave(reader, outer);
    }
    append_reference(json, text_span(&value));
    text_fini(&value);
}

static void refuse_undeclared(struct reader *reader, const struct pipeline *inner, const struct node *node)
{
    const char **names = calloc(inner->param_count + 1, sizeof *names);
    for (size_t i = 0; names != NULL && i < inner->param_count; i++) {
        if (span_equal(inner->params[i].name, node->key)) {
            free(names);
            return;
        }
        names[i] = inner->params[i].name.bytes;
    }
    const char *suggestion = names != NULL ? name_suggest(node->key, names) : NULL;
    size_t outer = reader_enter(reader, "%s", SHOWN(node->key));
    if (suggestion != NULL) {
        reader_problem(reader, node->key_line, "%s declares no such parameter; did you mean '%s'?", inner->file, suggestion);
    } else {
        reader_problem(reader, node->key_line, "%s declares no such parameter", inner->file);
    }
    reader_leave(reader, outer);
    free(names);
}

static struct span params_of(struct nest *nest, uint32_t index)
{
    struct reader *reader = nest->reader;
    const struct pipeline *inner = inner_of(nest, index);
    const struct node *with = reader->drafts[index].with;
    const char *comma = "", *file;
    struct text json;
    text_init(&json, LIMIT_CONTEXT_BYTES);
    size_t outer = reader_enter_step(reader, index, "with", &file);
    for (const struct node *node = with != NULL ? with->first : NULL; node != NULL; node = node->next) {
        refuse_undeclared(reader, inner, node);
    }
    text_append_char(&json, '{');
    for (size_t i = 0; i < inner->param_count; i++) {
        const struct pipeline_param *param = &inner->params[i];
        const struct node *given = given_of(with, param->name);
        if (given == NULL && param->fallback.size == 0) {
            if (param->required) {
                reader_problem(reader, nest->pipeline->places[index].line, "%s requires the parameter '%s'", inner->file,
                               SHOWN(param->name));
            }
            continue;
        }
        text_append_string(&json, comma);
        comma = ",";
        text_append_json_string(&json, param->name);
        text_append_char(&json, ':');
        if (given != NULL && param->secret) {
            append_secret(reader, given, &json);
        } else if (given != NULL) {
            node_append_json(given, &json);
        } else if (param->secret) {
            append_reference(&json, param->fallback);
        } else {
            append_default(&json, param->fallback, nest->written[index].templated);
        }
    }
    text_append_char(&json, '}');
    if (json.overflow) {
        reader_problem(reader, nest->pipeline->places[index].line, "is larger than %d KiB", LIMIT_CONTEXT_BYTES / KIB);
    }
    reader_leave_step(reader, outer, file);
    struct span kept = arena_keep(&nest->pipeline->arena, text_span(&json));
    text_fini(&json);
    return kept;
}

/* ---- order */

/* Who needs a step that uses a pipeline needs those of its steps that nobody in it needs. */
static void mark_last(const struct nest *nest, uint32_t index, bool *marks)
{
    const struct pipeline *inner = inner_of(nest, index);
    uint32_t first = nest->place[index] + 1;
    for (uint32_t i = 0; i < inner->plan.step_count; i++) {
        marks[first + i] = true;
    }
    for (uint32_t i = 0; i < inner->plan.step_count; i++) {
        for (uint32_t j = 0; j < inner->steps[i].needs_count; j++) {
            marks[first + inner->steps[i].needs[j]] = false;
        }
    }
}

static void mark_all(const struct nest *nest, uint32_t index, bool *marks)
{
    for (uint32_t i = 0; i < inner_of(nest, index)->plan.step_count; i++) {
        marks[nest->place[index] + 1 + i] = true;
    }
}

static const uint32_t *flat_indexes(struct nest *nest, const uint32_t *indexes, uint32_t *count,
                                    void (*mark)(const struct nest *, uint32_t, bool *))
{
    bool *marks = take(nest, LIMIT_STEPS, sizeof *marks);
    memset(marks, 0, LIMIT_STEPS * sizeof *marks);
    for (uint32_t i = 0; i < *count; i++) {
        if (inner_of(nest, indexes[i]) != NULL) {
            mark(nest, indexes[i], marks);
        } else {
            marks[nest->place[indexes[i]]] = true;
        }
    }
    uint32_t *flat = take(nest, nest->count, sizeof *flat), flat_count = 0;
    for (uint32_t i = 0; i < nest->count; i++) {
        if (marks[i]) {
            flat[flat_count++] = i;
        }
    }
    *count = flat_count;
    return flat;
}

static const uint32_t *shifted(struct nest *nest, const uint32_t *indexes, uint32_t count, uint32_t by)
{
    uint32_t *result = take(nest, count, sizeof *result);
    for (uint32_t i = 0; i < count; i++) {
        result[i] = indexes[i] + by;
    }
    return result;
}

/* ---- steps */

static struct span joined_name(struct nest *nest, uint32_t index, struct span inner)
{
    struct span outer = nest->written[index].name;
    char name[2 * LIMIT_NAME_BYTES + 2];
    size_t size = (size_t)snprintf(name, sizeof name, "%.*s/%.*s", SPAN_ARGS(outer), SPAN_ARGS(inner));
    if (size > LIMIT_NAME_BYTES) {
        const char *file;
        size_t entered = reader_enter_step(nest->reader, index, "uses", &file);
        reader_problem(nest->reader, nest->pipeline->places[index].line,
                       "makes a step's name of %zu bytes, '%s'; at most %d are allowed", size, name, LIMIT_NAME_BYTES);
        reader_leave_step(nest->reader, entered, file);
    }
    return arena_keep(&nest->pipeline->arena, span_of(name));
}

static void place_inner(struct nest *nest, uint32_t index, uint32_t scope)
{
    const struct pipeline *inner = inner_of(nest, index);
    uint32_t first = scope + 1, count = inner->plan.step_count;
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += inner->shares[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        struct plan_step *step = &nest->steps[first + i];
        *step = inner->steps[i];
        step->name = joined_name(nest, index, step->name);
        step->scope = step->scope > 0 ? step->scope + first : first; /* 1 + index, both */
        step->needs = step->needs_count > 0 ? shifted(nest, step->needs, step->needs_count, first) : shifted(nest, &scope, 1, 0);
        step->needs_count = step->needs_count > 0 ? step->needs_count : 1;
        step->reads = shifted(nest, step->reads, step->reads_count, first);
        nest->places[first + i] = inner->places[i];
        nest->shares[first + i] = nest->pipeline->shares[index] * (sum > 0 ? inner->shares[i] / sum : 1.0 / count);
    }
}

static bool count_flat(struct nest *nest)
{
    size_t total = 0;
    for (uint32_t i = 0; i < nest->written_count; i++) {
        nest->place[i] = (uint32_t)total;
        total += 1 + (inner_of(nest, i) != NULL ? inner_of(nest, i)->plan.step_count : 0);
        if (total > LIMIT_STEPS) {
            const char *file;
            size_t outer = reader_enter_step(nest->reader, i, "uses", &file);
            reader_problem(nest->reader, nest->pipeline->places[i].line, "makes %zu steps of it so far; at most %d are allowed",
                           total, LIMIT_STEPS);
            reader_leave_step(nest->reader, outer, file);
            return false;
        }
    }
    nest->count = (uint32_t)total;
    return true;
}

static void place_step(struct nest *nest, uint32_t index)
{
    uint32_t at = nest->place[index];
    struct plan_step *step = &nest->steps[at];
    *step = nest->written[index];
    step->needs = flat_indexes(nest, step->needs, &step->needs_count, mark_last);
    step->reads = flat_indexes(nest, step->reads, &step->reads_count, mark_all);
    nest->places[at] = nest->pipeline->places[index];
    nest->shares[at] = nest->pipeline->shares[index];
    if (inner_of(nest, index) != NULL) {
        step->input = params_of(nest, index);
        nest->shares[at] = 0;
        place_inner(nest, index, at);
    }
}

/* No weight is said at all: all steps are worth the same, but those that only begin a pipeline. */
static void even_shares(struct nest *nest)
{
    double sum = 0;
    for (uint32_t i = 0; i < nest->count; i++) {
        sum += nest->shares[i];
    }
    for (uint32_t i = 0; i < nest->count && sum <= 0; i++) {
        nest->shares[i] = nest->steps[i].kind == PLAN_SCOPE ? 0 : 1;
    }
}

void pipeline_flatten(struct reader *reader)
{
    struct pipeline *pipeline = reader->pipeline;
    struct nest nest = {
        .reader = reader, .pipeline = pipeline, .written = pipeline->steps, .written_count = pipeline->plan.step_count};
    bool any = false;
    for (uint32_t i = 0; i < nest.written_count; i++) {
        any = any || inner_of(&nest, i) != NULL;
    }
    if (!any) {
        return;
    }
    nest.place = take(&nest, nest.written_count, sizeof *nest.place);
    if (!count_flat(&nest)) {
        return;
    }
    nest.steps = take(&nest, nest.count, sizeof *nest.steps);
    nest.places = take(&nest, nest.count, sizeof *nest.places);
    nest.shares = take(&nest, nest.count, sizeof *nest.shares);
    for (uint32_t i = 0; i < nest.written_count; i++) {
        place_step(&nest, i);
    }
    even_shares(&nest);
    uint32_t *weights = take(&nest, nest.count, sizeof *weights);
    if (!pipeline_set_weights(weights, nest.shares, nest.count)) {
        abort();
    }
    for (uint32_t i = 0; i < nest.count; i++) {
        nest.steps[i].weight = weights[i];
    }
    pipeline->steps = nest.steps;
    pipeline->places = nest.places;
    pipeline->shares = nest.shares;
    pipeline->plan.steps = nest.steps;
    pipeline->plan.step_count = nest.count;
}
