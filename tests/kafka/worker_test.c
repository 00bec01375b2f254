/* SPDX-License-Identifier: Apache-2.0 */
/* Coordinator and worker over the embedded broker, with steps in C on the pool: a run that succeeds, one that rolls back, one that is
 * cancelled in the middle. */
#include "common/bus_kafka.h"
#include "common/clock.h"
#include "common/limits.h"
#include "common/messages.h"
#include "common/names.h"
#include "common/runs.h"
#include "common/topics.h"
#include "coordinator/service/service.h"
#include "worker/orchestrator.h"
#include "worker/pool.h"
#include "worker/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DEADLINE_MS 60000
#define PREFIX "test"
#define PARTITIONS 4

/* ---------------------------------------------------------------- the steps */

static atomic_int cleanups;

static enum backstep_outcome load(struct backstep_context *context, struct backstep_result *result)
{
    backstep_context_set(context, "list", "[1, 2, 3]");
    return backstep_succeed(result, "{\"loaded\": 3}");
}

static enum backstep_outcome work(struct backstep_context *context, struct backstep_result *result)
{
    int count = backstep_json_count(backstep_context_get(context, "list"));
    bool slow = backstep_json_bool(backstep_param(context, "slow"), false);
    for (int i = 0; i < count; i++) {
        backstep_set_progress(context, i + 1, count);
    }
    backstep_set_metrics(context, "{\"count\": %d}", count);
    while (slow && !backstep_cancelled(context)) {
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    if (slow) {
        return backstep_fail(result, "stopped");
    }
    backstep_result_set_rollback_data(result, "{\"undo\": %d}", count);
    return backstep_succeed(result, "{\"count\": %d}", count);
}

static enum backstep_outcome unwork(struct backstep_context *context, const struct backstep_result *done, struct backstep_result *result)
{
    (void)context;
    int64_t undo = backstep_json_integer(backstep_json_member(backstep_result_rollback_data(done), "undo"), -1);
    if (backstep_result_success(done) && undo != 3) {
        return backstep_fail_permanently(result, "undo is %d", (int)undo);
    }
    atomic_fetch_add(&cleanups, 1);
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome finish(struct backstep_context *context, struct backstep_result *result)
{
    int count = (int)backstep_json_integer(backstep_json_member(backstep_step_data(context, "work"), "count"), 0);
    if (backstep_json_bool(backstep_param(context, "fail"), false)) {
        return backstep_fail(result, "disk is full");
    }
    return backstep_succeed(result, "{\"processed\": %d}", count);
}

static const struct backstep_step steps[] = {
    {.name = "load", .weight = 0.2, .execute = load},
    {.name = "work", .weight = 0.7, .execute = work, .rollback = unwork},
    {.name = "finish", .weight = 0.1, .execute = finish},
};

/* ---------------------------------------------------------------- the world */

struct world {
    struct embedded_broker *broker;
    struct bus *bus, *worker_bus;
    struct service *service;
    struct bus *service_bus;
    struct runs *runs[PARTITIONS]; /* each has claims of its own */
    struct backstep_registry *registry;
    struct pool *pool;
    struct worker *worker;
    atomic_bool stop;
    pthread_t thread;
};

static int64_t monotonic(void *clock)
{
    (void)clock;
    return clock_monotonic_ms();
}

static int64_t boottime(void *clock)
{
    (void)clock;
    return clock_boottime_ms();
}

static struct bus *connect_to(struct world *world, const char *name)
{
    struct error error = {0};
    const char *properties[] = {"fetch.wait.max.ms=5"};
    struct bus_kafka_options options = {.brokers = embedded_broker_address(world->broker),
                                        .client_id = name,
                                        .properties = properties,
                                        .property_count = 1,
                                        .timeout_ms = 10000};
    struct bus *bus = bus_kafka_open(&options, &error);
    assert_non_null(bus);
    return bus;
}

static void *work_on(void *state)
{
    struct world *world = state;
    struct error error = {0};
    enum worker_state now = worker_begin(world->worker, world->worker_bus, &error) ? WORKER_WORKING : WORKER_FATAL;
    while (now == WORKER_WORKING) {
        if (atomic_load(&world->stop)) {
            worker_drain(world->worker);
        }
        now = worker_step(world->worker, 20, &error);
    }
    return now == WORKER_DRAINED ? world : NULL;
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    struct error error = {0};
    world->broker = embedded_broker_start(&error);
    assert_non_null(world->broker);
    assert_true(embedded_broker_create_topic(world->broker, PREFIX ".workers", 1, &error));
    world->service_bus = connect_to(world, "coordinator");
    world->worker_bus = connect_to(world, "worker");
    world->bus = connect_to(world, "client");
    struct service_options service = {.prefix = PREFIX,
                                      .name = "c1",
                                      .own_last = -1,
                                      .progress_partitions = PARTITIONS,
                                      .timeout_ms = 10000,
                                      .monotonic_ms = monotonic,
                                      .random = random_bytes};
    world->service = service_new(world->service_bus, &service, &error);
    assert_non_null(world->service);
    world->registry = backstep_registry_new();
    for (size_t i = 0; i < 3; i++) {
        backstep_register(world->registry, &steps[i]);
    }
    world->pool = pool_new(4, NULL, &error);
    struct worker_options worker = {.id = "w1",
                                    .queue = "default",
                                    .prefix = PREFIX,
                                    .version = "0",
                                    .host = "here",
                                    .slots = 4,
                                    .lease_ms = 10000,
                                    .drain_timeout_ms = 5000,
                                    .cancel_grace_ms = 1000,
                                    .timeout_ms = 10000,
                                    .handlers = world->registry,
                                    .runner = pool_runner(world->pool),
                                    .monotonic_ms = monotonic,
                                    .boottime_ms = boottime,
                                    .random = random_bytes};
    world->worker = worker_new(&worker);
    for (int32_t partition = 0; partition < PARTITIONS; partition++) {
        world->runs[partition] = runs_new(PARTITIONS);
        assert_true(bus_consume(world->bus, PREFIX ".progress", partition, BUS_OFFSET_BEGINNING, &error));
    }
    assert_int_equal(pthread_create(&world->thread, NULL, work_on, world), 0);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    void *drained = NULL;
    atomic_store(&world->stop, true);
    pthread_join(world->thread, &drained);
    assert_ptr_equal(drained, world);
    pool_free(world->pool);
    worker_free(world->worker);
    service_free(world->service);
    for (int32_t partition = 0; partition < PARTITIONS; partition++) {
        runs_free(world->runs[partition]);
    }
    backstep_registry_free(world->registry);
    bus_close(world->bus);
    bus_close(world->worker_bus);
    bus_close(world->service_bus);
    embedded_broker_stop(world->broker);
    free(world);
    return 0;
}

static void append(struct world *world, const char *run_id, struct message *message)
{
    struct text bytes;
    struct error error = {0};
    text_init(&bytes, LIMIT_RECORD_BYTES);
    random_bytes(message->event.request_id, sizeof message->event.request_id);
    assert_true(message_encode(message, &bytes, &error));
    struct bus_send record = {.topic = PREFIX ".progress",
                              .partition = bus_partition_of(span_of(run_id), PARTITIONS),
                              .key = span_of(run_id),
                              .value = text_span(&bytes),
                              .headers = {{"type", span_of(message_type(message->kind))}},
                              .header_count = 1};
    assert_true(bus_send(world->bus, &record, &error));
    text_fini(&bytes);
}

static void start(struct world *world, const char *run_id, const char *params)
{
    struct arena arena;
    struct plan plan;
    struct error error = {0};
    arena_init(&arena, 1024, MIB);
    assert_true(plan_of_registry(world->registry, "quick", &arena, &plan, &error));
    struct message message = {.kind = MESSAGE_START,
                              .progress_partitions = PARTITIONS,
                              .event = {.plan = &plan, .fold_version = SAGA_FOLD_VERSION, .params = span_of(params)}};
    append(world, run_id, &message);
    arena_fini(&arena);
}

static void fold(struct world *world, const struct bus_event *event)
{
    struct message message;
    struct run *run;
    struct error error = {0};
    assert_true(message_decode(&message, TOPIC_PROGRESS, event->key, event->value, &error));
    assert_int_not_equal(runs_apply(world->runs[event->partition], &message, event->offset, event->time_ms, &run), RUNS_ALIEN);
    message_free(&message);
}

static struct saga *look(struct world *world, const char *run_id)
{
    struct error error = {0};
    struct bus_event event;
    assert_int_equal(service_step(world->service, 1, &error), SERVICE_WORKING);
    for (bus_poll(world->bus, 1, &event); event.kind != BUS_NOTHING; bus_poll(world->bus, 0, &event)) {
        assert_int_not_equal(event.kind, BUS_FATAL);
        if (event.kind == BUS_RECORD) {
            fold(world, &event);
        }
    }
    struct run *run = runs_find(world->runs[bus_partition_of(span_of(run_id), PARTITIONS)], span_of(run_id));
    return run != NULL ? &run->saga : NULL;
}

static const struct saga *finish_of(struct world *world, const char *run_id)
{
    int64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;
    const struct saga *saga = NULL;
    while (saga == NULL || !saga_is_settled(saga)) {
        assert_true(clock_monotonic_ms() < deadline_ms);
        saga = look(world, run_id);
    }
    return saga;
}

/* ---------------------------------------------------------------- what must hold */

static void a_run_goes_through(void **state)
{
    struct world *world = *state;
    start(world, "quick-1", "{}");
    const struct saga *saga = finish_of(world, "quick-1");
    assert_int_equal(saga->status, RUN_SUCCEEDED);
    assert_int_equal(saga->progress_ppm, PPM_ONE);
    assert_true(span_equal(saga_step_text(saga->steps[2], TEXT_DATA), span_of("{\"processed\": 3}")));
    assert_true(span_equal(saga_step_text(saga->steps[1], TEXT_METRICS), span_of("{\"count\":3}")));
}

static void a_failed_run_is_rolled_back(void **state)
{
    struct world *world = *state;
    int before = atomic_load(&cleanups);
    start(world, "quick-2", "{\"fail\": true}");
    const struct saga *saga = finish_of(world, "quick-2");
    assert_int_equal(saga->status, RUN_ROLLED_BACK);
    assert_true(span_equal(saga_trouble(saga)->error, span_of("Step 'finish' failed: disk is full")));
    assert_int_equal(saga->steps[1]->status, STEP_ROLLED_BACK);
    assert_int_equal(atomic_load(&cleanups), before + 1);
}

static void a_cancelled_run_stops_its_step_and_is_rolled_back(void **state)
{
    struct world *world = *state;
    start(world, "quick-3", "{\"slow\": true}");
    int64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;
    const struct saga *saga = NULL;
    while (saga == NULL || saga->steps == NULL || saga_work(saga->steps[1])->current != 3) {
        assert_true(clock_monotonic_ms() < deadline_ms);
        saga = look(world, "quick-3");
    }
    append(world, "quick-3", &(struct message){.kind = MESSAGE_CANCEL});
    saga = finish_of(world, "quick-3");
    assert_int_equal(saga->status, RUN_CANCELLED);
}

static void many_runs_go_through_at_once(void **state)
{
    struct world *world = *state;
    char run_id[32];
    for (int i = 0; i < 100; i++) {
        snprintf(run_id, sizeof run_id, "many-%d", i);
        start(world, run_id, i % 10 == 0 ? "{\"fail\": true}" : "{}");
    }
    for (int i = 0; i < 100; i++) {
        snprintf(run_id, sizeof run_id, "many-%d", i);
        assert_int_equal(finish_of(world, run_id)->status, i % 10 == 0 ? RUN_ROLLED_BACK : RUN_SUCCEEDED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_goes_through),
        cmocka_unit_test(a_failed_run_is_rolled_back),
        cmocka_unit_test(a_cancelled_run_stops_its_step_and_is_rolled_back),
        cmocka_unit_test(many_runs_go_through_at_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
