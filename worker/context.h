/* SPDX-License-Identifier: Apache-2.0 */
/* What stands behind struct backstep_context and struct backstep_result: one attempt of one step, as its function sees it. */
#ifndef CONTEXT_H
#define CONTEXT_H

#include "common/messages.h"
#include "common/text.h"
#include "worker/backstep.h"
#include "worker/cancellation.h"

#include <jansson.h>

struct evaluator;

/* Whoever runs the attempt, as the context sees him. Called on the step's thread. All but `progressed` may be NULL. */
struct context_listener {
    /* Where progress and metrics go. `total` 0: only metrics. */
    void (*progressed)(void *state, uint64_t current, uint64_t total, struct span metrics);
    void (*logged)(void *state, const struct log_line *line); /* else they go to the process's own log */
    void (*log_dropped)(void *state, uint64_t lines, uint64_t bytes); /* likewise; at the end of the attempt */
    void *state;
    /* Before anything of the step is called, can_skip included; what is not BACKSTEP_SUCCEEDED ends the attempt. */
    enum backstep_outcome (*before)(void *state, struct backstep_context *context, struct backstep_result *result);
    /* Results and shared values are wanted: fill them into the context's task, which came without. */
    void (*need)(void *state, struct backstep_context *context);
    /* The clock for timeouts; else it is the monotonic one. */
    int64_t (*now_ms)(void *state);
    struct evaluator *evaluator; /* of its expressions; NULL: a task with expressions fails */
};

struct context_note; /* memory that lives as long as the context */

struct backstep_context {
    const struct task *task; /* borrowed */
    const struct backstep_step *step;
    struct cancellation *cancellation;
    struct context_listener listener;
    const char *run_id, *pipeline, *step_name, *key; /* made when asked for */
    json_t *params, *input, *results, *shared; /* parsed when asked for */
    json_t *own_params, *own_input; /* with what their references stand for: for the step alone */
    json_t *set, *metrics; /* what the step has said */
    char *json;
    uint64_t logged_bytes;                   /* see step_log.h */
    uint64_t unlogged_lines, unlogged_bytes; /* not told yet */
    json_t *errors;
    int64_t deadline_ms; /* by the listener's clock; 0: none */
    bool needed; /* listener.need was called */
    bool lost; /* its program went down with the guard or the lease: nobody knows what it did */
    struct context_note *notes;
    char error[512]; /* last: only its first byte is cleared */
};

struct backstep_result {
    enum backstep_outcome outcome;
    char *data, *rollback_data, *error; /* NULL: none */
    json_t *data_json, *rollback_json; /* the same, parsed when asked for */
    int64_t time_ms; /* when it ended; 0: not yet */
    bool foreign; /* it was told, not made here */
    char timestamp[32];
};

void context_init(struct backstep_context *context, const struct task *task, const struct backstep_step *step,
                  struct cancellation *cancellation, const struct context_listener *listener);
void context_fini(struct backstep_context *context);

/* What expressions see: {params, steps, shared}, and of an instance element and index. NULL: the task is no JSON, see backstep_error().
 * The caller owes json_decref(). */
json_t *context_view(struct backstep_context *context);
/* `input` is what its templates gave; a reference of its own is taken. */
void context_set_input(struct backstep_context *context, json_t *input);

void result_init(struct backstep_result *result);
/* The result that a rollback is given. */
void result_from(struct backstep_result *result, const struct step_result *from);
void result_fini(struct backstep_result *result);

/* Call the step with `done` and `result` as the attempt goes: execute or rollback, whatever is in it. */
enum backstep_outcome step_call(const struct backstep_step *step, struct backstep_context *context,
                                const struct backstep_result *done, struct backstep_result *result);

/* Any JSON value as compact text, numbers as short as they are exact. NULL: out of memory, or no value. The caller owes free(). */
char *json_text(const json_t *value);

/* "RUN/STEP/INSTANCE/execute": a function of (run, step, instance, direction) alone. The caller owes free(). */
char *idempotency_key(const struct task *task);

#endif
