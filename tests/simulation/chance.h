/* SPDX-License-Identifier: Apache-2.0 */
/* Chance, from a seed; and the faults that are drawn from it. */
#ifndef CHANCE_H
#define CHANCE_H

#include "tests/simulation/world.h"

void chance_begin(uint64_t seed);
uint64_t draw(void);
uint32_t below(uint32_t bound); /* 0 <= it < bound */

/* Delays, losses, duplicates of a bus in memory. */
struct memory_faults draw_faults(void);
/* Let a world go on to its end, and deal it blows at drawn times: deaths, freezes, duplicates, garbage, takeovers. */
void play_blows(struct world *world);
/* Print how many of each kind were dealt since the program began, in a line that begins with "note: ". false: of one kind there was none. */
bool chance_tell(void);

#endif
