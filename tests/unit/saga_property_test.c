/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold whatever is written to a run's log: random plans, random events, most of them plausible. A failure names its seed:
 *     SAGA_SEED=<seed> build/dev/tests/unit_saga_property */
#include "tests/unit/saga_fixture.h"

#include <inttypes.h>
#include <signal.h>

#ifdef __SANITIZE_THREAD__
#define SEEDS 40 /* one thread: there is little to find here */
#else
#define SEEDS 120
#endif
#define EVENTS 120
#define STEPS_MAX 6
#define ELEMENTS_MAX 4

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
    uint32_t undo_order[STEPS_MAX * (ELEMENTS_MAX + 1)], undo_count; /* steps; instances of one in any order */
    bool undone[STEPS_MAX][ELEMENTS_MAX + 1];
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
        step->retry = (struct plan_retry){.max_attempts = below(4),
                                          .max_losses = below(4),
                                          .backoff_ms = 1000,
                                          .multiplier_permille = 2000,
                                          .max_backoff_ms = 5000};
        step->timeout_ms = one_in(2) ? 5000 : 0;
        step->heartbeat_timeout_ms = one_in(3) ? 3000 : 0;
        step->start_timeout_ms = one_in(4) ? 8000 : 0;
        step->rollback_timeout_ms = one_in(4) ? 4000 : 0;
        step->rollback_retry = one_in(2)
                                   ? (struct plan_retry){.max_attempts = 1 + below(3), .max_losses = below(4), .backoff_ms = 500}
                                   : (struct plan_retry){0};
        if (one_in(4)) {
            step->each = (struct span)S(".params");
            step->max_parallel = below(3);
        }
    }
    subject->plan = (struct plan){.name = S("plan"),
                                  .steps = subject->steps,
                                  .step_count = count,
                                  .timeout_ms = one_in(4) ? 60000 : 0,
                                  .pause_on_failure = one_in(3)};
}

static struct span random_bytes_of(uint32_t max)
{
    static const char bytes[2000];
    return (struct span){bytes, below(3) == 0 ? below(max) : 0};
}

static void fill_ticket(const struct subject *subject, struct saga_event *event)
{
    uint32_t step = below(subject->plan.step_count);
    const struct saga_step *state = NULL, *drawn = subject->saga.steps[step];
    for (uint32_t past = below(12); (state = saga_next_step(&subject->saga, state)) != NULL && past > 0; past--) {
        drawn = state;
    }
    state = drawn;
    event->ticket = (struct ticket){
        .step = state->index, .instance = state->instance, .direction = (enum direction)state->direction, .number = state->ticket};
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
    static const enum saga_event_kind kinds[] = {EVENT_STARTED,   EVENT_STARTED,     EVENT_PROGRESSED, EVENT_PROGRESSED, EVENT_DONE,
                                                 EVENT_DONE,      EVENT_DONE,        EVENT_DONE,       EVENT_REFUSED,    EVENT_LOST,
                                                 EVENT_WITHDRAWN, EVENT_TIMER_FIRED, EVENT_ANSWERED,   EVENT_FINISHED};
    static const enum saga_event_kind controls[] = {EVENT_PAUSE, EVENT_RESUME,    EVENT_RESUME,
                                                    EVENT_RETRY, EVENT_ROLL_BACK, EVENT_RESOLVE};
    static const struct span elements[ELEMENTS_MAX] = {S("1"), S("{}"), S("[2]"), S("null")};
    static const enum outcome outcomes[] = {OUTCOME_OK,
                                            OUTCOME_OK,
                                            OUTCOME_OK,
                                            OUTCOME_SKIPPED,
                                            OUTCOME_FAILED,
                                            OUTCOME_FAILED,
                                            OUTCOME_CANCELLED_STARTED,
                                            OUTCOME_CANCELLED_NOT_STARTED};
    struct saga_event event = {.kind = kinds[below(COUNT(kinds))], .outcome = outcomes[below(COUNT(outcomes))]};
    if (one_in(60)) {
        event.kind = one_in(3) ? EVENT_START : EVENT_CANCEL;
    } else if (one_in(12)) {
        event.kind = controls[below(COUNT(controls))];
        event.step_name = subject->steps[below(subject->plan.step_count)].name;
        event.done = one_in(2);
    } else if (one_in(10)) {
        event.kind = EVENT_EXPANDED;
        event.elements = elements;
        event.element_count = below(ELEMENTS_MAX + 1);
    }
    event.request_id[0] = (unsigned char)below(60);
    event.plan = &subject->plan;
    event.fold_version = SAGA_FOLD_VERSION;
    event.permanent = one_in(10);
    event.timer = (enum timer)(1 + below(5));
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
    for (const struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        open = open || step->open;
    }
    assert_true(saga_is_over(saga) || open || saga->status == RUN_PAUSED || saga_next_deadline(saga, &deadline));
}

static bool needs(const struct plan *plan, uint32_t step, uint32_t other)
{
    bool marks[STEPS_MAX] = {false};
    plan_mark_needs(plan, step, marks);
    return marks[other];
}

static void note_undo(struct subject *subject, const struct saga_step *step)
{
    uint32_t i = step->index;
    if (step->direction == DIRECTION_EXECUTE || subject->undone[i][step->instance]) {
        return;
    }
    for (uint32_t n = 0; n < subject->undo_count; n++) {
        assert_false(subject->undo_order[n] != i && needs(&subject->plan, i, subject->undo_order[n]));
    }
    assert_true(step->may_have_begun && !subject->steps[i].rollback_none);
    subject->undone[i][step->instance] = true;
    subject->undo_order[subject->undo_count++] = i;
}

/* Whoever needs a step is undone before it, and what cannot have begun never is. */
static void note_undo_order(struct subject *subject)
{
    for (const struct saga_step *step = NULL; (step = saga_next_step(&subject->saga, step)) != NULL;) {
        if (step->fan == NULL) {
            note_undo(subject, step);
        }
    }
}

static void expect_final(const struct subject *subject)
{
    for (const struct saga_step *step = NULL;
         saga_is_over(&subject->saga) && (step = saga_next_step(&subject->saga, step)) != NULL;) {
        bool undone = step->status == STEP_ROLLED_BACK || step->status == STEP_ROLLBACK_FAILED;
        if (subject->saga.status == RUN_SUCCEEDED) {
            assert_true(step->status == STEP_SUCCEEDED || step->status == STEP_SKIPPED);
        } else if (step->fan == NULL && !step->resolved) {
            assert_int_equal(undone, step->may_have_begun && !subject->steps[step->index].rollback_none);
        }
    }
}

/* That all this was met at all. */
static struct {
    uint32_t fans, paused, held, resolved, finished_twice, undone_instances;
} met;

static void note_met(const struct saga *saga)
{
    met.paused += saga->status == RUN_PAUSED;
    met.held += saga->held;
    met.finished_twice += saga->finish_count > 1;
    for (const struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        met.fans += step->fan != NULL;
        met.resolved += step->resolved;
        met.undone_instances += step->instance > 0 && step->status == STEP_ROLLED_BACK;
    }
}

static void expect_rules(struct subject *subject)
{
    const struct saga *saga = &subject->saga;
    note_met(saga);
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
        bool found = subject->saga.status == RUN_PAUSED;
        assert_true(turns < 1000);
        if (found) { /* a person looks after it */
            event = (struct saga_event){.kind = subject->saga.held ? EVENT_ROLL_BACK : EVENT_RESUME,
                                        .request_id = {200, (unsigned char)turns}};
        }
        for (struct saga_cursor cursor = {0}; !found && saga_next_effect(&subject->saga, &cursor, &effect);) {
            found = effect.kind == EFFECT_DISPATCH || effect.kind == EFFECT_CANCEL_TASK;
            event.ticket = effect.ticket;
            event.outcome = effect.kind == EFFECT_CANCEL_TASK ? OUTCOME_CANCELLED_STARTED : OUTCOME_OK;
            bool to_expand = effect.ticket.direction == DIRECTION_EXECUTE && effect.ticket.instance == 0 &&
                             subject->steps[effect.ticket.step].each.size > 0;
            event.kind = to_expand && effect.kind == EFFECT_DISPATCH ? EVENT_EXPANDED : EVENT_DONE;
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
    apply_to_both(subject, (struct saga_event){.kind = EVENT_START,
                                               .request_id = {99},
                                               .plan = &subject->plan,
                                               .fold_version = SAGA_FOLD_VERSION,
                                               .time_ms = subject->time_ms});
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
    const char *many = getenv("SAGA_SEEDS");
    uint64_t last = only != NULL ? first : many != NULL ? strtoull(many, NULL, 10) : SEEDS;
    for (current_seed = first; current_seed <= last; current_seed++) {
        run_seed(current_seed);
    }
    assert_true(
        only != NULL || many != NULL || SEEDS < 100 ||
        (met.fans > 0 && met.paused > 0 && met.held > 0 && met.resolved > 0 && met.finished_twice > 0 && met.undone_instances > 0));
    print_message("fans %u, paused %u, held %u, resolved %u, finished twice %u, instances undone %u\n", met.fans, met.paused,
                  met.held, met.resolved, met.finished_twice, met.undone_instances);
    finished = true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_log_keeps_the_rules)};
    atexit(say_seed);
    signal(SIGABRT, on_abort); /* an assert of the saga's own */
    return cmocka_run_group_tests_name("any log", tests, NULL, NULL);
}
