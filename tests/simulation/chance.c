/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/simulation/chance.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOWS_MAX 8
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

static struct blow {
    const char *name;
    void (*deal)(struct world *world);
    uint64_t count;
} blows[] = {{"workers killed", kill_a_worker, 0},
             {"owners killed", kill_the_owner, 0},
             {"workers frozen", freeze_a_worker, 0},
             {"owners frozen", freeze_the_owner, 0},
             {"owners frozen and replaced", freeze_the_owner_and_replace_it, 0},
             {"coordinators added", add_a_coordinator, 0},
             {"crashes at a send", crash_someone_soon, 0},
             {"records duplicated", duplicate, 0},
             {"garbage", garbage, 0}};

#define BLOW_COUNT (sizeof blows / sizeof *blows)

static int by_time(const void *a, const void *b)
{
    const int64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

void play_blows(struct world *world)
{
    int64_t times_ms[BLOWS_MAX];
    uint32_t count = below(BLOWS_MAX + 1), next = 0;
    for (uint32_t i = 0; i < count; i++) {
        times_ms[i] = 1 + below(below(2) == 0 ? 3000 : BLOWS_WITHIN_MS);
    }
    qsort(times_ms, count, sizeof *times_ms, by_time);
    while (world_advance_to(world, next < count && times_ms[next] > world_now_ms(world) ? times_ms[next] : INT64_MAX - 1)) {
        for (; next < count && world_now_ms(world) >= times_ms[next]; next++) {
            struct blow *blow = &blows[below(BLOW_COUNT)];
            blow->count++;
            blow->deal(world);
        }
    }
}

bool chance_tell(void)
{
    bool all = true;
    printf("note: dealt");
    for (size_t i = 0; i < BLOW_COUNT; i++) {
        printf("%s %" PRIu64 " %s", i > 0 ? "," : "", blows[i].count, blows[i].name);
        all = all && blows[i].count > 0;
    }
    printf("\n");
    return all;
}
