/* SPDX-License-Identifier: Apache-2.0 */
/* An action and its tests, with cmocka and the test kit: whatever fails, nothing is left; waits pass at once.
 *
 * pkg-config: cmocka
 *     tested                        runs the tests */
#include <backstep_test.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- the action: take seats, then pay for them. `state` of its steps is the hall */

struct hall {
    int free, paid;
};
static struct hall hall;

static enum backstep_outcome reserve(struct backstep_context *context, struct backstep_result *result)
{
    struct hall *seats = backstep_state(context);
    int wanted = (int)backstep_json_integer(backstep_param(context, "seats"), 1);
    if (wanted > seats->free) {
        return backstep_fail_permanently(result, "%d seats are wanted, %d are free", wanted, seats->free);
    }
    seats->free -= wanted;
    backstep_result_set_rollback_data(result, "{\"taken\": %d}", wanted);
    return backstep_succeed(result, "{\"seats\": %d}", wanted);
}

static enum backstep_outcome give_back(struct backstep_context *context, const struct backstep_result *done,
                                       struct backstep_result *result)
{
    struct hall *seats = backstep_state(context);
    seats->free += (int)backstep_json_integer(backstep_json_member(backstep_result_rollback_data(done), "taken"), 0);
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome pay(struct backstep_context *context, struct backstep_result *result)
{
    struct hall *seats = backstep_state(context);
    seats->paid += (int)backstep_json_integer(backstep_json_member(backstep_step_data(context, "reserve"), "seats"), 0);
    return backstep_succeed(result, NULL);
}

static const struct backstep_step reserve_step = {.name = "reserve", .execute = reserve, .rollback = give_back, .state = &hall};
static const struct backstep_step pay_step = {
    .name = "pay", .execute = pay, .state = &hall, .policy = {.max_attempts = 3, .backoff_ms = 60000}};

static void booking_steps(const struct backstep_action *action, struct backstep_registry *registry,
                          const struct backstep_json *params)
{
    (void)action, (void)params;
    backstep_register(registry, &reserve_step);
    backstep_register(registry, &pay_step);
}

static const struct backstep_action booking = {.name = "booking", .default_steps = booking_steps};

/* ---- its tests */

static int open_hall(void **state)
{
    hall = (struct hall){.free = 10};
    *state = backstep_test_new_action(&booking, "{\"seats\": 3}");
    return *state != NULL ? 0 : -1;
}

static int close_hall(void **state)
{
    backstep_test_free(*state);
    return 0;
}

static void seats_are_taken_and_paid(void **state)
{
    assert_true(backstep_test_run(*state));
    assert_string_equal(backstep_test_history(*state), "reserve execute ok\npay execute ok\n");
    assert_int_equal(hall.free, 7);
    assert_int_equal(hall.paid, 3);
}

static void a_bank_that_is_away_is_asked_again(void **state)
{
    backstep_test_fail_step(*state, "pay", 2, "the bank is away");
    assert_true(backstep_test_run(*state));
    assert_true(backstep_test_elapsed_ms(*state) >= 120000); /* a minute each, on virtual time */
    assert_int_equal(hall.paid, 3);
}

static void whichever_call_fails_no_seat_is_lost(void **state)
{
    for (int call = 1; call <= 2; call++) {
        backstep_test_fail_call(*state, call, "no luck");
        backstep_test_fail_step(*state, "pay", 3, "no luck");
        assert_false(backstep_test_run(*state));
        assert_int_equal(hall.free, 10);
    }
}

static void a_step_is_tested_alone(void **state)
{
    hall.free = 7;
    const char *said = backstep_test_step(*state, "reserve", "{\"params\": {\"seats\": 8}}");
    const struct backstep_json *json = backstep_json_parse(said);
    assert_string_equal(backstep_json_string(backstep_json_member(json, "error"), ""), "8 seats are wanted, 7 are free");
    assert_true(backstep_json_bool(backstep_json_member(json, "permanent"), false));
    backstep_json_free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(seats_are_taken_and_paid, open_hall, close_hall),
        cmocka_unit_test_setup_teardown(a_bank_that_is_away_is_asked_again, open_hall, close_hall),
        cmocka_unit_test_setup_teardown(whichever_call_fails_no_seat_is_lost, open_hall, close_hall),
        cmocka_unit_test_setup_teardown(a_step_is_tested_alone, open_hall, close_hall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
