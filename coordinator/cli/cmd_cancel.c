/* SPDX-License-Identifier: Apache-2.0 */
/* backstep cancel RUN: stop it, and roll back what it did. */
#include "coordinator/cli/command.h"
#include "coordinator/cli/reader.h"

#include <stdio.h>

static int explain_silence(const struct client *client, const struct request *request, const struct error *error)
{
    if (error->kind != ERROR_TRANSIENT || !request->delivered) {
        return complain_of(error);
    }
    char way[CLIENT_WAY_BYTES];
    complain("%s; start one with: backstep serve %s\n          the request is on the log and will be answered when one does",
             error->message, client_way(&client->options, way));
    return EXIT_UNREACHABLE;
}

static int report(const struct call *call, const char *run_id, const struct request *request)
{
    if (request->verdict == VERDICT_REFUSED) {
        complain("%s: %s", run_id, request->reason[0] != '\0' ? request->reason : "refused");
        return EXIT_REFUSED;
    }
    char way[CLIENT_WAY_BYTES];
    if (call->json) {
        printf("{\"run_id\":\"%s\",\"cancel\":\"accepted\"}\n", run_id);
    } else if (!call->quiet) {
        printf("%s is being cancelled; backstep watch %s %s follows it\n", run_id, run_id, client_way(&call->client, way));
    }
    return EXIT_DONE;
}

static int ask(struct call *call, struct client *client, struct reader *reader, struct error *error)
{
    const char *run_id = call->arguments[0];
    const char *reason = option_text(call->options, "reason");
    struct request request;
    if (!reader_catch_up(reader, NULL, NULL, error)) {
        return complain_of(error);
    }
    if (reader_find(reader, run_id) == NULL) {
        return complain_of_no_run(call, run_id);
    }
    if (!client_send_cancel(client, &request, run_id, reason, error)) {
        return complain_of(error);
    }
    if (!client_await(client, reader, &request, NULL, NULL, error)) {
        return explain_silence(client, &request, error);
    }
    return report(call, run_id, &request);
}

static int cancel(struct call *call, struct client *client, struct error *error)
{
    struct reader_options options = client_reads(client, call->arguments[0]);
    struct reader *reader = reader_new(&options, error);
    int code = reader != NULL ? ask(call, client, reader, error) : complain_of(error);
    reader_free(reader);
    return code;
}

int cmd_cancel(struct call *call)
{
    struct error error = {0};
    struct client client;
    int code = client_open(&client, &call->client, &error) ? cancel(call, &client, &error) : complain_of(&error);
    client_close(&client);
    return code;
}
