/* SPDX-License-Identifier: Apache-2.0 */
/* A command's way to the cluster: the bus, the progress topic, requests and their answers. */
#ifndef CLIENT_H
#define CLIENT_H

#include "common/bus.h"
#include "common/error.h"
#include "common/messages.h"
#include "common/saga/plan.h"
#include "common/saga/saga.h"
#include "common/topics.h"
#include "coordinator/cli/reader.h"

#include <stdbool.h>
#include <stddef.h>

struct client_options {
    const char *brokers;
    const char *prefix;
    const char *const *properties; /* "name=value" for the Kafka client */
    size_t property_count;
    int timeout_ms;
    bool only_reads; /* sends nothing: a user that may write nowhere is enough */
    bool create_topics; /* make what is missing; else a missing progress topic is an error */
};

struct client {
    struct client_options options; /* borrowed strings */
    struct bus *bus;
    char group[TOPICS_NAME_BYTES]; /* of the coordinators */
    char progress[TOPICS_NAME_BYTES]; /* name of the progress topic */
    int32_t partitions; /* of it */
    bool patient; /* Ctrl-C does not end client_await() */
};

/* Connect and look at the progress topic. TRANSIENT: no broker; INVALID: no or a wrong topic, naming the command that mends it.
 * Signals wake its bus. The caller owes client_close() either way. */
bool client_open(struct client *client, const struct client_options *options, struct error *error);
void client_close(struct client *client);

/* The options that bring another command to the same place, for messages that name one: "-b kafka:9092 --prefix shop". */
#define CLIENT_WAY_BYTES 1024
const char *client_way(const struct client_options *options, char way[CLIENT_WAY_BYTES]);

/* Read the partition of that run, or all of them (NULL), from the beginning. */
struct reader_options client_reads(const struct client *client, const char *run_id);

/* One request to the owner of a run, and what came of it. */
struct request {
    unsigned char id[REQUEST_ID_BYTES];
    bool sent;
    bool delivered; /* it is on the log */
    bool answered;
    enum verdict verdict;
    char reason[512];
};

/* Append a Start, or a control: `message` says its kind and what of struct saga_event counts for it. The request gets a new random id.
 * Borrowed for the call. */
bool client_send_start(struct client *client, struct request *request, const char *run_id, const struct plan *plan,
                       struct span params, struct error *error);
bool client_send_control(struct client *client, struct request *request, const char *run_id, struct message *message,
                         struct error *error);
bool client_send_cancel(struct client *client, struct request *request, const char *run_id, const char *reason,
                        struct error *error);

/* Take one event of the bus: what `reader` says of it in `record`, and whether it answers `request` (may be NULL). true: a record.
 * FATAL in `error` (its kind is NONE else): the bus has failed. */
bool client_take(struct client *client, struct reader *reader, struct request *request, const struct bus_event *event,
                 struct reader_record *record, struct error *error);

/* Poll until the request is answered. TRANSIENT: not in time, or interrupted (request->delivered says whether it is on the log).
 * Records that come meanwhile go to `each` (may be NULL). */
bool client_await(struct client *client, struct reader *reader, struct request *request,
                  void (*each)(void *context, const struct reader_record *record), void *context, struct error *error);

#endif
