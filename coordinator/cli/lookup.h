/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a run on a log that may be long, and may have lost its beginning: by the second in its id, from the checkpoint on where it is
 * under way, else backwards from the end. */
#ifndef LOOKUP_H
#define LOOKUP_H

#include "coordinator/cli/client.h"
#include "coordinator/cli/reader.h"

struct lookup {
    /* set by the caller, and borrowed */
    const struct client *client;
    const char *run_id;
    bool only_state; /* read no more than makes its state known; else all that is left of it, from its Start on */
    void (*each)(void *context, const struct reader_record *record); /* may be NULL: called with all of that */
    void *context;
    int64_t short_records; /* of a log that is simply read from its beginning; 0: 65,536 */
    /* where there is no such run: since when the log is kept, where older runs may have been; else 0 */
    int64_t kept_since_ms;
};

/* A reader that has read the run's partition to its end, so that reader_find() knows the run. NULL with error->kind NONE: no such run
 * is known. TRANSIENT, FATAL: the log could not be read. The caller owes reader_free(). */
struct reader *lookup_run(struct lookup *lookup, struct error *error);

/* Could a run of that id be older than what is kept? Its second may rule that out. */
bool lookup_may_be_older(const char *run_id, int64_t kept_since_ms);

#endif
