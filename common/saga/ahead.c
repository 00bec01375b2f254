/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets that were perhaps sent before their step is ready. The log does not say whether they were, so each fold assumes it:
 * that costs a number where the step before one fails, and an end to wait for where a run stops while that step succeeds. */
#include "common/saga/saga_internal.h"

static bool may_wait_ahead(const struct saga *saga, uint32_t index)
{
    return saga->fold_version >= SAGA_FOLD_OF_TASKS_AHEAD && index < saga->plan->step_count && saga->plan->steps[index].behind &&
           saga->steps[index]->status == STEP_WAITING;
}

/* Is a ticket of the step before it open, or is it ahead itself? */
static bool is_ahead(const struct saga *saga, uint32_t index)
{
    for (uint32_t depth = 0; depth < SAGA_AHEAD_MAX && may_wait_ahead(saga, index); depth++) {
        const struct saga_step *before = saga->steps[--index];
        if (before->open && step_goes_forward(before)) {
            return true;
        }
    }
    return false;
}

static struct ticket ahead_ticket(const struct saga *saga, uint32_t index)
{
    return (struct ticket){.step = index, .direction = DIRECTION_EXECUTE, .number = saga->steps[index]->ticket + 1};
}

bool saga_next_ahead(const struct saga *saga, uint32_t step, struct ticket *ticket)
{
    if (!is_ahead(saga, step + 1) || saga->steps[step + 1]->confirm) {
        return false;
    }
    *ticket = ahead_ticket(saga, step + 1);
    return true;
}

bool saga_is_ahead(const struct saga *saga, const struct ticket *ticket)
{
    bool of_step = ticket->instance == 0 && ticket->direction == DIRECTION_EXECUTE;
    return saga->steps != NULL && ticket->step < saga->plan->step_count && of_step && is_ahead(saga, ticket->step) &&
           ticket->number == saga->steps[ticket->step]->ticket + 1;
}

void ahead_ended(struct saga *saga, uint32_t index)
{
    for (uint32_t depth = 0; depth < SAGA_AHEAD_MAX && may_wait_ahead(saga, ++index); depth++) {
        step_own(saga, index)->ticket++;
    }
}

size_t ahead_room(const struct saga *saga, uint32_t index)
{
    size_t count = 0;
    for (uint32_t depth = 0; depth < SAGA_AHEAD_MAX && may_wait_ahead(saga, ++index); depth++) {
        count += step_is_untouched(saga, index);
    }
    return count * room_aligned(sizeof(struct saga_step));
}

static enum cancel_reason why(const struct saga *saga)
{
    bool failed = saga_trouble(saga)->cause_step != UINT32_MAX;
    return saga->cancelling ? CANCEL_REQUESTED : failed ? CANCEL_SIBLING_FAILED : CANCEL_RUN_TIMEOUT;
}

void ahead_opened(struct saga *saga, uint32_t index, int64_t time_ms)
{
    if (!may_wait_ahead(saga, index + 1) || course_may_open(saga, saga->steps[index + 1]) || !rule_holds(RULE_AHEAD_OPENED)) {
        return; /* where the run goes on it is ready as any other */
    }
    struct saga_step *step = step_own(saga, index + 1);
    step_open(saga, step, time_ms);
    if (saga->stopping) {
        step->cancel = (uint8_t)(1 + why(saga));
    }
}

enum saga_verdict ahead_apply(struct saga *saga, const struct saga_event *event)
{
    bool ended = event->kind == EVENT_REFUSED || (event->kind == EVENT_DONE && event->outcome == OUTCOME_CANCELLED_NOT_STARTED);
    if (!ended) {
        return saga_judge_unknown(event);
    }
    step_own(saga, event->ticket.step)->ticket++;
    ahead_ended(saga, event->ticket.step);
    return SAGA_APPLIED;
}
