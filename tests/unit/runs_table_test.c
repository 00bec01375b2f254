/* SPDX-License-Identifier: Apache-2.0 */
#include "common/runs_table.h"

#include "common/messages.h"
#include "common/messages_plans.h"
#include "common/runs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define THINGS 2000

struct thing {
    char name[16];
    uint64_t hash;
    bool there;
};

static struct span name_of(const void *thing)
{
    return span_of(((const struct thing *)thing)->name);
}

static void expect_all(const struct runs_table *table, struct thing *things)
{
    for (size_t i = 0; i < THINGS; i++) {
        void *found = runs_table_find(table, things[i].hash, span_of(things[i].name), name_of);
        assert_ptr_equal(found, things[i].there ? &things[i] : NULL);
    }
}

/* Hashes that often meet: a removal has to move what stands behind it. */
static void what_was_put_is_found_and_what_was_taken_is_not(void **state)
{
    static struct thing things[THINGS];
    struct runs_table table = {0};
    (void)state;
    for (uint32_t i = 0; i < THINGS; i++) {
        snprintf(things[i].name, sizeof things[i].name, "thing-%u", i);
        things[i].hash = i % 97;
        things[i].there = true;
        runs_table_add(&table, things[i].hash, &things[i]);
    }
    expect_all(&table, things);
    for (uint32_t step = 7, at = 0, count = 0; count < THINGS / 2; count++, at = (at + step) % THINGS) {
        runs_table_remove(&table, things[at].hash, &things[at]);
        things[at].there = false;
    }
    assert_int_equal(table.used, THINGS / 2);
    expect_all(&table, things);
    runs_table_fini(&table);
    assert_null(runs_table_find(&table, 1, span_of("thing-1"), name_of));
}

static const struct plan_step steps[] = {
    {.name = {"one", 3}, .handler = {"work", 4}, .queue = {"default", 7}, .weight = 1, .retry = PLAN_RETRY_DEFAULT}};
static void things_of_one_hash_are_found_together(void **state)
{
    (void)state;
    struct runs_table table = {0};
    static int things[100];
    void *found[3];
    for (size_t i = 0; i < 100; i++) {
        runs_table_add(&table, i % 10, &things[i]);
    }
    assert_int_equal(runs_table_all(&table, 3, found, 3), 3);
    for (size_t i = 0; i < 100; i++) {
        runs_table_remove(&table, i % 10, &things[i]);
        void *left[20];
        size_t count = runs_table_all(&table, 3, left, 20);
        assert_int_equal(count, i < 3 ? 10 : 9 - (i - 3) / 10);
        for (size_t k = 0; k < count; k++) {
            assert_int_equal(((int *)left[k] - things) % 10, 3);
        }
    }
    runs_table_fini(&table);
}

static const struct plan plan = {.name = {"p", 1}, .steps = steps, .step_count = 1};

static void start_of(struct text *bytes, const char *params)
{
    struct message message = {.kind = MESSAGE_START, .progress_partitions = 4};
    struct error error;
    message.event.plan = &plan;
    message.event.params = span_of(params);
    message.event.fold_version = 1;
    message.event.request_id[0] = (unsigned char)params[1];
    text_clear(bytes);
    assert_true(message_encode(&message, bytes, &error));
}

static const struct plan *apply_start(struct runs *runs, const char *run_id, const char *params, bool *was_known)
{
    struct text bytes;
    struct message message;
    struct error error;
    struct run *run;
    text_init(&bytes, 1 << 16);
    start_of(&bytes, params);
    assert_true(message_decode_known(&message, runs_plans(runs), span_of(run_id), text_span(&bytes), &error));
    assert_true(span_equal(message.event.params, span_of(params)));
    assert_true(span_equal(message.event.plan->name, plan.name) && message.progress_partitions == 4);
    *was_known = message.plan_known;
    assert_int_equal(runs_apply(runs, &message, 1, 1000, &run), RUNS_APPLIED);
    message_free(&message);
    text_fini(&bytes);
    return run->saga.plan;
}

static void runs_of_one_pipeline_share_its_plan_until_the_last_is_gone(void **state)
{
    struct runs *runs = runs_new(4);
    bool known;
    (void)state;
    const struct plan *first = apply_start(runs, "one", "{\"n\":1}", &known);
    assert_false(known);
    assert_ptr_equal(apply_start(runs, "two", "{\"n\":2}", &known), first);
    assert_true(known);
    runs_remove(runs, runs_find(runs, span_of("one")));
    assert_true(span_equal(runs_find(runs, span_of("two"))->saga.plan->steps[0].handler, span_of("work")));
    runs_remove(runs, runs_find(runs, span_of("two")));
    assert_ptr_equal(apply_start(runs, "three", "{\"n\":3}", &known), first); /* nobody had it just now, and it was kept */
    assert_true(known);
    runs_free(runs);
}

/* Cut anywhere, it is the same to a decoder that knows the plan as to one that does not. */
static void a_damaged_start_is_judged_as_without_known_plans(void **state)
{
    struct runs *runs = runs_new(4);
    struct text bytes;
    bool known;
    (void)state;
    apply_start(runs, "one", "{\"n\":1}", &known);
    text_init(&bytes, 1 << 16);
    start_of(&bytes, "{\"n\":1}");
    for (size_t size = 1; size <= bytes.size; size++) {
        struct message plain, message;
        struct error error;
        struct span cut = {bytes.bytes, size};
        bool expected = message_decode(&plain, TOPIC_PROGRESS, span_of("one"), cut, &error);
        assert_int_equal(message_decode_known(&message, runs_plans(runs), span_of("one"), cut, &error), expected);
        message_free(&plain);
        message_free(&message);
    }
    text_fini(&bytes);
    runs_free(runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found_and_what_was_taken_is_not),
        cmocka_unit_test(things_of_one_hash_are_found_together),
        cmocka_unit_test(runs_of_one_pipeline_share_its_plan_until_the_last_is_gone),
        cmocka_unit_test(a_damaged_start_is_judged_as_without_known_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
