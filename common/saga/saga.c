/* SPDX-License-Identifier: Apache-2.0 */
#include "common/saga/saga.h"

#include "common/limits.h"
#include "common/saga/saga_internal.h"

#include <assert.h>

#define SILENT_LOSSES_FREE 2 /* from the third Lost without a Started on it is a loss: a task that kills workers before it begins must not go round for ever */

bool run_status_is_final(enum run_status status)
{
    return status >= RUN_SUCCEEDED;
}

bool saga_is_over(const struct saga *saga)
{
    return run_status_is_final((enum run_status)saga->status);
}

/* ---- small parts */

static struct span literal(const char *text)
{
    return span_of(text);
}

static const struct plan_retry *retry_of(const struct saga *saga, const struct saga_step *step)
{
    static const struct plan_retry rollback = PLAN_RETRY_ROLLBACK;
    return step->direction == DIRECTION_ROLLBACK ? &rollback : &saga->plan->steps[step - saga->steps].retry;
}

/* FNV-1a over the ids: the same delay in every replay. */
static uint32_t jitter_of(const struct saga *saga, const struct saga_step *step)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < saga->run_id.size; i++) {
        hash = (hash ^ (unsigned char)saga->run_id.bytes[i]) * 16777619u;
    }
    hash = (hash ^ (uint32_t)(step - saga->steps)) * 16777619u;
    return (hash ^ step->attempts) * 16777619u;
}

static int64_t backoff_ms(const struct saga *saga, const struct saga_step *step)
{
    const struct plan_retry *retry = retry_of(saga, step);
    int64_t delay = retry->backoff_ms;
    for (uint32_t i = 1; i < step->attempts && delay < retry->max_backoff_ms; i++) {
        delay = delay * retry->multiplier_permille / 1000;
    }
    delay = delay < retry->max_backoff_ms ? delay : retry->max_backoff_ms;
    return delay + delay * (jitter_of(saga, step) % 1000) / 10000; /* up to a tenth more */
}

/* `10m`, `1500ms`: how a pipeline file would say it. `storage` holds the digits. */
static struct span duration_text(int64_t ms, char storage[24])
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t u = 0;
    while (u < 3 && ms % units[u].ms != 0) {
        u++;
    }
    uint64_t number = (uint64_t)(ms / units[u].ms);
    size_t unit_size = strlen(units[u].unit);
    size_t at = 24 - unit_size;
    memcpy(storage + at, units[u].unit, unit_size);
    do {
        storage[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return (struct span){storage + at, 24 - at};
}

static void say_timed_out(struct saga *saga, struct saga_step *step, struct span *to)
{
    const struct plan_step *plan = &saga->plan->steps[step - saga->steps];
    char digits[24];
    if (step->fired == TIMER_HEARTBEAT) {
        struct span pieces[] = {literal("it reported nothing for "), duration_text(plan->heartbeat_timeout_ms, digits)};
        room_keep_joined(saga, to, pieces, 2);
        return;
    }
    struct span pieces[] = {literal("it did not end within its timeout of "), duration_text(plan->timeout_ms, digits)};
    room_keep_joined(saga, to, pieces, 2);
}

static void say_lost(struct saga *saga, struct span *to, struct span worker)
{
    struct span pieces[] = {literal("worker '"), worker, literal("' was lost while it ran")};
    if (worker.size == 0) {
        pieces[0] = literal("the worker that may have run it is not known any more");
        room_keep_joined(saga, to, pieces, 1);
        return;
    }
    room_keep_joined(saga, to, pieces, 3);
}

/* ---- tickets */

static void open_ticket(struct saga_step *step, enum step_status status, int64_t time_ms)
{
    step->ticket++;
    step->begun_before = step->may_have_begun;
    step->open = true;
    step->started = false;
    step->fired = TIMER_NONE;
    step->cancel = 0;
    step->attempt_ms = 0;
    step->report_ms = 0;
    step->retry_ms = 0;
    step->ready_ms = time_ms;
    step->status = (uint8_t)status;
}

static enum step_status ready_status(const struct saga_step *step)
{
    return step->direction == DIRECTION_EXECUTE ? STEP_READY : STEP_ROLLING_BACK;
}

/* Nothing was used: the step is ready again under the next number, since when it was. */
static void open_again(struct saga_step *step)
{
    int64_t since_ms = step->ready_ms;
    open_ticket(step, ready_status(step), since_ms);
}

static void close_ticket(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    step->open = false;
    step->cancel = 0;
    if (step->direction == DIRECTION_EXECUTE) {
        step->ended_ms = time_ms;
        step->end_order = ++saga->ended_count;
    } else {
        step->rollback_ended_ms = time_ms;
    }
}

/* When the attempt began, in log time: a record says how long before it that was. Not before the ticket was there, whatever it says. */
static int64_t begun_ms(const struct saga_step *step, const struct saga_event *event)
{
    int64_t begun = event->time_ms - event->elapsed_ms;
    return begun > step->ready_ms ? begun : step->ready_ms < event->time_ms ? step->ready_ms : event->time_ms;
}

static void mark_started(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    if (saga->status == RUN_PENDING) {
        saga->status = RUN_RUNNING;
    }
    if (step->direction == DIRECTION_EXECUTE) {
        step->may_have_begun = true;
        step->begun_ms = step->begun_ms != 0 ? step->begun_ms : begun_ms(step, event);
    } else if (step->rollback_begun_ms == 0) {
        step->rollback_begun_ms = begun_ms(step, event);
    }
    if (!step->started) {
        step->started = true;
        step->attempt_ms = begun_ms(step, event);
        if (step->direction == DIRECTION_EXECUTE) {
            step->execute_attempts = step->attempts + 1; /* "Losing a worker is not an attempt" */
        }
        step->status = (uint8_t)(step->direction == DIRECTION_EXECUTE ? STEP_RUNNING : STEP_ROLLING_BACK);
    }
    step->report_ms = event->time_ms;
}

/* ---- the run as a whole */

static void finish(struct saga *saga, enum run_status status, int64_t time_ms)
{
    saga->status = (uint8_t)status;
    saga->finished_ms = time_ms;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        struct saga_step *step = &saga->steps[i];
        if (step->status == STEP_WAITING || step->status == STEP_READY) {
            step->status = STEP_NOT_RUN;
        }
    }
}

static bool is_to_be_undone(const struct saga *saga, const struct saga_step *step)
{
    return step->may_have_begun && !saga->plan->steps[step - saga->steps].rollback_none && step->status != STEP_ROLLED_BACK &&
           step->status != STEP_ROLLBACK_FAILED;
}

/* "First the step whose failure began it, then all others that may have begun, by the end of their last attempt, newest first." */
static struct saga_step *next_to_undo(const struct saga *saga)
{
    if (saga->cause_step != UINT32_MAX && is_to_be_undone(saga, &saga->steps[saga->cause_step])) {
        return &saga->steps[saga->cause_step];
    }
    struct saga_step *newest = NULL;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        struct saga_step *step = &saga->steps[i];
        if (is_to_be_undone(saga, step) && (newest == NULL || step->end_order > newest->end_order)) {
            newest = step;
        }
    }
    return newest;
}

static void begin_undo(struct saga_step *step, int64_t time_ms)
{
    step->direction = DIRECTION_ROLLBACK;
    step->ticket = 0;
    step->attempts = 0;
    step->losses = 0;
    step->silent_losses = 0;
    step->confirm = false;
    step->rollback_begun_ms = 0;
    open_ticket(step, STEP_ROLLING_BACK, time_ms);
}

static enum run_status undone_status(const struct saga *saga)
{
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        if (saga->steps[i].status == STEP_ROLLBACK_FAILED) {
            return RUN_ROLLBACK_INCOMPLETE;
        }
    }
    return saga->cancelling ? RUN_CANCELLED : RUN_ROLLED_BACK;
}

static void undo_next(struct saga *saga, int64_t time_ms)
{
    struct saga_step *step = next_to_undo(saga);
    if (step == NULL) {
        finish(saga, undone_status(saga), time_ms);
        return;
    }
    begin_undo(step, time_ms);
}

static bool any_open(const struct saga *saga)
{
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        if (saga->steps[i].open) {
            return true;
        }
    }
    return false;
}

static void enter_rollback(struct saga *saga, int64_t time_ms)
{
    saga->status = RUN_ROLLING_BACK;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        struct saga_step *step = &saga->steps[i];
        if (step->status == STEP_RETRYING) { /* it waited for an attempt that will not come */
            step->status = STEP_FAILED;
            step->retry_ms = 0;
        }
        saga->undo_total += is_to_be_undone(saga, step);
    }
    undo_next(saga, time_ms);
}

static bool needs_are_done(const struct saga *saga, const struct plan_step *plan)
{
    for (uint32_t i = 0; i < plan->needs_count; i++) {
        if (!step_is_done(&saga->steps[plan->needs[i]])) {
            return false;
        }
    }
    return true;
}

static void go_forward(struct saga *saga, int64_t time_ms)
{
    bool all_done = true;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        struct saga_step *step = &saga->steps[i];
        all_done = all_done && step_is_done(step);
        if (step->status == STEP_WAITING && needs_are_done(saga, &saga->plan->steps[i])) {
            open_ticket(step, STEP_READY, time_ms);
        }
    }
    if (all_done) {
        finish(saga, RUN_SUCCEEDED, time_ms);
    }
}

/* What follows from the state of the steps. Called after each change; does nothing where nothing follows. */
static void advance(struct saga *saga, int64_t time_ms)
{
    if (saga_is_over(saga)) {
        return;
    }
    if (saga->status == RUN_ROLLING_BACK) {
        for (uint32_t i = 0; i < saga->plan->step_count; i++) {
            if (saga->steps[i].status == STEP_ROLLING_BACK) {
                return; /* one at a time */
            }
        }
        undo_next(saga, time_ms);
    } else if (!saga->stopping) {
        go_forward(saga, time_ms);
    } else if (!any_open(saga)) {
        enter_rollback(saga, time_ms);
    }
}

static void stop_forward(struct saga *saga, enum cancel_reason reason)
{
    saga->stopping = true;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        if (saga->steps[i].open && saga->steps[i].cancel == 0) {
            saga->steps[i].cancel = (uint8_t)(1 + reason);
        }
    }
}

/* ---- ends */

static void fail_run(struct saga *saga, struct saga_step *step)
{
    step->status = STEP_FAILED;
    if (saga->stopping) {
        return; /* the first cause stays */
    }
    saga->cause_step = (uint32_t)(step - saga->steps);
    struct span pieces[] = {literal("Step '"), saga->plan->steps[saga->cause_step].name, literal("' failed: "), step->error};
    room_keep_joined(saga, &saga->error, pieces, 4);
    stop_forward(saga, CANCEL_SIBLING_FAILED);
}

static void give_up(struct saga *saga, struct saga_step *step)
{
    if (step->direction == DIRECTION_ROLLBACK) {
        step->status = STEP_ROLLBACK_FAILED; /* recorded; the others still run */
    } else {
        fail_run(saga, step);
    }
}

/* One attempt is used up; its error is set. */
static void attempt_used(struct saga *saga, struct saga_step *step, bool permanent, int64_t time_ms)
{
    step->attempts++;
    uint32_t max = retry_of(saga, step)->max_attempts;
    bool stopped = saga->stopping && step->direction == DIRECTION_EXECUTE;
    if (stopped || permanent || step->attempts >= (max > 0 ? max : 1)) {
        give_up(saga, step);
        return;
    }
    step->retry_ms = time_ms + backoff_ms(saga, step);
    step->status = (uint8_t)(step->direction == DIRECTION_EXECUTE ? STEP_RETRYING : STEP_ROLLING_BACK);
}

/* "Losing a worker is not an attempt." */
static void loss_used(struct saga *saga, struct saga_step *step)
{
    step->losses++;
    if (step->losses > retry_of(saga, step)->max_losses) {
        give_up(saga, step);
    } else {
        open_again(step);
    }
}

/* The ticket ended and used nothing. A run that is stopping does not try again. */
static void end_unused(struct saga *saga, struct saga_step *step)
{
    if (saga->stopping && step->direction == DIRECTION_EXECUTE) {
        step->status = (uint8_t)(step->may_have_begun ? STEP_FAILED : STEP_WAITING);
    } else {
        open_again(step);
    }
}

static struct span *error_slot(struct saga_step *step)
{
    return step->direction == DIRECTION_ROLLBACK ? &step->rollback_error : &step->error;
}

static void end_timed_out(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    say_timed_out(saga, step, error_slot(step));
    attempt_used(saga, step, false, time_ms);
}

static bool exceeds_context(const struct saga *saga, const struct saga_event *event)
{
    return saga->context_bytes + event->data.size + event->set.size > LIMIT_CONTEXT_BYTES;
}

static void on_execute_ok(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    step->may_have_begun = true;
    room_keep(saga, &step->rollback_data, event->rollback_data);
    if (exceeds_context(saga, event)) {
        room_keep(saga, &step->error, literal("its result does not fit: a run's context (params and results) is limited to 524288 bytes"));
        attempt_used(saga, step, true, event->time_ms);
        return;
    }
    room_keep(saga, &step->data, event->data);
    room_keep(saga, &step->set, event->set);
    saga->context_bytes += event->data.size + event->set.size;
    step->status = STEP_SUCCEEDED;
    step->executed = true;
    step->fraction_ppm = PPM_ONE;
}

static void on_ok(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    mark_started(saga, step, event); /* a fast step sends no Started */
    if (step->direction == DIRECTION_EXECUTE) {
        on_execute_ok(saga, step, event);
    } else {
        step->status = STEP_ROLLED_BACK;
    }
}

static void on_skipped(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    if (saga->status == RUN_PENDING) {
        saga->status = RUN_RUNNING;
    }
    if (step->direction == DIRECTION_EXECUTE) {
        step->may_have_begun = step->begun_before; /* a Started says that it was looked at, this that nothing was done */
        step->begun_ms = step->begun_ms != 0 ? step->begun_ms : event->time_ms;
        step->status = STEP_SKIPPED;
        step->fraction_ppm = PPM_ONE;
    } else {
        step->status = STEP_ROLLED_BACK;
        step->nothing_to_undo = true;
    }
}

static void on_failed(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    mark_started(saga, step, event);
    if (event->rollback_data.size > 0) {
        room_keep(saga, &step->rollback_data, event->rollback_data);
    }
    if (step->fired != TIMER_NONE) {
        end_timed_out(saga, step, event->time_ms); /* every end but ok and skipped is then that timeout's failure */
        return;
    }
    room_keep(saga, error_slot(step), event->error);
    attempt_used(saga, step, event->permanent, event->time_ms);
}

static void on_cancelled_started(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    mark_started(saga, step, event);
    if (event->rollback_data.size > 0) {
        room_keep(saga, &step->rollback_data, event->rollback_data);
    }
    if (saga->stopping && step->direction == DIRECTION_EXECUTE) {
        room_keep(saga, &step->error, saga->cancelling ? literal("it was cancelled") : literal("it was cancelled because another step failed"));
        step->status = STEP_FAILED;
    } else if (step->fired != TIMER_NONE) {
        end_timed_out(saga, step, event->time_ms);
    } else {
        room_keep(saga, error_slot(step), literal("its worker was stopped while it ran"));
        loss_used(saga, step);
    }
}

static void on_cancelled_not_started(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    bool forward = step->direction == DIRECTION_EXECUTE;
    if (forward) {
        step->may_have_begun = step->begun_before; /* a Started before it only asked for leave to begin */
    }
    if (step->fired != TIMER_NONE && !(forward && saga->stopping)) {
        end_timed_out(saga, step, event->time_ms);
    } else {
        end_unused(saga, step);
    }
}

/* Has to be asked before the ticket is closed: which confirm the ticket carried. */
static bool said_confirm(const struct saga *saga, const struct saga_step *step)
{
    return step->confirm || retry_of(saga, step)->max_losses == 0;
}

static void on_lost(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    bool stopped = saga->stopping && step->direction == DIRECTION_EXECUTE;
    if (step->direction == DIRECTION_EXECUTE && (step->started || !said_confirm(saga, step))) {
        step->may_have_begun = true;
    }
    say_lost(saga, error_slot(step), event->worker);
    bool named = event->worker.size > 0;
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
        loss_used(saga, step);
    } else {
        end_unused(saga, step);
    }
}

/* ---- events of tickets */

enum place { CURRENT, LATE, FUTURE };

static enum place place_of(const struct saga *saga, const struct ticket *ticket)
{
    if (ticket->step >= saga->plan->step_count || ticket->instance != 0) {
        return FUTURE;
    }
    const struct saga_step *step = &saga->steps[ticket->step];
    if (ticket->direction != (enum direction)step->direction) {
        return ticket->direction == DIRECTION_EXECUTE ? LATE : FUTURE;
    }
    if (ticket->number != step->ticket) {
        return ticket->number < step->ticket ? LATE : FUTURE;
    }
    return step->open ? CURRENT : LATE;
}

static enum saga_verdict on_started(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    if (step->started) {
        return SAGA_IGNORED; /* said twice; it is no report that would put off a heartbeat_timeout */
    }
    mark_started(saga, step, event);
    room_keep(saga, &step->worker, event->worker);
    return SAGA_APPLIED;
}

static enum saga_verdict on_progressed(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    mark_started(saga, step, event);
    if (event->total > 0 && event->current <= event->total) {
        step->current = event->current;
        step->total = event->total;
        /* In parts per million without overflow: both are scaled down first where they are huge. */
        uint64_t total = event->total, current = event->current;
        while (total > UINT64_MAX / PPM_ONE) {
            total >>= 1;
            current >>= 1;
        }
        uint32_t ppm = (uint32_t)(current * PPM_ONE / total);
        if (step->direction == DIRECTION_EXECUTE && ppm > step->fraction_ppm) {
            step->fraction_ppm = ppm;
        }
    }
    if (event->metrics.size > 0) {
        room_keep(saga, &step->metrics, event->metrics);
    }
    return SAGA_APPLIED;
}

typedef void end_function(struct saga *saga, struct saga_step *step, const struct saga_event *event);

static end_function *const done_functions[] = {
    [OUTCOME_OK] = on_ok,
    [OUTCOME_SKIPPED] = on_skipped,
    [OUTCOME_FAILED] = on_failed,
    [OUTCOME_CANCELLED_STARTED] = on_cancelled_started,
    [OUTCOME_CANCELLED_NOT_STARTED] = on_cancelled_not_started,
};

static enum saga_verdict end_ticket(struct saga *saga, struct saga_step *step, const struct saga_event *event, end_function *end)
{
    close_ticket(saga, step, event->time_ms);
    if (event->metrics.size > 0) {
        room_keep(saga, &step->metrics, event->metrics);
    }
    if (event->worker.size > 0) {
        room_keep(saga, &step->worker, event->worker);
    }
    end(saga, step, event);
    advance(saga, event->time_ms);
    return SAGA_APPLIED;
}

/* A result that comes after its ticket was ended: what it needs to be undone is kept, as long as the rollback is not out. */
static enum saga_verdict on_late_done(struct saga *saga, const struct saga_event *event)
{
    struct saga_step *step = &saga->steps[event->ticket.step];
    bool useful = event->outcome == OUTCOME_OK && event->ticket.direction == DIRECTION_EXECUTE &&
                  step->direction == DIRECTION_EXECUTE && !step->executed && event->rollback_data.size > 0;
    if (!useful || saga_is_over(saga)) {
        return SAGA_IGNORED;
    }
    room_keep(saga, &step->rollback_data, event->rollback_data);
    return SAGA_APPLIED;
}

enum saga_verdict saga_judge_unknown(const struct saga_event *event)
{
    bool of_work = event->kind == EVENT_STARTED ||
                   (event->kind == EVENT_DONE && event->outcome != OUTCOME_CANCELLED_STARTED && event->outcome != OUTCOME_CANCELLED_NOT_STARTED);
    return of_work ? SAGA_ALIEN : SAGA_IGNORED;
}

static enum saga_verdict on_ticket_event(struct saga *saga, const struct saga_event *event)
{
    enum place place = place_of(saga, &event->ticket);
    if (place == FUTURE) {
        return saga_judge_unknown(event);
    }
    if (place == LATE) {
        return event->kind == EVENT_DONE ? on_late_done(saga, event) : SAGA_IGNORED;
    }
    struct saga_step *step = &saga->steps[event->ticket.step];
    switch (event->kind) {
    case EVENT_STARTED:    return on_started(saga, step, event);
    case EVENT_PROGRESSED: return on_progressed(saga, step, event);
    case EVENT_DONE:       return end_ticket(saga, step, event, done_functions[event->outcome]);
    case EVENT_LOST:       return end_ticket(saga, step, event, on_lost);
    case EVENT_REFUSED:
    case EVENT_WITHDRAWN:  return end_ticket(saga, step, event, on_cancelled_not_started);
    default:               return SAGA_IGNORED;
    }
}

static enum saga_verdict on_timer(struct saga *saga, const struct saga_event *event)
{
    struct saga_deadline deadline;
    if (event->ticket.step >= saga->plan->step_count || !deadline_of(saga, event->ticket.step, &deadline) ||
        deadline.timer != event->timer || deadline.ticket.number != event->ticket.number ||
        deadline.ticket.direction != event->ticket.direction || event->time_ms < deadline.due_ms) {
        return SAGA_IGNORED; /* "act if armed and the record's time >= due" */
    }
    struct saga_step *step = &saga->steps[event->ticket.step];
    if (event->timer == TIMER_RETRY) {
        open_ticket(step, ready_status(step), event->time_ms);
    } else { /* a deadline never replaces the end: it asks for it */
        step->fired = (uint8_t)event->timer;
        step->cancel = (uint8_t)(1 + (event->timer == TIMER_TIMEOUT ? CANCEL_TIMEOUT : CANCEL_HEARTBEAT));
    }
    return SAGA_APPLIED;
}

/* ---- requests */

static struct saga_request *find_request(const struct saga *saga, const unsigned char *id)
{
    for (struct saga_request *request = saga->requests; request != NULL; request = request->next) {
        if (memcmp(request->id, id, REQUEST_ID_BYTES) == 0) {
            return request;
        }
    }
    return NULL;
}

/* Take the oldest answered request out of the list, which has the newest first. NULL: all of them wait. */
static struct saga_request *take_oldest_answered(struct saga *saga)
{
    struct saga_request **oldest = NULL;
    for (struct saga_request **link = &saga->requests; *link != NULL; link = &(*link)->next) {
        oldest = (*link)->answered ? link : oldest;
    }
    if (oldest == NULL) {
        return NULL;
    }
    struct saga_request *request = *oldest;
    *oldest = request->next;
    return request;
}

/* A place for a new request: the oldest answered one's, once there are many. NULL: that many wait already, this one is not heard. */
static struct saga_request *new_request(struct saga *saga)
{
    size_t count = 0;
    for (const struct saga_request *request = saga->requests; request != NULL; request = request->next) {
        count++;
    }
    struct saga_request *request;
    if (count >= LIMIT_REQUESTS_PER_RUN) {
        request = take_oldest_answered(saga);
    } else {
        request = room_take(saga, sizeof *request);
        *request = (struct saga_request){0};
    }
    if (request != NULL) {
        request->next = saga->requests;
        saga->requests = request;
    }
    return request;
}

static void answer(struct saga *saga, struct saga_request *request, const struct saga_event *event, enum verdict verdict,
                   struct span reason)
{
    memcpy(request->id, event->request_id, REQUEST_ID_BYTES);
    request->verdict = (uint8_t)verdict;
    request->answered = false;
    room_keep(saga, &request->reason, reason);
}

static const char *start_problem(const struct saga_event *event)
{
    uint32_t step;
    if (event->refusal != NULL) {
        return event->refusal;
    }
    if (event->params.size > LIMIT_CONTEXT_BYTES) {
        return "the params are larger than 524288 bytes";
    }
    const char *problem = event->plan != NULL ? plan_problem(event->plan, &step) : "it has no plan";
    return problem;
}

static void start(struct saga *saga, const struct saga_event *event)
{
    saga->status = RUN_PENDING;
    saga->fold_version = event->fold_version;
    saga->cause_step = UINT32_MAX;
    saga->start_offset = event->offset;
    saga->started_ms = event->time_ms;
    saga->context_bytes = event->params.size;
    room_keep(saga, &saga->params, event->params);
    saga->plan = plan_copy(room_take(saga, plan_room(event->plan)), event->plan);
    size_t size = event->plan->step_count * sizeof *saga->steps;
    saga->steps = room_take(saga, size);
    memset(saga->steps, 0, size);
    advance(saga, event->time_ms);
}

static enum verdict judge_start(struct saga *saga, const struct saga_event *event, struct span *reason)
{
    if (saga->status != RUN_NONE) {
        *reason = literal("a run of that id exists");
        return VERDICT_EXISTING;
    }
    const char *problem = start_problem(event);
    if (problem != NULL) {
        *reason = literal(problem);
        return VERDICT_REFUSED;
    }
    start(saga, event);
    return VERDICT_ACCEPTED;
}

static void cancel(struct saga *saga, const struct saga_event *event)
{
    if (saga->status == RUN_ROLLING_BACK || saga->stopping) {
        return; /* accepted, and changes nothing */
    }
    saga->cancelling = true;
    struct span pieces[] = {literal("cancelled: "), event->reason};
    bool bare = event->reason.size == 0;
    room_keep_joined(saga, &saga->error, bare ? &(struct span){"cancelled", 9} : pieces, bare ? 1 : 2);
    stop_forward(saga, CANCEL_REQUESTED);
    advance(saga, event->time_ms);
}

static enum verdict judge_cancel(struct saga *saga, const struct saga_event *event, struct span *reason)
{
    if (saga->status == RUN_NONE) {
        *reason = literal("there is no such run");
        return VERDICT_REFUSED;
    }
    if (saga_is_over(saga) && saga->status != RUN_CANCELLED) {
        *reason = literal(saga->status == RUN_SUCCEEDED ? "it has succeeded already" : "it has ended already, and was rolled back");
        return VERDICT_REFUSED;
    }
    if (!saga_is_over(saga)) {
        cancel(saga, event);
    }
    return VERDICT_ACCEPTED;
}

static enum saga_verdict on_request(struct saga *saga, const struct saga_event *event)
{
    struct saga_request *known = find_request(saga, event->request_id);
    if (known != NULL) {
        known->answered = false; /* the same question gets the same answer, once more */
        return SAGA_APPLIED;
    }
    struct saga_request *request = new_request(saga);
    if (request == NULL) {
        return SAGA_IGNORED;
    }
    struct span reason = {0};
    enum verdict verdict = VERDICT_REFUSED;
    switch (event->kind) {
    case EVENT_START:  verdict = judge_start(saga, event, &reason); break;
    case EVENT_CANCEL: verdict = judge_cancel(saga, event, &reason); break;
    default:           reason = literal("this coordinator cannot do that"); break;
    }
    answer(saga, request, event, verdict, reason);
    return SAGA_APPLIED;
}

static enum saga_verdict on_answered(struct saga *saga, const struct saga_event *event)
{
    struct saga_request *request = find_request(saga, event->request_id);
    if (request == NULL || request->answered) {
        return SAGA_IGNORED;
    }
    request->answered = true;
    return SAGA_APPLIED;
}

static enum saga_verdict on_finished(struct saga *saga)
{
    if (!saga_is_over(saga) || saga->finish_recorded) {
        return SAGA_IGNORED;
    }
    saga->finish_recorded = true;
    return SAGA_APPLIED;
}

/* ---- all events */

#ifndef NDEBUG
static bool invariants_hold(const struct saga *saga)
{
    if (saga->steps == NULL) {
        return true;
    }
    uint32_t rolling_back = 0, open = 0;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        const struct saga_step *step = &saga->steps[i];
        rolling_back += step->status == STEP_ROLLING_BACK;
        open += step->open;
        assert(step->fraction_ppm <= PPM_ONE);
        assert(!step->open || step->ticket > 0);
        assert((step->status == STEP_ROLLING_BACK) <= (step->direction == DIRECTION_ROLLBACK));
    }
    assert(rolling_back <= 1); /* one at a time */
    assert(rolling_back == 0 || open <= 1);
    assert(saga->status != RUN_ROLLING_BACK || rolling_back == 1);
    assert(!saga_is_over(saga) || open == 0);
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
    case EVENT_RESOLVE:     return on_request(saga, event);
    case EVENT_ANSWERED:    return on_answered(saga, event);
    case EVENT_FINISHED:    return on_finished(saga);
    default:                break;
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
