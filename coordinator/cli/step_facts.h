/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to say of a step beyond its status: for the screen and for `status`. Pure; what comes back is text, or numbers. */
#ifndef STEP_FACTS_H
#define STEP_FACTS_H

#include "common/messages.h"
#include "common/saga/saga.h"
#include "common/text.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- pipelines in pipelines: the steps of "outer" are called "outer/inner", and stand under it */

bool step_is_heading(const struct plan *plan, uint32_t index);
uint32_t step_depth(const struct plan *plan, uint32_t index); /* 0: of the pipeline itself */
/* Its name without the heading's, where it stands under one. Borrowed from the plan. */
struct span step_short_name(const struct plan *plan, uint32_t index);
/* The step itself; for a heading that has begun, what its steps amount to: status, share, times, made in `shown`. */
struct step_sum {
    struct saga_step step;
    struct saga_step_work work;
};
const struct saga_step *step_as_shown(const struct saga *saga, uint32_t index, struct step_sum *shown);

/* ---- fan-out */

/* What it has done of what there is to do: "14 of 25 files", the unit being what its metrics say: {"unit": "files"}. Of a step that fans
 * out "12 of 25 elements, 3 running, 1 failed", and while it is undone "2 of 12 elements undone". Nothing where it is not known. */
void step_say_counts(const struct saga *saga, const struct saga_step *step, struct text *out);
/* The first instance of that status, or NULL. */
const struct saga_step *step_first_instance(const struct saga_step *step, enum step_status status);

/* ---- why, and how long */

/* Why it is not running or not done, if there is something to say: "attempt 2 of 3 in 4 s: no route", "after 3 attempts: disk is
 * full", "element 7: disk is full". */
void step_say_reason(const struct saga *saga, const struct saga_step *step, int64_t now_ms, struct text *out);
/* How it came to its end, where that was not the usual way: "resolved by a person", "its condition: .params.cold". */
void step_say_remark(const struct saga *saga, const struct saga_step *step, struct text *out);
/* How long its attempt, or its other elements, will still take if it goes on as it went so far; -1: not known. Nothing is said before a
 * second and a thirtieth of the work have gone by, nor when the reports have stopped coming, nor where nothing more begins. */
int64_t step_rest_ms(const struct saga *saga, const struct saga_step *step, int64_t now_ms);
void step_say_rest(int64_t rest_ms, struct text *out); /* "about 5 s left" */

/* The announced wait of the step, or of one of its instances while none runs; NULL: it waits for nobody. */
const struct waiting_step *step_waiting(const struct saga *saga, const struct saga_step *step, const struct waiting_step *waiting,
                                        size_t count);

/* How long it may still wait before its start_timeout is over, as ", gives up in 19 s"; nothing where it has none. */
void step_say_start_timeout(const struct saga *saga, const struct saga_step *step, int64_t now_ms, struct text *out);

/* ---- the run */

/* Paused, and what ran then has ended. */
bool saga_is_at_rest(const struct saga *saga);
/* What a person can do about a paused run: "a step failed: retry, roll back or resolve it". */
const char *saga_pause_hint(const struct saga *saga);

#endif
