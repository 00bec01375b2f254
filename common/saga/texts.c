/* SPDX-License-Identifier: Apache-2.0 */
/* What people are told. All texts of our own making fit TEXT_SLACK of room.c beside what they quote. */
#include "common/saga/saga_internal.h"

static struct span digits_of(uint64_t number, char storage[24], const char *unit)
{
    size_t unit_size = strlen(unit);
    size_t at = 24 - unit_size;
    memcpy(storage + at, unit, unit_size);
    do {
        storage[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return (struct span){storage + at, 24 - at};
}

/* `10m`, `1500ms`: how a pipeline file would say it. `storage` holds the digits. */
static struct span duration_text(int64_t ms, char storage[24])
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t u = 0;
    while (u < 3 && ms % units[u].ms != 0) {
        u++;
    }
    return digits_of((uint64_t)(ms / units[u].ms), storage, units[u].unit);
}

static void say_duration(struct saga *saga, struct saga_step *step, enum step_text kind, const char *what, int64_t ms)
{
    char storage[24];
    struct span pieces[] = {span_of(what), duration_text(ms, storage)};
    room_keep_text_joined(saga, step, kind, pieces, 2);
}

void text_timed_out(struct saga *saga, struct saga_step *step, enum step_text kind)
{
    const struct plan_step *plan = plan_of(saga, step);
    if (step->fired == TIMER_HEARTBEAT) {
        say_duration(saga, step, kind, "it reported nothing for ", plan->heartbeat_timeout_ms);
    } else if (step->fired == TIMER_START) {
        say_duration(saga, step, kind, "no worker began it within its start_timeout of ", plan->start_timeout_ms);
    } else {
        say_duration(saga, step, kind, "it did not end within its timeout of ",
                     step_goes_forward(step) ? plan->timeout_ms : plan->rollback_timeout_ms);
    }
}

void text_run_timed_out(struct saga *saga)
{
    char storage[24];
    struct span pieces[] = {span_of("the run did not end within its timeout of "), duration_text(saga->plan->timeout_ms, storage)};
    room_keep_joined(saga, &course_trouble(saga)->error, pieces, 2);
}

void text_lost(struct saga *saga, struct saga_step *step, enum step_text kind, struct span worker)
{
    struct span pieces[] = {span_of("worker '"), worker, span_of("' was lost while it ran")};
    if (worker.size == 0) {
        pieces[0] = span_of("the worker that may have run it is not known any more");
        room_keep_text_joined(saga, step, kind, pieces, 1);
        return;
    }
    room_keep_text_joined(saga, step, kind, pieces, 3);
}

void text_run_failed(struct saga *saga, const struct saga_step *step)
{
    char storage[24];
    struct span pieces[] = {span_of("Step '"), plan_of(saga, step)->name,       span_of("' failed: "), span_of(""),
                            span_of(""),       saga_step_text(step, TEXT_ERROR)};
    if (step->instance > 0) {
        pieces[3] = span_of("element ");
        pieces[4] = digits_of(step->instance, storage, ": ");
    }
    room_keep_joined(saga, &course_trouble(saga)->error, pieces, 6);
}
