/* SPDX-License-Identifier: Apache-2.0 */
/* backstep list: the runs on the log, newest first. */
#include "common/clock.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/reader.h"
#include "coordinator/cli/summary.h"

#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX (64 * 1024)
/* Records of each partition that are read first; a run of a few steps has ten or so. Then eight times as many, until the newest runs are among them. */
#define WINDOW_RECORDS 4096
#define WINDOW_GROWS 8
#define WINDOW_MOST (WINDOW_RECORDS * WINDOW_GROWS * WINDOW_GROWS) /* for a status that few have, unless all is to be read: some seconds */

struct wanted {
    const char *status; /* NULL: any */
    size_t limit;
    bool all;
    bool whole; /* nothing is missing in what was found */
};

static int by_start(const void *a, const void *b)
{
    const struct saga *first = &(*(const struct run *const *)a)->saga, *second = &(*(const struct run *const *)b)->saga;
    if (first->started_ms != second->started_ms) {
        return first->started_ms < second->started_ms ? 1 : -1;
    }
    return first->start_offset < second->start_offset ? 1 : -1;
}

static bool is_wanted(const struct run *run, const char *status)
{
    return status == NULL || strcmp(run_status_name(run->saga.status), status) == 0;
}

static size_t collect(struct reader *reader, const char *status, struct run ***runs)
{
    size_t count = 0, room = 0;
    *runs = NULL;
    for (struct run *run = NULL; (run = reader_next(reader, run)) != NULL;) {
        if (!is_wanted(run, status)) {
            continue;
        }
        if (count == room) {
            room = room > 0 ? room * 2 : 64;
            *runs = reallocarray(*runs, room, sizeof **runs);
            if (*runs == NULL) {
                abort();
            }
        }
        (*runs)[count++] = run;
    }
    return count;
}

static void print_runs(const struct call *call, struct run *const *runs, size_t count)
{
    struct text out;
    text_init(&out, LINE_BYTES_MAX);
    if (!call->json && !call->quiet && count > 0) {
        summary_list_heading(&out);
        print_text(&out);
    }
    for (size_t i = 0; i < count; i++) {
        text_clear(&out);
        if (call->json) {
            summary_list_json(runs[i], clock_realtime_ms(), &out);
            print_line(&out);
        } else {
            summary_list_text(runs[i], clock_realtime_ms(), &out);
            print_text(&out);
        }
    }
    text_fini(&out);
}

/* All runs under way are known from the checkpoint on: an owner goes by it. */
static bool is_under_way(const char *status)
{
    static const enum run_status ended[] = {RUN_SUCCEEDED, RUN_ROLLED_BACK, RUN_CANCELLED};
    for (size_t i = 0; status != NULL && i < sizeof ended / sizeof *ended; i++) {
        if (strcmp(run_status_name(ended[i]), status) == 0) {
            return false;
        }
    }
    return status != NULL;
}

/* false: there may be more of that status further back, and nobody has asked to look there. */
static bool goes_on(const struct wanted *wanted, int64_t window)
{
    return wanted->status == NULL || wanted->all || window < WINDOW_MOST;
}

/* A reader that knows the newest runs: it begins as near to the end of the log as that allows. NULL: the log could not be read. */
static struct reader *read_newest(const struct client *client, struct wanted *wanted, struct error *error)
{
    struct reader_options options = client_reads(client, NULL);
    options.keep_summary = true;
    options.from_checkpoint = is_under_way(wanted->status);
    for (options.window = WINDOW_RECORDS;; options.window *= WINDOW_GROWS) {
        struct reader *reader = reader_new(&options, error);
        if (reader == NULL || !reader_catch_up(reader, NULL, NULL, error)) {
            reader_free(reader);
            return NULL;
        }
        bool whole = (options.from_checkpoint && reader_is_from_checkpoint(reader)) ||
                     reader_has_newest(reader, wanted->limit, is_wanted, wanted->status);
        if (whole || !goes_on(wanted, options.window)) {
            wanted->whole = whole;
            return reader;
        }
        reader_free(reader);
    }
}

static void say_that_there_may_be_more(const struct call *call)
{
    if (!call->quiet) {
        complain("looked only at the last %d records of each partition; --all looks at all that is kept", WINDOW_MOST);
    }
}

static int show(struct call *call, struct client *client, struct error *error)
{
    struct wanted wanted = {.status = option_text(call->options, "status"),
                            .limit = (size_t)option_number(call->options, "limit"),
                            .all = option_flag(call->options, "all")};
    struct reader *reader = read_newest(client, &wanted, error);
    if (reader == NULL) {
        return complain_of(error);
    }
    struct run **runs;
    size_t count = collect(reader, wanted.status, &runs);
    if (count > 0) {
        qsort(runs, count, sizeof *runs, by_start);
    }
    print_runs(call, runs, wanted.limit < count ? wanted.limit : count);
    if (!wanted.whole) {
        say_that_there_may_be_more(call);
    }
    free(runs);
    reader_free(reader);
    return EXIT_DONE;
}

static bool status_exists(const char *status)
{
    for (int i = RUN_PENDING; i <= RUN_ROLLBACK_INCOMPLETE; i++) {
        if (strcmp(run_status_name((enum run_status)i), status) == 0) {
            return true;
        }
    }
    return false;
}

int cmd_list(struct call *call)
{
    const char *status = option_text(call->options, "status");
    if (status != NULL && !status_exists(status)) {
        complain("--status: '%s' is no status of a run; there are pending running paused rolling_back succeeded rolled_back "
                 "cancelled rollback_incomplete",
                 status);
        return EXIT_USAGE;
    }
    if (status == NULL && option_flag(call->options, "all")) {
        complain("--all goes with --status, and says to look for rare ones as far back as the log is kept; --limit N shows more runs");
        return EXIT_USAGE;
    }
    struct error error = {0};
    struct client client;
    int code = client_open(&client, &call->client, &error) ? show(call, &client, &error) : complain_of(&error);
    client_close(&client);
    return code;
}
