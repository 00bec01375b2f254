/* SPDX-License-Identifier: Apache-2.0 */
/* What a task asks its worker to evaluate before anything of the step is called: `each`, or `when`, the templates of its input, and `assert`. */
#ifndef EVALUATION_H
#define EVALUATION_H

#include "worker/attempt.h"
#include "worker/context.h"

/* true: go on with the step; the context's input is what its templates gave. false: `attempt` says how it has ended. */
bool evaluate_task(struct backstep_context *context, struct attempt *attempt);

#endif
