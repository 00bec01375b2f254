/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the progress topic and folds it: what stood in the log first, then what comes. status, list, watch, events and run are
 * all this one reader.
 *
 * It need not begin where the log does, and the log no longer begins where it did once: a run that began before is known from its
 * next snapshot on, and one that has ended before is not known at all. From a checkpoint on, or from before it, every run that is under
 * way is known. */
#ifndef READER_H
#define READER_H

#include "common/bus.h"
#include "common/error.h"
#include "common/runs.h"
#include "coordinator/cli/screen.h"

#include <stdbool.h>
#include <stdint.h>

struct reader;

struct reader_options {
    struct bus *bus; /* borrowed until reader_free() */
    const char *topic; /* borrowed likewise */
    int32_t partition_count;
    const char *group; /* of the coordinators: beside its offsets stands what is known at a checkpoint; borrowed likewise */
    int32_t partition; /* the only one to read; -1: all */
    const char *run_id; /* whose state is wanted; borrowed; NULL: of all */
    /* Where to begin. The first that is given counts; none: at the first record that is there */
    bool from_end; /* skip what stands there already */
    bool from_checkpoint; /* where an owner would begin, where that can be known */
    int64_t window; /* so many records before the end of each partition, where they are as many */
    int64_t from_offset; /* there, or with what is left after it */
    /* What of it belongs to the beginning */
    int64_t most; /* no more records of a partition than so many; 0: all that stand there */
    bool until_closed; /* no more, once the run of `run_id` has ended for good, and nothing can change any more */
    bool keep_summary; /* of a finished run keep only what struct run_view says */
    bool forget_ended; /* and not even that for ever: for who follows for weeks */
    int timeout_ms; /* for the broker's answers */
};

/* Asks where the partitions begin and end, and begins to read. NULL: TRANSIENT or INVALID. Caller owes reader_free(). */
struct reader *reader_new(const struct reader_options *options, struct error *error);
void reader_free(struct reader *reader);

struct reader_record {
    int32_t partition;
    int64_t offset, time_ms;
    struct span key;
    size_t size_bytes;
    const struct message *message; /* NULL: not one of ours, see `problem` */
    struct error problem;
    enum runs_result result;
    struct run *run; /* whose record it is, if such a run exists; borrowed from the reader */
    bool history; /* it stood there when the reader began */
};

/* Look at an event of the bus. true: it was a record of this reader, folded; `record` is valid until the next call. */
bool reader_take(struct reader *reader, const struct bus_event *event, struct reader_record *record);

/* Has everything been read that stood there at the beginning? */
bool reader_is_current(const struct reader *reader);
/* Poll until it is. Calls `each` (may be NULL) with every record. TRANSIENT: nothing came for timeout_ms, or a signal did; FATAL as the bus says. */
bool reader_catch_up(struct reader *reader, void (*each)(void *context, const struct reader_record *record), void *context,
                     struct error *error);

/* Of a reader with a window: are the first `count` runs by start, of those that `is_wanted`, the newest on the log? */
bool reader_has_newest(struct reader *reader, size_t count, bool (*is_wanted)(const struct run *run, const char *status), const char *status);

/* Has a coordinator claimed every partition that it reads, as far as was read? */
bool reader_is_owned(const struct reader *reader);
/* NULL: no such run. Of the run that is wanted, where its beginning and its snapshots are not kept any more and its end is, a run
 * without a plan and without steps: as RunFinished tells it. */
struct run *reader_find(struct reader *reader, const char *run_id);
/* Of a log that has lost its beginning, read from the first record that is left: the time of that one. Else 0. */
int64_t reader_kept_since_ms(const struct reader *reader);
/* Walk all runs: NULL to begin, NULL at the end. */
struct run *reader_next(struct reader *reader, struct run *run);

/* Where its reading of that partition began. */
int64_t reader_begin_of(const struct reader *reader, int32_t partition);
/* Did it begin at the first record that is kept, of every partition that it reads? */
bool reader_is_from_first(const struct reader *reader);
/* Did the owner answer a request to the run of `run_id` otherwise than the records that were read have it? It knew of more. */
bool reader_is_contradicted(const struct reader *reader);
/* Does it know where K is, of every partition that it reads? */
bool reader_is_from_checkpoint(const struct reader *reader);

/* What a reader knows of a run besides its saga: hangs on run->attached. */
struct run_view {
    int32_t partition;
    struct waiting_step *waiting; /* the steps that wait because no worker serves them, as last announced */
    size_t waiting_count;
    int64_t waiting_for_workers; /* after a takeover */
    char *pause_reason; /* what a person said who paused it last; NULL: nothing */
    bool newer; /* started for a newer Backstep: its state is not known */
    struct told told; /* for whoever prints lines of several runs */
    /* from the saga, or with keep_summary from RunFinished */
    char *pipeline;
    uint32_t steps_executed, steps_total;
};

static inline struct run_view *run_view(const struct run *run)
{
    return run->attached;
}

#endif
