/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands of a program whose steps are C functions. */
#ifndef LIBRARY_H
#define LIBRARY_H

#include "common/defaults.h"
#include "common/error.h"
#include "common/saga/plan.h"
#include "common/text.h"
#include "worker/action_pipeline.h"
#include "worker/backstep.h"
#include "worker/context.h"

#define LIBRARY_USAGE 2

/* One call of the program. */
struct library_call {
    const char *program; /* without its directory */
    const char *pipeline; /* its name */
    const struct backstep_action *action; /* NULL: there is only a registry */
    const struct action_plan *actions; /* NULL: it is no pipeline of actions */
    struct backstep_registry *registry;
    struct options *options;
    const char *const *arguments;
    size_t argument_count;
};

int library_complain(const struct library_call *call, const char *message);
/* Print it with a newline; a full disk or a closed pipe is not success. Returns the exit code. */
int library_print(const struct text *text, int code);

/* The parameters of the run, from -p and --params, checked against what the action declares and with its defaults: a JSON object. */
bool library_params(const struct library_call *call, struct text *json, struct error *error);

/* What the action declares, for its help. */
void library_append_params(const struct library_call *call, struct text *text);

/* The plan as a pipeline file; what the action declares, and what is given here, are its params. */
bool library_append_plan(const struct library_call *call, const struct plan *plan, struct span params, struct text *text,
                         struct error *error);

/* Call one step with a context from standard input, and print what it said. */
int library_test_step(const struct library_call *call);
/* The same for any step and context (an object): appends {"outcome", "permanent", "data", ...} to `text`. Returns whether it went well. */
bool library_call_step(const struct backstep_step *step, const char *pipeline, json_t *context,
                       const struct context_listener *listener, struct text *text);

#endif
