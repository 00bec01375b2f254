/* SPDX-License-Identifier: Apache-2.0 */
/* backstep workers: who is there, what they serve, how busy they are. */
#include "common/clock.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/roster.h"

#define LINE_BYTES_MAX (1024 * 1024)

static void print_roster(const struct call *call, const struct roster *roster, int64_t now_ms)
{
    struct text out;
    text_init(&out, LINE_BYTES_MAX);
    if (!call->json && !call->quiet) {
        roster_heading(&out);
        print_text(&out);
    }
    for (size_t i = 0; i < roster->count; i++) {
        text_clear(&out);
        if (call->json) {
            roster_worker_json(&roster->workers[i], now_ms, &out);
            print_line(&out);
        } else {
            roster_worker_text(&roster->workers[i], now_ms, &out);
            print_text(&out);
        }
    }
    text_fini(&out);
}

int cmd_workers(struct call *call)
{
    struct error error = {0};
    struct client client;
    struct roster roster = {0};
    int code = EXIT_DONE;
    if (!client_open(&client, &call->client, &error) || !roster_read(&roster, &client, &error)) {
        code = complain_of(&error);
    }
    roster_tidy(&roster, clock_realtime_ms());
    if (roster.count > 0) {
        print_roster(call, &roster, clock_realtime_ms());
    } else if (code == EXIT_DONE) {
        char way[CLIENT_WAY_BYTES];
        complain("no worker is there; start one with: backstep-worker %s --steps DIR", client_way(&call->client, way));
    }
    client_close(&client);
    roster_free(&roster);
    return code;
}
