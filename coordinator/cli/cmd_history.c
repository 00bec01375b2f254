/* SPDX-License-Identifier: Apache-2.0 */
/* backstep history RUN: the whole story of a run, one line an event. */
#include "coordinator/cli/command.h"
#include "coordinator/cli/event_json.h"
#include "coordinator/cli/lookup.h"
#include "coordinator/cli/screen.h"
#include "coordinator/cli/signals.h"
#include "coordinator/cli/summary.h"

#include <stdio.h>
#include <time.h>

#define OUTPUT_BYTES_MAX (256 * 1024 * 1024)

struct story {
    const struct call *call;
    const char *run_id;
    struct told told;
    int32_t day; /* of the last line: year and day of the year; 0: there is none */
    bool begun, over;
    struct text lines;
};

/* A line has the time of day only. */
static void tell_day(struct story *story, int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts = {0};
    char words[16];
    localtime_r(&seconds, &parts);
    int32_t day = parts.tm_year * 1000 + parts.tm_yday + 1;
    if (story->day != 0 && day != story->day) {
        strftime(words, sizeof words, "%Y-%m-%d", &parts);
        text_format(&story->lines, "%s\n", words);
    }
    story->day = day;
}

/* The record's own line, then what it has changed. */
static void tell(struct story *story, const struct reader_record *record)
{
    const struct saga *saga = record->run != NULL ? &record->run->saga : NULL;
    bool begins = record->result == RUNS_CHECKED && !story->begun; /* a snapshot, of a run whose Start is not kept */
    if (record->result != RUNS_APPLIED && record->result != RUNS_CLAIMED && !begins) {
        return;
    }
    tell_day(story, record->time_ms);
    if (begins) {
        text_append_string(&story->lines, "what happened before is older than what the log keeps; it amounts to:\n");
    }
    if (record_is_story(record->message)) {
        record_line(record->message, saga, record->time_ms, true, &story->lines);
    }
    if (saga != NULL) {
        told_update(&story->told, saga, record->time_ms, &story->lines);
    }
}

static void tell_json(struct story *story, const struct reader_record *record)
{
    if (!event_is_machinery(record) || record_is_story(record->message)) {
        event_json(record, &story->lines);
        text_append_char(&story->lines, '\n');
    }
}

/* Whoever took the partition over while the run went on belongs to its story. */
static bool is_of_the_story(const struct story *story, const struct reader_record *record)
{
    bool claim = record->message != NULL && record->message->kind == MESSAGE_OWNER_CLAIM;
    return record->message != NULL && ((claim && story->begun && !story->over) || span_equal(record->key, span_of(story->run_id)));
}

static void on_record(void *context, const struct reader_record *record)
{
    struct story *story = context;
    if (!is_of_the_story(story, record) || record->result == RUNS_FENCED) {
        return;
    }
    (story->call->json ? tell_json : tell)(story, record);
    if (record->run != NULL) {
        story->begun = record->run->saga.status != RUN_NONE;
        story->over = saga_is_settled(&record->run->saga);
    }
}

static void print_heading(const struct run *run)
{
    const struct saga *saga = &run->saga;
    const struct run_view *view = run_view(run);
    char words[40];
    time_t seconds = (time_t)(saga->started_ms / 1000);
    struct tm parts = {0};
    struct text out;
    localtime_r(&seconds, &parts);
    strftime(words, sizeof words, "%Y-%m-%d %H:%M:%S", &parts);
    text_init(&out, 64 * 1024);
    text_append_visible(&out, saga->run_id);
    text_append_string(&out, "  ");
    text_append_visible(&out, span_of(view != NULL && view->pipeline != NULL ? view->pipeline : "?"));
    text_format(&out, "  %s  started %s", run_status_name((enum run_status)saga->status), words);
    if (saga_is_over(saga)) {
        text_append_string(&out, ", took ");
        screen_duration(saga->finished_ms - saga->started_ms, &out);
    }
    print_line(&out);
    if (saga->plan == NULL && saga_is_over(saga)) {
        puts("what happened before its end is older than what the log keeps");
    }
    text_fini(&out);
}

static int show(struct story *story, const struct client *client, struct error *error)
{
    struct lookup lookup = {.client = client, .run_id = story->run_id, .each = on_record, .context = story};
    struct reader *reader = lookup_run(&lookup, error);
    if (reader == NULL) {
        return error->kind != ERROR_NONE ? complain_of(error) : complain_of_no_run(story->call, story->run_id, lookup.kept_since_ms);
    }
    if (!story->call->json && !story->call->quiet) {
        print_heading(reader_find(reader, story->run_id));
    }
    print_text(&story->lines);
    reader_free(reader);
    return EXIT_DONE;
}

int cmd_history(struct call *call)
{
    struct error error = {0};
    struct client client;
    struct story story = {.call = call, .run_id = call->arguments[0]};
    signals_install();
    text_init(&story.lines, OUTPUT_BYTES_MAX);
    int code = client_open(&client, &call->client, &error) ? show(&story, &client, &error) : complain_of(&error);
    client_close(&client);
    told_fini(&story.told);
    text_fini(&story.lines);
    return code;
}
