/* SPDX-License-Identifier: Apache-2.0 */
/* A registry run in process behaves as the seed did: order, weights, skips, rollback newest first, cancel. */
#include "worker/backstep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* What a step of the test does; its state. */
struct behaviour {
    bool fails, skips, rollback_fails, cancels;
};

static char story[512]; /* "+a +b -b -a ": what was called, in order */
static struct backstep_orchestrator *orchestrator;

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
        backstep_orchestrator_cancel(orchestrator);
    }
    if (behaviour->fails) {
        return backstep_fail(result, "disk is full");
    }
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome rollback(struct backstep_context *context, const struct backstep_result *done,
                                      struct backstep_result *result)
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
    {"the failed step is undone first, then newest to oldest",
     {0},
     {0},
     {.fails = true},
     "+a +b +c -c -b -a ",
     "rolled_back",
     "Step 'c' failed: disk is full",
     1,
     2,
     80},
    {"a skipped step is not undone",
     {0},
     {.skips = true},
     {.fails = true},
     "+a +c -c -a ",
     "rolled_back",
     "Step 'c' failed: disk is full",
     1,
     1,
     80},
    {"what comes after a failure does not run",
     {.fails = true},
     {0},
     {0},
     "+a -a ",
     "rolled_back",
     "Step 'a' failed: disk is full",
     1,
     0,
     0},
    {"a rollback that fails does not stop the others",
     {0},
     {.rollback_fails = true},
     {.fails = true},
     "+a +b +c -c -b -a ",
     "rollback_incomplete",
     "Step 'c' failed: disk is full",
     3,
     2,
     80},
    {"a cancel rolls back", {0}, {.cancels = true}, {0}, "+a +b -b -a ", "cancelled", NULL, 4, 2, 20},
};

static int code_of(enum backstep_status status)
{
    static const int codes[] = {[BACKSTEP_RUN_NONE] = 2,
                                [BACKSTEP_RUN_SUCCEEDED] = 0,
                                [BACKSTEP_RUN_ROLLED_BACK] = 1,
                                [BACKSTEP_RUN_ROLLBACK_INCOMPLETE] = 3,
                                [BACKSTEP_RUN_CANCELLED] = 4};
    return codes[status];
}

static int run(const struct backstep_registry *registry, json_t **summary)
{
    story[0] = '\0';
    orchestrator = backstep_orchestrator_new(registry);
    assert_non_null(orchestrator);
    backstep_orchestrator_set_name(orchestrator, "test");
    bool ok = backstep_execute(orchestrator, "test-1", NULL);
    int code = code_of(backstep_orchestrator_status(orchestrator));
    assert_int_equal(ok, code == 0);
    *summary = json_loads(backstep_orchestrator_result(orchestrator), 0, NULL);
    assert_non_null(*summary);
    backstep_orchestrator_free(orchestrator);
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

/* ---------------------------------------------------------------- what the rows do not show */

static const struct backstep_step plain_a = {.name = "a", .weight = 20, .execute = NULL};

static enum backstep_outcome succeed(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome report_four(struct backstep_context *context, struct backstep_result *result)
{
    for (int i = 0; i <= 3; i++) {
        if (i != 2) {
            assert_true(backstep_set_progress(context, i, 4));
        }
    }
    assert_false(backstep_set_progress(context, 0, 0));
    assert_string_equal(backstep_error(context), "total must be > 0, got 0");
    assert_false(backstep_set_progress(context, 5, 4));
    assert_string_equal(backstep_error(context), "current must be between 0 and 4, got 5");
    return backstep_succeed(result, NULL);
}

static double seen[32];
static size_t seen_count;

static void see(void *state, const struct backstep_progress *progress)
{
    assert_ptr_equal(state, seen);
    seen[seen_count++] = progress->percent;
}

static bool never(struct backstep_context *context)
{
    (void)context;
    return true;
}

static void progress_is_weighted_and_a_skipped_step_counts_as_done(void **state)
{
    (void)state;
    struct backstep_step a = {.name = "a", .weight = 20, .execute = succeed};
    struct backstep_step b = {.name = "b", .weight = 60, .execute = report_four};
    struct backstep_step c = {.name = "c", .weight = 20, .execute = succeed};
    static const double all[] = {20, 20, 35, 65, 80, 100}, skipped[] = {20, 80, 100};
    struct backstep_registry *registry = backstep_registry_new();
    assert_true(backstep_register(registry, &a) && backstep_register(registry, &b) && backstep_register(registry, &c));
    struct backstep_orchestrator *o = backstep_orchestrator_new(registry);
    backstep_orchestrator_on_progress(o, see, seen);
    seen_count = 0;
    assert_true(backstep_execute(o, NULL, NULL));
    assert_int_equal(seen_count, 6);
    assert_memory_equal(seen, all, sizeof all);
    b.can_skip = never;
    seen_count = 0;
    assert_true(backstep_execute(o, NULL, NULL)); /* the second execution starts anew */
    assert_int_equal(seen_count, 3);
    assert_memory_equal(seen, skipped, sizeof skipped);
    assert_int_equal(backstep_orchestrator_steps_executed(o), 2);
    assert_int_equal(backstep_orchestrator_steps_total(o), 3);
    assert_true(backstep_orchestrator_percent(o) == 100);
    backstep_orchestrator_free(o);
    backstep_registry_free(registry);
}

static enum backstep_outcome bar_b(void *state, struct backstep_context *context, struct backstep_result *result)
{
    snprintf(story + strlen(story), sizeof story - strlen(story), "?%s ", backstep_step_name(context));
    bool bars = state != NULL && strcmp(backstep_step_name(context), "b") == 0;
    return bars ? backstep_fail(result, "not today") : BACKSTEP_SUCCEEDED;
}

static void a_hook_that_fails_fails_the_step_and_all_is_undone(void **state)
{
    (void)state;
    static struct behaviour well;
    struct backstep_step a = {.name = "a", .execute = execute, .rollback = rollback, .state = &well}, b = a;
    b.name = "b";
    struct backstep_registry *registry = backstep_registry_new();
    assert_true(backstep_register(registry, &a) && backstep_register(registry, &b));
    orchestrator = backstep_orchestrator_new(registry);
    backstep_orchestrator_before_step(orchestrator, bar_b, NULL);
    story[0] = '\0';
    assert_true(backstep_execute(orchestrator, NULL, NULL));
    assert_string_equal(story, "?a +a ?b +b ");
    b.rollback = NULL;
    backstep_replace(registry, "b", &b);
    backstep_orchestrator_before_step(orchestrator, bar_b, &well);
    story[0] = '\0';
    assert_false(backstep_execute(orchestrator, NULL, NULL));
    assert_string_equal(story, "?a +a ?b -a ");
    assert_string_equal(backstep_orchestrator_error(orchestrator), "Step 'b' failed: not today");
    assert_string_equal(backstep_orchestrator_history(orchestrator), "a execute ok\nb execute failed: not today\na rollback ok\n");
    backstep_orchestrator_free(orchestrator);
    backstep_registry_free(registry);
}

static enum backstep_outcome fail_twice(struct backstep_context *context, struct backstep_result *result)
{
    if (backstep_attempt(context) < 3) {
        return backstep_fail(result, "attempt %d", backstep_attempt(context));
    }
    assert_int_equal(backstep_json_integer(backstep_json_member(backstep_input(context), "n"), 0), 7);
    return backstep_succeed(result, "{\"attempt\": %d}", backstep_attempt(context));
}

static enum backstep_outcome run_out_of_time(struct backstep_context *context, struct backstep_result *result)
{
    int64_t left_ms = backstep_time_left_ms(context);
    assert_in_range(left_ms, 0, 20);
    while (!backstep_cancelled(context)) {
        /* busy, until its own time is over */
    }
    assert_int_equal(backstep_time_left_ms(context), 0);
    return backstep_fail(result, "stopped");
}

static void policies_hold_in_process(void **state)
{
    (void)state;
    static const char *const nothing[] = {NULL}, *const both[] = {"a", "b", NULL};
    struct backstep_step a = {
        .name = "a", .execute = fail_twice, .with = "{\"n\": 7}", .needs = nothing, .policy = {.max_attempts = 3, .backoff_ms = 1}};
    struct backstep_step b = {.name = "b", .execute = succeed, .needs = nothing};
    struct backstep_step c = {.name = "c", .execute = run_out_of_time, .needs = both, .policy = {.timeout_ms = 20}};
    struct backstep_registry *registry = backstep_registry_new();
    assert_true(backstep_register(registry, &c) && backstep_register(registry, &a) && backstep_register(registry, &b));
    struct backstep_orchestrator *o = backstep_orchestrator_new(registry);
    assert_false(backstep_execute(o, "x", "{}"));
    assert_string_equal(backstep_orchestrator_history(o), "a execute failed: attempt 1\n"
                                                          "b execute ok\n"
                                                          "a execute failed: attempt 2\n"
                                                          "a execute ok\n"
                                                          "c execute failed: stopped\n");
    assert_string_equal(backstep_orchestrator_error(o), "Step 'c' failed: it did not end within its timeout of 20ms");
    assert_string_equal(backstep_orchestrator_data(o, "a"), "{\"attempt\": 3}");
    assert_null(backstep_orchestrator_data(o, "b"));
    assert_null(backstep_orchestrator_data(o, "nobody"));
    backstep_orchestrator_free(o);
    backstep_registry_free(registry);
}

static const struct wrong {
    const char *what, *run_id, *params, *error;
} wrongs[] = {
    {"an id that is none", "a b", NULL, "run id 'a b' is none"},
    {"parameters that are no JSON", NULL, "{", "params: no JSON"},
    {"parameters that are no object", NULL, "[1]", "params: is an array, not an object"},
};

static void what_cannot_begin_says_why_and_the_next_one_can(void **state)
{
    (void)state;
    struct backstep_step a = {.name = "a", .execute = succeed};
    struct backstep_registry *registry = backstep_registry_new();
    assert_true(backstep_register(registry, &a));
    struct backstep_orchestrator *o = backstep_orchestrator_new(registry);
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        assert_false(backstep_execute(o, wrongs[i].run_id, wrongs[i].params));
        assert_int_equal(backstep_orchestrator_status(o), BACKSTEP_RUN_NONE);
        assert_non_null(strstr(backstep_orchestrator_error(o), wrongs[i].error));
        assert_true(backstep_execute(o, NULL, NULL));
        assert_string_equal(backstep_orchestrator_error(o), "");
    }
    assert_false(backstep_register(registry, &plain_a));
    assert_false(backstep_execute(o, NULL, NULL));
    assert_non_null(strstr(backstep_orchestrator_error(o), "step 'a' has no execute"));
    backstep_orchestrator_free(o);
    backstep_registry_free(registry);
    assert_null(backstep_orchestrator_new(NULL));
    assert_false(backstep_execute(NULL, NULL, NULL));
    backstep_orchestrator_free(NULL);
}

static void needs_of_nobody_or_in_a_circle_are_refused(void **state)
{
    (void)state;
    static const char *const nobody[] = {"nobody", NULL}, *const itself[] = {"a", NULL};
    static const struct {
        const char *const *needs;
        const char *error;
    } rows_of_needs[] = {{nobody, "step 'a' needs 'nobody', which is not registered"}, {itself, "its needs form a cycle"}};
    for (size_t i = 0; i < 2; i++) {
        struct backstep_step a = {.name = "a", .execute = succeed, .needs = rows_of_needs[i].needs};
        struct backstep_registry *registry = backstep_registry_new();
        assert_true(backstep_register(registry, &a));
        struct backstep_orchestrator *o = backstep_orchestrator_new(registry);
        assert_false(backstep_execute(o, NULL, NULL));
        assert_non_null(strstr(backstep_orchestrator_error(o), rows_of_needs[i].error));
        backstep_orchestrator_free(o);
        backstep_registry_free(registry);
    }
}

static enum backstep_outcome fail_and_wait(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_fail(result, "again in an hour");
}

static void *cancel_soon(void *o)
{
    /* Whether it comes before, between or after attempts: it ends the run. */
    for (int i = 0; i < 1000; i++) {
        backstep_orchestrator_cancel(o);
    }
    return NULL;
}

static enum backstep_outcome let_it_be_cancelled(void *state, struct backstep_context *context, struct backstep_result *result)
{
    pthread_t thread;
    (void)context;
    (void)result;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, state), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return BACKSTEP_SUCCEEDED;
}

static void a_cancel_from_another_thread_ends_a_wait_for_a_retry(void **state)
{
    (void)state;
    struct backstep_step a = {.name = "a", .execute = fail_and_wait, .policy = {.max_attempts = 2, .backoff_ms = 3600000}};
    struct backstep_registry *registry = backstep_registry_new();
    assert_true(backstep_register(registry, &a));
    struct backstep_orchestrator *o = backstep_orchestrator_new(registry);
    backstep_orchestrator_before_step(o, let_it_be_cancelled, o);
    assert_false(backstep_execute(o, NULL, NULL));
    assert_int_equal(backstep_orchestrator_status(o), BACKSTEP_RUN_CANCELLED);
    backstep_orchestrator_free(o);
    backstep_registry_free(registry);
}

static char log_lines[512];

static void keep_log(void *state, enum backstep_level level, const char *event, const char *text)
{
    (void)state;
    snprintf(log_lines + strlen(log_lines), sizeof log_lines - strlen(log_lines), "%d %s %s\n", (int)level,
             event != NULL ? event : "-", text);
}

static enum backstep_outcome log_things(struct backstep_context *context, struct backstep_result *result)
{
    backstep_log(context, "one of %d", 2);
    backstep_log_message(context, BACKSTEP_ERROR, "two");
    assert_true(backstep_log_event(context, BACKSTEP_WARN, "file_stored", "{\"n\": %d}", 3));
    assert_false(backstep_log_event(context, BACKSTEP_WARN, "odd", "[3]"));
    return backstep_succeed(result, NULL);
}

static void what_a_step_logs_can_be_listened_to(void **state)
{
    (void)state;
    struct backstep_step a = {.name = "a", .execute = log_things};
    struct backstep_registry *registry = backstep_registry_new();
    assert_true(backstep_register(registry, &a));
    struct backstep_orchestrator *o = backstep_orchestrator_new(registry);
    backstep_orchestrator_on_log(o, keep_log, NULL);
    assert_true(backstep_execute(o, NULL, NULL));
    assert_string_equal(log_lines, "1 - one of 2\n3 - two\n2 file_stored {\"n\":3}\n2 odd \n");
    backstep_orchestrator_free(o);
    backstep_registry_free(registry);
}

static int called;

static enum backstep_outcome execute_itself(struct backstep_context *context, struct backstep_result *result)
{
    called++;
    assert_false(backstep_execute(backstep_state(context), NULL, NULL));
    return backstep_succeed(result, NULL);
}

static void a_step_cannot_execute_the_run_it_is_part_of(void **state)
{
    (void)state;
    struct backstep_registry *registry = backstep_registry_new();
    struct backstep_orchestrator *o = backstep_orchestrator_new(registry);
    struct backstep_step a = {.name = "a", .execute = execute_itself, .state = o};
    assert_true(backstep_register(registry, &a));
    assert_true(backstep_execute(o, NULL, NULL));
    assert_int_equal(called, 1);
    backstep_orchestrator_free(o);
    backstep_registry_free(registry);
}

/* Data nested as deep as `state` says. */
static enum backstep_outcome nest(struct backstep_context *context, struct backstep_result *result)
{
    char open[200] = {0}, close[200] = {0};
    size_t depth = (size_t) * (const int *)backstep_state(context);
    memset(open, '[', depth);
    memset(close, ']', depth);
    return backstep_succeed(result, "%s%s", open, close);
}

static enum backstep_outcome look_around(struct backstep_context *context, struct backstep_result *result)
{
    const struct backstep_json *all = backstep_json_parse(backstep_context_json(context));
    assert_int_equal(backstep_json_count(backstep_json_member(backstep_json_member(all, "steps"), "a")), 1);
    backstep_json_free(all);
    return backstep_succeed(result, NULL);
}

static void what_holds_the_deepest_data_can_be_parsed_too(void **state)
{
    (void)state;
    int depth = 128;
    struct backstep_step a = {.name = "a", .execute = nest, .state = &depth}, b = {.name = "b", .execute = look_around};
    struct backstep_registry *registry = backstep_registry_new();
    assert_true(backstep_register(registry, &a) && backstep_register(registry, &b));
    struct backstep_orchestrator *o = backstep_orchestrator_new(registry);
    assert_true(backstep_execute(o, NULL, NULL));
    const struct backstep_json *result = backstep_json_parse(backstep_orchestrator_result(o));
    const struct backstep_json *step = backstep_json_element(backstep_json_member(result, "steps"), 0);
    assert_int_equal(backstep_json_count(backstep_json_member(step, "data")), 1);
    backstep_json_free(result);
    depth = 129;
    assert_false(backstep_execute(o, NULL, NULL));
    assert_string_equal(backstep_orchestrator_error(o), "Step 'a' failed: the step's data: JSON nested deeper than 128");
    backstep_orchestrator_free(o);
    backstep_registry_free(registry);
}

#define ROWS (sizeof rows / sizeof *rows)

int main(void)
{
    const struct CMUnitTest others[] = {
        cmocka_unit_test(an_empty_registry_succeeds),
        cmocka_unit_test(progress_is_weighted_and_a_skipped_step_counts_as_done),
        cmocka_unit_test(a_hook_that_fails_fails_the_step_and_all_is_undone),
        cmocka_unit_test(policies_hold_in_process),
        cmocka_unit_test(what_cannot_begin_says_why_and_the_next_one_can),
        cmocka_unit_test(needs_of_nobody_or_in_a_circle_are_refused),
        cmocka_unit_test(a_cancel_from_another_thread_ends_a_wait_for_a_retry),
        cmocka_unit_test(what_a_step_logs_can_be_listened_to),
        cmocka_unit_test(a_step_cannot_execute_the_run_it_is_part_of),
        cmocka_unit_test(what_holds_the_deepest_data_can_be_parsed_too),
    };
    struct CMUnitTest tests[ROWS + sizeof others / sizeof *others];
    for (size_t i = 0; i < ROWS; i++) {
        tests[i] = (struct CMUnitTest){.name = rows[i].what, .test_func = run_row, .initial_state = (void *)(uintptr_t)&rows[i]};
    }
    memcpy(tests + ROWS, others, sizeof others);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
