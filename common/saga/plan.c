/* SPDX-License-Identifier: Apache-2.0 */
#include "common/saga/plan.h"

#include "common/limits.h"

#include <assert.h>
#include <stdalign.h>

static const char *step_problem(const struct plan *plan, uint32_t index)
{
    const struct plan_step *step = &plan->steps[index];
    if (step->name.size == 0) {
        return "a step has no name";
    }
    if (step->handler.size == 0 || step->queue.size == 0) {
        return "a step has no handler or no queue";
    }
    for (uint32_t other = 0; other < index; other++) {
        if (span_equal(plan->steps[other].name, step->name)) {
            return "two steps have the same name";
        }
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
    *step = 0;
    if (plan->step_count == 0) {
        return "it has no steps";
    }
    if (plan->step_count > LIMIT_STEPS) {
        return "it has more than 1000 steps";
    }
    for (uint32_t i = 0; i < plan->step_count; i++) {
        const char *problem = step_problem(plan, i);
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

static size_t aligned(size_t size)
{
    return (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
}

size_t plan_room(const struct plan *plan)
{
    size_t size = aligned(sizeof *plan) + aligned(plan->step_count * sizeof *plan->steps);
    size_t numbers = 0, bytes = plan->name.size + plan->description.size;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        const struct plan_step *step = &plan->steps[i];
        numbers += step->needs_count + step->reads_count;
        bytes += step->name.size + step->handler.size + step->queue.size + step->input.size;
    }
    return size + aligned(numbers * sizeof(uint32_t)) + aligned(bytes);
}

static struct span copy_span(char **at, struct span span)
{
    if (span.size == 0) {
        return (struct span){0};
    }
    memcpy(*at, span.bytes, span.size);
    struct span copy = {*at, span.size};
    *at += span.size;
    return copy;
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

struct plan *plan_copy(void *memory, const struct plan *plan)
{
    char *at = memory;
    struct plan *copy = memory;
    at += aligned(sizeof *copy);
    struct plan_step *steps = (void *)at;
    at += aligned(plan->step_count * sizeof *steps);
    uint32_t *numbers = (void *)at;
    size_t count = 0;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        count += plan->steps[i].needs_count + plan->steps[i].reads_count;
    }
    char *bytes = at + aligned(count * sizeof *numbers);
    *copy = (struct plan){copy_span(&bytes, plan->name), copy_span(&bytes, plan->description), steps, plan->step_count};
    for (uint32_t i = 0; i < plan->step_count; i++) {
        const struct plan_step *from = &plan->steps[i];
        steps[i] = *from;
        steps[i].needs = copy_numbers(&numbers, from->needs, from->needs_count);
        steps[i].reads = copy_numbers(&numbers, from->reads, from->reads_count);
        steps[i].name = copy_span(&bytes, from->name);
        steps[i].handler = copy_span(&bytes, from->handler);
        steps[i].queue = copy_span(&bytes, from->queue);
        steps[i].input = copy_span(&bytes, from->input);
    }
    assert((size_t)(bytes - (char *)memory) <= plan_room(plan));
    return copy;
}
