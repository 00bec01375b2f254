/* SPDX-License-Identifier: Apache-2.0 */
/* Pipelines of every shape, drawn from a seed: branches, joins, retries, conditions, fan-out, pipelines in pipelines, deadlines, failures in
 * both directions; and people who pause, resume, retry, roll back, resolve and cancel at any time. Every third seed has no faults and no
 * people, and its end is known; the others have the same faults as random_faults_test.c.
 *
 * Replay one, with its story:
 *     SIM_SEED=17 SIM_TRACE=1 build/dev/tests/simulation_random_pipelines */
#include "common/clock.h"
#include "tests/simulation/drawn.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define SEEDS 600 /* the same in every run of the test */
#define SECONDS 60 /* and then others, which nobody has seen before */

static uint64_t simulated_events;

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? strtoull(value, NULL, 10) : otherwise;
}

/* Of SIM_CUTS="runs controls blows faults steps": what is left out, as the shrinking of a failure has printed it. */
static struct drawn_cuts cuts_of(const char *text)
{
    struct drawn_cuts cuts = {0};
    if (text != NULL) {
        sscanf(text, "%" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32, &cuts.runs, &cuts.controls, &cuts.blows,
               &cuts.faults, &cuts.steps_max);
    }
    return cuts;
}

static void play(uint64_t seed)
{
    struct drawn_cuts cuts = cuts_of(getenv("SIM_CUTS"));
    struct drawn_world drawn;
    drawn_world(seed, &cuts, &drawn);
    oracle_set_replay("replay with: SIM_SEED=%" PRIu64 " SIM_TRACE=1 build/dev/tests/simulation_random_pipelines", seed);
    simulated_events += drawn_play(&drawn);
}

static void pipelines_of_every_shape_end_as_they_must(void **state)
{
    (void)state;
    uint64_t only = number_of("SIM_SEED", 0), first = only > 0 ? only : number_of("SIM_FROM", 1);
    uint64_t count = only > 0 ? 1 : number_of("SIM_SEEDS", SEEDS);
    for (uint64_t seed = first; seed < first + count; seed++) {
        play(seed);
    }
}

/* As long as SIM_SECONDS says, beginning with a seed that the time of day gives, or SIM_RANDOM. */
static void and_so_do_those_nobody_has_seen_before(void **state)
{
    (void)state;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t first = number_of("SIM_RANDOM", (uint64_t)now.tv_sec * 1000000), seed = first;
    int64_t begun_ms = clock_monotonic_ms(), until_ms = begun_ms + (int64_t)number_of("SIM_SECONDS", SECONDS) * 1000;
    if (getenv("SIM_SEED") != NULL) {
        return;
    }
    uint64_t events_before = simulated_events;
    for (; clock_monotonic_ms() < until_ms; seed++) {
        play(seed);
    }
    int64_t took_ms = clock_monotonic_ms() - begun_ms;
    printf("note: %" PRIu64 " random pipelines from seed %" PRIu64 " on, %" PRIu64 " events, %" PRId64 " a second\n",
           (seed - first) * DRAWN_RUNS, first, simulated_events - events_before,
           took_ms > 0 ? (int64_t)(simulated_events - events_before) * 1000 / took_ms : 0);
    assert_true(tally_tell());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipelines_of_every_shape_end_as_they_must),
        cmocka_unit_test(and_so_do_those_nobody_has_seen_before),
    };
    return cmocka_run_group_tests_name("random pipelines", tests, NULL, NULL);
}
