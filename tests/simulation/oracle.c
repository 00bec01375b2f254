/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/simulation/oracle.h"
#include "tests/unit/saga_shown.h"

#include "common/limits.h"
#include "common/topics.h"
#include "tests/simulation/readers.h"
#include "tests/simulation/tally.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>

/* A step of a run, as the outside world has seen it. */
struct work {
    struct work_key {
        char run_id[104];
        uint32_t step, instance;
    } key;
    bool executing, rolling_back;
    uint32_t executions;
    uint32_t told; /* attempts of it that ended in the log, or were given up by a deadline */
    uint64_t last_done; /* hash of the last Done of it */
    uint32_t undo_order; /* n-th rollback that began in the whole world, of the first one; 0: none */
    bool left_behind; /* execute has begun since it was last undone */
    UT_hash_handle hh;
};

/* A ticket that was sent to somebody. */
struct sent {
    struct sent_key {
        char run_id[104];
        struct ticket ticket;
    } key;
    UT_hash_handle hh;
};

struct answer {
    unsigned char id[REQUEST_ID_BYTES];
    enum verdict verdict;
    bool of_nothing;
    UT_hash_handle hh;
};

struct reading {
    char topic[TOPICS_NAME_BYTES];
    int32_t partition;
    int64_t next;
    struct runs *runs; /* progress only */
    int64_t claim_ms; /* when the last claim of it was sent */
};

/* What is remembered of a run beside its fold. */
struct seen {
    uint32_t ppm, announced_ppm;
    bool finished;
    bool taken_up; /* a person had a say in what is done again */
    unsigned char resolve[REQUEST_ID_BYTES]; /* the last one that counted */
};

#define PARTITIONS_MAX 8
#define READERS_LOOK_EVERY 8 /* commits */

struct oracle {
    struct oracle_options options;
    struct reading *readings;
    size_t reading_count;
    struct work *works;
    struct sent *sent;
    struct answer *answers;
    uint32_t undo_count;
    int64_t undo_ms; /* when the last rollback began */
    struct oracle_checkpoints checkpoints;
    struct runs_checkpoint last_committed[PARTITIONS_MAX];
    bool has_committed[PARTITIONS_MAX];
};

/* ---- failing */

static char replay[512];

static void say_replay(int number)
{
    (void)number;
    ssize_t written = write(2, replay, strlen(replay));
    (void)written;
}

void oracle_set_replay(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(replay, sizeof replay - 1, format, arguments);
    va_end(arguments);
    strcat(replay, "\n");
    signal(SIGABRT, say_replay);
}

void oracle_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "BROKEN: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}

static void trace(const struct oracle *oracle, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void trace(const struct oracle *oracle, const char *format, ...)
{
    if (!oracle->options.trace) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%7" PRId64 "  ", memory_cluster_time(oracle->options.cluster));
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
}

/* ---- opening */

static void add_readings(struct oracle *oracle, const char *topic, int32_t partitions, bool folds)
{
    size_t count = oracle->reading_count + (size_t)partitions;
    oracle->readings = realloc(oracle->readings, count * sizeof *oracle->readings);
    for (int32_t i = 0; i < partitions; i++) {
        struct reading *reading = &oracle->readings[oracle->reading_count++];
        *reading = (struct reading){.partition = i, .runs = folds ? runs_new((uint32_t)partitions) : NULL};
        snprintf(reading->topic, sizeof reading->topic, "%s", topic);
    }
}

struct oracle *oracle_new(const struct oracle_options *options)
{
    struct oracle *oracle = calloc(1, sizeof *oracle);
    oracle->options = *options;
    add_readings(oracle, ORACLE_PROGRESS, options->progress_partitions, true);
    for (size_t i = 0; options->queues[i] != NULL; i++) {
        char topic[TOPICS_NAME_BYTES];
        add_readings(oracle, topics_name(topic, TOPICS_TASKS, ORACLE_PREFIX, options->queues[i]), options->task_partitions, false);
    }
    return oracle;
}

static void free_runs(struct runs *runs)
{
    for (struct run *run = runs != NULL ? runs_next(runs, NULL) : NULL; run != NULL; run = runs_next(runs, run)) {
        free(run->attached);
        run->attached = NULL;
    }
    runs_free(runs);
}

void oracle_free(struct oracle *oracle)
{
    for (size_t i = 0; i < oracle->reading_count; i++) {
        free_runs(oracle->readings[i].runs);
    }
    struct work *work, *next_work;
    HASH_ITER (hh, oracle->works, work, next_work) {
        HASH_DELETE(hh, oracle->works, work);
        free(work);
    }
    struct sent *sent, *next_sent;
    HASH_ITER (hh, oracle->sent, sent, next_sent) {
        HASH_DELETE(hh, oracle->sent, sent);
        free(sent);
    }
    struct answer *answer, *next_answer;
    HASH_ITER (hh, oracle->answers, answer, next_answer) {
        HASH_DELETE(hh, oracle->answers, answer);
        free(answer);
    }
    free(oracle->readings);
    free(oracle);
}

/* ---- the log */

struct runs *oracle_runs(struct oracle *oracle, int32_t partition)
{
    return oracle->readings[partition].runs;
}

const struct saga *oracle_saga(struct oracle *oracle, const char *run_id)
{
    int32_t partition = bus_partition_of(span_of(run_id), oracle->options.progress_partitions);
    struct run *run = runs_find(oracle_runs(oracle, partition), span_of(run_id));
    return run != NULL ? &run->saga : NULL;
}

static struct seen *seen_of(struct run *run)
{
    if (run->attached == NULL) {
        run->attached = calloc(1, sizeof(struct seen));
    }
    return run->attached;
}

static const char *step_name(const struct saga *saga, uint32_t step)
{
    static char name[256];
    snprintf(name, sizeof name, "%.*s",
             SPAN_ARGS(saga != NULL && saga->plan != NULL && step < saga->plan->step_count ? saga->plan->steps[step].name
                                                                                           : (struct span){0}));
    return name;
}

/* "Progress never goes back, and 100 % only when the run has succeeded." */
static void watch_progress(struct run *run)
{
    const struct saga *saga = &run->saga;
    struct seen *seen = seen_of(run);
    if (saga->progress_ppm < seen->ppm) {
        oracle_fail("progress of %.*s went back from %u to %u", SPAN_ARGS(saga->run_id), seen->ppm, saga->progress_ppm);
    }
    if ((saga->progress_ppm == PPM_ONE) != (saga->status == RUN_SUCCEEDED)) {
        oracle_fail("%.*s is %s at %u ppm", SPAN_ARGS(saga->run_id), run_status_name((enum run_status)saga->status),
                    saga->progress_ppm);
    }
    seen->ppm = saga->progress_ppm;
}

static void watch_announced(struct run *run, const struct message *message)
{
    struct seen *seen = seen_of(run);
    if (message->progress_ppm < seen->announced_ppm || message->progress_ppm > run->saga.progress_ppm) {
        oracle_fail("%.*s was announced at %u ppm after %u; it is at %u", SPAN_ARGS(run->saga.run_id), message->progress_ppm,
                    seen->announced_ppm, run->saga.progress_ppm);
    }
    if (message->progress_ppm == PPM_ONE && message->kind != MESSAGE_RUN_FINISHED) {
        oracle_fail("100 %% was announced before the end");
    }
    seen->announced_ppm = message->progress_ppm;
}

/* The owner's fold, as its summary tells, and the reader's are the same. */
static void watch_finished(struct run *run, const struct message *message)
{
    const struct saga *saga = &run->saga;
    bool same = message->status == (enum run_status)saga->status && message->progress_ppm == saga->progress_ppm &&
                span_equal(message->error, saga_trouble(saga)->error) && message->start_offset == saga->start_offset &&
                message->started_ms == saga->started_ms && message->finished_ms == saga->finished_ms &&
                message->steps_executed == saga_steps_executed(saga) && message->steps_total == saga->plan->step_count;
    if (!same) {
        oracle_fail("the owner says that %.*s is %s, a reader %s", SPAN_ARGS(saga->run_id), run_status_name(message->status),
                    run_status_name((enum run_status)saga->status));
    }
    seen_of(run)->finished = true;
}

/* "The same request id twice gets the same answer": until the run has ended and only the hash of its id is left. */
static void watch_answer(struct oracle *oracle, const struct message *message, const struct run *run)
{
    struct answer *answer = NULL;
    HASH_FIND(hh, oracle->answers, message->event.request_id, REQUEST_ID_BYTES, answer);
    if (answer == NULL) {
        answer = calloc(1, sizeof *answer);
        memcpy(answer->id, message->event.request_id, REQUEST_ID_BYTES);
        answer->verdict = message->verdict;
        answer->of_nothing = span_equal(message->event.reason, span_of("there is no such run"));
        HASH_ADD(hh, oracle->answers, id, REQUEST_ID_BYTES, answer);
    } else if (answer->of_nothing) {
        answer->verdict = message->verdict; /* of a run that did not exist nothing is remembered: it may exist by now */
    } else if (answer->verdict != message->verdict &&
               !(run != NULL && runs_is_named(run) && message->verdict != VERDICT_ACCEPTED)) {
        oracle_fail("one request of %.*s got two answers", SPAN_ARGS(message->event.run_id));
    }
}

enum verdict oracle_verdict(const struct oracle *oracle, const unsigned char request_id[REQUEST_ID_BYTES])
{
    struct answer *answer = NULL;
    HASH_FIND(hh, oracle->answers, request_id, REQUEST_ID_BYTES, answer);
    return answer != NULL ? answer->verdict : VERDICT_NONE;
}

static void trace_event(const struct oracle *oracle, const struct message *message, int64_t offset, enum runs_result result)
{
    static const char *const results[] = {"", " ignored", " FENCED", "", " ALIEN", " newer", " counts", " DIFFERS"};
    const struct saga_event *event = &message->event;
    const struct ticket *ticket = &event->ticket;
    if (message->kind == MESSAGE_DONE || message->kind == MESSAGE_STARTED || message->kind == MESSAGE_LOST ||
        message->kind == MESSAGE_REFUSED || message->kind == MESSAGE_WITHDRAWN || message->kind == MESSAGE_TIMER_FIRED ||
        message->kind == MESSAGE_PROGRESSED) {
        trace(oracle, "log   %.*s @%" PRId64 " %s %s%u.%u#%u %s %.*s%s", SPAN_ARGS(event->run_id), offset,
              message_type(message->kind), ticket->direction == DIRECTION_ROLLBACK ? "undo " : "", ticket->step, ticket->instance,
              ticket->number, message->kind == MESSAGE_DONE ? outcome_name(event->outcome) : "", SPAN_ARGS(event->worker),
              results[result]);
    } else if (message->kind == MESSAGE_RESOLVE) {
        trace(oracle, "log   %.*s @%" PRId64 " Resolve %.*s.%u as %s", SPAN_ARGS(event->run_id), offset,
              SPAN_ARGS(event->step_name), ticket->instance, event->done ? "done" : "undone");
    } else {
        trace(oracle, "log   %.*s @%" PRId64 " %s %.*s%s", SPAN_ARGS(event->run_id), offset, message_type(message->kind),
              SPAN_ARGS(message->coordinator.size > 0 ? message->coordinator : message->worker), results[result]);
    }
}

static struct work *find_work(const struct oracle *oracle, const char *run_id, uint32_t step, uint32_t instance);

/* A request that comes a second time is only answered again. */
static bool counts_now(struct run *run, const struct message *message)
{
    const struct saga_request *newest = run->saga.requests;
    struct seen *seen = seen_of(run);
    bool is_new = newest != NULL && newest->verdict == VERDICT_ACCEPTED &&
                  memcmp(newest->id, message->event.request_id, REQUEST_ID_BYTES) == 0 &&
                  memcmp(newest->id, seen->resolve, REQUEST_ID_BYTES) != 0;
    if (is_new) {
        memcpy(seen->resolve, newest->id, REQUEST_ID_BYTES);
    }
    return is_new;
}

/* A person says that a step is undone, and is believed. */
static void watch_resolve(struct oracle *oracle, const struct saga *saga, const struct message *message)
{
    char run_id[104];
    snprintf(run_id, sizeof run_id, "%.*s", SPAN_ARGS(saga->run_id));
    for (uint32_t i = 0; i < saga->plan->step_count; i++) {
        struct work *work = find_work(oracle, run_id, i, message->event.ticket.instance);
        if (work != NULL && span_equal(saga->plan->steps[i].name, message->event.step_name)) {
            work->left_behind = work->left_behind && message->event.done;
        }
    }
}

#define LATE_CLAIM_MS 300

/* What came late, twice, or after a rollback: it must change nothing, and has to be met often. */
static void watch_late(struct oracle *oracle, const struct message *message, enum runs_result result)
{
    if (message->kind != MESSAGE_DONE) {
        return;
    }
    const struct ticket *ticket = &message->event.ticket;
    char run_id[104];
    snprintf(run_id, sizeof run_id, "%.*s", SPAN_ARGS(message->event.run_id));
    struct work *work = find_work(oracle, run_id, ticket->step, ticket->instance);
    if (work == NULL) {
        return;
    }
    uint64_t this_done = (uint64_t)ticket->number * 2 + (ticket->direction == DIRECTION_ROLLBACK) + 1;
    bool late = result == RUNS_IGNORED, twice = late && this_done == work->last_done;
    tally_add(TALLY_ANSWERED_TWICE, twice);
    tally_add(TALLY_ANSWERED_LATE, late && !twice);
    tally_add(TALLY_ANSWERED_AFTER_ROLLBACK, late && ticket->direction == DIRECTION_EXECUTE && work->undo_order > 0);
    work->last_done = this_done;
}

/* A Done behind which something may have been sent ahead, of a run that has stopped meanwhile. */
static void watch_ahead(const struct run *run, const struct message *message, enum runs_result result)
{
    const struct saga *saga = run != NULL ? &run->saga : NULL;
    uint32_t next = message->event.ticket.step + 1;
    bool ok = message->kind == MESSAGE_DONE && message->event.outcome == OUTCOME_OK && result == RUNS_APPLIED &&
              message->event.ticket.direction == DIRECTION_EXECUTE && saga->steps != NULL;
    bool stops = ok && (saga->stopping || saga->status == RUN_PAUSED);
    tally_add(TALLY_OPENED_AHEAD, stops && next < saga->plan->step_count && saga->plan->steps[next].behind && saga->steps[next]->open);
}

static void watch_ends(struct oracle *oracle, const struct message *message, enum runs_result result)
{
    bool ends =
        (message->kind == MESSAGE_DONE && message->event.outcome != OUTCOME_SKIPPED) || message->kind == MESSAGE_TIMER_FIRED;
    if (!ends || result != RUNS_APPLIED || message->event.ticket.direction != DIRECTION_EXECUTE) {
        return;
    }
    char run_id[104];
    snprintf(run_id, sizeof run_id, "%.*s", SPAN_ARGS(message->event.run_id));
    struct work *work = find_work(oracle, run_id, message->event.ticket.step, message->event.ticket.instance);
    if (work != NULL) {
        work->told++;
    }
}

static bool is_a_persons(enum message_kind kind)
{
    return kind == MESSAGE_RETRY || kind == MESSAGE_RESOLVE || kind == MESSAGE_RESUME;
}

static void read_progress(struct oracle *oracle, struct reading *reading, const struct memory_record *record)
{
    struct message message;
    struct run *run;
    if (!message_decode(&message, TOPIC_PROGRESS, record->key, record->value, NULL)) {
        trace(oracle, "log   garbage at %" PRId64, reading->next);
        return;
    }
    enum runs_result result = runs_apply(reading->runs, &message, reading->next, record->time_ms, &run);
    trace_event(oracle, &message, reading->next, result);
    watch_late(oracle, &message, result);
    watch_ends(oracle, &message, result);
    watch_ahead(run, &message, result);
    if (message.kind == MESSAGE_OWNER_CLAIM) {
        tally_add(TALLY_LATE_CLAIMS, memory_cluster_time(oracle->options.cluster) >= reading->claim_ms + LATE_CLAIM_MS);
    }
    if (run != NULL && is_a_persons(message.kind)) {
        seen_of(run)->taken_up = true;
    }
    if (result == RUNS_DIFFERS) {
        oracle_fail("a snapshot of %.*s at %" PRId64 " differs from its replay", SPAN_ARGS(message.event.run_id), reading->next);
    }
    oracle->checkpoints.snapshots += result == RUNS_CHECKED && message.kind == MESSAGE_SNAPSHOT;
    oracle->checkpoints.ids += result == RUNS_CHECKED && message.kind == MESSAGE_FINISHED_IDS;
    if (result != RUNS_FENCED && message.kind == MESSAGE_ANSWERED) {
        watch_answer(oracle, &message, run);
    }
    if (run != NULL && run->saga.steps != NULL && result != RUNS_FENCED) {
        watch_progress(run);
        if (message.kind == MESSAGE_RESOLVE && counts_now(run, &message)) {
            watch_resolve(oracle, &run->saga, &message);
        }
        if (message.kind == MESSAGE_RUN_PROGRESSED || message.kind == MESSAGE_RUN_FINISHED) {
            watch_announced(run, &message);
        }
        if (message.kind == MESSAGE_RUN_FINISHED && result == RUNS_APPLIED) {
            watch_finished(run, &message);
        }
    }
    message_free(&message);
}

/* "No ticket is ever sent twice." */
static void read_task(struct oracle *oracle, const struct memory_record *record)
{
    struct message message;
    if (!message_decode(&message, TOPIC_TASKS, record->key, record->value, NULL)) {
        return;
    }
    if (message.kind == MESSAGE_TASK) {
        struct sent_key key;
        memset(&key, 0, sizeof key);
        snprintf(key.run_id, sizeof key.run_id, "%.*s", SPAN_ARGS(message.task.run_id));
        key.ticket = message.task.ticket;
        struct sent *sent = NULL;
        HASH_FIND(hh, oracle->sent, &key, sizeof key, sent);
        if (sent != NULL) {
            oracle_fail("ticket %u of step %u of %s was sent twice", key.ticket.number, key.ticket.step, key.run_id);
        }
        tally_add(TALLY_SENT_AHEAD, message.task.after.number > 0);
        sent = calloc(1, sizeof *sent);
        sent->key = key;
        HASH_ADD(hh, oracle->sent, key, sizeof sent->key, sent);
    }
    trace(oracle, "task  %.*s %s to %.*s %s%u.%u#%u", SPAN_ARGS(message.task.run_id), message_type(message.kind),
          SPAN_ARGS(record->key), message.task.ticket.direction == DIRECTION_ROLLBACK ? "undo " : "", message.task.ticket.step,
          message.task.ticket.instance, message.task.ticket.number);
    message_free(&message);
}

void oracle_read(struct oracle *oracle)
{
    struct memory_record record;
    for (size_t i = 0; i < oracle->reading_count; i++) {
        struct reading *reading = &oracle->readings[i];
        while (memory_cluster_record(oracle->options.cluster, reading->topic, reading->partition, reading->next, &record)) {
            if (reading->runs != NULL) {
                read_progress(oracle, reading, &record);
            } else {
                read_task(oracle, &record);
            }
            reading->next++;
        }
    }
}

void oracle_claims(struct oracle *oracle, int32_t partition)
{
    oracle->readings[partition].claim_ms = memory_cluster_time(oracle->options.cluster);
}

bool oracle_rolled_back_since(const struct oracle *oracle, int64_t since_ms)
{
    return oracle->undo_count > 0 && oracle->undo_ms >= since_ms;
}

/* ---- checkpoints: "whoever recovers from K holds exactly what the whole log says, for every live run, and revives none" */

static void read_ids(const struct oracle *oracle, struct runs *runs, int32_t partition, int64_t offset)
{
    struct memory_record record;
    while (offset >= 0 && memory_cluster_record(oracle->options.cluster, ORACLE_PROGRESS, partition, offset, &record)) {
        struct message message;
        if (!message_decode(&message, TOPIC_PROGRESS, record.key, record.value, NULL) || message.kind != MESSAGE_FINISHED_IDS) {
            oracle_fail("what is committed names %" PRId64 " as a FinishedIds, and it is none", offset);
        }
        runs_add_ended(runs, message.hashes, message.hash_count, record.time_ms);
        offset = message.previous;
        message_free(&message);
    }
}

static struct runs *read_from(const struct oracle *oracle, int32_t partition, const struct runs_checkpoint *checkpoint)
{
    struct memory_record record;
    struct runs *runs = runs_new((uint32_t)oracle->options.progress_partitions);
    runs_begin_at(runs, checkpoint);
    read_ids(oracle, runs, partition, checkpoint->ids);
    for (int64_t at = checkpoint->offset; memory_cluster_record(oracle->options.cluster, ORACLE_PROGRESS, partition, at, &record);
         at++) {
        struct message message;
        struct run *run;
        if (message_decode(&message, TOPIC_PROGRESS, record.key, record.value, NULL)) {
            if (runs_apply(runs, &message, at, record.time_ms, &run) == RUNS_DIFFERS) {
                oracle_fail("a snapshot at %" PRId64 " says\n%s, and a reader from %" PRId64 " holds\n%s", at,
                            fixture_dump(message.image), checkpoint->offset, fixture_dump(&run->saga));
            }
            message_free(&message);
        }
    }
    return runs;
}

static bool is_under_way(const struct saga *saga)
{
    return saga->steps != NULL && !(saga_is_over(saga) && saga->finish_recorded && saga->status != RUN_ROLLBACK_INCOMPLETE);
}

static void compare_with(struct runs *runs, struct runs *others, int64_t from, const char *who)
{
    for (struct run *run = runs_next(runs, NULL); run != NULL; run = runs_next(runs, run)) {
        if (!is_under_way(&run->saga)) {
            continue;
        }
        struct run *other = runs_find(others, run->saga.run_id);
        char *expected = fixture_dump(&run->saga), *found = other != NULL ? fixture_dump(&other->saga) : NULL;
        if (found == NULL || strcmp(expected, found) != 0) {
            oracle_fail("%s has of %.*s\n%s, and the other, where one begins at %" PRId64 ",\n%s", who, SPAN_ARGS(run->saga.run_id),
                        expected, from, found != NULL ? found : "nothing");
        }
        free(expected);
        free(found);
    }
}

static void expect_checkpoint(struct oracle *oracle, int32_t partition, const struct runs_checkpoint *checkpoint)
{
    struct runs *runs = read_from(oracle, partition, checkpoint);
    compare_with(oracle_runs(oracle, partition), runs, checkpoint->offset, "a reader of everything");
    compare_with(runs, oracle_runs(oracle, partition), checkpoint->offset, "who begins at the checkpoint");
    runs_free(runs);
}

void oracle_committed(struct oracle *oracle, int32_t partition, int64_t offset, const char *metadata)
{
    struct runs_checkpoint checkpoint;
    if (!runs_checkpoint_read(&checkpoint, offset, metadata)) {
        oracle_fail("'%s' was committed", metadata);
    }
    trace(oracle, "log   K of %d is %" PRId64 " %s", (int)partition, offset, metadata);
    oracle_read(oracle);
    oracle->checkpoints.commits++;
    oracle->last_committed[partition] = checkpoint;
    oracle->has_committed[partition] = true;
    expect_checkpoint(oracle, partition, &checkpoint);
    if (oracle->checkpoints.commits % READERS_LOOK_EVERY == 0) {
        readers_expect_truth(oracle->options.cluster, oracle_runs(oracle, partition), partition, oracle->options.progress_partitions,
                             &checkpoint);
    }
}

struct oracle_checkpoints oracle_checkpoints(const struct oracle *oracle)
{
    return oracle->checkpoints;
}

void oracle_expect_checkpoints(struct oracle *oracle)
{
    for (int32_t i = 0; i < oracle->options.progress_partitions; i++) {
        if (oracle->has_committed[i]) {
            expect_checkpoint(oracle, i, &oracle->last_committed[i]);
            readers_expect_truth(oracle->options.cluster, oracle_runs(oracle, i), i, oracle->options.progress_partitions,
                                 &oracle->last_committed[i]);
        }
    }
}

/* ---- executions */

static struct work *find_work(const struct oracle *oracle, const char *run_id, uint32_t step, uint32_t instance)
{
    struct work_key key;
    memset(&key, 0, sizeof key);
    snprintf(key.run_id, sizeof key.run_id, "%s", run_id);
    key.step = step;
    key.instance = instance;
    struct work *work = NULL;
    HASH_FIND(hh, oracle->works, &key, sizeof key, work);
    return work;
}

static struct work *work_of(struct oracle *oracle, const struct task *task)
{
    char run_id[104];
    snprintf(run_id, sizeof run_id, "%.*s", SPAN_ARGS(task->run_id));
    struct work *work = find_work(oracle, run_id, task->ticket.step, task->ticket.instance);
    if (work == NULL) {
        work = calloc(1, sizeof *work);
        memcpy(work->key.run_id, run_id, strlen(run_id));
        work->key.step = task->ticket.step;
        work->key.instance = task->ticket.instance;
        HASH_ADD(hh, oracle->works, key, sizeof work->key, work);
    }
    return work;
}

/* Whoever needs a step is undone before it. */
static void watch_undo_order(struct oracle *oracle, const struct work *work)
{
    const struct saga *saga = oracle_saga(oracle, work->key.run_id);
    bool marks[LIMIT_STEPS] = {false};
    if (saga->finish_count > 0) {
        return; /* what was still undone is taken up again, long after the others */
    }
    plan_mark_needs(saga->plan, work->key.step, marks);
    const struct work *other, *next;
    HASH_ITER (hh, oracle->works, other, next) {
        if (marks[other->key.step] && other->undo_order > 0 && strcmp(other->key.run_id, work->key.run_id) == 0) {
            oracle_fail("step %u of %s is rolled back after step %u, which it needs", work->key.step, work->key.run_id,
                        other->key.step);
        }
    }
}

/* "A task carries the results of every step it needs." */
static void watch_results(const struct task *task)
{
    for (size_t i = 0; i < task->result_count; i++) {
        bool done = task->results[i].success || task->results[i].skipped;
        if (!done && task->ticket.direction == DIRECTION_EXECUTE) {
            oracle_fail("step %u of %.*s was sent without the result of what it needs", task->ticket.step, SPAN_ARGS(task->run_id));
        }
    }
}

/* "max_losses 0 is for a step that must never begin twice": not before the log has heard how it ended. */
static void watch_never_twice(struct oracle *oracle, const struct work *work)
{
    int32_t partition = bus_partition_of(span_of(work->key.run_id), oracle->options.progress_partitions);
    struct run *run = runs_find(oracle_runs(oracle, partition), span_of(work->key.run_id));
    if (run->saga.plan->steps[work->key.step].retry.max_losses == 0 && !seen_of(run)->taken_up &&
        work->executions > work->told + 1) {
        oracle_fail("step %u of %s, which must never begin twice, has begun %u times, and has ended %u times", work->key.step,
                    work->key.run_id, work->executions, work->told);
    }
}

void oracle_begins(struct oracle *oracle, const struct task *task, const char *worker)
{
    struct work *work = work_of(oracle, task);
    bool rollback = task->ticket.direction == DIRECTION_ROLLBACK;
    trace(oracle, "run   %.*s %s%.*s#%u begins on %s", SPAN_ARGS(task->run_id), rollback ? "undo " : "", SPAN_ARGS(task->step),
          task->ticket.number, worker);
    if (work->executing || work->rolling_back) {
        oracle_fail("step %u of %s begins to %s while it is still %s", work->key.step, work->key.run_id,
                    rollback ? "roll back" : "execute", work->executing ? "executing" : "rolling back");
    }
    if (!rollback && work->undo_order > 0) {
        oracle_fail("step %u of %s executes after its rollback", work->key.step, work->key.run_id);
    }
    tally_add(TALLY_BEGUN_AHEAD, task->after.number > 0);
    watch_results(task);
    if (rollback) {
        if (work->undo_order == 0) {
            watch_undo_order(oracle, work);
            work->undo_order = ++oracle->undo_count;
            oracle->undo_ms = memory_cluster_time(oracle->options.cluster);
        }
        work->rolling_back = true;
    } else {
        work->executing = true;
        work->executions++;
        watch_never_twice(oracle, work);
        work->left_behind = true;
    }
}

void oracle_ends(struct oracle *oracle, const struct task *task, const char *worker, const char *how, bool undone)
{
    struct work *work = work_of(oracle, task);
    trace(oracle, "run   %.*s %s%.*s#%u %s on %s", SPAN_ARGS(task->run_id),
          task->ticket.direction == DIRECTION_ROLLBACK ? "undo " : "", SPAN_ARGS(task->step), task->ticket.number, how, worker);
    if (task->ticket.direction == DIRECTION_ROLLBACK) {
        work->rolling_back = false;
        work->left_behind = work->left_behind && !undone;
    } else {
        work->executing = false;
    }
}

uint32_t oracle_executions(const struct oracle *oracle, const char *run_id, uint32_t step)
{
    const struct work *work = find_work(oracle, run_id, step, 0);
    return work != NULL ? work->executions : 0;
}

static void expect_step(struct oracle *oracle, const struct saga *saga, const char *run_id, const struct saga_step *step)
{
    uint32_t index = step->index;
    const struct plan_step *plan = &saga->plan->steps[index];
    const struct work *work = find_work(oracle, run_id, index, step->instance);
    bool left_behind = work != NULL && work->left_behind;
    bool may_stay = saga->status == RUN_SUCCEEDED || plan->rollback_none || step->status == STEP_ROLLBACK_FAILED || step->resolved;
    bool works = plan->kind == PLAN_HANDLER && !saga_fans_out(saga, step) && !step->resolved;
    if (left_behind && !may_stay) {
        oracle_fail("%s is %s, but step '%s' was left behind", run_id, run_status_name((enum run_status)saga->status),
                    step_name(saga, index));
    }
    if (saga->status == RUN_SUCCEEDED && step->status == STEP_SUCCEEDED && !left_behind && works) {
        oracle_fail("%s has succeeded, but step '%s' was never executed", run_id, step_name(saga, index));
    }
    if (work != NULL && (work->executing || work->rolling_back)) {
        oracle_fail("%s is over, but step '%s' still runs", run_id, step_name(saga, index));
    }
}

void oracle_expect_end(struct oracle *oracle, const char *run_id)
{
    const struct saga *saga = oracle_saga(oracle, run_id);
    if (saga == NULL || !saga_is_settled(saga)) {
        oracle_fail("%s has not ended", run_id);
    }
    for (const struct saga_step *step = NULL; (step = saga_next_step(saga, step)) != NULL;) {
        expect_step(oracle, saga, run_id, step);
    }
}
