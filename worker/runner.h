/* SPDX-License-Identifier: Apache-2.0 */
/* Who runs the tasks a worker has taken: the pool's threads, or a script in the simulator. One thread asks. */
#ifndef RUNNER_H
#define RUNNER_H

#include "common/messages.h"
#include "worker/attempt.h"
#include "worker/backstep.h"

/* What to run. `id` is the worker's name for it, never used again. */
struct runner_task {
    uint64_t id;
    const struct task *task;           /* borrowed until its RUNNER_DONE has been handed out, or it was taken back */
    const struct backstep_step *step;  /* likewise */
};

enum runner_report_kind {
    RUNNER_WAITS,      /* a slot is its, and its task says `confirm`: nothing begins before runner_go() */
    RUNNER_STARTED,    /* it has run for RUNNER_STARTED_MS; at most once, before any RUNNER_PROGRESSED */
    RUNNER_PROGRESSED, /* the latest; at most one in RUNNER_PROGRESS_MS */
    RUNNER_DONE,       /* the last of its task */
};

#define RUNNER_STARTED_MS 100  /* a faster step costs one event */
#define RUNNER_PROGRESS_MS 500

struct runner_report {
    enum runner_report_kind kind;
    uint64_t id;
    uint64_t current, total;  /* PROGRESSED; total 0: only metrics */
    char *metrics;            /* PROGRESSED: NULL none; the caller owes free() */
    struct attempt attempt;   /* DONE: the caller owes attempt_fini() */
    int64_t duration_us;      /* STARTED: since it began; DONE: what the step itself took */
};

struct runner;

struct runner_operations {
    void (*begin)(struct runner *runner, const struct runner_task *task);
    void (*go)(struct runner *runner, uint64_t id);
    bool (*withdraw)(struct runner *runner, uint64_t id);
    bool (*cancel)(struct runner *runner, uint64_t id);
    bool (*poll)(struct runner *runner, int64_t now_ms, struct runner_report *report);
    int64_t (*due_ms)(struct runner *runner);
    void (*wait)(struct runner *runner, int timeout_ms);
    void (*set_wake)(struct runner *runner, void (*wake)(void *state), void *state);
};

struct runner {
    const struct runner_operations *operations;
};

/* Queue a task; it runs when a slot is free. Of those that come together some may wait until something else is asked. Cannot fail. */
static inline void runner_begin(struct runner *runner, const struct runner_task *task)
{
    runner->operations->begin(runner, task);
}

/* The Started of a task that waits is acknowledged: run it. */
static inline void runner_go(struct runner *runner, uint64_t id)
{
    runner->operations->go(runner, id);
}

/* true: it had not begun, and never will; nothing more is reported of it. false: nothing has changed. */
static inline bool runner_withdraw(struct runner *runner, uint64_t id)
{
    return runner->operations->withdraw(runner, id);
}

/* true: the same. false: it runs, and was asked to end, or it has ended: in both cases its RUNNER_DONE comes. */
static inline bool runner_cancel(struct runner *runner, uint64_t id)
{
    return runner->operations->cancel(runner, id);
}

/* The next report, if there is one at `now_ms` (monotonic), one that could have waited for others included. Does not wait. */
static inline bool runner_poll(struct runner *runner, int64_t now_ms, struct runner_report *report)
{
    return runner->operations->poll(runner, now_ms, report);
}

/* When to poll next, should nothing wake the caller before: past while there are reports, in the future where ends may wait for others;
 * INT64_MAX: nothing is foreseen. */
static inline int64_t runner_due_ms(struct runner *runner)
{
    return runner->operations->due_ms(runner);
}

/* Wait for a report, without a bus. */
static inline void runner_wait(struct runner *runner, int timeout_ms)
{
    runner->operations->wait(runner, timeout_ms);
}

/* Called from any thread when a report has come; NULL: nobody. When this returns the one before is not called any more. */
static inline void runner_set_wake(struct runner *runner, void (*wake)(void *state), void *state)
{
    runner->operations->set_wake(runner, wake, state);
}

#endif
