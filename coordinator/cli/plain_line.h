/* SPDX-License-Identifier: Apache-2.0 */
/* How a plain line is built: time, run, step, direction, what happened, details. For told.c and record_line.c. */
#ifndef PLAIN_LINE_H
#define PLAIN_LINE_H

#include "common/saga/saga.h"
#include "common/text.h"

/* A line up to what happened; its details come after, and plain_end(). `saga` may be NULL: it only says how wide names are. */
void plain_begin(struct text *out, int64_t time_ms, struct span run_id, const struct saga *saga, struct span step,
                 const char *direction, const char *word);
/* The same without the run, where there is only one. */
void plain_begin_of_one(struct text *out, int64_t time_ms, const struct saga *saga, struct span step, const char *direction,
                        const char *word);
void plain_end(struct text *out);
const char *plain_direction(enum direction direction); /* "execute", "rollback" */

#endif
