/* SPDX-License-Identifier: Apache-2.0 */
/* The runner of threads. */
#ifndef POOL_H
#define POOL_H

#include "common/error.h"
#include "worker/runner.h"
#include "worker/step_log.h"

struct pool;

/* Around each step function that runs in this process, when a guard watches over it; NULL: no guard. */
struct pool_guard {
    bool (*begin)(void *state, const struct backstep_step *step); /* false: the lease is over, do not run it */
    void (*end)(void *state, const struct backstep_step *step);
    void *state;
};

/* `threads`: 1 to LIMIT_CONCURRENCY. Caller owes pool_free(). NULL: no thread could be made. */
struct pool *pool_new(uint32_t threads, const struct pool_guard *guard, struct error *error);
/* Cancels what runs and waits until it has ended. NULL is fine. */
void pool_free(struct pool *pool);
/* Where what the steps log goes; before the first task. `sink` is copied. */
void pool_set_log(struct pool *pool, const struct log_sink *sink);
struct runner *pool_runner(struct pool *pool);

/* Who evaluates the tasks' expressions; before the first task, and until pool_free(). Without one a task with expressions fails. */
void pool_set_evaluator(struct pool *pool, struct evaluator *evaluator);

#endif
