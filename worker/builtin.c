/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/builtin.h"

#include "common/limits.h"
#include "common/saga/plan.h"

#include <assert.h>
#include <stdlib.h>

/* That it holds was seen when the task was evaluated, else this is not called. */
static enum backstep_outcome validate(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_succeed(result, "{}");
}

/* Its evaluated input are the params of the steps in it. */
static enum backstep_outcome open_scope(struct backstep_context *context, struct backstep_result *result)
{
    char *input = backstep_json_text(backstep_input(context));
    if (input == NULL) {
        return backstep_fail_permanently(result, "%s", backstep_error(context));
    }
    enum backstep_outcome outcome = backstep_succeed(result, "%s", input);
    free(input);
    return outcome;
}

static const struct backstep_step steps[] = {
    {.name = PLAN_HANDLER_VALIDATE, .execute = validate},
    {.name = PLAN_HANDLER_SCOPE, .execute = open_scope},
};
static_assert(sizeof steps / sizeof *steps == BUILTIN_STEPS && LIMIT_HANDLERS + BUILTIN_STEPS == LIMIT_HANDLERS_SAID,
              "as many as are said");

const struct backstep_step *builtin_step(size_t index)
{
    assert(index < BUILTIN_STEPS);
    return &steps[index];
}

const struct backstep_step *builtin_find(struct span handler)
{
    for (size_t i = 0; i < BUILTIN_STEPS; i++) {
        if (span_equal(span_of(steps[i].name), handler)) {
            return &steps[i];
        }
    }
    return NULL;
}
