/* SPDX-License-Identifier: Apache-2.0 */
/* Pipelines of every shape, drawn from a seed: branches, joins, retries, conditions, fan-out, pipelines in pipelines, deadlines, failures in
 * both directions; and people who pause, resume, retry, roll back, resolve and cancel at any time. Every third seed has no faults and no
 * people, and its end is known; the others have the same faults as random_faults_test.c.
 *
 * Replay one, with its story:
 *     SIM_SEED=17 SIM_TRACE=1 build/dev/tests/simulation_random_pipelines */
#include "common/clock.h"
#include "tests/simulation/chance.h"
#include "tests/simulation/world.h"

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
#define STEPS_MAX 9
#define RUNS 3
#define BIT(status) (1u << (status))

struct drawn {
    struct plan plan;
    struct plan_step steps[STEPS_MAX];
    uint32_t needs[STEPS_MAX][STEPS_MAX];
    char names[STEPS_MAX][32];
};

static uint64_t simulated_events;
static struct drawn drawn[RUNS];
static struct script_step scripts[RUNS * STEPS_MAX + 1];

static int64_t one_of(const int64_t *values, uint32_t count)
{
    return values[below(count)];
}
#define ONE_OF(...) one_of((const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static bool chance(uint32_t percent)
{
    return below(100) < percent;
}

/* ---- a pipeline */

static void draw_needs(struct drawn *d, uint32_t i, uint32_t scope)
{
    struct plan_step *step = &d->steps[i];
    uint32_t first = scope; /* a step of a pipeline in a pipeline needs only its scope step or others in it */
    step->needs = d->needs[i];
    if (i == 0 || (scope == 0 && chance(15))) {
        return;
    }
    if (scope > 0 && i == scope) {
        d->needs[i][step->needs_count++] = scope - 1;
        return;
    }
    for (uint32_t other = first; other < i; other++) {
        if (other == i - 1 ? chance(70) : chance(20)) {
            d->needs[i][step->needs_count++] = other;
        }
    }
    if (scope > 0 && step->needs_count == 0) {
        d->needs[i][step->needs_count++] = scope - 1;
    }
}

static void draw_policies(struct plan_step *step, bool timed)
{
    step->retry = (struct plan_retry){.max_attempts = 1 + below(3),
                                      .max_losses = timed && chance(10) ? 0 : 50,
                                      .backoff_ms = 200,
                                      .multiplier_permille = 2000,
                                      .max_backoff_ms = 1000,
                                      .jitter_permille = 100};
    if (chance(50)) {
        step->rollback_retry = (struct plan_retry){.max_attempts = 1 + below(4),
                                                   .max_losses = 50,
                                                   .backoff_ms = 200,
                                                   .multiplier_permille = 2000,
                                                   .max_backoff_ms = 1000,
                                                   .jitter_permille = 100};
    }
    step->rollback_none = chance(10);
    if (timed) {
        step->timeout_ms = chance(20) ? 500 + below(2500) : 0;
        step->heartbeat_timeout_ms = chance(10) ? 700 + below(2000) : 0;
        step->start_timeout_ms = chance(10) ? 2000 + below(20000) : 0;
        step->rollback_timeout_ms = chance(10) ? 500 + below(2000) : 0;
    }
}

static void draw_script(struct script_step *script, const char *name)
{
    *script = (struct script_step){.step = name,
                                   .execute_ms = ONE_OF(0, 40, 200, 1500),
                                   .rollback_ms = ONE_OF(0, 30, 300),
                                   .fails = chance(20) ? 1 + below(4) : 0,
                                   .permanent = chance(20),
                                   .rollback_fails = chance(20) ? 1 + below(5) : 0,
                                   .skips = chance(12),
                                   .function = chance(20),
                                   .cancel_ms = ONE_OF(0, 60, 400)};
}

static void draw_step(struct drawn *d, uint32_t run, uint32_t i, uint32_t scope, bool timed)
{
    struct plan_step *step = &d->steps[i];
    struct script_step *script = &scripts[run * STEPS_MAX + i];
    snprintf(d->names[i], sizeof d->names[i], "%s%u.%u", scope > 0 ? "in/" : "s", run, i);
    *step = (struct plan_step){.name = span_of(d->names[i]),
                               .handler = span_of("work"),
                               .queue = span_of("default"),
                               .weight = below(4) * 10,
                               .scope = scope};
    draw_needs(d, i, scope);
    draw_policies(step, timed);
    draw_script(script, d->names[i]);
    if (chance(15)) {
        step->each = span_of(".params");
        step->max_parallel = below(4);
        script->elements = below(7);
        script->fails_instance = chance(50) ? 1 + below(4) : 0;
    } else if (chance(10)) {
        step->kind = PLAN_VALIDATE;
        step->handler = span_of(PLAN_HANDLER_VALIDATE);
        step->assert = span_of("true");
    } else if (scope == 0 && i + 2 < STEPS_MAX && chance(15)) {
        step->kind = PLAN_SCOPE;
        step->handler = span_of(PLAN_HANDLER_SCOPE);
        step->when = chance(50) ? span_of("true") : (struct span){0};
        script->fails = 0;
        script->skips = script->skips && step->when.size > 0;
    }
}

static void draw_plan(struct drawn *d, uint32_t run, bool timed, bool people)
{
    uint32_t count = 1 + below(STEPS_MAX), scope = 0, left = 0;
    memset(d, 0, sizeof *d);
    for (uint32_t i = 0; i < count; i++) {
        draw_step(d, run, i, scope, timed);
        if (d->steps[i].kind == PLAN_SCOPE) {
            scope = 1 + i;
            left = 1 + below(3);
        } else if (scope > 0 && --left == 0) {
            scope = 0;
        }
    }
    d->plan = (struct plan){.name = span_of("drawn"),
                            .steps = d->steps,
                            .step_count = count,
                            .timeout_ms = timed && chance(10) ? 3000 + below(20000) : 0,
                            .pause_on_failure = people && chance(40)};
}

/* ---- how it must end where nothing happens to it */

static const struct script_step *script_of(uint32_t run, uint32_t step)
{
    return &scripts[run * STEPS_MAX + step];
}

static bool is_skipped(const struct drawn *d, uint32_t run, uint32_t i)
{
    uint32_t scope = d->steps[i].scope;
    return (script_of(run, i)->skips && d->steps[i].each.size == 0) || (scope > 0 && is_skipped(d, run, scope - 1));
}

static bool fails_for_good(const struct drawn *d, uint32_t run, uint32_t i)
{
    const struct script_step *script = script_of(run, i);
    bool reached = d->steps[i].each.size > 0 ? script->elements > 0 && script->fails_instance <= script->elements && !script->skips
                                             : !is_skipped(d, run, i);
    if (d->steps[i].scope > 0 && is_skipped(d, run, d->steps[i].scope - 1)) {
        return false;
    }
    return reached && script->fails > 0 && (script->permanent || script->fails >= d->steps[i].retry.max_attempts);
}

static uint32_t known_ends(const struct drawn *d, uint32_t run)
{
    bool fails = false, hopeless = false;
    for (uint32_t i = 0; i < d->plan.step_count; i++) {
        const struct plan_retry *undo = &d->steps[i].rollback_retry;
        fails = fails || fails_for_good(d, run, i);
        hopeless = hopeless || script_of(run, i)->rollback_fails >= (undo->max_attempts > 0 ? undo->max_attempts : 10) ||
                   (script_of(run, i)->rollback_fails > 0 && script_of(run, i)->permanent);
    }
    return !fails ? BIT(RUN_SUCCEEDED) : BIT(RUN_ROLLED_BACK) | (hopeless ? BIT(RUN_ROLLBACK_INCOMPLETE) : 0);
}

/* ---- people */

static void draw_controls(struct world_options *options)
{
    static const enum message_kind kinds[] = {MESSAGE_CANCEL, MESSAGE_PAUSE,     MESSAGE_PAUSE,   MESSAGE_RESUME, MESSAGE_RETRY,
                                              MESSAGE_RETRY,  MESSAGE_ROLL_BACK, MESSAGE_RESOLVE, MESSAGE_RESOLVE};
    uint32_t count = below(WORLD_CONTROLS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t run = below(RUNS);
        options->controls[i] = (struct world_control){.kind = kinds[below(sizeof kinds / sizeof *kinds)],
                                                      .run = run,
                                                      .at_ms = 1 + below(chance(70) ? 6000 : 30000),
                                                      .step = drawn[run].names[below(drawn[run].plan.step_count)],
                                                      .instance = chance(20) ? 1 + below(3) : 0,
                                                      .done = chance(50),
                                                      .twice = chance(20)};
    }
}

/* ---- a world */

static struct world_options draw_world(uint64_t seed, bool quiet)
{
    static char ids[RUNS][16];
    struct world_options options = {.name = "drawn",
                                    .steps = scripts,
                                    .workers = 1 + below(3),
                                    .slots = 1 + below(3),
                                    .seed = seed,
                                    .cares = true,
                                    .trace = getenv("SIM_TRACE") != NULL};
    memset(scripts, 0, sizeof scripts);
    for (uint32_t run = 0; run < RUNS; run++) {
        draw_plan(&drawn[run], run, !quiet, !quiet);
        snprintf(ids[run], sizeof ids[run], "drawn-%u", run);
        options.runs[run] = (struct world_run){.id = ids[run], .plan = &drawn[run].plan, .start_ms = below(2000)};
        options.runs[run].may_end_bits =
            quiet ? known_ends(&drawn[run], run)
                  : BIT(RUN_SUCCEEDED) | BIT(RUN_ROLLED_BACK) | BIT(RUN_CANCELLED) | BIT(RUN_ROLLBACK_INCOMPLETE);
    }
    for (uint32_t i = 0; i < RUNS * STEPS_MAX; i++) {
        scripts[i].step = scripts[i].step != NULL ? scripts[i].step : "nobody";
    }
    if (!quiet) {
        options.faults = draw_faults();
        options.only_the_bus = chance(50);
        draw_controls(&options);
    }
    return options;
}

static void play(uint64_t seed)
{
    chance_begin(seed);
    oracle_set_replay("replay with: SIM_SEED=%" PRIu64 " SIM_TRACE=1 build/dev/tests/simulation_random_pipelines", seed);
    bool quiet = seed % 3 == 0;
    struct world_options options = draw_world(seed, quiet);
    struct world *world = world_new(&options);
    if (quiet) {
        while (world_advance(world)) {
        }
    } else {
        play_blows(world);
    }
    world_expect_end(world, !quiet);
    simulated_events += memory_cluster_sends(world_cluster(world));
    world_free(world);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? strtoull(value, NULL, 10) : otherwise;
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
    printf("note: %" PRIu64 " random pipelines from seed %" PRIu64 " on, %" PRIu64 " records, %" PRId64 " a second\n",
           (seed - first) * RUNS, first, simulated_events - events_before,
           took_ms > 0 ? (int64_t)(simulated_events - events_before) * 1000 / took_ms : 0);
    assert_true(chance_tell());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipelines_of_every_shape_end_as_they_must),
        cmocka_unit_test(and_so_do_those_nobody_has_seen_before),
    };
    return cmocka_run_group_tests_name("random pipelines", tests, NULL, NULL);
}
