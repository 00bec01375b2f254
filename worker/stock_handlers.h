/* SPDX-License-Identifier: Apache-2.0 */
/* What every stock worker can do beside its programs: the names alone, for who checks a pipeline without linking the actions. */
#ifndef STOCK_HANDLERS_H
#define STOCK_HANDLERS_H

#include "common/span.h"

#include <stdbool.h>

bool stock_handler_is(struct span handler);
extern const char *const stock_handlers[]; /* NULL ends it */

#endif
