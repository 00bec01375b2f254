/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of saga/ only. */
#ifndef SAGA_INTERNAL_H
#define SAGA_INTERNAL_H

#include "common/saga/saga.h"

/* Take `size` aligned bytes from the room the caller has provided; the room was asked for, so it is there. */
void *room_take(struct saga *saga, size_t size);
/* Keep a copy of `from` in `to`, in the place of what `to` had where it fits: a field that is set again and again does not grow. */
void room_keep(struct saga *saga, struct span *to, struct span from);
/* Join pieces into one kept span. */
void room_keep_joined(struct saga *saga, struct span *to, const struct span *pieces, size_t count);

static inline bool step_is_done(const struct saga_step *step)
{
    return step->status == STEP_SUCCEEDED || step->status == STEP_SKIPPED;
}

void progress_update(struct saga *saga);

bool deadline_of(const struct saga *saga, uint32_t index, struct saga_deadline *deadline);

#endif
