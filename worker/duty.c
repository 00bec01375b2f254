/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/duty.h"

#include "common/limits.h"
#include "common/rules.h"

#define ADVANCE_US 40000 /* half of it while ends wait for each other (pool.c), and a round trip to the coordinator with room to spare */
#define ADVANCE_MAX 1024 /* for each slot: of steps that take no time a worker still has less than 40 ms of its own work */

/* "Its epoch is not the one answered with Holding for that partition." */
static bool is_fenced(const struct duty *duty, const struct message *message)
{
    if (message->progress_partition >= duty->fence_count) {
        return true;
    }
    const struct duty_fence *fence = &duty->fences[message->progress_partition];
    return !fence->welcomed || fence->epoch != message->epoch;
}

static enum duty_answer of_welcome(struct duty *duty, const struct message *message)
{
    if (message->progress_partition >= duty->fence_count) {
        return DUTY_SKIP_FENCED;
    }
    struct duty_fence *fence = &duty->fences[message->progress_partition];
    if (fence->welcomed && message->epoch < fence->epoch) {
        return DUTY_SKIP_FENCED;
    }
    *fence = (struct duty_fence){.welcomed = true, .epoch = message->epoch};
    return DUTY_HOLDING;
}

/* One Holding has to name it all. */
static bool is_full(const struct duty *duty)
{
    return (uint64_t)duty->load + duty->ahead >= LIMIT_HOLDING;
}

/* "After" a ticket that is here: what has ended has told its owner, who will send this one anew. */
static bool may_wait(const struct duty *duty, const struct task *task)
{
    uint32_t number = 0;
    return duty->ahead < (uint64_t)duty->window * SAGA_AHEAD_MAX && !is_full(duty) &&
           duty->held(duty->state, task->run_id, &task->after, &number) != DUTY_NOT_HELD && number == task->after.number;
}

static enum duty_answer of_task(const struct duty *duty, const struct message *message, int64_t now_ms)
{
    const struct task *task = &message->task;
    uint32_t number = 0;
    if (rule_holds(RULE_FENCE) && is_fenced(duty, message)) {
        return DUTY_SKIP_FENCED;
    }
    if (now_ms >= duty->lease_end_ms) {
        return DUTY_NEW_INCARNATION;
    }
    if (!duty->serves(duty->state, task->handler)) {
        return DUTY_REFUSE_UNKNOWN;
    }
    if (task->after.number == 0 && (duty->load >= duty->window || is_full(duty))) {
        return DUTY_REFUSE_BUSY;
    }
    enum duty_held held = duty->held(duty->state, task->run_id, &task->ticket, &number);
    if (held == DUTY_QUEUED || held == DUTY_RUNNING) {
        return DUTY_SKIP_KEY_HELD;
    }
    return task->after.number == 0 || may_wait(duty, task) ? DUTY_RUN : DUTY_GIVE_BACK;
}

static enum duty_answer of_cancel(const struct duty *duty, const struct message *message)
{
    static const enum duty_answer answers[] = {
        [DUTY_NOT_HELD] = DUTY_SKIP_ENDED,
        [DUTY_QUEUED] = DUTY_CANCEL_QUEUED,
        [DUTY_RUNNING] = DUTY_CANCEL_RUNNING,
        [DUTY_ENDED] = DUTY_SKIP_ENDED,
    };
    uint32_t number = 0;
    if (rule_holds(RULE_FENCE) && is_fenced(duty, message)) {
        return DUTY_SKIP_FENCED;
    }
    enum duty_held held = duty->held(duty->state, message->event.run_id, &message->event.ticket, &number);
    if (held == DUTY_RUNNING && message->cancel_reason == CANCEL_AHEAD) {
        return DUTY_SKIP_ENDED; /* it has begun, and goes on */
    }
    return number == message->event.ticket.number ? answers[held] : DUTY_SKIP_ENDED;
}

enum duty_answer duty_of(struct duty *duty, const struct message *message, int64_t now_ms)
{
    if (memcmp(message->incarnation.bytes, duty->incarnation.bytes, INCARNATION_BYTES) != 0) {
        return DUTY_SKIP_NOT_MINE;
    }
    switch (message->kind) {
    case MESSAGE_WELCOME: return of_welcome(duty, message);
    case MESSAGE_TASK: return of_task(duty, message, now_ms);
    case MESSAGE_CANCEL_TASK: return of_cancel(duty, message);
    default: return DUTY_SKIP_NOT_MINE;
    }
}

enum duty_next duty_of_next(size_t result_bytes)
{
    if (result_bytes > LIMIT_AHEAD_RESULT_BYTES) {
        return DUTY_NEXT_GOES_BACK;
    }
    return rule_holds(RULE_AHEAD_WAITS) ? DUTY_NEXT_WAITS : DUTY_NEXT_BEGINS;
}

uint32_t duty_window(uint32_t slots, int64_t mean_step_us)
{
    int64_t ahead = mean_step_us > 0 ? (int64_t)slots * ADVANCE_US / mean_step_us : 0;
    int64_t most = (int64_t)slots * ADVANCE_MAX;
    int64_t window = slots + ahead < most ? slots + ahead : most;
    return window < LIMIT_WINDOW ? (uint32_t)window : LIMIT_WINDOW;
}
