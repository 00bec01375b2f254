/* SPDX-License-Identifier: Apache-2.0 */
/* The guard: a process of its own that starts step programs for the worker, and outlives its freezing and its death.
 *
 * What it promises:
 *   - past the end of the lease it starts nothing, SIGKILLs every program with all descendants, and SIGKILLs the worker
 *     too if one of its functions still runs `grace_ms` later (SIGKILL works on a frozen process as well);
 *   - if the worker dies, it SIGKILLs every program with all descendants, and exits;
 *   - a program that has ended leaves nobody behind: its process group and what left the group are SIGKILLed;
 *   - if the guard dies, its programs die with it; guard_restart() sees to their descendants.
 *
 * A lease is begun, renewed while it lasts, and over once and for all: only guard_lease_begin() makes another one.
 * Times are CLOCK_BOOTTIME (clock_boottime_ms()). All functions may be called from any thread, except that guard_restart()
 * and guard_free() are for one thread, guard_free() when no other uses the guard any more. */
#ifndef GUARD_H
#define GUARD_H

#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

struct guard; /* one per process */

/* What a guard says on a program's status pipe: one record, then the end of the pipe. The end without a record: the guard died. */
enum guard_status_kind {
    GUARD_STATUS_ENDED = 1,   /* value: what waitpid() says */
    GUARD_STATUS_LEASE_OVER,  /* not started: no lease, or it is over */
    GUARD_STATUS_NOT_STARTED, /* not started: value is the errno of the guard's fork() and such; a try later may do */
    GUARD_STATUS_NOT_RUNNABLE /* not started: value is the errno of execve() */
};

struct guard_status {
    int32_t kind;
    int32_t value;
};

struct guard_spawn {
    const char *path;               /* of the program; from the root, or from the worker's working directory */
    const char *argument;           /* argv[1]; NULL: none */
    const char *const *environment; /* NULL-terminated "NAME=VALUE", beside the worker's own without its BACKSTEP_… ; NULL: none */
    int input_fd, output_fd, error_fd; /* become 0, 1, 2 of the program; stay the caller's to close */
    bool bare; /* `environment` is all it has, beside the guard's mark */
};

/* A program asked for. Read a struct guard_status from `status_fd` (blocking; wait with poll()). */
struct guard_program {
    int64_t token;
    int status_fd; /* caller owes close() */
};

/* Fork the guard, make the worker a child subreaper. There is no lease yet. NULL with `error` filled: TRANSIENT.
 * The caller owes guard_free(). Cheapest at a program's very start, safe when threads run already. */
struct guard *guard_start(struct error *error);

/* The guard of this process, for who runs programs within a step of another kind. NULL: there is none. Borrowed. */
struct guard *guard_of_process(void);

/* End the guard: all programs and descendants are killed and gone when this returns. NULL is fine. */
void guard_free(struct guard *guard);

/* Readable when the guard has died: then end the incarnation and call guard_restart(). Borrowed; another after a restart. */
int guard_fd(const struct guard *guard);

/* Kill the guard if it still lives, kill and reap what it left, and fork a new one. The lease of the dead guard is not
 * to be renewed; its end is still enforced on functions that run. Fails as guard_start() does; may be called again. */
bool guard_restart(struct guard *guard, struct error *error);

/* A new lease, until `until_ms`; `grace_ms` is what functions have to return after its end. Kills and waits for what is
 * left of the lease before. Fails TRANSIENT while a function of it still runs, or if the guard is dead, or did not answer and was
 * killed for it. */
bool guard_lease_begin(struct guard *guard, int64_t until_ms, int64_t grace_ms, struct error *error);

/* The lease lasts until `until_ms` now (an earlier time than before is ignored). False, and nothing changes: it is over. */
bool guard_lease_renew(struct guard *guard, int64_t until_ms);

/* Over now, by the worker's own decision: programs are killed at once, functions have what they
 * had: its end and `grace_ms`. Does not wait. */
void guard_lease_end(struct guard *guard);

bool guard_lease_is_over(const struct guard *guard); /* or was never begun */

/* Around every step function that runs in the worker itself. False: the lease is over, do not run it (and owe no _end). */
bool guard_function_begin(struct guard *guard);
void guard_function_end(struct guard *guard);

/* Ask for a program in a process group of its own, with default signals and no signal blocked. `program` is untouched on
 * failure: INVALID (path or environment too long), TRANSIENT (the guard is dead or does not answer). What became of it is told
 * on the status pipe. */
bool guard_spawn(struct guard *guard, const struct guard_spawn *spawn, struct guard_program *program, struct error *error);

/* Send `signal` to the process group of a program; one that has ended, or never began, is no error. */
bool guard_kill(struct guard *guard, int64_t token, int signal, struct error *error);

#endif
