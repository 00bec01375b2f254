/* SPDX-License-Identifier: Apache-2.0 */
/* A wrapper is a function around a step; what is in it keeps its progress, its values and its failures. */
#include "worker/attempt.h"
#include "worker/backstep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char story[1024]; /* what was called and logged, in order */

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void tell(const char *format, ...)
{
    size_t used = strlen(story);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(story + used, sizeof story - used, format, arguments);
    va_end(arguments);
}

struct behaviour {
    bool fails, skips;
};

static enum backstep_outcome execute(struct backstep_context *context, struct backstep_result *result)
{
    const struct behaviour *behaviour = backstep_state(context);
    tell("+x ");
    backstep_set_progress(context, 1, 2);
    backstep_context_set(context, "shared", "1");
    backstep_result_set_rollback_data(result, "{\"r\": 2}");
    return behaviour->fails ? backstep_fail(result, "disk is full") : backstep_succeed(result, "{\"d\": 1}");
}

static enum backstep_outcome rollback(struct backstep_context *context, const struct backstep_result *done,
                                      struct backstep_result *result)
{
    (void)context;
    tell("-x(%d) ", (int)backstep_json_integer(backstep_json_member(backstep_result_rollback_data(done), "r"), 0));
    return backstep_succeed(result, NULL);
}

static bool skips(struct backstep_context *context)
{
    return ((const struct behaviour *)backstep_state(context))->skips;
}

static enum backstep_outcome fail_late(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_fail(result, "later");
}

static void keep_log(void *state, enum backstep_level level, const char *event, const char *text)
{
    (void)state;
    (void)level;
    const char *elapsed = strstr(text, ",\"elapsed\":");
    if (elapsed == NULL) {
        tell("%s%s ", event, text);
        return;
    }
    const char *rest = strchr(elapsed + 1, ',');
    tell("%s%.*s%s ", event, (int)(elapsed - text), text, rest != NULL ? rest : "");
}

static double percents[8];
static size_t percent_count;

static void keep_percent(void *state, const struct backstep_progress *progress)
{
    (void)state;
    percents[percent_count++] = progress->percent;
}

struct bench {
    struct backstep_registry *registry;
    struct backstep_orchestrator *orchestrator;
    struct behaviour behaviour;
    struct backstep_step x, late;
};

static struct bench *bench_new(void)
{
    struct bench *bench = calloc(1, sizeof *bench);
    bench->x = (struct backstep_step){
        .name = "x", .weight = 1, .execute = execute, .rollback = rollback, .can_skip = skips, .state = &bench->behaviour};
    bench->late = (struct backstep_step){.name = "late", .weight = 1, .execute = fail_late};
    bench->registry = backstep_registry_new();
    bench->orchestrator = backstep_orchestrator_new(bench->registry);
    backstep_orchestrator_on_log(bench->orchestrator, keep_log, NULL);
    backstep_orchestrator_on_progress(bench->orchestrator, keep_percent, NULL);
    percent_count = 0;
    story[0] = '\0';
    return bench;
}

static void bench_free(struct bench *bench)
{
    backstep_orchestrator_free(bench->orchestrator);
    backstep_registry_free(bench->registry);
    free(bench);
}

static void logging_says_when_a_step_begins_and_how_it_ends(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    backstep_register(bench->registry, backstep_logging(bench->registry, &bench->x));
    assert_true(backstep_execute(bench->orchestrator, NULL, NULL));
    assert_string_equal(story, "step_start{\"step\":\"x\"} +x step_end{\"step\":\"x\",\"success\":true,\"skipped\":false} ");
    assert_true(percent_count == 2 && percents[0] == 50); /* nothing of the step's progress is lost */
    bench->behaviour.fails = true;
    story[0] = '\0';
    assert_false(backstep_execute(bench->orchestrator, NULL, NULL));
    assert_string_equal(story, "step_start{\"step\":\"x\"} +x step_end{\"step\":\"x\",\"success\":false,\"skipped\":false} "
                               "step_rollback{\"step\":\"x\"} -x(2) ");
    assert_string_equal(backstep_orchestrator_error(bench->orchestrator), "Step 'logged_x' failed: disk is full");
    bench->behaviour = (struct behaviour){.skips = true};
    story[0] = '\0';
    assert_true(backstep_execute(bench->orchestrator, NULL, NULL));
    assert_string_equal(story, "");
    bench_free(bench);
}

static void timing_adds_what_the_step_took_and_nests(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    const struct backstep_step *both = backstep_logging(bench->registry, backstep_timing(bench->registry, &bench->x));
    assert_string_equal(both->name, "logged_timed_x");
    assert_true(both->weight == 1);
    assert_true(backstep_register(bench->registry, both));
    assert_true(backstep_execute(bench->orchestrator, NULL, NULL));
    const char *data = backstep_orchestrator_data(bench->orchestrator, "logged_timed_x");
    double seconds = -1;
    assert_int_equal(sscanf(data, "{\"d\":1,\"duration_seconds\":%lf}", &seconds), 1);
    assert_true(seconds >= 0 && seconds < 60);
    bench_free(bench);
}

static enum backstep_outcome twice(struct backstep_call *call, struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    (void)result;
    tell("%s>", (const char *)backstep_call_state(call));
    assert_string_equal(backstep_call_step(call)->name, "x");
    assert_int_equal(backstep_call_done(call) != NULL, backstep_is_rollback(context));
    backstep_proceed(call);
    return backstep_proceed(call);
}

static void a_wrapper_of_ones_own_may_proceed_once_only(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct backstep_wrapper mine = {.prefix = NULL, .around = twice, .state = (char[]){"mine"}};
    assert_true(backstep_register(bench->registry, backstep_wrap(bench->registry, &mine, &bench->x)));
    assert_false(backstep_execute(bench->orchestrator, NULL, NULL));
    assert_string_equal(story, "mine>+x mine>-x(2) ");
    assert_string_equal(backstep_orchestrator_error(bench->orchestrator), "Step 'x' failed: a wrapper of step 'x' called it twice");
    assert_int_equal(backstep_orchestrator_status(bench->orchestrator), BACKSTEP_RUN_ROLLBACK_INCOMPLETE);
    bench_free(bench);
}

static const char *want_color(struct backstep_context *context)
{
    const char *color = backstep_json_string(backstep_param(context, "color"), NULL);
    return color != NULL ? NULL : backstep_format(context, "no %s is given", (const char *)backstep_state(context));
}

static void a_validation_lets_nothing_pass_that_is_not_right(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct backstep_validation validation = {.validate = want_color, .state = (char[]){"color"}};
    const struct backstep_step *step = backstep_validating(bench->registry, &validation);
    assert_string_equal(step->name, "validate");
    assert_true(step->weight == 0.05);
    assert_true(backstep_register(bench->registry, &bench->x) && backstep_insert_before(bench->registry, "x", step));
    assert_false(backstep_execute(bench->orchestrator, NULL, NULL));
    assert_string_equal(backstep_orchestrator_error(bench->orchestrator), "Step 'validate' failed: no color is given");
    assert_string_equal(story, "");
    assert_true(backstep_execute(bench->orchestrator, NULL, "{\"color\": \"red\"}"));
    bench_free(bench);
}

/* ---------------------------------------------------------------- once */

static void remove_directory(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        char file[512];
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        unlink(file);
    }
    closedir(directory);
    assert_int_equal(rmdir(path), 0);
}

static void once_gives_the_same_result_without_acting_again(void **state)
{
    (void)state;
    char directory[] = "/tmp/once-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct backstep_memory memory = {.directory = directory};
    struct bench *bench = bench_new();
    const struct backstep_step *step = backstep_once(bench->registry, &bench->x, &memory);
    assert_string_equal(step->name, "once_x");
    assert_true(backstep_register(bench->registry, step));
    for (int i = 0; i < 2; i++) { /* the same run twice, as after a crash before its end was recorded */
        assert_true(backstep_execute(bench->orchestrator, "run-1", NULL));
        const char *data = backstep_orchestrator_data(bench->orchestrator, "once_x");
        assert_true(strcmp(data, "{\"d\": 1}") == 0 || strcmp(data, "{\"d\":1}") == 0);
    }
    assert_string_equal(story, "+x ");
    assert_true(backstep_execute(bench->orchestrator, "run-2", NULL)); /* another piece of work */
    assert_string_equal(story, "+x +x ");

    /* Undone once, it neither is undone again nor begins again. */
    assert_true(backstep_register(bench->registry, &bench->late));
    assert_false(backstep_execute(bench->orchestrator, "run-1", NULL));
    assert_string_equal(story, "+x +x -x(2) ");
    assert_false(backstep_execute(bench->orchestrator, "run-1", NULL));
    assert_string_equal(story, "+x +x -x(2) ");
    assert_string_equal(backstep_orchestrator_error(bench->orchestrator),
                        "Step 'once_x' failed: it was rolled back already, and does not begin again");
    bench_free(bench);
    remove_directory(directory);
}

static bool refuse_claim(void *memory, const char *key, const char *value, char **there)
{
    (void)memory;
    (void)key;
    (void)value;
    *there = NULL;
    return false;
}

static bool refuse_store(void *memory, const char *key, const char *value)
{
    (void)memory;
    (void)key;
    (void)value;
    return false;
}

static void a_memory_that_cannot_be_reached_fails_the_attempt(void **state)
{
    (void)state;
    static const struct backstep_memory memories[] = {{.directory = "/nowhere/at/all"},
                                                      {.claim = refuse_claim, .store = refuse_store}};
    for (size_t i = 0; i < 2; i++) {
        struct bench *bench = bench_new();
        bench->x.rollback = NULL; /* it would be tried again and again, as it should */
        assert_true(backstep_register(bench->registry, backstep_once(bench->registry, &bench->x, &memories[i])));
        assert_false(backstep_execute(bench->orchestrator, "run-1", NULL));
        assert_non_null(strstr(backstep_orchestrator_error(bench->orchestrator),
                               "the memory of what was done cannot be reached, for run-1/once_x/0"));
        assert_string_equal(story, "");
        bench_free(bench);
    }
}

/* A memory in a variable, with a step that comes after its rollback: a program cannot make that order happen with a run of its own. */
static char remembered[128];

static bool claim_variable(void *memory, const char *key, const char *value, char **there)
{
    (void)memory;
    (void)key;
    *there = remembered[0] != '\0' ? strdup(remembered) : NULL;
    if (*there == NULL) {
        snprintf(remembered, sizeof remembered, "%s", value);
    }
    return true;
}

static bool store_variable(void *memory, const char *key, const char *value)
{
    (void)memory;
    (void)key;
    snprintf(remembered, sizeof remembered, "%s", value);
    return true;
}

static void what_began_and_did_not_end_is_done_again_and_a_barred_step_is_not(void **state)
{
    (void)state;
    static const struct backstep_memory memory = {.claim = claim_variable, .store = store_variable};
    struct bench *bench = bench_new();
    assert_true(backstep_register(bench->registry, backstep_once(bench->registry, &bench->x, &memory)));
    snprintf(remembered, sizeof remembered, "{\"state\":\"begun\"}");
    assert_true(backstep_execute(bench->orchestrator, "run-1", NULL));
    assert_string_equal(story, "+x ");
    assert_non_null(strstr(remembered, "\"state\":\"done\""));
    assert_non_null(strstr(remembered, "\"set\":{\"shared\":1}"));
    snprintf(remembered, sizeof remembered, "{\"state\":\"rolled_back\"}");
    assert_false(backstep_execute(bench->orchestrator, "run-1", NULL));
    assert_string_equal(story, "+x ");
    snprintf(remembered, sizeof remembered, "garbage");
    assert_false(backstep_execute(bench->orchestrator, "run-1", NULL));
    assert_non_null(strstr(backstep_orchestrator_error(bench->orchestrator), "holds what was not written here"));
    bench_free(bench);
}

/* ---------------------------------------------------------------- fault */

static void faults_come_on_demand(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct backstep_fault fault = {.fails = 2, .message = "no luck", .delay_ms = 1};
    bench->x.policy = (struct backstep_policy){.max_attempts = 3, .backoff_ms = 1};
    assert_true(backstep_register(bench->registry, backstep_faulty(bench->registry, &bench->x, &fault)));
    assert_true(backstep_execute(bench->orchestrator, NULL, NULL));
    assert_string_equal(backstep_orchestrator_history(bench->orchestrator),
                        "fault_x execute failed: no luck\nfault_x execute failed: no luck\nfault_x execute ok\n");
    story[0] = '\0';
    assert_false(backstep_execute(bench->orchestrator, NULL, "{\"fault\": {\"x\": {\"permanent\": true, \"after\": true}}}"));
    assert_string_equal(story, "+x -x(2) ");
    assert_string_equal(backstep_orchestrator_error(bench->orchestrator), "Step 'fault_x' failed: no luck");
    bench_free(bench);
}

static void a_fault_can_kill_the_process(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct bench *bench = bench_new();
        struct backstep_fault fault = {.crashes = 1};
        backstep_register(bench->registry, backstep_faulty(bench->registry, &bench->x, &fault));
        backstep_execute(bench->orchestrator, NULL, NULL);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void ignore_progress(void *state, uint64_t current, uint64_t total, struct span metrics)
{
    (void)state, (void)current, (void)total, (void)metrics;
}

/* A lost attempt is none: what was sent before is told by the ticket. */
static void a_crash_that_has_happened_does_not_happen_again(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    struct backstep_fault fault = {.crashes = 1};
    struct task task = {
        .run_id = span_of("r"), .step = span_of("x"), .handler = span_of("fault_x"), .attempt = 1, .ticket = {.number = 2}};
    struct cancellation never = {0};
    struct attempt attempt;
    attempt_run(&attempt, &task, backstep_faulty(bench->registry, &bench->x, &fault), &never,
                &(struct context_listener){.progressed = ignore_progress});
    assert_int_equal(attempt.outcome, OUTCOME_OK);
    attempt_fini(&attempt);
    bench_free(bench);
}

static enum backstep_outcome nest_deep(struct backstep_context *context, struct backstep_result *result)
{
    char open[129] = {0}, close[129] = {0};
    tell("+%s ", backstep_step_name(context));
    memset(open, '[', 128);
    memset(close, ']', 128);
    return backstep_succeed(result, "%s%s", open, close);
}

static void once_remembers_the_deepest_data(void **state)
{
    (void)state;
    char directory[] = "/tmp/once-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct backstep_memory memory = {.directory = directory};
    struct bench *bench = bench_new();
    struct backstep_step deep = {.name = "deep", .execute = nest_deep};
    assert_true(backstep_register(bench->registry, backstep_once(bench->registry, &deep, &memory)));
    assert_true(backstep_execute(bench->orchestrator, "run-1", NULL));
    assert_true(backstep_execute(bench->orchestrator, "run-1", NULL));
    assert_string_equal(story, "+once_deep ");
    bench_free(bench);
    remove_directory(directory);
}

static void what_is_unsound_is_refused_and_named(void **state)
{
    (void)state;
    struct bench *bench = bench_new();
    static const struct backstep_memory nothing;
    assert_null(backstep_once(bench->registry, &bench->x, &nothing));
    assert_string_equal(backstep_registry_error(bench->registry), "once: a memory has a directory, or both functions");
    assert_null(backstep_once(bench->registry, &bench->x, NULL));
    assert_null(backstep_wrap(bench->registry, NULL, &bench->x));
    assert_null(backstep_timing(NULL, &bench->x));
    assert_null(backstep_timing(bench->registry, NULL));
    assert_null(backstep_validating(bench->registry, NULL));
    assert_false(backstep_register(bench->registry, NULL));
    bench_free(bench);

    bench = bench_new();
    const struct backstep_wrapper plain = {.around = twice};
    const struct backstep_step *step = &bench->x;
    for (int i = 0; i < 64; i++) {
        step = backstep_wrap(bench->registry, &plain, step);
        assert_non_null(step);
    }
    assert_null(backstep_wrap(bench->registry, &plain, step));
    assert_string_equal(backstep_registry_error(bench->registry), "step 'x': more than 64 wrappers");
    bench_free(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logging_says_when_a_step_begins_and_how_it_ends),
        cmocka_unit_test(timing_adds_what_the_step_took_and_nests),
        cmocka_unit_test(a_wrapper_of_ones_own_may_proceed_once_only),
        cmocka_unit_test(a_validation_lets_nothing_pass_that_is_not_right),
        cmocka_unit_test(once_gives_the_same_result_without_acting_again),
        cmocka_unit_test(a_memory_that_cannot_be_reached_fails_the_attempt),
        cmocka_unit_test(what_began_and_did_not_end_is_done_again_and_a_barred_step_is_not),
        cmocka_unit_test(faults_come_on_demand),
        cmocka_unit_test(a_fault_can_kill_the_process),
        cmocka_unit_test(a_crash_that_has_happened_does_not_happen_again),
        cmocka_unit_test(once_remembers_the_deepest_data),
        cmocka_unit_test(what_is_unsound_is_refused_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
