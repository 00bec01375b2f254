/* SPDX-License-Identifier: Apache-2.0 */
/* backstep logs RUN: what its steps have logged; with -f, until it ends. */
#include "common/clock.h"
#include "common/names.h"
#include "common/text.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/log_tail.h"
#include "coordinator/cli/lookup.h"
#include "coordinator/cli/signals.h"

#include <stdlib.h>
#include <string.h>

#define OUTPUT_BYTES_MAX (64 * 1024 * 1024)
#define POLL_MS 100

struct logs {
    const struct call *call;
    const char *run_id;
    struct client *client;
    struct reader *reader;
    struct log_tail tail;
    int64_t end; /* read so far, unless it follows */
    bool follow;
    int64_t over_ms; /* monotonic: when the run was seen to be over; 0: not yet */
    struct text out;
};

static const struct saga *saga_of(const struct logs *logs)
{
    return &reader_find(logs->reader, logs->run_id)->saga;
}

static void take(struct logs *logs, const struct bus_event *event)
{
    const struct saga *saga = saga_of(logs);
    text_clear(&logs->out);
    if (!log_tail_take(&logs->tail, event, &logs->out)) {
        return;
    }
    print_text(&logs->out);
    bool is_later = event->kind == BUS_RECORD && saga_is_settled(saga) && event->time_ms > saga->finished_ms + LOG_TAIL_CLOCKS_MS;
    logs->tail.next = is_later && logs->end > logs->tail.next ? logs->end : logs->tail.next; /* nothing of the run comes after it */
}

/* ---- when to end */

/* Once the run is over, its last lines are waited for, and no longer. */
static bool is_finished(struct logs *logs, struct error *error)
{
    if (logs->follow && logs->over_ms == 0) {
        logs->over_ms = saga_is_settled(saga_of(logs)) ? clock_monotonic_ms() : 0;
        return false;
    }
    if (logs->follow && clock_monotonic_ms() - logs->over_ms >= LOG_TAIL_LAST_MS) {
        logs->follow = false; /* what stands there now is all */
        log_tail_bound(&logs->tail, &logs->end, error);
    }
    return !logs->follow && logs->tail.next >= logs->end;
}

static int loop(struct logs *logs, struct error *error)
{
    int64_t quiet_until_ms = clock_monotonic_ms() + logs->client->options.timeout_ms;
    while (!is_finished(logs, error) && signals_interrupts() == 0 && !output_is_closed()) {
        struct bus_event event;
        struct reader_record record;
        bus_poll(logs->client->bus, POLL_MS, &event);
        if (!client_take(logs->client, logs->reader, NULL, &event, &record, error) && error->kind != ERROR_NONE) {
            return complain_of(error);
        }
        take(logs, &event);
        if (logs->follow || event.kind == BUS_RECORD) {
            quiet_until_ms = clock_monotonic_ms() + logs->client->options.timeout_ms;
        } else if (clock_monotonic_ms() >= quiet_until_ms) {
            error_set(error, ERROR_TRANSIENT, "%s could not be read: nothing came for %g s", logs->tail.topic,
                      logs->client->options.timeout_ms / 1000.0);
            return complain_of(error);
        }
    }
    return EXIT_DONE;
}

/* ---- before there is anything */

#define LOOK_AGAIN_MS 500

static bool may_still_come(const struct logs *logs)
{
    const struct saga *saga = saga_of(logs);
    return !saga_is_settled(saga) || clock_realtime_ms() - saga->finished_ms < LOG_TAIL_FIRST_MS;
}

/* Whoever follows waits for the first line of all, which makes the topic. */
static bool await_topic(struct logs *logs, struct error *error)
{
    int64_t look_ms = 0;
    while (logs->follow && may_still_come(logs) && signals_interrupts() == 0 && !output_is_closed()) {
        struct bus_event event;
        struct reader_record record;
        if (clock_monotonic_ms() >= look_ms) {
            if (log_tail_is_there(&logs->tail, error) || error->kind != ERROR_NONE) {
                break;
            }
            look_ms = clock_monotonic_ms() + LOOK_AGAIN_MS;
        }
        bus_poll(logs->client->bus, POLL_MS, &event);
        if (!client_take(logs->client, logs->reader, NULL, &event, &record, error) && error->kind != ERROR_NONE) {
            return false;
        }
    }
    return log_tail_is_there(&logs->tail, error);
}

static int show_logs(struct logs *logs)
{
    struct error error = {0};
    if (!await_topic(logs, &error)) {
        if (error.kind == ERROR_NONE && !logs->call->quiet) {
            complain("no step has logged anything yet on prefix '%s'", logs->call->client.prefix);
        }
        return error.kind != ERROR_NONE ? complain_of(&error) : EXIT_DONE;
    }
    bool ok = log_tail_begin(&logs->tail, saga_of(logs)->started_ms, &error) && log_tail_bound(&logs->tail, &logs->end, &error);
    return ok ? loop(logs, &error) : complain_of(&error);
}

/* ---- the command */

static bool step_exists(const struct logs *logs)
{
    const struct plan *plan = saga_of(logs)->plan;
    if (logs->tail.step == NULL || plan == NULL) {
        return true;
    }
    const char **names = calloc((size_t)plan->step_count + 1, sizeof *names);
    bool found = names == NULL;
    for (uint32_t i = 0; i < plan->step_count && !found; i++) {
        found = span_equal(plan->steps[i].name, span_of(logs->tail.step));
        names[i] = text_copy(plan->steps[i].name);
    }
    if (!found) {
        struct text message;
        text_init(&message, 4096);
        name_append_suggestion(&message, span_of(logs->tail.step), names);
        complain("%s has no step '%s'%s", logs->run_id, logs->tail.step, text_string(&message));
        text_fini(&message);
    }
    for (uint32_t i = 0; names != NULL && i < plan->step_count; i++) {
        free((char *)(uintptr_t)names[i]);
    }
    free(names);
    return found;
}

static int read_logs(struct logs *logs)
{
    struct error error = {0};
    struct lookup lookup = {.client = logs->client, .run_id = logs->run_id, .only_state = true};
    logs->reader = lookup_run(&lookup, &error);
    if (logs->reader == NULL) {
        return error.kind != ERROR_NONE ? complain_of(&error) : complain_of_no_run(logs->call, logs->run_id, lookup.kept_since_ms);
    }
    if (!step_exists(logs)) {
        return EXIT_USAGE;
    }
    logs->tail.style.saga = saga_of(logs);
    return show_logs(logs);
}

int cmd_logs(struct call *call)
{
    struct error error = {0};
    struct client client;
    struct logs logs = {.call = call,
                        .run_id = call->arguments[0],
                        .client = &client,
                        .tail = {.client = &client,
                                 .run_id = call->arguments[0],
                                 .step = option_text(call->options, "step"),
                                 .style = {.level = LOG_DEBUG, .colour = log_tail_wants_colour()},
                                 .json = call->json},
                        .follow = option_flag(call->options, "follow")};
    signals_install();
    log_level_parse(option_text(call->options, "level"), &logs.tail.style.level);
    text_init(&logs.out, OUTPUT_BYTES_MAX);
    int code = client_open(&client, &call->client, &error) ? read_logs(&logs) : complain_of(&error);
    reader_free(logs.reader);
    client_close(&client);
    text_fini(&logs.out);
    return code;
}
