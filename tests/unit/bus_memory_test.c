/* SPDX-License-Identifier: Apache-2.0 */
#include "common/bus_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOPIC "t"
#define PARTITIONS 3

static struct memory_cluster *cluster_with_topic(uint64_t seed)
{
    struct memory_cluster *cluster = memory_cluster_new(seed);
    memory_cluster_create_topic(cluster, TOPIC, PARTITIONS);
    return cluster;
}

static bool send_to(struct bus *bus, int32_t partition, const char *value, uint64_t cookie, struct error *error)
{
    struct bus_send send = {.topic = TOPIC,
                            .partition = partition,
                            .key = span_of("key"),
                            .value = span_of(value),
                            .headers = {{"other", span_of("x")}, {"type", span_of("Start")}},
                            .header_count = 2,
                            .cookie = cookie};
    return bus_send(bus, &send, error);
}

static void send_number(struct bus *bus, int32_t partition, int number)
{
    char value[16];
    snprintf(value, sizeof value, "%d", number);
    assert_true(send_to(bus, partition, value, (uint64_t)number + 1, NULL));
}

static int number_of(struct span value)
{
    char text[16] = "";
    memcpy(text, value.bytes, value.size < 15 ? value.size : 15);
    return atoi(text);
}

static enum bus_event_kind poll_kind(struct bus *bus, struct bus_event *event)
{
    bus_poll(bus, 1000, event);
    return event->kind;
}

static void a_record_comes_back_with_report_and_end(void **state)
{
    (void)state;
    struct memory_cluster *cluster = cluster_with_topic(1);
    struct bus *bus = bus_memory_open(cluster);
    struct bus_event event;
    assert_true(bus_consume(bus, TOPIC, 1, BUS_OFFSET_BEGINNING, NULL));
    assert_int_equal(poll_kind(bus, &event), BUS_END);
    assert_int_equal(event.offset, 0);
    memory_cluster_set_time(cluster, 500);
    assert_true(send_to(bus, 1, "hello", 9, NULL));
    assert_int_equal(bus_backlog(bus).records, 1);
    assert_int_equal(poll_kind(bus, &event), BUS_DELIVERED);
    assert_int_equal(event.cookie, 9);
    assert_int_equal(bus_backlog(bus).records, 0);
    assert_int_equal(poll_kind(bus, &event), BUS_RECORD);
    assert_string_equal(event.topic, TOPIC);
    assert_int_equal(event.time_ms, 500);
    assert_true(span_equal(event.key, span_of("key")));
    assert_true(span_equal(event.value, span_of("hello")));
    assert_int_equal(poll_kind(bus, &event), BUS_END);
    assert_int_equal(event.offset, 1);
    assert_int_equal(poll_kind(bus, &event), BUS_NOTHING);
    assert_int_equal(memory_cluster_next_ms(cluster), INT64_MAX);
    bus_close(bus);
    memory_cluster_free(cluster);
}

static void questions_are_answered_from_the_log(void **state)
{
    (void)state;
    struct memory_cluster *cluster = cluster_with_topic(1);
    struct bus *bus = bus_memory_open(cluster);
    for (int i = 0; i < 10; i++) {
        memory_cluster_set_time(cluster, 100 + 10 * i);
        send_number(bus, 0, i);
    }
    int64_t first, next, offset;
    int32_t count;
    assert_true(bus_bounds(bus, TOPIC, 0, &first, &next, 0, NULL));
    assert_int_equal(first, 0);
    assert_int_equal(next, 10);
    assert_true(bus_offset_at(bus, TOPIC, 0, 145, &offset, 0, NULL));
    assert_int_equal(offset, 5);
    assert_true(bus_offset_at(bus, TOPIC, 0, 1000, &offset, 0, NULL));
    assert_int_equal(offset, 10);
    assert_true(bus_partition_count(bus, TOPIC, &count, 0, NULL));
    assert_int_equal(count, PARTITIONS);
    struct error error;
    assert_false(bus_partition_count(bus, "nowhere", &count, 0, &error));
    assert_int_equal(error.kind, ERROR_INVALID);
    assert_false(send_to(bus, PARTITIONS, "x", 0, &error));
    assert_int_equal(error.kind, ERROR_INVALID);
    memory_cluster_delete_before(cluster, TOPIC, 0, 4);
    struct bus_event event;
    assert_true(bus_consume(bus, TOPIC, 0, 3, NULL));
    do {
        bus_poll(bus, 0, &event);
    } while (event.kind == BUS_DELIVERED);
    assert_int_equal(event.kind, BUS_GONE);
    assert_true(bus_consume(bus, TOPIC, 0, BUS_OFFSET_BEGINNING, NULL));
    assert_int_equal(poll_kind(bus, &event), BUS_RECORD);
    assert_int_equal(event.offset, 4);
    bus_close(bus);
    memory_cluster_free(cluster);
}

static void nothing_comes_after_a_stop(void **state)
{
    (void)state;
    struct memory_cluster *cluster = cluster_with_topic(1);
    struct bus *bus = bus_memory_open(cluster);
    memory_cluster_append(cluster, TOPIC, 0, span_of(""), span_of("garbage"));
    memory_cluster_append(cluster, TOPIC, 2, span_of(""), span_of("more"));
    struct bus_event event;
    assert_true(bus_consume(bus, TOPIC, 0, 0, NULL));
    assert_true(bus_consume(bus, TOPIC, 2, 0, NULL));
    bus_stop(bus, TOPIC, 0);
    bus_stop(bus, TOPIC, 1); /* not read: nothing happens */
    assert_int_equal(poll_kind(bus, &event), BUS_RECORD);
    assert_int_equal(event.partition, 2);
    assert_int_equal(poll_kind(bus, &event), BUS_END);
    assert_int_equal(poll_kind(bus, &event), BUS_NOTHING);
    bus_close(bus);
    memory_cluster_free(cluster);
}

static const struct memory_faults slow = {.send_delay_ms = 40, .report_delay_ms = 30, .read_delay_ms = 50};

/* Run everything that is under way to its end; the hash says what happened, in which order and when. */
static uint64_t settle(struct memory_cluster *cluster, struct bus **buses, size_t count, int last[][PARTITIONS])
{
    uint64_t hash = 14695981039346656037u;
    for (int64_t now_ms; (now_ms = memory_cluster_next_ms(cluster)) != INT64_MAX;) {
        memory_cluster_set_time(cluster, now_ms);
        for (size_t i = 0; i < count; i++) {
            struct bus_event event;
            while (poll_kind(buses[i], &event) != BUS_NOTHING) {
                uint64_t fact = (uint64_t)event.kind ^ (uint64_t)event.offset << 8 ^ (uint64_t)now_ms << 24 ^ (uint64_t)i << 60;
                hash = (hash ^ fact) * 1099511628211u;
                if (event.kind == BUS_RECORD) {
                    int number = number_of(event.value);
                    assert_true(number > last[i][event.partition]);
                    last[i][event.partition] = number;
                    assert_true(event.time_ms <= now_ms);
                }
            }
        }
    }
    return hash;
}

static uint64_t run_slowly(uint64_t seed)
{
    struct memory_cluster *cluster = cluster_with_topic(seed);
    memory_cluster_set_faults(cluster, &slow);
    struct bus *buses[] = {bus_memory_open(cluster), bus_memory_open(cluster)};
    int last[2][PARTITIONS] = {{-1, -1, -1}, {-1, -1, -1}};
    for (int32_t partition = 0; partition < PARTITIONS; partition++) {
        assert_true(bus_consume(buses[0], TOPIC, partition, 0, NULL));
        assert_true(bus_consume(buses[1], TOPIC, partition, 0, NULL));
    }
    for (int i = 0; i < 300; i++) {
        send_number(buses[0], i % PARTITIONS, i);
    }
    uint64_t hash = settle(cluster, buses, 2, last);
    for (size_t i = 0; i < 2; i++) {
        for (int partition = 0; partition < PARTITIONS; partition++) {
            assert_int_equal(last[i][partition], 297 + partition);
        }
        assert_int_equal(bus_backlog(buses[i]).records, 0);
        bus_close(buses[i]);
    }
    memory_cluster_free(cluster);
    return hash;
}

static void delays_keep_the_order_and_a_seed_replays_them(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        uint64_t hash = run_slowly(seed);
        assert_true(hash == run_slowly(seed));
        assert_true(hash != run_slowly(seed + 1000));
    }
}

static void a_loss_is_fatal_and_stays_so(void **state)
{
    (void)state;
    struct memory_cluster *cluster = cluster_with_topic(7);
    struct memory_faults faults = {.loss_ppm = 1000000};
    memory_cluster_set_faults(cluster, &faults);
    struct bus *bus = bus_memory_open(cluster);
    struct bus_event event;
    struct error error;
    assert_true(send_to(bus, 0, "x", 0, NULL));
    assert_int_equal(poll_kind(bus, &event), BUS_FATAL);
    assert_int_equal(poll_kind(bus, &event), BUS_FATAL);
    assert_false(send_to(bus, 0, "y", 0, &error));
    assert_int_equal(error.kind, ERROR_FATAL);
    assert_false(bus_flush(bus, 0));
    bus_close(bus);
    memory_cluster_free(cluster);
}

static void a_failed_send_is_in_the_log_or_not(void **state)
{
    (void)state;
    int there = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct memory_cluster *cluster = cluster_with_topic(seed);
        struct memory_faults faults = {.loss_ppm = 1000000};
        memory_cluster_set_faults(cluster, &faults);
        struct bus *bus = bus_memory_open(cluster);
        assert_true(send_to(bus, 0, "x", 0, NULL));
        there += (int)memory_cluster_end(cluster, TOPIC, 0);
        bus_close(bus);
        memory_cluster_free(cluster);
    }
    assert_in_range(there, 60, 140);
}

static void duplicates_come_later_and_are_the_same(void **state)
{
    (void)state;
    struct memory_cluster *cluster = cluster_with_topic(3);
    struct memory_faults faults = {.send_delay_ms = 20, .duplicate_ppm = 500000};
    memory_cluster_set_faults(cluster, &faults);
    struct bus *bus = bus_memory_open(cluster);
    for (int i = 0; i < 100; i++) {
        send_number(bus, 0, i);
    }
    memory_cluster_set_time(cluster, 1000);
    int64_t end = memory_cluster_end(cluster, TOPIC, 0);
    assert_in_range(end, 120, 180);
    int seen[100] = {0};
    for (int64_t offset = 0; offset < end; offset++) {
        struct memory_record record;
        assert_true(memory_cluster_record(cluster, TOPIC, 0, offset, &record));
        assert_true(span_equal(record.type, span_of("Start")));
        seen[number_of(record.value)]++;
    }
    for (int i = 0; i < 100; i++) {
        assert_in_range(seen[i], 1, 2);
    }
    bus_close(bus);
    memory_cluster_free(cluster);
}

static void a_crash_takes_the_bus_at_the_send_it_was_told(void **state)
{
    (void)state;
    for (int arrives = 0; arrives <= 1; arrives++) {
        struct memory_cluster *cluster = cluster_with_topic(5);
        struct bus *victim = bus_memory_open(cluster), *other = bus_memory_open(cluster);
        struct bus_event event;
        struct error error;
        memory_cluster_crash_after(cluster, 3, arrives == 1);
        send_number(other, 0, 0);
        send_number(victim, 0, 1);
        assert_null(memory_cluster_crashed(cluster));
        assert_false(send_to(victim, 0, "2", 0, &error));
        assert_int_equal(error.kind, ERROR_FATAL);
        assert_ptr_equal(memory_cluster_crashed(cluster), victim);
        assert_int_equal(memory_cluster_sends(cluster), 3);
        assert_int_equal(memory_cluster_end(cluster, TOPIC, 0), 2 + arrives);
        assert_int_equal(poll_kind(victim, &event), BUS_FATAL);
        send_number(other, 0, 3);
        bus_close(victim);
        assert_null(memory_cluster_crashed(cluster));
        bus_close(other);
        memory_cluster_free(cluster);
    }
}

/* How much of ten slow sends over two partitions is in the log after the bus died at the tenth. */
static void die_with_sends_under_way(uint32_t orphan_ppm, bool arrives, int64_t end[2])
{
    struct memory_cluster *cluster = cluster_with_topic(11);
    struct memory_faults faults = {.send_delay_ms = 1000, .orphan_ppm = orphan_ppm};
    memory_cluster_set_faults(cluster, &faults);
    memory_cluster_crash_after(cluster, 10, arrives);
    struct bus *bus = bus_memory_open(cluster);
    for (int i = 0; i < 9; i++) {
        send_number(bus, i % 2, i);
    }
    assert_int_equal(memory_cluster_end(cluster, TOPIC, 0) + memory_cluster_end(cluster, TOPIC, 1), 0);
    assert_false(send_to(bus, 1, "9", 0, NULL));
    bus_close(bus);
    memory_cluster_set_time(cluster, 2000);
    end[0] = memory_cluster_end(cluster, TOPIC, 0);
    end[1] = memory_cluster_end(cluster, TOPIC, 1);
    memory_cluster_free(cluster);
}

static void what_a_dead_bus_had_under_way_is_lost_unless_told_otherwise(void **state)
{
    (void)state;
    int64_t end[2];
    die_with_sends_under_way(0, false, end);
    assert_int_equal(end[0], 0);
    assert_int_equal(end[1], 0);
    die_with_sends_under_way(0, true, end);
    assert_int_equal(end[0], 0);
    assert_int_equal(end[1], 5); /* order: what went there before it is there, too */
    die_with_sends_under_way(1000000, false, end);
    assert_int_equal(end[0], 5);
    assert_int_equal(end[1], 4);
}

static void flush_lets_everything_arrive(void **state)
{
    (void)state;
    struct memory_cluster *cluster = cluster_with_topic(2);
    memory_cluster_set_faults(cluster, &slow);
    struct bus *bus = bus_memory_open(cluster);
    struct bus_event event;
    send_number(bus, 0, 0);
    send_number(bus, 0, 1);
    assert_true(bus_flush(bus, 0));
    assert_int_equal(memory_cluster_end(cluster, TOPIC, 0), 2);
    assert_int_equal(poll_kind(bus, &event), BUS_DELIVERED);
    assert_int_equal(event.cookie, 1);
    assert_int_equal(poll_kind(bus, &event), BUS_DELIVERED);
    assert_int_equal(event.cookie, 2);
    bus_close(bus);
    memory_cluster_free(cluster);
}

static void a_frozen_bus_stops_no_clock(void **state)
{
    (void)state;
    struct memory_cluster *cluster = cluster_with_topic(2);
    struct bus *bus = bus_memory_open(cluster);
    assert_true(bus_consume(bus, TOPIC, 0, 0, NULL));
    assert_int_equal(memory_cluster_next_ms(cluster), memory_cluster_time(cluster));
    memory_bus_set_frozen(bus, true);
    assert_int_equal(memory_cluster_next_ms(cluster), INT64_MAX);
    bus_close(bus);
    memory_cluster_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_comes_back_with_report_and_end),
        cmocka_unit_test(questions_are_answered_from_the_log),
        cmocka_unit_test(nothing_comes_after_a_stop),
        cmocka_unit_test(delays_keep_the_order_and_a_seed_replays_them),
        cmocka_unit_test(a_loss_is_fatal_and_stays_so),
        cmocka_unit_test(a_failed_send_is_in_the_log_or_not),
        cmocka_unit_test(duplicates_come_later_and_are_the_same),
        cmocka_unit_test(a_crash_takes_the_bus_at_the_send_it_was_told),
        cmocka_unit_test(what_a_dead_bus_had_under_way_is_lost_unless_told_otherwise),
        cmocka_unit_test(flush_lets_everything_arrive),
        cmocka_unit_test(a_frozen_bus_stops_no_clock),
    };
    return cmocka_run_group_tests_name("bus_memory", tests, NULL, NULL);
}
