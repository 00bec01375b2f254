/* SPDX-License-Identifier: Apache-2.0 */
/* The plan that benchmarks start a million times: three steps in a row, which nobody serves. */
#ifndef THREE_STEPS_H
#define THREE_STEPS_H

#include "common/saga/plan.h"

#define STEPS 3

/* Lives as long as the program; one name a program. */
static inline const struct plan *three_steps(const char *name)
{
    static const uint32_t needs[STEPS] = {0, 0, 1};
    static const char *const names[STEPS] = {"first", "second", "third"};
    static struct plan_step steps[STEPS];
    static struct plan plan = {.steps = steps, .step_count = STEPS};
    plan.name = span_of(name);
    for (uint32_t i = 0; i < STEPS; i++) {
        steps[i] = (struct plan_step){.name = span_of(names[i]),
                                      .handler = span_of("nobody"),
                                      .queue = span_of("default"),
                                      .weight = 1,
                                      .needs = &needs[i],
                                      .needs_count = i > 0,
                                      .retry = PLAN_RETRY_DEFAULT};
    }
    return &plan;
}

#endif
