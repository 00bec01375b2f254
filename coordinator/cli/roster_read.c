/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock.h"
#include "common/limits.h"
#include "coordinator/cli/roster.h"

#define LOOK_BACK_MS (2ll * LIMIT_LEASE_MAX_MS) /* whoever is alive has said so since */

static void apply(struct roster *roster, const struct bus_event *event)
{
    struct message message = {0};
    if (message_decode(&message, TOPIC_WORKERS, event->key, event->value, NULL)) {
        roster_apply(roster, &message, event->time_ms);
        message_free(&message);
    }
}

/* Read what stands there between `from` and `next`. */
static bool read_all(struct client *client, const char *topic, int64_t from, int64_t next, struct roster *roster,
                     struct error *error)
{
    int64_t until_ms = clock_monotonic_ms() + client->options.timeout_ms;
    bool done = from >= next;
    if (!done && !bus_consume(client->bus, topic, 0, from, error)) {
        return false;
    }
    while (!done) {
        struct bus_event event;
        bus_poll(client->bus, 100, &event);
        if (event.kind == BUS_FATAL || event.kind == BUS_GONE) {
            return error_set(error, ERROR_FATAL, "%s", event.reason);
        }
        if (event.kind == BUS_RECORD) {
            apply(roster, &event);
            done = event.offset + 1 >= next;
        } else if (event.kind == BUS_END) {
            done = event.offset >= next;
        } else if (clock_monotonic_ms() > until_ms) {
            return error_set(error, ERROR_TRANSIENT, "%s could not be read within %g s", topic,
                             client->options.timeout_ms / 1000.0);
        }
    }
    return true;
}

bool roster_read(struct roster *roster, struct client *client, struct error *error)
{
    char topic[TOPICS_NAME_BYTES];
    int64_t first, next, from;
    int timeout_ms = client->options.timeout_ms;
    topics_name(topic, TOPICS_WORKERS, client->options.prefix, NULL);
    return bus_bounds(client->bus, topic, 0, &first, &next, timeout_ms, error) &&
           bus_offset_at(client->bus, topic, 0, clock_realtime_ms() - LOOK_BACK_MS, &from, timeout_ms, error) &&
           read_all(client, topic, from, next, roster, error);
}
