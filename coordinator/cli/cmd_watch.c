/* SPDX-License-Identifier: Apache-2.0 */
/* backstep watch RUN: follow it to its end. Ctrl-C only leaves. */
#include "coordinator/cli/command.h"
#include "coordinator/cli/follow.h"
#include "coordinator/cli/signals.h"

static int watch(struct follow *follow, struct error *error)
{
    struct client *client = follow->client;
    struct reader_options options = client_reads(client, follow->run_id);
    follow->reader = reader_new(&options, error);
    if (follow->reader == NULL || !reader_catch_up(follow->reader, follow_record, follow, error)) {
        return complain_of(error);
    }
    if (reader_find(follow->reader, follow->run_id) == NULL) {
        return complain_of_no_run(follow->call, follow->run_id);
    }
    return follow_run(follow);
}

int cmd_watch(struct call *call)
{
    struct error error = {0};
    struct client client;
    struct follow follow = {.call = call, .client = &client, .run_id = call->arguments[0]};
    int code;
    signals_install();
    if (client_open(&client, &call->client, &error)) {
        follow_begin(&follow);
        code = watch(&follow, &error);
        follow_end(&follow);
    } else {
        code = complain_of(&error);
    }
    client_close(&client);
    return code;
}
