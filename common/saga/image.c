/* SPDX-License-Identifier: Apache-2.0 */
/* A state from elsewhere: checked as everything that comes from the log is, then copied into a saga of its own. */
#include "common/limits.h"
#include "common/saga/saga_internal.h"

#include <assert.h>

#define TIME_MAX_MS (INT64_MAX / 8) /* sums of a time and a few durations fit */

static bool is_time(int64_t time_ms)
{
    return time_ms >= 0 && time_ms <= TIME_MAX_MS;
}

/* ---- checking */

static bool has_legal_times(const struct saga_step *step)
{
    const struct saga_step_work *work = saga_work(step);
    return is_time(step->ready_ms) && is_time(work->begun_ms) && is_time(work->attempt_ms) && is_time(work->report_ms) &&
           is_time(work->ended_ms) && is_time(work->rollback_begun_ms) && is_time(work->rollback_ended_ms) && is_time(work->retry_ms);
}

static const char *step_image_problem(const struct saga *image, const struct saga_step *step)
{
    if (step->status > STEP_NOT_RUN || step->direction > DIRECTION_ROLLBACK || step->fired > TIMER_START ||
        step->cancel > 1 + CANCEL_RUN_TIMEOUT || step->fraction_ppm > PPM_ONE || !has_legal_times(step)) {
        return "a step has a value out of its range";
    }
    bool retries = saga_work(step)->retry_ms != 0;
    if (step->active != (step->open || retries) || (step->open && (retries || step->ticket == 0))) {
        return "the list of active steps is not that of open tickets and due retries";
    }
    if (step->fan != NULL && (!saga_fans_out(image, step) || step->fan->count > LIMIT_ELEMENTS)) {
        return "a step has instances that it cannot have";
    }
    return NULL;
}

static const char *active_problem(const struct saga *image)
{
    uint32_t rolling_back = 0, open = 0;
    for (const struct saga_step *step = image->active; step != NULL; step = step->active_next) {
        bool back = step->status == STEP_ROLLING_BACK;
        rolling_back += back;
        open += step->open;
        if (!step->active || (back && step_goes_forward(step))) {
            return "an active step is none";
        }
    }
    bool ordered =
        rolling_back <= 1 && (rolling_back == 0 || open <= 1) && (image->status != RUN_ROLLING_BACK || rolling_back == 1);
    return ordered ? NULL : "more or less than one step is being rolled back";
}

static const char *course_problem(const struct saga *image)
{
    if (saga_is_over(image) && image->active != NULL) {
        return "it is over, and a step is active";
    }
    if ((image->status == RUN_PAUSED) != (image->paused || image->held) || (image->stopping && image->status == RUN_PAUSED)) {
        return "it is paused, or it is not";
    }
    if (image->progress_ppm > PPM_ONE || (image->progress_ppm == PPM_ONE) != (image->status == RUN_SUCCEEDED)) {
        return "its progress does not fit its status";
    }
    bool timely = is_time(image->started_ms) && is_time(image->finished_ms) && is_time(image->time_ms) &&
                  is_time(saga_trouble(image)->pause_ms) && is_time(saga_trouble(image)->paused_ms);
    return timely ? NULL : "a time is out of its range";
}

const char *saga_image_problem(const struct saga *image)
{
    uint32_t none;
    const char *problem = image->plan != NULL ? plan_problem(image->plan, &none) : "it has no plan";
    if (problem != NULL) {
        return problem;
    }
    if (image->status == RUN_NONE || image->status > RUN_ROLLBACK_INCOMPLETE || image->retired || image->newer) {
        return "its status is none of a run";
    }
    uint32_t cause = saga_trouble(image)->cause_step;
    if (cause != UINT32_MAX && cause >= image->plan->step_count) {
        return "its cause is no step";
    }
    for (struct saga_step *step = NULL; problem == NULL && (step = saga_next_step(image, step)) != NULL;) {
        problem = step_image_problem(image, step);
    }
    problem = problem != NULL ? problem : active_problem(image);
    return problem != NULL ? problem : course_problem(image);
}

void saga_count_fan(struct saga_fan *fan)
{
    fan->next = fan->count;
    fan->done = fan->open = 0;
    fan->fraction_sum = 0;
    for (uint32_t i = fan->count; i-- > 0;) {
        const struct saga_step *instance = &fan->instances[i];
        fan->next = instance->status == STEP_WAITING ? i : fan->next;
        fan->done += step_is_done(instance);
        fan->open += instance->active;
        fan->fraction_sum += instance->fraction_ppm;
    }
}

/* ---- copying */

static size_t room_of_texts(const struct saga_step *step)
{
    size_t size = 0;
    for (const struct saga_text *text = saga_work(step)->texts; text != NULL; text = text->next) {
        size += room_text_size(text->size);
    }
    return size;
}

/* No ticket of it was ever open: then the plan has it, for all runs that share it. */
static bool is_the_plans(const struct saga_step *step)
{
    bool touched = step->work != NULL || step->fan != NULL || step->ticket != 0 || step->may_have_begun || step->executed;
    return !touched && step->instance == 0 && (step->status == STEP_WAITING || step->status == STEP_NOT_RUN);
}

/* An instance changes what is said of its step. */
static bool has_work(const struct saga_step *step)
{
    return step->work != NULL || step->fan != NULL;
}

static size_t room_of_work(const struct saga_step *step)
{
    return has_work(step) ? room_aligned(sizeof *step->work) : 0;
}

static size_t room_of_fan(const struct saga_fan *fan)
{
    size_t size = room_aligned(sizeof *fan) + room_aligned(fan->count * sizeof *fan->elements) +
                  room_aligned(fan->count * sizeof *fan->instances);
    for (uint32_t i = 0; i < fan->count; i++) {
        size += room_kept_size(fan->elements[i].size);
    }
    return size;
}

size_t saga_copy_room(const struct saga *image)
{
    size_t size = room_aligned(SAGA_CHUNK_OVERHEAD) + room_kept_size(image->run_id.size) + room_kept_size(image->params.size) +
                  room_aligned(sizeof *image->trouble) + room_kept_size(saga_trouble(image)->error.size) +
                  (image->plan_stays ? 0 : room_aligned(plan_room(image->plan))) +
                  room_aligned(image->plan->step_count * sizeof(struct saga_step *)) + room_of_requests(image->requests);
    for (const struct saga_step *step = NULL; (step = saga_next_step(image, step)) != NULL;) {
        bool own = step->instance == 0 && !is_the_plans(step);
        size += (own ? room_aligned(sizeof *step) : 0) + room_of_work(step) + room_of_texts(step) +
                (step->fan != NULL ? room_of_fan(step->fan) : 0);
    }
    return size;
}

static void keep_again(struct saga *copy, struct span *span)
{
    struct span from = *span;
    *span = (struct span){0};
    room_keep(copy, span, from);
}

static void copy_step(struct saga *copy, struct saga_step *to, const struct saga_step *from)
{
    *to = *from;
    to->untouched = false; /* it is the copy's own */
    to->active_next = to->active_before = NULL;
    to->work = NULL;
    if (has_work(from)) {
        *step_work(copy, to) = *saga_work(from);
        to->work->texts = NULL;
        to->work->set_next = NULL;
    }
    for (const struct saga_text *text = saga_work(from)->texts; text != NULL; text = text->next) {
        room_keep_text(copy, to, (enum step_text)text->kind, (struct span){text->bytes, text->size});
    }
    if (from->fan == NULL) {
        return;
    }
    struct saga_fan *fan = room_take(copy, sizeof *fan);
    *fan = *from->fan;
    fan->elements = room_take(copy, fan->count * sizeof *fan->elements);
    fan->instances = room_take(copy, fan->count * sizeof *fan->instances);
    for (uint32_t i = 0; i < fan->count; i++) {
        fan->elements[i] = (struct span){0};
        room_keep(copy, &fan->elements[i], from->fan->elements[i]);
        copy_step(copy, &fan->instances[i], &from->fan->instances[i]);
    }
    to->fan = fan;
}

static struct saga_step *copied_step(struct saga *copy, const struct saga_step *from)
{
    if (is_the_plans(from)) {
        return from->status == STEP_WAITING ? &copy->plan->waiting[from->index] : &copy->plan->not_run[from->index];
    }
    struct saga_step *step = room_take(copy, sizeof *step);
    copy_step(copy, step, from);
    return step;
}

static void link_lists(struct saga *copy, const struct saga *image)
{
    for (const struct saga_step *from = image->active; from != NULL; from = from->active_next) {
        struct saga_step *step = saga_find_step(copy, from->index, from->instance);
        step->active_before = copy->active_last;
        *(copy->active_last != NULL ? &copy->active_last->active_next : &copy->active) = step;
        copy->active_last = step;
    }
    for (const struct saga_step *from = image->sets; from != NULL; from = saga_work(from)->set_next) {
        struct saga_step *step = saga_find_step(copy, from->index, from->instance);
        *(copy->sets_last != NULL ? &copy->sets_last->work->set_next : &copy->sets) = step;
        copy->sets_last = step;
    }
}

void saga_copy(struct saga *copy, const struct saga *image, void *memory, size_t size)
{
    assert(copy->chunks == NULL && size >= saga_copy_room(image));
    *copy = *image;
    copy->copied = true;
    copy->active = copy->active_last = copy->sets = copy->sets_last = NULL;
    copy->requests = NULL;
    copy->chunks = NULL;
    saga_provide(copy, memory, size);
    keep_again(copy, &copy->run_id);
    keep_again(copy, &copy->params);
    if (image->trouble != NULL) {
        copy->trouble = room_take(copy, sizeof *copy->trouble);
        *copy->trouble = *image->trouble;
        keep_again(copy, &copy->trouble->error);
    }
    copy->plan = image->plan_stays ? image->plan : plan_copy(room_take(copy, plan_room(image->plan)), image->plan);
    copy->steps = room_take(copy, image->plan->step_count * sizeof(struct saga_step *));
    for (uint32_t i = 0; i < image->plan->step_count; i++) {
        copy->steps[i] = copied_step(copy, image->steps[i]);
    }
    link_lists(copy, image);
    room_keep_requests(copy, image->requests);
}
