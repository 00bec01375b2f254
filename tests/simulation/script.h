/* SPDX-License-Identifier: Apache-2.0 */
/* A runner that plays steps by a script, on virtual time, with slots as the pool has them and a guard as design §5 wants one. */
#ifndef SCRIPT_H
#define SCRIPT_H

#include "tests/simulation/oracle.h"
#include "worker/runner.h"

/* What a step does. All zero: nothing, at once, and it succeeds. */
struct script_step {
    const char *step; /* its name */
    int64_t execute_ms, rollback_ms;
    uint32_t fails; /* so many first attempts */
    uint32_t rollback_fails; /* the same */
    bool permanent; /* a failure is one for good */
    bool skips;
    uint32_t elements; /* of a step that fans out */
    uint32_t fails_instance; /* only this one fails; 0: each */
    bool function; /* a function in the worker, which only returns by itself; else a program, which can be killed */
    int64_t cancel_ms; /* how long it takes to return after a cancel */
};

struct script_task;

struct script_runner {
    struct runner runner; /* first */
    struct oracle *oracle;
    const char *worker;
    const struct script_step *steps; /* until one without a name */
    uint32_t slots;
    int64_t (*now_ms)(void);
    struct script_task *tasks; /* in order of arrival */
    bool stopped; /* the lease is over: nothing begins */
    int64_t wait_until_ms; /* runner_wait() was called: when it wants to go on */
};

void script_runner_init(struct script_runner *runner);
/* The process is gone, and all that ran in it or under its guard. */
void script_runner_kill(struct script_runner *runner);
/* What the guard does at the end of the lease: nothing begins until `stopped` is taken back, programs are killed, functions are not. Returns whether some still run. */
bool script_runner_kill_programs(struct script_runner *runner);
/* What runs outside of a frozen worker goes on: let it end when its time has come. */
void script_runner_tick(struct script_runner *runner, bool frozen);
/* Is there a child that goes on while the worker is frozen? */
bool script_runner_runs_a_program(const struct script_runner *runner);
int64_t script_runner_next_ms(const struct script_runner *runner);

#endif
