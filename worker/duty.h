/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker owes, as a pure function: docs/PROTOCOL.md, "What a worker owes". No clock, no heap, no I/O. */
#ifndef DUTY_H
#define DUTY_H

#include "common/messages.h"

enum duty_answer {
    DUTY_SKIP_NOT_MINE,
    DUTY_SKIP_FENCED,       /* of an epoch that was not answered with Holding */
    DUTY_SKIP_KEY_HELD,     /* cannot be: no ticket is sent twice. Count it */
    DUTY_SKIP_ENDED,        /* a cancel of what is not here: its end is in the log */
    DUTY_HOLDING,           /* the epoch is remembered: answer Holding(tickets queued or running) on that partition */
    DUTY_NEW_INCARNATION,
    DUTY_REFUSE_UNKNOWN,
    DUTY_REFUSE_BUSY,
    DUTY_RUN,               /* queue it, run it */
    DUTY_CANCEL_QUEUED,     /* take it out of the queue, Done(cancelled, not started) */
    DUTY_CANCEL_RUNNING,    /* cancel it; Done(cancelled, started) unless it ends otherwise */
    DUTY_ANSWERS,
};

/* The last Welcome answered on one progress partition. */
struct duty_fence {
    bool welcomed;
    int64_t epoch;
};

enum duty_held { DUTY_NOT_HELD, DUTY_QUEUED, DUTY_RUNNING };

/* The worker, as far as its duty depends on it. Everything is borrowed. */
struct duty {
    struct incarnation incarnation;
    int64_t lease_end_ms;       /* sending of the last acknowledged heartbeat + lease */
    struct duty_fence *fences;  /* one for each progress partition; all zero at the beginning of an incarnation */
    uint32_t fence_count;
    uint32_t load, window;      /* tasks queued or running; the most there may be. Window 0: it drains */
    /* Is the key (run, step, instance, direction) here, and which ticket of it? */
    enum duty_held (*held)(const void *state, struct span run_id, const struct ticket *ticket, uint32_t *number);
    bool (*serves)(const void *state, struct span handler);
    const void *state;
};

/* The first row that fits. Of `duty` only the fence of a Welcome's partition changes. `now_ms` is on the clock of lease_end_ms. */
enum duty_answer duty_of(struct duty *duty, const struct message *message, int64_t now_ms);

/* How many tasks to take, running ones included: the slots, and what they run in 40 ms, which is nothing for long steps; at most
 * 1,024 × slots and LIMIT_WINDOW. */
uint32_t duty_window(uint32_t slots, int64_t mean_step_us);

#endif
