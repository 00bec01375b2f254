/* SPDX-License-Identifier: Apache-2.0 */
#include "common/limits.h"
#include "common/log.h"
#include "coordinator/service/service_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void service_fail(struct service *service, enum service_state state, const struct error *error)
{
    if (service->state == SERVICE_WORKING) {
        service->state = state;
        service->error = *error;
    }
}

#define NOT_SENT_SAY_MS 10000 /* of one topic: what a worker whose topic is gone is to be told is tried with each of its heartbeats */

static void say_not_sent(struct service *service, const struct bus_send *record, const struct message *message, const struct error *error)
{
    if (strcmp(service->not_sent_to, record->topic) != 0 || service->now_ms - service->not_sent_ms >= NOT_SENT_SAY_MS) {
        snprintf(service->not_sent_to, sizeof service->not_sent_to, "%s", record->topic);
        service->not_sent_ms = service->now_ms;
        log_event(LOG_ERROR, "record_not_sent", "type=%s topic=%s error=%s", message_type(message->kind), record->topic,
                  LOG_QUOTED(error->message));
    }
}

/* false: it was not sent. A full queue counts as fatal: what we believe we published must be what we published. */
static bool send(struct service *service, struct bus_send *record, struct message *message)
{
    struct error error;
    text_clear(&service->bytes);
    if (!message_encode(message, &service->bytes, &error)) {
        log_event(LOG_ERROR, "record_not_encoded", "type=%s error=%s", message_type(message->kind), LOG_QUOTED(error.message));
        return false;
    }
    record->value = text_span(&service->bytes);
    record->headers[record->header_count++] = (struct bus_header){"type", span_of(message_type(message->kind))};
    if (bus_send(service->bus, record, &error)) {
        return true;
    }
    if (error.kind == ERROR_INVALID) {
        say_not_sent(service, record, message, &error);
    } else {
        service_fail(service, SERVICE_FATAL, &error);
    }
    return false;
}

bool publish_progress(struct service *service, const struct owned *owned, struct span run_id, struct message *message)
{
    char percent[16];
    struct bus_send record = {.topic = service->progress_topic, .partition = owned->partition, .key = run_id};
    message->epoch = owned->epoch;
    record.can_wait = message->kind == MESSAGE_RUN_PROGRESSED || message->kind == MESSAGE_RUN_FINISHED || message->kind == MESSAGE_ANSWERED;
    if (message->kind == MESSAGE_RUN_PROGRESSED || message->kind == MESSAGE_RUN_FINISHED) {
        snprintf(percent, sizeof percent, "%" PRIu32, message->progress_ppm / 10000);
        record.headers[0] = (struct bus_header){"status", span_of(run_status_name(message->status))};
        record.headers[1] = (struct bus_header){"percent", span_of(percent)};
        record.header_count = 2;
    }
    return send(service, &record, message);
}

bool publish_task(struct service *service, const struct owned *owned, struct dispatch_worker *worker, struct message *message)
{
    const struct presence *presence = dispatch_presence(worker);
    char topic[TOPICS_NAME_BYTES], queue[LIMIT_IDENTIFIER_BYTES + 1];
    assert(presence->queue.size < sizeof queue);
    memcpy(queue, presence->queue.bytes, presence->queue.size);
    queue[presence->queue.size] = '\0';
    topics_name(topic, TOPICS_TASKS, service->options.prefix, queue);
    message->epoch = owned->epoch;
    message->progress_partition = (uint32_t)owned->partition;
    message->incarnation = presence->incarnation;
    struct bus_send record = {.topic = topic, .partition = (int32_t)presence->partition, .key = presence->worker, .can_wait = true};
    return send(service, &record, message);
}

bool publish_mark(struct service *service, struct span worker, const struct incarnation *incarnation, const unsigned char nonce[16])
{
    struct message message = {
        .kind = MESSAGE_MARK, .coordinator = span_of(service->name), .worker = worker, .incarnation = *incarnation};
    memcpy(message.nonce, nonce, sizeof message.nonce);
    struct bus_send record = {.topic = service->workers_topic, .key = worker};
    return send(service, &record, &message);
}

bool publish_claim(struct service *service, const struct owned *owned, struct span name)
{
    struct message message = {.kind = MESSAGE_OWNER_CLAIM,
                              .coordinator = name,
                              .progress_partitions = (uint32_t)service->progress_partitions};
    struct bus_send record = {.topic = service->progress_topic, .partition = owned->partition};
    return send(service, &record, &message);
}

void publish_letter(struct service *service, const char *topic, int32_t partition, int64_t offset, struct span key, struct span value,
                    const char *reason)
{
    char partition_text[16], offset_text[24];
    snprintf(partition_text, sizeof partition_text, "%" PRId32, partition);
    snprintf(offset_text, sizeof offset_text, "%" PRId64, offset);
    log_event(LOG_WARN, "dead_letter", "topic=%s partition=%s offset=%s reason=%s", topic, partition_text, offset_text, LOG_QUOTED(reason));
    struct bus_send record = {
        .topic = service->dead_letter_topic,
        .partition = key.size > 0 ? bus_partition_of(key, service->dead_letter_partitions) : partition % service->dead_letter_partitions,
        .key = key,
        .value = value,
        .headers = {{"__dlq.errors.topic", span_of(topic)},
                    {"__dlq.errors.partition", span_of(partition_text)},
                    {"__dlq.errors.offset", span_of(offset_text)},
                    {"__dlq.errors.message", span_of(reason)}},
        .header_count = 4};
    struct error error;
    if (!bus_send(service->bus, &record, &error)) {
        log_event(LOG_ERROR, "dead_letter_not_sent", "topic=%s offset=%s error=%s", topic, offset_text, LOG_QUOTED(error.message));
        if (error.kind != ERROR_INVALID) {
            service_fail(service, SERVICE_FATAL, &error);
        }
    }
}
