/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the progress topic and folds it: what stood in the log first, then what comes. status, list, watch, events and run are
 * all this one reader. */
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
    int32_t partition; /* the only one to read; -1: all */
    int64_t from_offset; /* begin there, or with what is left after it; runs that began before it are not known */
    int64_t window; /* begin so many records before the end of each partition, where they are as many; 0: at from_offset */
    const char *until_closed; /* that is enough once this run has ended for good, and nothing can change any more; borrowed; NULL: read all */
    bool from_end; /* skip what stands there already: then states are not to be trusted, only records */
    bool keep_summary; /* of a finished run keep only what struct run_view says */
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
struct run *reader_find(struct reader *reader, const char *run_id); /* NULL: no such run */
/* Walk all runs: NULL to begin, NULL at the end. */
struct run *reader_next(struct reader *reader, struct run *run);

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
