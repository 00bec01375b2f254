/* SPDX-License-Identifier: Apache-2.0 */
/* What clients ask for. The verdict is a function of the state; the owner appends it as Answered. */
#include "common/limits.h"
#include "common/saga/saga_internal.h"

#include <assert.h>

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
        request->answered = false;
        request->next = saga->requests;
        saga->requests = request;
    }
    return request;
}

static void answer(struct saga_request *request, const struct saga_event *event, enum verdict verdict, struct span reason)
{
    memcpy(request->id, event->request_id, REQUEST_ID_BYTES);
    request->verdict = (uint8_t)verdict;
    request->answered = false;
    request->reason = reason.bytes; /* a literal */
    request->reason_size = (uint32_t)reason.size;
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
    if (event->plan_stays) {
        return NULL;
    }
    return event->plan != NULL ? plan_problem(event->plan, &step) : "it has no plan";
}

/* What was asked of the run before there was one, and answered. Who folds may have dropped such a run in the meantime, or not. */
static void forget_answered(struct saga *saga)
{
    for (struct saga_request **link = &saga->requests; *link != NULL;) {
        if ((*link)->answered) {
            *link = (*link)->next;
        } else {
            link = &(*link)->next;
        }
    }
}

/* Most runs have none, and need not each keep a copy of that. */
static void keep_params(struct saga *saga, struct span params)
{
    if (room_is_empty_object(params)) {
        saga->params = span_of(params.size > 0 ? "{}" : "");
    } else {
        room_keep(saga, &saga->params, params);
    }
}

static void start(struct saga *saga, const struct saga_event *event)
{
    forget_answered(saga);
    saga->status = RUN_PENDING;
    saga->fold_version = event->fold_version;
    saga->start_offset = event->offset;
    saga->started_ms = event->time_ms;
    saga->context_bytes = (uint32_t)event->params.size;
    keep_params(saga, event->params);
    saga->plan_stays = event->plan_stays;
    saga->plan = event->plan_stays ? event->plan : plan_copy(room_take(saga, plan_room(event->plan)), event->plan);
    saga->steps = room_take(saga, event->plan->step_count * sizeof(struct saga_step *));
    for (uint32_t i = 0; i < event->plan->step_count; i++) {
        saga->steps[i] = &saga->plan->waiting[i];
        saga->has_scopes = saga->has_scopes || event->plan->steps[i].kind == PLAN_SCOPE;
    }
    course_advance(saga, event->time_ms);
}

/* ---- verdicts: a function a request. `reason` is set where it is not accepted. */

typedef enum verdict judge_function(struct saga *saga, const struct saga_event *event, struct span *reason);

static enum verdict refuse(struct span *reason, const char *why)
{
    *reason = span_of(why);
    return VERDICT_REFUSED;
}

static enum verdict judge_start(struct saga *saga, const struct saga_event *event, struct span *reason)
{
    if (saga->status != RUN_NONE) {
        *reason = span_of("a run of that id exists");
        return VERDICT_EXISTING;
    }
    const char *problem = start_problem(event);
    if (problem != NULL) {
        return refuse(reason, problem);
    }
    start(saga, event);
    return VERDICT_ACCEPTED;
}

/* Why a run that has ended, or never began, cannot be changed. */
static enum verdict refuse_ended(const struct saga *saga, struct span *reason)
{
    switch ((enum run_status)saga->status) {
    case RUN_NONE: return refuse(reason, "there is no such run");
    case RUN_SUCCEEDED: return refuse(reason, "it has succeeded already");
    case RUN_ROLLBACK_INCOMPLETE:
        return refuse(reason, "it has ended already, and its rollback is incomplete; retry it, or resolve what is undone");
    default: return refuse(reason, "it has ended already, and was rolled back");
    }
}

static bool is_under_way(const struct saga *saga)
{
    return saga->status != RUN_NONE && !saga_is_over(saga);
}

static bool is_going_back(const struct saga *saga)
{
    return saga->status == RUN_ROLLING_BACK || saga->stopping;
}

static void cancel(struct saga *saga, const struct saga_event *event)
{
    if (is_going_back(saga)) {
        return; /* accepted, and changes nothing */
    }
    saga->cancelling = true;
    if (!saga->held) { /* else the first cause stays */
        struct span pieces[] = {span_of("cancelled: "), event->reason};
        bool bare = event->reason.size == 0;
        room_keep_joined(saga, &course_trouble(saga)->error, bare ? &(struct span){"cancelled", 9} : pieces, bare ? 1 : 2);
    }
    course_stop(saga, CANCEL_REQUESTED);
    course_advance(saga, event->time_ms);
}

static enum verdict judge_cancel(struct saga *saga, const struct saga_event *event, struct span *reason)
{
    if (saga->status == RUN_CANCELLED) {
        return VERDICT_ACCEPTED;
    }
    if (!is_under_way(saga)) {
        return refuse_ended(saga, reason);
    }
    cancel(saga, event);
    return VERDICT_ACCEPTED;
}

static enum verdict judge_pause(struct saga *saga, const struct saga_event *event, struct span *reason)
{
    if (!is_under_way(saga)) {
        return refuse_ended(saga, reason);
    }
    if (is_going_back(saga)) {
        return refuse(reason, "it is rolling back");
    }
    saga->paused = true;
    course_hold(saga, event->time_ms);
    return VERDICT_ACCEPTED;
}

static enum verdict judge_resume(struct saga *saga, const struct saga_event *event, struct span *reason)
{
    if (!is_under_way(saga)) {
        return refuse_ended(saga, reason);
    }
    if (is_going_back(saga)) {
        return refuse(reason, "it is rolling back");
    }
    if (saga->held && saga->plan->pause_on_failure) {
        return refuse(reason, "it is paused because a step failed: retry it, roll it back, or resolve the step");
    }
    if (saga->held) { /* it failed while a person had paused it: now it does what it would have done then */
        course_stop(saga, CANCEL_SIBLING_FAILED);
        course_advance(saga, event->time_ms);
    } else if (saga->paused) {
        course_go_on(saga, event->time_ms);
    }
    return VERDICT_ACCEPTED;
}

/* Fresh attempts for what has failed. */
static void begin_again(struct saga *saga, struct saga_step *step)
{
    step->attempts = 0;
    step->losses = 0;
    step->silent_losses = 0;
    step_set_status(saga, step, step->fan != NULL ? STEP_RUNNING : STEP_WAITING);
}

static void retry_failed(struct saga *saga, int64_t time_ms)
{
    for (struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        if (step->status == STEP_FAILED) {
            begin_again(saga, step);
        }
    }
    course_trouble(saga)->error.size = 0;
    course_trouble(saga)->cause_step = UINT32_MAX;
    course_go_on(saga, time_ms);
}

static enum verdict judge_retry(struct saga *saga, const struct saga_event *event, struct span *reason)
{
    if (saga->status == RUN_ROLLBACK_INCOMPLETE) {
        course_undo_again(saga, event->time_ms);
        return VERDICT_ACCEPTED;
    }
    if (!is_under_way(saga)) {
        return refuse_ended(saga, reason);
    }
    if (!saga->held) {
        return refuse(reason, is_going_back(saga) ? "it is rolling back" : "no step of it has failed for good");
    }
    retry_failed(saga, event->time_ms);
    return VERDICT_ACCEPTED;
}

static enum verdict judge_roll_back(struct saga *saga, const struct saga_event *event, struct span *reason)
{
    if (!is_under_way(saga)) {
        return refuse_ended(saga, reason);
    }
    if (is_going_back(saga)) {
        return VERDICT_ACCEPTED;
    }
    if (saga->status != RUN_PAUSED) {
        return refuse(reason, "it is running; cancel it, or pause it first");
    }
    if (saga->held) {
        course_stop(saga, CANCEL_REQUESTED);
        course_advance(saga, event->time_ms);
    } else {
        cancel(saga, event);
    }
    return VERDICT_ACCEPTED;
}

/* ---- resolve: a person says how a step stands */

static struct saga_step *find_named(const struct saga *saga, const struct saga_event *event)
{
    for (uint32_t i = 0; saga->steps != NULL && i < saga->plan->step_count; i++) {
        if (span_equal(saga->plan->steps[i].name, event->step_name)) {
            return saga_find_step(saga, i, event->ticket.instance);
        }
    }
    return NULL;
}

static bool any_failed(const struct saga *saga, bool of_fan, uint32_t index)
{
    for (struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        if (step->status == STEP_FAILED && (of_fan ? step->instance > 0 && step->index == index : step->fan == NULL)) {
            return true;
        }
    }
    return false;
}

/* The run was held for this step: where it was the last one, it stays paused, and goes on with `resume`. */
static void release_held(struct saga *saga, const struct saga_step *step)
{
    struct saga_step *whole = saga->steps[step->index];
    if (step->instance > 0 && whole->status == STEP_FAILED && !any_failed(saga, true, step->index)) {
        whole->status = STEP_RUNNING;
    }
    if (saga->held && !any_failed(saga, false, 0)) {
        saga->held = false;
        saga->paused = true;
        course_trouble(saga)->error.size = 0;
        course_trouble(saga)->cause_step = UINT32_MAX;
    }
}

static enum verdict resolve_done(struct saga *saga, struct saga_step *step, const struct saga_event *event, struct span *reason)
{
    if (!step_goes_forward(step)) {
        return refuse(reason, "its rollback failed; say that it is undone, or retry the run");
    }
    if (saga_fans_out(saga, step)) {
        return refuse(reason, "it fans out; resolve its instances");
    }
    if (!step_result_fits(saga, event->data, (struct span){0})) {
        return refuse(reason, "its data do not fit: a run's context (params and results) is limited to 524288 bytes");
    }
    step->may_have_begun = step->may_have_begun || step_has_effects(saga, step);
    struct saga_step_work *work = step_work(saga, step);
    work->begun_ms = work->begun_ms != 0 ? work->begun_ms : event->time_ms;
    step_retry_at(saga, step, 0);
    step_close(saga, step, event->time_ms);
    step_succeed(saga, step, event->data, (struct span){0});
    return VERDICT_ACCEPTED;
}

static void resolve_undone(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    step_retry_at(saga, step, 0);
    if (step_goes_forward(step)) {
        step->may_have_begun = step->begun_before = false;
        if (step->status == STEP_RETRYING) {
            step_set_status(saga, step, STEP_WAITING); /* and begins again at once */
        }
        return;
    }
    step_work(saga, step)->rollback_ended_ms = event->time_ms;
    step_set_status(saga, step, STEP_ROLLED_BACK);
}

static bool may_be_resolved(const struct saga *saga, const struct saga_step *step)
{
    if (step->open) {
        return false;
    }
    if (!step_goes_forward(step)) {
        return step->status == STEP_ROLLBACK_FAILED || saga_work(step)->retry_ms != 0;
    }
    return !is_going_back(saga) && !saga_is_over(saga) && (step->status == STEP_FAILED || step->status == STEP_RETRYING);
}

static enum verdict judge_resolve(struct saga *saga, const struct saga_event *event, struct span *reason)
{
    if (saga->status == RUN_NONE || (saga_is_over(saga) && saga->status != RUN_ROLLBACK_INCOMPLETE)) {
        return refuse_ended(saga, reason);
    }
    struct saga_step *step = find_named(saga, event);
    if (step == NULL) {
        return refuse(reason, "it has no such step");
    }
    if (!may_be_resolved(saga, step)) {
        return refuse(reason, "that step has neither failed nor waits for a retry");
    }
    bool forward = step_goes_forward(step);
    if (event->done) {
        enum verdict verdict = resolve_done(saga, step, event, reason);
        if (verdict != VERDICT_ACCEPTED) {
            return verdict;
        }
    } else {
        resolve_undone(saga, step, event);
    }
    step->resolved = true;
    if (saga->status == RUN_ROLLBACK_INCOMPLETE) {
        course_settle(saga, event->time_ms);
    } else {
        if (forward && event->done) {
            release_held(saga, step);
        }
        course_advance(saga, event->time_ms);
    }
    return VERDICT_ACCEPTED;
}

/* ---- all of them */

static judge_function *const judges[] = {
    [EVENT_START] = judge_start,     [EVENT_CANCEL] = judge_cancel, [EVENT_PAUSE] = judge_pause,
    [EVENT_RESUME] = judge_resume,   [EVENT_RETRY] = judge_retry,   [EVENT_ROLL_BACK] = judge_roll_back,
    [EVENT_RESOLVE] = judge_resolve,
};

/* Nothing is left of the run but that it was. */
static enum verdict judge_ended(const struct saga_event *event, struct span *reason)
{
    if (event->kind == EVENT_START) {
        *reason = span_of("a run of that id exists");
        return VERDICT_EXISTING;
    }
    return refuse(reason, "it has ended already");
}

enum saga_verdict request_apply(struct saga *saga, const struct saga_event *event)
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
    bool forgotten = event->ended && saga->status == RUN_NONE;
    enum verdict verdict = forgotten ? judge_ended(event, &reason) : judges[event->kind](saga, event, &reason);
    answer(request, event, verdict, reason);
    return SAGA_APPLIED;
}

enum saga_verdict request_answered(struct saga *saga, const struct saga_event *event)
{
    struct saga_request *request = find_request(saga, event->request_id);
    if (request == NULL || request->answered) {
        return SAGA_IGNORED;
    }
    request->answered = true;
    return SAGA_APPLIED;
}
