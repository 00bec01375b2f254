/* SPDX-License-Identifier: Apache-2.0 */
/* backstep events [RUN]: the progress topic, one line an event, as it comes. */
#include "coordinator/cli/command.h"
#include "coordinator/cli/event_json.h"
#include "coordinator/cli/lookup.h"
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
    } else if (run != NULL && (record->result == RUNS_APPLIED || record->result == RUNS_CHECKED)) {
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

static struct reader *read_run(struct follower *follower, const struct client *client, int64_t *kept_since_ms, struct error *error)
{
    struct lookup lookup = {.client = client,
                            .run_id = follower->run_id,
                            .only_state = !follower->from_beginning,
                            .each = on_record,
                            .context = follower};
    struct reader *reader = lookup_run(&lookup, error);
    struct run *run = reader != NULL ? reader_find(reader, follower->run_id) : NULL;
    if (run != NULL) { /* lines are about what changes from here on */
        text_clear(&follower->lines);
        told_update(&run_view(run)->told, &run->saga, run->saga.time_ms, &follower->lines);
    }
    *kept_since_ms = lookup.kept_since_ms;
    return reader;
}

/* What is under way has to be known, to tell what changes. */
static struct reader *read_all(struct follower *follower, const struct client *client, struct error *error)
{
    struct reader_options options = client_reads(client, NULL);
    options.from_checkpoint = !follower->from_beginning;
    options.forget_ended = true;
    struct reader *reader = reader_new(&options, error);
    if (reader != NULL && !reader_catch_up(reader, on_record, follower, error)) {
        reader_free(reader);
        reader = NULL;
    }
    return reader;
}

static int show(struct follower *follower, struct client *client, struct error *error)
{
    int64_t kept_since_ms = 0;
    struct reader *reader =
        follower->run_id != NULL ? read_run(follower, client, &kept_since_ms, error) : read_all(follower, client, error);
    if (reader == NULL && error->kind == ERROR_NONE) {
        return complain_of_no_run(follower->call, follower->run_id, kept_since_ms);
    }
    if (reader == NULL) {
        return signals_interrupts() > 0 ? EXIT_DONE : complain_of(error);
    }
    int code = follow_events(follower, client, reader, error);
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
