/* SPDX-License-Identifier: Apache-2.0 */
/* The records of one progress partition, folded: who is heard, who is fenced, what is kept. */
#include "common/limits.h"
#include "common/runs.h"
#include "tests/unit/saga_fixture.h"

static const struct plan_step steps[] = {{.name = S("a"), .handler = S("h"), .queue = S("q"), .retry = PLAN_RETRY_DEFAULT}};
static const struct plan plan = {.name = S("p"), .steps = steps, .step_count = COUNT(steps)};
static int64_t next_offset;

#define RUN(id) .run_id = S(id)
#define START_OF(id, request, count)                                                                                               \
    {                                                                                                                              \
        .kind = MESSAGE_START, .progress_partitions = (count), .event = {                                                          \
            .kind = EVENT_START,                                                                                                   \
            RUN(id),                                                                                                               \
            .request_id = {request},                                                                                               \
            .plan = &plan,                                                                                                         \
            .fold_version = SAGA_FOLD_VERSION                                                                                      \
        }                                                                                                                          \
    }
#define CANCEL_OF(id, request)                                                                                                     \
    {                                                                                                                              \
        .kind = MESSAGE_CANCEL, .event = {.kind = EVENT_CANCEL, RUN(id), .request_id = {request} }                                 \
    }
#define DONE_OF(id, t, what)                                                                                                       \
    {                                                                                                                              \
        .kind = MESSAGE_DONE, .event = {.kind = EVENT_DONE, RUN(id), .outcome = what, EXECUTE(0, t) }                              \
    }
#define STARTED_OF(id, t)                                                                                                          \
    {                                                                                                                              \
        .kind = MESSAGE_STARTED, .event = {.kind = EVENT_STARTED, RUN(id), WORKER, EXECUTE(0, t) }                                 \
    }
#define ANSWERED_OF(id, request, at)                                                                                               \
    {                                                                                                                              \
        .kind = MESSAGE_ANSWERED, .epoch = (at), .verdict = VERDICT_ACCEPTED, .event = {.kind = EVENT_ANSWERED, RUN(id), .request_id = {request} }              \
    }
#define FINISHED_OF(id, at)                                                                                                        \
    {                                                                                                                              \
        .kind = MESSAGE_RUN_FINISHED, .epoch = (at), .status = RUN_SUCCEEDED, .pipeline = S("p"),                                  \
        .event = {.kind = EVENT_FINISHED, RUN(id) }                                                                                \
    }
#define LOST_OF(id, t, at)                                                                                                         \
    {                                                                                                                              \
        .kind = MESSAGE_LOST, .epoch = (at), .event = {.kind = EVENT_LOST, RUN(id), WORKER, EXECUTE(0, t) }                        \
    }
#define CLAIM                                                                                                                      \
    {                                                                                                                              \
        .kind = MESSAGE_OWNER_CLAIM, .coordinator = S("c")                                                                         \
    }

static enum runs_result apply(struct runs *runs, struct message message)
{
    struct run *run;
    enum runs_result result = runs_apply(runs, &message, next_offset, 1000 + next_offset, &run);
    next_offset++;
    return result;
}

#define APPLY(runs, ...) apply(runs, (struct message)__VA_ARGS__)

static struct runs *new_runs(void)
{
    next_offset = 10;
    return runs_new(4);
}

static const struct saga *saga_of(struct runs *runs, const char *id)
{
    struct run *run = runs_find(runs, span_of(id));
    assert_non_null(run);
    return &run->saga;
}

static void runs_of_a_partition_are_kept_apart(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    assert_int_equal(APPLY(runs, START_OF("one", 1, 4)), RUNS_APPLIED);
    assert_int_equal(APPLY(runs, START_OF("two", 1, 4)), RUNS_APPLIED);
    assert_int_equal(APPLY(runs, DONE_OF("one", 1, OUTCOME_OK)), RUNS_APPLIED);
    assert_int_equal(saga_of(runs, "one")->status, RUN_SUCCEEDED);
    assert_int_equal(saga_of(runs, "two")->status, RUN_PENDING);
    assert_int_equal(saga_of(runs, "two")->start_offset, 11);
    assert_int_equal(saga_of(runs, "two")->started_ms, 1011);
    assert_int_equal(runs_count(runs), 2);
    runs_free(runs);
}

static void coordinators_of_another_epoch_are_ignored(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, START_OF("one", 1, 4));
    assert_int_equal(runs_epoch(runs), -1);
    assert_int_equal(APPLY(runs, LOST_OF("one", 1, 0)), RUNS_FENCED);
    assert_int_equal(APPLY(runs, CLAIM), RUNS_CLAIMED);
    assert_int_equal(runs_epoch(runs), 12);
    assert_int_equal(APPLY(runs, LOST_OF("one", 1, 12)), RUNS_APPLIED);
    APPLY(runs, CLAIM);
    assert_int_equal(APPLY(runs, LOST_OF("one", 2, 12)), RUNS_FENCED);
    assert_int_equal(saga_of(runs, "one")->steps[0]->ticket, 2);
    assert_int_equal(APPLY(runs, LOST_OF("one", 2, 14)), RUNS_APPLIED);
    runs_free(runs);
}

static void workers_and_clients_need_no_epoch(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, CLAIM);
    assert_int_equal(APPLY(runs, START_OF("one", 1, 4)), RUNS_APPLIED);
    APPLY(runs, CLAIM);
    assert_int_equal(APPLY(runs, STARTED_OF("one", 1)), RUNS_APPLIED);
    assert_int_equal(APPLY(runs, CANCEL_OF("one", 2)), RUNS_APPLIED);
    runs_free(runs);
}

static void work_of_no_run_is_alien_and_the_rest_of_it_ignored(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, CLAIM);
    assert_int_equal(APPLY(runs, STARTED_OF("none", 1)), RUNS_ALIEN);
    assert_int_equal(APPLY(runs, DONE_OF("none", 1, OUTCOME_OK)), RUNS_ALIEN);
    assert_int_equal(APPLY(runs, DONE_OF("none", 1, OUTCOME_CANCELLED_STARTED)), RUNS_IGNORED);
    assert_int_equal(APPLY(runs, LOST_OF("none", 1, 10)), RUNS_IGNORED);
    assert_int_equal(APPLY(runs, FINISHED_OF("none", 10)), RUNS_IGNORED);
    assert_int_equal(runs_count(runs), 0);
    APPLY(runs, START_OF("one", 1, 4));
    assert_int_equal(APPLY(runs, DONE_OF("one", 2, OUTCOME_OK)), RUNS_ALIEN);
    runs_free(runs);
}

static void records_that_are_not_the_folds_business_are_ignored(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    struct message holding = {.kind = MESSAGE_HOLDING, .worker = S("w")};
    struct message progressed = {.kind = MESSAGE_RUN_PROGRESSED, .epoch = 10, .event = {RUN("one")}};
    struct run *run;
    APPLY(runs, CLAIM);
    APPLY(runs, START_OF("one", 1, 4));
    assert_int_equal(runs_apply(runs, &holding, 50, 50, &run), RUNS_IGNORED);
    assert_null(run);
    assert_int_equal(runs_apply(runs, &progressed, 51, 51, &run), RUNS_IGNORED);
    assert_ptr_equal(run, runs_find(runs, (struct span)S("one")));
    runs_free(runs);
}

static void a_start_of_another_partition_count_is_refused_and_forgotten_once_answered(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, CLAIM);
    assert_int_equal(APPLY(runs, START_OF("one", 1, 8)), RUNS_APPLIED);
    const struct saga *saga = saga_of(runs, "one");
    assert_int_equal(saga->status, RUN_NONE);
    assert_int_equal(saga->requests->verdict, VERDICT_REFUSED);
    APPLY(runs, ANSWERED_OF("one", 1, 10));
    assert_int_equal(runs_count(runs), 0);
    assert_int_equal(APPLY(runs, START_OF("one", 2, 4)), RUNS_APPLIED);
    assert_int_equal(saga_of(runs, "one")->status, RUN_PENDING);
    runs_free(runs);
}

static void a_cancel_of_no_run_is_refused_and_forgotten_once_answered(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, CLAIM);
    assert_int_equal(APPLY(runs, CANCEL_OF("none", 1)), RUNS_APPLIED);
    assert_int_equal(APPLY(runs, CANCEL_OF("none", 2)), RUNS_APPLIED);
    APPLY(runs, ANSWERED_OF("none", 1, 10));
    assert_int_equal(runs_count(runs), 1);
    APPLY(runs, ANSWERED_OF("none", 2, 10));
    assert_int_equal(runs_count(runs), 0);
    runs_free(runs);
}

static void a_run_of_a_newer_fold_is_shown_as_such_and_the_others_go_on(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    struct message newer = START_OF("new", 1, 4);
    newer.event.fold_version++;
    assert_int_equal(apply(runs, newer), RUNS_NEWER);
    assert_true(saga_of(runs, "new")->newer);
    assert_int_equal(APPLY(runs, STARTED_OF("new", 1)), RUNS_IGNORED);
    assert_int_equal(APPLY(runs, START_OF("one", 1, 4)), RUNS_APPLIED);
    runs_free(runs);
}

static void a_retired_run_is_found_and_a_second_start_of_it_does_not_run(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, CLAIM);
    APPLY(runs, START_OF("one", 1, 4));
    APPLY(runs, START_OF("two", 1, 4));
    APPLY(runs, ANSWERED_OF("one", 1, 10));
    APPLY(runs, DONE_OF("one", 1, OUTCOME_OK));
    APPLY(runs, FINISHED_OF("one", 10));
    runs_retire(runs, runs_find(runs, (struct span)S("one")));
    assert_true(saga_of(runs, "one")->retired);
    assert_non_null(runs_find(runs, (struct span)S("two")));
    APPLY(runs, START_OF("one", 9, 4));
    assert_int_equal(saga_of(runs, "one")->requests->verdict, VERDICT_EXISTING);
    assert_int_equal(saga_of(runs, "one")->status, RUN_SUCCEEDED);
    assert_int_equal(APPLY(runs, DONE_OF("one", 1, OUTCOME_OK)), RUNS_IGNORED);
    runs_free(runs);
}

static void runs_can_be_walked_while_they_are_removed(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    char ids[50][16];
    for (int i = 0; i < 50; i++) {
        struct message start = START_OF("", 1, 4);
        snprintf(ids[i], sizeof ids[i], "r%d", i);
        start.event.run_id = span_of(ids[i]);
        assert_int_equal(apply(runs, start), RUNS_APPLIED);
    }
    int seen = 0;
    struct run *next;
    for (struct run *run = runs_next(runs, NULL); run != NULL; run = next) {
        next = runs_next(runs, run);
        runs_remove(runs, run);
        seen++;
    }
    assert_int_equal(seen, 50);
    assert_int_equal(runs_count(runs), 0);
    runs_free(runs);
    runs_free(NULL);
}

/* ---- checkpoints */

/* A log that is kept, so that readers may begin anywhere. */
#define LOG_MAX 64
static struct message log_records[LOG_MAX];
static struct text log_bytes[LOG_MAX];
static int64_t log_end;

static void log_clear(void)
{
    for (int64_t i = 0; i < log_end; i++) {
        text_fini(&log_bytes[i]);
    }
    log_end = 0;
}

static int64_t append(struct message message)
{
    struct error error = {0};
    text_init(&log_bytes[log_end], LIMIT_RECORD_BYTES);
    if (!message_encode(&message, &log_bytes[log_end], &error)) {
        fail_msg("%s", error.message);
    }
    log_records[log_end] = message; /* its run id stays, being a literal */
    return log_end++;
}

#define WRITE(...) append((struct message)__VA_ARGS__)

static enum runs_result read_one(struct runs *runs, int64_t offset)
{
    struct message message;
    struct error error = {0};
    struct run *run;
    if (!message_decode(&message, TOPIC_PROGRESS, log_records[offset].event.run_id, text_span(&log_bytes[offset]), &error)) {
        fail_msg("%s", error.message);
    }
    runs_count_bytes(runs, log_bytes[offset].size);
    enum runs_result result = runs_apply(runs, &message, offset, 1000 + offset, &run);
    message_free(&message);
    return result;
}

static struct runs *read_from(const struct runs_checkpoint *checkpoint)
{
    struct runs *runs = runs_new(4);
    runs_begin_at(runs, checkpoint);
    for (int64_t offset = checkpoint->offset; offset < log_end; offset++) {
        enum runs_result result = read_one(runs, offset);
        assert_true(result != RUNS_DIFFERS);
    }
    return runs;
}

static const struct runs_checkpoint all = {.epoch = -1, .ids = -1};

/* What the owner, which has read all, would write. */
static int64_t write_snapshot(const char *id, int64_t epoch)
{
    struct runs *owner = read_from(&all);
    int64_t offset = append((struct message){.kind = MESSAGE_SNAPSHOT,
                                             .epoch = epoch,
                                             .state_offset = log_end,
                                             .first_offset = runs_find(owner, span_of(id))->first_offset, .image = saga_of(owner, id),
                                             .event = {.run_id = span_of(id)}});
    runs_free(owner);
    return offset;
}

static int64_t write_ids(const char *id, int64_t epoch)
{
    uint64_t hash = message_hash(span_of(id));
    return append((struct message){
        .kind = MESSAGE_FINISHED_IDS, .epoch = epoch, .state_offset = log_end, .previous = -1, .hashes = &hash, .hash_count = 1});
}

static void expect_same(struct runs *from_checkpoint, const char *id)
{
    struct runs *full = read_from(&all);
    char *expected = fixture_dump(saga_of(full, id)), *found = fixture_dump(saga_of(from_checkpoint, id));
    assert_string_equal(found, expected);
    free(expected);
    free(found);
    runs_free(full);
}

static struct runs_checkpoint checkpoint_of_log(void)
{
    struct runs *owner = read_from(&all);
    struct runs_checkpoint checkpoint = runs_checkpoint(owner, log_end);
    runs_free(owner);
    return checkpoint;
}

static int64_t write_run_on_its_way(void)
{
    int64_t epoch = WRITE(CLAIM);
    WRITE(START_OF("one", 1, 4));
    WRITE(ANSWERED_OF("one", 1, epoch));
    WRITE(STARTED_OF("one", 1));
    return epoch;
}

static void who_begins_at_a_checkpoint_holds_what_the_whole_log_says(void **state)
{
    (void)state;
    int64_t epoch = write_run_on_its_way();
    assert_int_equal(checkpoint_of_log().offset, 1);
    int64_t at = write_snapshot("one", epoch);
    struct runs_checkpoint checkpoint = checkpoint_of_log();
    assert_int_equal(checkpoint.offset, at);
    assert_int_equal(checkpoint.epoch, epoch);
    assert_int_equal(checkpoint.epoch_ms, 1000 + epoch);
    WRITE(LOST_OF("one", 1, epoch));
    struct runs *runs = read_from(&checkpoint);
    expect_same(runs, "one");
    assert_int_equal(saga_of(runs, "one")->steps[0]->ticket, 2);
    runs_free(runs);
    log_clear();
}

static void a_snapshot_with_a_record_of_its_run_in_between_counts_for_nobody(void **state)
{
    (void)state;
    int64_t epoch = write_run_on_its_way();
    struct runs *owner = read_from(&all);
    struct message late = {
        .kind = MESSAGE_SNAPSHOT, .epoch = epoch, .state_offset = log_end, .first_offset = 1, .image = saga_of(owner, "one"), .event = {RUN("one")}};
    int64_t between = WRITE(STARTED_OF("one", 1)); /* even though it changes nothing */
    int64_t snapshot = append(late);
    assert_int_equal(read_one(owner, between), RUNS_IGNORED);
    assert_int_equal(read_one(owner, snapshot), RUNS_IGNORED);
    assert_int_equal(runs_checkpoint(owner, log_end).offset, 1);
    struct runs *runs = read_from(&(struct runs_checkpoint){.offset = between, .epoch = epoch, .ids = -1});
    assert_int_equal(runs_count(runs), 0);
    runs_free(runs);
    runs_free(owner);
    log_clear();
}

static void a_snapshot_of_before_the_reader_began_is_not_taken(void **state)
{
    (void)state;
    int64_t epoch = write_run_on_its_way();
    int64_t at = write_snapshot("one", epoch);
    log_records[at].state_offset = at;
    struct runs *runs = runs_new(4);
    runs_begin_at(runs, &(struct runs_checkpoint){.offset = at + 1, .epoch = epoch, .ids = -1});
    assert_int_equal(read_one(runs, at), RUNS_IGNORED); /* a reader could not have judged what stood between */
    assert_int_equal(runs_count(runs), 0);
    runs_free(runs);
    log_clear();
}

static void a_snapshot_of_another_epoch_is_fenced(void **state)
{
    (void)state;
    int64_t epoch = write_run_on_its_way();
    WRITE(CLAIM);
    int64_t at = write_snapshot("one", epoch);
    struct runs *runs = read_from(&all);
    assert_int_equal(runs_checkpoint(runs, log_end).offset, 1);
    assert_int_equal(read_one(runs, at), RUNS_FENCED);
    runs_free(runs);
    log_clear();
}

static void a_snapshot_that_differs_from_the_replay_is_reported_and_does_not_count(void **state)
{
    (void)state;
    int64_t epoch = write_run_on_its_way();
    struct runs *owner = read_from(&all);
    struct saga wrong = *saga_of(owner, "one");
    wrong.progress_ppm++;
    int64_t at = append((struct message){
        .kind = MESSAGE_SNAPSHOT, .epoch = epoch, .state_offset = log_end, .first_offset = 1, .image = &wrong, .event = {RUN("one")}});
    assert_int_equal(read_one(owner, at), RUNS_DIFFERS);
    assert_int_equal(saga_of(owner, "one")->progress_ppm, wrong.progress_ppm - 1);
    assert_int_equal(runs_checkpoint(owner, log_end).offset, 1);
    runs_free(owner);
    log_clear();
}

static int64_t write_run_that_ended(void)
{
    int64_t epoch = write_run_on_its_way();
    WRITE(DONE_OF("one", 1, OUTCOME_OK));
    WRITE(FINISHED_OF("one", epoch));
    return epoch;
}

static void a_run_that_ended_holds_the_checkpoint_back_until_it_is_named(void **state)
{
    (void)state;
    int64_t epoch = write_run_that_ended();
    assert_int_equal(checkpoint_of_log().offset, 1);
    int64_t at = write_ids("one", epoch);
    struct runs *runs = read_from(&all);
    assert_int_equal(runs_count(runs), 0); /* a hash is left */
    struct runs_checkpoint checkpoint = runs_checkpoint(runs, log_end);
    assert_int_equal(checkpoint.offset, at);
    assert_int_equal(checkpoint.ids, at);
    assert_int_equal(runs_unnamed(runs), 0);
    runs_free(runs);
    log_clear();
}

static void a_second_start_of_a_named_run_is_existing_and_its_late_records_are_no_garbage(void **state)
{
    (void)state;
    int64_t epoch = write_run_that_ended();
    write_ids("one", epoch);
    struct runs_checkpoint checkpoint = checkpoint_of_log();
    int64_t start = WRITE(START_OF("one", 2, 4));
    struct runs *runs = read_from(&checkpoint);
    assert_int_equal(saga_of(runs, "one")->requests->verdict, VERDICT_EXISTING);
    assert_int_equal(saga_of(runs, "one")->status, RUN_NONE);
    assert_int_equal(runs_checkpoint(runs, log_end).offset, checkpoint.offset < start ? checkpoint.offset : start);
    assert_int_equal(read_one(runs, WRITE(ANSWERED_OF("one", 2, epoch))), RUNS_IGNORED);
    assert_int_equal(runs_count(runs), 0);
    assert_int_equal(read_one(runs, WRITE(DONE_OF("one", 1, OUTCOME_OK))), RUNS_IGNORED);
    assert_int_equal(read_one(runs, WRITE(CANCEL_OF("one", 3))), RUNS_APPLIED);
    assert_int_equal(saga_of(runs, "one")->requests->verdict, VERDICT_REFUSED);
    assert_int_equal(read_one(runs, WRITE(DONE_OF("one", 1, OUTCOME_OK))), RUNS_IGNORED); /* while an answer is due, too */
    runs_free(runs);
    log_clear();
}

static void a_second_start_taken_for_the_first_is_dropped_when_the_id_is_named_or_the_answer_read(void **state)
{
    (void)state;
    int64_t epoch = write_run_that_ended();
    int64_t start = WRITE(START_OF("one", 2, 4));
    struct runs *runs = read_from(&(struct runs_checkpoint){.offset = start, .epoch = epoch, .ids = -1});
    assert_int_equal(saga_of(runs, "one")->status, RUN_PENDING);
    struct message existing = ANSWERED_OF("one", 2, epoch);
    existing.verdict = VERDICT_EXISTING;
    read_one(runs, append(existing));
    assert_int_equal(runs_count(runs), 0);
    runs_free(runs);
    runs = runs_new(4);
    runs_begin_at(runs, &(struct runs_checkpoint){.offset = start, .epoch = epoch, .ids = -1});
    read_one(runs, start);
    read_one(runs, write_ids("one", epoch));
    assert_int_equal(runs_count(runs), 0);
    runs_free(runs);
    log_clear();
}

/* The same request, sent again long after: whoever has not read the first one takes it for the beginning. */
static void a_repeated_start_taken_for_the_first_is_dropped_when_the_run_ends(void **state)
{
    (void)state;
    struct runs *runs = new_runs();
    APPLY(runs, START_OF("one", 1, 4));
    int64_t start = next_offset - 1;
    struct message finished = FINISHED_OF("one", -1);
    finished.start_offset = start;
    assert_non_null(runs_find(runs, span_of("one")));
    apply(runs, finished);
    assert_non_null(runs_find(runs, span_of("one")));
    finished.start_offset = start - 1;
    assert_int_equal(apply(runs, finished), RUNS_IGNORED);
    assert_null(runs_find(runs, span_of("one")));
    runs_free(runs);
}

static void an_id_is_taken_for_a_day_by_the_logs_clock(void **state)
{
    (void)state;
    struct runs *runs = runs_new(4);
    uint64_t hash = message_hash(span_of("one"));
    runs_add_ended(runs, &hash, 1, 5000);
    struct run *run;
    struct message early = START_OF("one", 1, 4), late = START_OF("one", 2, 4), answered = ANSWERED_OF("one", 1, -1);
    runs_apply(runs, &early, 1, 5000 + RUNS_ENDED_KNOWN_MS - 1, &run);
    assert_int_equal(run->saga.requests->verdict, VERDICT_EXISTING);
    runs_apply(runs, &answered, 2, 5000 + RUNS_ENDED_KNOWN_MS - 1, &run);
    runs_apply(runs, &late, 3, 5000 + RUNS_ENDED_KNOWN_MS, &run);
    assert_int_equal(run->saga.status, RUN_PENDING);
    runs_free(runs);
}

static void a_request_that_is_not_answered_holds_the_checkpoint_back(void **state)
{
    (void)state;
    int64_t epoch = write_run_that_ended();
    int64_t asked = WRITE(CANCEL_OF("none", 7));
    write_ids("one", epoch);
    assert_int_equal(checkpoint_of_log().offset, asked);
    log_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_of_a_partition_are_kept_apart),
        cmocka_unit_test(coordinators_of_another_epoch_are_ignored),
        cmocka_unit_test(workers_and_clients_need_no_epoch),
        cmocka_unit_test(work_of_no_run_is_alien_and_the_rest_of_it_ignored),
        cmocka_unit_test(records_that_are_not_the_folds_business_are_ignored),
        cmocka_unit_test(a_start_of_another_partition_count_is_refused_and_forgotten_once_answered),
        cmocka_unit_test(a_cancel_of_no_run_is_refused_and_forgotten_once_answered),
        cmocka_unit_test(a_run_of_a_newer_fold_is_shown_as_such_and_the_others_go_on),
        cmocka_unit_test(a_retired_run_is_found_and_a_second_start_of_it_does_not_run),
        cmocka_unit_test(runs_can_be_walked_while_they_are_removed),
        cmocka_unit_test(who_begins_at_a_checkpoint_holds_what_the_whole_log_says),
        cmocka_unit_test(a_snapshot_with_a_record_of_its_run_in_between_counts_for_nobody),
        cmocka_unit_test(a_snapshot_of_before_the_reader_began_is_not_taken),
        cmocka_unit_test(a_snapshot_of_another_epoch_is_fenced),
        cmocka_unit_test(a_snapshot_that_differs_from_the_replay_is_reported_and_does_not_count),
        cmocka_unit_test(a_run_that_ended_holds_the_checkpoint_back_until_it_is_named),
        cmocka_unit_test(a_second_start_of_a_named_run_is_existing_and_its_late_records_are_no_garbage),
        cmocka_unit_test(a_second_start_taken_for_the_first_is_dropped_when_the_id_is_named_or_the_answer_read),
        cmocka_unit_test(a_repeated_start_taken_for_the_first_is_dropped_when_the_run_ends),
        cmocka_unit_test(an_id_is_taken_for_a_day_by_the_logs_clock),
        cmocka_unit_test(a_request_that_is_not_answered_holds_the_checkpoint_back),
    };
    return cmocka_run_group_tests_name("runs", tests, NULL, NULL);
}
