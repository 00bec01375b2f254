/* SPDX-License-Identifier: Apache-2.0 */
/* The test kit makes any call fail, on virtual time, and says what happened. */
#include "worker/backstep_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static int things; /* what the steps have made; nothing must be left after a run that fails */

static enum backstep_outcome make(struct backstep_context *context, struct backstep_result *result)
{
    things++;
    backstep_log(context, "made");
    return backstep_succeed(result, "{\"color\": %s}",
                            backstep_quote(context, backstep_json_string(backstep_param(context, "color"), "none")));
}

static enum backstep_outcome unmake(struct backstep_context *context, const struct backstep_result *done,
                                    struct backstep_result *result)
{
    (void)context;
    things -= backstep_result_success(done);
    return backstep_succeed(result, NULL);
}

static const struct backstep_param_spec params[] = {{.name = "color"}, {0}};

static void steps(const struct backstep_action *action, struct backstep_registry *registry, const struct backstep_json *json)
{
    static const struct backstep_step a = {.name = "a", .execute = make, .rollback = unmake};
    static const struct backstep_step b = {
        .name = "b", .execute = make, .rollback = unmake, .policy = {.max_attempts = 3, .backoff_ms = 60000}};
    (void)action;
    assert_non_null(json);
    backstep_register(registry, &a);
    backstep_register(registry, &b);
}

static const struct backstep_action action = {.name = "makes", .params = params, .default_steps = steps};

static void a_step_that_fails_at_first_is_tried_again_on_virtual_time(void **state)
{
    (void)state;
    struct backstep_test *test = backstep_test_new_action(&action, "{\"color\": \"red\"}");
    things = 0;
    backstep_test_fail_step(test, "b", 2, "no luck");
    assert_true(backstep_test_run(test));
    assert_string_equal(backstep_test_history(test),
                        "a execute ok\nb execute failed: no luck\nb execute failed: no luck\nb execute ok\n");
    assert_true(backstep_test_elapsed_ms(test) >= 60000 && backstep_test_elapsed_ms(test) < 200000);
    assert_int_equal(backstep_test_calls(test), 4);
    assert_string_equal(backstep_test_data(test, "a"), "{\"color\": \"red\"}");
    assert_string_equal(backstep_test_log(test), "info made\ninfo made\n");
    assert_int_equal(things, 2);
    backstep_test_free(test);
}

static void whichever_call_fails_nothing_is_left(void **state)
{
    (void)state;
    struct backstep_registry *registry = backstep_registry_new();
    static const struct backstep_step a = {.name = "a", .execute = make, .rollback = unmake},
                                      b = {.name = "b", .execute = make, .rollback = unmake};
    assert_true(backstep_register(registry, &a) && backstep_register(registry, &b));
    struct backstep_test *test = backstep_test_new(registry);
    things = 0;
    assert_true(backstep_test_run(test));
    int calls = backstep_test_calls(test);
    assert_int_equal(calls, 2);
    for (int n = 1; n <= calls; n++) {
        things = 0;
        backstep_test_fail_call(test, n, "no luck");
        assert_false(backstep_test_run(test));
        assert_int_equal(backstep_test_status(test), BACKSTEP_RUN_ROLLED_BACK);
        assert_int_equal(things, 0);
    }
    assert_string_equal(backstep_test_history(test), "a execute ok\nb execute failed: no luck\nb rollback ok\na rollback ok\n");
    assert_string_equal(backstep_test_error(test), "Step 'b' failed: no luck");
    assert_true(backstep_test_run(test)); /* trouble is for one run only */
    backstep_test_cancel_at(test, 2);
    assert_false(backstep_test_run(test));
    assert_int_equal(backstep_test_status(test), BACKSTEP_RUN_CANCELLED);
    backstep_test_fail_call(test, 2, NULL);
    backstep_test_fail_rollback(test, "a", 100, "stuck");
    assert_false(backstep_test_run(test));
    assert_int_equal(backstep_test_status(test), BACKSTEP_RUN_ROLLBACK_INCOMPLETE);
    backstep_test_free(test);
    backstep_registry_free(registry);
}

static void one_step_is_called_on_its_own(void **state)
{
    (void)state;
    struct backstep_test *test = backstep_test_new_action(&action, NULL);
    assert_non_null(strstr(backstep_test_step(test, "a", "{\"params\": {\"color\": \"blue\"}}"),
                           "{\"outcome\":\"ok\",\"permanent\":false,\"data\":{\"color\": \"blue\"}"));
    assert_non_null(strstr(backstep_test_step(test, "a", "{\"direction\": \"rollback\"}"), "\"outcome\":\"ok\""));
    assert_null(backstep_test_step(test, "nobody", NULL));
    assert_null(backstep_test_step(test, "a", "[]"));
    assert_null(backstep_test_step(test, "a", "{"));
    backstep_test_free(test);
}

static void what_cannot_be_tested_is_nothing(void **state)
{
    (void)state;
    static const struct backstep_action nothing;
    assert_null(backstep_test_new(NULL));
    assert_null(backstep_test_new_action(NULL, NULL));
    assert_null(backstep_test_new_action(&nothing, NULL));
    assert_null(backstep_test_new_action(&action, "no JSON"));
    backstep_test_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_that_fails_at_first_is_tried_again_on_virtual_time),
        cmocka_unit_test(whichever_call_fails_nothing_is_left),
        cmocka_unit_test(one_step_is_called_on_its_own),
        cmocka_unit_test(what_cannot_be_tested_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
