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
    int64_t begin; /* of the first record that its state is made of; where `reader` is not NULL */
};

static struct reader_options options_of(const struct search *search)
{
    struct reader_options options = client_reads(search->lookup->client, search->lookup->run_id);
    options.until_closed = true;
    return options;
}

/* A Start may be one that was repeated long after; another request, one that stood before the Start, too, and was judged there.
 * Their answers tell. */
static bool is_all_answered(const struct saga *saga)
{
    const struct saga_request *request = saga->requests;
    while (request != NULL && request->answered) {
        request = request->next;
    }
    return saga->requests != NULL && request == NULL;
}

/* Is that the run's own Start, and nothing missing that was asked before? From a checkpoint on, or from the first record, there is
 * no doubt; nor of a state from a snapshot. */
static bool is_believed(const struct reader *reader, const struct run *run)
{
    bool is_sure = reader_is_from_first(reader) || reader_is_from_checkpoint(reader);
    bool is_told = run->saga.plan == NULL || run->saga.start_offset < reader_begin_of(reader, run_view(run)->partition);
    return is_sure || is_told || (is_all_answered(&run->saga) && !reader_is_contradicted(reader));
}

/* Has it come so far that the run is known as it stands now? Of one that has ended for good its end may be all that is left. One whose
 * rollback is incomplete is whole from K on: where no more than that is left it is an end that was repeated, and not the last. */
static bool is_state_known(const struct reader *reader, const struct run *run, int64_t most)
{
    bool whole = run->saga.plan != NULL || run_view(run)->newer, closed = saga_is_closed(&run->saga);
    return closed ? whole || reader_is_from_first(reader) : whole && most == 0;
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
    run = run != NULL && is_believed(reader, run) ? run : NULL;
    search->start = run != NULL ? run->saga.start_offset : search->start;
    if (run != NULL && is_state_known(reader, run, options->most)) {
        search->reader = reader;
        search->begin = run->first_offset;
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

static bool is_known(const struct search *search)
{
    return search->reader != NULL;
}

static bool is_found(const struct search *search)
{
    return is_known(search) || search->start >= 0;
}

static bool look_backwards(struct search *search, int64_t end, bool (*is_enough)(const struct search *search), struct error *error)
{
    int64_t from = end;
    for (int64_t window = 2 * search->short_records; !is_enough(search) && from > search->first; window *= 2) {
        from = end - window > search->first ? end - window : search->first;
        if (!look_from(search, from, 0, error)) {
            return false;
        }
    }
    return true;
}

/* What was asked before the Start, and was not answered by then, counts, too: how far back it stands nobody says. */
static bool look_from_start(struct search *search, struct error *error)
{
    int64_t start = search->start;
    return look_from(search, start, 0, error) && look_backwards(search, start, is_known, error);
}

static bool find(struct search *search, struct error *error)
{
    if (search->next - search->first <= search->short_records) {
        /* Where the log was cut nobody knows whose the partition was then, but at the checkpoint. */
        return (search->first == 0 || look_from_checkpoint(search, error)) &&
               (is_found(search) || look_from(search, search->first, 0, error));
    }
    return look_by_time(search, CLOCKS_AGREE_MS, search->short_records, error) &&
           (is_known(search) || look_from_checkpoint(search, error)) &&
           (is_found(search) || look_by_time(search, CLOCKS_DIFFER_MS, 0, error)) &&
           (is_found(search) || look_backwards(search, search->next, is_found, error));
}

static bool get_to_know(struct search *search, struct error *error)
{
    return find(search, error) && (!is_found(search) || is_known(search) || look_from_start(search, error));
}

struct telling {
    const struct lookup *lookup;
    int64_t start;
};

/* What was asked before its Start is no part of its story. */
static void tell(void *context, const struct reader_record *record)
{
    const struct telling *telling = context;
    if (record->offset >= telling->start) {
        telling->lookup->each(telling->lookup->context, record);
    }
}

/* All that is left of it. */
static struct reader *read_it(const struct search *search, struct error *error)
{
    const struct lookup *lookup = search->lookup;
    struct telling telling = {.lookup = lookup, .start = search->start};
    struct reader_options options = options_of(search);
    options.from_offset = search->begin;
    options.until_closed = false;
    struct reader *reader = reader_new(&options, error);
    if (reader != NULL && !reader_catch_up(reader, lookup->each != NULL ? tell : NULL, &telling, error)) {
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
        !get_to_know(&search, error) || !is_known(&search)) {
        return NULL;
    }
    if (lookup->only_state) {
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
