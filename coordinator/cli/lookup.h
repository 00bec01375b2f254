/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a run on a log that may be long: by the second in its id, else backwards from the end. */
#ifndef LOOKUP_H
#define LOOKUP_H

#include "coordinator/cli/client.h"
#include "coordinator/cli/reader.h"

/* A reader that has read the run's partition from the run's Start to its end, with `each` (may be NULL) called for every record; so
 * reader_find() knows the run. NULL with error->kind NONE: there is no such run. TRANSIENT, FATAL: the log could not be read. The
 * caller owes reader_free(). With `only_state` it has read only so far that the run's state is known. */
struct reader *lookup_run(const struct client *client, const char *run_id, bool only_state,
                          void (*each)(void *context, const struct reader_record *record), void *context, struct error *error);

#endif
