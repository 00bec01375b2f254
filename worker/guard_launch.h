/* SPDX-License-Identifier: Apache-2.0 */
/* One program made a process, by the guard. */
#ifndef GUARD_LAUNCH_H
#define GUARD_LAUNCH_H

#include "worker/guard_protocol.h"

struct guard_launch {
    pid_t guard;             /* who dies with it: the caller's process */
    _Atomic int32_t *place;  /* filled with its process id, by itself too: the guard may die before it can */
    const int *fds;          /* GUARD_FD_COUNT of them; the first three become its 0, 1, 2 */
    char **arguments;        /* the first is the path */
    char **variables;
};

/* Before the first, once a process. */
void guard_launch_set_up(void);

/* Returns the process id, its group's too, or -errno. Where execve() fails the process says so on the status pipe, and ends. It has
 * default signals if the caller ignores none, and none blocked. Async-signal-safe. */
pid_t guard_launch(const struct guard_launch *launch);

#endif
