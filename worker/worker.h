/* SPDX-License-Identifier: Apache-2.0 */
/* The worker: takes tasks off its partition, has them run, and says what happened. One thread, one bus, stepped from outside, so that
 * the simulator can drive it on virtual time. What it must do with a message is in duty.h. */
#ifndef WORKER_H
#define WORKER_H

#include "common/bus.h"
#include "common/error.h"
#include "worker/backstep.h"
#include "worker/runner.h"

struct worker;

/* What watches over the lease when this process cannot; see guard.h. Times are those of boottime_ms. */
struct worker_guard {
    bool (*begin)(void *state, int64_t until_ms, int64_t grace_ms, struct error *error);
    bool (*renew)(void *state, int64_t until_ms); /* false: it is over */
    void (*end)(void *state);
    bool (*is_alive)(void *state); /* false: the incarnation has to end */
    void *state;
};

struct worker_options {
    const char *id, *queue, *prefix, *version, *host;
    uint32_t process_id;
    uint32_t slots, lease_ms, drain_timeout_ms, cancel_grace_ms;
    uint32_t max_tasks; /* leave after so many; 0: stay */
    int32_t task_partitions; /* for a topic that has to be created */
    int timeout_ms;          /* for the broker's answers when an incarnation begins */
    const struct backstep_registry *handlers; /* borrowed until another is set or the worker is freed */
    struct runner *runner;                    /* borrowed */
    const struct worker_guard *guard;         /* NULL: none */
    int64_t (*monotonic_ms)(void *clock);
    int64_t (*boottime_ms)(void *clock);
    void *clock;
    void (*random)(void *bytes, size_t size);
};

enum worker_state {
    WORKER_WORKING,
    WORKER_NEW_INCARNATION, /* this one is over, nothing of it runs any more: worker_begin() again */
    WORKER_FATAL,           /* the same, and the bus no longer knows what it published: worker_leave_bus(), and begin on a new one */
    WORKER_DRAINED,         /* what was asked for by worker_drain() */
};

/* `options` is copied; its strings are borrowed. Nothing is said to anybody yet. Caller owes worker_free(). */
struct worker *worker_new(const struct worker_options *options);
/* The runner has nothing of the worker's any more, or is freed: it goes before the worker, and the worker before the bus. */
void worker_free(struct worker *worker);

/* Begin an incarnation: ensure the queue's topic, find the end of the own partition, say Hello. `bus` is borrowed until the next
 * call or worker_free(). May be tried again. TRANSIENT: the broker did not answer, or something of the last incarnation still runs;
 * INVALID: a topic is wrong, the message says how to mend it. */
bool worker_begin(struct worker *worker, struct bus *bus, struct error *error);

/* Between incarnations: the bus is about to be closed. What it had not acknowledged is sent again on the next one. */
void worker_leave_bus(struct worker *worker);

/* Do what is due, then wait at most `timeout_ms` for something to happen (less where a deadline comes sooner), and take it in.
 * `error` says why for NEW_INCARNATION and FATAL. */
enum worker_state worker_step(struct worker *worker, int timeout_ms, struct error *error);

/* From now on no new tasks; what is queued goes back, what runs may end within drain_timeout_ms, then it is cancelled. */
void worker_drain(struct worker *worker);

/* Serve other handlers from now on, and say so. What runs, runs on: its steps must outlive it (see worker_load). */
void worker_set_handlers(struct worker *worker, const struct backstep_registry *handlers);
uint32_t worker_load(const struct worker *worker); /* tasks queued or running */

size_t worker_unsaid(const struct worker *worker);  /* records that are not known to be in the log yet */

/* For tests and `--log-level debug`. */
struct worker_counts {
    uint64_t tasks, refused, done, cancelled, skipped_not_mine, skipped_fenced, skipped_key_held, dead_letters, incarnations;
};
const struct worker_counts *worker_counts(const struct worker *worker);

#endif
