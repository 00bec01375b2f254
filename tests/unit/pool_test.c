/* SPDX-License-Identifier: Apache-2.0 */
/* The pool's threads, without sleeps: steps that wait are let go by the test. */
#include "common/clock.h"
#include "worker/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A gate that steps wait at. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int entered, open;
};

struct stage {
    struct gate gate;
    struct pool *pool;
    struct runner *runner;
    struct task tasks[256];
    atomic_int wakes;
    int64_t now_ms;
};

static void gate_pass(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->entered++;
    pthread_cond_broadcast(&gate->changed);
    while (gate->open == 0) {
        pthread_cond_wait(&gate->changed, &gate->mutex);
    }
    gate->open--;
    pthread_mutex_unlock(&gate->mutex);
}

static void gate_await(struct gate *gate, int entered)
{
    pthread_mutex_lock(&gate->mutex);
    while (gate->entered < entered) {
        pthread_cond_wait(&gate->changed, &gate->mutex);
    }
    pthread_mutex_unlock(&gate->mutex);
}

static void gate_open(struct gate *gate, int count)
{
    pthread_mutex_lock(&gate->mutex);
    gate->open += count;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}

static enum backstep_outcome quick(struct backstep_context *context, struct backstep_result *result)
{
    for (int i = 1; i <= 1000; i++) {
        backstep_set_progress(context, i, 1000);
    }
    return backstep_succeed(result, "{\"attempt\": %d}", backstep_attempt(context));
}

static enum backstep_outcome gated(struct backstep_context *context, struct backstep_result *result)
{
    backstep_set_progress(context, 1, 2);
    backstep_set_metrics(context, "{\"half\": true}");
    gate_pass(backstep_state(context));
    backstep_set_progress(context, 2, 2);
    return backstep_fail(result, backstep_cancelled(context) ? "cancelled" : "of itself");
}

static enum backstep_outcome nothing(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_succeed(result, NULL);
}

static struct backstep_step quick_step = {.name = "quick", .execute = quick}, gated_step = {.name = "gated", .execute = gated},
                            nothing_step = {.name = "nothing", .execute = nothing};

static void count_wake(void *state)
{
    atomic_fetch_add((atomic_int *)state, 1);
}

/* As many that come together: the threads need not have heard of it yet. */
static void begin_one_of_many(struct stage *stage, uint64_t id, const struct backstep_step *step, bool confirm)
{
    stage->tasks[id] = (struct task){.run_id = {"run", 3}, .step = {"s", 1}, .attempt = 1, .confirm = confirm};
    runner_begin(stage->runner, &(struct runner_task){id, &stage->tasks[id], step});
}

static void begin(struct stage *stage, uint64_t id, const struct backstep_step *step, bool confirm)
{
    begin_one_of_many(stage, id, step, confirm);
    runner_due_ms(stage->runner); /* as the worker asks when all that came has begun */
}

/* The next report, whenever it comes. */
static struct runner_report next(struct stage *stage)
{
    struct runner_report report;
    while (!runner_poll(stage->runner, stage->now_ms, &report)) {
        runner_wait(stage->runner, 1000);
    }
    return report;
}

static void expect_done(struct stage *stage, uint64_t id, enum outcome outcome)
{
    struct runner_report report = next(stage);
    assert_int_equal(report.kind, RUNNER_DONE);
    assert_int_equal(report.id, id);
    assert_int_equal(report.attempt.outcome, outcome);
    attempt_fini(&report.attempt);
}

static int set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    struct error error = {0};
    pthread_mutex_init(&stage->gate.mutex, NULL);
    pthread_cond_init(&stage->gate.changed, NULL);
    gated_step.state = &stage->gate;
    stage->now_ms = clock_monotonic_ms();
    stage->pool = pool_new(2, NULL, &error);
    stage->runner = pool_runner(stage->pool);
    runner_set_wake(stage->runner, count_wake, &stage->wakes);
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    gate_open(&stage->gate, 64);
    pool_free(stage->pool);
    pthread_cond_destroy(&stage->gate.changed);
    pthread_mutex_destroy(&stage->gate.mutex);
    free(stage);
    return 0;
}

static void a_fast_step_costs_one_report(void **state)
{
    struct stage *stage = *state;
    struct runner_report report;
    begin(stage, 1, &quick_step, false);
    expect_done(stage, 1, OUTCOME_OK);
    assert_false(runner_poll(stage->runner, stage->now_ms, &report));
    assert_int_equal(runner_due_ms(stage->runner), INT64_MAX);
    assert_true(atomic_load(&stage->wakes) >= 1);
}

static void a_slow_step_is_started_then_progresses_then_ends(void **state)
{
    struct stage *stage = *state;
    begin(stage, 1, &gated_step, false);
    gate_await(&stage->gate, 1);
    assert_true(runner_due_ms(stage->runner) < INT64_MAX);
    stage->now_ms += 10000; /* long after RUNNER_STARTED_MS */
    assert_int_equal(next(stage).kind, RUNNER_STARTED);
    struct runner_report report = next(stage);
    assert_int_equal(report.kind, RUNNER_PROGRESSED);
    assert_int_equal(report.current, 1);
    assert_string_equal(report.metrics, "{\"half\":true}");
    free(report.metrics);
    gate_open(&stage->gate, 1);
    report = next(stage); /* the last, though it comes too soon after the one before */
    assert_int_equal(report.kind, RUNNER_PROGRESSED);
    assert_int_equal(report.current, 2);
    assert_null(report.metrics);
    expect_done(stage, 1, OUTCOME_FAILED);
}

static void what_is_queued_can_be_taken_back(void **state)
{
    struct stage *stage = *state;
    begin(stage, 1, &gated_step, false);
    begin(stage, 2, &gated_step, false);
    gate_await(&stage->gate, 2);
    begin(stage, 3, &gated_step, false);
    assert_false(runner_withdraw(stage->runner, 1));
    assert_true(runner_cancel(stage->runner, 3));
    assert_false(runner_cancel(stage->runner, 2));
    gate_open(&stage->gate, 2);
    int outcomes[3] = {-1, -1, -1};
    for (int ended = 0; ended < 2;) {
        struct runner_report report = next(stage);
        if (report.kind == RUNNER_DONE) {
            outcomes[report.id] = (int)report.attempt.outcome;
            ended++;
        }
        free(report.metrics);
        attempt_fini(&report.attempt);
    }
    assert_int_equal(outcomes[1], OUTCOME_FAILED);
    assert_int_equal(outcomes[2], OUTCOME_CANCELLED_STARTED);
}

/* Take what the next job that ends has to say, until it is done. */
static void take_end(struct stage *stage)
{
    bool done = false;
    while (!done) {
        struct runner_report report = next(stage);
        done = report.kind == RUNNER_DONE;
        free(report.metrics);
        attempt_fini(&report.attempt);
    }
}

static void while_much_is_queued_ends_wait_for_others_and_wake_nobody(void **state)
{
    struct stage *stage = *state;
    struct runner_report report;
    assert_false(runner_poll(stage->runner, clock_monotonic_ms() + 60000, &report)); /* nobody looks for what has started before */
    for (uint64_t id = 1; id <= 60; id++) {
        begin(stage, id, &gated_step, false);
    }
    gate_await(&stage->gate, 2);
    for (int64_t from_ms = clock_monotonic_ms(); clock_monotonic_ms() - from_ms < 20;) {
        sched_yield(); /* a job that takes no time is not waited for, nor for longer than what is queued takes */
    }
    int64_t opened_ms = clock_monotonic_ms();
    gate_open(&stage->gate, 1);
    gate_await(&stage->gate, 3); /* one has ended */
    assert_int_equal(atomic_load(&stage->wakes), 0);
    int64_t due_ms = runner_due_ms(stage->runner);
    assert_in_range(due_ms, opened_ms + 1, clock_monotonic_ms() + 20);

    for (uint64_t id = 60; atomic_load(&stage->wakes) == 0; id--) {
        assert_true(id > 3 && runner_withdraw(stage->runner, id)); /* little is left: now somebody is to know */
    }
    assert_true(runner_due_ms(stage->runner) <= stage->now_ms);
    take_end(stage);
}

static void an_end_that_has_waited_long_enough_wakes_with_those_after_it(void **state)
{
    struct stage *stage = *state;
    for (uint64_t id = 1; id <= 60; id++) {
        begin(stage, id, &gated_step, false);
    }
    gate_await(&stage->gate, 2);
    for (int64_t from_ms = clock_monotonic_ms(); clock_monotonic_ms() - from_ms < 20;) {
        sched_yield();
    }
    gate_open(&stage->gate, 1);
    gate_await(&stage->gate, 3);
    for (int64_t from_ms = clock_monotonic_ms(); clock_monotonic_ms() - from_ms < 25;) {
        sched_yield();
    }
    gate_open(&stage->gate, 1);
    gate_await(&stage->gate, 4);
    assert_int_equal(atomic_load(&stage->wakes), 1);
    take_end(stage);
    take_end(stage);
}

static void with_confirm_nothing_runs_before_it_may(void **state)
{
    struct stage *stage = *state;
    begin(stage, 1, &gated_step, true);
    struct runner_report report = next(stage);
    assert_int_equal(report.kind, RUNNER_WAITS);
    assert_int_equal(stage->gate.entered, 0);
    runner_go(stage->runner, 1);
    gate_await(&stage->gate, 1);
    begin(stage, 2, &gated_step, true);
    assert_int_equal(next(stage).kind, RUNNER_WAITS);
    assert_true(runner_cancel(stage->runner, 2)); /* it had not begun */
    runner_go(stage->runner, 2);
    gate_open(&stage->gate, 1);
    report = next(stage);
    assert_int_equal(report.kind, RUNNER_PROGRESSED);
    free(report.metrics);
    expect_done(stage, 1, OUTCOME_FAILED);
}

static bool never_begin(void *state, const struct backstep_step *step)
{
    (void)state;
    (void)step;
    return false;
}

static void never_end(void *state, const struct backstep_step *step)
{
    (void)state;
    (void)step;
    fail();
}

static void past_the_lease_nothing_is_called(void **state)
{
    struct stage *stage = *state;
    struct error error = {0};
    pool_free(stage->pool);
    stage->pool = pool_new(1, &(struct pool_guard){.begin = never_begin, .end = never_end}, &error);
    stage->runner = pool_runner(stage->pool);
    begin(stage, 1, &gated_step, false);
    expect_done(stage, 1, OUTCOME_CANCELLED_NOT_STARTED);
    assert_int_equal(stage->gate.entered, 0);
}

static void none_of_many_that_come_together_is_forgotten(void **state)
{
    struct stage *stage = *state;
    bool seen[256] = {0};
    for (uint64_t id = 1; id <= 200; id++) {
        begin_one_of_many(stage, id, &quick_step, false);
    }
    for (uint64_t id = 201; id <= 203; id++) {
        begin_one_of_many(stage, id, &gated_step, false);
    }
    assert_true(runner_withdraw(stage->runner, 203)); /* two threads: this one cannot run yet */
    gate_open(&stage->gate, 2);
    for (int left = 202; left > 0; left--) {
        struct runner_report report = next(stage);
        left += report.kind != RUNNER_DONE;
        seen[report.id] = true;
        free(report.metrics);
        attempt_fini(&report.attempt);
    }
    for (uint64_t id = 1; id <= 202; id++) {
        assert_true(seen[id]);
    }
    assert_false(seen[203]);
}

/* As the worker does, on its clock. */
static void take_ends(struct stage *stage, int count)
{
    int64_t until_ms = clock_monotonic_ms() + 10000;
    struct runner_report report;
    while (count > 0) {
        int64_t now_ms = clock_monotonic_ms();
        assert_true(now_ms < until_ms);
        if (runner_poll(stage->runner, now_ms, &report)) {
            count -= report.kind == RUNNER_DONE;
            free(report.metrics);
            attempt_fini(&report.attempt);
        } else {
            int64_t due_ms = runner_due_ms(stage->runner);
            runner_wait(stage->runner, due_ms <= now_ms ? 0 : due_ms - now_ms < 1000 ? (int)(due_ms - now_ms) : 1000);
        }
    }
}

/* Where jobs have taken no time so far, one thread is woken for all of them. */
static void a_long_job_does_not_keep_short_ones_waiting(void **state)
{
    struct stage *stage = *state;
    for (uint64_t id = 1; id <= 100; id++) {
        begin_one_of_many(stage, id, &nothing_step, false);
    }
    take_ends(stage, 100);
    begin_one_of_many(stage, 101, &gated_step, false);
    for (uint64_t id = 102; id <= 110; id++) {
        begin_one_of_many(stage, id, &nothing_step, false);
    }
    take_ends(stage, 9);
    gate_open(&stage->gate, 1);
    take_ends(stage, 1);
}

static _Atomic pid_t ran_on;

static enum backstep_outcome tell_thread(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    atomic_store(&ran_on, gettid());
    return backstep_succeed(result, NULL);
}

static struct backstep_step telling_step = {.name = "telling", .execute = tell_thread};

/* Begin three jobs, and take them back. Returns how many were kept. */
static uint32_t try_to_keep(struct stage *stage)
{
    for (uint64_t id = 200; id < 203; id++) {
        begin_one_of_many(stage, id, &nothing_step, false);
    }
    runner_due_ms(stage->runner);
    uint32_t count = pool_kept(stage->pool);
    for (uint64_t id = 200; id < 203; id++) {
        take_ends(stage, runner_withdraw(stage->runner, id) ? 0 : 1);
    }
    return count;
}

/* From now on the pool keeps, and knows that steps take no time. One that has to wait for a processor takes some, and it has to forget that. */
static void begin_keeping(struct stage *stage)
{
    pool_keep(stage->pool, true);
    while (try_to_keep(stage) < 3) {
        for (uint64_t id = 200; id < 250; id++) {
            begin_one_of_many(stage, id, &nothing_step, false);
        }
        pool_keep(stage->pool, false);
        take_ends(stage, 50);
        pool_keep(stage->pool, true);
    }
}

static void short_jobs_are_kept_for_who_asks(void **state)
{
    struct stage *stage = *state;
    struct runner_report report;
    begin(stage, 1, &telling_step, false);
    assert_int_equal(pool_kept(stage->pool), 0); /* nobody has asked for that */
    take_ends(stage, 1);
    begin_keeping(stage);
    for (uint64_t id = 2; id <= 4; id++) {
        begin(stage, id, &telling_step, false);
    }
    atomic_store(&ran_on, 0);
    assert_true(runner_due_ms(stage->runner) <= clock_monotonic_ms());
    assert_false(runner_poll(stage->runner, clock_monotonic_ms(), &report));
    assert_int_equal(pool_kept(stage->pool), 3);
    assert_int_equal(pool_kept(stage->pool), 0);
    atomic_store(&stage->wakes, 0);
    pool_work(stage->pool, 3);
    assert_int_equal(atomic_load(&ran_on), gettid());
    assert_int_equal(atomic_load(&stage->wakes), 0); /* for whom? */
    assert_true(runner_due_ms(stage->runner) <= clock_monotonic_ms());
    expect_done(stage, 2, OUTCOME_OK);
    expect_done(stage, 3, OUTCOME_OK);
    expect_done(stage, 4, OUTCOME_OK);
}

static void what_is_kept_can_be_taken_back(void **state)
{
    struct stage *stage = *state;
    begin_keeping(stage);
    begin(stage, 1, &telling_step, false);
    assert_int_equal(pool_kept(stage->pool), 1); /* and queued by that, for nobody but who asked */
    assert_true(runner_withdraw(stage->runner, 1));
    atomic_store(&ran_on, 0);
    pool_work(stage->pool, 1);
    assert_int_equal(atomic_load(&ran_on), 0);
}

/* Of which nobody knows how long it takes, or where others run, or where its Started has to be acknowledged first. */
static void what_may_wait_is_not_kept(void **state)
{
    struct stage *stage = *state;
    pool_keep(stage->pool, true);
    begin(stage, 1, &nothing_step, false);
    assert_int_equal(pool_kept(stage->pool), 0);
    take_ends(stage, 1);
    begin_keeping(stage);
    begin(stage, 1, &nothing_step, true);
    assert_int_equal(pool_kept(stage->pool), 0);
    assert_int_equal(next(stage).kind, RUNNER_WAITS);
    begin(stage, 2, &telling_step, false);
    assert_int_equal(pool_kept(stage->pool), 0);
    take_ends(stage, 1);
    runner_go(stage->runner, 1);
    take_ends(stage, 1);
    begin_keeping(stage);
    begin(stage, 3, &telling_step, false);
    assert_int_equal(pool_kept(stage->pool), 1);
    pool_work(stage->pool, 1);
    take_ends(stage, 1);
}

static void *work_on_one(void *state)
{
    pool_work(state, 1);
    return NULL;
}

/* One thread: with who lends a hand there are two, and never do both run a step. */
static void who_lends_a_hand_takes_a_slot(void **state)
{
    struct stage *stage = *state;
    struct error error = {0};
    pthread_t hand;
    pool_free(stage->pool);
    stage->pool = pool_new(1, NULL, &error);
    stage->runner = pool_runner(stage->pool);
    begin_keeping(stage);
    begin(stage, 1, &gated_step, false);
    assert_int_equal(pool_kept(stage->pool), 1);
    pool_keep(stage->pool, false);
    assert_int_equal(pthread_create(&hand, NULL, work_on_one, stage->pool), 0);
    gate_await(&stage->gate, 1);
    begin(stage, 2, &telling_step, false);
    for (int64_t from_ms = clock_monotonic_ms(); clock_monotonic_ms() - from_ms < 20;) {
        sched_yield();
    }
    assert_true(runner_withdraw(stage->runner, 2)); /* though the thread is idle, and has been woken */
    begin(stage, 3, &telling_step, false);
    gate_open(&stage->gate, 1);
    take_ends(stage, 2);
    pthread_join(hand, NULL);
}

static void the_end_of_the_pool_takes_back_what_waits(void **state)
{
    struct stage *stage = *state;
    for (uint64_t id = 1; id <= 10; id++) {
        begin(stage, id, &gated_step, id % 2 == 0);
    }
}

#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_STAGE(a_fast_step_costs_one_report),
        ON_STAGE(a_slow_step_is_started_then_progresses_then_ends),
        ON_STAGE(what_is_queued_can_be_taken_back),
        ON_STAGE(while_much_is_queued_ends_wait_for_others_and_wake_nobody),
        ON_STAGE(an_end_that_has_waited_long_enough_wakes_with_those_after_it),
        ON_STAGE(with_confirm_nothing_runs_before_it_may),
        ON_STAGE(past_the_lease_nothing_is_called),
        ON_STAGE(none_of_many_that_come_together_is_forgotten),
        ON_STAGE(a_long_job_does_not_keep_short_ones_waiting),
        ON_STAGE(short_jobs_are_kept_for_who_asks),
        ON_STAGE(what_is_kept_can_be_taken_back),
        ON_STAGE(what_may_wait_is_not_kept),
        ON_STAGE(who_lends_a_hand_takes_a_slot),
        ON_STAGE(the_end_of_the_pool_takes_back_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
