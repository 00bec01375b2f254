/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of saga/ only.
 *
 *   saga.c      which function an event goes to
 *   requests.c  what clients ask for, and the verdicts
 *   ends.c      what the end of a ticket means for its step
 *   course.c    what follows for the run: steps begin, it stops, it is undone
 *   ahead.c     tickets that were perhaps sent before their step is ready
 *   steps.c     steps and instances: walking them, opening and closing their tickets
 *   effects.c   what is due, read off the state
 *   texts.c     what people are told
 *   room.c      where all of it is kept
 *   image.c     a state from elsewhere, checked and copied */
#ifndef SAGA_INTERNAL_H
#define SAGA_INTERNAL_H

#include "common/rules.h"
#include "common/saga/saga.h"

#include <assert.h>
#include <stdalign.h>
#include <stddef.h>

/* ---- room.c */

/* Take `size` aligned bytes from the room the caller has provided; the room was asked for, so it is there. */
void *room_take(struct saga *saga, size_t size);
/* Keep a copy of `from` in `to`, in the place of what `to` had where it fits: a field that is set again and again does not grow. */
void room_keep(struct saga *saga, struct span *to, struct span from);
/* Bytes that a kept span of that size takes, and any other thing. */
size_t room_kept_size(size_t size);
/* Such params are a literal, and take no room. */
bool room_is_empty_object(struct span json);
static inline size_t room_aligned(size_t size)
{
    return (size + alignof(int64_t) - 1) & ~(alignof(int64_t) - 1);
}
/* The same for a text of a step. */
void room_keep_text_joined(struct saga *saga, struct saga_step *step, enum step_text kind, const struct span *pieces, size_t count);
static inline void room_keep_text(struct saga *saga, struct saga_step *step, enum step_text kind, struct span from)
{
    if (from.size > 0 || saga_work(step)->texts != NULL) { /* else nothing was said, and nothing is */
        room_keep_text_joined(saga, step, kind, &from, 1);
    }
}
static inline size_t room_text_size(size_t size)
{
    return room_aligned(sizeof(struct saga_text) + size);
}
/* Join pieces into one kept span. */
void room_keep_joined(struct saga *saga, struct span *to, const struct span *pieces, size_t count);

/* A copy of a list of requests becomes the saga's. */
size_t room_of_requests(const struct saga_request *request);
void room_keep_requests(struct saga *saga, const struct saga_request *request);

/* ---- steps.c */

/* Those that have never begun are the plan's, for all runs that share it: none of their own yet. */
static inline bool step_is_untouched(const struct saga *saga, uint32_t index)
{
    return saga->steps[index]->untouched;
}

/* The step, to be changed: its own from here on. The room was asked for (room_of_steps() in room.c says when). */
struct saga_step *step_own(struct saga *saga, uint32_t index);
/* What is said of the step, to be changed. The room was asked for wherever a record may be the first to say something. */
struct saga_step_work *step_work(struct saga *saga, struct saga_step *step);

static inline bool step_is_done(const struct saga_step *step)
{
    return step->status == STEP_SUCCEEDED || step->status == STEP_SKIPPED;
}

static inline bool step_goes_forward(const struct saga_step *step)
{
    return step->direction == DIRECTION_EXECUTE;
}

static inline const struct plan_step *plan_of(const struct saga *saga, const struct saga_step *step)
{
    return &saga->plan->steps[step->index];
}

const struct plan_retry *step_retry(const struct saga *saga, const struct saga_step *step); /* in its direction */
int64_t step_backoff_ms(const struct saga *saga, const struct saga_step *step); /* before its next attempt */
/* Nothing but the work of instances, validations and scopes: there is nothing to undo. */
static inline bool step_has_effects(const struct saga *saga, const struct saga_step *step)
{
    return plan_of(saga, step)->kind == PLAN_HANDLER && !saga_fans_out(saga, step);
}

void step_set_status_of_instance(struct saga *saga, struct saga_step *instance, enum step_status status);
static inline void step_set_status(struct saga *saga, struct saga_step *step, enum step_status status)
{
    assert(!step_is_untouched(saga, step->index));
    if (step->instance > 0) {
        step_set_status_of_instance(saga, step, status);
    } else {
        step->status = (uint8_t)status;
    }
}
void step_set_fraction(struct saga *saga, struct saga_step *step, uint32_t fraction_ppm);
void step_open(struct saga *saga, struct saga_step *step, int64_t time_ms); /* the next ticket, in its direction */
void step_open_again(struct saga *saga, struct saga_step *step); /* the same; nothing was used, so it is ready since when it was */
void step_close(struct saga *saga, struct saga_step *step, int64_t time_ms);
void step_retry_at(struct saga *saga, struct saga_step *step, int64_t retry_ms); /* 0: not */
void step_mark_started(struct saga *saga, struct saga_step *step, const struct saga_event *event);
/* It succeeded. The caller has seen that its result fits into the run's context. */
void step_succeed(struct saga *saga, struct saga_step *step, struct span data, struct span set);
void step_skip(struct saga *saga, struct saga_step *step, int64_t time_ms);
bool step_result_fits(const struct saga *saga, struct span data, struct span set);

/* ---- course.c */

struct saga_trouble *course_trouble(struct saga *saga); /* to be changed; made where there is none */

bool course_may_open(const struct saga *saga, const struct saga_step *step); /* may a ticket of its go out as things stand? */
void course_advance(struct saga *saga,
                    int64_t time_ms); /* what follows from the state of the steps; nothing where nothing follows */
void course_stop(struct saga *saga, enum cancel_reason reason); /* go no further; advance() then undoes */
void course_fail(struct saga *saga, struct saga_step *step, int64_t time_ms); /* a step failed for good; its error is set */
void course_expand(struct saga *saga, struct saga_step *step, const struct saga_event *event);
void course_hold(struct saga *saga, int64_t time_ms); /* it is paused or held: say so */
void course_go_on(struct saga *saga, int64_t time_ms); /* neither any more */
void course_undo_again(struct saga *saga, int64_t time_ms); /* what is still undone of an incomplete rollback */
void course_settle(struct saga *saga, int64_t time_ms); /* an incomplete rollback: is it complete now? */

/* ---- ahead.c */

void ahead_ended(struct saga *saga, uint32_t index); /* what was sent behind that step will not begin */
void ahead_opened(struct saga *saga, uint32_t index, int64_t time_ms); /* its Done stands in the log, ok or skipped: the one behind it may have begun */
/* The ends that come by themselves for a ticket ahead. */
enum saga_verdict ahead_apply(struct saga *saga, const struct saga_event *event);
size_t ahead_room(const struct saga *saga, uint32_t index); /* of ahead_ended() */

/* ---- ends.c */

typedef void end_function(struct saga *saga, struct saga_step *step, const struct saga_event *event);
end_function end_ok, end_skipped, end_failed, end_cancelled_started, end_cancelled_not_started, end_lost, end_expanded;

/* ---- requests.c */

enum saga_verdict request_apply(struct saga *saga, const struct saga_event *event);
enum saga_verdict request_answered(struct saga *saga, const struct saga_event *event);

/* ---- texts.c */

void text_timed_out(struct saga *saga, struct saga_step *step, enum step_text kind);
void text_lost(struct saga *saga, struct saga_step *step, enum step_text kind, struct span worker);
void text_run_failed(struct saga *saga, const struct saga_step *step);
void text_run_timed_out(struct saga *saga);

/* ---- effects.c, progress.c */

bool deadline_of(const struct saga *saga, const struct saga_step *step, struct saga_deadline *deadline);
bool deadline_of_run(const struct saga *saga, struct saga_deadline *deadline);
/* The fraction of a step (of the plan) is another than before. */
void progress_add(struct saga *saga, uint32_t index, uint32_t before_ppm);
void progress_update(struct saga *saga);

#endif
