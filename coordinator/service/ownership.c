/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions come and go: by a list, once and for all, or as the group of coordinators deals them out. Each is claimed and replayed by itself,
 * while the others go on; what is known of one is forgotten as a whole. */
#include "common/limits.h"
#include "common/log.h"
#include "coordinator/service/service_internal.h"

#include <assert.h>

#define PATIENCE_MS 1000 /* for what a broker knows of one partition, while the others wait */
#define AGAIN_MS 500 /* where it did not answer */
#define REFUSED_SAY_MS 10000 /* of one partition: it is tried more often than anybody wants to read of */
#define CLAIMS_AT_ONCE 4 /* each asks the broker three things; then the others have their turn */

static bool is_dealt(const struct service *service)
{
    return service->options.session_ms > 0;
}

int ownership_patience_ms(const struct service *service)
{
    int timeout_ms = service->options.timeout_ms;
    return is_dealt(service) && timeout_ms > PATIENCE_MS ? PATIENCE_MS : timeout_ms;
}

struct owned *owned_of(struct service *service, int32_t partition)
{
    bool known = partition >= 0 && partition < service->progress_partitions;
    return known && service->owned[partition].hold == HOLD_CLAIMED ? &service->owned[partition] : NULL;
}

struct owned *owned_next(const struct service *service, const struct owned *owned)
{
    for (int32_t i = owned != NULL ? owned->partition + 1 : 0; i < service->progress_partitions; i++) {
        if (service->owned[i].hold == HOLD_CLAIMED) {
            return &service->owned[i];
        }
    }
    return NULL;
}

/* ---- what is known of one */

static void begin(struct owned *owned)
{
    struct service *service = owned->service;
    *owned = (struct owned){.service = service,
                            .partition = owned->partition,
                            .hold = HOLD_CLAIMED,
                            .claims = owned->claims + 1,
                            .refused_ms = owned->refused_ms,
                            .epoch = -1,
                            .runs = runs_new((uint32_t)service->progress_partitions)};
    runs_put_before(owned->runs, sizeof(struct job));
    dispatch_set_owned(service->dispatch, (uint32_t)++service->claimed_count);
    service->all_ready = false;
}

static void forget(struct owned *owned, enum hold hold)
{
    struct service *service = owned->service;
    if (owned->hold == HOLD_CLAIMED) {
        bus_stop(service->bus, service->progress_topic, owned->partition);
        jobs_drop(owned);
        runs_free(owned->runs);
        letters_drop(&owned->letters, INT64_MAX);
        dispatch_leave(service->dispatch, (uint32_t)owned->partition);
        dispatch_set_owned(service->dispatch, (uint32_t)--service->claimed_count);
    }
    *owned = (struct owned){.service = service,
                            .partition = owned->partition,
                            .hold = hold,
                            .claims = owned->claims,
                            .claim_ms = owned->claim_ms,
                            .refused_ms = owned->refused_ms,
                            .epoch = -1};
    service->all_ready = false;
}

/* ---- given, and taken back */

void ownership_give(struct service *service, int32_t partition)
{
    if (partition < 0 || partition >= service->progress_partitions) {
        log_event(LOG_ERROR, "partition_unknown", "partition=%d reason=%s", (int)partition,
                  LOG_QUOTED("the progress topic has more partitions than when this coordinator came: runs would be looked for in wrong ones"));
        return;
    }
    struct owned *owned = &service->owned[partition];
    if (owned->hold == HOLD_NONE) {
        owned->hold = HOLD_WANTED;
        owned->claim_ms = service->now_ms;
    }
}

void ownership_take_back(struct service *service, int32_t partition)
{
    if (partition >= 0 && partition < service->progress_partitions) {
        forget(&service->owned[partition], HOLD_NONE);
    }
}

void ownership_let_go(struct owned *owned)
{
    if (owned->let_go) {
        forget(owned, HOLD_WANTED);
    }
}

void ownership_refuse(struct owned *owned, const struct error *error)
{
    struct service *service = owned->service;
    if (!is_dealt(service)) {
        service_fail(service, error->kind == ERROR_FATAL ? SERVICE_FATAL : SERVICE_FAILED, error);
        return;
    }
    int64_t wait_ms = error->kind == ERROR_TRANSIENT ? AGAIN_MS : service->options.session_ms;
    owned->let_go = true;
    owned->claim_ms = service->now_ms + wait_ms;
    if (owned->refused_ms != 0 && service->now_ms - owned->refused_ms < REFUSED_SAY_MS) {
        return;
    }
    owned->refused_ms = service->now_ms;
    log_event(error->kind == ERROR_TRANSIENT ? LOG_WARN : LOG_ERROR, "partition_refused", "partition=%d again_in_ms=%lld error=%s",
              (int)owned->partition, (long long)wait_ms, LOG_QUOTED(error->message));
}

/* ---- claims: appended first, then all is read from the last checkpoint on. What stands before an own claim is replayed without acting. */

/* No two are alike: what stands on the log from an earlier one must not be taken for this one. */
static struct span claim_name(const struct owned *owned, struct text *name)
{
    text_format(name, "%s", owned->service->name);
    if (owned->claims > 1) {
        text_format(name, ".%u", owned->claims);
    }
    return text_span(name);
}

static void read_checkpoints(struct service *service)
{
    int left = is_dealt(service) ? CLAIMS_AT_ONCE : service->progress_partitions;
    for (int32_t i = 0; i < service->progress_partitions && service->state == SERVICE_WORKING && left > 0; i++) {
        struct owned *owned = &service->owned[i];
        struct error error;
        if (owned->hold != HOLD_WANTED || owned->claim_ms > service->now_ms) {
            continue;
        }
        left--;
        begin(owned);
        if (!checkpoint_read(owned, &error)) {
            ownership_refuse(owned, &error);
            ownership_let_go(owned);
        }
    }
}

static void send_claim(struct owned *owned)
{
    struct text name;
    text_init(&name, LIMIT_NAME_BYTES);
    struct span own = claim_name(owned, &name);
    log_event(LOG_INFO, "claiming", "partition=%d coordinator=%.*s", (int)owned->partition, SPAN_ARGS(own));
    owned->claim_sent = publish_claim(owned->service, owned, own);
    text_fini(&name);
}

static void replay(struct owned *owned)
{
    struct error error;
    if (!checkpoint_replay(owned, &error)) {
        ownership_refuse(owned, &error);
        ownership_let_go(owned);
    }
}

void ownership_tick(struct service *service)
{
    if (ownership_next_ms(service) > service->now_ms) {
        return;
    }
    read_checkpoints(service);
    for (int32_t i = 0; i < service->progress_partitions && service->state == SERVICE_WORKING; i++) {
        struct owned *owned = &service->owned[i];
        if (owned->hold == HOLD_CLAIMED && !owned->claim_sent) {
            send_claim(owned);
            replay(owned);
        }
    }
}

int64_t ownership_next_ms(const struct service *service)
{
    int64_t next_ms = INT64_MAX;
    for (int32_t i = 0; i < service->progress_partitions; i++) {
        const struct owned *owned = &service->owned[i];
        next_ms = owned->hold == HOLD_WANTED && owned->claim_ms < next_ms ? owned->claim_ms : next_ms;
    }
    return next_ms;
}

/* ---- claims read */

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
    letters_send(owned->service, &owned->letters, 0);
}

/* "Every claim carries the count its writer saw, and an owner refuses another": the partition of a run follows from it. */
static void refuse_count(struct owned *owned, const struct message *message)
{
    struct error error;
    error_set(&error, ERROR_INVALID,
              "'%s' was claimed when it had %u partitions and has %d now: runs would be looked for in wrong ones. Use another --prefix",
              owned->service->progress_topic, message->progress_partitions, (int)owned->service->progress_partitions);
    ownership_refuse(owned, &error);
}

/* "An owner that reads another's later claim drops the partition; in a group, if it is still assigned one session timeout later, it claims
 * again." By then whoever had it before has been told, and who has it now was given it. */
static void give_way(struct owned *owned, const struct message *message)
{
    struct service *service = owned->service;
    if (is_dealt(service)) {
        owned->let_go = true;
        owned->claim_ms = service->now_ms + service->options.session_ms;
        log_event(LOG_WARN, "claimed_by_another", "partition=%d by=%.*s again_in_ms=%d", (int)owned->partition,
                  SPAN_ARGS(message->coordinator), service->options.session_ms);
        return;
    }
    struct error error;
    error_set(&error, ERROR_REJECTED, "coordinator '%.*s' has claimed partition %d of '%s'; this one gives way",
              SPAN_ARGS(message->coordinator), (int)owned->partition, service->progress_topic);
    service_fail(service, SERVICE_SUPERSEDED, &error);
}

void ownership_claim_read(struct owned *owned, const struct message *message, int64_t offset)
{
    struct text name;
    text_init(&name, LIMIT_NAME_BYTES);
    bool ours = span_equal(message->coordinator, claim_name(owned, &name));
    text_fini(&name);
    if (owned->epoch >= 0) {
        give_way(owned, message);
    } else if (message->progress_partitions != (uint32_t)owned->service->progress_partitions) {
        refuse_count(owned, message);
    } else if (ours) {
        begin_owning(owned, offset);
    } else {
        owned->was_claimed = true;
    }
}

bool ownership_is_ready(const struct service *service)
{
    int32_t ready = 0;
    for (int32_t i = 0; i < service->progress_partitions; i++) {
        const struct owned *owned = &service->owned[i];
        if (owned->hold != HOLD_NONE && !(owned->hold == HOLD_CLAIMED && owned->workers_read)) {
            return false;
        }
        ready += owned->hold == HOLD_CLAIMED;
    }
    return ready > 0;
}
