/* SPDX-License-Identifier: Apache-2.0 */
/* backstep status RUN: what the log says of a run now. Needs no coordinator. */
#include "common/clock.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/lookup.h"
#include "coordinator/cli/reader.h"
#include "coordinator/cli/roster.h"
#include "coordinator/cli/summary.h"

#define SUMMARY_BYTES_MAX (64 * 1024 * 1024)

/* Who serves what the run waits for? Not to know is no reason to say nothing of the run. */
static const struct roster *look_for_workers(struct client *client, const struct run *run, struct roster *roster)
{
    struct error error = {0};
    const struct run_view *view = run_view(run);
    bool waits = view != NULL && view->waiting_count > 0;
    return waits && roster_read(roster, client, &error) ? roster : NULL;
}

static void print_status(const struct call *call, struct client *client, const struct run *run)
{
    struct roster roster = {0};
    struct text out;
    text_init(&out, SUMMARY_BYTES_MAX);
    if (call->json) {
        summary_json(run, clock_realtime_ms(), &out);
        print_line(&out);
    } else {
        summary_text(run, look_for_workers(client, run, &roster), clock_realtime_ms(), &out);
        print_text(&out);
    }
    text_fini(&out);
    roster_free(&roster);
}

static int show(struct call *call, struct client *client, struct error *error)
{
    struct lookup lookup = {.client = client, .run_id = call->arguments[0], .only_state = true};
    struct reader *reader = lookup_run(&lookup, error);
    if (reader == NULL) {
        return error->kind != ERROR_NONE ? complain_of(error) : complain_of_no_run(call, lookup.run_id, lookup.kept_since_ms);
    }
    print_status(call, client, reader_find(reader, lookup.run_id));
    reader_free(reader);
    return EXIT_DONE;
}

int cmd_status(struct call *call)
{
    struct error error = {0};
    struct client client;
    int code = client_open(&client, &call->client, &error) ? show(call, &client, &error) : complain_of(&error);
    client_close(&client);
    return code;
}
