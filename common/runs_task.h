/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker is told for one ticket, read off the state of the run: the same for a coordinator and for a run in process. */
#ifndef RUNS_TASK_H
#define RUNS_TASK_H

#include "common/limits.h"
#include "common/messages.h"
#include "common/saga/saga.h"

struct runs_task_list {
    struct runs_task_list *next;
    char bytes[];
};

struct runs_task {
    struct task task; /* what is wanted; it borrows from the rest and from the saga */
    struct step_result results[LIMIT_STEPS];
    struct step_result own;
    struct span few_sets[LIMIT_STEPS];
    struct span *many_sets;       /* where they are more */
    struct runs_task_list *lists; /* results of steps that fan out */
};

/* The task for `ticket`, which is open. Valid until the saga changes; caller owes runs_task_free(). Aborts where memory is out. */
void runs_task_fill(struct runs_task *out, const struct saga *saga, struct ticket ticket, bool confirm);
/* The same for a ticket that is sent ahead, see saga_next_ahead(), behind `after`: of the steps from `head` on, whose ticket is
 * open, nothing is known yet. */
void runs_task_fill_ahead(struct runs_task *out, const struct saga *saga, struct ticket ticket, uint32_t head, struct ticket after);
void runs_task_free(struct runs_task *out);

#endif
