/* SPDX-License-Identifier: Apache-2.0 */
/* Two hundred workers on one queue, on virtual time: the shipped coordinator and two hundred of the shipped worker's loop, which come, leave
 * and are killed while thousands of runs are under way. Every run ends; what is executed again is what a killed worker had begun, and
 * nothing else; the work is spread over all of them.
 *
 *     SIM_SEED=17 build/dev/tests/simulation_many_workers */
#include "common/bus_memory.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/runs.h"
#include "coordinator/service/service.h"
#include "tests/simulation/chance.h"
#include "worker/worker.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <utlist.h>

#define MEMBERS 200
#define LIVES 1000 /* with those who came for others */
#define SLOTS 2u
#define LEASE_MS 4000
#define RUNS 2500
#define STEPS 3
#define TICK_MS 20
#define STARTED_BY_MS 7000 /* then all runs are under way, and more steps are ready than there are slots */
#define BLOW_MS 200        /* so often one is killed, and one is told to leave */
#define BLOWS_UNTIL_MS 14000
#define END_BY_MS 120000
#define PARTITIONS 4
#define PROGRESS "t.progress"

static struct world {
    struct memory_cluster *cluster;
    struct bus *service_bus;
    struct service *service;
    struct backstep_registry *registry;
    struct member *members[MEMBERS];
    uint32_t lives, killed, left;
    bool was_killed[LIVES], was_told_to_leave[LIVES];
    uint32_t executed_by[LIVES];
    int64_t came_ms[LIVES], went_ms[LIVES];
    uint8_t executed[RUNS][STEPS], excused[RUNS][STEPS]; /* how often; how often a killed worker had begun it */
    bool active[RUNS][STEPS];
    uint32_t held_by_killed, lost, missed, finished; /* missed: tickets that came to one that had left */
    int64_t read[PARTITIONS];
    struct runs *runs[PARTITIONS];
} world;

/* ---------------------------------------------------------------- a runner whose steps take their time, and nothing else */

enum stage { QUEUED, WAITS, RUNS_NOW };

struct job {
    struct job *prev, *next;
    struct runner_task given;
    enum stage stage;
    bool told_waits, told_started;
    int64_t begun_ms, ends_ms;
};

struct member {
    struct runner runner; /* first */
    struct job *jobs;     /* in the order of their arrival */
    uint32_t life;
    char id[16];
    bool draining;
    struct bus *bus;
    struct worker *worker;
};

static int64_t now_ms(void *clock)
{
    (void)clock;
    return memory_cluster_time(world.cluster);
}

static uint32_t run_of(const struct job *job)
{
    uint32_t run = RUNS;
    assert_int_equal(sscanf(job->given.task->run_id.bytes, "run-%u", &run), 1);
    assert_true(run < RUNS);
    return run;
}

static uint32_t step_of(const struct job *job)
{
    return job->given.task->ticket.step;
}

static void begin_job(struct member *member, struct job *job)
{
    bool *active = &world.active[run_of(job)][step_of(job)];
    assert_false(*active); /* no two executions of a step at once */
    *active = true;
    job->stage = RUNS_NOW;
    job->begun_ms = now_ms(NULL);
    job->ends_ms = job->begun_ms + 200 + below(800);
    world.executed[run_of(job)][step_of(job)]++;
    world.executed_by[member->life]++;
}

static void drop_job(struct member *member, struct job *job)
{
    DL_DELETE(member->jobs, job);
    free(job);
}

static void player_begin(struct runner *runner, const struct runner_task *task)
{
    struct member *member = (struct member *)runner;
    struct job *job = calloc(1, sizeof *job);
    job->given = *task;
    DL_APPEND(member->jobs, job);
}

static struct job *find_job(struct member *member, uint64_t id)
{
    struct job *job;
    DL_SEARCH_SCALAR(member->jobs, job, given.id, id);
    assert_non_null(job);
    return job;
}

static void player_go(struct runner *runner, uint64_t id)
{
    struct member *member = (struct member *)runner;
    begin_job(member, find_job(member, id));
}

static bool player_withdraw(struct runner *runner, uint64_t id)
{
    struct member *member = (struct member *)runner;
    struct job *job = find_job(member, id);
    if (job->stage == RUNS_NOW) {
        return false;
    }
    drop_job(member, job);
    return true;
}

static void fill_slots(struct member *member)
{
    uint32_t taken = 0;
    struct job *job;
    DL_FOREACH(member->jobs, job) {
        if (job->stage == QUEUED && taken < SLOTS) {
            job->stage = WAITS;
            if (!job->given.task->confirm) {
                begin_job(member, job);
            }
        }
        taken += job->stage != QUEUED;
    }
}

static bool report_job(struct member *member, struct job *job, int64_t at_ms, struct runner_report *report)
{
    *report = (struct runner_report){.id = job->given.id};
    if (job->stage == WAITS && !job->told_waits) {
        report->kind = RUNNER_WAITS;
        return job->told_waits = true;
    }
    if (job->stage != RUNS_NOW || at_ms < job->begun_ms + RUNNER_STARTED_MS) {
        return false;
    }
    if (!job->told_started) {
        report->kind = RUNNER_STARTED;
        return job->told_started = true;
    }
    if (at_ms < job->ends_ms) {
        return false;
    }
    report->kind = RUNNER_DONE;
    report->attempt.outcome = OUTCOME_OK;
    report->duration_us = (job->ends_ms - job->begun_ms) * 1000;
    world.active[run_of(job)][step_of(job)] = false;
    drop_job(member, job);
    return true;
}

static bool player_poll(struct runner *runner, int64_t at_ms, struct runner_report *report)
{
    struct member *member = (struct member *)runner;
    struct job *job, *next;
    fill_slots(member);
    DL_FOREACH_SAFE(member->jobs, job, next) {
        if (report_job(member, job, at_ms, report)) {
            return true;
        }
    }
    return false;
}

static int64_t player_due_ms(struct runner *runner)
{
    (void)runner;
    return 0; /* everybody is asked at every tick */
}

static void player_wait(struct runner *runner, int timeout_ms)
{
    (void)runner;
    (void)timeout_ms;
}

static void player_set_wake(struct runner *runner, void (*wake)(void *state), void *state)
{
    (void)runner;
    (void)wake;
    (void)state;
}

static const struct runner_operations player_operations = {player_begin, player_go,     player_withdraw, player_withdraw,
                                                           player_poll,  player_due_ms, player_wait,     player_set_wake};

/* ---------------------------------------------------------------- who comes and goes */

static void drawn_bytes(void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((unsigned char *)bytes)[i] = (unsigned char)below(256);
    }
}

static struct member *come(void)
{
    struct member *member = calloc(1, sizeof *member);
    struct error error = {0};
    assert_true(world.lives < LIVES);
    member->runner.operations = &player_operations;
    member->life = world.lives++;
    world.came_ms[member->life] = now_ms(NULL);
    world.went_ms[member->life] = INT64_MAX;
    snprintf(member->id, sizeof member->id, "w-%u", member->life);
    struct worker_options options = {.id = member->id,
                                     .queue = "default",
                                     .prefix = "t",
                                     .version = "0",
                                     .host = "here",
                                     .slots = SLOTS,
                                     .lease_ms = LEASE_MS,
                                     .drain_timeout_ms = 30000,
                                     .cancel_grace_ms = 1000,
                                     .handlers = world.registry,
                                     .runner = &member->runner,
                                     .monotonic_ms = now_ms,
                                     .boottime_ms = now_ms,
                                     .random = drawn_bytes};
    member->bus = bus_memory_open(world.cluster);
    member->worker = worker_new(&options);
    assert_true(worker_begin(member->worker, member->bus, &error));
    return member;
}

static void free_member(struct member *member)
{
    while (member->jobs != NULL) {
        drop_job(member, member->jobs);
    }
    worker_free(member->worker);
    bus_close(member->bus);
    world.went_ms[member->life] = now_ms(NULL);
    free(member);
}

/* All that ran in it dies with it. */
static void kill_member(struct member *member)
{
    struct job *job;
    DL_FOREACH(member->jobs, job) {
        world.held_by_killed++;
        if (job->stage == RUNS_NOW) {
            world.active[run_of(job)][step_of(job)] = false;
            world.excused[run_of(job)][step_of(job)]++;
        }
    }
    world.was_killed[member->life] = true;
    world.killed++;
    free_member(member);
}

static void strike(void)
{
    uint32_t victim = below(MEMBERS), leaver = below(MEMBERS);
    if (world.members[victim] != NULL) {
        kill_member(world.members[victim]);
        world.members[victim] = NULL;
    }
    if (world.members[leaver] != NULL && !world.members[leaver]->draining) {
        world.members[leaver]->draining = true;
        world.was_told_to_leave[world.members[leaver]->life] = true;
        worker_drain(world.members[leaver]->worker);
    }
}

/* ---------------------------------------------------------------- runs */

static enum backstep_outcome work(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_succeed(result, NULL);
}

static void start_run(uint32_t number)
{
    static const struct backstep_step handler = {.name = "work", .execute = work};
    static const uint32_t before[] = {0, 1};
    struct plan_step steps[STEPS];
    for (uint32_t i = 0; i < STEPS; i++) {
        static const char *const names[STEPS] = {"a", "b", "c"};
        steps[i] = (struct plan_step){.name = span_of(names[i]),
                                      .handler = span_of(handler.name),
                                      .queue = span_of("default"),
                                      .weight = 1,
                                      .needs = i > 0 ? &before[i - 1] : NULL,
                                      .needs_count = i > 0,
                                      .retry = PLAN_RETRY_DEFAULT};
    }
    struct plan plan = {.name = span_of("many"), .steps = steps, .step_count = STEPS};
    char run_id[16];
    snprintf(run_id, sizeof run_id, "run-%u", number);
    struct message message = {.kind = MESSAGE_START, .progress_partitions = PARTITIONS};
    message.event.plan = &plan;
    message.event.fold_version = SAGA_FOLD_VERSION;
    message.event.params = span_of("{}");
    drawn_bytes(message.event.request_id, sizeof message.event.request_id);
    struct text bytes;
    struct error error = {0};
    text_init(&bytes, LIMIT_RECORD_BYTES);
    assert_true(message_encode(&message, &bytes, &error));
    memory_cluster_append(world.cluster, PROGRESS, bus_partition_of(span_of(run_id), PARTITIONS), span_of(run_id), text_span(&bytes));
    text_fini(&bytes);
}

static void take_lost(const struct message *message)
{
    uint32_t life = LIVES;
    char worker[16];
    snprintf(worker, sizeof worker, "%.*s", SPAN_ARGS(message->event.worker));
    assert_int_equal(sscanf(worker, "w-%u", &life), 1);
    assert_true(life < world.lives);
    /* Nobody else is believed lost; but what was on its way to one that has left has to be ended, too. */
    assert_true(world.was_killed[life] || world.was_told_to_leave[life]);
    world.lost += world.was_killed[life];
    world.missed += !world.was_killed[life];
}

static void read_log(void)
{
    struct memory_record record;
    for (int32_t partition = 0; partition < PARTITIONS; partition++) {
        while (world.read[partition] < memory_cluster_end(world.cluster, PROGRESS, partition)) {
            struct message message = {0};
            struct error error;
            struct run *run;
            int64_t offset = world.read[partition]++;
            assert_true(memory_cluster_record(world.cluster, PROGRESS, partition, offset, &record));
            assert_true(message_decode(&message, TOPIC_PROGRESS, record.key, record.value, &error));
            assert_int_not_equal(runs_apply(world.runs[partition], &message, offset, record.time_ms, &run), RUNS_ALIEN);
            if (message.kind == MESSAGE_LOST) {
                take_lost(&message);
            }
            world.finished += message.kind == MESSAGE_RUN_FINISHED;
            message_free(&message);
        }
    }
}

/* ---------------------------------------------------------------- time */

static void step_members(void)
{
    for (uint32_t i = 0; i < MEMBERS; i++) {
        struct member *member = world.members[i];
        struct error error = {0};
        if (member == NULL) {
            if (below(10) == 0) {
                world.members[i] = come();
            }
            continue;
        }
        enum worker_state state = worker_step(member->worker, 0, &error);
        if (state == WORKER_DRAINED) {
            assert_true(member->draining && member->jobs == NULL);
            world.left++;
            free_member(member);
            world.members[i] = NULL;
        } else if (state != WORKER_WORKING) {
            fail_msg("%s", error.message);
        }
    }
}

static void step_service(void)
{
    struct error error = {0};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(service_step(world.service, 0, &error), SERVICE_WORKING);
    }
}

/* With more ready than there are slots everybody has work, but for the moment in which the next task is on its way. */
static void look_at_spread(void)
{
    uint32_t there = 0, idle = 0, load = 0;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        struct member *member = world.members[i];
        if (member != NULL && !member->draining && now_ms(NULL) - world.came_ms[member->life] > 1000) {
            uint32_t held = worker_load(member->worker);
            assert_true(held <= 2 * SLOTS + 1);
            there++;
            load += held;
            idle += held == 0;
        }
    }
    print_message("at %" PRId64 " ms: %u workers hold %u tasks, %u of them none\n", now_ms(NULL), there, load, idle);
    assert_true(there > MEMBERS * 3 / 4 && idle <= there / 10 && load >= there * SLOTS * 3 / 4);
}

static void begin(void)
{
    static const char *const topics[] = {"t.workers", "t.dead-letter"};
    struct error error = {0};
    world.cluster = memory_cluster_new(1 + below(1000000));
    memory_cluster_set_faults(world.cluster, &(struct memory_faults){.send_delay_ms = 15, .report_delay_ms = 5, .read_delay_ms = 15});
    memory_cluster_create_topic(world.cluster, PROGRESS, PARTITIONS);
    memory_cluster_create_topic(world.cluster, "t.tasks.default", 8);
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++) {
        memory_cluster_create_topic(world.cluster, topics[i], 1);
    }
    for (int32_t i = 0; i < PARTITIONS; i++) {
        world.runs[i] = runs_new(PARTITIONS);
    }
    world.registry = backstep_registry_new();
    static const struct backstep_step handler = {.name = "work", .execute = work};
    backstep_register(world.registry, &handler);
    struct service_options options = {
        .prefix = "t", .name = "c", .own_last = -1, .progress_partitions = PARTITIONS, .monotonic_ms = now_ms, .random = drawn_bytes};
    world.service_bus = bus_memory_open(world.cluster);
    world.service = service_new(world.service_bus, &options, &error);
    assert_non_null(world.service);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        world.members[i] = come();
    }
}

static void end(void)
{
    for (uint32_t i = 0; i < MEMBERS; i++) {
        if (world.members[i] != NULL) {
            free_member(world.members[i]);
        }
    }
    service_free(world.service);
    bus_close(world.service_bus);
    for (int32_t i = 0; i < PARTITIONS; i++) {
        runs_free(world.runs[i]);
    }
    backstep_registry_free(world.registry);
    memory_cluster_free(world.cluster);
}

static void play(void)
{
    uint32_t started = 0;
    for (int64_t at_ms = TICK_MS; world.finished < RUNS; at_ms += TICK_MS) {
        assert_true(at_ms < END_BY_MS);
        memory_cluster_set_time(world.cluster, at_ms);
        for (; started < RUNS && started * (int64_t)STARTED_BY_MS < at_ms * RUNS; started++) {
            start_run(started);
        }
        if (at_ms % BLOW_MS == 0 && at_ms < BLOWS_UNTIL_MS) {
            strike();
        }
        step_members();
        step_service();
        read_log();
        if (at_ms == STARTED_BY_MS / 2 || at_ms == STARTED_BY_MS) {
            look_at_spread();
        }
    }
}

static uint32_t check_executions(void)
{
    uint32_t again = 0;
    for (uint32_t run = 0; run < RUNS; run++) {
        for (uint32_t step = 0; step < STEPS; step++) {
            assert_in_range(world.executed[run][step], 1, 1 + world.excused[run][step]);
            again += world.executed[run][step] - 1u;
        }
    }
    return again;
}

static void check_runs(void)
{
    for (int32_t i = 0; i < PARTITIONS; i++) {
        for (struct run *run = runs_next(world.runs[i], NULL); run != NULL; run = runs_next(world.runs[i], run)) {
            assert_int_equal(run->saga.status, RUN_SUCCEEDED);
        }
    }
}

/* Of those who were there from the beginning to the end of the crowd: they have done about as much as each other. */
static void check_shares(void)
{
    uint32_t least = UINT32_MAX, most = 0;
    for (uint32_t life = 0; life < MEMBERS; life++) {
        if (world.went_ms[life] > BLOWS_UNTIL_MS) {
            least = world.executed_by[life] < least ? world.executed_by[life] : least;
            most = world.executed_by[life] > most ? world.executed_by[life] : most;
        }
    }
    print_message("a worker that was there all the time has executed %u to %u steps\n", least, most);
    assert_true(least > 0 && most <= 2 * least);
}

static void two_hundred_workers_come_and_go(void **state)
{
    (void)state;
    const char *given = getenv("SIM_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 1;
    log_set_level(LOG_NONE);
    chance_begin(seed);
    begin();
    play();
    uint32_t again = check_executions();
    print_message("%d runs, %u workers of whom %u were killed with %u tickets and %u have left; %u tickets missed, %u lost, %u executions more\n",
                  RUNS, world.lives, world.killed, world.held_by_killed, world.left, world.missed, world.lost, again);
    check_runs();
    assert_true(world.killed >= 50 && world.left >= 50);
    assert_true(again > 0 && again <= world.lost);
    assert_true(world.lost <= world.held_by_killed + world.killed * 2 * SLOTS); /* and what was on its way to them */
    check_shares();
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_hundred_workers_come_and_go)};
    return cmocka_run_group_tests_name("many workers", tests, NULL, NULL);
}
