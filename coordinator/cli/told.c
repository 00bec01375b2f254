/* SPDX-License-Identifier: Apache-2.0 */
/* What has changed in a run since it was looked at last, as plain lines. */
#include "common/limits.h"
#include "coordinator/cli/plain_line.h"
#include "coordinator/cli/screen.h"
#include "coordinator/cli/step_facts.h"

#include <stdlib.h>

struct told_step {
    uint8_t status, direction;
    bool begun, resolved;
    uint32_t ticket, losses;
    int64_t retry_ms;
    uint32_t instance_count; /* told of so far */
    struct told_step *instances;
};

void told_fini(struct told *told)
{
    for (uint32_t i = 0; i < told->step_count; i++) {
        free(told->steps[i].instances);
    }
    free(told->steps);
    *told = (struct told){0};
}

/* Remember what was told; the instances have entries of their own. */
static void see(struct told_step *seen, const struct saga_step *step)
{
    seen->status = step->status;
    seen->direction = step->direction;
    seen->begun = step->open && step->started;
    seen->resolved = step->resolved;
    seen->ticket = step->ticket;
    seen->losses = (uint32_t)step->losses + step->silent_losses;
    seen->retry_ms = saga_work(step)->retry_ms;
}

struct teller {
    const struct saga *saga;
    int64_t time_ms;
    struct text *out;
};

/* Instances are called "copy[7]". */
static void begin_step_line(const struct teller *teller, const struct saga_step *step, enum direction direction, const char *word)
{
    const struct saga *saga = teller->saga;
    struct text name;
    text_init(&name, LIMIT_NAME_BYTES + 16);
    text_append_span(&name, saga->plan->steps[step->index].name);
    if (step->instance > 0) {
        text_format(&name, "[%u]", step->instance);
    }
    plain_begin(teller->out, teller->time_ms, saga->run_id, saga, text_span(&name), plain_direction(direction), word);
    text_fini(&name);
}

static void tell_done(const struct teller *teller, const struct saga_step *step, enum direction direction)
{
    bool back = direction == DIRECTION_ROLLBACK;
    int64_t begun_ms = back ? saga_work(step)->rollback_begun_ms : saga_work(step)->begun_ms, ended_ms = back ? saga_work(step)->rollback_ended_ms : saga_work(step)->ended_ms;
    begin_step_line(teller, step, direction, "done");
    if (back && step->nothing_to_undo) {
        text_append_string(teller->out, "nothing to undo");
    } else {
        screen_duration(begun_ms > 0 ? ended_ms - begun_ms : 0, teller->out);
    }
    if (step->fan != NULL) {
        text_append_string(teller->out, "  ");
        step_say_counts(teller->saga, step, teller->out);
    }
    plain_end(teller->out);
}

static void append_error(const struct teller *teller, const struct saga_step *step, enum direction direction)
{
    text_append_visible(teller->out, direction == DIRECTION_ROLLBACK ? saga_step_text(step, TEXT_ROLLBACK_ERROR) : saga_step_text(step, TEXT_ERROR));
}

static uint32_t attempts_max(const struct saga *saga, const struct saga_step *step, enum direction direction)
{
    struct saga_step as_it_was = *step;
    as_it_was.direction = (uint8_t)direction;
    return saga_max_attempts(saga, &as_it_was);
}

static void tell_failed(const struct teller *teller, const struct saga_step *step, enum direction direction)
{
    uint32_t max = attempts_max(teller->saga, step, direction);
    /* Once it is being undone, `attempts` counts that. */
    uint32_t attempts = step->direction == (uint8_t)direction ? step->attempts : saga_work(step)->execute_attempts;
    begin_step_line(teller, step, direction, "failed");
    if (max > 1 && attempts > 0) {
        text_format(teller->out, "attempt %u of %u", attempts, max);
        if (saga_work(step)->retry_ms != 0) {
            text_append_string(teller->out, ", again in ");
            screen_duration(saga_work(step)->retry_ms - teller->time_ms, teller->out);
        }
        text_append_string(teller->out, ": ");
    }
    append_error(teller, step, direction);
    plain_end(teller->out);
}

/* A line that says no more than why. */
static void tell_plainly(const struct teller *teller, const struct saga_step *step, const char *word)
{
    begin_step_line(teller, step, (enum direction)step->direction, word);
    step_say_remark(teller->saga, step, teller->out);
    plain_end(teller->out);
}

static void tell_lost(const struct teller *teller, const struct saga_step *step)
{
    begin_step_line(teller, step, (enum direction)step->direction, "lost");
    append_error(teller, step, (enum direction)step->direction);
    plain_end(teller->out);
}

static bool execute_was_open(const struct told_step *before)
{
    return before->direction == DIRECTION_EXECUTE &&
           (before->status == STEP_WAITING || before->status == STEP_READY || before->status == STEP_RUNNING);
}

static bool has_failed(const struct saga_step *step)
{
    return step->status == STEP_FAILED || step->status == STEP_ROLLBACK_FAILED;
}

/* Of a step that fans out, each instance says for itself what became of it; only its own end is to be told. */
static bool is_told_by_instances(const struct saga_step *step)
{
    return step->fan != NULL && step->status != STEP_SUCCEEDED && step->status != STEP_SKIPPED;
}

/* Something of the step has ended. Its execute and the beginning of its rollback may be one event. */
static void tell_end(const struct teller *teller, const struct saga_step *step, const struct told_step *before)
{
    enum direction direction = (enum direction)step->direction;
    bool other = step->status != before->status || step->direction != before->direction;
    bool waits_again = saga_work(step)->retry_ms != 0 && saga_work(step)->retry_ms != before->retry_ms;
    uint32_t losses = (uint32_t)step->losses + step->silent_losses;
    if (is_told_by_instances(step)) {
        return;
    }
    if (step->resolved && !before->resolved) {
        tell_plainly(teller, step, step->status == STEP_SUCCEEDED ? "done" : "undone");
        return;
    }
    if (direction == DIRECTION_ROLLBACK && execute_was_open(before)) {
        (step->executed ? tell_done : tell_failed)(teller, step, DIRECTION_EXECUTE);
    }
    if (waits_again || (other && has_failed(step) && before->status != STEP_RETRYING)) {
        tell_failed(teller, step, direction);
    } else if (other && (step->status == STEP_SUCCEEDED || step->status == STEP_ROLLED_BACK)) {
        tell_done(teller, step, direction);
    } else if (other && step->status == STEP_SKIPPED) {
        tell_plainly(teller, step, "skipped");
    } else if (step->direction == before->direction && losses > before->losses) {
        tell_lost(teller, step);
    }
}

/* The heading of a pipeline that has begun is done, or undone, with the last of its steps; what fails says so itself. */
static void tell_heading(const struct teller *teller, struct told *told, uint32_t index)
{
    struct step_sum sum;
    const struct saga_step *shown = step_as_shown(teller->saga, index, &sum);
    struct told_step *before = &told->steps[index];
    bool back = shown->status == STEP_ROLLED_BACK;
    if (shown->status != before->status && (back || shown->status == STEP_SUCCEEDED)) {
        tell_done(teller, shown, back ? DIRECTION_ROLLBACK : DIRECTION_EXECUTE);
    }
    before->status = shown->status;
}

static bool is_open_heading(const struct saga *saga, const struct saga_step *step)
{
    return step_is_heading(saga->plan, step->index) && step->status == STEP_SUCCEEDED;
}

static void tell_begin(const struct teller *teller, const struct saga_step *step, const struct told_step *before)
{
    bool begun = step->open && step->started;
    bool known = before->begun && before->ticket == step->ticket && before->direction == step->direction;
    if (!begun || known) {
        return;
    }
    begin_step_line(teller, step, (enum direction)step->direction, "running");
    uint32_t max = saga_max_attempts(teller->saga, step);
    if (max > 1 && step->attempts > 0) {
        text_format(teller->out, "attempt %u of %u  ", step->attempts + 1, max);
    }
    if (saga_step_text(step, TEXT_WORKER).size > 0) {
        text_append_string(teller->out, "on ");
        text_append_visible(teller->out, saga_step_text(step, TEXT_WORKER));
    }
    plain_end(teller->out);
}

/* ---- the run */

struct span screen_reason(const struct saga *saga)
{
    static const char word[] = "cancelled";
    struct span reason = saga_trouble(saga)->error;
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
        plain_begin(teller->out, teller->time_ms, saga->run_id, saga, span_of("-"), "run",
                    run_status_name((enum run_status)saga->status));
        tell_run_details(teller);
        plain_end(teller->out);
    }
}

static void *must(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static bool told_is_ready(struct told *told, const struct saga *saga)
{
    if (told->steps == NULL) {
        told->steps = must(calloc(saga->plan->step_count, sizeof *told->steps));
        told->step_count = saga->plan->step_count;
    }
    return told->step_count == saga->plan->step_count;
}

/* What was told of that step or instance. */
static struct told_step *told_of(struct told *told, const struct saga *saga, const struct saga_step *step)
{
    struct told_step *whole = &told->steps[step->index];
    if (step->instance == 0) {
        return whole;
    }
    if (whole->instances == NULL) {
        whole->instance_count = saga->steps[step->index]->fan->count;
        whole->instances = must(calloc(whole->instance_count, sizeof *whole->instances));
    }
    return &whole->instances[step->instance - 1];
}

/* What is part of another comes before it: elements, and the steps under a heading. */
static void tell_ends(const struct teller *teller, struct told *told)
{
    const struct saga *saga = teller->saga;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        const struct saga_step *whole = saga->steps[i];
        for (uint32_t n = 0; whole->fan != NULL && n < whole->fan->count; n++) {
            tell_end(teller, &whole->fan->instances[n], told_of(told, saga, &whole->fan->instances[n]));
        }
        if (!is_open_heading(saga, whole)) {
            tell_end(teller, whole, &told->steps[i]);
        }
    }
    for (uint32_t i = saga->plan->step_count; i-- > 0;) {
        if (is_open_heading(saga, saga->steps[i])) {
            tell_heading(teller, told, i);
        }
    }
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
    tell_ends(&teller, told);
    if (!first || over) {
        tell_run(&teller, told->status);
    }
    for (const struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        struct told_step *seen = told_of(told, saga, step);
        tell_begin(&teller, step, seen);
        if (!is_open_heading(saga, step)) {
            see(seen, step);
        }
    }
    told->status = saga->status;
}
