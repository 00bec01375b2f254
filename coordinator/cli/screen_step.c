/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/screen_internal.h"

#include "common/names.h"
#include "coordinator/cli/step_facts.h"

#include <stdio.h>
#include <string.h>

#define NOTE_MIN 16 /* a reason with less room takes the bar's place */

struct look {
    const char *word; /* NULL: the percentage */
    enum colour colour;
    bool with_bar;
};

static const struct look looks[] = {
    [STEP_WAITING] = {"waiting", DIM, false},      [STEP_READY] = {"queued", PLAIN, true},
    [STEP_RUNNING] = {NULL, CYAN, true},           [STEP_RETRYING] = {"retry", YELLOW, true},
    [STEP_SUCCEEDED] = {NULL, GREEN, true},        [STEP_SKIPPED] = {"skipped", DIM, false},
    [STEP_FAILED] = {"failed", RED, true},         [STEP_ROLLING_BACK] = {"undoing", YELLOW, true},
    [STEP_ROLLED_BACK] = {"undone", YELLOW, true}, [STEP_ROLLBACK_FAILED] = {"not undone", RED, true},
    [STEP_NOT_RUN] = {"not run", DIM, false},
};
static const struct look look_nothing_to_undo = {"nothing to undo", DIM, false};
static const struct look look_stopping = {"halting", YELLOW, true};

bool is_going_back(const struct saga *saga)
{
    return saga->status == RUN_ROLLING_BACK ||
           (run_status_is_final((enum run_status)saga->status) && saga->status != RUN_SUCCEEDED);
}

static const struct look *look_of(const struct saga *saga, const struct saga_step *step)
{
    bool kept = step->status == STEP_SUCCEEDED && saga->plan->steps[step->index].rollback_none && is_going_back(saga);
    if (kept || (step->status == STEP_ROLLED_BACK && step->nothing_to_undo)) {
        return &look_nothing_to_undo;
    }
    if (step->status == STEP_WAITING && (saga->stopping || is_going_back(saga))) {
        return &looks[STEP_NOT_RUN]; /* its turn will not come */
    }
    if (step->status == STEP_RUNNING && (step->cancel != 0 || (step->fan != NULL && saga->stopping))) {
        return &look_stopping;
    }
    return &looks[step->status];
}

/* -1: there is none to show. */
static int64_t duration_of(const struct saga_step *step, int64_t now_ms)
{
    bool back = step->status == STEP_ROLLING_BACK || step->status == STEP_ROLLED_BACK || step->status == STEP_ROLLBACK_FAILED;
    bool ended = step->status != STEP_RUNNING && step->status != STEP_RETRYING && step->status != STEP_READY &&
                 step->status != STEP_ROLLING_BACK;
    int64_t from_ms = back ? saga_work(step)->rollback_begun_ms : saga_work(step)->begun_ms;
    int64_t to_ms = !ended ? now_ms : back ? saga_work(step)->rollback_ended_ms : saga_work(step)->ended_ms;
    return from_ms == 0 ? -1 : to_ms > from_ms ? to_ms - from_ms : 0;
}

static void note_text(struct frame *frame, struct text *words)
{
    note(frame, text_string(words));
    text_clear(words);
}

/* "2 of 4 elements, 1 running, 1 failed": where there is no room, the first of it. */
static void cut_counts(const struct frame *frame, struct text *words)
{
    char *comma = words->size > 0 ? memchr(words->bytes, ',', words->size) : NULL;
    if (comma != NULL && room_of(frame) < NOTE_GAP + width_of(frame, text_span(words))) {
        words->size = (size_t)(comma - words->bytes);
        *comma = '\0';
    }
}

static void put_facts(struct frame *frame, const struct saga_step *step)
{
    const struct saga *saga = frame->view->saga;
    struct text words;
    text_init(&words, NOTE_BYTES_MAX);
    if (step->status == STEP_RUNNING || (step->fan != NULL && step->status == STEP_ROLLING_BACK)) {
        step_say_counts(saga, step, &words);
        cut_counts(frame, &words);
        note_text(frame, &words);
    }
    int64_t rest_ms = step_rest_ms(saga, step, frame->view->now_ms);
    if (rest_ms >= 0) {
        step_say_rest(rest_ms, &words);
        note_text(frame, &words);
    }
    if (step->status == STEP_RUNNING && saga_work(step)->execute_attempts > 1 && step->attempts + 1 == saga_work(step)->execute_attempts) {
        text_format(&words, "attempt %u of %u", saga_work(step)->execute_attempts, saga_max_attempts(saga, step));
        note_text(frame, &words);
    }
    text_fini(&words);
}

static void put_waiting(struct frame *frame, const struct saga_step *step, const struct waiting_step *waiting)
{
    bool back = step->direction == DIRECTION_ROLLBACK;
    struct text words, age;
    text_init(&words, NOTE_BYTES_MAX);
    text_init(&age, 64);
    int64_t age_ms = frame->view->now_ms > waiting->since_ms ? frame->view->now_ms - waiting->since_ms : 0;
    if (age_ms < 60000) {
        text_format(&age, "%d s", (int)(age_ms / 1000)); /* tenths of a wait are nobody's concern */
    } else {
        duration_append_rough(&age, age_ms);
    }
    text_format(&words, "%s for a worker of queue '%.*s'", back ? "undoing waits" : "waiting", SPAN_ARGS(waiting->queue));
    if (!span_equal(waiting->handler, frame->view->saga->plan->steps[step->index].name)) {
        text_format(&words, " with '%.*s'", SPAN_ARGS(waiting->handler));
    }
    text_format(&words, " for %s", text_string(&age));
    step_say_start_timeout(frame->view->saga, step, frame->view->now_ms, &words);
    if (width_of(frame, text_span(&words)) > room_of(frame)) {
        text_clear(&words);
        text_format(&words, "no worker: '%.*s', %s", SPAN_ARGS(waiting->queue), text_string(&age));
    }
    put(frame, YELLOW, text_span(&words));
    text_fini(&words);
    text_fini(&age);
}

static void put_word(struct frame *frame, const struct look *look, const struct saga_step *step)
{
    uint32_t ppm = step->executed ? step->fraction_ppm : not_quite(step->fraction_ppm);
    if (look->word != NULL) {
        put(frame, look->colour, span_of(look->word));
    } else {
        put_percent(frame, ppm);
    }
}

/* Is the place of the bar needed for words? Only where they would not fit beside it. */
static bool is_flat(const struct frame *frame, const struct look *look, struct span reason)
{
    uint32_t note_end = column_note(frame) + NOTE_GAP, columns = frame->columns;
    bool word_is_cut = !look->with_bar && column_word(frame) + width_of(frame, span_of(look->word)) > columns;
    bool reason_is_cut = reason.size > 0 && columns < note_end + NOTE_MIN && note_end + width_of(frame, reason) > columns;
    return word_is_cut || reason_is_cut;
}

static void put_step_name(struct frame *frame, uint32_t index, bool nested)
{
    const struct plan *plan = frame->view->saga->plan;
    if (nested) {
        put_name(frame, step_depth(plan, index) * NESTING, step_short_name(plan, index));
    } else {
        put_name(frame, 0, plan->steps[index].name);
    }
}

void put_step(struct frame *frame, uint32_t index, bool nested)
{
    const struct saga *saga = frame->view->saga;
    struct step_sum sum;
    const struct saga_step *step = step_as_shown(saga, index, &sum);
    const struct look *look = look_of(saga, step);
    const struct waiting_step *waiting = step_waiting(saga, step, frame->view->waiting, frame->view->waiting_count);
    put_step_name(frame, index, nested);
    if (waiting != NULL) {
        put_waiting(frame, step, waiting);
        end_line(frame);
        return;
    }
    struct text reason;
    text_init(&reason, NOTE_BYTES_MAX);
    step_say_reason(saga, step, frame->view->now_ms, &reason);
    if (reason.size == 0) {
        step_say_remark(saga, step, &reason);
    }
    bool flat = is_flat(frame, look, text_span(&reason));
    int64_t duration_ms = duration_of(step, frame->view->now_ms);
    if (!flat) {
        if (frame->bar > 0 && look->with_bar) {
            put_bar(frame, step->executed ? step->fraction_ppm : not_quite(step->fraction_ppm), look->colour);
        }
        pad_to(frame, column_word(frame));
    }
    put_word(frame, look, step);
    uint32_t word_end = column_word(frame) + WORD_COLUMNS;
    if (!flat && duration_ms >= 0 && frame->with_time && look->with_bar && frame->used <= word_end) {
        put_time(frame, duration_ms);
    }
    if (reason.size > 0) {
        note_cut(frame, text_span(&reason));
    } else {
        put_facts(frame, step);
    }
    text_fini(&reason);
    end_line(frame);
}
