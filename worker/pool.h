/* SPDX-License-Identifier: Apache-2.0 */
/* The runner of threads. */
#ifndef POOL_H
#define POOL_H

#include "common/error.h"
#include "worker/runner.h"
#include "worker/step_log.h"

#include <signal.h>

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

/* The thread that asks may lend a hand, so that no other is woken for what takes no time. While `keeps` what has begun is not handed to the
 * threads where it is less work than that and nothing else waits or runs: then runner_due_ms() says at once, and pool_kept() has to be asked. */
void pool_keep(struct pool *pool, bool keeps);
/* How many jobs are there for pool_work(); if so, somebody else may ask from now on. */
uint32_t pool_kept(struct pool *pool);
/* Run up to so many of what is queued, in the calling thread. */
void pool_work(struct pool *pool, uint32_t count);
/* Whoever waits for the runner is to look. From any thread. */
void pool_wake(struct pool *pool);
/* Those that a thread which runs steps has to block. */
void pool_signals(sigset_t *signals);

/* Who evaluates the tasks' expressions; before the first task, and until pool_free(). Without one a task with expressions fails. */
void pool_set_evaluator(struct pool *pool, struct evaluator *evaluator);

#endif
