/* SPDX-License-Identifier: Apache-2.0 */
/* Many lives of the same system under faults drawn from a seed: delays of all kinds, failed deliveries, records that stand in the log twice,
 * garbage, workers and coordinators that die or freeze and wake when another has taken over, leases that end.
 *
 * Replay one, with its story:
 *     SIM_SEED=17 SIM_TRACE=1 build/dev/tests/simulation_random_faults */
#include "tests/simulation/chance.h"
#include "tests/simulation/readers.h"
#include "tests/simulation/scenarios.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS 700
/* ---- the world they happen to */

static struct world_options draw_options(uint64_t seed)
{
    struct world_options options = *scenario(seed % scenario_count());
    options.seed = seed;
    options.faults = draw_faults();
    options.only_the_bus = below(2) == 0;
    options.workers = 1 + below(3);
    options.group = seed / scenario_count() % 2 == 1;
    options.faults.group_delay_ms = options.faults.read_delay_ms;
    options.trace = getenv("SIM_TRACE") != NULL;
    for (size_t i = 0; i < WORLD_RUNS_MAX && options.runs[i].id != NULL; i++) {
        if (options.runs[i].may_end == RUN_NONE) {
            /* More losses than a step is allowed; a deadline that nobody was there to see. */
            options.runs[i].may_end = options.runs[i].ends == RUN_SUCCEEDED ? RUN_ROLLED_BACK : RUN_SUCCEEDED;
        }
    }
    return options;
}

static void play(uint64_t seed)
{
    chance_begin(seed);
    oracle_set_replay("replay with: SIM_SEED=%" PRIu64 " SIM_TRACE=1 build/dev/tests/simulation_random_faults", seed);
    struct world_options options = draw_options(seed);
    struct blows blows = draw_blows();
    struct world *world = world_new(&options);
    play_blows(world, &blows);
    world_expect_end(world, true);
    world_free(world);
}

static void nothing_breaks_whatever_happens(void **state)
{
    (void)state;
    const char *only = getenv("SIM_SEED"), *many = getenv("SIM_SEEDS");
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only != NULL ? first : many != NULL ? strtoull(many, NULL, 10) : SEEDS;
    for (uint64_t seed = first; seed <= last; seed++) {
        play(seed);
    }
    struct oracle_checkpoints seen = world_all_checkpoints();
    print_message("note: %" PRIu64 " lookups of the command line's readers were compared with the whole log\n", readers_compared());
    print_message("note: %" PRIu64 " seeds; %" PRIu64 " snapshots and %" PRIu64 " lists of ids counted, K was committed %" PRIu64 " times\n",
                  last - first + 1, seen.snapshots, seen.ids, seen.commits);
    uint64_t ids = 2 * seen.ids; /* the last end of a world is often the last that happens in it */
    assert_true(only != NULL || (seen.snapshots > last - first && ids > last - first && seen.commits > last - first));
    assert_true(only != NULL || readers_compared() > last - first);
}

/* Nothing else happens: each record that nobody can read is found again. */
static void garbage_on_every_topic_is_found_among_the_dead_letters(void **state)
{
    (void)state;
    struct world_options options = *scenario(1);
    options.seed = 1;
    oracle_set_replay("in garbage_on_every_topic_is_found_among_the_dead_letters");
    struct world *world = world_new(&options);
    for (uint64_t i = 0; world_advance(world); i++) {
        if (i < 40) {
            world_garbage(world, i);
        }
    }
    world_expect_end(world, true);
    world_free(world);
}

/* What the owner sent before it froze may arrive long after another has claimed: it is worth nothing then. */
static void freeze_the_owner_at(int64_t at_ms, uint32_t delay_ms)
{
    struct world_options options = *scenario(1);
    options.seed = (uint64_t)at_ms;
    options.faults.send_delay_ms = delay_ms;
    options.trace = getenv("SIM_TRACE") != NULL;
    oracle_set_replay("in a_frozen_owner_gives_way_when_it_wakes, frozen at %" PRId64 " ms, delays up to %u ms", at_ms, delay_ms);
    struct world *world = world_new(&options);
    bool frozen = false;
    while (world_advance_to(world, frozen ? INT64_MAX - 1 : at_ms + 1)) {
        if (!frozen && world_now_ms(world) >= at_ms) {
            world_freeze_coordinator(world, 400);
            world_add_coordinator(world);
            memory_cluster_set_faults(world_cluster(world),
                                      &(struct memory_faults){.send_delay_ms = 20}); /* its successor is quick */
            frozen = true;
        }
    }
    world_expect_end(world, true);
    world_free(world);
}

static void a_frozen_owner_gives_way_when_it_wakes(void **state)
{
    (void)state;
    for (int64_t at_ms = 1; at_ms < 1500; at_ms += 37) {
        freeze_the_owner_at(at_ms, 20);
    }
    for (int64_t at_ms = 1; at_ms < 9000; at_ms += 21) {
        freeze_the_owner_at(at_ms, 2500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_on_every_topic_is_found_among_the_dead_letters),
        cmocka_unit_test(a_frozen_owner_gives_way_when_it_wakes),
        cmocka_unit_test(nothing_breaks_whatever_happens),
    };
    return cmocka_run_group_tests_name("random faults", tests, NULL, NULL);
}
