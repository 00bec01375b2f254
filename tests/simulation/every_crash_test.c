/* SPDX-License-Identifier: Apache-2.0 */
/* Every crash: each scenario is played once to count what its processes send, then again for each send, and whoever does that send dies
 * with it: just before it reaches the log, or just after; or its bus does, and the process begins anew. All must hold nevertheless, and
 * every run must end as it should.
 *
 * Replay one, with its story:
 *     SIM_SCENARIO=line SIM_CRASH=17 SIM_HOW=1 SIM_TRACE=1 build/dev/tests/simulation_every_crash */
#include "tests/simulation/scenarios.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CRASH_POINTS_MIN 1900

/* How the sender ends. */
enum how { DIES_BEFORE, DIES_AFTER, BUS_FAILS_AFTER, HOWS };

static uint64_t crash_points;

/* Returns how many sends there were. */
static uint64_t play(const struct world_options *options, uint64_t crash, enum how how)
{
    struct world_options mine = *options;
    mine.seed = 1;
    mine.only_the_bus = how == BUS_FAILS_AFTER;
    mine.trace = getenv("SIM_TRACE") != NULL;
    oracle_set_replay("replay with: SIM_SCENARIO='%s' SIM_CRASH=%" PRIu64
                      " SIM_HOW=%d SIM_TRACE=1 build/dev/tests/simulation_every_crash",
                      options->name, crash, (int)how);
    struct world *world = world_new(&mine);
    memory_cluster_crash_after(world_cluster(world), crash, how != DIES_BEFORE);
    while (world_advance(world)) {
    }
    world_expect_end(world, crash > 0);
    uint64_t sends = memory_cluster_sends(world_cluster(world));
    world_free(world);
    return sends;
}

static bool is_wanted(const char *name)
{
    const char *only = getenv("SIM_SCENARIO");
    return only == NULL || strcmp(only, name) == 0;
}

static void nothing_breaks_whoever_dies_and_whenever(void **state)
{
    const struct world_options *options = *state;
    const char *only = getenv("SIM_CRASH");
    if (!is_wanted(options->name)) {
        skip();
    }
    if (only != NULL) {
        play(options, strtoull(only, NULL, 10), getenv("SIM_HOW") != NULL ? (enum how)atoi(getenv("SIM_HOW")) : DIES_AFTER);
        return;
    }
    uint64_t sends = play(options, 0, DIES_BEFORE);
    for (uint64_t send = 1; send <= sends; send++) {
        for (enum how how = DIES_BEFORE; how < HOWS; how++) {
            play(options, send, how);
        }
    }
    crash_points += HOWS * sends;
    print_message("%s: %" PRIu64 " sends, %" PRIu64 " crash points\n", options->name, sends, HOWS * sends);
}

static void there_were_enough_crash_points(void **state)
{
    (void)state;
    print_message("note: %" PRIu64 " crash points\n", crash_points);
    assert_true(getenv("SIM_SCENARIO") != NULL || crash_points >= CRASH_POINTS_MIN);
}

int main(void)
{
    struct CMUnitTest *tests = calloc(scenario_count() + 1, sizeof *tests);
    for (size_t i = 0; i < scenario_count(); i++) {
        tests[i] = (struct CMUnitTest){.name = scenario(i)->name,
                                       .test_func = nothing_breaks_whoever_dies_and_whenever,
                                       .initial_state = (void *)(size_t)scenario(i)};
    }
    tests[scenario_count()] = (struct CMUnitTest)cmocka_unit_test(there_were_enough_crash_points);
    int failed = _cmocka_run_group_tests("nothing breaks, whoever dies and whenever", tests, scenario_count() + 1, NULL, NULL);
    free(tests);
    return failed;
}
