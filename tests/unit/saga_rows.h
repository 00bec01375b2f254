/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of the fold as rows: events in, and what is then the state and due. */
#ifndef SAGA_ROWS_H
#define SAGA_ROWS_H

#include "tests/unit/saga_fixture.h"

#define RETRY(attempts, loss) \
    {.max_attempts = (attempts), .max_losses = (loss), .backoff_ms = 1000, .multiplier_permille = 2000, .max_backoff_ms = 3000}
#define STEP(what, ...) {.name = S(what), .handler = S("h"), .queue = S("default"), __VA_ARGS__}
#define NEEDS(list) .needs = (list), .needs_count = COUNT(list)
#define PLAN(list) {.name = S("plan"), .steps = (list), .step_count = COUNT(list)}

struct row {
    const char *name;
    const struct plan *plan;
    struct timed_event events[24]; /* the first is START */
    const char *then;              /* fixture_show() */
    const char *error;             /* of the run; NULL: none */
};

static inline struct saga_event prepared(const struct row *row, size_t index, int64_t *time_ms)
{
    struct saga_event event = row->events[index].event;
    int64_t after_ms = row->events[index].after_ms;
    *time_ms += after_ms > 0 ? after_ms : 1000;
    event.time_ms = *time_ms;
    event.offset = (int64_t)index + 10;
    if (event.kind == EVENT_START) {
        event.plan = row->plan;
    }
    return event;
}

static inline void apply_twice(struct saga *saga, const struct saga_event *event)
{
    fixture_apply(saga, *event);
    char *before = fixture_dump(saga);
    fixture_apply(saga, *event);
    char *after = fixture_dump(saga);
    assert_string_equal(after, before);
    free(before);
    free(after);
}

static inline void test_row(void **state)
{
    const struct row *row = *state;
    struct saga saga = {0};
    int64_t time_ms = 1000000;
    for (size_t i = 0; i < COUNT(row->events) && (i == 0 || row->events[i].event.kind != EVENT_START); i++) {
        struct saga_event event = prepared(row, i, &time_ms);
        apply_twice(&saga, &event);
    }
    char *shown = fixture_show(&saga);
    assert_string_equal(shown, row->then);
    free(shown);
    struct span error = row->error != NULL ? span_of(row->error) : (struct span){0};
    assert_int_equal(saga_trouble(&saga)->error.size, error.size);
    assert_true(span_equal(saga_trouble(&saga)->error, error));
    fixture_release(&saga);
}

#endif
