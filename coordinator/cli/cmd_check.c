/* SPDX-License-Identifier: Apache-2.0 */
/* backstep check FILE...: every mistake in every file; with --steps also what the programs there are not up to. */
#include "common/pipeline.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/launch.h"

#include <stdio.h>

#define PROBLEMS_BYTES_MAX (4 * MIB)

static void print_problems(const struct call *call, const struct pipeline *pipeline)
{
    struct text out;
    text_init(&out, PROBLEMS_BYTES_MAX);
    if (!call->json) {
        pipeline_append_problems(pipeline, &out);
        fwrite(text_string(&out), 1, out.size, stderr);
    }
    for (size_t i = 0; call->json && i < pipeline->problem_count; i++) {
        const struct pipeline_problem *problem = &pipeline->problems[i];
        text_clear(&out);
        text_append_string(&out, "{\"file\":");
        text_append_json_string(&out, span_of(problem->file));
        text_format(&out, ",\"line\":%d,\"field\":", problem->line);
        text_append_json_string(&out, span_of(problem->field));
        text_append_string(&out, ",\"problem\":");
        text_append_json_string(&out, span_of(problem->text));
        text_append_char(&out, '}');
        print_line(&out);
    }
    text_fini(&out);
}

static bool check_file(const struct call *call, const char *path, const char *directory)
{
    struct pipeline *pipeline = pipeline_read_file(path);
    bool ok = pipeline->problem_count == 0;
    if (!ok) {
        print_problems(call, pipeline);
    } else if (directory != NULL) {
        ok = pipeline_is_served_by(pipeline, directory);
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
