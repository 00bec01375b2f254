/* SPDX-License-Identifier: Apache-2.0 */
/* When a coordinator says what nobody's work waits for. */
#include "common/bus_memory.h"
#include "common/limits.h"
#include "common/messages.h"
#include "coordinator/service/service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROGRESS "p.progress"
#define WAIT_MS 5 /* of WORDS_WAIT_MS in jobs.c */
#define BEAT_MS 20 /* as there */
#define MANY 201 /* more than BUSY_RECORDS there */

static int64_t now_ms(void *clock)
{
    return memory_cluster_time(clock);
}

static void no_chance(void *bytes, size_t size)
{
    memset(bytes, 7, size);
}

struct place {
    struct memory_cluster *cluster;
    struct bus *bus;
    struct service *service;
    unsigned char asked;
};

static void step(struct place *place)
{
    struct error error = {0};
    assert_int_equal(service_step(place->service, 0, &error), SERVICE_WORKING);
}

static void pass(struct place *place, int ms)
{
    memory_cluster_set_time(place->cluster, memory_cluster_time(place->cluster) + ms);
    step(place);
}

static struct place new_place(void)
{
    struct error error = {0};
    struct place place = {.cluster = memory_cluster_new(1)};
    place.bus = bus_memory_open(place.cluster);
    memory_cluster_create_topic(place.cluster, PROGRESS, 1);
    const struct service_options options = {.prefix = "p", .name = "c", .own_last = -1, .progress_partitions = 1, .timeout_ms = 100,
                                            .monotonic_ms = now_ms, .clock = place.cluster, .random = no_chance};
    place.service = service_new(place.bus, &options, &error);
    assert_non_null(place.service);
    for (int turns = 0; !service_is_ready(place.service); turns++) {
        assert_true(turns < 100);
        pass(&place, 1);
    }
    return place;
}

static void end(struct place *place)
{
    service_free(place->service);
    bus_close(place->bus);
    memory_cluster_free(place->cluster);
}

/* A request about a run that does not exist: all that is due for it is an answer. */
static void ask(struct place *place)
{
    char run_id[16];
    struct error error;
    struct text bytes;
    struct message message = {.kind = MESSAGE_CANCEL};
    snprintf(run_id, sizeof run_id, "run-%d", ++place->asked);
    message.event.run_id = span_of(run_id);
    message.event.request_id[0] = place->asked;
    text_init(&bytes, LIMIT_RECORD_BYTES);
    assert_true(message_encode(&message, &bytes, &error));
    memory_cluster_append(place->cluster, PROGRESS, 0, span_of(run_id), text_span(&bytes));
    text_fini(&bytes);
}

static void expect_said(struct place *place, int64_t before, int answers)
{
    assert_int_equal(memory_cluster_end(place->cluster, PROGRESS, 0) - before, place->asked + answers);
}

static void an_answer_waits_some_milliseconds_for_others_and_they_go_together(void **state)
{
    (void)state;
    struct place place = new_place();
    int64_t before = memory_cluster_end(place.cluster, PROGRESS, 0);
    ask(&place);
    step(&place);
    expect_said(&place, before, 0);
    ask(&place);
    pass(&place, WAIT_MS - 1);
    expect_said(&place, before, 0);
    pass(&place, 1);
    expect_said(&place, before, 2);
    end(&place);
}

static void the_next_answer_waits_anew(void **state)
{
    (void)state;
    struct place place = new_place();
    int64_t before = memory_cluster_end(place.cluster, PROGRESS, 0);
    for (int answers = 0; answers < 3; answers++) {
        ask(&place);
        step(&place);
        expect_said(&place, before, answers);
        pass(&place, WAIT_MS);
        expect_said(&place, before, answers + 1);
    }
    end(&place);
}

static void pass_until_beat(struct place *place, int before_ms)
{
    pass(place, BEAT_MS - (int)(memory_cluster_time(place->cluster) % BEAT_MS) - before_ms);
}

static void answers_that_come_often_wait_for_a_beat(void **state)
{
    (void)state;
    struct place place = new_place();
    int64_t before = memory_cluster_end(place.cluster, PROGRESS, 0);
    pass_until_beat(&place, 0);
    for (int i = 0; i < 4 * BEAT_MS; i++) { /* more than one in WAIT_MS */
        ask(&place);
        pass(&place, 1);
    }
    pass_until_beat(&place, 0);
    expect_said(&place, before, place.asked);
    ask(&place);
    step(&place);
    pass_until_beat(&place, 1);
    expect_said(&place, before, place.asked - 1);
    pass(&place, 1);
    expect_said(&place, before, place.asked);
    pass(&place, 10 * BEAT_MS);
    ask(&place); /* one in so long */
    step(&place);
    pass_until_beat(&place, 0);
    expect_said(&place, before, place.asked);
    pass(&place, 1);
    ask(&place);
    step(&place);
    pass(&place, WAIT_MS);
    expect_said(&place, before, place.asked);
    end(&place);
}

static void many_that_come_at_once_do_not_wait(void **state)
{
    (void)state;
    struct place place = new_place();
    int64_t before = memory_cluster_end(place.cluster, PROGRESS, 0);
    for (int i = 0; i < MANY; i++) {
        ask(&place);
    }
    step(&place);
    expect_said(&place, before, MANY);
    end(&place);
}

static void whoever_is_to_stop_says_it_first(void **state)
{
    (void)state;
    struct place place = new_place();
    int64_t before = memory_cluster_end(place.cluster, PROGRESS, 0);
    ask(&place);
    step(&place);
    service_say_words(place.service);
    expect_said(&place, before, 1);
    end(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_waits_some_milliseconds_for_others_and_they_go_together),
        cmocka_unit_test(the_next_answer_waits_anew),
        cmocka_unit_test(answers_that_come_often_wait_for_a_beat),
        cmocka_unit_test(many_that_come_at_once_do_not_wait),
        cmocka_unit_test(whoever_is_to_stop_says_it_first),
    };
    return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
