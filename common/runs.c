/* SPDX-License-Identifier: Apache-2.0 */
#include "common/runs.h"

#include "common/limits.h"
#include "common/messages_plans.h"
#include "common/runs_ended.h"
#include "common/runs_table.h"

#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

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
    int64_t last_offset; /* of its records but snapshots, duplicates included */
    uint32_t room_bytes;
    bool named; /* by a FinishedIds, at run.base_ms */
    bool unnamed; /* it has ended, and none does */
    bool holds; /* it is in the list of those that hold K back */
    struct entry *before, *after; /* in that list */
    struct entry *earlier, *later; /* in the list of all, by when they came */
};

struct claim {
    int64_t offset, time_ms;
};

struct runs {
    struct runs_table table;
    struct entry *earliest, *latest;
    struct message_plans *plans;
    uint32_t partition_count;
    int64_t from; /* the first record read */
    struct claim *claims; /* by offset; the last is the epoch */
    size_t claim_count, claim_room;
    struct entry *first, *last; /* those that hold K back, by base_offset */
    struct ended ended; /* hash: time when it was named */
    struct ended heard; /* hash: last offset of a record of a run that is not known. Until all is caught up */
    bool caught_up, keep_ended, learns_epoch;
    size_t before_bytes; /* of the caller's, before each entry */
    void (*forget)(struct run *run);
    size_t unnamed_count, room_bytes;
    int64_t bytes;
    int64_t ids_offset, ids_base; /* of the last FinishedIds: where it stands, and what is named below */
    int64_t pruned_ms;
};

/* ---- claims */

static void add_claim(struct runs *runs, int64_t offset, int64_t time_ms)
{
    if (runs->claim_count == runs->claim_room) {
        runs->claim_room = runs->claim_room > 0 ? runs->claim_room * 2 : 4;
        runs->claims = realloc(runs->claims, runs->claim_room * sizeof *runs->claims);
        if (runs->claims == NULL) {
            abort();
        }
    }
    runs->claims[runs->claim_count++] = (struct claim){offset, time_ms};
}

/* The last claim before `offset`. */
static const struct claim *claim_before(const struct runs *runs, int64_t offset)
{
    size_t count = runs->claim_count;
    while (count > 0 && runs->claims[count - 1].offset >= offset) {
        count--;
    }
    return count > 0 ? &runs->claims[count - 1] : NULL;
}

void runs_drop_claims(struct runs *runs, int64_t offset)
{
    const struct claim *keep = claim_before(runs, offset);
    size_t drop = keep != NULL ? (size_t)(keep - runs->claims) : 0;
    runs->claim_count -= drop;
    memmove(runs->claims, runs->claims + drop, runs->claim_count * sizeof *runs->claims);
}

int64_t runs_epoch(const struct runs *runs)
{
    return runs->claim_count > 0 ? runs->claims[runs->claim_count - 1].offset : -1;
}

int64_t runs_epoch_time_ms(const struct runs *runs)
{
    return runs->claim_count > 0 ? runs->claims[runs->claim_count - 1].time_ms : 0;
}

/* ---- those that hold K back */

static void list_remove(struct runs *runs, struct entry *entry)
{
    if (!entry->holds) {
        return;
    }
    *(entry->before != NULL ? &entry->before->after : &runs->first) = entry->after;
    *(entry->after != NULL ? &entry->after->before : &runs->last) = entry->before;
    entry->before = entry->after = NULL;
    entry->holds = false;
}

/* Nearly always at the end. */
static void list_insert(struct runs *runs, struct entry *entry)
{
    struct entry *before = runs->last;
    while (before != NULL && before->run.base_offset > entry->run.base_offset) {
        before = before->before;
    }
    entry->before = before;
    entry->after = before != NULL ? before->after : runs->first;
    *(before != NULL ? &before->after : &runs->first) = entry;
    *(entry->after != NULL ? &entry->after->before : &runs->last) = entry;
    entry->holds = true;
}

static void set_base(struct runs *runs, struct entry *entry, int64_t offset, int64_t time_ms)
{
    list_remove(runs, entry);
    entry->run.base_offset = offset;
    entry->run.base_bytes = runs->bytes;
    entry->run.base_ms = time_ms;
    list_insert(runs, entry);
}

struct run *runs_next_held(const struct runs *runs, const struct run *run)
{
    const struct entry *entry = (const struct entry *)run;
    struct entry *next = entry != NULL ? entry->after : runs->first;
    return next != NULL ? &next->run : NULL;
}

/* ---- all of them */

struct runs *runs_new(uint32_t partition_count)
{
    struct runs *runs = allocate(sizeof *runs);
    *runs = (struct runs){.plans = message_plans_new(),
                          .partition_count = partition_count,
                          .ids_offset = -1,
                          .ids_base = INT64_MAX,
                          .caught_up = true};
    return runs;
}

void runs_begin_at(struct runs *runs, const struct runs_checkpoint *checkpoint)
{
    assert(runs->earliest == NULL && runs->claim_count == 0);
    runs->from = checkpoint->offset;
    runs->caught_up = checkpoint->offset == 0;
    runs->ids_offset = checkpoint->ids;
    runs->learns_epoch = checkpoint->epoch == RUNS_EPOCH_UNKNOWN;
    if (checkpoint->epoch >= 0) {
        add_claim(runs, checkpoint->epoch, checkpoint->epoch_ms);
    }
}

void runs_put_before(struct runs *runs, size_t size)
{
    assert(runs->earliest == NULL && size % alignof(int64_t) == 0);
    runs->before_bytes = size;
}

void runs_keep_ended(struct runs *runs)
{
    runs->keep_ended = true;
}

void runs_tell_forgotten(struct runs *runs, void (*forget)(struct run *run))
{
    runs->forget = forget;
}

void runs_caught_up(struct runs *runs)
{
    runs->caught_up = true;
    ended_fini(&runs->heard);
}

static void hear(struct runs *runs, uint64_t hash, int64_t offset)
{
    if (!runs->caught_up) {
        ended_put(&runs->heard, hash, offset);
    }
}

static uint64_t hash_of(const struct entry *entry)
{
    return message_hash(entry->run.saga.run_id);
}

static void give_plan_back(struct runs *runs, const struct saga *saga)
{
    if (saga->plan_stays) {
        message_plans_release(runs->plans, saga->plan);
    }
}

static void give_back(struct runs *runs, struct entry *entry)
{
    runs->room_bytes -= entry->room_bytes;
    entry->room_bytes = 0;
    give_plan_back(runs, &entry->run.saga);
    saga_release(&entry->run.saga, free);
}

static void set_unnamed(struct runs *runs, struct entry *entry, bool unnamed)
{
    runs->unnamed_count += unnamed && !entry->unnamed;
    runs->unnamed_count -= !unnamed && entry->unnamed;
    entry->unnamed = unnamed;
}

static void forget_entry(struct runs *runs, struct entry *entry)
{
    runs_table_remove(&runs->table, hash_of(entry), entry);
    *(entry->earlier != NULL ? &entry->earlier->later : &runs->earliest) = entry->later;
    *(entry->later != NULL ? &entry->later->earlier : &runs->latest) = entry->earlier;
    entry->earlier = entry->later = NULL;
}

void runs_remove(struct runs *runs, struct run *run)
{
    struct entry *entry = (struct entry *)run;
    hear(runs, hash_of(entry), entry->last_offset);
    set_unnamed(runs, entry, false);
    list_remove(runs, entry);
    forget_entry(runs, entry);
    give_back(runs, entry);
    free((char *)entry - runs->before_bytes);
}

void runs_free(struct runs *runs)
{
    if (runs == NULL) {
        return;
    }
    while (runs->earliest != NULL) {
        runs_remove(runs, &runs->earliest->run);
    }
    runs_table_fini(&runs->table);
    ended_fini(&runs->ended);
    ended_fini(&runs->heard);
    message_plans_free(runs->plans);
    free(runs->claims);
    free(runs);
}

static struct span name_of(const void *entry)
{
    return ((const struct entry *)entry)->run.saga.run_id;
}

static struct entry *find(struct runs *runs, uint64_t hash, struct span run_id)
{
    return runs_table_find(&runs->table, hash, run_id, name_of);
}

struct message_plans *runs_plans(struct runs *runs)
{
    return runs->plans;
}

struct run *runs_find(struct runs *runs, struct span run_id)
{
    struct entry *entry = find(runs, message_hash(run_id), run_id);
    return entry != NULL ? &entry->run : NULL;
}

size_t runs_count(const struct runs *runs)
{
    return runs->table.used;
}

struct run *runs_next(struct runs *runs, struct run *run)
{
    struct entry *next = run == NULL ? runs->earliest : ((struct entry *)run)->later;
    return next != NULL ? &next->run : NULL;
}

static void take_room(struct runs *runs, struct entry *entry, size_t size)
{
    runs->room_bytes += size;
    entry->room_bytes += (uint32_t)size; /* of a run: far below 4 GiB, by LIMIT_CONTEXT_BYTES and LIMIT_ELEMENTS */
}

void runs_retire(struct runs *runs, struct run *run)
{
    struct entry *entry = (struct entry *)run;
    size_t size = saga_retire_room(&run->saga);
    give_plan_back(runs, &run->saga);
    saga_retire(&run->saga, allocate(size), size, free);
    runs->room_bytes -= entry->room_bytes;
    entry->room_bytes = 0;
    take_room(runs, entry, size);
}

void runs_count_bytes(struct runs *runs, size_t size_bytes)
{
    runs->bytes += (int64_t)size_bytes;
}

int64_t runs_bytes(const struct runs *runs)
{
    return runs->bytes;
}

size_t runs_room_bytes(const struct runs *runs)
{
    return runs->room_bytes;
}

struct runs_checkpoint runs_checkpoint(const struct runs *runs, int64_t next)
{
    struct runs_checkpoint checkpoint = {.offset = next, .epoch = -1, .ids = runs->ids_offset};
    if (runs->first != NULL && runs->first->run.base_offset < checkpoint.offset) {
        checkpoint.offset = runs->first->run.base_offset;
    }
    if (runs->ids_base < checkpoint.offset) {
        checkpoint.offset = runs->ids_base;
    }
    const struct claim *claim = claim_before(runs, checkpoint.offset);
    if (claim != NULL) {
        checkpoint.epoch = claim->offset;
        checkpoint.epoch_ms = claim->time_ms;
    }
    return checkpoint;
}

/* ---- runs that have ended */

bool runs_is_named(const struct run *run)
{
    return ((const struct entry *)run)->named;
}

size_t runs_unnamed(const struct runs *runs)
{
    return runs->unnamed_count;
}

size_t runs_unnamed_hashes(const struct runs *runs, uint64_t *hashes, size_t max)
{
    size_t count = 0;
    for (const struct entry *entry = runs->first; entry != NULL && count < max; entry = entry->after) {
        if (entry->unnamed) {
            hashes[count++] = hash_of(entry);
        }
    }
    return count;
}

size_t runs_ended(const struct runs *runs)
{
    return runs->ended.used;
}

void runs_add_ended(struct runs *runs, const uint64_t *hashes, size_t count, int64_t time_ms)
{
    for (size_t i = 0; i < count; i++) {
        ended_put(&runs->ended, hashes[i], time_ms);
    }
}

/* "Ids of finished runs are remembered for 24 h": by the log's clock, so that all readers agree. */
static bool is_known_to_have_ended(const struct runs *runs, uint64_t hash, int64_t time_ms)
{
    int64_t named_ms;
    return ended_get(&runs->ended, hash, &named_ms) && time_ms < named_ms + RUNS_ENDED_KNOWN_MS;
}

static void prune_ended(struct runs *runs, int64_t time_ms)
{
    if (time_ms - runs->pruned_ms > RUNS_ENDED_KNOWN_MS / 24) {
        runs->pruned_ms = time_ms;
        ended_prune(&runs->ended, time_ms - RUNS_ENDED_KNOWN_MS);
    }
}

/* false: something is attached to it, and nobody would free that. */
static bool forget(struct runs *runs, struct entry *entry)
{
    if (entry->run.attached != NULL) {
        if (runs->forget == NULL) {
            return false;
        }
        runs->forget(&entry->run);
        entry->run.attached = NULL;
    }
    return true;
}

static bool has_ended(const struct saga *saga)
{
    return saga_is_over(saga) && saga->status != RUN_ROLLBACK_INCOMPLETE && saga->finish_recorded;
}

/* After each event: does it hold K back, and is it to be named? */
static void note_state(struct runs *runs, struct entry *entry)
{
    bool closed = saga_is_closed(&entry->run.saga);
    set_unnamed(runs, entry, closed && !entry->named);
    if (closed && entry->named) {
        list_remove(runs, entry);
    }
}

static void name_entry(struct runs *runs, struct entry *entry, int64_t base_offset, int64_t time_ms)
{
    if (!has_ended(&entry->run.saga)) { /* a late second Start was taken for the first */
        if (entry->run.saga.status != RUN_NONE && forget(runs, entry)) {
            runs_remove(runs, &entry->run);
        }
        return;
    }
    entry->named = true;
    entry->run.base_ms = time_ms;
    if (!saga_is_closed(&entry->run.saga)) {
        set_base(runs, entry, base_offset, time_ms); /* something was asked since, and is not answered */
    }
    note_state(runs, entry);
    if (!runs->keep_ended && !entry->holds && forget(runs, entry)) {
        runs_remove(runs, &entry->run);
    }
}

/* "It counts if ..." is weaker than for a snapshot: runs that ended since hold K back by themselves, and the next one names them. */
#define NAMESAKES 8 /* runs whose ids have one hash: more than one is hardly ever met */

static void name_all(struct runs *runs, uint64_t hash, int64_t base_offset, int64_t time_ms)
{
    void *found[NAMESAKES];
    size_t count = runs_table_all(&runs->table, hash, found, NAMESAKES);
    for (size_t i = 0; i < count; i++) {
        struct entry *entry = found[i];
        if (hash_of(entry) == hash) {
            name_entry(runs, entry, base_offset, time_ms);
        }
    }
}

static enum runs_result on_finished_ids(struct runs *runs, const struct message *message, int64_t offset, int64_t time_ms)
{
    if (message->state_offset < runs->from || message->state_offset > offset) {
        return RUNS_IGNORED;
    }
    runs_add_ended(runs, message->hashes, message->hash_count, time_ms);
    for (size_t i = 0; i < message->hash_count; i++) {
        name_all(runs, message->hashes[i], message->state_offset, time_ms);
    }
    runs->ids_offset = offset;
    runs->ids_base = message->state_offset;
    prune_ended(runs, time_ms);
    return RUNS_CHECKED;
}

/* ---- snapshots */

static bool same_state(const struct saga *a, const struct saga *b)
{
    struct text texts[2];
    const struct saga *sagas[2] = {a, b};
    struct error error;
    bool ok = true;
    for (int i = 0; i < 2; i++) {
        struct message message = {.kind = MESSAGE_SNAPSHOT, .image = sagas[i]};
        text_init(&texts[i], LIMIT_RECORD_BYTES);
        ok = message_encode(&message, &texts[i], &error) && ok;
    }
    ok = ok && span_equal(text_span(&texts[0]), text_span(&texts[1]));
    text_fini(&texts[0]);
    text_fini(&texts[1]);
    return ok;
}

static struct entry *new_entry(const struct runs *runs)
{
    char *memory = allocate(runs->before_bytes + sizeof(struct entry));
    memset(memory, 0, runs->before_bytes + sizeof(struct entry));
    struct entry *entry = (void *)(memory + runs->before_bytes);
    entry->last_offset = -1;
    return entry;
}

static void add_entry(struct runs *runs, struct entry *entry, uint64_t hash)
{
    runs_table_add(&runs->table, hash, entry);
    entry->earlier = runs->latest;
    *(runs->latest != NULL ? &runs->latest->later : &runs->earliest) = entry;
    runs->latest = entry;
}

/* The plan as all runs that have it share it, held once more; NULL: it is this run's alone. */
static const struct plan *hold_plan(struct runs *runs, const struct message *message, const struct plan *plan)
{
    if (plan == NULL) {
        return NULL;
    }
    return message->plan_known ? message_plans_hold_known(runs->plans, plan)
                               : message_plans_hold(runs->plans, message->plan_bytes, plan);
}

static struct entry *replace_state(struct runs *runs, struct entry *entry, const struct message *message, uint64_t hash)
{
    struct saga image = *message->image;
    const struct plan *plan = hold_plan(runs, message, image.plan);
    image.plan = plan != NULL ? plan : image.plan;
    image.plan_stays = plan != NULL;
    if (entry != NULL) {
        forget_entry(runs, entry);
        give_back(runs, entry);
    } else {
        int64_t last = -1;
        entry = new_entry(runs);
        entry->last_offset = ended_get(&runs->heard, hash, &last) ? last : -1;
    }
    size_t size = saga_copy_room(&image);
    saga_copy(&entry->run.saga, &image, allocate(size), size);
    take_room(runs, entry, size);
    add_entry(runs, entry, hash);
    return entry;
}

/* "It counts if no other record of that run than snapshots, duplicates included, stands at or after s and before it. A reader that began
 * at K takes only those with s >= K." RunProgressed is no record in this sense: it is read off the state, and changes none. */
static bool snapshot_counts(const struct runs *runs, const struct entry *entry, const struct message *message, int64_t offset,
                            int64_t time_ms, uint64_t hash)
{
    int64_t last = -1;
    if (message->state_offset < runs->from || message->state_offset > offset ||
        message->image->start_offset >= message->state_offset) {
        return false;
    }
    if (entry != NULL ? has_ended(&entry->run.saga) || entry->run.saga.newer
                      : runs->caught_up || is_known_to_have_ended(runs, hash, time_ms)) {
        return false;
    }
    return (entry == NULL || entry->last_offset < message->state_offset) &&
           (!ended_get(&runs->heard, hash, &last) || last < message->state_offset);
}

static enum runs_result on_snapshot(struct runs *runs, const struct message *message, int64_t offset, int64_t time_ms,
                                    struct run **run)
{
    uint64_t hash = message_hash(message->event.run_id);
    struct entry *entry = find(runs, hash, message->event.run_id);
    *run = entry != NULL ? &entry->run : NULL;
    if (!snapshot_counts(runs, entry, message, offset, time_ms, hash)) {
        return RUNS_IGNORED;
    }
    bool known = entry != NULL && entry->run.saga.status != RUN_NONE && entry->run.first_offset == message->first_offset;
    if (known && !same_state(&entry->run.saga, message->image)) {
        return RUNS_DIFFERS;
    }
    if (!known) {
        if (entry != NULL && !forget(runs, entry)) {
            return RUNS_IGNORED;
        }
        entry = replace_state(runs, entry, message, hash);
        entry->run.first_offset = message->first_offset;
        *run = &entry->run;
    }
    set_base(runs, entry, message->state_offset, time_ms);
    note_state(runs, entry);
    return RUNS_CHECKED;
}

/* ---- events */

static void provide_room(struct runs *runs, struct entry *entry, const struct saga_event *event)
{
    size_t size = saga_room(&entry->run.saga, event);
    if (size > 0) {
        saga_provide(&entry->run.saga, allocate(size), size);
        take_room(runs, entry, size);
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
    default: return false;
    }
}

/* A run that was never started and has answered all that was asked of it. */
static bool is_nothing(const struct saga *saga)
{
    struct saga_effect effect;
    struct saga_cursor cursor = {0};
    return saga->status == RUN_NONE && !saga->newer && !saga_next_effect(saga, &cursor, &effect);
}

/* A Start that begins the run holds its plan from then on. */
static enum saga_verdict apply_with_plan(struct runs *runs, struct saga *saga, struct saga_event *event, const struct plan *plan)
{
    bool had = saga->plan != NULL;
    enum saga_verdict verdict = saga_apply(saga, event);
    if (plan != NULL && (had || saga->plan != plan)) {
        message_plans_release(runs->plans, plan);
    }
    return verdict;
}

static enum runs_result apply_to(struct runs *runs, struct entry *entry, uint64_t hash, struct message *message, struct run **run)
{
    struct saga_event *event = &message->event;
    struct saga *saga = &entry->run.saga;
    bool is_new = saga->run_id.bytes == NULL;
    const struct plan *plan = hold_plan(runs, message, event->plan);
    event->plan = plan != NULL ? plan : event->plan;
    event->plan_stays = plan != NULL;
    provide_room(runs, entry, event);
    enum saga_verdict verdict = apply_with_plan(runs, saga, event, plan);
    if (is_new) {
        add_entry(runs, entry, hash);
        set_base(runs, entry, event->offset, event->time_ms);
        entry->run.first_offset = event->offset;
    }
    entry->last_offset = event->offset;
    *run = &entry->run;
    if (saga->newer) {
        return verdict == SAGA_APPLIED ? RUNS_NEWER : RUNS_IGNORED;
    }
    if (is_nothing(saga) && entry->run.attached == NULL) {
        runs_remove(runs, &entry->run);
        *run = NULL;
        return RUNS_IGNORED;
    }
    note_state(runs, entry);
    bool is_late = event->ended; /* its run has ended, and only a request of it that is not answered is here */
    return verdict == SAGA_APPLIED ? RUNS_APPLIED : verdict == SAGA_IGNORED || is_late ? RUNS_IGNORED : RUNS_ALIEN;
}

/* The owner knew of an earlier run of this id, which this reader has not read: what it took for the run is none. */
static bool is_disowned(const struct entry *entry, const struct message *message)
{
    const struct saga *saga = &entry->run.saga;
    bool says_start = (message->kind == MESSAGE_RUN_FINISHED || message->kind == MESSAGE_ANSWERED) && message->start_offset > 0;
    if (says_start && saga->status != RUN_NONE && message->start_offset < saga->start_offset) {
        return true;
    }
    if (message->kind != MESSAGE_ANSWERED || message->verdict != VERDICT_EXISTING || saga->status == RUN_NONE) {
        return false;
    }
    for (const struct saga_request *request = saga->requests; request != NULL; request = request->next) {
        if (memcmp(request->id, message->event.request_id, sizeof request->id) == 0) {
            return request->verdict == VERDICT_ACCEPTED;
        }
    }
    return false;
}

/* After a day the id of a run that has ended may be used again. */
static bool is_forgotten(const struct entry *entry, const struct message *message, int64_t time_ms)
{
    return message->kind == MESSAGE_START && entry->named && saga_is_closed(&entry->run.saga) &&
           time_ms >= entry->run.base_ms + RUNS_ENDED_KNOWN_MS;
}

static void begin_afresh(struct runs *runs, struct entry *entry)
{
    forget_entry(runs, entry);
    list_remove(runs, entry);
    give_back(runs, entry);
}

static enum runs_result apply_unknown(struct runs *runs, const struct message *message, uint64_t hash)
{
    hear(runs, hash, message->event.offset);
    if (is_known_to_have_ended(runs, hash, message->event.time_ms)) {
        return RUNS_IGNORED;
    }
    return saga_judge_unknown(&message->event) == SAGA_ALIEN ? RUNS_ALIEN : RUNS_IGNORED;
}

static enum runs_result apply_event(struct runs *runs, struct message *message, int64_t offset, int64_t time_ms, struct run **run)
{
    struct saga_event *event = &message->event;
    uint64_t hash = message_hash(event->run_id);
    struct entry *entry = find(runs, hash, event->run_id);
    event->offset = offset;
    event->time_ms = time_ms;
    event->refusal = NULL;
    if (message->kind == MESSAGE_START && message->progress_partitions != runs->partition_count) {
        event->refusal = "its writer saw another number of progress partitions: the topic was changed, or it is another cluster";
    }
    if (entry != NULL && (is_disowned(entry, message) || is_forgotten(entry, message, time_ms)) && forget(runs, entry)) {
        runs_remove(runs, &entry->run);
        entry = NULL;
    }
    bool nothing = entry != NULL &&
                   is_nothing(&entry->run.saga); /* only what is attached has kept it: others do not remember what it answered */
    event->ended = (entry == NULL || entry->run.saga.status == RUN_NONE) && is_known_to_have_ended(runs, hash, time_ms);
    if ((entry == NULL || nothing) && !is_request(message->kind)) {
        return apply_unknown(runs, message, hash);
    }
    if (nothing) {
        begin_afresh(runs, entry);
    }
    return apply_to(runs, entry != NULL ? entry : new_entry(runs), hash, message, run);
}

enum runs_result runs_apply(struct runs *runs, struct message *message, int64_t offset, int64_t time_ms, struct run **run)
{
    *run = NULL;
    if (message->kind == MESSAGE_OWNER_CLAIM) {
        add_claim(runs, offset, time_ms);
        return RUNS_CLAIMED;
    }
    if (runs->learns_epoch && message_is_owners(message->kind) && message->epoch < runs->from && message->epoch > runs_epoch(runs)) {
        add_claim(runs, message->epoch, 0);
    }
    if (message_is_owners(message->kind) && message->epoch != runs_epoch(runs)) {
        return RUNS_FENCED;
    }
    if (message->kind == MESSAGE_SNAPSHOT) {
        return on_snapshot(runs, message, offset, time_ms, run);
    }
    if (message->kind == MESSAGE_FINISHED_IDS) {
        return on_finished_ids(runs, message, offset, time_ms);
    }
    if (!is_of_a_run(message->kind)) {
        *run = message->event.run_id.size > 0 ? runs_find(runs, message->event.run_id) : NULL;
        return RUNS_IGNORED;
    }
    return apply_event(runs, message, offset, time_ms, run);
}
