/* SPDX-License-Identifier: Apache-2.0 */
/* A run as -o json and status tell it. */
#include "coordinator/cli/summary.h"
#include "tests/unit/step_texts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BEGUN_MS 1767323045000 /* 2026-01-02T03:04:05Z */

static const struct plan_step plan_steps[] = {
    {.name = {"first", 5}, .handler = {"first", 5}, .queue = {"default", 7}, .weight = 1},
    {.name = {"say \"h\xc3\xa9\"", 9}, .handler = {"other", 5}, .queue = {"slow", 4}, .weight = 3, .retry = {.max_attempts = 3}},
};
static const struct plan plan = {.name = {"demo", 4}, .steps = plan_steps, .step_count = 2};

struct fixture {
    struct saga_step steps[2];
    struct saga_step *places[2];
    struct saga_step_work works[2];
    struct saga_trouble trouble;
    struct saga_text data[2];
    struct run_view view;
    struct run run;
    struct text out;
};

static void set_up(struct fixture *fixture)
{
    *fixture = (struct fixture){.places = {&fixture->steps[0], &fixture->steps[1]}};
    fixture->trouble.cause_step = UINT32_MAX;
    fixture->run.saga = (struct saga){
        .status = RUN_RUNNING,
        .run_id = span_of("demo-1"),
        .plan = &plan,
        .steps = fixture->places,
        .started_ms = BEGUN_MS,
        .trouble = &fixture->trouble,
    };
    fixture->run.attached = &fixture->view;
    fixture->steps[1].index = 1;
    text_init(&fixture->out, 1 << 20);
}

static void succeed(struct fixture *fixture, uint32_t index, const char *data)
{
    struct saga_step *step = &fixture->steps[index];
    fixture->data[index] = (struct saga_text){.bytes = data, .size = (uint32_t)strlen(data), .kind = TEXT_DATA};
    fixture->works[index] = (struct saga_step_work){
        .execute_attempts = 1, .begun_ms = BEGUN_MS, .ended_ms = BEGUN_MS + 1250, .texts = &fixture->data[index]};
    *step = (struct saga_step){
        .index = step->index,
        .status = STEP_SUCCEEDED,
        .executed = true,
        .work = &fixture->works[index],
    };
}

static void a_run_that_succeeded_is_one_object_with_everything(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    succeed(&f, 0, "{\"n\":1}");
    succeed(&f, 1, "");
    f.run.saga.status = RUN_SUCCEEDED;
    f.run.saga.progress_ppm = PPM_ONE;
    f.run.saga.finished_ms = BEGUN_MS + 2007;
    summary_json(&f.run, BEGUN_MS + 99999, &f.out);
    assert_string_equal(
        text_string(&f.out),
        "{\"run_id\":\"demo-1\",\"pipeline\":\"demo\",\"success\":true,\"status\":\"succeeded\",\"steps_executed\":2,"
        "\"steps_total\":2,\"progress\":100,\"error\":null,\"duration_seconds\":2.007,\"steps\":["
        "{\"name\":\"first\",\"status\":\"succeeded\",\"attempts\":1,\"duration_seconds\":1.250,\"data\":{\"n\":1},"
        "\"error\":null,\"rollback_error\":null},"
        "{\"name\":\"say \\\"h\xc3\xa9\\\"\",\"status\":\"succeeded\",\"attempts\":1,\"duration_seconds\":1.250,"
        "\"data\":null,\"error\":null,\"rollback_error\":null}]}");
    text_fini(&f.out);
}

static void progress_has_the_decimals_it_needs(void **state)
{
    static const struct {
        uint32_t ppm;
        const char *text;
    } rows[] = {{0, "0"}, {1, "0.0001"}, {250000, "25"}, {592500, "59.25"}, {999999, "99.9999"}, {1000000, "100"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        char expected[64];
        set_up(&f);
        f.run.saga.progress_ppm = rows[i].ppm;
        snprintf(expected, sizeof expected, "\"progress\":%s,", rows[i].text);
        summary_json(&f.run, BEGUN_MS, &f.out);
        assert_non_null(strstr(text_string(&f.out), expected));
        text_fini(&f.out);
    }
}

static void data_that_is_no_json_cannot_break_the_object(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    succeed(&f, 0, "},{\x01 oops");
    summary_json(&f.run, BEGUN_MS, &f.out);
    assert_non_null(strstr(text_string(&f.out), "\"data\":\"},{\\u0001 oops\""));
    text_fini(&f.out);
}

static void a_step_that_waits_says_for_whom_and_since_when(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct waiting_step waiting = {.step = 1, .handler = span_of("other"), .queue = span_of("slow"), .since_ms = BEGUN_MS + 678};
    f.view.waiting = &waiting;
    f.view.waiting_count = 1;
    f.steps[1] = (struct saga_step){.index = 1, .status = STEP_READY, .open = true, .ticket = 1};
    summary_json(&f.run, BEGUN_MS, &f.out);
    assert_non_null(strstr(text_string(&f.out),
                           "\"waiting\":{\"handler\":\"other\",\"queue\":\"slow\",\"since\":\"2026-01-02T03:04:05.678Z\"}"));
    text_clear(&f.out);
    summary_text(&f.run, NULL, BEGUN_MS + 41678, &f.out);
    assert_non_null(strstr(text_string(&f.out), "waiting for a worker of queue 'slow' that serves 'other', for 41.0 s"));
    f.steps[1].started = true; /* somebody has taken it since */
    text_clear(&f.out);
    summary_json(&f.run, BEGUN_MS, &f.out);
    assert_null(strstr(text_string(&f.out), "waiting\":{"));
    text_fini(&f.out);
}

static void the_time_of_a_step_that_runs_again_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    f.steps[0] = (struct saga_step){.status = STEP_RUNNING,
                                    .open = true,
                                    .started = true, .work = WORK(.execute_attempts = 2, .begun_ms = BEGUN_MS, .ended_ms = BEGUN_MS + 1250 /* its first attempt */)};
    summary_json(&f.run, BEGUN_MS + 9000, &f.out);
    assert_non_null(strstr(text_string(&f.out), "\"attempts\":2,\"duration_seconds\":9.000"));
    text_fini(&f.out);
}

static void status_says_who_of_the_queue_was_there_last(void **state)
{
    (void)state;
    static const struct span handlers[] = {{"other", 5}};
    struct message hello = {
        .kind = MESSAGE_HELLO,
        .presence = {
            .worker = span_of("w"), .queue = span_of("slow"), .handlers = handlers, .handler_count = 1, .lease_ms = 10000}};
    struct waiting_step waiting = {.step = 1, .handler = span_of("other"), .queue = span_of("slow"), .since_ms = BEGUN_MS};
    struct roster roster = {0};
    struct fixture f;
    setenv("TZ", "UTC", 1);
    set_up(&f);
    f.view.waiting = &waiting;
    f.view.waiting_count = 1;
    f.steps[1] = (struct saga_step){.index = 1, .status = STEP_READY, .open = true, .ticket = 1};
    summary_text(&f.run, &roster, BEGUN_MS + 1000, &f.out);
    assert_non_null(strstr(text_string(&f.out), ", for 1.0 s; none has been seen\n"));
    text_clear(&f.out);
    roster_apply(&roster, &hello, BEGUN_MS - 65000);
    summary_text(&f.run, &roster, BEGUN_MS + 1000, &f.out);
    assert_non_null(strstr(text_string(&f.out), ", for 1.0 s; none has been seen since 03:03:00\n"));
    text_clear(&f.out);
    hello.presence.incarnation.bytes[0] = 1;
    hello.presence.handler_count = 0;
    roster_apply(&roster, &hello, BEGUN_MS);
    summary_text(&f.run, &roster, BEGUN_MS + 1000, &f.out);
    assert_non_null(strstr(text_string(&f.out), "; 1 worker of it is there, and serves other handlers\n"));
    roster_free(&roster);
    text_fini(&f.out);
}

static void a_paused_run_says_since_when_why_and_what_can_be_done(void **state)
{
    (void)state;
    static char reason[] = "the store is being moved";
    struct fixture f;
    set_up(&f);
    f.run.saga.status = RUN_PAUSED;
    f.run.saga.paused = true;
    f.trouble.pause_ms = BEGUN_MS + 1000;
    f.view.pause_reason = reason;
    summary_text(&f.run, NULL, BEGUN_MS + 42000, &f.out);
    assert_non_null(
        strstr(text_string(&f.out), "\n  paused for 41.0 s: the store is being moved; resume lets it go on, rollback undoes it\n"));
    text_clear(&f.out);
    summary_list_json(&f.run, BEGUN_MS + 42000, &f.out);
    assert_non_null(
        strstr(text_string(&f.out),
               ",\"paused\":{\"since\":\"2026-01-02T03:04:06.000Z\",\"held\":false,\"reason\":\"the store is being moved\"}"));
    text_clear(&f.out);
    f.run.saga.held = true;
    summary_text(&f.run, NULL, BEGUN_MS + 42000, &f.out);
    assert_non_null(
        strstr(text_string(&f.out), "\n  paused for 41.0 s; a step failed: retry or resolve it; resume rolls it back\n"));
    text_fini(&f.out);
}

static void a_step_that_fans_out_has_a_list_of_results_and_names_what_failed(void **state)
{
    (void)state;
    struct saga_step instances[3] = {
        {.instance = 1, .status = STEP_SUCCEEDED, .executed = true, .work = WORK(.texts = STEP_TEXT(TEXT_DATA, "7"))},
        {.instance = 2, .status = STEP_FAILED, .work = WORK(.texts = STEP_TEXT(TEXT_ERROR, "no route"))},
        {.instance = 3, .status = STEP_RUNNING, .open = true, .started = true},
    };
    struct saga_fan fan = {.count = 3, .done = 1, .instances = instances};
    struct fixture f;
    set_up(&f);
    f.steps[0] = (struct saga_step){.status = STEP_RUNNING, .fan = &fan};
    summary_json(&f.run, BEGUN_MS, &f.out);
    assert_non_null(strstr(text_string(&f.out),
                           "\"data\":null,\"error\":null,\"rollback_error\":null,\"instances\":{\"count\":3,\"done\":1,"
                           "\"running\":1,\"failed\":[{\"instance\":2,\"status\":\"failed\",\"error\":\"no route\"}]}"));
    text_clear(&f.out);
    summary_text(&f.run, NULL, BEGUN_MS, &f.out);
    assert_non_null(strstr(text_string(&f.out), "1 of 3 elements, 1 running, 1 failed"));
    instances[1] = instances[2] = instances[0];
    fan.done = 3;
    f.steps[0].status = STEP_SUCCEEDED;
    f.steps[0].executed = true;
    text_clear(&f.out);
    summary_json(&f.run, BEGUN_MS, &f.out);
    assert_non_null(strstr(text_string(&f.out), "\"data\":[7,7,7]"));
    text_fini(&f.out);
}

static void nothing_in_a_run_can_drive_the_terminal(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    f.trouble.error = span_of("\x1b[31mred\nline");
    f.steps[0].work = WORK(.texts = STEP_TEXT(TEXT_ERROR, "\x1b]0;title\a"));
    summary_text(&f.run, NULL, BEGUN_MS, &f.out);
    assert_null(strchr(text_string(&f.out), '\x1b'));
    assert_null(strchr(text_string(&f.out), '\a'));
    text_fini(&f.out);
}

static void every_end_has_its_exit_code(void **state)
{
    (void)state;
    assert_int_equal(summary_exit_code(RUN_SUCCEEDED), 0);
    assert_int_equal(summary_exit_code(RUN_ROLLED_BACK), 1);
    assert_int_equal(summary_exit_code(RUN_ROLLBACK_INCOMPLETE), 3);
    assert_int_equal(summary_exit_code(RUN_CANCELLED), 4);
    assert_int_equal(summary_exit_code(RUN_PAUSED), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_succeeded_is_one_object_with_everything),
        cmocka_unit_test(progress_has_the_decimals_it_needs),
        cmocka_unit_test(data_that_is_no_json_cannot_break_the_object),
        cmocka_unit_test(a_step_that_waits_says_for_whom_and_since_when),
        cmocka_unit_test(the_time_of_a_step_that_runs_again_goes_on),
        cmocka_unit_test(status_says_who_of_the_queue_was_there_last),
        cmocka_unit_test(a_paused_run_says_since_when_why_and_what_can_be_done),
        cmocka_unit_test(a_step_that_fans_out_has_a_list_of_results_and_names_what_failed),
        cmocka_unit_test(nothing_in_a_run_can_drive_the_terminal),
        cmocka_unit_test(every_end_has_its_exit_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
