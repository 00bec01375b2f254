/* SPDX-License-Identifier: Apache-2.0 */
/* Actions one after another in process: what each is told, how it is weighted, paused, resumed, cancelled and rolled back. */
#include "worker/backstep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/limits.h"
#include "common/pipeline.h"
#include "common/text.h"
#include "worker/action_pipeline.h"

static atomic_bool broken, held, let_go;
static char story[256]; /* "+load/a -load/a ": what was called; written by one thread at a time */

static void tell(char sign, struct backstep_context *context)
{
    size_t used = strlen(story);
    snprintf(story + used, sizeof story - used, "%c%s ", sign, backstep_step_name(context));
}

static enum backstep_outcome load(struct backstep_context *context, struct backstep_result *result)
{
    tell('+', context);
    return backstep_succeed(result, "{\"rows\": 3, \"source\": \"loaded\", \"deep\": {\"b\": 2}}");
}

static enum backstep_outcome unload(struct backstep_context *context, const struct backstep_result *done,
                                    struct backstep_result *result)
{
    (void)done;
    tell('-', context);
    return backstep_succeed(result, NULL);
}

/* What it was told, as its data: so a test can look at it. */
static enum backstep_outcome echo(struct backstep_context *context, struct backstep_result *result)
{
    tell('+', context);
    char *deep = backstep_json_text(backstep_param(context, "deep"));
    enum backstep_outcome outcome =
        backstep_succeed(result, "{\"rows\": %lld, \"source\": %s, \"limit\": %lld, \"deep\": %s}",
                         (long long)backstep_json_integer(backstep_param(context, "rows"), -1),
                         backstep_quote(context, backstep_json_string(backstep_param(context, "source"), "")),
                         (long long)backstep_json_integer(backstep_param(context, "limit"), -1), deep != NULL ? deep : "null");
    free(deep);
    return outcome;
}

static enum backstep_outcome may_break(struct backstep_context *context, struct backstep_result *result)
{
    tell('+', context);
    return broken ? backstep_fail(result, "broken") : backstep_succeed(result, "\"no object\"");
}

/* Held until it is let go or cancelled. */
static enum backstep_outcome hold(struct backstep_context *context, struct backstep_result *result)
{
    held = true;
    while (!let_go && !backstep_cancelled(context)) {
        sched_yield();
    }
    return let_go ? backstep_succeed(result, NULL) : backstep_fail(result, "stopped");
}

static const struct backstep_step load_step = {.name = "a", .execute = load, .rollback = unload};
static const struct backstep_step echo_step = {.name = "a", .weight = 3, .execute = echo, .rollback = unload};
static const struct backstep_step break_step = {.name = "b", .weight = 1, .execute = may_break};
static const struct backstep_step hold_step = {.name = "hold", .execute = hold};
static const struct backstep_step endless = {.name = "a", .execute = echo, .weight = -1};

static void register_steps(const struct backstep_action *action, struct backstep_registry *registry,
                           const struct backstep_json *params)
{
    assert_null(params);
    for (const struct backstep_step *const *steps = action->state; *steps != NULL; steps++) {
        backstep_register(registry, *steps);
    }
}

static const struct backstep_step *load_steps[] = {&load_step, NULL}, *train_steps[] = {&echo_step, &break_step, NULL},
                                  *hold_steps[] = {&hold_step, NULL}, *no_steps[] = {NULL}, *bad_steps[] = {&endless, NULL};
static const struct backstep_param_spec train_params[] = {
    {.name = "rows", .required = true}, {.name = "limit", .fallback = "7"}, {.name = "text", .fallback = "\"${x}\""}, {0}};
static const struct backstep_param_spec wrong_params[] = {{.name = "rows", .fallback = "{"}, {0}};
static const struct backstep_action
    load_action = {.name = "load", .default_steps = register_steps, .state = load_steps},
    train_action = {.name = "train", .params = train_params, .default_steps = register_steps, .state = train_steps},
    hold_action = {.name = "hold", .default_steps = register_steps, .state = hold_steps},
    empty_action = {.name = "empty", .default_steps = register_steps, .state = no_steps},
    bad_action = {.name = "bad", .default_steps = register_steps, .state = bad_steps},
    wrong_action = {.name = "wrong", .params = wrong_params, .default_steps = register_steps, .state = load_steps};

static const struct backstep_pipeline_action two[] = {{.action = &load_action}, {.action = &train_action}, {0}};
static const struct backstep_action_pipeline both = {.name = "both", .actions = two};
static const struct backstep_action_pipeline pausing = {.name = "both", .actions = two, .pause_on_failure = true};

static int prepare(void **state)
{
    (void)state;
    broken = held = let_go = false;
    story[0] = '\0';
    return 0;
}

static void each_result_is_a_param_of_the_next(void **state)
{
    (void)state;
    struct backstep_actions *actions = backstep_actions_new(&both);
    assert_true(backstep_actions_run(actions, "r", "{\"source\": \"given\", \"deep\": {\"a\": 1}, \"kept\": true}"));
    assert_string_equal(story, "+load/a +train/a +train/b ");
    /* the run's, under what was loaded; whole members; a default where nobody says it */
    assert_string_equal(backstep_actions_data(actions, "train/a"),
                        "{\"rows\": 3, \"source\": \"loaded\", \"limit\": 7, \"deep\": {\"b\":2}}");
    json_t *params = json_loads(backstep_actions_data(actions, "train"), 0, NULL);
    json_t *wanted = json_pack("{s:i, s:s, s:{s:i}, s:b, s:i, s:s}", "rows", 3, "source", "loaded", "deep", "b", 2, "kept", 1,
                               "limit", 7, "text", "${x}");
    assert_true(json_equal(params, wanted));
    json_decref(params);
    json_decref(wanted);
    assert_int_equal(backstep_actions_status(actions), BACKSTEP_RUN_SUCCEEDED);
    assert_string_equal(backstep_actions_current(actions), "train");
    backstep_actions_free(actions);
}

static void what_nobody_gives_is_missed_before_the_first_step(void **state)
{
    (void)state;
    static const struct backstep_pipeline_action one[] = {{.action = &train_action, .name = "alone"}, {0}};
    struct backstep_actions *actions = backstep_actions_new(&(struct backstep_action_pipeline){.name = "p", .actions = one});
    assert_false(backstep_actions_run(actions, NULL, NULL));
    assert_string_equal(backstep_actions_error(actions),
                        "Step 'alone' failed: the action requires the parameter 'rows', and nobody gives it");
    assert_string_equal(story, "");
    backstep_actions_free(actions);
}

static void params_beyond_their_limit_are_refused(void **state)
{
    (void)state;
    static char params[70000];
    snprintf(params, sizeof params, "{\"rows\": \"%066000d\"}", 0);
    struct backstep_actions *actions = backstep_actions_new(&both);
    assert_false(backstep_actions_run(actions, NULL, params));
    assert_non_null(strstr(backstep_actions_error(actions), "the action's params have 66011 bytes; 65536 are allowed"));
    assert_false(backstep_actions_run(actions, NULL, "[1]"));
    assert_string_equal(backstep_actions_error(actions), "params: is an array, not an object");
    assert_false(backstep_actions_run(actions, "a b", NULL));
    assert_non_null(strstr(backstep_actions_error(actions), "run id 'a b' is none"));
    backstep_actions_free(actions);
}

struct seen {
    double percents[16];
    int count;
};

static void see(void *state, const struct backstep_progress *progress)
{
    struct seen *seen = state;
    if (strchr(progress->step, '/') != NULL) {
        seen->percents[seen->count++] = progress->percent;
    }
}

static void progress_is_the_mean_of_the_actions_unless_they_are_weighted(void **state)
{
    (void)state;
    static const struct backstep_pipeline_action weighted[] = {
        {.action = &load_action, .weight = 1}, {.action = &train_action, .weight = 4}, {0}};
    static const struct {
        const struct backstep_pipeline_action *actions;
        double percents[3];
    } rows[] = {{two, {50, 87.5, 100}}, {weighted, {20, 80, 100}}};
    for (size_t i = 0; i < 2; i++) {
        struct seen seen = {0};
        struct backstep_actions *actions =
            backstep_actions_new(&(struct backstep_action_pipeline){.name = "p", .actions = rows[i].actions});
        backstep_actions_on_progress(actions, see, &seen);
        assert_true(backstep_actions_run(actions, NULL, NULL));
        assert_int_equal(seen.count, 3);
        assert_memory_equal(seen.percents, rows[i].percents, sizeof rows[i].percents);
        assert_true(backstep_actions_percent(actions) == 100);
        backstep_actions_free(actions);
    }
}

static void a_failure_rolls_back_all_actions_newest_first(void **state)
{
    (void)state;
    broken = true;
    struct backstep_actions *actions = backstep_actions_new(&both);
    assert_false(backstep_actions_run(actions, NULL, NULL));
    assert_string_equal(story, "+load/a +train/a +train/b -train/a -load/a ");
    assert_int_equal(backstep_actions_status(actions), BACKSTEP_RUN_ROLLED_BACK);
    assert_string_equal(backstep_actions_error(actions), "Step 'train/b' failed: broken");
    assert_false(backstep_actions_resume(actions)); /* it is over */
    backstep_actions_free(actions);
}

static void a_failed_action_waits_and_goes_on_where_it_failed(void **state)
{
    (void)state;
    broken = true;
    struct backstep_actions *actions = backstep_actions_new(&pausing);
    assert_true(backstep_actions_start(actions, "r", NULL));
    assert_true(backstep_actions_wait(actions, -1));
    assert_int_equal(backstep_actions_status(actions), BACKSTEP_RUN_PAUSED);
    assert_string_equal(backstep_actions_current(actions), "train");
    assert_non_null(strstr(backstep_actions_result(actions), "\"status\": \"paused\""));
    assert_true(backstep_actions_resume(actions)); /* still broken: it waits again */
    assert_true(backstep_actions_wait(actions, -1));
    assert_int_equal(backstep_actions_status(actions), BACKSTEP_RUN_PAUSED);
    broken = false;
    assert_true(backstep_actions_resume(actions));
    assert_true(backstep_actions_wait(actions, 60000));
    assert_int_equal(backstep_actions_status(actions), BACKSTEP_RUN_SUCCEEDED);
    assert_string_equal(story, "+load/a +train/a +train/b +train/b +train/b "); /* what was done is not done again */
    backstep_actions_free(actions);
}

static void a_paused_run_can_be_rolled_back(void **state)
{
    (void)state;
    broken = true;
    struct backstep_actions *actions = backstep_actions_new(&pausing);
    assert_false(backstep_actions_run(actions, NULL, NULL));
    assert_true(backstep_actions_roll_back(actions));
    assert_true(backstep_actions_wait(actions, -1));
    assert_int_equal(backstep_actions_status(actions), BACKSTEP_RUN_ROLLED_BACK);
    assert_string_equal(story, "+load/a +train/a +train/b -train/a -load/a ");
    backstep_actions_free(actions);
}

static const struct backstep_pipeline_action holding[] = {{.action = &load_action}, {.action = &hold_action}, {0}};
static const struct backstep_action_pipeline waiting = {.name = "p", .actions = holding};

static void wait_until_held(void)
{
    while (!held) {
        sched_yield();
    }
}

static void any_thread_may_ask_and_cancel_what_is_at_work(void **state)
{
    (void)state;
    struct backstep_actions *actions = backstep_actions_new(&waiting);
    assert_true(backstep_actions_start(actions, NULL, NULL));
    wait_until_held();
    assert_int_equal(backstep_actions_status(actions), BACKSTEP_RUN_AT_WORK);
    assert_true(backstep_actions_percent(actions) == 50);
    assert_false(backstep_actions_wait(actions, 1));
    assert_false(backstep_actions_start(actions, NULL, NULL));
    assert_false(backstep_actions_run(actions, NULL, NULL));
    assert_string_equal(backstep_actions_error(actions), "");
    assert_string_equal(backstep_actions_result(actions), "");
    assert_null(backstep_actions_data(actions, "load/a"));
    backstep_actions_cancel(actions);
    assert_true(backstep_actions_wait(actions, -1));
    assert_int_equal(backstep_actions_status(actions), BACKSTEP_RUN_CANCELLED);
    assert_string_equal(story, "+load/a -load/a ");
    let_go = true; /* and a second one begins anew */
    assert_true(backstep_actions_run(actions, NULL, NULL));
    backstep_actions_free(actions);
}

static void freeing_ends_what_is_at_work(void **state)
{
    (void)state;
    struct backstep_actions *actions = backstep_actions_new(&waiting);
    assert_true(backstep_actions_start(actions, NULL, NULL));
    wait_until_held();
    backstep_actions_free(actions);
    assert_string_equal(story, "+load/a -load/a ");
    backstep_actions_free(NULL);
}

static const struct wrong {
    struct backstep_action_pipeline pipeline;
    const char *error;
} wrong[] = {
    {{.name = NULL, .actions = two}, "pipeline '': a name is 1 to 100 of [A-Za-z0-9._-]"},
    {{.name = "p"}, "pipeline 'p' has no action"},
    {{.name = "p", .actions = (const struct backstep_pipeline_action[]){{.action = &load_action}, {.action = &load_action}, {0}}},
     "action 'load' is in the pipeline already; give one of them another name"},
    {{.name = "p", .actions = (const struct backstep_pipeline_action[]){{.action = &load_action, .name = "a/b"}, {0}}},
     "action 1, 'a/b': a name is 1 to 40 of [A-Za-z0-9._-], and begins with a letter or digit"},
    {{.name = "p", .actions = (const struct backstep_pipeline_action[]){{.action = &load_action, .weight = -1}, {0}}},
     "action 'load': weight must not be negative, and finite; it is -1"},
    {{.name = "p", .actions = (const struct backstep_pipeline_action[]){{.action = &empty_action}, {0}}},
     "action 'empty' has no steps"},
    {{.name = "p", .actions = (const struct backstep_pipeline_action[]){{.action = &bad_action}, {0}}},
     "action 'bad': step 'a': weight must not be negative, and finite; it is -1"},
    {{.name = "p", .actions = (const struct backstep_pipeline_action[]){{.action = &wrong_action}, {0}}},
     "action 'wrong': the fallback of its parameter 'rows': "},
};

static void an_unsound_pipeline_says_why_and_does_not_run(void **state)
{
    (void)state;
    assert_null(backstep_actions_new(NULL));
    assert_false(backstep_actions_run(NULL, NULL, NULL));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct backstep_actions *actions = backstep_actions_new(&wrong[i].pipeline);
        assert_false(backstep_actions_run(actions, NULL, NULL));
        assert_false(backstep_actions_start(actions, NULL, NULL));
        assert_memory_equal(backstep_actions_error(actions), wrong[i].error, strlen(wrong[i].error));
        assert_int_equal(backstep_actions_status(actions), BACKSTEP_RUN_NONE);
        backstep_actions_free(actions);
    }
}

/* Printed, read again, printed: what a coordinator is given is what is run here. */
static void the_plan_is_the_one_that_pipelines_in_pipelines_make(void **state)
{
    (void)state;
    struct action_plan made;
    struct error error = {0};
    struct text first, second;
    text_init(&first, MIB);
    text_init(&second, MIB);
    assert_true(action_plan_init(&made, &pausing, &error));
    pipeline_append_json(&made.plan, &first);
    struct pipeline *read = pipeline_read_text(text_span(&first), "plan");
    assert_int_equal(read->problem_count, 0);
    pipeline_append_json(&read->plan, &second);
    assert_string_equal(text_string(&first), text_string(&second));
    for (uint32_t i = 0; i < made.plan.step_count; i++) {
        assert_int_equal(read->plan.steps[i].kind, made.plan.steps[i].kind);
        assert_int_equal(read->plan.steps[i].scope, made.plan.steps[i].scope);
        assert_int_equal(read->plan.steps[i].templated, made.plan.steps[i].templated);
    }
    pipeline_free(read);
    action_plan_fini(&made);
    text_fini(&first);
    text_fini(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_result_is_a_param_of_the_next, prepare),
        cmocka_unit_test_setup(what_nobody_gives_is_missed_before_the_first_step, prepare),
        cmocka_unit_test_setup(params_beyond_their_limit_are_refused, prepare),
        cmocka_unit_test_setup(progress_is_the_mean_of_the_actions_unless_they_are_weighted, prepare),
        cmocka_unit_test_setup(a_failure_rolls_back_all_actions_newest_first, prepare),
        cmocka_unit_test_setup(a_failed_action_waits_and_goes_on_where_it_failed, prepare),
        cmocka_unit_test_setup(a_paused_run_can_be_rolled_back, prepare),
        cmocka_unit_test_setup(any_thread_may_ask_and_cancel_what_is_at_work, prepare),
        cmocka_unit_test_setup(freeing_ends_what_is_at_work, prepare),
        cmocka_unit_test_setup(an_unsound_pipeline_says_why_and_does_not_run, prepare),
        cmocka_unit_test(the_plan_is_the_one_that_pipelines_in_pipelines_make),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
