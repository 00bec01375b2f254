/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's loop on virtual time: a memory bus, a coordinator played by hand, and a runner that does what it is told. */
#include "common/bus_memory.h"
#include "common/messages.h"
#include "common/topics.h"
#include "worker/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
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
    message.progress_partition = PARTITION;
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
