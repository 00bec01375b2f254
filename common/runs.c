/* SPDX-License-Identifier: Apache-2.0 */
#include "common/runs.h"

#include <stdalign.h>
#include <stdlib.h>
#include <uthash.h>

/* Out of memory there is nothing sensible to do: the log has everything, another process will take over. */
static void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

struct entry {
    struct run run; /* first: a run is its entry */
    UT_hash_handle hh;
};

struct runs {
    struct entry *entries;
    uint32_t partition_count;
    int64_t epoch, epoch_time_ms;
};

struct runs *runs_new(uint32_t partition_count)
{
    struct runs *runs = allocate(sizeof *runs);
    *runs = (struct runs){.partition_count = partition_count, .epoch = -1};
    return runs;
}

void runs_remove(struct runs *runs, struct run *run)
{
    struct entry *entry = (struct entry *)run;
    HASH_DELETE(hh, runs->entries, entry);
    saga_release(&entry->run.saga, free);
    free(entry);
}

void runs_free(struct runs *runs)
{
    if (runs == NULL) {
        return;
    }
    while (runs->entries != NULL) {
        runs_remove(runs, &runs->entries->run);
    }
    free(runs);
}

int64_t runs_epoch(const struct runs *runs)
{
    return runs->epoch;
}

int64_t runs_epoch_time_ms(const struct runs *runs)
{
    return runs->epoch_time_ms;
}

static struct entry *find(struct runs *runs, struct span run_id)
{
    struct entry *entry = NULL;
    HASH_FIND(hh, runs->entries, run_id.bytes, run_id.size, entry);
    return entry;
}

struct run *runs_find(struct runs *runs, struct span run_id)
{
    struct entry *entry = find(runs, run_id);
    return entry != NULL ? &entry->run : NULL;
}

size_t runs_count(const struct runs *runs)
{
    return HASH_COUNT(runs->entries);
}

struct run *runs_next(struct runs *runs, struct run *run)
{
    struct entry *next = run == NULL ? runs->entries : ((struct entry *)run)->hh.next;
    return next != NULL ? &next->run : NULL;
}

void runs_retire(struct runs *runs, struct run *run)
{
    /* The hash refers to the run id's bytes, which move. */
    struct entry *entry = (struct entry *)run;
    HASH_DELETE(hh, runs->entries, entry);
    size_t size = saga_retire_room(&run->saga);
    saga_retire(&run->saga, allocate(size), size, free);
    HASH_ADD_KEYPTR(hh, runs->entries, run->saga.run_id.bytes, run->saga.run_id.size, entry);
}

#define CHUNK_MIN_BYTES 512 /* small events share a chunk */

static void provide_room(struct saga *saga, const struct saga_event *event)
{
    size_t size = saga_room(saga, event);
    if (size > 0) {
        size = size < CHUNK_MIN_BYTES ? CHUNK_MIN_BYTES : size;
        saga_provide(saga, allocate(size), size);
    }
}

static bool is_request(enum message_kind kind)
{
    return kind >= MESSAGE_START && kind <= MESSAGE_RESOLVE;
}

static bool is_of_a_run(enum message_kind kind)
{
    switch (kind) {
    case MESSAGE_START:
    case MESSAGE_CANCEL:
    case MESSAGE_PAUSE:
    case MESSAGE_RESUME:
    case MESSAGE_RETRY:
    case MESSAGE_ROLL_BACK:
    case MESSAGE_RESOLVE:
    case MESSAGE_EXPANDED:
    case MESSAGE_STARTED:
    case MESSAGE_PROGRESSED:
    case MESSAGE_DONE:
    case MESSAGE_REFUSED:
    case MESSAGE_LOST:
    case MESSAGE_WITHDRAWN:
    case MESSAGE_TIMER_FIRED:
    case MESSAGE_ANSWERED:
    case MESSAGE_RUN_FINISHED: return true;
    default:                   return false;
    }
}

/* A run that was never started and has answered all that was asked of it. */
static bool is_nothing(const struct saga *saga)
{
    struct saga_effect effect;
    struct saga_cursor cursor = {0};
    return saga->status == RUN_NONE && !saga->newer && !saga_next_effect(saga, &cursor, &effect);
}

static enum runs_result apply_to(struct runs *runs, struct entry *entry, const struct saga_event *event, struct run **run)
{
    struct saga *saga = &entry->run.saga;
    bool is_new = saga->run_id.bytes == NULL;
    provide_room(saga, event);
    enum saga_verdict verdict = saga_apply(saga, event);
    if (is_new) {
        HASH_ADD_KEYPTR(hh, runs->entries, saga->run_id.bytes, saga->run_id.size, entry);
    }
    *run = &entry->run;
    if (saga->newer) {
        return verdict == SAGA_APPLIED ? RUNS_NEWER : RUNS_IGNORED;
    }
    if (is_nothing(saga) && entry->run.attached == NULL) {
        runs_remove(runs, &entry->run);
        *run = NULL;
        return RUNS_IGNORED;
    }
    return verdict == SAGA_APPLIED ? RUNS_APPLIED : verdict == SAGA_IGNORED ? RUNS_IGNORED : RUNS_ALIEN;
}

enum runs_result runs_apply(struct runs *runs, struct message *message, int64_t offset, int64_t time_ms, struct run **run)
{
    *run = NULL;
    if (message->kind == MESSAGE_OWNER_CLAIM) {
        runs->epoch = offset;
        runs->epoch_time_ms = time_ms;
        return RUNS_CLAIMED;
    }
    if (message_is_owners(message->kind) && message->epoch != runs->epoch) {
        return RUNS_FENCED;
    }
    if (!is_of_a_run(message->kind)) {
        *run = message->event.run_id.size > 0 ? runs_find(runs, message->event.run_id) : NULL;
        return RUNS_IGNORED;
    }
    struct saga_event *event = &message->event;
    event->offset = offset;
    event->time_ms = time_ms;
    event->refusal = NULL;
    if (message->kind == MESSAGE_START && message->progress_partitions != runs->partition_count) {
        event->refusal = "its writer saw another number of progress partitions: the topic was changed, or it is another cluster";
    }
    struct entry *entry = find(runs, event->run_id);
    if (entry == NULL && !is_request(message->kind)) {
        return saga_judge_unknown(event) == SAGA_ALIEN ? RUNS_ALIEN : RUNS_IGNORED;
    }
    if (entry == NULL) {
        entry = allocate(sizeof *entry);
        memset(entry, 0, sizeof *entry);
    }
    return apply_to(runs, entry, event, run);
}
