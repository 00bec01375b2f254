/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/lookup.h"

#include "common/names.h"

/* So much is read from its beginning without a question. The windows begin with as much, too. */
#define SHORT_LOG_RECORDS 65536
/* The second in an id is by its maker's clock, records are by the broker's. Nearly always they agree, and a busy log has a
 * lot of records in the minutes by which they might not. */
#define CLOCKS_AGREE_MS 2000
#define CLOCKS_DIFFER_MS (10 * 60 * 1000)

struct search {
    struct lookup *lookup;
    int64_t first, next; /* of the partition */
    int64_t short_records;
    int64_t start; /* of the run; -1: not found yet. It may be older than what is kept */
    struct reader *reader; /* knows how the run stands now; NULL: none does yet */
};

static struct reader_options options_of(const struct search *search)
{
    struct reader_options options = client_reads(search->lookup->client, search->lookup->run_id);
    options.until_closed = true;
    return options;
}

/* A Start may be one that was repeated long after. Its answer tells. */
static bool is_start_answered(const struct saga *saga)
{
    const struct saga_request *request = saga->requests;
    while (request != NULL && !(request->answered && request->verdict == VERDICT_ACCEPTED)) {
        request = request->next;
    }
    return request != NULL;
}

/* Is that the run's own Start? From a checkpoint on, or from the first record, there is no doubt; nor of a state from a snapshot. */
static bool is_believed(const struct search *search, const struct reader *reader, const struct run *run)
{
    int64_t begin = reader_begin_of(reader, run_view(run)->partition);
    bool is_sure = begin <= search->first || reader_is_from_checkpoint(reader);
    return is_sure || run->saga.plan == NULL || run->saga.start_offset < begin || is_start_answered(&run->saga);
}

/* Has it come so far that the run is known as it stands now? */
static bool is_state_known(const struct run *run, int64_t most)
{
    bool whole = run->saga.plan != NULL || run_view(run)->newer;
    return whole && (most == 0 || saga_is_closed(&run->saga));
}

/* Is it, or its end, or a snapshot of it, among those records? false: the log could not be read. */
static bool look(struct search *search, const struct reader_options *options, struct error *error)
{
    struct reader *reader = reader_new(options, error);
    if (reader == NULL || !reader_catch_up(reader, NULL, NULL, error)) {
        reader_free(reader);
        return false;
    }
    const struct run *run = reader_find(reader, search->lookup->run_id);
    search->lookup->kept_since_ms = reader_kept_since_ms(reader);
    run = run != NULL && is_believed(search, reader, run) ? run : NULL;
    search->start = run != NULL ? run->saga.start_offset : search->start;
    if (run != NULL && is_state_known(run, options->most)) {
        search->reader = reader;
    } else {
        reader_free(reader);
    }
    return true;
}

static bool look_from(struct search *search, int64_t from, int64_t most, struct error *error)
{
    struct reader_options options = options_of(search);
    options.from_offset = from;
    options.most = most;
    return look(search, &options, error);
}

static bool look_by_time(struct search *search, int64_t before_ms, int64_t most, struct error *error)
{
    const struct client *client = search->lookup->client;
    struct span run_id = span_of(search->lookup->run_id);
    int64_t second, from;
    if (!run_id_time(run_id, &second)) {
        return true;
    }
    return bus_offset_at(client->bus, client->progress, bus_partition_of(run_id, client->partitions), second * 1000 - before_ms, &from,
                         client->options.timeout_ms, error) &&
           look_from(search, from, most, error);
}

/* From there on every run that is under way is known, and little is to be read. */
static bool look_from_checkpoint(struct search *search, struct error *error)
{
    struct reader_options options = options_of(search);
    options.from_checkpoint = true;
    options.window = search->short_records; /* where no checkpoint is known */
    return look(search, &options, error);
}

static bool is_found(const struct search *search)
{
    return search->reader != NULL || search->start >= 0;
}

static bool look_backwards(struct search *search, struct error *error)
{
    int64_t from = search->next;
    for (int64_t window = 2 * search->short_records; !is_found(search) && from > search->first; window *= 2) {
        from = search->next - window > search->first ? search->next - window : search->first;
        if (!look_from(search, from, 0, error)) {
            return false;
        }
    }
    return true;
}

static bool find(struct search *search, struct error *error)
{
    if (search->next - search->first <= search->short_records) {
        /* Where the log was cut nobody knows whose the partition was then, but at the checkpoint. */
        return (search->first == 0 || look_from_checkpoint(search, error)) &&
               (is_found(search) || look_from(search, search->first, 0, error));
    }
    return look_by_time(search, CLOCKS_AGREE_MS, search->short_records, error) &&
           (search->reader != NULL || look_from_checkpoint(search, error)) &&
           (is_found(search) || look_by_time(search, CLOCKS_DIFFER_MS, 0, error)) &&
           (is_found(search) || look_backwards(search, error));
}

/* From its Start, or from what is left of it. */
static struct reader *read_it(const struct search *search, struct error *error)
{
    const struct lookup *lookup = search->lookup;
    struct reader_options options = options_of(search);
    options.from_offset = search->start;
    options.until_closed = lookup->only_state;
    struct reader *reader = reader_new(&options, error);
    if (reader != NULL && !reader_catch_up(reader, lookup->each, lookup->context, error)) {
        reader_free(reader);
        reader = NULL;
    }
    return reader;
}

struct reader *lookup_run(struct lookup *lookup, struct error *error)
{
    const struct client *client = lookup->client;
    struct search search = {
        .lookup = lookup, .start = -1, .short_records = lookup->short_records > 0 ? lookup->short_records : SHORT_LOG_RECORDS};
    int32_t partition = bus_partition_of(span_of(lookup->run_id), client->partitions);
    error->kind = ERROR_NONE;
    if (!bus_bounds(client->bus, client->progress, partition, &search.first, &search.next, client->options.timeout_ms, error) ||
        !find(&search, error) || !is_found(&search)) {
        return NULL;
    }
    if (search.reader != NULL && lookup->only_state) {
        return search.reader;
    }
    reader_free(search.reader);
    struct reader *reader = read_it(&search, error);
    if (reader != NULL && reader_find(reader, lookup->run_id) == NULL) {
        lookup->kept_since_ms = reader_kept_since_ms(reader);
        reader_free(reader);
        return NULL;
    }
    return reader;
}

bool lookup_may_be_older(const char *run_id, int64_t kept_since_ms)
{
    int64_t second;
    return kept_since_ms > 0 && (!run_id_time(span_of(run_id), &second) || second * 1000 < kept_since_ms + CLOCKS_DIFFER_MS);
}
