/* SPDX-License-Identifier: Apache-2.0 */
/* A worker as a process: signals, guard, pool, and a bus that is opened again for ever. */
#ifndef SERVE_H
#define SERVE_H

#include "common/error.h"
#include "worker/backstep.h"
#include "worker/guard.h"

#include <stdint.h>

struct serve_options {
    const char *brokers, *prefix, *queue;
    const char *id;                /* NULL: made of host and process id */
    const char *const *properties; /* "name=value" */
    size_t property_count;
    uint32_t slots, lease_ms, drain_timeout_ms, cancel_grace_ms;
    uint32_t max_tasks; /* leave after so many; 0: stay */
    int timeout_ms;
    struct guard *guard;           /* borrowed; NULL: none */
    const struct backstep_registry *registry;
    /* On SIGHUP: the registry to serve from now on, NULL to go on with the old one. NULL: SIGHUP is ignored. The old one and its
     * steps stay until release() is called, when no task uses them any more. */
    const struct backstep_registry *(*reload)(void *state);
    void (*release)(void *state);
    /* Does the step run as a program under the guard, and not in this process? NULL: none does. */
    bool (*is_program)(const struct backstep_step *step);
    void *state;
};

/* Serve until SIGTERM or SIGINT, then drain. Returns 0; or the exit code 5 (no broker answered at start) or 2 (a topic or an option is
 * wrong), with `error` filled. A second SIGTERM or SIGINT leaves at once. */
int serve_run(const struct serve_options *options, struct error *error);

#define SERVE_EXIT_USAGE 2
#define SERVE_EXIT_UNREACHABLE 5

#endif
