/* SPDX-License-Identifier: Apache-2.0 */
/* backstep plan FILE: the order of the steps as a drawing, each with its share of the run; -o json: the whole as one file again. */
#include "common/limits.h"
#include "common/pipeline.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/launch.h"
#include "coordinator/cli/plan_drawing.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DRAWING_BYTES_MAX ((size_t)4 * MIB)
#define USUAL_COLUMNS 80

static void append_param(struct text *out, const struct pipeline_param *param)
{
    text_append_json_string(out, param->name);
    text_append_string(out, param->required ? ": {\"required\": true" : ": {\"required\": false");
    if (param->fallback.size > 0) {
        text_append_string(out, ", \"default\": ");
        text_append_span(out, param->fallback);
    }
    text_append_string(out, ", \"description\": ");
    text_append_json_string(out, param->description);
    text_append_char(out, '}');
}

/* A plan knows nothing of params: they belong to the start. */
static void append_file(struct text *out, const struct pipeline *pipeline)
{
    struct text plan;
    text_init(&plan, DRAWING_BYTES_MAX);
    pipeline_append_json(&pipeline->plan, &plan);
    text_append_string(out, "{\"params\": {");
    for (size_t i = 0; i < pipeline->param_count; i++) {
        text_append_string(out, i > 0 ? ", " : "");
        append_param(out, &pipeline->params[i]);
    }
    text_append_string(out, "}, ");
    text_append_string(out, text_string(&plan) + 1); /* after its brace */
    text_fini(&plan);
}

static void append_drawing(struct text *out, const struct pipeline *pipeline)
{
    struct winsize size = {0};
    bool terminal = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    setlocale(LC_CTYPE, "");
    bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    plan_draw(&pipeline->plan, terminal ? size.ws_col : USUAL_COLUMNS, utf8, out);
}

int cmd_plan(struct call *call)
{
    struct pipeline *pipeline = pipeline_read_file(call->arguments[0]);
    bool ok = pipeline->problem_count == 0;
    struct text out;
    text_init(&out, DRAWING_BYTES_MAX);
    if (!ok) {
        pipeline_print_problems(pipeline, call->json);
    } else {
        (call->json ? append_file : append_drawing)(&out, pipeline);
        print_text(&out);
    }
    text_fini(&out);
    pipeline_free(pipeline);
    return ok ? EXIT_DONE : EXIT_USAGE;
}
