/* SPDX-License-Identifier: Apache-2.0 */
/* Sources that cannot be read twice, into a file that can. */
#ifndef EXPORT_SPOOL_H
#define EXPORT_SPOOL_H

#include "worker/actions/action.h"

struct spool_range {
    const char *brokers, *topic;
    const char *connection; /* its name, see connection.h; NULL: `brokers`, in the open */
    int32_t partition;
    int64_t from, to; /* `to` is the first one left out; -1: the end as it stands */
    int timeout_ms;
};

/* Everything from standard input. */
bool spool_input(struct action_call *call, const char *path, struct error *error);
/* The values of a topic's records, one a line: JSON is made compact, anything else is left as it is but for its line breaks. */
bool spool_topic(struct action_call *call, const struct spool_range *range, const char *path, uint64_t *count, struct error *error);

#endif
