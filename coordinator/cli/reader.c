/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/reader.h"

#include "common/clock.h"
#include "common/text.h"
#include "coordinator/cli/signals.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct partition {
    struct runs *runs; /* NULL: not read */
    int64_t first; /* in the log */
    int64_t begin;
    int64_t begin_ms; /* time of the first record that was read; 0: none was */
    int64_t end; /* what stood there first ends before it */
    bool behind;
    bool knows_checkpoint;
};

struct reader {
    struct reader_options options;
    struct partition *partitions;
    size_t behind_count;
    struct message message; /* of the last record */
    int32_t walking; /* partition of the walk */
    bool contradicted; /* see reader_is_contradicted() */
    struct run *remnant; /* what RunFinished says of the run that is wanted, and of which nothing else is known; NULL: nothing */
};

static void view_clear_waiting(struct run_view *view)
{
    for (size_t i = 0; i < view->waiting_count; i++) {
        free((char *)(uintptr_t)view->waiting[i].handler.bytes);
        free((char *)(uintptr_t)view->waiting[i].queue.bytes);
    }
    free(view->waiting);
    view->waiting = NULL;
    view->waiting_count = 0;
}

static void view_free(struct run_view *view)
{
    if (view != NULL) {
        view_clear_waiting(view);
        told_fini(&view->told);
        free(view->pipeline);
        free(view->pause_reason);
        free(view);
    }
}

static struct run_view *view_of(struct run *run, int32_t partition)
{
    if (run->attached == NULL) {
        struct run_view *view = calloc(1, sizeof *view);
        if (view == NULL) {
            abort();
        }
        view->partition = partition;
        run->attached = view;
    }
    return run->attached;
}

static void forget_view(struct run *run)
{
    view_free(run->attached);
}

/* K, where it was committed and may be asked for: who may not, reads more. */
static bool find_checkpoint(const struct reader_options *options, int32_t index, struct runs_checkpoint *checkpoint)
{
    struct error error;
    char metadata[BUS_METADATA_BYTES];
    int64_t offset;
    return options->from_checkpoint &&
           bus_committed(options->bus, options->group, options->topic, index, &offset, metadata, options->timeout_ms, &error) &&
           offset >= 0 && runs_checkpoint_read(checkpoint, offset, metadata);
}

static int64_t clamped(int64_t offset, int64_t first, int64_t next)
{
    return offset < first ? first : offset > next ? next : offset;
}

/* Nothing is known of what stood before it but what `checkpoint` says. */
static void begin_runs(struct partition *partition, const struct reader_options *options, const struct runs_checkpoint *checkpoint)
{
    partition->runs = runs_new((uint32_t)options->partition_count);
    runs_tell_forgotten(partition->runs, forget_view);
    if (!options->forget_ended) {
        runs_keep_ended(partition->runs);
    }
    if (checkpoint->offset > 0) {
        runs_begin_at(partition->runs, checkpoint);
    }
}

static bool begin_partition(struct reader *reader, int32_t index, struct error *error)
{
    const struct reader_options *options = &reader->options;
    struct partition *partition = &reader->partitions[index];
    struct runs_checkpoint checkpoint;
    int64_t first, next;
    /* What K rests on was written before it was committed: it stands before the end that is asked for after it. */
    partition->knows_checkpoint = find_checkpoint(options, index, &checkpoint);
    if (!bus_bounds(options->bus, options->topic, index, &first, &next, options->timeout_ms, error)) {
        return false;
    }
    int64_t wanted = options->from_end                ? next
                     : partition->knows_checkpoint    ? checkpoint.offset
                     : options->window > 0            ? next - options->window
                                                      : options->from_offset;
    int64_t from = clamped(wanted, first, next);
    if (!partition->knows_checkpoint || from != checkpoint.offset) {
        checkpoint = (struct runs_checkpoint){.offset = from, .epoch = RUNS_EPOCH_UNKNOWN, .ids = -1};
    }
    if (!bus_consume(options->bus, options->topic, index, from, error)) {
        return false;
    }
    begin_runs(partition, options, &checkpoint);
    partition->first = first;
    partition->begin = from;
    partition->end = options->most > 0 ? clamped(from + options->most, from, next) : next;
    partition->behind = from < partition->end;
    reader->behind_count += partition->behind;
    return true;
}

struct reader *reader_new(const struct reader_options *options, struct error *error)
{
    struct reader *reader = calloc(1, sizeof *reader);
    struct partition *partitions = calloc((size_t)options->partition_count, sizeof *partitions);
    if (reader == NULL || partitions == NULL) {
        abort();
    }
    reader->options = *options;
    reader->partitions = partitions;
    for (int32_t i = 0; i < options->partition_count; i++) {
        bool wanted = options->partition < 0 || options->partition == i;
        if (wanted && !begin_partition(reader, i, error)) {
            reader_free(reader);
            return NULL;
        }
    }
    return reader;
}

static void remnant_free(struct run *run)
{
    if (run != NULL) {
        view_free(run->attached);
        free((char *)(uintptr_t)run->saga.run_id.bytes);
        free((char *)(uintptr_t)run->saga.trouble->error.bytes);
        free(run->saga.trouble);
        free(run);
    }
}

static void free_views(struct runs *runs)
{
    for (struct run *run = NULL; (run = runs_next(runs, run)) != NULL;) {
        view_free(run->attached);
        run->attached = NULL;
    }
}

void reader_free(struct reader *reader)
{
    if (reader == NULL) {
        return;
    }
    for (int32_t i = 0; i < reader->options.partition_count; i++) {
        struct partition *partition = &reader->partitions[i];
        if (partition->runs != NULL) {
            bus_stop(reader->options.bus, reader->options.topic, i);
            free_views(partition->runs);
            runs_free(partition->runs);
        }
    }
    message_free(&reader->message);
    remnant_free(reader->remnant);
    free(reader->partitions);
    free(reader);
}

static void note_progress(struct run_view *view, const struct message *message)
{
    view_clear_waiting(view);
    view->waiting_for_workers = message->waiting_for_workers;
    if (message->waiting_count == 0) {
        return;
    }
    view->waiting = calloc(message->waiting_count, sizeof *view->waiting);
    if (view->waiting == NULL) {
        abort();
    }
    view->waiting_count = message->waiting_count;
    for (size_t i = 0; i < message->waiting_count; i++) {
        const struct waiting_step *from = &message->waiting[i];
        view->waiting[i] = (struct waiting_step){
            .step = from->step,
            .instance = from->instance,
            .handler = {text_must_copy(from->handler), from->handler.size},
            .queue = {text_must_copy(from->queue), from->queue.size},
            .since_ms = from->since_ms,
        };
    }
}

static void note_pause(struct run_view *view, const struct reader_record *record)
{
    const struct saga_event *event = &record->message->event;
    if (record->result == RUNS_APPLIED && record->run->saga.status == RUN_PAUSED && event->reason.size > 0) {
        free(view->pause_reason);
        view->pause_reason = text_must_copy(event->reason);
    } else if (record->run->saga.status != RUN_PAUSED) {
        free(view->pause_reason);
        view->pause_reason = NULL;
    }
}

static void note_plan(struct run_view *view, const struct saga *saga)
{
    if (view->pipeline == NULL && saga->plan != NULL) {
        view->pipeline = text_must_copy(saga->plan->name);
        view->steps_total = saga->plan->step_count;
    }
}

/* What the fold does not keep, or will not keep once the run is retired. */
static void note(struct reader *reader, struct partition *partition, struct reader_record *record)
{
    struct run *run = record->run;
    struct run_view *view = view_of(run, record->partition);
    const struct message *message = record->message;
    if (record->result == RUNS_NEWER) {
        view->newer = true;
    }
    note_plan(view, &run->saga);
    bool tells = message->kind == MESSAGE_RUN_PROGRESSED || (message->kind == MESSAGE_SNAPSHOT && record->result == RUNS_CHECKED);
    if (tells && record->result != RUNS_FENCED) {
        note_progress(view, message);
    }
    if (message->kind == MESSAGE_PAUSE || run->saga.status != RUN_PAUSED) {
        note_pause(view, record);
    }
    if (saga_is_over(&run->saga)) {
        view_clear_waiting(view);
    }
    if (reader->options.keep_summary && !run->saga.retired && saga_is_closed(&run->saga)) {
        view->steps_executed = saga_steps_executed(&run->saga);
        runs_retire(partition->runs, run);
    }
}

/* Its Start stands before all that is read, and no snapshot brought it: but its end was told. */
static void keep_remnant(struct reader *reader, const struct reader_record *record)
{
    const struct message *message = record->message;
    struct run *run = calloc(1, sizeof *run);
    struct saga_trouble *trouble = calloc(1, sizeof *trouble);
    if (run == NULL || trouble == NULL) {
        abort();
    }
    *trouble = (struct saga_trouble){.cause_step = UINT32_MAX, .error = {text_must_copy(message->error), message->error.size}};
    run->saga = (struct saga){.status = (uint8_t)message->status,
                              .retired = true,
                              .finish_recorded = true,
                              .progress_ppm = message->progress_ppm,
                              .start_offset = message->start_offset,
                              .started_ms = message->started_ms,
                              .finished_ms = message->finished_ms,
                              .time_ms = record->time_ms,
                              .run_id = {text_must_copy(record->key), record->key.size},
                              .trouble = trouble};
    struct run_view *view = view_of(run, record->partition);
    view->pipeline = text_must_copy(message->pipeline);
    view->steps_executed = message->steps_executed;
    view->steps_total = message->steps_total;
    remnant_free(reader->remnant);
    reader->remnant = run;
}

/* An end that is not the last may be repeated after it. */
static bool is_remnant(const struct reader *reader, const struct reader_record *record)
{
    const char *run_id = reader->options.run_id;
    const struct message *message = record->message;
    if (reader->remnant != NULL && message->status == RUN_ROLLBACK_INCOMPLETE) {
        return false;
    }
    bool unknown = record->run == NULL || record->run->saga.status == RUN_NONE; /* a request may have left the latter */
    return run_id != NULL && unknown && message->kind == MESSAGE_RUN_FINISHED && record->result != RUNS_FENCED &&
           run_status_is_final(message->status) && span_equal(record->key, span_of(run_id));
}

/* Was a request of the run that is wanted judged otherwise than its record was here? */
static bool contradicts(const struct reader *reader, const struct reader_record *record)
{
    const struct message *message = record->message;
    const char *run_id = reader->options.run_id;
    bool answers = message->kind == MESSAGE_ANSWERED && record->result != RUNS_FENCED;
    if (!answers || run_id == NULL || !span_equal(record->key, span_of(run_id))) {
        return false;
    }
    for (const struct saga_request *request = record->run->saga.requests; request != NULL; request = request->next) {
        if (memcmp(request->id, message->event.request_id, sizeof request->id) == 0) {
            return request->verdict != message->verdict;
        }
    }
    return false;
}

/* No more is needed of what stood there first. */
static void stop_catching_up(struct reader *reader)
{
    for (int32_t i = 0; i < reader->options.partition_count; i++) {
        reader->partitions[i].behind = false;
    }
    reader->behind_count = 0;
}

static bool is_enough(const struct reader *reader, const struct reader_record *record)
{
    const struct reader_options *options = &reader->options;
    return options->until_closed && span_equal(record->key, span_of(options->run_id)) && saga_is_closed(&record->run->saga);
}

static void fold(struct reader *reader, struct reader_record *record)
{
    struct partition *partition = &reader->partitions[record->partition];
    record->result = runs_apply(partition->runs, &reader->message, record->offset, record->time_ms, &record->run);
    if (record->run == NULL && record->key.size > 0) {
        record->run = runs_find(partition->runs, record->key);
    }
    if (is_remnant(reader, record)) {
        keep_remnant(reader, record);
    }
    if (record->run != NULL) {
        note(reader, partition, record);
        reader->contradicted = reader->contradicted || contradicts(reader, record);
        if (is_enough(reader, record)) {
            stop_catching_up(reader);
        }
    }
}

static void note_position(struct reader *reader, struct partition *partition, int64_t next)
{
    if (partition->behind && next >= partition->end) {
        partition->behind = false;
        reader->behind_count--;
        runs_caught_up(partition->runs);
    }
}

static bool is_ours(const struct reader *reader, const struct bus_event *event)
{
    return (event->kind == BUS_RECORD || event->kind == BUS_END) && strcmp(event->topic, reader->options.topic) == 0 &&
           event->partition >= 0 && event->partition < reader->options.partition_count &&
           reader->partitions[event->partition].runs != NULL;
}

bool reader_take(struct reader *reader, const struct bus_event *event, struct reader_record *record)
{
    if (!is_ours(reader, event)) {
        return false;
    }
    struct partition *partition = &reader->partitions[event->partition];
    if (event->kind == BUS_RECORD && partition->begin_ms == 0) {
        partition->begin_ms = event->time_ms;
    }
    if (event->kind == BUS_END) {
        note_position(reader, partition, event->offset);
        return false;
    }
    *record = (struct reader_record){
        .partition = event->partition,
        .offset = event->offset,
        .time_ms = event->time_ms,
        .key = event->key,
        .size_bytes = event->value.size,
        .result = RUNS_IGNORED,
        .history = event->offset < partition->end,
    };
    message_free(&reader->message);
    if (message_decode(&reader->message, TOPIC_PROGRESS, event->key, event->value, &record->problem)) {
        record->message = &reader->message;
        fold(reader, record);
    }
    note_position(reader, partition, event->offset + 1);
    return true;
}

bool reader_is_current(const struct reader *reader)
{
    return reader->behind_count == 0;
}

bool reader_catch_up(struct reader *reader, void (*each)(void *context, const struct reader_record *record), void *context,
                     struct error *error)
{
    int64_t quiet_until_ms = clock_monotonic_ms() + reader->options.timeout_ms;
    while (!reader_is_current(reader)) {
        struct bus_event event;
        struct reader_record record;
        bus_poll(reader->options.bus, 100, &event);
        if (signals_interrupts() > 0) {
            return error_set(error, ERROR_TRANSIENT, "interrupted while %s was read", reader->options.topic);
        }
        if (event.kind == BUS_FATAL || event.kind == BUS_GONE) {
            return error_set(error, ERROR_FATAL, "%s", event.reason);
        }
        if (reader_take(reader, &event, &record)) {
            quiet_until_ms = clock_monotonic_ms() + reader->options.timeout_ms;
            if (each != NULL) {
                each(context, &record);
            }
        } else if (clock_monotonic_ms() >= quiet_until_ms) {
            return error_set(error, ERROR_TRANSIENT, "%s could not be read: nothing came for %g s", reader->options.topic,
                             reader->options.timeout_ms / 1000.0);
        }
    }
    return true;
}

bool reader_is_owned(const struct reader *reader)
{
    for (int32_t i = 0; i < reader->options.partition_count; i++) {
        const struct runs *runs = reader->partitions[i].runs;
        if (runs != NULL && runs_epoch(runs) < 0) {
            return false;
        }
    }
    return true;
}

struct run *reader_find(struct reader *reader, const char *run_id)
{
    struct span id = span_of(run_id);
    int32_t index = bus_partition_of(id, reader->options.partition_count);
    struct runs *runs = reader->partitions[index].runs;
    struct run *run = runs != NULL ? runs_find(runs, id) : NULL;
    /* A request to a run that does not exist leaves a saga too, to answer it from. */
    bool exists = run != NULL && (run->saga.status != RUN_NONE || (run_view(run) != NULL && run_view(run)->newer));
    return exists ? run : reader->remnant != NULL && span_equal(reader->remnant->saga.run_id, id) ? reader->remnant : NULL;
}

int64_t reader_kept_since_ms(const struct reader *reader)
{
    int64_t since_ms = 0;
    for (int32_t i = 0; i < reader->options.partition_count; i++) {
        const struct partition *partition = &reader->partitions[i];
        if (partition->runs != NULL && partition->first > 0 && partition->begin == partition->first) {
            int64_t begin_ms = partition->begin_ms > 0 ? partition->begin_ms : clock_realtime_ms();
            since_ms = begin_ms > since_ms ? begin_ms : since_ms;
        }
    }
    return since_ms;
}

int64_t reader_begin_of(const struct reader *reader, int32_t partition)
{
    return reader->partitions[partition].begin;
}

bool reader_is_from_first(const struct reader *reader)
{
    for (int32_t i = 0; i < reader->options.partition_count; i++) {
        const struct partition *partition = &reader->partitions[i];
        if (partition->runs != NULL && partition->begin > partition->first) {
            return false;
        }
    }
    return true;
}

bool reader_is_contradicted(const struct reader *reader)
{
    return reader->contradicted;
}

bool reader_is_from_checkpoint(const struct reader *reader)
{
    for (int32_t i = 0; i < reader->options.partition_count; i++) {
        if (reader->partitions[i].runs != NULL && !reader->partitions[i].knows_checkpoint) {
            return false;
        }
    }
    return true;
}

/* Whatever is not in the window of a partition began before all that is. A snapshot there may tell of a run that began before it. */
bool reader_has_newest(struct reader *reader, size_t count, bool (*is_wanted)(const struct run *run, const char *status), const char *status)
{
    for (int32_t i = 0; i < reader->options.partition_count; i++) {
        const struct partition *partition = &reader->partitions[i];
        size_t found = 0;
        for (struct run *run = NULL;
             partition->begin > partition->first && found < count && (run = runs_next(partition->runs, run)) != NULL;) {
            found += run->saga.status != RUN_NONE && run->saga.start_offset >= partition->begin && is_wanted(run, status);
        }
        if (partition->begin > partition->first && found < count) {
            return false;
        }
    }
    return true;
}

struct run *reader_next(struct reader *reader, struct run *run)
{
    if (run == NULL) {
        reader->walking = 0;
    }
    for (; reader->walking < reader->options.partition_count; reader->walking++, run = NULL) {
        struct runs *runs = reader->partitions[reader->walking].runs;
        while (runs != NULL && (run = runs_next(runs, run)) != NULL) {
            if (run->saga.status != RUN_NONE) {
                return run;
            }
        }
    }
    return NULL;
}
