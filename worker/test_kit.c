/* SPDX-License-Identifier: Apache-2.0 */
/* The test kit: an orchestrator on virtual time, into whose calls the test may step. */
#include "worker/backstep_test.h"

#include "common/json.h"
#include "worker/library.h"
#include "worker/orchestrator.h"

#include <stdlib.h>

#define BEGINNING_MS 1767225600000 /* 2026-01-01: any time will do, as long as it is always the same */

/* What is to go wrong in the next run. */
struct trouble {
    struct trouble *next;
    int call; /* the n-th call; 0: by step */
    char *step; /* NULL: by call */
    int attempts; /* the first so many of the step */
    bool rollback; /* of its rollback */
    bool cancels; /* instead of failing */
    char *message;
};

struct backstep_test {
    const struct backstep_registry *registry;
    struct backstep_registry *own; /* of an action */
    struct backstep_orchestrator *orchestrator;
    char *params;
    struct trouble *troubles;
    int64_t now_ms, elapsed_ms;
    int calls;
    struct text log, answer;
};

/* ---------------------------------------------------------------- what is put under the orchestrator */

static int64_t now_ms(void *state)
{
    return ((const struct backstep_test *)state)->now_ms;
}

static void wait_ms(void *state, int64_t duration_ms)
{
    backstep_test_pass_ms(state, duration_ms);
}

static bool is_meant(const struct backstep_test *test, const struct trouble *trouble, const struct backstep_context *context)
{
    if (trouble->step == NULL) {
        return trouble->call == test->calls;
    }
    return strcmp(trouble->step, backstep_step_name(context)) == 0 && trouble->rollback == backstep_is_rollback(context) &&
           backstep_attempt(context) <= trouble->attempts;
}

static enum backstep_outcome before_call(void *state, struct backstep_context *context, struct backstep_result *result)
{
    struct backstep_test *test = state;
    test->calls++;
    for (const struct trouble *trouble = test->troubles; trouble != NULL; trouble = trouble->next) {
        if (!is_meant(test, trouble, context)) {
            continue;
        }
        if (!trouble->cancels) {
            return backstep_fail(result, "%s", trouble->message);
        }
        backstep_orchestrator_cancel(test->orchestrator);
    }
    return BACKSTEP_SUCCEEDED;
}

static void on_log(void *state, enum backstep_level level, const char *event, const char *text)
{
    static const char *const levels[] = {
        [BACKSTEP_DEBUG] = "debug", [BACKSTEP_INFO] = "info", [BACKSTEP_WARN] = "warn", [BACKSTEP_ERROR] = "error"};
    struct backstep_test *test = state;
    bool both = event != NULL && text[0] != '\0';
    text_format(&test->log, "%s %s%s%s\n", levels[level], event != NULL ? event : "", both ? " " : "", text);
}

/* ---------------------------------------------------------------- from new to free */

struct backstep_test *backstep_test_new(const struct backstep_registry *registry)
{
    struct backstep_test *test = registry != NULL ? calloc(1, sizeof *test) : NULL;
    if (test == NULL) {
        return NULL;
    }
    text_init(&test->log, SIZE_MAX / 2);
    text_init(&test->answer, SIZE_MAX / 2);
    test->registry = registry;
    test->now_ms = BEGINNING_MS;
    test->orchestrator = backstep_orchestrator_new(registry);
    if (test->orchestrator == NULL) {
        backstep_test_free(test);
        return NULL;
    }
    orchestrator_set_clock(test->orchestrator, &(struct orchestrator_clock){now_ms, wait_ms, test});
    orchestrator_intercept(test->orchestrator, before_call, test);
    backstep_orchestrator_on_log(test->orchestrator, on_log, test);
    return test;
}

static bool set_up(const struct backstep_action *action, struct backstep_registry *registry, const char *params)
{
    const struct backstep_json *json = backstep_json_parse(params != NULL ? params : "{}");
    bool ok = json != NULL && backstep_action_setup(action, registry, json);
    backstep_json_free(json);
    return ok;
}

struct backstep_test *backstep_test_new_action(const struct backstep_action *action, const char *params)
{
    struct backstep_registry *registry = backstep_registry_new();
    struct backstep_test *test = set_up(action, registry, params) ? backstep_test_new(registry) : NULL;
    if (test == NULL) {
        backstep_registry_free(registry);
        return NULL;
    }
    test->own = registry;
    backstep_orchestrator_set_name(test->orchestrator, action->name);
    backstep_test_set_params(test, params);
    return test;
}

static void forget_troubles(struct backstep_test *test)
{
    while (test->troubles != NULL) {
        struct trouble *next = test->troubles->next;
        free(test->troubles->step);
        free(test->troubles->message);
        free(test->troubles);
        test->troubles = next;
    }
}

void backstep_test_free(struct backstep_test *test)
{
    if (test == NULL) {
        return;
    }
    forget_troubles(test);
    backstep_orchestrator_free(test->orchestrator);
    backstep_registry_free(test->own);
    text_fini(&test->log);
    text_fini(&test->answer);
    free(test->params);
    free(test);
}

void backstep_test_set_params(struct backstep_test *test, const char *params)
{
    if (test == NULL) {
        return;
    }
    free(test->params);
    test->params = params != NULL ? strdup(params) : NULL;
}

/* ---------------------------------------------------------------- trouble */

static void add_trouble(struct backstep_test *test, const struct trouble *wanted, const char *step, const char *message)
{
    struct trouble *trouble = malloc(sizeof *trouble);
    if (trouble == NULL) {
        abort(); /* a test that does not do what it says would be worse */
    }
    *trouble = *wanted;
    trouble->step = step != NULL ? strdup(step) : NULL;
    trouble->message = strdup(message != NULL ? message : "the test wants it to fail");
    trouble->next = test->troubles;
    test->troubles = trouble;
}

void backstep_test_fail_call(struct backstep_test *test, int n, const char *message)
{
    if (test == NULL) {
        return;
    }
    add_trouble(test, &(struct trouble){.call = n}, NULL, message);
}

void backstep_test_fail_step(struct backstep_test *test, const char *step, int attempts, const char *message)
{
    if (test == NULL) {
        return;
    }
    add_trouble(test, &(struct trouble){.attempts = attempts}, step, message);
}

void backstep_test_fail_rollback(struct backstep_test *test, const char *step, int attempts, const char *message)
{
    if (test == NULL) {
        return;
    }
    add_trouble(test, &(struct trouble){.attempts = attempts, .rollback = true}, step, message);
}

void backstep_test_cancel_at(struct backstep_test *test, int n)
{
    if (test == NULL) {
        return;
    }
    add_trouble(test, &(struct trouble){.call = n, .cancels = true}, NULL, NULL);
}

/* ---------------------------------------------------------------- a run */

bool backstep_test_run(struct backstep_test *test)
{
    if (test == NULL) {
        return false;
    }
    int64_t begun_ms = test->now_ms;
    test->calls = 0;
    text_clear(&test->log);
    bool ok = backstep_execute(test->orchestrator, "test", test->params);
    test->elapsed_ms = test->now_ms - begun_ms;
    forget_troubles(test);
    return ok;
}

void backstep_test_pass_ms(struct backstep_test *test, int64_t duration_ms)
{
    if (test == NULL) {
        return;
    }
    test->now_ms += duration_ms > 0 ? duration_ms : 0;
}

enum backstep_status backstep_test_status(const struct backstep_test *test)
{
    if (test == NULL) {
        return BACKSTEP_RUN_NONE;
    }
    return backstep_orchestrator_status(test->orchestrator);
}

int backstep_test_calls(const struct backstep_test *test)
{
    if (test == NULL) {
        return 0;
    }
    return test->calls;
}

int64_t backstep_test_elapsed_ms(const struct backstep_test *test)
{
    if (test == NULL) {
        return 0;
    }
    return test->elapsed_ms;
}

const char *backstep_test_history(struct backstep_test *test)
{
    if (test == NULL) {
        return "";
    }
    return backstep_orchestrator_history(test->orchestrator);
}

const char *backstep_test_error(struct backstep_test *test)
{
    if (test == NULL) {
        return "the test is NULL";
    }
    return backstep_orchestrator_error(test->orchestrator);
}

const char *backstep_test_result(struct backstep_test *test)
{
    if (test == NULL) {
        return "";
    }
    return backstep_orchestrator_result(test->orchestrator);
}

const char *backstep_test_data(struct backstep_test *test, const char *step)
{
    if (test == NULL) {
        return NULL;
    }
    return backstep_orchestrator_data(test->orchestrator, step);
}

const char *backstep_test_log(struct backstep_test *test)
{
    if (test == NULL) {
        return "";
    }
    return text_string(&test->log);
}

/* ---------------------------------------------------------------- one step */

static void ignore_progress(void *state, uint64_t current, uint64_t total, struct span metrics)
{
    (void)state;
    (void)current;
    (void)total;
    (void)metrics;
}

const char *backstep_test_step(struct backstep_test *test, const char *step, const char *context)
{
    if (test == NULL) {
        return NULL;
    }
    const struct backstep_step *found = backstep_registry_find(test->registry, step);
    json_t *json = context != NULL ? json_read_wrapped(span_of(context), NULL) : json_object();
    text_clear(&test->answer);
    if (found != NULL && json_is_object(json)) {
        struct context_listener listener = {.progressed = ignore_progress, .now_ms = now_ms, .state = test};
        library_call_step(found, "test", json, &listener, &test->answer);
    }
    json_decref(json);
    return test->answer.size > 0 ? text_string(&test->answer) : NULL;
}
