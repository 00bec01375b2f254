/* SPDX-License-Identifier: Apache-2.0 */
/* backstep topics: make them, look at them, say what is wrong with them. */
#include "common/bus_kafka.h"
#include "common/topics.h"
#include "coordinator/cli/command.h"

#include <stdio.h>

static void print_topic(const struct call *call, const char *name, int32_t partitions)
{
    if (call->json) {
        printf("{\"topic\":\"%s\",\"partitions\":%d}\n", name, partitions);
    } else if (!call->quiet) {
        printf("%-40s  %d partition%s\n", name, partitions, partitions == 1 ? "" : "s");
    }
}

/* Every one of them, so that one run tells all that is wrong. */
static int ensure_all(struct call *call, struct bus *bus, const struct topics_options *options)
{
    int code = EXIT_DONE;
    for (int which = 0; which < TOPICS_COUNT; which++) {
        struct error error = {0};
        char name[TOPICS_NAME_BYTES];
        int32_t partitions;
        topics_name(name, (enum topics_which)which, call->client.prefix, "default");
        if (topics_ensure(bus, call->client.prefix, (enum topics_which)which, "default", options, true, &partitions,
                          call->client.timeout_ms, &error)) {
            print_topic(call, name, partitions);
        } else {
            code = complain_of(&error);
        }
    }
    return code;
}

int cmd_topics(struct call *call)
{
    struct error error = {0};
    struct topics_options options = {
        .progress_partitions = (int32_t)option_number(call->options, "progress-partitions"),
        .task_partitions = (int32_t)option_number(call->options, "task-partitions"),
        .progress_exact = option_given(call->options, "progress-partitions"),
        .replication = (int32_t)option_number(call->options, "replication"),
    };
    options.settings = option_list(call->options, "topic-config", &options.setting_count);
    struct bus_kafka_options bus_options = {
        .brokers = call->client.brokers,
        .client_id = "backstep",
        .properties = call->client.properties,
        .property_count = call->client.property_count,
        .timeout_ms = call->client.timeout_ms,
    };
    struct bus *bus = bus_kafka_open(&bus_options, &error);
    int code = bus != NULL ? ensure_all(call, bus, &options) : complain_of(&error);
    bus_close(bus);
    return code;
}
