/* SPDX-License-Identifier: Apache-2.0 */
/* Actions one after another become one plan, as pipelines in a pipeline do: a step that begins each, and its steps after it. */
#include "worker/action_pipeline.h"

#include "common/json.h"
#include "common/limits.h"
#include "common/names.h"
#include "common/pipeline.h"
#include "worker/orchestrator.h"

#include <math.h>
#include <stdio.h>

#define QUEUE "default"

/* Where the flat plan is made. */
struct flat {
    struct action_plan *made;
    struct plan_step *steps;
    double *shares;
    uint32_t count;
    struct error *error;
};

static bool out_of_memory(struct error *error)
{
    return error_set(error, ERROR_TRANSIENT, "out of memory");
}

static const struct backstep_pipeline_action *action_at(const struct action_plan *made, size_t index)
{
    return &made->pipeline->actions[index];
}

static const char *name_of(const struct backstep_pipeline_action *action)
{
    return action->name != NULL ? action->name : action->action->name;
}

/* ---------------------------------------------------------------- is it sound? */

static bool check_action(const struct backstep_action_pipeline *pipeline, size_t index, struct error *error)
{
    const struct backstep_pipeline_action *action = &pipeline->actions[index];
    const char *name = name_of(action);
    if (!identifier_is_valid(span_of(name)) || strlen(name) > LIMIT_ACTION_NAME_BYTES) {
        return error_set(error, ERROR_INVALID,
                         "action %zu, '%s': a name is 1 to %d of [A-Za-z0-9._-], and begins with a letter or digit", index + 1,
                         SHOWN(span_of(name)), LIMIT_ACTION_NAME_BYTES);
    }
    if (!isfinite(action->weight) || action->weight < 0) {
        return error_set(error, ERROR_INVALID, "action '%s': weight must not be negative, and finite; it is %g", name,
                         action->weight);
    }
    for (size_t i = 0; i < index; i++) {
        if (strcmp(name_of(&pipeline->actions[i]), name) == 0) {
            return error_set(error, ERROR_INVALID, "action '%s' is in the pipeline already; give one of them another name", name);
        }
    }
    return true;
}

static bool check_pipeline(struct action_plan *made, struct error *error)
{
    const struct backstep_action_pipeline *pipeline = made->pipeline;
    if (!identifier_is_valid(span_of(pipeline->name))) {
        return error_set(error, ERROR_INVALID, "pipeline '%s': a name is 1 to %d of [A-Za-z0-9._-]", SHOWN(span_of(pipeline->name)),
                         LIMIT_IDENTIFIER_BYTES);
    }
    while (pipeline->actions != NULL && pipeline->actions[made->part_count].action != NULL) {
        if (made->part_count == LIMIT_STEPS) {
            return error_set(error, ERROR_INVALID, "more than %d actions", LIMIT_STEPS);
        }
        if (!check_action(pipeline, made->part_count, error)) {
            return false;
        }
        made->part_count++;
    }
    return made->part_count > 0 || error_set(error, ERROR_INVALID, "pipeline '%s' has no action", pipeline->name);
}

/* ---------------------------------------------------------------- what begins an action */

static void append_names(struct text *json, const char *member, const json_t *names)
{
    text_format(json, ",\"%s\":", member);
    json_write(names, json);
}

/* A default is no template, whatever it holds: "${" in it becomes "$${". In JSON text both stand in strings only. */
static void append_defaults(struct text *json, const json_t *defaults)
{
    struct text plain;
    text_init(&plain, LIMIT_CONTEXT_BYTES);
    json_write(defaults, &plain);
    for (size_t i = 0; i < plain.size; i++) {
        if (i + 1 < plain.size && plain.bytes[i] == '$' && plain.bytes[i + 1] == '{') {
            text_append_char(json, '$');
        }
        text_append_char(json, plain.bytes[i]);
    }
    text_fini(&plain);
}

static bool read_specs(const struct backstep_pipeline_action *action, json_t *defaults, json_t *required, struct error *error)
{
    const struct backstep_param_spec *spec = action->action->params;
    for (; spec != NULL && spec->name != NULL; spec++) {
        json_t *fallback = spec->fallback != NULL ? json_read(span_of(spec->fallback), error) : NULL;
        if (spec->fallback != NULL && fallback == NULL) {
            return error_prefix(error, "action '%s': the fallback of its parameter '%s'", name_of(action), spec->name);
        }
        if (!identifier_is_valid(span_of(spec->name))) {
            json_decref(fallback);
            return error_set(error, ERROR_INVALID, "action '%s' declares a parameter '%s': no identifier", name_of(action),
                             SHOWN(span_of(spec->name)));
        }
        if (fallback != NULL) {
            json_object_set_new(defaults, spec->name, fallback);
        } else if (spec->required) {
            json_array_append_new(required, json_string(spec->name));
        }
    }
    return true;
}

static struct span merge_input(struct flat *flat, size_t index)
{
    json_t *defaults = json_object(), *required = json_array(), *after = json_array();
    struct text json;
    struct span input = {0};
    text_init(&json, LIMIT_CONTEXT_BYTES);
    for (size_t i = 0; i < index; i++) {
        json_array_append_new(after, json_string(name_of(action_at(flat->made, i))));
    }
    if (read_specs(action_at(flat->made, index), defaults, required, flat->error)) {
        text_append_string(&json, "{\"params\":\"${ .params }\",\"steps\":\"${ .steps }\",\"defaults\":");
        append_defaults(&json, defaults);
        append_names(&json, "required", required);
        append_names(&json, "after", after);
        text_append_char(&json, '}');
        if (json.overflow) {
            error_set(flat->error, ERROR_INVALID, "action '%s': the defaults are too large", name_of(action_at(flat->made, index)));
        } else {
            input = arena_keep(&flat->made->arena, text_span(&json));
        }
    }
    text_fini(&json);
    json_decref(defaults);
    json_decref(required);
    json_decref(after);
    return input;
}

/* The steps from `first` on that none of them needs. */
static const uint32_t *last_ones(struct flat *flat, uint32_t first, uint32_t *count)
{
    uint32_t *last = arena_take_array(&flat->made->arena, flat->count - first, sizeof *last);
    for (uint32_t i = first; last != NULL && i < flat->count; i++) {
        bool needed = false;
        for (uint32_t j = first; j < flat->count && !needed; j++) {
            for (uint32_t k = 0; k < flat->steps[j].needs_count && !needed; k++) {
                needed = flat->steps[j].needs[k] == i;
            }
        }
        if (!needed) {
            last[(*count)++] = i;
        }
    }
    return last;
}

static bool place_scope(struct flat *flat, size_t index, uint32_t before)
{
    struct plan_step *scope = &flat->steps[flat->count];
    *scope = (struct plan_step){.name = span_of(name_of(action_at(flat->made, index))),
                                .handler = span_of(PLAN_HANDLER_MERGE),
                                .queue = span_of(QUEUE),
                                .input = merge_input(flat, index),
                                .kind = PLAN_SCOPE,
                                .templated = true,
                                .rollback_none = true,
                                .retry = PLAN_RETRY_DEFAULT};
    if (scope->input.size == 0) {
        return flat->error->message[0] == '\0' ? out_of_memory(flat->error) : false;
    }
    if (index > 0) {
        scope->needs = last_ones(flat, before, &scope->needs_count);
    }
    flat->made->steps[flat->count++] = &action_merge_step;
    return true;
}

/* ---------------------------------------------------------------- the steps of an action */

static const char *join(struct arena *arena, const char *action, char between, const char *step)
{
    size_t size = strlen(action) + strlen(step) + 2;
    char *name = arena_take(arena, size);
    if (name != NULL) {
        snprintf(name, size, "%s%c%s", action, between, step);
    }
    return name;
}

/* The handler of a step: the step under a name that no other action has. */
static const struct backstep_step *handler_of(struct flat *flat, const struct backstep_step *step, const char *action)
{
    struct backstep_step *copy = arena_take(&flat->made->arena, sizeof *copy);
    const char *name = join(&flat->made->arena, action, '.', step->name);
    if (copy == NULL || name == NULL) {
        out_of_memory(flat->error);
        return NULL;
    }
    *copy = *step;
    copy->name = name;
    if (!backstep_register(flat->made->registry, copy)) {
        error_set(flat->error, ERROR_INVALID, "action '%s': %s", action, backstep_registry_error(flat->made->registry));
        return NULL;
    }
    return copy;
}

static const uint32_t *shifted(struct flat *flat, const struct plan_step *step, uint32_t by, uint32_t *count)
{
    *count = step->needs_count > 0 ? step->needs_count : 1;
    uint32_t *needs = arena_take_array(&flat->made->arena, *count, sizeof *needs);
    if (needs != NULL) {
        needs[0] = by - 1; /* what begins the action */
        for (uint32_t i = 0; i < step->needs_count; i++) {
            needs[i] = step->needs[i] + by;
        }
    }
    return needs;
}

static bool place_step(struct flat *flat, const struct plan_step *inner, const struct backstep_step *step, uint32_t first,
                       const char *action)
{
    const struct backstep_step *handler = handler_of(flat, step, action);
    const char *name = join(&flat->made->arena, action, '/', step->name);
    if (handler == NULL) {
        return false;
    }
    struct plan_step *placed = &flat->steps[flat->count];
    *placed = *inner;
    placed->name = span_of(name);
    placed->handler = span_of(handler->name);
    placed->scope = first; /* 1 + index */
    placed->needs = shifted(flat, inner, first, &placed->needs_count);
    flat->made->steps[flat->count++] = handler;
    return true;
}

static bool set_up(struct flat *flat, size_t index, struct plan *plan)
{
    const struct backstep_pipeline_action *action = action_at(flat->made, index);
    struct backstep_registry *part = flat->made->parts[index] = backstep_registry_new();
    if (part == NULL) {
        return out_of_memory(flat->error);
    }
    if (!backstep_action_setup(action->action, part, NULL)) {
        return error_set(flat->error, ERROR_INVALID, "action '%s': %s", name_of(action), backstep_registry_error(part));
    }
    if (backstep_registry_count(part) == 0) {
        return error_set(flat->error, ERROR_INVALID, "action '%s' has no steps", name_of(action));
    }
    return plan_of_registry(part, name_of(action), &flat->made->arena, plan, flat->error) ||
           error_prefix(flat->error, "action '%s'", name_of(action));
}

/* `share`: of the action; that of its steps is theirs of it. */
static bool place_action(struct flat *flat, size_t index, uint32_t *before, double share)
{
    struct plan plan;
    uint32_t begins = flat->count;
    if (!set_up(flat, index, &plan)) {
        return false;
    }
    const struct backstep_registry *part = flat->made->parts[index];
    double total = backstep_registry_total_weight(part);
    if (flat->count + 1 + plan.step_count > LIMIT_STEPS) {
        return error_set(flat->error, ERROR_INVALID, "the pipeline has more than %d steps, those that begin its actions included",
                         LIMIT_STEPS);
    }
    if (!place_scope(flat, index, *before)) {
        return false;
    }
    for (uint32_t i = 0; i < plan.step_count; i++) {
        const struct backstep_step *step = backstep_registry_step(part, (int)i);
        flat->shares[flat->count] = share * (total > 0 ? step->weight / total : 1.0 / plan.step_count);
        if (!place_step(flat, &plan.steps[i], step, begins + 1, name_of(action_at(flat->made, index)))) {
            return false;
        }
    }
    *before = begins;
    return true;
}

/* ---------------------------------------------------------------- all of it */

static bool place_all(struct flat *flat)
{
    struct action_plan *made = flat->made;
    uint32_t before = 0;
    double total = 0;
    for (size_t i = 0; i < made->part_count; i++) {
        total += action_at(made, i)->weight;
    }
    for (size_t i = 0; i < made->part_count; i++) {
        if (!place_action(flat, i, &before, total > 0 ? action_at(made, i)->weight / total : 1)) {
            return false;
        }
    }
    return true;
}

static bool make_plan(struct flat *flat)
{
    struct action_plan *made = flat->made;
    const struct backstep_action_pipeline *pipeline = made->pipeline;
    uint32_t *weights = arena_take_array(&made->arena, LIMIT_STEPS, sizeof *weights);
    flat->steps = arena_take_array(&made->arena, LIMIT_STEPS, sizeof *flat->steps);
    flat->shares = arena_take_array(&made->arena, LIMIT_STEPS, sizeof *flat->shares);
    made->steps = arena_take_array(&made->arena, LIMIT_STEPS, sizeof *made->steps);
    made->parts = arena_take_array(&made->arena, made->part_count, sizeof *made->parts);
    if (made->arena.failed || made->registry == NULL) {
        return out_of_memory(flat->error);
    }
    if (!place_all(flat)) {
        return false;
    }
    if (!pipeline_set_weights(weights, flat->shares, flat->count)) {
        return error_set(flat->error, ERROR_INVALID, "the weights of pipeline '%s' are out of their range", pipeline->name);
    }
    for (uint32_t i = 0; i < flat->count; i++) {
        flat->steps[i].weight = weights[i];
    }
    made->plan = (struct plan){.name = span_of(pipeline->name),
                               .description = span_of(pipeline->description),
                               .steps = flat->steps,
                               .step_count = flat->count,
                               .pause_on_failure = pipeline->pause_on_failure};
    return !made->arena.failed || out_of_memory(flat->error);
}

bool action_plan_init(struct action_plan *made, const struct backstep_action_pipeline *pipeline, struct error *error)
{
    *made = (struct action_plan){.pipeline = pipeline, .registry = backstep_registry_new()};
    arena_init(&made->arena, 16 * KIB, 16 * MIB);
    struct flat flat = {.made = made, .error = error};
    if (!check_pipeline(made, error)) {
        made->part_count = 0;
        return false;
    }
    return make_plan(&flat) && (backstep_register(made->registry, &action_merge_step) ||
                                error_set(error, ERROR_INVALID, "%s", backstep_registry_error(made->registry)));
}

void action_plan_fini(struct action_plan *made)
{
    for (size_t i = 0; made->parts != NULL && i < made->part_count; i++) {
        backstep_registry_free(made->parts[i]);
    }
    backstep_registry_free(made->registry);
    arena_fini(&made->arena);
    *made = (struct action_plan){0};
}
