/* SPDX-License-Identifier: Apache-2.0 */
/* The runs of one progress partition: its records folded, in order. The one way from a record to a state; coordinators, the CLI's
 * readers and the simulator all use it. Needs no bus and no clock. */
#ifndef RUNS_H
#define RUNS_H

#include "common/messages.h"
#include "common/saga/saga.h"

struct run {
    struct saga saga;
    void *attached; /* the caller's bookkeeping for this run; NULL at first */
};

struct runs;

/* `partition_count`: of the progress topic, as the caller sees it; a Start that says another is refused. Caller owes runs_free(). */
struct runs *runs_new(uint32_t partition_count);
void runs_free(struct runs *runs); /* what is attached is the caller's to free before */

enum runs_result {
    RUNS_APPLIED, /* `run` has changed */
    RUNS_IGNORED, /* late, duplicate, or not the fold's business (Holding, RunProgressed) */
    RUNS_FENCED,  /* a coordinator's record of an epoch that is not the last claim's */
    RUNS_CLAIMED, /* an OwnerClaim: the epoch is now the record's offset */
    RUNS_ALIEN,   /* of a run or ticket that does not exist: dead-letter it */
    RUNS_NEWER,   /* the run was started for a newer fold than this one: left as it is */
};

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

#endif
