/* SPDX-License-Identifier: Apache-2.0 */
/* Wrappers: one function around the rest of the chain. A wrapper of a program is made with backstep_wrap(); those a task names are put around
 * the step while it runs, which then keeps its name. */
#ifndef WRAP_H
#define WRAP_H

#include "worker/context.h"

extern const struct backstep_wrapper wrapper_logging, wrapper_timing, wrapper_fault;

/* Call `step` within the wrappers that the context's task names, the outermost first. One that is not known is a permanent failure. */
enum backstep_outcome wrap_call(const struct backstep_step *step, struct backstep_context *context,
                                const struct backstep_result *done, struct backstep_result *result);

#endif
