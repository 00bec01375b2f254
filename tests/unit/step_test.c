/* SPDX-License-Identifier: Apache-2.0 */
/* Registry, context and result, as a step sees them. */
#include "common/limits.h"
#include "worker/attempt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- the registry */

static enum backstep_outcome nothing(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_succeed(result, NULL);
}

static void steps_stand_in_the_order_of_registration(void **state)
{
    (void)state;
    static const struct backstep_step a = {.name = "a", .weight = 20, .execute = nothing};
    static const struct backstep_step b = {.name = "b", .weight = 80, .execute = nothing};
    struct backstep_registry *registry = backstep_registry_new();
    assert_true(backstep_register(registry, &a));
    assert_true(backstep_register(registry, &b));
    assert_int_equal(backstep_registry_count(registry), 2);
    assert_ptr_equal(backstep_registry_step(registry, 1), &b);
    assert_ptr_equal(backstep_registry_find(registry, "a"), &a);
    assert_null(backstep_registry_find(registry, "c"));
    assert_null(backstep_registry_step(registry, 2));
    assert_null(backstep_registry_step(registry, -1));
    assert_true(backstep_registry_total_weight(registry) == 100);
    assert_true(backstep_unregister(registry, "a"));
    assert_false(backstep_unregister(registry, "a"));
    assert_ptr_equal(backstep_registry_step(registry, 0), &b);
    assert_string_equal(backstep_registry_error(registry), "");
    backstep_registry_free(registry);
}

static const struct refused {
    struct backstep_step step;
    const char *error;
} refused[] = {
    {{.name = "a", .execute = nothing}, "step 'a' is registered already"},
    {{.execute = nothing}, "step '': a name is"},
    {{.name = "", .execute = nothing}, "step '': a name is"},
    {{.name = "-a", .execute = nothing}, "step '-a': a name is"},
    {{.name = "a b", .execute = nothing}, "step 'a b': a name is"},
    {{.name = "b"}, "step 'b' has no execute"},
    {{.name = "b", .execute = nothing, .weight = -1}, "step 'b': weight must not be negative"},
    {{.name = "b", .execute = nothing, .weight = INFINITY}, "step 'b': weight must not be negative"},
    {{.name = "b", .execute = nothing, .weight = NAN}, "step 'b': weight must not be negative"},
    {{.name = "b", .execute = nothing, .with = "[1]"}, "step 'b': with: is an array, not an object"},
    {{.name = "b", .execute = nothing, .policy = {.max_attempts = -1}}, "step 'b': policy.max_attempts is out of its range"},
    {{.name = "b", .execute = nothing, .policy = {.max_losses = 1001}}, "step 'b': policy.max_losses is out of its range"},
    {{.name = "b", .execute = nothing, .policy = {.multiplier = 0.5}}, "step 'b': policy.multiplier is out of its range"},
    {{.name = "b", .execute = nothing, .policy = {.multiplier = NAN}}, "step 'b': policy.multiplier is out of its range"},
    {{.name = "b", .execute = nothing, .policy = {.timeout_ms = INT64_MAX}}, "step 'b': policy.timeout_ms is out of its range"},
};

static void an_unsound_step_is_refused_and_the_first_reason_is_kept(void **state)
{
    (void)state;
    static const struct backstep_step a = {.name = "a", .execute = nothing};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct backstep_registry *registry = backstep_registry_new();
        assert_true(backstep_register(registry, &a));
        assert_false(backstep_register(registry, &refused[i].step));
        assert_non_null(strstr(backstep_registry_error(registry), refused[i].error));
        assert_false(backstep_register(registry, &(struct backstep_step){0}));
        assert_non_null(strstr(backstep_registry_error(registry), refused[i].error));
        assert_int_equal(backstep_registry_count(registry), 1);
        backstep_registry_free(registry);
    }
}

static const char *order_of(const struct backstep_registry *registry)
{
    static char order[64];
    order[0] = '\0';
    for (int i = 0; i < backstep_registry_count(registry); i++) {
        strcat(order, backstep_registry_step(registry, i)->name);
    }
    return order;
}

static void steps_are_put_before_after_and_in_the_place_of_others(void **state)
{
    (void)state;
    static const struct backstep_step a = {.name = "a", .execute = nothing}, b = {.name = "b", .execute = nothing},
                                      c = {.name = "c", .execute = nothing}, d = {.name = "d", .execute = nothing};
    struct backstep_registry *registry = backstep_registry_new();
    assert_true(backstep_register(registry, &b));
    assert_true(backstep_insert_before(registry, "b", &a));
    assert_true(backstep_insert_after(registry, "b", &d));
    assert_true(backstep_insert_after(registry, "b", &c));
    assert_string_equal(order_of(registry), "abcd");
    assert_true(backstep_unregister(registry, "b"));
    assert_true(backstep_replace(registry, "c", &b));
    assert_string_equal(order_of(registry), "abd");
    assert_true(backstep_replace(registry, "b", &b)); /* by itself */
    assert_string_equal(backstep_registry_error(registry), "");
    assert_false(backstep_replace(registry, "b", &a));
    assert_string_equal(backstep_registry_error(registry), "step 'a' is registered already");
    backstep_registry_free(registry);
}

static void a_place_that_is_not_there_is_named(void **state)
{
    (void)state;
    static const struct backstep_step a = {.name = "a", .execute = nothing};
    bool (*const calls[])(struct backstep_registry *, const char *,
                          const struct backstep_step *) = {backstep_insert_before, backstep_insert_after, backstep_replace};
    for (size_t i = 0; i < 3; i++) {
        struct backstep_registry *registry = backstep_registry_new();
        assert_false(calls[i](registry, "x", &a));
        assert_string_equal(backstep_registry_error(registry), "Step 'x' not found");
        assert_false(calls[i](registry, NULL, NULL));
        assert_false(calls[i](NULL, "x", &a));
        assert_int_equal(backstep_registry_count(registry), 0);
        backstep_registry_free(registry);
    }
    assert_false(backstep_register(NULL, &a));
    assert_false(backstep_unregister(NULL, "a"));
    assert_null(backstep_registry_find(NULL, "a"));
    assert_string_equal(backstep_registry_error(NULL), "the registry is NULL");
}

/* ---------------------------------------------------------------- one attempt */

struct seen {
    uint64_t current, total;
    char metrics[256];
};

static void see(void *state, uint64_t current, uint64_t total, struct span metrics)
{
    struct seen *seen = state;
    seen->current = total > 0 ? current : seen->current;
    seen->total = total > 0 ? total : seen->total;
    snprintf(seen->metrics, sizeof seen->metrics, "%.*s", SPAN_ARGS(metrics));
}

#define SPAN(text)                                                                                                                 \
    {                                                                                                                              \
        text, sizeof(text) - 1                                                                                                     \
    }

static const struct step_result earlier[] = {
    {.step = SPAN("load data"), .success = true, .data = SPAN("{\"n\": 3}")},
    {.step = SPAN("cache"), .success = true, .skipped = true},
    {.step = SPAN("silent"), .success = true},
};
static const struct span sets[] = {SPAN("{\"a\": 1, \"b\": 1}"), SPAN("{\"b\": 2}")};
static const struct step_result undone = {
    .step = SPAN("it"), .data = SPAN("{\"d\": 1}"), .rollback_data = SPAN("{\"r\": 2}"), .error = SPAN("disk is full")};

static struct task task_towards(enum direction direction)
{
    return (struct task){.run_id = SPAN("run-1"),
                         .ticket = {.step = 3, .direction = direction, .number = 2},
                         .pipeline = SPAN("p"),
                         .step = SPAN("Do \"it\""),
                         .handler = SPAN("it"),
                         .attempt = 2,
                         .input = SPAN("{\"max\": 5}"),
                         .params = SPAN("{\"source\": \"photos\"}"),
                         .results = earlier,
                         .result_count = 3,
                         .sets = sets,
                         .set_count = 2,
                         .result = direction == DIRECTION_ROLLBACK ? &undone : NULL};
}

typedef enum backstep_outcome (*execute_function)(struct backstep_context *context, struct backstep_result *result);

static struct attempt attempt_of(execute_function execute, struct seen *seen)
{
    struct attempt attempt = {0};
    struct cancellation cancellation = {0};
    struct task task = task_towards(DIRECTION_EXECUTE);
    struct backstep_step step = {.name = "it", .execute = execute};
    attempt_run(&attempt, &task, &step, &cancellation, &(struct context_listener){.progressed = see, .state = seen});
    cancellation_fini(&cancellation);
    return attempt;
}

static enum backstep_outcome read_all(struct backstep_context *context, struct backstep_result *result)
{
    assert_string_equal(backstep_run_id(context), "run-1");
    assert_string_equal(backstep_pipeline(context), "p");
    assert_string_equal(backstep_step_name(context), "Do \"it\"");
    assert_string_equal(backstep_idempotency_key(context), "run-1/Do \"it\"/0/execute");
    assert_int_equal(backstep_attempt(context), 2);
    assert_false(backstep_is_rollback(context));
    assert_string_equal(backstep_json_string(backstep_param(context, "source"), ""), "photos");
    assert_int_equal(backstep_json_integer(backstep_json_member(backstep_input(context), "max"), 0), 5);
    assert_int_equal(backstep_json_integer(backstep_json_member(backstep_step_data(context, "load data"), "n"), 0), 3);
    assert_null(backstep_step_data(context, "cache"));
    assert_null(backstep_step_data(context, "nobody"));
    assert_non_null(backstep_step_data(context, "silent"));
    assert_int_equal(backstep_json_integer(backstep_context_get(context, "a"), 0), 1);
    assert_int_equal(backstep_json_integer(backstep_context_get(context, "b"), 0), 2);
    assert_true(backstep_context_set(context, "b", "%d", 3));
    assert_int_equal(backstep_json_integer(backstep_context_get(context, "b"), 0), 3);
    assert_false(backstep_context_set(context, "c", "{broken"));
    assert_non_null(strstr(backstep_error(context), "c: no JSON"));
    assert_string_equal(backstep_quote(context, "a\"b"), "\"a\\\"b\"");
    assert_string_equal(
        backstep_context_json(context),
        "{\"run_id\":\"run-1\",\"pipeline\":\"p\",\"step\":\"Do \\\"it\\\"\",\"direction\":\"execute\",\"attempt\":2,"
        "\"idempotency_key\":\"run-1/Do \\\"it\\\"/0/execute\",\"input\":{\"max\":5},\"params\":{\"source\":\"photos\"},"
        "\"steps\":{\"load data\":{\"n\":3},\"cache\":null,\"silent\":{}},\"shared\":{\"a\":1,\"b\":2},\"result\":null}");
    return backstep_succeed(result, "{\"quoted\": %s}", backstep_quote(context, "x"));
}

static void a_step_reads_what_it_is_told(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct attempt attempt = attempt_of(read_all, &seen);
    assert_int_equal(attempt.outcome, OUTCOME_OK);
    assert_string_equal(attempt.data, "{\"quoted\": \"x\"}");
    assert_string_equal(attempt.set, "{\"b\":3}");
    assert_null(attempt.error);
    attempt_fini(&attempt);
}

static enum backstep_outcome report(struct backstep_context *context, struct backstep_result *result)
{
    assert_false(backstep_set_progress(context, 1, 0));
    assert_string_equal(backstep_error(context), "total must be > 0, got 0");
    assert_false(backstep_set_progress(context, 5, 4));
    assert_string_equal(backstep_error(context), "current must be between 0 and 4, got 5");
    assert_false(backstep_set_progress(context, -1, 4));
    assert_string_equal(backstep_error(context), "current must be between 0 and 4, got -1");
    assert_true(backstep_set_progress(context, 3, 4));
    assert_true(backstep_set_metrics(context, "{\"a\": 1}"));
    assert_true(backstep_set_metrics(context, "{\"b\": 2}"));
    assert_false(backstep_set_metrics(context, "[1]"));
    char big[LIMIT_METRICS_BYTES + 1];
    memset(big, 'x', sizeof big);
    assert_false(backstep_set_metrics(context, "{\"big\": \"%.*s\"}", (int)sizeof big, big));
    assert_string_equal(backstep_error(context), "metrics: more than 4096 bytes");
    return backstep_fail(result, "disk is %s", "full");
}

static void a_step_reports_and_is_told_what_it_may_not(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct attempt attempt = attempt_of(report, &seen);
    assert_int_equal(seen.current, 3);
    assert_int_equal(seen.total, 4);
    assert_string_equal(seen.metrics, "{\"a\":1,\"b\":2}");
    assert_string_equal(attempt.metrics, "{\"a\":1,\"b\":2}");
    assert_int_equal(attempt.outcome, OUTCOME_FAILED);
    assert_false(attempt.permanent);
    assert_string_equal(attempt.error, "disk is full");
    attempt_fini(&attempt);
}

static enum backstep_outcome say_no_json(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_succeed(result, "{broken");
}

static enum backstep_outcome say_too_much(struct backstep_context *context, struct backstep_result *result)
{
    char *big = calloc(1, LIMIT_RESULT_BYTES / 2);
    memset(big, 'x', LIMIT_RESULT_BYTES / 2 - 1);
    backstep_context_set(context, "big", "\"%s\"", big);
    backstep_succeed(result, "\"%s\"", big);
    free(big);
    return BACKSTEP_SUCCEEDED;
}

static enum backstep_outcome say_long_error(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    char big[LIMIT_MESSAGE_BYTES + 100];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    return backstep_fail_permanently(result, "%s", big);
}

static enum backstep_outcome say_nothing(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    (void)result;
    return BACKSTEP_FAILED;
}

static enum backstep_outcome say_what_does_not_exist(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    (void)result;
    return (enum backstep_outcome)77;
}

static const struct broken {
    execute_function execute;
    bool permanent;
    const char *error;
} broken[] = {
    {say_no_json, true, "the step's data: no JSON"},
    {say_too_much, true, "may have 65536 together"},
    {say_long_error, true, "xxx"},
    {say_nothing, false, "the step failed and did not say why"},
    {say_what_does_not_exist, true, "an outcome that does not exist"},
};

static void a_result_that_breaks_a_limit_is_a_failure(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct seen seen = {0};
        struct attempt attempt = attempt_of(broken[i].execute, &seen);
        assert_int_equal(attempt.outcome, OUTCOME_FAILED);
        assert_int_equal(attempt.permanent, broken[i].permanent);
        assert_non_null(strstr(attempt.error, broken[i].error));
        assert_true(strlen(attempt.error) <= LIMIT_MESSAGE_BYTES);
        attempt_fini(&attempt);
    }
}

static bool always(struct backstep_context *context)
{
    return backstep_attempt(context) > 0;
}

static void can_skip_is_asked_before_execute_only(void **state)
{
    (void)state;
    struct cancellation cancellation = {0};
    struct seen seen;
    struct context_listener listener = {.progressed = see, .state = &seen};
    struct backstep_step step = {.name = "it", .execute = report, .can_skip = always};
    struct task forth = task_towards(DIRECTION_EXECUTE), back = task_towards(DIRECTION_ROLLBACK);
    struct attempt attempt = {0};
    attempt_run(&attempt, &forth, &step, &cancellation, &listener);
    assert_int_equal(attempt.outcome, OUTCOME_SKIPPED);
    attempt_fini(&attempt);
    attempt_run(&attempt, &back, &step, &cancellation, &listener); /* and without rollback there is nothing to undo */
    assert_int_equal(attempt.outcome, OUTCOME_SKIPPED);
    attempt_fini(&attempt);
}

static enum backstep_outcome undo(struct backstep_context *context, const struct backstep_result *done,
                                  struct backstep_result *result)
{
    assert_true(backstep_is_rollback(context));
    assert_string_equal(backstep_idempotency_key(context), "run-1/Do \"it\"/0/rollback");
    assert_false(backstep_result_success(done));
    assert_string_equal(backstep_result_error(done), "disk is full");
    assert_int_equal(backstep_json_integer(backstep_json_member(backstep_result_data(done), "d"), 0), 1);
    assert_int_equal(backstep_json_integer(backstep_json_member(backstep_result_rollback_data(done), "r"), 0), 2);
    assert_non_null(strstr(backstep_context_json(context),
                           "\"result\":{\"success\":false,\"data\":{\"d\":1},\"rollback_data\":{\"r\":2},"
                           "\"error\":\"disk is full\"}"));
    return backstep_succeed(result, NULL);
}

static void a_rollback_is_told_what_execute_said(void **state)
{
    (void)state;
    struct cancellation cancellation = {0};
    struct seen seen;
    struct backstep_step step = {.name = "it", .execute = nothing, .rollback = undo};
    struct task back = task_towards(DIRECTION_ROLLBACK);
    struct attempt attempt = {0};
    attempt_run(&attempt, &back, &step, &cancellation, &(struct context_listener){.progressed = see, .state = &seen});
    assert_int_equal(attempt.outcome, OUTCOME_OK);
    attempt_fini(&attempt);
}

static bool is_readable(int fd)
{
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    return poll(&waiting, 1, 0) == 1;
}

static void a_cancel_can_be_waited_for(void **state)
{
    (void)state;
    struct cancellation before = {0}, after = {0};
    int fd = cancellation_fd(&before);
    assert_false(is_readable(fd));
    cancellation_request(&before);
    assert_true(is_readable(fd));
    cancellation_request(&after);
    assert_true(is_readable(cancellation_fd(&after)));
    cancellation_fini(&before);
    cancellation_fini(&after);
}

static enum backstep_outcome fail_of_itself(struct backstep_context *context, struct backstep_result *result)
{
    return backstep_fail(result, backstep_cancelled(context) ? "stopped" : "never");
}

static void a_failure_after_a_cancel_is_a_cancelled_attempt(void **state)
{
    (void)state;
    struct cancellation cancellation = {0};
    struct seen seen;
    struct task task = task_towards(DIRECTION_EXECUTE);
    struct backstep_step fails = {.name = "it", .execute = fail_of_itself}, succeeds = {.name = "it", .execute = nothing};
    struct attempt attempt = {0};
    cancellation_request(&cancellation);
    attempt_run(&attempt, &task, &fails, &cancellation, &(struct context_listener){.progressed = see, .state = &seen});
    assert_int_equal(attempt.outcome, OUTCOME_CANCELLED_STARTED);
    assert_string_equal(attempt.error, "stopped");
    attempt_fini(&attempt);
    attempt_run(&attempt, &task, &succeeds, &cancellation, &(struct context_listener){.progressed = see, .state = &seen});
    assert_int_equal(attempt.outcome, OUTCOME_OK);
    attempt_fini(&attempt);
    cancellation_fini(&cancellation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_stand_in_the_order_of_registration),
        cmocka_unit_test(an_unsound_step_is_refused_and_the_first_reason_is_kept),
        cmocka_unit_test(steps_are_put_before_after_and_in_the_place_of_others),
        cmocka_unit_test(a_place_that_is_not_there_is_named),
        cmocka_unit_test(a_step_reads_what_it_is_told),
        cmocka_unit_test(a_step_reports_and_is_told_what_it_may_not),
        cmocka_unit_test(a_result_that_breaks_a_limit_is_a_failure),
        cmocka_unit_test(can_skip_is_asked_before_execute_only),
        cmocka_unit_test(a_rollback_is_told_what_execute_said),
        cmocka_unit_test(a_cancel_can_be_waited_for),
        cmocka_unit_test(a_failure_after_a_cancel_is_a_cancelled_attempt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
