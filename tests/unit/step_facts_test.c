/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a step: how long it may still take, above all when that is not known. */
#include "coordinator/cli/step_facts.h"
#include "tests/unit/step_texts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define T0 1000000

static const struct plan_step plan_steps[] = {
    {.name = {"copy", 4}, .each = {".files", 6}, .start_timeout_ms = 30000},
};
static const struct plan plan = {.name = {"demo", 4}, .steps = plan_steps, .step_count = 1};

#define RUNS .status = STEP_RUNNING, .open = true, .started = true
#define BEGUN .begun_ms = T0, .attempt_ms = T0

/* One step, seen ten seconds after it has begun. */
static const struct {
    const char *name;
    struct saga_step step;
    struct saga saga;
    int64_t rest_ms;
} rests[] = {
    {"half of it took five seconds", {RUNS, .work = WORK(BEGUN, .report_ms = T0 + 10000, .current = 5, .total = 10)}, {.status = RUN_RUNNING}, 10000},
    {"time goes by between reports", {RUNS, .work = WORK(BEGUN, .report_ms = T0 + 8000, .current = 4, .total = 8)}, {.status = RUN_RUNNING}, 6000},
    {"a pause does not stop a step that runs",
     {RUNS, .work = WORK(BEGUN, .report_ms = T0 + 10000, .current = 5, .total = 10)},
     {.status = RUN_PAUSED},
     10000},
    {"it has reported nothing", {RUNS, .work = WORK(BEGUN, .report_ms = T0 + 10000)}, {.status = RUN_RUNNING}, -1},
    {"it has reported no total", {RUNS, .work = WORK(BEGUN, .report_ms = T0 + 10000, .current = 5)}, {.status = RUN_RUNNING}, -1},
    {"it has only just begun", {RUNS, .work = WORK(BEGUN, .report_ms = T0 + 999, .current = 5, .total = 10)}, {.status = RUN_RUNNING}, -1},
    {"a thirtieth is not done yet", {RUNS, .work = WORK(BEGUN, .report_ms = T0 + 10000, .current = 3, .total = 100)}, {.status = RUN_RUNNING}, -1},
    {"all is done, and it goes on", {RUNS, .work = WORK(BEGUN, .report_ms = T0 + 10000, .current = 10, .total = 10)}, {.status = RUN_RUNNING}, -1},
    {"reports have stopped", {RUNS, .work = WORK(BEGUN, .report_ms = T0 + 2000, .current = 5, .total = 10)}, {.status = RUN_RUNNING}, -1},
    {"it is being stopped", {RUNS, .cancel = 1, .work = WORK(BEGUN, .report_ms = T0 + 10000, .current = 5, .total = 10)}, {.status = RUN_RUNNING}, -1},
    {"its run is being stopped",
     {RUNS, .work = WORK(BEGUN, .report_ms = T0 + 10000, .current = 5, .total = 10)},
     {.status = RUN_RUNNING, .stopping = true},
     -1},
    {"it waits for its next attempt",
     {.status = STEP_RETRYING, .work = WORK(.report_ms = T0 + 10000, .current = 5, .total = 10)},
     {.status = RUN_RUNNING},
     -1},
};

static void the_rest_is_told_only_where_it_is_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
        struct saga_step step = rests[i].step;
        struct saga saga = rests[i].saga;
        saga.plan = &plan;
        saga.steps = &(struct saga_step *){&step};
        if (step_rest_ms(&saga, &step, T0 + 10000) != rests[i].rest_ms) {
            fail_msg("%s: %lld", rests[i].name, (long long)step_rest_ms(&saga, &step, T0 + 10000));
        }
    }
}

/* Eight elements, of which `done` have ended, a second each. */
static int64_t rest_of_fan(uint32_t done, uint8_t status, int64_t now_ms)
{
    struct saga_step instances[8] = {{0}};
    struct saga_step_work works[8];
    struct saga_fan fan = {.count = 8, .done = done, .instances = instances};
    struct saga_step step = {.status = STEP_RUNNING, .fan = &fan, .work = WORK(.begun_ms = T0, .total = 8, .current = done)};
    struct saga saga = {.status = status, .plan = &plan, .steps = &(struct saga_step *){&step}};
    for (uint32_t i = 0; i < done; i++) {
        works[i] = (struct saga_step_work){.begun_ms = T0 + i * 1000, .ended_ms = T0 + (i + 1) * 1000};
        instances[i] = (struct saga_step){.instance = i + 1, .status = STEP_SUCCEEDED, .work = &works[i]};
    }
    return step_rest_ms(&saga, &step, now_ms);
}

static void the_rest_of_a_fan_out_follows_from_the_elements_that_have_ended(void **state)
{
    (void)state;
    assert_int_equal(rest_of_fan(2, RUN_RUNNING, T0 + 2000), 6000);
    assert_int_equal(rest_of_fan(2, RUN_RUNNING, T0 + 2500), 5500);
    assert_int_equal(rest_of_fan(0, RUN_RUNNING, T0 + 2000), -1);
    assert_int_equal(rest_of_fan(8, RUN_RUNNING, T0 + 8000), -1);
    assert_int_equal(rest_of_fan(2, RUN_RUNNING, T0 + 60000), -1); /* nothing has ended for long */
    assert_int_equal(rest_of_fan(2, RUN_PAUSED, T0 + 2000), -1); /* no other element begins */
}

static void a_start_timeout_says_when_it_gives_up(void **state)
{
    (void)state;
    struct saga_step step = {.status = STEP_READY, .open = true, .ready_ms = T0};
    struct saga saga = {.status = RUN_RUNNING, .plan = &plan, .steps = &(struct saga_step *){&step}};
    struct text out;
    text_init(&out, 100);
    step_say_start_timeout(&saga, &step, T0 + 11001, &out);
    assert_string_equal(text_string(&out), ", gives up in 19 s");
    text_clear(&out);
    saga.status = RUN_PAUSED; /* it stands still */
    step_say_start_timeout(&saga, &step, T0 + 11001, &out);
    saga.status = RUN_RUNNING;
    step.started = true;
    step_say_start_timeout(&saga, &step, T0 + 11001, &out);
    assert_string_equal(text_string(&out), "");
    text_fini(&out);
}

static void a_unit_that_is_none_is_not_shown(void **state)
{
    static const struct {
        const char *metrics, *shown;
    } rows[] = {
        {"{\"unit\":\"files\",\"bytes\":7}", "3 of 9 files"},
        {"", "3 of 9"},
        {"{\"unit\":7}", "3 of 9"},
        {"{\"unit\":\"\"}", "3 of 9"},
        {"[\"unit\"]", "3 of 9"},
        {"{oops", "3 of 9"},
        {"{\"unit\":\"a unit that no line has room for\"}", "3 of 9"},
        {"{\"unit\":\"\\u001b[2J\"}", "3 of 9 \\x1b[2J"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct saga_text metrics = {.bytes = rows[i].metrics, .size = (uint32_t)strlen(rows[i].metrics), .kind = TEXT_METRICS};
        struct saga_step step = {RUNS, .work = WORK(BEGUN, .report_ms = T0 + 1, .current = 3, .total = 9, .texts = &metrics)};
        struct saga saga = {.status = RUN_RUNNING, .plan = &plan, .steps = &(struct saga_step *){&step}};
        struct text out;
        text_init(&out, 100);
        step_say_counts(&saga, &step, &out);
        assert_string_equal(text_string(&out), rows[i].shown);
        text_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rest_is_told_only_where_it_is_known),
        cmocka_unit_test(the_rest_of_a_fan_out_follows_from_the_elements_that_have_ended),
        cmocka_unit_test(a_start_timeout_says_when_it_gives_up),
        cmocka_unit_test(a_unit_that_is_none_is_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
