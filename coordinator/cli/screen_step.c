/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/screen_internal.h"

#include "common/names.h"

#include <stdio.h>

#define NOTE_MIN 16 /* a reason with less room takes the bar's place */

struct look {
    const char *word; /* NULL: the percentage */
    enum colour colour;
    bool with_bar;
};

static const struct look looks[] = {
    [STEP_WAITING] = {"waiting", DIM, false},
    [STEP_READY] = {"queued", PLAIN, true},
    [STEP_RUNNING] = {NULL, CYAN, true},
    [STEP_RETRYING] = {"retry", YELLOW, true},
    [STEP_SUCCEEDED] = {NULL, GREEN, true},
    [STEP_SKIPPED] = {"skipped", DIM, false},
    [STEP_FAILED] = {"failed", RED, true},
    [STEP_ROLLING_BACK] = {"undoing", YELLOW, true},
    [STEP_ROLLED_BACK] = {"undone", YELLOW, true},
    [STEP_ROLLBACK_FAILED] = {"not undone", RED, true},
    [STEP_NOT_RUN] = {"not run", DIM, false},
};
static const struct look look_nothing_to_undo = {"nothing to undo", DIM, false};
static const struct look look_stopping = {"halting", YELLOW, true};

bool is_going_back(const struct saga *saga)
{
    return saga->status == RUN_ROLLING_BACK || (run_status_is_final((enum run_status)saga->status) && saga->status != RUN_SUCCEEDED);
}

static const struct look *look_of(const struct saga *saga, uint32_t index)
{
    const struct saga_step *step = &saga->steps[index];
    bool kept = step->status == STEP_SUCCEEDED && saga->plan->steps[index].rollback_none && is_going_back(saga);
    if (kept || (step->status == STEP_ROLLED_BACK && step->nothing_to_undo)) {
        return &look_nothing_to_undo;
    }
    if (step->status == STEP_WAITING && (saga->stopping || is_going_back(saga))) {
        return &looks[STEP_NOT_RUN]; /* its turn will not come */
    }
    if (step->status == STEP_RUNNING && step->cancel != 0) {
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
    int64_t from_ms = back ? step->rollback_begun_ms : step->begun_ms;
    int64_t to_ms = !ended ? now_ms : back ? step->rollback_ended_ms : step->ended_ms;
    return from_ms == 0 ? -1 : to_ms > from_ms ? to_ms - from_ms : 0;
}

/* How long its attempt will still take if it goes on as it went so far; -1: not known. Nothing is said before a second and a thirtieth
 * of the work have gone by, nor when the reports have stopped coming. */
static int64_t rest_of(const struct saga_step *step, int64_t now_ms)
{
    int64_t took_ms = step->report_ms - step->attempt_ms, since_ms = now_ms - step->report_ms;
    bool known = step->status == STEP_RUNNING && step->attempt_ms > 0 && took_ms >= 1000 && step->total > 0 &&
                 step->current >= step->total / 30 + 1 && step->current < step->total;
    if (!known) {
        return -1;
    }
    double rest_ms = (double)took_ms * (double)(step->total - step->current) / (double)step->current - (double)since_ms;
    return rest_ms > 0 && rest_ms < 1e12 ? (int64_t)rest_ms : -1;
}

static void format_rest(int64_t rest_ms, char words[static 48])
{
    int64_t seconds = (rest_ms + 999) / 1000;
    if (seconds < 100) {
        snprintf(words, 48, "about %lld s left", (long long)seconds);
    } else if (seconds < 100 * 60) {
        snprintf(words, 48, "about %lld min left", (long long)((seconds + 30) / 60));
    } else {
        snprintf(words, 48, "about %lld h left", (long long)((seconds + 1800) / 3600));
    }
}

static uint32_t attempts_max(const struct saga *saga, uint32_t index)
{
    const struct plan_retry rollback = PLAN_RETRY_ROLLBACK;
    uint32_t max = saga->steps[index].direction == DIRECTION_ROLLBACK ? rollback.max_attempts : saga->plan->steps[index].retry.max_attempts;
    return max > 0 ? max : 1;
}

static const struct waiting_step *waiting_of(const struct screen_view *view, uint32_t index)
{
    const struct saga_step *step = &view->saga->steps[index];
    bool may_wait = step->open && !step->started;
    for (size_t i = 0; may_wait && i < view->waiting_count; i++) {
        if (view->waiting[i].step == index) {
            return &view->waiting[i];
        }
    }
    return NULL;
}

/* Why it is not running or not done, if there is something to say. Then it is more worth than the bar. */
static void say_reason(const struct screen_view *view, uint32_t index, struct text *out)
{
    const struct saga_step *step = &view->saga->steps[index];
    uint32_t max = attempts_max(view->saga, index);
    bool trying = (step->status == STEP_RETRYING || step->status == STEP_ROLLING_BACK) && step->retry_ms != 0;
    bool ended = step->status == STEP_FAILED || step->status == STEP_ROLLED_BACK || step->status == STEP_ROLLBACK_FAILED;
    struct span error = step->direction == DIRECTION_ROLLBACK && step->status != STEP_ROLLED_BACK ? step->rollback_error : step->error;
    uint32_t attempts = step->status == STEP_ROLLBACK_FAILED ? step->attempts : step->execute_attempts;
    if (trying) {
        int64_t rest_ms = step->retry_ms - view->now_ms;
        int64_t rest_s = rest_ms > 0 ? (rest_ms + 999) / 1000 : 0;
        text_format(out, "attempt %u of %u in %lld s: ", step->attempts + 1, max, (long long)rest_s);
        text_append_span(out, error);
    } else if (ended && error.size > 0 && (!step->executed || step->status == STEP_ROLLBACK_FAILED)) {
        if (attempts > 1) {
            text_format(out, "after %u attempts: ", attempts);
        }
        text_append_span(out, error);
    } else if (step->status == STEP_READY && step->losses + step->silent_losses > 0) {
        text_append_span(out, error);
    } else if (step->status == STEP_READY && step->attempts > 0) {
        text_format(out, "attempt %u of %u", step->attempts + 1, max);
    }
}

static void put_facts(struct frame *frame, uint32_t index)
{
    const struct saga *saga = frame->view->saga;
    const struct saga_step *step = &saga->steps[index];
    char words[64];
    if (step->status != STEP_RUNNING) {
        return;
    }
    if (step->total > 0 && step->report_ms > step->attempt_ms) {
        snprintf(words, sizeof words, "%llu of %llu", (unsigned long long)step->current, (unsigned long long)step->total);
        note(frame, words);
    }
    int64_t rest_ms = step->cancel == 0 ? rest_of(step, frame->view->now_ms) : -1;
    if (rest_ms >= 0) {
        format_rest(rest_ms, words);
        note(frame, words);
    }
    if (step->execute_attempts > 1) {
        snprintf(words, sizeof words, "attempt %u of %u", step->execute_attempts, attempts_max(saga, index));
        note(frame, step->attempts + 1 == step->execute_attempts ? words : "");
    }
}

static void put_waiting(struct frame *frame, uint32_t index, const struct waiting_step *waiting)
{
    bool back = frame->view->saga->steps[index].direction == DIRECTION_ROLLBACK;
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
    if (!span_equal(waiting->handler, frame->view->saga->plan->steps[index].name)) {
        text_format(&words, " with '%.*s'", SPAN_ARGS(waiting->handler));
    }
    text_format(&words, " for %s", text_string(&age));
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

void put_step(struct frame *frame, uint32_t index)
{
    const struct saga *saga = frame->view->saga;
    const struct saga_step *step = &saga->steps[index];
    const struct look *look = look_of(saga, index);
    const struct waiting_step *waiting = waiting_of(frame->view, index);
    put_name(frame, saga->plan->steps[index].name);
    if (waiting != NULL) {
        put_waiting(frame, index, waiting);
        end_line(frame);
        return;
    }
    struct text reason;
    text_init(&reason, NOTE_BYTES_MAX);
    say_reason(frame->view, index, &reason);
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
        put_facts(frame, index);
    }
    text_fini(&reason);
    end_line(frame);
}
