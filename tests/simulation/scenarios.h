/* SPDX-License-Identifier: Apache-2.0 */
/* What the simulated world is asked to do: the pipelines of examples/ and others, and how each is to end. */
#ifndef SCENARIOS_H
#define SCENARIOS_H

#include "tests/simulation/world.h"

size_t scenario_count(void);
/* Borrowed; without seed and faults. Aborts where the examples cannot be read: tests run in the root of the repository. */
const struct world_options *scenario(size_t index);

#endif
