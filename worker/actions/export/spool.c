/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/export/spool.h"

#include "common/bus_kafka.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/limits.h"
#include "worker/actions/export/connection.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define POLL_MS 100

static FILE *open_spool(const char *path, struct error *error)
{
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
    }
    return file;
}

static bool close_spool(FILE *file, const char *path, bool ok, struct error *error)
{
    bool closed = fclose(file) == 0;
    return ok && (closed || error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno)));
}

/* ---------------------------------------------------------------- standard input */

static bool copy_input(struct action_call *call, FILE *file, struct error *error)
{
    char bytes[64 * KIB];
    for (;;) {
        struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = backstep_cancel_fd(call->context), .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            return error_set(error, ERROR_TRANSIENT, "standard input: %s", strerror(errno));
        }
        if (backstep_cancelled(call->context)) {
            return error_set(error, ERROR_TRANSIENT, "it was cancelled");
        }
        ssize_t got = fds[0].revents != 0 ? read(STDIN_FILENO, bytes, sizeof bytes) : -1;
        if (got == 0) {
            return true;
        }
        if (got > 0 && fwrite(bytes, 1, (size_t)got, file) != (size_t)got) {
            return error_set(error, ERROR_TRANSIENT, "the workspace cannot be written: %s", strerror(errno));
        }
    }
}

bool spool_input(struct action_call *call, const char *path, struct error *error)
{
    FILE *file = open_spool(path, error);
    return file != NULL && close_spool(file, path, copy_input(call, file, error), error);
}

/* ---------------------------------------------------------------- a topic */

struct taking {
    struct action_call *call;
    struct bus *bus;
    const struct spool_range *range;
    FILE *file;
    int64_t from, to;
    uint64_t count;
};

static bool write_value(struct taking *taking, struct span value)
{
    struct text line;
    json_t *json = json_read(value, NULL);
    text_init(&line, SIZE_MAX / 2);
    if (json == NULL || !json_write(json, &line)) {
        text_clear(&line);
        text_append_span(&line, value);
    }
    for (size_t i = 0; i < line.size; i++) {
        line.bytes[i] = line.bytes[i] == '\n' || line.bytes[i] == '\0' ? ' ' : line.bytes[i];
    }
    text_append_char(&line, '\n');
    bool ok = fwrite(text_string(&line), 1, line.size, taking->file) == line.size;
    text_fini(&line);
    json_decref(json);
    return ok;
}

static bool find_range(struct taking *taking, struct error *error)
{
    const struct spool_range *range = taking->range;
    int64_t first = 0, next = 0;
    int32_t partitions = 0;
    if (!bus_partition_count(taking->bus, range->topic, &partitions, range->timeout_ms, error)) {
        return false;
    }
    if (range->partition >= partitions) {
        return error_set(error, ERROR_INVALID, "param 'partition': topic '%s' has %d", range->topic, partitions);
    }
    if (!bus_bounds(taking->bus, range->topic, range->partition, &first, &next, range->timeout_ms, error)) {
        return false;
    }
    taking->from = range->from;
    taking->to = range->to < 0 ? next : range->to;
    if (taking->to > next || (taking->from < first && taking->from < taking->to && range->from > 0)) {
        return error_set(error, ERROR_INVALID,
                         "topic '%s' has the offsets %" PRId64 " to %" PRId64 ", not all of %" PRId64 " to %" PRId64, range->topic,
                         first, next, taking->from, taking->to);
    }
    taking->from = taking->from < first ? first : taking->from;
    return true;
}

static bool take_event(struct taking *taking, const struct bus_event *event, int64_t *at, struct error *error)
{
    switch (event->kind) {
    case BUS_RECORD:
        *at = event->offset + 1;
        if (event->offset >= taking->to) {
            return true;
        }
        taking->count++;
        return write_value(taking, event->value) ||
               error_set(error, ERROR_TRANSIENT, "the workspace cannot be written: %s", strerror(errno));
    case BUS_END:
        *at = event->offset > *at ? event->offset : *at;
        return true; /* what is missing at the end was removed, or marks a transaction */
    case BUS_GONE:
    case BUS_FATAL: return error_set(error, ERROR_TRANSIENT, "%s", event->reason);
    case BUS_NOTHING:
    case BUS_DELIVERED:
    case BUS_JOINED:
    case BUS_ASSIGNED:
    case BUS_REVOKED: return true;
    }
    return true;
}

static bool take_range(struct taking *taking, struct error *error)
{
    const struct spool_range *range = taking->range;
    struct bus_event event;
    if (!find_range(taking, error)) {
        return false;
    }
    if (taking->from >= taking->to) {
        return true;
    }
    if (!bus_consume(taking->bus, range->topic, range->partition, taking->from, error)) {
        return false;
    }
    for (int64_t at = taking->from, heard_ms = clock_monotonic_ms(); at < taking->to;) {
        bus_poll(taking->bus, POLL_MS, &event);
        int64_t now_ms = clock_monotonic_ms();
        heard_ms = event.kind != BUS_NOTHING ? now_ms : heard_ms;
        if (!take_event(taking, &event, &at, error)) {
            return false;
        }
        if (backstep_cancelled(taking->call->context)) {
            return error_set(error, ERROR_TRANSIENT, "it was cancelled");
        }
        if (now_ms - heard_ms > range->timeout_ms) {
            return error_set(error, ERROR_TRANSIENT, "nothing came from topic '%s' for %d ms", range->topic, range->timeout_ms);
        }
        int64_t done = at < taking->to ? at - taking->from : taking->to - taking->from;
        backstep_set_progress(taking->call->context, done, taking->to - taking->from);
    }
    return true;
}

static bool spool_from(struct action_call *call, const struct spool_range *range, const struct connection *connection,
                       const char *path, uint64_t *count, struct error *error)
{
    struct bus_kafka_options options = {.brokers = connection->brokers,
                                        .client_id = "backstep-export",
                                        .properties = connection->properties,
                                        .property_count = connection->property_count,
                                        .timeout_ms = range->timeout_ms};
    struct taking taking = {.call = call, .range = range, .bus = bus_kafka_open(&options, error)};
    bool ok = taking.bus != NULL && (taking.file = open_spool(path, error)) != NULL;
    if (ok) {
        ok = close_spool(taking.file, path, take_range(&taking, error), error);
    }
    bus_close(taking.bus);
    *count = taking.count;
    return ok;
}

/* The operator's connection goes with the operator's brokers: a run could else have a password sent to brokers of its own. */
bool spool_topic(struct action_call *call, const struct spool_range *range, const char *path, uint64_t *count, struct error *error)
{
    struct connection connection = {.brokers = range->brokers};
    if (range->connection == NULL) {
        return spool_from(call, range, &connection, path, count, error);
    }
    bool ok = connection_read(&connection, range->connection, error) && spool_from(call, range, &connection, path, count, error);
    connection_fini(&connection);
    return ok;
}
