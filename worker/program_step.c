/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/program_step.h"

#include "common/json.h"
#include "worker/context.h"
#include "worker/program.h"
#include "worker/step_log.h"

#include <stdio.h>
#include <stdlib.h>

#define VARIABLES 6

struct program_step {
    struct backstep_step step;
    char *name, *path;
    struct guard *guard;
    int64_t grace_ms;
};

static void on_progress(void *state, int64_t current, int64_t total)
{
    backstep_set_progress(state, current, total);
}

static void on_metrics(void *state, struct span metrics)
{
    backstep_set_metrics(state, "%.*s", SPAN_ARGS(metrics));
}

static void on_line(void *state, enum program_stream stream, struct span line)
{
    step_log_program(state, stream == PROGRAM_STDERR ? LOG_SOURCE_STDERR : LOG_SOURCE_STDOUT, line);
}

/* "NAME=VALUE" for each of VARIABLES, NULL-terminated; the caller owes free_environment(). */
static void make_environment(const struct backstep_context *context, char *environment[VARIABLES + 1])
{
    char attempt[16];
    snprintf(attempt, sizeof attempt, "%d", backstep_attempt(context));
    const char *const variables[VARIABLES][2] = {
        {"RUN_ID", backstep_run_id(context)},
        {"PIPELINE", backstep_pipeline(context)},
        {"STEP", backstep_step_name(context)},
        {"DIRECTION", backstep_is_rollback(context) ? "rollback" : "execute"},
        {"ATTEMPT", attempt},
        {"IDEMPOTENCY_KEY", backstep_idempotency_key(context)},
    };
    for (size_t i = 0; i < VARIABLES; i++) {
        if (asprintf(&environment[i], "BACKSTEP_%s=%s", variables[i][0], variables[i][1]) < 0) {
            abort();
        }
    }
    environment[VARIABLES] = NULL;
}

static void free_environment(char *environment[VARIABLES + 1])
{
    for (size_t i = 0; i < VARIABLES; i++) {
        free(environment[i]);
    }
}

static enum backstep_outcome judge(struct backstep_context *context, struct backstep_result *result, const struct program_outcome *outcome)
{
    const char *error = outcome->error != NULL ? outcome->error : "";
    if (outcome->data != NULL) {
        backstep_result_set_data(result, "%s", outcome->data);
    }
    if (outcome->rollback_data != NULL) {
        backstep_result_set_rollback_data(result, "%s", outcome->rollback_data);
    }
    if (outcome->set != NULL) {
        context->set = json_read_object(span_of(outcome->set), NULL);
    }
    switch (outcome->kind) {
    case PROGRAM_SUCCEEDED: return backstep_succeed(result, NULL);
    case PROGRAM_SKIPPED: return backstep_skip(result);
    case PROGRAM_LOST: context->lost = true; return backstep_fail(result, "%s", error);
    case PROGRAM_FAILED: break;
    }
    return outcome->permanent ? backstep_fail_permanently(result, "%s", error) : backstep_fail(result, "%s", error);
}

static enum backstep_outcome run(struct backstep_context *context, struct backstep_result *result)
{
    const struct program_step *program = backstep_state(context);
    const char *input = backstep_context_json(context);
    if (input == NULL) {
        return backstep_fail_permanently(result, "%s", backstep_error(context));
    }
    char *environment[VARIABLES + 1];
    make_environment(context, environment);
    struct program_request request = {
        .path = program->path,
        .direction = backstep_is_rollback(context) ? PROGRAM_ROLLBACK : PROGRAM_EXECUTE,
        .input = span_of(input),
        .environment = (const char *const *)environment,
        .cancel_fd = backstep_cancel_fd(context),
        .grace_ms = program->grace_ms,
        .listener = {.progressed = on_progress, .measured = on_metrics, .logged = on_line, .state = context}};
    struct program_outcome outcome = {0};
    program_run(program->guard, &request, &outcome);
    enum backstep_outcome judged = judge(context, result, &outcome);
    step_log_dropped(context, outcome.dropped_lines, outcome.dropped_bytes);
    program_outcome_fini(&outcome);
    free_environment(environment);
    return judged;
}

static enum backstep_outcome roll_back(struct backstep_context *context, const struct backstep_result *done, struct backstep_result *result)
{
    (void)done; /* the program reads it in its context */
    return run(context, result);
}

struct program_step *program_step_new(const char *name, const char *path, struct guard *guard, int64_t grace_ms)
{
    struct program_step *program = calloc(1, sizeof *program);
    if (program == NULL || (program->name = strdup(name)) == NULL || (program->path = strdup(path)) == NULL) {
        abort();
    }
    program->guard = guard;
    program->grace_ms = grace_ms;
    program->step =
        (struct backstep_step){.name = program->name, .execute = run, .rollback = roll_back, .state = program};
    return program;
}

void program_step_free(struct program_step *program)
{
    if (program != NULL) {
        free(program->name);
        free(program->path);
        free(program);
    }
}

const struct backstep_step *program_step_of(const struct program_step *program)
{
    return &program->step;
}

bool program_step_is(const struct backstep_step *step)
{
    return step->execute == run;
}
