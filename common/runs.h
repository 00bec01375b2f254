/* SPDX-License-Identifier: Apache-2.0 */
/* The runs of one progress partition: its records folded, in order. The one way from a record to a state; coordinators, the CLI's
 * readers and the simulator all use it. Needs no bus and no clock.
 *
 * A reader may begin at a checkpoint K instead of at the start of the log: then Snapshots bring the runs that began before it, and
 * FinishedIds say which ids are taken. Whoever reads from K holds what a reader of everything holds, for each run that is under way. */
#ifndef RUNS_H
#define RUNS_H

#include "common/messages.h"
#include "common/messages_plans.h"
#include "common/saga/saga.h"

struct run {
    struct saga saga;
    void *attached; /* the caller's bookkeeping for this run; NULL at first */
    /* Where a reader must begin to have its state: the run's first record, or what its last snapshot that counts tells. Read only. */
    int64_t base_offset, base_bytes, base_ms;
    int64_t first_offset; /* of the first record that its state is made of */
};

struct runs;

/* `partition_count`: of the progress topic, as the caller sees it; a Start that says another is refused. Caller owes runs_free(). */
struct runs *runs_new(uint32_t partition_count);
void runs_free(struct runs *runs); /* what is attached is the caller's to free before */

/* What is known of the log at the offset where a reader begins. */
struct runs_checkpoint {
    int64_t offset; /* K: the first record to be read */
    int64_t epoch; /* of the last claim before it; -1: there is none; RUNS_EPOCH_UNKNOWN: the records from there on will tell */
    int64_t epoch_ms; /* time of that claim; 0: not known */
    int64_t ids; /* offset of the last FinishedIds that counts, wherever it stands; -1: there is none */
};

/* As it stands beside the committed offset. false: nobody of ours wrote that. */
#define RUNS_CHECKPOINT_BYTES 128
void runs_checkpoint_write(const struct runs_checkpoint *checkpoint, char metadata[RUNS_CHECKPOINT_BYTES]);
bool runs_checkpoint_read(struct runs_checkpoint *checkpoint, int64_t offset, const char *metadata);

/* Whoever does not begin at a checkpoint has not read the claim of whoever owned the partition then: the highest epoch met is taken for
 * it until a claim is read. */
#define RUNS_EPOCH_UNKNOWN (-2)

/* Before the first record, where it is not the first of the log. */
void runs_begin_at(struct runs *runs, const struct runs_checkpoint *checkpoint);
/* `size` bytes of the caller's, a multiple of 8, stand right before each run in memory, all zero at first. */
void runs_put_before(struct runs *runs, size_t size);
/* Runs that have ended stay, for `list`; else they go once a FinishedIds has named them. */
void runs_keep_ended(struct runs *runs);
/* Told before a run goes, to free what is attached; a run that has something attached stays where nobody is. */
void runs_tell_forgotten(struct runs *runs, void (*forget)(struct run *run));
/* All that stood in the log when the reader's K was committed was read: every run under way is known now. */
void runs_caught_up(struct runs *runs);

enum runs_result {
    RUNS_APPLIED, /* `run` has changed */
    RUNS_IGNORED, /* late, duplicate, or not the fold's business (Holding, RunProgressed) */
    RUNS_FENCED, /* a coordinator's record of an epoch that is not the last claim's */
    RUNS_CLAIMED, /* an OwnerClaim: the epoch is now the record's offset */
    RUNS_ALIEN, /* of a run or ticket that does not exist: dead-letter it */
    RUNS_NEWER, /* the run was started for a newer fold than this one: left as it is */
    RUNS_CHECKED, /* a Snapshot or FinishedIds that counts */
    RUNS_DIFFERS, /* a Snapshot that should count and says something else than its run's records: a fault of ours. It does not count */
};

/* Plans that runs share, for message_decode_known(): a Start of one of them need not be decoded whole. */
struct message_plans *runs_plans(struct runs *runs);

/* Fold one decoded record. `run` becomes the run it is about, or NULL. Aborts where memory is out. */
enum runs_result runs_apply(struct runs *runs, struct message *message, int64_t offset, int64_t time_ms, struct run **run);

/* Offset of the last claim read, -1 for none: coordinators' records of another epoch are ignored. */
int64_t runs_epoch(const struct runs *runs);
int64_t runs_epoch_time_ms(const struct runs *runs);

struct run *runs_find(struct runs *runs, struct span run_id); /* NULL: unknown; borrowed */
size_t runs_count(const struct runs *runs);
/* Walk all: `run` NULL to begin, NULL at the end. The current one may be removed. */
struct run *runs_next(struct runs *runs, struct run *run);
void runs_remove(struct runs *runs, struct run *run);
/* Keep only who it was and how it ended: for a settled run whose details nobody will ask this process for. */
void runs_retire(struct runs *runs, struct run *run);

/* ---- for the owner, which writes checkpoints */

void runs_count_bytes(struct runs *runs, size_t size_bytes); /* of each record, before it is applied */
int64_t runs_bytes(const struct runs *runs); /* all of them */
size_t runs_room_bytes(const struct runs *runs); /* what the states take */
/* Walk the runs that hold K back, by where they do; `run` NULL to begin. The current one may move. */
struct run *runs_next_held(const struct runs *runs, const struct run *run);
/* Runs that have ended and that no FinishedIds names yet, and the hashes of at most `max` of them. */
size_t runs_unnamed(const struct runs *runs);
size_t runs_unnamed_hashes(const struct runs *runs, uint64_t *hashes, size_t max);
/* Has a FinishedIds named it? Then nobody needs to keep it. */
bool runs_is_named(const struct run *run);
/* K, and what belongs to it, for a reader that has read all below `next`. */
struct runs_checkpoint runs_checkpoint(const struct runs *runs, int64_t next);
/* What stands below `offset` will not be asked for again. */
void runs_drop_claims(struct runs *runs, int64_t offset);
/* So many ids are known to be taken by runs that have ended. */
size_t runs_ended(const struct runs *runs);
/* Ids of runs that have ended, from a FinishedIds that stands before K. */
void runs_add_ended(struct runs *runs, const uint64_t *hashes, size_t count, int64_t time_ms);
#define RUNS_ENDED_KNOWN_MS (24ll * 3600 * 1000) /* for so long an id is taken after its run was named */

#endif
