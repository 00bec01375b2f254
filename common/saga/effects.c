/* SPDX-License-Identifier: Apache-2.0 */
/* What is due, read off the state. */
#include "common/saga/saga_internal.h"

enum stage { STAGE_REQUESTS_FIRST, STAGE_REQUESTS, STAGE_STEPS, STAGE_FINISH, STAGE_END };

static bool next_answer(const struct saga *saga, struct saga_cursor *cursor, struct saga_effect *effect)
{
    cursor->request = cursor->stage == STAGE_REQUESTS_FIRST ? saga->requests : cursor->request->next;
    cursor->stage = STAGE_REQUESTS;
    while (cursor->request != NULL && cursor->request->answered) {
        cursor->request = cursor->request->next;
    }
    if (cursor->request == NULL) {
        cursor->stage = STAGE_STEPS;
        return false;
    }
    *effect = (struct saga_effect){.kind = EFFECT_ANSWER, .request = cursor->request};
    return true;
}

static struct ticket ticket_of(const struct saga_step *step, uint32_t index)
{
    return (struct ticket){.step = index, .direction = (enum direction)step->direction, .number = step->ticket};
}

static void effect_of_open(const struct saga *saga, uint32_t index, struct saga_effect *effect)
{
    const struct saga_step *step = &saga->steps[index];
    bool never_twice = step->direction == DIRECTION_EXECUTE && saga->plan->steps[index].retry.max_losses == 0;
    *effect = (struct saga_effect){.kind = EFFECT_DISPATCH, .ticket = ticket_of(step, index), .confirm = step->confirm || never_twice};
    if (step->cancel != 0) {
        effect->kind = EFFECT_CANCEL_TASK;
        effect->cancel_reason = (enum cancel_reason)(step->cancel - 1);
    }
}

static bool next_step(const struct saga *saga, struct saga_cursor *cursor, struct saga_effect *effect)
{
    uint32_t count = saga->steps != NULL ? saga->plan->step_count : 0;
    for (; cursor->step < count; cursor->step++) {
        if (saga->steps[cursor->step].open) {
            effect_of_open(saga, cursor->step++, effect);
            return true;
        }
    }
    cursor->stage = STAGE_FINISH;
    return false;
}

bool saga_next_effect(const struct saga *saga, struct saga_cursor *cursor, struct saga_effect *effect)
{
    if (cursor->stage <= STAGE_REQUESTS && next_answer(saga, cursor, effect)) {
        return true;
    }
    if (cursor->stage == STAGE_STEPS && next_step(saga, cursor, effect)) {
        return true;
    }
    if (cursor->stage == STAGE_FINISH) {
        cursor->stage = STAGE_END;
        *effect = (struct saga_effect){.kind = EFFECT_FINISH};
        return saga_is_over(saga) && !saga->finish_recorded;
    }
    return false;
}

static void sooner(struct saga_deadline *deadline, enum timer timer, int64_t due_ms)
{
    if (deadline->timer == TIMER_NONE || due_ms < deadline->due_ms) {
        deadline->timer = timer;
        deadline->due_ms = due_ms;
    }
}

bool deadline_of(const struct saga *saga, uint32_t index, struct saga_deadline *deadline)
{
    const struct saga_step *step = &saga->steps[index];
    const struct plan_step *plan = &saga->plan->steps[index];
    *deadline = (struct saga_deadline){.timer = TIMER_NONE, .ticket = ticket_of(step, index)};
    bool forward = step->direction == DIRECTION_EXECUTE;
    if (!step->open && step->retry_ms != 0 && !(forward && saga->stopping)) {
        sooner(deadline, TIMER_RETRY, step->retry_ms);
    }
    if (step->open && step->started && forward && step->cancel == 0 && step->fired == TIMER_NONE) {
        if (plan->timeout_ms > 0) {
            sooner(deadline, TIMER_TIMEOUT, step->attempt_ms + plan->timeout_ms);
        }
        if (plan->heartbeat_timeout_ms > 0) {
            sooner(deadline, TIMER_HEARTBEAT, step->report_ms + plan->heartbeat_timeout_ms);
        }
    }
    return deadline->timer != TIMER_NONE;
}

bool saga_next_deadline(const struct saga *saga, struct saga_deadline *deadline)
{
    bool any = false;
    if (saga->steps == NULL || saga_is_over(saga)) {
        return false;
    }
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        struct saga_deadline other;
        if (deadline_of(saga, i, &other) && (!any || other.due_ms < deadline->due_ms)) {
            *deadline = other;
            any = true;
        }
    }
    return any;
}

bool saga_is_settled(const struct saga *saga)
{
    struct saga_effect effect;
    struct saga_cursor cursor = {0};
    return saga_is_over(saga) && saga->finish_recorded && !saga_next_effect(saga, &cursor, &effect);
}
