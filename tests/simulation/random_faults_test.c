/* SPDX-License-Identifier: Apache-2.0 */
/* Many lives of the same system under faults drawn from a seed: delays of all kinds, failed deliveries, records that stand in the log twice,
 * garbage, workers and coordinators that die or freeze and wake when another has taken over, leases that end.
 *
 * Replay one, with its story:
 *     SIM_SEED=17 SIM_TRACE=1 build/dev/tests/simulation_random_faults */
#include "tests/simulation/scenarios.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS 2000
#define BLOWS_MAX 8
#define BLOWS_WITHIN_MS 15000

static uint64_t random_state;

static uint64_t draw(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state * 2685821657736338717ull) >> 20;
}

static uint32_t below(uint32_t bound)
{
    return (uint32_t)(draw() % bound);
}

/* ---- what may happen at some moment */

static void kill_a_worker(struct world *world)
{
    world_kill_worker(world, below(WORLD_WORKERS_MAX));
}

static void kill_the_owner(struct world *world)
{
    world_kill_coordinator(world);
}

static void freeze_a_worker(struct world *world)
{
    world_freeze_worker(world, below(WORLD_WORKERS_MAX), 100 + below(3 * WORLD_LEASE_MS));
}

static void freeze_the_owner(struct world *world)
{
    world_freeze_coordinator(world, 100 + below(3 * WORLD_LEASE_MS));
}

static void freeze_the_owner_and_replace_it(struct world *world)
{
    world_freeze_coordinator(world, 100 + below(3 * WORLD_LEASE_MS));
    world_add_coordinator(world);
}

static void add_a_coordinator(struct world *world)
{
    world_add_coordinator(world);
}

static void crash_someone_soon(struct world *world)
{
    memory_cluster_crash_after(world_cluster(world), memory_cluster_sends(world_cluster(world)) + 1 + below(8), below(2) == 0);
}

static void duplicate(struct world *world)
{
    for (uint32_t i = 1 + below(6); i > 0; i--) {
        world_duplicate(world, draw());
    }
}

static void garbage(struct world *world)
{
    for (uint32_t i = 1 + below(3); i > 0; i--) {
        world_garbage(world, draw());
    }
}

static void (*const blows[])(struct world *) = {kill_a_worker, kill_the_owner, freeze_a_worker, freeze_the_owner, freeze_the_owner_and_replace_it,
                                                add_a_coordinator, crash_someone_soon, duplicate, duplicate, garbage};

#define BLOW_COUNT (sizeof blows / sizeof *blows)

/* ---- the world they happen to */

static struct memory_faults draw_faults(void)
{
    static const uint32_t delays_ms[] = {0, 3, 40, 400, 1500};
    return (struct memory_faults){.send_delay_ms = delays_ms[below(5)],
                                  .report_delay_ms = delays_ms[below(4)],
                                  .read_delay_ms = delays_ms[below(5)],
                                  .loss_ppm = below(3) == 0 ? 4000 : 0,
                                  .orphan_ppm = below(2) * 500000};
}

static struct world_options draw_options(uint64_t seed)
{
    struct world_options options = *scenario(seed % scenario_count());
    options.seed = seed;
    options.faults = draw_faults();
    options.only_the_bus = below(2) == 0;
    options.workers = 1 + below(3);
    options.trace = getenv("SIM_TRACE") != NULL;
    for (size_t i = 0; i < WORLD_RUNS_MAX && options.runs[i].id != NULL; i++) {
        if (options.runs[i].may_end == RUN_NONE) {
            /* More losses than a step is allowed; a deadline that nobody was there to see. */
            options.runs[i].may_end = options.runs[i].ends == RUN_SUCCEEDED ? RUN_ROLLED_BACK : RUN_SUCCEEDED;
        }
    }
    return options;
}

static int by_time(const void *a, const void *b)
{
    const int64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static void play(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15ull + 1;
    draw();
    oracle_set_replay("replay with: SIM_SEED=%" PRIu64 " SIM_TRACE=1 build/dev/tests/simulation_random_faults", seed);
    struct world_options options = draw_options(seed);
    struct world *world = world_new(&options);
    int64_t times_ms[BLOWS_MAX];
    uint32_t count = below(BLOWS_MAX + 1), next = 0;
    for (uint32_t i = 0; i < count; i++) {
        times_ms[i] = 1 + below(below(2) == 0 ? 3000 : BLOWS_WITHIN_MS);
    }
    qsort(times_ms, count, sizeof *times_ms, by_time);
    while (world_advance_to(world, next < count && times_ms[next] > world_now_ms(world) ? times_ms[next] : INT64_MAX - 1)) {
        for (; next < count && world_now_ms(world) >= times_ms[next]; next++) {
            blows[below(BLOW_COUNT)](world);
        }
    }
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
    print_message("%" PRIu64 " seeds\n", last - first + 1);
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
            memory_cluster_set_faults(world_cluster(world), &(struct memory_faults){.send_delay_ms = 20}); /* its successor is quick */
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
