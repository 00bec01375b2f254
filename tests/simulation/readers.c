/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/simulation/readers.h"

#include "common/limits.h"
#include "coordinator/cli/lookup.h"
#include "tests/simulation/oracle.h"
#include "tests/unit/saga_shown.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define GROUP "sim.coordinators"
#define A_FEW 8 /* records that are a short log here */

static uint64_t compared;

uint64_t readers_compared(void)
{
    return compared;
}

/* A log for readers alone: no faults, no delays, and they may take away what they like. */
static struct memory_cluster *copy_of(const struct memory_cluster *cluster, int32_t partition, int32_t partitions)
{
    struct memory_cluster *copy = memory_cluster_new(1);
    struct memory_record record;
    int64_t stamp_ms = memory_cluster_time(copy);
    memory_cluster_create_topic(copy, ORACLE_PROGRESS, partitions);
    for (int64_t at = 0; memory_cluster_record(cluster, ORACLE_PROGRESS, partition, at, &record); at++) {
        memory_cluster_jump(copy, record.time_ms - stamp_ms);
        stamp_ms = record.time_ms;
        memory_cluster_append(copy, ORACLE_PROGRESS, partition, record.key, record.value);
    }
    return copy;
}

static void commit(struct client *client, int32_t partition, const struct runs_checkpoint *checkpoint)
{
    char metadata[RUNS_CHECKPOINT_BYTES];
    runs_checkpoint_write(checkpoint, metadata);
    bus_commit(client->bus, GROUP, ORACLE_PROGRESS, partition, checkpoint->offset, metadata);
}

/* What was asked of it before its Start, nobody has to have read. */
static char *dump_without_requests(const struct saga *saga)
{
    char *dump = fixture_dump(saga), *requests = strstr(dump, "\nrequest ");
    if (requests != NULL) {
        *requests = '\0';
    }
    return dump;
}

/* How it stands, where it goes on; else how and when it ended. */
static void expect_same(const struct run *run, const struct run *found, const char *where)
{
    const struct saga *saga = &run->saga, *told = &found->saga;
    bool same = told->status == saga->status && told->start_offset == saga->start_offset && told->started_ms == saga->started_ms &&
                told->finished_ms == saga->finished_ms && told->progress_ppm == saga->progress_ppm &&
                span_equal(saga_trouble(told)->error, saga_trouble(saga)->error);
    char *expected = dump_without_requests(saga), *shown = dump_without_requests(told);
    if (!same || (!saga_is_over(saga) && strcmp(expected, shown) != 0)) {
        oracle_fail("a reader %s is told of %.*s\n%s, and the whole log says\n%s", where, SPAN_ARGS(saga->run_id), shown, expected);
    }
    free(expected);
    free(shown);
}

static void expect_run(const struct client *client, const struct run *run, bool may_be_older, const char *where)
{
    char run_id[LIMIT_IDENTIFIER_BYTES + 1];
    struct error error;
    snprintf(run_id, sizeof run_id, "%.*s", SPAN_ARGS(run->saga.run_id));
    struct lookup lookup = {.client = client, .run_id = run_id, .only_state = true, .short_records = A_FEW};
    struct reader *reader = lookup_run(&lookup, &error);
    bool is_there = run->saga.status != RUN_NONE;
    bool settled = saga_is_over(&run->saga) && run->saga.finish_recorded && run->saga.status != RUN_ROLLBACK_INCOMPLETE;
    if (reader == NULL && (error.kind != ERROR_NONE || (is_there && !(may_be_older && settled && lookup.kept_since_ms > 0)))) {
        oracle_fail("a reader %s finds no %s, of which the whole log says\n%s(%s; kept since %" PRId64 ")", where, run_id,
                    fixture_dump(&run->saga), error.kind != ERROR_NONE ? error.message : "no error", lookup.kept_since_ms);
    }
    if (reader != NULL) {
        if (!is_there) {
            oracle_fail("a reader %s finds %s, which was never started", where, run_id);
        }
        expect_same(run, reader_find(reader, run_id), where);
    }
    reader_free(reader);
    compared++;
}

/* A Start that is delivered again, long after its run has ended, looks like a new one to who begins behind that end, until it is answered. */
static bool is_asked_again(const struct saga *saga)
{
    const struct saga_request *request = saga->requests;
    while (request != NULL && request->answered) {
        request = request->next;
    }
    return saga_is_over(saga) && request != NULL;
}

static void expect_all(const struct client *client, struct runs *runs, bool may_be_older, const char *where)
{
    for (struct run *run = runs_next(runs, NULL); run != NULL; run = runs_next(runs, run)) {
        if (!is_asked_again(&run->saga)) {
            expect_run(client, run, may_be_older, where);
        }
    }
}

void readers_expect_truth(const struct memory_cluster *cluster, struct runs *runs, int32_t partition, int32_t partitions,
                          const struct runs_checkpoint *checkpoint)
{
    struct memory_cluster *copy = copy_of(cluster, partition, partitions);
    struct client client = {.options = {.prefix = ORACLE_PREFIX, .brokers = "none", .timeout_ms = 1000},
                            .bus = bus_memory_open(copy),
                            .group = GROUP,
                            .progress = ORACLE_PROGRESS,
                            .partitions = partitions};
    expect_all(&client, runs, false, "that knows no checkpoint");
    commit(&client, partition, checkpoint);
    expect_all(&client, runs, false, "that knows the checkpoint");
    memory_cluster_delete_before(copy, ORACLE_PROGRESS, partition, checkpoint->offset);
    expect_all(&client, runs, true, "of what stands after the checkpoint");
    bus_close(client.bus);
    memory_cluster_free(copy);
}
