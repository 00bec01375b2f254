/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/client.h"

#include "common/bus_kafka.h"
#include "common/clock.h"
#include "common/defaults.h"
#include "common/limits.h"
#include "common/messages.h"
#include "common/names.h"
#include "coordinator/cli/signals.h"

#include <stdio.h>
#include <string.h>

#define REQUEST_COOKIE 1

bool client_open(struct client *client, const struct client_options *options, struct error *error)
{
    *client = (struct client){.options = *options};
    topics_name(client->progress, TOPICS_PROGRESS, options->prefix, NULL);
    snprintf(client->group, sizeof client->group, "%s.coordinators", options->prefix);
    struct bus_kafka_options bus = {
        .brokers = options->brokers,
        .client_id = "backstep",
        .properties = options->properties,
        .property_count = options->property_count,
        .timeout_ms = options->timeout_ms,
        .only_reads = options->only_reads,
    };
    client->bus = bus_kafka_open(&bus, error);
    if (client->bus == NULL) {
        return false;
    }
    signals_set_bus(client->bus);
    if (options->create_topics) {
        return topics_ensure(client->bus, options->prefix, TOPICS_PROGRESS, NULL, NULL, true, &client->partitions,
                             options->timeout_ms, error);
    }
    return bus_partition_count(client->bus, client->progress, &client->partitions, options->timeout_ms, error);
}

void client_close(struct client *client)
{
    signals_set_bus(NULL);
    bus_close(client->bus);
    client->bus = NULL;
}

const char *client_way(const struct client_options *options, char way[CLIENT_WAY_BYTES])
{
    bool usual = strcmp(options->prefix, DEFAULT_PREFIX) == 0;
    snprintf(way, CLIENT_WAY_BYTES, "-b %s%s%s", options->brokers, usual ? "" : " --prefix ", usual ? "" : options->prefix);
    return way;
}

struct reader_options client_reads(const struct client *client, const char *run_id)
{
    return (struct reader_options){
        .bus = client->bus,
        .topic = client->progress,
        .partition_count = client->partitions,
        .group = client->group,
        .partition = run_id != NULL ? bus_partition_of(span_of(run_id), client->partitions) : -1,
        .run_id = run_id,
        .timeout_ms = client->options.timeout_ms,
    };
}

static void new_request(struct request *request)
{
    *request = (struct request){0};
    random_bytes(request->id, sizeof request->id);
}

static bool send_request(struct client *client, struct request *request, const char *run_id, struct message *message,
                         struct error *error)
{
    new_request(request);
    memcpy(message->event.request_id, request->id, sizeof request->id);
    message->event.run_id = span_of(run_id);
    struct text bytes;
    text_init(&bytes, LIMIT_RECORD_BYTES);
    struct bus_send send = {
        .topic = client->progress,
        .partition = bus_partition_of(span_of(run_id), client->partitions),
        .key = span_of(run_id),
        .headers = {{"type", span_of(message_type(message->kind))}},
        .header_count = 1,
        .cookie = REQUEST_COOKIE,
        .lazy = true, /* what is waited for is the answer: that it is on the log matters only where none comes */
    };
    bool ok = message_encode(message, &bytes, error);
    send.value = text_span(&bytes);
    ok = ok && bus_send(client->bus, &send, error);
    text_fini(&bytes);
    request->sent = ok;
    return ok;
}

bool client_send_start(struct client *client, struct request *request, const char *run_id, const struct plan *plan,
                       struct span params, struct error *error)
{
    struct message message = {
        .kind = MESSAGE_START,
        .event = {.kind = EVENT_START, .plan = plan, .params = params, .fold_version = plan_fold_version_ahead(plan)},
        .progress_partitions = (uint32_t)client->partitions,
    };
    return send_request(client, request, run_id, &message, error);
}

bool client_send_control(struct client *client, struct request *request, const char *run_id, struct message *message,
                         struct error *error)
{
    return send_request(client, request, run_id, message, error);
}

bool client_send_cancel(struct client *client, struct request *request, const char *run_id, const char *reason, struct error *error)
{
    struct message message = {.kind = MESSAGE_CANCEL, .event = {.reason = span_of(reason)}};
    return send_request(client, request, run_id, &message, error);
}

static void note_answer(struct request *request, const struct reader_record *record)
{
    const struct message *message = record->message;
    if (message == NULL || message->kind != MESSAGE_ANSWERED ||
        memcmp(message->event.request_id, request->id, sizeof request->id) != 0) {
        return;
    }
    request->answered = true;
    request->verdict = message->verdict;
    snprintf(request->reason, sizeof request->reason, "%.*s", SPAN_ARGS(message->event.reason));
}

bool client_take(struct client *client, struct reader *reader, struct request *request, const struct bus_event *event,
                 struct reader_record *record, struct error *error)
{
    (void)client;
    error->kind = ERROR_NONE;
    if (event->kind == BUS_FATAL || event->kind == BUS_GONE) {
        error_set(error, ERROR_FATAL, "%s", event->reason);
        return false;
    }
    if (event->kind == BUS_DELIVERED && request != NULL && event->cookie == REQUEST_COOKIE) {
        request->delivered = true;
    }
    if (!reader_take(reader, event, record)) {
        return false;
    }
    if (request != NULL && !request->answered) {
        note_answer(request, record);
    }
    return true;
}

/* Nobody was asked yet: to say that no coordinator answers would send people to the wrong place. */
static bool error_not_taken(struct client *client, struct error *error)
{
    char reason[BUS_REASON_BYTES];
    bool explained = bus_explain(client->bus, reason);
    return error_set(error, ERROR_TRANSIENT, "the brokers on %s did not take the request within %g s%s%s", client->options.brokers,
                     client->options.timeout_ms / 1000.0, explained ? ": " : "", explained ? reason : "");
}

static bool error_no_answer(struct client *client, const struct request *request, struct error *error)
{
    return request->delivered ? error_set(error, ERROR_TRANSIENT, "no coordinator answered on %s within %g s", client->options.brokers,
                                          client->options.timeout_ms / 1000.0)
                              : error_not_taken(client, error);
}

bool client_await(struct client *client, struct reader *reader, struct request *request,
                  void (*each)(void *context, const struct reader_record *record), void *context, struct error *error)
{
    int64_t until_ms = clock_monotonic_ms() + client->options.timeout_ms;
    while (!request->answered) {
        int64_t left_ms = until_ms - clock_monotonic_ms();
        if (left_ms <= 0) {
            return error_no_answer(client, request, error);
        }
        if (signals_interrupts() > 0 && !client->patient) {
            return error_set(error, ERROR_TRANSIENT, "interrupted before a coordinator answered on %s", client->options.brokers);
        }
        struct bus_event event;
        struct reader_record record;
        bus_poll(client->bus, left_ms < 100 ? (int)left_ms : 100, &event);
        if (client_take(client, reader, request, &event, &record, error)) {
            if (each != NULL) {
                each(context, &record);
            }
        } else if (error->kind != ERROR_NONE) {
            return false;
        }
    }
    return true;
}
