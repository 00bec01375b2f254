/* SPDX-License-Identifier: Apache-2.0 */
/* Every function of the public headers, told to work on nothing: it does nothing, and says what a failure says. */
#include "worker/backstep_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void no_result_is_a_permanent_failure(void **state)
{
    (void)state;
    assert_int_equal(backstep_succeed(NULL, "{}"), BACKSTEP_FAILED_PERMANENTLY);
    assert_int_equal(backstep_skip(NULL), BACKSTEP_FAILED_PERMANENTLY);
    assert_int_equal(backstep_fail(NULL, "x"), BACKSTEP_FAILED_PERMANENTLY);
    assert_int_equal(backstep_fail_permanently(NULL, "x"), BACKSTEP_FAILED_PERMANENTLY);
    backstep_result_set_data(NULL, "1");
    backstep_result_set_rollback_data(NULL, "1");
    assert_false(backstep_result_merge_data(NULL, "{}"));
    assert_false(backstep_result_success(NULL) || backstep_result_skipped(NULL));
    assert_null(backstep_result_data(NULL));
    assert_null(backstep_result_rollback_data(NULL));
    assert_string_equal(backstep_result_error(NULL), "");
    assert_string_equal(backstep_result_timestamp(NULL), "");
}

static void no_context_knows_nothing_and_takes_nothing(void **state)
{
    (void)state;
    assert_string_equal(backstep_run_id(NULL), "");
    assert_string_equal(backstep_pipeline(NULL), "");
    assert_string_equal(backstep_step_name(NULL), "");
    assert_string_equal(backstep_idempotency_key(NULL), "");
    assert_string_equal(backstep_quote(NULL, "a"), "");
    assert_string_equal(backstep_format(NULL, "a"), "");
    assert_string_equal(backstep_error(NULL), "the context is NULL");
    assert_false(backstep_is_rollback(NULL) || backstep_cancelled(NULL));
    assert_int_equal(backstep_attempt(NULL), 0);
    assert_int_equal(backstep_time_left_ms(NULL), -1);
    assert_int_equal(backstep_cancel_fd(NULL), -1);
    assert_null(backstep_state(NULL));
    assert_null(backstep_errors(NULL));
    assert_null(backstep_param(NULL, "a"));
    assert_null(backstep_input(NULL));
    assert_null(backstep_step_data(NULL, "a"));
    assert_null(backstep_context_get(NULL, "a"));
    assert_null(backstep_context_json(NULL));
    assert_false(backstep_context_set(NULL, "a", "1") || backstep_set_progress(NULL, 1, 2) || backstep_set_metrics(NULL, "{}"));
    assert_false(backstep_log_event(NULL, BACKSTEP_INFO, "x", NULL));
    backstep_log(NULL, "x");
    backstep_log_message(NULL, BACKSTEP_INFO, "x");
}

static void no_json_is_nothing(void **state)
{
    (void)state;
    assert_int_equal(backstep_json_count(NULL), 0);
    assert_null(backstep_json_element(NULL, 0));
    assert_null(backstep_json_member(NULL, NULL));
    assert_true(backstep_json_bool(NULL, true));
    assert_int_equal(backstep_json_integer(NULL, 7), 7);
    assert_string_equal(backstep_json_string(NULL, "o"), "o");
    assert_null(backstep_json_parse(NULL));
    assert_null(backstep_json_parse(""));
    backstep_json_free(NULL);
}

static enum backstep_outcome succeed(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_succeed(result, NULL);
}

static const struct backstep_step sound = {.name = "a", .execute = succeed};

/* Each is a mistake of its own, so each has a registry of its own. */
static const struct row {
    const char *error;
    struct backstep_step step;
} rows[] = {
    {"step '': a name is 1 to 100 of [A-Za-z0-9._-], and begins with a letter or digit", {.name = NULL, .execute = succeed}},
    {"step '': a name is 1 to 100 of [A-Za-z0-9._-], and begins with a letter or digit", {.name = "", .execute = succeed}},
    {"step 'a b': a name is 1 to 100 of [A-Za-z0-9._-], and begins with a letter or digit", {.name = "a b", .execute = succeed}},
    {"step 'a' has no execute", {.name = "a"}},
    {"step 'a': weight must not be negative, and finite; it is -1", {.name = "a", .execute = succeed, .weight = -1}},
    {"step 'a': weight must not be negative, and finite; it is inf", {.name = "a", .execute = succeed, .weight = INFINITY}},
    {"step 'a': weight must not be negative, and finite; it is nan", {.name = "a", .execute = succeed, .weight = NAN}},
    {"step 'a': policy.max_attempts is out of its range", {.name = "a", .execute = succeed, .policy = {.max_attempts = -1}}},
    {"step 'a': policy.multiplier is out of its range", {.name = "a", .execute = succeed, .policy = {.multiplier = NAN}}},
    {"step 'a': with: is an array, not an object", {.name = "a", .execute = succeed, .with = "[]"}},
};

static void an_unsound_step_is_refused_wherever_it_is_put(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct backstep_step first = {.name = "first", .execute = succeed};
        for (int way = 0; way < 4; way++) {
            struct backstep_registry *registry = backstep_registry_new();
            assert_true(backstep_register(registry, &first));
            bool taken = way == 0   ? backstep_register(registry, &rows[i].step)
                         : way == 1 ? backstep_insert_before(registry, "first", &rows[i].step)
                         : way == 2 ? backstep_insert_after(registry, "first", &rows[i].step)
                                    : backstep_replace(registry, "first", &rows[i].step);
            assert_false(taken);
            assert_string_equal(backstep_registry_error(registry), rows[i].error);
            assert_int_equal(backstep_registry_count(registry), 1);
            struct backstep_orchestrator *orchestrator = backstep_orchestrator_new(registry);
            assert_false(backstep_execute(orchestrator, NULL, NULL)); /* a registry with a mistake is not run */
            assert_string_equal(backstep_orchestrator_error(orchestrator), rows[i].error);
            backstep_orchestrator_free(orchestrator);
            backstep_registry_free(registry);
        }
    }
}

static void no_registry_and_no_step_are_said(void **state)
{
    (void)state;
    struct backstep_registry *registry = backstep_registry_new();
    assert_false(backstep_register(NULL, &sound) || backstep_insert_before(NULL, "a", &sound) ||
                 backstep_insert_after(NULL, "a", &sound) || backstep_replace(NULL, "a", &sound) ||
                 backstep_unregister(NULL, "a") || backstep_unregister(registry, NULL));
    assert_string_equal(backstep_registry_error(NULL), "the registry is NULL");
    assert_int_equal(backstep_registry_count(NULL), 0);
    assert_null(backstep_registry_step(NULL, 0));
    assert_null(backstep_registry_find(registry, NULL));
    assert_true(backstep_registry_total_weight(NULL) == 0);
    assert_false(backstep_register(registry, NULL));
    assert_string_equal(backstep_registry_error(registry), "a step is NULL");
    backstep_registry_free(registry);
    backstep_registry_free(NULL);
}

static void no_wrapper_and_nothing_to_wrap_are_said(void **state)
{
    (void)state;
    struct backstep_registry *registry = backstep_registry_new();
    assert_null(backstep_wrap(NULL, NULL, NULL));
    assert_null(backstep_wrap(registry, NULL, &sound));
    assert_string_not_equal(backstep_registry_error(registry), "");
    assert_null(backstep_wrap(registry, &(struct backstep_wrapper){0}, &sound));
    assert_null(backstep_logging(registry, NULL));
    assert_null(backstep_timing(registry, NULL));
    assert_null(backstep_validating(registry, NULL));
    assert_null(backstep_validating(registry, &(struct backstep_validation){0}));
    assert_null(backstep_once(registry, &sound, NULL));
    assert_null(backstep_once(registry, &sound, &(struct backstep_memory){0}));
    assert_null(backstep_faulty(registry, NULL, NULL));
    assert_null(backstep_logging(NULL, &sound));
    assert_int_equal(backstep_proceed(NULL), BACKSTEP_FAILED_PERMANENTLY);
    assert_null(backstep_call_state(NULL));
    assert_null(backstep_call_step(NULL));
    assert_null(backstep_call_done(NULL));
    backstep_registry_free(registry);
}

static void no_orchestrator_runs_nothing(void **state)
{
    (void)state;
    assert_null(backstep_orchestrator_new(NULL));
    backstep_orchestrator_free(NULL);
    backstep_orchestrator_set_name(NULL, "a");
    backstep_orchestrator_before_step(NULL, NULL, NULL);
    backstep_orchestrator_on_progress(NULL, NULL, NULL);
    backstep_orchestrator_on_log(NULL, NULL, NULL);
    backstep_orchestrator_cancel(NULL);
    assert_false(backstep_execute(NULL, NULL, NULL));
    assert_int_equal(backstep_orchestrator_status(NULL), BACKSTEP_RUN_NONE);
    assert_int_equal(backstep_orchestrator_steps_executed(NULL) + backstep_orchestrator_steps_total(NULL), 0);
    assert_true(backstep_orchestrator_percent(NULL) == 0);
    assert_string_equal(backstep_orchestrator_run_id(NULL), "");
    assert_string_equal(backstep_orchestrator_error(NULL), "the orchestrator is NULL");
    assert_string_equal(backstep_orchestrator_result(NULL), "");
    assert_string_equal(backstep_orchestrator_history(NULL), "");
    assert_null(backstep_orchestrator_data(NULL, "a"));
}

static void no_action_and_no_pipeline_of_them(void **state)
{
    (void)state;
    struct backstep_registry *registry = backstep_registry_new();
    assert_false(backstep_action_setup(NULL, NULL, NULL));
    assert_false(backstep_action_setup(&(struct backstep_action){0}, registry, NULL));
    assert_string_equal(backstep_registry_error(registry), "the action is NULL, or says nothing of its steps");
    backstep_registry_free(registry);
    backstep_actions_on_progress(NULL, NULL, NULL);
    backstep_actions_cancel(NULL);
    assert_false(backstep_actions_resume(NULL) || backstep_actions_roll_back(NULL) || backstep_actions_start(NULL, NULL, NULL));
    assert_true(backstep_actions_wait(NULL, -1));
    assert_int_equal(backstep_actions_status(NULL), BACKSTEP_RUN_NONE);
    assert_true(backstep_actions_percent(NULL) == 0);
    assert_string_equal(backstep_actions_current(NULL), "");
    assert_string_equal(backstep_actions_error(NULL), "");
    assert_string_equal(backstep_actions_result(NULL), "");
    assert_null(backstep_actions_data(NULL, "a"));
}

static void no_test_tests_nothing(void **state)
{
    (void)state;
    assert_null(backstep_test_new(NULL));
    assert_null(backstep_test_new_action(NULL, NULL));
    backstep_test_set_params(NULL, NULL);
    backstep_test_fail_call(NULL, 1, NULL);
    backstep_test_fail_step(NULL, "a", 1, NULL);
    backstep_test_fail_rollback(NULL, "a", 1, NULL);
    backstep_test_cancel_at(NULL, 1);
    backstep_test_pass_ms(NULL, 1);
    assert_false(backstep_test_run(NULL));
    assert_int_equal(backstep_test_status(NULL), BACKSTEP_RUN_NONE);
    assert_int_equal(backstep_test_calls(NULL) + backstep_test_elapsed_ms(NULL), 0);
    assert_string_equal(backstep_test_history(NULL), "");
    assert_string_equal(backstep_test_error(NULL), "the test is NULL");
    assert_string_equal(backstep_test_result(NULL), "");
    assert_string_equal(backstep_test_log(NULL), "");
    assert_null(backstep_test_data(NULL, "a"));
    assert_null(backstep_test_step(NULL, "a", NULL));
    backstep_test_free(NULL);
}

static void a_test_refuses_a_context_that_is_none(void **state)
{
    (void)state;
    struct backstep_registry *registry = backstep_registry_new();
    assert_true(backstep_register(registry, &sound));
    struct backstep_test *test = backstep_test_new(registry);
    assert_null(backstep_test_step(test, NULL, NULL));
    assert_null(backstep_test_step(test, "b", NULL));
    assert_null(backstep_test_step(test, "a", "["));
    assert_null(backstep_test_step(test, "a", "[]"));
    assert_non_null(
        backstep_test_step(test, "a", "{\"steps\": 3, \"attempt\": \"x\", \"result\": [], \"params\": 7, \"input\": null}"));
    backstep_test_free(test);
    backstep_registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_result_is_a_permanent_failure),
        cmocka_unit_test(no_context_knows_nothing_and_takes_nothing),
        cmocka_unit_test(no_json_is_nothing),
        cmocka_unit_test(an_unsound_step_is_refused_wherever_it_is_put),
        cmocka_unit_test(no_registry_and_no_step_are_said),
        cmocka_unit_test(no_wrapper_and_nothing_to_wrap_are_said),
        cmocka_unit_test(no_orchestrator_runs_nothing),
        cmocka_unit_test(no_action_and_no_pipeline_of_them),
        cmocka_unit_test(no_test_tests_nothing),
        cmocka_unit_test(a_test_refuses_a_context_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
