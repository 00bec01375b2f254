/* SPDX-License-Identifier: Apache-2.0 */
/* A trainer of the user's own: a step program, from the directory that the worker's environment names. */
#ifndef TRAINER_H
#define TRAINER_H

#include "worker/actions/action.h"

#define MODEL_FILE "model.json" /* in the workspace: what a trainer leaves there */

#define TRAINER_GRACE_MS 10000 /* from SIGTERM to SIGKILL: as a worker's --cancel-grace is by default */

/* Under the process's guard, run BACKSTEP_TRAINERS/NAME execute, with the step's context on its standard input and BACKSTEP_WORKSPACE in its environment. What it
 * says of data becomes the step's. INVALID: there is none of that name, or it left no model. */
bool trainer_run(const char *name, struct action_call *call, struct error *error);

#endif
