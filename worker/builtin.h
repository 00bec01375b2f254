/* SPDX-License-Identifier: Apache-2.0 */
/* The steps that every worker of ours serves, whatever else it does: PLAN_HANDLER_VALIDATE and PLAN_HANDLER_SCOPE. */
#ifndef BUILTIN_H
#define BUILTIN_H

#include "common/span.h"
#include "worker/backstep.h"

#include <stddef.h>

#define BUILTIN_STEPS 2

const struct backstep_step *builtin_step(size_t index); /* index < BUILTIN_STEPS */
const struct backstep_step *builtin_find(struct span handler); /* NULL: it is none */

#endif
