/* SPDX-License-Identifier: Apache-2.0 */
/* What `run` and `start` share: a pipeline file, its parameters and an id become a run on the log. */
#ifndef LAUNCH_H
#define LAUNCH_H

#include "common/limits.h"
#include "common/names.h"
#include "common/pipeline.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/follow.h"

struct launch {
    struct pipeline *pipeline;
    struct text params; /* JSON object */
    char run_id[LIMIT_IDENTIFIER_BYTES + 1];
    bool id_given;
    bool existing; /* launch_start() took a run that was there: --if-exists return */
};

/* Read the file, -p, --params and --id. false: what is wrong has been said; the exit code is EXIT_USAGE. Owes launch_free() either way. */
bool launch_load(struct launch *launch, const struct call *call);
void launch_free(struct launch *launch);

/* What is wrong with the file: a line each on standard error, or as `json` an object each on standard output. */
void pipeline_print_problems(const struct pipeline *pipeline, bool json);

/* Where its programs are: --steps, else `steps` beside the file. */
void launch_steps_directory(const struct call *call, char *path, size_t size);
/* Does every handler come with each worker of ours? */
bool pipeline_needs_no_program(const struct pipeline *pipeline);
/* Does the steps directory at `path` have a program for every handler? What is missing has been said, as pipeline_print_problems() says it,
 * and which programs do not look at their first argument. */
bool pipeline_is_served_by(const struct pipeline *pipeline, const char *path, bool json);

/* Append the Start and wait until a coordinator has accepted it. Where a run of that id exists: a generated id is replaced by a new one,
 * and one that was given by what --if-exists says.
 * follow->reader and run_id are set (follow_end() gives the reader back, also after a failure); what comes of the run is shown where
 * `shows`. Returns EXIT_DONE, or an exit code after having said why: where no coordinator answers, the id goes to standard output, for
 * the run is on the log. */
int launch_start(struct launch *launch, struct follow *follow, bool shows);

#endif
