/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker owes, as a pure function: docs/PROTOCOL.md, "What a worker owes". No clock, no heap, no I/O. */
#ifndef DUTY_H
#define DUTY_H

#include "common/messages.h"

enum duty_answer {
    DUTY_SKIP_NOT_MINE,
    DUTY_SKIP_FENCED,       /* of an epoch that was not answered with Holding */
    DUTY_SKIP_KEY_HELD,     /* cannot be: no ticket is sent twice. Count it */
    DUTY_SKIP_ENDED,        /* a cancel of what is not here: its end is in the log. Or of what was sent ahead, and has begun */
    DUTY_HOLDING,           /* the epoch is remembered: answer Holding(tickets queued or running) on that partition */
    DUTY_NEW_INCARNATION,
    DUTY_REFUSE_UNKNOWN,
    DUTY_REFUSE_BUSY,
    DUTY_GIVE_BACK,         /* sent ahead of what is not here, or more than there may be: Done(cancelled, not started) */
    DUTY_RUN,               /* queue it, run it; sent ahead: behind the ticket it comes after */
    DUTY_CANCEL_QUEUED,     /* it waits or is queued: take it out of the queue, Done(cancelled, not started) */
    DUTY_CANCEL_RUNNING,    /* cancel it; Done(cancelled, started) unless it ends otherwise */
    DUTY_ANSWERS,
};

/* The last Welcome answered on one progress partition. */
struct duty_fence {
    bool welcomed;
    int64_t epoch;
};

enum duty_held { DUTY_NOT_HELD, DUTY_QUEUED, DUTY_RUNNING, DUTY_ENDED /* well, and another is to come behind it */ };

/* The worker, as far as its duty depends on it. Everything is borrowed. */
struct duty {
    struct incarnation incarnation;
    int64_t lease_end_ms;       /* sending of the last acknowledged heartbeat + lease */
    struct duty_fence *fences;  /* one for each progress partition; all zero at the beginning of an incarnation */
    uint32_t fence_count;
    uint32_t load, window;      /* tasks queued or running; the most there may be. Window 0: it drains */
    uint32_t ahead;             /* tasks that wait behind one of these or behind each other, or have ended and wait for one to come behind */
    /* Is the key (run, step, instance, direction) here, and which ticket of it? What waits is queued. */
    enum duty_held (*held)(const void *state, struct span run_id, const struct ticket *ticket, uint32_t *number);
    bool (*serves)(const void *state, struct span handler);
    const void *state;
};

/* The first row that fits. Of `duty` only the fence of a Welcome's partition changes. `now_ms` is on the clock of lease_end_ms. */
enum duty_answer duty_of(struct duty *duty, const struct message *message, int64_t now_ms);

/* What was sent ahead, of a step that has ended well with `result_bytes` of data and shared values. */
enum duty_next {
    DUTY_NEXT_WAITS,     /* it begins when the end stands in the log */
    DUTY_NEXT_BEGINS,    /* never: it would be forgotten with an end that is lost */
    DUTY_NEXT_GOES_BACK, /* with so much the run's context could become too large meanwhile */
};
enum duty_next duty_of_next(size_t result_bytes);

/* How many tasks to take, running ones included: the slots, and what they run in 40 ms, which is nothing for long steps; at most
 * 1,024 × slots and LIMIT_WINDOW. */
uint32_t duty_window(uint32_t slots, int64_t mean_step_us);

#endif
