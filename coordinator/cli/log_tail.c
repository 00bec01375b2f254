/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/log_tail.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool log_tail_bound(const struct log_tail *tail, int64_t *end, struct error *error)
{
    int64_t first;
    return bus_bounds(tail->client->bus, tail->topic, tail->partition, &first, end, tail->client->options.timeout_ms, error);
}

bool log_tail_is_there(const struct log_tail *tail, struct error *error)
{
    char topic[TOPICS_NAME_BYTES];
    int32_t partitions;
    topics_name(topic, TOPICS_LOGS, tail->client->options.prefix, NULL);
    error->kind = ERROR_NONE;
    bool is_there = bus_partition_count(tail->client->bus, topic, &partitions, tail->client->options.timeout_ms, error);
    if (!is_there && error->kind == ERROR_INVALID) {
        error->kind = ERROR_NONE;
    }
    return is_there;
}

bool log_tail_begin(struct log_tail *tail, int64_t since_ms, struct error *error)
{
    struct bus *bus = tail->client->bus;
    const struct client_options *options = &tail->client->options;
    int32_t partitions;
    topics_name(tail->topic, TOPICS_LOGS, options->prefix, NULL);
    bool is_there = options->create_topics ? topics_ensure(bus, options->prefix, TOPICS_LOGS, NULL, NULL, true, &partitions,
                                                           options->timeout_ms, error)
                                           : bus_partition_count(bus, tail->topic, &partitions, options->timeout_ms, error);
    if (!is_there) {
        return false;
    }
    tail->partition = bus_partition_of(span_of(tail->run_id), partitions);
    return bus_offset_at(bus, tail->topic, tail->partition, since_ms - LOG_TAIL_CLOCKS_MS, &tail->next, options->timeout_ms,
                         error) &&
           bus_consume(bus, tail->topic, tail->partition, tail->next, error);
}

/* What cannot be decoded is skipped: it is nobody's to bury. */
static void append_lines(const struct log_tail *tail, const struct bus_event *event, struct text *out)
{
    struct message message = {0};
    if (!span_equal(event->key, span_of(tail->run_id)) || !message_decode(&message, TOPIC_LOGS, event->key, event->value, NULL)) {
        return;
    }
    if (tail->step == NULL || span_equal(message.log.step, span_of(tail->step))) {
        (tail->json ? log_lines_json : log_lines_text)(&message, event->time_ms, &tail->style, out);
    }
    message_free(&message);
}

bool log_tail_take(struct log_tail *tail, const struct bus_event *event, struct text *out)
{
    if ((event->kind != BUS_RECORD && event->kind != BUS_END) || strcmp(event->topic, tail->topic) != 0) {
        return false;
    }
    if (event->kind == BUS_RECORD) {
        append_lines(tail, event, out);
    }
    tail->next = event->kind == BUS_RECORD ? event->offset + 1 : event->offset;
    return true;
}

bool log_tail_wants_colour(void)
{
    const char *terminal = getenv("TERM"), *refused = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && terminal != NULL && strcmp(terminal, "dumb") != 0 && (refused == NULL || refused[0] == '\0');
}
