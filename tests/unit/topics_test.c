/* SPDX-License-Identifier: Apache-2.0 */
#include "common/bus_memory.h"
#include "common/topics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct name_row {
    enum topics_which which;
    const char *queue, *name;
} name_rows[] = {
    {TOPICS_PROGRESS, NULL, "p.progress"},
    {TOPICS_TASKS, "default", "p.tasks.default"},
    {TOPICS_WORKERS, NULL, "p.workers"},
    {TOPICS_LOGS, NULL, "p.logs"},
    {TOPICS_DEAD_LETTER, NULL, "p.dead-letter"},
};

static void each_topic_has_its_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof name_rows / sizeof name_rows[0]; i++) {
        char name[TOPICS_NAME_BYTES];
        assert_string_equal(topics_name(name, name_rows[i].which, "p", name_rows[i].queue), name_rows[i].name);
    }
}

static bool ensure(struct bus *bus, enum topics_which which, const struct topics_options *options, int32_t *partitions,
                   struct error *error)
{
    return topics_ensure(bus, "p", which, "default", options, true, partitions, 0, error);
}

static void topics_are_made_with_the_numbers_asked_for(void **state)
{
    (void)state;
    struct memory_cluster *cluster = memory_cluster_new(1);
    struct bus *bus = bus_memory_open(cluster);
    struct topics_options options = {.progress_partitions = 6, .task_partitions = 12};
    struct error error = {0};
    int32_t count = 0;
    assert_false(topics_ensure(bus, "p", TOPICS_PROGRESS, NULL, NULL, false, &count, 0, &error));
    assert_int_equal(error.kind, ERROR_INVALID);
    assert_true(ensure(bus, TOPICS_PROGRESS, &options, &count, &error));
    assert_int_equal(count, 6);
    assert_true(ensure(bus, TOPICS_PROGRESS, NULL, &count, &error)); /* who names no number takes what is there */
    assert_int_equal(count, 6);
    assert_true(ensure(bus, TOPICS_TASKS, &options, &count, &error));
    assert_int_equal(count, 12);
    assert_true(ensure(bus, TOPICS_WORKERS, &options, &count, &error));
    assert_int_equal(count, 1);
    options = (struct topics_options){.progress_partitions = 8, .progress_exact = true};
    assert_false(ensure(bus, TOPICS_PROGRESS, &options, &count, &error));
    assert_non_null(strstr(error.message, "--progress-partitions 6"));
    bus_close(bus);
    memory_cluster_free(cluster);
}

static void a_workers_topic_of_several_partitions_is_refused(void **state)
{
    (void)state;
    struct memory_cluster *cluster = memory_cluster_new(1);
    memory_cluster_create_topic(cluster, "p.workers", 4);
    struct bus *bus = bus_memory_open(cluster);
    struct error error = {0};
    assert_false(ensure(bus, TOPICS_WORKERS, NULL, NULL, &error));
    assert_string_equal(error.message, "topic 'p.workers' has 4 partitions, not 1; mend it with: kafka-topics.sh --delete --topic "
                                       "p.workers, then backstep topics");
    bus_close(bus);
    memory_cluster_free(cluster);
}

static const struct setting_row {
    const char *setting;
    bool accepted;
    const char *message;
} setting_rows[] = {
    {"min.insync.replicas=2", true, NULL},
    {"segment.ms=1000", true, NULL},
    {"max.message.bytes=8000000", true, NULL},
    {"retention.ms=-1", true, NULL},
    {"cleanup.policy=delete", true, NULL},
    {"max.message.bytes=1000", false, "topic setting 'max.message.bytes=1000': Backstep needs at least max.message.bytes=4259840"},
    {"retention.ms=86400000", false, "topic setting 'retention.ms=86400000': Backstep needs at least retention.ms=-1"},
    {"cleanup.policy=compact", false, "topic setting 'cleanup.policy=compact': Backstep needs cleanup.policy=delete"},
    {"message.timestamp.type=CreateTime", false,
     "topic setting 'message.timestamp.type=CreateTime': Backstep needs message.timestamp.type=LogAppendTime"},
    {"segment.ms", false, "topic setting 'segment.ms': expected NAME=VALUE"},
    {"=1", false, "topic setting '=1': expected NAME=VALUE"},
};

static void settings_that_break_a_promise_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof setting_rows / sizeof setting_rows[0]; i++) {
        const struct setting_row *row = &setting_rows[i];
        struct memory_cluster *cluster = memory_cluster_new(1);
        struct bus *bus = bus_memory_open(cluster);
        struct topics_options options = {.settings = &row->setting, .setting_count = 1};
        struct error error = {0};
        assert_int_equal(ensure(bus, TOPICS_PROGRESS, &options, NULL, &error), row->accepted);
        if (!row->accepted) {
            assert_string_equal(error.message, row->message);
        }
        bus_close(bus);
        memory_cluster_free(cluster);
    }
}

/* A new coordinator takes a worker for lost by the times on that topic; by the worker's own clock it would take a living one. */
static void the_workers_topic_is_of_one_clock(void **state)
{
    (void)state;
    struct memory_cluster *cluster = memory_cluster_new(1);
    struct bus *bus = bus_memory_open(cluster);
    const char *setting = "message.timestamp.type=CreateTime";
    struct topics_options options = {.settings = &setting, .setting_count = 1};
    struct error error = {0};
    assert_false(ensure(bus, TOPICS_WORKERS, &options, NULL, &error));
    assert_non_null(strstr(error.message, "Backstep needs message.timestamp.type=LogAppendTime"));
    bus_close(bus);
    memory_cluster_free(cluster);
}

/* A run's lines are looked for from its start, by the log's time; and a record of ours has to fit. */
static const struct setting_row log_rows[] = {
    {"retention.ms=86400000", true, NULL},
    {"message.timestamp.type=CreateTime", false,
     "topic setting 'message.timestamp.type=CreateTime': Backstep needs message.timestamp.type=LogAppendTime"},
    {"max.message.bytes=1000", false, "topic setting 'max.message.bytes=1000': Backstep needs at least max.message.bytes=1048576"},
};

static void how_long_logs_are_kept_is_the_operators(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof log_rows / sizeof log_rows[0]; i++) {
        struct memory_cluster *cluster = memory_cluster_new(1);
        struct bus *bus = bus_memory_open(cluster);
        struct topics_options options = {.settings = &log_rows[i].setting, .setting_count = 1};
        struct error error = {0};
        assert_int_equal(ensure(bus, TOPICS_LOGS, &options, NULL, &error), log_rows[i].accepted);
        assert_true(log_rows[i].accepted || strcmp(error.message, log_rows[i].message) == 0);
        bus_close(bus);
        memory_cluster_free(cluster);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_topic_has_its_name),
        cmocka_unit_test(topics_are_made_with_the_numbers_asked_for),
        cmocka_unit_test(a_workers_topic_of_several_partitions_is_refused),
        cmocka_unit_test(settings_that_break_a_promise_are_refused),
        cmocka_unit_test(the_workers_topic_is_of_one_clock),
        cmocka_unit_test(how_long_logs_are_kept_is_the_operators),
    };
    return cmocka_run_group_tests_name("topics", tests, NULL, NULL);
}
