/* SPDX-License-Identifier: Apache-2.0 */
/* Where a recovery begins. The owner writes down the state of each run that has fallen too far behind, and the ids of those that have
 * ended; what it has read back of that moves K, the offset that it commits. A new owner begins there instead of at the start. */
#include "common/limits.h"
#include "common/log.h"
#include "coordinator/service/service_internal.h"

#include <assert.h>

#define CHECKPOINT_BYTES ((int64_t)64 * MIB) /* what a recovery reads again, at most, where little is live */
#define CHECKPOINT_LIVE 4 /* times the live state: writing it anew costs a quarter more at most */
#define CHECKPOINT_AGE_MS (7ll * 24 * 3600 * 1000 / 4) /* and no older than that, or than a quarter of what is kept of the progress topic */
#define LOOK_EVERY_MS 50
#define LOOKS 8 /* or so often on the way from one checkpoint to the next */
#define RETRY_FIRST_MS 100 /* a snapshot that does not count: its run is busy */
#define RETRY_MOST_MS 60000
#define RETRY_TOO_LARGE_MS 600000
#define COMMIT_AGAIN_MS 3600000 /* brokers forget the offsets of a group that nobody commits: after a week by default */
#define SNAPSHOTS_AT_ONCE 64 /* and as many as make half the bytes that were read since: then all live state is told on the way from one
                              * checkpoint to the next, however much there is */

static_assert(RUNS_CHECKPOINT_BYTES == BUS_METADATA_BYTES, "what is known at K stands beside it");

/* ---- K, read */

static bool refuse_gone(const struct owned *owned, int64_t wanted, int64_t first, int64_t next, struct error *error)
{
    bool deleted = wanted < first;
    return error_set(
        error, ERROR_REJECTED,
        "partition %d of '%s' %s at offset %lld, and its runs can only be recovered from offset %lld on: %s. Nothing is skipped in "
        "silence: use another --prefix to go on without those runs",
        (int)owned->partition, owned->service->progress_topic, deleted ? "begins" : "ends", (long long)(deleted ? first : next),
        (long long)wanted,
        deleted ? "what stood between was deleted, by retention or by hand"
                : "the topic was deleted and made anew, or lost its end");
}

static bool refuse_unknown(const struct owned *owned, int64_t first, struct error *error)
{
    return error_set(error, ERROR_REJECTED,
                     "partition %d of '%s' begins at offset %lld, and nothing is committed for group '%s' that says from where on its runs "
                     "can be recovered. If nobody but Backstep has deleted records of it, --begin-at-first-record recovers them all; else use "
                     "another --prefix to go on without them",
                     (int)owned->partition, owned->service->progress_topic, (long long)first, owned->service->group);
}

/* Nothing is committed: no checkpoint was reached yet, or the broker has forgotten the group. Owners delete only what stands below a
 * checkpoint, so where nobody else did, all that is left will do. */
static bool begin_without(struct owned *owned, int64_t first, struct runs_checkpoint *checkpoint, struct error *error)
{
    bool whole = first == 0 || bus_embedded(owned->service->bus);
    *checkpoint = (struct runs_checkpoint){.offset = first, .epoch = whole ? -1 : RUNS_EPOCH_UNKNOWN, .ids = -1};
    owned->was_claimed = !whole;
    return whole || owned->service->options.begin_at_first || refuse_unknown(owned, first, error);
}

bool checkpoint_read(struct owned *owned, struct error *error)
{
    struct service *service = owned->service;
    struct runs_checkpoint checkpoint = {.epoch = -1, .ids = -1};
    char metadata[BUS_METADATA_BYTES];
    int64_t first, next, offset;
    int timeout_ms = ownership_patience_ms(service);
    if (!bus_bounds(service->bus, service->progress_topic, owned->partition, &first, &next, timeout_ms, error) ||
        !bus_committed(service->bus, service->group, service->progress_topic, owned->partition, &offset, metadata, timeout_ms,
                       error)) {
        return false;
    }
    if (offset >= 0 && !runs_checkpoint_read(&checkpoint, offset, metadata)) {
        return error_set(error, ERROR_INVALID, "what is committed for group '%s' on '%s' was not written by Backstep: '%s'",
                         service->group, service->progress_topic, metadata);
    }
    if (offset < 0 && !begin_without(owned, first, &checkpoint, error)) {
        return false;
    }
    if (checkpoint.offset < first || checkpoint.offset > next) {
        return refuse_gone(owned, checkpoint.offset, first, next, error);
    }
    owned->begin_offset = owned->next_offset = owned->committed_offset = checkpoint.offset;
    owned->first_offset = first;
    owned->committed_at_ms = service->now_ms;
    owned->ids_offset = checkpoint.ids;
    owned->was_claimed = owned->was_claimed || checkpoint.epoch >= 0;
    log_event(LOG_INFO, "recovering", "partition=%d from=%lld to=%lld", (int)owned->partition, (long long)checkpoint.offset,
              (long long)next);
    if (checkpoint.offset > 0) {
        runs_begin_at(owned->runs, &checkpoint);
    }
    return true;
}

/* ---- the ids of runs that ended before K: each FinishedIds names the one before it */

bool checkpoint_replay(struct owned *owned, struct error *error)
{
    int64_t offset = owned->ids_offset >= 0 ? owned->ids_offset : owned->begin_offset;
    return bus_consume(owned->service->bus, owned->service->progress_topic, owned->partition, offset, error);
}

static void read_on(struct owned *owned, int64_t ids_offset)
{
    struct error error;
    bus_stop(owned->service->bus, owned->service->progress_topic, owned->partition);
    owned->ids_offset = ids_offset;
    if (!checkpoint_replay(owned, &error)) {
        service_fail(owned->service, SERVICE_FATAL, &error);
    }
}

bool checkpoint_take(struct owned *owned, const struct bus_event *record)
{
    struct message message;
    int64_t previous = -1;
    bool ours = record->offset == owned->ids_offset && message_decode(&message, TOPIC_PROGRESS, record->key, record->value, NULL);
    if (ours && message.kind == MESSAGE_FINISHED_IDS) {
        owned->ids_newest_ms = owned->ids_newest_ms > 0 ? owned->ids_newest_ms : record->time_ms;
        runs_add_ended(owned->runs, message.hashes, message.hash_count, record->time_ms);
        bool recent = owned->ids_newest_ms - record->time_ms < RUNS_ENDED_KNOWN_MS && message.previous < record->offset;
        previous = recent ? message.previous : -1;
    } else {
        log_event(LOG_WARN, "finished_ids_missing", "partition=%d offset=%lld", (int)owned->partition,
                  (long long)owned->ids_offset);
    }
    if (ours) {
        message_free(&message);
    }
    read_on(owned, previous);
    return true;
}

bool checkpoint_gone(struct owned *owned)
{
    if (owned->ids_offset < 0) {
        return false;
    }
    log_event(LOG_WARN, "finished_ids_gone", "partition=%d offset=%lld", (int)owned->partition, (long long)owned->ids_offset);
    read_on(owned, -1);
    return true;
}

/* ---- K, committed: only right after a record of our own was read back, when nobody has claimed the partition before it */

static void commit(struct owned *owned)
{
    struct service *service = owned->service;
    char metadata[BUS_METADATA_BYTES];
    struct runs_checkpoint checkpoint = runs_checkpoint(owned->runs, owned->next_offset);
    bool again = service->now_ms - owned->committed_at_ms >= COMMIT_AGAIN_MS && checkpoint.offset > 0;
    if (checkpoint.offset <= owned->committed_offset && !again) {
        return;
    }
    runs_checkpoint_write(&checkpoint, metadata);
    bus_commit(service->bus, service->group, service->progress_topic, owned->partition, checkpoint.offset, metadata);
    owned->committed_offset = checkpoint.offset;
    owned->committed_at_ms = service->now_ms;
    runs_drop_claims(owned->runs, checkpoint.offset);
}

static void on_snapshot(struct job *job, enum runs_result result)
{
    job->snapshot_sent = false;
    struct job_rare *rare = job_rare(job);
    if (result == RUNS_CHECKED) {
        rare->snapshot_wait_ms = rare->snapshot_ms = 0;
        return;
    }
    int64_t wait_ms = rare->snapshot_wait_ms > 0 ? rare->snapshot_wait_ms * 2 : RETRY_FIRST_MS;
    rare->snapshot_wait_ms = wait_ms < RETRY_MOST_MS ? wait_ms : RETRY_MOST_MS;
    rare->snapshot_ms = job_owned(job)->service->now_ms + rare->snapshot_wait_ms;
}

void checkpoint_own_record(struct owned *owned, const struct message *message, enum runs_result result, struct run *run)
{
    if (owned->epoch < 0) {
        if (message->kind == MESSAGE_SNAPSHOT && result == RUNS_CHECKED) {
            letters_forget(&owned->letters, message->event.run_id);
        }
        return;
    }
    if (message->kind == MESSAGE_FINISHED_IDS) {
        owned->ids_sent = false;
    } else if (message->kind == MESSAGE_SNAPSHOT && run != NULL && run->attached != NULL) {
        on_snapshot(job_if_any(run), result);
    }
    if (result == RUNS_CHECKED || owned->service->now_ms - owned->committed_at_ms >= COMMIT_AGAIN_MS) {
        commit(owned);
    }
}

/* ---- what moves it */

static uint64_t size_of(const struct saga *saga)
{
    uint64_t count = saga->plan->step_count;
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        const struct saga_step *step = saga->steps[i];
        count += step != NULL && step->fan != NULL ? step->fan->count : 0;
    }
    return count;
}

static void write_snapshot(struct owned *owned, struct job *job)
{
    const struct saga *saga = &job_run(job)->saga;
    struct waiting_step waiting[WAITING_TOLD];
    struct message message = {.kind = MESSAGE_SNAPSHOT,
                              .state_offset = owned->next_offset,
                              .first_offset = job_run(job)->first_offset,
                              .image = saga,
                              .waiting = waiting,
                              .waiting_count = job_list_waiting(job, waiting, WAITING_TOLD)};
    if (size_of(saga) <= LIMIT_SNAPSHOT_STEPS && publish_progress(owned->service, owned, saga->run_id, &message)) {
        job->snapshot_sent = true;
        return;
    }
    /* Its state fits no record: it is replayed from its start, and the log kept for it. */
    job_rare(job)->snapshot_ms = owned->service->now_ms + RETRY_TOO_LARGE_MS;
    log_event(LOG_WARN, "run_too_large_for_a_snapshot", "run=%.*s", SPAN_ARGS(saga->run_id));
}

static void write_ids(struct owned *owned)
{
    uint64_t hashes[LIMIT_FINISHED_IDS];
    struct message message = {.kind = MESSAGE_FINISHED_IDS,
                              .state_offset = owned->next_offset,
                              .previous = runs_checkpoint(owned->runs, owned->next_offset).ids,
                              .hashes = hashes};
    message.hash_count = runs_unnamed_hashes(owned->runs, hashes, LIMIT_FINISHED_IDS);
    owned->ids_sent = publish_progress(owned->service, owned, (struct span){0}, &message);
}

static int64_t distance_bytes(const struct owned *owned)
{
    int64_t live_bytes = CHECKPOINT_LIVE * (int64_t)runs_room_bytes(owned->runs);
    int64_t usual_bytes = live_bytes > CHECKPOINT_BYTES ? live_bytes : CHECKPOINT_BYTES;
    return owned->service->options.checkpoint_bytes > 0 ? owned->service->options.checkpoint_bytes : usual_bytes;
}

static bool is_behind(const struct owned *owned, const struct run *run, int64_t most_bytes)
{
    int64_t age_ms = owned->service->options.retention_ms / 4;
    age_ms = age_ms > 0 && age_ms < CHECKPOINT_AGE_MS ? age_ms : CHECKPOINT_AGE_MS;
    return runs_bytes(owned->runs) - run->base_bytes > most_bytes || log_now_ms(owned) - run->base_ms > age_ms;
}

static bool may_be_told(const struct run *run, const struct job *job, int64_t now_ms)
{
    return job != NULL && run->saga.steps != NULL && !saga_is_closed(&run->saga) && !job->snapshot_sent &&
           (job->rare == NULL || job->rare->snapshot_ms <= now_ms);
}

static void look(struct owned *owned, int64_t most_bytes, int64_t read_bytes)
{
    struct service *service = owned->service;
    bool ended_behind = false;
    int64_t sent_bytes = 0;
    int sent = 0;
    for (struct run *run = runs_next_held(owned->runs, NULL);
         run != NULL && is_behind(owned, run, most_bytes) && (sent < SNAPSHOTS_AT_ONCE || sent_bytes < read_bytes / 2);
         run = runs_next_held(owned->runs, run)) {
        ended_behind = ended_behind || saga_is_closed(&run->saga);
        if (may_be_told(run, job_if_any(run), service->now_ms) && service->state == SERVICE_WORKING && job_may_send(service)) {
            write_snapshot(owned, job_if_any(run));
            sent_bytes += (int64_t)service->bytes.size;
            sent++;
        }
    }
    size_t unnamed = runs_unnamed(owned->runs);
    if (!owned->ids_sent && (unnamed >= LIMIT_FINISHED_IDS || ended_behind) && service->state == SERVICE_WORKING) {
        write_ids(owned);
    }
}

void checkpoint_tick(struct service *service)
{
    if (bus_embedded(service->bus)) {
        return;
    }
    for (struct owned *owned = owned_next(service, NULL); owned != NULL; owned = owned_next(service, owned)) {
        int64_t most_bytes = distance_bytes(owned), read_bytes = runs_bytes(owned->runs);
        bool due =
            service->now_ms - owned->checked_at_ms >= LOOK_EVERY_MS || read_bytes - owned->checked_at_bytes >= most_bytes / LOOKS;
        if (owned->workers_read && due) { /* a successor takes what we write here for a sign of that */
            int64_t since_bytes = read_bytes - owned->checked_at_bytes;
            owned->checked_at_ms = service->now_ms;
            owned->checked_at_bytes = read_bytes;
            look(owned, most_bytes, since_bytes);
        }
    }
}
