/* SPDX-License-Identifier: Apache-2.0 */
/* What is left of runs that have ended: the hash of each id, and since when it is known to be one. Between the files runs*.c only. */
#ifndef RUNS_ENDED_H
#define RUNS_ENDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A table from a hash to a number; all zero is an empty one. Aborts where memory is out. */
struct ended {
    struct ended_slot *slots;
    size_t room, used;
};

void ended_fini(struct ended *ended); /* empty again */
/* The greater number stays. */
void ended_put(struct ended *ended, uint64_t hash, int64_t number);
bool ended_get(const struct ended *ended, uint64_t hash, int64_t *number);
/* Drop those with a number below `least`: what is kept stays bounded. */
void ended_prune(struct ended *ended, int64_t least);

#endif
