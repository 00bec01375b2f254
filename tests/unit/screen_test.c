/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/screen.h"
#include "tests/unit/step_texts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SPAN(literal) ((struct span){literal, sizeof(literal) - 1})
#define T0 1767225600000ll /* when the run started */

/* ---- a run to look at: upload, with its four steps, whose states each test says */

static const struct plan_step upload_steps[] = {
    {.name = {"init", 4}, .handler = {"init", 4}, .queue = {"default", 7}, .weight = 5},
    {.name = {"validate", 8}, .handler = {"validate", 8}, .queue = {"default", 7}, .weight = 10, .rollback_none = true},
    {.name = {"upload", 6}, .handler = {"upload", 6}, .queue = {"default", 7}, .weight = 80, .retry = {.max_attempts = 3}},
    {.name = {"cleanup", 7}, .handler = {"cleanup", 7}, .queue = {"default", 7}, .weight = 5},
};
static const struct plan upload = {.name = {"upload", 6}, .steps = upload_steps, .step_count = 4};

struct fixture {
    struct saga saga;
    struct saga_step steps[64];
    struct saga_step *places[64];
    struct saga_step_work upload;
    struct saga_trouble trouble;
    struct screen_view view;
    struct screen_style style;
    struct screen screen;
    struct text out, lines;
};

static struct saga_step succeeded(int64_t begun_ms, int64_t ended_ms)
{
    static struct saga_step_work works[64]; /* more than a test needs */
    static size_t used;
    struct saga_step_work *work = &works[used++ % 64];
    *work = (struct saga_step_work){.begun_ms = T0 + begun_ms, .ended_ms = T0 + ended_ms, .execute_attempts = 1};
    return (struct saga_step){
        .status = STEP_SUCCEEDED, .executed = true, .may_have_begun = true, .fraction_ppm = PPM_ONE, .work = work};
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->trouble.cause_step = UINT32_MAX;
    f->saga = (struct saga){.status = RUN_RUNNING,
                            .run_id = SPAN("upload-1k7qj4m9x2"),
                            .plan = &upload,
                            .steps = f->places,
                            .trouble = &f->trouble,
                            .started_ms = T0,
                            .progress_ppm = 598000};
    for (size_t i = 0; i < sizeof f->places / sizeof(struct saga_step *); i++) {
        f->places[i] = &f->steps[i];
    }
    f->steps[0] = succeeded(0, 150);
    f->steps[1] = succeeded(150, 590);
    f->upload = (struct saga_step_work){.current = 14,
                                        .total = 25,
                                        .begun_ms = T0 + 500,
                                        .attempt_ms = T0 + 500,
                                        .report_ms = T0 + 6700,
                                        .execute_attempts = 1};
    f->steps[2] = (struct saga_step){.status = STEP_RUNNING,
                                     .open = true,
                                     .started = true,
                                     .may_have_begun = true,
                                     .fraction_ppm = 560000,
                                     .ticket = 1,
                                     .work = &f->upload};
    f->view = (struct screen_view){.saga = &f->saga, .run_id = f->saga.run_id, .now_ms = T0 + 6750};
    f->style = (struct screen_style){.columns = 80, .rows = 24, .utf8 = true};
    text_init(&f->out, 1 << 20);
    text_init(&f->lines, 1 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    text_fini(&f->out);
    text_fini(&f->lines);
    free(f);
    return 0;
}

/* A step knows its place in the plan; the tests only say what has become of it. */
static void number_steps(struct fixture *f)
{
    for (uint32_t i = 0; i < sizeof f->steps / sizeof *f->steps; i++) {
        f->steps[i].index = i;
    }
}

static void tell(struct fixture *f, struct told *told, int64_t time_ms, struct text *out)
{
    number_steps(f);
    told_update(told, &f->saga, time_ms, out);
}

/* What a terminal shows: the bytes without their escape sequences, and without blanks at the end of a line. */
static const char *draw(struct fixture *f)
{
    text_clear(&f->out);
    text_clear(&f->lines);
    number_steps(f);
    screen_draw(&f->screen, &f->view, &f->style, &f->out);
    assert_false(f->out.overflow);
    for (size_t i = 0; i < f->out.size; i++) {
        if (f->out.bytes[i] == '\033') {
            while (f->out.bytes[i] < 'A' || f->out.bytes[i] == '[') {
                i++;
            }
        } else if (f->out.bytes[i] != '\r') {
            while (f->out.bytes[i] == '\n' && f->lines.size > 0 && f->lines.bytes[f->lines.size - 1] == ' ') {
                f->lines.size--;
            }
            text_append_char(&f->lines, f->out.bytes[i]);
        }
    }
    return text_string(&f->lines);
}

static void assert_no_line_is_wider_than(const struct fixture *f, uint32_t columns)
{
    for (size_t from = 0; from < f->lines.size;) {
        const char *end = memchr(f->lines.bytes + from, '\n', f->lines.size - from);
        assert_non_null(end);
        size_t size = (size_t)(end - f->lines.bytes) - from;
        assert_in_range(screen_width((struct span){f->lines.bytes + from, size}), 0, columns);
        from += size + 1;
    }
}

/* ---- the live screen */

static void a_running_step_shows_bar_percent_time_counts_and_what_is_left(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(draw(f), "upload  4 steps                                              upload-1k7qj4m9x2\n"
                                 "\n"
                                 "  init      ████████████████████████  100 %    0.1 s\n"
                                 "  validate  ████████████████████████  100 %    0.4 s\n"
                                 "  upload    █████████████▍             56 %    6.2 s   14 of 25  about 5 s left\n"
                                 "  cleanup                             waiting\n"
                                 "  ────────\n"
                                 "  overall   ██████████████▎            59 %    6.7 s\n");
}

static void at_40_columns_bars_stay_and_notes_go(void **state)
{
    struct fixture *f = *state;
    f->style.columns = 40;
    assert_string_equal(draw(f), "upload  4 steps       upload-1k7qj4m9x2\n"
                                 "\n"
                                 "  init      ███████████  100 %    0.1 s\n"
                                 "  validate  ███████████  100 %    0.4 s\n"
                                 "  upload    ██████▏       56 %    6.2 s\n"
                                 "  cleanup                waiting\n"
                                 "  ────────\n"
                                 "  overall   ██████▌       59 %    6.7 s\n");
}

static void without_utf8_bars_are_ascii(void **state)
{
    struct fixture *f = *state;
    f->style.utf8 = false;
    assert_non_null(strstr(draw(f), "  upload    #############              56 %    6.2 s   14 of 25  about 5 s left\n"
                                    "  cleanup                             waiting\n"
                                    "  --------\n"));
}

static void no_line_is_ever_as_wide_as_the_terminal(void **state)
{
    struct fixture *f = *state;
    f->trouble.error =
        SPAN("Step 'upload' failed: a long reason, in which 漢字 stand and \033[2J too, and that goes on for quite a while");
    struct saga_text reason = {.bytes = f->trouble.error.bytes, .size = (uint32_t)f->trouble.error.size, .kind = TEXT_ERROR};
    f->steps[2].work->texts = &reason;
    f->view.hint = SPAN("backstep history upload-1k7qj4m9x2 tells the whole story");
    static const uint8_t statuses[] = {RUN_RUNNING,   RUN_ROLLING_BACK, RUN_ROLLED_BACK, RUN_ROLLBACK_INCOMPLETE,
                                       RUN_CANCELLED, RUN_PAUSED};
    for (size_t s = 0; s < sizeof statuses; s++) {
        for (uint8_t step = STEP_WAITING; step <= STEP_NOT_RUN; step++) {
            for (uint32_t columns = 1; columns <= 130; columns++) {
                f->saga.status = statuses[s];
                f->steps[2].status = step;
                f->view.last = run_status_is_final(statuses[s]);
                f->style.columns = columns;
                draw(f);
                assert_no_line_is_wider_than(f, columns > 1 ? columns - 1 : 1);
                assert_null(strstr(f->lines.bytes, "\033"));
            }
        }
    }
}

static void a_frame_is_lower_than_the_terminal(void **state)
{
    struct fixture *f = *state;
    struct plan_step steps[64];
    struct plan plan = {.name = SPAN("many"), .steps = steps, .step_count = 64};
    char names[64][8];
    for (uint32_t i = 0; i < 64; i++) {
        snprintf(names[i], sizeof names[i], "s%02u", i);
        steps[i] = (struct plan_step){.name = span_of(names[i])};
        f->steps[i] = i < 40 ? succeeded(0, 100) : (struct saga_step){.status = STEP_WAITING};
    }
    f->steps[40] = (struct saga_step){.status = STEP_RUNNING, .work = WORK(.begun_ms = T0 + 100)};
    f->saga.plan = &plan;
    f->view.notice = SPAN("Ctrl-C again leaves at once");
    for (uint32_t rows = 1; rows < 80; rows++) {
        f->style.rows = rows;
        draw(f);
        assert_in_range(f->screen.lines, 1, rows > 2 ? rows - 1 : 1);
        assert_non_null(strstr(f->lines.bytes, "  s40 "));
    }
    f->style.rows = 8;
    assert_string_equal(draw(f), "many  64 steps                                               upload-1k7qj4m9x2\n"
                                 "  s39       ████████████████████████  100 %    0.1 s\n"
                                 "  s40                                   0 %    6.6 s\n"
                                 "  s41                                 waiting\n"
                                 "  … 61 more, 39 done, 22 waiting\n"
                                 "  overall   ██████████████▎            59 %    6.7 s\n"
                                 "Ctrl-C again leaves at once\n");
}

static void the_next_frame_is_drawn_over_the_one_before(void **state)
{
    struct fixture *f = *state;
    draw(f);
    assert_memory_equal(f->out.bytes, "upload", 6);
    assert_int_equal(f->screen.lines, 8);
    draw(f);
    assert_memory_equal(f->out.bytes, "\r\033[8Aupload", 11);
    assert_null(strstr(f->out.bytes, "\033[2J"));
    text_clear(&f->out);
    screen_erase(&f->screen, &f->out);
    assert_string_equal(text_string(&f->out), "\r\033[8A\033[J");
    text_clear(&f->out);
    screen_erase(&f->screen, &f->out);
    assert_string_equal(text_string(&f->out), "");
}

static void without_colour_nothing_is_coloured(void **state)
{
    struct fixture *f = *state;
    draw(f);
    for (size_t i = 0; i + 1 < f->out.size; i++) {
        if (f->out.bytes[i] == '\033') {
            assert_null(memchr(f->out.bytes + i, 'm', strcspn(f->out.bytes + i + 2, "ABCDEFGHJKm") + 3));
        }
    }
    f->style.colour = true;
    draw(f);
    assert_non_null(strstr(f->out.bytes, "\033[32m█"));
}

static void a_failure_rolled_back_says_the_reason_and_what_is_left(void **state)
{
    struct fixture *f = *state;
    f->saga.status = RUN_ROLLED_BACK;
    f->trouble.error = SPAN("Step 'upload' failed: disk is full");
    f->saga.finished_ms = T0 + 9000;
    f->steps[0].status = STEP_ROLLED_BACK;
    f->steps[0].work->rollback_begun_ms = f->steps[0].work->rollback_ended_ms = T0 + 8000;
    f->steps[2] = (struct saga_step){.status = STEP_ROLLED_BACK,
                                     .direction = DIRECTION_ROLLBACK,
                                     .fraction_ppm = 560000, .work = WORK(.rollback_begun_ms = T0 + 6700, .rollback_ended_ms = T0 + 8000, .execute_attempts = 3, .texts = STEP_TEXT(TEXT_ERROR, "disk is full"))};
    f->steps[3].status = STEP_NOT_RUN;
    f->view.last = true;
    f->view.hint = SPAN("backstep history upload-1k7qj4m9x2 tells the whole story");
    assert_string_equal(draw(f), "upload  4 steps                                              upload-1k7qj4m9x2\n"
                                 "\n"
                                 "  init      ████████████████  undone   0.0 s\n"
                                 "  validate                    nothing to undo\n"
                                 "  upload    ████████▉         undone   1.3 s   after 3 attempts: disk is full\n"
                                 "  cleanup                     not run\n"
                                 "\n"
                                 "rolled back  Step 'upload' failed: disk is full\n"
                                 "             backstep history upload-1k7qj4m9x2 tells the whole story\n");
    f->style.columns = 40;
    assert_string_equal(draw(f), "upload  4 steps       upload-1k7qj4m9x2\n"
                                 "\n"
                                 "  init      ███████████  undone   0.0 s\n"
                                 "  validate  nothing to undo\n"
                                 "  upload    undone   after 3 attempts:…\n"
                                 "  cleanup                not run\n"
                                 "\n"
                                 "rolled back  Step 'upload' failed: disk\n"
                                 "             is full\n"
                                 "backstep history upload-1k7qj4m9x2 tel…\n");
}

static void a_cancelled_run_says_cancelled_once(void **state)
{
    struct fixture *f = *state;
    f->saga.status = RUN_CANCELLED;
    f->trouble.error = SPAN("cancelled: interrupted");
    f->view.last = true;
    assert_non_null(strstr(draw(f), "\n\ncancelled  interrupted\n"));
    f->trouble.error = SPAN("cancelled");
    assert_non_null(strstr(draw(f), "\n\ncancelled  there was nothing to undo\n"));
    f->trouble.undo_total = 1;
    assert_non_null(strstr(draw(f), "\n\ncancelled  what was done is undone\n"));
}

/* ---- one step in each of its states */

struct row {
    const char *name;
    struct saga_step step;
    const char *line; /* what stands after the name */
};

static const struct row rows[] = {
    {"a queued step has no bar yet", {.status = STEP_READY, .open = true}, "                          queued"},
    {"a step whose worker was lost says so",
     {.status = STEP_READY, .open = true, .losses = 1, .work = WORK(.texts = STEP_TEXT(TEXT_ERROR, "its worker was lost"))},
     "                  queued   its worker was lost"},
    {"a failure that a later attempt made good is no reason",
     {.status = STEP_ROLLED_BACK,
      .direction = DIRECTION_ROLLBACK,
      .executed = true,
      .fraction_ppm = PPM_ONE, .work = WORK(.execute_attempts = 2, .rollback_begun_ms = T0, .rollback_ended_ms = T0 + 100, .texts = STEP_TEXT(TEXT_ERROR, "no route"))},
     "████████████████  undone   0.1 s"},
    {"a retry says when and why",
     {.status = STEP_RETRYING,
      .attempts = 1,
      .fraction_ppm = 250000, .work = WORK(.execute_attempts = 1, .retry_ms = T0 + 10700, .begun_ms = T0 + 4750, .texts = STEP_TEXT(TEXT_ERROR, "no route"))},
     "████              retry    2.0 s   attempt 2 of 3 in 4 s: no route"},
    {"a second attempt is counted",
     {.status = STEP_RUNNING, .open = true, .started = true, .attempts = 1, .work = WORK(.execute_attempts = 2, .begun_ms = T0 + 5750)},
     "                            0 %    1.0 s   attempt 2 of 3"},
    {"a step that has reported all is not done yet",
     {.status = STEP_RUNNING, .open = true, .started = true, .fraction_ppm = PPM_ONE, .work = WORK(.execute_attempts = 1, .begun_ms = T0 + 5750)},
     "███████████████████████▉   99 %    1.0 s"},
    {"nothing is said of the rest before enough is known",
     {.status = STEP_RUNNING,
      .open = true,
      .started = true,
      .fraction_ppm = 500000, .work = WORK(.execute_attempts = 1, .begun_ms = T0 + 6000, .attempt_ms = T0 + 6000, .report_ms = T0 + 6500, .current = 5, .total = 10)},
     "████████████               50 %    0.7 s   5 of 10"},
    {"what is counted has the unit that the step's metrics name",
     {.status = STEP_RUNNING,
      .open = true,
      .started = true,
      .fraction_ppm = 500000, .work = WORK(.execute_attempts = 1, .begun_ms = T0 + 6000, .attempt_ms = T0 + 6000, .report_ms = T0 + 6500, .current = 5, .total = 10, .texts = STEP_TEXT(TEXT_METRICS, "{\"unit\":\"files\"}"))},
     "████████████               50 %    0.7 s   5 of 10 files"},
    {"nothing is said of the rest when reports have stopped",
     {.status = STEP_RUNNING,
      .open = true,
      .started = true,
      .fraction_ppm = 500000, .work = WORK(.execute_attempts = 1, .begun_ms = T0 + 1, .attempt_ms = T0 + 1, .report_ms = T0 + 2001, .current = 5, .total = 10)},
     "████████████               50 %    6.7 s   5 of 10"},
    {"a step that is being stopped says so",
     {.status = STEP_RUNNING, .open = true, .started = true, .cancel = 1, .work = WORK(.execute_attempts = 1, .begun_ms = T0 + 5750)},
     "                          halting  1.0 s"},
    {"a skipped step has no bar", {.status = STEP_SKIPPED, .fraction_ppm = PPM_ONE}, "                          skipped"},
    {"a rollback runs",
     {.status = STEP_ROLLING_BACK,
      .direction = DIRECTION_ROLLBACK,
      .open = true,
      .started = true,
      .fraction_ppm = 500000, .work = WORK(.rollback_begun_ms = T0 + 6050)},
     "████████████              undoing  0.7 s"},
    {"a rollback that failed is tried again",
     {.status = STEP_ROLLING_BACK,
      .direction = DIRECTION_ROLLBACK,
      .attempts = 1, .work = WORK(.rollback_begun_ms = T0 + 6050, .retry_ms = T0 + 8000, .texts = STEP_TEXT(TEXT_ROLLBACK_ERROR, "busy"))},
     "                  undoing  0.7 s   attempt 2 of 10 in 2 s: busy"},
    {"what could not be undone is said",
     {.status = STEP_ROLLBACK_FAILED,
      .direction = DIRECTION_ROLLBACK,
      .attempts = 10,
      .executed = true,
      .fraction_ppm = PPM_ONE, .work = WORK(.rollback_begun_ms = T0, .rollback_ended_ms = T0 + 1000, .texts = STEP_TEXT(TEXT_ROLLBACK_ERROR, "no such file or directory"))},
     "████████████████  not undone   after 10 attempts: no such file or …"},
    {"control characters are made visible",
     {.status = STEP_FAILED, .fraction_ppm = 0, .work = WORK(.texts = STEP_TEXT(TEXT_ERROR, "\033[2J\a"))},
     "                  failed   \\x1b[2J\\x07"},
};

static void each_state_of_a_step_has_its_line(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        f->steps[2] = rows[i].step;
        char expected[256];
        snprintf(expected, sizeof expected, "\n  upload    %s\n", rows[i].line);
        draw(f);
        if (strstr(f->lines.bytes, expected) == NULL) {
            fail_msg("%s: expected%sgot\n%s", rows[i].name, expected, f->lines.bytes);
        }
    }
}

static void a_step_without_a_worker_says_which_queue_waits_and_how_long(void **state)
{
    struct fixture *f = *state;
    struct waiting_step waiting = {.step = 2, .handler = SPAN("upload"), .queue = SPAN("default"), .since_ms = T0 + 750};
    f->steps[2] = (struct saga_step){.status = STEP_READY, .open = true, .ready_ms = T0 + 750};
    f->view.waiting = &waiting;
    f->view.waiting_count = 1;
    f->view.now_ms = T0 + 41750;
    assert_non_null(strstr(draw(f), "\n  upload    waiting for a worker of queue 'default' for 41 s\n"));
    waiting.handler = SPAN("copy");
    assert_non_null(strstr(draw(f), "\n  upload    waiting for a worker of queue 'default' with 'copy' for 41 s\n"));
    f->style.columns = 40;
    assert_non_null(strstr(draw(f), "\n  upload    no worker: 'default', 41 s\n"));
    f->steps[2].started = true; /* stale: it runs by now */
    f->steps[2].status = STEP_RUNNING;
    assert_null(strstr(draw(f), "worker"));
}

static void a_paused_run_says_why_and_what_can_be_done(void **state)
{
    struct fixture *f = *state;
    f->saga.status = RUN_PAUSED;
    f->saga.paused = true;
    f->view.pause_reason = SPAN("the store is being moved");
    assert_non_null(strstr(draw(f), "   paused\npaused: the store is being moved; resume lets it go on, rollback undo"));
    f->steps[2] = (struct saga_step){.status = STEP_FAILED,
                                     .attempts = 1,
                                     .fraction_ppm = 560000, .work = WORK(.execute_attempts = 1, .begun_ms = T0 + 500, .ended_ms = T0 + 6500, .texts = STEP_TEXT(TEXT_ERROR, "disk is full"))};
    f->saga.held = true;
    f->trouble.error = SPAN("Step 'upload' failed: disk is full");
    f->view.last = true;
    assert_non_null(strstr(draw(f), "  upload    ████████▉         failed   6.0 s   disk is full\n"));
    assert_non_null(strstr(f->lines.bytes, "\n\npaused  Step 'upload' failed: disk is full\n"
                                           "        a step failed: retry or resolve it; resume rolls it back\n"));
}

/* ---- steps that fan out, and pipelines in pipelines */

static const struct plan_step nested_steps[] = {
    {.name = {"fetch", 5}, .weight = 10},
    {.name = {"store", 5}, .kind = PLAN_SCOPE},
    {.name = {"store/open", 10}, .weight = 10, .scope = 2},
    {.name = {"store/copy", 10}, .weight = 30, .scope = 2, .each = {".files", 6}},
    {.name = {"store/close", 11}, .weight = 0, .scope = 2, .when = {".params.tidy", 12}},
};
static const struct plan nested = {.name = {"nested", 6}, .steps = nested_steps, .step_count = 5};

static void a_pipeline_in_a_pipeline_stands_under_its_name(void **state)
{
    struct fixture *f = *state;
    struct saga_step instances[4] = {{0}};
    struct saga_fan fan = {.count = 4, .instances = instances};
    f->saga.plan = &nested;
    f->saga.progress_ppm = 500000;
    f->steps[0] = succeeded(0, 150);
    f->steps[1] = succeeded(200, 200);
    f->steps[2] = succeeded(200, 750);
    f->steps[3] = (struct saga_step){
        .status = STEP_RUNNING, .fraction_ppm = 500000, .fan = &fan, .work = WORK(.begun_ms = T0 + 750, .current = 2, .total = 4)};
    f->steps[4] = (struct saga_step){.status = STEP_WAITING};
    instances[0] = succeeded(800, 1750);
    instances[1] = (struct saga_step){.status = STEP_RUNNING, .open = true, .started = true};
    instances[2] = succeeded(800, 4750);
    instances[3] = (struct saga_step){.status = STEP_RETRYING, .work = WORK(.retry_ms = T0 + 9000, .texts = STEP_TEXT(TEXT_ERROR, "no route"))};
    assert_string_equal(draw(f), "nested  5 steps                                              upload-1k7qj4m9x2\n"
                                 "\n"
                                 "  fetch     ████████████████████████  100 %    0.1 s\n"
                                 "  store     ███████████████            62 %    6.5 s\n"
                                 "    open    ████████████████████████  100 %    0.5 s\n"
                                 "    copy    ████████████               50 %    6.0 s   2 of 4 elements\n"
                                 "    close                             waiting\n"
                                 "  ────────\n"
                                 "  overall   ████████████               50 %    6.7 s\n");
    f->style.columns = 120;
    assert_non_null(strstr(draw(f), "    copy    ████████████               50 %    6.0 s   2 of 4 elements, 1 running, 1 to be "
                                    "tried again  about 2 s left\n"));
    f->steps[4].status = STEP_SKIPPED;
    assert_non_null(strstr(draw(f), "    close                             skipped   its condition: .params.tidy\n"));
    f->steps[3].status = instances[3].status = STEP_FAILED;
    f->trouble.cause_step = 3;
    f->trouble.cause_instance = instances[3].instance = 4;
    f->style.columns = 80;
    assert_non_null(strstr(draw(f), " failed   0.5 s\n    open"));
    assert_non_null(strstr(f->lines.bytes, "   element 4: no route\n"));
}

static void elements_are_told_one_by_one(void **state)
{
    struct fixture *f = *state;
    struct told told = {0};
    struct text out;
    struct saga_step instances[2] = {{.index = 3, .instance = 1}, {.index = 3, .instance = 2}};
    struct saga_fan fan = {.count = 2, .instances = instances};
    text_init(&out, 1 << 20);
    memset(f->steps, 0, sizeof f->steps);
    f->saga.plan = &nested;
    tell(f, &told, T0, &out);
    text_clear(&out);
    f->steps[3] = (struct saga_step){.status = STEP_RUNNING, .fan = &fan, .work = WORK(.begun_ms = T0)};
    tell(f, &told, T0, &out);
    instances[0] = (struct saga_step){
        .index = 3, .instance = 1, .status = STEP_SUCCEEDED, .executed = true, .work = WORK(.begun_ms = T0, .ended_ms = T0 + 100)};
    tell(f, &told, T0 + 100, &out);
    instances[1] =
        (struct saga_step){.index = 3, .instance = 2, .status = STEP_FAILED, .work = WORK(.execute_attempts = 1, .texts = STEP_TEXT(TEXT_ERROR, "no route"))};
    f->steps[3].status = STEP_FAILED;
    f->steps[3].work->texts = STEP_TEXT(TEXT_ERROR, "no route");
    tell(f, &told, T0 + 200, &out);
    instances[0].status = STEP_ROLLED_BACK;
    instances[0].direction = DIRECTION_ROLLBACK;
    instances[0].work->rollback_begun_ms = instances[0].work->rollback_ended_ms = T0 + 300;
    f->steps[3].status = STEP_ROLLING_BACK;
    f->steps[3].direction = DIRECTION_ROLLBACK;
    tell(f, &told, T0 + 300, &out);
    const char *lines[] = {"store/copy[1] execute  done      0.1 s\n", "store/copy[2] execute  failed    no route\n",
                           "store/copy[1] rollback done      0.0 s\n"};
    const char *at = text_string(&out);
    for (size_t i = 0; i < 3; i++) {
        at = strstr(at, lines[i]);
        assert_non_null(at);
        at += strlen(lines[i]);
    }
    assert_string_equal(at, "");
    told_fini(&told);
    text_fini(&out);
}

static void a_heading_is_told_with_the_last_of_its_steps(void **state)
{
    struct fixture *f = *state;
    struct told told = {0};
    struct text out;
    text_init(&out, 1 << 20);
    setenv("TZ", "UTC", 1);
    memset(f->steps, 0, sizeof f->steps);
    f->saga.plan = &nested;
    f->steps[0] = succeeded(0, 100);
    f->steps[1] = succeeded(200, 200); /* has begun */
    tell(f, &told, T0 + 200, &out);
    assert_null(strstr(text_string(&out), " store "));
    text_clear(&out);
    f->steps[2] = succeeded(200, 700);
    f->steps[3] = succeeded(700, 1200);
    tell(f, &told, T0 + 1200, &out);
    assert_null(strstr(text_string(&out), " store "));
    text_clear(&out);
    f->steps[4] = succeeded(1200, 1300);
    tell(f, &told, T0 + 1300, &out);
    tell(f, &told, T0 + 1300, &out);
    assert_string_equal(text_string(&out), "00:00:01.300 upload-1k7qj4m9x2 store/close execute  done      0.1 s\n"
                                           "00:00:01.300 upload-1k7qj4m9x2 store       execute  done      1.1 s\n");
    told_fini(&told);
    text_fini(&out);
}

static void what_a_person_resolved_is_told_as_such(void **state)
{
    struct fixture *f = *state;
    struct told told = {0};
    struct text out;
    text_init(&out, 1 << 20);
    f->steps[2] = (struct saga_step){.status = STEP_FAILED, .attempts = 1, .work = WORK(.texts = STEP_TEXT(TEXT_ERROR, "disk is full"))};
    tell(f, &told, T0, &out);
    text_clear(&out);
    f->steps[2].status = STEP_SUCCEEDED;
    f->steps[2].executed = f->steps[2].resolved = true;
    tell(f, &told, T0 + 118, &out);
    tell(f, &told, T0 + 119, &out);
    assert_string_equal(text_string(&out) + 13, "upload-1k7qj4m9x2 upload   execute  done      resolved by a person\n");
    told_fini(&told);
    text_fini(&out);
}

static void before_the_run_is_known_its_id_and_a_notice_are_shown(void **state)
{
    struct fixture *f = *state;
    f->view.saga = NULL;
    f->view.notice = SPAN("no coordinator has answered yet");
    assert_string_equal(draw(f), "upload-1k7qj4m9x2\nno coordinator has answered yet\n");
}

/* ---- plain lines */

static void each_change_is_one_line(void **state)
{
    struct fixture *f = *state;
    struct told told = {0};
    struct text out;
    text_init(&out, 1 << 20);
    setenv("TZ", "UTC", 1);
    memset(f->steps, 0, sizeof f->steps);
    f->saga.status = RUN_PENDING;
    f->steps[0] = (struct saga_step){.status = STEP_READY, .open = true, .ticket = 1};
    tell(f, &told, T0 + 1, &out);
    f->saga.status = RUN_RUNNING;
    f->steps[0] = (struct saga_step){.status = STEP_RUNNING, .open = true, .started = true, .ticket = 1, .work = WORK(.texts = STEP_TEXT(TEXT_WORKER, "w1"))};
    tell(f, &told, T0 + 2, &out);
    tell(f, &told, T0 + 2, &out);
    f->steps[0] = succeeded(0, 1500);
    f->steps[1].status = STEP_SKIPPED;
    tell(f, &told, T0 + 1500, &out);
    f->steps[2] = (struct saga_step){
        .status = STEP_RETRYING, .ticket = 1, .attempts = 1, .work = WORK(.retry_ms = T0 + 4000, .texts = STEP_TEXT(TEXT_ERROR, "disk\n full"))};
    tell(f, &told, T0 + 2000, &out);
    f->steps[2] = (struct saga_step){
        .status = STEP_READY, .open = true, .ticket = 3, .attempts = 1, .losses = 1, .work = WORK(.texts = STEP_TEXT(TEXT_ERROR, "its worker 'w1' was lost"))};
    tell(f, &told, T0 + 4500, &out);
    f->steps[2] = (struct saga_step){.status = STEP_ROLLING_BACK,
                                     .direction = DIRECTION_ROLLBACK,
                                     .open = true,
                                     .started = true,
                                     .ticket = 1, .work = WORK(.execute_attempts = 2, .texts = STEP_TEXT_BEFORE(TEXT_ERROR, "disk is full", STEP_TEXT(TEXT_WORKER, "w2")))};
    f->saga.status = RUN_ROLLING_BACK;
    f->trouble.error = SPAN("Step 'upload' failed: disk is full");
    tell(f, &told, T0 + 5000, &out);
    f->steps[2].status = STEP_ROLLED_BACK;
    f->steps[2].open = false;
    f->steps[2].work->rollback_begun_ms = T0 + 5000;
    f->steps[2].work->rollback_ended_ms = T0 + 6300;
    f->steps[0].status = STEP_ROLLED_BACK;
    f->steps[0].direction = DIRECTION_ROLLBACK;
    f->steps[0].nothing_to_undo = true;
    f->saga.status = RUN_ROLLED_BACK;
    f->saga.finished_ms = T0 + 6300;
    tell(f, &told, T0 + 6300, &out);
    assert_string_equal(
        text_string(&out),
        "00:00:00.001 upload-1k7qj4m9x2 -        run      started   upload, 4 steps\n"
        "00:00:00.002 upload-1k7qj4m9x2 init     execute  running   on w1\n"
        "00:00:01.500 upload-1k7qj4m9x2 init     execute  done      1.5 s\n"
        "00:00:01.500 upload-1k7qj4m9x2 validate execute  skipped\n"
        "00:00:02.000 upload-1k7qj4m9x2 upload   execute  failed    attempt 1 of 3, again in 2.0 s: disk\\x0a full\n"
        "00:00:04.500 upload-1k7qj4m9x2 upload   execute  lost      its worker 'w1' was lost\n"
        "00:00:05.000 upload-1k7qj4m9x2 upload   execute  failed    attempt 2 of 3: disk is full\n"
        "00:00:05.000 upload-1k7qj4m9x2 -        run      rolling_back Step 'upload' failed: disk is full\n"
        "00:00:05.000 upload-1k7qj4m9x2 upload   rollback running   on w2\n"
        "00:00:06.300 upload-1k7qj4m9x2 init     rollback done      nothing to undo\n"
        "00:00:06.300 upload-1k7qj4m9x2 upload   rollback done      1.3 s\n"
        "00:00:06.300 upload-1k7qj4m9x2 -        run      rolled_back 6.3 s: Step 'upload' failed: disk is full\n");
    told_fini(&told);
    text_fini(&out);
}

static void a_last_failure_names_its_attempt(void **state)
{
    struct fixture *f = *state;
    struct told told = {0};
    struct text out;
    text_init(&out, 1 << 20);
    tell(f, &told, T0, &out);
    text_clear(&out);
    f->steps[2] = (struct saga_step){.status = STEP_FAILED, .ticket = 3, .attempts = 3, .work = WORK(.texts = STEP_TEXT(TEXT_ERROR, "disk is full"))};
    tell(f, &told, T0 + 118, &out);
    assert_string_equal(text_string(&out) + 13, "upload-1k7qj4m9x2 upload   execute  failed    attempt 3 of 3: disk is full\n");
    told_fini(&told);
    text_fini(&out);
}

static void a_record_is_one_line_and_the_machinery_is_asked_for(void **state)
{
    struct fixture *f = *state;
    struct text out;
    text_init(&out, 1 << 20);
    struct message done = {.kind = MESSAGE_DONE,
                           .event = {.run_id = f->saga.run_id,
                                     .ticket = {.step = 2, .number = 2},
                                     .outcome = OUTCOME_FAILED,
                                     .worker = SPAN("w1"),
                                     .error = SPAN("disk is full")}};
    assert_true(record_line(&done, &f->saga, T0, false, &out));
    assert_string_equal(text_string(&out) + 13,
                        "upload-1k7qj4m9x2 upload   execute  done      ticket 2 failed on w1: disk is full\n");
    text_clear(&out);
    assert_true(record_line(&done, NULL, T0, false, &out));
    assert_string_equal(text_string(&out) + 13,
                        "upload-1k7qj4m9x2 #2       execute  done      ticket 2 failed on w1: disk is full\n");
    text_clear(&out);
    struct message claim = {.kind = MESSAGE_OWNER_CLAIM, .coordinator = SPAN("c1")};
    assert_false(record_line(&claim, NULL, T0, false, &out));
    assert_int_equal(out.size, 0);
    assert_true(record_line(&claim, NULL, T0, true, &out));
    assert_string_equal(text_string(&out) + 13, "- -        -        claim     by c1\n");
    text_fini(&out);
}

/* ---- pieces */

static void durations_have_at_most_six_columns(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *words;
    } table[] = {
        {-5, "0.0 s"},      {0, "0.0 s"},         {199, "0.1 s"},      {59999, "59.9 s"},     {60000, "1m 00s"},
        {303000, "5m 03s"}, {3599999, "59m 59s"}, {3600000, "1h 00m"}, {86399999, "23h 59m"}, {86400000, "1d 00h"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct text out;
        text_init(&out, 64);
        screen_duration(table[i].ms, &out);
        assert_string_equal(text_string(&out), table[i].words);
        text_fini(&out);
    }
}

static void percent_is_rounded_down(void **state)
{
    (void)state;
    assert_int_equal(screen_percent(0), 0);
    assert_int_equal(screen_percent(9999), 0);
    assert_int_equal(screen_percent(999999), 99);
    assert_int_equal(screen_percent(1000000), 100);
}

static void width_counts_columns_not_bytes(void **state)
{
    (void)state;
    static const struct {
        struct span span;
        uint32_t columns;
    } table[] = {
        {{"", 0}, 0},         {{"abc", 3}, 3},           {{"für", 4}, 3},  {{"漢字", 6}, 4},     {{"e\xcc\x81", 3}, 1},
        {{"🚀", 4}, 2},        {{"\033", 1}, 4},          {{"\xff", 1}, 4}, {{"\xc2\x85", 2}, 8}, {{"\xe2\x80\xae", 3}, 1},
        {{"\xc0\x80", 2}, 8}, {{"\xed\xa0\x80", 3}, 12},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(screen_width(table[i].span), table[i].columns);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_running_step_shows_bar_percent_time_counts_and_what_is_left),
        TEST(at_40_columns_bars_stay_and_notes_go),
        TEST(without_utf8_bars_are_ascii),
        TEST(no_line_is_ever_as_wide_as_the_terminal),
        TEST(a_frame_is_lower_than_the_terminal),
        TEST(the_next_frame_is_drawn_over_the_one_before),
        TEST(without_colour_nothing_is_coloured),
        TEST(a_failure_rolled_back_says_the_reason_and_what_is_left),
        TEST(a_cancelled_run_says_cancelled_once),
        TEST(each_state_of_a_step_has_its_line),
        TEST(a_step_without_a_worker_says_which_queue_waits_and_how_long),
        TEST(a_paused_run_says_why_and_what_can_be_done),
        TEST(a_pipeline_in_a_pipeline_stands_under_its_name),
        TEST(elements_are_told_one_by_one),
        TEST(a_heading_is_told_with_the_last_of_its_steps),
        TEST(what_a_person_resolved_is_told_as_such),
        TEST(before_the_run_is_known_its_id_and_a_notice_are_shown),
        TEST(each_change_is_one_line),
        TEST(a_last_failure_names_its_attempt),
        TEST(a_record_is_one_line_and_the_machinery_is_asked_for),
        TEST(durations_have_at_most_six_columns),
        TEST(percent_is_rounded_down),
        TEST(width_counts_columns_not_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
