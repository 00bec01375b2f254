/* SPDX-License-Identifier: Apache-2.0 */
/* A step program: started by the guard, fed, listened to, stopped, and judged by how it ends. Knows neither Kafka nor pipelines. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "common/span.h"
#include "worker/guard.h"
#include "worker/program_output.h"

#include <stdbool.h>
#include <stdint.h>

enum program_direction { PROGRAM_EXECUTE, PROGRAM_ROLLBACK };

struct program_request {
    const char *path; /* relative ones begin at the guard's working directory; nothing is searched in PATH */
    enum program_direction direction;
    struct span input;              /* for its standard input; it need not read it */
    const char *const *environment; /* NULL-terminated "NAME=VALUE": BACKSTEP_RUN_ID and the others; NULL: none */
    int cancel_fd;                  /* readable: the program is to stop. Borrowed, never read. -1: never */
    int64_t grace_ms;               /* from SIGTERM to SIGKILL */
    struct program_listener listener; /* called on the calling thread */
};

enum program_outcome_kind {
    PROGRAM_SUCCEEDED, /* exit 0 */
    PROGRAM_SKIPPED,   /* execute: exit 77; rollback: 64 or 77, there was nothing to undo */
    PROGRAM_FAILED,
    PROGRAM_LOST       /* the lease is over, or the guard died: the incarnation ends, and nobody waits for this outcome */
};

struct program_outcome {
    enum program_outcome_kind kind;
    bool permanent; /* FAILED: not to be tried again: exit 65 of an execute, a violation, a program that cannot be run */
    bool cancelled; /* it was told to stop; it may have ended well all the same */
    bool started;   /* false: it has certainly done nothing */
    char *data, *rollback_data, *set; /* JSON text, NULL: none; also of a failed one */
    char *error;                      /* FAILED and LOST: the reason, one printable line */
    uint64_t dropped_lines, dropped_bytes; /* of its text; lines: whole ones */
};

/* Run the program to its end. Blocks; any thread, as many at once as the guard has places (LIMIT_CONCURRENCY).
 * The caller owes program_outcome_fini(). */
void program_run(struct guard *guard, const struct program_request *request, struct program_outcome *outcome);
void program_outcome_fini(struct program_outcome *outcome);

#endif
