/* SPDX-License-Identifier: Apache-2.0 */
/* chaos_replay FILE: what is on the progress topic, folded whole, and again from each checkpoint that was committed.
 *
 * FILE is what tail.py writes, one line each, in the order of each partition:
 *   record PARTITION OFFSET TIME_MS KEY|- VALUE     the value in hexadecimal
 *   checkpoint PARTITION OFFSET METADATA            what was committed once, all that stood in the log then having been told above
 *
 * Each snapshot must say what the records say, and whoever begins at a checkpoint must hold what a reader of everything holds of each run
 * that is under way, and no other. Prints how many records, snapshots, checkpoints and compared states there were, or the first difference. */
#include "common/limits.h"
#include "common/runs.h"
#include "tests/unit/saga_shown.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITIONS 4

struct record {
    int64_t offset, time_ms;
    struct span key, value;
};

struct partition {
    struct record *records;
    size_t count, room;
    struct runs *runs; /* all of it, folded */
};

static struct partition partitions[PARTITIONS];
static unsigned long record_count, checkpoint_count, snapshot_count, compared_count;

static _Noreturn void fail(const char *what, int64_t offset, const char *detail)
{
    printf("%s at offset %" PRId64 "\n%s\n", what, offset, detail);
    exit(1);
}

static void *must(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* ---- folding */

static void fold(struct runs *runs, const struct record *record, bool is_whole)
{
    struct message message;
    struct run *run;
    if (!message_decode(&message, TOPIC_PROGRESS, record->key, record->value, NULL)) {
        return;
    }
    enum runs_result result = runs_apply(runs, &message, record->offset, record->time_ms, &run);
    if (result == RUNS_DIFFERS) {
        printf("the records say\n%s\n", fixture_dump(&run->saga));
        fail("a snapshot says something else", record->offset, fixture_dump(message.image));
    }
    snapshot_count += is_whole && result == RUNS_CHECKED && message.kind == MESSAGE_SNAPSHOT;
    message_free(&message);
}

static const struct record *record_at(const struct partition *partition, int64_t offset)
{
    size_t from = 0, to = partition->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (partition->records[middle].offset < offset) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return &partition->records[from]; /* the one after the last, where there is none */
}

static void add_ended(struct runs *runs, const struct partition *partition, int64_t ids)
{
    while (ids >= 0) {
        const struct record *record = record_at(partition, ids);
        struct message message;
        if (record == partition->records + partition->count || record->offset != ids ||
            !message_decode(&message, TOPIC_PROGRESS, record->key, record->value, NULL)) {
            fail("no FinishedIds", ids, "although a checkpoint names it");
        }
        runs_add_ended(runs, message.hashes, message.hash_count, record->time_ms);
        ids = message.previous;
        message_free(&message);
    }
}

/* ---- comparing */

static bool is_under_way(const struct saga *saga)
{
    return saga->steps != NULL && !(saga_is_over(saga) && saga->finish_recorded && saga->status != RUN_ROLLBACK_INCOMPLETE);
}

static void compare(struct runs *runs, struct runs *others, int64_t offset, const char *what)
{
    for (struct run *run = runs_next(runs, NULL); run != NULL; run = runs_next(runs, run)) {
        if (!is_under_way(&run->saga)) {
            continue;
        }
        struct run *other = runs_find(others, run->saga.run_id);
        char *one = fixture_dump(&run->saga), *two = other != NULL ? fixture_dump(&other->saga) : NULL;
        if (two == NULL || strcmp(one, two) != 0) {
            printf("one holds\n%s\n", one);
            fail(what, offset, two != NULL ? two : "nothing");
        }
        compared_count++;
        free(one);
        free(two);
    }
}

static void on_checkpoint(struct partition *partition, int64_t offset, const char *metadata)
{
    struct runs_checkpoint checkpoint = {.offset = offset};
    if (sscanf(metadata, "epoch=%" SCNd64 " time=%" SCNd64 " ids=%" SCNd64, &checkpoint.epoch, &checkpoint.epoch_ms,
               &checkpoint.ids) != 3) {
        fail("a checkpoint that nobody can read", offset, metadata);
    }
    struct runs *runs = runs_new(PARTITIONS);
    runs_begin_at(runs, &checkpoint);
    add_ended(runs, partition, checkpoint.ids);
    for (const struct record *record = record_at(partition, offset); record < partition->records + partition->count; record++) {
        fold(runs, record, false);
    }
    compare(partition->runs, runs, offset, "who begins at the checkpoint holds something else");
    compare(runs, partition->runs, offset, "who reads everything holds something else than who begins at the checkpoint");
    runs_free(runs);
    checkpoint_count++;
}

/* ---- the file */

static struct span bytes_of(const char *hex)
{
    size_t size = strlen(hex) / 2;
    char *bytes = must(malloc(size + 1));
    for (size_t i = 0; i < size; i++) {
        const char digits[] = {hex[2 * i], hex[2 * i + 1], '\0'};
        bytes[i] = (char)strtoul(digits, NULL, 16);
    }
    return (struct span){bytes, size};
}

static void on_record(struct partition *partition, int64_t offset, int64_t time_ms, const char *key, const char *hex)
{
    if (partition->count == partition->room) {
        partition->room = partition->room > 0 ? partition->room * 2 : 1024;
        partition->records = must(realloc(partition->records, partition->room * sizeof *partition->records));
    }
    struct record *record = &partition->records[partition->count++];
    *record = (struct record){offset, time_ms, {"", 0}, bytes_of(hex)};
    if (strcmp(key, "-") != 0) {
        record->key = span_of(must(strdup(key)));
    }
    fold(partition->runs, record, true);
    record_count++;
}

static void on_line(char *line)
{
    char *rest = line;
    const char *kind = strsep(&rest, " "), *number = strsep(&rest, " "), *offset = strsep(&rest, " ");
    unsigned long index = number != NULL ? strtoul(number, NULL, 10) : PARTITIONS;
    if (index >= PARTITIONS || offset == NULL || rest == NULL) {
        fail("a line that nobody can read", 0, kind);
    }
    struct partition *partition = &partitions[index];
    if (strcmp(kind, "checkpoint") == 0) {
        on_checkpoint(partition, strtoll(offset, NULL, 10), rest);
        return;
    }
    const char *time_ms = strsep(&rest, " "), *key = strsep(&rest, " ");
    on_record(partition, strtoll(offset, NULL, 10), strtoll(time_ms, NULL, 10), key, rest != NULL ? rest : "");
}

int main(int count, char **arguments)
{
    FILE *file = count == 2 ? fopen(arguments[1], "r") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: chaos_replay FILE\n");
        return 2;
    }
    for (size_t i = 0; i < PARTITIONS; i++) {
        partitions[i].runs = runs_new(PARTITIONS);
    }
    char *line = NULL;
    size_t room = 0;
    for (ssize_t size; (size = getline(&line, &room, file)) > 0;) {
        line[size - 1] = '\0';
        on_line(line);
    }
    free(line);
    fclose(file);
    printf("%lu %lu %lu %lu\n", record_count, snapshot_count, checkpoint_count, compared_count);
    return 0;
}
