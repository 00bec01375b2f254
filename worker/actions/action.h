/* SPDX-License-Identifier: Apache-2.0 */
/* What the actions have in common: their steps as rows, each run with its params read and its workspace open. */
#ifndef ACTION_H
#define ACTION_H

#include "worker/actions/params.h"
#include "worker/actions/workspace.h"

#define ACTION_OWNER_BYTES 160
#define ACTION_KEEP_S (7 * 24 * 3600) /* how long what a settled run keeps for a late rollback stays: as long as its log */

/* The params every action has; put them at the end of a table. */
#define ACTION_PARAMS_COMMON(job_default)                                                                                          \
    {.name = "work",                                                                                                               \
     .kind = PARAM_TEXT,                                                                                                           \
     .unit = "path",                                                                                                               \
     .help = "directory for what is kept between the steps; all workers of the run see it"},                                       \
    {                                                                                                                              \
        .name = "job", .kind = PARAM_TEXT, .fallback = job_default, .unit = "identifier",                                          \
        .help = "tells two of one action in one run apart"                                                                         \
    }

struct action_call {
    struct backstep_context *context;
    struct backstep_result *result;
    struct action_values values;
    struct workspace workspace;
    char owner[ACTION_OWNER_BYTES]; /* RUN/JOB/TOKEN: no other run has it, not even one of the same id later */
    struct text data; /* what the step is to say when it succeeds: a JSON object; empty: nothing */
    bool skipped; /* rollback: there was nothing to undo */
};

struct action_part {
    const char *name; /* of the step in the action's own program */
    const char *handler; /* in the stock worker: ACTION.PART */
    double weight;
    const struct action_param *params;
    bool (*execute)(struct action_call *call, struct error *error);
    bool (*rollback)(struct action_call *call, struct error *error); /* NULL: nothing has to be undone */
    bool (*can_skip)(struct action_call *call); /* NULL: never */
    bool creates; /* makes the workspace */
};

#define ACTION_PARTS_MAX 8

/* An action: its parts, and room for them as steps. */
struct action {
    const char *name;
    const struct action_part *parts;
    int count;
    struct backstep_step *steps, *handlers; /* ACTION_PARTS_MAX each */
    struct backstep_param_spec specs[ACTION_PARAMS_MAX + 1]; /* filled in by action_publish() */
};

/* Register the parts as steps of a program (`initialize` ...), or as handlers of a worker (`upload.initialize` ...). */
void action_setup_steps(struct action *action, struct backstep_registry *registry);
void action_register_handlers(struct action *action, struct backstep_registry *registry);

/* An action as the public interface has it: its params and default steps, for backstep_action_main(), or for whoever gives it other steps
 * by `setup_steps`, which may call `default_steps` first. Borrows from `action`. */
void action_publish(struct action *action, struct backstep_action *published);

extern struct action upload_action, export_action, train_action;

/* All of them, for the stock worker. */
void actions_register(struct backstep_registry *registry);

#endif
