/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/follow.h"

#include "common/clock.h"
#include "common/limits.h"
#include "coordinator/cli/signals.h"
#include "coordinator/cli/step_facts.h"
#include "coordinator/cli/summary.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define POLL_MS 100
#define REDRAW_MS 100
#define LEAVE_FLUSH_MS 1000
#define OUTPUT_BYTES_MAX (64 * 1024 * 1024)
#define UNDONE_BYTES_MAX (64 * 1024)

static const struct run *run_of(const struct follow *follow)
{
    return reader_find(follow->reader, follow->run_id);
}

bool follow_tells(const struct follow *follow)
{
    return !follow->on_terminal && !follow->call->json && !follow->call->quiet;
}

/* Before anything else is written to the terminal: the next frame is then drawn below it. */
static void make_room(struct follow *follow)
{
    struct text out;
    text_init(&out, OUTPUT_BYTES_MAX);
    screen_erase(&follow->screen, &out);
    print_text(&out);
    text_fini(&out);
}

/* ---- leaving before the end */

static bool is_undone_work(const struct saga *saga, uint32_t index)
{
    const struct saga_step *step = saga->steps[index];
    bool may_have_begun = step->may_have_begun || step->open || step->fan != NULL; /* for the first 100 ms a worker says nothing */
    return may_have_begun && !step->nothing_to_undo && !saga->plan->steps[index].rollback_none && step->status != STEP_ROLLED_BACK;
}

/* "'init', 'upload'": what nobody will undo when the embedded broker goes with us. */
static void append_undone(const struct run *run, struct text *steps)
{
    const struct saga *saga = run != NULL ? &run->saga : NULL;
    for (uint32_t i = 0; saga != NULL && saga->plan != NULL && i < saga->plan->step_count; i++) {
        if (is_undone_work(saga, i)) {
            text_append_string(steps, steps->size > 0 ? ", '" : "'");
            text_append_visible(steps, saga->plan->steps[i].name);
            text_append_char(steps, '\'');
        }
    }
}

static int leave_embedded(const struct run *run)
{
    struct text steps;
    text_init(&steps, UNDONE_BYTES_MAX);
    append_undone(run, &steps);
    int code = steps.size > 0 ? EXIT_INCOMPLETE : EXIT_CANCELLED;
    if (steps.size > 0) {
        complain("left before the end; these steps may have done something and stay undone: %s", text_string(&steps));
    } else {
        complain("left before anything was done");
    }
    text_fini(&steps);
    return code;
}

/* A person is to say what becomes of it, but nobody can: the broker ends with this process. */
static int leave_paused(const struct follow *follow)
{
    struct text steps;
    text_init(&steps, UNDONE_BYTES_MAX);
    append_undone(run_of(follow), &steps);
    int code = steps.size > 0 ? EXIT_INCOMPLETE : EXIT_PAUSED;
    complain("the run is paused, and its broker ends with this command; these steps may have done something and stay undone: %s\n"
             "          a run that can be taken up again needs a cluster: backstep dev, then backstep start",
             steps.size > 0 ? text_string(&steps) : "none");
    text_fini(&steps);
    return code;
}

static int leave_cluster(struct follow *follow)
{
    if (follow->cancels) {
        bus_flush(follow->client->bus, LEAVE_FLUSH_MS);
        char way[CLIENT_WAY_BYTES];
        complain(
            "left; the cancel of %s is on the log, and goes on without this process\n          backstep watch %s %s follows it",
            follow->run_id, follow->run_id, client_way(&follow->client->options, way));
    } else {
        complain("left; %s goes on", follow->run_id);
    }
    return EXIT_UNREACHABLE;
}

static void ask_cancel(struct follow *follow)
{
    struct error error = {0};
    make_room(follow);
    if (!client_send_cancel(follow->client, &follow->cancel, follow->run_id, "interrupted", &error)) {
        complain("the cancel could not be sent: %s", error.message);
    }
    if (follow_tells(follow)) {
        fprintf(stderr, "backstep: cancelling %s; once more to leave at once\n", follow->run_id);
    }
}

/* Ctrl-C. true: leave now, with *code. */
static bool is_leaving(struct follow *follow, int *code)
{
    int interrupts = signals_interrupts();
    if (interrupts == follow->interrupts_seen) {
        return false;
    }
    bool first = follow->interrupts_seen == 0;
    follow->interrupts_seen = interrupts;
    if (follow->cancels && first) {
        ask_cancel(follow);
        if (interrupts == 1) {
            return false;
        }
    }
    make_room(follow);
    if (follow->embedded != NULL) {
        embedded_hurry(follow->embedded);
        *code = leave_embedded(run_of(follow));
    } else {
        *code = leave_cluster(follow);
    }
    return true;
}

/* ---- what is shown meanwhile */

static void tell(struct follow *follow, const struct saga *saga, int64_t time_ms, bool prints)
{
    struct text lines;
    text_init(&lines, OUTPUT_BYTES_MAX);
    told_update(&follow->told, saga, time_ms, &lines);
    if (prints) {
        print_text(&lines);
    }
    text_fini(&lines);
}

void follow_record(void *context, const struct reader_record *record)
{
    struct follow *follow = context;
    bool changes = record->result == RUNS_APPLIED || record->result == RUNS_CHECKED; /* the latter where its Start is not kept */
    if (!follow_tells(follow) || record->run == NULL || !changes || !span_equal(record->key, span_of(follow->run_id))) {
        return;
    }
    tell(follow, &record->run->saga, record->time_ms, true);
}

void follow_skip(struct follow *follow)
{
    const struct run *run = run_of(follow);
    if (run != NULL) {
        tell(follow, &run->saga, run->saga.time_ms, false);
    }
}

void follow_catch_up(struct follow *follow)
{
    const struct run *run = run_of(follow);
    if (run != NULL && follow_tells(follow)) {
        tell(follow, &run->saga, run->saga.time_ms, true);
    }
}

static struct screen_style terminal_style(const struct follow *follow)
{
    struct winsize size = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    return (struct screen_style){.columns = size.ws_col, .rows = size.ws_row, .colour = follow->colour, .utf8 = follow->utf8};
}

static void draw_run(struct follow *follow, const struct run *run, bool last)
{
    char hint[LIMIT_IDENTIFIER_BYTES + 64], notice[] = "cancelling; Ctrl-C again leaves at once";
    static const struct saga nothing;
    const struct run_view *known = run != NULL ? run_view(run) : NULL;
    bool over = run != NULL && saga_is_over(&run->saga);
    snprintf(hint, sizeof hint, "backstep history %s tells the whole story", follow->run_id);
    struct screen_view view = {
        .saga = run != NULL ? &run->saga : &nothing,
        .run_id = span_of(follow->run_id),
        .now_ms = clock_realtime_ms(),
        .waiting = known != NULL ? known->waiting : NULL,
        .waiting_count = known != NULL ? known->waiting_count : 0,
        .waiting_for_workers = known != NULL ? known->waiting_for_workers : 0,
        .pause_reason = known != NULL ? span_of(known->pause_reason) : (struct span){0},
        .notice = follow->interrupts_seen > 0 && follow->cancels && !over ? span_of(notice) : (struct span){0},
        .hint = last && over && follow->embedded == NULL ? span_of(hint) : (struct span){0},
        .last = last,
    };
    struct screen_style style = terminal_style(follow);
    struct text out;
    text_init(&out, OUTPUT_BYTES_MAX);
    screen_draw(&follow->screen, &view, &style, &out);
    print_text(&out);
    text_fini(&out);
}

static void draw(struct follow *follow)
{
    int64_t time_ms = clock_monotonic_ms();
    bool resized = signals_take_resize();
    if (follow->on_terminal && (resized || time_ms - follow->drawn_ms >= REDRAW_MS)) {
        follow->drawn_ms = time_ms;
        draw_run(follow, run_of(follow), false);
    }
}

static void show_end(struct follow *follow)
{
    const struct run *run = run_of(follow);
    if (follow->on_terminal) {
        draw_run(follow, run, true);
    }
    if (follow->call->json && run != NULL) {
        struct text out;
        text_init(&out, OUTPUT_BYTES_MAX);
        summary_json(run, clock_realtime_ms(), &out);
        print_line(&out);
        text_fini(&out);
    }
}

/* ---- what steps log */

/* With --logs. Beside a JSON object, or where only results are wanted, they go to standard error. */
static void begin_logs(struct follow *follow)
{
    struct error error = {0};
    const struct run *run = run_of(follow);
    bool offered = (follow->call->command->options & OPTIONS_SHOW_LOGS) != 0;
    if (!offered || !option_flag(follow->call->options, "logs")) {
        return;
    }
    follow->logs = (struct log_tail){.client = follow->client,
                                     .run_id = follow->run_id,
                                     .style = {.level = LOG_DEBUG, .colour = follow->on_terminal && follow->colour}};
    follow->shows_logs = log_tail_begin(&follow->logs, run != NULL ? run->saga.started_ms : clock_realtime_ms(), &error);
    if (!follow->shows_logs) {
        complain("what the steps log cannot be shown: %s", error.message); /* the run is another matter */
    }
}

static void show_logs(struct follow *follow, const struct bus_event *event)
{
    struct text lines;
    if (!follow->shows_logs) {
        return;
    }
    const struct run *run = run_of(follow);
    follow->logs.style.saga = run != NULL ? &run->saga : NULL;
    text_init(&lines, OUTPUT_BYTES_MAX);
    if (log_tail_take(&follow->logs, event, &lines) && lines.size > 0) {
        make_room(follow);
        if (follow->call->json || follow->call->quiet) {
            fputs(text_string(&lines), stderr);
        } else {
            print_text(&lines);
        }
    }
    text_fini(&lines);
}

/* The last lines may come after the end. */
static void await_logs(struct follow *follow)
{
    int64_t until_ms = clock_monotonic_ms() + LOG_TAIL_LAST_MS;
    while (follow->shows_logs && clock_monotonic_ms() < until_ms && signals_interrupts() == follow->interrupts_seen) {
        struct bus_event event;
        bus_poll(follow->client->bus, POLL_MS, &event);
        show_logs(follow, &event);
    }
}

/* ---- the loop */

static bool is_over(const struct run *run)
{
    return run != NULL && (saga_is_over(&run->saga) || saga_is_at_rest(&run->saga));
}

/* Has something ended that the run cannot go on without? */
static bool is_broken(struct follow *follow, struct error *error)
{
    return (follow->embedded != NULL && embedded_is_broken(follow->embedded, error)) ||
           (follow->worker != NULL && child_has_ended(follow->worker, error));
}

static void note_refused_cancel(struct follow *follow)
{
    if (follow->cancel.answered && follow->cancel.verdict == VERDICT_REFUSED) {
        make_room(follow);
        complain("the cancel was refused: %s", follow->cancel.reason);
        follow->cancel.answered = false;
    }
}

/* What the run cannot go on without has ended. */
static int break_off(struct follow *follow, const struct error *error)
{
    make_room(follow);
    int code = complain_of(error);
    if (follow->embedded != NULL) {
        embedded_hurry(follow->embedded);
        code = leave_embedded(run_of(follow));
    }
    return code;
}

static int follow_loop(struct follow *follow, struct error *error)
{
    while (!reader_is_current(follow->reader) || !is_over(run_of(follow))) {
        int code;
        if (is_leaving(follow, &code)) {
            return code;
        }
        if (!follow->cancels && output_is_closed()) {
            return EXIT_UNREACHABLE; /* who only looks on has gone; the run goes on */
        }
        struct bus_event event;
        struct reader_record record;
        bus_poll(follow->client->bus, POLL_MS, &event);
        if (client_take(follow->client, follow->reader, &follow->cancel, &event, &record, error)) {
            follow_record(follow, &record);
        } else if (error->kind != ERROR_NONE || (event.kind == BUS_NOTHING && is_broken(follow, error))) {
            return break_off(follow, error);
        }
        show_logs(follow, &event);
        note_refused_cancel(follow);
        if (reader_is_current(follow->reader)) {
            draw(follow);
        }
    }
    return (int)summary_exit_code(run_of(follow)->saga.status);
}

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

void follow_begin(struct follow *follow)
{
    const char *terminal = getenv("TERM");
    bool can_move = terminal != NULL && strcmp(terminal, "dumb") != 0;
    setlocale(LC_CTYPE, "");
    follow->on_terminal = isatty(STDOUT_FILENO) && can_move && !follow->call->json && !follow->call->quiet;
    follow->colour = !is_set("NO_COLOR");
    follow->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

int follow_run(struct follow *follow)
{
    struct error error = {0};
    begin_logs(follow);
    int code = follow_loop(follow, &error);
    await_logs(follow);
    show_end(follow);
    return code == EXIT_PAUSED && follow->embedded != NULL ? leave_paused(follow) : code;
}

void follow_end(struct follow *follow)
{
    told_fini(&follow->told);
    reader_free(follow->reader);
    follow->reader = NULL;
}
