/* SPDX-License-Identifier: Apache-2.0 */
/* A coordinator on the embedded broker, with a worker played by the test over the wire: what is published, to whom, in which order. */
#include "common/bus_kafka.h"
#include "common/clock.h"
#include "common/limits.h"
#include "common/messages.h"
#include "common/names.h"
#include "common/runs.h"
#include "common/topics.h"
#include "coordinator/service/service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define DEADLINE_MS 20000
#define PREFIX "test"

static int64_t now_ms(void *clock)
{
    (void)clock;
    return clock_monotonic_ms();
}

struct world {
    struct embedded_broker *broker;
    struct bus *coordinator_bus, *bus;
    struct service *service;
    struct runs *runs;
    struct incarnation incarnation;
    int fail_step; /* whose execute fails; -1 none */
    char order[256]; /* of what was executed and rolled back: "+0 +1 -1 -0 " */
    bool finished;
    enum run_status status;
    bool keeps;              /* a task that comes is begun, and not ended */
    char kept_run[128];
    struct ticket kept;
    int64_t awaited;         /* as last announced */
    struct incarnation slow; /* another worker's, who is to answer later */
    int64_t slow_epochs[16]; /* what it was welcomed with, by progress partition */
    int32_t slow_welcomes, partitions;
};

static void append(struct world *world, const char *topic, int32_t partition, const char *key, struct message *message)
{
    struct text bytes;
    struct error error = {0};
    text_init(&bytes, LIMIT_RECORD_BYTES);
    assert_true(message_encode(message, &bytes, &error));
    struct bus_send record = {.topic = topic, .partition = partition, .key = span_of(key), .value = text_span(&bytes)};
    record.headers[record.header_count++] = (struct bus_header){"type", span_of(message_type(message->kind))};
    assert_true(bus_send(world->bus, &record, &error));
    text_fini(&bytes);
}

static void say_hello(struct world *world)
{
    static const struct span handlers[] = {{"work", 4}};
    struct message hello = {.kind = MESSAGE_HELLO};
    hello.presence = (struct presence){.worker = span_of("w1"), .incarnation = world->incarnation, .queue = span_of("default"),
                                       .handlers = handlers, .handler_count = 1, .slots = 1, .window = 1, .lease_ms = 30000,
                                       .sequence = 1, .version = span_of("test")};
    append(world, PREFIX ".workers", 0, "w1", &hello);
}

static void on_task_record(struct world *world, const struct bus_event *event)
{
    struct message in;
    struct error error;
    char run_id[128];
    assert_true(message_decode(&in, TOPIC_TASKS, event->key, event->value, &error));
    if (memcmp(in.incarnation.bytes, world->slow.bytes, INCARNATION_BYTES) == 0) {
        world->slow_epochs[in.progress_partition] = in.epoch;
        world->slow_welcomes++;
        message_free(&in);
        return;
    }
    assert_memory_equal(in.incarnation.bytes, world->incarnation.bytes, INCARNATION_BYTES);
    struct held_ticket held = {span_of(world->kept_run), world->kept, false};
    struct message out = {.kind = MESSAGE_HOLDING, .worker = span_of("w1"), .incarnation = world->incarnation, .epoch = in.epoch,
                          .held = &held, .held_count = world->kept_run[0] != '\0'};
    if (in.kind == MESSAGE_TASK && world->keeps) {
        snprintf(world->kept_run, sizeof world->kept_run, "%.*s", SPAN_ARGS(in.task.run_id));
        world->kept = in.task.ticket;
        message_free(&in);
        return;
    }
    if (in.kind == MESSAGE_TASK) {
        bool back = in.task.ticket.direction == DIRECTION_ROLLBACK;
        snprintf(run_id, sizeof run_id, "%.*s", SPAN_ARGS(in.task.run_id));
        size_t used = strlen(world->order);
        snprintf(world->order + used, sizeof world->order - used, "%c%u ", back ? '-' : '+', in.task.ticket.step);
        out = (struct message){.kind = MESSAGE_DONE};
        out.event.ticket = in.task.ticket;
        out.event.outcome = !back && (int)in.task.ticket.step == world->fail_step ? OUTCOME_FAILED : OUTCOME_OK;
        out.event.error = span_of(out.event.outcome == OUTCOME_FAILED ? "disk is full" : "");
        out.event.data = span_of("{\"n\":1}");
        out.event.worker = span_of("w1");
    }
    append(world, PREFIX ".progress", (int32_t)in.progress_partition, in.kind == MESSAGE_TASK ? run_id : "", &out);
    message_free(&in);
}

static void on_progress_record(struct world *world, const struct bus_event *event)
{
    struct message in;
    struct error error;
    struct run *run;
    if (!message_decode(&in, TOPIC_PROGRESS, event->key, event->value, &error)) {
        return;
    }
    runs_apply(world->runs, &in, event->offset, event->time_ms, &run);
    if (in.kind == MESSAGE_RUN_PROGRESSED) {
        world->awaited = in.waiting_for_workers;
    }
    if (in.kind == MESSAGE_RUN_FINISHED) {
        world->finished = true;
        world->status = in.status;
    }
    message_free(&in);
}

static bool is_finished(const struct world *world)
{
    return world->finished;
}

static bool is_kept(const struct world *world)
{
    return world->kept_run[0] != '\0';
}

static bool is_awaited(const struct world *world)
{
    return world->awaited > 0 && world->slow_welcomes == world->partitions;
}

static bool is_not_awaited(const struct world *world)
{
    return world->awaited == 0;
}

static void step_until(struct world *world, bool (*is_so)(const struct world *world))
{
    int64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;
    struct error error;
    while (!is_so(world)) {
        assert_true(clock_monotonic_ms() < deadline_ms);
        assert_int_equal(service_step(world->service, 1, &error), SERVICE_WORKING);
        struct bus_event event;
        for (bus_poll(world->bus, 1, &event); event.kind != BUS_NOTHING; bus_poll(world->bus, 0, &event)) {
            assert_int_not_equal(event.kind, BUS_FATAL);
            if (event.kind == BUS_RECORD && strcmp(event.topic, PREFIX ".progress") == 0) {
                on_progress_record(world, &event);
            } else if (event.kind == BUS_RECORD) {
                on_task_record(world, &event);
            }
        }
    }
}

static void step_until_finished(struct world *world)
{
    world->finished = false;
    step_until(world, is_finished);
}

static const uint32_t numbers[] = {0, 1, 2};

static void start(struct world *world, const char *run_id, int32_t partitions)
{
    struct plan_step steps[3];
    for (uint32_t i = 0; i < 3; i++) {
        static const char *const names[] = {"init", "upload", "cleanup"};
        steps[i] = (struct plan_step){.name = span_of(names[i]), .handler = span_of("work"), .queue = span_of("default"), .weight = 1,
                                      .needs = i > 0 ? &numbers[i - 1] : NULL, .needs_count = i > 0, .retry = PLAN_RETRY_DEFAULT};
    }
    struct plan plan = {.name = span_of("upload"), .steps = steps, .step_count = 3};
    struct message message = {.kind = MESSAGE_START, .progress_partitions = (uint32_t)partitions};
    message.event.plan = &plan;
    message.event.fold_version = SAGA_FOLD_VERSION;
    message.event.params = span_of("{}");
    random_bytes(message.event.request_id, sizeof message.event.request_id);
    append(world, PREFIX ".progress", bus_partition_of(span_of(run_id), partitions), run_id, &message);
}

static struct bus *open_bus(struct world *world)
{
    struct bus_kafka_options options = {.brokers = embedded_broker_address(world->broker), .client_id = "test", .timeout_ms = 10000};
    struct error error = {0};
    struct bus *bus = bus_kafka_open(&options, &error);
    if (bus == NULL) {
        fail_msg("%s", error.message);
    }
    return bus;
}

static void open_service(struct world *world, const char *name)
{
    struct error error = {0};
    struct service_options options = {.prefix = PREFIX, .name = name, .own_last = -1, .timeout_ms = 10000, .monotonic_ms = now_ms,
                                      .random = random_bytes};
    world->coordinator_bus = open_bus(world);
    world->service = service_new(world->coordinator_bus, &options, &error);
    if (world->service == NULL) {
        fail_msg("%s", error.message);
    }
}

static int set_up(void **state)
{
    static struct world world;
    struct error error = {0};
    world = (struct world){.fail_step = -1};
    world.broker = embedded_broker_start(&error);
    assert_non_null(world.broker);
    assert_true(embedded_broker_create_topic(world.broker, PREFIX ".workers", 1, &error));
    world.bus = open_bus(&world);
    open_service(&world, "c1");
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    service_free(world->service);
    runs_free(world->runs);
    bus_close(world->coordinator_bus);
    bus_close(world->bus);
    embedded_broker_stop(world->broker);
    return 0;
}

static int32_t join(struct world *world)
{
    struct error error;
    int32_t partitions;
    assert_true(topics_ensure(world->bus, PREFIX, TOPICS_TASKS, "default", NULL, true, NULL, 10000, &error));
    assert_true(bus_partition_count(world->bus, PREFIX ".progress", &partitions, 10000, &error));
    assert_true(bus_consume(world->bus, PREFIX ".tasks.default", 0, BUS_OFFSET_BEGINNING, &error));
    for (int32_t i = 0; i < partitions; i++) {
        assert_true(bus_consume(world->bus, PREFIX ".progress", i, BUS_OFFSET_BEGINNING, &error));
    }
    world->runs = runs_new((uint32_t)partitions);
    random_bytes(&world->incarnation, sizeof world->incarnation);
    say_hello(world);
    return partitions;
}

static void a_run_goes_through_its_steps_in_order(void **state)
{
    struct world *world = *state;
    start(world, "run-1", join(world));
    step_until_finished(world);
    assert_string_equal(world->order, "+0 +1 +2 ");
    assert_int_equal(world->status, RUN_SUCCEEDED);
    assert_int_equal(runs_find(world->runs, span_of("run-1"))->saga.progress_ppm, PPM_ONE);
}

static void a_failure_undoes_the_failed_step_first_then_the_others_newest_first(void **state)
{
    struct world *world = *state;
    world->fail_step = 2;
    start(world, "run-2", join(world));
    step_until_finished(world);
    assert_string_equal(world->order, "+0 +1 +2 -2 -1 -0 ");
    assert_int_equal(world->status, RUN_ROLLED_BACK);
    struct span error = saga_trouble(&runs_find(world->runs, span_of("run-2"))->saga)->error;
    assert_true(span_equal(error, span_of("Step 'cleanup' failed: disk is full")));
}

static void who_takes_over_says_when_it_waits_for_nobody_any_more(void **state)
{
    struct world *world = *state;
    world->keeps = true;
    world->partitions = join(world);
    start(world, "run-3", world->partitions);
    step_until(world, is_kept);
    service_free(world->service);
    bus_close(world->coordinator_bus);
    struct incarnation first = world->incarnation;
    random_bytes(&world->incarnation, sizeof world->incarnation);
    say_hello(world);
    assert_true(bus_flush(world->bus, 10000)); /* what is only sent with the next look comes too late for the new owner to wait for it */
    world->slow = world->incarnation;
    world->incarnation = first;
    open_service(world, "c2");
    step_until(world, is_awaited);
    for (int32_t i = 0; i < world->partitions; i++) {
        struct message holding = {.kind = MESSAGE_HOLDING, .worker = span_of("w1"), .incarnation = world->slow, .epoch = world->slow_epochs[i]};
        append(world, PREFIX ".progress", i, "", &holding);
    }
    step_until(world, is_not_awaited);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_takes_over_says_when_it_waits_for_nobody_any_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_run_goes_through_its_steps_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failure_undoes_the_failed_step_first_then_the_others_newest_first, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
