/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the log of a million runs in half a minute, as a coordinator and a worker would have written it, so that what reads it can be measured.
 * The topics must be there, and nobody may own them meanwhile. One JSON object: the records, and the first run's id.
 *
 *     bench_fill BROKERS PREFIX RUNS finished|unfinished */
#include "bench/three_steps.h"
#include "common/clock.h"
#include "common/limits.h"
#include "common/names.h"
#include "coordinator/cli/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 60000
#define BACKLOG_RECORDS 50000
#define ANSWERS_MS 10

struct fill {
    struct client client;
    struct text bytes;
    int64_t *epochs, *next; /* by partition; the offset of the next record: nobody else writes */
    uint64_t request;
    long records;
};

static void die(const char *what, const struct error *error)
{
    fprintf(stderr, "bench_fill: %s: %s\n", what, error->message);
    exit(1);
}

static void wait_for_room(struct fill *fill, size_t most)
{
    while (bus_backlog(fill->client.bus).records > most) {
        struct bus_event event;
        bus_poll(fill->client.bus, ANSWERS_MS, &event);
        if (event.kind == BUS_FATAL) {
            fprintf(stderr, "bench_fill: %s\n", event.reason);
            exit(1);
        }
    }
}

static void append(struct fill *fill, int32_t partition, struct span key, struct message *message)
{
    struct error error;
    text_clear(&fill->bytes);
    message->epoch = fill->epochs[partition];
    if (!message_encode(message, &fill->bytes, &error)) {
        die("encoding", &error);
    }
    struct bus_send record = {.topic = fill->client.progress,
                              .partition = partition,
                              .key = key,
                              .value = text_span(&fill->bytes),
                              .headers = {{"type", span_of(message_type(message->kind))}},
                              .header_count = 1};
    wait_for_room(fill, BACKLOG_RECORDS);
    if (!bus_send(fill->client.bus, &record, &error)) {
        die("sending", &error);
    }
    fill->records++;
    fill->next[partition]++;
}

static void claim_all(struct fill *fill)
{
    for (int32_t i = 0; i < fill->client.partitions; i++) {
        struct message claim = {
            .kind = MESSAGE_OWNER_CLAIM, .coordinator = span_of("fill"), .progress_partitions = (uint32_t)fill->client.partitions};
        int64_t first;
        struct error error;
        if (!bus_bounds(fill->client.bus, fill->client.progress, i, &first, &fill->epochs[i], TIMEOUT_MS, &error)) {
            die(fill->client.progress, &error);
        }
        fill->next[i] = fill->epochs[i];
        append(fill, i, (struct span){0}, &claim);
        wait_for_room(fill, 0);
    }
}

static void begin(struct fill *fill, int32_t partition, struct span key, const struct plan *plan)
{
    struct message start = {.kind = MESSAGE_START, .progress_partitions = (uint32_t)fill->client.partitions};
    struct message answered = {.kind = MESSAGE_ANSWERED, .verdict = VERDICT_ACCEPTED};
    fill->request++;
    memcpy(start.event.request_id, &fill->request, sizeof fill->request);
    memcpy(answered.event.request_id, &fill->request, sizeof fill->request);
    start.event.plan = plan;
    start.event.params = span_of("{}");
    start.event.fold_version = plan_fold_version_ahead(plan);
    append(fill, partition, key, &start);
    append(fill, partition, key, &answered);
}

static void end(struct fill *fill, int32_t partition, struct span key, const struct plan *plan, int64_t start_offset)
{
    for (uint32_t i = 0; i < plan->step_count; i++) {
        struct message done = {.kind = MESSAGE_DONE};
        done.event.ticket = (struct ticket){.step = i, .direction = DIRECTION_EXECUTE, .number = 1};
        done.event.outcome = OUTCOME_OK;
        done.event.data = span_of("{}");
        done.event.worker = span_of("w");
        append(fill, partition, key, &done);
    }
    struct message finished = {.kind = MESSAGE_RUN_FINISHED,
                               .status = RUN_SUCCEEDED,
                               .pipeline = plan->name,
                               .steps_executed = plan->step_count,
                               .steps_total = plan->step_count,
                               .start_offset = start_offset,
                               .started_ms = clock_realtime_ms(), /* when it ended, by the log's clock, only the broker knows */
                               .progress_ppm = PPM_ONE};
    append(fill, partition, key, &finished);
}

static void fill_runs(struct fill *fill, long count, bool finished)
{
    const struct plan *plan = three_steps("filled");
    char id[RUN_ID_BYTES], first[RUN_ID_BYTES] = "";
    for (long i = 0; i < count; i++) {
        run_id_generate(id, plan->name, clock_realtime_ms() / 1000);
        int32_t partition = bus_partition_of(span_of(id), fill->client.partitions);
        int64_t start_offset = fill->next[partition];
        begin(fill, partition, span_of(id), plan);
        if (finished) {
            end(fill, partition, span_of(id), plan, start_offset);
        }
        if (i == 0) {
            memcpy(first, id, sizeof first);
        }
    }
    wait_for_room(fill, 0);
    printf("{\"runs\": %ld, \"records\": %ld, \"first\": \"%s\"}\n", count, fill->records, first);
}

int main(int argc, char **argv)
{
    struct fill fill = {0};
    struct error error;
    if (argc != 5) {
        fprintf(stderr, "usage: bench_fill BROKERS PREFIX RUNS finished|unfinished\n");
        return 2;
    }
    const struct client_options options = {.brokers = argv[1], .prefix = argv[2], .timeout_ms = TIMEOUT_MS};
    if (!client_open(&fill.client, &options, &error)) {
        die(argv[1], &error);
    }
    text_init(&fill.bytes, LIMIT_RECORD_BYTES);
    fill.epochs = calloc((size_t)fill.client.partitions, sizeof *fill.epochs);
    fill.next = calloc((size_t)fill.client.partitions, sizeof *fill.next);
    if (fill.epochs == NULL || fill.next == NULL) {
        abort();
    }
    claim_all(&fill);
    fill_runs(&fill, atol(argv[3]), strcmp(argv[4], "finished") == 0);
    client_close(&fill.client);
    text_fini(&fill.bytes);
    free(fill.epochs);
    free(fill.next);
    return 0;
}
