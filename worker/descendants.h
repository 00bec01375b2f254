/* SPDX-License-Identifier: Apache-2.0 */
/* Who descends from this process, read from /proc. Async-signal-safe: no heap, no stdio. */
#ifndef DESCENDANTS_H
#define DESCENDANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The children of the calling process, which must have one thread. At most `capacity`; returns how many. Children that
 * come while it reads may be missing. */
size_t descendants_children(pid_t *pids, size_t capacity);

/* The same for a process of many threads; reads all of /proc. */
size_t descendants_children_of_threads(pid_t *pids, size_t capacity);

/* Whether an entry of the environment `pid` was started with begins with `prefix`. Unknown while it executes another program
 * or dies: look again. What may not be read is a no. */
enum descendant_mark { MARK_NO, MARK_YES, MARK_UNKNOWN };
enum descendant_mark descendants_carries(pid_t pid, const char *prefix);

/* Whether it has none of its own yet or any more: it is in the middle of execve(), or dies. */
bool descendants_has_no_memory(pid_t pid);

/* Whether a child is dead and not reaped yet. */
bool descendants_is_dead_child(pid_t pid);

#endif
