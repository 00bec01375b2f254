/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/simulation/drawn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX DRAWN_STEPS_MAX
#define RUNS DRAWN_RUNS
#define BIT(status) (1u << (status))

struct drawn {
    struct plan plan;
    struct plan_step steps[STEPS_MAX];
    uint32_t needs[STEPS_MAX][STEPS_MAX];
    char names[STEPS_MAX][32];
};

static bool in_line; /* each step needs the one before it, and no other */
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
    if (in_line && i > 0 && scope == 0) {
        d->needs[i][0] = i - 1;
        step->needs_count = 1;
    }
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

static struct world_options draw_options(uint64_t seed, bool quiet)
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

/* ---- less of it */

static void cut_runs(struct world_options *options, uint32_t cut)
{
    uint32_t left = 0, moved[RUNS];
    for (uint32_t run = 0; run < RUNS; run++) {
        moved[run] = left;
        if ((cut >> run & 1) == 0) {
            options->runs[left++] = options->runs[run];
        }
    }
    memset(&options->runs[left], 0, (WORLD_RUNS_MAX - left) * sizeof *options->runs);
    uint32_t said = 0;
    for (uint32_t i = 0; i < WORLD_CONTROLS_MAX && options->controls[i].kind != MESSAGE_NONE; i++) {
        if ((cut >> options->controls[i].run & 1) == 0) {
            options->controls[said] = options->controls[i];
            options->controls[said++].run = moved[options->controls[i].run];
        }
    }
    memset(&options->controls[said], 0, (WORLD_CONTROLS_MAX - said) * sizeof *options->controls);
}

static void cut_controls(struct world_options *options, uint32_t cut)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < WORLD_CONTROLS_MAX && options->controls[i].kind != MESSAGE_NONE; i++) {
        if ((cut >> i & 1) == 0) {
            options->controls[left++] = options->controls[i];
        }
    }
    memset(&options->controls[left], 0, (WORLD_CONTROLS_MAX - left) * sizeof *options->controls);
}

static void cut_steps(struct world_options *options, uint32_t most)
{
    for (uint32_t run = 0; run < RUNS; run++) {
        struct plan *plan = &drawn[run].plan;
        plan->step_count = plan->step_count < most ? plan->step_count : most;
        while (plan->steps[plan->step_count - 1].kind == PLAN_SCOPE && plan->step_count > 1) {
            plan->step_count--; /* a pipeline in a pipeline has steps */
        }
    }
    for (uint32_t i = 0; i < WORLD_CONTROLS_MAX && options->controls[i].kind != MESSAGE_NONE; i++) {
        const struct plan *plan = &drawn[options->controls[i].run].plan;
        options->controls[i].step = drawn[options->controls[i].run].names[plan->step_count - 1];
    }
}

static void cut_blows(struct blows *blows, uint32_t cut)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < blows->count; i++) {
        if ((cut >> i & 1) == 0) {
            blows->all[left++] = blows->all[i];
        }
    }
    blows->count = left;
}

static void cut_faults(struct memory_faults *faults, uint32_t cut)
{
    uint32_t *all[DRAWN_FAULTS] = {&faults->send_delay_ms, &faults->report_delay_ms, &faults->read_delay_ms, &faults->loss_ppm,
                                   &faults->orphan_ppm};
    for (uint32_t i = 0; i < DRAWN_FAULTS; i++) {
        *all[i] = (cut >> i & 1) == 0 ? *all[i] : 0;
    }
}

/* Behind steps that take longer nothing goes ahead. */
static void hasten(void)
{
    for (uint32_t i = 0; i < RUNS * STEPS_MAX; i++) {
        scripts[i].execute_ms /= 100;
    }
}

void drawn_world(uint64_t seed, const struct drawn_cuts *cuts, struct drawn_world *world)
{
    chance_begin(seed);
    world->quiet = seed % 3 == 0;
    in_line = seed % 8 >= 5;
    world->options = draw_options(seed, world->quiet);
    world->options.group = seed % 2 == 0;
    world->options.ahead_from = (uint32_t[]){0, SERVICE_AHEAD_AUTO, SERVICE_AHEAD_ALWAYS, SERVICE_AHEAD_ALWAYS}[seed % 4];
    if (world->options.ahead_from == SERVICE_AHEAD_AUTO) {
        hasten();
    }
    world->options.faults.group_delay_ms = world->options.faults.read_delay_ms;
    world->blows = world->quiet ? (struct blows){.count = 0} : draw_blows();
    if (cuts != NULL) {
        cut_controls(&world->options, cuts->controls);
        cut_steps(&world->options, cuts->steps_max > 0 ? cuts->steps_max : STEPS_MAX);
        cut_runs(&world->options, cuts->runs);
        cut_blows(&world->blows, cuts->blows);
        cut_faults(&world->options.faults, cuts->faults);
    }
}

static bool shrink_bits(uint64_t seed, struct drawn_cuts *cuts, uint32_t *bits, uint32_t count,
                        bool (*fails)(uint64_t seed, const struct drawn_cuts *cuts))
{
    bool smaller = false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t before = *bits;
        if ((before >> i & 1) != 0) {
            continue;
        }
        *bits |= 1u << i;
        if (fails(seed, cuts)) {
            smaller = true;
        } else {
            *bits = before;
        }
    }
    return smaller;
}

static bool shrink_steps(uint64_t seed, struct drawn_cuts *cuts, bool (*fails)(uint64_t seed, const struct drawn_cuts *cuts))
{
    uint32_t before = cuts->steps_max;
    for (cuts->steps_max = 1; cuts->steps_max < before; cuts->steps_max++) {
        if (fails(seed, cuts)) {
            return true;
        }
    }
    return false;
}

struct drawn_cuts drawn_shrink(uint64_t seed, bool (*fails)(uint64_t seed, const struct drawn_cuts *cuts))
{
    struct drawn_cuts cuts = {.steps_max = STEPS_MAX};
    for (bool smaller = true; smaller;) {
        smaller = shrink_bits(seed, &cuts, &cuts.blows, BLOWS_MAX, fails);
        smaller = shrink_bits(seed, &cuts, &cuts.controls, WORLD_CONTROLS_MAX, fails) || smaller;
        smaller = shrink_bits(seed, &cuts, &cuts.faults, DRAWN_FAULTS, fails) || smaller;
        smaller = shrink_bits(seed, &cuts, &cuts.runs, DRAWN_RUNS, fails) || smaller;
        smaller = shrink_steps(seed, &cuts, fails) || smaller;
    }
    return cuts;
}

void drawn_slow_down(int64_t execute_ms, uint32_t fails)
{
    for (uint32_t i = 0; i < RUNS * STEPS_MAX; i++) {
        scripts[i].execute_ms = execute_ms;
        scripts[i].fails = scripts[i].fails > fails ? scripts[i].fails : fails;
    }
}

uint64_t drawn_play(struct drawn_world *drawn_one)
{
    struct world *world = world_new(&drawn_one->options);
    play_blows(world, &drawn_one->blows);
    world_expect_end(world, !drawn_one->quiet);
    uint64_t events = world_events(world);
    world_free(world);
    return events;
}
