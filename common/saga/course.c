/* SPDX-License-Identifier: Apache-2.0 */
/* The course of a run: steps begin when what they need is done; it stops, waits for what is open, and is undone, newest first. */
#include "common/saga/saga_internal.h"

#include <assert.h>

bool course_may_open(const struct saga *saga, const struct saga_step *step)
{
    return !step_goes_forward(step) || (!saga->stopping && !saga->paused && !saga->held);
}

struct saga_trouble *course_trouble(struct saga *saga)
{
    if (saga->trouble == NULL) {
        saga->trouble = room_take(saga, sizeof *saga->trouble);
        *saga->trouble = (struct saga_trouble){.cause_step = UINT32_MAX};
    }
    return saga->trouble;
}

/* ---- the end of a run */

/* What became of a step that fans out is what became of its instances. */
static void settle_fan(struct saga_step *step)
{
    bool undone = false, failed = false;
    for (uint32_t i = 0; i < step->fan->count; i++) {
        undone = undone || step->fan->instances[i].status == STEP_ROLLED_BACK;
        failed = failed || step->fan->instances[i].status == STEP_ROLLBACK_FAILED;
    }
    if (failed) {
        step->status = STEP_ROLLBACK_FAILED;
    } else if (undone) {
        step->status = STEP_ROLLED_BACK;
    } else if (step->status == STEP_RUNNING || step->status == STEP_ROLLING_BACK) {
        step->status = STEP_NOT_RUN;
    }
}

static void finish(struct saga *saga, enum run_status status, int64_t time_ms)
{
    saga->status = (uint8_t)status;
    saga->paused = saga->held = false;
    saga->finished_ms = time_ms;
    saga->finish_recorded = false;
    saga->finish_count++;
    for (struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        if (step->instance == 0 && step_is_untouched(saga, step->index)) {
            step = saga->steps[step->index] = &saga->plan->not_run[step->index];
        } else if (step->status == STEP_WAITING || step->status == STEP_READY) {
            step->status = STEP_NOT_RUN;
        }
        if (step->fan != NULL && status != RUN_SUCCEEDED) {
            settle_fan(step);
        }
    }
}

static enum run_status undone_status(const struct saga *saga)
{
    for (struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        if (step->status == STEP_ROLLBACK_FAILED) {
            return RUN_ROLLBACK_INCOMPLETE;
        }
    }
    return saga->cancelling ? RUN_CANCELLED : RUN_ROLLED_BACK;
}

/* ---- undoing */

static bool is_to_be_undone(const struct saga *saga, const struct saga_step *step)
{
    return step->may_have_begun && !plan_of(saga, step)->rollback_none && step->status != STEP_ROLLED_BACK &&
           step->status != STEP_ROLLBACK_FAILED;
}

/* "First the step whose failure began it, then all others that may have begun, by the end of their last attempt, newest first." */
static struct saga_step *next_to_undo(const struct saga *saga)
{
    const struct saga_trouble *trouble = saga_trouble(saga);
    struct saga_step *cause =
        trouble->cause_step != UINT32_MAX ? saga_find_step(saga, trouble->cause_step, trouble->cause_instance) : NULL;
    if (cause != NULL && is_to_be_undone(saga, cause)) {
        return cause;
    }
    struct saga_step *newest = NULL;
    for (struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        if (is_to_be_undone(saga, step) && (newest == NULL || saga_work(step)->end_order > saga_work(newest)->end_order)) {
            newest = step;
        }
    }
    return newest;
}

static void begin_undo(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    if (step_goes_forward(step)) {
        step->direction = DIRECTION_ROLLBACK;
        step->ticket = 0; /* else it is taken up again: no number is used twice */
    }
    step->attempts = 0;
    step->losses = 0;
    step->silent_losses = 0;
    step->confirm = false;
    if (step->work != NULL) {
        step->work->rollback_begun_ms = 0;
    }
    if (step->instance > 0) {
        saga->steps[step->index]->status = STEP_ROLLING_BACK;
        saga->steps[step->index]->direction = DIRECTION_ROLLBACK;
    }
    step_open(saga, step, time_ms);
}

static void undo_next(struct saga *saga, int64_t time_ms)
{
    struct saga_step *step = next_to_undo(saga);
    if (step == NULL) {
        finish(saga, undone_status(saga), time_ms);
        return;
    }
    begin_undo(saga, step, time_ms);
}

static void enter_rollback(struct saga *saga, int64_t time_ms)
{
    struct saga_trouble *trouble = course_trouble(saga);
    saga->status = RUN_ROLLING_BACK;
    for (struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        if (step->status == STEP_RETRYING) { /* it waited for an attempt that will not come */
            step_set_status(saga, step, STEP_FAILED);
            step_retry_at(saga, step, 0);
        }
        trouble->undo_total += is_to_be_undone(saga, step);
    }
    undo_next(saga, time_ms);
}

void course_undo_again(struct saga *saga, int64_t time_ms)
{
    for (struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        if (step->status == STEP_ROLLBACK_FAILED && step->fan == NULL) {
            step_set_status(saga, step, step->executed ? STEP_SUCCEEDED : STEP_FAILED);
        }
    }
    saga->status = RUN_ROLLING_BACK;
    saga->finished_ms = 0;
    undo_next(saga, time_ms);
}

void course_settle(struct saga *saga, int64_t time_ms)
{
    enum run_status status = undone_status(saga);
    if (status != RUN_ROLLBACK_INCOMPLETE) {
        finish(saga, status, time_ms);
    }
}

/* ---- going forward */

static bool needs_are_done(const struct saga *saga, const struct plan_step *plan)
{
    for (uint32_t i = 0; i < plan->needs_count; i++) {
        if (!step_is_done(saga->steps[plan->needs[i]])) {
            return false;
        }
    }
    return true;
}

static void say_ended(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    struct saga_step_work *work = step_work(saga, step);
    work->ended_ms = time_ms;
    work->end_order = ++saga->ended_count;
}

static bool open_instances(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    struct saga_fan *fan = step->fan;
    uint32_t most = plan_of(saga, step)->max_parallel;
    for (; fan->next < fan->count && (most == 0 || fan->open < most); fan->next++) {
        struct saga_step *instance = &fan->instances[fan->next];
        if (instance->status == STEP_WAITING) {
            step_open(saga, instance, time_ms);
        }
    }
    if (fan->done < fan->count) {
        return false;
    }
    say_ended(saga, step, time_ms);
    step_succeed(saga, step, (struct span){0}, (struct span){0}); /* its data are those of its instances */
    return true;
}

static void begin_step(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    const struct plan_step *plan = plan_of(saga, step);
    if (plan->scope > 0 && saga->steps[plan->scope - 1]->status == STEP_SKIPPED) {
        step_skip(saga, step, time_ms); /* with the pipeline it is part of */
    } else if (plan->kind == PLAN_SCOPE && plan->when.size == 0 && !plan->templated &&
               step_result_fits(saga, plan->input, (struct span){0})) {
        saga->begun = true;
        say_ended(saga, step, time_ms);
        step->work->begun_ms = time_ms;
        step_succeed(saga, step, plan->input, (struct span){0});
    } else {
        step_open(saga, step, time_ms);
    }
}

static bool begin_at(struct saga *saga, uint32_t index, int64_t time_ms)
{
    struct saga_step *step = saga->steps[index];
    bool fans = step->fan != NULL && step->status == STEP_RUNNING;
    if (!course_may_open(saga, step)) { /* paused, but it may be that nothing was left to do */
        return fans && step->fan->done == step->fan->count && open_instances(saga, step, time_ms);
    }
    if (step->status == STEP_WAITING && needs_are_done(saga, &saga->plan->steps[index])) {
        step = step_own(saga, index);
        begin_step(saga, step, time_ms);
        return step_is_done(step);
    }
    return fans && open_instances(saga, step, time_ms);
}

/* One look at every step that can have changed. true: something was done at once, so that others may be ready now. */
static bool begin_steps(struct saga *saga, int64_t time_ms, bool *all_done)
{
    bool again = false;
    while (saga->done_below < saga->plan->step_count && step_is_done(saga->steps[saga->done_below])) {
        saga->done_below++; /* forward, what is done stays done */
    }
    *all_done = true;
    bool before_done = true; /* beyond the beginning of the chain nothing can begin before the step that stands before it is done */
    for (uint32_t i = saga->done_below; i < saga->plan->step_count && (before_done || i <= saga->plan->chain_from); i++) {
        again = begin_at(saga, i, time_ms) || again;
        bool done = step_is_done(saga->steps[i]);
        *all_done = *all_done && done;
        before_done = saga->fold_version < SAGA_FOLD_OF_EARLY_TAILS ? *all_done : done;
    }
    return again;
}

static void go_forward(struct saga *saga, int64_t time_ms)
{
    bool all_done;
    while (begin_steps(saga, time_ms, &all_done)) {
    }
    if (all_done) {
        finish(saga, RUN_SUCCEEDED, time_ms);
    }
}

void course_advance(struct saga *saga, int64_t time_ms)
{
    if (saga_is_over(saga)) {
        return;
    }
    if (saga->status == RUN_ROLLING_BACK) {
        if (saga->active == NULL) { /* one at a time */
            undo_next(saga, time_ms);
        }
    } else if (!saga->stopping) {
        go_forward(saga, time_ms);
    } else {
        for (const struct saga_step *step = saga->active; step != NULL; step = step->active_next) {
            if (step->open) {
                return;
            }
        }
        enter_rollback(saga, time_ms);
    }
}

void course_expand(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    struct saga_fan *fan = room_take(saga, sizeof *fan);
    *fan = (struct saga_fan){.count = (uint32_t)event->element_count};
    fan->elements = room_take(saga, event->element_count * sizeof *fan->elements);
    fan->instances = room_take(saga, event->element_count * sizeof *fan->instances);
    for (uint32_t i = 0; i < fan->count; i++) {
        fan->elements[i] = (struct span){0};
        room_keep(saga, &fan->elements[i], event->elements[i]);
        fan->instances[i] = (struct saga_step){.index = step->index, .instance = i + 1};
        saga->context_bytes += (uint32_t)event->elements[i].size;
    }
    step->fan = fan;
    step_work(saga, step)->current = 0;
    step->work->total = fan->count;
    step_set_status(saga, step, STEP_RUNNING);
}

/* ---- stopping, pausing */

void course_stop(struct saga *saga, enum cancel_reason reason)
{
    saga->stopping = true;
    if (saga->status == RUN_PAUSED) {
        saga->status = saga->begun ? RUN_RUNNING : RUN_PENDING;
        saga->paused = saga->held = false;
    }
    for (struct saga_step *step = saga->active; step != NULL; step = step->active_next) {
        if (step->open && step->cancel == 0) {
            step->cancel = (uint8_t)(1 + reason);
        }
    }
}

void course_hold(struct saga *saga, int64_t time_ms)
{
    if (saga->status != RUN_PAUSED) {
        saga->status = RUN_PAUSED;
        course_trouble(saga)->pause_ms = time_ms;
    }
}

void course_go_on(struct saga *saga, int64_t time_ms)
{
    saga->paused = saga->held = false;
    saga->status = saga->begun ? RUN_RUNNING : RUN_PENDING;
    struct saga_trouble *trouble = course_trouble(saga);
    trouble->paused_ms += time_ms - trouble->pause_ms;
    course_advance(saga, time_ms);
}

void course_fail(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    step_set_status(saga, step, STEP_FAILED);
    if (step->instance > 0) {
        struct saga_step *whole = saga->steps[step->index];
        whole->status = STEP_FAILED;
        room_keep_text(saga, whole, TEXT_ERROR, saga_step_text(step, TEXT_ERROR));
    }
    if (saga->stopping || saga->held) {
        return; /* the first cause stays */
    }
    struct saga_trouble *trouble = course_trouble(saga);
    trouble->cause_step = step->index;
    trouble->cause_instance = step->instance;
    text_run_failed(saga, step);
    if (saga->plan->pause_on_failure || saga->paused) {
        saga->held = true;
        course_hold(saga, time_ms);
    } else {
        course_stop(saga, CANCEL_SIBLING_FAILED);
    }
}
