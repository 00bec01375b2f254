/* SPDX-License-Identifier: Apache-2.0 */
#include "common/runs_task.h"

static struct step_result result_of(const struct saga *saga, uint32_t index, bool whole)
{
    const struct saga_step *step = &saga->steps[index];
    struct step_result result = {.step = saga->plan->steps[index].name,
                                 .success = step->executed,
                                 .skipped = step->status == STEP_SKIPPED,
                                 .data = step->executed ? step->data : (struct span){0}};
    if (whole) {
        result.rollback_data = step->rollback_data;
        result.error = step->executed ? (struct span){0} : step->error;
    }
    return result;
}

/* Shared values, in the order in which the log has them. */
static size_t collect_sets(const struct saga *saga, struct span *sets)
{
    uint32_t order[LIMIT_STEPS];
    size_t count = 0;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        if (!saga->steps[i].executed || saga->steps[i].set.size == 0) {
            continue;
        }
        size_t at = count++;
        for (; at > 0 && saga->steps[order[at - 1]].end_order > saga->steps[i].end_order; at--) {
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    for (size_t i = 0; i < count; i++) {
        sets[i] = saga->steps[order[i]].set;
    }
    return count;
}

void runs_task_fill(struct runs_task *out, const struct saga *saga, struct ticket ticket, bool confirm)
{
    static const struct plan_retry rollback_retry = PLAN_RETRY_ROLLBACK;
    const struct plan_step *plan = &saga->plan->steps[ticket.step];
    bool rolls_back = ticket.direction == DIRECTION_ROLLBACK;
    uint32_t max_attempts = rolls_back ? rollback_retry.max_attempts : plan->retry.max_attempts;
    uint32_t attempt = saga->steps[ticket.step].attempts + 1;
    uint32_t others[LIMIT_STEPS];
    uint32_t count = saga_task_reads(saga, ticket.step, others);
    for (uint32_t i = 0; i < count; i++) {
        out->results[i] = result_of(saga, others[i], false);
    }
    out->own = result_of(saga, ticket.step, true);
    out->task = (struct task){.run_id = saga->run_id,
                              .ticket = ticket,
                              .pipeline = saga->plan->name,
                              .step = plan->name,
                              .handler = plan->handler,
                              .attempt = attempt,
                              .confirm = confirm,
                              .more_attempts = attempt < max_attempts,
                              .input = plan->input,
                              .params = saga->params,
                              .results = out->results,
                              .result_count = count,
                              .sets = out->sets,
                              .set_count = collect_sets(saga, out->sets),
                              .result = rolls_back ? &out->own : NULL};
}
