/* SPDX-License-Identifier: Apache-2.0 */
/* What must never be: watches the log and the executions of steps from outside, with no delay, and aborts at the first broken promise. */
#ifndef ORACLE_H
#define ORACLE_H

#include "common/bus_memory.h"
#include "common/runs.h"

#define ORACLE_PREFIX "sim"
#define ORACLE_PROGRESS "sim.progress"
#define ORACLE_WORKERS "sim.workers"
#define ORACLE_LETTERS "sim.dead-letter"

struct oracle;

struct oracle_options {
    struct memory_cluster *cluster;
    int32_t progress_partitions, task_partitions;
    const char *const *queues; /* NULL-terminated */
    bool trace; /* tell the story on standard error */
};

struct oracle *oracle_new(const struct oracle_options *options);
void oracle_free(struct oracle *oracle);

/* Take in what the log has got since. */
void oracle_read(struct oracle *oracle);

/* The runs of a partition as a reader of the log sees them now. */
struct runs *oracle_runs(struct oracle *oracle, int32_t partition);
const struct saga *oracle_saga(struct oracle *oracle, const char *run_id); /* NULL: there is none */
/* VERDICT_NONE: not answered yet. */
enum verdict oracle_verdict(const struct oracle *oracle, const unsigned char request_id[REQUEST_ID_BYTES]);

/* A coordinator sends its claim of a partition now. */
void oracle_claims(struct oracle *oracle, int32_t partition);
/* Has a rollback begun since then? */
bool oracle_rolled_back_since(const struct oracle *oracle, int64_t since_ms);
/* A coordinator has committed K: whoever begins there, now and at the end, holds what the whole log says. */
void oracle_committed(struct oracle *oracle, int32_t partition, int64_t offset, const char *metadata);
/* How many records were read that a recovery rests on: snapshots and ids that count, and how often K was committed. */
struct oracle_checkpoints {
    uint64_t snapshots, ids, commits;
};
void oracle_expect_checkpoints(struct oracle *oracle); /* the same again, at the end */
struct oracle_checkpoints oracle_checkpoints(const struct oracle *oracle);

/* A step has begun to run, or has stopped. `undone`: a rollback did its work. */
void oracle_begins(struct oracle *oracle, const struct task *task, const char *worker);
void oracle_ends(struct oracle *oracle, const struct task *task, const char *worker, const char *how, bool undone);

/* How often execute has begun for a step of a run. */
uint32_t oracle_executions(const struct oracle *oracle, const char *run_id, uint32_t step);

/* The run is over: nothing is left behind, nothing is missing. */
void oracle_expect_end(struct oracle *oracle, const char *run_id);

/* Something that must never be has been: say it, and how to see it again, and abort. */
_Noreturn void oracle_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What oracle_fail() and a failed assert add: the command that replays this. */
void oracle_set_replay(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
