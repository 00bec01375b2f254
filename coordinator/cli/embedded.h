/* SPDX-License-Identifier: Apache-2.0 */
/* Everything on one machine, for as long as this process lives: an embedded broker in it, and a coordinator and workers as its children.
 *
 * The programs are found beside this one. Children die with their parent, however it ends. */
#ifndef EMBEDDED_H
#define EMBEDDED_H

#include "common/error.h"

#include <stdbool.h>

struct client;
struct reader;

/* ---- one child process */
struct child;

struct child_options {
    const char *program; /* "backstep" or "backstep-worker", beside /proc/self/exe */
    const char *label; /* what it is to people: "the worker" */
    const char *const *arguments; /* without argv[0], NULL-terminated */
    bool show_errors; /* its standard error is ours; else it is kept, for child_complaint() */
};

/* It has a process group of its own (Ctrl-C is ours), reads and prints nothing, and is killed when this process ends. Caller owes child_stop(). */
struct child *child_start(const struct child_options *options, struct error *error);
/* SIGTERM, after grace_ms SIGKILL; waits for its end. NULL is fine. */
void child_stop(struct child *child, int grace_ms);
/* The same for several, at once. */
void children_stop(struct child **children, int count, int grace_ms);
/* Has it ended without being asked? Then `error` says how, and what it said last. */
bool child_has_ended(struct child *child, struct error *error);

/* ---- broker + coordinator + worker */
struct embedded;

struct embedded_options {
    const char *prefix;
    const char *steps_directory; /* NULL: no worker; "": one that serves what every worker brings */
    const char *worker_id; /* NULL: its own choice */
    int concurrency; /* 0: the worker's default */
    const char *log_level; /* NULL: the children keep quiet */
};

struct embedded *embedded_start(const struct embedded_options *options, struct error *error); /* caller owes embedded_stop() */
/* Waits for whatever runs below it, too: nothing is left behind. */
void embedded_stop(struct embedded *embedded);
/* Let embedded_stop() wait for nobody: what runs is killed. */
void embedded_hurry(struct embedded *embedded);
const char *embedded_address(const struct embedded *embedded);
/* Have its broker do as is said, from now on. */
struct faults_state;
void embedded_suffer(struct embedded *embedded, const struct faults_state *state);
/* Wait until its coordinator has claimed the partitions that `reader` reads: a run that is started before looks to it like one that
 * somebody left behind. TRANSIENT: not in time; FATAL: a child has ended. */
bool embedded_await_owner(struct embedded *embedded, struct client *client, struct reader *reader, struct error *error);
/* Has a child ended? Then nothing goes on: `error` says which and why. */
bool embedded_is_broken(struct embedded *embedded, struct error *error);

#endif
