/* SPDX-License-Identifier: Apache-2.0 */
/* What the end of a ticket means for its step: docs/PROTOCOL.md has the table. The ticket is closed when these are called. */
#include "common/limits.h"
#include "common/saga/saga_internal.h"

#define SILENT_LOSSES_FREE                                                                                                         \
    2 /* from the third Lost without a Started on it is a loss: a task that kills workers before it begins must not go round for ever */

static enum step_text error_kind(const struct saga_step *step)
{
    return step_goes_forward(step) ? TEXT_ERROR : TEXT_ROLLBACK_ERROR;
}

static bool is_stopped(const struct saga *saga, const struct saga_step *step)
{
    return saga->stopping && step_goes_forward(step);
}

static void give_up(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    if (step_goes_forward(step)) {
        course_fail(saga, step, time_ms);
    } else {
        step_set_status(saga, step, STEP_ROLLBACK_FAILED); /* recorded; the others still run */
    }
}

/* One attempt is used up; its error is set. */
static void attempt_used(struct saga *saga, struct saga_step *step, bool permanent, int64_t time_ms)
{
    step->attempts++;
    if (is_stopped(saga, step) || permanent || step->attempts >= saga_max_attempts(saga, step)) {
        give_up(saga, step, time_ms);
        return;
    }
    step_set_status(saga, step, step_goes_forward(step) ? STEP_RETRYING : STEP_ROLLING_BACK);
    step_retry_at(saga, step, time_ms + step_backoff_ms(saga, step));
}

/* Ready again, or, where the run is paused, waiting until it goes on. */
static void wait_again(struct saga *saga, struct saga_step *step)
{
    if (course_may_open(saga, step)) {
        step_open_again(saga, step);
    } else {
        step_set_status(saga, step, STEP_WAITING);
    }
}

/* "Losing a worker is not an attempt." */
static void loss_used(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    step->losses++;
    if (step->losses > step_retry(saga, step)->max_losses) {
        give_up(saga, step, time_ms);
    } else {
        if (step->started) {
            step->ready_ms = time_ms; /* somebody had begun it: a start_timeout counts anew */
        }
        wait_again(saga, step);
    }
}

/* The ticket ended and used nothing. A run that is stopping does not try again. */
static void end_unused(struct saga *saga, struct saga_step *step)
{
    if (is_stopped(saga, step)) {
        step_set_status(saga, step, step->may_have_begun ? STEP_FAILED : STEP_WAITING);
    } else {
        wait_again(saga, step);
    }
}

static void end_timed_out(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    text_timed_out(saga, step, error_kind(step));
    attempt_used(saga, step, false, time_ms);
}

static void end_permanently(struct saga *saga, struct saga_step *step, const char *why, int64_t time_ms)
{
    room_keep_text(saga, step, TEXT_ERROR, span_of(why));
    attempt_used(saga, step, true, time_ms);
}

void end_ok(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    step_mark_started(saga, step, event); /* a fast step sends no Started */
    if (!step_goes_forward(step)) {
        step_set_status(saga, step, STEP_ROLLED_BACK);
    } else if (saga_fans_out(saga, step)) {
        end_permanently(saga, step, "its worker did not expand its 'each': it is older than this pipeline", event->time_ms);
    } else if (!step_result_fits(saga, event->data, event->set)) {
        room_keep_text(saga, step, TEXT_ROLLBACK_DATA, event->rollback_data);
        end_permanently(saga, step, "its result does not fit: a run's context (params and results) is limited to 524288 bytes",
                        event->time_ms);
    } else {
        room_keep_text(saga, step, TEXT_ROLLBACK_DATA, event->rollback_data);
        step_succeed(saga, step, event->data, event->set);
    }
}

void end_expanded(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    step_mark_started(saga, step, event);
    size_t size = 0;
    for (size_t i = 0; i < event->element_count; i++) {
        size += event->elements[i].size;
    }
    if (!saga_fans_out(saga, step) || !step_goes_forward(step)) {
        end_permanently(saga, step, "its worker answered with elements, which it was not asked for", event->time_ms);
    } else if (saga->context_bytes + size > LIMIT_CONTEXT_BYTES) {
        end_permanently(saga, step, "its elements do not fit: a run's context (params and results) is limited to 524288 bytes",
                        event->time_ms);
    } else if (step->fan == NULL) {
        course_expand(saga, step, event);
    }
}

void end_skipped(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    if (step_goes_forward(step)) {
        step_skip(saga, step, event->time_ms);
    } else {
        step_set_status(saga, step, STEP_ROLLED_BACK);
        step->nothing_to_undo = true;
    }
}

void end_failed(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    step_mark_started(saga, step, event);
    if (event->rollback_data.size > 0) {
        room_keep_text(saga, step, TEXT_ROLLBACK_DATA, event->rollback_data);
    }
    if (step->fired != TIMER_NONE) {
        end_timed_out(saga, step, event->time_ms); /* every end but ok and skipped is then that timeout's failure */
        return;
    }
    room_keep_text(saga, step, error_kind(step), event->error);
    attempt_used(saga, step, event->permanent, event->time_ms);
}

static const char *why_stopped(const struct saga *saga)
{
    if (saga->cancelling) {
        return "it was cancelled";
    }
    return saga_trouble(saga)->cause_step != UINT32_MAX ? "it was cancelled because another step failed"
                                          : "it was cancelled because the run timed out";
}

void end_cancelled_started(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    step_mark_started(saga, step, event);
    if (event->rollback_data.size > 0) {
        room_keep_text(saga, step, TEXT_ROLLBACK_DATA, event->rollback_data);
    }
    if (is_stopped(saga, step)) {
        room_keep_text(saga, step, TEXT_ERROR, span_of(why_stopped(saga)));
        step_set_status(saga, step, STEP_FAILED);
    } else if (step->fired != TIMER_NONE) {
        end_timed_out(saga, step, event->time_ms);
    } else {
        room_keep_text(saga, step, error_kind(step), span_of("its worker was stopped while it ran"));
        loss_used(saga, step, event->time_ms);
    }
}

void end_cancelled_not_started(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    if (step_goes_forward(step)) {
        step->may_have_begun = step->begun_before; /* a Started before it only asked for leave to begin */
    }
    if (step->fired != TIMER_NONE && !is_stopped(saga, step)) {
        end_timed_out(saga, step, event->time_ms);
    } else {
        end_unused(saga, step);
    }
}

static bool said_confirm(const struct saga *saga, const struct saga_step *step)
{
    return step->confirm || step_retry(saga, step)->max_losses == 0;
}

void end_lost(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    if (step_goes_forward(step) && step_has_effects(saga, step) && (step->started || !said_confirm(saga, step))) {
        step->may_have_begun = true;
    }
    text_lost(saga, step, error_kind(step), event->worker);
    bool stopped = is_stopped(saga, step), named = event->worker.size > 0;
    step->confirm = true;
    if (step->fired != TIMER_NONE && !stopped) {
        end_timed_out(saga, step, event->time_ms);
        return;
    }
    if (!step->started && named) {
        step->silent_losses++;
    }
    /* A takeover's Lost that names nobody uses nothing: steps that wait do not age by restarts of their coordinator. */
    if (!stopped && (step->started || (named && step->silent_losses > SILENT_LOSSES_FREE))) {
        loss_used(saga, step, event->time_ms);
    } else {
        end_unused(saga, step);
    }
}
