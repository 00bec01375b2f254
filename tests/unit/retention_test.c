/* SPDX-License-Identifier: Apache-2.0 */
/* What a coordinator keeps, and for how long: on the log, and in its memory. */
#include "common/bus_memory.h"
#include "common/limits.h"
#include "coordinator/service/service_internal.h"
#include "tests/unit/saga_shown.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROGRESS "p.progress"
#define HOUR_MS (3600ll * 1000)
#define RETENTION_MS (30 * HOUR_MS)
#define MANY 50000 /* runs */
#define AT_ONCE 2000
#define EVERY_MS (HOUR_MS * 2)

static const struct plan_step steps[] = {{.name = S("a"), .handler = S("h"), .queue = S("q"), .retry = PLAN_RETRY_DEFAULT,
                                          .rollback_none = true}};
static const struct plan plan = {.name = S("pipe"), .steps = steps, .step_count = 1};

struct place {
    struct memory_cluster *cluster;
    struct bus *bus;
    struct service *service;
};

static int64_t now_ms(void *clock)
{
    return memory_cluster_time(clock);
}

static void no_chance(void *bytes, size_t size)
{
    static unsigned char life;
    memset(bytes, ++life, size);
}

static void begin(struct place *place)
{
    const struct service_options options = {.prefix = "p", .name = "c", .own_last = -1, .progress_partitions = 1, .timeout_ms = 100,
                                            .retention_ms = RETENTION_MS, .monotonic_ms = now_ms, .clock = place->cluster,
                                            .random = no_chance};
    struct error error = {0};
    place->bus = bus_memory_open(place->cluster);
    place->service = service_new(place->bus, &options, &error);
    if (place->service == NULL) {
        fail_msg("%s", error.message);
    }
}

static void end(struct place *place)
{
    service_free(place->service);
    bus_close(place->bus);
}

/* All that is to be done at this instant, and what follows from it within a second. */
static void settle(struct place *place)
{
    int64_t until_ms = memory_cluster_time(place->cluster) + 1000;
    while (memory_cluster_time(place->cluster) < until_ms) {
        struct error error = {0};
        int64_t end_before = memory_cluster_end(place->cluster, PROGRESS, 0);
        if (service_step(place->service, 0, &error) != SERVICE_WORKING) {
            fail_msg("%s", error.message);
        }
        if (memory_cluster_end(place->cluster, PROGRESS, 0) == end_before && memory_cluster_next_ms(place->cluster) > memory_cluster_time(place->cluster)) {
            memory_cluster_set_time(place->cluster, memory_cluster_time(place->cluster) + 100);
        }
    }
}

static void pass(struct place *place, int64_t ms)
{
    int64_t until_ms = memory_cluster_time(place->cluster) + ms;
    while (memory_cluster_time(place->cluster) < until_ms) {
        memory_cluster_set_time(place->cluster, memory_cluster_time(place->cluster) + HOUR_MS / 2);
        settle(place);
    }
}

static struct place new_place(void)
{
    struct place place = {.cluster = memory_cluster_new(1)};
    memory_cluster_create_topic(place.cluster, PROGRESS, 1);
    begin(&place);
    settle(&place);
    assert_true(service_is_ready(place.service));
    return place;
}

static void end_all(struct place *place)
{
    end(place);
    memory_cluster_free(place->cluster);
}

static void ask(struct place *place, struct message message, const char *id, uint64_t number)
{
    struct text bytes;
    struct error error;
    message.event.run_id = span_of(id);
    memcpy(message.event.request_id, &number, sizeof number);
    text_init(&bytes, LIMIT_RECORD_BYTES);
    assert_true(message_encode(&message, &bytes, &error));
    memory_cluster_append(place->cluster, PROGRESS, 0, message.event.run_id, text_span(&bytes));
    text_fini(&bytes);
}

static void start(struct place *place, const char *id, uint64_t number)
{
    ask(place, (struct message){.kind = MESSAGE_START, .progress_partitions = 1,
                                .event = {.kind = EVENT_START, .plan = &plan, .fold_version = SAGA_FOLD_VERSION}},
        id, number);
}

static void cancel(struct place *place, const char *id, uint64_t number)
{
    ask(place, (struct message){.kind = MESSAGE_CANCEL, .event = {.kind = EVENT_CANCEL}}, id, number);
}

static struct runs *runs_of(const struct place *place)
{
    return place->service->owned[0].runs;
}

static int64_t first_of(const struct place *place)
{
    struct error error;
    int64_t first, next;
    assert_true(bus_bounds(place->bus, PROGRESS, 0, &first, &next, 100, &error));
    return first;
}

static int64_t committed_of(const struct place *place)
{
    struct error error;
    char metadata[BUS_METADATA_BYTES];
    int64_t offset;
    assert_true(bus_committed(place->bus, "p.coordinators", PROGRESS, 0, &offset, metadata, 100, &error));
    return offset;
}

static void what_is_old_and_needed_by_no_run_is_deleted(void **state)
{
    (void)state;
    struct place place = new_place();
    start(&place, "ends", 1);
    cancel(&place, "ends", 2);
    start(&place, "waits", 3);
    settle(&place);
    assert_int_equal(runs_find(runs_of(&place), span_of("ends"))->saga.status, RUN_CANCELLED);
    pass(&place, RETENTION_MS - HOUR_MS);
    assert_int_equal(first_of(&place), 0);
    pass(&place, RETENTION_MS);
    assert_true(first_of(&place) > 0);
    assert_true(first_of(&place) <= committed_of(&place));
    end(&place);
    begin(&place);
    settle(&place);
    struct run *run = runs_find(runs_of(&place), span_of("waits"));
    assert_non_null(run);
    assert_true(run->saga.start_offset < first_of(&place));
    cancel(&place, "waits", 4);
    settle(&place);
    assert_int_equal(runs_find(runs_of(&place), span_of("waits"))->saga.status, RUN_CANCELLED);
    end_all(&place);
}

/* Commits have no report. One that came to nothing must not be relied on. */
static void what_stands_above_the_checkpoint_that_the_broker_has_stays_however_old(void **state)
{
    (void)state;
    struct place place = new_place();
    start(&place, "waits", 1);
    settle(&place);
    for (int64_t ms = 0; ms < 3 * RETENTION_MS; ms += HOUR_MS / 2) {
        pass(&place, 1);
        bus_commit(place.bus, "p.coordinators", PROGRESS, 0, 1, "epoch=0 time=1 ids=-1");
    }
    assert_true(place.service->owned[0].committed_offset > 1);
    assert_int_equal(first_of(&place), 1);
    end_all(&place);
}

static void runs_that_have_ended_leave_a_hash_for_a_day(void **state)
{
    (void)state;
    struct place place = new_place();
    size_t most_runs = 0, most_room = 0;
    for (int i = 0; i < MANY; i++) {
        char id[32];
        snprintf(id, sizeof id, "run-%d", i);
        start(&place, id, 2 * (uint64_t)i + 1);
        cancel(&place, id, 2 * (uint64_t)i + 2);
        if (i % AT_ONCE == AT_ONCE - 1) {
            settle(&place);
            pass(&place, EVERY_MS);
            size_t count = runs_count(runs_of(&place)), room = runs_room_bytes(runs_of(&place));
            most_runs = count > most_runs ? count : most_runs;
            most_room = room > most_room ? room : most_room;
        }
    }
    print_message("of %d runs at most %zu in memory, in %zu bytes; %zu ids remembered; the log begins at %ld and ends at %ld\n", MANY,
                  most_runs, most_room, runs_ended(runs_of(&place)), (long)first_of(&place),
                  (long)memory_cluster_end(place.cluster, PROGRESS, 0));
    assert_true(most_runs <= 2 * LIMIT_FINISHED_IDS);
    assert_true(runs_ended(runs_of(&place)) <= AT_ONCE * (26 * HOUR_MS / EVERY_MS) + 2 * LIMIT_FINISHED_IDS);
    assert_true(first_of(&place) > 0);
    pass(&place, 60 * HOUR_MS);
    start(&place, "one-more", 1);
    settle(&place);
    assert_int_equal(runs_count(runs_of(&place)), 1);
    end_all(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_old_and_needed_by_no_run_is_deleted),
        cmocka_unit_test(what_stands_above_the_checkpoint_that_the_broker_has_stays_however_old),
        cmocka_unit_test(runs_that_have_ended_leave_a_hash_for_a_day),
    };
    return cmocka_run_group_tests_name("retention", tests, NULL, NULL);
}
