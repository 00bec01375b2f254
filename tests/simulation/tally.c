/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/simulation/tally.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

static const char *const names[TALLIES] = {
    [TALLY_WORKERS_KILLED] = "workers killed",
    [TALLY_OWNERS_KILLED] = "owners killed",
    [TALLY_WORKERS_FROZEN] = "workers frozen",
    [TALLY_FROZEN_WITH_A_CHILD] = "of them with a program running",
    [TALLY_OWNERS_FROZEN] = "owners frozen",
    [TALLY_OWNERS_REPLACED] = "owners frozen and replaced",
    [TALLY_OWNERS_LONG_FROZEN] = "owners frozen for long",
    [TALLY_WOKEN_AFTER_ROLLBACK] = "woken after a rollback",
    [TALLY_TWO_OWNERS] = "times two who believed to own a partition",
    [TALLY_COORDINATORS_ADDED] = "coordinators added",
    [TALLY_MOVED_BACK] = "partitions moved back",
    [TALLY_PARTITIONS_MOVED] = "partitions moved by the group",
    [TALLY_OWNERS_STOPPED] = "owners stopped",
    [TALLY_JOINED_A_TAKEOVER] = "workers that joined a takeover",
    [TALLY_LATE_CLAIMS] = "late claims",
    [TALLY_CRASHES] = "crashes at a send",
    [TALLY_DUPLICATED] = "records duplicated",
    [TALLY_CLOCK_JUMPS] = "jumps of the clock",
    [TALLY_GARBAGE] = "garbage",
    [TALLY_DELAYED] = "sends delayed",
    [TALLY_LOST] = "sends lost",
    [TALLY_FAILED_IN_A_BATCH] = "reports failed within a batch",
    [TALLY_ORPHANS] = "records of the dead",
    [TALLY_ANSWERED_LATE] = "answers late",
    [TALLY_ANSWERED_TWICE] = "answers given twice",
    [TALLY_ANSWERED_AFTER_ROLLBACK] = "answers after a rollback",
    [TALLY_REQUESTS_REPEATED] = "requests repeated",
    [TALLY_SENT_AHEAD] = "tasks sent ahead",
    [TALLY_BEGUN_AHEAD] = "of them begun",
    [TALLY_OPENED_AHEAD] = "open in a run that does not go on",
};

static uint64_t own_counts[TALLIES];
static uint64_t *counts = own_counts;

void tally_share(void)
{
    void *shared = mmap(NULL, sizeof own_counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    counts = shared != MAP_FAILED ? shared : own_counts;
}

void tally_add(enum tally tally, uint64_t count)
{
    counts[tally] += count;
}

bool tally_tell(void)
{
    bool all = true;
    printf("note: dealt");
    for (int i = 0; i < TALLIES; i++) {
        printf("%s %" PRIu64 " %s", i > 0 ? "," : "", counts[i], names[i]);
        all = all && counts[i] > 0;
    }
    printf("\n");
    return all;
}
