/* SPDX-License-Identifier: Apache-2.0 */
/* Follow a run to its end: live bars on a terminal, a line an event elsewhere, one object with -o json. */
#ifndef FOLLOW_H
#define FOLLOW_H

#include "coordinator/cli/client.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/embedded.h"
#include "coordinator/cli/log_tail.h"
#include "coordinator/cli/reader.h"
#include "coordinator/cli/screen.h"

struct follow {
    /* set by the caller */
    const struct call *call;
    struct client *client;
    const char *run_id;
    struct reader *reader; /* of the run's partition; knows the run, or begins before it does */
    struct embedded *embedded; /* the broker that dies with this process; NULL: a real cluster */
    struct child *worker; /* of this run only; NULL: none */
    bool cancels; /* Ctrl-C asks for a cancel first; else it only leaves */
    /* its own */
    bool on_terminal; /* live bars */
    bool utf8, colour;
    struct screen screen;
    struct told told;
    struct request cancel;
    bool shows_logs; /* what steps log, among the lines or above the bars */
    struct log_tail logs;
    int interrupts_seen;
    int64_t drawn_ms;
};

/* Choose how it is shown; before the first record. */
void follow_begin(struct follow *follow);

/* Does it tell lines, of which none is to be missed? Else only how the run stands is shown. */
bool follow_tells(const struct follow *follow);

/* Print what `record` says, if it is of this run and lines are wanted. For client_await() too: `context` is the follow. */
void follow_record(void *context, const struct reader_record *record);

/* What has happened so far was told already: lines begin with the next record. */
void follow_skip(struct follow *follow);
/* What has happened so far was not told yet: tell it. */
void follow_catch_up(struct follow *follow);

/* Until the run is over, paused with nothing of it at work, or the user leaves: then says how it ended. Returns the exit code. */
int follow_run(struct follow *follow);

/* Gives back what follow_begin() took, and the reader. */
void follow_end(struct follow *follow);

#endif
