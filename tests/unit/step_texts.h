/* SPDX-License-Identifier: Apache-2.0 */
/* What a step has, for a state made by hand: `.work = WORK(.begun_ms = 5, .texts = STEP_TEXT(TEXT_ERROR, "disk is full"))`. Lives as long as the
 * block where it stands. */
#ifndef STEP_TEXTS_H
#define STEP_TEXTS_H

#include "common/saga/saga.h"

#define WORK(...)                                                                                                                  \
    &(struct saga_step_work)                                                                                                       \
    {                                                                                                                              \
        __VA_ARGS__                                                                                                                \
    }
#define STEP_TEXT_BEFORE(kind_, string_, next_)                                                                                    \
    &(struct saga_text)                                                                                                            \
    {                                                                                                                              \
        .bytes = (string_), .size = sizeof(string_) - 1, .kind = (kind_), .next = (next_)                                          \
    }
#define STEP_TEXT(kind, string) STEP_TEXT_BEFORE(kind, string, NULL)

#endif
