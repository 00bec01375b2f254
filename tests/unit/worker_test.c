/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's loop on virtual time: a memory bus, a coordinator played by hand, and a runner that does what it is told. */
#include "common/bus_memory.h"
#include "common/limits.h"
#include "common/messages.h"
#include "common/topics.h"
#include "worker/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEASE_MS 10000
#define HOURS_MS (3 * 3600 * 1000)
#define EPOCH 7
#define PARTITION 1
#define JOBS_MAX 16

/* ---------------------------------------------------------------- a runner that is told what happens */

enum script_state { SCRIPT_NONE, SCRIPT_QUEUED, SCRIPT_RUNS };

struct script {
    struct runner runner; /* first */
    struct {
        enum script_state state;
        uint64_t id;
        const struct task *task;
        bool confirm, gone, cancelled;
    } jobs[JOBS_MAX];
    struct runner_report reports[JOBS_MAX];
    size_t report_count, report_next;
    int64_t due_ms; /* until when reports may wait */
};

static struct script *script_of(struct runner *runner)
{
    return (struct script *)runner;
}

static void script_begin(struct runner *runner, const struct runner_task *task)
{
    struct script *script = script_of(runner);
    size_t at = 0;
    while (script->jobs[at].state != SCRIPT_NONE) {
        at++;
    }
    assert_true(at < JOBS_MAX);
    script->jobs[at].state = SCRIPT_QUEUED;
    script->jobs[at].id = task->id;
    script->jobs[at].task = task->task;
    script->jobs[at].confirm = task->task->confirm;
}

static size_t script_find(const struct script *script, uint64_t id)
{
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (script->jobs[i].state != SCRIPT_NONE && script->jobs[i].id == id) {
            return i;
        }
    }
    fail_msg("no job %d", (int)id);
    return 0;
}

static void script_go(struct runner *runner, uint64_t id)
{
    struct script *script = script_of(runner);
    script->jobs[script_find(script, id)].state = SCRIPT_RUNS;
}

static bool script_withdraw(struct runner *runner, uint64_t id)
{
    struct script *script = script_of(runner);
    size_t at = script_find(script, id);
    if (script->jobs[at].state != SCRIPT_QUEUED) {
        return false;
    }
    memset(&script->jobs[at], 0, sizeof script->jobs[at]);
    return true;
}

static bool script_cancel(struct runner *runner, uint64_t id)
{
    struct script *script = script_of(runner);
    if (script_withdraw(runner, id)) {
        return true;
    }
    script->jobs[script_find(script, id)].cancelled = true;
    return false;
}

static bool script_poll(struct runner *runner, int64_t now_ms, struct runner_report *report)
{
    struct script *script = script_of(runner);
    (void)now_ms;
    if (script->report_next == script->report_count) {
        script->report_next = script->report_count = 0;
        return false;
    }
    *report = script->reports[script->report_next++];
    return true;
}

static int64_t script_due_ms(struct runner *runner)
{
    return script_of(runner)->due_ms;
}

static void script_wait(struct runner *runner, int timeout_ms)
{
    (void)runner;
    (void)timeout_ms;
}

static void script_set_wake(struct runner *runner, void (*wake)(void *state), void *state)
{
    (void)runner;
    (void)wake;
    (void)state;
}

static const struct runner_operations script_operations = {script_begin, script_go,     script_withdraw, script_cancel,
                                                           script_poll,  script_due_ms, script_wait,     script_set_wake};

/* ---------------------------------------------------------------- the stage */

struct stage {
    struct memory_cluster *cluster;
    struct bus *bus;
    struct script script;
    struct backstep_registry *registry;
    struct worker *worker;
    struct incarnation incarnation; /* of the last Hello */
    int32_t task_partition;
    int64_t read; /* of progress PARTITION: what next_event() has passed */
    unsigned char last_random;
    struct error error;
};

static struct stage *random_stage;

static void counted_random(void *bytes, size_t size)
{
    memset(bytes, ++random_stage->last_random, size);
}

static int64_t stage_now(void *clock)
{
    return memory_cluster_time(clock);
}

static enum backstep_outcome nothing(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_succeed(result, NULL);
}

static const struct backstep_step copy_step = {.name = "copy", .execute = nothing};

static struct message last_presence(struct stage *stage)
{
    struct memory_record record;
    struct message message = {0};
    int64_t end = memory_cluster_end(stage->cluster, "t.workers", 0);
    assert_true(end > 0);
    assert_true(memory_cluster_record(stage->cluster, "t.workers", 0, end - 1, &record));
    assert_true(message_decode(&message, TOPIC_WORKERS, record.key, record.value, &stage->error));
    return message;
}

static void expect_draining(struct stage *stage)
{
    struct message heartbeat = last_presence(stage);
    assert_true(heartbeat.presence.draining);
    message_free(&heartbeat);
}

static void expect_bye(struct stage *stage)
{
    struct message bye = last_presence(stage);
    assert_int_equal(bye.kind, MESSAGE_BYE);
    message_free(&bye);
}

static enum worker_state step(struct stage *stage)
{
    enum worker_state state = WORKER_WORKING;
    for (int i = 0; i < 4 && state == WORKER_WORKING; i++) {
        state = worker_step(stage->worker, 0, &stage->error);
    }
    return state;
}

static enum worker_state step_at(struct stage *stage, int64_t now_ms)
{
    memory_cluster_set_time(stage->cluster, now_ms);
    return step(stage);
}

static void greet(struct stage *stage)
{
    assert_true(worker_begin(stage->worker, stage->bus, &stage->error));
    assert_int_equal(step(stage), WORKER_WORKING);
    struct message hello = last_presence(stage);
    assert_int_equal(hello.kind, MESSAGE_HELLO);
    stage->incarnation = hello.presence.incarnation;
    stage->task_partition = (int32_t)hello.presence.partition;
    message_free(&hello);
}

static int set_up_for(void **state, uint32_t max_tasks)
{
    struct stage *stage = calloc(1, sizeof *stage);
    random_stage = stage;
    stage->cluster = memory_cluster_new(1);
    memory_cluster_create_topic(stage->cluster, "t.progress", 4);
    stage->bus = bus_memory_open(stage->cluster);
    stage->script.runner.operations = &script_operations;
    stage->registry = backstep_registry_new();
    backstep_register(stage->registry, &copy_step);
    struct worker_options options = {.id = "worker-1",
                                     .queue = "default",
                                     .prefix = "t",
                                     .version = "0",
                                     .host = "here",
                                     .slots = 2,
                                     .lease_ms = LEASE_MS,
                                     .drain_timeout_ms = 5000,
                                     .cancel_grace_ms = 1000,
                                     .max_tasks = max_tasks,
                                     .task_partitions = 3,
                                     .handlers = stage->registry,
                                     .runner = &stage->script.runner,
                                     .monotonic_ms = stage_now,
                                     .boottime_ms = stage_now,
                                     .clock = stage->cluster,
                                     .random = counted_random};
    stage->worker = worker_new(&options);
    greet(stage);
    *state = stage;
    return 0;
}

static int set_up(void **state)
{
    return set_up_for(state, 0);
}

static int set_up_for_two_tasks(void **state)
{
    return set_up_for(state, 2);
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    worker_free(stage->worker);
    bus_close(stage->bus);
    memory_cluster_free(stage->cluster);
    backstep_registry_free(stage->registry);
    free(stage);
    return 0;
}

static void send(struct stage *stage, struct message message)
{
    struct text bytes;
    text_init(&bytes, SIZE_MAX / 2);
    message.incarnation = stage->incarnation;
    message.progress_partition = message.progress_partition > 0 ? message.progress_partition : PARTITION;
    assert_true(message_encode(&message, &bytes, &stage->error));
    memory_cluster_append(stage->cluster, "t.tasks.default", stage->task_partition, span_of("worker-1"), text_span(&bytes));
    text_fini(&bytes);
}

static void welcome(struct stage *stage, int64_t epoch)
{
    send(stage, (struct message){.kind = MESSAGE_WELCOME, .epoch = epoch, .coordinator = span_of("c")});
    assert_int_equal(step(stage), WORKER_WORKING);
}

static struct message task_of(const char *run_id, const char *handler)
{
    return (struct message){.kind = MESSAGE_TASK,
                            .epoch = EPOCH,
                            .task = {.run_id = span_of(run_id),
                                     .pipeline = span_of("p"),
                                     .step = span_of("Copy it"),
                                     .handler = span_of(handler),
                                     .attempt = 1,
                                     .ticket = {.number = 1}}};
}

static void task(struct stage *stage, const char *run_id)
{
    send(stage, task_of(run_id, "copy"));
    assert_int_equal(step(stage), WORKER_WORKING);
}

static void cancel(struct stage *stage, const char *run_id)
{
    send(stage, (struct message){.kind = MESSAGE_CANCEL_TASK,
                                 .epoch = EPOCH,
                                 .event = {.run_id = span_of(run_id), .ticket = {.number = 1}}});
    assert_int_equal(step(stage), WORKER_WORKING);
}

static void runs(struct stage *stage, uint64_t id)
{
    stage->script.jobs[script_find(&stage->script, id)].state = SCRIPT_RUNS;
}

static void report(struct stage *stage, enum runner_report_kind kind, uint64_t id)
{
    stage->script.reports[stage->script.report_count++] = (struct runner_report){.kind = kind, .id = id, .duration_us = 50000};
}

static void ends(struct stage *stage, uint64_t id, enum outcome outcome)
{
    report(stage, RUNNER_DONE, id);
    stage->script.reports[stage->script.report_count - 1].attempt.outcome = outcome;
    memset(&stage->script.jobs[script_find(&stage->script, id)], 0, sizeof stage->script.jobs[0]);
}

/* The next event on PARTITION; MESSAGE_NONE: there is none. The caller owes message_free(). */
static struct message next_event(struct stage *stage)
{
    struct memory_record record;
    struct message message = {0};
    if (stage->read == memory_cluster_end(stage->cluster, "t.progress", PARTITION)) {
        return message;
    }
    assert_true(memory_cluster_record(stage->cluster, "t.progress", PARTITION, stage->read++, &record));
    assert_true(message_decode(&message, TOPIC_PROGRESS, record.key, record.value, &stage->error));
    assert_true(span_equal(record.type, span_of(message_type(message.kind))));
    return message;
}

static void expect(struct stage *stage, enum message_kind kind)
{
    struct message message = next_event(stage);
    assert_string_equal(message_type(message.kind), message_type(kind));
    message_free(&message);
}

static void expect_done(struct stage *stage, const char *run_id, enum outcome outcome)
{
    struct message message = next_event(stage);
    assert_int_equal(message.kind, MESSAGE_DONE);
    assert_true(span_equal(message.event.run_id, span_of(run_id)));
    assert_int_equal(message.event.outcome, outcome);
    message_free(&message);
}

static void expect_nothing(struct stage *stage)
{
    struct message message = next_event(stage);
    assert_int_equal(message.kind, MESSAGE_NONE);
}

static void expect_refused(struct stage *stage, enum refused_reason reason)
{
    struct message message = next_event(stage);
    assert_int_equal(message.kind, MESSAGE_REFUSED);
    assert_int_equal(message.refused, reason);
    message_free(&message);
}

static void expect_holding(struct stage *stage, size_t count)
{
    struct message message = next_event(stage);
    assert_int_equal(message.kind, MESSAGE_HOLDING);
    assert_int_equal(message.held_count, count);
    assert_memory_equal(message.incarnation.bytes, stage->incarnation.bytes, INCARNATION_BYTES);
    message_free(&message);
}

static void ready(struct stage *stage)
{
    welcome(stage, EPOCH);
    expect_holding(stage, 0);
}

/* ---------------------------------------------------------------- what it does */

static void it_says_hello_with_its_handlers_and_its_partition(void **state)
{
    struct stage *stage = *state;
    struct message hello = last_presence(stage);
    assert_int_equal(hello.presence.handler_count, 3);
    assert_true(span_equal(hello.presence.handlers[0], span_of("copy")));
    assert_true(span_equal(hello.presence.handlers[1], span_of("backstep.validate"))); /* these without anybody's word */
    assert_true(span_equal(hello.presence.handlers[2], span_of("backstep.scope")));
    assert_int_equal(hello.presence.slots, 2);
    assert_int_equal(hello.presence.window, 2);
    assert_int_equal(hello.presence.lease_ms, LEASE_MS);
    assert_int_equal(hello.presence.partition, bus_partition_of(span_of("worker-1"), 3));
    assert_int_equal(hello.presence.sequence, 1);
    message_free(&hello);
}

static void a_task_is_run_once_the_welcome_is_answered(void **state)
{
    struct stage *stage = *state;
    task(stage, "run-1");
    assert_int_equal(worker_load(stage->worker), 0); /* no Holding yet: fenced */
    ready(stage);
    task(stage, "run-1");
    assert_int_equal(worker_load(stage->worker), 1);
    ends(stage, 1, OUTCOME_OK);
    assert_int_equal(step(stage), WORKER_WORKING);
    expect_done(stage, "run-1", OUTCOME_OK);
    expect_nothing(stage);
    assert_int_equal(worker_load(stage->worker), 0);
}

static void an_end_that_may_wait_for_others_is_taken_with_them(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    int64_t now_ms = memory_cluster_time(stage->cluster);
    stage->script.due_ms = now_ms + 5;
    ends(stage, 1, OUTCOME_OK);
    assert_int_equal(step(stage), WORKER_WORKING);
    expect_nothing(stage);
    assert_int_equal(step_at(stage, now_ms + 5), WORKER_WORKING);
    expect_done(stage, "run-1", OUTCOME_OK);
}

static void an_end_that_waits_for_others_is_said_though_the_lease_is_over(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    stage->script.due_ms = INT64_MAX;
    ends(stage, 1, OUTCOME_OK);
    assert_int_equal(step(stage), WORKER_WORKING);
    expect_nothing(stage);
    assert_int_equal(step_at(stage, memory_cluster_time(stage->cluster) + 2 * LEASE_MS), WORKER_NEW_INCARNATION);
    greet(stage);
    expect_done(stage, "run-1", OUTCOME_OK);
}

static void holding_names_what_is_here(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    task(stage, "run-2");
    ends(stage, 1, OUTCOME_OK);
    step(stage);
    welcome(stage, EPOCH + 1);
    expect_done(stage, "run-1", OUTCOME_OK);
    expect_holding(stage, 1);
}

static void a_task_of_an_older_epoch_is_skipped(void **state)
{
    struct stage *stage = *state;
    welcome(stage, EPOCH + 1);
    expect_holding(stage, 0);
    task(stage, "run-1");
    expect_nothing(stage);
    assert_int_equal(worker_counts(stage->worker)->skipped_fenced, 1);
}

static void what_it_does_not_serve_and_what_is_too_much_is_refused(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    send(stage, task_of("run-1", "paste"));
    step(stage);
    expect_refused(stage, REFUSED_UNKNOWN);
    task(stage, "run-1");
    task(stage, "run-2");
    task(stage, "run-3");
    expect_refused(stage, REFUSED_BUSY);
    assert_int_equal(worker_load(stage->worker), 2);
}

static void a_key_that_is_here_is_not_run_twice(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    task(stage, "run-1");
    assert_int_equal(worker_load(stage->worker), 1);
    assert_int_equal(worker_counts(stage->worker)->skipped_key_held, 1);
}

static void a_cancel_takes_out_what_is_queued(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    cancel(stage, "run-1");
    expect_done(stage, "run-1", OUTCOME_CANCELLED_NOT_STARTED);
    cancel(stage, "run-1"); /* its end is in the log */
    expect_nothing(stage);
}

static void a_cancel_of_what_runs_waits_for_its_end(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    runs(stage, 1);
    cancel(stage, "run-1");
    expect_nothing(stage);
    assert_true(stage->script.jobs[0].cancelled);
    ends(stage, 1, OUTCOME_CANCELLED_STARTED);
    step(stage);
    expect_done(stage, "run-1", OUTCOME_CANCELLED_STARTED);
}

static void with_confirm_nothing_begins_before_started_is_acknowledged(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    struct message message = task_of("run-1", "copy");
    message.task.confirm = true;
    send(stage, message);
    step(stage);
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){.send_delay_ms = 100, .report_delay_ms = 100});
    report(stage, RUNNER_WAITS, 1);
    step(stage);
    assert_int_equal(stage->script.jobs[0].state, SCRIPT_QUEUED);
    step_at(stage, memory_cluster_time(stage->cluster) + 300);
    assert_int_equal(stage->script.jobs[0].state, SCRIPT_RUNS);
    expect(stage, MESSAGE_STARTED);
}

static void started_and_progress_go_out_in_order(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    runs(stage, 1);
    report(stage, RUNNER_STARTED, 1);
    report(stage, RUNNER_PROGRESSED, 1);
    stage->script.reports[1].current = 3;
    stage->script.reports[1].total = 4;
    stage->script.reports[1].metrics = strdup("{\"rate\":7}");
    ends(stage, 1, OUTCOME_FAILED);
    step(stage);
    expect(stage, MESSAGE_STARTED);
    struct message progress = next_event(stage);
    assert_int_equal(progress.event.current, 3);
    assert_int_equal(progress.event.total, 4);
    assert_true(span_equal(progress.event.metrics, span_of("{\"rate\":7}")));
    message_free(&progress);
    expect_done(stage, "run-1", OUTCOME_FAILED);
}

static void heartbeats_renew_the_lease(void **state)
{
    struct stage *stage = *state;
    for (int64_t at = 1; at < 5 * LEASE_MS; at += LEASE_MS / 4) {
        assert_int_equal(step_at(stage, at), WORKER_WORKING);
    }
    struct message heartbeat = last_presence(stage);
    assert_int_equal(heartbeat.kind, MESSAGE_HEARTBEAT);
    assert_true(heartbeat.presence.sequence >= 19);
    message_free(&heartbeat);
}

static void a_step_of_hours_is_held_all_the_time(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    runs(stage, 1);
    for (int64_t at = 1; at < HOURS_MS; at += LEASE_MS / 4) {
        assert_int_equal(step_at(stage, at), WORKER_WORKING);
    }
    assert_int_equal(worker_load(stage->worker), 1);
    assert_false(stage->script.jobs[1].cancelled);
    ends(stage, 1, OUTCOME_OK);
    assert_int_equal(step(stage), WORKER_WORKING);
    expect_done(stage, "run-1", OUTCOME_OK);
    assert_int_equal(worker_counts(stage->worker)->incarnations, 1);
}

/* Reports are held back, as by a broker that has gone away. */
static void silence(struct stage *stage)
{
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){.send_delay_ms = 0, .report_delay_ms = 1000000});
}

static void without_acknowledgements_the_incarnation_ends_after_a_lease(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    task(stage, "run-2");
    runs(stage, 2);
    silence(stage);
    assert_int_equal(step_at(stage, LEASE_MS / 2), WORKER_WORKING);
    assert_int_equal(step_at(stage, LEASE_MS + 1), WORKER_WORKING); /* run-2 has still to end */
    assert_int_equal(worker_load(stage->worker), 1);                /* run-1 was dropped */
    assert_true(stage->script.jobs[1].cancelled);
    expect_nothing(stage);
    ends(stage, 2, OUTCOME_OK);
    assert_int_equal(step(stage), WORKER_NEW_INCARNATION);
    expect_nothing(stage); /* it ended after the incarnation: nobody is told */
    struct incarnation before = stage->incarnation;
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){0});
    greet(stage);
    assert_memory_not_equal(before.bytes, stage->incarnation.bytes, INCARNATION_BYTES);
    task(stage, "run-3");
    assert_int_equal(worker_load(stage->worker), 0); /* the new life has answered no Welcome yet */
}

static void an_acknowledgement_after_the_end_changes_nothing(void **state)
{
    struct stage *stage = *state;
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){.report_delay_ms = 1000000});
    memory_cluster_set_time(stage->cluster, LEASE_MS / 4 + 1);
    step(stage);
    assert_int_equal(step_at(stage, 2000000), WORKER_NEW_INCARNATION); /* all reports are there now, and all too late */
    assert_non_null(strstr(stage->error.message, "lease"));
}

static void what_had_finished_is_delivered_whatever_happens(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    runs(stage, 1);
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){.loss_ppm = 1000000});
    ends(stage, 1, OUTCOME_OK);
    assert_int_equal(step(stage), WORKER_FATAL);
    worker_leave_bus(stage->worker);
    bus_close(stage->bus);
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){0});
    stage->bus = bus_memory_open(stage->cluster);
    stage->read = memory_cluster_end(stage->cluster, "t.progress", PARTITION); /* whether the lost one arrived is chance */
    greet(stage);
    expect_done(stage, "run-1", OUTCOME_OK);
}

/* As long as no broker answers none begins, and then what it has still to say is older than a lease. */
static void what_is_still_to_be_said_does_not_end_the_next_incarnation(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    runs(stage, 1);
    silence(stage);
    ends(stage, 1, OUTCOME_OK);
    assert_int_equal(step(stage), WORKER_WORKING);
    assert_int_equal(step_at(stage, LEASE_MS + 1), WORKER_NEW_INCARNATION);
    assert_true(worker_unsaid(stage->worker) > 0);
    memory_cluster_set_time(stage->cluster, 3 * LEASE_MS);
    greet(stage);
    assert_int_equal(step_at(stage, 3 * LEASE_MS + LEASE_MS / 2), WORKER_WORKING);
}

static void a_program_lost_with_its_guard_gets_no_done(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    task(stage, "run-2");
    task(stage, "run-3");
    expect_refused(stage, REFUSED_BUSY);
    runs(stage, 1);
    ends(stage, 1, OUTCOME_FAILED);
    stage->script.reports[0].attempt.lost = true;
    assert_int_equal(step(stage), WORKER_NEW_INCARNATION);
    assert_non_null(strstr(stage->error.message, "lost with the guard"));
    expect_nothing(stage);
    assert_int_equal(worker_load(stage->worker), 0);
}

static void what_ended_before_the_lease_is_still_said(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    ends(stage, 1, OUTCOME_OK);
    assert_int_equal(step_at(stage, LEASE_MS + 1), WORKER_NEW_INCARNATION);
    assert_non_null(strstr(stage->error.message, "the lease is over"));
    greet(stage);
    expect_done(stage, "run-1", OUTCOME_OK);
}

static void garbage_on_its_partition_goes_to_the_dead_letters(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    memory_cluster_append(stage->cluster, "t.tasks.default", stage->task_partition, span_of("anybody"), span_of("\xff\xff garbage"));
    memory_cluster_append(stage->cluster, "t.tasks.default", (stage->task_partition + 1) % 3, span_of("x"), span_of("not ours"));
    task(stage, "run-1");
    assert_int_equal(worker_load(stage->worker), 1);
    assert_int_equal(worker_counts(stage->worker)->dead_letters, 1);
    struct memory_record record = {0};
    for (int32_t partition = 0; partition < 64 && record.value.size == 0; partition++) {
        if (memory_cluster_end(stage->cluster, "t.dead-letter", partition) > 0) {
            assert_true(memory_cluster_record(stage->cluster, "t.dead-letter", partition, 0, &record));
        }
    }
    assert_true(span_equal(record.value, span_of("\xff\xff garbage")));
    assert_int_equal(record.header_count, 4);
    assert_string_equal(record.headers[0].name, "__dlq.errors.topic");
    assert_true(span_equal(record.headers[0].value, span_of("t.tasks.default")));
    assert_string_equal(record.headers[2].name, "__dlq.errors.offset");
}

static void a_drain_gives_back_what_waits_and_lets_end_what_runs(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    task(stage, "run-2");
    runs(stage, 1);
    report(stage, RUNNER_STARTED, 1);
    step(stage);
    expect(stage, MESSAGE_STARTED);
    worker_drain(stage->worker);
    assert_int_equal(step(stage), WORKER_WORKING);
    expect_done(stage, "run-2", OUTCOME_CANCELLED_NOT_STARTED);
    expect_draining(stage);
    task(stage, "run-3");
    expect_refused(stage, REFUSED_BUSY);
    ends(stage, 1, OUTCOME_OK);
    assert_int_equal(step(stage), WORKER_DRAINED);
    expect_done(stage, "run-1", OUTCOME_OK);
    expect_bye(stage);
}

static void a_drain_cancels_what_takes_too_long(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    runs(stage, 1);
    report(stage, RUNNER_STARTED, 1);
    step(stage);
    worker_drain(stage->worker);
    assert_int_equal(step_at(stage, 3000), WORKER_WORKING);
    assert_false(stage->script.jobs[0].cancelled);
    assert_int_equal(step_at(stage, 5002), WORKER_WORKING);
    assert_true(stage->script.jobs[0].cancelled);
    ends(stage, 1, OUTCOME_CANCELLED_STARTED);
    assert_int_equal(step(stage), WORKER_DRAINED);
    expect(stage, MESSAGE_STARTED);
    expect_done(stage, "run-1", OUTCOME_CANCELLED_STARTED);
}

static void after_its_last_task_it_leaves(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    task(stage, "run-2");
    task(stage, "run-3"); /* its third, and it was to have two */
    expect_refused(stage, REFUSED_BUSY);
    expect_draining(stage);
    int64_t begun_ms = memory_cluster_time(stage->cluster);
    for (int64_t i = 1; i <= 24; i++) { /* longer than a drain: nobody asked it to hurry */
        assert_int_equal(step_at(stage, begun_ms + i * LEASE_MS / 8), WORKER_WORKING);
    }
    ends(stage, 1, OUTCOME_OK);
    assert_int_equal(step(stage), WORKER_WORKING);
    expect_done(stage, "run-1", OUTCOME_OK);
    ends(stage, 2, OUTCOME_OK);
    assert_int_equal(step(stage), WORKER_DRAINED);
    expect_done(stage, "run-2", OUTCOME_OK);
    expect_bye(stage);
}

static void who_leaves_after_its_last_task_may_be_asked_to_hurry(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    task(stage, "run-2");
    runs(stage, 1);
    report(stage, RUNNER_STARTED, 1);
    step(stage);
    expect(stage, MESSAGE_STARTED);
    worker_drain(stage->worker);
    step(stage);
    expect_done(stage, "run-2", OUTCOME_CANCELLED_NOT_STARTED);
    assert_int_equal(step_at(stage, 3000), WORKER_WORKING);
    assert_false(stage->script.jobs[0].cancelled);
    assert_int_equal(step_at(stage, 5002), WORKER_WORKING);
    assert_true(stage->script.jobs[0].cancelled);
}

static void fast_steps_widen_the_window(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    task(stage, "run-1");
    ends(stage, 1, OUTCOME_OK);
    stage->script.reports[0].duration_us = 200;
    step(stage);
    assert_int_equal(step_at(stage, 1000), WORKER_WORKING);
    struct message heartbeat = last_presence(stage);
    assert_int_equal(heartbeat.presence.window, 402);
    message_free(&heartbeat);
}

static void what_was_announced_is_taken_though_steps_get_slower(void **state)
{
    struct stage *stage = *state;
    fast_steps_widen_the_window(state);
    expect_done(stage, "run-1", OUTCOME_OK);
    task(stage, "run-2");
    ends(stage, 2, OUTCOME_OK);
    stage->script.reports[0].duration_us = 60000000;
    step(stage);
    expect_done(stage, "run-2", OUTCOME_OK);
    task(stage, "run-3");
    task(stage, "run-4");
    task(stage, "run-5");
    expect_nothing(stage);
    assert_int_equal(worker_load(stage->worker), 3);
}

/* ---------------------------------------------------------------- what was sent ahead */

#define ROW_MAX 20

/* Step `index` of run-1, behind the one before it. What those before it have done is not known yet. */
static struct message ahead_of(uint32_t index, bool more_behind)
{
    static char names[ROW_MAX][8];
    static struct step_result results[ROW_MAX];
    static const struct span set = {"{\"y\":0}", 7};
    struct message message = task_of("run-1", "copy");
    for (uint32_t i = 0; i <= index; i++) {
        snprintf(names[i], sizeof names[i], "s%u", i);
        results[i] = (struct step_result){.step = span_of(names[i]), .pending = true};
    }
    message.task.step = span_of(names[index]);
    message.task.ticket.step = index;
    message.task.after = (struct ticket){.step = index - 1, .number = index > 0};
    message.task.more_behind = more_behind;
    message.task.results = results;
    message.task.result_count = index;
    message.task.sets = &set;
    message.task.set_count = 1;
    return message;
}

static void come(struct stage *stage, struct message message)
{
    send(stage, message);
    assert_int_equal(step(stage), WORKER_WORKING);
}

static void come_ahead(struct stage *stage, uint32_t index, bool more_behind)
{
    come(stage, ahead_of(index, more_behind));
}

static void come_in_a_row(struct stage *stage, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        come_ahead(stage, i, i + 1 < count);
    }
}

/* What the runner has. */
static uint32_t begun(const struct stage *stage)
{
    uint32_t count = 0;
    for (size_t i = 0; i < JOBS_MAX; i++) {
        count += stage->script.jobs[i].state != SCRIPT_NONE;
    }
    return count;
}

/* Of all that has begun the last; nothing else may be there. */
static const struct task *begun_alone(const struct stage *stage, uint64_t id)
{
    assert_int_equal(begun(stage), 1);
    return stage->script.jobs[script_find(&stage->script, id)].task;
}

static void succeeds(struct stage *stage, uint64_t id, const char *data, const char *set)
{
    ends(stage, id, OUTCOME_OK);
    struct attempt *attempt = &stage->script.reports[stage->script.report_count - 1].attempt;
    stage->script.reports[stage->script.report_count - 1].duration_us = 60000000; /* the window stays as it is */
    attempt->data = data != NULL ? strdup(data) : NULL;
    attempt->set = set != NULL ? strdup(set) : NULL;
    assert_int_equal(step(stage), WORKER_WORKING);
}

static void fails_with(struct stage *stage, uint64_t id, enum outcome outcome)
{
    ends(stage, id, outcome);
    assert_int_equal(step(stage), WORKER_WORKING);
}

static void expect_end(struct stage *stage, uint32_t index, enum outcome outcome)
{
    struct message message = next_event(stage);
    assert_int_equal(message.kind, MESSAGE_DONE);
    assert_int_equal(message.event.ticket.step, index);
    assert_int_equal(message.event.outcome, outcome);
    message_free(&message);
}

static void hold_back(struct stage *stage, uint32_t index)
{
    struct message message = {.kind = MESSAGE_CANCEL_TASK, .epoch = EPOCH, .cancel_reason = CANCEL_AHEAD};
    message.event.run_id = span_of("run-1");
    message.event.ticket = (struct ticket){.step = index, .number = 1};
    come(stage, message);
}

/* Acknowledgements come up to so much later, and so what is said in the log is not known to stand there. */
#define LATE_MS 1000

static void acknowledge_late(struct stage *stage)
{
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){.report_delay_ms = LATE_MS});
}

static void all_is_acknowledged(struct stage *stage)
{
    assert_int_equal(step_at(stage, memory_cluster_time(stage->cluster) + LATE_MS + 1), WORKER_WORKING);
}

static void hello_says_that_it_takes_tasks_ahead(void **state)
{
    struct stage *stage = *state;
    struct message hello = last_presence(stage);
    assert_true(hello.presence.takes_ahead);
    message_free(&hello);
}

static void who_counts_its_tasks_takes_none_ahead(void **state)
{
    struct stage *stage = *state;
    struct message hello = last_presence(stage);
    assert_false(hello.presence.takes_ahead);
    message_free(&hello);
}

static void a_row_begins_one_after_another_when_each_end_stands_in_the_log(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 3);
    acknowledge_late(stage);
    for (uint32_t i = 0; i < 3; i++) {
        begun_alone(stage, i + 1);
        assert_int_equal(worker_load(stage->worker), 1); /* what waits takes no slot */
        succeeds(stage, i + 1, NULL, NULL);
        expect_end(stage, i, OUTCOME_OK);
        assert_int_equal(begun(stage), 0); /* said, and not known to stand there */
        all_is_acknowledged(stage);
    }
    assert_int_equal(begun(stage), 0);
    assert_int_equal(worker_load(stage->worker), 0);
    assert_int_equal(worker_counts(stage->worker)->tasks, 3);
    expect_nothing(stage);
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){0});
}

static void expect_result(const struct task *task, size_t index, const char *data)
{
    assert_false(task->results[index].pending);
    assert_true(task->results[index].success);
    assert_true(span_equal(task->results[index].data, span_of(data)));
}

static void it_knows_what_those_before_it_have_done(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 4);
    succeeds(stage, 1, "{\"n\":1}", "{\"x\":1}");
    const struct task *second = begun_alone(stage, 2);
    expect_result(second, 0, "{\"n\":1}");
    assert_int_equal(second->set_count, 2);
    assert_true(span_equal(second->sets[0], span_of("{\"y\":0}"))); /* as it came */
    assert_true(span_equal(second->sets[1], span_of("{\"x\":1}")));
    succeeds(stage, 2, "2", NULL);
    const struct task *third = begun_alone(stage, 3);
    expect_result(third, 0, "{\"n\":1}");
    expect_result(third, 1, "2");
    assert_int_equal(third->set_count, 2);
    succeeds(stage, 3, NULL, "{\"z\":3}");
    const struct task *fourth = begun_alone(stage, 4);
    expect_result(fourth, 1, "2");
    expect_result(fourth, 2, "");
    assert_int_equal(fourth->set_count, 3);
    assert_true(span_equal(fourth->sets[2], span_of("{\"z\":3}")));
}

static void any_other_end_drops_the_rest_without_a_word(void **state)
{
    struct stage *stage = *state;
    static const enum outcome outcomes[] = {OUTCOME_FAILED, OUTCOME_CANCELLED_STARTED};
    ready(stage);
    for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++) {
        come_in_a_row(stage, 3);
        fails_with(stage, 1 + 3 * i, outcomes[i]); /* each task has the next id */
        expect_end(stage, 0, outcomes[i]);
        expect_nothing(stage);
        assert_int_equal(begun(stage), 0);
        welcome(stage, EPOCH);
        expect_holding(stage, 0);
    }
}

static void behind_what_was_skipped_it_goes_on(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 3);
    acknowledge_late(stage);
    fails_with(stage, 1, OUTCOME_SKIPPED);
    expect_end(stage, 0, OUTCOME_SKIPPED);
    assert_int_equal(begun(stage), 0);
    all_is_acknowledged(stage);
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){0});
    const struct task *second = begun_alone(stage, 2);
    assert_true(second->results[0].skipped && !second->results[0].success && !second->results[0].pending);
    assert_int_equal(second->set_count, 1);
    succeeds(stage, 2, "2", NULL);
    const struct task *third = begun_alone(stage, 3);
    assert_true(third->results[0].skipped && !third->results[0].success);
    expect_result(third, 1, "2");
}

static void what_is_skipped_may_await_more(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_ahead(stage, 0, true);
    fails_with(stage, 1, OUTCOME_SKIPPED);
    expect_end(stage, 0, OUTCOME_SKIPPED);
    come_ahead(stage, 1, false);
    const struct task *second = begun_alone(stage, 2);
    assert_true(second->results[0].skipped && !second->results[0].success && !second->results[0].pending);
}

static void what_is_taken_out_takes_those_behind_it_along(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 3);
    cancel(stage, "run-1"); /* its first step */
    expect_end(stage, 0, OUTCOME_CANCELLED_NOT_STARTED);
    expect_nothing(stage);
    welcome(stage, EPOCH);
    expect_holding(stage, 0);
}

static void what_waits_is_held_back_and_what_is_before_it_goes_on(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 4);
    runs(stage, 1);
    hold_back(stage, 0);
    expect_nothing(stage);
    assert_false(stage->script.jobs[0].cancelled);
    hold_back(stage, 2);
    expect_end(stage, 2, OUTCOME_CANCELLED_NOT_STARTED);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    begun_alone(stage, 2);
    succeeds(stage, 2, NULL, NULL);
    expect_end(stage, 1, OUTCOME_OK);
    expect_nothing(stage);
    assert_int_equal(begun(stage), 0);
    come_ahead(stage, 2, false); /* nobody was awaited any more */
    expect_end(stage, 2, OUTCOME_CANCELLED_NOT_STARTED);
}

static void what_is_queued_is_held_back_too(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 2);
    hold_back(stage, 0);
    expect_end(stage, 0, OUTCOME_CANCELLED_NOT_STARTED);
    expect_nothing(stage);
    assert_int_equal(begun(stage), 0);
}

static void what_was_sent_ahead_may_come_after_the_end(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_ahead(stage, 0, true);
    succeeds(stage, 1, "1", "{\"x\":1}");
    expect_end(stage, 0, OUTCOME_OK);
    assert_int_equal(worker_load(stage->worker), 0);
    come_ahead(stage, 1, true);
    const struct task *second = begun_alone(stage, 2);
    expect_result(second, 0, "1");
    assert_int_equal(second->set_count, 2);
    succeeds(stage, 2, "2", NULL);
    expect_end(stage, 1, OUTCOME_OK);
    come_ahead(stage, 2, false);
    const struct task *third = begun_alone(stage, 3);
    expect_result(third, 0, "1");
    expect_result(third, 1, "2");
    succeeds(stage, 3, NULL, NULL);
    expect_end(stage, 2, OUTCOME_OK);
    come_ahead(stage, 3, false); /* behind the last one was to be none */
    expect_end(stage, 3, OUTCOME_CANCELLED_NOT_STARTED);
    expect_nothing(stage);
}

static void it_waits_for_the_acknowledgement_then_too(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_ahead(stage, 0, true);
    acknowledge_late(stage);
    succeeds(stage, 1, NULL, NULL);
    come_ahead(stage, 1, false);
    assert_int_equal(begun(stage), 0);
    all_is_acknowledged(stage);
    begun_alone(stage, 2);
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){0});
}

static void what_nobody_awaits_is_given_back(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_ahead(stage, 0, false);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    come_ahead(stage, 1, false);
    expect_end(stage, 1, OUTCOME_CANCELLED_NOT_STARTED);
    assert_int_equal(begun(stage), 0);
    come_ahead(stage, 0, true);
    fails_with(stage, 2, OUTCOME_FAILED); /* awaited or not */
    expect_end(stage, 0, OUTCOME_FAILED);
    come_ahead(stage, 1, false);
    expect_end(stage, 1, OUTCOME_CANCELLED_NOT_STARTED);
    expect_nothing(stage);
}

static void behind_one_may_be_one(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 2);
    struct message another = ahead_of(2, false);
    another.task.after = (struct ticket){.number = 1};
    come(stage, another);
    expect_end(stage, 2, OUTCOME_CANCELLED_NOT_STARTED);
    another = ahead_of(2, false);
    another.task.after = (struct ticket){.number = 1};
    another.task.handler = span_of("paste");
    come(stage, another);
    expect_refused(stage, REFUSED_UNKNOWN);
    succeeds(stage, 1, NULL, NULL);
    begun_alone(stage, 2);
}

static void a_drain_gives_back_what_was_sent_ahead(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 3);
    runs(stage, 1);
    report(stage, RUNNER_STARTED, 1);
    step(stage);
    expect(stage, MESSAGE_STARTED);
    worker_drain(stage->worker);
    assert_int_equal(step(stage), WORKER_WORKING);
    expect_end(stage, 1, OUTCOME_CANCELLED_NOT_STARTED);
    expect_end(stage, 2, OUTCOME_CANCELLED_NOT_STARTED);
    ends(stage, 1, OUTCOME_OK);
    assert_int_equal(step(stage), WORKER_DRAINED);
    expect_end(stage, 0, OUTCOME_OK);
    expect_nothing(stage);
    assert_int_equal(begun(stage), 0);
    expect_bye(stage);
}

static void a_drain_waits_for_nobody_who_is_to_come(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_ahead(stage, 0, true);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    worker_drain(stage->worker);
    assert_int_equal(step(stage), WORKER_DRAINED);
    expect_nothing(stage);
}

static char *json_of_size(size_t size)
{
    char *json = malloc(size + 1);
    memset(json, '7', size);
    json[size] = '\0';
    return json;
}

static void behind_a_large_result_all_is_given_back(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 3);
    char *data = json_of_size(LIMIT_AHEAD_RESULT_BYTES - 1);
    succeeds(stage, 1, data, "7");
    expect_end(stage, 0, OUTCOME_OK);
    begun_alone(stage, 2); /* just small enough */
    succeeds(stage, 2, data, "77");
    free(data);
    expect_end(stage, 2, OUTCOME_CANCELLED_NOT_STARTED);
    expect_end(stage, 1, OUTCOME_OK);
    expect_nothing(stage);
    assert_int_equal(begun(stage), 0);
    welcome(stage, EPOCH);
    expect_holding(stage, 0);
}

static void behind_a_large_result_nobody_is_awaited(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_ahead(stage, 0, true);
    char *data = json_of_size(LIMIT_AHEAD_RESULT_BYTES + 1);
    succeeds(stage, 1, data, NULL);
    free(data);
    expect_end(stage, 0, OUTCOME_OK);
    come_ahead(stage, 1, false);
    expect_end(stage, 1, OUTCOME_CANCELLED_NOT_STARTED);
}

static void holding_names_what_waits_and_whether_more_was_to_come(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 3);
    welcome(stage, EPOCH + 1);
    struct message message = next_event(stage);
    assert_int_equal(message.kind, MESSAGE_HOLDING);
    assert_int_equal(message.held_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(message.held[i].ticket.step, i);
        assert_int_equal(message.held[i].ticket.number, 1);
        assert_int_equal(message.held[i].more_behind, i < 2);
    }
    message_free(&message);
    succeeds(stage, 1, NULL, NULL); /* and it goes on as before */
    expect_end(stage, 0, OUTCOME_OK);
    begun_alone(stage, 2);
}

static void behind_the_last_that_is_left_no_more_is_to_come(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 2);
    hold_back(stage, 1);
    expect_end(stage, 1, OUTCOME_CANCELLED_NOT_STARTED);
    welcome(stage, EPOCH + 1);
    struct message message = next_event(stage);
    assert_int_equal(message.held_count, 1);
    assert_false(message.held[0].more_behind);
    message_free(&message);
}

static void holding_does_not_name_what_has_ended(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 2);
    acknowledge_late(stage);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    welcome(stage, EPOCH + 1);
    struct message message = next_event(stage);
    assert_int_equal(message.kind, MESSAGE_HOLDING);
    assert_int_equal(message.held_count, 1);
    assert_int_equal(message.held[0].ticket.step, 1);
    message_free(&message);
    all_is_acknowledged(stage);
    begun_alone(stage, 2);
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){0});
}

/* Of EPOCH + 1: what its owner sends behind a ticket that it did not send itself finds nobody. */
static void expect_forgotten(struct stage *stage)
{
    struct message late = ahead_of(1, false);
    late.epoch = EPOCH + 1;
    come(stage, late);
    expect_end(stage, 1, OUTCOME_CANCELLED_NOT_STARTED);
    expect_nothing(stage);
    assert_int_equal(begun(stage), 0);
}

static void a_newer_owner_sends_nothing_behind_what_has_ended(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_ahead(stage, 0, true);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    welcome(stage, EPOCH + 1);
    expect_holding(stage, 0);
    expect_forgotten(stage);
}

static void nor_behind_an_end_that_is_not_acknowledged_yet(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_ahead(stage, 0, true);
    acknowledge_late(stage);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    welcome(stage, EPOCH + 1);
    expect_holding(stage, 0);
    all_is_acknowledged(stage);
    expect_forgotten(stage);
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){0});
}

static void nor_behind_what_ends_later(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_ahead(stage, 0, true);
    for (int64_t epoch = EPOCH + 1; epoch < EPOCH + 3; epoch++) { /* each new owner is told that something may have been sent behind it */
        welcome(stage, epoch);
        struct message message = next_event(stage);
        assert_int_equal(message.held_count, 1);
        assert_true(message.held[0].more_behind);
        message_free(&message);
    }
    welcome(stage, EPOCH + 2);
    expect_holding(stage, 1);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    struct message late = ahead_of(1, false);
    late.epoch = EPOCH + 2;
    come(stage, late);
    expect_end(stage, 1, OUTCOME_CANCELLED_NOT_STARTED);
}

static void the_owner_of_another_partition_has_no_say_in_it(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_ahead(stage, 0, true);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    come(stage, (struct message){.kind = MESSAGE_WELCOME, .epoch = EPOCH + 1, .progress_partition = PARTITION + 1,
                                 .coordinator = span_of("c")});
    expect_nothing(stage);
    come_ahead(stage, 1, false);
    begun_alone(stage, 2);
}

static void what_waits_is_dropped_with_the_incarnation(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 3);
    runs(stage, 1);
    silence(stage);
    assert_int_equal(step_at(stage, LEASE_MS + 1), WORKER_WORKING); /* the first has still to end */
    ends(stage, 1, OUTCOME_OK);
    assert_int_equal(step(stage), WORKER_NEW_INCARNATION);
    expect_nothing(stage);
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){0});
    greet(stage);
    assert_int_equal(begun(stage), 0);
    ready(stage);
}

static void an_end_that_is_acknowledged_after_the_lease_begins_nothing(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 2);
    silence(stage);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    assert_int_equal(step_at(stage, 2000000), WORKER_NEW_INCARNATION); /* all reports are there now, and all too late */
    assert_int_equal(begun(stage), 0);
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){0});
    greet(stage);
    assert_int_equal(begun(stage), 0);
}

static void behind_what_was_refused_nobody_is_awaited(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_ahead(stage, 0, true);
    struct message unknown = ahead_of(1, true);
    unknown.task.handler = span_of("paste");
    come(stage, unknown);
    expect_refused(stage, REFUSED_UNKNOWN);
    come_ahead(stage, 2, false);
    expect_end(stage, 2, OUTCOME_CANCELLED_NOT_STARTED);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    come_ahead(stage, 1, false);
    expect_end(stage, 1, OUTCOME_CANCELLED_NOT_STARTED);
}

static void who_was_refused_after_the_end_is_not_awaited_either(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_ahead(stage, 0, true);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    struct message unknown = ahead_of(1, false);
    unknown.task.handler = span_of("paste");
    come(stage, unknown);
    expect_refused(stage, REFUSED_UNKNOWN);
    come_ahead(stage, 1, false);
    expect_end(stage, 1, OUTCOME_CANCELLED_NOT_STARTED);
}

static void seven_times_the_window_may_wait(void **state)
{
    struct stage *stage = *state;
    enum { MOST = 2 * 7 };
    ready(stage);
    for (uint32_t turn = 0; turn < 2; turn++) { /* what is dropped makes room for others */
        come_in_a_row(stage, 1 + MOST);
        expect_nothing(stage);
        come_ahead(stage, 1 + MOST, true);
        expect_end(stage, 1 + MOST, OUTCOME_CANCELLED_NOT_STARTED);
        cancel(stage, "run-1");
        expect_end(stage, 0, OUTCOME_CANCELLED_NOT_STARTED);
    }
}

static void what_was_too_much_is_not_awaited(void **state)
{
    struct stage *stage = *state;
    enum { MOST = 2 * 7 };
    ready(stage);
    for (uint32_t i = 0; i <= MOST + 1; i++) {
        come_ahead(stage, i, true);
    }
    expect_end(stage, MOST + 1, OUTCOME_CANCELLED_NOT_STARTED);
    for (uint32_t i = 0; i <= MOST; i++) {
        succeeds(stage, i + 1, NULL, NULL);
        expect_end(stage, i, OUTCOME_OK);
    }
    come_ahead(stage, MOST + 1, false);
    expect_end(stage, MOST + 1, OUTCOME_CANCELLED_NOT_STARTED);
}

/* Whether something may come behind that run's first step, which has ended, and begins. */
static bool is_awaited(struct stage *stage, const char *run_id)
{
    struct message behind = ahead_of(1, false);
    uint32_t before = begun(stage);
    behind.task.run_id = span_of(run_id);
    come(stage, behind);
    if (begun(stage) > before) {
        return true;
    }
    expect_end(stage, 1, OUTCOME_CANCELLED_NOT_STARTED);
    return false;
}

static void end_with_more_to_come(struct stage *stage, const char *run_id, uint64_t id)
{
    struct message message = task_of(run_id, "copy");
    message.task.more_behind = true;
    come(stage, message);
    succeeds(stage, id, NULL, NULL);
    expect_done(stage, run_id, OUTCOME_OK);
}

static void who_awaits_many_awaits_no_more(void **state)
{
    struct stage *stage = *state;
    enum { MOST = 2 * 7 };
    char run_id[16];
    ready(stage);
    for (uint32_t i = 0; i <= MOST; i++) {
        snprintf(run_id, sizeof run_id, "run-%u", 100 + i);
        end_with_more_to_come(stage, run_id, i + 1);
    }
    assert_false(is_awaited(stage, "run-100")); /* there is no room for one more; and then it is forgotten */
    assert_true(is_awaited(stage, "run-101"));
    assert_false(is_awaited(stage, run_id)); /* the last was forgotten at once */
}

static void a_welcome_makes_room_for_others(void **state)
{
    struct stage *stage = *state;
    enum { MOST = 2 * 7 };
    char run_id[16];
    ready(stage);
    for (uint32_t i = 0; i < MOST; i++) {
        snprintf(run_id, sizeof run_id, "run-%u", 100 + i);
        end_with_more_to_come(stage, run_id, i + 1);
    }
    welcome(stage, EPOCH); /* what comes behind those would stand before it */
    expect_holding(stage, 0);
    end_with_more_to_come(stage, "run-1", MOST + 1);
    assert_true(is_awaited(stage, "run-1"));
}

/* Its result was refused, and it is to be done again: its owner has read its end, and counts on what is behind it. */
static void the_next_ticket_of_what_has_ended_lets_begin_what_waits(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 2);
    acknowledge_late(stage);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    struct message again = ahead_of(0, false);
    again.task.ticket.number = 2;
    come(stage, again);
    assert_int_equal(begun(stage), 2);
    succeeds(stage, 2, NULL, NULL);
    expect_end(stage, 1, OUTCOME_OK);
    succeeds(stage, 3, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    all_is_acknowledged(stage);
    assert_int_equal(worker_load(stage->worker), 0);
    memory_cluster_set_faults(stage->cluster, &(struct memory_faults){0});
}

static void what_is_not_served_any_more_is_refused_when_it_is_its_turn(void **state)
{
    struct stage *stage = *state;
    ready(stage);
    come_in_a_row(stage, 3);
    struct backstep_registry *others = backstep_registry_new();
    worker_set_handlers(stage->worker, others);
    succeeds(stage, 1, NULL, NULL);
    expect_end(stage, 0, OUTCOME_OK);
    expect_refused(stage, REFUSED_UNKNOWN);
    expect_nothing(stage);
    assert_int_equal(begun(stage), 0);
    worker_set_handlers(stage->worker, stage->registry);
    backstep_registry_free(others);
}

#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define FOR_TWO_TASKS(test) cmocka_unit_test_setup_teardown(test, set_up_for_two_tasks, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_STAGE(it_says_hello_with_its_handlers_and_its_partition),
        ON_STAGE(a_task_is_run_once_the_welcome_is_answered),
        ON_STAGE(an_end_that_may_wait_for_others_is_taken_with_them),
        ON_STAGE(an_end_that_waits_for_others_is_said_though_the_lease_is_over),
        ON_STAGE(holding_names_what_is_here),
        ON_STAGE(a_task_of_an_older_epoch_is_skipped),
        ON_STAGE(what_it_does_not_serve_and_what_is_too_much_is_refused),
        ON_STAGE(a_key_that_is_here_is_not_run_twice),
        ON_STAGE(a_cancel_takes_out_what_is_queued),
        ON_STAGE(a_cancel_of_what_runs_waits_for_its_end),
        ON_STAGE(with_confirm_nothing_begins_before_started_is_acknowledged),
        ON_STAGE(started_and_progress_go_out_in_order),
        ON_STAGE(heartbeats_renew_the_lease),
        ON_STAGE(a_step_of_hours_is_held_all_the_time),
        ON_STAGE(without_acknowledgements_the_incarnation_ends_after_a_lease),
        ON_STAGE(an_acknowledgement_after_the_end_changes_nothing),
        ON_STAGE(what_had_finished_is_delivered_whatever_happens),
        ON_STAGE(what_is_still_to_be_said_does_not_end_the_next_incarnation),
        ON_STAGE(a_program_lost_with_its_guard_gets_no_done),
        ON_STAGE(what_ended_before_the_lease_is_still_said),
        ON_STAGE(garbage_on_its_partition_goes_to_the_dead_letters),
        ON_STAGE(a_drain_gives_back_what_waits_and_lets_end_what_runs),
        ON_STAGE(a_drain_cancels_what_takes_too_long),
        FOR_TWO_TASKS(after_its_last_task_it_leaves),
        FOR_TWO_TASKS(who_leaves_after_its_last_task_may_be_asked_to_hurry),
        ON_STAGE(fast_steps_widen_the_window),
        ON_STAGE(what_was_announced_is_taken_though_steps_get_slower),
        ON_STAGE(hello_says_that_it_takes_tasks_ahead),
        FOR_TWO_TASKS(who_counts_its_tasks_takes_none_ahead),
        ON_STAGE(a_row_begins_one_after_another_when_each_end_stands_in_the_log),
        ON_STAGE(it_knows_what_those_before_it_have_done),
        ON_STAGE(any_other_end_drops_the_rest_without_a_word),
        ON_STAGE(behind_what_was_skipped_it_goes_on),
        ON_STAGE(what_is_skipped_may_await_more),
        ON_STAGE(what_is_taken_out_takes_those_behind_it_along),
        ON_STAGE(what_waits_is_held_back_and_what_is_before_it_goes_on),
        ON_STAGE(what_is_queued_is_held_back_too),
        ON_STAGE(what_was_sent_ahead_may_come_after_the_end),
        ON_STAGE(it_waits_for_the_acknowledgement_then_too),
        ON_STAGE(what_nobody_awaits_is_given_back),
        ON_STAGE(behind_one_may_be_one),
        ON_STAGE(a_drain_gives_back_what_was_sent_ahead),
        ON_STAGE(a_drain_waits_for_nobody_who_is_to_come),
        ON_STAGE(behind_a_large_result_all_is_given_back),
        ON_STAGE(behind_a_large_result_nobody_is_awaited),
        ON_STAGE(holding_names_what_waits_and_whether_more_was_to_come),
        ON_STAGE(behind_the_last_that_is_left_no_more_is_to_come),
        ON_STAGE(holding_does_not_name_what_has_ended),
        ON_STAGE(a_newer_owner_sends_nothing_behind_what_has_ended),
        ON_STAGE(nor_behind_an_end_that_is_not_acknowledged_yet),
        ON_STAGE(nor_behind_what_ends_later),
        ON_STAGE(the_owner_of_another_partition_has_no_say_in_it),
        ON_STAGE(what_waits_is_dropped_with_the_incarnation),
        ON_STAGE(an_end_that_is_acknowledged_after_the_lease_begins_nothing),
        ON_STAGE(behind_what_was_refused_nobody_is_awaited),
        ON_STAGE(who_was_refused_after_the_end_is_not_awaited_either),
        ON_STAGE(seven_times_the_window_may_wait),
        ON_STAGE(what_was_too_much_is_not_awaited),
        ON_STAGE(who_awaits_many_awaits_no_more),
        ON_STAGE(a_welcome_makes_room_for_others),
        ON_STAGE(the_next_ticket_of_what_has_ended_lets_begin_what_waits),
        ON_STAGE(what_is_not_served_any_more_is_refused_when_it_is_its_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
