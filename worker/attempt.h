/* SPDX-License-Identifier: Apache-2.0 */
/* One attempt of one step, from the task to what its Done says. The same under the pool and in process. */
#ifndef ATTEMPT_H
#define ATTEMPT_H

#include "worker/context.h"

/* What a Done carries. The strings are NULL where there is nothing; attempt_fini() frees them. */
struct attempt {
    enum outcome outcome;
    bool permanent;
    bool lost; /* not known: there must be no Done, and the incarnation ends */
    bool expanded; /* a task with `each`: OUTCOME_OK, and there is an Expanded instead of a Done */
    struct span *elements; /* JSON each */
    size_t element_count;
    char *data, *rollback_data, *set, *metrics, *error;
};

/* Call the step: can_skip, then execute; or rollback. Checks what it says against the limits: a result that breaks one is a permanent
 * failure. A failure of an attempt that was cancelled is OUTCOME_CANCELLED_STARTED. */
void attempt_run(struct attempt *attempt, const struct task *task, const struct backstep_step *step,
                 struct cancellation *cancellation, const struct context_listener *listener);

/* An attempt that failed before, or without, its step. */
void attempt_fail(struct attempt *attempt, bool permanent, const char *error);
void attempt_fini(struct attempt *attempt);

#endif
