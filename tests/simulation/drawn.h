/* SPDX-License-Identifier: Apache-2.0 */
/* Worlds drawn from a seed: pipelines of every shape, and people and faults that trouble them. Every third has neither people nor faults. */
#ifndef DRAWN_H
#define DRAWN_H

#include "tests/simulation/chance.h"

#define DRAWN_RUNS 3
#define DRAWN_STEPS_MAX 9
#define DRAWN_FAULTS 5 /* delays of sends, reports and reads; losses; orphans */

/* What is left out of a drawn world, so that a failure becomes small. All zero: nothing. */
struct drawn_cuts {
    uint32_t runs, controls, blows, faults; /* bits: the n-th is left out */
    uint32_t steps_max; /* of each run; 0: all */
};

struct drawn_world {
    bool quiet; /* no people, no faults: its end is known */
    struct world_options options;
    struct blows blows;
};

/* Borrows storage that the next call draws anew. `cuts` may be NULL. */
void drawn_world(uint64_t seed, const struct drawn_cuts *cuts, struct drawn_world *world);
/* All steps of the world drawn last take so long; `fails`: at least so many first attempts of theirs. */
void drawn_slow_down(int64_t execute_ms, uint32_t fails);
/* To its end; returns how many events there were. */
uint64_t drawn_play(struct drawn_world *drawn_one);

/* The most that can be left out of a world that fails, one thing after the other, so that it fails still. */
struct drawn_cuts drawn_shrink(uint64_t seed, bool (*fails)(uint64_t seed, const struct drawn_cuts *cuts));

#endif
