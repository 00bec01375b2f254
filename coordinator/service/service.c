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

static bool choose_partitions(struct service *service, struct error *error)
{
    int32_t last = service->options.own_last < 0 ? service->progress_partitions - 1 : service->options.own_last;
    int32_t first = service->options.own_first;
    if (first > last || last >= service->progress_partitions) {
        return error_set(error, ERROR_INVALID, "--own %d-%d: '%s' has the partitions 0 to %d", (int)first, (int)last,
                         service->progress_topic, (int)service->progress_partitions - 1);
    }
    service->owned_count = last - first + 1;
    service->owned = allocate((size_t)service->owned_count * sizeof *service->owned);
    for (int32_t i = 0; i < service->owned_count; i++) {
        service->owned[i] = (struct owned){
            .service = service, .partition = first + i, .epoch = -1, .runs = runs_new((uint32_t)service->progress_partitions)};
    }
    return true;
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
    return topics_ensure(service->bus, prefix, TOPICS_PROGRESS, NULL, &options, true, &service->progress_partitions, timeout_ms, error) &&
           topics_ensure(service->bus, prefix, TOPICS_WORKERS, NULL, &options, true, NULL, timeout_ms, error) &&
           topics_ensure(service->bus, prefix, TOPICS_DEAD_LETTER, NULL, &options, true, &service->dead_letter_partitions, timeout_ms, error);
}

/* Append the claims first, then read from the last checkpoint: everything before an own claim is replayed without acting. */
static bool claim_all(struct service *service, struct error *error)
{
    for (int32_t i = 0; i < service->owned_count; i++) {
        if (!checkpoint_read(&service->owned[i], error)) {
            return false;
        }
    }
    for (int32_t i = 0; i < service->owned_count; i++) {
        if (!publish_claim(service, &service->owned[i])) {
            *error = service->error;
            return false;
        }
    }
    for (int32_t i = 0; i < service->owned_count; i++) {
        if (!checkpoint_replay(&service->owned[i], error)) {
            return false;
        }
    }
    return true;
}

struct service *service_new(struct bus *bus, const struct service_options *options, struct error *error)
{
    struct service *service = allocate(sizeof *service);
    service->bus = bus;
    service->options = *options;
    service->now_ms = options->monotonic_ms(options->clock);
    text_init(&service->bytes, LIMIT_RECORD_BYTES);
    unique_name(service);
    if (!ensure_topics(service, error) || !choose_partitions(service, error)) {
        service_free(service);
        return NULL;
    }
    service->dispatch = dispatch_new((uint32_t)service->owned_count, (uint32_t)service->progress_partitions);
    if (!claim_all(service, error)) {
        service_free(service);
        return NULL;
    }
    log_event(LOG_INFO, "claiming", "coordinator=%s partitions=%d-%d", service->name, (int)service->owned[0].partition,
              (int)(service->owned[0].partition + service->owned_count - 1));
    return service;
}

static void free_owned(struct owned *owned)
{
    for (struct run *run = runs_next(owned->runs, NULL); run != NULL; run = runs_next(owned->runs, run)) {
        if (run->attached != NULL) {
            ((struct job *)run->attached)->dirty = false;
            job_free(run->attached);
        }
    }
    runs_free(owned->runs);
    letters_drop(owned, INT64_MAX);
}

void service_free(struct service *service)
{
    if (service == NULL) {
        return;
    }
    for (int32_t i = 0; i < service->owned_count; i++) {
        free_owned(&service->owned[i]);
    }
    dispatch_free(service->dispatch);
    text_fini(&service->bytes);
    free(service->owned);
    free(service->heap);
    free(service->name);
    free(service);
}

/* ---- records of a progress partition */

static struct owned *owned_of(struct service *service, int32_t partition)
{
    int32_t index = partition - service->owned[0].partition;
    return index >= 0 && index < service->owned_count ? &service->owned[index] : NULL;
}

/* Ours from here on: what came before was replayed, what is open may have been sent by an earlier owner. */
static void begin_owning(struct owned *owned, int64_t epoch)
{
    owned->epoch = epoch;
    owned->trimmed_at_ms = owned->service->now_ms;
    runs_caught_up(owned->runs);
    struct run *next;
    for (struct run *run = runs_next(owned->runs, NULL); run != NULL; run = next) {
        next = runs_next(owned->runs, run);
        if (saga_is_closed(&run->saga)) {
            if (runs_is_named(run)) {
                runs_remove(owned->runs, run);
            } else if (!run->saga.retired) {
                runs_retire(owned->runs, run);
            }
            continue;
        }
        struct job *job = job_of(owned, run);
        if (owned->was_claimed) {
            job_inherit(job); /* where nobody was before us, nothing can have been sent */
        }
        job_touch_later(job);
    }
    letters_send(owned);
}

/* "Every claim carries the count its writer saw, and an owner refuses another": the partition of a run follows from it. */
static void refuse_count(struct owned *owned, const struct message *message)
{
    struct error error;
    error_set(&error, ERROR_INVALID,
              "'%s' was claimed when it had %u partitions and has %d now: runs would be looked for in wrong ones. Use another --prefix",
              owned->service->progress_topic, message->progress_partitions, (int)owned->service->progress_partitions);
    service_fail(owned->service, SERVICE_FAILED, &error);
}

static void on_claim(struct owned *owned, const struct message *message, int64_t offset)
{
    struct service *service = owned->service;
    if (owned->epoch >= 0) {
        struct error error;
        error_set(&error, ERROR_REJECTED, "coordinator '%.*s' has claimed partition %d of '%s'; this one gives way",
                  SPAN_ARGS(message->coordinator), (int)owned->partition, service->progress_topic);
        service_fail(service, SERVICE_SUPERSEDED, &error);
    } else if (message->progress_partitions != (uint32_t)service->progress_partitions) {
        refuse_count(owned, message);
    } else if (span_equal(message->coordinator, span_of(service->name))) {
        begin_owning(owned, offset);
    } else {
        owned->was_claimed = true;
    }
}

/* In a replay: the owner of the last claim came to act, so it has seen to the garbage that stood before its claim. */
static void on_owners_record(struct owned *owned)
{
    owned->acted_since_ms = runs_epoch_time_ms(owned->runs);
    if (owned->letters != NULL) {
        letters_drop(owned, runs_epoch(owned->runs));
    }
}

static void reject(struct owned *owned, const struct bus_event *record, const char *reason)
{
    if (owned->epoch < 0) {
        letters_keep(owned, record->offset, record->key, record->value, reason);
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
    case RUNS_CLAIMED: on_claim(owned, message, record->offset); return;
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
        if (message_is_owners(message->kind)) {
            on_owners_record(owned);
        }
        return;
    }
    if (message->kind == MESSAGE_HOLDING) {
        presence_holding(owned->service, owned, message);
    } else if (message->kind == MESSAGE_REFUSED) {
        presence_refused(owned->service, owned, message, run);
    } else if (message->kind == MESSAGE_ANSWERED && run != NULL && run->attached != NULL) {
        job_answered(run->attached);
    } else if (message->kind == MESSAGE_TIMER_FIRED && run != NULL && run->attached != NULL) {
        ((struct job *)run->attached)->timer_sent = TIMER_NONE; /* read back: if it came too early, it is due again */
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
}

/* ---- the loop */

static void on_gone(struct service *service, const struct bus_event *event)
{
    struct error error;
    struct owned *owned = strcmp(event->topic, service->progress_topic) == 0 ? owned_of(service, event->partition) : NULL;
    if (owned != NULL && checkpoint_gone(owned)) {
        return;
    }
    error_set(&error, ERROR_FATAL, "partition %d of '%s' cannot be read any more: %s", (int)event->partition, event->topic, event->reason);
    service_fail(service, SERVICE_FAILED, &error);
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

static bool all_claims_read(const struct service *service)
{
    for (int32_t i = 0; i < service->owned_count; i++) {
        if (service->owned[i].epoch < 0) {
            return false;
        }
    }
    return true;
}

bool service_is_ready(const struct service *service)
{
    return service->workers_read;
}

static int wait_ms(const struct service *service, int timeout_ms)
{
    int64_t next_ms = jobs_next_ms(service);
    int64_t lease_ms = service->workers_read ? dispatch_next_ms(service->dispatch) : INT64_MAX;
    next_ms = lease_ms < next_ms ? lease_ms : next_ms;
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
    for (int count = 0; service->state == SERVICE_WORKING && event.kind != BUS_NOTHING; count++) {
        handle(service, &event);
        if (count == BATCH_MAX) {
            break;
        }
        bus_poll(service->bus, 0, &event);
    }
    if (service->state == SERVICE_WORKING && !service->workers_asked && all_claims_read(service)) {
        presence_begin(service);
    }
    if (service->state == SERVICE_WORKING) {
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
