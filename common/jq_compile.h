/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_JQ_COMPILE_H
#define COMMON_JQ_COMPILE_H

#include "common/error.h"
#include "common/span.h"

#include <stdbool.h>

/* Does libjq compile it, in a helper (jq_helper.h), within LIMIT_EXPRESSION_MS and LIMIT_EXPRESSION_MEMORY_BYTES? INVALID: why not, without the
 * expression; TRANSIENT: there was no helper to be had. */
bool jq_compile_apart(struct span expression, struct error *error);

#endif
