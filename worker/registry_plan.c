/* SPDX-License-Identifier: Apache-2.0 */
#include "common/pipeline.h"
#include "worker/orchestrator.h"

#include <string.h>

#define QUEUE "default"

static struct plan_retry retry_of(const struct backstep_policy *policy)
{
    struct plan_retry retry = PLAN_RETRY_DEFAULT;
    if (policy->max_attempts > 0 && !policy->never_twice) {
        retry.max_attempts = (uint32_t)policy->max_attempts;
    }
    if (policy->max_losses > 0 || policy->never_twice) {
        retry.max_losses = policy->never_twice ? 0 : (uint32_t)policy->max_losses;
    }
    if (policy->backoff_ms > 0) {
        retry.backoff_ms = policy->backoff_ms;
        retry.max_backoff_ms = policy->backoff_ms > retry.max_backoff_ms ? policy->backoff_ms : retry.max_backoff_ms;
    }
    if (policy->multiplier > 0) {
        retry.multiplier_permille = (uint32_t)(policy->multiplier * 1000 + 0.5);
    }
    if (policy->max_backoff_ms > 0) {
        retry.max_backoff_ms = policy->max_backoff_ms;
    }
    return retry;
}

static struct plan_retry rollback_retry_of(const struct backstep_policy *policy)
{
    struct plan_retry retry = PLAN_RETRY_ROLLBACK;
    retry.max_attempts = (uint32_t)policy->rollback_max_attempts;
    return retry.max_attempts > 0 ? retry : (struct plan_retry){0};
}

static struct plan_step plan_step_of(const struct backstep_step *step, uint32_t weight)
{
    return (struct plan_step){.name = span_of(step->name),
                              .handler = span_of(step->name),
                              .queue = span_of(QUEUE),
                              .input = span_of(step->with),
                              .weight = weight,
                              .rollback_none = step->rollback == NULL,
                              .retry = retry_of(&step->policy),
                              .rollback_retry = rollback_retry_of(&step->policy),
                              .start_timeout_ms = step->policy.start_timeout_ms,
                              .timeout_ms = step->policy.timeout_ms,
                              .heartbeat_timeout_ms = step->policy.heartbeat_timeout_ms,
                              .rollback_timeout_ms = step->policy.rollback_timeout_ms};
}

static uint32_t index_of(const struct backstep_registry *registry, const char *name)
{
    uint32_t index = 0;
    const struct backstep_step *step;
    while ((step = backstep_registry_step(registry, (int)index)) != NULL && strcmp(step->name, name) != 0) {
        index++;
    }
    return index; /* beyond the last: there is none */
}

static bool resolve(const struct backstep_registry *registry, uint32_t at, struct arena *arena, struct plan_step *out,
                    struct error *error)
{
    const struct backstep_step *step = backstep_registry_step(registry, (int)at);
    uint32_t count = 0;
    while (step->needs != NULL && step->needs[count] != NULL) {
        count++;
    }
    bool usual = step->needs == NULL && at > 0;
    uint32_t *needs = arena_take_array(arena, usual ? 1 : count, sizeof *needs);
    if (needs == NULL) {
        return error_set(error, ERROR_TRANSIENT, "out of memory");
    }
    if (usual) {
        needs[0] = at - 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        needs[i] = index_of(registry, step->needs[i]);
        if (needs[i] >= (uint32_t)backstep_registry_count(registry)) {
            return error_set(error, ERROR_INVALID, "step '%s' needs '%.120s', which is not registered", step->name, step->needs[i]);
        }
    }
    out->needs = needs;
    out->needs_count = usual ? 1 : count;
    return true;
}

static bool check(const struct plan *plan, struct error *error)
{
    uint32_t step = 0;
    const char *problem = plan->step_count > 0 ? plan_problem(plan, &step) : NULL;
    if (problem != NULL) {
        return error_set(error, ERROR_INVALID, "step '%.*s': %s", SPAN_ARGS(plan->steps[step].name), problem);
    }
    return true;
}

bool plan_of_registry(const struct backstep_registry *registry, const char *name, struct arena *arena, struct plan *plan,
                      struct error *error)
{
    uint32_t count = (uint32_t)backstep_registry_count(registry);
    struct plan_step *steps = arena_take_array(arena, count, sizeof *steps);
    uint32_t *weights = arena_take_array(arena, count, sizeof *weights);
    double *shares = arena_take_array(arena, count, sizeof *shares);
    if (arena->failed) {
        return error_set(error, ERROR_TRANSIENT, "out of memory");
    }
    for (uint32_t i = 0; i < count; i++) {
        shares[i] = backstep_registry_step(registry, (int)i)->weight;
    }
    if (!pipeline_set_weights(weights, shares, count)) {
        return error_set(error, ERROR_INVALID, "a step's weight is negative or no number");
    }
    for (uint32_t i = 0; i < count; i++) {
        steps[i] = plan_step_of(backstep_registry_step(registry, (int)i), weights[i]);
        if (!resolve(registry, i, arena, &steps[i], error)) {
            return false;
        }
    }
    *plan = (struct plan){.name = span_of(name), .steps = steps, .step_count = count};
    return check(plan, error);
}
