/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/service/service.h"

#include "common/limits.h"
#include "common/log.h"
#include "coordinator/service/service_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_MAX 4096 /* records read before what they brought is done */

/* ---- opening */

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static void unique_name(struct service *service)
{
    unsigned char life[8];
    struct text name;
    text_init(&name, 2 * LIMIT_IDENTIFIER_BYTES);
    service->options.random(life, sizeof life);
    text_format(&name, "%s/", service->options.name);
    for (size_t i = 0; i < sizeof life; i++) {
        text_format(&name, "%02x", life[i]);
    }
    service->name = text_take(&name);
}

static bool check_list(const struct service *service, int32_t *first, int32_t *last, struct error *error)
{
    char to[16] = "";
    *last = service->options.own_last < 0 ? service->progress_partitions - 1 : service->options.own_last;
    *first = service->options.own_first;
    if (*first <= *last && *last < service->progress_partitions) {
        return true;
    }
    if (*first != *last) {
        snprintf(to, sizeof to, "-%d", (int)*last);
    }
    return error_set(error, ERROR_INVALID, "--own %d%s: '%s' has the partitions 0 to %d", (int)*first, to, service->progress_topic,
                     (int)service->progress_partitions - 1);
}

static bool ensure_topics(struct service *service, struct error *error)
{
    const struct topics_options options = {.progress_partitions = service->options.progress_partitions};
    const char *prefix = service->options.prefix;
    topics_name(service->progress_topic, TOPICS_PROGRESS, prefix, NULL);
    snprintf(service->group, sizeof service->group, "%s.coordinators", prefix);
    topics_name(service->workers_topic, TOPICS_WORKERS, prefix, NULL);
    topics_name(service->dead_letter_topic, TOPICS_DEAD_LETTER, prefix, NULL);
    int timeout_ms = service->options.timeout_ms;
    bool create = !service->options.has_log;
    return (topics_ensure(service->bus, prefix, TOPICS_PROGRESS, NULL, &options, create, &service->progress_partitions, timeout_ms, error) ||
            (!create && error->kind == ERROR_INVALID && error_prefix(error, "the log that was there is not as it was"))) &&
           topics_ensure(service->bus, prefix, TOPICS_WORKERS, NULL, &options, true, NULL, timeout_ms, error) &&
           topics_ensure(service->bus, prefix, TOPICS_DEAD_LETTER, NULL, &options, true, &service->dead_letter_partitions, timeout_ms, error);
}

/* To ask for an offset is how one learns early that the group may not be used. */
static bool join(struct service *service, int members, struct error *error)
{
    int64_t offset;
    char metadata[BUS_METADATA_BYTES];
    log_event(LOG_INFO, "joining", "group=%s members=%d coordinator=%s session_timeout_ms=%d", service->group, members, service->name,
              service->options.session_ms);
    return bus_join(service->bus, service->group, service->progress_topic, service->options.session_ms, error) &&
           bus_committed(service->bus, service->group, service->progress_topic, 0, &offset, metadata, service->options.timeout_ms, error);
}

/* Group and list are not mixed: a list would take what the group deals out, and its commits would be refused. */
static bool check_group(const struct service *service, int members, struct error *error)
{
    return members == 0 || error_set(error, ERROR_INVALID,
                                   "%d coordinator%s of '%s' share%s its partitions as group '%s': start this one without --own, or stop "
                                   "the others (one that was killed counts until its session is over)",
                                   members, members == 1 ? "" : "s", service->options.prefix, members == 1 ? "s" : "", service->group);
}

/* Ours from the start to the end. */
static bool give_listed(struct service *service, int members, struct error *error)
{
    int32_t first, last;
    if (!check_list(service, &first, &last, error) || !check_group(service, members, error)) {
        return false;
    }
    for (int32_t i = first; i <= last; i++) {
        ownership_give(service, i);
    }
    ownership_tick(service);
    if (service->state != SERVICE_WORKING) {
        *error = service->error;
    }
    return service->state == SERVICE_WORKING;
}

static bool begin_owning(struct service *service, struct error *error)
{
    int members;
    return bus_members(service->bus, service->group, &members, service->options.timeout_ms, error) &&
           (service->options.session_ms > 0 ? join(service, members, error) : give_listed(service, members, error));
}

static void make_tables(struct service *service)
{
    int32_t count = service->progress_partitions;
    service->owned = allocate((size_t)count * sizeof *service->owned);
    for (int32_t i = 0; i < count; i++) {
        service->owned[i] = (struct owned){.service = service, .partition = i, .epoch = -1};
    }
    service->dispatch = dispatch_new(0, (uint32_t)count);
}

struct service *service_new(struct bus *bus, const struct service_options *options, struct error *error)
{
    struct service *service = allocate(sizeof *service);
    service->bus = bus;
    service->options = *options;
    service->options.session_ms = bus_embedded(bus) ? 0 : options->session_ms; /* the embedded broker has no groups */
    service->now_ms = options->monotonic_ms(options->clock);
    text_init(&service->bytes, LIMIT_RECORD_BYTES);
    unique_name(service);
    if (!ensure_topics(service, error)) {
        service_free(service);
        return NULL;
    }
    make_tables(service);
    if (!begin_owning(service, error)) {
        service_free(service);
        return NULL;
    }
    return service;
}

void service_free(struct service *service)
{
    if (service == NULL) {
        return;
    }
    for (int32_t i = 0; service->owned != NULL && i < service->progress_partitions; i++) {
        ownership_take_back(service, i);
    }
    letters_drop(&service->workers_letters, INT64_MAX);
    dispatch_free(service->dispatch);
    text_fini(&service->bytes);
    free(service->owned);
    free(service->heap);
    free(service->dirty);
    free(service->name);
    free(service);
}

/* ---- records of a progress partition */

/* The owner of the last claim has read what stood on the workers topic before: until then it welcomes nobody and writes no checkpoint. It may
 * answer, announce and end runs, and lose the partition, without. */
static bool shows_workers_read(const struct owned *owned, const struct message *message)
{
    return message->kind == MESSAGE_SNAPSHOT || message->kind == MESSAGE_FINISHED_IDS ||
           (message->kind == MESSAGE_HOLDING && message->epoch == runs_epoch(owned->runs));
}

/* The owner of the last claim came to act, so it has seen to the garbage that stood before its claim. */
static void on_replayed(struct owned *owned, const struct message *message)
{
    if (message_is_owners(message->kind)) {
        letters_drop(&owned->letters, runs_epoch(owned->runs));
    }
    if (shows_workers_read(owned, message)) {
        owned->workers_seen_ms = runs_epoch_time_ms(owned->runs);
    }
}

static void reject(struct owned *owned, const struct bus_event *record, const char *reason)
{
    if (owned->epoch < 0) {
        letters_keep(&owned->letters, record, reason);
    } else {
        publish_letter(owned->service, record->topic, record->partition, record->offset, record->key, record->value, reason);
    }
}

static void act_on(struct owned *owned, const struct bus_event *record, struct message *message)
{
    struct run *run;
    enum runs_result result = runs_apply(owned->runs, message, record->offset, record->time_ms, &run);
    if (result != RUNS_FENCED && message_is_owners(message->kind)) {
        checkpoint_own_record(owned, message, result, run);
    }
    switch (result) {
    case RUNS_CLAIMED: ownership_claim_read(owned, message, record->offset); return;
    case RUNS_ALIEN:   reject(owned, record, "it is about a run or a ticket that does not exist"); return;
    case RUNS_FENCED:  return;
    case RUNS_DIFFERS:
        log_event(LOG_ERROR, "snapshot_differs", "run=%.*s offset=%lld", SPAN_ARGS(message->event.run_id), (long long)record->offset);
        break;
    case RUNS_NEWER:
        log_event(LOG_WARN, "run_too_new", "run=%.*s fold_version=%u", SPAN_ARGS(message->event.run_id), message->event.fold_version);
        return;
    case RUNS_CHECKED:
    case RUNS_IGNORED:
    case RUNS_APPLIED: break;
    }
    if (owned->epoch < 0) { /* silent replay */
        on_replayed(owned, message);
        return;
    }
    if (message->kind == MESSAGE_HOLDING) {
        presence_holding(owned->service, owned, message);
    } else if (message->kind == MESSAGE_REFUSED) {
        presence_refused(owned->service, owned, message, run);
    } else if (message->kind == MESSAGE_ANSWERED && run != NULL && run->attached != NULL) {
        job_answered(job_if_any(run));
    } else if (message->kind == MESSAGE_TIMER_FIRED && run != NULL && run->attached != NULL) {
        job_if_any(run)->timer_sent = TIMER_NONE; /* read back: if it came too early, it is due again */
    }
    bool concerns = message->kind != MESSAGE_RUN_PROGRESSED && message->kind != MESSAGE_HOLDING && message->kind != MESSAGE_SNAPSHOT;
    if (run != NULL && concerns) {
        job_touch(job_of(owned, run));
    }
}

static void progress_record(struct service *service, const struct bus_event *record)
{
    struct owned *owned = owned_of(service, record->partition);
    if (owned == NULL) {
        return;
    }
    struct message message;
    struct error error;
    if (owned->ids_offset >= 0) {
        checkpoint_take(owned, record);
        return;
    }
    owned->next_offset = record->offset + 1;
    if (record->time_ms > 0) {
        owned->log_ms = record->time_ms;
        owned->log_at_ms = service->now_ms;
    }
    if (!message_decode_known(&message, runs_plans(owned->runs), record->key, record->value, &error)) {
        reject(owned, record, error.message);
        return;
    }
    if (message.kind != MESSAGE_SNAPSHOT && message.kind != MESSAGE_FINISHED_IDS) {
        runs_count_bytes(owned->runs, record->value.size); /* else each checkpoint would call for the next */
    }
    act_on(owned, record, &message);
    message_free(&message);
    ownership_let_go(owned);
}

/* ---- the loop */

static void on_gone(struct service *service, const struct bus_event *event)
{
    struct error error;
    struct owned *owned = strcmp(event->topic, service->progress_topic) == 0 ? owned_of(service, event->partition) : NULL;
    if (owned != NULL && checkpoint_gone(owned)) {
        return;
    }
    error_set(&error, ERROR_INVALID, "partition %d of '%s' cannot be read any more: %s", (int)event->partition, event->topic, event->reason);
    if (owned != NULL) {
        ownership_refuse(owned, &error);
        ownership_let_go(owned);
    } else {
        service_fail(service, SERVICE_FAILED, &error);
    }
}

static void handle(struct service *service, const struct bus_event *event)
{
    switch (event->kind) {
    case BUS_RECORD:
        if (strcmp(event->topic, service->progress_topic) == 0) {
            progress_record(service, event);
        } else {
            presence_record(service, event);
        }
        return;
    case BUS_GONE: on_gone(service, event); return;
    case BUS_JOINED:
        service->joined = true;
        log_event(LOG_INFO, "joined", "group=%s", service->group);
        return;
    case BUS_ASSIGNED:
        log_event(LOG_INFO, "partition_given", "partition=%d", (int)event->partition);
        ownership_give(service, event->partition);
        return;
    case BUS_REVOKED:
        log_event(event->lost ? LOG_WARN : LOG_INFO, event->lost ? "partition_lost" : "partition_revoked", "partition=%d",
                  (int)event->partition);
        ownership_take_back(service, event->partition);
        return;
    case BUS_FATAL: {
        struct error error;
        error_set(&error, ERROR_FATAL, "%s", event->reason);
        service_fail(service, SERVICE_FATAL, &error);
        return;
    }
    case BUS_NOTHING:
    case BUS_DELIVERED:
    case BUS_END: return;
    }
}

bool service_is_ready(const struct service *service)
{
    return ownership_is_ready(service);
}

bool service_has_joined(const struct service *service)
{
    return service->joined;
}

static int wait_ms(const struct service *service, int timeout_ms)
{
    int64_t next_ms = jobs_next_ms(service);
    int64_t lease_ms = service->workers_read ? dispatch_next_ms(service->dispatch) : INT64_MAX;
    int64_t claim_ms = ownership_next_ms(service);
    next_ms = lease_ms < next_ms ? lease_ms : next_ms;
    next_ms = claim_ms < next_ms ? claim_ms : next_ms;
    int64_t left_ms = next_ms == INT64_MAX ? timeout_ms : next_ms - service->now_ms;
    left_ms = left_ms < 0 ? 0 : left_ms;
    return left_ms < timeout_ms ? (int)left_ms : timeout_ms;
}

enum service_state service_step(struct service *service, int timeout_ms, struct error *error)
{
    struct bus_event event;
    service->now_ms = service->options.monotonic_ms(service->options.clock);
    bus_poll(service->bus, wait_ms(service, timeout_ms), &event);
    service->now_ms = service->options.monotonic_ms(service->options.clock);
    log_hold();
    service->look_records = 0;
    for (int count = 0; service->state == SERVICE_WORKING && event.kind != BUS_NOTHING; count++) {
        handle(service, &event);
        service->look_records++;
        if (count == BATCH_MAX) {
            break;
        }
        bus_poll(service->bus, 0, &event);
    }
    if (service->state == SERVICE_WORKING) {
        ownership_tick(service);
        presence_tick(service);
        jobs_perform(service);
        jobs_place(service);
        checkpoint_tick(service);
        retention_tick(service);
    }
    log_release();
    if (service->state != SERVICE_WORKING) {
        *error = service->error;
    }
    return service->state;
}

void service_say_words(struct service *service)
{
    jobs_say_words(service);
}
