/* SPDX-License-Identifier: Apache-2.0 */
/* Which function an event goes to. */
#include "common/saga/saga_internal.h"

#include <assert.h>

bool run_status_is_final(enum run_status status)
{
    return status >= RUN_SUCCEEDED;
}

bool saga_is_over(const struct saga *saga)
{
    return run_status_is_final((enum run_status)saga->status);
}

/* ---- events of tickets */

enum place { CURRENT, LATE, FUTURE };

static enum place place_of(const struct saga_step *step, const struct ticket *ticket)
{
    if (step == NULL) {
        return FUTURE;
    }
    if (ticket->direction != (enum direction)step->direction) {
        return ticket->direction == DIRECTION_EXECUTE ? LATE : FUTURE;
    }
    if (ticket->number == 0 || ticket->number > step->ticket) { /* they count from 1 */
        return FUTURE;
    }
    if (ticket->number < step->ticket && rule_holds(RULE_TICKETS)) {
        return LATE;
    }
    return step->open ? CURRENT : LATE;
}

static enum saga_verdict on_started(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    if (step->started) {
        return SAGA_IGNORED; /* said twice; it is no report that would put off a heartbeat_timeout */
    }
    step_mark_started(saga, step, event);
    room_keep_text(saga, step, TEXT_WORKER, event->worker);
    return SAGA_APPLIED;
}

/* In parts per million without overflow: both are scaled down first where they are huge. */
static uint32_t ppm_of(uint64_t current, uint64_t total)
{
    while (total > UINT64_MAX / PPM_ONE) {
        total >>= 1;
        current >>= 1;
    }
    return (uint32_t)(current * PPM_ONE / total);
}

static enum saga_verdict on_progressed(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    step_mark_started(saga, step, event);
    if (event->total > 0 && event->current <= event->total && !saga_fans_out(saga, step)) {
        step->work->current = event->current;
        step->work->total = event->total;
        if (step_goes_forward(step)) {
            step_set_fraction(saga, step, ppm_of(event->current, event->total));
        }
    }
    if (event->metrics.size > 0) {
        room_keep_text(saga, step, TEXT_METRICS, event->metrics);
    }
    return SAGA_APPLIED;
}

static end_function *const done_functions[] = {
    [OUTCOME_OK] = end_ok,
    [OUTCOME_SKIPPED] = end_skipped,
    [OUTCOME_FAILED] = end_failed,
    [OUTCOME_CANCELLED_STARTED] = end_cancelled_started,
    [OUTCOME_CANCELLED_NOT_STARTED] = end_cancelled_not_started,
};

static enum saga_verdict end_ticket(struct saga *saga, struct saga_step *step, const struct saga_event *event, end_function *end)
{
    step_close(saga, step, event->time_ms);
    bool goes_on = end == end_ok || end == end_skipped, executes = event->ticket.direction == DIRECTION_EXECUTE;
    if (executes && !goes_on) {
        ahead_ended(saga, step->index);
    }
    if (event->metrics.size > 0) {
        room_keep_text(saga, step, TEXT_METRICS, event->metrics);
    }
    if (event->worker.size > 0) {
        room_keep_text(saga, step, TEXT_WORKER, event->worker);
    }
    end(saga, step, event);
    if (executes && goes_on) {
        ahead_opened(saga, step->index, event->time_ms);
    }
    course_advance(saga, event->time_ms);
    return SAGA_APPLIED;
}

/* A result that comes after its ticket was ended: what it needs to be undone is kept, as long as the rollback is not out. */
static enum saga_verdict on_late_done(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    bool useful = event->outcome == OUTCOME_OK && event->ticket.direction == DIRECTION_EXECUTE && step_goes_forward(step) &&
                  !step->executed && event->rollback_data.size > 0;
    if (!useful || saga_is_over(saga)) {
        return SAGA_IGNORED;
    }
    room_keep_text(saga, step, TEXT_ROLLBACK_DATA, event->rollback_data);
    return SAGA_APPLIED;
}

enum saga_verdict saga_judge_unknown(const struct saga_event *event)
{
    bool of_work = event->kind == EVENT_STARTED || event->kind == EVENT_EXPANDED ||
                   (event->kind == EVENT_DONE && event->outcome != OUTCOME_CANCELLED_STARTED &&
                    event->outcome != OUTCOME_CANCELLED_NOT_STARTED);
    return of_work ? SAGA_ALIEN : SAGA_IGNORED;
}

static enum saga_verdict on_ticket_event(struct saga *saga, const struct saga_event *event)
{
    struct saga_step *step = saga_find_step(saga, event->ticket.step, event->ticket.instance);
    enum place place = place_of(step, &event->ticket);
    if (place == FUTURE) {
        return saga_is_ahead(saga, &event->ticket) ? ahead_apply(saga, event) : saga_judge_unknown(event);
    }
    if (place == LATE) {
        return event->kind == EVENT_DONE ? on_late_done(saga, step, event) : SAGA_IGNORED;
    }
    switch (event->kind) {
    case EVENT_STARTED: return on_started(saga, step, event);
    case EVENT_PROGRESSED: return on_progressed(saga, step, event);
    case EVENT_DONE: return end_ticket(saga, step, event, done_functions[event->outcome]);
    case EVENT_EXPANDED: return end_ticket(saga, step, event, end_expanded);
    case EVENT_LOST: return end_ticket(saga, step, event, end_lost);
    case EVENT_REFUSED:
    case EVENT_WITHDRAWN: return end_ticket(saga, step, event, end_cancelled_not_started);
    default: return SAGA_IGNORED;
    }
}

/* ---- deadlines */

static enum saga_verdict on_run_timer(struct saga *saga, const struct saga_event *event)
{
    struct saga_deadline deadline;
    if (!deadline_of_run(saga, &deadline) || event->time_ms < deadline.due_ms) {
        return SAGA_IGNORED;
    }
    text_run_timed_out(saga);
    course_stop(saga, CANCEL_RUN_TIMEOUT);
    course_advance(saga, event->time_ms);
    return SAGA_APPLIED;
}

static enum saga_verdict on_timer(struct saga *saga, const struct saga_event *event)
{
    static const enum cancel_reason reasons[] = {
        [TIMER_TIMEOUT] = CANCEL_TIMEOUT, [TIMER_HEARTBEAT] = CANCEL_HEARTBEAT, [TIMER_START] = CANCEL_START_TIMEOUT};
    if (event->timer == TIMER_RUN) {
        return on_run_timer(saga, event);
    }
    struct saga_step *step = saga_find_step(saga, event->ticket.step, event->ticket.instance);
    struct saga_deadline deadline;
    if (step == NULL || !deadline_of(saga, step, &deadline) || deadline.timer != event->timer ||
        deadline.ticket.number != event->ticket.number || deadline.ticket.direction != event->ticket.direction ||
        event->time_ms < deadline.due_ms) {
        return SAGA_IGNORED; /* "act if armed and the record's time >= due" */
    }
    if (event->timer == TIMER_RETRY) {
        step_open(saga, step, event->time_ms);
    } else { /* a deadline never replaces the end: it asks for it */
        step->fired = (uint8_t)event->timer;
        step->cancel = (uint8_t)(1 + reasons[event->timer]);
    }
    return SAGA_APPLIED;
}

/* ---- all events */

static enum saga_verdict on_finished(struct saga *saga, const struct saga_event *event)
{
    bool of_another_end = (event->status != RUN_NONE && event->status != (enum run_status)saga->status) ||
                          (event->finished_ms != 0 && event->finished_ms != saga->finished_ms); /* an incomplete rollback may end so again */
    if (!saga_is_over(saga) || saga->finish_recorded || of_another_end) {
        return SAGA_IGNORED;
    }
    saga->finish_recorded = true;
    return SAGA_APPLIED;
}

#ifndef NDEBUG
static bool invariants_hold(const struct saga *saga)
{
    uint32_t rolling_back = 0, open = 0;
    for (const struct saga_step *step = saga->active; step != NULL; step = step->active_next) {
        rolling_back += step->status == STEP_ROLLING_BACK;
        open += step->open;
        assert(step->active && step->open == (saga_work(step)->retry_ms == 0));
        assert(step->fraction_ppm <= PPM_ONE);
        assert(!step->open || step->ticket > 0);
        assert((step->status == STEP_ROLLING_BACK) <= !step_goes_forward(step));
    }
    assert(rolling_back <= 1); /* one at a time */
    assert(rolling_back == 0 || open <= 1);
    assert(saga->status != RUN_ROLLING_BACK || rolling_back == 1);
    assert(!saga_is_over(saga) || saga->active == NULL);
    assert((saga->status == RUN_PAUSED) == (saga->paused || saga->held));
    assert(!saga->stopping || saga->status != RUN_PAUSED);
    assert((saga->progress_ppm == PPM_ONE) == (saga->status == RUN_SUCCEEDED));
    return true;
}
#endif

static enum saga_verdict apply(struct saga *saga, const struct saga_event *event)
{
    switch (event->kind) {
    case EVENT_START:
    case EVENT_CANCEL:
    case EVENT_PAUSE:
    case EVENT_RESUME:
    case EVENT_RETRY:
    case EVENT_ROLL_BACK:
    case EVENT_RESOLVE: return request_apply(saga, event);
    case EVENT_ANSWERED: return request_answered(saga, event);
    case EVENT_FINISHED: return on_finished(saga, event);
    default: break;
    }
    if (saga->retired) {
        return SAGA_IGNORED;
    }
    if (saga->status == RUN_NONE) {
        return saga_judge_unknown(event);
    }
    return event->kind == EVENT_TIMER_FIRED ? on_timer(saga, event) : on_ticket_event(saga, event);
}

enum saga_verdict saga_apply(struct saga *saga, const struct saga_event *event)
{
    assert(saga_room(saga, event) == 0);
    if (saga->newer) {
        return SAGA_IGNORED;
    }
    if (saga->run_id.bytes == NULL) {
        room_keep(saga, &saga->run_id, event->run_id);
    }
    if (event->kind == EVENT_START && saga->status == RUN_NONE && event->fold_version > SAGA_FOLD_VERSION) {
        saga->newer = true;
        return SAGA_APPLIED;
    }
    enum saga_verdict verdict = apply(saga, event);
    if (verdict == SAGA_APPLIED) {
        saga->time_ms = event->time_ms;
        if (saga->steps != NULL) {
            progress_update(saga);
        }
    }
    assert(invariants_hold(saga));
    return verdict;
}
