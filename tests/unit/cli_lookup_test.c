/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a run where the log is long, and where its beginning is not kept any more. */
#include "common/bus_memory.h"
#include "common/limits.h"
#include "common/names.h"
#include "coordinator/cli/lookup.h"
#include "tests/unit/saga_fixture.h"

#define PROGRESS "p.progress"
#define BEGIN_MS 1700000000000ll
#define EVERY_MS 1000
#define A_FEW 4 /* records that are a short log here */
#define RUN(id) .run_id = span_of(id)

static const struct plan_step steps[] = {{.name = S("a"), .handler = S("h"), .queue = S("q"), .retry = PLAN_RETRY_DEFAULT}};
static const struct plan plan = {.name = S("pipe"), .steps = steps, .step_count = COUNT(steps)};

struct place {
    struct memory_cluster *cluster;
    struct client client;
    struct runs *owner; /* has read all */
    int64_t epoch;
};

static int64_t write_record(struct place *place, struct message message)
{
    struct text bytes;
    struct error error;
    struct run *run;
    struct message decoded;
    struct span key = message.event.run_id;
    int64_t offset = memory_cluster_end(place->cluster, PROGRESS, 0), time_ms = BEGIN_MS + offset * EVERY_MS;
    message.epoch = place->epoch;
    text_init(&bytes, LIMIT_RECORD_BYTES);
    assert_true(message_encode(&message, &bytes, &error));
    memory_cluster_set_time(place->cluster, time_ms);
    memory_cluster_append(place->cluster, PROGRESS, 0, key, text_span(&bytes));
    assert_true(message_decode(&decoded, TOPIC_PROGRESS, key, text_span(&bytes), &error));
    runs_apply(place->owner, &decoded, offset, time_ms, &run);
    message_free(&decoded);
    text_fini(&bytes);
    return offset;
}

#define WRITE(place, ...) write_record(place, (struct message)__VA_ARGS__)

static struct place new_place(void)
{
    struct place place = {.cluster = memory_cluster_new(1), .owner = runs_new(1)};
    place.client = (struct client){.options = {.prefix = "p", .brokers = "b", .timeout_ms = 1000},
                                   .bus = bus_memory_open(place.cluster),
                                   .group = "p.coordinators",
                                   .progress = PROGRESS,
                                   .partitions = 1};
    memory_cluster_create_topic(place.cluster, PROGRESS, 1);
    runs_keep_ended(place.owner);
    place.epoch = WRITE(&place, {.kind = MESSAGE_OWNER_CLAIM, .coordinator = S("c"), .progress_partitions = 1});
    return place;
}

static void end(struct place *place)
{
    runs_free(place->owner);
    bus_close(place->client.bus);
    memory_cluster_free(place->cluster);
}

static void start(struct place *place, const char *id)
{
    WRITE(place, {.kind = MESSAGE_START,
                  .progress_partitions = 1,
                  .event = {.kind = EVENT_START, RUN(id), .request_id = {1}, .plan = &plan, .fold_version = SAGA_FOLD_VERSION}});
    WRITE(place, {.kind = MESSAGE_ANSWERED, .verdict = VERDICT_ACCEPTED, .event = {.kind = EVENT_ANSWERED, RUN(id), .request_id = {1}}});
    WRITE(place, {.kind = MESSAGE_STARTED, .event = {.kind = EVENT_STARTED, RUN(id), WORKER, EXECUTE(0, 1)}});
}

static void finish(struct place *place, const char *id)
{
    WRITE(place, {.kind = MESSAGE_DONE, .event = {.kind = EVENT_DONE, RUN(id), WORKER, .outcome = OUTCOME_OK, EXECUTE(0, 1)}});
    const struct saga *saga = &runs_find(place->owner, span_of(id))->saga;
    WRITE(place, {.kind = MESSAGE_RUN_FINISHED,
                  .status = RUN_SUCCEEDED,
                  .progress_ppm = PPM_ONE,
                  .pipeline = S("pipe"),
                  .start_offset = saga->start_offset,
                  .started_ms = saga->started_ms,
                  .finished_ms = saga->finished_ms,
                  .steps_executed = 1,
                  .steps_total = 1,
                  .event = {.kind = EVENT_FINISHED, RUN(id)}});
}

static void name(struct place *place, const char *id)
{
    WRITE(place, {.kind = MESSAGE_FINISHED_IDS,
                  .state_offset = memory_cluster_end(place->cluster, PROGRESS, 0),
                  .previous = -1,
                  .hashes = (uint64_t[]){message_hash(span_of(id))},
                  .hash_count = 1});
}

static const struct waiting_step waiting = {.handler = S("h"), .queue = S("q"), .since_ms = BEGIN_MS};

static int64_t snapshot(struct place *place, const char *id)
{
    const struct run *run = runs_find(place->owner, span_of(id));
    return WRITE(place, {.kind = MESSAGE_SNAPSHOT,
                         .state_offset = memory_cluster_end(place->cluster, PROGRESS, 0),
                         .first_offset = run->first_offset,
                         .image = &run->saga,
                         .waiting = &waiting,
                         .waiting_count = 1,
                         .event = {RUN(id)}});
}

static void pass_time(struct place *place, int records)
{
    for (int i = 0; i < records; i++) {
        WRITE(place, {.kind = MESSAGE_PROGRESSED, .event = {.kind = EVENT_PROGRESSED, RUN("other"), WORKER, EXECUTE(0, 1), .current = 1}});
    }
}

static void commit(struct place *place)
{
    char metadata[RUNS_CHECKPOINT_BYTES];
    struct runs_checkpoint checkpoint = runs_checkpoint(place->owner, memory_cluster_end(place->cluster, PROGRESS, 0));
    runs_checkpoint_write(&checkpoint, metadata);
    bus_commit(place->client.bus, place->client.group, PROGRESS, 0, checkpoint.offset, metadata);
}

static struct lookup lookup_of(struct place *place, const char *id)
{
    return (struct lookup){.client = &place->client, .run_id = id, .only_state = true, .short_records = A_FEW};
}

static void expect_state(struct place *place, const char *id)
{
    struct error error;
    struct lookup lookup = lookup_of(place, id);
    struct reader *reader = lookup_run(&lookup, &error);
    assert_non_null(reader);
    char *found = fixture_dump(&reader_find(reader, id)->saga);
    char *expected = fixture_dump(&runs_find(place->owner, span_of(id))->saga);
    assert_string_equal(found, expected);
    free(found);
    free(expected);
    reader_free(reader);
}

static int64_t expect_none(struct place *place, const char *id)
{
    struct error error;
    struct lookup lookup = lookup_of(place, id);
    assert_null(lookup_run(&lookup, &error));
    assert_int_equal(error.kind, ERROR_NONE);
    return lookup.kept_since_ms;
}

static void a_run_is_found_wherever_it_stands(void **state)
{
    (void)state;
    struct place place = new_place();
    start(&place, "first");
    finish(&place, "first");
    pass_time(&place, 20);
    start(&place, "ends");
    start(&place, "goes-on");
    pass_time(&place, 20);
    finish(&place, "ends");
    pass_time(&place, 3);
    static const char *const ids[] = {"first", "ends", "goes-on"};
    for (size_t i = 0; i < COUNT(ids); i++) {
        expect_state(&place, ids[i]);
    }
    assert_int_equal(expect_none(&place, "never"), 0);
    end(&place);
}

static void one_whose_start_is_not_kept_is_known_from_its_snapshot(void **state)
{
    (void)state;
    struct error error;
    struct place place = new_place();
    start(&place, "old");
    pass_time(&place, 20);
    int64_t told = snapshot(&place, "old");
    commit(&place);
    pass_time(&place, 30);
    expect_state(&place, "old");
    memory_cluster_delete_before(place.cluster, PROGRESS, 0, told);
    expect_state(&place, "old");
    struct lookup lookup = lookup_of(&place, "old");
    struct reader *reader = lookup_run(&lookup, &error);
    const struct run_view *view = run_view(reader_find(reader, "old"));
    assert_int_equal(view->waiting_count, 1); /* for what, RunProgressed had told before */
    assert_string_equal(view->pipeline, "pipe");
    reader_free(reader);
    lookup.only_state = false;
    reader = lookup_run(&lookup, &error);
    assert_non_null(reader);
    reader_free(reader);
    end(&place);
}

static void of_one_that_has_ended_the_end_is_known_when_its_start_is_not(void **state)
{
    (void)state;
    struct error error;
    struct place place = new_place();
    start(&place, "old");
    int64_t cut = memory_cluster_end(place.cluster, PROGRESS, 0);
    pass_time(&place, 20);
    WRITE(&place, {.kind = MESSAGE_CANCEL, .event = {.kind = EVENT_CANCEL, RUN("old"), .request_id = {2}}});
    finish(&place, "old");
    pass_time(&place, 20);
    memory_cluster_delete_before(place.cluster, PROGRESS, 0, cut);
    struct lookup lookup = lookup_of(&place, "old");
    struct reader *reader = lookup_run(&lookup, &error);
    assert_non_null(reader);
    const struct run *run = reader_find(reader, "old");
    assert_int_equal(run->saga.status, RUN_SUCCEEDED);
    assert_int_equal(run->saga.started_ms, runs_find(place.owner, span_of("old"))->saga.started_ms);
    assert_null(run->saga.plan);
    assert_true(saga_is_settled(&run->saga));
    assert_string_equal(run_view(run)->pipeline, "pipe");
    assert_int_equal(run_view(run)->steps_total, 1);
    reader_free(reader);
    end(&place);
}

static void an_end_that_is_repeated_after_the_last_one_is_not_taken_for_it(void **state)
{
    (void)state;
    struct error error;
    struct place place = new_place();
    start(&place, "old");
    int64_t cut = memory_cluster_end(place.cluster, PROGRESS, 0);
    pass_time(&place, 20);
    finish(&place, "old");
    int64_t after = memory_cluster_end(place.cluster, PROGRESS, 0);
    WRITE(&place, {.kind = MESSAGE_RUN_FINISHED,
                   .status = RUN_ROLLBACK_INCOMPLETE,
                   .pipeline = S("pipe"),
                   .start_offset = runs_find(place.owner, span_of("old"))->saga.start_offset,
                   .event = {.kind = EVENT_FINISHED, RUN("old")}});
    pass_time(&place, 20);
    expect_state(&place, "old");
    memory_cluster_delete_before(place.cluster, PROGRESS, 0, cut);
    struct lookup lookup = lookup_of(&place, "old");
    struct reader *reader = lookup_run(&lookup, &error);
    assert_non_null(reader);
    assert_int_equal(reader_find(reader, "old")->saga.status, RUN_SUCCEEDED);
    reader_free(reader);
    memory_cluster_delete_before(place.cluster, PROGRESS, 0, after);
    assert_true(expect_none(&place, "old") > 0);
    end(&place);
}

static void what_may_be_older_than_the_log_is_not_said_to_have_never_been(void **state)
{
    (void)state;
    struct place place = new_place();
    char before[RUN_ID_BYTES], after[RUN_ID_BYTES];
    int64_t hour_s = 3600;
    run_id_generate(before, span_of("pipe"), BEGIN_MS / 1000 - hour_s);
    run_id_generate(after, span_of("pipe"), BEGIN_MS / 1000 + hour_s);
    pass_time(&place, 30);
    int64_t kept_since_ms = expect_none(&place, before);
    assert_int_equal(kept_since_ms, 0);
    assert_false(lookup_may_be_older(before, kept_since_ms));
    memory_cluster_delete_before(place.cluster, PROGRESS, 0, 10);
    kept_since_ms = expect_none(&place, before);
    assert_int_equal(kept_since_ms, BEGIN_MS + 10 * EVERY_MS);
    assert_true(lookup_may_be_older(before, kept_since_ms));
    assert_true(lookup_may_be_older("by-hand", kept_since_ms));
    assert_false(lookup_may_be_older(after, kept_since_ms));
    end(&place);
}

static void a_start_that_is_repeated_long_after_is_not_taken_for_a_run(void **state)
{
    (void)state;
    struct place place = new_place();
    start(&place, "twice");
    finish(&place, "twice");
    pass_time(&place, 20);
    int64_t cut = memory_cluster_end(place.cluster, PROGRESS, 0);
    WRITE(&place, {.kind = MESSAGE_START,
                   .progress_partitions = 1,
                   .event = {.kind = EVENT_START, RUN("twice"), .request_id = {9}, .plan = &plan, .fold_version = SAGA_FOLD_VERSION}});
    WRITE(&place, {.kind = MESSAGE_ANSWERED, .verdict = VERDICT_EXISTING,
                   .event = {.kind = EVENT_ANSWERED, RUN("twice"), .request_id = {9}}});
    pass_time(&place, 20);
    struct error error;
    struct lookup lookup = lookup_of(&place, "twice");
    struct reader *reader = lookup_run(&lookup, &error);
    assert_non_null(reader);
    assert_int_equal(reader_find(reader, "twice")->saga.start_offset, 1);
    assert_int_equal(reader_find(reader, "twice")->saga.status, RUN_SUCCEEDED);
    reader_free(reader);
    memory_cluster_delete_before(place.cluster, PROGRESS, 0, cut);
    assert_true(expect_none(&place, "twice") > 0);
    end(&place);
}

static void cancel(struct place *place, const char *id)
{
    WRITE(place, {.kind = MESSAGE_CANCEL, .event = {.kind = EVENT_CANCEL, RUN(id), .request_id = {7}}});
}

static void refuse_to_cancel(struct place *place, const char *id)
{
    WRITE(place,
          {.kind = MESSAGE_ANSWERED, .verdict = VERDICT_REFUSED, .event = {.kind = EVENT_ANSWERED, RUN(id), .request_id = {7}}});
}

/* A request that is delivered twice, before the Start and after it, has the verdict of the first: there is no such run. */
static void what_was_asked_before_the_start_counts_wherever_it_stands(void **state)
{
    (void)state;
    struct place place = new_place();
    pass_time(&place, 20);
    cancel(&place, "asked");
    pass_time(&place, 20);
    start(&place, "asked");
    cancel(&place, "asked");
    pass_time(&place, 20);
    expect_state(&place, "asked");
    refuse_to_cancel(&place, "asked");
    pass_time(&place, 20);
    expect_state(&place, "asked");
    finish(&place, "asked");
    pass_time(&place, 20);
    expect_state(&place, "asked");
    name(&place, "asked");
    pass_time(&place, 20);
    expect_state(&place, "asked");
    assert_int_equal(runs_find(place.owner, span_of("asked"))->saga.status, RUN_SUCCEEDED);
    end(&place);
}

struct told_of {
    const char *id;
    int64_t first; /* -1: nothing was told yet */
    size_t count;
    enum run_status status;
};

static void on_told(void *context, const struct reader_record *record)
{
    struct told_of *told = context;
    if (span_equal(record->key, span_of(told->id))) {
        told->first = told->count == 0 ? record->offset : told->first;
        told->count++;
        told->status = (enum run_status)record->run->saga.status;
        assert_true(told->status != RUN_ROLLED_BACK && told->status != RUN_ROLLING_BACK);
    }
}

static void a_story_is_told_from_the_start_on_whatever_was_asked_before(void **state)
{
    (void)state;
    struct error error;
    struct place place = new_place();
    pass_time(&place, 20);
    cancel(&place, "asked");
    pass_time(&place, 20);
    start(&place, "asked");
    cancel(&place, "asked");
    refuse_to_cancel(&place, "asked");
    finish(&place, "asked");
    name(&place, "asked");
    pass_time(&place, 20);
    struct told_of told = {.id = "asked", .first = -1};
    struct lookup lookup = lookup_of(&place, "asked");
    lookup.only_state = false;
    lookup.each = on_told;
    lookup.context = &told;
    struct reader *reader = lookup_run(&lookup, &error);
    assert_non_null(reader);
    assert_int_equal(told.first, runs_find(place.owner, span_of("asked"))->saga.start_offset);
    assert_int_equal(told.count, 7);
    assert_int_equal(told.status, RUN_SUCCEEDED);
    reader_free(reader);
    end(&place);
}

/* `events` may follow for weeks, `list` shows what has ended. */
static void who_follows_for_long_forgets_what_has_ended(void **state)
{
    (void)state;
    for (int forgets = 0; forgets < 2; forgets++) {
        struct error error;
        struct place place = new_place();
        start(&place, "ends");
        start(&place, "goes-on");
        finish(&place, "ends");
        name(&place, "ends");
        struct reader_options options = client_reads(&place.client, NULL);
        options.forget_ended = forgets;
        struct reader *reader = reader_new(&options, &error);
        assert_non_null(reader);
        assert_true(reader_catch_up(reader, NULL, NULL, &error));
        assert_int_equal(reader_find(reader, "ends") == NULL, forgets);
        assert_non_null(reader_find(reader, "goes-on"));
        reader_free(reader);
        end(&place);
    }
}

static void all_that_is_under_way_is_known_from_the_checkpoint_on(void **state)
{
    (void)state;
    struct error error;
    struct place place = new_place();
    start(&place, "old");
    start(&place, "ended");
    finish(&place, "ended");
    pass_time(&place, 20);
    snapshot(&place, "old");
    start(&place, "new");
    int64_t begin = runs_find(place.owner, span_of("old"))->base_offset;
    name(&place, "ended");
    commit(&place);
    struct reader_options options = client_reads(&place.client, NULL);
    options.from_checkpoint = true;
    struct reader *reader = reader_new(&options, &error);
    assert_non_null(reader);
    assert_true(reader_catch_up(reader, NULL, NULL, &error));
    assert_true(reader_is_from_checkpoint(reader));
    assert_int_equal(reader_begin_of(reader, 0), begin);
    size_t count = 0;
    for (struct run *run = NULL; (run = reader_next(reader, run)) != NULL; count++) {
        assert_false(span_equal(run->saga.run_id, span_of("ended")));
    }
    assert_int_equal(count, 2);
    reader_free(reader);
    end(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_is_found_wherever_it_stands),
        cmocka_unit_test(one_whose_start_is_not_kept_is_known_from_its_snapshot),
        cmocka_unit_test(of_one_that_has_ended_the_end_is_known_when_its_start_is_not),
        cmocka_unit_test(an_end_that_is_repeated_after_the_last_one_is_not_taken_for_it),
        cmocka_unit_test(what_may_be_older_than_the_log_is_not_said_to_have_never_been),
        cmocka_unit_test(a_start_that_is_repeated_long_after_is_not_taken_for_a_run),
        cmocka_unit_test(what_was_asked_before_the_start_counts_wherever_it_stands),
        cmocka_unit_test(a_story_is_told_from_the_start_on_whatever_was_asked_before),
        cmocka_unit_test(who_follows_for_long_forgets_what_has_ended),
        cmocka_unit_test(all_that_is_under_way_is_known_from_the_checkpoint_on),
    };
    return cmocka_run_group_tests_name("cli_lookup", tests, NULL, NULL);
}
