/* SPDX-License-Identifier: Apache-2.0 */
/* The bus over librdkafka against its mock cluster: real sockets, faults on demand. */
#include "common/bus_kafka.h"
#include "common/clock.h"
#include "common/limits.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define PATIENCE_MS 20000
#define TOPIC "backstep.progress"
#define ERROR_CODE_NOT_ALLOWED 29 /* the protocol's TOPIC_AUTHORIZATION_FAILED: not retried */
#define ERROR_CODE_NOT_LEADER 6 /* retried */

struct cluster {
    struct embedded_broker *broker;
    struct bus *bus;
    struct error error;
};

static struct bus *open_bus(const char *brokers, const char *const *properties, size_t count, int timeout_ms, struct error *error)
{
    struct bus_kafka_options options = {
        .brokers = brokers, .client_id = "test", .properties = properties, .property_count = count, .timeout_ms = timeout_ms};
    return bus_kafka_open(&options, error);
}

static int begin(void **state)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    assert_non_null(cluster);
    cluster->broker = embedded_broker_start(&cluster->error);
    assert_non_null(cluster->broker);
    assert_true(embedded_broker_create_topic(cluster->broker, TOPIC, 4, &cluster->error));
    cluster->bus = open_bus(embedded_broker_address(cluster->broker), NULL, 0, PATIENCE_MS, &cluster->error);
    assert_non_null(cluster->bus);
    *state = cluster;
    return 0;
}

static int end(void **state)
{
    struct cluster *cluster = *state;
    bus_close(cluster->bus);
    embedded_broker_stop(cluster->broker);
    free(cluster);
    return 0;
}

static void send_text_as(struct cluster *cluster, const char *topic, int32_t partition, const char *value, uint64_t cookie, bool lazy)
{
    struct bus_send send = {
        .topic = topic,
        .partition = partition,
        .key = span_of("run-1"),
        .value = span_of(value),
        .headers = {{"type", span_of("Start")}, {"percent", span_of("7")}},
        .header_count = 2,
        .cookie = cookie,
        .lazy = lazy,
    };
    if (!bus_send(cluster->bus, &send, &cluster->error)) {
        fail_msg("%s", cluster->error.message);
    }
}

static void send_text(struct cluster *cluster, const char *topic, int32_t partition, const char *value, uint64_t cookie)
{
    send_text_as(cluster, topic, partition, value, cookie, false);
}

/* The next event of that kind; others but those of `forbidden` are skipped. */
static void await(struct bus *bus, enum bus_event_kind kind, struct bus_event *event)
{
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    do {
        bus_poll(bus, 1000, event);
        if (event->kind == kind) {
            return;
        }
        if (event->kind == BUS_FATAL || event->kind == BUS_GONE) {
            fail_msg("%s", event->reason);
        }
    } while (clock_monotonic_ms() < until_ms);
    fail_msg("no event of kind %d came", (int)kind);
}

static void a_record_comes_back_as_it_was_sent(void **state)
{
    struct cluster *cluster = *state;
    struct bus_event event;
    assert_true(bus_consume(cluster->bus, TOPIC, 2, BUS_OFFSET_BEGINNING, &cluster->error));
    await(cluster->bus, BUS_END, &event);
    assert_int_equal(event.partition, 2);
    assert_int_equal(event.offset, 0);

    send_text(cluster, TOPIC, 2, "hello", 77);
    bool delivered = false, read = false, ended = false;
    while (!(delivered && read && ended)) {
        bus_poll(cluster->bus, PATIENCE_MS, &event);
        switch (event.kind) {
        case BUS_DELIVERED:
            assert_int_equal(event.cookie, 77);
            assert_int_equal(event.offset, 0);
            delivered = true;
            break;
        case BUS_RECORD:
            assert_string_equal(event.topic, TOPIC);
            assert_int_equal(event.partition, 2);
            assert_int_equal(event.offset, 0);
            assert_true(span_equal(event.key, span_of("run-1")));
            assert_true(span_equal(event.value, span_of("hello")));
            assert_true(event.time_ms > 0);
            read = true;
            break;
        case BUS_END:
            assert_int_equal(event.offset, 1);
            ended = true;
            break;
        default: fail_msg("unexpected event %d: %s", (int)event.kind, event.reason);
        }
    }
    assert_int_equal(bus_backlog(cluster->bus).records, 0);
    assert_true(bus_embedded(cluster->bus));
}

/* The threads of this process that have that policy. */
static int threads_with(int policy)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/task");
    assert_non_null(directory);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        pid_t thread = (pid_t)atoi(entry->d_name); /* 0, of "." and "..": the one that asks */
        count += thread > 0 && sched_getscheduler(thread) == policy;
    }
    closedir(directory);
    return count;
}

/* Of each handle at least its own thread, the one that begins with the address it was given, and the broker's. */
static void threads_of_the_bus_do_not_interrupt_who_wakes_them(void **state)
{
    struct cluster *cluster = *state;
    struct bus_event event;
    int usual = threads_with(SCHED_OTHER), quiet = threads_with(SCHED_BATCH);
    assert_true(usual >= 1);
    struct bus *bus = open_bus(embedded_broker_address(cluster->broker), NULL, 0, PATIENCE_MS, &cluster->error);
    assert_non_null(bus);
    assert_true(bus_consume(bus, TOPIC, 1, BUS_OFFSET_BEGINNING, &cluster->error));
    await(bus, BUS_END, &event);
    assert_true(threads_with(SCHED_BATCH) >= quiet + 6);
    assert_int_equal(threads_with(SCHED_OTHER), usual);
    bus_close(bus);
}

static void many_records_keep_their_order_and_their_topic_pointer(void **state)
{
    struct cluster *cluster = *state;
    enum { COUNT = 20000 };
    char value[32];
    for (int i = 0; i < COUNT; i++) {
        snprintf(value, sizeof value, "%d", i);
        send_text(cluster, TOPIC, 0, value, 0);
    }
    assert_true(bus_backlog(cluster->bus).bytes > 0);
    assert_true(bus_flush(cluster->bus, PATIENCE_MS));
    assert_int_equal(bus_backlog(cluster->bus).records, 0);
    assert_int_equal(bus_backlog(cluster->bus).bytes, 0);
    assert_true(bus_consume(cluster->bus, TOPIC, 0, 0, &cluster->error));
    struct bus_event event;
    const char *topic = NULL;
    for (int i = 0; i < COUNT; i++) {
        await(cluster->bus, BUS_RECORD, &event);
        snprintf(value, sizeof value, "%d", i);
        assert_true(span_equal(event.value, span_of(value)));
        assert_int_equal(event.offset, i);
        assert_true(topic == NULL || topic == event.topic);
        topic = event.topic;
    }
    int64_t first, next;
    assert_true(bus_bounds(cluster->bus, TOPIC, 0, &first, &next, PATIENCE_MS, &cluster->error));
    assert_int_equal(first, 0);
    assert_int_equal(next, COUNT);
    int64_t offset = -1;
    assert_true(bus_offset_at(cluster->bus, TOPIC, 0, 5, &offset, PATIENCE_MS, &cluster->error));
    assert_int_equal(offset, 0);
}

static void nothing_of_before_comes_after_a_stop(void **state)
{
    struct cluster *cluster = *state;
    enum { COUNT = 5000, ROUNDS = 20 };
    for (int i = 0; i < COUNT; i++) {
        send_text(cluster, TOPIC, 1, "value", 0);
    }
    assert_true(bus_flush(cluster->bus, PATIENCE_MS));
    struct bus_event event;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t from = round * 10;
        assert_true(bus_consume(cluster->bus, TOPIC, 1, from, &cluster->error));
        for (int i = 0; i < 7; i++) {
            await(cluster->bus, BUS_RECORD, &event);
            assert_int_equal(event.offset, from + i);
        }
        bus_stop(cluster->bus, TOPIC, 1);
        if (round % 2 == 0) { /* for half of them, look whether something trickles in */
            bus_poll(cluster->bus, 20, &event);
            assert_int_equal(event.kind, BUS_NOTHING);
        }
    }
}

static void flush_leaves_records_and_reports_for_later(void **state)
{
    struct cluster *cluster = *state;
    struct bus_event event;
    assert_true(bus_consume(cluster->bus, TOPIC, 3, BUS_OFFSET_BEGINNING, &cluster->error));
    send_text(cluster, TOPIC, 3, "one", 1);
    send_text(cluster, TOPIC, 3, "two", 2);
    bus_wake(cluster->bus);
    assert_true(bus_flush(cluster->bus, PATIENCE_MS));
    await(cluster->bus, BUS_DELIVERED, &event);
    assert_int_equal(event.cookie, 1);
    await(cluster->bus, BUS_DELIVERED, &event);
    assert_int_equal(event.cookie, 2);
    await(cluster->bus, BUS_RECORD, &event);
    assert_true(span_equal(event.value, span_of("one")));
    await(cluster->bus, BUS_RECORD, &event);
    assert_true(span_equal(event.value, span_of("two")));
}

/* Nor where somebody has asked before whether all is sent. */
static void a_lazy_report_ends_no_wait(void **state)
{
    enum { WAIT_MS = 300 };
    struct cluster *cluster = *state;
    struct bus_event event;
    embedded_broker_set_round_trip_ms(cluster->broker, 20);
    for (uint64_t cookie = 1; cookie <= 2; cookie++) {
        send_text_as(cluster, TOPIC, 3, "no hurry", cookie, true);
        assert_true(cookie == 1 || !bus_flush(cluster->bus, 0));
        int64_t begun_ms = clock_monotonic_ms();
        bus_poll(cluster->bus, WAIT_MS, &event);
        assert_int_equal(event.kind, BUS_DELIVERED);
        assert_int_equal(event.cookie, cookie);
        assert_true(clock_monotonic_ms() - begun_ms >= WAIT_MS - 1);
    }
}

static void a_wake_before_the_poll_is_not_lost(void **state)
{
    struct cluster *cluster = *state;
    struct bus_event event;
    bus_wake(cluster->bus);
    assert_true(bus_flush(cluster->bus, 0));
    int64_t begun_ms = clock_monotonic_ms();
    bus_poll(cluster->bus, PATIENCE_MS, &event);
    assert_int_equal(event.kind, BUS_NOTHING);
    assert_true(clock_monotonic_ms() - begun_ms < PATIENCE_MS / 2);
}

struct waker {
    struct bus *bus;
    _Atomic int asked, answered;
};

static void *wake_often(void *argument)
{
    struct waker *waker = argument;
    for (int i = 1; i <= 2000; i++) {
        waker->asked = i;
        bus_wake(waker->bus);
        while (waker->answered < i) {
            struct timespec moment = {.tv_nsec = 1000};
            nanosleep(&moment, NULL);
        }
    }
    return NULL;
}

static void a_wake_from_another_thread_ends_the_wait(void **state)
{
    struct cluster *cluster = *state;
    struct waker waker = {.bus = cluster->bus};
    pthread_t thread;
    struct bus_event event;
    assert_int_equal(pthread_create(&thread, NULL, wake_often, &waker), 0);
    while (waker.answered < 2000) {
        int64_t begun_ms = clock_monotonic_ms();
        bus_poll(cluster->bus, PATIENCE_MS, &event);
        assert_true(clock_monotonic_ms() - begun_ms < PATIENCE_MS / 2);
        waker.answered = waker.asked;
    }
    pthread_join(thread, NULL);
}

static void what_does_not_exist_is_an_error_and_is_not_made(void **state)
{
    struct cluster *cluster = *state;
    struct error error = {0};
    struct bus_send send = {.topic = "nowhere", .partition = 0, .value = span_of("x")};
    assert_false(bus_send(cluster->bus, &send, &error));
    assert_int_equal(error.kind, ERROR_INVALID);
    assert_string_equal(error.message, "there is no topic 'nowhere'; 'backstep topics' creates it");
    send.topic = TOPIC;
    send.partition = 4;
    assert_false(bus_send(cluster->bus, &send, &error));
    assert_string_equal(error.message, "topic 'backstep.progress' has 4 partitions: there is no partition 4");
    assert_false(bus_consume(cluster->bus, "nowhere", 0, 0, &error));
    int32_t count = 0;
    assert_false(bus_partition_count(cluster->bus, "nowhere", &count, PATIENCE_MS, &error));
    assert_int_equal(error.kind, ERROR_INVALID);
    assert_true(bus_partition_count(cluster->bus, TOPIC, &count, PATIENCE_MS, &error));
    assert_int_equal(count, 4);
}

static void a_topic_is_made_only_where_that_is_wanted(void **state)
{
    struct cluster *cluster = *state;
    struct bus_topic topic = {.name = "fresh", .partitions = 8};
    int32_t count = 0;
    assert_false(bus_ensure_topic(cluster->bus, &topic, false, &count, PATIENCE_MS, &cluster->error));
    assert_int_equal(cluster->error.kind, ERROR_INVALID);
    assert_true(bus_ensure_topic(cluster->bus, &topic, true, &count, PATIENCE_MS, &cluster->error));
    assert_int_equal(count, 4); /* the mock cluster's own number */
    assert_true(bus_ensure_topic(cluster->bus, &topic, false, &count, PATIENCE_MS, &cluster->error));
    send_text(cluster, "fresh", 3, "x", 0);
    assert_true(bus_flush(cluster->bus, PATIENCE_MS));
}

static void a_record_over_the_limit_is_refused(void **state)
{
    struct cluster *cluster = *state;
    char *bytes = calloc(1, LIMIT_RECORD_BYTES + 1);
    assert_non_null(bytes);
    struct bus_send send = {.topic = TOPIC, .partition = 0, .value = {bytes, LIMIT_RECORD_BYTES + 1}};
    assert_false(bus_send(cluster->bus, &send, &cluster->error));
    assert_int_equal(cluster->error.kind, ERROR_INVALID);
    send.value.size = LIMIT_RECORD_BYTES;
    assert_true(bus_send(cluster->bus, &send, &cluster->error));
    assert_true(bus_flush(cluster->bus, PATIENCE_MS));
    struct bus_event event;
    assert_true(bus_consume(cluster->bus, TOPIC, 0, BUS_OFFSET_BEGINNING, &cluster->error));
    await(cluster->bus, BUS_RECORD, &event);
    assert_int_equal(event.value.size, LIMIT_RECORD_BYTES);
    free(bytes);
}

static void an_offset_that_is_not_there_is_gone(void **state)
{
    struct cluster *cluster = *state;
    assert_true(bus_consume(cluster->bus, TOPIC, 0, 1000, &cluster->error));
    struct bus_event event;
    do {
        bus_poll(cluster->bus, PATIENCE_MS, &event);
    } while (event.kind == BUS_NOTHING);
    assert_int_equal(event.kind, BUS_GONE);
    assert_string_equal(event.topic, TOPIC);
    assert_true(event.reason[0] != '\0');
    assert_true(bus_consume(cluster->bus, TOPIC, 0, BUS_OFFSET_END, &cluster->error));
    await(cluster->bus, BUS_END, &event);
}

static void a_failed_delivery_is_fatal_and_stays_so(void **state)
{
    struct cluster *cluster = *state;
    embedded_broker_fail(cluster->broker, &(struct embedded_failure){.error_code = ERROR_CODE_NOT_ALLOWED, .count = 1});
    send_text(cluster, TOPIC, 0, "lost", 0);
    struct bus_event event;
    do {
        bus_poll(cluster->bus, PATIENCE_MS, &event);
    } while (event.kind == BUS_NOTHING);
    assert_int_equal(event.kind, BUS_FATAL);
    assert_non_null(strstr(event.reason, TOPIC));
    struct bus_send send = {.topic = TOPIC, .partition = 0, .value = span_of("x")};
    assert_false(bus_send(cluster->bus, &send, &cluster->error));
    assert_int_equal(cluster->error.kind, ERROR_FATAL);
    assert_false(bus_flush(cluster->bus, 0));
}

static void a_refusal_that_passes_is_not_shown(void **state)
{
    struct cluster *cluster = *state;
    embedded_broker_fail(cluster->broker, &(struct embedded_failure){.error_code = ERROR_CODE_NOT_LEADER, .count = 3});
    send_text(cluster, TOPIC, 0, "first", 1);
    send_text(cluster, TOPIC, 0, "second", 2);
    struct bus_event event;
    await(cluster->bus, BUS_DELIVERED, &event);
    await(cluster->bus, BUS_DELIVERED, &event);
    assert_int_equal(event.cookie, 2);
}

static void a_broker_that_comes_back_gets_what_was_sent_meanwhile(void **state)
{
    struct cluster *cluster = *state;
    struct bus_event event;
    assert_true(bus_consume(cluster->bus, TOPIC, 0, BUS_OFFSET_BEGINNING, &cluster->error));
    send_text(cluster, TOPIC, 0, "before", 1);
    await(cluster->bus, BUS_RECORD, &event);
    assert_true(bus_flush(cluster->bus, PATIENCE_MS));
    embedded_broker_set_down(cluster->broker, true);
    send_text(cluster, TOPIC, 0, "during", 2);
    assert_false(bus_flush(cluster->bus, 300));
    assert_int_equal(bus_backlog(cluster->bus).records, 1);
    embedded_broker_set_down(cluster->broker, false);
    assert_true(bus_flush(cluster->bus, PATIENCE_MS));
    await(cluster->bus, BUS_RECORD, &event);
    assert_true(span_equal(event.value, span_of("during")));
}

/* Some of it is under way when the broker goes. */
static void what_an_outage_interrupts_is_appended_once(void **state)
{
    enum { OUTAGES = 5, EACH = 40 };
    struct cluster *cluster = *state;
    struct bus_event event;
    bool seen[OUTAGES * EACH] = {false};
    char value[8];
    embedded_broker_set_round_trip_ms(cluster->broker, 20);
    for (int i = 0; i < OUTAGES * EACH; i++) {
        snprintf(value, sizeof value, "%d", i);
        send_text(cluster, TOPIC, 0, value, 0);
        bus_poll(cluster->bus, 1, &event);
        if (i % EACH == EACH - 1) {
            embedded_broker_set_down(cluster->broker, true);
            embedded_broker_set_down(cluster->broker, false);
        }
    }
    assert_true(bus_flush(cluster->bus, PATIENCE_MS));
    assert_true(bus_consume(cluster->bus, TOPIC, 0, BUS_OFFSET_BEGINNING, &cluster->error));
    for (int i = 0; i < OUTAGES * EACH; i++) {
        await(cluster->bus, BUS_RECORD, &event);
        snprintf(value, sizeof value, "%.*s", SPAN_ARGS(event.value));
        assert_in_range(atoi(value), 0, OUTAGES * EACH - 1);
        assert_false(seen[atoi(value)]);
        seen[atoi(value)] = true;
    }
    await(cluster->bus, BUS_END, &event);
    assert_int_equal(event.offset, OUTAGES * EACH);
}

static void a_closed_bus_forgets_what_it_had_in_hand(void **state)
{
    struct cluster *cluster = *state;
    for (int i = 0; i < 100; i++) {
        send_text(cluster, TOPIC, 0, "x", 1);
    }
    assert_true(bus_flush(cluster->bus, PATIENCE_MS));
    struct bus_event event;
    assert_true(bus_consume(cluster->bus, TOPIC, 0, 0, &cluster->error));
    await(cluster->bus, BUS_RECORD, &event);
    send_text(cluster, TOPIC, 0, "unsent", 1); /* closed by end() with all of it outstanding */
}

/* Nobody answers before the test is over, and from the second look on nobody wants to know. */
static bool is_not_wanted(void *state)
{
    int *looks = state;
    return ++*looks > 1;
}

static bool ask_partitions(struct bus *bus, struct error *error)
{
    int32_t count;
    return bus_partition_count(bus, TOPIC, &count, PATIENCE_MS, error);
}

static bool ask_bounds(struct bus *bus, struct error *error)
{
    int64_t first, next;
    return bus_bounds(bus, TOPIC, 0, &first, &next, PATIENCE_MS, error);
}

static bool ask_for_topic(struct bus *bus, struct error *error)
{
    return bus_ensure_topic(bus, &(struct bus_topic){.name = TOPIC, .partitions = 4}, true, NULL, PATIENCE_MS, error);
}

static void who_does_not_want_to_know_any_more_waits_no_longer(void **state)
{
    struct cluster *cluster = *state;
    static bool (*const questions[])(struct bus *bus, struct error *error) = {ask_partitions, ask_bounds, ask_for_topic};
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        int looks = 0;
        struct bus_kafka_options options = {.brokers = embedded_broker_address(cluster->broker),
                                            .timeout_ms = PATIENCE_MS,
                                            .gives_up = is_not_wanted,
                                            .gives_up_state = &looks};
        struct bus *bus = bus_kafka_open(&options, &cluster->error);
        assert_non_null(bus);
        assert_true(ask_partitions(bus, &cluster->error)); /* what is known is not asked for again */
        embedded_broker_set_round_trip_ms(cluster->broker, 3 * PATIENCE_MS);
        int64_t begun_ms = clock_monotonic_ms();
        looks = 0;
        assert_false(questions[i](bus, &cluster->error));
        assert_int_equal(cluster->error.kind, ERROR_TRANSIENT);
        assert_true(looks > 1);
        bus_close(bus);
        assert_true(clock_monotonic_ms() - begun_ms < PATIENCE_MS / 2);
        embedded_broker_set_round_trip_ms(cluster->broker, 0);
    }
}

static void an_answer_that_takes_long_is_waited_for(void **state)
{
    struct cluster *cluster = *state;
    embedded_broker_set_round_trip_ms(cluster->broker, 150); /* twice: longer than the first question waits */
    int64_t first, next;
    if (!bus_bounds(cluster->bus, TOPIC, 0, &first, &next, PATIENCE_MS, &cluster->error)) {
        fail_msg("%s", cluster->error.message);
    }
    embedded_broker_set_round_trip_ms(cluster->broker, 0);
}

static void faults_have_names(void **state)
{
    (void)state;
    int code = -1;
    assert_int_equal(embedded_request_find("produce"), 0);
    assert_int_equal(embedded_request_find("init_producer_id"), 22);
    assert_int_equal(embedded_request_find("conjure"), -1);
    assert_true(embedded_error_find("NOT_LEADER_FOR_PARTITION", &code));
    assert_int_equal(code, ERROR_CODE_NOT_LEADER);
    assert_true(embedded_error_find("none", &code));
    assert_int_equal(code, 0);
    assert_true(embedded_error_find("disconnect", &code));
    assert_false(embedded_error_find("_TRANSPORT", &code));
    assert_false(embedded_error_find("NO_SUCH", &code));
}

static void nobody_there_is_said_within_the_timeout(void **state)
{
    (void)state;
    struct error error = {0};
    assert_null(open_bus("127.0.0.1:1", NULL, 0, 300, &error));
    assert_int_equal(error.kind, ERROR_TRANSIENT);
    assert_string_equal(error.message, "no broker answered on 127.0.0.1:1 within 300 ms");
}

static void properties_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *property, *message;
    } rows[] = {
        {"no.such=1", "no.such"},
        {"linger.ms=soon", "linger.ms"},
        {"linger.ms", "is no NAME=VALUE"},
        {"=5", "is no NAME=VALUE"},
        {"enable.idempotence=false", "cannot be set but to true"},
        {"acks=1", "acks cannot be set but to all"},
        {"message.timeout.ms=5", "leaves a hole"},
        {"group.id=g", "coordinators are the only group"},
        {"group.instance.id=c1", "would keep its partitions"},
        {"session.timeout.ms=1", "given by --session-timeout"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error = {0};
        assert_null(open_bus("127.0.0.1:1", &rows[i].property, 1, 300, &error));
        assert_int_equal(error.kind, ERROR_INVALID);
        if (strstr(error.message, rows[i].message) == NULL) {
            fail_msg("%s: %s", rows[i].property, error.message);
        }
    }
}

static void properties_reach_both_handles(void **state)
{
    struct cluster *cluster = *state;
    static const char *const properties[] = {"linger.ms=1", "fetch.wait.max.ms=3", "acks=all"};
    struct bus *bus = open_bus(embedded_broker_address(cluster->broker), properties, 3, PATIENCE_MS, &cluster->error);
    assert_non_null(bus);
    bus_close(bus);
}

/* No assertion on time: this machine is not the reader's. */
static void a_round_trip_is_measured(void **state)
{
    struct cluster *cluster = *state;
    enum { COUNT = 500 };
    struct bus_event event;
    assert_true(bus_consume(cluster->bus, TOPIC, 0, BUS_OFFSET_END, &cluster->error));
    await(cluster->bus, BUS_END, &event);
    int64_t begun_us = clock_monotonic_us();
    for (int i = 0; i < COUNT; i++) {
        send_text(cluster, TOPIC, 0, "ping", 0);
        await(cluster->bus, BUS_RECORD, &event);
    }
    print_message("a record out and back through the mock cluster: %.3f ms\n",
                  (double)(clock_monotonic_us() - begun_us) / 1000.0 / COUNT);
}

int main(void)
{
#define ON_CLUSTER(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        ON_CLUSTER(a_record_comes_back_as_it_was_sent),
        ON_CLUSTER(threads_of_the_bus_do_not_interrupt_who_wakes_them),
        ON_CLUSTER(many_records_keep_their_order_and_their_topic_pointer),
        ON_CLUSTER(nothing_of_before_comes_after_a_stop),
        ON_CLUSTER(flush_leaves_records_and_reports_for_later),
        ON_CLUSTER(a_lazy_report_ends_no_wait),
        ON_CLUSTER(a_wake_before_the_poll_is_not_lost),
        ON_CLUSTER(a_wake_from_another_thread_ends_the_wait),
        ON_CLUSTER(what_does_not_exist_is_an_error_and_is_not_made),
        ON_CLUSTER(a_topic_is_made_only_where_that_is_wanted),
        ON_CLUSTER(a_record_over_the_limit_is_refused),
        ON_CLUSTER(an_offset_that_is_not_there_is_gone),
        ON_CLUSTER(a_failed_delivery_is_fatal_and_stays_so),
        ON_CLUSTER(a_refusal_that_passes_is_not_shown),
        ON_CLUSTER(a_broker_that_comes_back_gets_what_was_sent_meanwhile),
        ON_CLUSTER(what_an_outage_interrupts_is_appended_once),
        ON_CLUSTER(a_closed_bus_forgets_what_it_had_in_hand),
        ON_CLUSTER(who_does_not_want_to_know_any_more_waits_no_longer),
        ON_CLUSTER(an_answer_that_takes_long_is_waited_for),
        cmocka_unit_test(faults_have_names),
        cmocka_unit_test(nobody_there_is_said_within_the_timeout),
        cmocka_unit_test(properties_are_checked),
        ON_CLUSTER(properties_reach_both_handles),
        ON_CLUSTER(a_round_trip_is_measured),
    };
    return cmocka_run_group_tests_name("bus_kafka", tests, NULL, NULL);
}
