/* SPDX-License-Identifier: Apache-2.0 */
/* A run without Kafka: the saga core every coordinator has, with this process as its only worker and memory as its log. What of it is not
 * public: the clock, and who may step in. */
#ifndef ORCHESTRATOR_H
#define ORCHESTRATOR_H

#include "common/arena.h"
#include "common/error.h"
#include "common/saga/plan.h"
#include "worker/backstep.h"
#include "worker/cancellation.h"

/* The registry as a plan: one step after the other where it says nothing else; a step without rollback is `rollback: none`. It lives in
 * `arena`. INVALID: needs of what is not registered, or in a circle. */
bool plan_of_registry(const struct backstep_registry *registry, const char *name, struct arena *arena, struct plan *plan,
                      struct error *error);

struct orchestrator_clock {
    int64_t (*now_ms)(void *state); /* realtime */
    void (*wait_ms)(void *state, int64_t wait_ms);
    void *state;
};
/* Run by this clock; it must outlive the orchestrator. */
void orchestrator_set_clock(struct backstep_orchestrator *orchestrator, const struct orchestrator_clock *clock);

/* Called before each call of a step, both ways; like the public hook, and before it. */
void orchestrator_intercept(struct backstep_orchestrator *orchestrator,
                            enum backstep_outcome (*hook)(void *state, struct backstep_context *context,
                                                          struct backstep_result *result),
                            void *state);

/* Be cancelled by this one, which a signal handler may raise, instead of by one of its own. */
void orchestrator_set_cancellation(struct backstep_orchestrator *orchestrator, struct cancellation *cancellation);

/* Run this plan, whose step i is `steps[i]`, instead of the registry's, which must not change any more. Borrowed until it is freed. */
void orchestrator_set_plan(struct backstep_orchestrator *orchestrator, const struct plan *plan,
                           const struct backstep_step *const *steps);

/* Of a run that is paused because a step failed: go on with that step, or roll back. Returns whether all went well; false also where it is not
 * paused. */
bool orchestrator_go_on(struct backstep_orchestrator *orchestrator, bool retry);

/* The exit code of a program that did nothing but this: 0 succeeded, 1 failed and rolled back, 2 could not begin, 3 rollback incomplete,
 * 4 cancelled. */
int orchestrator_exit_code(const struct backstep_orchestrator *orchestrator);

#endif
