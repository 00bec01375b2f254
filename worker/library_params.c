/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of an action: what it declares, and what the command line gives. */
#include "common/json.h"
#include "common/limits.h"
#include "common/names.h"
#include "common/pipeline.h"
#include "worker/library.h"

#include <stdlib.h>

/* KEY=VALUE over what --params has; VALUE is JSON if it parses, else a string. */
static bool add_param(json_t *params, const char *pair, struct error *error)
{
    const char *equals = strchr(pair, '=');
    if (equals == NULL || equals == pair) {
        return error_set(error, ERROR_INVALID, "'%s': expected KEY=VALUE", pair);
    }
    json_t *value = json_read(span_of(equals + 1), NULL);
    value = value != NULL ? value : json_string(equals + 1);
    if (value == NULL || json_object_setn_new(params, pair, (size_t)(equals - pair), value) != 0) {
        return error_set(error, ERROR_INVALID, "'%s': is no UTF-8", pair);
    }
    return true;
}

static json_t *read_params_file(const char *path, struct error *error)
{
    json_error_t problem;
    json_t *params = json_load_file(path, JSON_REJECT_DUPLICATES, &problem);
    if (!json_is_object(params)) {
        error_set(error, ERROR_INVALID, "%s: %s", path, params == NULL ? problem.text : "is not a JSON object");
        json_decref(params);
        return NULL;
    }
    return params;
}

/* Of a program that declares nothing: anything is taken. */
static bool read_any(const struct options *options, struct text *text, struct error *error)
{
    size_t count = 0;
    const char *const *pairs = option_list(options, "param", &count);
    const char *path = option_text(options, "params");
    json_t *params = path != NULL ? read_params_file(path, error) : json_object();
    bool ok = params != NULL;
    for (size_t i = 0; i < count && ok; i++) {
        ok = add_param(params, pairs[i], error);
    }
    if (ok && !json_write(params, text)) {
        ok = error_set(error, ERROR_INVALID, "the parameters have more than %d bytes", LIMIT_CONTEXT_BYTES);
    }
    json_decref(params);
    return ok;
}

/* ---------------------------------------------------------------- of an action that declares some */

static size_t spec_count(const struct library_call *call)
{
    size_t count = 0;
    while (call->action != NULL && call->action->params != NULL && call->action->params[count].name != NULL) {
        count++;
    }
    return count;
}

static bool check_spec(const struct backstep_param_spec *spec, struct error *error)
{
    if (!identifier_is_valid(span_of(spec->name))) {
        return error_set(error, ERROR_INVALID, "the action declares a parameter '%s': no identifier", SHOWN(span_of(spec->name)));
    }
    if (spec->fallback != NULL && !json_is_valid(span_of(spec->fallback))) {
        return error_set(error, ERROR_INVALID, "the action's parameter '%s' has a fallback that is no JSON: %s", spec->name,
                         SHOWN(span_of(spec->fallback)));
    }
    return true;
}

static bool declare(const struct library_call *call, struct pipeline *pipeline, struct error *error)
{
    size_t count = spec_count(call);
    pipeline->file = call->program;
    pipeline->params = arena_take_array(&pipeline->arena, count, sizeof *pipeline->params);
    if (pipeline->params == NULL) {
        return error_set(error, ERROR_TRANSIENT, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        const struct backstep_param_spec *spec = &call->action->params[i];
        if (!check_spec(spec, error)) {
            return false;
        }
        pipeline->params[pipeline->param_count++] = (struct pipeline_param){.name = span_of(spec->name),
                                                                            .description = span_of(spec->description),
                                                                            .fallback = span_of(spec->fallback),
                                                                            .required = spec->required};
    }
    return true;
}

bool library_params(const struct library_call *call, struct text *json, struct error *error)
{
    if (call->action == NULL || call->action->params == NULL) {
        return read_any(call->options, json, error);
    }
    struct pipeline pipeline = {0};
    size_t count = 0;
    const char *const *pairs = option_list(call->options, "param", &count);
    arena_init(&pipeline.arena, 1024, MIB);
    bool ok = declare(call, &pipeline, error) &&
              pipeline_params(&pipeline, pairs, count, option_text(call->options, "params"), json, error);
    arena_fini(&pipeline.arena);
    return ok;
}

void library_append_params(const struct library_call *call, struct text *text)
{
    text_append_string(text, spec_count(call) > 0 ? "\nParameters (-p NAME=VALUE):\n" : "");
    for (size_t i = 0; i < spec_count(call); i++) {
        const struct backstep_param_spec *spec = &call->action->params[i];
        text_format(text, "  %-20s %s", spec->name, spec->description != NULL ? spec->description : "");
        if (spec->required) {
            text_append_string(text, " (required)");
        } else if (spec->fallback != NULL) {
            text_format(text, " (%s)", spec->fallback);
        }
        text_append_char(text, '\n');
    }
}

/* ---------------------------------------------------------------- in a pipeline file */

static json_t *declaration(const struct backstep_param_spec *spec, const json_t *given)
{
    json_t *fallback = given != NULL            ? json_deep_copy(given)
                       : spec->fallback != NULL ? json_read(span_of(spec->fallback), NULL)
                                                : NULL;
    bool required = spec->required && given == NULL;
    return json_pack("{s:s*, s:o*, s:o*}", "description", spec->description, "default", fallback, "required",
                     required ? json_true() : NULL);
}

/* What the actions of a pipeline declare may be given to the whole; what they fall back to they say themselves. */
static void declare_actions(const struct action_plan *actions, json_t *all)
{
    for (size_t i = 0; actions != NULL && i < actions->part_count; i++) {
        const struct backstep_param_spec *spec = actions->pipeline->actions[i].action->params;
        for (; spec != NULL && spec->name != NULL; spec++) {
            json_object_set_new(all, spec->name, json_pack("{s:s*}", "description", spec->description));
        }
    }
}

/* What is given and not declared is declared by being given. */
static json_t *declarations(const struct library_call *call, const json_t *params)
{
    json_t *all = json_object();
    declare_actions(call->actions, all);
    for (size_t i = 0; i < spec_count(call); i++) {
        const struct backstep_param_spec *spec = &call->action->params[i];
        json_object_set_new(all, spec->name, declaration(spec, json_object_get(params, spec->name)));
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)params, name, value)
    {
        if (call->actions != NULL || json_object_get(all, name) == NULL) {
            json_object_set_new(all, name, json_pack("{s:O}", "default", value));
        }
    }
    return all;
}

bool library_append_plan(const struct library_call *call, const struct plan *plan, struct span params, struct text *text,
                         struct error *error)
{
    json_t *given = json_read_object(params, error);
    if (given == NULL) {
        return false;
    }
    json_t *all = declarations(call, given);
    pipeline_append_json(plan, text);
    static const char end[] = "}\n";
    if (json_object_size(all) > 0 && text->size > sizeof end) {
        text->size -= sizeof end - 1;
        text_append_string(text, ", \"params\": ");
        json_write(all, text);
        text_append_string(text, end);
    }
    json_decref(all);
    json_decref(given);
    return true;
}
