/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluates jq for this process, in helper processes under the guard: libjq cannot be interrupted, and must neither fill the worker's memory
 * nor take it down. A helper is this very program, begun again to do nothing else (evaluator_process.c); it is kept from one evaluation to the
 * next with what it has compiled, and ends with its guard, its lease, or its first trouble. */
#ifndef EVALUATOR_H
#define EVALUATOR_H

#include "common/error.h"
#include "common/span.h"
#include "worker/guard.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct evaluator;

/* `guard` is borrowed. No process is made before the first evaluation. Caller owes evaluator_free(). NULL: out of memory. */
struct evaluator *evaluator_new(struct guard *guard);
/* No evaluation runs any more; the guard is still there. NULL is fine. */
void evaluator_free(struct evaluator *evaluator);

/* Expressions over one input; none of them sees what another gives. Spans are borrowed for the call. */
struct evaluation {
    struct span input; /* JSON */
    const struct span *expressions;
    size_t count;
    int64_t *left_ms; /* how long it may take; what it took is taken off. The wait for a helper costs nothing */
    int cancel_fd; /* readable: stop. -1: never */
};

enum evaluation_end {
    EVALUATION_DONE,
    EVALUATION_FAILED, /* the expression's fault: again it would be the same. `error` quotes it */
    EVALUATION_CANCELLED,
    EVALUATION_NOT_STARTED, /* no helper could be had: later there may be one */
    EVALUATION_LOST, /* the lease is over, or the guard died */
};

/* Evaluate them in their order. DONE: `values` has a JSON text for each, and the caller owes free() of each; else they are NULL, and `error` says
 * why. Blocks; any thread. */
enum evaluation_end evaluator_run(struct evaluator *evaluator, const struct evaluation *evaluation, char **values,
                                  struct error *error);

#endif
