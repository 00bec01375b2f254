/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/in_process.h"

#include "common/clock.h"
#include "common/limits.h"
#include "common/names.h"
#include "common/pipeline.h"
#include "common/runs.h"
#include "common/runs_task.h"
#include "worker/attempt.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#define QUEUE "default"

bool plan_of_registry(const struct backstep_registry *registry, const char *name, struct arena *arena, struct plan *plan, struct error *error)
{
    uint32_t count = (uint32_t)backstep_registry_count(registry);
    struct plan_step *steps = arena_take_array(arena, count, sizeof *steps);
    uint32_t *needs = arena_take_array(arena, count, sizeof *needs);
    uint32_t *weights = arena_take_array(arena, count, sizeof *weights);
    double *shares = arena_take_array(arena, count, sizeof *shares);
    if (arena->failed) {
        return error_set(error, ERROR_TRANSIENT, "out of memory");
    }
    for (uint32_t i = 0; i < count; i++) {
        shares[i] = backstep_registry_step(registry, (int)i)->weight;
    }
    if (!pipeline_set_weights(weights, shares, count)) {
        return error_set(error, ERROR_INVALID, "a step's weight is negative or no number");
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct backstep_step *step = backstep_registry_step(registry, (int)i);
        needs[i] = i > 0 ? i - 1 : 0;
        steps[i] = (struct plan_step){.name = span_of(step->name),
                                      .handler = span_of(step->name),
                                      .queue = span_of(QUEUE),
                                      .weight = weights[i],
                                      .needs = &needs[i],
                                      .needs_count = i > 0 ? 1 : 0,
                                      .rollback_none = step->rollback == NULL,
                                      .retry = PLAN_RETRY_DEFAULT};
    }
    *plan = (struct plan){.name = span_of(name), .steps = steps, .step_count = count};
    return true;
}

/* The log of this run: each record is folded the moment it is "written". */
struct tape {
    const struct in_process_options *options;
    struct runs *runs;
    struct run *run;
    int64_t offset, time_ms;
    bool cancel_said;
    struct ticket ticket; /* of the task that runs */
};

static void write_record(struct tape *tape, struct message *message)
{
    int64_t now_ms = clock_realtime_ms();
    struct run *run = NULL;
    tape->time_ms = now_ms > tape->time_ms ? now_ms : tape->time_ms; /* a log's time never goes back */
    message->event.run_id = span_of(tape->options->run_id);
    message->epoch = runs_epoch(tape->runs);
    runs_apply(tape->runs, message, tape->offset++, tape->time_ms, &run);
    tape->run = run != NULL ? run : tape->run;
}

static void write_start(struct tape *tape)
{
    struct message message = {.kind = MESSAGE_START,
                              .progress_partitions = 1,
                              .event = {.kind = EVENT_START,
                                        .plan = tape->options->plan,
                                        .params = tape->options->params,
                                        .fold_version = SAGA_FOLD_VERSION}};
    random_bytes(message.event.request_id, sizeof message.event.request_id);
    write_record(tape, &message);
}

static void write_cancel(struct tape *tape)
{
    struct message message = {.kind = MESSAGE_CANCEL, .event = {.kind = EVENT_CANCEL}};
    random_bytes(message.event.request_id, sizeof message.event.request_id);
    tape->cancel_said = true;
    write_record(tape, &message);
}

static void write_answer(struct tape *tape, const struct saga_request *request)
{
    struct message message = {.kind = MESSAGE_ANSWERED,
                              .verdict = (enum verdict)request->verdict,
                              .event = {.kind = EVENT_ANSWERED, .reason = request->reason}};
    memcpy(message.event.request_id, request->id, sizeof request->id);
    write_record(tape, &message);
}

static void write_simple(struct tape *tape, enum message_kind kind, enum saga_event_kind event, struct ticket ticket)
{
    struct message message = {.kind = kind, .event = {.kind = event, .ticket = ticket, .worker = span_of("this process")}};
    write_record(tape, &message);
}

static void on_progress(void *state, uint64_t current, uint64_t total, struct span metrics)
{
    struct tape *tape = state;
    struct message message = {.kind = MESSAGE_PROGRESSED,
                              .event = {.kind = EVENT_PROGRESSED,
                                        .ticket = tape->ticket,
                                        .current = current,
                                        .total = total,
                                        .metrics = metrics}};
    write_record(tape, &message);
}

static void write_done(struct tape *tape, const struct attempt *attempt)
{
    struct message message = {.kind = MESSAGE_DONE,
                              .event = {.kind = EVENT_DONE,
                                        .ticket = tape->ticket,
                                        .outcome = attempt->outcome,
                                        .permanent = attempt->permanent,
                                        .data = span_of(attempt->data),
                                        .rollback_data = span_of(attempt->rollback_data),
                                        .set = span_of(attempt->set),
                                        .metrics = span_of(attempt->metrics),
                                        .error = span_of(attempt->error),
                                        .worker = span_of("this process")}};
    write_record(tape, &message);
}

/* ---------------------------------------------------------------- a task, as a coordinator would send it */

static void run_task(struct tape *tape, struct ticket ticket)
{
    struct runs_task filled;
    runs_task_fill(&filled, &tape->run->saga, ticket, false);
    bool rolls_back = ticket.direction == DIRECTION_ROLLBACK;
    struct cancellation never = {0}; /* a rollback goes on though someone asked for the end of the run: it is the way there */
    struct context_listener listener = {.progressed = on_progress, .state = tape};
    struct attempt attempt = {0};
    tape->ticket = ticket;
    write_simple(tape, MESSAGE_STARTED, EVENT_STARTED, ticket);
    attempt_run(&attempt, &filled.task, backstep_registry_step(tape->options->registry, (int)ticket.step),
                rolls_back ? &never : tape->options->cancellation, &listener);
    if (cancellation_requested(tape->options->cancellation) && !tape->cancel_said) {
        write_cancel(tape);
    }
    write_done(tape, &attempt);
    attempt_fini(&attempt);
    cancellation_fini(&never);
    runs_task_free(&filled);
}

/* Do the first thing that is due. false: nothing is. */
static bool do_next(struct tape *tape)
{
    struct saga_effect effect;
    struct saga_cursor cursor = {0};
    if (cancellation_requested(tape->options->cancellation) && !tape->cancel_said) {
        write_cancel(tape);
    }
    if (!saga_next_effect(&tape->run->saga, &cursor, &effect)) {
        return false;
    }
    switch (effect.kind) {
    case EFFECT_ANSWER: write_answer(tape, effect.request); break;
    case EFFECT_DISPATCH: run_task(tape, effect.ticket); break;
    case EFFECT_HOLD:
    case EFFECT_CANCEL_TASK: write_simple(tape, MESSAGE_WITHDRAWN, EVENT_WITHDRAWN, effect.ticket); break;
    case EFFECT_FINISH: write_simple(tape, MESSAGE_RUN_FINISHED, EVENT_FINISHED, (struct ticket){0}); break;
    }
    return true;
}

static void wait_for_deadline(struct tape *tape)
{
    struct saga_deadline deadline = {0};
    bool armed = saga_next_deadline(&tape->run->saga, &deadline);
    assert(armed); /* every unfinished run has something outstanding */
    int64_t wait_ms = deadline.due_ms - clock_realtime_ms();
    if (wait_ms > 0) {
        struct timespec pause = {.tv_sec = wait_ms / 1000, .tv_nsec = (wait_ms % 1000) * 1000000};
        nanosleep(&pause, NULL); /* a signal ends it early: then it is looked at again */
        return;
    }
    struct message message = {.kind = MESSAGE_TIMER_FIRED,
                              .event = {.kind = EVENT_TIMER_FIRED, .timer = deadline.timer, .ticket = deadline.ticket}};
    write_record(tape, &message);
}

/* ---------------------------------------------------------------- what is printed */

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
    const struct saga_step *step = &saga->steps[index];
    text_append_string(out, index > 0 ? ", {" : "{");
    append_text(out, "name", saga->plan->steps[index].name);
    text_format(out, ", \"status\": \"%s\", \"attempts\": %u", step_status_name((enum step_status)step->status), step->execute_attempts);
    append_seconds(out, step->begun_ms, step->ended_ms);
    text_append_string(out, ", \"data\": ");
    text_append_span(out, step->executed && step->data.size > 0 ? step->data : span_of("null")); /* attempt_run() saw that it is JSON */
    text_append_string(out, ", ");
    append_text(out, "error", step->error);
    text_append_string(out, ", ");
    append_text(out, "rollback_error", step->rollback_error);
    text_append_char(out, '}');
}

static void summarize(const struct tape *tape, struct text *out)
{
    const struct saga *saga = &tape->run->saga;
    text_format(out, "{\"success\": %s, \"steps_executed\": %u, \"steps_total\": %u, ", saga->status == RUN_SUCCEEDED ? "true" : "false",
                saga_steps_executed(saga), saga->plan->step_count);
    append_text(out, "run_id", saga->run_id);
    text_append_string(out, ", ");
    append_text(out, "pipeline", saga->plan->name);
    text_format(out, ", \"status\": \"%s\", \"progress\": %g, ", run_status_name((enum run_status)saga->status), saga->progress_ppm / 1e4);
    append_text(out, "error", saga->error);
    append_seconds(out, saga->started_ms, saga->finished_ms);
    text_append_string(out, ", \"steps\": [");
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        append_step(out, saga, i);
    }
    text_append_string(out, "]}");
}

/* Without a step there was nothing to do, and it has gone well. */
static void summarize_nothing(const struct in_process_options *options, struct text *text)
{
    text_append_string(text, "{\"success\": true, \"steps_executed\": 0, \"steps_total\": 0, \"run_id\": ");
    text_append_json_string(text, span_of(options->run_id));
    text_append_string(text, ", \"pipeline\": ");
    text_append_json_string(text, options->plan->name);
    text_append_string(text, ", \"status\": \"succeeded\", \"progress\": 100, \"error\": null, \"duration_seconds\": 0.000, \"steps\": []}");
}

static const int exit_codes[] = {
    [RUN_SUCCEEDED] = 0, [RUN_ROLLED_BACK] = 1, [RUN_ROLLBACK_INCOMPLETE] = 3, [RUN_CANCELLED] = 4};

int in_process_run(const struct in_process_options *options, struct text *summary)
{
    if (options->plan->step_count == 0) {
        summarize_nothing(options, summary);
        return 0;
    }
    struct tape tape = {.options = options, .runs = runs_new(1), .time_ms = 1};
    write_start(&tape);
    while (!saga_is_settled(&tape.run->saga)) {
        if (!do_next(&tape)) {
            wait_for_deadline(&tape);
        }
    }
    summarize(&tape, summary);
    enum run_status status = (enum run_status)tape.run->saga.status;
    runs_free(tape.runs);
    return run_status_is_final(status) ? exit_codes[status] : 3;
}
