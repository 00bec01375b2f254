/* SPDX-License-Identifier: Apache-2.0 */
/* Coordinators that share partitions as a group: who has which, when one comes, goes, falls silent, or is in another's way. */
#include "common/bus_memory.h"
#include "common/limits.h"
#include "coordinator/service/service_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROGRESS "p.progress"
#define GROUP "p.coordinators"
#define PARTITIONS 4
#define SESSION_MS 3000
#define TURNS 50

static int64_t now_ms(void *clock)
{
    return memory_cluster_time(clock);
}

static void random_of(void *bytes, size_t size)
{
    static unsigned char next;
    memset(bytes, ++next, size);
}

struct coordinator {
    struct bus *bus;
    struct service *service;
};

static struct service_options options_of(struct memory_cluster *cluster, const char *name, int session_ms)
{
    return (struct service_options){.prefix = "p",
                                    .name = name,
                                    .session_ms = session_ms,
                                    .own_last = -1,
                                    .progress_partitions = PARTITIONS,
                                    .timeout_ms = 100,
                                    .monotonic_ms = now_ms,
                                    .clock = cluster,
                                    .random = random_of};
}

static struct service *serve(struct memory_cluster *cluster, struct bus *bus, const char *name, int session_ms, struct error *error)
{
    const struct service_options options = options_of(cluster, name, session_ms);
    return service_new(bus, &options, error);
}

static struct coordinator begin(struct memory_cluster *cluster, const char *name)
{
    struct coordinator coordinator = {.bus = bus_memory_open(cluster)};
    coordinator.service = serve(cluster, coordinator.bus, name, SESSION_MS, NULL);
    assert_non_null(coordinator.service);
    return coordinator;
}

static void end(struct coordinator *coordinator)
{
    service_free(coordinator->service);
    bus_close(coordinator->bus);
}

/* All that there is to do at this moment. */
static void let_work(struct coordinator *all, size_t count)
{
    struct error error;
    for (int turn = 0; turn < TURNS; turn++) {
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(service_step(all[i].service, 0, &error), SERVICE_WORKING);
        }
    }
}

static int owned_by(const struct coordinator *coordinator)
{
    int count = 0;
    for (int32_t i = 0; i < PARTITIONS; i++) {
        count += coordinator->service->owned[i].workers_read;
    }
    return count;
}

static void pass(struct memory_cluster *cluster, int64_t by_ms)
{
    memory_cluster_set_time(cluster, memory_cluster_time(cluster) + by_ms);
}

static void they_share_and_who_leaves_hands_over_at_once(void **state)
{
    (void)state;
    struct memory_cluster *cluster = memory_cluster_new(1);
    struct coordinator all[2] = {begin(cluster, "a")};
    let_work(all, 1);
    assert_int_equal(owned_by(&all[0]), PARTITIONS);
    assert_true(service_is_ready(all[0].service) && service_has_joined(all[0].service));
    all[1] = begin(cluster, "b");
    let_work(all, 2);
    assert_int_equal(owned_by(&all[0]), 2);
    assert_int_equal(owned_by(&all[1]), 2);
    bus_leave(all[0].bus, 0);
    let_work(all + 1, 1);
    assert_int_equal(owned_by(&all[1]), PARTITIONS);
    end(&all[0]);
    end(&all[1]);
    memory_cluster_free(cluster);
}

static void who_falls_silent_loses_all_when_his_session_is_over_and_comes_back(void **state)
{
    (void)state;
    struct memory_cluster *cluster = memory_cluster_new(1);
    struct coordinator all[2] = {begin(cluster, "a"), begin(cluster, "b")};
    let_work(all, 2);
    memory_bus_set_frozen(all[0].bus, true);
    pass(cluster, SESSION_MS - 1);
    let_work(all + 1, 1);
    assert_int_equal(owned_by(&all[1]), 2);
    pass(cluster, 1);
    let_work(all + 1, 1);
    assert_int_equal(owned_by(&all[1]), PARTITIONS);
    assert_int_equal(owned_by(&all[0]), 2); /* as it believes */
    memory_bus_set_frozen(all[0].bus, false);
    let_work(all, 2);
    assert_int_equal(owned_by(&all[0]), 2);
    assert_int_equal(owned_by(&all[1]), 2);
    end(&all[0]);
    end(&all[1]);
    memory_cluster_free(cluster);
}

static void append(struct memory_cluster *cluster, const char *topic, int32_t partition, struct message *message)
{
    struct text bytes;
    text_init(&bytes, LIMIT_RECORD_BYTES);
    assert_true(message_encode(message, &bytes, NULL));
    memory_cluster_append(cluster, topic, partition, message->event.run_id, text_span(&bytes));
    text_fini(&bytes);
}

static void claim_as_somebody(struct memory_cluster *cluster, int32_t partition)
{
    struct message message = {
        .kind = MESSAGE_OWNER_CLAIM, .coordinator = span_of("somebody"), .progress_partitions = PARTITIONS};
    append(cluster, PROGRESS, partition, &message);
}

static void what_another_claims_is_claimed_again_a_session_later(void **state)
{
    (void)state;
    struct memory_cluster *cluster = memory_cluster_new(1);
    struct coordinator one = begin(cluster, "a");
    let_work(&one, 1);
    int64_t end_before = memory_cluster_end(cluster, PROGRESS, 2);
    claim_as_somebody(cluster, 2);
    let_work(&one, 1);
    assert_int_equal(owned_by(&one), PARTITIONS - 1);
    assert_null(owned_of(one.service, 2));
    pass(cluster, SESSION_MS - 1);
    let_work(&one, 1);
    assert_int_equal(owned_by(&one), PARTITIONS - 1);
    pass(cluster, 1);
    let_work(&one, 1);
    assert_int_equal(owned_by(&one), PARTITIONS);
    assert_int_equal(memory_cluster_end(cluster, PROGRESS, 2), end_before + 2);
    assert_int_equal(one.service->owned[2].epoch, end_before + 1); /* its second claim, not its first one */
    end(&one);
    memory_cluster_free(cluster);
}

static void a_partition_that_cannot_be_owned_does_not_stop_the_others(void **state)
{
    (void)state;
    struct memory_cluster *cluster = memory_cluster_new(1);
    struct bus *bus = bus_memory_open(cluster);
    memory_cluster_create_topic(cluster, PROGRESS, PARTITIONS);
    claim_as_somebody(cluster, 1);
    bus_commit(bus, GROUP, PROGRESS, 1, 7, "epoch=-1 time=0 ids=-1"); /* beyond the end: it is another log */
    bus_close(bus);
    struct coordinator one = begin(cluster, "a");
    let_work(&one, 1);
    assert_int_equal(owned_by(&one), PARTITIONS - 1);
    assert_false(service_is_ready(one.service));
    assert_int_equal(memory_cluster_end(cluster, PROGRESS, 1), 1); /* it was not claimed */
    const struct owned *refused = &one.service->owned[1];
    int64_t said_ms = refused->refused_ms;
    uint32_t claims = refused->claims;
    pass(cluster, SESSION_MS);
    let_work(&one, 1);
    assert_true(refused->claims > claims); /* it was tried again, */
    assert_int_equal(refused->refused_ms, said_ms); /* and not said again so soon */
    pass(cluster, 10000);
    let_work(&one, 1);
    assert_true(refused->refused_ms > said_ms);
    end(&one);
    memory_cluster_free(cluster);
}

static void only_a_member_commits_while_there_are_members(void **state)
{
    (void)state;
    struct memory_cluster *cluster = memory_cluster_new(1);
    struct coordinator all[2] = {begin(cluster, "a"), begin(cluster, "b")};
    struct bus *stranger = bus_memory_open(cluster);
    char metadata[BUS_METADATA_BYTES];
    int64_t offset;
    let_work(all, 2);
    bus_commit(all[0].bus, GROUP, PROGRESS, 0, 1, "");
    bus_commit(stranger, GROUP, PROGRESS, 0, 0, "");
    memory_bus_set_frozen(all[1].bus, true);
    pass(cluster, SESSION_MS);
    let_work(all, 1);
    bus_commit(all[1].bus, GROUP, PROGRESS, 0, 0, "");
    assert_true(bus_committed(stranger, GROUP, PROGRESS, 0, &offset, metadata, 0, NULL));
    assert_int_equal(offset, 1);
    bus_close(stranger);
    end(&all[0]);
    end(&all[1]);
    memory_cluster_free(cluster);
}

/* Somebody claims partition 0 so long after garbage came to the workers topic, and this is found of that owner. */
static const struct sign_row {
    int64_t claim_ms;
    const struct message sign;
    bool copied; /* by the next one */
} sign_rows[] = {
    {11 * 60000, {.kind = MESSAGE_RUN_PROGRESSED, .epoch = 1, .status = RUN_RUNNING, .event.run_id = {"r", 1}}, true}, /* it had still to */
    {11 * 60000, {.kind = MESSAGE_HOLDING, .epoch = 1, .worker = {"w", 1}}, false},
    {11 * 60000, {.kind = MESSAGE_HOLDING, .epoch = 0, .worker = {"w", 1}}, true}, /* in answer to the owner before it */
    {11 * 60000, {.kind = MESSAGE_FINISHED_IDS, .epoch = 1, .state_offset = 2, .previous = -1}, false},
    {9 * 60000, {.kind = MESSAGE_HOLDING, .epoch = 1, .worker = {"w", 1}}, true}, /* if the clock was set back, it came after the claim */
};

static void garbage_is_copied_unless_the_owner_before_has_read_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sign_rows / sizeof *sign_rows; i++) {
        struct memory_cluster *cluster = memory_cluster_new(1);
        struct message sign = sign_rows[i].sign;
        memory_cluster_create_topic(cluster, PROGRESS, PARTITIONS);
        memory_cluster_create_topic(cluster, "p.workers", 1);
        memory_cluster_append(cluster, "p.workers", 0, (struct span){0}, span_of("?"));
        pass(cluster, sign_rows[i].claim_ms);
        claim_as_somebody(cluster, 0);
        claim_as_somebody(cluster, 0);
        append(cluster, PROGRESS, 0, &sign);
        struct coordinator one = begin(cluster, "a");
        let_work(&one, 1);
        assert_int_equal(owned_by(&one), PARTITIONS);
        assert_int_equal(memory_cluster_end(cluster, "p.dead-letter", 0), sign_rows[i].copied);
        end(&one);
        memory_cluster_free(cluster);
    }
}

/* Partitions that are ready one after the other: each says so for itself. */
static void a_worker_is_welcomed_once_for_each_partition(void **state)
{
    (void)state;
    struct memory_cluster *cluster = memory_cluster_new(3);
    struct span handler = span_of("work");
    struct message hello = {.kind = MESSAGE_HELLO,
                            .presence = {.worker = span_of("w"),
                                         .incarnation = {{1}},
                                         .queue = span_of("default"),
                                         .handlers = &handler,
                                         .handler_count = 1,
                                         .slots = 1,
                                         .window = 1,
                                         .lease_ms = LIMIT_LEASE_MAX_MS,
                                         .sequence = 1}};
    memory_cluster_create_topic(cluster, "p.workers", 1);
    memory_cluster_create_topic(cluster, "p.tasks.default", 1);
    append(cluster, "p.workers", 0, &hello);
    memory_cluster_set_faults(cluster, &(struct memory_faults){.read_delay_ms = 1000});
    struct coordinator one = begin(cluster, "a");
    for (int i = 0; i < 1000 && !service_is_ready(one.service); i++) {
        struct error error;
        service_step(one.service, 0, &error);
        pass(cluster, 10);
    }
    assert_int_equal(owned_by(&one), PARTITIONS);
    assert_true(memory_cluster_end(cluster, "p.workers", 0) > 2); /* more marks than one */
    assert_int_equal(memory_cluster_end(cluster, "p.tasks.default", 0), PARTITIONS);
    end(&one);
    memory_cluster_free(cluster);
}

static void a_list_is_refused_while_there_is_a_group(void **state)
{
    (void)state;
    struct memory_cluster *cluster = memory_cluster_new(1);
    struct coordinator one = begin(cluster, "a");
    struct bus *bus = bus_memory_open(cluster);
    struct error error;
    assert_null(serve(cluster, bus, "b", 0, &error));
    assert_int_equal(error.kind, ERROR_INVALID);
    assert_non_null(strstr(error.message, "1 coordinator of 'p' shares its partitions as group 'p.coordinators'"));
    end(&one);
    pass(cluster, SESSION_MS); /* it was killed */
    struct coordinator listed = {bus, serve(cluster, bus, "b", 0, &error)};
    assert_non_null(listed.service);
    let_work(&listed, 1);
    assert_int_equal(owned_by(&listed), PARTITIONS);
    end(&listed);
    memory_cluster_free(cluster);
}

static void a_list_names_partitions_that_are_there(void **state)
{
    (void)state;
    static const struct {
        int32_t first, last;
        const char *said;
    } rows[] = {
        {PARTITIONS, PARTITIONS, "--own 4: 'p.progress' has the partitions 0 to 3"},
        {2, PARTITIONS, "--own 2-4: 'p.progress' has the partitions 0 to 3"},
    };
    struct memory_cluster *cluster = memory_cluster_new(1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct service_options options = options_of(cluster, "a", 0);
        struct bus *bus = bus_memory_open(cluster);
        struct error error;
        options.own_first = rows[i].first;
        options.own_last = rows[i].last;
        assert_null(service_new(bus, &options, &error));
        assert_int_equal(error.kind, ERROR_INVALID);
        assert_string_equal(error.message, rows[i].said);
        bus_close(bus);
    }
    memory_cluster_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_share_and_who_leaves_hands_over_at_once),
        cmocka_unit_test(who_falls_silent_loses_all_when_his_session_is_over_and_comes_back),
        cmocka_unit_test(what_another_claims_is_claimed_again_a_session_later),
        cmocka_unit_test(a_partition_that_cannot_be_owned_does_not_stop_the_others),
        cmocka_unit_test(only_a_member_commits_while_there_are_members),
        cmocka_unit_test(garbage_is_copied_unless_the_owner_before_has_read_it),
        cmocka_unit_test(a_worker_is_welcomed_once_for_each_partition),
        cmocka_unit_test(a_list_is_refused_while_there_is_a_group),
        cmocka_unit_test(a_list_names_partitions_that_are_there),
    };
    return cmocka_run_group_tests_name("ownership", tests, NULL, NULL);
}
