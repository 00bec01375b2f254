/* SPDX-License-Identifier: Apache-2.0 */
/* Plans by their bytes on the wire: what thousands of runs have in common is decoded, checked and kept once. */
#ifndef MESSAGES_PLANS_H
#define MESSAGES_PLANS_H

#include "common/saga/plan.h"
#include "common/span.h"

struct message_plans;

struct message_plans *message_plans_new(void); /* caller owes message_plans_free() */
void message_plans_free(struct message_plans *plans); /* with all that is still held; NULL is fine */

/* The plan of those bytes, NULL where it is not known. Borrowed until the next message_plans_hold(). */
const struct plan *message_plans_find(struct message_plans *plans, struct span bytes);

/* One more run has the plan of those bytes: where it is not known it is copied from `plan`. Caller owes message_plans_release().
 * NULL: `plan` cannot be run, or there are no bytes to know it by. */
const struct plan *message_plans_hold(struct message_plans *plans, struct span bytes, const struct plan *plan);
/* The same for one that message_plans_find() has returned. */
const struct plan *message_plans_hold_known(struct message_plans *plans, const struct plan *plan);
void message_plans_release(struct message_plans *plans, const struct plan *plan);

#endif
