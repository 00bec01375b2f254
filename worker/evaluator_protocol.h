/* SPDX-License-Identifier: Apache-2.0 */
/* Between evaluator.c (the worker's side) and evaluator_process.c (the helper's). Both are the same build: no byte order, no versions.
 *
 * The helper says EVALUATOR_GREETING first, and nothing is said to it before: a program that has come to be something else than a helper is
 * not fed expressions. Then, again and again: struct evaluator_request, the input, and for each expression its size as uint32_t and its bytes;
 * answered with a struct evaluator_answer and its bytes for each, up to the first that fails. */
#ifndef EVALUATOR_PROTOCOL_H
#define EVALUATOR_PROTOCOL_H

#include "common/limits.h"

#include <stdint.h>

#define EVALUATOR_VARIABLE                                                                                                         \
    "BACKSTEP_EVALUATOR" /* in its environment, which nobody but the guard can give it, it makes the process a helper */
#define EVALUATOR_GREETING "jq here\n"
#define EVALUATOR_VALUE_BYTES LIMIT_CONTEXT_BYTES /* the most one expression may give */
#define EVALUATOR_INPUT_BYTES (2 * LIMIT_RECORD_BYTES) /* what a task carries, and the structure around it */

struct evaluator_request {
    uint32_t input_size, count;
};

struct evaluator_answer {
    uint32_t is_error;
    uint32_t size;
};

#endif
