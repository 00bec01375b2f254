/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold whatever is written to a run's log: random plans, random events, most of them plausible. A failure names its seed:
 *     SAGA_SEED=<seed> build/dev/tests/unit_saga_property */
#include "tests/unit/saga_fixture.h"

#include <inttypes.h>
#include <signal.h>


#define SEEDS 200
#define EVENTS 120
#define STEPS_MAX 6

static uint64_t random_state;

static uint32_t below(uint32_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state * 2685821657736338717ull) >> 33) % bound;
}

static bool one_in(uint32_t n)
{
    return below(n) == 0;
}

struct subject {
    struct plan plan;
    struct plan_step steps[STEPS_MAX];
    uint32_t needs[STEPS_MAX][STEPS_MAX];
    char names[STEPS_MAX][16];
    struct saga saga, twin; /* the twin gets every event twice */
    int64_t time_ms;
    uint32_t last_ppm;
    uint32_t undo_order[STEPS_MAX], undo_count;
};

static void make_plan(struct subject *subject)
{
    uint32_t count = 1 + below(STEPS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct plan_step *step = &subject->steps[i];
        snprintf(subject->names[i], sizeof subject->names[i], "s%" PRIu32, i);
        *step = (struct plan_step){.name = span_of(subject->names[i]), .handler = S("h"), .queue = S("q"), .weight = below(4) * 10};
        for (uint32_t other = 0; other < i; other++) {
            if (one_in(2)) {
                subject->needs[i][step->needs_count++] = other;
            }
        }
        step->needs = subject->needs[i];
        step->rollback_none = one_in(5);
        step->retry = (struct plan_retry){.max_attempts = below(4), .max_losses = below(4), .backoff_ms = 1000,
                                          .multiplier_permille = 2000, .max_backoff_ms = 5000};
        step->timeout_ms = one_in(2) ? 5000 : 0;
        step->heartbeat_timeout_ms = one_in(3) ? 3000 : 0;
    }
    subject->plan = (struct plan){.name = S("plan"), .steps = subject->steps, .step_count = count};
}

static struct span random_bytes_of(uint32_t max)
{
    static const char bytes[2000];
    return (struct span){bytes, below(3) == 0 ? below(max) : 0};
}

static void fill_ticket(const struct subject *subject, struct saga_event *event)
{
    uint32_t step = below(subject->plan.step_count);
    const struct saga_step *state = &subject->saga.steps[step];
    event->ticket = (struct ticket){.step = step, .direction = (enum direction)state->direction, .number = state->ticket};
    if (one_in(8)) {
        event->ticket.number += below(3) - 1;
    }
    if (one_in(20)) {
        event->ticket.direction = one_in(2) ? DIRECTION_EXECUTE : DIRECTION_ROLLBACK;
    }
    if (one_in(50)) {
        event->ticket.step = below(STEPS_MAX + 2);
        event->ticket.instance = below(2);
    }
}

static struct saga_event random_event(const struct subject *subject)
{
    static const enum saga_event_kind kinds[] = {EVENT_STARTED, EVENT_STARTED, EVENT_PROGRESSED, EVENT_PROGRESSED, EVENT_DONE, EVENT_DONE,
                                                 EVENT_DONE, EVENT_DONE, EVENT_REFUSED, EVENT_LOST, EVENT_WITHDRAWN, EVENT_TIMER_FIRED,
                                                 EVENT_ANSWERED, EVENT_FINISHED};
    static const enum outcome outcomes[] = {OUTCOME_OK, OUTCOME_OK, OUTCOME_OK, OUTCOME_SKIPPED, OUTCOME_FAILED, OUTCOME_FAILED,
                                            OUTCOME_CANCELLED_STARTED, OUTCOME_CANCELLED_NOT_STARTED};
    struct saga_event event = {.kind = kinds[below(COUNT(kinds))], .outcome = outcomes[below(COUNT(outcomes))]};
    if (one_in(60)) {
        event.kind = one_in(3) ? EVENT_START : EVENT_CANCEL;
    }
    event.request_id[0] = (unsigned char)below(6);
    event.plan = &subject->plan;
    event.fold_version = SAGA_FOLD_VERSION;
    event.permanent = one_in(10);
    event.timer = (enum timer)(1 + below(3));
    event.current = below(6);
    event.total = 5;
    event.worker = one_in(4) ? (struct span){0} : (struct span)S("some-worker");
    event.data = random_bytes_of(100);
    event.rollback_data = random_bytes_of(2000);
    event.set = random_bytes_of(50);
    event.error = random_bytes_of(500);
    event.reason = random_bytes_of(300);
    event.metrics = random_bytes_of(200);
    fill_ticket(subject, &event);
    return event;
}

/* Rather a deadline that is due than a random one. */
static void make_due(const struct subject *subject, struct saga_event *event)
{
    struct saga_deadline deadline;
    if (event->kind == EVENT_TIMER_FIRED && !one_in(4) && saga_next_deadline(&subject->saga, &deadline)) {
        event->timer = deadline.timer;
        event->ticket = deadline.ticket;
        event->time_ms = deadline.due_ms > event->time_ms ? deadline.due_ms : event->time_ms;
    }
}

/* "Every unfinished run has work outstanding, a deadline, a step that waits for a worker, or is paused." */
static void expect_nothing_hangs(const struct saga *saga)
{
    struct saga_deadline deadline;
    bool open = false;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        open = open || saga->steps[i].open;
    }
    assert_true(saga_is_over(saga) || open || saga_next_deadline(saga, &deadline));
}

static bool needs(const struct plan *plan, uint32_t step, uint32_t other)
{
    bool marks[STEPS_MAX] = {false};
    plan_mark_needs(plan, step, marks);
    return marks[other];
}

/* Whoever needs a step is undone before it. */
static void note_undo_order(struct subject *subject)
{
    for (uint32_t i = 0; i < subject->plan.step_count; i++) {
        bool known = subject->saga.steps[i].direction == DIRECTION_EXECUTE;
        for (uint32_t n = 0; n < subject->undo_count; n++) {
            known = known || subject->undo_order[n] == i;
        }
        if (known) {
            continue;
        }
        for (uint32_t n = 0; n < subject->undo_count; n++) {
            assert_false(needs(&subject->plan, i, subject->undo_order[n]));
        }
        assert_true(subject->saga.steps[i].may_have_begun && !subject->steps[i].rollback_none);
        subject->undo_order[subject->undo_count++] = i;
    }
}

static void expect_final(const struct subject *subject)
{
    for (uint32_t i = 0; i < subject->plan.step_count && saga_is_over(&subject->saga); i++) {
        const struct saga_step *step = &subject->saga.steps[i];
        bool undone = step->status == STEP_ROLLED_BACK || step->status == STEP_ROLLBACK_FAILED;
        if (subject->saga.status == RUN_SUCCEEDED) {
            assert_true(step->status == STEP_SUCCEEDED || step->status == STEP_SKIPPED);
        } else {
            assert_int_equal(undone, step->may_have_begun && !subject->steps[i].rollback_none);
        }
    }
}

static void expect_rules(struct subject *subject)
{
    const struct saga *saga = &subject->saga;
    assert_true(saga->progress_ppm >= subject->last_ppm);
    assert_int_equal(saga->progress_ppm == PPM_ONE, saga->status == RUN_SUCCEEDED);
    subject->last_ppm = saga->progress_ppm;
    expect_nothing_hangs(saga);
    note_undo_order(subject);
    expect_final(subject);
}

static void apply_to_both(struct subject *subject, struct saga_event event)
{
    enum saga_verdict verdict = fixture_apply(&subject->saga, event);
    char *before = verdict != SAGA_APPLIED ? fixture_dump(&subject->twin) : NULL;
    fixture_apply(&subject->twin, event);
    fixture_apply(&subject->twin, event);
    if (one_in(3)) { /* and goes on from a snapshot of itself */
        struct saga image = fixture_image(&subject->twin);
        fixture_release(&subject->twin);
        subject->twin = image;
    }
    char *once = fixture_dump(&subject->saga), *twice = fixture_dump(&subject->twin);
    assert_string_equal(twice, once);
    if (before != NULL) {
        assert_string_equal(once, before); /* what is ignored changes nothing */
    }
    free(before);
    free(once);
    free(twice);
}

static void take_event(struct subject *subject)
{
    subject->time_ms += below(1500);
    struct saga_event event = random_event(subject);
    event.time_ms = subject->time_ms;
    make_due(subject, &event);
    subject->time_ms = event.time_ms;
    event.offset = subject->time_ms;
    apply_to_both(subject, event);
    expect_rules(subject);
}

/* From anywhere, workers and an owner that do what they owe bring the run to its end. */
static void drive_to_the_end(struct subject *subject)
{
    for (int turns = 0; !saga_is_over(&subject->saga); turns++) {
        struct saga_effect effect;
        struct saga_deadline deadline;
        struct saga_event event = {.kind = EVENT_DONE, .worker = S("w")};
        bool found = false;
        assert_true(turns < 500);
        for (struct saga_cursor cursor = {0}; !found && saga_next_effect(&subject->saga, &cursor, &effect);) {
            found = effect.kind == EFFECT_DISPATCH || effect.kind == EFFECT_CANCEL_TASK;
            event.ticket = effect.ticket;
            event.outcome = effect.kind == EFFECT_CANCEL_TASK ? OUTCOME_CANCELLED_STARTED : OUTCOME_OK;
        }
        if (!found) {
            assert_true(saga_next_deadline(&subject->saga, &deadline));
            event = (struct saga_event){.kind = EVENT_TIMER_FIRED, .timer = deadline.timer, .ticket = deadline.ticket};
            subject->time_ms = deadline.due_ms > subject->time_ms ? deadline.due_ms : subject->time_ms;
        }
        event.time_ms = ++subject->time_ms;
        apply_to_both(subject, event);
        expect_rules(subject);
    }
}

static void run_seed(uint64_t seed)
{
    struct subject *subject = calloc(1, sizeof *subject);
    random_state = seed * 2654435761u + 1;
    make_plan(subject);
    subject->time_ms = 1000000;
    apply_to_both(subject, (struct saga_event){.kind = EVENT_START, .request_id = {99}, .plan = &subject->plan,
                                               .fold_version = SAGA_FOLD_VERSION, .time_ms = subject->time_ms});
    for (int i = 0; i < EVENTS; i++) {
        take_event(subject);
    }
    drive_to_the_end(subject);
    fixture_release(&subject->saga);
    fixture_release(&subject->twin);
    free(subject);
}

static uint64_t current_seed;
static bool finished;

static void say_seed(void)
{
    if (!finished) {
        fprintf(stderr, "replay with: SAGA_SEED=%" PRIu64 "\n", current_seed);
    }
}

static void on_abort(int number)
{
    (void)number;
    say_seed();
}

static void any_log_keeps_the_rules(void **state)
{
    (void)state;
    const char *only = getenv("SAGA_SEED");
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only != NULL ? first : SEEDS;
    for (current_seed = first; current_seed <= last; current_seed++) {
        run_seed(current_seed);
    }
    finished = true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_log_keeps_the_rules)};
    atexit(say_seed);
    signal(SIGABRT, on_abort); /* an assert of the saga's own */
    return cmocka_run_group_tests_name("any log", tests, NULL, NULL);
}
