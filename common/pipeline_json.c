/* SPDX-License-Identifier: Apache-2.0 */
/* The way back: a plan as a pipeline file. What is as the reader would have it anyway is left out. */
#include "common/names.h"
#include "common/pipeline.h"

static void append_member(struct text *text, const char *name)
{
    text_format(text, ", \"%s\": ", name);
}

static void append_string_member(struct text *text, const char *name, struct span value)
{
    append_member(text, name);
    text_append_json_string(text, value);
}

static void append_duration_member(struct text *text, const char *name, int64_t duration_ms)
{
    append_member(text, name);
    text_append_char(text, '"');
    duration_append(text, duration_ms);
    text_append_char(text, '"');
}

static void append_steps_member(struct text *text, const char *name, const struct plan *plan, const uint32_t *indexes,
                                uint32_t count)
{
    append_member(text, name);
    text_append_char(text, '[');
    for (uint32_t i = 0; i < count; i++) {
        text_append_string(text, i > 0 ? ", " : "");
        text_append_json_string(text, plan->steps[indexes[i]].name);
    }
    text_append_char(text, ']');
}

static void append_retry_object(struct text *text, const struct plan_retry *retry)
{
    text_format(text, "\"retry\": {\"max_attempts\": %u, \"max_losses\": %u", retry->max_attempts > 0 ? retry->max_attempts : 1,
                retry->max_losses);
    append_duration_member(text, "backoff", retry->backoff_ms);
    text_format(text, ", \"multiplier\": %g", retry->multiplier_permille / 1000.0);
    append_duration_member(text, "max_backoff", retry->max_backoff_ms);
    if (retry->jitter_permille != 100) {
        text_format(text, ", \"jitter\": %g", retry->jitter_permille / 1000.0);
    }
    text_append_char(text, '}');
}

static void append_retry(struct text *text, const struct plan_retry *retry)
{
    static const struct plan_retry usual = PLAN_RETRY_DEFAULT;
    if (!plan_retry_equal(retry, &usual)) {
        text_append_string(text, ", ");
        append_retry_object(text, retry);
    }
}

static void append_rollback(struct text *text, const struct plan_step *step)
{
    if (step->rollback_none) {
        append_string_member(text, "rollback", span_of("none"));
        return;
    }
    if (step->rollback_retry.max_attempts == 0 && step->rollback_timeout_ms == 0) {
        return;
    }
    append_member(text, "rollback");
    text_append_char(text, '{');
    if (step->rollback_retry.max_attempts > 0) {
        append_retry_object(text, &step->rollback_retry);
    }
    if (step->rollback_timeout_ms > 0) {
        text_append_string(text, step->rollback_retry.max_attempts > 0 ? ", " : "");
        text_append_string(text, "\"timeout\": \"");
        duration_append(text, step->rollback_timeout_ms);
        text_append_char(text, '"');
    }
    text_append_char(text, '}');
}

static void append_evaluated(struct text *text, const struct plan_step *step)
{
    if (step->when.size > 0) {
        append_string_member(text, "when", step->when);
    }
    if (step->each.size > 0) {
        append_string_member(text, "each", step->each);
    }
    if (step->max_parallel > 0) {
        text_format(text, ", \"max_parallel\": %u", step->max_parallel);
    }
    if (step->kind == PLAN_VALIDATE) {
        text_append_string(text, ", \"validate\": {\"assert\": ");
        text_append_json_string(text, step->assert);
        append_string_member(text, "message", step->message);
        text_append_char(text, '}');
    }
    for (uint32_t i = 0; i < step->wrap_count; i++) {
        text_append_string(text, i == 0 ? ", \"wrap\": [" : ", ");
        text_append_json_string(text, step->wrap[i]);
    }
    text_append_string(text, step->wrap_count > 0 ? "]" : "");
}

static void append_order(struct text *text, const struct plan *plan, uint32_t index)
{
    const struct plan_step *step = &plan->steps[index];
    bool usual = index == 0 ? step->needs_count == 0 : step->needs_count == 1 && step->needs[0] == index - 1;
    if (!usual) {
        append_steps_member(text, "needs", plan, step->needs, step->needs_count);
    }
    if (step->reads_given) {
        append_steps_member(text, "reads", plan, step->reads, step->reads_count);
    }
}

static void append_limits(struct text *text, const struct plan_step *step)
{
    const struct {
        const char *name;
        int64_t duration_ms;
    } limits[] = {{"start_timeout", step->start_timeout_ms},
                  {"timeout", step->timeout_ms},
                  {"heartbeat_timeout", step->heartbeat_timeout_ms}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        if (limits[i].duration_ms > 0) {
            append_duration_member(text, limits[i].name, limits[i].duration_ms);
        }
    }
}

static void append_step(struct text *text, const struct plan *plan, uint32_t index, uint32_t unit)
{
    const struct plan_step *step = &plan->steps[index];
    text_append_string(text, "{\"name\": ");
    text_append_json_string(text, step->name);
    if (step->scope > 0) {
        append_string_member(text, "scope", plan->steps[step->scope - 1].name);
    }
    if (step->kind != PLAN_VALIDATE && !span_equal(step->handler, step->name)) {
        append_string_member(text, "uses", step->handler);
    }
    if (!span_equal(step->queue, span_of("default"))) {
        append_string_member(text, "queue", step->queue);
    }
    text_format(text, ", \"weight\": %u", step->weight / unit);
    append_order(text, plan, index);
    if (step->input.size > 0) {
        append_member(text, "with");
        text_append_span(text, step->input);
    }
    append_evaluated(text, step);
    append_retry(text, &step->retry);
    append_limits(text, step);
    append_rollback(text, step);
    text_append_char(text, '}');
}

/* Weights are shares of a billion: what is common to all of them is left out. */
static uint32_t common_divisor(const struct plan *plan)
{
    uint32_t divisor = 0;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        for (uint32_t rest = plan->steps[i].weight; rest > 0;) {
            uint32_t next = divisor % rest;
            divisor = rest;
            rest = next;
        }
    }
    return divisor > 0 ? divisor : 1;
}

void pipeline_append_json(const struct plan *plan, struct text *text)
{
    uint32_t unit = common_divisor(plan);
    text_append_string(text, "{\"name\": ");
    text_append_json_string(text, plan->name);
    if (plan->description.size > 0) {
        append_string_member(text, "description", plan->description);
    }
    if (plan->timeout_ms > 0) {
        append_duration_member(text, "timeout", plan->timeout_ms);
    }
    if (plan->pause_on_failure) {
        append_string_member(text, "on_failure", span_of("pause"));
    }
    text_append_string(text, ", \"steps\": [");
    for (uint32_t i = 0; i < plan->step_count; i++) {
        text_append_string(text, i > 0 ? ",\n  " : "\n  ");
        append_step(text, plan, i, unit);
    }
    text_append_string(text, "\n]}\n");
}
