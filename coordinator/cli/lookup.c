/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/lookup.h"

#include "common/names.h"

/* So much is read from its beginning without a question. The windows begin with as much, too. */
#define SHORT_LOG_RECORDS 65536
/* The second in an id is by its maker's clock, records are by the broker's. */
#define CLOCKS_DIFFER_MS (10 * 60 * 1000)

struct search {
    const struct client *client;
    const char *run_id;
    int64_t first, next; /* of the partition */
    int64_t start; /* of the run; -1: not found yet */
};

static void look(void *context, const struct reader_record *record)
{
    struct search *search = context;
    const struct message *message = record->message;
    if (message == NULL || !span_equal(record->key, span_of(search->run_id))) {
        return;
    }
    if (message->kind == MESSAGE_RUN_FINISHED && record->result != RUNS_FENCED) {
        search->start = message->start_offset;
    } else if (record->run != NULL && record->run->saga.status != RUN_NONE) {
        search->start = record->run->saga.start_offset;
    }
}

static struct reader *read_from(const struct search *search, int64_t from, bool only_state,
                                void (*each)(void *context, const struct reader_record *record), void *context, struct error *error)
{
    struct reader_options options = client_reads(search->client, search->run_id);
    options.from_offset = from;
    options.until_closed = only_state ? search->run_id : NULL;
    struct reader *reader = reader_new(&options, error);
    if (reader != NULL && !reader_catch_up(reader, each, context, error)) {
        reader_free(reader);
        reader = NULL;
    }
    return reader;
}

/* Does it, or its end, stand after `from`? false: the log could not be read. */
static bool look_from(struct search *search, int64_t from, struct error *error)
{
    struct reader *reader = read_from(search, from, true, look, search, error);
    reader_free(reader);
    return reader != NULL;
}

static bool look_by_time(struct search *search, struct error *error)
{
    const struct client *client = search->client;
    int64_t second, from;
    if (!run_id_time(span_of(search->run_id), &second)) {
        return true;
    }
    return bus_offset_at(client->bus, client->progress, bus_partition_of(span_of(search->run_id), client->partitions),
                         second * 1000 - CLOCKS_DIFFER_MS, &from, client->options.timeout_ms, error) &&
           look_from(search, from, error);
}

static bool look_backwards(struct search *search, struct error *error)
{
    int64_t from = search->next;
    for (int64_t window = SHORT_LOG_RECORDS; search->start < 0 && from > search->first; window *= 2) {
        from = search->next - window > search->first ? search->next - window : search->first;
        if (!look_from(search, from, error)) {
            return false;
        }
    }
    return true;
}

static bool find(struct search *search, struct error *error)
{
    if (search->next - search->first <= SHORT_LOG_RECORDS) {
        search->start = search->first;
        return true;
    }
    return look_by_time(search, error) && (search->start >= 0 || look_backwards(search, error));
}

struct reader *lookup_run(const struct client *client, const char *run_id, bool only_state,
                          void (*each)(void *context, const struct reader_record *record), void *context, struct error *error)
{
    struct search search = {.client = client, .run_id = run_id, .start = -1};
    int32_t partition = bus_partition_of(span_of(run_id), client->partitions);
    error->kind = ERROR_NONE;
    if (!bus_bounds(client->bus, client->progress, partition, &search.first, &search.next, client->options.timeout_ms, error) ||
        !find(&search, error) || search.start < 0) {
        return NULL;
    }
    struct reader *reader = read_from(&search, search.start, only_state, each, context, error);
    if (reader != NULL && reader_find(reader, run_id) == NULL) {
        reader_free(reader);
        return NULL;
    }
    return reader;
}
