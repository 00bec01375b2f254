/* SPDX-License-Identifier: Apache-2.0 */
/* A registry run in process behaves as the seed did: order, weights, skips, rollback newest first, cancel. */
#include "common/limits.h"
#include "worker/in_process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* What a step of the test does; its state. */
struct behaviour {
    bool fails, skips, rollback_fails, cancels;
};

static char story[512]; /* "+a +b -b -a ": what was called, in order */
static struct cancellation cancellation;

static void tell(char sign, struct backstep_context *context)
{
    size_t used = strlen(story);
    snprintf(story + used, sizeof story - used, "%c%s ", sign, backstep_step_name(context));
}

static bool skips(struct backstep_context *context)
{
    return ((const struct behaviour *)backstep_state(context))->skips;
}

static enum backstep_outcome execute(struct backstep_context *context, struct backstep_result *result)
{
    const struct behaviour *behaviour = backstep_state(context);
    tell('+', context);
    backstep_context_set(context, backstep_step_name(context), "%d", (int)strlen(story));
    backstep_result_set_rollback_data(result, "{\"of\": %s}", backstep_quote(context, backstep_step_name(context)));
    if (behaviour->cancels) {
        cancellation_request(&cancellation);
    }
    if (behaviour->fails) {
        return backstep_fail(result, "disk is full");
    }
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome rollback(struct backstep_context *context, const struct backstep_result *done, struct backstep_result *result)
{
    const struct behaviour *behaviour = backstep_state(context);
    const struct backstep_json *of = backstep_json_member(backstep_result_rollback_data(done), "of");
    tell('-', context);
    assert_string_equal(backstep_json_string(of, ""), backstep_step_name(context));
    assert_string_equal(backstep_result_error(done), behaviour->fails ? "disk is full" : "");
    if (behaviour->rollback_fails) {
        return backstep_fail_permanently(result, "cannot undo");
    }
    return backstep_succeed(result, NULL);
}

static const struct row {
    const char *what;
    struct behaviour a, b, c;
    const char *story, *status, *error;
    int code, executed;
    double progress;
} rows[] = {
    {"all succeed in order", {0}, {0}, {0}, "+a +b +c ", "succeeded", NULL, 0, 3, 100},
    {"a skipped step counts in the total only", {0}, {.skips = true}, {0}, "+a +c ", "succeeded", NULL, 0, 2, 100},
    {"the failed step is undone first, then newest to oldest", {0}, {0}, {.fails = true}, "+a +b +c -c -b -a ", "rolled_back",
     "Step 'c' failed: disk is full", 1, 2, 80},
    {"a skipped step is not undone", {0}, {.skips = true}, {.fails = true}, "+a +c -c -a ", "rolled_back",
     "Step 'c' failed: disk is full", 1, 1, 80},
    {"what comes after a failure does not run", {.fails = true}, {0}, {0}, "+a -a ", "rolled_back",
     "Step 'a' failed: disk is full", 1, 0, 0},
    {"a rollback that fails does not stop the others", {0}, {.rollback_fails = true}, {.fails = true}, "+a +b +c -c -b -a ",
     "rollback_incomplete", "Step 'c' failed: disk is full", 3, 2, 80},
    {"a cancel rolls back", {0}, {.cancels = true}, {0}, "+a +b -b -a ", "cancelled", NULL, 4, 2, 20},
};

static int run(const struct backstep_registry *registry, json_t **summary)
{
    struct error error = {0};
    struct arena arena;
    struct plan plan;
    struct text text;
    arena_init(&arena, 1024, MIB);
    text_init(&text, MIB);
    cancellation = (struct cancellation){0};
    story[0] = '\0';
    assert_true(plan_of_registry(registry, "test", &arena, &plan, &error));
    struct in_process_options options = {
        .registry = registry, .plan = &plan, .run_id = "test-1", .params = {"{}", 2}, .cancellation = &cancellation};
    int code = in_process_run(&options, &text);
    *summary = json_loads(text_string(&text), 0, NULL);
    assert_non_null(*summary);
    text_fini(&text);
    arena_fini(&arena);
    cancellation_fini(&cancellation);
    return code;
}

static const char *string_of(const json_t *summary, const char *key)
{
    return json_string_value(json_object_get(summary, key));
}

static void run_row(void **state)
{
    const struct row *row = *state;
    struct behaviour behaviours[] = {row->a, row->b, row->c};
    struct backstep_step steps[3];
    struct backstep_registry *registry = backstep_registry_new();
    static const char *const names[] = {"a", "b", "c"};
    static const double weights[] = {20, 60, 20};
    for (int i = 0; i < 3; i++) {
        steps[i] = (struct backstep_step){.name = names[i],
                                          .weight = weights[i],
                                          .execute = execute,
                                          .rollback = rollback,
                                          .can_skip = skips,
                                          .state = &behaviours[i]};
        assert_true(backstep_register(registry, &steps[i]));
    }
    json_t *summary = NULL;
    assert_int_equal(run(registry, &summary), row->code);
    assert_string_equal(story, row->story);
    assert_string_equal(string_of(summary, "status"), row->status);
    assert_int_equal(json_is_true(json_object_get(summary, "success")), row->code == 0);
    assert_int_equal(json_integer_value(json_object_get(summary, "steps_executed")), row->executed);
    assert_int_equal(json_integer_value(json_object_get(summary, "steps_total")), 3);
    assert_true(json_number_value(json_object_get(summary, "progress")) == row->progress);
    if (row->error != NULL) {
        assert_string_equal(string_of(summary, "error"), row->error);
    }
    json_decref(summary);
    backstep_registry_free(registry);
}

static void an_empty_registry_succeeds(void **state)
{
    (void)state;
    struct backstep_registry *registry = backstep_registry_new();
    json_t *summary = NULL;
    assert_int_equal(run(registry, &summary), 0);
    assert_true(json_is_true(json_object_get(summary, "success")));
    assert_int_equal(json_integer_value(json_object_get(summary, "steps_total")), 0);
    json_decref(summary);
    backstep_registry_free(registry);
}

#define ROWS (sizeof rows / sizeof *rows)

int main(void)
{
    struct CMUnitTest tests[ROWS + 1];
    for (size_t i = 0; i < ROWS; i++) {
        tests[i] = (struct CMUnitTest){.name = rows[i].what, .test_func = run_row, .initial_state = (void *)(uintptr_t)&rows[i]};
    }
    tests[ROWS] = (struct CMUnitTest)cmocka_unit_test(an_empty_registry_succeeds);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
