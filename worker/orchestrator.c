/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/orchestrator.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/names.h"
#include "common/runs_task.h"
#include "common/text.h"
#include "worker/attempt.h"
#include "worker/registry.h"

#include <assert.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Memory the saga was given, kept for the next execution. */
struct block {
    void *memory;
    size_t size;
};

/* One attempt that ended. */
struct entry {
    uint32_t step;
    uint8_t direction, outcome;
    char *error; /* NULL: none */
};

struct backstep_orchestrator {
    const struct backstep_registry *registry;
    char *pipeline;
    enum backstep_outcome (*hook)(void *state, struct backstep_context *context, struct backstep_result *result);
    enum backstep_outcome (*intercept)(void *state, struct backstep_context *context, struct backstep_result *result);
    void (*progress)(void *state, const struct backstep_progress *progress);
    void (*logged)(void *state, enum backstep_level level, const char *event, const char *text);
    void *hook_state, *intercept_state, *progress_state, *logged_state;
    struct orchestrator_clock clock;
    struct cancellation own, *cancellation;
    atomic_bool running;

    /* what the registry was when it was planned */
    struct arena arena;
    struct plan plan;
    const struct plan *kept; /* a copy of it that has no problem: every run shares it */
    uint32_t fold_version;
    unsigned version;
    bool planned;
    const struct backstep_step *const *steps; /* of a plan that was given; NULL: those of the registry */

    /* the last execution; its log is folded the moment it is "written" */
    struct saga saga;
    struct block *blocks;
    size_t block_count, blocks_used;
    int64_t offset, time_ms;
    bool cancel_said;
    char run_id[LIMIT_IDENTIFIER_BYTES + 1];
    char error[ERROR_MESSAGE_BYTES];
    enum backstep_status status;
    struct ticket ticket; /* of the task that runs */
    struct task task;
    bool plain; /* `task` is one that nothing was collected for: the next one differs in little */
    struct saga_event done; /* likewise: of a step that has ended */
    struct context_listener listener;
    struct runs_task *filled; /* made for the first step that asks what others said */
    bool collected; /* it holds what has to be given back */
    struct entry *entries;
    size_t entry_count, entry_capacity;
    struct text result, history, data;
};

/* ---------------------------------------------------------------- a new one */

static int64_t real_now_ms(void *state)
{
    (void)state;
    return clock_realtime_ms();
}

/* Until the time has come, or somebody asks for the end. */
static void real_wait_ms(void *state, int64_t wait_ms)
{
    const struct backstep_orchestrator *orchestrator = state;
    struct pollfd cancel = {.fd = orchestrator->cancel_said ? -1 : cancellation_fd(orchestrator->cancellation), .events = POLLIN};
    poll(&cancel, 1, wait_ms < INT_MAX ? (int)wait_ms : INT_MAX);
}

struct backstep_orchestrator *backstep_orchestrator_new(const struct backstep_registry *registry)
{
    struct backstep_orchestrator *orchestrator = registry != NULL ? calloc(1, sizeof *orchestrator) : NULL;
    if (orchestrator == NULL) {
        return NULL;
    }
    orchestrator->registry = registry;
    orchestrator->clock = (struct orchestrator_clock){real_now_ms, real_wait_ms, orchestrator};
    orchestrator->cancellation = &orchestrator->own;
    arena_init(&orchestrator->arena, 4096, 16 * MIB);
    text_init(&orchestrator->result, SIZE_MAX / 2);
    text_init(&orchestrator->history, SIZE_MAX / 2);
    text_init(&orchestrator->data, SIZE_MAX / 2);
    return orchestrator;
}

static void keep_blocks(void *memory)
{
    (void)memory; /* they are the orchestrator's, for the next execution */
}

static void forget_run(struct backstep_orchestrator *orchestrator)
{
    saga_release(&orchestrator->saga, keep_blocks);
    for (size_t i = 0; i < orchestrator->entry_count; i++) {
        free(orchestrator->entries[i].error);
    }
    orchestrator->entry_count = 0;
    orchestrator->blocks_used = 0;
    orchestrator->offset = 0;
    orchestrator->time_ms = 1;
    orchestrator->cancel_said = false;
    orchestrator->run_id[0] = orchestrator->error[0] = '\0';
    orchestrator->status = BACKSTEP_RUN_NONE;
    text_clear(&orchestrator->result);
    text_clear(&orchestrator->history);
}

void backstep_orchestrator_free(struct backstep_orchestrator *orchestrator)
{
    if (orchestrator == NULL) {
        return;
    }
    forget_run(orchestrator);
    for (size_t i = 0; i < orchestrator->block_count; i++) {
        free(orchestrator->blocks[i].memory);
    }
    free(orchestrator->blocks);
    free(orchestrator->entries);
    free(orchestrator->filled);
    free(orchestrator->pipeline);
    arena_fini(&orchestrator->arena);
    text_fini(&orchestrator->result);
    text_fini(&orchestrator->history);
    text_fini(&orchestrator->data);
    cancellation_fini(&orchestrator->own);
    free(orchestrator);
}

void backstep_orchestrator_set_name(struct backstep_orchestrator *orchestrator, const char *pipeline)
{
    if (orchestrator == NULL) {
        return;
    }
    free(orchestrator->pipeline);
    orchestrator->pipeline = pipeline != NULL ? strdup(pipeline) : NULL;
    orchestrator->planned = false;
}

void backstep_orchestrator_before_step(struct backstep_orchestrator *orchestrator,
                                       enum backstep_outcome (*hook)(void *state, struct backstep_context *context,
                                                                     struct backstep_result *result),
                                       void *state)
{
    if (orchestrator == NULL) {
        return;
    }
    orchestrator->hook = hook;
    orchestrator->hook_state = state;
}

void backstep_orchestrator_on_progress(struct backstep_orchestrator *orchestrator,
                                       void (*listener)(void *state, const struct backstep_progress *progress), void *state)
{
    if (orchestrator == NULL) {
        return;
    }
    orchestrator->progress = listener;
    orchestrator->progress_state = state;
}

void backstep_orchestrator_on_log(struct backstep_orchestrator *orchestrator,
                                  void (*listener)(void *state, enum backstep_level level, const char *event, const char *text),
                                  void *state)
{
    if (orchestrator == NULL) {
        return;
    }
    orchestrator->logged = listener;
    orchestrator->logged_state = state;
}

void orchestrator_intercept(struct backstep_orchestrator *orchestrator,
                            enum backstep_outcome (*hook)(void *state, struct backstep_context *context,
                                                          struct backstep_result *result),
                            void *state)
{
    orchestrator->intercept = hook;
    orchestrator->intercept_state = state;
}

void orchestrator_set_clock(struct backstep_orchestrator *orchestrator, const struct orchestrator_clock *clock)
{
    orchestrator->clock = *clock;
}

void orchestrator_set_cancellation(struct backstep_orchestrator *orchestrator, struct cancellation *cancellation)
{
    orchestrator->cancellation = cancellation;
}

void backstep_orchestrator_cancel(struct backstep_orchestrator *orchestrator)
{
    if (orchestrator == NULL) {
        return;
    }
    if (atomic_load(&orchestrator->running)) {
        cancellation_request(orchestrator->cancellation);
    }
}

/* ---------------------------------------------------------------- the log */

static void *block_of(struct backstep_orchestrator *orchestrator, size_t *size)
{
    while (orchestrator->blocks_used < orchestrator->block_count) {
        struct block *block = &orchestrator->blocks[orchestrator->blocks_used++];
        if (block->size >= *size) {
            *size = block->size;
            return block->memory;
        }
    }
    size_t last = orchestrator->block_count > 0 ? orchestrator->blocks[orchestrator->block_count - 1].size : 8 * KIB;
    struct block block = {.size = *size > 2 * last ? *size : 2 * last};
    struct block *blocks = realloc(orchestrator->blocks, (orchestrator->block_count + 1) * sizeof *blocks);
    block.memory = malloc(block.size);
    if (blocks == NULL || block.memory == NULL) {
        abort(); /* as every shell of the saga: a record that cannot be folded cannot be left out either */
    }
    orchestrator->blocks = blocks;
    blocks[orchestrator->block_count++] = block;
    orchestrator->blocks_used = orchestrator->block_count;
    *size = block.size;
    return block.memory;
}

static int64_t now_ms(const struct backstep_orchestrator *orchestrator)
{
    return orchestrator->clock.now_ms(orchestrator->clock.state);
}

/* What most runs need for all of their steps, so that no step needs anything of its own. */
static size_t room_of_run(const struct backstep_orchestrator *orchestrator)
{
    return orchestrator->plan.step_count * (sizeof(struct saga_step) + 16) + 16 * KIB;
}

static void write_event_at(struct backstep_orchestrator *orchestrator, struct saga_event *event, int64_t now)
{
    orchestrator->time_ms = now > orchestrator->time_ms ? now : orchestrator->time_ms; /* a log's time never goes back */
    event->time_ms = orchestrator->time_ms;
    event->offset = orchestrator->offset++;
    event->run_id = span_of(orchestrator->run_id);
    size_t room = saga_room(&orchestrator->saga, event);
    if (room > 0) {
        room += event->kind == EVENT_START ? room_of_run(orchestrator) : 0;
        void *memory = block_of(orchestrator, &room);
        saga_provide(&orchestrator->saga, memory, room);
    }
    saga_apply(&orchestrator->saga, event);
}

static void write_event(struct backstep_orchestrator *orchestrator, struct saga_event *event)
{
    write_event_at(orchestrator, event, now_ms(orchestrator));
}

/* Requests of one run only have to differ from one another. */
static void write_request(struct backstep_orchestrator *orchestrator, struct saga_event *event)
{
    memcpy(event->request_id, &orchestrator->offset, sizeof orchestrator->offset);
    write_event(orchestrator, event);
}

static void write_cancel(struct backstep_orchestrator *orchestrator)
{
    orchestrator->cancel_said = true;
    write_request(orchestrator, &(struct saga_event){.kind = EVENT_CANCEL});
}

static void write_answer(struct backstep_orchestrator *orchestrator, const struct saga_request *request)
{
    struct saga_event event = {.kind = EVENT_ANSWERED};
    memcpy(event.request_id, request->id, sizeof request->id);
    write_event(orchestrator, &event);
}

static bool cancel_is_due(const struct backstep_orchestrator *orchestrator)
{
    return !orchestrator->cancel_said && cancellation_requested(orchestrator->cancellation);
}

/* ---------------------------------------------------------------- what is told meanwhile */

static double two_decimals(uint32_t ppm)
{
    return (double)(ppm / 100) / 100.0;
}

static void tell_progress(struct backstep_orchestrator *orchestrator)
{
    if (orchestrator->progress == NULL || orchestrator->ticket.direction == DIRECTION_ROLLBACK) {
        return;
    }
    const struct saga_step *step = orchestrator->saga.steps[orchestrator->ticket.step];
    char name[LIMIT_NAME_BYTES + 1];
    snprintf(name, sizeof name, "%.*s", SPAN_ARGS(orchestrator->task.step));
    double taken = (double)(orchestrator->time_ms - saga_work(step)->attempt_ms) / 1000;
    double rest = saga_work(step)->current > 0 ? taken / (double)saga_work(step)->current * (double)(saga_work(step)->total - saga_work(step)->current) : -1;
    struct backstep_progress progress = {.step = name,
                                         .percent = two_decimals(orchestrator->saga.progress_ppm),
                                         .step_percent = two_decimals(step->fraction_ppm),
                                         .current = (int64_t)saga_work(step)->current,
                                         .total = (int64_t)saga_work(step)->total,
                                         .seconds_left = saga_work(step)->total > 0 ? rest : -1};
    orchestrator->progress(orchestrator->progress_state, &progress);
}

static void on_progressed(void *state, uint64_t current, uint64_t total, struct span metrics)
{
    struct backstep_orchestrator *orchestrator = state;
    struct saga_event event = {
        .kind = EVENT_PROGRESSED, .ticket = orchestrator->ticket, .current = current, .total = total, .metrics = metrics};
    write_event(orchestrator, &event);
    if (total > 0) {
        tell_progress(orchestrator);
    }
}

static enum backstep_outcome on_before(void *state, struct backstep_context *context, struct backstep_result *result)
{
    struct backstep_orchestrator *orchestrator = state;
    enum backstep_outcome outcome = BACKSTEP_SUCCEEDED;
    if (orchestrator->intercept != NULL) {
        outcome = orchestrator->intercept(orchestrator->intercept_state, context, result);
    }
    if (outcome == BACKSTEP_SUCCEEDED && orchestrator->hook != NULL && !backstep_is_rollback(context)) {
        outcome = orchestrator->hook(orchestrator->hook_state, context, result);
    }
    return outcome;
}

static void on_need(void *state, struct backstep_context *context)
{
    struct backstep_orchestrator *orchestrator = state;
    (void)context; /* its task is this one's */
    if (orchestrator->collected) {
        return; /* they are there */
    }
    if (orchestrator->filled == NULL && (orchestrator->filled = malloc(sizeof *orchestrator->filled)) == NULL) {
        abort();
    }
    orchestrator->collected = true;
    orchestrator->plain = false;
    runs_task_fill(orchestrator->filled, &orchestrator->saga, orchestrator->ticket, false);
    orchestrator->task = orchestrator->filled->task;
}

static int64_t on_now_ms(void *state)
{
    return now_ms(state);
}

static void on_logged(void *state, const struct log_line *line)
{
    static const enum backstep_level levels[] = {
        [LOG_ERROR] = BACKSTEP_ERROR, [LOG_WARN] = BACKSTEP_WARN, [LOG_INFO] = BACKSTEP_INFO, [LOG_DEBUG] = BACKSTEP_DEBUG};
    const struct backstep_orchestrator *orchestrator = state;
    bool is_event = line->event.size > 0;
    struct span said = is_event ? line->data : line->text;
    char *event = is_event ? text_copy(line->event) : NULL;
    char *text = text_copy(said);
    orchestrator->logged(orchestrator->logged_state, levels[line->level], event, text != NULL ? text : "");
    free(event);
    free(text);
}

/* ---------------------------------------------------------------- a task, as a coordinator would send it */

static struct task plain_task(const struct saga *saga)
{
    return (struct task){.run_id = saga->run_id, .pipeline = saga->plan->name, .params = saga->params};
}

/* Without what has to be collected from other steps: few ask for it. */
static void make_task(struct backstep_orchestrator *orchestrator, struct ticket ticket)
{
    const struct saga *saga = &orchestrator->saga;
    const struct plan_step *plan = &saga->plan->steps[ticket.step];
    struct task *task = &orchestrator->task;
    orchestrator->ticket = ticket;
    if (ticket.direction == DIRECTION_ROLLBACK || plan->kind == PLAN_SCOPE || plan->scope > 0) {
        on_need(orchestrator, NULL);
        return;
    }
    if (!orchestrator->plain) {
        *task = plain_task(saga);
        orchestrator->plain = true;
    }
    task->ticket = ticket;
    task->step = plan->name;
    task->handler = plan->handler;
    task->attempt = saga->steps[ticket.step]->attempts + 1;
    task->more_attempts = task->attempt < plan->retry.max_attempts;
    task->input = plan->input;
    task->timeout_ms = plan->timeout_ms;
}

static void remember(struct backstep_orchestrator *orchestrator, const struct attempt *attempt)
{
    if (orchestrator->entry_count == orchestrator->entry_capacity) {
        size_t capacity = orchestrator->entry_capacity * 2 + 64;
        struct entry *entries = realloc(orchestrator->entries, capacity * sizeof *entries);
        if (entries == NULL) {
            abort();
        }
        orchestrator->entries = entries;
        orchestrator->entry_capacity = capacity;
    }
    orchestrator->entries[orchestrator->entry_count++] =
        (struct entry){.step = orchestrator->ticket.step,
                       .direction = (uint8_t)orchestrator->ticket.direction,
                       .outcome = (uint8_t)attempt->outcome,
                       .error = attempt->error != NULL ? strdup(attempt->error) : NULL};
}

/* In one thread nobody can tell the step that its time is over; it can ask. That it was too late stands in the log before its end. */
static void write_overdue(struct backstep_orchestrator *orchestrator)
{
    struct saga_deadline deadline;
    while (saga_next_deadline(&orchestrator->saga, &deadline) && deadline.due_ms <= now_ms(orchestrator) &&
           deadline.ticket.step == orchestrator->ticket.step && deadline.timer != TIMER_RETRY) {
        write_event(orchestrator,
                    &(struct saga_event){.kind = EVENT_TIMER_FIRED, .timer = deadline.timer, .ticket = deadline.ticket});
    }
}

static void write_done(struct backstep_orchestrator *orchestrator, const struct attempt *attempt, int64_t begun_ms)
{
    struct saga_event *event = &orchestrator->done;
    int64_t now = now_ms(orchestrator);
    event->ticket = orchestrator->ticket;
    event->outcome = attempt->outcome;
    event->permanent = attempt->permanent;
    event->data = span_of(attempt->data);
    event->rollback_data = span_of(attempt->rollback_data);
    event->set = span_of(attempt->set);
    event->metrics = span_of(attempt->metrics);
    event->error = span_of(attempt->error);
    event->elapsed_ms = now > begun_ms ? now - begun_ms : 0;
    remember(orchestrator, attempt);
    write_event_at(orchestrator, event, now);
    tell_progress(orchestrator);
}

static const struct backstep_step *step_of(const struct backstep_orchestrator *orchestrator, uint32_t index)
{
    return orchestrator->steps != NULL ? orchestrator->steps[index] : backstep_registry_step(orchestrator->registry, (int)index);
}

/* Somebody watches the time of it. */
static bool is_timed(const struct backstep_orchestrator *orchestrator)
{
    return orchestrator->task.timeout_ms > 0 || orchestrator->saga.plan->steps[orchestrator->ticket.step].heartbeat_timeout_ms > 0;
}

static void call_step(struct backstep_orchestrator *orchestrator, struct attempt *attempt)
{
    const struct backstep_step *step = step_of(orchestrator, orchestrator->ticket.step);
    if (orchestrator->ticket.direction == DIRECTION_EXECUTE) {
        attempt_run(attempt, &orchestrator->task, step, orchestrator->cancellation, &orchestrator->listener);
        return;
    }
    struct cancellation never = {0}; /* a rollback goes on though someone asked for the end of the run: it is the way there */
    attempt_run(attempt, &orchestrator->task, step, &never, &orchestrator->listener);
    cancellation_fini(&never);
}

static void run_task(struct backstep_orchestrator *orchestrator, struct ticket ticket)
{
    struct attempt attempt = {0};
    int64_t begun_ms = orchestrator->time_ms;
    make_task(orchestrator, ticket);
    bool timed = is_timed(orchestrator);
    if (timed) {
        write_event(orchestrator, &(struct saga_event){.kind = EVENT_STARTED, .ticket = ticket});
    }
    call_step(orchestrator, &attempt);
    if (timed) {
        write_overdue(orchestrator);
    }
    if (cancel_is_due(orchestrator)) {
        write_cancel(orchestrator);
    }
    write_done(orchestrator, &attempt, begun_ms);
    if (orchestrator->collected) {
        runs_task_free(orchestrator->filled);
        orchestrator->collected = false;
    }
    attempt_fini(&attempt);
}

/* Do the first thing that is due. false: nothing is. */
static bool do_next(struct backstep_orchestrator *orchestrator)
{
    struct saga_effect effect;
    struct saga_cursor cursor = {0};
    if (cancel_is_due(orchestrator)) {
        write_cancel(orchestrator);
    }
    if (!saga_next_effect(&orchestrator->saga, &cursor, &effect)) {
        return false;
    }
    switch (effect.kind) {
    case EFFECT_ANSWER: write_answer(orchestrator, effect.request); break;
    case EFFECT_DISPATCH: run_task(orchestrator, effect.ticket); break;
    case EFFECT_HOLD:
    case EFFECT_CANCEL_TASK:
        write_event(orchestrator, &(struct saga_event){.kind = EVENT_WITHDRAWN, .ticket = effect.ticket});
        break;
    case EFFECT_FINISH: write_event(orchestrator, &(struct saga_event){.kind = EVENT_FINISHED}); break;
    }
    return true;
}

/* false: there is none, for the run waits for a person. */
static bool wait_for_deadline(struct backstep_orchestrator *orchestrator)
{
    struct saga_deadline deadline = {0};
    bool armed = saga_next_deadline(&orchestrator->saga, &deadline);
    assert(armed || orchestrator->saga.status == RUN_PAUSED); /* every other unfinished run has something outstanding */
    if (!armed) {
        return false;
    }
    int64_t wait_ms = deadline.due_ms - now_ms(orchestrator);
    if (wait_ms > 0) {
        orchestrator->clock.wait_ms(orchestrator->clock.state, wait_ms); /* a cancel ends it early: then it is looked at again */
        return true;
    }
    write_event(orchestrator, &(struct saga_event){.kind = EVENT_TIMER_FIRED, .timer = deadline.timer, .ticket = deadline.ticket});
    return true;
}

/* ---------------------------------------------------------------- from the first record to the last */

static bool fail(struct backstep_orchestrator *orchestrator, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct backstep_orchestrator *orchestrator, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(orchestrator->error, sizeof orchestrator->error, format, arguments);
    va_end(arguments);
    return false;
}

static bool keep_plan(struct backstep_orchestrator *orchestrator, struct error *error)
{
    if (orchestrator->plan.step_count == 0) {
        return true; /* there is nothing to run */
    }
    void *memory = arena_take(&orchestrator->arena, plan_room(&orchestrator->plan));
    orchestrator->kept = memory != NULL ? plan_copy(memory, &orchestrator->plan) : NULL;
    orchestrator->fold_version = plan_fold_version(&orchestrator->plan);
    return memory != NULL || error_set(error, ERROR_TRANSIENT, "out of memory");
}

static bool plan_again(struct backstep_orchestrator *orchestrator)
{
    struct error error = {0};
    if (backstep_registry_error(orchestrator->registry)[0] != '\0') {
        return fail(orchestrator, "%s", backstep_registry_error(orchestrator->registry));
    }
    if (orchestrator->planned && orchestrator->version == registry_version(orchestrator->registry)) {
        return true;
    }
    arena_fini(&orchestrator->arena);
    arena_init(&orchestrator->arena, 4096, 16 * MIB);
    const char *name = orchestrator->pipeline != NULL ? orchestrator->pipeline : "pipeline";
    orchestrator->planned = plan_of_registry(orchestrator->registry, name, &orchestrator->arena, &orchestrator->plan, &error) &&
                            keep_plan(orchestrator, &error);
    orchestrator->version = registry_version(orchestrator->registry);
    return orchestrator->planned || fail(orchestrator, "%s", error.message);
}

static bool take_id(struct backstep_orchestrator *orchestrator, const char *run_id)
{
    if (run_id == NULL) {
        char generated[RUN_ID_BYTES];
        run_id_generate(generated, orchestrator->plan.name, now_ms(orchestrator) / 1000);
        snprintf(orchestrator->run_id, sizeof orchestrator->run_id, "%s", generated);
        return true;
    }
    if (!identifier_is_valid(span_of(run_id))) {
        return fail(orchestrator, "run id '%s' is none: 1 to %d of [A-Za-z0-9._-], beginning with a letter or digit",
                    SHOWN(span_of(run_id)), LIMIT_IDENTIFIER_BYTES);
    }
    snprintf(orchestrator->run_id, sizeof orchestrator->run_id, "%s", run_id);
    return true;
}

static bool check_params(struct backstep_orchestrator *orchestrator, struct span params)
{
    struct error error = {0};
    if (params.size > LIMIT_CONTEXT_BYTES) {
        return fail(orchestrator, "the parameters have %zu bytes; %d are allowed", params.size, LIMIT_CONTEXT_BYTES);
    }
    if (span_equal(params, span_of("{}"))) {
        return true;
    }
    json_t *json = json_read_object(params, &error);
    json_decref(json);
    return json != NULL || fail(orchestrator, "params: %s", error.message);
}

static enum backstep_status status_of(const struct saga *saga)
{
    switch ((enum run_status)saga->status) {
    case RUN_SUCCEEDED: return BACKSTEP_RUN_SUCCEEDED;
    case RUN_ROLLED_BACK: return BACKSTEP_RUN_ROLLED_BACK;
    case RUN_CANCELLED: return BACKSTEP_RUN_CANCELLED;
    case RUN_ROLLBACK_INCOMPLETE: return BACKSTEP_RUN_ROLLBACK_INCOMPLETE;
    case RUN_PAUSED: return BACKSTEP_RUN_PAUSED;
    default: return BACKSTEP_RUN_NONE;
    }
}

/* To the end, or until a person has to say what becomes of it. */
static void go_on(struct backstep_orchestrator *orchestrator)
{
    bool waits = true;
    orchestrator->plain = false;
    orchestrator->done = (struct saga_event){.kind = EVENT_DONE};
    orchestrator->listener = (struct context_listener){
        .progressed = on_progressed,
        .state = orchestrator,
        .before = orchestrator->hook != NULL || orchestrator->intercept != NULL ? on_before : NULL,
        .need = on_need,
        .now_ms = on_now_ms,
        .logged = orchestrator->logged != NULL ? on_logged : NULL,
    };
    while (waits && !saga_is_settled(&orchestrator->saga)) {
        waits = do_next(orchestrator) || wait_for_deadline(orchestrator);
    }
    orchestrator->status = status_of(&orchestrator->saga);
    snprintf(orchestrator->error, sizeof orchestrator->error, "%.*s", SPAN_ARGS(saga_trouble(&orchestrator->saga)->error));
}

static void run_it(struct backstep_orchestrator *orchestrator, struct span params)
{
    struct saga_event start = {.kind = EVENT_START,
                               .plan = orchestrator->kept,
                               .plan_stays = true,
                               .params = params,
                               .fold_version = orchestrator->fold_version};
    write_request(orchestrator, &start);
    go_on(orchestrator);
}

static bool execute(struct backstep_orchestrator *orchestrator, const char *run_id, const char *params)
{
    forget_run(orchestrator);
    if (orchestrator->cancellation == &orchestrator->own) {
        cancellation_reset(&orchestrator->own);
    }
    struct span given = span_of(params != NULL ? params : "{}");
    if (!plan_again(orchestrator) || !take_id(orchestrator, run_id) || !check_params(orchestrator, given)) {
        return false;
    }
    if (orchestrator->plan.step_count > 0) {
        run_it(orchestrator, given);
    } else {
        orchestrator->status = BACKSTEP_RUN_SUCCEEDED; /* there was nothing to do, and it has gone well */
    }
    return orchestrator->status == BACKSTEP_RUN_SUCCEEDED;
}

bool backstep_execute(struct backstep_orchestrator *orchestrator, const char *run_id, const char *params)
{
    if (orchestrator == NULL || atomic_exchange(&orchestrator->running, true)) {
        return false; /* a step cannot execute the run it is part of */
    }
    bool ok = execute(orchestrator, run_id, params);
    atomic_store(&orchestrator->running, false);
    return ok;
}

void orchestrator_set_plan(struct backstep_orchestrator *orchestrator, const struct plan *plan,
                           const struct backstep_step *const *steps)
{
    orchestrator->plan = *plan;
    orchestrator->steps = steps;
    orchestrator->planned = keep_plan(orchestrator, NULL);
    if (!orchestrator->planned) {
        abort(); /* as every shell of the saga that has no memory */
    }
    orchestrator->version = registry_version(orchestrator->registry);
}

bool orchestrator_go_on(struct backstep_orchestrator *orchestrator, bool retry)
{
    if (orchestrator->status != BACKSTEP_RUN_PAUSED || atomic_exchange(&orchestrator->running, true)) {
        return false;
    }
    text_clear(&orchestrator->result);
    text_clear(&orchestrator->history);
    write_request(orchestrator, &(struct saga_event){.kind = retry ? EVENT_RETRY : EVENT_ROLL_BACK});
    go_on(orchestrator);
    atomic_store(&orchestrator->running, false);
    return orchestrator->status == BACKSTEP_RUN_SUCCEEDED;
}

/* ---------------------------------------------------------------- how it went */

enum backstep_status backstep_orchestrator_status(const struct backstep_orchestrator *orchestrator)
{
    if (orchestrator == NULL) {
        return BACKSTEP_RUN_NONE;
    }
    return orchestrator->status;
}

int backstep_orchestrator_steps_executed(const struct backstep_orchestrator *orchestrator)
{
    if (orchestrator == NULL) {
        return 0;
    }
    return (int)saga_steps_executed(&orchestrator->saga);
}

int backstep_orchestrator_steps_total(const struct backstep_orchestrator *orchestrator)
{
    if (orchestrator == NULL) {
        return 0;
    }
    return orchestrator->saga.plan != NULL ? (int)orchestrator->saga.plan->step_count : 0;
}

double backstep_orchestrator_percent(const struct backstep_orchestrator *orchestrator)
{
    if (orchestrator == NULL) {
        return 0;
    }
    bool nothing = orchestrator->status == BACKSTEP_RUN_SUCCEEDED && orchestrator->saga.plan == NULL;
    return nothing ? 100 : two_decimals(orchestrator->saga.progress_ppm);
}

const char *backstep_orchestrator_run_id(const struct backstep_orchestrator *orchestrator)
{
    if (orchestrator == NULL) {
        return "";
    }
    return orchestrator->run_id;
}

const char *backstep_orchestrator_error(const struct backstep_orchestrator *orchestrator)
{
    if (orchestrator == NULL) {
        return "the orchestrator is NULL";
    }
    return orchestrator->error;
}

int orchestrator_exit_code(const struct backstep_orchestrator *orchestrator)
{
    static const int codes[] = {[BACKSTEP_RUN_NONE] = 2,        [BACKSTEP_RUN_SUCCEEDED] = 0,
                                [BACKSTEP_RUN_ROLLED_BACK] = 1, [BACKSTEP_RUN_ROLLBACK_INCOMPLETE] = 3,
                                [BACKSTEP_RUN_CANCELLED] = 4,   [BACKSTEP_RUN_PAUSED] = 6};
    return codes[orchestrator->status];
}

static void append_text(struct text *out, const char *name, struct span value)
{
    text_format(out, "\"%s\": ", name);
    if (value.size == 0) {
        text_append_string(out, "null");
    } else {
        text_append_json_string(out, value);
    }
}

static void append_seconds(struct text *out, int64_t begun_ms, int64_t ended_ms)
{
    int64_t taken_ms = begun_ms > 0 && ended_ms > begun_ms ? ended_ms - begun_ms : 0;
    text_format(out, ", \"duration_seconds\": %lld.%03lld", (long long)(taken_ms / 1000), (long long)(taken_ms % 1000));
}

static void append_step(struct text *out, const struct saga *saga, uint32_t index)
{
    const struct saga_step *step = saga->steps[index];
    text_append_string(out, index > 0 ? ", {" : "{");
    append_text(out, "name", saga->plan->steps[index].name);
    text_format(out, ", \"status\": \"%s\", \"attempts\": %u", step_status_name((enum step_status)step->status),
                saga_work(step)->execute_attempts);
    append_seconds(out, saga_work(step)->begun_ms, saga_work(step)->ended_ms);
    text_append_string(out, ", \"data\": ");
    text_append_span(out, step->executed && saga_step_text(step, TEXT_DATA).size > 0
                              ? saga_step_text(step, TEXT_DATA)
                              : span_of("null")); /* attempt_run() saw that it is JSON */
    text_append_string(out, ", ");
    /* not that of an attempt before the one that went well */
    append_text(out, "error", step->executed ? (struct span){0} : saga_step_text(step, TEXT_ERROR));
    text_append_string(out, ", ");
    append_text(out, "rollback_error", saga_step_text(step, TEXT_ROLLBACK_ERROR));
    text_append_char(out, '}');
}

static void append_entry(struct backstep_orchestrator *orchestrator, const struct entry *entry, struct text *out)
{
    static const char *const outcomes[] = {[OUTCOME_OK] = "ok",
                                           [OUTCOME_SKIPPED] = "skipped",
                                           [OUTCOME_FAILED] = "failed",
                                           [OUTCOME_CANCELLED_STARTED] = "cancelled",
                                           [OUTCOME_CANCELLED_NOT_STARTED] = "cancelled"};
    text_append_span(out, orchestrator->saga.plan->steps[entry->step].name);
    text_format(out, " %s %s", entry->direction == DIRECTION_ROLLBACK ? "rollback" : "execute", outcomes[entry->outcome]);
    if (entry->error != NULL) {
        text_append_string(out, ": ");
        text_append_visible(out, span_of(entry->error));
    }
}

static void append_history(struct backstep_orchestrator *orchestrator, struct text *out)
{
    struct text line;
    text_init(&line, SIZE_MAX / 2);
    text_append_string(out, "], \"history\": [");
    for (size_t i = 0; i < orchestrator->entry_count; i++) {
        text_clear(&line);
        append_entry(orchestrator, &orchestrator->entries[i], &line);
        text_append_string(out, i > 0 ? ", " : "");
        text_append_json_string(out, text_span(&line));
    }
    text_append_string(out, "]}");
    text_fini(&line);
}

static void append_result(struct backstep_orchestrator *orchestrator, struct text *out)
{
    static const char *const statuses[] = {[BACKSTEP_RUN_NONE] = "none",
                                           [BACKSTEP_RUN_SUCCEEDED] = "succeeded",
                                           [BACKSTEP_RUN_ROLLED_BACK] = "rolled_back",
                                           [BACKSTEP_RUN_CANCELLED] = "cancelled",
                                           [BACKSTEP_RUN_ROLLBACK_INCOMPLETE] = "rollback_incomplete",
                                           [BACKSTEP_RUN_PAUSED] = "paused"};
    const struct saga *saga = &orchestrator->saga;
    text_format(out, "{\"success\": %s, \"steps_executed\": %d, \"steps_total\": %d, ",
                orchestrator->status == BACKSTEP_RUN_SUCCEEDED ? "true" : "false",
                backstep_orchestrator_steps_executed(orchestrator), backstep_orchestrator_steps_total(orchestrator));
    append_text(out, "run_id", span_of(orchestrator->run_id));
    text_append_string(out, ", ");
    append_text(out, "pipeline", orchestrator->plan.name);
    text_format(out, ", \"status\": \"%s\", \"progress\": %g, ", statuses[orchestrator->status],
                backstep_orchestrator_percent(orchestrator));
    append_text(out, "error", span_of(orchestrator->error));
    append_seconds(out, saga->started_ms, saga->finished_ms);
    text_append_string(out, ", \"steps\": [");
    for (int i = 0; i < backstep_orchestrator_steps_total(orchestrator); i++) {
        append_step(out, saga, (uint32_t)i);
    }
    append_history(orchestrator, out);
}

const char *backstep_orchestrator_result(struct backstep_orchestrator *orchestrator)
{
    if (orchestrator == NULL) {
        return "";
    }
    if (orchestrator->result.size == 0) {
        append_result(orchestrator, &orchestrator->result);
    }
    return text_string(&orchestrator->result);
}

const char *backstep_orchestrator_history(struct backstep_orchestrator *orchestrator)
{
    if (orchestrator == NULL) {
        return "";
    }
    if (orchestrator->history.size == 0) {
        for (size_t i = 0; i < orchestrator->entry_count; i++) {
            append_entry(orchestrator, &orchestrator->entries[i], &orchestrator->history);
            text_append_char(&orchestrator->history, '\n');
        }
    }
    return text_string(&orchestrator->history);
}

const char *backstep_orchestrator_data(struct backstep_orchestrator *orchestrator, const char *step)
{
    if (orchestrator == NULL) {
        return NULL;
    }
    const struct saga *saga = &orchestrator->saga;
    for (int i = 0; i < backstep_orchestrator_steps_total(orchestrator) && step != NULL; i++) {
        if (span_equal(saga->plan->steps[i].name, span_of(step))) {
            bool there = saga->steps[i]->executed && saga_step_text(saga->steps[i], TEXT_DATA).size > 0;
            text_clear(&orchestrator->data);
            return there && text_append_span(&orchestrator->data, saga_step_text(saga->steps[i], TEXT_DATA))
                       ? text_string(&orchestrator->data)
                       : NULL;
        }
    }
    return NULL;
}
