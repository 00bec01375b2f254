/* SPDX-License-Identifier: Apache-2.0 */
/* backstep workers: who is there, what they serve, how busy they are. */
#include "common/clock.h"
#include "common/limits.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/roster.h"

#define LINE_BYTES_MAX (1024 * 1024)
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

static bool read_roster(struct client *client, struct roster *roster, struct error *error)
{
    char topic[TOPICS_NAME_BYTES];
    int64_t first, next, from;
    int timeout_ms = client->options.timeout_ms;
    topics_name(topic, TOPICS_WORKERS, client->options.prefix, NULL);
    return bus_bounds(client->bus, topic, 0, &first, &next, timeout_ms, error) &&
           bus_offset_at(client->bus, topic, 0, clock_realtime_ms() - LOOK_BACK_MS, &from, timeout_ms, error) &&
           read_all(client, topic, from, next, roster, error);
}

static void print_roster(const struct call *call, const struct roster *roster, int64_t now_ms)
{
    struct text out;
    text_init(&out, LINE_BYTES_MAX);
    if (!call->json && !call->quiet) {
        roster_heading(&out);
        print_text(&out);
    }
    for (size_t i = 0; i < roster->count; i++) {
        text_clear(&out);
        if (call->json) {
            roster_worker_json(&roster->workers[i], now_ms, &out);
            print_line(&out);
        } else {
            roster_worker_text(&roster->workers[i], now_ms, &out);
            print_text(&out);
        }
    }
    text_fini(&out);
}

int cmd_workers(struct call *call)
{
    struct error error = {0};
    struct client client;
    struct roster roster = {0};
    int code = EXIT_DONE;
    if (!client_open(&client, &call->client, &error) || !read_roster(&client, &roster, &error)) {
        code = complain_of(&error);
    }
    roster_tidy(&roster, clock_realtime_ms());
    if (roster.count > 0) {
        print_roster(call, &roster, clock_realtime_ms());
    } else if (code == EXIT_DONE) {
        char way[CLIENT_WAY_BYTES];
        complain("no worker is there; start one with: backstep-worker %s --steps DIR", client_way(&call->client, way));
    }
    client_close(&client);
    roster_free(&roster);
    return code;
}
