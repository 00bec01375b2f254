/* SPDX-License-Identifier: Apache-2.0 */
/* backstep cancel, pause, resume, retry, rollback, resolve: ask the owner of a run for something, and say what it answered. */
#include "common/json.h"
#include "common/limits.h"
#include "common/names.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/follow.h"
#include "coordinator/cli/lookup.h"
#include "coordinator/cli/signals.h"
#include "coordinator/cli/summary.h"

#include <stdio.h>
#include <string.h>

struct control {
    const char *command;
    enum message_kind kind;
    const char *said; /* after the run's id, once it was accepted */
    const char *next; /* command that goes on from there, */
    const char *purpose; /* and what it does */
    const char *refused; /* after the run's id, before the reason */
};

static const struct control controls[] = {
    {"cancel", MESSAGE_CANCEL, "is being cancelled", "watch", "follows it", "cannot be cancelled"},
    {"pause", MESSAGE_PAUSE, "is paused: what runs may end, nothing else begins", "resume", "lets it go on", "cannot be paused"},
    {"resume", MESSAGE_RESUME, "goes on", "watch", "follows it", "cannot be resumed"},
    {"retry", MESSAGE_RETRY, "goes on with what had failed", "watch", "follows it", "cannot be retried"},
    {"rollback", MESSAGE_ROLL_BACK, "is being rolled back", "watch", "follows it", "cannot be rolled back"},
    {"resolve", MESSAGE_RESOLVE, NULL, "status", "shows how it stands now", "cannot be resolved"},
};

static const struct control *control_of(const struct call *call)
{
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) {
        if (strcmp(controls[i].command, call->command->name) == 0) {
            return &controls[i];
        }
    }
    return NULL;
}

/* ---- what is asked */

/* What only `resolve` says. */
struct resolution {
    bool done;
    uint32_t instance;
    struct text data; /* JSON; empty: none */
};

static bool read_data(const char *given, struct resolution *resolution, struct error *error)
{
    json_t *json = json_read(span_of(given), error);
    if (json == NULL) {
        return error_prefix(error, "--data");
    }
    bool fits = json_write(json, &resolution->data);
    json_decref(json);
    return fits || error_set(error, ERROR_INVALID, "--data: is larger than %d bytes", LIMIT_RESULT_BYTES);
}

static bool read_resolution(const struct call *call, struct resolution *resolution, struct error *error)
{
    bool done = option_flag(call->options, "done"), undone = option_flag(call->options, "undone");
    const char *data = option_text(call->options, "data");
    resolution->done = done;
    resolution->instance = (uint32_t)option_number(call->options, "instance");
    if (done == undone) {
        return error_set(error, ERROR_INVALID, "resolve needs one of --done and --undone: how does the step stand?");
    }
    if (option_text(call->options, "reason") == NULL) {
        return error_set(error, ERROR_INVALID, "resolve needs --reason TEXT: who reads the history will ask why");
    }
    if (data != NULL && undone) {
        return error_set(error, ERROR_INVALID, "--data is the result of a step that is done; it does not go with --undone");
    }
    return data == NULL || read_data(data, resolution, error);
}

/* A slip in the step's name is found here; whether it may be resolved is the owner's to say. */
static bool step_is_known(const struct call *call, const struct run *run, struct error *error)
{
    const struct plan *plan = run->saga.plan;
    const char *names[LIMIT_STEPS + 1] = {NULL};
    char storage[LIMIT_STEPS][LIMIT_NAME_BYTES + 1];
    for (uint32_t i = 0; plan != NULL && i < plan->step_count && i < LIMIT_STEPS; i++) {
        if (span_equal(plan->steps[i].name, span_of(call->arguments[1]))) {
            return true;
        }
        snprintf(storage[i], sizeof storage[i], "%.*s", SPAN_ARGS(plan->steps[i].name));
        names[i] = storage[i];
    }
    if (plan == NULL) {
        return true;
    }
    struct text suggestion;
    text_init(&suggestion, LIMIT_MESSAGE_BYTES);
    name_append_suggestion(&suggestion, span_of(call->arguments[1]), names);
    error_set(error, ERROR_INVALID, "%s has no step '%s'%s", call->arguments[0], SHOWN(span_of(call->arguments[1])),
              text_string(&suggestion));
    text_fini(&suggestion);
    return false;
}

static struct message message_of(const struct call *call, const struct control *control, const struct resolution *resolution)
{
    struct message message = {.kind = control->kind, .event = {.reason = span_of(option_text(call->options, "reason"))}};
    if (control->kind == MESSAGE_RESOLVE) {
        message.event.step_name = span_of(call->arguments[1]);
        message.event.ticket.instance = resolution->instance;
        message.event.done = resolution->done;
        message.event.data = text_span(&resolution->data);
    }
    return message;
}

/* ---- what is answered */

static int explain_silence(const struct client *client, const struct request *request, const struct error *error)
{
    if (error->kind != ERROR_TRANSIENT) {
        return complain_of(error);
    }
    if (!request->delivered) {
        complain("%s\n          it may yet be on the log: look at the run before you ask again", error->message);
        return EXIT_UNREACHABLE;
    }
    char way[CLIENT_WAY_BYTES];
    complain("%s; start one with: backstep serve %s\n          the request is on the log and will be answered when one does",
             error->message, client_way(&client->options, way));
    return EXIT_UNREACHABLE;
}

static void print_answer(const struct call *call, const struct control *control, enum run_status status, const struct request *request)
{
    struct text out;
    text_init(&out, 64 * KIB);
    text_append_string(&out, "{\"run_id\":");
    text_append_json_string(&out, span_of(call->arguments[0]));
    text_format(&out, ",\"request\":\"%s\",\"answer\":\"%s\"", control->command,
                request->verdict == VERDICT_REFUSED ? "refused" : "accepted");
    if (request->reason[0] != '\0') {
        text_append_string(&out, ",\"reason\":");
        text_append_json_string(&out, span_of(request->reason));
    }
    text_format(&out, ",\"status\":\"%s\"}", run_status_name(status));
    print_line(&out);
    text_fini(&out);
}

static void say_accepted(const struct call *call, const struct control *control, const struct resolution *resolution)
{
    const char *run_id = call->arguments[0];
    char way[CLIENT_WAY_BYTES];
    client_way(&call->client, way);
    if (control->kind == MESSAGE_RESOLVE) {
        printf("step '%s' of %s counts as %s", SHOWN(span_of(call->arguments[1])), run_id, resolution->done ? "done" : "undone");
    } else {
        printf("%s %s", run_id, control->said);
    }
    printf("; backstep %s %s %s %s\n", control->next, run_id, way, control->purpose);
}

static int report(const struct call *call, const struct control *control, const struct resolution *resolution,
                  enum run_status status, const struct request *request)
{
    bool refused = request->verdict == VERDICT_REFUSED, waits = option_flag(call->options, "wait");
    if (call->json && (refused || !waits)) { /* else the run's own object comes at its end */
        print_answer(call, control, status, request);
    }
    if (refused) {
        complain("%s %s: %s", call->arguments[0], control->refused, request->reason[0] != '\0' ? request->reason : "refused");
        return EXIT_REFUSED;
    }
    if (!call->json && !call->quiet && !waits) {
        say_accepted(call, control, resolution);
    }
    return EXIT_DONE;
}

/* A pause has done what was asked when nothing runs any more. */
static int wait_for_end(struct follow *follow, const struct control *control)
{
    int code = follow_run(follow);
    return control->kind == MESSAGE_PAUSE && code == EXIT_PAUSED ? EXIT_DONE : code;
}

/* Of a run that has ended for good no more was read than its end: all that stands behind it need not be read to see the answer. */
static bool read_on_from_end(struct follow *follow, struct error *error)
{
    struct reader_options options = client_reads(follow->client, follow->run_id);
    options.from_end = true;
    reader_free(follow->reader);
    follow->reader = reader_new(&options, error);
    return follow->reader != NULL;
}

static int ask(struct follow *follow, const struct control *control, const struct resolution *resolution, struct error *error)
{
    const struct call *call = follow->call;
    struct request request;
    struct message message = message_of(call, control, resolution);
    const struct run *run = reader_find(follow->reader, follow->run_id);
    if (control->kind == MESSAGE_RESOLVE && !step_is_known(call, run, error)) {
        return complain_of(error);
    }
    bool waits = option_flag(call->options, "wait");
    enum run_status status = (enum run_status)run->saga.status;
    if (waits) {
        follow_skip(follow);
    } else if (saga_is_closed(&run->saga) && !read_on_from_end(follow, error)) {
        return complain_of(error);
    }
    if (!client_send_control(follow->client, &request, follow->run_id, &message, error)) {
        return complain_of(error);
    }
    if (!client_await(follow->client, follow->reader, &request, waits ? follow_record : NULL, follow, error)) {
        return explain_silence(follow->client, &request, error);
    }
    run = reader_find(follow->reader, follow->run_id);
    int code = report(call, control, resolution, run != NULL ? (enum run_status)run->saga.status : status, &request);
    return code == EXIT_DONE && waits ? wait_for_end(follow, control) : code;
}

static int control_run(struct call *call, struct client *client, const struct control *control, const struct resolution *resolution,
                       struct error *error)
{
    struct follow follow = {.call = call, .client = client, .run_id = call->arguments[0]};
    struct lookup lookup = {.client = client, .run_id = follow.run_id, .only_state = true};
    signals_install();
    follow_begin(&follow);
    follow.reader = lookup_run(&lookup, error);
    int code = follow.reader != NULL        ? ask(&follow, control, resolution, error)
               : error->kind != ERROR_NONE ? complain_of(error)
                                            : complain_of_no_run(call, follow.run_id, lookup.kept_since_ms);
    follow_end(&follow);
    return code;
}

int cmd_control(struct call *call)
{
    const struct control *control = control_of(call);
    struct error error = {0};
    struct client client = {0};
    struct resolution resolution = {0};
    int code;
    text_init(&resolution.data, LIMIT_RESULT_BYTES);
    if (control->kind == MESSAGE_RESOLVE && !read_resolution(call, &resolution, &error)) {
        code = complain_of(&error);
    } else if (!client_open(&client, &call->client, &error)) {
        code = complain_of(&error);
    } else {
        code = control_run(call, &client, control, &resolution, &error);
    }
    client_close(&client);
    text_fini(&resolution.data);
    return code;
}
