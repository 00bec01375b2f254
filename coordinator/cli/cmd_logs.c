/* SPDX-License-Identifier: Apache-2.0 */
/* backstep logs RUN: what its steps have logged; with -f, until it ends. */
#include "common/clock.h"
#include "common/names.h"
#include "common/topics.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/log_line.h"
#include "coordinator/cli/lookup.h"
#include "coordinator/cli/signals.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_BYTES_MAX (64 * 1024 * 1024)
#define POLL_MS 100
#define LAST_LINES_MS 500 /* a worker hands its lines over within a tenth of a second: they may come after the end of the run */
#define CLOCKS_DIFFER_MS (60 * 1000) /* of the brokers that lead the two topics */

struct logs {
    const struct call *call;
    const char *run_id, *step; /* step NULL: all */
    struct client *client;
    struct reader *reader;
    struct log_style style;
    char topic[TOPICS_NAME_BYTES];
    int32_t partition;
    int64_t end, next; /* read to `end`; the next record that comes */
    bool follow;
    int64_t over_ms; /* monotonic: when the run was seen to be over; 0: not yet */
    struct text out;
};

static const struct saga *saga_of(const struct logs *logs)
{
    return &reader_find(logs->reader, logs->run_id)->saga;
}

/* ---- one record */

static bool is_wanted(const struct logs *logs, const struct message *message)
{
    return span_equal(message->event.run_id, span_of(logs->run_id)) &&
           (logs->step == NULL || span_equal(message->log.step, span_of(logs->step)));
}

/* What cannot be decoded is skipped: it is nobody's to bury. */
static void print_record(struct logs *logs, const struct bus_event *event)
{
    struct message message = {0};
    if (!span_equal(event->key, span_of(logs->run_id)) || !message_decode(&message, TOPIC_LOGS, event->key, event->value, NULL)) {
        return;
    }
    if (is_wanted(logs, &message)) {
        text_clear(&logs->out);
        (logs->call->json ? log_lines_json : log_lines_text)(&message, event->time_ms, &logs->style, &logs->out);
        print_text(&logs->out);
    }
    message_free(&message);
}

static void take(struct logs *logs, const struct bus_event *event)
{
    if ((event->kind != BUS_RECORD && event->kind != BUS_END) || strcmp(event->topic, logs->topic) != 0) {
        return;
    }
    if (event->kind == BUS_RECORD) {
        print_record(logs, event);
    }
    const struct saga *saga = saga_of(logs);
    bool later = event->kind == BUS_RECORD && saga_is_settled(saga) && event->time_ms > saga->finished_ms + CLOCKS_DIFFER_MS;
    logs->next = later ? logs->end : event->kind == BUS_RECORD ? event->offset + 1 : event->offset;
}

/* ---- where to begin, and when to end */

static bool begin(struct logs *logs, struct error *error)
{
    const struct saga *saga = saga_of(logs);
    struct bus *bus = logs->client->bus;
    int timeout_ms = logs->client->options.timeout_ms;
    int32_t partitions;
    int64_t first;
    if (!bus_partition_count(bus, logs->topic, &partitions, timeout_ms, error)) {
        return false;
    }
    logs->partition = bus_partition_of(span_of(logs->run_id), partitions);
    return bus_bounds(bus, logs->topic, logs->partition, &first, &logs->end, timeout_ms, error) &&
           bus_offset_at(bus, logs->topic, logs->partition, saga->started_ms - CLOCKS_DIFFER_MS, &logs->next, timeout_ms, error) &&
           bus_consume(bus, logs->topic, logs->partition, logs->next, error);
}

/* Once the run is over, its last lines are waited for, and no longer. */
static bool is_finished(struct logs *logs, struct error *error)
{
    if (logs->follow && logs->over_ms == 0) {
        logs->over_ms = saga_is_settled(saga_of(logs)) ? clock_monotonic_ms() : 0;
        return false;
    }
    if (logs->follow && clock_monotonic_ms() - logs->over_ms >= LAST_LINES_MS) {
        int64_t first;
        logs->follow = false; /* what stands there now is all */
        bus_bounds(logs->client->bus, logs->topic, logs->partition, &first, &logs->end, logs->client->options.timeout_ms, error);
    }
    return !logs->follow && logs->next >= logs->end;
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
            error_set(error, ERROR_TRANSIENT, "%s could not be read: nothing came for %g s", logs->topic,
                      logs->client->options.timeout_ms / 1000.0);
            return complain_of(error);
        }
    }
    return EXIT_DONE;
}

/* ---- the command */

static bool step_exists(const struct logs *logs)
{
    const struct plan *plan = saga_of(logs)->plan;
    if (logs->step == NULL || plan == NULL) {
        return true;
    }
    const char **names = calloc((size_t)plan->step_count + 1, sizeof *names);
    bool found = names == NULL;
    for (uint32_t i = 0; i < plan->step_count && !found; i++) {
        found = span_equal(plan->steps[i].name, span_of(logs->step));
        names[i] = strndup(plan->steps[i].name.bytes, plan->steps[i].name.size);
    }
    if (!found) {
        struct text message;
        text_init(&message, 4096);
        name_append_suggestion(&message, span_of(logs->step), names);
        complain("%s has no step '%s'%s", logs->run_id, logs->step, text_string(&message));
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
    logs->reader = lookup_run(logs->client, logs->run_id, NULL, NULL, &error);
    if (logs->reader == NULL) {
        return error.kind != ERROR_NONE ? complain_of(&error) : complain_of_no_run(logs->call, logs->run_id);
    }
    if (!step_exists(logs)) {
        return EXIT_USAGE;
    }
    logs->style.saga = saga_of(logs);
    return begin(logs, &error) ? loop(logs, &error) : complain_of(&error);
}

static bool wants_colour(void)
{
    const char *terminal = getenv("TERM"), *refused = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && terminal != NULL && strcmp(terminal, "dumb") != 0 && (refused == NULL || refused[0] == '\0');
}

int cmd_logs(struct call *call)
{
    struct error error = {0};
    struct client client;
    struct logs logs = {.call = call,
                        .run_id = call->arguments[0],
                        .step = option_text(call->options, "step"),
                        .client = &client,
                        .style = {.level = LOG_DEBUG, .colour = wants_colour()},
                        .follow = option_flag(call->options, "follow")};
    signals_install();
    log_level_parse(option_text(call->options, "level"), &logs.style.level);
    topics_name(logs.topic, TOPICS_LOGS, call->client.prefix, NULL);
    text_init(&logs.out, OUTPUT_BYTES_MAX);
    int code = client_open(&client, &call->client, &error) ? read_logs(&logs) : complain_of(&error);
    reader_free(logs.reader);
    client_close(&client);
    text_fini(&logs.out);
    return code;
}
