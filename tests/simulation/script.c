/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/simulation/script.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

enum stage { QUEUED, WAITING_FOR_LEAVE, RUNNING, ENDED };

struct script_task {
    struct script_task *prev, *next;
    struct runner_task given;
    const struct script_step *script;
    enum stage stage;
    bool told_waits, told_started, cancelled, lost, cut;
    int64_t begin_ms, end_ms, report_ms; /* report_ms: of the last progress */
};

static struct script_runner *script_of(struct runner *runner)
{
    return (struct script_runner *)runner;
}

static const struct script_step *find_script(const struct script_runner *runner, const struct task *task)
{
    static const struct script_step nothing;
    for (const struct script_step *step = runner->steps; step->step != NULL; step++) {
        if (span_equal(span_of(step->step), task->step)) {
            return step;
        }
    }
    return &nothing;
}

static bool is_rollback(const struct script_task *task)
{
    return task->given.task->ticket.direction == DIRECTION_ROLLBACK;
}

static bool skips(const struct script_task *task)
{
    return !is_rollback(task) && task->script->skips && task->given.task->each.size == 0;
}

/* To be expanded, validated or begun as a pipeline in a pipeline is no work that could be undone. */
static bool works(const struct script_task *task)
{
    return !skips(task) && task->given.task->each.size == 0 && task->given.task->kind == PLAN_HANDLER;
}

static bool fails(const struct script_task *task)
{
    uint32_t only = task->script->fails_instance;
    if (only > 0 && task->given.task->ticket.instance != only) {
        return false;
    }
    return task->given.task->attempt <= (is_rollback(task) ? task->script->rollback_fails : task->script->fails);
}

static void run_now(struct script_runner *runner, struct script_task *task)
{
    task->stage = RUNNING;
    task->begin_ms = task->report_ms = runner->now_ms();
    task->end_ms = task->begin_ms + (is_rollback(task) ? task->script->rollback_ms : task->script->execute_ms);
    if (works(task)) {
        oracle_begins(runner->oracle, task->given.task, runner->worker);
    }
}

/* Whatever it did, it does nothing from now on. */
static void stop(struct script_runner *runner, struct script_task *task, const char *how, bool whole)
{
    if (task->stage == RUNNING && works(task)) {
        oracle_ends(runner->oracle, task->given.task, runner->worker, how, whole && !fails(task));
    }
    task->stage = ENDED;
}

static void fill_slots(struct script_runner *runner)
{
    uint32_t used = 0;
    struct script_task *task;
    DL_FOREACH (runner->tasks, task) {
        used += task->stage == WAITING_FOR_LEAVE || task->stage == RUNNING;
    }
    DL_FOREACH (runner->tasks, task) {
        if (task->stage == QUEUED && used < runner->slots && !runner->stopped) {
            used++;
            if (task->given.task->confirm) {
                task->stage = WAITING_FOR_LEAVE;
            } else {
                run_now(runner, task);
            }
        }
    }
}

static struct script_task *find(struct script_runner *runner, uint64_t id)
{
    struct script_task *task;
    DL_FOREACH (runner->tasks, task) {
        if (task->given.id == id) {
            return task;
        }
    }
    return NULL;
}

static void drop(struct script_runner *runner, struct script_task *task)
{
    DL_DELETE(runner->tasks, task);
    free(task);
}

/* ---- what the worker asks */

static void begin(struct runner *base, const struct runner_task *given)
{
    struct script_runner *runner = script_of(base);
    struct script_task *task = calloc(1, sizeof *task);
    task->given = *given;
    task->script = find_script(runner, given->task);
    DL_APPEND(runner->tasks, task);
    fill_slots(runner);
}

static void go(struct runner *base, uint64_t id)
{
    struct script_task *task = find(script_of(base), id);
    if (task != NULL && task->stage == WAITING_FOR_LEAVE && !script_of(base)->stopped) {
        run_now(script_of(base), task);
    }
}

static bool withdraw(struct runner *base, uint64_t id)
{
    struct script_task *task = find(script_of(base), id);
    if (task == NULL || task->stage > WAITING_FOR_LEAVE) {
        return false;
    }
    drop(script_of(base), task);
    fill_slots(script_of(base));
    return true;
}

static bool cancel(struct runner *base, uint64_t id)
{
    struct script_runner *runner = script_of(base);
    if (withdraw(base, id)) {
        return true;
    }
    struct script_task *task = find(runner, id);
    if (task != NULL && task->stage == RUNNING && !task->cancelled) {
        int64_t returns_ms = runner->now_ms() + task->script->cancel_ms;
        task->cancelled = true;
        task->cut = returns_ms < task->end_ms;
        task->end_ms = task->cut ? returns_ms : task->end_ms;
    }
    return false;
}

static void fill_elements(const struct script_task *task, struct attempt *attempt)
{
    uint32_t count = task->script->elements;
    attempt->expanded = true;
    attempt->elements = calloc(count > 0 ? count : 1, sizeof *attempt->elements);
    attempt->element_count = count;
    for (uint32_t i = 0; i < count; i++) {
        attempt->elements[i] = (struct span){strdup("{}"), 2};
    }
}

static void fill_attempt(const struct script_task *task, struct attempt *attempt)
{
    char data[300];
    if (task->lost) {
        attempt->lost = true;
    } else if (task->cut) {
        attempt->outcome = OUTCOME_CANCELLED_STARTED;
    } else if (task->given.task->each.size > 0) {
        fill_elements(task, attempt);
    } else if (skips(task)) {
        attempt->outcome = OUTCOME_SKIPPED;
    } else if (fails(task)) {
        attempt->outcome = OUTCOME_FAILED;
        attempt->permanent = task->script->permanent;
        attempt->error = strdup("as the script says");
    } else if (!is_rollback(task)) {
        snprintf(data, sizeof data, "{\"step\":\"%.*s\"}", SPAN_ARGS(task->given.task->step));
        attempt->data = strdup(data);
        attempt->rollback_data = strdup(data);
    }
}

static bool report_of(struct script_runner *runner, struct script_task *task, int64_t now_ms, struct runner_report *report)
{
    *report = (struct runner_report){.id = task->given.id};
    if (task->stage == WAITING_FOR_LEAVE && !task->told_waits) {
        task->told_waits = true;
        report->kind = RUNNER_WAITS;
        return true;
    }
    if (task->stage == RUNNING && now_ms >= task->end_ms) {
        stop(runner, task, task->cut ? "is cut short" : skips(task) ? "is skipped" : fails(task) ? "fails" : "is done", !task->cut);
    }
    if (task->stage == RUNNING && !task->told_started && now_ms >= task->begin_ms + RUNNER_STARTED_MS) {
        task->told_started = true;
        report->kind = RUNNER_STARTED;
        report->duration_us = (now_ms - task->begin_ms) * 1000;
        return true;
    }
    if (task->stage == RUNNING && task->told_started && now_ms >= task->report_ms + RUNNER_PROGRESS_MS) {
        task->report_ms = now_ms;
        report->kind = RUNNER_PROGRESSED;
        report->current = (uint64_t)(now_ms - task->begin_ms);
        report->total = (uint64_t)(task->end_ms - task->begin_ms);
        return true;
    }
    report->kind = RUNNER_DONE;
    return task->stage == ENDED;
}

static bool poll(struct runner *base, int64_t now_ms, struct runner_report *report)
{
    struct script_runner *runner = script_of(base);
    struct script_task *task, *next;
    runner->wait_until_ms = INT64_MAX;
    DL_FOREACH_SAFE (runner->tasks, task, next) {
        if (!report_of(runner, task, now_ms, report)) {
            continue;
        }
        if (report->kind == RUNNER_DONE) {
            fill_attempt(task, &report->attempt);
            report->duration_us = (now_ms - task->begin_ms) * 1000;
            drop(runner, task);
            fill_slots(runner);
        }
        return true;
    }
    return false;
}

static int64_t task_due_ms(const struct script_task *task)
{
    switch (task->stage) {
    case QUEUED: return INT64_MAX;
    case WAITING_FOR_LEAVE: return task->told_waits ? INT64_MAX : 0;
    case ENDED: return 0;
    case RUNNING: break;
    }
    int64_t due_ms = task->told_started ? task->report_ms + RUNNER_PROGRESS_MS : task->begin_ms + RUNNER_STARTED_MS;
    return due_ms < task->end_ms ? due_ms : task->end_ms;
}

int64_t script_runner_next_ms(const struct script_runner *runner)
{
    int64_t due_ms = runner->wait_until_ms;
    const struct script_task *task;
    DL_FOREACH (runner->tasks, task) {
        int64_t ms = task_due_ms(task);
        due_ms = ms < due_ms ? ms : due_ms;
    }
    return due_ms;
}

static int64_t due_ms(struct runner *base)
{
    return script_runner_next_ms(script_of(base));
}

static void wait(struct runner *base, int timeout_ms)
{
    script_of(base)->wait_until_ms = script_of(base)->now_ms() + timeout_ms;
}

static void set_wake(struct runner *base, void (*wake)(void *state), void *state)
{
    (void)base;
    (void)wake;
    (void)state;
}

static const struct runner_operations operations = {.begin = begin,
                                                    .go = go,
                                                    .withdraw = withdraw,
                                                    .cancel = cancel,
                                                    .poll = poll,
                                                    .due_ms = due_ms,
                                                    .wait = wait,
                                                    .set_wake = set_wake};

void script_runner_init(struct script_runner *runner)
{
    runner->runner.operations = &operations;
    runner->tasks = NULL;
    runner->stopped = false;
    runner->wait_until_ms = INT64_MAX;
}

/* ---- what happens to it */

void script_runner_kill(struct script_runner *runner)
{
    struct script_task *task, *next;
    DL_FOREACH_SAFE (runner->tasks, task, next) {
        stop(runner, task, "dies", false);
        drop(runner, task);
    }
}

bool script_runner_kill_programs(struct script_runner *runner)
{
    bool functions = false;
    runner->stopped = true;
    struct script_task *task;
    DL_FOREACH (runner->tasks, task) {
        functions = functions || (task->stage == RUNNING && task->script->function);
        if (task->stage == RUNNING && !task->script->function) {
            task->lost = true;
            stop(runner, task, "is killed by the guard", false);
        }
    }
    return functions;
}

bool script_runner_runs_a_program(const struct script_runner *runner)
{
    const struct script_task *task;
    DL_FOREACH (runner->tasks, task) {
        if (task->stage == RUNNING && !task->script->function) {
            return true;
        }
    }
    return false;
}

void script_runner_tick(struct script_runner *runner, bool frozen)
{
    struct script_task *task;
    DL_FOREACH (runner->tasks, task) {
        if (frozen && task->stage == RUNNING && !task->script->function && runner->now_ms() >= task->end_ms) {
            stop(runner, task, "is done, unheard", true);
        }
    }
}
