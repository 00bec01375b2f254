/* SPDX-License-Identifier: Apache-2.0 */
/* A pipeline of actions as one plan, and as the registry that serves it. */
#ifndef ACTION_PIPELINE_H
#define ACTION_PIPELINE_H

#include "common/arena.h"
#include "common/error.h"
#include "common/saga/plan.h"
#include "worker/backstep.h"

struct action_plan {
    const struct backstep_action_pipeline *pipeline; /* borrowed */
    struct plan plan;
    const struct backstep_step **steps; /* of the plan, one after the other */
    struct backstep_registry *registry; /* the handlers of all of them */
    struct backstep_registry **parts; /* of each action: what it made lives there */
    size_t part_count;
    struct arena arena;
};

/* INVALID: what is wrong with the pipeline, or with an action's steps. Owes action_plan_fini() either way. */
bool action_plan_init(struct action_plan *made, const struct backstep_action_pipeline *pipeline, struct error *error);
void action_plan_fini(struct action_plan *made);

/* The step that begins an action: its data are the action's params. */
extern const struct backstep_step action_merge_step;

#endif
