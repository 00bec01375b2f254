/* SPDX-License-Identifier: Apache-2.0 */
/* What shall go wrong on the embedded broker of `backstep dev`, and when. Pure: faults_at() is a function of the faults and the time.
 *
 *     down=TIME                                         it is away for so long
 *     rtt=TIME[,for=TIME]                               each answer takes so much longer
 *     error=NAME[,request=NAME][,count=N][,delay=TIME]  so many requests are answered so
 *
 * each with [,after=TIME][,every=TIME]. */
#ifndef FAULTS_H
#define FAULTS_H

#include "common/bus_kafka.h"
#include "common/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAULTS_NEVER_MS INT64_MAX

enum fault_kind { FAULT_DOWN, FAULT_RTT, FAULT_ERROR };

struct fault {
    enum fault_kind kind;
    int64_t time_ms; /* of DOWN how long, of RTT how much longer */
    int64_t for_ms, after_ms, every_ms; /* 0: for good, at once, once */
    struct embedded_failure failure; /* of ERROR */
    int64_t begins_ms, ends_ms; /* next time; of this time */
};

struct faults {
    struct fault list[LIMIT_FAULTS];
    size_t count;
};

/* INVALID: what is wrong with it, and what could stand there. */
bool faults_add(struct faults *faults, const char *text, struct error *error);
/* Everything is up: `after` counts from here. */
void faults_begin(struct faults *faults, int64_t now_ms);

/* What is to be at `now_ms`, and what has become due since it was last asked. */
struct faults_state {
    bool down;
    int round_trip_ms;
    const struct embedded_failure *failures[LIMIT_FAULTS]; /* borrowed: to be put in force now */
    size_t failure_count;
    int64_t next_ms; /* when to ask again; FAULTS_NEVER_MS */
};
void faults_at(struct faults *faults, int64_t now_ms, struct faults_state *state);

#endif
