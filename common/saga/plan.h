/* SPDX-License-Identifier: Apache-2.0 */
/* What a run will do: its steps, in order. Immutable once made; part of the run from its first record on. */
#ifndef PLAN_H
#define PLAN_H

#include "common/span.h"

#include <stdint.h>

struct plan_retry {
    uint32_t max_attempts; /* 0 is read as 1 */
    uint32_t max_losses;   /* 0: the step must never begin twice */
    int64_t backoff_ms;    /* before the second attempt */
    uint32_t multiplier_permille;
    int64_t max_backoff_ms;
};

#define PLAN_RETRY_DEFAULT \
    {.max_attempts = 1, .max_losses = 5, .backoff_ms = 1000, .multiplier_permille = 2000, .max_backoff_ms = 60000}
#define PLAN_RETRY_ROLLBACK \
    {.max_attempts = 10, .max_losses = 50, .backoff_ms = 1000, .multiplier_permille = 2000, .max_backoff_ms = 60000}

struct plan_step {
    struct span name;    /* for people: UTF-8, at most LIMIT_NAME_BYTES */
    struct span handler; /* what a worker must serve */
    struct span queue;
    struct span input;   /* JSON; empty: {} */
    uint32_t weight;     /* any unit: only the share of the sum counts; all zero: equal */
    uint32_t needs_count;
    uint32_t reads_count;
    const uint32_t *needs; /* indexes of the steps that must have ended well before; explicit, also in list order */
    const uint32_t *reads; /* only with reads_given: the steps whose results a task carries */
    bool reads_given;
    bool rollback_none;  /* nothing is sent to undo it */
    struct plan_retry retry;
    int64_t timeout_ms; /* one attempt, from Started; 0: none */
    int64_t heartbeat_timeout_ms;
};

struct plan {
    struct span name;
    struct span description;
    const struct plan_step *steps;
    uint32_t step_count;
};

/* Why `plan` cannot be run, or NULL: no steps or too many, an empty or repeated name, an index out of range, a cycle.
 * `step` is set to the offending step. Pure; O(steps²) at worst in names, O(steps + needs) in order. */
const char *plan_problem(const struct plan *plan, uint32_t *step);

/* Bytes that plan_copy() needs. */
size_t plan_room(const struct plan *plan);

/* Copy with everything it points to into `memory` (aligned for max_align_t, plan_room() bytes). Returns `memory`. */
struct plan *plan_copy(void *memory, const struct plan *plan);

/* Mark in `marks` (plan->step_count of them, false before) every step that `step` needs, directly or through others. */
void plan_mark_needs(const struct plan *plan, uint32_t step, bool *marks);

#endif
