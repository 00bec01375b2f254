/* SPDX-License-Identifier: Apache-2.0 */
#include "common/saga/saga_internal.h"

static uint64_t weight_of(const struct plan *plan, uint32_t index)
{
    return plan->weight_total > 0 ? plan->steps[index].weight : 1;
}

/* Share of the plan that is done: the sum of weight × fraction over the sum of weights, in integers. 10^9 × 10^6 × 1000 steps fits. */
static void sum_up(struct saga *saga)
{
    saga->weight_done = 0;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        saga->weight_done += weight_of(saga->plan, i) * saga->steps[i]->fraction_ppm;
    }
    saga->summed = true;
}

void progress_add(struct saga *saga, uint32_t index, uint32_t before_ppm)
{
    if (saga->summed) {
        uint64_t weight = weight_of(saga->plan, index);
        saga->weight_done += weight * saga->steps[index]->fraction_ppm - weight * before_ppm;
    }
}

static uint32_t weighted_ppm(struct saga *saga)
{
    if (!saga->summed) {
        sum_up(saga);
    }
    return (uint32_t)(saga->weight_done / (saga->plan->weight_total > 0 ? saga->plan->weight_total : saga->plan->step_count));
}

void progress_update(struct saga *saga)
{
    if (saga->status == RUN_SUCCEEDED) {
        saga->progress_ppm = PPM_ONE;
        return;
    }
    if (saga->status == RUN_ROLLING_BACK || run_status_is_final((enum run_status)saga->status)) {
        return; /* rollback has its own progress */
    }
    uint32_t ppm = weighted_ppm(saga);
    ppm = ppm < PPM_ONE ? ppm : PPM_ONE - 1; /* 100 % only when the run has succeeded */
    if (ppm > saga->progress_ppm) {
        saga->progress_ppm = ppm;
    }
}

uint32_t saga_rollback_ppm(const struct saga *saga)
{
    if (saga->steps == NULL || saga_trouble(saga)->undo_total == 0) {
        return 0;
    }
    uint64_t undone = 0;
    for (struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        undone += step->fan == NULL && (step->status == STEP_ROLLED_BACK || step->status == STEP_ROLLBACK_FAILED);
    }
    return (uint32_t)(undone * PPM_ONE / saga_trouble(saga)->undo_total);
}

uint32_t saga_steps_executed(const struct saga *saga)
{
    uint32_t count = 0;
    for (uint32_t i = 0; saga->steps != NULL && i < saga->plan->step_count; i++) {
        count += saga->steps[i]->executed;
    }
    return count;
}

/* Is the step part of the pipeline whose scope is that (1 + its index)? */
static bool is_within(const struct plan *plan, uint32_t step, uint32_t scope)
{
    uint32_t at = plan->steps[step].scope;
    while (at > scope) {
        at = plan->steps[at - 1].scope;
    }
    return at == scope;
}

uint32_t saga_task_reads(const struct saga *saga, uint32_t step, uint32_t *others)
{
    const struct plan_step *plan = &saga->plan->steps[step];
    bool marks[saga->plan->step_count];
    memset(marks, 0, sizeof marks);
    if (plan->reads_given) {
        for (uint32_t i = 0; i < plan->reads_count; i++) {
            marks[plan->reads[i]] = true;
        }
    } else {
        plan_mark_needs(saga->plan, step, marks);
    }
    for (uint32_t i = 0; !plan->reads_given && plan->scope > 0 && i < saga->plan->step_count; i++) {
        marks[i] = marks[i] && is_within(saga->plan, i, plan->scope); /* what is outside is not seen from inside */
    }
    for (uint32_t scope = plan->scope; scope > 0; scope = saga->plan->steps[scope - 1].scope) {
        marks[scope - 1] = true; /* its params */
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        if (marks[i] && i != step) {
            others[count++] = i;
        }
    }
    return count;
}
