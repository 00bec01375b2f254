/* SPDX-License-Identifier: Apache-2.0 */
/* Steps and instances: walking them, opening and closing their tickets. */
#include "common/limits.h"
#include "common/saga/saga_internal.h"

#include <assert.h>

/* ---- walking */

struct saga_step *saga_next_step(const struct saga *saga, const struct saga_step *step)
{
    if (saga->steps == NULL) {
        return NULL;
    }
    if (step == NULL) {
        return saga->steps[0];
    }
    struct saga_step *whole = saga->steps[step->index];
    if (whole->fan != NULL && step->instance < whole->fan->count) {
        return &whole->fan->instances[step->instance];
    }
    return step->index + 1 < saga->plan->step_count ? saga->steps[step->index + 1] : NULL;
}

struct saga_step *saga_find_step(const struct saga *saga, uint32_t step, uint32_t instance)
{
    if (saga->steps == NULL || step >= saga->plan->step_count) {
        return NULL;
    }
    struct saga_step *whole = saga->steps[step];
    if (instance == 0) {
        return whole;
    }
    return whole->fan != NULL && instance <= whole->fan->count ? &whole->fan->instances[instance - 1] : NULL;
}

static struct saga_fan *fan_of(struct saga *saga, const struct saga_step *step)
{
    return step->instance > 0 ? saga->steps[step->index]->fan : NULL;
}

struct saga_step *step_own(struct saga *saga, uint32_t index)
{
    if (step_is_untouched(saga, index)) {
        struct saga_step *own = room_take(saga, sizeof *own);
        *own = *saga->steps[index];
        own->untouched = false;
        saga->steps[index] = own;
    }
    return saga->steps[index];
}

struct saga_step_work *step_work(struct saga *saga, struct saga_step *step)
{
    if (step->work == NULL) {
        assert(!step->untouched);
        step->work = room_take(saga, sizeof *step->work);
        *step->work = (struct saga_step_work){0};
    }
    return step->work;
}

/* ---- policies */

const struct plan_retry *step_retry(const struct saga *saga, const struct saga_step *step)
{
    static const struct plan_retry rollback = PLAN_RETRY_ROLLBACK;
    const struct plan_step *plan = plan_of(saga, step);
    if (step_goes_forward(step)) {
        return &plan->retry;
    }
    return plan->rollback_retry.max_attempts > 0 ? &plan->rollback_retry : &rollback;
}

/* FNV-1a over the ids: the same delay in every replay. */
static uint32_t jitter_of(const struct saga *saga, const struct saga_step *step)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < saga->run_id.size; i++) {
        hash = (hash ^ (unsigned char)saga->run_id.bytes[i]) * 16777619u;
    }
    hash = (hash ^ step->index) * 16777619u;
    if (step->instance > 0) {
        hash = (hash ^ step->instance) * 16777619u;
    }
    return (hash ^ step->attempts) * 16777619u;
}

uint32_t saga_max_attempts(const struct saga *saga, const struct saga_step *step)
{
    uint32_t most = step_retry(saga, step)->max_attempts;
    return most > 0 ? most : 1;
}

int64_t step_backoff_ms(const struct saga *saga, const struct saga_step *step)
{
    const struct plan_retry *retry = step_retry(saga, step);
    int64_t delay = retry->backoff_ms;
    for (uint32_t i = 1; i < step->attempts && delay < retry->max_backoff_ms; i++) {
        delay = delay * retry->multiplier_permille / 1000;
    }
    delay = delay < retry->max_backoff_ms ? delay : retry->max_backoff_ms;
    return delay + delay * (jitter_of(saga, step) % 1000) / 1000 * retry->jitter_permille / 1000;
}

/* ---- the list of those at work: what is due is found there, however many steps there are */

static void list_remove(struct saga *saga, struct saga_step *step)
{
    *(step->active_before != NULL ? &step->active_before->active_next : &saga->active) = step->active_next;
    *(step->active_next != NULL ? &step->active_next->active_before : &saga->active_last) = step->active_before;
    step->active_next = step->active_before = NULL;
}

static void list_append(struct saga *saga, struct saga_step *step)
{
    step->active_before = saga->active_last;
    *(saga->active_last != NULL ? &saga->active_last->active_next : &saga->active) = step;
    saga->active_last = step;
}

static void update_active(struct saga *saga, struct saga_step *step)
{
    bool active = step->open || saga_work(step)->retry_ms != 0;
    struct saga_fan *fan = fan_of(saga, step);
    if (active == step->active) {
        return;
    }
    step->active = active;
    if (active) {
        list_append(saga, step);
    } else {
        list_remove(saga, step);
    }
    if (fan != NULL) {
        fan->open = active ? fan->open + 1 : fan->open - 1;
    }
}

/* ---- what they are */

void step_set_status_of_instance(struct saga *saga, struct saga_step *step, enum step_status status)
{
    struct saga_fan *fan = fan_of(saga, step);
    bool was_done = step_is_done(step);
    step->status = (uint8_t)status;
    fan->done = fan->done - was_done + step_is_done(step);
    step_work(saga, saga->steps[step->index])->current = fan->done;
    if (status == STEP_WAITING && step->instance - 1 < fan->next) {
        fan->next = step->instance - 1;
    }
}

void step_set_fraction(struct saga *saga, struct saga_step *step, uint32_t fraction_ppm)
{
    struct saga_fan *fan = fan_of(saga, step);
    struct saga_step *whole = saga->steps[step->index];
    uint32_t before_ppm = whole->fraction_ppm;
    if (fraction_ppm <= step->fraction_ppm) {
        return; /* a retry does not lower what is shown */
    }
    if (fan != NULL) {
        fan->fraction_sum += fraction_ppm - step->fraction_ppm;
        whole->fraction_ppm = (uint32_t)(fan->fraction_sum / fan->count);
    }
    step->fraction_ppm = fraction_ppm;
    progress_add(saga, step->index, before_ppm);
}

void step_open(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    step->ticket++;
    step->begun_before = step->may_have_begun;
    step->open = true;
    step->started = false;
    step->resolved = false; /* what a person said was of an earlier one */
    step->fired = TIMER_NONE;
    step->cancel = 0;
    if (step->work != NULL) {
        step->work->attempt_ms = 0;
        step->work->report_ms = 0;
        step->work->retry_ms = 0;
    }
    step->ready_ms = time_ms;
    step_set_status(saga, step, step_goes_forward(step) ? STEP_READY : STEP_ROLLING_BACK);
    update_active(saga, step);
}

void step_open_again(struct saga *saga, struct saga_step *step)
{
    step_open(saga, step, step->ready_ms);
}

void step_close(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    struct saga_step_work *work = step_work(saga, step);
    step->open = false;
    step->cancel = 0;
    if (step_goes_forward(step)) {
        work->ended_ms = time_ms;
        work->end_order = ++saga->ended_count;
    } else {
        work->rollback_ended_ms = time_ms;
    }
    update_active(saga, step);
}

void step_retry_at(struct saga *saga, struct saga_step *step, int64_t retry_ms)
{
    if (retry_ms != saga_work(step)->retry_ms) {
        step_work(saga, step)->retry_ms = retry_ms;
    }
    update_active(saga, step);
}

/* When the attempt began, in log time: a record says how long before it that was. Not before the ticket was there, whatever it says. */
static int64_t begun_ms(const struct saga_step *step, const struct saga_event *event)
{
    int64_t begun = event->time_ms - event->elapsed_ms;
    return begun > step->ready_ms ? begun : step->ready_ms < event->time_ms ? step->ready_ms : event->time_ms;
}

static void mark_begun(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    struct saga_step_work *work = step_work(saga, step);
    int64_t *begun_ms = step_goes_forward(step) ? &work->begun_ms : &work->rollback_begun_ms;
    saga->begun = true;
    if (saga->status == RUN_PENDING) {
        saga->status = RUN_RUNNING;
    }
    *begun_ms = *begun_ms != 0 ? *begun_ms : time_ms;
}

void step_mark_started(struct saga *saga, struct saga_step *step, const struct saga_event *event)
{
    mark_begun(saga, step, begun_ms(step, event));
    if (step_goes_forward(step) && step_has_effects(saga, step)) {
        step->may_have_begun = true;
    }
    if (!step->started) {
        step->started = true;
        step->work->attempt_ms = begun_ms(step, event);
        if (step_goes_forward(step)) {
            step->work->execute_attempts = step->attempts + 1; /* "Losing a worker is not an attempt" */
        }
        step_set_status(saga, step, step_goes_forward(step) ? STEP_RUNNING : STEP_ROLLING_BACK);
    }
    step->work->report_ms = event->time_ms;
}

bool step_result_fits(const struct saga *saga, struct span data, struct span set)
{
    return saga->context_bytes + data.size + set.size <= LIMIT_CONTEXT_BYTES;
}

void step_succeed(struct saga *saga, struct saga_step *step, struct span data, struct span set)
{
    room_keep_text(saga, step, TEXT_DATA, data);
    room_keep_text(saga, step, TEXT_SET, set);
    saga->context_bytes += (uint32_t)(data.size + set.size);
    if (set.size > 0 && !step->executed) {
        *(saga->sets_last != NULL ? &step_work(saga, saga->sets_last)->set_next : &saga->sets) = step;
        saga->sets_last = step;
    }
    step->executed = true;
    step_set_status(saga, step, STEP_SUCCEEDED);
    step_set_fraction(saga, step, PPM_ONE);
}

void step_skip(struct saga *saga, struct saga_step *step, int64_t time_ms)
{
    mark_begun(saga, step, time_ms);
    step->may_have_begun = step->begun_before; /* a Started says that it was looked at, this that nothing was done */
    step->work->execute_attempts = step->attempts; /* and that no attempt was made, however long the look took */
    step_set_status(saga, step, STEP_SKIPPED);
    step_set_fraction(saga, step, PPM_ONE);
}
