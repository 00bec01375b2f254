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

static struct ticket ticket_of(const struct saga_step *step)
{
    return (struct ticket){step->index, step->instance, (enum direction)step->direction, step->ticket};
}

static void effect_of_open(const struct saga *saga, const struct saga_step *step, struct saga_effect *effect)
{
    bool never_twice = step_goes_forward(step) && plan_of(saga, step)->retry.max_losses == 0;
    bool confirm = (step->confirm || never_twice) && rule_holds(RULE_CONFIRM);
    *effect = (struct saga_effect){.kind = EFFECT_DISPATCH, .ticket = ticket_of(step), .confirm = confirm};
    if (step->cancel != 0) {
        effect->kind = EFFECT_CANCEL_TASK;
        effect->cancel_reason = (enum cancel_reason)(step->cancel - 1);
    } else if (saga->status == RUN_PAUSED) {
        effect->kind = EFFECT_HOLD;
    }
}

static bool next_step(const struct saga *saga, struct saga_cursor *cursor, struct saga_effect *effect)
{
    const struct saga_step *step = cursor->step != NULL ? cursor->step->active_next : saga->active;
    while (step != NULL && !step->open) {
        step = step->active_next;
    }
    if (step == NULL) {
        cursor->stage = STAGE_FINISH;
        return false;
    }
    cursor->step = step;
    effect_of_open(saga, step, effect);
    return true;
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

static void deadline_of_attempt(const struct saga *saga, const struct saga_step *step, struct saga_deadline *deadline)
{
    const struct plan_step *plan = plan_of(saga, step);
    int64_t timeout_ms = step_goes_forward(step) ? plan->timeout_ms : plan->rollback_timeout_ms;
    if (timeout_ms > 0) {
        sooner(deadline, TIMER_TIMEOUT, saga_work(step)->attempt_ms + timeout_ms);
    }
    if (plan->heartbeat_timeout_ms > 0 && step_goes_forward(step)) {
        sooner(deadline, TIMER_HEARTBEAT, saga_work(step)->report_ms + plan->heartbeat_timeout_ms);
    }
}

bool deadline_of(const struct saga *saga, const struct saga_step *step, struct saga_deadline *deadline)
{
    *deadline = (struct saga_deadline){.timer = TIMER_NONE, .ticket = ticket_of(step)};
    if (!step->open && saga_work(step)->retry_ms != 0 && course_may_open(saga, step)) {
        sooner(deadline, TIMER_RETRY, saga_work(step)->retry_ms);
    }
    if (!step->open || step->cancel != 0 || step->fired != TIMER_NONE) {
        return deadline->timer != TIMER_NONE;
    }
    int64_t start_timeout_ms = plan_of(saga, step)->start_timeout_ms;
    if (step->started) {
        deadline_of_attempt(saga, step, deadline);
    } else if (start_timeout_ms > 0 && step_goes_forward(step) && saga->status != RUN_PAUSED) {
        sooner(deadline, TIMER_START, step->ready_ms + start_timeout_ms);
    }
    return deadline->timer != TIMER_NONE;
}

/* "per run: timeout, which ends on entering rollback"; it stands still while the run is paused. */
bool deadline_of_run(const struct saga *saga, struct saga_deadline *deadline)
{
    if (saga->plan->timeout_ms == 0 || saga->stopping || (saga->status != RUN_PENDING && saga->status != RUN_RUNNING)) {
        return false;
    }
    int64_t paused_ms = saga_trouble(saga)->paused_ms;
    *deadline = (struct saga_deadline){.timer = TIMER_RUN, .due_ms = saga->started_ms + saga->plan->timeout_ms + paused_ms};
    return true;
}

bool saga_next_deadline(const struct saga *saga, struct saga_deadline *deadline)
{
    if (saga->steps == NULL || saga_is_over(saga)) {
        return false;
    }
    bool any = deadline_of_run(saga, deadline);
    for (const struct saga_step *step = saga->active; step != NULL; step = step->active_next) {
        struct saga_deadline other;
        if (deadline_of(saga, step, &other) && (!any || other.due_ms < deadline->due_ms)) {
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

bool saga_is_closed(const struct saga *saga)
{
    return saga_is_settled(saga) && saga->status != RUN_ROLLBACK_INCOMPLETE;
}
