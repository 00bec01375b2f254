/* SPDX-License-Identifier: Apache-2.0 */
#include "common/saga/plan.h"

#include "common/limits.h"
#include "common/saga/saga.h"

#include <assert.h>
#include <stdalign.h>

#define NAME_SLOTS 2048 /* at most half of them are taken */
static_assert(NAME_SLOTS >= 2 * LIMIT_STEPS && (NAME_SLOTS & (NAME_SLOTS - 1)) == 0, "a power of two with room to spare");

/* The names met so far, by hash: 1 + the step, 0 for nobody. */
struct names {
    uint16_t slots[NAME_SLOTS];
};

/* false: a step before it has that name. */
static bool add_name(struct names *names, const struct plan *plan, uint32_t index)
{
    struct span name = plan->steps[index].name;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.size; i++) {
        hash = (hash ^ (unsigned char)name.bytes[i]) * 16777619u;
    }
    uint32_t at = hash & (NAME_SLOTS - 1);
    while (names->slots[at] != 0) {
        if (span_equal(plan->steps[names->slots[at] - 1].name, name)) {
            return false;
        }
        at = (at + 1) & (NAME_SLOTS - 1);
    }
    names->slots[at] = (uint16_t)(index + 1);
    return true;
}

static const char *step_problem(const struct plan *plan, uint32_t index, struct names *names)
{
    const struct plan_step *step = &plan->steps[index];
    if (step->name.size == 0) {
        return "a step has no name";
    }
    if (step->handler.size == 0 || step->queue.size == 0) {
        return "a step has no handler or no queue";
    }
    if (!add_name(names, plan, index)) {
        return "two steps have the same name";
    }
    if (step->scope > index || (step->scope > 0 && plan->steps[step->scope - 1].kind != PLAN_SCOPE)) {
        return "a step is part of what is no pipeline before it";
    }
    for (uint32_t i = 0; i < step->needs_count; i++) {
        if (step->needs[i] >= plan->step_count) {
            return "a step needs one that does not exist";
        }
    }
    for (uint32_t i = 0; i < step->reads_count; i++) {
        if (step->reads[i] >= plan->step_count) {
            return "a step reads one that does not exist";
        }
    }
    return NULL;
}

/* Depth first along `needs`; a step that is met again while its own needs are being visited closes a cycle. */
static bool find_cycle(const struct plan *plan, uint32_t *step)
{
    enum { NEW, OPEN, CLOSED };
    unsigned char mark[LIMIT_STEPS] = {NEW};
    uint32_t stack[LIMIT_STEPS], next[LIMIT_STEPS];
    for (uint32_t root = 0; root < plan->step_count; root++) {
        if (mark[root] != NEW) {
            continue;
        }
        uint32_t depth = 1;
        stack[0] = root;
        next[0] = 0;
        mark[root] = OPEN;
        while (depth > 0) {
            uint32_t at = stack[depth - 1];
            if (next[depth - 1] == plan->steps[at].needs_count) {
                mark[at] = CLOSED;
                depth--;
                continue;
            }
            uint32_t need = plan->steps[at].needs[next[depth - 1]++];
            if (mark[need] == OPEN) {
                *step = at;
                return true;
            }
            if (mark[need] == NEW) {
                mark[need] = OPEN;
                stack[depth] = need;
                next[depth++] = 0;
            }
        }
    }
    return false;
}

const char *plan_problem(const struct plan *plan, uint32_t *step)
{
    struct names names = {0};
    *step = 0;
    if (plan->step_count == 0) {
        return "it has no steps";
    }
    if (plan->step_count > LIMIT_STEPS) {
        return "it has more than 1000 steps";
    }
    for (uint32_t i = 0; i < plan->step_count; i++) {
        const char *problem = step_problem(plan, i, &names);
        if (problem != NULL) {
            *step = i;
            return problem;
        }
    }
    return find_cycle(plan, step) ? "its needs form a cycle" : NULL;
}

void plan_mark_needs(const struct plan *plan, uint32_t step, bool *marks)
{
    uint32_t stack[LIMIT_STEPS];
    uint32_t depth = 0;
    for (uint32_t at = step;;) {
        for (uint32_t i = 0; i < plan->steps[at].needs_count; i++) {
            uint32_t need = plan->steps[at].needs[i];
            if (!marks[need]) {
                marks[need] = true;
                stack[depth++] = need;
            }
        }
        if (depth == 0) {
            return;
        }
        at = stack[--depth];
    }
}

bool plan_retry_equal(const struct plan_retry *a, const struct plan_retry *b)
{
    return a->max_attempts == b->max_attempts && a->max_losses == b->max_losses && a->backoff_ms == b->backoff_ms &&
           a->multiplier_permille == b->multiplier_permille && a->max_backoff_ms == b->max_backoff_ms &&
           a->jitter_permille == b->jitter_permille;
}

static bool needs_the_one_before(const struct plan_step *step, uint32_t index)
{
    for (uint32_t i = 0; i < step->needs_count; i++) {
        if (step->needs[i] + 1 == index) {
            return true;
        }
    }
    return false;
}

uint32_t plan_chain_from(const struct plan *plan)
{
    uint32_t at = plan->step_count - 1;
    while (at > 0 && needs_the_one_before(&plan->steps[at], at)) {
        at--;
    }
    return at;
}

bool plan_has_early_tail(const struct plan *plan)
{
    uint32_t chain = plan->step_count == 0 ? 0 : plan_chain_from(plan);
    if (chain == 0 || chain + 1 == plan->step_count) {
        return false;
    }
    bool marks[LIMIT_STEPS] = {false};
    plan_mark_needs(plan, chain + 1, marks);
    for (uint32_t i = 0; i < chain; i++) {
        if (!marks[i]) {
            return true;
        }
    }
    return false;
}

static bool is_simple(const struct plan_step *step)
{
    return step->kind == PLAN_HANDLER && step->scope == 0 && step->each.size == 0;
}

bool plan_is_behind(const struct plan *plan, uint32_t step)
{
    const struct plan_step *own = &plan->steps[step];
    return step > 0 && own->needs_count == 1 && own->needs[0] == step - 1 && own->retry.max_losses > 0 && is_simple(own) &&
           is_simple(own - 1) && span_equal(own->queue, own[-1].queue);
}

static bool is_of_first_fold(const struct plan_step *step)
{
    static const struct plan_retry usual = PLAN_RETRY_DEFAULT;
    return step->kind == PLAN_HANDLER && step->scope == 0 && step->when.size == 0 && step->each.size == 0 && !step->templated &&
           step->wrap_count == 0 && step->start_timeout_ms == 0 && step->rollback_timeout_ms == 0 &&
           step->rollback_retry.max_attempts == 0 && step->retry.jitter_permille == usual.jitter_permille;
}

uint32_t plan_fold_version(const struct plan *plan)
{
    bool first = plan->timeout_ms == 0 && !plan->pause_on_failure;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        first = first && is_of_first_fold(&plan->steps[i]);
    }
    if (plan_has_early_tail(plan)) {
        return SAGA_FOLD_OF_EARLY_TAILS;
    }
    return first ? 1 : 2;
}

uint32_t plan_fold_version_ahead(const struct plan *plan)
{
    for (uint32_t i = 0; i < plan->step_count; i++) {
        if (plan_is_behind(plan, i)) {
            return SAGA_FOLD_OF_TASKS_AHEAD;
        }
    }
    return plan_fold_version(plan);
}

static size_t aligned(size_t size)
{
    return (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
}

size_t plan_room(const struct plan *plan)
{
    size_t size = aligned(sizeof *plan) + aligned(plan->step_count * sizeof *plan->steps) +
                  2 * aligned(plan->step_count * sizeof *plan->waiting);
    size_t numbers = 0, spans = 0, bytes = plan->name.size + plan->description.size;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        const struct plan_step *step = &plan->steps[i];
        numbers += step->needs_count + step->reads_count;
        bytes += step->name.size + step->handler.size + step->queue.size + step->input.size + step->when.size + step->assert.size +
                 step->message.size + step->each.size;
        spans += step->wrap_count;
        for (uint32_t j = 0; j < step->wrap_count; j++) {
            bytes += step->wrap[j].size;
        }
    }
    return size + aligned(spans * sizeof(struct span)) + aligned(numbers * sizeof(uint32_t)) + aligned(bytes);
}

static struct span copy_span(char **at, struct span span)
{
    return span.size > 0 ? span_copy_to(at, span) : (struct span){0};
}

static const uint32_t *copy_numbers(uint32_t **at, const uint32_t *numbers, uint32_t count)
{
    if (count == 0) {
        return NULL;
    }
    uint32_t *copy = *at;
    memcpy(copy, numbers, count * sizeof *numbers);
    *at += count;
    return copy;
}

static const struct span *copy_spans(struct span **at, char **bytes, const struct span *spans, uint32_t count)
{
    struct span *copy = *at;
    for (uint32_t i = 0; i < count; i++) {
        copy[i] = copy_span(bytes, spans[i]);
    }
    *at += count;
    return count > 0 ? copy : NULL;
}

static char *make_untouched(struct plan *copy, char *at, uint32_t count)
{
    size_t size = aligned(count * sizeof *copy->waiting);
    copy->waiting = (void *)at;
    copy->not_run = (void *)(at + size);
    for (uint32_t i = 0; i < count; i++) {
        copy->waiting[i] = (struct saga_step){.index = i, .status = STEP_WAITING, .untouched = true};
        copy->not_run[i] = (struct saga_step){.index = i, .status = STEP_NOT_RUN, .untouched = true};
    }
    return at + 2 * size;
}

static uint64_t sum_of_weights(const struct plan *plan)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        sum += plan->steps[i].weight;
    }
    return sum;
}

struct plan *plan_copy(void *memory, const struct plan *plan)
{
    char *at = memory;
    struct plan *copy = memory;
    at += aligned(sizeof *copy);
    struct plan_step *steps = (void *)at;
    at += aligned(plan->step_count * sizeof *steps);
    at = make_untouched(copy, at, plan->step_count);
    struct span *spans = (void *)at;
    size_t count = 0, span_count = 0;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        count += plan->steps[i].needs_count + plan->steps[i].reads_count;
        span_count += plan->steps[i].wrap_count;
    }
    at += aligned(span_count * sizeof *spans);
    uint32_t *numbers = (void *)at;
    char *bytes = at + aligned(count * sizeof *numbers);
    struct plan untouched = *copy;
    *copy = *plan;
    copy->waiting = untouched.waiting;
    copy->not_run = untouched.not_run;
    copy->name = copy_span(&bytes, plan->name);
    copy->description = copy_span(&bytes, plan->description);
    copy->steps = steps;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        const struct plan_step *from = &plan->steps[i];
        steps[i] = *from;
        steps[i].needs = copy_numbers(&numbers, from->needs, from->needs_count);
        steps[i].reads = copy_numbers(&numbers, from->reads, from->reads_count);
        steps[i].name = copy_span(&bytes, from->name);
        steps[i].handler = copy_span(&bytes, from->handler);
        steps[i].queue = copy_span(&bytes, from->queue);
        steps[i].input = copy_span(&bytes, from->input);
        steps[i].when = copy_span(&bytes, from->when);
        steps[i].assert = copy_span(&bytes, from->assert);
        steps[i].message = copy_span(&bytes, from->message);
        steps[i].each = copy_span(&bytes, from->each);
        steps[i].wrap = copy_spans(&spans, &bytes, from->wrap, from->wrap_count);
        steps[i].behind = plan_is_behind(plan, i);
    }
    copy->weight_total = sum_of_weights(copy);
    copy->chain_from = copy->step_count > 0 ? plan_chain_from(copy) : 0;
    assert((size_t)(bytes - (char *)memory) <= plan_room(plan));
    return copy;
}
