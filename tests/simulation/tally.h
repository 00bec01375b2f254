/* SPDX-License-Identifier: Apache-2.0 */
/* How often each kind of trouble was met, over all worlds of this program. */
#ifndef TALLY_H
#define TALLY_H

#include <stdbool.h>
#include <stdint.h>

enum tally {
    TALLY_WORKERS_KILLED,
    TALLY_OWNERS_KILLED,
    TALLY_WORKERS_FROZEN,
    TALLY_FROZEN_WITH_A_CHILD,
    TALLY_OWNERS_FROZEN,
    TALLY_OWNERS_REPLACED,
    TALLY_OWNERS_LONG_FROZEN,
    TALLY_WOKEN_AFTER_ROLLBACK,
    TALLY_TWO_OWNERS,
    TALLY_COORDINATORS_ADDED,
    TALLY_MOVED_BACK,
    TALLY_PARTITIONS_MOVED,
    TALLY_OWNERS_STOPPED,
    TALLY_JOINED_A_TAKEOVER,
    TALLY_LATE_CLAIMS,
    TALLY_CRASHES,
    TALLY_DUPLICATED,
    TALLY_CLOCK_JUMPS,
    TALLY_GARBAGE,
    TALLY_DELAYED,
    TALLY_LOST,
    TALLY_FAILED_IN_A_BATCH,
    TALLY_ORPHANS,
    TALLY_ANSWERED_LATE,
    TALLY_ANSWERED_TWICE,
    TALLY_ANSWERED_AFTER_ROLLBACK,
    TALLY_REQUESTS_REPEATED,
    TALLY_SENT_AHEAD,
    TALLY_BEGUN_AHEAD,
    TALLY_OPENED_AHEAD,
    TALLIES,
};

/* From now on children count where their parent does. */
void tally_share(void);
void tally_add(enum tally tally, uint64_t count);
/* Print them in a line that begins with "note: ". false: of one kind there was none. */
bool tally_tell(void);

#endif
