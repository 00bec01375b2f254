/* SPDX-License-Identifier: Apache-2.0 */
/* What has changed in a run since it was looked at last, as plain lines. */
#include "coordinator/cli/plain_line.h"
#include "coordinator/cli/screen.h"

#include <stdlib.h>

struct told_step {
    uint8_t status, direction;
    bool begun;
    uint32_t ticket, losses;
    int64_t retry_ms;
};

void told_fini(struct told *told)
{
    free(told->steps);
    *told = (struct told){0};
}

static struct told_step seen_of(const struct saga_step *step)
{
    bool runs = step->open && step->started;
    return (struct told_step){
        .status = step->status,
        .direction = step->direction,
        .begun = runs,
        .ticket = step->ticket,
        .losses = (uint32_t)step->losses + step->silent_losses,
        .retry_ms = step->retry_ms,
    };
}

struct teller {
    const struct saga *saga;
    int64_t time_ms;
    struct text *out;
};

static uint32_t attempts_max(const struct saga *saga, uint32_t index, enum direction direction)
{
    const struct plan_retry rollback = PLAN_RETRY_ROLLBACK;
    uint32_t max = direction == DIRECTION_ROLLBACK ? rollback.max_attempts : saga->plan->steps[index].retry.max_attempts;
    return max > 0 ? max : 1;
}

static const struct saga_step *begin_step_line(const struct teller *teller, uint32_t index, enum direction direction, const char *word)
{
    plain_begin(teller->out, teller->time_ms, teller->saga->run_id, teller->saga, teller->saga->plan->steps[index].name,
                plain_direction(direction), word);
    return &teller->saga->steps[index];
}

static void tell_done(const struct teller *teller, uint32_t index, enum direction direction)
{
    const struct saga_step *step = begin_step_line(teller, index, direction, "done");
    bool back = direction == DIRECTION_ROLLBACK;
    int64_t begun_ms = back ? step->rollback_begun_ms : step->begun_ms, ended_ms = back ? step->rollback_ended_ms : step->ended_ms;
    if (back && step->nothing_to_undo) {
        text_append_string(teller->out, "nothing to undo");
    } else {
        screen_duration(begun_ms > 0 ? ended_ms - begun_ms : 0, teller->out);
    }
    plain_end(teller->out);
}

static void append_error(const struct teller *teller, uint32_t index, enum direction direction)
{
    const struct saga_step *step = &teller->saga->steps[index];
    text_append_visible(teller->out, direction == DIRECTION_ROLLBACK ? step->rollback_error : step->error);
}

static void tell_failed(const struct teller *teller, uint32_t index, enum direction direction)
{
    const struct saga_step *step = begin_step_line(teller, index, direction, "failed");
    uint32_t max = attempts_max(teller->saga, index, direction);
    /* Once it is being undone, `attempts` counts that. */
    uint32_t attempts = step->direction == (uint8_t)direction ? step->attempts : step->execute_attempts;
    if (max > 1 && attempts > 0) {
        text_format(teller->out, "attempt %u of %u", attempts, max);
        if (step->retry_ms != 0) {
            text_append_string(teller->out, ", again in ");
            screen_duration(step->retry_ms - teller->time_ms, teller->out);
        }
        text_append_string(teller->out, ": ");
    }
    append_error(teller, index, direction);
    plain_end(teller->out);
}

static void tell_lost(const struct teller *teller, uint32_t index, enum direction direction)
{
    begin_step_line(teller, index, direction, "lost");
    append_error(teller, index, direction);
    plain_end(teller->out);
}

static bool execute_was_open(const struct told_step *before)
{
    return before->direction == DIRECTION_EXECUTE &&
           (before->status == STEP_WAITING || before->status == STEP_READY || before->status == STEP_RUNNING);
}

/* Something of the step has ended. Its execute and the beginning of its rollback may be one event. */
static void tell_end(const struct teller *teller, uint32_t index, const struct told_step *before)
{
    const struct saga_step *step = &teller->saga->steps[index];
    struct told_step now = seen_of(step);
    enum direction direction = (enum direction)now.direction;
    bool other = now.status != before->status || now.direction != before->direction;
    bool waits_again = now.retry_ms != 0 && now.retry_ms != before->retry_ms;
    if (direction == DIRECTION_ROLLBACK && execute_was_open(before)) {
        (step->executed ? tell_done : tell_failed)(teller, index, DIRECTION_EXECUTE);
    }
    if (waits_again || (other && (now.status == STEP_FAILED || now.status == STEP_ROLLBACK_FAILED) && before->status != STEP_RETRYING)) {
        tell_failed(teller, index, direction);
    } else if (other && (now.status == STEP_SUCCEEDED || now.status == STEP_ROLLED_BACK)) {
        tell_done(teller, index, direction);
    } else if (other && now.status == STEP_SKIPPED) {
        begin_step_line(teller, index, direction, "skipped");
        plain_end(teller->out);
    } else if (now.direction == before->direction && now.losses > before->losses) {
        tell_lost(teller, index, direction);
    }
}

static void tell_begin(const struct teller *teller, uint32_t index, const struct told_step *before)
{
    const struct saga_step *step = &teller->saga->steps[index];
    struct told_step now = seen_of(step);
    bool known = before->begun && before->ticket == now.ticket && before->direction == now.direction;
    if (!now.begun || known) {
        return;
    }
    begin_step_line(teller, index, (enum direction)now.direction, "running");
    uint32_t max = attempts_max(teller->saga, index, (enum direction)now.direction);
    if (max > 1 && step->attempts > 0) {
        text_format(teller->out, "attempt %u of %u  ", step->attempts + 1, max);
    }
    if (step->worker.size > 0) {
        text_append_string(teller->out, "on ");
        text_append_visible(teller->out, step->worker);
    }
    plain_end(teller->out);
}

/* ---- the run */

struct span screen_reason(const struct saga *saga)
{
    static const char word[] = "cancelled";
    struct span reason = saga->error;
    size_t size = sizeof word - 1;
    bool repeats = saga->status == RUN_CANCELLED && reason.size >= size && memcmp(reason.bytes, word, size) == 0;
    if (!repeats) {
        return reason;
    }
    size += reason.size > size + 1 && reason.bytes[size] == ':' ? 2 : 0;
    return (struct span){reason.bytes + size, reason.size - size};
}

static void tell_run_details(const struct teller *teller)
{
    const struct saga *saga = teller->saga;
    struct span reason = screen_reason(saga);
    if (run_status_is_final((enum run_status)saga->status)) {
        screen_duration(saga->finished_ms - saga->started_ms, teller->out);
        text_append_string(teller->out, reason.size > 0 ? ": " : "");
    }
    text_append_visible(teller->out, reason);
}

static void tell_run(const struct teller *teller, uint8_t before)
{
    const struct saga *saga = teller->saga;
    if (saga->status == before) {
        return;
    }
    if (before == RUN_NONE) {
        plain_begin(teller->out, teller->time_ms, saga->run_id, saga, span_of("-"), "run", "started");
        text_append_visible(teller->out, saga->plan->name);
        text_format(teller->out, ", %u step%s", saga->plan->step_count, saga->plan->step_count == 1 ? "" : "s");
        plain_end(teller->out);
    }
    if (saga->status != RUN_PENDING && !(saga->status == RUN_RUNNING && before <= RUN_PENDING)) {
        plain_begin(teller->out, teller->time_ms, saga->run_id, saga, span_of("-"), "run", run_status_name((enum run_status)saga->status));
        tell_run_details(teller);
        plain_end(teller->out);
    }
}

static bool told_is_ready(struct told *told, const struct saga *saga)
{
    if (told->steps == NULL) {
        told->steps = calloc(saga->plan->step_count, sizeof *told->steps);
        told->step_count = told->steps != NULL ? saga->plan->step_count : 0;
    }
    return told->step_count == saga->plan->step_count;
}

void told_update(struct told *told, const struct saga *saga, int64_t time_ms, struct text *out)
{
    if (saga == NULL || saga->status == RUN_NONE || saga->plan == NULL || !told_is_ready(told, saga)) {
        return;
    }
    struct teller teller = {saga, time_ms, out};
    bool first = told->status == RUN_NONE, over = saga_is_over(saga);
    if (first && !over) {
        tell_run(&teller, told->status);
    }
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        tell_end(&teller, i, &told->steps[i]);
    }
    if (!first || over) {
        tell_run(&teller, told->status);
    }
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        tell_begin(&teller, i, &told->steps[i]);
        told->steps[i] = seen_of(&saga->steps[i]);
    }
    told->status = saga->status;
}
