/* SPDX-License-Identifier: Apache-2.0 */
/* A run without Kafka: the saga core every coordinator has, with this process as its only worker and memory as its log. */
#ifndef IN_PROCESS_H
#define IN_PROCESS_H

#include "common/arena.h"
#include "common/error.h"
#include "common/saga/plan.h"
#include "common/text.h"
#include "worker/backstep.h"
#include "worker/cancellation.h"

/* The registry as a plan, one step after the other; a step without rollback is `rollback: none`. It lives in `arena`. */
bool plan_of_registry(const struct backstep_registry *registry, const char *name, struct arena *arena, struct plan *plan, struct error *error);

struct in_process_options {
    const struct backstep_registry *registry;
    const struct plan *plan;
    const char *run_id;
    struct span params;                /* a JSON object */
    struct cancellation *cancellation; /* raised by a signal: the run is cancelled and rolled back */
};

/* Run it to its end. Appends one JSON object, with the keys of `backstep run -o json`, to `summary`; returns the exit code: 0 succeeded,
 * 1 failed and rolled back, 3 rollback incomplete, 4 cancelled. */
int in_process_run(const struct in_process_options *options, struct text *summary);

#endif
