/* SPDX-License-Identifier: Apache-2.0 */
/* The order of a plan's steps, for people. PURE: no clock, no I/O. */
#ifndef PLAN_DRAWING_H
#define PLAN_DRAWING_H

#include "common/saga/plan.h"
#include "common/text.h"

#include <stdbool.h>
#include <stdint.h>

/* One line a step, the earliest first; those that may run at the same time stand in one bracket. A step says what it comes after where
 * that is not the whole bracket above. `plan` must be without problems. Lines are narrower than `columns`. */
void plan_draw(const struct plan *plan, uint32_t columns, bool utf8, struct text *out);

#endif
