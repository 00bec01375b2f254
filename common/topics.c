/* SPDX-License-Identifier: Apache-2.0 */
#include "common/topics.h"

#include "common/limits.h"
#include "common/span.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OWN_MAX 5
#define LIST_MAX (OWN_MAX + TOPICS_EXTRA_MAX)

/* The greatest record, with its key, headers and framing. */
#define RECORD_BYTES "4259840"
static_assert(LIMIT_RECORD_BYTES + 64 * KIB == 4259840, "a topic's limit follows ours");

/* A segment is kept until its youngest record is old enough, so a sixth of the retention is the most that is kept too long. */
static const struct topic_table {
    const char *suffix;
    bool per_queue;
    int32_t partitions;
    bool fixed;                    /* never another number */
    const char *settings[OWN_MAX]; /* as in struct bus_topic; NULL at the end */
    const char *minimums[OWN_MAX];
    const char *initial[OWN_MAX];
} table[TOPICS_COUNT] = {
    /* One clock rules, and a run that waits for a person may be older than any retention. */
    [TOPICS_PROGRESS] = {"progress", false, TOPICS_PROGRESS_PARTITIONS, false,
                         {"message.timestamp.type=LogAppendTime", "cleanup.policy=delete"},
                         {"retention.ms=-1", "retention.bytes=-1", "max.message.bytes=" RECORD_BYTES},
                         {"segment.ms=100800000"}},
    [TOPICS_TASKS] = {"tasks", true, TOPICS_TASK_PARTITIONS, false,
                      {"cleanup.policy=delete"},
                      {"retention.ms=3600000", "max.message.bytes=" RECORD_BYTES},
                      {"segment.ms=600000", "message.timestamp.type=LogAppendTime"}},
    /* Who comes late judges by these times who is over: they must not be the workers' own. */
    [TOPICS_WORKERS] = {"workers", false, 1, true,
                        {"message.timestamp.type=LogAppendTime", "cleanup.policy=delete"},
                        {"retention.ms=3600000"},
                        {"segment.ms=600000"}},
    /* Found by the time a run began, which is the log's. Their reader skips what he does not know: nobody buries anything here. */
    [TOPICS_LOGS] = {"logs", false, TOPICS_LOG_PARTITIONS, false,
                     {"message.timestamp.type=LogAppendTime", "cleanup.policy=delete"},
                     {"max.message.bytes=1048576"},
                     {"retention.ms=604800000", "segment.ms=100800000"}},
    [TOPICS_DEAD_LETTER] = {"dead-letter", false, 1, false,
                            {NULL},
                            {"max.message.bytes=" RECORD_BYTES},
                            {"retention.ms=1209600000", "segment.ms=201600000"}},
};

const char *topics_name(char name[TOPICS_NAME_BYTES], enum topics_which which, const char *prefix, const char *queue)
{
    const struct topic_table *row = &table[which];
    assert(!row->per_queue || queue != NULL);
    const char *const parts[] = {prefix, ".", row->suffix, row->per_queue ? "." : "", row->per_queue ? queue : ""};
    size_t size = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) { /* no snprintf(): one is made for each task */
        size_t more = strlen(parts[i]);
        assert(size + more < TOPICS_NAME_BYTES); /* LIMIT_IDENTIFIER_BYTES sees to that */
        memcpy(name + size, parts[i], more);
        size += more;
    }
    name[size] = '\0';
    return name;
}

/* The settings of one topic, what a person gave included. */
struct lists {
    const char *settings[LIST_MAX + 1], *minimums[LIST_MAX + 1], *initial[LIST_MAX + 1];
};

static void copy_list(const char **to, const char *const from[OWN_MAX])
{
    size_t count = 0;
    while (count < OWN_MAX && from[count] != NULL) {
        to[count] = from[count];
        count++;
    }
    to[count] = NULL;
}

/* Where "name=..." stands in `list`, else its end. */
static const char **same_name(const char **list, const char *setting)
{
    size_t size = strcspn(setting, "=") + 1;
    while (*list != NULL && strncmp(*list, setting, size) != 0) {
        list++;
    }
    return list;
}

static const char *value_of(const char *setting)
{
    return strchr(setting, '=') + 1;
}

/* A number of which -1 is the greatest. */
static unsigned long long unbounded(const char *value)
{
    return (unsigned long long)strtoll(value, NULL, 10);
}

static bool add_setting(struct lists *lists, const char *setting, struct error *error)
{
    const char *equals = strchr(setting, '=');
    if (equals == NULL || equals == setting) {
        return error_set(error, ERROR_INVALID, "topic setting '%s': expected NAME=VALUE", setting);
    }
    const char **exact = same_name(lists->settings, setting);
    if (*exact != NULL) {
        return strcmp(*exact, setting) == 0 ||
               error_set(error, ERROR_INVALID, "topic setting '%s': Backstep needs %s", setting, *exact);
    }
    const char **minimum = same_name(lists->minimums, setting);
    if (*minimum != NULL) {
        if (unbounded(value_of(setting)) < unbounded(value_of(*minimum))) {
            return error_set(error, ERROR_INVALID, "topic setting '%s': Backstep needs at least %s", setting, *minimum);
        }
        *minimum = setting;
        return true;
    }
    const char **initial = same_name(lists->initial, setting);
    if (*initial == NULL) {
        initial[1] = NULL;
    }
    *initial = setting;
    return true;
}

static bool make_lists(struct lists *lists, const struct topic_table *row, const struct topics_options *options,
                       struct error *error)
{
    copy_list(lists->settings, row->settings);
    copy_list(lists->minimums, row->minimums);
    copy_list(lists->initial, row->initial);
    if (options->setting_count > TOPICS_EXTRA_MAX) {
        return error_set(error, ERROR_INVALID, "%zu topic settings are given; %d are allowed", options->setting_count,
                         TOPICS_EXTRA_MAX);
    }
    for (size_t i = 0; i < options->setting_count; i++) {
        if (!add_setting(lists, options->settings[i], error)) {
            return false;
        }
    }
    return true;
}

static int32_t wanted_partitions(enum topics_which which, const struct topics_options *options)
{
    if (which == TOPICS_PROGRESS && options->progress_partitions > 0) {
        return options->progress_partitions;
    }
    if (which == TOPICS_TASKS && options->task_partitions > 0) {
        return options->task_partitions;
    }
    return table[which].partitions;
}

static bool count_fits(enum topics_which which, const char *name, const struct topics_options *options, int32_t count,
                       struct error *error)
{
    int32_t wanted = wanted_partitions(which, options);
    if (count == wanted) {
        return true;
    }
    if (which == TOPICS_PROGRESS && options->progress_exact) {
        return error_set(
            error, ERROR_INVALID,
            "topic '%s' has %d partitions, not %d, and the number is fixed once it is made; mend it with: backstep topics "
            "--progress-partitions %d, or take another --prefix",
            name, count, wanted, count);
    }
    if (table[which].fixed) {
        return error_set(
            error, ERROR_INVALID,
            "topic '%s' has %d partitions, not %d; mend it with: kafka-topics.sh --delete --topic %s, then backstep topics", name,
            count, wanted, name);
    }
    return true;
}

bool topics_ensure(struct bus *bus, const char *prefix, enum topics_which which, const char *queue,
                   const struct topics_options *options, bool create, int32_t *partitions, int timeout_ms, struct error *error)
{
    static const struct topics_options defaults = {0};
    const struct topics_options *given = options != NULL ? options : &defaults;
    char name[TOPICS_NAME_BYTES];
    struct lists lists;
    if (!make_lists(&lists, &table[which], given, error)) {
        return false;
    }
    struct bus_topic topic = {
        .name = topics_name(name, which, prefix, queue),
        .partitions = wanted_partitions(which, given),
        .replication = given->replication,
        .settings = lists.settings,
        .minimums = lists.minimums,
        .initial = lists.initial,
    };
    int32_t count;
    if (!bus_ensure_topic(bus, &topic, create, &count, timeout_ms, error) ||
        (!bus_embedded(bus) && !count_fits(which, name, given, count, error))) {
        return false;
    }
    if (partitions != NULL) {
        *partitions = count;
    }
    return true;
}
