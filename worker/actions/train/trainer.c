/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/train/trainer.h"

#include "common/names.h"
#include "worker/actions/formatted.h"
#include "worker/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    (void)stream;
    backstep_log(state, "%.*s", SPAN_ARGS(line));
}

/* The caller owes free(). NULL: there is none. A name from a run's params must not lead out of the directory. */
static char *find_program(const char *name, struct error *error)
{
    const char *directory = getenv("BACKSTEP_TRAINERS");
    if (!identifier_check(span_of(name), error)) {
        error_prefix(error, "param 'trainer'");
        return NULL;
    }
    if (directory == NULL || guard_of_process() == NULL) {
        error_set(error, ERROR_INVALID,
                  "param 'trainer': the worker has no trainers: BACKSTEP_TRAINERS names no directory of them");
        return NULL;
    }
    char *path = formatted("%s/%s", directory, name);
    if (access(path, X_OK) != 0) {
        error_set(error, ERROR_INVALID, "param 'trainer': %s: %s", path, strerror(errno));
        free(path);
        return NULL;
    }
    return path;
}

static bool judge(const struct program_outcome *outcome, struct action_call *call, struct error *error)
{
    if (outcome->kind != PROGRAM_SUCCEEDED) {
        const char *reason = outcome->kind == PROGRAM_SKIPPED ? "it left the training out" : outcome->error;
        return error_set(error, outcome->permanent ? ERROR_INVALID : ERROR_TRANSIENT, "%s", reason != NULL ? reason : "");
    }
    if (!workspace_has(&call->workspace, MODEL_FILE)) {
        return error_set(error, ERROR_INVALID, "the trainer left no " MODEL_FILE " in the directory BACKSTEP_WORKSPACE");
    }
    return outcome->data == NULL || text_append_string(&call->data, outcome->data);
}

bool trainer_run(const char *name, struct action_call *call, struct error *error)
{
    char *path = find_program(name, error);
    const char *input = path != NULL ? backstep_context_json(call->context) : NULL;
    if (input == NULL) {
        free(path);
        return path == NULL ? false : error_set(error, ERROR_INVALID, "%s", backstep_error(call->context));
    }
    char *workspace = formatted("BACKSTEP_WORKSPACE=%s", call->workspace.path);
    const char *const environment[] = {workspace, NULL};
    struct program_request request = {
        .path = path,
        .direction = PROGRAM_EXECUTE,
        .input = span_of(input),
        .environment = environment,
        .cancel_fd = backstep_cancel_fd(call->context),
        .grace_ms = TRAINER_GRACE_MS,
        .listener = {.progressed = on_progress, .measured = on_metrics, .logged = on_line, .state = call->context}};
    struct program_outcome outcome = {0};
    program_run(guard_of_process(), &request, &outcome);
    bool ok = judge(&outcome, call, error);
    program_outcome_fini(&outcome);
    free(workspace);
    free(path);
    return ok;
}
