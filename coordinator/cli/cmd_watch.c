/* SPDX-License-Identifier: Apache-2.0 */
/* backstep watch RUN: follow it to its end. Ctrl-C only leaves. */
#include "common/clock.h"
#include "common/limits.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/follow.h"
#include "coordinator/cli/lookup.h"
#include "coordinator/cli/signals.h"
#include "coordinator/cli/summary.h"

/* Its end is all that is kept of it. */
static int tell_end(const struct follow *follow, const struct run *run)
{
    struct text out;
    text_init(&out, LIMIT_RECORD_BYTES);
    if (follow->call->json) {
        summary_json(run, clock_realtime_ms(), &out);
        text_append_char(&out, '\n');
    } else if (!follow->call->quiet) {
        summary_text(run, NULL, clock_realtime_ms(), &out);
    }
    print_text(&out);
    text_fini(&out);
    return (int)summary_exit_code((enum run_status)run->saga.status);
}

static int watch(struct follow *follow, struct error *error)
{
    struct lookup lookup = {.client = follow->client,
                            .run_id = follow->run_id,
                            .only_state = !follow_tells(follow),
                            .each = follow_record,
                            .context = follow};
    follow->reader = lookup_run(&lookup, error);
    if (follow->reader == NULL) {
        return error->kind != ERROR_NONE ? complain_of(error) : complain_of_no_run(follow->call, follow->run_id, lookup.kept_since_ms);
    }
    const struct run *run = reader_find(follow->reader, follow->run_id);
    return run->saga.plan == NULL && saga_is_over(&run->saga) ? tell_end(follow, run) : follow_run(follow);
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
