/* SPDX-License-Identifier: Apache-2.0 */
/* The fold of a run's events: a row is a test, its name says the rule. Each event of each row is applied twice: a duplicate that
 * follows at once must change nothing. */
#include "tests/unit/saga_rows.h"

#include "common/limits.h"

static const uint32_t first[] = {0}, second[] = {1}, third[] = {2}, both[] = {1, 2};

static const struct plan_step line_steps[] = {STEP("a", .weight = 20, .retry = PLAN_RETRY_DEFAULT),
                                              STEP("b", .weight = 60, NEEDS(first), .retry = PLAN_RETRY_DEFAULT),
                                              STEP("c", .weight = 20, NEEDS(second), .retry = PLAN_RETRY_DEFAULT)};
static const struct plan_step diamond_steps[] = {STEP("a", .retry = PLAN_RETRY_DEFAULT),
                                                 STEP("b", NEEDS(first), .retry = PLAN_RETRY_DEFAULT),
                                                 STEP("c", NEEDS(first), .retry = RETRY(3, 5)),
                                                 STEP("d", NEEDS(both), .retry = PLAN_RETRY_DEFAULT)};
static const struct plan_step fork_steps[] = {STEP("a", .retry = PLAN_RETRY_DEFAULT), STEP("b", NEEDS(first), .retry = PLAN_RETRY_DEFAULT),
                                              STEP("c", NEEDS(first), .retry = PLAN_RETRY_DEFAULT),
                                              STEP("d", NEEDS(third), .retry = PLAN_RETRY_DEFAULT)};
static const struct plan_step stubborn_steps[] = {STEP("a", .retry = RETRY(3, 1))};
static const struct plan_step once_steps[] = {STEP("a", .retry = RETRY(1, 0))};
static const struct plan_step timed_steps[] = {
    STEP("a", .retry = RETRY(2, 5), .timeout_ms = 10000, .heartbeat_timeout_ms = 4000)};
static const struct plan_step keep_steps[] = {STEP("a", .retry = PLAN_RETRY_DEFAULT),
                                              STEP("b", NEEDS(first), .rollback_none = true, .retry = PLAN_RETRY_DEFAULT)};
static const struct plan line = PLAN(line_steps), diamond = PLAN(diamond_steps), forked = PLAN(fork_steps), stubborn = PLAN(stubborn_steps), once = PLAN(once_steps),
                         timed = PLAN(timed_steps), keep = PLAN(keep_steps);

static const struct row rows[] = {
    /* ---- order */
    {"a run that was started waits for its first step", &line, {START}, "pending: ready waiting waiting; send 0#1", NULL},
    {"it runs once a step has begun", &line, {START, STARTED(0, 1)}, "running: running waiting waiting; send 0#1", NULL},
    {"a step follows when the one it needs has succeeded", &line, {START, OK(0, 1)}, "running: succeeded ready waiting; send 1#1", NULL},
    {"a skipped step counts as done", &line, {START, SKIPPED(0, 1)}, "running: skipped ready waiting; send 1#1", NULL},
    {"a run succeeds when all steps have", &line, {START, OK(0, 1), OK(1, 1), OK(2, 1)},
     "succeeded: succeeded succeeded succeeded; finish", NULL},
    {"RunFinished is due until it was read", &line, {START, OK(0, 1), OK(1, 1), OK(2, 1), FINISHED},
     "succeeded: succeeded succeeded succeeded", NULL},
    {"steps that do not need one another run at once", &diamond, {START, OK(0, 1)},
     "running: succeeded ready ready waiting; send 1#1; send 2#1", NULL},
    {"a step waits for all it needs", &diamond, {START, OK(0, 1), OK(1, 1), STARTED(2, 1)},
     "running: succeeded succeeded running waiting; send 2#1", NULL},
    {"a step goes when all it needs are done", &diamond, {START, OK(0, 1), OK(2, 1), SKIPPED(1, 1)},
     "running: succeeded skipped succeeded ready; send 3#1", NULL},
    {"and waits for nothing else", &forked, {START, OK(0, 1), STARTED(1, 1), OK(2, 1)},
     "running: succeeded running succeeded ready; send 1#1; send 3#1", NULL},
    {"in a run of an older fold it waited for all before a chain at the end", &forked, {START_OF_FOLD(2), OK(0, 1), STARTED(1, 1), OK(2, 1)},
     "running: succeeded running succeeded waiting; send 1#1", NULL},

    /* ---- failure and rollback */
    {"a failed step is rolled back first", &line, {START, OK(0, 1), OK(1, 1), FAILED(2, 1, "disk is full")},
     "rolling_back: succeeded succeeded rolling_back; send undo 2#1", "Step 'c' failed: disk is full"},
    {"then the others, newest first", &line, {START, OK(0, 1), OK(1, 1), FAILED(2, 1, "no"), UNDONE(2, 1)},
     "rolling_back: succeeded rolling_back rolled_back; send undo 1#1", "Step 'c' failed: no"},
    {"a run is rolled back when all that ran are undone", &line,
     {START, OK(0, 1), OK(1, 1), FAILED(2, 1, "no"), UNDONE(2, 1), UNDONE(1, 1), UNDONE(0, 1)},
     "rolled_back: rolled_back rolled_back rolled_back; finish", "Step 'c' failed: no"},
    {"what did not run is not undone", &line, {START, FAILED(0, 1, "no"), UNDONE(0, 1)}, "rolled_back: rolled_back not_run not_run; finish",
     "Step 'a' failed: no"},
    {"a skipped step is not undone", &line, {START, SKIPPED(0, 1), FAILED(1, 1, "no"), UNDONE(1, 1)},
     "rolled_back: skipped rolled_back not_run; finish", "Step 'b' failed: no"},
    {"not even when it said Started first", &line, {START, STARTED(0, 1), SKIPPED(0, 1), FAILED(1, 1, "no"), UNDONE(1, 1)},
     "rolled_back: skipped rolled_back not_run; finish", "Step 'b' failed: no"},
    {"unless an earlier ticket of it may have begun", &line,
     {START, STARTED(0, 1), LOST(0, 1), SKIPPED(0, 2), FAILED(1, 1, "no"), UNDONE(1, 1)},
     "rolling_back: rolling_back rolled_back waiting; send undo 0#1", "Step 'b' failed: no"},
    {"a step without a rollback is left out", &keep, {START, OK(0, 1), FAILED(1, 1, "no")},
     "rolling_back: rolling_back failed; send undo 0#1", "Step 'b' failed: no"},
    {"nothing to undo is undone", &line, {START, FAILED(0, 1, "no"), NOTHING_TO_UNDO(0, 1)},
     "rolled_back: rolled_back not_run not_run; finish", "Step 'a' failed: no"},
    {"a rollback is tried again after a while", &line, {START, FAILED(0, 1, "no"), UNDO_FAILED(0, 1, "busy")},
     "rolling_back: rolling_back waiting waiting; retry of 0#1", "Step 'a' failed: no"},
    {"under the next number", &line, {START, FAILED(0, 1, "no"), UNDO_FAILED(0, 1, "busy"), UNDO_FIRED(0, 1, 5000)},
     "rolling_back: rolling_back waiting waiting; send undo 0#2", "Step 'a' failed: no"},
    {"a rollback that fails for good does not stop the others", &line,
     {START, OK(0, 1), FAILED(1, 1, "no"), UNDO_IMPOSSIBLE(1, 1, "never")}, "rolling_back: rolling_back rollback_failed waiting; send undo 0#1",
     "Step 'b' failed: no"},
    {"and the run ends incomplete", &line, {START, OK(0, 1), FAILED(1, 1, "no"), UNDO_IMPOSSIBLE(1, 1, "never"), UNDONE(0, 1)},
     "rollback_incomplete: rolled_back rollback_failed not_run; finish", "Step 'b' failed: no"},
    {"incomplete beats cancelled", &line, {START, STARTED(0, 1), CANCEL, CANCELLED(0, 1), UNDO_IMPOSSIBLE(0, 1, "never")},
     "rollback_incomplete: rollback_failed not_run not_run; finish", "cancelled"},
    {"a lost rollback goes out again, and says confirm", &line, {START, FAILED(0, 1, "no"), UNDO_STARTED(0, 1), UNDO_LOST(0, 1)},
     "rolling_back: rolling_back waiting waiting; send undo 0#2 confirm", "Step 'a' failed: no"},
    {"a name is quoted as it is, and the cause kept whole", &line, {START, FAILED(0, 1, "it's 100 % \"full\"")},
     "rolling_back: rolling_back waiting waiting; send undo 0#1", "Step 'a' failed: it's 100 % \"full\""},

    /* ---- parallel steps */
    {"a failing step cancels its siblings, and their end is awaited", &diamond,
     {START, OK(0, 1), STARTED(1, 1), STARTED(2, 1), FAILED(1, 1, "no")}, "running: succeeded failed running waiting; cancel 2#1",
     "Step 'b' failed: no"},
    {"then it is undone, the one that failed first", &diamond,
     {START, OK(0, 1), STARTED(1, 1), STARTED(2, 1), FAILED(1, 1, "no"), CANCELLED(2, 1)},
     "rolling_back: succeeded rolling_back failed waiting; send undo 1#1", "Step 'b' failed: no"},
    {"a sibling that never began is not undone", &diamond,
     {START, OK(0, 1), FAILED(1, 1, "no"), WITHDRAWN(2, 1), UNDONE(1, 1), UNDONE(0, 1)},
     "rolled_back: rolled_back rolled_back not_run not_run; finish", "Step 'b' failed: no"},
    {"nor one that only asked for leave to begin", &diamond,
     {START, OK(0, 1), STARTED(2, 1), FAILED(1, 1, "no"), NOT_STARTED(2, 1), UNDONE(1, 1)},
     "rolling_back: rolling_back rolled_back waiting waiting; send undo 0#1", "Step 'b' failed: no"},
    {"a sibling that succeeds nevertheless is undone too", &diamond,
     {START, OK(0, 1), FAILED(1, 1, "no"), OK(2, 1), UNDONE(1, 1)}, "rolling_back: succeeded rolled_back rolling_back waiting; send undo 2#1",
     "Step 'b' failed: no"},
    {"a second failure does not replace the cause", &diamond, {START, OK(0, 1), FAILED(1, 1, "first"), PERMANENT(2, 1, "later")},
     "rolling_back: succeeded rolling_back failed waiting; send undo 1#1", "Step 'b' failed: first"},
    {"a failure while stopping is not tried again", &diamond, {START, OK(0, 1), FAILED(1, 1, "first"), FAILED(2, 1, "later")},
     "rolling_back: succeeded rolling_back failed waiting; send undo 1#1", "Step 'b' failed: first"},
    {"a sibling that waits for its next attempt waits no more", &diamond, {START, OK(0, 1), FAILED(2, 1, "again"), FAILED(1, 1, "no")},
     "rolling_back: succeeded rolling_back failed waiting; send undo 1#1", "Step 'b' failed: no"},
    {"a sibling that is lost while stopping is undone if it may have begun", &diamond,
     {START, OK(0, 1), STARTED(2, 1), FAILED(1, 1, "no"), LOST(2, 1), UNDONE(1, 1)},
     "rolling_back: succeeded rolled_back rolling_back waiting; send undo 2#1", "Step 'b' failed: no"},

    /* ---- retries */
    {"a failed attempt is tried again after its backoff", &stubborn, {START, FAILED(0, 1, "no")}, "running: retrying; retry of 0#1", NULL},
    {"not before", &stubborn, {START, FAILED(0, 1, "no"), FIRED(0, 1, RETRY, 999)}, "running: retrying; retry of 0#1", NULL},
    {"but when it is over, under the next number", &stubborn, {START, FAILED(0, 1, "no"), FIRED(0, 1, RETRY, 1100)},
     "running: ready; send 0#2", NULL},
    {"the second backoff is longer", &stubborn, {START, FAILED(0, 1, "no"), FIRED(0, 1, RETRY, 1100), FAILED(0, 2, "no"), FIRED(0, 2, RETRY, 1999)},
     "running: retrying; retry of 0#2", NULL},
    {"after the last attempt the run rolls back", &stubborn,
     {START, FAILED(0, 1, "no"), FIRED(0, 1, RETRY, 1100), FAILED(0, 2, "no"), FIRED(0, 2, RETRY, 2200), FAILED(0, 3, "never")},
     "rolling_back: rolling_back; send undo 0#1", "Step 'a' failed: never"},
    {"a permanent failure is not tried again", &stubborn, {START, PERMANENT(0, 1, "no")}, "rolling_back: rolling_back; send undo 0#1",
     "Step 'a' failed: no"},
    {"a retry fires once", &stubborn, {START, FAILED(0, 1, "no"), FIRED(0, 1, RETRY, 1100), FIRED(0, 1, RETRY, 1100)},
     "running: ready; send 0#2", NULL},

    /* ---- losses */
    {"a lost worker is no attempt", &stubborn, {START, STARTED(0, 1), LOST(0, 1)}, "running: ready; send 0#2 confirm", NULL},
    {"more losses than allowed fail the step", &stubborn, {START, STARTED(0, 1), LOST(0, 1), STARTED(0, 2), LOST(0, 2)},
     "rolling_back: rolling_back; send undo 0#1", "Step 'a' failed: worker 'w1' was lost while it ran"},
    {"the first two losses without a Started use nothing", &stubborn, {START, LOST(0, 1), LOST(0, 2)}, "pending: ready; send 0#3 confirm", NULL},
    {"from the third on they do", &stubborn, {START, LOST(0, 1), LOST(0, 2), LOST(0, 3), LOST(0, 4)},
     "rolling_back: rolling_back; send undo 0#1", "Step 'a' failed: worker 'w1' was lost while it ran"},
    {"a takeover that finds nobody uses nothing, however often", &stubborn,
     {START, LOST_BY_NOBODY(0, 1), LOST_BY_NOBODY(0, 2), LOST_BY_NOBODY(0, 3), LOST_BY_NOBODY(0, 4)}, "pending: ready; send 0#5 confirm",
     NULL},
    {"a lost ticket without confirm may have begun", &keep, {START, LOST(0, 1), CANCEL, WITHDRAWN(0, 2)},
     "rolling_back: rolling_back waiting; send undo 0#1", "cancelled"},
    {"one that said confirm did not", &once, {START, LOST(0, 1), CANCEL, WITHDRAWN(0, 2)}, "cancelled: not_run; finish", "cancelled"},
    {"a step that must never begin twice says confirm", &once, {START}, "pending: ready; send 0#1 confirm", NULL},
    {"it goes out again while it is certain that it did not begin", &once, {START, LOST(0, 1), LOST(0, 2)},
     "pending: ready; send 0#3 confirm", NULL},
    {"and fails where it may have begun", &once, {START, STARTED(0, 1), LOST(0, 1)}, "rolling_back: rolling_back; send undo 0#1",
     "Step 'a' failed: worker 'w1' was lost while it ran"},
    {"a worker that drains and stops a step is a loss", &stubborn, {START, STARTED(0, 1), CANCELLED(0, 1)}, "running: ready; send 0#2", NULL},
    {"a refused ticket is ready again", &stubborn, {START, REFUSED(0, 1)}, "pending: ready; send 0#2", NULL},
    {"so is one handed back", &stubborn, {START, NOT_STARTED(0, 1)}, "pending: ready; send 0#2", NULL},

    /* ---- timeouts */
    {"deadlines run from Started", &timed, {START}, "pending: ready; send 0#1", NULL},
    {"the sooner one is armed", &timed, {START, STARTED(0, 1)}, "running: running; send 0#1; heartbeat of 0#1", NULL},
    {"a report puts the heartbeat off, not the timeout", &timed,
     {START, STARTED(0, 1), {.event = {.kind = EVENT_PROGRESSED, EXECUTE(0, 1)}, .after_ms = 3900},
      {.event = {.kind = EVENT_PROGRESSED, EXECUTE(0, 1)}, .after_ms = 3900}},
     "running: running; send 0#1; timeout of 0#1", NULL},
    {"a timer that fires too early changes nothing", &timed, {START, STARTED(0, 1), FIRED(0, 1, TIMEOUT, 0)},
     "running: running; send 0#1; heartbeat of 0#1", NULL},
    {"a heartbeat that is missed cancels the task", &timed, {START, STARTED(0, 1), FIRED(0, 1, HEARTBEAT, 4000)},
     "running: running; cancel 0#1", NULL},
    {"its end is then a used attempt", &timed, {START, STARTED(0, 1), FIRED(0, 1, HEARTBEAT, 4000), CANCELLED(0, 1)},
     "running: retrying; retry of 0#1", NULL},
    {"a loss after the deadline is one too", &timed, {START, STARTED(0, 1), FIRED(0, 1, HEARTBEAT, 4000), LOST(0, 1)},
     "running: retrying; retry of 0#1", NULL},
    {"a failure after the deadline is the timeout's", &timed,
     {START, STARTED(0, 1), FIRED(0, 1, HEARTBEAT, 4000), FAILED(0, 1, "killed"), FIRED(0, 1, RETRY, 1100), STARTED(0, 2),
      FIRED(0, 2, HEARTBEAT, 4000), FAILED(0, 2, "killed")},
     "rolling_back: rolling_back; send undo 0#1", "Step 'a' failed: it reported nothing for 4s"},
    {"a success after the deadline is a success", &timed, {START, STARTED(0, 1), FIRED(0, 1, HEARTBEAT, 4000), OK(0, 1)},
     "succeeded: succeeded; finish", NULL},
    {"the timeout names its length", &timed,
     {START, STARTED(0, 1), FIRED(0, 1, TIMEOUT, 0), {.event = {.kind = EVENT_PROGRESSED, EXECUTE(0, 1)}, .after_ms = 2500},
      {.event = {.kind = EVENT_PROGRESSED, EXECUTE(0, 1)}, .after_ms = 3500}, {.event = {.kind = EVENT_PROGRESSED, EXECUTE(0, 1)}, .after_ms = 3000},
      FIRED(0, 1, TIMEOUT, 0), PERMANENT(0, 1, "killed"), FIRED(0, 1, RETRY, 1100), STARTED(0, 2),
      {.event = {.kind = EVENT_PROGRESSED, EXECUTE(0, 2)}, .after_ms = 3500}, {.event = {.kind = EVENT_PROGRESSED, EXECUTE(0, 2)}, .after_ms = 3500},
      FIRED(0, 2, TIMEOUT, 3500), CANCELLED(0, 2)},
     "rolling_back: rolling_back; send undo 0#1", "Step 'a' failed: it did not end within its timeout of 10s"},
    {"a Started said twice puts no heartbeat off", &timed,
     {START, STARTED(0, 1), {.event = {.kind = EVENT_STARTED, WORKER, EXECUTE(0, 1)}, .after_ms = 3900}, FIRED(0, 1, HEARTBEAT, 100)},
     "running: running; cancel 0#1", NULL},

    /* ---- cancel */
    {"a cancel stops what runs and waits for its end", &line, {START, OK(0, 1), STARTED(1, 1), CANCEL},
     "running: succeeded running waiting; cancel 1#1", "cancelled"},
    {"then it rolls back", &line, {START, OK(0, 1), STARTED(1, 1), CANCEL, CANCELLED(1, 1)},
     "rolling_back: succeeded rolling_back waiting; send undo 1#1", "cancelled"},
    {"and is cancelled", &line, {START, OK(0, 1), STARTED(1, 1), CANCEL, CANCELLED(1, 1), UNDONE(1, 1), UNDONE(0, 1)},
     "cancelled: rolled_back rolled_back not_run; finish", "cancelled"},
    {"a run that has not begun is cancelled at once", &line, {START, CANCEL, WITHDRAWN(0, 1)}, "cancelled: not_run not_run not_run; finish",
     "cancelled"},
    {"a step that waits for its next attempt is not awaited", &stubborn, {START, FAILED(0, 1, "no"), CANCEL},
     "rolling_back: rolling_back; send undo 0#1", "cancelled"},
    {"even when all steps succeed meanwhile", &stubborn, {START, STARTED(0, 1), CANCEL, OK(0, 1)},
     "rolling_back: rolling_back; send undo 0#1", "cancelled"},
    {"a cancel while rolling back changes nothing", &line, {START, FAILED(0, 1, "no"), CANCEL},
     "rolling_back: rolling_back waiting waiting; send undo 0#1", "Step 'a' failed: no"},
    {"not even the verdict", &line, {START, FAILED(0, 1, "no"), CANCEL, UNDONE(0, 1)}, "rolled_back: rolled_back not_run not_run; finish",
     "Step 'a' failed: no"},
    {"a lost step of a cancelled run is undone", &line, {START, STARTED(0, 1), CANCEL, LOST(0, 1)},
     "rolling_back: rolling_back waiting waiting; send undo 0#1", "cancelled"},

    /* ---- late and early */
    {"events of an ended ticket change nothing", &stubborn,
     {START, STARTED(0, 1), LOST(0, 1), STARTED(0, 1), FAILED(0, 1, "late"), CANCELLED(0, 1), REFUSED(0, 1), LOST(0, 1), PROGRESSED(0, 1, 1, 1)},
     "running: ready; send 0#2 confirm", NULL},
    {"a late success does not end the step", &stubborn, {START, STARTED(0, 1), LOST(0, 1), OK(0, 1)}, "running: ready; send 0#2 confirm", NULL},
    {"events of execute change nothing once it is undone", &line, {START, FAILED(0, 1, "no"), OK(0, 1), STARTED(0, 2), LOST(0, 1)},
     "rolling_back: rolling_back waiting waiting; send undo 0#1", "Step 'a' failed: no"},
    {"nothing changes a run that is over", &keep, {START, OK(0, 1), OK(1, 1), FINISHED, FAILED(1, 1, "late"), CANCEL, LOST(0, 1)},
     "succeeded: succeeded succeeded", NULL},
};

/* ---- progress */

struct progress_row {
    const char *name;
    const struct plan *plan;
    struct timed_event events[10];
    uint32_t percent[10]; /* after each event */
};

#define CURRENT_OF_4(c) PROGRESSED(1, 1, c, 4)
static const uint32_t none[1];
static const struct plan_step equal_steps[] = {STEP("a", .retry = PLAN_RETRY_DEFAULT), STEP("b", .needs = none, .retry = RETRY(3, 5))};
static const struct plan equal = PLAN(equal_steps);

static const struct progress_row progress_rows[] = {
    {"weights give each step its share, reports fill it", &line,
     {START, OK(0, 1), CURRENT_OF_4(0), CURRENT_OF_4(1), CURRENT_OF_4(3), OK(1, 1), OK(2, 1)}, {0, 20, 20, 35, 65, 80, 100}},
    {"a skipped step counts as done", &line, {START, OK(0, 1), SKIPPED(1, 1), OK(2, 1)}, {0, 20, 80, 100}},
    {"without weights steps are equal", &equal, {START, OK(0, 1), PROGRESSED(1, 1, 1, 2), OK(1, 1)}, {0, 50, 75, 100}},
    {"a report never takes progress back", &line, {START, OK(0, 1), CURRENT_OF_4(3), CURRENT_OF_4(1)}, {0, 20, 65, 65}},
    {"nor does a retry", &equal, {START, OK(0, 1), PROGRESSED(1, 1, 3, 4), FAILED(1, 1, "no"), FIRED(1, 1, RETRY, 1100), PROGRESSED(1, 2, 1, 4)},
     {0, 50, 87, 87, 87, 87}},
    {"a report beyond its total says nothing", &line, {START, PROGRESSED(0, 1, 5, 4), PROGRESSED(0, 1, 1, 0)}, {0, 0, 0}},
    {"the last report is not yet the end", &stubborn, {START, PROGRESSED(0, 1, 4, 4), OK(0, 1)}, {0, 99, 100}},
    {"huge totals do not overflow", &stubborn, {START, PROGRESSED(0, 1, UINT64_MAX / 2, UINT64_MAX), OK(0, 1)}, {0, 49, 100}},
    {"rollback does not move it", &line, {START, OK(0, 1), FAILED(1, 1, "no"), UNDONE(1, 1), UNDONE(0, 1)}, {0, 20, 20, 20, 20}},
};

static void test_progress(void **state)
{
    const struct progress_row *row = *state;
    struct row events = {.plan = row->plan};
    memcpy(events.events, row->events, sizeof row->events);
    struct saga saga = {0};
    int64_t time_ms = 1000000;
    for (size_t i = 0; i < COUNT(row->events) && (i == 0 || row->events[i].event.kind != EVENT_START); i++) {
        struct saga_event event = prepared(&events, i, &time_ms);
        apply_twice(&saga, &event);
        assert_int_equal(saga.progress_ppm / 10000, row->percent[i]);
    }
    fixture_release(&saga);
}

/* ---- docs/PROTOCOL.md, "What the fold makes of an event": each row with each column */

enum column { COLUMN_OPEN, COLUMN_CLOSED, COLUMN_LATE, COLUMN_FUTURE, COLUMN_UNKNOWN_RUN, COLUMNS };

struct cell_row {
    const char *name;
    struct timed_event event; /* its ticket is set by the column */
    const char *open;         /* fixture_show() after it, T open and started */
    bool alien;               /* dead-lettered where t > T or the run is unknown */
    bool keeps_rollback_data; /* when it is late */
};

#define RUNNING_AS_BEFORE "running: running; send 0#2 confirm"
static const struct cell_row cells[] = {
    {"Started", STARTED(0, 0), RUNNING_AS_BEFORE, true, false},
    {"Progressed", PROGRESSED(0, 0, 1, 2), RUNNING_AS_BEFORE, false, false},
    {"Done(ok)", OK(0, 0), "succeeded: succeeded; finish", true, true},
    {"Done(skipped)", SKIPPED(0, 0), "succeeded: skipped; finish", true, false},
    {"Done(failed)", FAILED(0, 0, "no"), "running: retrying; retry of 0#2", true, false},
    {"Done(cancelled, started)", CANCELLED(0, 0), "rolling_back: rolling_back; send undo 0#1", false, false},
    {"Done(cancelled, not started)", NOT_STARTED(0, 0), "running: ready; send 0#3 confirm", false, false},
    {"Refused", REFUSED(0, 0), "running: ready; send 0#3 confirm", false, false},
    {"Lost", LOST(0, 0), "rolling_back: rolling_back; send undo 0#1", false, false},
    {"TimerFired", FIRED(0, 0, RETRY, 0), RUNNING_AS_BEFORE, false, false},
};

/* Ticket 1 was lost after it had begun; ticket 2 is open and has begun. */
static void until_second_ticket(struct saga *saga)
{
    static const struct row beginning = {.plan = &stubborn, .events = {START, STARTED(0, 1), LOST(0, 1), STARTED(0, 2)}};
    int64_t time_ms = 1000000;
    for (size_t i = 0; i < 4; i++) {
        fixture_apply(saga, prepared(&beginning, i, &time_ms));
    }
}

static struct saga_event cell_event(const struct cell_row *row, uint32_t ticket)
{
    struct saga_event event = row->event.event;
    event.ticket.number = ticket;
    event.time_ms = 1100000;
    return event;
}

static void expect_unchanged(struct saga *saga, const struct cell_row *row, uint32_t ticket, enum saga_verdict verdict)
{
    char *before = fixture_dump(saga);
    assert_int_equal(fixture_apply(saga, cell_event(row, ticket)), verdict);
    char *after = fixture_dump(saga);
    assert_string_equal(after, before);
    free(before);
    free(after);
}

static void test_open(void **state)
{
    const struct cell_row *row = *state;
    struct saga saga = {0};
    until_second_ticket(&saga);
    fixture_apply(&saga, cell_event(row, 2));
    char *shown = fixture_show(&saga);
    assert_string_equal(shown, row->open);
    free(shown);
    fixture_release(&saga);
}

static void test_late(void **state)
{
    const struct cell_row *row = *state;
    struct saga saga = {0};
    until_second_ticket(&saga);
    if (row->keeps_rollback_data) {
        assert_int_equal(fixture_apply(&saga, cell_event(row, 1)), SAGA_APPLIED);
        assert_true(span_equal(saga_step_text(saga.steps[0], TEXT_ROLLBACK_DATA), row->event.event.rollback_data));
        assert_int_equal(saga_step_text(saga.steps[0], TEXT_DATA).size, 0);
    } else {
        expect_unchanged(&saga, row, 1, SAGA_IGNORED);
    }
    char *shown = fixture_show(&saga);
    assert_string_equal(shown, RUNNING_AS_BEFORE);
    free(shown);
    fixture_release(&saga);
}

static void test_closed(void **state)
{
    const struct cell_row *row = *state;
    struct saga saga = {0};
    until_second_ticket(&saga);
    struct timed_event end = FAILED(0, 2, "no");
    end.event.time_ms = 1050000;
    fixture_apply(&saga, end.event);
    if (row->event.event.kind == EVENT_TIMER_FIRED) {
        fixture_apply(&saga, cell_event(row, 2)); /* armed, and due */
        assert_int_equal(saga.steps[0]->ticket, 3);
    } else if (row->keeps_rollback_data) {
        fixture_apply(&saga, cell_event(row, 2));
        assert_true(span_equal(saga_step_text(saga.steps[0], TEXT_ROLLBACK_DATA), row->event.event.rollback_data));
        assert_int_equal(saga.steps[0]->status, STEP_RETRYING);
    } else {
        expect_unchanged(&saga, row, 2, SAGA_IGNORED);
    }
    fixture_release(&saga);
}

static void test_rollback_is_out(void **state)
{
    const struct cell_row *row = *state;
    struct saga saga = {0};
    until_second_ticket(&saga);
    struct timed_event end = PERMANENT(0, 2, "no");
    end.event.time_ms = 1050000;
    fixture_apply(&saga, end.event);
    expect_unchanged(&saga, row, 1, SAGA_IGNORED);
    expect_unchanged(&saga, row, 2, SAGA_IGNORED);
    fixture_release(&saga);
}

static void test_future(void **state)
{
    const struct cell_row *row = *state;
    struct saga saga = {0};
    until_second_ticket(&saga);
    expect_unchanged(&saga, row, 3, row->alien ? SAGA_ALIEN : SAGA_IGNORED);
    struct cell_row elsewhere = *row;
    elsewhere.event.event.ticket.step = 1;
    expect_unchanged(&saga, &elsewhere, 1, row->alien ? SAGA_ALIEN : SAGA_IGNORED);
    elsewhere = *row;
    elsewhere.event.event.ticket.instance = 1;
    expect_unchanged(&saga, &elsewhere, 2, row->alien ? SAGA_ALIEN : SAGA_IGNORED);
    elsewhere = *row;
    elsewhere.event.event.ticket.direction = DIRECTION_ROLLBACK;
    expect_unchanged(&saga, &elsewhere, 1, row->alien ? SAGA_ALIEN : SAGA_IGNORED);
    fixture_release(&saga);
}

static void test_unknown_run(void **state)
{
    const struct cell_row *row = *state;
    struct saga saga = {0};
    assert_int_equal(fixture_apply(&saga, cell_event(row, 1)), row->alien ? SAGA_ALIEN : SAGA_IGNORED);
    fixture_release(&saga);
}

static int run_cells(void)
{
    static const struct {
        const char *group;
        CMUnitTestFunction function;
    } columns[] = {{"t = T, open", test_open},   {"t < T", test_late},
                   {"t = T, closed", test_closed}, {"the rollback is out", test_rollback_is_out},
                   {"t > T", test_future},       {"unknown run", test_unknown_run}};
    int failed = 0;
    for (size_t i = 0; i < COUNT(columns); i++) {
        failed += fixture_run_rows(columns[i].group, cells, COUNT(cells), sizeof *cells, columns[i].function);
    }
    return failed;
}

/* ---- single properties */

static void start(struct saga *saga, const struct plan *plan)
{
    struct timed_event event = START;
    event.event.plan = plan;
    event.event.time_ms = 1000000;
    fixture_apply(saga, event.event);
}

static void apply(struct saga *saga, struct timed_event event)
{
    event.event.time_ms = 1001000;
    fixture_apply(saga, event.event);
}

#define APPLY(saga, ...) apply(saga, (struct timed_event)__VA_ARGS__)

static const struct saga_request *only_answer(const struct saga *saga)
{
    struct saga_effect effect;
    struct saga_cursor cursor = {0};
    assert_true(saga_next_effect(saga, &cursor, &effect));
    assert_int_equal(effect.kind, EFFECT_ANSWER);
    return effect.request;
}

static void answered(struct saga *saga, unsigned char id)
{
    assert_int_equal(fixture_apply(saga, (struct saga_event){.kind = EVENT_ANSWERED, .request_id = {id}, .time_ms = 1002000}), SAGA_APPLIED);
}

static void requests_are_answered_and_the_same_one_the_same_way(void **state)
{
    (void)state;
    struct saga saga = {0};
    start(&saga, &line);
    assert_int_equal(only_answer(&saga)->verdict, VERDICT_ACCEPTED);
    answered(&saga, 1);
    char *before = fixture_show(&saga);
    start(&saga, &line);
    assert_int_equal(only_answer(&saga)->verdict, VERDICT_ACCEPTED);
    char *after = fixture_show(&saga);
    assert_string_equal(after, before);
    answered(&saga, 1);
    assert_int_equal(fixture_apply(&saga, (struct saga_event){.kind = EVENT_ANSWERED, .request_id = {1}}), SAGA_IGNORED);
    free(before);
    free(after);
    fixture_release(&saga);
}

static void a_second_start_of_the_same_run_is_answered_existing(void **state)
{
    (void)state;
    struct saga saga = {0};
    start(&saga, &line);
    answered(&saga, 1);
    APPLY(&saga, OK(0, 1));
    char *before = fixture_show(&saga);
    fixture_apply(&saga, (struct saga_event){.kind = EVENT_START, .request_id = {7}, .plan = &diamond, .fold_version = 1, .time_ms = 1003000});
    assert_int_equal(only_answer(&saga)->verdict, VERDICT_EXISTING);
    char *after = fixture_show(&saga);
    assert_string_equal(after, before);
    free(before);
    free(after);
    fixture_release(&saga);
}

static void a_start_that_cannot_be_run_is_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct plan empty = {.name = S("plan")};
    const struct saga_event starts[] = {
        {.kind = EVENT_START, .request_id = {1}, .fold_version = 1},
        {.kind = EVENT_START, .request_id = {1}, .fold_version = 1, .plan = &empty},
        {.kind = EVENT_START, .request_id = {1}, .fold_version = 1, .plan = &line, .refusal = "another count"},
        {.kind = EVENT_START, .request_id = {1}, .fold_version = 1, .plan = &line, .params = {"{}", LIMIT_CONTEXT_BYTES + 1}},
    };
    for (size_t i = 0; i < COUNT(starts); i++) {
        struct saga saga = {0};
        fixture_apply(&saga, starts[i]);
        assert_int_equal(only_answer(&saga)->verdict, VERDICT_REFUSED);
        assert_true(only_answer(&saga)->reason_size > 5);
        assert_int_equal(saga.status, RUN_NONE);
        fixture_release(&saga);
    }
}

static void a_cancel_of_nothing_is_refused(void **state)
{
    (void)state;
    struct saga saga = {0};
    APPLY(&saga, CANCEL);
    assert_int_equal(only_answer(&saga)->verdict, VERDICT_REFUSED);
    fixture_release(&saga);
}

static void a_cancel_too_late_is_refused_and_a_second_one_accepted(void **state)
{
    (void)state;
    struct saga saga = {0};
    start(&saga, &stubborn);
    answered(&saga, 1);
    APPLY(&saga, OK(0, 1));
    APPLY(&saga, CANCEL);
    assert_int_equal(only_answer(&saga)->verdict, VERDICT_REFUSED);
    fixture_release(&saga);
    start(&saga, &stubborn);
    answered(&saga, 1);
    APPLY(&saga, CANCEL);
    APPLY(&saga, WITHDRAWN(0, 1));
    answered(&saga, 2);
    fixture_apply(&saga, (struct saga_event){.kind = EVENT_CANCEL, .request_id = {3}});
    assert_int_equal(only_answer(&saga)->verdict, VERDICT_ACCEPTED);
    assert_int_equal(saga.status, RUN_CANCELLED);
    fixture_release(&saga);
}

/* An owner that was about to forget the run still has it, a reader that began later has not: both must hear the second cancel. */
static void what_was_asked_before_the_start_is_forgotten_with_it(void **state)
{
    (void)state;
    struct saga saga = {0};
    APPLY(&saga, CANCEL);
    assert_int_equal(only_answer(&saga)->verdict, VERDICT_REFUSED);
    answered(&saga, 2);
    start(&saga, &stubborn);
    answered(&saga, 1);
    APPLY(&saga, CANCEL);
    assert_int_equal(only_answer(&saga)->verdict, VERDICT_ACCEPTED);
    fixture_release(&saga);
}

static struct saga_event cancel_number(unsigned number)
{
    struct saga_event event = {.kind = EVENT_CANCEL, .reason = S("why not"), .time_ms = 1002000};
    event.request_id[0] = (unsigned char)number;
    event.request_id[1] = 9;
    return event;
}

static void many_requests_forget_the_oldest_answered_first(void **state)
{
    (void)state;
    struct saga saga = {0};
    start(&saga, &line);
    answered(&saga, 1);
    for (unsigned i = 0; i < LIMIT_REQUESTS_PER_RUN + 2; i++) {
        assert_int_equal(fixture_apply(&saga, cancel_number(i)), SAGA_APPLIED);
        struct saga_event answer = cancel_number(i);
        answer.kind = EVENT_ANSWERED;
        assert_int_equal(fixture_apply(&saga, answer), SAGA_APPLIED);
    }
    size_t count = 0;
    unsigned newest = LIMIT_REQUESTS_PER_RUN + 1;
    for (const struct saga_request *request = saga.requests; request != NULL; request = request->next) {
        assert_int_equal(request->id[0], newest - count++);
    }
    assert_int_equal(count, LIMIT_REQUESTS_PER_RUN);
    fixture_release(&saga);
}

static void more_requests_than_can_wait_are_not_heard(void **state)
{
    (void)state;
    struct saga saga = {0};
    for (unsigned i = 0; i < LIMIT_REQUESTS_PER_RUN; i++) {
        assert_int_equal(fixture_apply(&saga, cancel_number(i)), SAGA_APPLIED);
    }
    assert_int_equal(fixture_apply(&saga, cancel_number(200)), SAGA_IGNORED);
    fixture_release(&saga);
}

static void a_run_for_a_newer_fold_is_left_as_it_is(void **state)
{
    (void)state;
    struct saga saga = {0};
    struct saga_event event = {.kind = EVENT_START, .request_id = {1}, .plan = &line, .fold_version = SAGA_FOLD_VERSION + 1};
    assert_int_equal(fixture_apply(&saga, event), SAGA_APPLIED);
    assert_true(saga.newer);
    char *before = fixture_dump(&saga);
    assert_int_equal(fixture_apply(&saga, event), SAGA_IGNORED);
    assert_int_equal(fixture_apply(&saga, (struct saga_event){.kind = EVENT_CANCEL, .request_id = {2}}), SAGA_IGNORED);
    assert_int_equal(fixture_apply(&saga, (struct timed_event)STARTED(0, 1).event), SAGA_IGNORED);
    char *after = fixture_dump(&saga);
    assert_string_equal(after, before);
    free(before);
    free(after);
    fixture_release(&saga);
}

static void a_result_beyond_the_context_limit_fails_its_step_for_good(void **state)
{
    (void)state;
    char *big = calloc(1, LIMIT_CONTEXT_BYTES);
    struct saga saga = {0};
    start(&saga, &stubborn); /* its params take two bytes */
    fixture_apply(&saga, (struct saga_event){.kind = EVENT_DONE, .outcome = OUTCOME_OK, EXECUTE(0, 1), .rollback_data = S("[7]"),
                                             .data = {big, LIMIT_CONTEXT_BYTES - 2}, .set = S("1")});
    assert_int_equal(saga.status, RUN_ROLLING_BACK);
    assert_int_equal(saga_step_text(saga.steps[0], TEXT_DATA).size, 0);
    assert_int_equal(saga_step_text(saga.steps[0], TEXT_ROLLBACK_DATA).size, 3);
    assert_non_null(memmem(saga_trouble(&saga)->error.bytes, saga_trouble(&saga)->error.size, "524288", 6));
    fixture_release(&saga);
    start(&saga, &stubborn);
    fixture_apply(&saga, (struct saga_event){.kind = EVENT_DONE, .outcome = OUTCOME_OK, EXECUTE(0, 1), .data = {big, LIMIT_CONTEXT_BYTES - 2}});
    assert_int_equal(saga.status, RUN_SUCCEEDED);
    fixture_release(&saga);
    free(big);
}

static void retries_are_delayed_the_same_in_every_replay_and_at_most_a_tenth_longer(void **state)
{
    (void)state;
    static const int64_t least[] = {1000, 2000, 3000, 3000, 3000};
    static const struct plan_step steps[] = {STEP("a", .retry = RETRY(6, 5))};
    static const struct plan plan = PLAN(steps);
    struct saga saga = {0}, replay = {0};
    start(&saga, &plan);
    start(&replay, &plan);
    for (uint32_t i = 0; i < COUNT(least); i++) {
        struct timed_event failure = FAILED(0, 0, "no");
        struct saga_deadline deadline, same;
        failure.event.ticket.number = i + 1;
        failure.event.time_ms = 2000000;
        fixture_apply(&saga, failure.event);
        fixture_apply(&replay, failure.event);
        assert_true(saga_next_deadline(&saga, &deadline) && saga_next_deadline(&replay, &same));
        assert_in_range(deadline.due_ms - 2000000, least[i], least[i] + least[i] / 10);
        assert_int_equal(deadline.due_ms, same.due_ms);
        struct saga_event timer = {.kind = EVENT_TIMER_FIRED, .timer = TIMER_RETRY, EXECUTE(0, i + 1), .time_ms = deadline.due_ms};
        fixture_apply(&saga, timer);
        fixture_apply(&replay, timer);
    }
    fixture_release(&saga);
    fixture_release(&replay);
}

static void rollbacks_are_tried_ten_times_and_lost_fifty_times(void **state)
{
    (void)state;
    struct saga saga = {0};
    start(&saga, &line);
    APPLY(&saga, FAILED(0, 1, "no"));
    for (uint32_t i = 1; i <= 10; i++) {
        struct saga_deadline deadline;
        assert_int_equal(saga.status, RUN_ROLLING_BACK);
        fixture_apply(&saga, (struct saga_event){.kind = EVENT_DONE, .outcome = OUTCOME_FAILED, ROLLBACK(0, i), .error = S("no"), .time_ms = 2000000});
        if (saga_next_deadline(&saga, &deadline)) {
            fixture_apply(&saga, (struct saga_event){.kind = EVENT_TIMER_FIRED, .timer = TIMER_RETRY, ROLLBACK(0, i), .time_ms = deadline.due_ms});
        }
    }
    assert_int_equal(saga.status, RUN_ROLLBACK_INCOMPLETE);
    fixture_release(&saga);
    start(&saga, &line);
    APPLY(&saga, FAILED(0, 1, "no"));
    for (uint32_t i = 1; i <= 51; i++) {
        assert_int_equal(saga.status, RUN_ROLLING_BACK);
        fixture_apply(&saga, (struct saga_event){.kind = EVENT_STARTED, WORKER, ROLLBACK(0, i)});
        fixture_apply(&saga, (struct saga_event){.kind = EVENT_LOST, WORKER, ROLLBACK(0, i)});
    }
    assert_int_equal(saga.status, RUN_ROLLBACK_INCOMPLETE);
    fixture_release(&saga);
}

static void what_a_late_success_needs_to_be_undone_is_kept(void **state)
{
    (void)state;
    struct saga saga = {0};
    start(&saga, &stubborn);
    APPLY(&saga, STARTED(0, 1));
    APPLY(&saga, LOST(0, 1));
    APPLY(&saga, OK(0, 1));
    APPLY(&saga, PERMANENT(0, 2, "no"));
    assert_int_equal(saga.status, RUN_ROLLING_BACK);
    assert_true(span_equal(saga_step_text(saga.steps[0], TEXT_ROLLBACK_DATA), (struct span)S("[1]")));
    fixture_release(&saga);
}

static void a_task_carries_what_its_step_needs_or_reads(void **state)
{
    (void)state;
    static const struct plan_step steps[] = {STEP("a", .weight = 0), STEP("b", NEEDS(first)), STEP("c", NEEDS(second)),
                                             STEP("d", NEEDS(second), .reads = first, .reads_count = 1, .reads_given = true),
                                             STEP("e", NEEDS(second), .reads_given = true)};
    static const struct plan plan = PLAN(steps);
    struct saga saga = {0};
    uint32_t others[5];
    start(&saga, &plan);
    assert_int_equal(saga_task_reads(&saga, 0, others), 0);
    assert_int_equal(saga_task_reads(&saga, 2, others), 2);
    assert_true(others[0] == 0 && others[1] == 1);
    assert_int_equal(saga_task_reads(&saga, 3, others), 1);
    assert_int_equal(others[0], 0);
    assert_int_equal(saga_task_reads(&saga, 4, others), 0);
    fixture_release(&saga);
}

static void a_retired_run_still_answers(void **state)
{
    (void)state;
    struct saga saga = {0};
    start(&saga, &stubborn);
    APPLY(&saga, OK(0, 1));
    APPLY(&saga, FINISHED);
    assert_false(saga_is_settled(&saga)); /* its start is not answered */
    answered(&saga, 1);
    assert_true(saga_is_settled(&saga));
    size_t size = saga_retire_room(&saga);
    saga_retire(&saga, malloc(size), size, free);
    assert_true(saga.retired && saga_is_settled(&saga) && saga.status == RUN_SUCCEEDED);
    assert_true(span_equal(saga.run_id, (struct span)S("run-1")));
    assert_int_equal(fixture_apply(&saga, (struct timed_event)OK(0, 1).event), SAGA_IGNORED);
    start(&saga, &stubborn); /* the same request: it was accepted */
    assert_int_equal(only_answer(&saga)->verdict, VERDICT_ACCEPTED);
    answered(&saga, 1);
    fixture_apply(&saga, (struct saga_event){.kind = EVENT_START, .request_id = {8}, .plan = &line, .fold_version = 1});
    assert_int_equal(only_answer(&saga)->verdict, VERDICT_EXISTING);
    answered(&saga, 8);
    APPLY(&saga, CANCEL);
    assert_int_equal(only_answer(&saga)->verdict, VERDICT_REFUSED);
    answered(&saga, 2);
    assert_true(saga_is_settled(&saga));
    fixture_release(&saga);
}

static void rollback_has_its_own_progress(void **state)
{
    (void)state;
    struct saga saga = {0};
    start(&saga, &keep);
    assert_int_equal(saga_rollback_ppm(&saga), 0);
    fixture_release(&saga);
    start(&saga, &line);
    APPLY(&saga, OK(0, 1));
    APPLY(&saga, FAILED(1, 1, "no"));
    assert_int_equal(saga_rollback_ppm(&saga), 0);
    APPLY(&saga, UNDONE(1, 1));
    assert_int_equal(saga_rollback_ppm(&saga), 500000);
    APPLY(&saga, UNDONE(0, 1));
    assert_int_equal(saga_rollback_ppm(&saga), PPM_ONE);
    assert_int_equal(saga_steps_executed(&saga), 1);
    fixture_release(&saga);
}

/* The run starts at 1000000, its first step is ready then, and every record here stands at 1001000. */
static void a_step_began_when_its_worker_says_but_not_before_its_ticket(void **state)
{
    (void)state;
    static const struct {
        int64_t elapsed_ms, begun_ms;
    } cases[] = {{0, 1001000}, {400, 1000600}, {1000, 1000000}, {5000, 1000000}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct saga saga = {0};
        start(&saga, &line);
        APPLY(&saga, DONE(0, 1, OK, .elapsed_ms = cases[i].elapsed_ms));
        assert_int_equal(saga.steps[0]->work->begun_ms, cases[i].begun_ms);
        assert_int_equal(saga.steps[0]->work->ended_ms, 1001000);
        fixture_release(&saga);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_began_when_its_worker_says_but_not_before_its_ticket),
        cmocka_unit_test(requests_are_answered_and_the_same_one_the_same_way),
        cmocka_unit_test(a_second_start_of_the_same_run_is_answered_existing),
        cmocka_unit_test(a_start_that_cannot_be_run_is_refused_with_the_reason),
        cmocka_unit_test(a_cancel_of_nothing_is_refused),
        cmocka_unit_test(a_cancel_too_late_is_refused_and_a_second_one_accepted),
        cmocka_unit_test(what_was_asked_before_the_start_is_forgotten_with_it),
        cmocka_unit_test(many_requests_forget_the_oldest_answered_first),
        cmocka_unit_test(more_requests_than_can_wait_are_not_heard),
        cmocka_unit_test(a_run_for_a_newer_fold_is_left_as_it_is),
        cmocka_unit_test(a_result_beyond_the_context_limit_fails_its_step_for_good),
        cmocka_unit_test(retries_are_delayed_the_same_in_every_replay_and_at_most_a_tenth_longer),
        cmocka_unit_test(rollbacks_are_tried_ten_times_and_lost_fifty_times),
        cmocka_unit_test(what_a_late_success_needs_to_be_undone_is_kept),
        cmocka_unit_test(a_task_carries_what_its_step_needs_or_reads),
        cmocka_unit_test(a_retired_run_still_answers),
        cmocka_unit_test(rollback_has_its_own_progress),
    };
    return fixture_run_rows("rules", rows, COUNT(rows), sizeof *rows, test_row) +
           fixture_run_rows("progress", progress_rows, COUNT(progress_rows), sizeof *progress_rows, test_progress) + run_cells() +
           cmocka_run_group_tests_name("properties", tests, NULL, NULL);
}
