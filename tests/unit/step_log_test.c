/* SPDX-License-Identifier: Apache-2.0 */
/* From what a step says to records on the logs topic: tidied, bounded, batched, and never in anybody's way. */
#include "common/bus_memory.h"
#include "common/clock.h"
#include "common/limits.h"
#include "worker/log_queue.h"
#include "worker/log_shipper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define S(literal)                                                                                                                 \
    {                                                                                                                              \
        literal, sizeof(literal) - 1                                                                                               \
    }

static const struct task task = {.run_id = S("chat-1"), .ticket = {2, 0, DIRECTION_EXECUTE, 1}, .step = S("talk"), .attempt = 1};
static const struct task other = {.run_id = S("chat-1"), .ticket = {2, 0, DIRECTION_EXECUTE, 2}, .step = S("talk"), .attempt = 2};

/* ---- one line */

struct heard {
    size_t count;
    struct log_line last;
    char event[256], text[LIMIT_PROGRAM_LOG_LINE_BYTES + 1], data[256];
    uint64_t bytes, dropped_lines, dropped_bytes;
};

static void keep(char *to, size_t room, struct span span)
{
    size_t size = span.size < room ? span.size : room - 1;
    memcpy(to, span.size > 0 ? span.bytes : "", size);
    to[size] = '\0';
}

static void hear(void *state, const struct log_line *line)
{
    struct heard *heard = state;
    heard->count++;
    heard->last = *line;
    heard->bytes += line->event.size + line->text.size + line->data.size;
    keep(heard->event, sizeof heard->event, line->event);
    keep(heard->text, sizeof heard->text, line->text);
    keep(heard->data, sizeof heard->data, line->data);
}

static void hear_dropped(void *state, uint64_t lines, uint64_t bytes)
{
    struct heard *heard = state;
    heard->dropped_lines += lines;
    heard->dropped_bytes += bytes;
}

static void open_context(struct backstep_context *context, struct heard *heard)
{
    static const struct backstep_step step = {.name = "talk"};
    struct context_listener listener = {.logged = hear, .log_dropped = hear_dropped, .state = heard};
    log_set_level(LOG_NONE);
    context_init(context, &task, &step, NULL, &listener);
}

static const struct line_row {
    const char *what;
    struct span line;
    size_t count;
    enum log_level level;
    const char *event, *text, *data;
} line_rows[] = {
    {"plain text", S("on it"), 1, LOG_INFO, "", "on it", ""},
    {"blanks at its end", S("on it \r"), 1, LOG_INFO, "", "on it", ""},
    {"a blank line is none", S(" \t "), 0, LOG_INFO, "", "", ""},
    {"a level in logfmt", S("ts=1 level=warn disk=full"), 1, LOG_WARN, "", "ts=1 level=warn disk=full", ""},
    {"a level in the middle of a word", S("sealevel=warn"), 1, LOG_INFO, "", "sealevel=warn", ""},
    {"a level nobody knows", S("level=loud"), 1, LOG_INFO, "", "level=loud", ""},
    {"an object", S("{\"level\":\"ERROR\",\"event\":\"boom\",\"message\":\"it went\",\"n\":3}"), 1, LOG_ERROR, "boom", "it went",
     "{\"n\":3}"},
    {"an object of its own", S("{\"a\": 1}"), 1, LOG_INFO, "", "", "{\"a\":1}"},
    {"an object with a level that is none", S("{\"level\":7}"), 1, LOG_INFO, "", "", "{\"level\":7}"},
    {"half an object", S("{\"level\":\"warn\""), 1, LOG_INFO, "", "{\"level\":\"warn\"", ""},
    {"an empty object", S("{}"), 1, LOG_INFO, "", "{}", ""},
    {"bytes that are no UTF-8", S("a\xff\xc3z\xc3\xbc"), 1, LOG_INFO, "", "a??zü", ""},
    {"a NUL", S("a\0b"), 1, LOG_INFO, "", "a?b", ""},
};

static void a_line_says_its_level_and_what_happened(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(line_rows); i++) {
        const struct line_row *row = &line_rows[i];
        struct backstep_context context;
        struct heard heard = {0};
        open_context(&context, &heard);
        step_log_program(&context, LOG_SOURCE_STDERR, row->line);
        if (heard.count != row->count || (row->count > 0 && heard.last.level != row->level) ||
            strcmp(heard.event, row->event) != 0 || strcmp(heard.text, row->text) != 0 || strcmp(heard.data, row->data) != 0) {
            fail_msg("%s: %zu level %d '%s' '%s' '%s'", row->what, heard.count, (int)heard.last.level, heard.event, heard.text,
                     heard.data);
        }
        context_fini(&context);
    }
}

static void an_attempt_logs_so_much_and_the_rest_is_counted(void **state)
{
    (void)state;
    static char text[1000];
    memset(text, 'x', sizeof text);
    struct backstep_context context;
    struct heard heard = {0};
    open_context(&context, &heard);
    for (int i = 0; i < 2000; i++) {
        step_log(&context, LOG_INFO, (struct span){0}, (struct span){text, sizeof text}, (struct span){0});
    }
    assert_int_equal(heard.bytes, LIMIT_PROGRAM_LOG_BYTES);
    assert_int_equal(heard.dropped_bytes, 0); /* said once, at the end */
    step_log_end(&context);
    assert_int_equal(heard.dropped_bytes, 2000 * sizeof text - LIMIT_PROGRAM_LOG_BYTES);
    assert_int_equal(heard.dropped_lines, 2000 - heard.count);
    step_log_end(&context);
    assert_int_equal(heard.dropped_lines, 2000 - heard.count);
    context_fini(&context);
}

static void what_a_handler_logs_is_one_line(void **state)
{
    (void)state;
    struct backstep_context context;
    struct heard heard = {0};
    open_context(&context, &heard);
    backstep_log(&context, "%d of %d\n", 3, 4);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.last.source, LOG_SOURCE_HANDLER);
    assert_true(heard.last.time_ms > 1700000000000);
    assert_string_equal(heard.text, "3 of 4");
    context_fini(&context);
}

/* ---- the queue */

static struct log_line line_of(const char *text)
{
    return (struct log_line){.time_ms = 7, .level = LOG_INFO, .source = LOG_SOURCE_STDERR, .text = span_of(text)};
}

static void lines_of_one_attempt_share_a_record(void **state)
{
    (void)state;
    struct log_queue *queue = log_queue_new(1 << 20);
    struct log_line one = line_of("one"), two = line_of("two"), three = line_of("three");
    two.event = span_of("event");
    two.data = span_of("{\"n\":1}");
    assert_true(log_queue_add(queue, &task, &one) && log_queue_add(queue, &other, &three) && log_queue_add(queue, &task, &two));
    struct log_batch *batch = log_queue_take(queue);
    const struct message *message = log_batch_message(batch);
    assert_int_equal(message->log.count, 2);
    assert_int_equal(message->event.ticket.number, 1);
    assert_true(span_equal(message->event.run_id, task.run_id) && span_equal(message->log.step, task.step));
    assert_true(span_equal(message->log.lines[0].text, span_of("one")));
    assert_true(span_equal(message->log.lines[1].event, span_of("event")));
    assert_true(span_equal(message->log.lines[1].text, span_of("two")));
    assert_true(span_equal(message->log.lines[1].data, span_of("{\"n\":1}")));
    log_batch_free(batch);
    batch = log_queue_take(queue);
    assert_int_equal(log_batch_message(batch)->log.attempt, 2);
    log_batch_free(batch);
    assert_null(log_queue_take(queue));
    assert_int_equal(log_queue_bytes(queue), 0);
    log_queue_free(queue);
}

static void a_record_takes_so_much_and_the_next_one_goes_on(void **state)
{
    (void)state;
    struct log_queue *queue = log_queue_new(64 << 20);
    struct log_line line = line_of("a line of many");
    for (int i = 0; i < LIMIT_LOG_RECORD_LINES + 1; i++) {
        assert_true(log_queue_add(queue, &task, &line));
    }
    assert_true(log_queue_has_full(queue));
    size_t counts[2];
    for (size_t i = 0; i < 2; i++) {
        struct log_batch *batch = log_queue_take(queue);
        counts[i] = log_batch_message(batch)->log.count;
        log_batch_free(batch);
    }
    assert_int_equal(counts[0], LIMIT_LOG_RECORD_LINES);
    assert_int_equal(counts[1], 1);
    assert_false(log_queue_has_full(queue));
    log_queue_free(queue);
}

static void a_full_queue_drops_and_counts(void **state)
{
    (void)state;
    struct log_queue *queue = log_queue_new(2000);
    struct log_line line = line_of("a line of many");
    int kept = 0;
    for (int i = 0; i < 100; i++) {
        kept += log_queue_add(queue, &task, &line);
    }
    assert_true(kept > 0 && kept < 100);
    assert_true(log_queue_bytes(queue) <= 2000);
    for (uint32_t i = 0; i < 10; i++) { /* there is no room for a batch of another, who would tell of it */
        struct task stranger = other;
        stranger.ticket.number = 10 + i;
        log_queue_add(queue, &stranger, &line);
    }
    struct log_batch *batch = log_queue_take(queue);
    const struct message *message = log_batch_message(batch);
    assert_int_equal(message->log.count, kept);
    assert_int_equal(message->log.dropped_lines, 100 - kept);
    assert_int_equal(message->log.dropped_bytes, (size_t)(100 - kept) * line.text.size);
    log_batch_free(batch);
    uint64_t told = 0;
    while ((batch = log_queue_take(queue)) != NULL) {
        told += log_batch_message(batch)->log.count + log_batch_message(batch)->log.dropped_lines;
        log_batch_free(batch);
    }
    assert_int_equal(told + log_queue_take_untold(queue), 10);
    assert_int_equal(log_queue_take_untold(queue), 0);
    log_queue_free(queue);
}

static void a_full_queue_has_room_to_tell_of_another_attempt(void **state)
{
    (void)state;
    struct log_queue *queue = log_queue_new(8000);
    struct log_line line = line_of("a line of many");
    while (log_queue_add(queue, &task, &line)) {
    }
    assert_false(log_queue_add(queue, &other, &line));
    assert_int_equal(log_queue_take_untold(queue), 0);
    log_batch_free(log_queue_take(queue));
    struct log_batch *batch = log_queue_take(queue);
    assert_int_equal(log_batch_message(batch)->event.ticket.number, other.ticket.number);
    assert_int_equal(log_batch_message(batch)->log.count, 0);
    assert_int_equal(log_batch_message(batch)->log.dropped_lines, 1);
    log_batch_free(batch);
    log_queue_free(queue);
}

/* ---- the way to the topic */

struct line_of_supply {
    struct memory_cluster *cluster;
    atomic_int opened;
    int refusals;
};

static struct bus *open_bus(void *state, struct error *error)
{
    struct line_of_supply *supply = state;
    if (atomic_fetch_add(&supply->opened, 1) < supply->refusals) {
        error_set(error, ERROR_TRANSIENT, "no broker");
        return NULL;
    }
    return bus_memory_open(supply->cluster);
}

static struct log_shipper *ship(struct line_of_supply *supply)
{
    struct error error = {0};
    struct log_shipper_options options = {.prefix = "t", .worker = "w1", .timeout_ms = 10, .open = open_bus, .state = supply};
    supply->cluster = memory_cluster_new(1);
    log_set_level(LOG_NONE);
    struct log_shipper *shipper = log_shipper_new(&options, &error);
    assert_non_null(shipper);
    return shipper;
}

/* Lines and dropped lines of all records of the topic. */
static uint64_t lines_in(struct memory_cluster *cluster, uint64_t *records)
{
    uint64_t lines = 0;
    *records = 0;
    for (int32_t partition = 0; partition < 4; partition++) {
        for (int64_t i = 0; i < memory_cluster_end(cluster, "t.logs", partition); i++) {
            struct memory_record record;
            struct message message = {0};
            struct error error = {0};
            assert_true(memory_cluster_record(cluster, "t.logs", partition, i, &record));
            assert_true(message_decode(&message, TOPIC_LOGS, record.key, record.value, &error));
            assert_int_equal(partition, bus_partition_of(record.key, 4));
            assert_true(span_equal(message.event.worker, span_of("w1")));
            lines += message.log.count + message.log.dropped_lines;
            ++*records;
            message_free(&message);
        }
    }
    return lines;
}

static void what_is_logged_is_on_the_topic_in_few_records(void **state)
{
    (void)state;
    struct line_of_supply supply = {0};
    struct log_shipper *shipper = ship(&supply);
    struct log_sink sink = log_shipper_sink(shipper);
    struct log_line line = line_of("a line of many");
    for (int i = 0; i < 1000; i++) {
        sink.take(sink.state, &task, &line);
    }
    sink.dropped(sink.state, &task, 3, 300);
    log_shipper_free(shipper, 10000);
    uint64_t records, lines = lines_in(supply.cluster, &records);
    assert_int_equal(lines, 1003);
    assert_true(records <= 100);
    memory_cluster_free(supply.cluster);
}

static void who_logs_nothing_opens_no_connection(void **state)
{
    (void)state;
    struct line_of_supply supply = {0};
    log_shipper_free(ship(&supply), 10000);
    assert_int_equal(atomic_load(&supply.opened), 0);
    memory_cluster_free(supply.cluster);
}

static void a_topic_that_cannot_be_had_holds_nobody_up(void **state)
{
    (void)state;
    struct line_of_supply supply = {.refusals = 1000};
    struct log_shipper *shipper = ship(&supply);
    struct log_sink sink = log_shipper_sink(shipper);
    static char text[10000];
    memset(text, 'x', sizeof text);
    struct log_line line = line_of("");
    line.text = (struct span){text, sizeof text};
    for (int i = 0; i < 2 * LIMIT_LOG_QUEUE_BYTES / (int)sizeof text; i++) {
        sink.take(sink.state, &task, &line); /* beyond the bound, and it returns all the same */
    }
    log_shipper_free(shipper, 0);
    memory_cluster_free(supply.cluster);
}

static void wait_for_second_connection(struct line_of_supply *supply, const struct log_sink *sink, const struct log_line *line)
{
    int64_t until_ms = clock_monotonic_ms() + 20000;
    while (atomic_load(&supply->opened) < 2) {
        assert_true(clock_monotonic_ms() < until_ms);
        sink->take(sink->state, &other, line);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static void a_failed_delivery_costs_its_lines_and_a_new_connection(void **state)
{
    (void)state;
    struct line_of_supply supply = {0};
    struct log_shipper *shipper = ship(&supply);
    struct log_sink sink = log_shipper_sink(shipper);
    struct log_line line = line_of("a line of many");
    memory_cluster_crash_after(supply.cluster, 1, false);
    sink.take(sink.state, &task, &line);
    wait_for_second_connection(&supply, &sink, &line);
    log_shipper_free(shipper, 10000);
    uint64_t records;
    assert_true(lines_in(supply.cluster, &records) > 0);
    memory_cluster_free(supply.cluster);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_says_its_level_and_what_happened),
        cmocka_unit_test(an_attempt_logs_so_much_and_the_rest_is_counted),
        cmocka_unit_test(what_a_handler_logs_is_one_line),
        cmocka_unit_test(lines_of_one_attempt_share_a_record),
        cmocka_unit_test(a_record_takes_so_much_and_the_next_one_goes_on),
        cmocka_unit_test(a_full_queue_drops_and_counts),
        cmocka_unit_test(a_full_queue_has_room_to_tell_of_another_attempt),
        cmocka_unit_test(what_is_logged_is_on_the_topic_in_few_records),
        cmocka_unit_test(who_logs_nothing_opens_no_connection),
        cmocka_unit_test(a_topic_that_cannot_be_had_holds_nobody_up),
        cmocka_unit_test(a_failed_delivery_costs_its_lines_and_a_new_connection),
    };
    return cmocka_run_group_tests_name("step_log", tests, NULL, NULL);
}
