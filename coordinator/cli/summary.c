/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/summary.h"

#include "common/json.h"
#include "common/limits.h"
#include "coordinator/cli/screen.h"
#include "coordinator/cli/step_facts.h"

#include <stdio.h>
#include <time.h>

/* ---- pieces */

void append_timestamp(struct text *out, int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    char words[40];
    gmtime_r(&seconds, &parts);
    strftime(words, sizeof words, "%Y-%m-%dT%H:%M:%S", &parts);
    text_format(out, "%s.%03dZ", words, (int)(time_ms % 1000));
}

void append_time_of_day(struct text *out, int64_t time_ms, int64_t now_ms)
{
    time_t seconds = (time_t)(time_ms / 1000), now = (time_t)(now_ms / 1000);
    struct tm parts, today;
    char words[40];
    localtime_r(&seconds, &parts);
    localtime_r(&now, &today);
    bool is_today = parts.tm_year == today.tm_year && parts.tm_yday == today.tm_yday;
    strftime(words, sizeof words, is_today ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &parts);
    text_append_string(out, words);
}

static void append_padded(struct text *out, struct span span, uint32_t width)
{
    text_append_visible(out, span);
    for (uint32_t i = screen_width(span); i < width; i++) {
        text_append_char(out, ' ');
    }
}

enum exit_code summary_exit_code(enum run_status status)
{
    switch (status) {
    case RUN_SUCCEEDED: return EXIT_DONE;
    case RUN_ROLLED_BACK: return EXIT_ROLLED_BACK;
    case RUN_ROLLBACK_INCOMPLETE: return EXIT_INCOMPLETE;
    case RUN_CANCELLED: return EXIT_CANCELLED;
    case RUN_PAUSED: return EXIT_PAUSED;
    default: return EXIT_UNREACHABLE; /* it goes on */
    }
}

static struct span pipeline_of(const struct run *run)
{
    const struct run_view *view = run_view(run);
    return run->saga.plan != NULL ? run->saga.plan->name : span_of(view != NULL ? view->pipeline : NULL);
}

static uint32_t steps_total(const struct run *run)
{
    const struct run_view *view = run_view(run);
    return run->saga.plan != NULL ? run->saga.plan->step_count : view != NULL ? view->steps_total : 0;
}

static uint32_t steps_executed(const struct run *run)
{
    const struct run_view *view = run_view(run);
    return run->saga.plan != NULL ? saga_steps_executed(&run->saga) : view != NULL ? view->steps_executed : 0;
}

static int64_t run_duration_ms(const struct saga *saga, int64_t now_ms)
{
    int64_t end_ms = saga->finished_ms > 0 ? saga->finished_ms : now_ms;
    return saga->started_ms > 0 && end_ms > saga->started_ms ? end_ms - saga->started_ms : 0;
}

static int64_t step_duration_ms(const struct saga_step *step, int64_t now_ms)
{
    const struct saga_step_work *work = saga_work(step);
    if (work->begun_ms == 0) {
        return 0;
    }
    /* An attempt before this one may have ended. */
    int64_t end_ms = work->ended_ms > 0 && step->status != STEP_RUNNING ? work->ended_ms : now_ms;
    return end_ms > work->begun_ms ? end_ms - work->begun_ms : 0;
}

static const struct waiting_step *waiting_of(const struct run *run, const struct saga_step *step)
{
    const struct run_view *view = run_view(run);
    return view != NULL ? step_waiting(&run->saga, step, view->waiting, view->waiting_count) : NULL;
}

/* ---- JSON */

static void append_json_text(struct text *out, const char *name, struct span span)
{
    text_format(out, "\"%s\":", name);
    if (span.size == 0) {
        text_append_string(out, "null");
    } else {
        text_append_json_string(out, span);
    }
}

static void append_json_seconds(struct text *out, int64_t duration_ms)
{
    text_format(out, "\"duration_seconds\":%lld.%03lld", (long long)(duration_ms / 1000), (long long)(duration_ms % 1000));
}

/* Percent with as many decimals as it has, at most four. */
static void append_percent(struct text *out, uint32_t ppm)
{
    text_format(out, "%u", ppm / 10000);
    uint32_t rest = ppm % 10000;
    if (rest != 0) {
        char digits[8];
        int length = snprintf(digits, sizeof digits, "%04u", rest);
        while (length > 0 && digits[length - 1] == '0') {
            length--;
        }
        text_format(out, ".%.*s", length, digits);
    }
}

/* What a worker sent as JSON is passed on as it is, if it is JSON: the log may hold anything. */
static void append_json_data(struct text *out, struct span data)
{
    json_t *json = data.size > 0 ? json_read(data, NULL) : NULL;
    if (data.size == 0) {
        text_append_string(out, "null");
    } else if (json != NULL) {
        json_write(json, out);
    } else {
        text_append_json_string(out, data);
    }
    json_decref(json);
}

static void append_json_waiting(struct text *out, const struct waiting_step *waiting)
{
    text_append_string(out, ",\"waiting\":{\"handler\":");
    text_append_json_string(out, waiting->handler);
    text_append_string(out, ",\"queue\":");
    text_append_json_string(out, waiting->queue);
    text_append_string(out, ",\"since\":\"");
    append_timestamp(out, waiting->since_ms);
    text_append_string(out, "\"}");
}

/* Why it failed, if it did: what a lost or earlier attempt left behind is no error of a step that goes on or went well. */
static struct span failure_of(const struct saga_step *step)
{
    bool may_have_failed = step->status == STEP_RETRYING || step->status == STEP_FAILED || step->status == STEP_ROLLING_BACK ||
                           step->status == STEP_ROLLED_BACK || step->status == STEP_ROLLBACK_FAILED;
    return may_have_failed && !step->executed ? saga_step_text(step, TEXT_ERROR) : (struct span){0};
}

/* Of a step that fans out: what its instances amount to, and those that stay in trouble. */
static void append_json_instances(struct text *out, const struct saga_step *step)
{
    uint32_t running = 0, listed = 0;
    for (uint32_t i = 0; i < step->fan->count; i++) {
        running += step->fan->instances[i].open;
    }
    text_format(out, ",\"instances\":{\"count\":%u,\"done\":%u,\"running\":%u,\"failed\":[", step->fan->count, step->fan->done,
                running);
    for (uint32_t i = 0; i < step->fan->count; i++) {
        const struct saga_step *instance = &step->fan->instances[i];
        bool back = instance->status == STEP_ROLLBACK_FAILED;
        if (back || instance->status == STEP_FAILED) {
            text_format(out, "%s{\"instance\":%u,\"status\":\"%s\",", listed++ > 0 ? "," : "", i + 1,
                        step_status_name((enum step_status)instance->status));
            append_json_text(out, "error", back ? saga_step_text(instance, TEXT_ROLLBACK_ERROR) : saga_step_text(instance, TEXT_ERROR));
            text_append_char(out, '}');
        }
    }
    text_append_string(out, "]}");
}

/* Its result; of a step that fans out, the list of theirs. */
static void append_json_result(struct text *out, const struct saga_step *step)
{
    if (step->fan == NULL) {
        append_json_data(out, step->executed ? saga_step_text(step, TEXT_DATA) : (struct span){0});
        return;
    }
    text_append_string(out, step->executed ? "[" : "null");
    for (uint32_t i = 0; step->executed && i < step->fan->count; i++) {
        text_append_string(out, i > 0 ? "," : "");
        append_json_data(out, saga_step_text(&step->fan->instances[i], TEXT_DATA));
    }
    text_append_string(out, step->executed ? "]" : "");
}

/* What only some steps have to say. */
static void append_json_extras(struct text *out, const struct run *run, const struct saga_step *step, int64_t now_ms)
{
    int64_t rest_ms = step_rest_ms(&run->saga, step, now_ms);
    const struct waiting_step *waiting = waiting_of(run, step);
    if (waiting != NULL) {
        append_json_waiting(out, waiting);
    }
    if (saga_work(step)->retry_ms != 0) {
        text_append_string(out, ",\"next_attempt\":\"");
        append_timestamp(out, saga_work(step)->retry_ms);
        text_append_char(out, '"');
    }
    if (step->fan != NULL) {
        append_json_instances(out, step);
    }
    if (rest_ms >= 0) {
        text_format(out, ",\"remaining_seconds\":%lld", (long long)((rest_ms + 999) / 1000));
    }
    if (step->resolved) {
        text_append_string(out, ",\"resolved\":true");
    }
    if (step_is_heading(run->saga.plan, step->index)) {
        text_append_string(out, ",\"progress\":");
        append_percent(out, step->fraction_ppm);
    }
}

static void append_json_step(struct text *out, const struct run *run, uint32_t index, int64_t now_ms)
{
    struct step_sum sum;
    const struct saga_step *step = step_as_shown(&run->saga, index, &sum);
    text_append_string(out, index > 0 ? ",{\"name\":" : "{\"name\":");
    text_append_json_string(out, run->saga.plan->steps[index].name);
    text_format(out, ",\"status\":\"%s\",\"attempts\":%u,", step_status_name((enum step_status)step->status),
                saga_work(step)->execute_attempts);
    append_json_seconds(out, step_duration_ms(step, now_ms));
    text_append_string(out, ",\"data\":");
    append_json_result(out, step);
    text_append_char(out, ',');
    append_json_text(out, "error", failure_of(step));
    text_append_char(out, ',');
    append_json_text(out, "rollback_error", saga_step_text(step, TEXT_ROLLBACK_ERROR));
    append_json_extras(out, run, step, now_ms);
    text_append_char(out, '}');
}

static void append_json_pause(struct text *out, const struct run *run)
{
    const struct run_view *view = run_view(run);
    text_append_string(out, ",\"paused\":{\"since\":\"");
    append_timestamp(out, saga_trouble(&run->saga)->pause_ms);
    text_format(out, "\",\"held\":%s,", run->saga.held ? "true" : "false");
    append_json_text(out, "reason", span_of(view != NULL ? view->pause_reason : NULL));
    text_append_char(out, '}');
}

static void append_json_head(struct text *out, const struct run *run, int64_t now_ms)
{
    const struct saga *saga = &run->saga;
    text_append_string(out, "{\"run_id\":");
    text_append_json_string(out, saga->run_id);
    text_append_string(out, ",\"pipeline\":");
    text_append_json_string(out, pipeline_of(run));
    text_format(out, ",\"success\":%s,\"status\":\"%s\",\"steps_executed\":%u,\"steps_total\":%u,\"progress\":",
                saga->status == RUN_SUCCEEDED ? "true" : "false", run_status_name(saga->status), steps_executed(run),
                steps_total(run));
    append_percent(out, saga->progress_ppm);
    text_append_char(out, ',');
    append_json_text(out, "error", saga_trouble(saga)->error);
    text_append_char(out, ',');
    append_json_seconds(out, run_duration_ms(saga, now_ms));
    if (saga->status == RUN_PAUSED) {
        append_json_pause(out, run);
    }
}

void summary_json(const struct run *run, int64_t now_ms, struct text *out)
{
    append_json_head(out, run, now_ms);
    text_append_string(out, ",\"steps\":[");
    for (uint32_t i = 0; run->saga.plan != NULL && i < run->saga.plan->step_count; i++) {
        append_json_step(out, run, i, now_ms);
    }
    text_append_string(out, "]}");
}

void summary_list_json(const struct run *run, int64_t now_ms, struct text *out)
{
    append_json_head(out, run, now_ms);
    text_append_string(out, ",\"started\":\"");
    append_timestamp(out, run->saga.started_ms);
    text_append_string(out, "\"}");
}

/* ---- text */

static uint32_t indent_of(const struct plan *plan, uint32_t index)
{
    return 2 + 2 * step_depth(plan, index);
}

static uint32_t name_width(const struct plan *plan)
{
    uint32_t width = 0;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        uint32_t columns = indent_of(plan, i) + screen_width(step_short_name(plan, i));
        width = columns > width ? columns : width;
    }
    return width < 42 ? width : 42;
}

/* Who of that queue is or was there: else the reader has to look for himself why nobody takes it. */
static void append_seen(struct text *out, const struct waiting_step *waiting, const struct roster *roster, int64_t now_ms)
{
    struct roster_seen seen = roster_seen_of(roster, waiting->queue, waiting->handler, now_ms);
    if (seen.alive > 0) {
        text_format(out, "; %u worker%s of it %s there, and serve%s other handlers", seen.alive, seen.alive == 1 ? "" : "s",
                    seen.alive == 1 ? "is" : "are", seen.alive == 1 ? "s" : "");
    } else if (seen.last_ms > 0) {
        text_append_string(out, "; none has been seen since ");
        append_time_of_day(out, seen.last_ms, now_ms);
    } else {
        text_append_string(out, "; none has been seen");
    }
}

static void append_wait(struct text *out, const struct saga *saga, const struct saga_step *step, const struct waiting_step *waiting,
                        const struct roster *roster, int64_t now_ms)
{
    text_append_string(out, "waiting for a worker of queue '");
    text_append_visible(out, waiting->queue);
    text_append_string(out, "' that serves '");
    text_append_visible(out, waiting->handler);
    text_append_string(out, "', for ");
    screen_duration(now_ms - waiting->since_ms, out);
    step_say_start_timeout(saga, step, now_ms, out);
    if (roster != NULL) {
        append_seen(out, waiting, roster, now_ms);
    }
}

static void append_counts(struct text *out, const struct saga *saga, const struct saga_step *step, int64_t now_ms)
{
    size_t size = out->size;
    text_append_string(out, "  ");
    step_say_counts(saga, step, out);
    if (out->size == size + 2) {
        out->bytes[out->size = size] = '\0';
    }
    int64_t rest_ms = step_rest_ms(saga, step, now_ms);
    if (rest_ms >= 0) {
        text_append_string(out, "  ");
        step_say_rest(rest_ms, out);
    }
}

/* What there is to say of a step beyond its status. */
static void append_step_details(struct text *out, const struct saga *saga, const struct saga_step *step, int64_t now_ms)
{
    if (step->status == STEP_RUNNING) {
        text_format(out, "  %3u %%", screen_percent(step->fraction_ppm));
    }
    if (saga_work(step)->begun_ms > 0) {
        text_append_string(out, "  ");
        screen_duration(step_duration_ms(step, now_ms), out);
    }
    if (step->status == STEP_RUNNING || step->fan != NULL) {
        append_counts(out, saga, step, now_ms);
    }
    if (step->status == STEP_RUNNING && saga_work(step)->execute_attempts > 1) {
        text_format(out, "  attempt %u of %u", saga_work(step)->execute_attempts, saga_max_attempts(saga, step));
    }
    struct text reason;
    text_init(&reason, 2 * LIMIT_MESSAGE_BYTES);
    step_say_reason(saga, step, now_ms, &reason);
    if (reason.size == 0 || step->resolved) {
        text_append_string(&reason, reason.size > 0 ? "; " : "");
        step_say_remark(saga, step, &reason);
    }
    text_append_string(out, reason.size > 0 ? "  " : "");
    text_append_visible(out, text_span(&reason));
    text_fini(&reason);
}

static void append_step(struct text *out, const struct run *run, uint32_t index, const struct roster *roster, uint32_t width,
                        int64_t now_ms)
{
    const struct plan *plan = run->saga.plan;
    struct step_sum sum;
    const struct saga_step *step = step_as_shown(&run->saga, index, &sum);
    uint32_t indent = indent_of(plan, index);
    append_padded(out, span_of(""), indent);
    append_padded(out, step_short_name(plan, index), width + 2 > indent ? width + 2 - indent : 2);
    const struct waiting_step *waiting = waiting_of(run, step);
    if (waiting != NULL) {
        append_wait(out, &run->saga, step, waiting, roster, now_ms);
    } else {
        text_append_string(out, step_status_name((enum step_status)step->status));
        append_step_details(out, &run->saga, step, now_ms);
    }
    text_append_char(out, '\n');
}

static void append_pause(struct text *out, const struct run *run, int64_t now_ms)
{
    const struct saga *saga = &run->saga;
    const struct run_view *view = run_view(run);
    text_append_string(out, "  paused for ");
    screen_duration(now_ms - saga_trouble(saga)->pause_ms, out);
    if (!saga->held && view != NULL && view->pause_reason != NULL) {
        text_append_string(out, ": ");
        text_append_visible(out, span_of(view->pause_reason));
    }
    text_format(out, "; %s\n", saga_pause_hint(saga));
}

void summary_text(const struct run *run, const struct roster *roster, int64_t now_ms, struct text *out)
{
    const struct saga *saga = &run->saga;
    const struct run_view *view = run_view(run);
    text_append_visible(out, saga->run_id);
    if (view != NULL && view->newer) {
        text_append_string(out, "  was started for a newer Backstep: this one cannot tell its state\n");
        return;
    }
    text_format(out, "  %s  %u %%  started ", run_status_name(saga->status), saga->progress_ppm / 10000);
    append_time_of_day(out, saga->started_ms, now_ms);
    text_append_string(out, saga->finished_ms > 0 ? ", took " : ", ");
    screen_duration(run_duration_ms(saga, now_ms), out);
    text_append_string(out, saga->finished_ms > 0 ? "\n" : " ago\n");
    if (saga->status == RUN_PAUSED) {
        append_pause(out, run, now_ms);
    }
    uint32_t width = saga->plan != NULL ? name_width(saga->plan) : 0;
    for (uint32_t i = 0; saga->plan != NULL && i < saga->plan->step_count; i++) {
        append_step(out, run, i, roster, width, now_ms);
    }
    if (saga->plan == NULL && saga_is_over(saga)) {
        text_format(out, "  %u of %u steps of '", steps_executed(run), steps_total(run));
        text_append_visible(out, pipeline_of(run));
        text_append_string(out, "' were executed; more is not known: its beginning is older than what the log keeps\n");
    }
    if (view != NULL && view->waiting_for_workers > 0) {
        text_format(out, "  a new coordinator waits for %lld workers to say what they hold\n",
                    (long long)view->waiting_for_workers);
    }
    if (saga_trouble(saga)->error.size > 0) {
        text_append_visible(out, saga_trouble(saga)->error);
        text_append_char(out, '\n');
    }
}

void summary_phrase(const struct run *run, int64_t now_ms, struct text *out)
{
    text_format(out, "%s, %u %%, started ", run_status_name((enum run_status)run->saga.status),
                screen_percent(run->saga.progress_ppm));
    append_time_of_day(out, run->saga.started_ms, now_ms);
}

#define RUN_ID_WIDTH 32
#define STATUS_WIDTH 19

void summary_list_heading(struct text *out)
{
    append_padded(out, span_of("RUN"), RUN_ID_WIDTH);
    append_padded(out, span_of("  STATUS"), STATUS_WIDTH + 2);
    text_append_string(out, "  PROGRESS  STEPS    STARTED   DURATION\n");
}

void summary_list_text(const struct run *run, int64_t now_ms, struct text *out)
{
    const struct saga *saga = &run->saga;
    char steps[32];
    snprintf(steps, sizeof steps, "%u/%u", steps_executed(run), steps_total(run));
    append_padded(out, saga->run_id, RUN_ID_WIDTH);
    text_append_string(out, "  ");
    append_padded(out, span_of(run_status_name(saga->status)), STATUS_WIDTH);
    text_format(out, "  %6u %%  %-7s  ", saga->progress_ppm / 10000, steps);
    append_time_of_day(out, saga->started_ms, now_ms);
    text_append_string(out, "  ");
    screen_duration(run_duration_ms(saga, now_ms), out);
    text_append_char(out, '\n');
}
