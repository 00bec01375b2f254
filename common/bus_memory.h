/* SPDX-License-Identifier: Apache-2.0 */
/* The bus in memory, for simulations: one thread, virtual time, and faults that one seed decides.
 *
 * Nothing here waits: bus_poll() ignores its timeout and gives what is there at the cluster's time; bus_flush() lets everything
 * the bus has sent arrive at once. A simulation sets the time, polls everybody until nothing comes, and goes on to memory_cluster_next_ms(). */
#ifndef BUS_MEMORY_H
#define BUS_MEMORY_H

#include "common/bus.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory_cluster;

/* The same seed and the same calls give the same run. The time is 1 at first: a record's time is never 0. */
struct memory_cluster *memory_cluster_new(uint64_t seed); /* caller owes memory_cluster_free(), after its buses are closed */
void memory_cluster_free(struct memory_cluster *cluster);
struct bus *bus_memory_open(struct memory_cluster *cluster); /* caller owes bus_close() */

/* ---- time */

void memory_cluster_set_time(struct memory_cluster *cluster, int64_t now_ms); /* never back */
int64_t memory_cluster_time(const struct memory_cluster *cluster);
/* The clock that stamps records goes on `by_ms` from where it would be, or back; never to before 1. All else keeps its time. */
void memory_cluster_jump(struct memory_cluster *cluster, int64_t by_ms);
/* When some bus will next have an event: now where one has, INT64_MAX where nothing is under way. */
int64_t memory_cluster_next_ms(struct memory_cluster *cluster);
/* A frozen bus does not count there: nobody polls it. */
void memory_bus_set_frozen(struct bus *bus, bool frozen);

/* ---- faults; all zero: none */

struct memory_faults {
    uint32_t send_delay_ms; /* a send arrives up to so much later; those of one bus to one partition stay in order */
    uint32_t report_delay_ms; /* its report comes up to so much after that; likewise */
    uint32_t read_delay_ms; /* a reader sees a record up to so much after it arrived; each reader its own, in order */
    uint32_t loss_ppm; /* of the sends fail: the record is there or not, later ones may be, the bus gets BUS_FATAL */
    uint32_t duplicate_ppm; /* of the records stand in the log a second time, up to send_delay_ms later */
    uint32_t group_delay_ms; /* what a group decides about a partition is known up to so much later; to each member in order */
    uint32_t orphan_ppm; /* of what a closed or crashed bus had under way arrives all the same, in order */
};
void memory_cluster_set_faults(struct memory_cluster *cluster, const struct memory_faults *faults);

/* How often a fault has struck. */
struct memory_counts {
    uint64_t delayed, failed, orphans;
    uint64_t failed_in_a_batch; /* sends that failed while others of the same bus were under way */
};
struct memory_counts memory_cluster_counts(const struct memory_cluster *cluster);
uint64_t memory_cluster_lost(const struct memory_cluster *cluster, const char *topic); /* of what was sent to it, did not arrive */

/* The group takes a partition back from whoever has it, and gives it to one of its members, by chance. Nothing where there is no group. */
void memory_cluster_move(struct memory_cluster *cluster, int32_t partition, uint64_t random);

/* The `number`-th send from the beginning (see memory_cluster_sends(); 0: none) kills the bus that does it: the record, with what went
 * to its partition before it, arrives or does not, and all else the bus had under way is lost (or orphaned). */
void memory_cluster_crash_after(struct memory_cluster *cluster, uint64_t number, bool arrives);
struct bus *memory_cluster_crashed(const struct memory_cluster *cluster); /* the one that died and is not closed yet, or NULL */
uint64_t memory_cluster_sends(const struct memory_cluster *cluster); /* by all buses; appended garbage does not count */

/* ---- the log itself */

void memory_cluster_create_topic(struct memory_cluster *cluster, const char *topic, int32_t partitions);
/* As anybody could: no bus, no delay. */
void memory_cluster_append(struct memory_cluster *cluster, const char *topic, int32_t partition, struct span key,
                           struct span value);
/* Retention: what stands before `first` is not there any more, and what was borrowed of it is gone. */
void memory_cluster_delete_before(struct memory_cluster *cluster, const char *topic, int32_t partition, int64_t first);

struct memory_record {
    int64_t time_ms;
    struct span key, value, type; /* borrowed from the cluster, until it is freed or the record is deleted */
    const struct bus_header *headers;
    size_t header_count;
};
int64_t memory_cluster_end(const struct memory_cluster *cluster, const char *topic, int32_t partition); /* 0: no such topic, too */
bool memory_cluster_record(const struct memory_cluster *cluster, const char *topic, int32_t partition, int64_t offset,
                           struct memory_record *record);

#endif
