/* SPDX-License-Identifier: Apache-2.0 */
/* Carries what steps log to <prefix>.logs, on a thread and a connection of its own: whatever becomes of that topic, no run is slower for
 * it and none fails. What it cannot carry in time it drops, and counts. It connects when there is the first line to carry. */
#ifndef LOG_SHIPPER_H
#define LOG_SHIPPER_H

#include "common/bus.h"
#include "common/error.h"
#include "worker/step_log.h"

struct log_shipper;

struct log_shipper_options {
    const char *prefix, *worker; /* borrowed */
    int timeout_ms; /* for the broker's answers */
    /* A connection; NULL: not now, it will be tried again. Called on the shipper's thread. */
    struct bus *(*open)(void *state, struct error *error);
    void *state;
};

/* `options` is copied. NULL: no thread could be made. Caller owes log_shipper_free(). */
struct log_shipper *log_shipper_new(const struct log_shipper_options *options, struct error *error);
/* Hands over what is left, for at most `flush_ms`. Nobody may use its sink any more. NULL is fine. */
void log_shipper_free(struct log_shipper *shipper, int flush_ms);

/* Takes lines from any thread, and never waits for the log. */
struct log_sink log_shipper_sink(struct log_shipper *shipper);

#endif
