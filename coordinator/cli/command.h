/* SPDX-License-Identifier: Apache-2.0 */
/* A command is a row of the table in main.c and a function in a file of its own. */
#ifndef COMMAND_H
#define COMMAND_H

#include "common/defaults.h"
#include "common/error.h"
#include "common/text.h"
#include "coordinator/cli/client.h"
#include "coordinator/cli/exit_codes.h"

#include <stdbool.h>
#include <stddef.h>

struct call;

struct command {
    const char *name;
    const char *arguments; /* "FILE…", as the usage line shows them */
    const char *summary; /* one line */
    const char *example; /* command lines, each indented by two */
    const char *notes; /* more, or NULL */
    size_t arguments_min, arguments_max;
    unsigned options; /* enum option_set: beside OPTIONS_COMMON */
    bool only_reads; /* sends nothing to the cluster */
    int (*run)(struct call *call); /* returns an exit code */
};

/* One command line, read. */
struct call {
    const struct command *command;
    struct options *options;
    const char *const *arguments;
    size_t argument_count;
    /* of the common options */
    struct client_options client;
    bool brokers_given; /* by command line, environment or file */
    bool json, quiet;
};

int cmd_run(struct call *call);
int cmd_serve(struct call *call);
int cmd_start(struct call *call);
int cmd_status(struct call *call);
int cmd_list(struct call *call);
int cmd_watch(struct call *call);
int cmd_events(struct call *call);
int cmd_history(struct call *call);
int cmd_logs(struct call *call);
int cmd_control(struct call *call);
int cmd_workers(struct call *call);
int cmd_topics(struct call *call);
int cmd_check(struct call *call);
int cmd_plan(struct call *call);
int cmd_dev(struct call *call);
int cmd_completion(struct call *call);
int cmd_version(struct call *call);

/* "backstep: …" on standard error, with a newline. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for an error; returns the exit code that its kind means. */
int complain_of(const struct error *error);
/* "no such run"; returns its exit code. */
/* `kept_since_ms`: of a log that has lost its beginning, since when it is kept; else 0. */
int complain_of_no_run(const struct call *call, const char *run_id, int64_t kept_since_ms);
/* Write to standard output at once. */
void print_text(const struct text *text);
void print_line(const struct text *text); /* and a newline */
/* Nobody reads standard output any more: the pipe's other end is closed. */
bool output_is_closed(void);

#endif
