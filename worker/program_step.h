/* SPDX-License-Identifier: Apache-2.0 */
/* A step whose implementation is a program: one more struct backstep_step. */
#ifndef PROGRAM_STEP_H
#define PROGRAM_STEP_H

#include "worker/backstep.h"
#include "worker/guard.h"

#include <stdint.h>

struct program_step;

/* `name` and `path` are copied; `guard` is borrowed. Caller owes program_step_free(), when no attempt of it runs any more.
 * Aborts without memory. */
struct program_step *program_step_new(const char *name, const char *path, struct guard *guard, int64_t grace_ms);
void program_step_free(struct program_step *program); /* NULL is fine */
const struct backstep_step *program_step_of(const struct program_step *program); /* borrowed */
/* Is the step one of these? */
bool program_step_is(const struct backstep_step *step);

#endif
