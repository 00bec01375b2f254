/* SPDX-License-Identifier: Apache-2.0 */
/* Which steps are shown where there is not room for all. */
#include "coordinator/cli/screen_internal.h"

#include <stdio.h>

static bool is_active(const struct saga_step *step)
{
    return step->status != STEP_WAITING && step->status != STEP_SUCCEEDED && step->status != STEP_SKIPPED &&
           step->status != STEP_ROLLED_BACK && step->status != STEP_NOT_RUN;
}

/* Where the eye is: the first step something happens to, else the first that still waits, else the last. */
static uint32_t focus_of(const struct saga *saga)
{
    uint32_t waiting = saga->plan->step_count - 1;
    for (uint32_t i = saga->plan->step_count; i-- > 0;) {
        waiting = saga->steps[i]->status == STEP_WAITING ? i : waiting;
    }
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        if (is_active(saga->steps[i])) {
            return i;
        }
    }
    return waiting;
}

/* Mark at most `room` steps: first those something happens to, then the neighbours of the first of them. Returns how many. */
static uint32_t choose_steps(const struct saga *saga, uint32_t most, bool *marks)
{
    uint32_t count = saga->plan->step_count, chosen = 0, focus = focus_of(saga);
    memset(marks, 0, count * sizeof *marks);
    for (uint32_t i = 0; i < count && chosen < most; i++) {
        marks[i] = is_active(saga->steps[i]);
        chosen += marks[i];
    }
    for (uint32_t distance = 0; distance < count && chosen < most; distance++) {
        uint32_t near[2] = {focus + distance, focus - distance}; /* below 0 wraps to far beyond the count */
        for (size_t i = 0; i < 2 && chosen < most; i++) {
            if (near[i] < count && !marks[near[i]]) {
                marks[near[i]] = true;
                chosen++;
            }
        }
    }
    return chosen;
}

static void put_more(struct frame *frame, const bool *marks)
{
    const struct saga *saga = frame->view->saga;
    uint32_t hidden = 0, done = 0, waiting = 0;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        hidden += !marks[i];
        done += !marks[i] && (saga->steps[i]->status == STEP_SUCCEEDED || saga->steps[i]->status == STEP_SKIPPED);
        waiting += !marks[i] && saga->steps[i]->status == STEP_WAITING;
    }
    char words[96];
    int size = snprintf(words, sizeof words, "%s %u more", frame->style->utf8 ? "…" : "...", hidden);
    if (done > 0) {
        size += snprintf(words + size, sizeof words - (size_t)size, ", %u done", done);
    }
    if (waiting > 0) {
        snprintf(words + size, sizeof words - (size_t)size, ", %u waiting", waiting);
    }
    pad_to(frame, INDENT);
    put(frame, DIM, span_of(words));
    end_line(frame);
}

void put_steps(struct frame *frame, uint32_t most)
{
    const struct saga *saga = frame->view->saga;
    uint32_t count = saga->plan->step_count;
    bool marks[count];
    choose_steps(saga, count <= most ? count : most > 1 ? most - 1 : most, marks);
    for (uint32_t i = 0; i < count; i++) {
        if (marks[i]) {
            uint32_t heading = saga->plan->steps[i].scope;
            put_step(frame, i, heading > 0 && marks[heading - 1]);
        }
    }
    if (count > most && most > 1) {
        put_more(frame, marks);
    }
}
