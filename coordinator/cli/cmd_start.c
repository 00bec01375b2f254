/* SPDX-License-Identifier: Apache-2.0 */
/* backstep start FILE: put a run on the log, and leave it to the cluster. */
#include "coordinator/cli/command.h"
#include "coordinator/cli/follow.h"
#include "coordinator/cli/job.h"
#include "coordinator/cli/signals.h"

static void print_started(const struct call *call, const struct job *job)
{
    struct text out;
    text_init(&out, 4096);
    if (call->json) {
        text_append_string(&out, "{\"run_id\":");
        text_append_json_string(&out, span_of(job->run_id));
        text_append_string(&out, ",\"pipeline\":");
        text_append_json_string(&out, job->pipeline->plan.name);
        text_append_char(&out, '}');
    } else {
        text_append_string(&out, job->run_id);
    }
    print_line(&out);
    text_fini(&out);
}

static int start(struct call *call, struct client *client, struct job *job)
{
    bool waits = option_flag(call->options, "wait");
    struct follow follow = {.call = call, .client = client, .cancels = false};
    if (waits) {
        follow_begin(&follow);
    }
    int code = job_start(job, &follow, !waits);
    if (code == EXIT_DONE && !(waits && call->json)) {
        print_started(call, job);
    }
    if (code == EXIT_DONE && waits) {
        code = follow_run(&follow);
    }
    follow_end(&follow);
    return code;
}

int cmd_start(struct call *call)
{
    struct error error = {0};
    struct client client = {0};
    struct job job;
    int code = EXIT_USAGE;
    signals_install();
    if (job_load(&job, call)) {
        code = client_open(&client, &call->client, &error) ? start(call, &client, &job) : complain_of(&error);
    }
    client_close(&client);
    job_free(&job);
    return code;
}
