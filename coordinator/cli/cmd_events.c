/* SPDX-License-Identifier: Apache-2.0 */
/* backstep events [RUN]: the progress topic, one line an event, as it comes. */
#include "coordinator/cli/command.h"
#include "coordinator/cli/event_json.h"
#include "coordinator/cli/reader.h"
#include "coordinator/cli/screen.h"
#include "coordinator/cli/signals.h"

#define LINES_BYTES_MAX (16 * 1024 * 1024)

struct follower {
    const struct call *call;
    const char *run_id; /* NULL: all runs */
    bool all, from_beginning;
    struct text lines;
};

/* A line for what has changed in the run; with --all for the record itself, whatever it says. */
static void append_lines(struct follower *follower, const struct reader_record *record)
{
    struct run *run = record->run;
    const struct saga *saga = run != NULL ? &run->saga : NULL;
    if (follower->call->json) {
        if (follower->all || !event_is_machinery(record)) {
            event_json(record, &follower->lines);
            text_append_char(&follower->lines, '\n');
        }
    } else if (follower->all && record->message == NULL) {
        text_format(&follower->lines, "partition %d offset %lld: %s\n", record->partition, (long long)record->offset,
                    record->problem.message);
    } else if (follower->all) {
        record_line(record->message, saga, record->time_ms, true, &follower->lines);
    } else if (run != NULL && record->result == RUNS_APPLIED) {
        told_update(&run_view(run)->told, saga, record->time_ms, &follower->lines);
    }
}

static void on_record(void *context, const struct reader_record *record)
{
    struct follower *follower = context;
    if (follower->run_id != NULL && !span_equal(record->key, span_of(follower->run_id))) {
        return;
    }
    text_clear(&follower->lines);
    append_lines(follower, record);
    if (!record->history || follower->from_beginning) {
        print_text(&follower->lines);
    }
}

static bool is_over(struct follower *follower, struct reader *reader)
{
    struct run *run = follower->run_id != NULL ? reader_find(reader, follower->run_id) : NULL;
    return run != NULL && saga_is_settled(&run->saga);
}

static int follow_events(struct follower *follower, struct client *client, struct reader *reader, struct error *error)
{
    while (signals_interrupts() == 0 && !output_is_closed()) {
        struct bus_event event;
        struct reader_record record;
        if (is_over(follower, reader)) {
            return EXIT_DONE;
        }
        bus_poll(client->bus, 1000, &event);
        if (client_take(client, reader, NULL, &event, &record, error)) {
            on_record(follower, &record);
        } else if (error->kind != ERROR_NONE) {
            return complain_of(error);
        }
    }
    return EXIT_DONE;
}

static int show(struct follower *follower, struct client *client, struct error *error)
{
    struct reader_options options = client_reads(client, follower->run_id);
    struct reader *reader = reader_new(&options, error);
    int code;
    if (reader == NULL || !reader_catch_up(reader, on_record, follower, error)) {
        code = signals_interrupts() > 0 ? EXIT_DONE : complain_of(error);
    } else if (follower->run_id != NULL && reader_find(reader, follower->run_id) == NULL) {
        code = complain_of_no_run(follower->call, follower->run_id);
    } else {
        code = follow_events(follower, client, reader, error);
    }
    reader_free(reader);
    return code;
}

int cmd_events(struct call *call)
{
    struct error error = {0};
    struct client client;
    struct follower follower = {
        .call = call,
        .run_id = call->argument_count > 0 ? call->arguments[0] : NULL,
        .all = option_flag(call->options, "all"),
        .from_beginning = option_flag(call->options, "from-beginning"),
    };
    signals_install();
    text_init(&follower.lines, LINES_BYTES_MAX);
    int code = client_open(&client, &call->client, &error) ? show(&follower, &client, &error) : complain_of(&error);
    client_close(&client);
    text_fini(&follower.lines);
    return code;
}
