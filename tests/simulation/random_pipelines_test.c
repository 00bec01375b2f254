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
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SEEDS 250 /* the same in every run of the test */
#define SECONDS 20 /* and then others, which nobody has seen before */

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

/* What children tell their parent. */
static struct played {
    uint64_t seed, events;
} * played;

#define BATCH 40 /* worlds in one child: a failure ends a process, and its parent makes it small */

static void play(uint64_t seed, const struct drawn_cuts *cuts)
{
    struct drawn_world drawn;
    played->seed = seed;
    drawn_world(seed, cuts, &drawn);
    oracle_set_replay("replay with: SIM_SEED=%" PRIu64
                      " SIM_CUTS='%u %u %u %u %u' SIM_TRACE=1 build/dev/tests/simulation_random_pipelines",
                      seed, cuts->runs, cuts->controls, cuts->blows, cuts->faults, cuts->steps_max);
    played->events += drawn_play(&drawn);
}

static bool fails_in_a_child(uint64_t first, uint64_t count, const struct drawn_cuts *cuts, bool quietly)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (quietly) {
            freopen("/dev/null", "w", stderr);
        }
        for (uint64_t seed = first; seed < first + count; seed++) {
            play(seed, cuts);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status != 0;
}

static bool still_fails(uint64_t seed, const struct drawn_cuts *cuts)
{
    return fails_in_a_child(seed, 1, cuts, true);
}

static void play_many(uint64_t first, uint64_t count)
{
    const struct drawn_cuts none = {0};
    if (fails_in_a_child(first, count, &none, false)) {
        uint64_t seed = played->seed;
        struct drawn_cuts cuts = drawn_shrink(seed, still_fails);
        fprintf(stderr, "and as small as it gets (%s):\n", still_fails(seed, &cuts) ? "it fails still" : "it does not always fail");
        fails_in_a_child(seed, 1, &cuts, false);
        fail_msg("seed %" PRIu64 " is broken", seed);
    }
}

/* Runs 1, blow 3 and the second fault are what it takes, and two steps: all else is left out. */
static bool takes_these(uint64_t seed, const struct drawn_cuts *cuts)
{
    (void)seed;
    return (cuts->runs & 2) == 0 && (cuts->blows & 8) == 0 && (cuts->faults & 2) == 0 && cuts->steps_max >= 2;
}

static void a_failure_is_made_small(void **state)
{
    (void)state;
    struct drawn_cuts cuts = drawn_shrink(1, takes_these);
    assert_int_equal(cuts.runs, 5);
    assert_int_equal(cuts.blows, (1 << BLOWS_MAX) - 1 - 8);
    assert_int_equal(cuts.faults, (1 << DRAWN_FAULTS) - 1 - 2);
    assert_int_equal(cuts.controls, (1 << WORLD_CONTROLS_MAX) - 1);
    assert_int_equal(cuts.steps_max, 2);
    struct drawn_world drawn;
    drawn_world(1, &cuts, &drawn);
    assert_int_equal(drawn.options.runs[1].id == NULL, true);
    assert_true(drawn.blows.count <= 1);
    drawn_play(&drawn); /* and what is left is a world */
}

static void pipelines_of_every_shape_end_as_they_must(void **state)
{
    (void)state;
    const char *cuts = getenv("SIM_CUTS");
    uint64_t only = number_of("SIM_SEED", 0), first = number_of("SIM_FROM", 1), count = number_of("SIM_SEEDS", SEEDS);
    if (only > 0 && (cuts != NULL || getenv("SIM_TRACE") != NULL)) {
        const struct drawn_cuts given = cuts_of(cuts);
        play(only, &given); /* here, where a debugger sees it */
        return;
    }
    if (only > 0) {
        play_many(only, 1);
        return;
    }
    for (uint64_t seed = first; seed < first + count; seed += BATCH) {
        play_many(seed, first + count - seed < BATCH ? first + count - seed : BATCH);
    }
}

/* What the children that have ended have used: other work on the machine does not count. */
static int64_t processor_ms(void)
{
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

/* As long as SIM_SECONDS says, beginning with a seed that the time of day gives, or SIM_RANDOM. */
static void and_so_do_those_nobody_has_seen_before(void **state)
{
    (void)state;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t first = number_of("SIM_RANDOM", (uint64_t)now.tv_sec * 1000000), seed = first;
    int64_t used_ms = processor_ms(), until_ms = clock_monotonic_ms() + (int64_t)number_of("SIM_SECONDS", SECONDS) * 1000;
    if (getenv("SIM_SEED") != NULL) {
        return;
    }
    uint64_t events_before = played->events;
    for (; clock_monotonic_ms() < until_ms; seed += BATCH) {
        play_many(seed, BATCH);
    }
    int64_t took_ms = processor_ms() - used_ms;
    printf("note: %" PRIu64 " random pipelines from seed %" PRIu64 " on, %" PRIu64 " events, %" PRId64 " a second of one core\n",
           (seed - first) * DRAWN_RUNS, first, played->events - events_before,
           took_ms > 0 ? (int64_t)(played->events - events_before) * 1000 / took_ms : 0);
    assert_true(tally_tell());
}

int main(void)
{
    tally_share();
    played = mmap(NULL, sizeof *played, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_is_made_small),
        cmocka_unit_test(pipelines_of_every_shape_end_as_they_must),
        cmocka_unit_test(and_so_do_those_nobody_has_seen_before),
    };
    return cmocka_run_group_tests_name("random pipelines", tests, NULL, NULL);
}
