/* SPDX-License-Identifier: Apache-2.0 */
/* The test kit of libbackstep: drive one step, or all of a registry or an action, in memory and on virtual time, and see what happened. It goes
 * with any test framework; with cmocka:
 *
 *     struct backstep_test *test = backstep_test_new_action(&upload, "{\"source\": \"photos\"}");
 *     backstep_test_run(test);
 *     for (int n = 1, calls = backstep_test_calls(test); n <= calls; n++) { // each call of a step fails once
 *         backstep_test_fail_call(test, n, "no luck");
 *         assert_false(backstep_test_run(test));
 *         assert_store_is_empty();
 *     }
 *     assert_string_equal(backstep_test_history(test), "init execute ok\n" ...);
 *     backstep_test_free(test);
 *
 * Rules are those of backstep.h. What is given out lives until the next run or call. A test belongs to one thread. */
#ifndef BACKSTEP_TEST_H
#define BACKSTEP_TEST_H

#include "backstep.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- a test, and what it is of */

struct backstep_test;

/* Of a registry, which must outlive it; of an action, set up with `params` (a JSON object; NULL: {}), which its runs are given too. The caller
 * owes backstep_test_free(). NULL: memory is out, or an argument is NULL or unsound. */
struct backstep_test *backstep_test_new(const struct backstep_registry *registry);
struct backstep_test *backstep_test_new_action(const struct backstep_action *action, const char *params);
void backstep_test_free(struct backstep_test *test); /* NULL is fine */

/* What the next runs are given: a JSON object; NULL: {}. Is copied. */
void backstep_test_set_params(struct backstep_test *test, const char *params);

/* ---------------------------------------------------------------- trouble, for the next run only */

/* The n-th call of a step (executions and rollbacks, counted from 1) fails with `message` instead of being made. */
void backstep_test_fail_call(struct backstep_test *test, int n, const char *message);

/* The first `attempts` executions of a step fail with `message` instead of being made; of its rollback, with backstep_test_fail_rollback(). */
void backstep_test_fail_step(struct backstep_test *test, const char *step, int attempts, const char *message);
void backstep_test_fail_rollback(struct backstep_test *test, const char *step, int attempts, const char *message);

/* Someone asks for the end of the run just before its n-th call. */
void backstep_test_cancel_at(struct backstep_test *test, int n);

/* ---------------------------------------------------------------- a run */

/* From the beginning to the end, with the run id "test". Waits between attempts pass at once, on virtual time.
 * returns  whether it succeeded */
bool backstep_test_run(struct backstep_test *test);

/* Let virtual time pass: for steps that stand for long ones, and meet their timeout. */
void backstep_test_pass_ms(struct backstep_test *test, int64_t duration_ms);

/* Of the last run: how it ended; its calls; the virtual time it took; then as backstep_orchestrator_... have it; what the steps logged, a line
 * each: "LEVEL text" or "LEVEL event {data}". */
enum backstep_status backstep_test_status(const struct backstep_test *test);
int backstep_test_calls(const struct backstep_test *test);
int64_t backstep_test_elapsed_ms(const struct backstep_test *test);
const char *backstep_test_history(struct backstep_test *test);
const char *backstep_test_error(struct backstep_test *test);
const char *backstep_test_result(struct backstep_test *test);
const char *backstep_test_data(struct backstep_test *test, const char *step);
const char *backstep_test_log(struct backstep_test *test);

/* ---------------------------------------------------------------- one step */

/* Call one step as a worker would.
 *
 * context  JSON, as backstep_context_json() writes it, for what it is told; all of it may be left out: {"direction": "rollback", "attempt": 2,
 *          "input": {}, "params": {}, "steps": {"NAME": DATA}, "shared": {}, "result": {"success", "data", "rollback_data", "error"}}
 * returns  {"outcome": "ok" | "skipped" | "failed" | ..., "permanent", "data", "rollback_data", "set", "metrics", "error"}; NULL: there is no
 *          such step, or the context is no JSON object */
const char *backstep_test_step(struct backstep_test *test, const char *step, const char *context);

#ifdef __cplusplus
}
#endif

#endif
