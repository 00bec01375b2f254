/* SPDX-License-Identifier: Apache-2.0 */
/* The bus over librdkafka against a real broker: what its mock cluster cannot show. */
#include "common/bus_kafka.h"
#include "common/clock.h"
#include "common/topics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 60000
#define PROMPT_MS 20000 /* for what comes at once; less than the patience of the reader below */
#define NOT_DELETED "event=old_records_not_deleted"

static char directory[64], address[64];

/* Run tests/broker/kafka; what it prints goes to `output`, a line without its end. */
static int kafka(const char *command, const char *more, char *output, size_t size)
{
    char line[256];
    snprintf(line, sizeof line, "tests/broker/kafka %s %s %s", command, directory, more);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    output[0] = '\0';
    if (fgets(output, (int)size, pipe) != NULL) {
        output[strcspn(output, "\n")] = '\0';
    }
    return pclose(pipe);
}

static int start_broker(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/bus_test.XXXXXX");
    assert_non_null(mkdtemp(directory));
    return kafka("start", "auto.create.topics.enable=true", address, sizeof address);
}

static int stop_broker(void **state)
{
    char ignored[64], line[96];
    (void)state;
    kafka("kill", "", ignored, sizeof ignored);
    snprintf(line, sizeof line, "rm -rf %s", directory);
    return system(line);
}

static struct bus *open_with(struct bus_kafka_options options)
{
    struct error error;
    options.brokers = address;
    options.client_id = "test";
    options.timeout_ms = PATIENCE_MS;
    struct bus *bus = bus_kafka_open(&options, &error);
    if (bus == NULL) {
        fail_msg("%s", error.message);
    }
    assert_false(bus_embedded(bus));
    return bus;
}

static struct bus *open_bus(void)
{
    return open_with((struct bus_kafka_options){0});
}

static void must_ensure(struct bus *bus, const char *prefix, enum topics_which which, int32_t partitions)
{
    struct error error;
    int32_t count = 0;
    if (!topics_ensure(bus, prefix, which, "default", NULL, true, &count, PATIENCE_MS, &error)) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(count, partitions);
}

static void topics_are_made_and_found_as_they_should_be(void **state)
{
    (void)state;
    struct bus *bus = open_bus();
    struct error error;
    assert_false(topics_ensure(bus, "made", TOPICS_PROGRESS, NULL, NULL, false, NULL, PATIENCE_MS, &error));
    assert_int_equal(error.kind, ERROR_INVALID);
    for (int again = 0; again < 2; again++) {
        must_ensure(bus, "made", TOPICS_PROGRESS, TOPICS_PROGRESS_PARTITIONS);
        must_ensure(bus, "made", TOPICS_TASKS, TOPICS_TASK_PARTITIONS);
        must_ensure(bus, "made", TOPICS_WORKERS, 1);
        must_ensure(bus, "made", TOPICS_DEAD_LETTER, 1);
    }
    bus_close(bus);
}

static void a_topic_with_other_settings_is_refused(void **state)
{
    (void)state;
    struct bus *bus = open_bus();
    struct error error;
    struct bus_topic topic = {.name = "wrong.progress", .partitions = 4};
    assert_true(bus_ensure_topic(bus, &topic, true, NULL, PATIENCE_MS, &error));
    assert_false(topics_ensure(bus, "wrong", TOPICS_PROGRESS, NULL, NULL, true, NULL, PATIENCE_MS, &error));
    assert_int_equal(error.kind, ERROR_INVALID);
    assert_non_null(strstr(error.message, "message.timestamp.type=CreateTime, not LogAppendTime; mend it with: kafka-configs.sh"));
    topic = (struct bus_topic){.name = "wrong.number", .partitions = 2};
    assert_true(bus_ensure_topic(bus, &topic, true, NULL, PATIENCE_MS, &error));
    topic.partitions_exact = 3;
    assert_false(bus_ensure_topic(bus, &topic, true, NULL, PATIENCE_MS, &error));
    assert_string_equal(error.message, "topic 'wrong.number' has 2 partitions, not 3");
    bus_close(bus);
}

struct asked {
    struct bus *bus;
    int64_t offset;
    char metadata[BUS_METADATA_BYTES];
};

static void ask_committed(struct asked *asked)
{
    struct error error;
    if (!bus_committed(asked->bus, "committed.coordinators", "committed.progress", 0, &asked->offset, asked->metadata, PATIENCE_MS, &error)) {
        fail_msg("%s", error.message);
    }
}

static void what_was_committed_is_found_by_anyone_later(void **state)
{
    (void)state;
    struct asked asked = {.bus = open_bus()};
    must_ensure(asked.bus, "committed", TOPICS_PROGRESS, TOPICS_PROGRESS_PARTITIONS);
    ask_committed(&asked);
    assert_int_equal(asked.offset, -1);
    assert_string_equal(asked.metadata, "");
    for (int64_t offset = 41; offset <= 42; offset++) {
        bus_commit(asked.bus, "committed.coordinators", "committed.progress", 0, offset, "epoch=7 time=1700000000000 ids=-1");
        struct asked other = {.bus = open_bus()};
        for (int tries = 0; tries < PATIENCE_MS && other.offset != offset; tries++) { /* it does not wait for its answer */
            ask_committed(&other);
        }
        assert_int_equal(other.offset, offset);
        assert_string_equal(other.metadata, "epoch=7 time=1700000000000 ids=-1");
        bus_close(other.bus);
    }
    bus_close(asked.bus);
}

static void nobody_makes_a_topic_by_asking_for_it(void **state)
{
    (void)state;
    struct bus *bus = open_bus();
    struct error error;
    int32_t count;
    int64_t first, next;
    struct bus_send send = {.topic = "asked.for", .value = span_of("x")};
    for (int again = 0; again < 2; again++) {
        assert_false(bus_send(bus, &send, &error));
        assert_false(bus_consume(bus, "asked.for", 0, 0, &error));
        assert_false(bus_bounds(bus, "asked.for", 0, &first, &next, PATIENCE_MS, &error));
        assert_false(bus_partition_count(bus, "asked.for", &count, PATIENCE_MS, &error));
        assert_int_equal(error.kind, ERROR_INVALID);
    }
    bus_close(bus);
}

static void say_number(struct bus *bus, const char *topic, uint64_t number, bool can_wait)
{
    struct error error;
    struct bus_send send = {.topic = topic, .value = {(const char *)&number, sizeof number}, .cookie = number + 1, .can_wait = can_wait};
    if (!bus_send(bus, &send, &error)) {
        fail_msg("%s", error.message);
    }
}

static void send_number(struct bus *bus, const char *topic, uint64_t number)
{
    say_number(bus, topic, number, false);
}

static void say_now(struct bus *bus, const char *topic, uint64_t number, bool can_wait)
{
    say_number(bus, topic, number, can_wait);
    assert_true(bus_flush(bus, PATIENCE_MS));
}

static void must_hear(struct bus *bus, int64_t offset)
{
    struct bus_event event;
    bus_poll(bus, PROMPT_MS, &event);
    assert_int_equal(event.kind, BUS_RECORD);
    assert_int_equal(event.offset, offset);
}

/* Of a reader whose patience is longer than this test's. */
static void a_patient_reader_hears_at_once_of_what_cannot_wait(void **state)
{
    (void)state;
    const char *const properties[] = {"fetch.wait.max.ms=58000"};
    struct bus *sender = open_bus();
    struct bus *reader = open_with((struct bus_kafka_options){.patient = true, .properties = properties, .property_count = 1});
    struct bus_event event;
    must_ensure(sender, "patient", TOPICS_WORKERS, 1);
    assert_true(bus_consume(reader, "patient.workers", 0, BUS_OFFSET_BEGINNING, NULL));
    say_now(sender, "patient.workers", 0, false);
    must_hear(reader, 0);
    say_now(sender, "patient.workers", 1, true);
    say_now(sender, "patient.workers", 2, true);
    bus_poll(reader, 300, &event);
    assert_int_equal(event.kind, BUS_NOTHING); /* of 8 bytes each: there is room for three of them below BUS_PROMPT_BYTES */
    say_now(sender, "patient.workers", 3, false);
    for (int64_t offset = 1; offset <= 3; offset++) {
        must_hear(reader, offset);
    }
    for (uint64_t number = 4; number < 8; number++) {
        say_now(sender, "patient.workers", number, true);
    }
    must_hear(reader, 4); /* enough of them are as good */
    bus_close(reader);
    bus_close(sender);
}

static void a_patient_readers_patience_has_an_end(void **state)
{
    (void)state;
    struct bus *sender = open_bus(), *reader = open_with((struct bus_kafka_options){.patient = true});
    must_ensure(sender, "impatient", TOPICS_WORKERS, 1);
    assert_true(bus_consume(reader, "impatient.workers", 0, BUS_OFFSET_BEGINNING, NULL));
    say_now(sender, "impatient.workers", 0, true);
    must_hear(reader, 0);
    bus_close(reader);
    bus_close(sender);
}

static void offsets_are_found_by_time(void **state)
{
    (void)state;
    struct bus *bus = open_bus();
    struct bus_event event;
    int64_t offset = -1;
    must_ensure(bus, "times", TOPICS_WORKERS, 1);
    for (uint64_t i = 0; i < 3; i++) {
        send_number(bus, "times.workers", i);
        assert_true(bus_flush(bus, PATIENCE_MS));
        usleep(20000); /* so that their timestamps differ */
    }
    assert_true(bus_consume(bus, "times.workers", 0, BUS_OFFSET_BEGINNING, NULL));
    do {
        bus_poll(bus, PATIENCE_MS, &event);
    } while (event.kind != BUS_RECORD || event.offset != 1);
    assert_true(bus_offset_at(bus, "times.workers", 0, event.time_ms, &offset, PATIENCE_MS, NULL));
    assert_int_equal(offset, 1);
    assert_true(bus_offset_at(bus, "times.workers", 0, event.time_ms + 3600000, &offset, PATIENCE_MS, NULL));
    assert_int_equal(offset, 3);
    assert_true(bus_offset_at(bus, "times.workers", 0, 0, &offset, PATIENCE_MS, NULL));
    assert_int_equal(offset, 0);
    bus_close(bus);
}

static int64_t first_of(struct bus *bus, const char *topic)
{
    int64_t first, next;
    assert_true(bus_bounds(bus, topic, 0, &first, &next, PATIENCE_MS, NULL));
    return first;
}

static void old_records_are_deleted_on_request(void **state)
{
    (void)state;
    struct bus *bus = open_bus();
    struct bus_event event;
    must_ensure(bus, "old", TOPICS_WORKERS, 1);
    for (uint64_t i = 0; i < 5; i++) {
        send_number(bus, "old.workers", i);
    }
    assert_true(bus_flush(bus, PATIENCE_MS));
    bus_delete_before(bus, "old.workers", 0, 3);
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (first_of(bus, "old.workers") != 3) {
        bus_poll(bus, 20, &event);
        assert_true(clock_monotonic_ms() < until_ms);
    }
    assert_true(bus_consume(bus, "old.workers", 0, 1, NULL));
    do {
        bus_poll(bus, PATIENCE_MS, &event);
    } while (event.kind == BUS_DELIVERED || event.kind == BUS_NOTHING);
    assert_int_equal(event.kind, BUS_GONE); /* never skipped in silence */
    bus_close(bus);
}

/* Standard error goes to a file until end_listening(). */
static FILE *begin_listening(int *kept)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stderr);
    *kept = dup(STDERR_FILENO);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    return file;
}

/* How often `what` stands there so far. */
static int times_said(FILE *file, const char *what)
{
    char line[2048];
    int count = 0;
    fflush(stderr);
    off_t end = lseek(fileno(file), 0, SEEK_CUR); /* shared with standard error */
    rewind(file);
    while (fgets(line, sizeof line, file) != NULL) {
        count += strstr(line, what) != NULL;
    }
    lseek(fileno(file), end, SEEK_SET);
    return count;
}

static void end_listening(FILE *file, int kept)
{
    fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    fclose(file);
}

/* A topic that is compacted allows it to nobody, as one where the user lacks the right. */
static void that_records_may_not_be_deleted_is_said_once(void **state)
{
    (void)state;
    struct bus *bus = open_bus();
    struct bus_event event;
    const char *const settings[] = {"cleanup.policy=compact", NULL};
    struct bus_topic topic = {.name = "compacted", .partitions = 1, .settings = settings};
    assert_true(bus_ensure_topic(bus, &topic, true, NULL, PATIENCE_MS, NULL));
    must_ensure(bus, "may", TOPICS_WORKERS, 1);
    send_number(bus, "may.workers", 1);
    assert_true(bus_flush(bus, PATIENCE_MS));
    int kept;
    FILE *file = begin_listening(&kept);
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    bus_delete_before(bus, "compacted", 0, 0);
    while (times_said(file, NOT_DELETED) == 0 && clock_monotonic_ms() < until_ms) {
        bus_poll(bus, 20, &event);
    }
    bus_delete_before(bus, "compacted", 0, 0);
    bus_delete_before(bus, "compacted", 0, 0);
    bus_delete_before(bus, "may.workers", 0, 1); /* most often answered after the others */
    while (first_of(bus, "may.workers") != 1 && clock_monotonic_ms() < until_ms) {
        bus_poll(bus, 20, &event);
    }
    bus_poll(bus, 100, &event);
    int times = times_said(file, NOT_DELETED);
    end_listening(file, kept);
    assert_int_equal(first_of(bus, "may.workers"), 1);
    assert_int_equal(times, 1);
    bus_close(bus);
}

struct stream {
    uint64_t sent, acknowledged, read;
};

/* Send and read for a while; every report and record must be the next one. */
static void stream(struct bus *bus, const char *topic, struct stream *stream, uint64_t more)
{
    uint64_t goal = stream->sent + more;
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    struct bus_event event;
    while (stream->sent < goal || (more == 0 && stream->read < goal)) {
        if (stream->sent < goal) {
            send_number(bus, topic, stream->sent++);
        }
        bus_poll(bus, 5, &event);
        uint64_t number;
        switch (event.kind) {
        case BUS_DELIVERED: assert_int_equal(event.cookie, ++stream->acknowledged); break;
        case BUS_RECORD:
            memcpy(&number, event.value.bytes, sizeof number);
            if (number != stream->read) {
                fail_msg("number %d came at offset %d instead of %d", (int)number, (int)event.offset, (int)stream->read);
            }
            stream->read++;
            break;
        case BUS_GONE:
        case BUS_FATAL: fail_msg("%s", event.reason); break;
        default: break;
        }
        assert_true(clock_monotonic_ms() < until_ms);
    }
}

/* Each with a producer the topic has not seen: the broker has nothing to compare its first number with. */
static void the_first_records_of_a_new_topic_come_in_order(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct bus *bus = open_bus();
        struct stream counts = {0};
        char prefix[16], topic[32];
        snprintf(prefix, sizeof prefix, "new%d", i);
        snprintf(topic, sizeof topic, "%s.progress", prefix);
        must_ensure(bus, prefix, TOPICS_PROGRESS, TOPICS_PROGRESS_PARTITIONS);
        assert_true(bus_consume(bus, topic, 0, BUS_OFFSET_BEGINNING, NULL));
        stream(bus, topic, &counts, 20);
        stream(bus, topic, &counts, 0);
        bus_close(bus);
    }
}

static void a_killed_broker_loses_and_reorders_nothing(void **state)
{
    (void)state;
    struct bus *bus = open_bus();
    struct stream counts = {0};
    char output[64];
    must_ensure(bus, "outage", TOPICS_PROGRESS, TOPICS_PROGRESS_PARTITIONS);
    assert_true(bus_consume(bus, "outage.progress", 0, BUS_OFFSET_BEGINNING, NULL));
    stream(bus, "outage.progress", &counts, 500);
    assert_int_equal(kafka("kill", "", output, sizeof output), 0);
    stream(bus, "outage.progress", &counts, 500);
    assert_int_equal(kafka("restart", "", output, sizeof output), 0);
    assert_string_equal(output, address);
    stream(bus, "outage.progress", &counts, 500);
    assert_true(bus_flush(bus, PATIENCE_MS));
    stream(bus, "outage.progress", &counts, 0);
    assert_int_equal(counts.read, 1500);
    bus_close(bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_are_made_and_found_as_they_should_be),
        cmocka_unit_test(a_topic_with_other_settings_is_refused),
        cmocka_unit_test(what_was_committed_is_found_by_anyone_later),
        cmocka_unit_test(nobody_makes_a_topic_by_asking_for_it),
        cmocka_unit_test(a_patient_reader_hears_at_once_of_what_cannot_wait),
        cmocka_unit_test(a_patient_readers_patience_has_an_end),
        cmocka_unit_test(offsets_are_found_by_time),
        cmocka_unit_test(old_records_are_deleted_on_request),
        cmocka_unit_test(that_records_may_not_be_deleted_is_said_once),
        cmocka_unit_test(the_first_records_of_a_new_topic_come_in_order),
        cmocka_unit_test(a_killed_broker_loses_and_reorders_nothing),
    };
    return cmocka_run_group_tests_name("bus on a real broker", tests, start_broker, stop_broker);
}
