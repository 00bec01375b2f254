/* SPDX-License-Identifier: Apache-2.0 */
/* A step that fails where something is not as it must be. */
#include "worker/context.h"
#include "worker/registry.h"

#define WEIGHT 0.05

struct validating {
    struct backstep_step step; /* first: a context's step is one of these */
    const char *(*validate)(struct backstep_context *context);
};

static enum backstep_outcome execute(struct backstep_context *context, struct backstep_result *result)
{
    const struct validating *validating = (const struct validating *)context->step;
    const char *problem = validating->validate(context);
    if (problem != NULL) {
        return backstep_fail_permanently(result, "%s", problem[0] != '\0' ? problem : "Validation failed");
    }
    return backstep_succeed(result, NULL);
}

const struct backstep_step *backstep_validating(struct backstep_registry *registry, const struct backstep_validation *validation)
{
    if (registry == NULL || validation == NULL || validation->validate == NULL) {
        registry_fail(registry, "a validation is NULL, or has no function");
        return NULL;
    }
    struct validating *validating = registry_take(registry, sizeof *validating);
    if (validating == NULL) {
        return NULL;
    }
    validating->validate = validation->validate;
    validating->step = (struct backstep_step){.name = validation->name != NULL ? validation->name : "validate",
                                              .weight = validation->weight == 0 ? WEIGHT : validation->weight,
                                              .execute = execute,
                                              .state = validation->state};
    return &validating->step;
}
