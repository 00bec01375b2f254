/* SPDX-License-Identifier: Apache-2.0 */
/* backstep start FILE: put a run on the log, and leave it to the cluster. */
#include "coordinator/cli/command.h"
#include "coordinator/cli/follow.h"
#include "coordinator/cli/launch.h"
#include "coordinator/cli/signals.h"

static void print_started(const struct call *call, const struct launch *launch)
{
    struct text out;
    text_init(&out, 4096);
    if (call->json) {
        text_append_string(&out, "{\"run_id\":");
        text_append_json_string(&out, span_of(launch->run_id));
        text_append_string(&out, ",\"pipeline\":");
        text_append_json_string(&out, launch->pipeline->plan.name);
        text_format(&out, ",\"existing\":%s}", launch->existing ? "true" : "false");
    } else {
        text_append_string(&out, launch->run_id);
    }
    print_line(&out);
    text_fini(&out);
}

static int start(struct call *call, struct client *client, struct launch *launch)
{
    bool waits = option_flag(call->options, "wait");
    struct follow follow = {.call = call, .client = client, .cancels = false};
    if (waits) {
        follow_begin(&follow);
    }
    int code = launch_start(launch, &follow, waits);
    if (code == EXIT_DONE && !waits) { /* else what follows names it */
        print_started(call, launch);
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
    struct launch launch;
    int code = EXIT_USAGE;
    signals_install();
    call->client.create_topics = true; /* the run waits on the log until a coordinator comes */
    if (launch_load(&launch, call)) {
        code = client_open(&client, &call->client, &error) ? start(call, &client, &launch) : complain_of(&error);
    }
    client_close(&client);
    launch_free(&launch);
    return code;
}
