/* SPDX-License-Identifier: Apache-2.0 */
/* Where an owner begins to read, and when it refuses to. */
#include "common/bus_memory.h"
#include "common/limits.h"
#include "coordinator/service/service_internal.h"
#include "tests/unit/saga_fixture.h"

#define PROGRESS "p.progress"
#define RUNS 3

static int64_t now_ms(void *clock)
{
    return memory_cluster_time(clock);
}

static void no_chance(void *bytes, size_t size)
{
    memset(bytes, 7, size);
}

struct place {
    bool begin_at_first;
    int64_t checkpoint_bytes;
    struct memory_cluster *cluster;
    struct bus *bus;
};

static struct place new_place(int records)
{
    struct place place = {.cluster = memory_cluster_new(1)};
    place.bus = bus_memory_open(place.cluster);
    memory_cluster_create_topic(place.cluster, PROGRESS, 1);
    for (int i = 0; i < records; i++) {
        memory_cluster_append(place.cluster, PROGRESS, 0, (struct span){0}, span_of("?"));
    }
    return place;
}

static struct service *begin(struct place *place, struct error *error)
{
    const struct service_options options = {.prefix = "p", .name = "c", .own_last = -1, .progress_partitions = 1, .timeout_ms = 100,
                                            .begin_at_first = place->begin_at_first,
                                            .checkpoint_bytes = place->checkpoint_bytes,
                                            .monotonic_ms = now_ms, .clock = place->cluster, .random = no_chance};
    return service_new(place->bus, &options, error);
}

static void end(struct place *place, struct service *service)
{
    service_free(service);
    bus_close(place->bus);
    memory_cluster_free(place->cluster);
}

static void expect_refused(struct place *place, enum error_kind kind, const char *reason)
{
    struct error error = {0};
    int64_t before = memory_cluster_end(place->cluster, PROGRESS, 0);
    struct service *service = begin(place, &error);
    assert_null(service);
    assert_int_equal(error.kind, kind);
    assert_non_null(strstr(error.message, reason));
    assert_int_equal(memory_cluster_end(place->cluster, PROGRESS, 0), before); /* and has claimed nothing */
    end(place, NULL);
}

static void an_owner_whose_checkpoint_is_gone_refuses_the_partition(void **state)
{
    (void)state;
    struct place place = new_place(10);
    bus_commit(place.bus, "p.coordinators", PROGRESS, 0, 5, "epoch=-1 time=0 ids=-1");
    memory_cluster_delete_before(place.cluster, PROGRESS, 0, 7);
    expect_refused(&place, ERROR_REJECTED, "partition 0 of 'p.progress' begins at offset 7, and its runs can only be recovered from offset 5 on");
}

static void an_owner_without_a_checkpoint_refuses_a_log_without_its_beginning(void **state)
{
    (void)state;
    struct place place = new_place(10);
    memory_cluster_delete_before(place.cluster, PROGRESS, 0, 1);
    expect_refused(&place, ERROR_REJECTED, "partition 0 of 'p.progress' begins at offset 1, and nothing is committed for group 'p.coordinators'");
}

static void an_owner_without_a_checkpoint_begins_with_what_is_left_where_it_may(void **state)
{
    (void)state;
    struct error error = {0};
    struct place place = new_place(10);
    place.begin_at_first = true;
    memory_cluster_delete_before(place.cluster, PROGRESS, 0, 1);
    struct service *service = begin(&place, &error);
    assert_non_null(service);
    end(&place, service);
}

static void a_checkpoint_beyond_the_log_is_of_another_log(void **state)
{
    (void)state;
    struct place place = new_place(2);
    bus_commit(place.bus, "p.coordinators", PROGRESS, 0, 5, "epoch=-1 time=0 ids=-1");
    expect_refused(&place, ERROR_REJECTED, "ends at offset 2, and its runs can only be recovered from offset 5 on");
}

static void what_somebody_else_committed_is_refused(void **state)
{
    (void)state;
    struct place place = new_place(10);
    bus_commit(place.bus, "p.coordinators", PROGRESS, 0, 5, "");
    expect_refused(&place, ERROR_INVALID, "what is committed for group 'p.coordinators' on 'p.progress' was not written by Backstep");
}

static void ids_that_are_gone_do_not_stop_a_recovery(void **state)
{
    (void)state;
    struct error error = {0};
    struct place place = new_place(10);
    bus_commit(place.bus, "p.coordinators", PROGRESS, 0, 8, "epoch=-1 time=0 ids=3");
    struct service *service = begin(&place, &error);
    assert_non_null(service);
    for (int turns = 0; !service_is_ready(service); turns++) {
        assert_true(turns < 100);
        assert_int_equal(service_step(service, 0, &error), SERVICE_WORKING);
        memory_cluster_set_time(place.cluster, memory_cluster_time(place.cluster) + 1);
    }
    end(&place, service);
}

static void start(struct place *place, const char *id)
{
    static const struct plan_step steps[] = {{.name = S("a"), .handler = S("h"), .queue = S("q"), .retry = PLAN_RETRY_DEFAULT}};
    static const struct plan plan = {.name = S("pipe"), .steps = steps, .step_count = COUNT(steps)};
    const struct message message = {.kind = MESSAGE_START,
                                    .progress_partitions = 1,
                                    .event = {.kind = EVENT_START,
                                              .run_id = span_of(id),
                                              .request_id = {1},
                                              .plan = &plan,
                                              .fold_version = SAGA_FOLD_VERSION}};
    struct text bytes;
    text_init(&bytes, LIMIT_RECORD_BYTES);
    assert_true(message_encode(&message, &bytes, NULL));
    memory_cluster_append(place->cluster, PROGRESS, 0, message.event.run_id, text_span(&bytes));
    text_fini(&bytes);
}

static int snapshots(const struct place *place)
{
    struct memory_record record;
    int count = 0;
    for (int64_t i = 0; i < memory_cluster_end(place->cluster, PROGRESS, 0); i++) {
        assert_true(memory_cluster_record(place->cluster, PROGRESS, 0, i, &record));
        count += span_equal(record.type, span_of("Snapshot"));
    }
    return count;
}

/* Its successor concludes from the first record of a checkpoint that the workers topic was read. */
static void no_checkpoint_is_written_before_the_workers_were_read(void **state)
{
    (void)state;
    static const char *const ids[RUNS] = {"r0", "r1", "r2"};
    struct error error = {0};
    struct place place = new_place(0);
    bool waited = false;
    place.checkpoint_bytes = 1; /* all but the last are behind */
    for (int i = 0; i < RUNS; i++) {
        start(&place, ids[i]);
    }
    memory_cluster_set_faults(place.cluster, &(struct memory_faults){.send_delay_ms = 1000});
    struct service *service = begin(&place, &error);
    assert_non_null(service);
    for (int turns = 0; snapshots(&place) == 0; turns++) {
        assert_true(turns < 100000);
        assert_int_equal(service_step(service, 0, &error), SERVICE_WORKING);
        const struct owned *owned = owned_of(service, 0);
        for (struct run *run = runs_next(owned->runs, NULL); run != NULL && !owned->workers_read; run = runs_next(owned->runs, run)) {
            assert_false(job_if_any(run) != NULL && job_if_any(run)->snapshot_sent);
            waited = waited || owned->epoch >= 0;
        }
        memory_cluster_set_time(place.cluster, memory_cluster_time(place.cluster) + 1);
    }
    assert_true(waited);
    end(&place, service);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_owner_whose_checkpoint_is_gone_refuses_the_partition),
        cmocka_unit_test(an_owner_without_a_checkpoint_refuses_a_log_without_its_beginning),
        cmocka_unit_test(an_owner_without_a_checkpoint_begins_with_what_is_left_where_it_may),
        cmocka_unit_test(a_checkpoint_beyond_the_log_is_of_another_log),
        cmocka_unit_test(what_somebody_else_committed_is_refused),
        cmocka_unit_test(ids_that_are_gone_do_not_stop_a_recovery),
        cmocka_unit_test(no_checkpoint_is_written_before_the_workers_were_read),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
