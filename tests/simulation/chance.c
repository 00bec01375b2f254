/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/simulation/chance.h"

#include <stdlib.h>

#define BLOWS_WITHIN_MS 15000

static uint64_t random_state;

void chance_begin(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15ull + 1;
    draw();
}

uint64_t draw(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state * 2685821657736338717ull) >> 20;
}

uint32_t below(uint32_t bound)
{
    return (uint32_t)(draw() % bound);
}

struct memory_faults draw_faults(void)
{
    static const uint32_t delays_ms[] = {0, 3, 40, 400, 1500};
    return (struct memory_faults){.send_delay_ms = delays_ms[below(5)],
                                  .report_delay_ms = delays_ms[below(4)],
                                  .read_delay_ms = delays_ms[below(5)],
                                  .loss_ppm = below(3) == 0 ? 4000 : 0,
                                  .orphan_ppm = below(2) * 500000};
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

/* Long enough for others to take over, roll back and end: then it wakes, and believes that it owns what it owned. */
static void freeze_the_owner_for_long(struct world *world)
{
    world_freeze_coordinator(world, 12000 + below(20000));
    world_add_coordinator(world);
}

/* Who had to give way claims again, and whoever has the partitions now gives way to him; in a group they are dealt out anew, perhaps more
 * than once before anybody has read his claim. */
static void move_the_partitions_back(struct world *world)
{
    world_move(world, draw());
}

static void stop_the_owner(struct world *world)
{
    world_stop_coordinator(world);
}

static void kill_the_owner_and_add_a_worker(struct world *world)
{
    world_kill_coordinator(world);
    world_add_coordinator(world);
    world_add_worker(world);
}

/* The clock of the brokers, by which records are stamped: forward or back. */
static void jump(struct world *world)
{
    static const int64_t jumps_ms[] = {-60000, -2000, -50, 50, 2000, 60000};
    memory_cluster_jump(world_cluster(world), jumps_ms[below(6)]);
}

static void crash_someone_soon(struct world *world)
{
    memory_cluster_crash_after(world_cluster(world), memory_cluster_sends(world_cluster(world)) + 1 + below(8), below(2) == 0);
}

static void duplicate(struct world *world)
{
    for (uint32_t i = 1 + below(16); i > 0; i--) {
        world_duplicate(world, draw());
    }
}

static void garbage(struct world *world)
{
    for (uint32_t i = 1 + below(3); i > 0; i--) {
        world_garbage(world, draw());
    }
}

static const struct blow_kind {
    void (*deal)(struct world *world);
    enum tally tally;
} kinds[] = {{kill_a_worker, TALLY_WORKERS_KILLED},
             {kill_the_owner, TALLY_OWNERS_KILLED},
             {freeze_a_worker, TALLY_WORKERS_FROZEN},
             {freeze_the_owner, TALLY_OWNERS_FROZEN},
             {freeze_the_owner_and_replace_it, TALLY_OWNERS_REPLACED},
             {freeze_the_owner_for_long, TALLY_OWNERS_LONG_FROZEN},
             {add_a_coordinator, TALLY_COORDINATORS_ADDED},
             {move_the_partitions_back, TALLY_MOVED_BACK},
             {stop_the_owner, TALLY_OWNERS_STOPPED},
             {kill_the_owner_and_add_a_worker, TALLY_JOINED_A_TAKEOVER},
             {crash_someone_soon, TALLY_CRASHES},
             {duplicate, TALLY_DUPLICATED},
             {duplicate, TALLY_DUPLICATED}, /* so that answers come twice, late and after a rollback often enough */
             {jump, TALLY_CLOCK_JUMPS},
             {garbage, TALLY_GARBAGE}};

#define KINDS (sizeof kinds / sizeof *kinds)

static int by_time(const void *a, const void *b)
{
    const struct blow *left = a, *right = b;
    return (left->at_ms > right->at_ms) - (left->at_ms < right->at_ms);
}

struct blows draw_blows(void)
{
    struct blows blows = {.count = below(BLOWS_MAX + 1)};
    for (uint32_t i = 0; i < blows.count; i++) {
        blows.all[i].at_ms = 1 + below(below(2) == 0 ? 3000 : BLOWS_WITHIN_MS);
        blows.all[i].kind = below(KINDS);
        blows.all[i].seed = draw();
    }
    qsort(blows.all, blows.count, sizeof *blows.all, by_time);
    return blows;
}

static void deal(struct world *world, const struct blow *blow)
{
    chance_begin(blow->seed);
    tally_add(kinds[blow->kind].tally, 1);
    kinds[blow->kind].deal(world);
}

void play_blows(struct world *world, const struct blows *blows)
{
    uint32_t next = 0;
    while (world_advance_to(world, next < blows->count && blows->all[next].at_ms > world_now_ms(world) ? blows->all[next].at_ms
                                                                                                       : INT64_MAX - 1)) {
        while (next < blows->count && world_now_ms(world) >= blows->all[next].at_ms) {
            deal(world, &blows->all[next++]);
        }
    }
}
