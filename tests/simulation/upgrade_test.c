/* SPDX-License-Identifier: Apache-2.0 */
/* Upgrades: logs that were recorded by versions of then (tests/logs/), byte by byte, must for ever fold to the states that they folded to.
 * A state is told as people see it: what is shown, due, progress, attempts, errors and times of each run.
 *
 * Record those of today, once for each version of the fold: SIM_RECORD=tests/logs build/release/tests/simulation_upgrade */
#include "common/limits.h"
#include "common/runs.h"
#include "tests/simulation/drawn.h"
#include "tests/unit/saga_shown.h"

#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LOGS "tests/logs"
#define PARTITIONS 2
#define LOGS_MIN 8
#define LINE_MAX_BYTES 400000

/* ---- what a log folds to */

struct fold {
    struct runs *runs[PARTITIONS];
    int64_t next[PARTITIONS];
    uint32_t kinds; /* bits: what there was */
};

static void fold_init(struct fold *fold)
{
    *fold = (struct fold){0};
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        fold->runs[i] = runs_new(PARTITIONS);
    }
}

static void fold_fini(struct fold *fold)
{
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        runs_free(fold->runs[i]);
    }
}

static void fold_record(struct fold *fold, uint32_t partition, int64_t time_ms, struct span key, struct span value)
{
    struct message message;
    struct run *run;
    if (message_decode(&message, TOPIC_PROGRESS, key, value, NULL)) {
        runs_apply(fold->runs[partition], &message, fold->next[partition], time_ms, &run);
        fold->kinds |= 1u << message.kind;
        message_free(&message);
    }
    fold->next[partition]++;
}

static void tell_step(struct text *text, const struct saga *saga, const struct saga_step *step)
{
    text_format(text, "  %.*s.%u attempts=%u losses=%u fraction=%u ended=%lld error='%.*s' undo_error='%.*s' data='%.*s'\n",
                SPAN_ARGS(saga->plan->steps[step->index].name), step->instance, step->attempts, step->losses, step->fraction_ppm,
                (long long)saga_work(step)->ended_ms, SPAN_ARGS(saga_step_text(step, TEXT_ERROR)), SPAN_ARGS(saga_step_text(step, TEXT_ROLLBACK_ERROR)), SPAN_ARGS(saga_step_text(step, TEXT_DATA)));
}

static void tell_run(struct text *text, const struct saga *saga)
{
    char *shown = fixture_show(saga);
    text_format(text, "%.*s %s\n  progress=%u started=%lld finished=%lld start=%lld error='%.*s'\n", SPAN_ARGS(saga->run_id), shown,
                saga->progress_ppm, (long long)saga->started_ms, (long long)saga->finished_ms, (long long)saga->start_offset,
                SPAN_ARGS(saga_trouble(saga)->error));
    free(shown);
    for (const struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        tell_step(text, saga, step);
    }
}

/* Caller owes text_fini(). */
static void tell_fold(struct text *text, const struct fold *fold)
{
    text_init(text, SHOWN_MAX_BYTES);
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        for (struct run *run = runs_next(fold->runs[i], NULL); run != NULL; run = runs_next(fold->runs[i], run)) {
            if (run->saga.steps != NULL) {
                tell_run(text, &run->saga);
            }
        }
    }
}

/* ---- recording */

static void write_record(FILE *file, uint32_t partition, const struct memory_record *record)
{
    fprintf(file, "%" PRIu32 " %" PRId64 " %.*s ", partition, record->time_ms, record->key.size > 0 ? (int)record->key.size : 1,
            record->key.size > 0 ? record->key.bytes : "-");
    for (size_t i = 0; i < record->value.size; i++) {
        fprintf(file, "%02x", (unsigned char)record->value.bytes[i]);
    }
    fprintf(file, "\n");
}

static void write_log(struct memory_cluster *cluster, const char *path, struct fold *fold)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
        struct memory_record record;
        for (int64_t at = 0; memory_cluster_record(cluster, ORACLE_PROGRESS, (int32_t)partition, at, &record); at++) {
            write_record(file, partition, &record);
            fold_record(fold, partition, record.time_ms, record.key, record.value);
        }
    }
    fclose(file);
}

static void record(const char *directory, uint64_t seed)
{
    char path[256];
    struct drawn_world drawn;
    struct fold fold;
    struct text told;
    drawn_world(seed, NULL, &drawn);
    struct world *world = world_new(&drawn.options);
    play_blows(world, &drawn.blows);
    fold_init(&fold);
    snprintf(path, sizeof path, "%s/fold-%u-%03" PRIu64 ".log", directory, (unsigned)SAGA_FOLD_VERSION, seed);
    write_log(world_cluster(world), path, &fold);
    tell_fold(&told, &fold);
    memcpy(strrchr(path, '.'), ".txt", 5);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fwrite(text_span(&told).bytes, 1, text_span(&told).size, file);
    fclose(file);
    text_fini(&told);
    fold_fini(&fold);
    world_free(world);
}

/* ---- replaying */

static size_t bytes_of(char *hex)
{
    size_t size = 0;
    for (unsigned byte; sscanf(hex + 2 * size, "%2x", &byte) == 1; size++) {
        hex[size] = (char)byte;
    }
    return size;
}

static void read_log(const char *path, struct fold *fold)
{
    static char line[LINE_MAX_BYTES];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        uint32_t partition;
        int64_t time_ms;
        char key[128];
        int used = 0;
        assert_int_equal(sscanf(line, "%" SCNu32 " %" SCNd64 " %127s %n", &partition, &time_ms, key, &used), 3);
        assert_true(partition < PARTITIONS);
        struct span value = {line + used, bytes_of(line + used)};
        fold_record(fold, partition, time_ms, strcmp(key, "-") != 0 ? span_of(key) : (struct span){0}, value);
    }
    fclose(file);
}

static char *whole_file(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *bytes = calloc(1, SHOWN_MAX_BYTES);
    fread(bytes, 1, SHOWN_MAX_BYTES - 1, file);
    fclose(file);
    return bytes;
}

static uint32_t replay(const char *name)
{
    char path[512];
    struct fold fold;
    struct text told;
    fold_init(&fold);
    snprintf(path, sizeof path, LOGS "/%s", name);
    read_log(path, &fold);
    tell_fold(&told, &fold);
    memcpy(strrchr(path, '.'), ".txt", 5);
    char *expected = whole_file(path);
    char *found = strndup(text_span(&told).bytes, text_span(&told).size);
    if (strcmp(found, expected) != 0) {
        fail_msg("%s: this log of an earlier version folds to another state:\n%s\nbut it was:\n%s", name, found, expected);
    }
    free(found);
    free(expected);
    text_fini(&told);
    fold_fini(&fold);
    return fold.kinds;
}

/* One that is missing among the recorded ones is not held to anything. */
static const enum message_kind must_be_there[] = {MESSAGE_START,       MESSAGE_CANCEL,         MESSAGE_PAUSE,       MESSAGE_RESUME,
                                                  MESSAGE_RETRY,       MESSAGE_ROLL_BACK,      MESSAGE_RESOLVE,     MESSAGE_STARTED,
                                                  MESSAGE_PROGRESSED,  MESSAGE_DONE,           MESSAGE_EXPANDED,    MESSAGE_LOST,
                                                  MESSAGE_WITHDRAWN,   MESSAGE_TIMER_FIRED,    MESSAGE_ANSWERED,    MESSAGE_HOLDING,
                                                  MESSAGE_OWNER_CLAIM, MESSAGE_RUN_PROGRESSED, MESSAGE_RUN_FINISHED};

static void logs_of_earlier_versions_fold_to_the_same_states(void **state)
{
    (void)state;
    uint32_t logs = 0, kinds = 0;
    DIR *directory = opendir(LOGS);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        const char *end = strrchr(entry->d_name, '.');
        if (end != NULL && strcmp(end, ".log") == 0) {
            kinds |= replay(entry->d_name);
            logs++;
        }
    }
    closedir(directory);
    assert_true(logs >= LOGS_MIN);
    for (size_t i = 0; i < COUNT(must_be_there); i++) {
        if ((kinds >> must_be_there[i] & 1) == 0) {
            fail_msg("no recorded log has a %s", message_type(must_be_there[i]));
        }
    }
    print_message("%u logs\n", logs);
}

int main(void)
{
    const char *directory = getenv("SIM_RECORD");
    for (uint64_t seed = 1; directory != NULL && seed <= 12; seed++) {
        record(directory, seed);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(logs_of_earlier_versions_fold_to_the_same_states)};
    return cmocka_run_group_tests_name("upgrade", tests, NULL, NULL);
}
