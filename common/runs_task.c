/* SPDX-License-Identifier: Apache-2.0 */
#include "common/runs_task.h"

#include <stdlib.h>

static void *allocate(size_t size)
{
    void *memory = malloc(size > 0 ? size : 1);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* The results of a step that fans out: a list, null for what was skipped. No JSON is parsed for it. */
static struct span join_data(struct runs_task *out, const struct saga_fan *fan)
{
    size_t size = 2;
    for (uint32_t i = 0; i < fan->count; i++) {
        size += 5 + saga_step_text(&fan->instances[i], TEXT_DATA).size;
    }
    struct runs_task_list *list = allocate(sizeof *list + size);
    list->next = out->lists;
    out->lists = list;
    char *at = list->bytes;
    *at++ = '[';
    for (uint32_t i = 0; i < fan->count; i++) {
        struct span data = fan->instances[i].executed ? saga_step_text(&fan->instances[i], TEXT_DATA) : (struct span){0};
        data = data.size > 0 ? data : span_of("null");
        if (i > 0) {
            *at++ = ',';
        }
        memcpy(at, data.bytes, data.size);
        at += data.size;
    }
    *at++ = ']';
    return (struct span){list->bytes, (size_t)(at - list->bytes)};
}

static struct step_result result_of(struct runs_task *out, const struct saga *saga, const struct saga_step *step, bool whole)
{
    struct step_result result = {.step = saga->plan->steps[step->index].name,
                                 .success = step->executed,
                                 .skipped = step->status == STEP_SKIPPED,
                                 .scope = saga->plan->steps[step->index].kind == PLAN_SCOPE,
                                 .data = step->executed ? saga_step_text(step, TEXT_DATA) : (struct span){0}};
    if (step->executed && step->fan != NULL) {
        result.data = join_data(out, step->fan);
    }
    if (whole) {
        result.rollback_data = saga_step_text(step, TEXT_ROLLBACK_DATA);
        result.error = step->executed ? (struct span){0} : saga_step_text(step, TEXT_ERROR);
    }
    return result;
}

static size_t count_sets(const struct saga *saga)
{
    size_t count = 0;
    for (const struct saga_step *step = saga->sets; step != NULL; step = saga_work(step)->set_next) {
        count++;
    }
    return count;
}

/* Shared values, in the order in which the log has them. */
static size_t collect_sets(struct runs_task *out, const struct saga *saga)
{
    size_t count = 0, all = count_sets(saga);
    if (all > LIMIT_STEPS) {
        out->many_sets = allocate(all * sizeof *out->many_sets);
    }
    struct span *sets = out->many_sets != NULL ? out->many_sets : out->few_sets;
    for (const struct saga_step *step = saga->sets; step != NULL; step = saga_work(step)->set_next) {
        sets[count++] = saga_step_text(step, TEXT_SET);
    }
    out->task.sets = sets;
    return count;
}

static void fill_evaluated(struct task *task, const struct saga *saga, const struct saga_step *step)
{
    const struct plan_step *plan = &saga->plan->steps[step->index];
    bool forward = task->ticket.direction == DIRECTION_EXECUTE;
    const struct saga_fan *fan = saga->steps[step->index]->fan;
    task->kind = plan->kind;
    task->templated = plan->templated;
    task->scope = plan->scope > 0 ? saga->plan->steps[plan->scope - 1].name : (struct span){0};
    task->wrap = plan->wrap;
    task->wrap_count = plan->wrap_count;
    task->timeout_ms = forward ? plan->timeout_ms : plan->rollback_timeout_ms;
    if (fan != NULL && step->instance > 0) {
        task->element = fan->elements[step->instance - 1];
        task->elements = fan->count;
    }
    if (forward && saga_fans_out(saga, step)) {
        task->each = plan->each;
    } else if (forward) {
        task->when = plan->when;
        task->assert = plan->assert;
        task->message = plan->message;
    }
}

/* `head`: what a step from here on has done is pending. */
static void fill(struct runs_task *out, const struct saga *saga, struct ticket ticket, bool confirm, uint32_t head)
{
    const struct saga_step *step = saga_find_step(saga, ticket.step, ticket.instance);
    const struct plan_step *plan = &saga->plan->steps[ticket.step];
    bool rolls_back = ticket.direction == DIRECTION_ROLLBACK;
    uint32_t attempt = step->attempts + 1;
    uint32_t others[LIMIT_STEPS];
    uint32_t count = saga_task_reads(saga, ticket.step, others);
    out->lists = NULL;
    out->many_sets = NULL;
    for (uint32_t i = 0; i < count; i++) {
        out->results[i] = result_of(out, saga, saga->steps[others[i]], false);
        out->results[i].pending = others[i] >= head && others[i] < ticket.step;
    }
    out->own = result_of(out, saga, step, true);
    out->task = (struct task){.run_id = saga->run_id,
                              .ticket = ticket,
                              .pipeline = saga->plan->name,
                              .step = plan->name,
                              .handler = plan->handler,
                              .attempt = attempt,
                              .confirm = confirm,
                              .more_attempts = attempt < saga_max_attempts(saga, step),
                              .input = plan->input,
                              .params = saga->params,
                              .results = out->results,
                              .result_count = count,
                              .result = rolls_back ? &out->own : NULL};
    out->task.set_count = collect_sets(out, saga);
    fill_evaluated(&out->task, saga, step);
}

void runs_task_fill(struct runs_task *out, const struct saga *saga, struct ticket ticket, bool confirm)
{
    fill(out, saga, ticket, confirm, UINT32_MAX);
}

void runs_task_fill_ahead(struct runs_task *out, const struct saga *saga, struct ticket ticket, uint32_t head, struct ticket after)
{
    fill(out, saga, ticket, false, head);
    out->task.after = after;
}

void runs_task_free(struct runs_task *out)
{
    while (out->lists != NULL) {
        struct runs_task_list *list = out->lists;
        out->lists = list->next;
        free(list);
    }
    free(out->many_sets);
    out->many_sets = NULL;
}
