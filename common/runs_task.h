/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker is told for one ticket, read off the state of the run: the same for a coordinator and for a run in process. */
#ifndef RUNS_TASK_H
#define RUNS_TASK_H

#include "common/limits.h"
#include "common/messages.h"
#include "common/saga/saga.h"

struct runs_task {
    struct task task; /* its pointers lead into this struct and into the saga */
    struct step_result own;
    struct step_result results[LIMIT_STEPS];
    struct span sets[LIMIT_STEPS];
};

/* Valid until the saga is changed or `task` is moved. */
void runs_task_fill(struct runs_task *task, const struct saga *saga, struct ticket ticket, bool confirm);

#endif
