/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets that may have been sent before their step is ready: what is open, what has ended, and under which number it goes on. */
#include "tests/unit/saga_rows.h"

#include "common/limits.h"

static const uint32_t needs[LIMIT_STEPS] = {0, 1, 2, 3, 4, 5, 6, 7, 8}, first_two[] = {0, 1}, none[1];

#define USUAL .retry = PLAN_RETRY_DEFAULT
#define BEHIND(index) .needs = &needs[index], .needs_count = 1 /* needs the step of that index */
#define START4 START_OF_FOLD(SAGA_FOLD_OF_TASKS_AHEAD)
#define START3 START_OF_FOLD(SAGA_FOLD_OF_EARLY_TAILS)

static const struct plan_step line_steps[] = {STEP("a", .retry = RETRY(2, 5)), STEP("b", BEHIND(0), USUAL), STEP("c", BEHIND(1), USUAL),
                                              STEP("d", BEHIND(2), USUAL)};
static const struct plan_step long_steps[] = {
    STEP("a", .retry = RETRY(2, 5)), STEP("b", BEHIND(0), USUAL), STEP("c", BEHIND(1), USUAL), STEP("d", BEHIND(2), USUAL),
    STEP("e", BEHIND(3), USUAL),     STEP("f", BEHIND(4), USUAL), STEP("g", BEHIND(5), USUAL), STEP("h", BEHIND(6), USUAL),
    STEP("i", BEHIND(7), USUAL),     STEP("j", BEHIND(8), USUAL)};
/* A line, and one that nobody needs. */
static const struct plan_step beside_steps[] = {STEP("a", USUAL), STEP("b", BEHIND(0), USUAL), STEP("x", .needs = none, USUAL)};
/* Lines whose third step is not behind the second, though the fourth is behind it. */
static const struct plan_step joined_steps[] = {STEP("a", .retry = RETRY(2, 5)), STEP("b", BEHIND(0), USUAL),
                                                STEP("c", NEEDS(first_two), USUAL), STEP("d", BEHIND(2), USUAL)};
static const struct plan_step moved_steps[] = {STEP("a", .retry = RETRY(2, 5)), STEP("b", BEHIND(0), USUAL),
                                               {.name = S("c"), .handler = S("h"), .queue = S("fast"), BEHIND(1), USUAL},
                                               {.name = S("d"), .handler = S("h"), .queue = S("fast"), BEHIND(2), USUAL}};
static const struct plan_step fanned_steps[] = {STEP("a", .retry = RETRY(2, 5)), STEP("b", BEHIND(0), USUAL),
                                                STEP("c", BEHIND(1), USUAL, .each = S(".params")), STEP("d", BEHIND(2), USUAL)};
static const struct plan_step once_steps[] = {STEP("a", .retry = RETRY(2, 5)), STEP("b", BEHIND(0), USUAL),
                                              STEP("c", BEHIND(1), .retry = RETRY(1, 0)), STEP("d", BEHIND(2), USUAL)};
static const struct plan line = PLAN(line_steps), far = PLAN(long_steps), beside = PLAN(beside_steps), joined = PLAN(joined_steps),
                         moved = PLAN(moved_steps), fanned = PLAN(fanned_steps), once = PLAN(once_steps),
                         limited = {.name = S("plan"), .steps = line_steps, .step_count = 4, .timeout_ms = 10000},
                         held = {.name = S("plan"), .steps = beside_steps, .step_count = 3, .pause_on_failure = true};

#define TO_CANCEL START4, STARTED(0, 1), CANCEL, OK(0, 1)
#define TO_PAUSE START4, STARTED(0, 1), PAUSE, OK(0, 1)

static const struct row rows[] = {
    /* ---- a run that goes on */
    {"what is ready is open as any other", &line, {START4, OK(0, 1)}, "running: succeeded ready waiting waiting; send 1#1", NULL},
    {"one after another", &line, {START4, OK(0, 1), OK(1, 1), OK(2, 1), OK(3, 1)}, "succeeded: succeeded succeeded succeeded succeeded; finish",
     NULL},

    /* ---- a run that stops while a step succeeds: the next may have begun */
    {"of a cancelled run the next step is open, and to be cancelled", &line, {TO_CANCEL},
     "running: succeeded ready waiting waiting; cancel 1#1", "cancelled"},
    {"nothing is undone while it may run", &line, {TO_CANCEL, STARTED(1, 1)}, "running: succeeded running waiting waiting; cancel 1#1",
     "cancelled"},
    {"but when it was given back", &line, {TO_CANCEL, NOT_STARTED(1, 1)}, "rolling_back: rolling_back waiting waiting waiting; send undo 0#1",
     "cancelled"},
    {"or refused", &line, {TO_CANCEL, REFUSED(1, 1)}, "rolling_back: rolling_back waiting waiting waiting; send undo 0#1", "cancelled"},
    {"or was never sent", &line, {TO_CANCEL, WITHDRAWN(1, 1)}, "rolling_back: rolling_back waiting waiting waiting; send undo 0#1",
     "cancelled"},
    {"where it had begun it is undone first", &line, {TO_CANCEL, CANCELLED(1, 1)},
     "rolling_back: succeeded rolling_back waiting waiting; send undo 1#1", "cancelled"},
    {"where it failed, too", &line, {TO_CANCEL, FAILED(1, 1, "no")}, "rolling_back: succeeded rolling_back waiting waiting; send undo 1#1",
     "cancelled"},
    {"where nobody knows, too", &line, {TO_CANCEL, LOST(1, 1)}, "rolling_back: succeeded rolling_back waiting waiting; send undo 1#1",
     "cancelled"},
    {"where it succeeds the one behind it is open", &line, {TO_CANCEL, OK(1, 1)},
     "running: succeeded succeeded ready waiting; cancel 2#1", "cancelled"},
    {"where it is skipped, too", &line, {TO_CANCEL, SKIPPED(1, 1)}, "running: succeeded skipped ready waiting; cancel 2#1", "cancelled"},
    {"which is not undone", &line, {TO_CANCEL, SKIPPED(1, 1), NOT_STARTED(2, 1)},
     "rolling_back: rolling_back skipped waiting waiting; send undo 0#1", "cancelled"},
    {"behind the last one is nothing", &line, {START4, OK(0, 1), OK(1, 1), OK(2, 1), STARTED(3, 1), CANCEL, OK(3, 1)},
     "rolling_back: succeeded succeeded succeeded rolling_back; send undo 3#1", "cancelled"},
    {"a failure beside it stops the run", &beside, {START4, STARTED(0, 1), FAILED(2, 1, "no"), OK(0, 1)},
     "running: succeeded ready failed; cancel 1#1", "Step 'x' failed: no"},
    {"and what failed is undone when it has ended", &beside, {START4, STARTED(0, 1), FAILED(2, 1, "no"), OK(0, 1), NOT_STARTED(1, 1)},
     "rolling_back: succeeded waiting rolling_back; send undo 2#1", "Step 'x' failed: no"},
    {"the run's timeout stops it", &limited, {START4, STARTED(0, 1), RUN_FIRED(10000), OK(0, 1)},
     "running: succeeded ready waiting waiting; cancel 1#1", "the run did not end within its timeout of 10s"},
    {"what is not behind it cannot have begun", &once, {START4, OK(0, 1), STARTED(1, 1), CANCEL, OK(1, 1)},
     "rolling_back: succeeded rolling_back waiting waiting; send undo 1#1", "cancelled"},
    {"nor in a run of an earlier fold", &line, {START3, STARTED(0, 1), CANCEL, OK(0, 1)},
     "rolling_back: rolling_back waiting waiting waiting; send undo 0#1", "cancelled"},

    /* ---- a run that is paused while a step succeeds */
    {"of a paused run the next step is open, and nothing is sent", &line, {TO_PAUSE}, "paused: succeeded ready waiting waiting; hold 1#1", NULL},
    {"it may run", &line, {TO_PAUSE, STARTED(1, 1)}, "paused: succeeded running waiting waiting; hold 1#1", NULL},
    {"and succeed, which opens the one behind it", &line, {TO_PAUSE, OK(1, 1)}, "paused: succeeded succeeded ready waiting; hold 2#1", NULL},
    {"what was given back waits", &line, {TO_PAUSE, NOT_STARTED(1, 1)}, "paused: succeeded waiting waiting waiting", NULL},
    {"and goes on under the next number", &line, {TO_PAUSE, NOT_STARTED(1, 1), RESUME}, "running: succeeded ready waiting waiting; send 1#2",
     NULL},
    {"what was not given back yet simply goes on", &line, {TO_PAUSE, RESUME}, "running: succeeded ready waiting waiting; send 1#1", NULL},
    {"behind what is skipped it is open, too", &line, {START4, STARTED(0, 1), PAUSE, SKIPPED(0, 1)},
     "paused: skipped ready waiting waiting; hold 1#1", NULL},
    {"a cancelled pause waits for it", &line, {TO_PAUSE, CANCEL}, "running: succeeded ready waiting waiting; cancel 1#1", "cancelled"},
    {"its failure is one of a paused run", &line, {TO_PAUSE, FAILED(1, 1, "no")}, "paused: succeeded failed waiting waiting",
     "Step 'b' failed: no"},
    {"a run that is held for a failure beside it is paused, too", &held, {START4, STARTED(0, 1), FAILED(2, 1, "no"), OK(0, 1)},
     "paused: succeeded ready failed; hold 1#1", "Step 'x' failed: no"},
    {"not so one of an earlier fold", &line, {START3, STARTED(0, 1), PAUSE, OK(0, 1)}, "paused: succeeded waiting waiting waiting", NULL},

    /* ---- under which number it goes on */
    {"behind what is skipped it has the first number", &line, {START4, SKIPPED(0, 1)}, "running: skipped ready waiting waiting; send 1#1", NULL},
    {"behind what succeeded at the second attempt the next one", &line, {START4, FAILED(0, 1, "no"), FIRED(0, 1, RETRY, 2000), OK(0, 2)},
     "running: succeeded ready waiting waiting; send 1#2", NULL},
    {"what was refused ahead has it, too", &line, {START4, REFUSED(1, 1), OK(0, 1)}, "running: succeeded ready waiting waiting; send 1#2",
     NULL},
    {"what is before it has not", &line, {START4, NOT_STARTED(2, 1), OK(0, 1)}, "running: succeeded ready waiting waiting; send 1#1", NULL},
    {"but what is behind it", &line, {START4, NOT_STARTED(2, 1), OK(0, 1), OK(1, 1), OK(2, 2)},
     "running: succeeded succeeded succeeded ready; send 3#2", NULL},
};

/* ---- how many tickets each step has had: "1 1 0" */

struct numbers_row {
    const char *name;
    const struct plan *plan;
    struct timed_event events[24];
    const char *then;
};

static const struct numbers_row numbers_rows[] = {
    {"what is ahead has had none", &line, {START4}, "1 0 0 0"},
    {"a success ends none", &line, {START4, OK(0, 1)}, "1 1 0 0"},
    {"a failure ends all that are behind", &line, {START4, FAILED(0, 1, "no")}, "1 1 1 1"},
    {"a failure for good, too", &line, {START4, PERMANENT(0, 1, "no"), UNDONE(0, 1)}, "1 1 1 1"},
    {"a loss, too", &line, {START4, LOST(0, 1)}, "2 1 1 1"},
    {"one that was found by a new owner, too", &line, {START4, LOST_BY_NOBODY(0, 1)}, "2 1 1 1"},
    {"a refusal, too", &line, {START4, REFUSED(0, 1)}, "2 1 1 1"},
    {"a ticket taken back, too", &line, {START4, PAUSE, WITHDRAWN(0, 1)}, "1 1 1 1"},
    {"a task given back, too", &line, {START4, NOT_STARTED(0, 1)}, "2 1 1 1"},
    {"one that was cancelled, too", &line, {START4, STARTED(0, 1), CANCELLED(0, 1)}, "2 1 1 1"},
    {"one that was skipped ends none, as if it had succeeded", &line, {START4, SKIPPED(0, 1)}, "1 1 0 0"},
    {"elements that nobody asked for, too", &line, {START4, {.event = {.kind = EVENT_EXPANDED, WORKER, EXECUTE(0, 1)}}}, "1 1 1 1"},
    {"each time anew", &line, {START4, LOST(0, 1), LOST(0, 2), LOST(0, 3)}, "4 3 3 3"},
    {"of a later step only those behind that one", &line, {START4, OK(0, 1), LOST(1, 1)}, "1 2 1 1"},
    {"a rollback's end ends nothing", &line, {START4, OK(0, 1), FAILED(1, 1, "no"), UNDO_LOST(1, 1), UNDONE(1, 2)}, "1 2 1 1"},
    {"seven in a row, and no more", &far, {START4, LOST(0, 1)}, "2 1 1 1 1 1 1 1 0 0"},
    {"seven behind the second", &far, {START4, OK(0, 1), LOST(1, 1)}, "1 2 1 1 1 1 1 1 1 0"},
    {"not beyond a step that needs more", &joined, {START4, LOST(0, 1)}, "2 1 0 0"},
    {"nor one of another queue", &moved, {START4, LOST(0, 1)}, "2 1 0 0"},
    {"nor one that fans out", &fanned, {START4, LOST(0, 1)}, "2 1 0 0"},
    {"nor one that must never begin twice", &once, {START4, LOST(0, 1)}, "2 1 0 0"},
    {"not in a run of an earlier fold", &line, {START3, LOST(0, 1)}, "2 0 0 0"},
    {"one given back ends those behind it", &line, {START4, NOT_STARTED(1, 1)}, "1 1 1 1"},
    {"and not those before it", &line, {START4, REFUSED(2, 1)}, "1 0 1 1"},
    {"seven behind it, however far that is", &far, {START4, NOT_STARTED(2, 1)}, "1 0 1 1 1 1 1 1 1 1"},
    {"the next number may have been sent, too", &line, {START4, REFUSED(2, 1), REFUSED(2, 2)}, "1 0 2 2"},
};

static void play(struct saga *saga, const struct plan *plan, const struct timed_event *events, size_t count)
{
    struct row row = {.plan = plan};
    int64_t time_ms = 1000000;
    memcpy(row.events, events, count * sizeof *events);
    for (size_t i = 0; i < count && (i == 0 || events[i].event.kind != EVENT_START); i++) {
        struct saga_event event = prepared(&row, i, &time_ms);
        apply_twice(saga, &event);
    }
}

static void expect_numbers(const struct saga *saga, const char *expected)
{
    struct text text;
    text_init(&text, SHOWN_MAX_BYTES);
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        text_format(&text, "%s%u", i > 0 ? " " : "", saga->steps[i]->ticket);
    }
    char *numbers = text_take(&text);
    assert_string_equal(numbers, expected);
    free(numbers);
}

/* And a snapshot has the same ones. */
static void test_numbers(void **state)
{
    const struct numbers_row *row = *state;
    struct saga saga = {0};
    play(&saga, row->plan, row->events, COUNT(row->events));
    expect_numbers(&saga, row->then);
    struct saga image = fixture_image(&saga);
    expect_numbers(&image, row->then);
    fixture_release(&image);
    fixture_release(&saga);
}

/* ---- what comes for a ticket ahead */

struct verdict_row {
    const char *name;
    const struct plan *plan;
    struct timed_event events[6]; /* the last is what it is about */
    enum saga_verdict verdict;
};

static const struct verdict_row verdict_rows[] = {
    {"it may be refused", &line, {START4, REFUSED(1, 1)}, SAGA_APPLIED},
    {"and given back", &line, {START4, NOT_STARTED(3, 1)}, SAGA_APPLIED},
    {"in a paused run, too", &line, {START4, STARTED(0, 1), PAUSE, NOT_STARTED(1, 1)}, SAGA_APPLIED},
    {"and in one that stops", &line, {START4, STARTED(0, 1), CANCEL, NOT_STARTED(1, 1)}, SAGA_APPLIED},
    {"it cannot begin", &line, {START4, STARTED(1, 1)}, SAGA_ALIEN},
    {"nor succeed", &line, {START4, OK(1, 1)}, SAGA_ALIEN},
    {"nor be skipped", &line, {START4, SKIPPED(1, 1)}, SAGA_ALIEN},
    {"nor fail", &line, {START4, FAILED(1, 1, "no")}, SAGA_ALIEN},
    {"nor expand", &line, {START4, {.event = {.kind = EVENT_EXPANDED, WORKER, EXECUTE(1, 1)}}}, SAGA_ALIEN},
    {"what ran cannot be cancelled", &line, {START4, CANCELLED(1, 1)}, SAGA_IGNORED},
    {"nor lost", &line, {START4, LOST(1, 1)}, SAGA_IGNORED},
    {"nor taken back", &line, {START4, WITHDRAWN(1, 1)}, SAGA_IGNORED},
    {"a later number is none", &line, {START4, REFUSED(1, 2)}, SAGA_IGNORED},
    {"nor is an earlier one", &line, {START4, LOST(0, 1), REFUSED(1, 1)}, SAGA_IGNORED},
    {"nor that of a rollback", &line, {START4, {.event = {.kind = EVENT_REFUSED, WORKER, ROLLBACK(1, 1)}}}, SAGA_IGNORED},
    {"nor of an instance", &line, {START4, {.event = {.kind = EVENT_REFUSED, WORKER, INSTANCE(1, 1, 1)}}}, SAGA_IGNORED},
    {"nor of a step that does not exist", &line, {START4, REFUSED(4, 1)}, SAGA_IGNORED},
    {"the seventh is one", &far, {START4, REFUSED(7, 1)}, SAGA_APPLIED},
    {"nor the eighth", &far, {START4, REFUSED(8, 1)}, SAGA_IGNORED},
    {"nor one that is not behind", &once, {START4, REFUSED(2, 1)}, SAGA_IGNORED},
    {"nothing is ahead while the first waits for its next attempt", &line, {START4, FAILED(0, 1, "no"), REFUSED(1, 2)}, SAGA_IGNORED},
    {"nor while it is undone", &line, {START4, PERMANENT(0, 1, "no"), REFUSED(1, 2)}, SAGA_IGNORED},
    {"nor in a run of an earlier fold", &line, {START3, REFUSED(1, 1)}, SAGA_IGNORED},
};

static void test_verdict(void **state)
{
    const struct verdict_row *row = *state;
    struct saga saga = {0};
    size_t last = COUNT(row->events) - 1;
    while (row->events[last].event.kind == EVENT_START) {
        last--;
    }
    play(&saga, row->plan, row->events, last);
    struct saga_event event = row->events[last].event;
    event.time_ms = 2000000;
    char *before = fixture_dump(&saga);
    assert_int_equal(fixture_apply(&saga, event), row->verdict);
    char *after = fixture_dump(&saga);
    assert_int_equal(strcmp(before, after) != 0, row->verdict == SAGA_APPLIED);
    free(before);
    free(after);
    fixture_release(&saga);
}

/* ---- which steps */

#define COPY(...) {STEP("a", USUAL), STEP("b", __VA_ARGS__)}

struct plan_row {
    const char *name;
    struct plan_step steps[2];
    bool behind; /* the second */
};

static const struct plan_row plan_rows[] = {
    {"one that needs the step before it", COPY(BEHIND(0), USUAL), true},
    {"not one that needs nothing", COPY(.needs = none, USUAL), false},
    {"nor one that needs another one", COPY(BEHIND(1), USUAL), false},
    {"nor one that needs more", COPY(NEEDS(first_two), USUAL), false},
    {"nor one that must never begin twice", COPY(BEHIND(0), .retry = RETRY(1, 0)), false},
    {"nor one of another queue", {STEP("a", USUAL), {.name = S("b"), .handler = S("h"), .queue = S("fast"), BEHIND(0), USUAL}}, false},
    {"one of another handler", {STEP("a", USUAL), {.name = S("b"), .handler = S("i"), .queue = S("default"), BEHIND(0), USUAL}}, true},
    {"not one that fans out", COPY(BEHIND(0), USUAL, .each = S(".params")), false},
    {"nor one that only validates", COPY(BEHIND(0), USUAL, .kind = PLAN_VALIDATE, .assert = S("true")), false},
    {"nor the beginning of a pipeline", COPY(BEHIND(0), USUAL, .kind = PLAN_SCOPE), false},
    {"nor one in a pipeline", COPY(BEHIND(0), USUAL, .scope = 1), false},
    {"nor one behind a fan-out", {STEP("a", USUAL, .each = S(".params")), STEP("b", BEHIND(0), USUAL)}, false},
    {"nor one behind a pipeline's beginning", {STEP("a", USUAL, .kind = PLAN_SCOPE), STEP("b", BEHIND(0), USUAL)}, false},
    {"one behind a step that must never begin twice", {STEP("a", .retry = RETRY(1, 0)), STEP("b", BEHIND(0), USUAL)}, true},
};

static void test_plan(void **state)
{
    const struct plan_row *row = *state;
    const struct plan plan = {.name = S("plan"), .steps = row->steps, .step_count = 2};
    assert_false(plan_is_behind(&plan, 0));
    assert_int_equal(plan_is_behind(&plan, 1), row->behind);
    struct plan *copy = plan_copy(malloc(plan_room(&plan)), &plan);
    assert_false(copy->steps[0].behind);
    assert_int_equal(copy->steps[1].behind, row->behind);
    free(copy);
    assert_int_equal(plan_fold_version_ahead(&plan), row->behind ? SAGA_FOLD_OF_TASKS_AHEAD : plan_fold_version(&plan));
}

/* ---- which tickets */

#define PLAY(saga, plan, ...) \
    do { \
        static const struct timed_event played[] = {__VA_ARGS__}; \
        play(saga, plan, played, COUNT(played)); \
    } while (0)

/* How many may be sent behind the ticket of `step`, one behind another. */
static uint32_t count_ahead(const struct saga *saga, uint32_t step)
{
    uint32_t count = 0;
    struct ticket ticket = {.step = step};
    while (saga_next_ahead(saga, ticket.step, &ticket)) {
        assert_int_equal(ticket.step, step + ++count);
        assert_int_equal(ticket.number, saga->steps[ticket.step]->ticket + 1);
        assert_int_equal(ticket.direction, DIRECTION_EXECUTE);
        assert_int_equal(ticket.instance, 0);
        assert_true(saga_is_ahead(saga, &ticket));
    }
    return count;
}

static void seven_may_be_sent_behind_one_that_is_open(void **state)
{
    (void)state;
    struct saga saga = {0};
    PLAY(&saga, &far, START4);
    assert_int_equal(count_ahead(&saga, 0), SAGA_AHEAD_MAX);
    assert_int_equal(count_ahead(&saga, 3), SAGA_AHEAD_MAX - 3);
    assert_int_equal(count_ahead(&saga, SAGA_AHEAD_MAX), 0);
    assert_int_equal(count_ahead(&saga, 9), 0); /* the last */
    fixture_release(&saga);
}

static void they_are_behind_the_one_that_is_open_now(void **state)
{
    (void)state;
    struct saga saga = {0};
    PLAY(&saga, &far, START4, LOST(0, 1), OK(0, 2));
    assert_int_equal(count_ahead(&saga, 0), 0);
    assert_int_equal(count_ahead(&saga, 1), SAGA_AHEAD_MAX); /* their second tickets, but for the last */
    fixture_release(&saga);
}

static void none_may_be_sent_behind_what_is_not_open(void **state)
{
    (void)state;
    struct saga saga = {0};
    PLAY(&saga, &line, START4, FAILED(0, 1, "no"));
    assert_int_equal(count_ahead(&saga, 0), 0);
    fixture_release(&saga);
    saga = (struct saga){0};
    PLAY(&saga, &line, START4, PERMANENT(0, 1, "no")); /* open, to be undone */
    assert_true(saga.steps[0]->open);
    assert_int_equal(count_ahead(&saga, 0), 0);
    fixture_release(&saga);
    saga = (struct saga){0};
    PLAY(&saga, &line, START3);
    assert_int_equal(count_ahead(&saga, 0), 0);
    fixture_release(&saga);
}

static void what_is_ahead_is_so_only_in_its_own_words(void **state)
{
    (void)state;
    struct saga saga = {0};
    assert_false(saga_is_ahead(&saga, &(struct ticket){.step = 1, .number = 1})); /* no such run */
    PLAY(&saga, &line, START4);
    assert_true(saga_is_ahead(&saga, &(struct ticket){.step = 1, .number = 1}));
    assert_false(saga_is_ahead(&saga, &(struct ticket){.step = 0, .number = 1})); /* it is open */
    assert_false(saga_is_ahead(&saga, &(struct ticket){.step = 1, .number = 2}));
    assert_false(saga_is_ahead(&saga, &(struct ticket){.step = 1, .number = 0}));
    assert_false(saga_is_ahead(&saga, &(struct ticket){.step = 1, .number = 1, .instance = 1}));
    assert_false(saga_is_ahead(&saga, &(struct ticket){.step = 1, .number = 1, .direction = DIRECTION_ROLLBACK}));
    assert_false(saga_is_ahead(&saga, &(struct ticket){.step = 4, .number = 1}));
    assert_false(saga_is_ahead(&saga, &(struct ticket){.step = UINT32_MAX, .number = 1}));
    fixture_release(&saga);
}

static void apply(struct saga *saga, const struct timed_event *event)
{
    saga->time_ms += 1000;
    struct saga_event now = event->event;
    now.time_ms = saga->time_ms;
    apply_twice(saga, &now);
}

#define APPLY(saga, ...) apply(saga, &(const struct timed_event)__VA_ARGS__)

/* Its result is too large for the run: it stands in the log as a success all the same, behind which the next may have begun. */
static void succeed_too_large(struct saga *saga, uint32_t step, uint32_t number)
{
    char *large = calloc(1, LIMIT_CONTEXT_BYTES + 1);
    apply(saga, &(struct timed_event){.event = {.kind = EVENT_DONE, .outcome = OUTCOME_OK, WORKER, EXECUTE(step, number),
                                                .data = {large, LIMIT_CONTEXT_BYTES + 1}}});
    free(large);
}

static void expect_shown(const struct saga *saga, const char *expected)
{
    char *shown = fixture_show(saga);
    assert_string_equal(shown, expected);
    free(shown);
}

static void behind_a_result_that_does_not_fit_the_next_may_have_begun(void **state)
{
    (void)state;
    struct saga saga = {0};
    PLAY(&saga, &line, START4);
    succeed_too_large(&saga, 0, 1);
    expect_shown(&saga, "running: failed ready waiting waiting; cancel 1#1");
    APPLY(&saga, NOT_STARTED(1, 1));
    expect_shown(&saga, "rolling_back: rolling_back waiting waiting waiting; send undo 0#1");
    fixture_release(&saga);
}

static void what_is_to_be_confirmed_is_not_sent_ahead(void **state)
{
    (void)state;
    struct saga saga = {0};
    PLAY(&saga, &held, START4);
    succeed_too_large(&saga, 0, 1);
    APPLY(&saga, LOST(1, 1));
    expect_shown(&saga, "paused: failed waiting ready; hold 2#1");
    APPLY(&saga, RETRY_RUN(30));
    expect_shown(&saga, "running: ready waiting ready; send 2#1; send 0#2");
    assert_int_equal(count_ahead(&saga, 0), 0);
    assert_true(saga_is_ahead(&saga, &(struct ticket){.step = 1, .number = 2})); /* whoever reads the log assumes it all the same */
    fixture_release(&saga);
}

/* The first is done again, while what has begun behind its refused result still runs, and is done before it. */
static void what_is_open_itself_does_not_end_with_the_one_before_it(void **state)
{
    (void)state;
    struct saga saga = {0};
    PLAY(&saga, &held, START4);
    succeed_too_large(&saga, 0, 1);
    APPLY(&saga, RETRY_RUN(30));
    assert_int_equal(count_ahead(&saga, 0), 0);
    APPLY(&saga, LOST(0, 2));
    expect_numbers(&saga, "3 1 1");
    APPLY(&saga, OK(1, 1));
    APPLY(&saga, LOST(0, 3));
    expect_numbers(&saga, "4 1 1");
    APPLY(&saga, OK(0, 4));
    expect_shown(&saga, "running: succeeded succeeded ready; send 2#1");
    fixture_release(&saga);
}

static enum cancel_reason reason_of_cancel(const struct saga *saga)
{
    struct saga_effect effect;
    for (struct saga_cursor cursor = {0}; saga_next_effect(saga, &cursor, &effect);) {
        if (effect.kind == EFFECT_CANCEL_TASK) {
            return effect.cancel_reason;
        }
    }
    fail_msg("nothing is to be cancelled");
    return CANCEL_AHEAD;
}

static void it_is_cancelled_for_the_reason_the_run_stops_for(void **state)
{
    (void)state;
    struct saga saga = {0};
    PLAY(&saga, &line, TO_CANCEL);
    assert_int_equal(reason_of_cancel(&saga), CANCEL_REQUESTED);
    fixture_release(&saga);
    saga = (struct saga){0};
    PLAY(&saga, &beside, START4, STARTED(0, 1), FAILED(2, 1, "no"), OK(0, 1));
    assert_int_equal(reason_of_cancel(&saga), CANCEL_SIBLING_FAILED);
    fixture_release(&saga);
    saga = (struct saga){0};
    PLAY(&saga, &limited, START4, STARTED(0, 1), RUN_FIRED(10000), OK(0, 1));
    assert_int_equal(reason_of_cancel(&saga), CANCEL_RUN_TIMEOUT);
    fixture_release(&saga);
}

/* fixture_apply() gives what saga_room() asks for, and no byte more. */
static void a_thousand_steps_need_room_for_seven_when_the_first_fails(void **state)
{
    (void)state;
    static struct plan_step steps[LIMIT_STEPS];
    static uint32_t before[LIMIT_STEPS];
    static char names[LIMIT_STEPS][8];
    for (uint32_t i = 0; i < LIMIT_STEPS; i++) {
        before[i] = i;
        steps[i] = (struct plan_step)STEP("", USUAL);
        steps[i].name = (struct span){names[i], (size_t)snprintf(names[i], sizeof names[i], "s%u", i)};
        steps[i].needs = i > 0 ? &before[i - 1] : NULL;
        steps[i].needs_count = i > 0;
    }
    const struct plan plan = {.name = S("plan"), .steps = steps, .step_count = LIMIT_STEPS};
    struct saga saga = {0};
    PLAY(&saga, &plan, START4, NOT_STARTED(3, 1), REFUSED(1, 1), FAILED(0, 1, "no"));
    assert_int_equal(saga.steps[SAGA_AHEAD_MAX]->ticket, 3);
    assert_int_equal(saga.steps[3 + SAGA_AHEAD_MAX]->ticket, 1);
    assert_int_equal(saga.steps[4 + SAGA_AHEAD_MAX]->ticket, 0);
    fixture_release(&saga);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seven_may_be_sent_behind_one_that_is_open),
        cmocka_unit_test(they_are_behind_the_one_that_is_open_now),
        cmocka_unit_test(none_may_be_sent_behind_what_is_not_open),
        cmocka_unit_test(what_is_ahead_is_so_only_in_its_own_words),
        cmocka_unit_test(behind_a_result_that_does_not_fit_the_next_may_have_begun),
        cmocka_unit_test(what_is_to_be_confirmed_is_not_sent_ahead),
        cmocka_unit_test(what_is_open_itself_does_not_end_with_the_one_before_it),
        cmocka_unit_test(it_is_cancelled_for_the_reason_the_run_stops_for),
        cmocka_unit_test(a_thousand_steps_need_room_for_seven_when_the_first_fails),
    };
    return fixture_run_rows("rules", rows, COUNT(rows), sizeof *rows, test_row) +
           fixture_run_rows("numbers", numbers_rows, COUNT(numbers_rows), sizeof *numbers_rows, test_numbers) +
           fixture_run_rows("ends", verdict_rows, COUNT(verdict_rows), sizeof *verdict_rows, test_verdict) +
           fixture_run_rows("plans", plan_rows, COUNT(plan_rows), sizeof *plan_rows, test_plan) +
           cmocka_run_group_tests_name("tickets", tests, NULL, NULL);
}
