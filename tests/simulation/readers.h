/* SPDX-License-Identifier: Apache-2.0 */
/* What the readers of the command line say of a log, against what the whole log says: found in small windows, from a checkpoint on, and
 * where all below it is deleted. */
#ifndef READERS_H
#define READERS_H

#include "common/bus_memory.h"
#include "common/runs.h"

/* `runs` has read all of that partition of ORACLE_PROGRESS. Aborts, by oracle_fail(), at the first run that is told wrongly. */
void readers_expect_truth(const struct memory_cluster *cluster, struct runs *runs, int32_t partition, int32_t partitions,
                          const struct runs_checkpoint *checkpoint);

/* So many lookups were compared. */
uint64_t readers_compared(void);

#endif
