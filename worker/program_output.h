/* SPDX-License-Identifier: Apache-2.0 */
/* What a step program says, read as it comes. Pure: bytes in, calls and a result out.
 *
 * Standard output: a line that is a JSON object may have the members
 *     "progress": [CURRENT, TOTAL]   "metrics": {…}   "set": {…}   "data": {…}   "rollback_data": {…}
 * Another member, or another type, is a violation: the attempt fails for good, quoting it. The last data and rollback_data count;
 * sets are merged. Any other line is log text, and so is standard error, whose last line that is not blank is the reason of a
 * failure. A last line need not end with a newline. */
#ifndef PROGRAM_OUTPUT_H
#define PROGRAM_OUTPUT_H

#include "common/span.h"

#include <stdint.h>

enum program_stream { PROGRAM_STDOUT, PROGRAM_STDERR, PROGRAM_STREAM_COUNT };

/* Called while bytes are fed; NULL: nobody wants it. */
struct program_listener {
    void (*progressed)(void *state, int64_t current, int64_t total); /* 0 <= current <= total, 0 < total */
    void (*measured)(void *state, struct span metrics);              /* a JSON object of at most LIMIT_METRICS_… */
    void (*logged)(void *state, enum program_stream stream, struct span line); /* raw bytes, without the newline; never empty */
    void *state;
};

struct program_output;

struct program_output *program_output_new(const struct program_listener *listener); /* NULL: no memory. Owes _free() */
void program_output_free(struct program_output *output);                            /* NULL is fine */

void program_output_feed(struct program_output *output, enum program_stream stream, struct span bytes);
/* Both streams have ended: what stands there without a newline is the last line. */
void program_output_end(struct program_output *output);

/* Borrowed from output; NULL: none. */
const char *program_output_violation(const struct program_output *output); /* the first, one printable line */
const char *program_output_reason(const struct program_output *output);    /* one printable line of at most LIMIT_MESSAGE_BYTES */
uint64_t program_output_dropped_lines(const struct program_output *output); /* of which nothing is left */
uint64_t program_output_dropped_bytes(const struct program_output *output); /* of text beyond the limits */

/* JSON text; NULL: none. The caller owes free(). `set` is everything that was set. */
char *program_output_take_data(struct program_output *output);
char *program_output_take_rollback_data(struct program_output *output);
char *program_output_take_set(struct program_output *output);

#endif
