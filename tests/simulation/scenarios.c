/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/simulation/scenarios.h"

#include "common/pipeline.h"

#include <stdio.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define S(literal)                                                                                                                 \
    {                                                                                                                              \
        literal, sizeof(literal) - 1                                                                                               \
    }
#define STEP(what, ...)                                                                                                            \
    {                                                                                                                              \
        .name = S(what), .handler = S("work"), .queue = S("default"), .weight = 1, __VA_ARGS__                                     \
    }
#define NEEDS(list) .needs = (list), .needs_count = COUNT(list)
#define PLAN(list)                                                                                                                 \
    {                                                                                                                              \
        .name = S("plan"), .steps = (list), .step_count = COUNT(list)                                                              \
    }
#define RETRY(attempts, losses)                                                                                                    \
    {                                                                                                                              \
        .max_attempts = (attempts), .max_losses = (losses), .backoff_ms = 300, .multiplier_permille = 2000, .max_backoff_ms = 1000 \
    }

static const uint32_t n0[] = {0}, n1[] = {1}, n2[] = {2}, n12[] = {1, 2};
static const struct plan_step line_steps[] = {STEP("a", .retry = RETRY(1, 50)), STEP("b", NEEDS(n0), .retry = RETRY(1, 50)),
                                              STEP("c", NEEDS(n1), .retry = RETRY(1, 50)),
                                              STEP("d", NEEDS(n2), .retry = RETRY(1, 50))};
static const struct plan_step diamond_steps[] = {STEP("a", .retry = RETRY(1, 50)), STEP("b", NEEDS(n0), .retry = RETRY(1, 50)),
                                                 STEP("c", NEEDS(n0), .retry = RETRY(1, 50)),
                                                 STEP("d", NEEDS(n12), .retry = RETRY(1, 50))};
static const struct plan_step retry_steps[] = {STEP("a", .retry = RETRY(1, 50)), STEP("flaky", NEEDS(n0), .retry = RETRY(3, 50))};
static const struct plan_step once_steps[] = {STEP("a", .retry = RETRY(1, 50)), STEP("once", NEEDS(n0), .retry = RETRY(1, 0)),
                                              STEP("c", NEEDS(n1), .retry = RETRY(1, 50))};
static const struct plan_step timed_steps[] = {STEP("a", .retry = RETRY(1, 50)),
                                               STEP("slow", NEEDS(n0), .retry = RETRY(2, 50), .timeout_ms = 900)};
static const struct plan line = PLAN(line_steps), diamond = PLAN(diamond_steps), retry = PLAN(retry_steps), once = PLAN(once_steps),
                         timed = PLAN(timed_steps);

static const struct script_step line_script[] = {{.step = "a", .execute_ms = 40, .rollback_ms = 30},
                                                 {.step = "b", .execute_ms = 700, .rollback_ms = 250},
                                                 {.step = "c", .skips = true},
                                                 {.step = "d", .execute_ms = 150, .rollback_ms = 30},
                                                 {0}};
static const struct script_step last_fails_script[] = {{.step = "a", .execute_ms = 40, .rollback_ms = 130},
                                                       {.step = "b", .execute_ms = 200, .rollback_ms = 30, .rollback_fails = 1},
                                                       {.step = "c", .skips = true},
                                                       {.step = "d", .execute_ms = 150, .rollback_ms = 30, .fails = 9},
                                                       {0}};
static const struct script_step diamond_script[] = {{.step = "a", .execute_ms = 40},
                                                    {.step = "b", .execute_ms = 300, .rollback_ms = 50},
                                                    {.step = "c", .execute_ms = 500, .rollback_ms = 50},
                                                    {.step = "d", .execute_ms = 20},
                                                    {0}};
static const struct script_step sibling_script[] = {{.step = "a", .execute_ms = 40, .rollback_ms = 50},
                                                    {.step = "b", .execute_ms = 300, .rollback_ms = 50, .fails = 9},
                                                    {.step = "c", .execute_ms = 2000, .rollback_ms = 50, .cancel_ms = 100},
                                                    {0}};
static const struct script_step flaky_script[] = {
    {.step = "a", .execute_ms = 40, .rollback_ms = 50}, {.step = "flaky", .execute_ms = 200, .rollback_ms = 50, .fails = 2}, {0}};
static const struct script_step long_script[] = {{.step = "a", .execute_ms = 40, .rollback_ms = 50},
                                                 {.step = "b", .execute_ms = 3000, .rollback_ms = 150, .cancel_ms = 120},
                                                 {0}};
static const struct script_step once_script[] = {{.step = "a", .execute_ms = 40, .rollback_ms = 50},
                                                 {.step = "once", .execute_ms = 400, .rollback_ms = 50},
                                                 {.step = "c", .execute_ms = 40, .rollback_ms = 50},
                                                 {0}};
static const struct script_step slow_script[] = {{.step = "a", .execute_ms = 40, .rollback_ms = 50},
                                                 {.step = "slow", .execute_ms = 5000, .rollback_ms = 50, .cancel_ms = 60},
                                                 {0}};
static const struct script_step function_script[] = {
    {.step = "a", .execute_ms = 40, .rollback_ms = 50},
    {.step = "b", .execute_ms = 1500, .rollback_ms = 700, .function = true, .cancel_ms = 200},
    {.step = "d", .execute_ms = 200, .rollback_ms = 30, .function = true, .fails = 9},
    {0}};
static const struct script_step examples_script[] = {{.step = "init", .execute_ms = 50, .rollback_ms = 20},
                                                     {.step = "validate", .execute_ms = 150, .rollback_ms = 20},
                                                     {.step = "upload", .execute_ms = 1300, .rollback_ms = 300},
                                                     {.step = "cleanup", .execute_ms = 30, .rollback_ms = 20},
                                                     {.step = "dataset", .execute_ms = 250, .rollback_ms = 60},
                                                     {.step = "train", .execute_ms = 1200, .rollback_ms = 60},
                                                     {0}};

#define STEP_D_FAILED "Step 'd' failed: as the script says"

/* The plans of files come later. */
static struct world_options scenarios[] = {
    {.name = "upload and training",
     .ahead_from = SERVICE_AHEAD_ALWAYS,
     .steps = examples_script,
     .workers = 1,
     .slots = 2,
     .runs = {{.id = "upload-1", .ends = RUN_SUCCEEDED}, {.id = "training-1", .ends = RUN_SUCCEEDED, .start_ms = 200}}},
    {.name = "line",
     .steps = line_script,
     .workers = 2,
     .slots = 1,
     .runs = {{.id = "line-1", .plan = &line, .ends = RUN_SUCCEEDED}}},
    {.name = "last step fails",
     .ahead_from = SERVICE_AHEAD_ALWAYS,
     .steps = last_fails_script,
     .workers = 2,
     .slots = 1,
     .runs = {{.id = "fails-1", .plan = &line, .ends = RUN_ROLLED_BACK, .error = STEP_D_FAILED}}},
    {.name = "diamond",
     .steps = diamond_script,
     .workers = 2,
     .slots = 1,
     .runs = {{.id = "diamond-1", .plan = &diamond, .ends = RUN_SUCCEEDED}}},
    {.name = "sibling fails",
     .steps = sibling_script,
     .workers = 2,
     .slots = 1,
     .runs = {{.id = "sibling-1", .plan = &diamond, .ends = RUN_ROLLED_BACK, .error = "Step 'b' failed: as the script says"}}},
    {.name = "retries",
     .steps = flaky_script,
     .workers = 1,
     .slots = 1,
     .runs = {{.id = "retry-1", .plan = &retry, .ends = RUN_SUCCEEDED}}},
    {.name = "cancel",
     .ahead_from = SERVICE_AHEAD_ALWAYS,
     .steps = long_script,
     .workers = 1,
     .slots = 1,
     .runs = {{.id = "cancel-1",
               .plan = &line,
               .cancel_ms = 1500,
               .ends = RUN_CANCELLED,
               .error = "cancelled",
               .may_end = RUN_SUCCEEDED}}},
    {.name = "once",
     .steps = once_script,
     .workers = 2,
     .slots = 1,
     .runs = {{.id = "once-1", .plan = &once, .ends = RUN_SUCCEEDED, .may_end = RUN_ROLLED_BACK}}},
    {.name = "timeout",
     .steps = slow_script,
     .workers = 1,
     .slots = 1,
     .runs = {{.id = "slow-1",
               .plan = &timed,
               .ends = RUN_ROLLED_BACK,
               .error = "Step 'slow' failed: it did not end within its timeout of 900ms"}}},
    {.name = "functions",
     .ahead_from = SERVICE_AHEAD_ALWAYS,
     .steps = function_script,
     .workers = 2,
     .slots = 2,
     .runs = {{.id = "function-1", .plan = &line, .ends = RUN_ROLLED_BACK, .error = STEP_D_FAILED},
              {.id = "function-2",
               .plan = &line,
               .start_ms = 300,
               .cancel_ms = 900,
               .ends = RUN_CANCELLED,
               .may_end = RUN_ROLLED_BACK}}},
    {.name = "drain",
     .ahead_from = SERVICE_AHEAD_ALWAYS,
     .steps = line_script,
     .workers = 1,
     .slots = 1,
     .drain_ms = 400,
     .runs = {{.id = "drain-1", .plan = &line, .ends = RUN_SUCCEEDED}, {.id = "drain-2", .plan = &line, .ends = RUN_SUCCEEDED}}},
};

static const struct plan *read_plan(const char *path)
{
    struct pipeline *pipeline = pipeline_read_file(path);
    if (pipeline->problem_count > 0) {
        struct text text;
        text_init(&text, 65536);
        pipeline_append_problems(pipeline, &text);
        fprintf(stderr, "%s", text_string(&text));
        abort();
    }
    size_t size = plan_room(&pipeline->plan);
    const struct plan *plan = plan_copy(malloc(size), &pipeline->plan); /* for the life of the process */
    pipeline_free(pipeline);
    return plan;
}

size_t scenario_count(void)
{
    return COUNT(scenarios);
}

const struct world_options *scenario(size_t index)
{
    if (scenarios[0].runs[0].plan == NULL) {
        scenarios[0].runs[0].plan = read_plan("examples/upload/upload.yaml");
        scenarios[0].runs[1].plan = read_plan("examples/training/training.yaml");
    }
    return &scenarios[index];
}
