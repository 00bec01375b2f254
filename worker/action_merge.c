/* SPDX-License-Identifier: Apache-2.0 */
/* What begins an action in a pipeline of actions: its params, from whoever says a member last. */
#include "common/json.h"
#include "common/limits.h"
#include "worker/action_pipeline.h"
#include "worker/context.h"

#include <stdlib.h>

static const json_t *input_member(struct backstep_context *context, const char *name)
{
    return json_object_get((const json_t *)backstep_input(context), name);
}

/* Whole members are taken; what is no object says nothing. */
static void merge_data(json_t *params, const json_t *steps)
{
    const char *name;
    json_t *data;
    json_object_foreach((json_t *)(uintptr_t)steps, name, data)
    {
        if (json_is_object(data)) {
            json_object_update(params, data);
        }
    }
}

static json_t *merged(struct backstep_context *context)
{
    json_t *params = json_object(), *name;
    size_t index;
    json_object_update(params, (json_t *)(uintptr_t)input_member(context, "defaults"));
    json_object_update(params, (json_t *)(uintptr_t)input_member(context, "params"));
    json_array_foreach(input_member(context, "after"), index, name)
    {
        merge_data(params, json_object_get(input_member(context, "steps"), json_string_value(name)));
    }
    return params;
}

static const char *missing(struct backstep_context *context, const json_t *params)
{
    json_t *name;
    size_t index;
    json_array_foreach(input_member(context, "required"), index, name)
    {
        if (json_object_get(params, json_string_value(name)) == NULL) {
            return json_string_value(name);
        }
    }
    return NULL;
}

static enum backstep_outcome merge(struct backstep_context *context, struct backstep_result *result)
{
    json_t *params = merged(context);
    const char *wanted = missing(context, params);
    char *text = json_text(params);
    enum backstep_outcome outcome;
    if (text == NULL) {
        outcome = backstep_fail(result, "out of memory");
    } else if (wanted != NULL) {
        outcome = backstep_fail_permanently(result, "the action requires the parameter '%s', and nobody gives it", wanted);
    } else if (strlen(text) > LIMIT_RESULT_BYTES) {
        outcome = backstep_fail_permanently(result, "the action's params have %zu bytes; %d are allowed", strlen(text),
                                            LIMIT_RESULT_BYTES);
    } else {
        outcome = backstep_succeed(result, "%s", text);
    }
    json_decref(params);
    free(text);
    return outcome;
}

const struct backstep_step action_merge_step = {.name = PLAN_HANDLER_MERGE, .execute = merge};
