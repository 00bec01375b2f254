/* SPDX-License-Identifier: Apache-2.0 */
/* Between evaluator.c (the worker's side) and evaluator_process.c (the helper's). Both are the same build: no byte order, no versions.
 *
 * After the greeting (common/jq_helper.h), again and again: struct evaluator_request, the input, and for each expression its size as uint32_t and its bytes;
 * answered with a struct evaluator_answer and its bytes for each, up to the first that fails. */
#ifndef EVALUATOR_PROTOCOL_H
#define EVALUATOR_PROTOCOL_H

#include "common/limits.h"

#include <stdint.h>

#define EVALUATOR_ROLE "evaluate"
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
