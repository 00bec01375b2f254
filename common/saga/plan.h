/* SPDX-License-Identifier: Apache-2.0 */
/* What a run will do: its steps, in order. Immutable once made; part of the run from its first record on. */
#ifndef PLAN_H
#define PLAN_H

#include "common/span.h"

#include <stdint.h>

struct plan_retry {
    uint32_t max_attempts; /* 0 is read as 1 */
    uint32_t max_losses; /* 0: the step must never begin twice */
    int64_t backoff_ms; /* before the second attempt */
    uint32_t multiplier_permille;
    int64_t max_backoff_ms;
    uint32_t jitter_permille; /* a delay is lengthened by up to this share of it */
};

bool plan_retry_equal(const struct plan_retry *a, const struct plan_retry *b);

#define PLAN_RETRY_DEFAULT                                                                                                         \
    {                                                                                                                              \
        .max_attempts = 1, .max_losses = 5, .backoff_ms = 1000, .multiplier_permille = 2000, .max_backoff_ms = 60000,              \
        .jitter_permille = 100                                                                                                     \
    }
#define PLAN_RETRY_ROLLBACK                                                                                                        \
    {                                                                                                                              \
        .max_attempts = 10, .max_losses = 50, .backoff_ms = 1000, .multiplier_permille = 2000, .max_backoff_ms = 60000,            \
        .jitter_permille = 100                                                                                                     \
    }

enum plan_kind {
    PLAN_HANDLER, /* a worker's handler executes it */
    PLAN_VALIDATE, /* `assert` must hold, else it fails with `message`; handler PLAN_HANDLER_VALIDATE */
    PLAN_SCOPE, /* the beginning of a pipeline in a pipeline: its data are the params of the steps in it; handler PLAN_HANDLER_SCOPE.
                      Where it has neither `when` nor templates the fold completes it by itself. */
};

/* Handlers that every worker of ours serves. */
#define PLAN_HANDLER_VALIDATE "backstep.validate"
#define PLAN_HANDLER_SCOPE "backstep.scope"
/* Of a PLAN_SCOPE step whose data are made of more than its input; served by the programs whose pipelines hold it. */
#define PLAN_HANDLER_MERGE "backstep.merge"

struct plan_step {
    struct span name; /* for people: UTF-8, at most LIMIT_NAME_BYTES */
    struct span handler; /* what a worker must serve */
    struct span queue;
    struct span input; /* JSON; empty: {} */
    uint32_t weight; /* any unit: only the share of the sum counts; all zero: equal */
    uint32_t needs_count;
    uint32_t reads_count;
    const uint32_t *needs; /* indexes of the steps that must have ended well before; explicit, also in list order */
    const uint32_t *reads; /* only with reads_given: the steps whose results a task carries */
    bool reads_given;
    bool rollback_none; /* nothing is sent to undo it */
    bool templated; /* strings of `input` may hold ${ jq } */
    enum plan_kind kind;
    uint32_t scope; /* 1 + index of the PLAN_SCOPE step it is part of, which stands before it; 0: of the pipeline itself */
    struct span when; /* jq; empty: always. Evaluated on the worker: false or null skips the step */
    struct span assert; /* jq; PLAN_VALIDATE only */
    struct span message; /* why `assert` did not hold; PLAN_VALIDATE only */
    struct span each; /* jq; its result is a list: one instance for each element. Empty: no fan-out */
    uint32_t max_parallel; /* instances at once; 0: all */
    uint32_t wrap_count;
    const struct span *wrap; /* names of wrappers, the outermost first */
    struct plan_retry retry;
    struct plan_retry rollback_retry; /* max_attempts 0: PLAN_RETRY_ROLLBACK */
    int64_t start_timeout_ms; /* from ready: no worker took it; 0: none, as of all timeouts */
    int64_t timeout_ms; /* one attempt, from Started */
    int64_t heartbeat_timeout_ms;
    int64_t rollback_timeout_ms; /* one attempt of a rollback */
    bool behind; /* of a copy: plan_is_behind() */
};

struct saga_step;

struct plan {
    struct span name;
    struct span description;
    const struct plan_step *steps;
    uint32_t step_count;
    int64_t timeout_ms; /* of the run, until it rolls back; 0: none */
    bool pause_on_failure; /* a failed run is held for a person */
    /* Of a copy: what follows from its steps, once for all runs that share it. */
    uint64_t weight_total; /* of all steps; 0: they are equal */
    uint32_t chain_from; /* plan_chain_from() */
    /* Of a copy: how each step stands in a run in which it has not begun, and in one that ended without it. Nobody writes there. */
    struct saga_step *waiting, *not_run;
};

/* The first step from which on each needs the one before it; the last step where none does. There is a step. */
uint32_t plan_chain_from(const struct plan *plan);

/* Whether such a chain at the end may go on while something before it, which nobody there needs, still runs. */
bool plan_has_early_tail(const struct plan *plan);

/* Whether a task of the step may be sent ahead, behind that of the step before it: it needs that one and no other, and both are
 * simple handlers of one queue. */
bool plan_is_behind(const struct plan *plan, uint32_t step);

/* The lowest version of the fold that knows all that `plan` asks for. */
uint32_t plan_fold_version(const struct plan *plan);
/* The same, or that of tasks ahead where `plan` has steps of which plan_is_behind(): for a run whose owner may send them. */
uint32_t plan_fold_version_ahead(const struct plan *plan);

/* Why `plan` cannot be run, or NULL: no steps or too many, an empty or repeated name, an index out of range, a cycle.
 * `step` is set to the offending step. Pure; O(steps + needs). */
const char *plan_problem(const struct plan *plan, uint32_t *step);

/* Bytes that plan_copy() needs. */
size_t plan_room(const struct plan *plan);

/* Copy with everything it points to into `memory` (aligned for max_align_t, plan_room() bytes). Returns `memory`. */
struct plan *plan_copy(void *memory, const struct plan *plan);

/* Mark in `marks` (plan->step_count of them, false before) every step that `step` needs, directly or through others. */
void plan_mark_needs(const struct plan *plan, uint32_t step, bool *marks);

#endif
