/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/step_facts.h"

#include "common/json.h"

#include <stdio.h>
#include <string.h>

#define UNIT_BYTES_MAX 24 /* it stands in a line of notes */

static const struct plan_step *plan_of(const struct saga *saga, const struct saga_step *step)
{
    return &saga->plan->steps[step->index];
}

/* ---- pipelines in pipelines */

bool step_is_heading(const struct plan *plan, uint32_t index)
{
    return plan->steps[index].kind == PLAN_SCOPE;
}

uint32_t step_depth(const struct plan *plan, uint32_t index)
{
    uint32_t depth = 0;
    for (uint32_t scope = plan->steps[index].scope; scope > 0; scope = plan->steps[scope - 1].scope) {
        depth++;
    }
    return depth;
}

struct span step_short_name(const struct plan *plan, uint32_t index)
{
    struct span name = plan->steps[index].name;
    uint32_t scope = plan->steps[index].scope;
    struct span heading = scope > 0 ? plan->steps[scope - 1].name : (struct span){0};
    bool stands_under = scope > 0 && name.size > heading.size + 1 && memcmp(name.bytes, heading.bytes, heading.size) == 0 &&
                        name.bytes[heading.size] == '/';
    return stands_under ? (struct span){name.bytes + heading.size + 1, name.size - heading.size - 1} : name;
}

static bool is_part_of(const struct plan *plan, uint32_t index, uint32_t heading)
{
    for (uint32_t scope = plan->steps[index].scope; scope > 0; scope = plan->steps[scope - 1].scope) {
        if (scope - 1 == heading) {
            return true;
        }
    }
    return false;
}

/* What the steps under a heading amount to. */
struct sum {
    uint64_t weighted, weights, equal, count;
    bool is_in[STEP_NOT_RUN + 1]; /* some step has that status */
    bool executed;
    int64_t ended_ms, rollback_begun_ms, rollback_ended_ms;
};

static int64_t earlier(int64_t a, int64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static int64_t later(int64_t a, int64_t b)
{
    return b > a ? b : a;
}

static void sum_add(struct sum *sum, const struct saga_step *step, uint32_t weight)
{
    sum->weighted += (uint64_t)weight * step->fraction_ppm;
    sum->weights += weight;
    sum->equal += step->fraction_ppm;
    sum->count++;
    sum->is_in[step->status] = true;
    sum->executed = sum->executed && (step->executed || step->status == STEP_SKIPPED);
    const struct saga_step_work *work = saga_work(step);
    sum->ended_ms = later(sum->ended_ms, work->ended_ms);
    sum->rollback_begun_ms = earlier(sum->rollback_begun_ms, work->rollback_begun_ms);
    sum->rollback_ended_ms = later(sum->rollback_ended_ms, work->rollback_ended_ms);
}

/* The first row of which some step is: trouble before work, work before rest. */
static enum step_status sum_status(const struct sum *sum, bool going_back)
{
    static const struct {
        uint8_t of, shown;
    } rows[] = {
        {STEP_ROLLBACK_FAILED, STEP_ROLLBACK_FAILED},
        {STEP_ROLLING_BACK, STEP_ROLLING_BACK},
        {STEP_FAILED, STEP_FAILED},
        {STEP_RUNNING, STEP_RUNNING},
        {STEP_READY, STEP_RUNNING},
        {STEP_RETRYING, STEP_RUNNING},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (sum->is_in[rows[i].of]) {
            return (enum step_status)rows[i].shown;
        }
    }
    if (sum->is_in[STEP_ROLLED_BACK]) {
        return going_back && sum->is_in[STEP_SUCCEEDED] ? STEP_ROLLING_BACK : STEP_ROLLED_BACK;
    }
    if (sum->is_in[STEP_NOT_RUN]) {
        return sum->is_in[STEP_SUCCEEDED] ? STEP_SUCCEEDED : STEP_NOT_RUN;
    }
    return sum->is_in[STEP_WAITING] ? STEP_RUNNING : STEP_SUCCEEDED;
}

const struct saga_step *step_as_shown(const struct saga *saga, uint32_t index, struct step_sum *shown)
{
    const struct saga_step *step = saga->steps[index];
    if (!step_is_heading(saga->plan, index) || step->status != STEP_SUCCEEDED) {
        return step;
    }
    struct sum sum = {.executed = true};
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        if (is_part_of(saga->plan, i, index) && !step_is_heading(saga->plan, i)) {
            sum_add(&sum, saga->steps[i], saga->plan->steps[i].weight);
        }
    }
    if (sum.count == 0) {
        return step;
    }
    *shown = (struct step_sum){.step = *step, .work = *saga_work(step)};
    shown->step.work = &shown->work;
    shown->step.status = (uint8_t)sum_status(&sum, saga->status == RUN_ROLLING_BACK);
    shown->step.executed = sum.executed;
    shown->step.fraction_ppm = (uint32_t)(sum.weights > 0 ? sum.weighted / sum.weights : sum.equal / sum.count);
    shown->work.ended_ms = later(shown->work.ended_ms, sum.ended_ms);
    shown->work.rollback_begun_ms = sum.rollback_begun_ms;
    shown->work.rollback_ended_ms = sum.rollback_ended_ms;
    return &shown->step;
}

/* ---- fan-out */

const struct saga_step *step_first_instance(const struct saga_step *step, enum step_status status)
{
    for (uint32_t i = 0; step->fan != NULL && i < step->fan->count; i++) {
        if (step->fan->instances[i].status == (uint8_t)status) {
            return &step->fan->instances[i];
        }
    }
    return NULL;
}

static void say_elements(const struct saga *saga, const struct saga_step *step, struct text *out)
{
    static const struct {
        uint8_t status;
        const char *word;
    } forward[] = {
        {STEP_RUNNING, "running"}, {STEP_READY, "queued"}, {STEP_RETRYING, "to be tried again"}, {STEP_FAILED, "failed"}};
    uint32_t counts[STEP_NOT_RUN + 1] = {0};
    if (step->fan == NULL) {
        return;
    }
    for (uint32_t i = 0; i < step->fan->count; i++) {
        counts[step->fan->instances[i].status]++;
    }
    bool back =
        saga->status == RUN_ROLLING_BACK || (run_status_is_final((enum run_status)saga->status) && saga->status != RUN_SUCCEEDED);
    uint32_t undone = counts[STEP_ROLLED_BACK], left = counts[STEP_ROLLING_BACK] + counts[STEP_ROLLBACK_FAILED];
    const char *noun = step->fan->count == 1 ? "element" : "elements";
    if (back && undone + left > 0) {
        text_format(out, "%u of %u %s undone", undone, step->fan->count, noun);
        if (counts[STEP_ROLLBACK_FAILED] > 0) {
            text_format(out, ", %u not undone", counts[STEP_ROLLBACK_FAILED]);
        }
        return;
    }
    text_format(out, "%u of %u %s", counts[STEP_SUCCEEDED] + counts[STEP_SKIPPED], step->fan->count, noun);
    for (size_t i = 0; i < sizeof forward / sizeof *forward; i++) {
        if (counts[forward[i].status] > 0) {
            text_format(out, ", %u %s", counts[forward[i].status], forward[i].word);
        }
    }
}

/* ---- why */

static bool goes_back(const struct saga_step *step)
{
    return step->direction == DIRECTION_ROLLBACK;
}

static void say_next_attempt(const struct saga *saga, const struct saga_step *step, int64_t now_ms, struct text *out)
{
    int64_t rest_ms = saga_work(step)->retry_ms - now_ms, rest_s = rest_ms > 0 ? (rest_ms + 999) / 1000 : 0;
    text_format(out, "attempt %u of %u in %lld s: ", step->attempts + 1, saga_max_attempts(saga, step), (long long)rest_s);
    text_append_span(out, goes_back(step) ? saga_step_text(step, TEXT_ROLLBACK_ERROR) : saga_step_text(step, TEXT_ERROR));
}

/* Of an instance, whose trouble is that of the whole step. */
static void say_trouble_of(const struct saga *saga, const struct saga_step *instance, int64_t now_ms, struct text *out)
{
    text_format(out, "element %u: ", instance->instance);
    step_say_reason(saga, instance, now_ms, out);
}

static const struct saga_step *instance_to_blame(const struct saga *saga, const struct saga_step *step)
{
    if (step->fan == NULL || step->status == STEP_RUNNING) {
        return NULL; /* while it runs, the counts say enough */
    }
    const struct saga_step *stuck = step_first_instance(step, STEP_ROLLBACK_FAILED);
    bool is_cause = saga_trouble(saga)->cause_step == step->index && saga_trouble(saga)->cause_instance > 0;
    return stuck != NULL ? stuck
           : is_cause    ? saga_find_step(saga, step->index, saga_trouble(saga)->cause_instance)
                         : step_first_instance(step, STEP_FAILED);
}

void step_say_reason(const struct saga *saga, const struct saga_step *step, int64_t now_ms, struct text *out)
{
    const struct saga_step *instance = instance_to_blame(saga, step);
    bool trying = (step->status == STEP_RETRYING || step->status == STEP_ROLLING_BACK) && saga_work(step)->retry_ms != 0;
    bool ended = step->status == STEP_FAILED || step->status == STEP_ROLLED_BACK || step->status == STEP_ROLLBACK_FAILED;
    bool back = goes_back(step) && step->status != STEP_ROLLED_BACK;
    struct span error = back ? saga_step_text(step, TEXT_ROLLBACK_ERROR) : saga_step_text(step, TEXT_ERROR);
    uint32_t attempts = step->status == STEP_ROLLBACK_FAILED ? step->attempts : saga_work(step)->execute_attempts;
    if (instance != NULL) {
        say_trouble_of(saga, instance, now_ms, out);
    } else if (trying) {
        say_next_attempt(saga, step, now_ms, out);
    } else if (ended && error.size > 0 && (!step->executed || step->status == STEP_ROLLBACK_FAILED)) {
        if (attempts > 1) {
            text_format(out, "after %u attempts: ", attempts);
        }
        text_append_span(out, error);
    } else if (step->status == STEP_READY && step->losses + step->silent_losses > 0) {
        text_append_span(out, error);
    } else if (step->status == STEP_READY && step->attempts > 0) {
        text_format(out, "attempt %u of %u", step->attempts + 1, saga_max_attempts(saga, step));
    }
}

void step_say_remark(const struct saga *saga, const struct saga_step *step, struct text *out)
{
    const struct plan_step *plan = plan_of(saga, step);
    if (step->resolved) {
        text_append_string(out, "resolved by a person");
    } else if (step->status == STEP_SKIPPED && plan->scope > 0 && saga->steps[plan->scope - 1]->status == STEP_SKIPPED) {
        text_append_string(out, "with the pipeline it is part of");
    } else if (step->status == STEP_SKIPPED && plan->when.size > 0) {
        text_append_string(out, "its condition: ");
        text_append_span(out, plan->when);
    }
}

/* ---- how long */

struct pace {
    int64_t begun_ms, last_ms; /* of the work, and of what is known of it last */
    uint64_t current, total;
};

static struct pace pace_of_fan(const struct saga_step *step)
{
    struct pace pace = {.begun_ms = saga_work(step)->begun_ms, .total = step->fan->count};
    for (uint32_t i = 0; i < step->fan->count; i++) {
        const struct saga_step *instance = &step->fan->instances[i];
        const struct saga_step_work *work = saga_work(instance);
        bool ended = instance->status == STEP_SUCCEEDED || instance->status == STEP_SKIPPED;
        pace.current += ended;
        pace.last_ms = ended ? later(pace.last_ms, work->ended_ms) : pace.last_ms;
        pace.begun_ms = ended && work->begun_ms > 0 && work->begun_ms < pace.begun_ms ? work->begun_ms : pace.begun_ms;
    }
    return pace;
}

int64_t step_rest_ms(const struct saga *saga, const struct saga_step *step, int64_t now_ms)
{
    bool fans_out = step->fan != NULL;
    bool works = step->status == STEP_RUNNING && step->cancel == 0 && !saga->stopping && !(fans_out && saga->status == RUN_PAUSED);
    if (!works) {
        return -1;
    }
    const struct saga_step_work *work = saga_work(step);
    struct pace pace = fans_out ? pace_of_fan(step) : (struct pace){work->attempt_ms, work->report_ms, work->current, work->total};
    int64_t took_ms = pace.last_ms - pace.begun_ms, since_ms = now_ms - pace.last_ms;
    bool known =
        pace.begun_ms > 0 && took_ms >= 1000 && pace.total > 0 && pace.current >= pace.total / 30 + 1 && pace.current < pace.total;
    if (!known) {
        return -1;
    }
    double rest_ms = (double)took_ms * (double)(pace.total - pace.current) / (double)pace.current - (double)since_ms;
    return rest_ms > 0 && rest_ms < 1e12 ? (int64_t)rest_ms : -1;
}

void step_say_rest(int64_t rest_ms, struct text *out)
{
    int64_t seconds = (rest_ms + 999) / 1000;
    if (seconds < 100) {
        text_format(out, "about %lld s left", (long long)seconds);
    } else if (seconds < 100 * 60) {
        text_format(out, "about %lld min left", (long long)((seconds + 30) / 60));
    } else {
        text_format(out, "about %lld h left", (long long)((seconds + 1800) / 3600));
    }
}

static void say_unit(const struct saga_step *step, struct text *out)
{
    json_t *metrics = saga_step_text(step, TEXT_METRICS).size > 0 ? json_read_object(saga_step_text(step, TEXT_METRICS), NULL) : NULL;
    const char *unit = metrics != NULL ? json_string_value(json_object_get(metrics, "unit")) : NULL;
    if (unit != NULL && unit[0] != '\0' && strlen(unit) <= UNIT_BYTES_MAX) {
        text_append_char(out, ' ');
        text_append_visible(out, span_of(unit));
    }
    json_decref(metrics);
}

void step_say_counts(const struct saga *saga, const struct saga_step *step, struct text *out)
{
    const struct saga_step_work *work = saga_work(step);
    if (step->fan != NULL) {
        say_elements(saga, step, out);
    } else if (work->total > 0 && work->report_ms > work->attempt_ms) {
        text_format(out, "%llu of %llu", (unsigned long long)work->current, (unsigned long long)work->total);
        say_unit(step, out);
    }
}

/* ---- who is waited for */

static bool may_wait(const struct saga *saga, const struct saga_step *step, uint32_t instance)
{
    const struct saga_step *one = saga_find_step(saga, step->index, instance);
    return one != NULL && one->open && !one->started;
}

const struct waiting_step *step_waiting(const struct saga *saga, const struct saga_step *step, const struct waiting_step *waiting,
                                        size_t count)
{
    if (step_first_instance(step, STEP_RUNNING) != NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (waiting[i].step == step->index && may_wait(saga, step, waiting[i].instance)) {
            return &waiting[i];
        }
    }
    return NULL;
}

void step_say_start_timeout(const struct saga *saga, const struct saga_step *step, int64_t now_ms, struct text *out)
{
    int64_t timeout_ms = plan_of(saga, step)->start_timeout_ms;
    bool counts = timeout_ms > 0 && step->open && !step->started && !goes_back(step) && saga->status != RUN_PAUSED;
    if (counts) {
        int64_t rest_ms = step->ready_ms + timeout_ms - now_ms;
        text_format(out, ", gives up in %lld s", (long long)(rest_ms > 0 ? (rest_ms + 999) / 1000 : 0));
    }
}

/* ---- the run */

bool saga_is_at_rest(const struct saga *saga)
{
    if (saga->status != RUN_PAUSED) {
        return false;
    }
    for (const struct saga_step *step = saga->active; step != NULL; step = step->active_next) {
        if (step->open) {
            return false;
        }
    }
    return true;
}

const char *saga_pause_hint(const struct saga *saga)
{
    if (!saga->held) {
        return "resume lets it go on, rollback undoes it";
    }
    return saga->plan != NULL && saga->plan->pause_on_failure ? "a step failed: retry, roll back or resolve it"
                                                              : "a step failed: retry or resolve it; resume rolls it back";
}
