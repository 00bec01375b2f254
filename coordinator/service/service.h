/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator: takes progress partitions, folds their records and does what is due. One thread, one bus.
 *
 * It may use common/, dispatch/ and the bus seam; it knows neither Kafka nor protobuf nor a clock (it is given one). */
#ifndef SERVICE_H
#define SERVICE_H

#include "common/bus.h"
#include "common/error.h"

#include <stdint.h>

struct service;

/* Tasks go ahead to workers whose window is so many times their slots: their steps take less than 6 ms, beside which a round
 * trip counts. Longer ones are better given to whoever is free by then. */
#define SERVICE_AHEAD_AUTO 8
#define SERVICE_AHEAD_ALWAYS 1 /* a window is never less than the slots; also where tasks that were sent ahead had to be dropped */

struct service_options {
    const char *prefix;
    const char *name;            /* of this coordinator: host-pid or the like; named in claims */
    int session_ms; /* > 0: the coordinators of the prefix share the partitions as a group; who is silent for so long is out of it */
    int32_t own_first, own_last; /* else: these progress partitions; own_last -1: to the last one */
    int32_t progress_partitions; /* for a topic that has to be created */
    int64_t retention_ms;        /* what is older and needed by no run is deleted; 0: nothing is */
    bool begin_at_first;         /* where no checkpoint is committed and the log has lost its beginning: begin with what is left */
    bool has_log;                /* it was there: where it is not any more, no empty one is made in its place, on which nobody would miss a run */
    int64_t checkpoint_bytes;    /* how much log a run may fall behind before its state is written anew; 0: 64 MiB, or 4 times the live state */
    uint32_t ahead_from;         /* tasks go ahead to workers whose window is so many times their slots; 0: to nobody; SERVICE_AHEAD_AUTO */
    int timeout_ms;              /* for the broker's answers at start */
    int64_t (*monotonic_ms)(void *clock); /* time that never jumps */
    void *clock;                          /* handed to monotonic_ms */
    void (*random)(void *bytes, size_t size);
};

enum service_state {
    SERVICE_WORKING,
    SERVICE_SUPERSEDED, /* another coordinator has claimed a partition of ours: the error names it. Exit, do not come back */
    SERVICE_FATAL,      /* the bus no longer knows what it published: close it, open a new one, begin anew */
    SERVICE_FAILED,     /* a partition cannot be owned (its log is gone, a topic is wrong): the error says how to mend it */
};

/* Ensure the topics, append the claims and begin to replay. `bus` is borrowed until service_free(). NULL with an error: TRANSIENT the
 * broker did not answer, INVALID a topic is wrong, REJECTED records that a recovery needs are gone. */
struct service *service_new(struct bus *bus, const struct service_options *options, struct error *error);
void service_free(struct service *service);

/* Take in what the bus has, do what is due; waits at most `timeout_ms` for something to happen, less if a deadline comes sooner. */
enum service_state service_step(struct service *service, int timeout_ms, struct error *error);

/* Append the answers and ends that wait some milliseconds for more of them: before it is stopped. Else the next owner says them. */
void service_say_words(struct service *service);

/* Every owned partition has been replayed up to its own claim, and the workers read: from here on it acts. */
bool service_is_ready(const struct service *service);
/* The group of coordinators has taken it in, whether or not there is a partition for it. Never with a list. */
bool service_has_joined(const struct service *service);

#endif
