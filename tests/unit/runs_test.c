/* SPDX-License-Identifier: Apache-2.0 */
/* The records of one progress partition, folded: who is heard, who is fenced, what is kept. */
#include "common/runs.h"
#include "tests/unit/saga_fixture.h"

static const struct plan_step steps[] = {
    {.name = S("a"), .handler = S("h"), .queue = S("q"), .retry = PLAN_RETRY_DEFAULT}};
static const struct plan plan = {.name = S("p"), .steps = steps, .step_count = COUNT(steps)};
static int64_t next_offset;

#define RUN(id) .run_id = S(id)
#define START_OF(id, request, count) \
    {.kind = MESSAGE_START, .progress_partitions = (count), \
     .event = {.kind = EVENT_START, RUN(id), .request_id = {request}, .plan = &plan, .fold_version = SAGA_FOLD_VERSION}}
#define CANCEL_OF(id, request) {.kind = MESSAGE_CANCEL, .event = {.kind = EVENT_CANCEL, RUN(id), .request_id = {request}}}
#define DONE_OF(id, t, what) {.kind = MESSAGE_DONE, .event = {.kind = EVENT_DONE, RUN(id), .outcome = what, EXECUTE(0, t)}}
#define STARTED_OF(id, t) {.kind = MESSAGE_STARTED, .event = {.kind = EVENT_STARTED, RUN(id), WORKER, EXECUTE(0, t)}}
#define ANSWERED_OF(id, request, at) \
    {.kind = MESSAGE_ANSWERED, .epoch = (at), .event = {.kind = EVENT_ANSWERED, RUN(id), .request_id = {request}}}
#define FINISHED_OF(id, at) {.kind = MESSAGE_RUN_FINISHED, .epoch = (at), .event = {.kind = EVENT_FINISHED, RUN(id)}}
#define LOST_OF(id, t, at) {.kind = MESSAGE_LOST, .epoch = (at), .event = {.kind = EVENT_LOST, RUN(id), WORKER, EXECUTE(0, t)}}
#define CLAIM {.kind = MESSAGE_OWNER_CLAIM, .coordinator = S("c")}

static enum runs_result apply(struct runs *runs, struct message message)
{
    struct run *run;
    enum runs_result result = runs_apply(runs, &message, next_offset, 1000 + next_offset, &run);
    next_offset++;
    return result;
}

#define APPLY(runs, ...) apply(runs, (struct message)__VA_ARGS__)

static struct runs *new_runs(void)
{
    next_offset = 10;
    return runs_new(4);
}

static const struct saga *saga_of(struct runs *runs, const char *id)
{
    struct run *run = runs_find(runs, span_of(id));
    assert_non_null(run);
    return &run->saga;
}

static void runs_of_a_partition_are_kept_apart(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    assert_int_equal(APPLY(runs, START_OF("one", 1, 4)), RUNS_APPLIED);
    assert_int_equal(APPLY(runs, START_OF("two", 1, 4)), RUNS_APPLIED);
    assert_int_equal(APPLY(runs, DONE_OF("one", 1, OUTCOME_OK)), RUNS_APPLIED);
    assert_int_equal(saga_of(runs, "one")->status, RUN_SUCCEEDED);
    assert_int_equal(saga_of(runs, "two")->status, RUN_PENDING);
    assert_int_equal(saga_of(runs, "two")->start_offset, 11);
    assert_int_equal(saga_of(runs, "two")->started_ms, 1011);
    assert_int_equal(runs_count(runs), 2);
    runs_free(runs);
}

static void coordinators_of_another_epoch_are_ignored(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, START_OF("one", 1, 4));
    assert_int_equal(runs_epoch(runs), -1);
    assert_int_equal(APPLY(runs, LOST_OF("one", 1, 0)), RUNS_FENCED);
    assert_int_equal(APPLY(runs, CLAIM), RUNS_CLAIMED);
    assert_int_equal(runs_epoch(runs), 12);
    assert_int_equal(APPLY(runs, LOST_OF("one", 1, 12)), RUNS_APPLIED);
    APPLY(runs, CLAIM);
    assert_int_equal(APPLY(runs, LOST_OF("one", 2, 12)), RUNS_FENCED);
    assert_int_equal(saga_of(runs, "one")->steps[0].ticket, 2);
    assert_int_equal(APPLY(runs, LOST_OF("one", 2, 14)), RUNS_APPLIED);
    runs_free(runs);
}

static void workers_and_clients_need_no_epoch(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, CLAIM);
    assert_int_equal(APPLY(runs, START_OF("one", 1, 4)), RUNS_APPLIED);
    APPLY(runs, CLAIM);
    assert_int_equal(APPLY(runs, STARTED_OF("one", 1)), RUNS_APPLIED);
    assert_int_equal(APPLY(runs, CANCEL_OF("one", 2)), RUNS_APPLIED);
    runs_free(runs);
}

static void work_of_no_run_is_alien_and_the_rest_of_it_ignored(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, CLAIM);
    assert_int_equal(APPLY(runs, STARTED_OF("none", 1)), RUNS_ALIEN);
    assert_int_equal(APPLY(runs, DONE_OF("none", 1, OUTCOME_OK)), RUNS_ALIEN);
    assert_int_equal(APPLY(runs, DONE_OF("none", 1, OUTCOME_CANCELLED_STARTED)), RUNS_IGNORED);
    assert_int_equal(APPLY(runs, LOST_OF("none", 1, 10)), RUNS_IGNORED);
    assert_int_equal(APPLY(runs, FINISHED_OF("none", 10)), RUNS_IGNORED);
    assert_int_equal(runs_count(runs), 0);
    APPLY(runs, START_OF("one", 1, 4));
    assert_int_equal(APPLY(runs, DONE_OF("one", 2, OUTCOME_OK)), RUNS_ALIEN);
    runs_free(runs);
}

static void records_that_are_not_the_folds_business_are_ignored(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    struct message holding = {.kind = MESSAGE_HOLDING, .worker = S("w")};
    struct message progressed = {.kind = MESSAGE_RUN_PROGRESSED, .epoch = 10, .event = {RUN("one")}};
    struct run *run;
    APPLY(runs, CLAIM);
    APPLY(runs, START_OF("one", 1, 4));
    assert_int_equal(runs_apply(runs, &holding, 50, 50, &run), RUNS_IGNORED);
    assert_null(run);
    assert_int_equal(runs_apply(runs, &progressed, 51, 51, &run), RUNS_IGNORED);
    assert_ptr_equal(run, runs_find(runs, (struct span)S("one")));
    runs_free(runs);
}

static void a_start_of_another_partition_count_is_refused_and_forgotten_once_answered(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, CLAIM);
    assert_int_equal(APPLY(runs, START_OF("one", 1, 8)), RUNS_APPLIED);
    const struct saga *saga = saga_of(runs, "one");
    assert_int_equal(saga->status, RUN_NONE);
    assert_int_equal(saga->requests->verdict, VERDICT_REFUSED);
    APPLY(runs, ANSWERED_OF("one", 1, 10));
    assert_int_equal(runs_count(runs), 0);
    assert_int_equal(APPLY(runs, START_OF("one", 2, 4)), RUNS_APPLIED);
    assert_int_equal(saga_of(runs, "one")->status, RUN_PENDING);
    runs_free(runs);
}

static void a_cancel_of_no_run_is_refused_and_forgotten_once_answered(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, CLAIM);
    assert_int_equal(APPLY(runs, CANCEL_OF("none", 1)), RUNS_APPLIED);
    assert_int_equal(APPLY(runs, CANCEL_OF("none", 2)), RUNS_APPLIED);
    APPLY(runs, ANSWERED_OF("none", 1, 10));
    assert_int_equal(runs_count(runs), 1);
    APPLY(runs, ANSWERED_OF("none", 2, 10));
    assert_int_equal(runs_count(runs), 0);
    runs_free(runs);
}

static void a_run_of_a_newer_fold_is_shown_as_such_and_the_others_go_on(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    struct message newer = START_OF("new", 1, 4);
    newer.event.fold_version++;
    assert_int_equal(apply(runs, newer), RUNS_NEWER);
    assert_true(saga_of(runs, "new")->newer);
    assert_int_equal(APPLY(runs, STARTED_OF("new", 1)), RUNS_IGNORED);
    assert_int_equal(APPLY(runs, START_OF("one", 1, 4)), RUNS_APPLIED);
    runs_free(runs);
}

static void a_retired_run_is_found_and_a_second_start_of_it_does_not_run(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, CLAIM);
    APPLY(runs, START_OF("one", 1, 4));
    APPLY(runs, START_OF("two", 1, 4));
    APPLY(runs, ANSWERED_OF("one", 1, 10));
    APPLY(runs, DONE_OF("one", 1, OUTCOME_OK));
    APPLY(runs, FINISHED_OF("one", 10));
    runs_retire(runs, runs_find(runs, (struct span)S("one")));
    assert_true(saga_of(runs, "one")->retired);
    assert_non_null(runs_find(runs, (struct span)S("two")));
    APPLY(runs, START_OF("one", 9, 4));
    assert_int_equal(saga_of(runs, "one")->requests->verdict, VERDICT_EXISTING);
    assert_int_equal(saga_of(runs, "one")->status, RUN_SUCCEEDED);
    assert_int_equal(APPLY(runs, DONE_OF("one", 1, OUTCOME_OK)), RUNS_IGNORED);
    runs_free(runs);
}

static void runs_can_be_walked_while_they_are_removed(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    char ids[50][16];
    for (int i = 0; i < 50; i++) {
        struct message start = START_OF("", 1, 4);
        snprintf(ids[i], sizeof ids[i], "r%d", i);
        start.event.run_id = span_of(ids[i]);
        assert_int_equal(apply(runs, start), RUNS_APPLIED);
    }
    int seen = 0;
    struct run *next;
    for (struct run *run = runs_next(runs, NULL); run != NULL; run = next) {
        next = runs_next(runs, run);
        runs_remove(runs, run);
        seen++;
    }
    assert_int_equal(seen, 50);
    assert_int_equal(runs_count(runs), 0);
    runs_free(runs);
    runs_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_of_a_partition_are_kept_apart),
        cmocka_unit_test(coordinators_of_another_epoch_are_ignored),
        cmocka_unit_test(workers_and_clients_need_no_epoch),
        cmocka_unit_test(work_of_no_run_is_alien_and_the_rest_of_it_ignored),
        cmocka_unit_test(records_that_are_not_the_folds_business_are_ignored),
        cmocka_unit_test(a_start_of_another_partition_count_is_refused_and_forgotten_once_answered),
        cmocka_unit_test(a_cancel_of_no_run_is_refused_and_forgotten_once_answered),
        cmocka_unit_test(a_run_of_a_newer_fold_is_shown_as_such_and_the_others_go_on),
        cmocka_unit_test(a_retired_run_is_found_and_a_second_start_of_it_does_not_run),
        cmocka_unit_test(runs_can_be_walked_while_they_are_removed),
    };
    return cmocka_run_group_tests_name("runs", tests, NULL, NULL);
}
