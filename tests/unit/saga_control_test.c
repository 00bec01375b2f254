/* SPDX-License-Identifier: Apache-2.0 */
/* The fold's rules for controls, deadlines, fan-out and pipelines in pipelines. */
#include "tests/unit/saga_rows.h"

#include "common/limits.h"

static const uint32_t first[] = {0}, second[] = {1}, third[] = {2}, both[] = {1, 2}, none[1];
static const struct span three[] = {S("1"), S("2"), S("3")};

#define USUAL .retry = PLAN_RETRY_DEFAULT

static const struct plan_step pair_steps[] = {STEP("a", USUAL), STEP("b", NEEDS(first), USUAL)};
static const struct plan_step again_steps[] = {STEP("a", .retry = RETRY(2, 5)), STEP("b", NEEDS(first), USUAL)};
static const struct plan_step abreast_steps[] = {STEP("a", USUAL), STEP("b", .needs = none, USUAL)};
static const struct plan_step forked_steps[] = {STEP("a", USUAL), STEP("b", NEEDS(first), USUAL), STEP("c", NEEDS(first), USUAL),
                                                STEP("d", NEEDS(third), USUAL)};
static const struct plan_step joined_steps[] = {STEP("a", USUAL), STEP("b", NEEDS(first), USUAL), STEP("c", NEEDS(first), USUAL),
                                                STEP("d", NEEDS(both), USUAL)};
static const struct plan_step waits_steps[] = {STEP("a", .retry = RETRY(2, 5), .start_timeout_ms = 5000)};
static const struct plan_step undo_steps[] = {
    STEP("a", USUAL, .rollback_timeout_ms = 5000, .rollback_retry = {.max_attempts = 1, .max_losses = 1, .multiplier_permille = 1000})};
static const struct plan_step fan_steps[] = {STEP("a", USUAL, .each = S(".params"), .max_parallel = 2), STEP("b", NEEDS(first), USUAL)};
static const struct plan_step nest_steps[] = {
    STEP("in", USUAL, .kind = PLAN_SCOPE, .input = S("{\"x\":1}")), STEP("in/a", NEEDS(first), .scope = 1, .weight = 1, USUAL),
    STEP("out", NEEDS(second), .weight = 1, USUAL)};
static const struct plan_step when_steps[] = {
    STEP("in", USUAL, .kind = PLAN_SCOPE, .when = S("false")), STEP("in/a", NEEDS(first), .scope = 1, USUAL),
    STEP("in/b", NEEDS(second), .scope = 1, USUAL), STEP("out", NEEDS(third), USUAL)};
static const struct plan_step check_steps[] = {STEP("a", USUAL),
                                               STEP("check", NEEDS(first), USUAL, .kind = PLAN_VALIDATE, .assert = S("false"))};
static const struct plan pair = PLAN(pair_steps), forked = PLAN(forked_steps), joined = PLAN(joined_steps), again = PLAN(again_steps), waits = PLAN(waits_steps),
                         undo = PLAN(undo_steps), fan = PLAN(fan_steps), nest = PLAN(nest_steps), when = PLAN(when_steps),
                         check = PLAN(check_steps),
                         held = {.name = S("plan"), .steps = abreast_steps, .step_count = 2, .pause_on_failure = true},
                         held_line = {.name = S("plan"), .steps = pair_steps, .step_count = 2, .pause_on_failure = true},
                         limited = {.name = S("plan"), .steps = pair_steps, .step_count = 2, .timeout_ms = 10000};

static const struct row rows[] = {
    /* ---- pause and resume */
    {"a paused run takes back what was not sent", &pair, {START, PAUSE}, "paused: ready waiting; hold 0#1", NULL},
    {"what was never sent waits", &pair, {START, PAUSE, WITHDRAWN(0, 1)}, "paused: waiting waiting", NULL},
    {"what runs may end, and nothing follows it", &pair, {START, STARTED(0, 1), PAUSE, OK(0, 1)}, "paused: succeeded waiting", NULL},
    {"a resumed run goes on", &pair, {START, STARTED(0, 1), PAUSE, OK(0, 1), RESUME}, "running: succeeded ready; send 1#1", NULL},
    {"under the next number where a ticket was taken back", &pair, {START, PAUSE, WITHDRAWN(0, 1), RESUME}, "pending: ready waiting; send 0#2",
     NULL},
    {"what was not taken back yet simply goes", &pair, {START, PAUSE, RESUME}, "pending: ready waiting; send 0#1", NULL},
    {"a paused run whose last step ends has succeeded", &pair, {START, OK(0, 1), STARTED(1, 1), PAUSE, OK(1, 1)},
     "succeeded: succeeded succeeded; finish", NULL},
    {"a retry waits while the run is paused", &again, {START, FAILED(0, 1, "no"), PAUSE, FIRED(0, 1, RETRY, 5000)}, "paused: retrying waiting",
     NULL},
    {"and is due when it goes on", &again, {START, FAILED(0, 1, "no"), PAUSE, RESUME}, "running: retrying waiting; retry of 0#1", NULL},
    {"a lost step of a paused run waits", &pair, {START, STARTED(0, 1), PAUSE, LOST(0, 1)}, "paused: waiting waiting", NULL},
    {"a run that rolls back cannot be paused", &pair, {START, FAILED(0, 1, "no"), PAUSE},
     "rolling_back: rolling_back waiting; send undo 0#1", "Step 'a' failed: no"},
    {"a cancelled pause rolls back", &pair, {START, OK(0, 1), PAUSE, CANCEL, WITHDRAWN(1, 1)},
     "rolling_back: rolling_back waiting; send undo 0#1", "cancelled"},
    {"a step that fails while a person has paused the run waits for the person", &pair,
     {START, STARTED(0, 1), PAUSE, FAILED(0, 1, "no")}, "paused: failed waiting", "Step 'a' failed: no"},
    {"to resume is then to do what it would have done", &pair, {START, STARTED(0, 1), PAUSE, FAILED(0, 1, "no"), RESUME},
     "rolling_back: rolling_back waiting; send undo 0#1", "Step 'a' failed: no"},

    /* ---- on_failure: pause */
    {"a held run lets the others end", &held, {START, STARTED(1, 1), FAILED(0, 1, "no")}, "paused: failed running; hold 1#1",
     "Step 'a' failed: no"},
    {"and they do not cancel one another", &held, {START, STARTED(1, 1), FAILED(0, 1, "no"), OK(1, 1)}, "paused: failed succeeded",
     "Step 'a' failed: no"},
    {"it is not resumed", &held, {START, FAILED(0, 1, "no"), OK(1, 1), RESUME}, "paused: failed succeeded", "Step 'a' failed: no"},
    {"to retry is to go on from the failed step", &held_line, {START, OK(0, 1), FAILED(1, 1, "no"), RETRY_RUN(30)},
     "running: succeeded ready; send 1#2", NULL},
    {"as often as a person wants", &held_line, {START, FAILED(0, 1, "no"), RETRY_RUN(30), FAILED(0, 2, "still"), RETRY_RUN(31), OK(0, 3)},
     "running: succeeded ready; send 1#1", NULL},
    {"to roll back is to undo", &held_line, {START, OK(0, 1), FAILED(1, 1, "no"), ROLL_BACK},
     "rolling_back: succeeded rolling_back; send undo 1#1", "Step 'b' failed: no"},
    {"and its end is rolled_back", &held_line, {START, FAILED(0, 1, "no"), ROLL_BACK, UNDONE(0, 1)}, "rolled_back: rolled_back not_run; finish",
     "Step 'a' failed: no"},
    {"a cancelled held run keeps its first cause", &held_line, {START, FAILED(0, 1, "no"), CANCEL, UNDONE(0, 1)},
     "cancelled: rolled_back not_run; finish", "Step 'a' failed: no"},
    {"a running run is not rolled back on request", &pair, {START, STARTED(0, 1), ROLL_BACK}, "running: running waiting; send 0#1", NULL},
    {"a paused one is, because someone asked", &pair, {START, OK(0, 1), PAUSE, WITHDRAWN(1, 1), ROLL_BACK, UNDONE(0, 1)},
     "cancelled: rolled_back not_run; finish", "cancelled"},

    /* ---- resolve */
    {"a failed step that a person did is done", &held_line, {START, FAILED(0, 1, "no"), RESOLVE(40, "a", .done = true, .data = S("1"))},
     "paused: succeeded waiting", NULL},
    {"and the run goes on with resume", &held_line, {START, FAILED(0, 1, "no"), RESOLVE(40, "a", .done = true), RESUME},
     "running: succeeded ready; send 1#1", NULL},
    {"it is undone like any other", &held_line,
     {START, FAILED(0, 1, "no"), RESOLVE(40, "a", .done = true), RESUME, FAILED(1, 1, "no"), ROLL_BACK, UNDONE(1, 1)},
     "rolling_back: rolling_back rolled_back; send undo 0#1", "Step 'b' failed: no"},
    {"one that a person undid is not undone again", &held_line, {START, FAILED(0, 1, "no"), RESOLVE(40, "a", .done = false), ROLL_BACK},
     "rolled_back: failed not_run; finish", "Step 'a' failed: no"},
    {"but may be retried", &held_line, {START, FAILED(0, 1, "no"), RESOLVE(40, "a", .done = false), RETRY_RUN(30)},
     "running: ready waiting; send 0#2", NULL},
    {"a step that waits for a retry can be resolved", &again, {START, FAILED(0, 1, "no"), RESOLVE(40, "a", .done = true)},
     "running: succeeded ready; send 1#1", NULL},
    {"a running one cannot", &pair, {START, STARTED(0, 1), RESOLVE(40, "a", .done = true)}, "running: running waiting; send 0#1", NULL},
    {"nor one that is unknown", &held_line, {START, FAILED(0, 1, "no"), RESOLVE(40, "z", .done = true)}, "paused: failed waiting",
     "Step 'a' failed: no"},
    {"an incomplete rollback is complete when a person undid the rest", &pair,
     {START, FAILED(0, 1, "no"), UNDO_IMPOSSIBLE(0, 1, "never"), FINISHED, RESOLVE(40, "a", .done = false)},
     "rolled_back: rolled_back not_run; finish", "Step 'a' failed: no"},
    {"a rollback that waits for its next attempt can be resolved", &pair,
     {START, OK(0, 1), FAILED(1, 1, "no"), UNDO_FAILED(1, 1, "busy"), RESOLVE(40, "b", .done = false)},
     "rolling_back: rolling_back rolled_back; send undo 0#1", "Step 'b' failed: no"},
    {"but not as done", &pair, {START, FAILED(0, 1, "no"), UNDO_IMPOSSIBLE(0, 1, "never"), RESOLVE(40, "a", .done = true)},
     "rollback_incomplete: rollback_failed not_run; finish", "Step 'a' failed: no"},

    /* ---- an incomplete rollback, taken up again */
    {"an incomplete rollback is retried, for what is still undone", &pair,
     {START, OK(0, 1), FAILED(1, 1, "no"), UNDO_IMPOSSIBLE(1, 1, "never"), UNDONE(0, 1), FINISHED, RETRY_RUN(30)},
     "rolling_back: rolled_back rolling_back; send undo 1#2", "Step 'b' failed: no"},
    {"and ends rolled back, said once more", &pair,
     {START, FAILED(0, 1, "no"), UNDO_IMPOSSIBLE(0, 1, "never"), FINISHED, RETRY_RUN(30), UNDONE(0, 2)},
     "rolled_back: rolled_back not_run; finish", "Step 'a' failed: no"},
    {"a late RunFinished of the end before does not confirm this one", &pair,
     {START, FAILED(0, 1, "no"), UNDO_IMPOSSIBLE(0, 1, "never"), RETRY_RUN(30), UNDONE(0, 2),
      {.event = {.kind = EVENT_FINISHED, .status = RUN_ROLLBACK_INCOMPLETE}}},
     "rolled_back: rolled_back not_run; finish", "Step 'a' failed: no"},
    {"nor where this one is incomplete, too", &pair,
     {START, FAILED(0, 1, "no"), UNDO_IMPOSSIBLE(0, 1, "never"), RETRY_RUN(30), UNDO_IMPOSSIBLE(0, 2, "never"),
      {.event = {.kind = EVENT_FINISHED, .status = RUN_ROLLBACK_INCOMPLETE, .finished_ms = 1003000}}},
     "rollback_incomplete: rollback_failed not_run; finish", "Step 'a' failed: no"},
    {"which only its own does", &pair,
     {START, FAILED(0, 1, "no"), UNDO_IMPOSSIBLE(0, 1, "never"), RETRY_RUN(30), UNDO_IMPOSSIBLE(0, 2, "never"),
      {.event = {.kind = EVENT_FINISHED, .status = RUN_ROLLBACK_INCOMPLETE, .finished_ms = 1005000}}},
     "rollback_incomplete: rollback_failed not_run", "Step 'a' failed: no"},
    {"a run in which nothing failed is not retried", &pair, {START, STARTED(0, 1), RETRY_RUN(30)}, "running: running waiting; send 0#1", NULL},

    /* ---- deadlines */
    {"a step that nobody begins is waited for only so long", &waits, {START}, "pending: ready; send 0#1; start of 0#1", NULL},
    {"then its ticket is taken back", &waits, {START, FIRED(0, 1, START, 5000)}, "pending: ready; cancel 0#1", NULL},
    {"which is a used attempt", &waits, {START, FIRED(0, 1, START, 5000), WITHDRAWN(0, 1)}, "pending: retrying; retry of 0#1", NULL},
    {"until there are none left", &waits,
     {START, FIRED(0, 1, START, 5000), WITHDRAWN(0, 1), FIRED(0, 1, RETRY, 2000), FIRED(0, 2, START, 5000), WITHDRAWN(0, 2)},
     "rolled_back: failed; finish", "Step 'a' failed: no worker began it within its start_timeout of 5s"},
    {"one that was begun and lost counts anew", &waits, {START, STARTED(0, 1), LOST(0, 1), FIRED(0, 2, START, 4999)},
     "running: ready; send 0#2 confirm; start of 0#2", NULL},
    {"an attempt to undo has a timeout too", &undo, {START, FAILED(0, 1, "no"), UNDO_STARTED(0, 1)},
     "rolling_back: rolling_back; send undo 0#1; timeout of 0#1", "Step 'a' failed: no"},
    {"a run has a timeout", &limited, {START, STARTED(0, 1)}, "running: running waiting; send 0#1; run of 0#0", NULL},
    {"after which it stops and rolls back", &limited, {START, STARTED(0, 1), RUN_FIRED(10000), CANCELLED(0, 1)},
     "rolling_back: rolling_back waiting; send undo 0#1", "the run did not end within its timeout of 10s"},
    {"not before", &limited, {START, STARTED(0, 1), RUN_FIRED(8000)}, "running: running waiting; send 0#1; run of 0#0", NULL},
    {"it stands still while the run is paused", &limited, {START, STARTED(0, 1), PAUSE, OK(0, 1), RESUME, RUN_FIRED(7500)},
     "running: succeeded ready; send 1#1; run of 0#0", NULL},
    {"a run that has nothing open times out at once", &again, {START, FAILED(0, 1, "no"), RUN_FIRED(1)},
     "running: retrying waiting; retry of 0#1", NULL}, /* it has no timeout */

    /* ---- fan-out */
    {"a step that fans out is expanded first", &fan, {START, STARTED(0, 1)}, "running: running waiting; send 0#1", NULL},
    {"then so many instances run at once as are allowed", &fan, {START, EXPANDED(0, 1, three)},
     "running: running /ready /ready /waiting waiting; send 0.1#1; send 0.2#1", NULL},
    {"the next one follows", &fan, {START, EXPANDED(0, 1, three), INSTANCE_OK(0, 2, 1)},
     "running: running /ready /succeeded /ready waiting; send 0.1#1; send 0.3#1", NULL},
    {"it is done when all of them are", &fan,
     {START, EXPANDED(0, 1, three), INSTANCE_OK(0, 2, 1), INSTANCE_SKIPPED(0, 1, 1), INSTANCE_OK(0, 3, 1)},
     "running: succeeded /skipped /succeeded /succeeded ready; send 1#1", NULL},
    {"one that fails cancels the others", &fan, {START, EXPANDED(0, 1, three), INSTANCE_FAILED(0, 2, 1, "no")},
     "running: failed /ready /failed /waiting waiting; cancel 0.1#1", "Step 'a' failed: element 2: no"},
    {"each is undone on its own, the failed one first", &fan,
     {START, EXPANDED(0, 1, three), INSTANCE_OK(0, 1, 1), INSTANCE_FAILED(0, 2, 1, "no"), INSTANCE_WITHDRAWN(0, 3, 1)},
     "rolling_back: rolling_back /succeeded /rolling_back /waiting waiting; send undo 0.2#1", "Step 'a' failed: element 2: no"},
    {"then the run is rolled back", &fan,
     {START, EXPANDED(0, 1, three), INSTANCE_OK(0, 1, 1), INSTANCE_FAILED(0, 2, 1, "no"), INSTANCE_WITHDRAWN(0, 3, 1), INSTANCE_UNDONE(0, 2, 1),
      INSTANCE_UNDONE(0, 1, 1)},
     "rolled_back: rolled_back /rolled_back /rolled_back /not_run not_run; finish", "Step 'a' failed: element 2: no"},
    {"a later failure undoes them newest first", &fan,
     {START, EXPANDED(0, 1, three), INSTANCE_OK(0, 2, 1), INSTANCE_OK(0, 1, 1), INSTANCE_OK(0, 3, 1), FAILED(1, 1, "no"), UNDONE(1, 1)},
     "rolling_back: rolling_back /succeeded /succeeded /rolling_back rolled_back; send undo 0.3#1", "Step 'b' failed: no"},
    {"no elements are soon done", &fan, {START, {.event = {.kind = EVENT_EXPANDED, WORKER, EXECUTE(0, 1)}}},
     "running: succeeded ready; send 1#1", NULL},
    {"what cannot be expanded fails, and there is nothing to undo", &fan, {START, FAILED(0, 1, "jq: no list")},
     "rolled_back: failed not_run; finish", "Step 'a' failed: jq: no list"},
    {"a worker that does not know of fan-out fails it", &fan, {START, OK(0, 1)}, "rolled_back: failed not_run; finish",
     "Step 'a' failed: its worker did not expand its 'each': it is older than this pipeline"},
    {"elements that nobody asked for fail a step", &pair, {START, EXPANDED(0, 1, three)},
     "rolling_back: rolling_back waiting; send undo 0#1", "Step 'a' failed: its worker answered with elements, which it was not asked for"},
    {"a paused fan-out begins no more instances", &fan, {START, EXPANDED(0, 1, three), PAUSE, INSTANCE_OK(0, 1, 1), INSTANCE_WITHDRAWN(0, 2, 1)},
     "paused: running /succeeded /waiting /waiting waiting", NULL},
    {"and goes on with those it took back", &fan,
     {START, EXPANDED(0, 1, three), PAUSE, INSTANCE_OK(0, 1, 1), INSTANCE_WITHDRAWN(0, 2, 1), RESUME},
     "running: running /succeeded /ready /ready waiting; send 0.2#2; send 0.3#1", NULL},
    {"an instance can be resolved", &fan,
     {START, EXPANDED(0, 1, three), PAUSE, INSTANCE_FAILED(0, 1, 1, "no"),
      {.event = {.kind = EVENT_RESOLVE, .request_id = {40}, .step_name = S("a"), .ticket = {.instance = 1}, .done = true}}},
     "paused: running /succeeded /ready /waiting waiting; hold 0.2#1", NULL},

    /* ---- pipelines in pipelines */
    {"the beginning of a pipeline needs no worker where there is nothing to evaluate", &nest, {START},
     "pending: succeeded ready waiting; send 1#1", NULL},
    {"its steps are undone like any others, itself is not", &nest, {START, OK(1, 1), FAILED(2, 1, "no"), UNDONE(2, 1), UNDONE(1, 1)},
     "rolled_back: succeeded rolled_back rolled_back; finish", "Step 'out' failed: no"},
    {"else a worker evaluates it", &when, {START}, "pending: ready waiting waiting waiting; send 0#1", NULL},
    {"with it all its steps are skipped", &when, {START, SKIPPED(0, 1)}, "running: skipped skipped skipped ready; send 3#1", NULL},
    {"a validation that fails has nothing to undo", &check, {START, OK(0, 1), FAILED(1, 1, "too small")},
     "rolling_back: rolling_back failed; send undo 0#1", "Step 'check' failed: too small"},
};

/* ---- verdicts */

static const struct saga_request *last_answer(const struct saga *saga)
{
    return saga->requests;
}

struct verdict_row {
    const char *name;
    const struct plan *plan;
    struct timed_event events[12]; /* the last is a request */
    enum verdict verdict;
    const char *reason;
};

static const struct verdict_row verdict_rows[] = {
    {"pause of nothing", &pair, {PAUSE}, VERDICT_REFUSED, "there is no such run"},
    {"resume of a running one", &pair, {START, RESUME}, VERDICT_ACCEPTED, ""},
    {"pause twice", &pair, {START, PAUSE, REQUEST(PAUSE, 50, WORKER)}, VERDICT_ACCEPTED, ""},
    {"pause while rolling back", &pair, {START, FAILED(0, 1, "no"), PAUSE}, VERDICT_REFUSED, "it is rolling back"},
    {"pause of an ended one", &pair, {START, OK(0, 1), OK(1, 1), PAUSE}, VERDICT_REFUSED, "it has succeeded already"},
    {"retry while nothing has failed", &pair, {START, RETRY_RUN(30)}, VERDICT_REFUSED, "no step of it has failed for good"},
    {"retry while rolling back", &pair, {START, FAILED(0, 1, "no"), RETRY_RUN(30)}, VERDICT_REFUSED, "it is rolling back"},
    {"retry of a rolled back one", &pair, {START, FAILED(0, 1, "no"), UNDONE(0, 1), RETRY_RUN(30)}, VERDICT_REFUSED,
     "it has ended already, and was rolled back"},
    {"rollback of a running one", &pair, {START, ROLL_BACK}, VERDICT_REFUSED, "it is running; cancel it, or pause it first"},
    {"resume of a held one", &held, {START, FAILED(0, 1, "no"), RESUME}, VERDICT_REFUSED,
     "it is paused because a step failed: retry it, roll it back, or resolve the step"},
    {"resolve of no step", &held, {START, RESOLVE(40, "z", .done = true)}, VERDICT_REFUSED, "it has no such step"},
    {"resolve of a ready one", &held, {START, RESOLVE(40, "a", .done = true)}, VERDICT_REFUSED,
     "that step has neither failed nor waits for a retry"},
    {"cancel of an incomplete one", &pair, {START, FAILED(0, 1, "no"), UNDO_IMPOSSIBLE(0, 1, "never"), CANCEL}, VERDICT_REFUSED,
     "it has ended already, and its rollback is incomplete; retry it, or resolve what is undone"},
};

static void test_verdict(void **state)
{
    const struct verdict_row *row = *state;
    struct saga saga = {0};
    int64_t time_ms = 1000000;
    struct row events = {.plan = row->plan};
    memcpy(events.events, row->events, sizeof row->events);
    for (size_t i = 0; i < COUNT(row->events) && (i == 0 || row->events[i].event.kind != EVENT_START); i++) {
        struct saga_event event = prepared(&events, i, &time_ms);
        fixture_apply(&saga, event);
    }
    assert_int_equal(last_answer(&saga)->verdict, row->verdict);
    assert_int_equal(last_answer(&saga)->reason_size, strlen(row->reason));
    assert_memory_equal(last_answer(&saga)->reason, row->reason, strlen(row->reason));
    fixture_release(&saga);
}

/* ---- progress and bounds */

static void start(struct saga *saga, const struct plan *plan)
{
    fixture_apply(saga, (struct saga_event){.kind = EVENT_START, .request_id = {1}, .plan = plan, .params = S("{}"),
                                            .fold_version = SAGA_FOLD_VERSION, .time_ms = 1000000});
}

static void the_progress_of_a_fan_out_is_the_mean_of_its_instances(void **state)
{
    (void)state;
    struct saga saga = {0};
    start(&saga, &fan);
    fixture_apply(&saga, (struct timed_event)EXPANDED(0, 1, three).event);
    assert_int_equal(saga.progress_ppm, 0);
    fixture_apply(&saga, (struct timed_event)INSTANCE_OK(0, 1, 1).event);
    assert_int_equal(saga.steps[0]->fraction_ppm, 333333);
    fixture_apply(&saga, (struct saga_event){.kind = EVENT_PROGRESSED, INSTANCE(0, 2, 1), .current = 1, .total = 2});
    assert_int_equal(saga.steps[0]->fraction_ppm, 500000);
    assert_int_equal(saga.progress_ppm, 250000);
    assert_true(saga.steps[0]->work->current == 1 && saga.steps[0]->work->total == 3);
    fixture_release(&saga);
}

static void ten_thousand_instances_run_and_are_undone(void **state)
{
    (void)state;
    enum { MANY = LIMIT_ELEMENTS };
    struct span *elements = calloc(MANY, sizeof *elements);
    for (size_t i = 0; i < MANY; i++) {
        elements[i] = three[i % 3];
    }
    struct saga saga = {0};
    start(&saga, &fan);
    fixture_apply(&saga, (struct saga_event){.kind = EVENT_EXPANDED, EXECUTE(0, 1), .elements = elements, .element_count = MANY});
    for (uint32_t i = 1; i <= MANY; i++) {
        fixture_apply(&saga, (struct saga_event){.kind = EVENT_DONE, .outcome = OUTCOME_OK, INSTANCE(0, i, 1), .time_ms = 1000000 + i});
    }
    assert_int_equal(saga.steps[0]->status, STEP_SUCCEEDED);
    fixture_apply(&saga, (struct timed_event)PERMANENT(1, 1, "no").event);
    fixture_apply(&saga, (struct timed_event)UNDONE(1, 1).event);
    for (uint32_t i = MANY; i > MANY - 50; i--) {
        assert_int_equal(saga.active->instance, i);
        fixture_apply(&saga, (struct timed_event)INSTANCE_UNDONE(0, i, 1).event);
    }
    fixture_release(&saga);
    free(elements);
}

static void elements_beyond_the_context_limit_fail_their_step_for_good(void **state)
{
    (void)state;
    char *big = calloc(1, LIMIT_CONTEXT_BYTES);
    struct span one = {big, LIMIT_CONTEXT_BYTES - 1};
    struct saga saga = {0};
    start(&saga, &fan);
    fixture_apply(&saga, (struct saga_event){.kind = EVENT_EXPANDED, EXECUTE(0, 1), .elements = &one, .element_count = 1});
    assert_int_equal(saga.status, RUN_ROLLED_BACK);
    assert_non_null(memmem(saga_trouble(&saga)->error.bytes, saga_trouble(&saga)->error.size, "524288", 6));
    fixture_release(&saga);
    free(big);
}

static void a_plan_asks_for_the_lowest_fold_that_knows_it(void **state)
{
    (void)state;
    static const struct plan *const second_ones[] = {&held, &limited, &waits, &undo, &fan, &nest, &when, &check};
    assert_int_equal(plan_fold_version(&pair), 1);
    for (size_t i = 0; i < COUNT(second_ones); i++) {
        assert_int_equal(plan_fold_version(second_ones[i]), 2);
    }
    assert_int_equal(plan_fold_version(&forked), 3);
    assert_int_equal(plan_fold_version(&joined), 1); /* its end needs everything */
    assert_int_equal(plan_fold_version_ahead(&pair), SAGA_FOLD_OF_TASKS_AHEAD);
    assert_int_equal(plan_fold_version_ahead(&fan), 2); /* its second step is that of a fan */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_progress_of_a_fan_out_is_the_mean_of_its_instances),
        cmocka_unit_test(ten_thousand_instances_run_and_are_undone),
        cmocka_unit_test(elements_beyond_the_context_limit_fail_their_step_for_good),
        cmocka_unit_test(a_plan_asks_for_the_lowest_fold_that_knows_it),
    };
    return fixture_run_rows("rules", rows, COUNT(rows), sizeof *rows, test_row) +
           fixture_run_rows("verdicts", verdict_rows, COUNT(verdict_rows), sizeof *verdict_rows, test_verdict) +
           cmocka_run_group_tests_name("properties", tests, NULL, NULL);
}
