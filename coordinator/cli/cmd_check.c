/* SPDX-License-Identifier: Apache-2.0 */
/* backstep check FILE...: every mistake in every file; with --steps also what the programs there are not up to. */
#include "common/pipeline.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/launch.h"

#include <stdio.h>

static bool check_file(const struct call *call, const char *path, const char *directory)
{
    struct pipeline *pipeline = pipeline_read_file(path);
    bool ok = pipeline->problem_count == 0;
    if (!ok) {
        pipeline_print_problems(pipeline, call->json);
    } else if (directory != NULL) {
        ok = pipeline_is_served_by(pipeline, directory, call->json);
    }
    if (ok && !call->quiet && !call->json) {
        printf("%s: fine, %u step%s\n", path, pipeline->plan.step_count, pipeline->plan.step_count == 1 ? "" : "s");
    }
    pipeline_free(pipeline);
    return ok;
}

int cmd_check(struct call *call)
{
    const char *directory = option_text(call->options, "steps");
    bool ok = true;
    for (size_t i = 0; i < call->argument_count; i++) {
        ok = check_file(call, call->arguments[i], directory) && ok;
    }
    return ok ? EXIT_DONE : EXIT_USAGE;
}
