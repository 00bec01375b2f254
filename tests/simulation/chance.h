/* SPDX-License-Identifier: Apache-2.0 */
/* Chance, from a seed; and the faults that are drawn from it. */
#ifndef CHANCE_H
#define CHANCE_H

#include "tests/simulation/tally.h"
#include "tests/simulation/world.h"

#define BLOWS_MAX 8

void chance_begin(uint64_t seed);
uint64_t draw(void);
uint32_t below(uint32_t bound); /* 0 <= it < bound */

/* Delays, losses, duplicates of a bus in memory. */
struct memory_faults draw_faults(void);

/* Something bad that happens at some moment: a death, a freeze, a takeover, a duplicate, garbage, a jump of the clock. */
struct blow {
    int64_t at_ms;
    uint32_t kind;
    uint64_t seed; /* of whom it hits, and how hard */
};

struct blows {
    struct blow all[BLOWS_MAX]; /* by time */
    uint32_t count;
};

struct blows draw_blows(void);
/* Let a world go on to its end, and deal it these. */
void play_blows(struct world *world, const struct blows *blows);

#endif
