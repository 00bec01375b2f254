/* SPDX-License-Identifier: Apache-2.0 */
/* A whole system in one thread, on virtual time: the shipped coordinator, worker loop and bus seam, with steps that are played by a script.
 * Processes may be killed (between any two instants, or by their n-th send), frozen, and come back; the oracle watches. */
#ifndef WORLD_H
#define WORLD_H

#include "coordinator/service/service.h"
#include "tests/simulation/oracle.h"
#include "tests/simulation/script.h"

#define WORLD_WORKERS_MAX 4
#define WORLD_COORDINATORS_MAX 3
#define WORLD_RUNS_MAX 12
#define WORLD_LEASE_MS 4000
#define WORLD_SESSION_MS 2000 /* of coordinators in a group */

struct world_run {
    const char *id; /* NULL: the end of the list */
    const struct plan *plan;
    int64_t start_ms;
    int64_t cancel_ms; /* 0: never */
    enum run_status ends; /* without faults */
    enum run_status may_end; /* as well, with faults; RUN_NONE: no other way */
    const char *error; /* of a run that ends as `ends`; NULL: none */
    uint32_t may_end_bits; /* 1 << status of each way it may end, instead of all that; 0: what stands above counts */
};

#define WORLD_CONTROLS_MAX 12

/* Something a person asks for. */
struct world_control {
    enum message_kind kind; /* MESSAGE_NONE: the end of the list */
    uint32_t run; /* index */
    int64_t at_ms;
    const char *step; /* RESOLVE */
    uint32_t instance;
    bool done;
    bool twice; /* the same request once more, a moment later */
};

struct world_options {
    const char *name;
    const struct script_step *steps; /* until one without a name */
    struct world_run runs[WORLD_RUNS_MAX];
    uint32_t workers, slots;
    int64_t drain_ms; /* the first worker is asked to leave then; 0: never. Another takes its place */
    uint64_t seed;
    struct memory_faults faults;
    struct world_control controls[WORLD_CONTROLS_MAX];
    bool cares; /* somebody looks after what is paused, and decides by chance */
    bool unguarded; /* past the end of a lease nobody kills what runs: to see that this is noticed */
    bool group; /* coordinators share the partitions as a group; else each owns all, and the last one wins */
    uint32_t ahead_from; /* of service_options */
    bool only_the_bus; /* a crash by a send is the bus's: the process lives, and begins anew */
    bool trace;
};

struct world;

struct world *world_new(const struct world_options *options);
void world_free(struct world *world);
struct memory_cluster *world_cluster(struct world *world);
struct oracle *world_oracle(struct world *world);
int64_t world_now_ms(const struct world *world);

/* Let everybody do what is to be done at this instant, then go on to the next one. false: all runs have ended and were answered. */
bool world_advance(struct world *world);
/* Never later than `until_ms`, where something else is to happen. */
bool world_advance_to(struct world *world, int64_t until_ms);

/* Everything until then, or its end. */
void world_advance_until(struct world *world, int64_t until_ms);

/* ---- what may happen to it; `index` counts the processes of that kind */
void world_kill_worker(struct world *world, uint32_t index);
void world_kill_coordinator(struct world *world);
void world_freeze_worker(struct world *world, uint32_t index, int64_t for_ms);
/* The owner is frozen, and another coordinator takes over meanwhile (or not). */
void world_freeze_coordinator(struct world *world, int64_t for_ms);
void world_add_coordinator(struct world *world);
/* A coordinator that gave way is started again, or a new one where none has. In a group a partition moves to another member, or the same. */
void world_move(struct world *world, uint64_t random);
/* The owner is stopped, as an operator stops it: in a group the others have its partitions at once. It is started again. */
void world_stop_coordinator(struct world *world);
void world_add_worker(struct world *world);
/* A copy of what somebody wrote to the progress or workers topic, as a retry may leave it; never of a claim or an announcement. */
void world_duplicate(struct world *world, uint64_t random);
/* Garbage on a topic; counted, to be found among the dead letters. */
void world_garbage(struct world *world, uint64_t random);

/* What all processes have read and written. */
uint64_t world_events(const struct world *world);

/* Check everything that can be checked at the end. */
/* Of all worlds that came to their end. */
struct oracle_checkpoints world_all_checkpoints(void);
void world_expect_end(struct world *world, bool faults);

#endif
