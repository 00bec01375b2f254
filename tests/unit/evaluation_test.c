/* SPDX-License-Identifier: Apache-2.0 */
/* jq in its helper process, and what a task asks to be evaluated. */
#include "common/clock.h"
#include "common/limits.h"
#include "worker/attempt.h"
#include "worker/builtin.h"
#include "worker/evaluator.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 30000 /* for what must happen; nothing waits so long when all is well */
#define LONG_MS 600000
#define S(text)                                                                                                                    \
    {                                                                                                                              \
        text, sizeof text - 1                                                                                                      \
    }

static struct guard *guard;
static struct evaluator *evaluator;

static int set_up(void **state)
{
    struct error error = {0};
    (void)state;
    setenv("DATABASE_PASSWORD", "swordfish", 1);
    setenv("BACKSTEP_PASSWORD", "swordfish", 1);
    guard = guard_start(&error);
    if (guard == NULL || !guard_lease_begin(guard, clock_boottime_ms() + LONG_MS, 1000, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return -1;
    }
    evaluator = evaluator_new(guard);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    evaluator_free(evaluator);
    guard_free(guard);
    return 0;
}

/* ---------------------------------------------------------------- one expression */

struct answer {
    enum evaluation_end end;
    char *value; /* NULL: none; owed free() */
    struct error error;
};

static struct answer ask_within(const char *expression, int64_t within_ms, int cancel_fd)
{
    struct answer answer = {0};
    struct span span = span_of(expression);
    struct evaluation evaluation = {.input = span_of("{\"params\": {\"size\": 3}}"),
                                    .expressions = &span,
                                    .count = 1,
                                    .left_ms = &within_ms,
                                    .cancel_fd = cancel_fd};
    answer.end = evaluator_run(evaluator, &evaluation, &answer.value, &answer.error);
    return answer;
}

static void expect(const char *expression, const char *value)
{
    struct answer answer = ask_within(expression, LIMIT_EXPRESSION_MS, -1);
    assert_string_equal(answer.error.message, "");
    assert_int_equal(answer.end, EVALUATION_DONE);
    assert_string_equal(answer.value, value);
    free(answer.value);
}

static void expect_failure(const char *expression, const char *message)
{
    struct answer answer = ask_within(expression, LIMIT_EXPRESSION_MS, -1);
    assert_string_equal(answer.error.message, message);
    assert_int_equal(answer.end, EVALUATION_FAILED);
    assert_null(answer.value);
}

static void an_expression_gives_one_value(void **state)
{
    (void)state;
    expect(".params.size + 1", "4");
    expect("{a: [.params[]]}", "{\"a\":[3]}");
    expect("\"a\\nb\"", "\"a\\nb\"");
    expect("null", "null");
    expect_failure("empty", "'empty' fails: it gives no value");
    expect_failure("1, 2", "'1, 2' fails: it gives more than one value; for a list of them put it in [ ]");
    expect_failure(".params.size[0]", "'.params.size[0]' fails: Cannot index number with number");
    expect_failure("error(\"no such size\")", "'error(\"no such size\")' fails: no such size");
    expect_failure("error({a: 1})", "'error({a: 1})' fails: {\"a\":1}");
    expect_failure("halt", "'halt' fails: halt and halt_error are for jq itself; use error(\"why\")");
    expect_failure("\"x\" | halt_error", "'\"x\" | halt_error' fails: halt and halt_error are for jq itself; use error(\"why\")");
    expect_failure("lenght", "'lenght' fails: line 1, column 1: lenght/0 is not defined");
}

static void several_expressions_are_answered_in_their_order(void **state)
{
    (void)state;
    struct span expressions[] = {S(".[0]"), S(".[1] | length"), S(".[0] + 1")};
    struct error error = {0};
    char *values[3];
    int64_t left_ms = LIMIT_EXPRESSION_MS;
    struct evaluation evaluation = {
        .input = S("[7, \"abc\"]"), .expressions = expressions, .count = 3, .left_ms = &left_ms, .cancel_fd = -1};
    assert_int_equal(evaluator_run(evaluator, &evaluation, values, &error), EVALUATION_DONE);
    assert_string_equal(values[0], "7");
    assert_string_equal(values[1], "3");
    assert_string_equal(values[2], "8");
    for (size_t i = 0; i < 3; i++) {
        free(values[i]);
    }
    expressions[1] = (struct span)S(".[1] | tonumber");
    assert_int_equal(evaluator_run(evaluator, &evaluation, values, &error), EVALUATION_FAILED);
    assert_memory_equal(error.message, "'.[1] | tonumber' fails: ", 25);
    assert_null(values[0]);
}

/* The values or the failure, joined. */
static void expect_all(const char *const *texts, size_t count, const char *joined)
{
    struct span expressions[200];
    char *values[200];
    struct error error = {0};
    struct text text;
    int64_t left_ms = LIMIT_EXPRESSION_MS;
    for (size_t i = 0; i < count; i++) {
        expressions[i] = span_of(texts[i]);
    }
    struct evaluation evaluation = {
        .input = S("[7]"), .expressions = expressions, .count = count, .left_ms = &left_ms, .cancel_fd = -1};
    evaluator_run(evaluator, &evaluation, values, &error);
    text_init(&text, 10000);
    text_append_string(&text, error.message);
    for (size_t i = 0; i < count; i++) {
        text_append_string(&text, values[i] != NULL ? values[i] : "");
        text_append_string(&text, values[i] != NULL ? " " : "");
        free(values[i]);
    }
    assert_string_equal(text_string(&text), joined);
    text_fini(&text);
}

static void expressions_compiled_together_stay_apart(void **state)
{
    (void)state;
    expect_all((const char *[]){"1 # one", "def f: 2; f", "3 as $x | $x", ".[0] | -."}, 4, "1 2 3 -7 ");
    expect_all((const char *[]){"1", "def f: 2; f", "f"}, 3, "'f' fails: line 1, column 1: f/0 is not defined");
    expect_all((const char *[]){"3 as $x | $x", "$x"}, 2, "'$x' fails: line 1, column 1: $x is not defined");
    expect_all((const char *[]){"1)] , [(2", "3"}, 2, "'1)] , [(2' fails: line 1: syntax error, unexpected INVALID_CHARACTER, expecting end");
    expect_all((const char *[]){"1", "empty", "3"}, 3, "'empty' fails: it gives no value");
    expect_all((const char *[]){"1", "2, 3", "4"}, 3,
               "'2, 3' fails: it gives more than one value; for a list of them put it in [ ]");
    expect_all((const char *[]){"1", "2, error(\"no\")", "4"}, 3, "'2, error(\"no\")' fails: no");
    expect_all((const char *[]){"1", "halt"}, 2, "'halt' fails: halt and halt_error are for jq itself; use error(\"why\")");
    expect_all((const char *[]){"1", "def f: 1;"}, 2, "1 [7] "); /* no term, so it is compiled alone, where it is "." */
    const char *many[200];
    char joined[401] = "";
    for (size_t i = 0; i < 200; i++) {
        many[i] = ".[0] - 5";
        strcat(joined, "2 ");
    }
    expect_all(many, 200, joined);
}

/* ---------------------------------------------------------------- the walls */

static void an_expression_sees_neither_environment_nor_files_nor_input(void **state)
{
    (void)state;
    expect("env", "{}");
    expect("$ENV", "{}");
    expect("[inputs]", "[]");
    expect("input_filename", "null");
    expect("now > 1700000000", "true");
    expect("0 | localtime | mktime", "0"); /* no time zone's file: UTC */
    expect_failure("input", "'input' fails: break");
    expect_failure("import \"passwd\" as $p {search: \"/etc\"}; $p",
                   "'import \"passwd\" as $p {search: \"/etc\"}; $p' fails: line 1: module not found: passwd");
    expect("1", "1"); /* all by the same helper, which lives */
}

static void an_endless_expression_is_ended(void **state)
{
    (void)state;
    int64_t begun_ms = clock_monotonic_ms();
    struct answer answer = ask_within("last(range(1e15))", 300, -1);
    assert_string_equal(answer.error.message, "'last(range(1e15))' fails: it takes longer than the 0.3 s there are for it");
    assert_int_equal(answer.end, EVALUATION_FAILED);
    assert_in_range(clock_monotonic_ms() - begun_ms, 300, DEADLINE_MS);
    expect("2", "2");
}

static void an_expression_that_eats_memory_is_ended(void **state)
{
    (void)state;
    expect_failure("reduce range(40) as $i (\"x\"; . + .)",
                   "'reduce range(40) as $i (\"x\"; . + .)' fails: it needs more than 256 MiB");
    expect_failure("reduce range(40) as $i ([1]; . + .)",
                   "'reduce range(40) as $i ([1]; . + .)' fails: it needs more than 256 MiB");
    expect("3", "3");
}

static void a_recursion_without_end_is_ended(void **state)
{
    (void)state;
    struct answer answer = ask_within("def f: [f]; f", LIMIT_EXPRESSION_MS, -1);
    assert_int_equal(answer.end, EVALUATION_FAILED);
    assert_string_equal(answer.error.message, "'def f: [f]; f' fails: it needs more than 256 MiB");
    answer = ask_within("reduce range(1000000) as $i (null; [.])", LIMIT_EXPRESSION_MS, -1);
    assert_int_equal(answer.end, EVALUATION_FAILED);
    assert_non_null(
        strstr(answer.error.message, "jq crashes on it (SIGSEGV); is it a recursion without end, or nested very deep?"));
    expect("4", "4");
}

/* ---------------------------------------------------------------- the helper */

static pid_t guard_pid(void)
{
    char path[64], line[128];
    long pid = 0;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", guard_fd(guard));
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "Pid: %ld", &pid) != 1) {
    }
    fclose(file);
    return (pid_t)pid;
}

static size_t read_file(pid_t pid, const char *name, char *bytes, size_t room)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    FILE *file = fopen(path, "r");
    size_t size = file != NULL ? fread(bytes, 1, room - 1, file) : 0;
    if (file != NULL) {
        fclose(file);
    }
    bytes[size] = '\0';
    return size;
}

/* The guard's only child, once it is what it has to become; 0: there is none. */
static pid_t helper_pid(void)
{
    char name[32], children[256], comm[32];
    pid_t pid = guard_pid();
    snprintf(name, sizeof name, "task/%d/children", (int)pid);
    read_file(pid, name, children, sizeof children);
    pid = (pid_t)atol(children);
    read_file(pid, "comm", comm, sizeof comm);
    return pid > 0 && strcmp(comm, "backstep-jq\n") == 0 ? pid : 0;
}

static pid_t await_helper(pid_t other)
{
    int64_t until_ms = clock_monotonic_ms() + DEADLINE_MS;
    pid_t pid = 0;
    while (((pid = helper_pid()) == 0 || pid == other) && clock_monotonic_ms() < until_ms) {
        poll(NULL, 0, 5);
    }
    assert_true(pid > 0);
    return pid;
}

static void *thaw_guard(void *state)
{
    (void)state;
    kill(guard_pid(), SIGCONT);
    return NULL;
}

static void await_death(pid_t pid)
{
    int64_t until_ms = clock_monotonic_ms() + DEADLINE_MS;
    char stat[512];
    const char *state = "";
    while (*state != 'Z' && clock_monotonic_ms() < until_ms) {
        read_file(pid, "stat", stat, sizeof stat);
        const char *name_end = strrchr(stat, ')');
        state = name_end != NULL ? name_end + 2 : "";
        poll(NULL, 0, *state != 'Z');
    }
    assert_int_equal(*state, 'Z');
}

static void a_helper_is_kept_and_another_made_after_trouble(void **state)
{
    (void)state;
    pthread_t thread;
    expect("1", "1");
    pid_t first = await_helper(0);
    expect("2", "2");
    expect_failure("empty", "'empty' fails: it gives no value");
    expect("3", "3");
    assert_int_equal(await_helper(0), first);
    kill(guard_pid(), SIGSTOP); /* it does not get to tell of it before the next is asked */
    kill(first, SIGKILL);
    await_death(first);
    assert_int_equal(pthread_create(&thread, NULL, thaw_guard, NULL), 0);
    expect("4", "4");
    pthread_join(thread, NULL);
    assert_int_not_equal(await_helper(first), first);
}

static void a_helper_has_nothing_of_the_workers(void **state)
{
    (void)state;
    char environment[8192];
    char path[64];
    expect("1", "1");
    pid_t pid = await_helper(0);
    size_t size = read_file(pid, "environ", environment, sizeof environment);
    assert_true(size > 0);
    assert_null(memmem(environment, size, "swordfish", 9));
    assert_null(memmem(environment, size, "PATH=/usr", 9));
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    int highest = 0;
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        highest = atoi(entry->d_name) > highest ? atoi(entry->d_name) : highest;
    }
    closedir(directory);
    assert_in_range(highest, 2, 4); /* a sanitizer's build looks at its own memory through one more */
}

static void a_cancelled_evaluation_stops(void **state)
{
    (void)state;
    struct cancellation cancellation = {0};
    int fd = cancellation_fd(&cancellation);
    cancellation_request(&cancellation);
    struct answer answer = ask_within("last(range(1e15))", LONG_MS, fd);
    assert_int_equal(answer.end, EVALUATION_CANCELLED);
    cancellation_fini(&cancellation);
}

static void *ask_for_long(void *state)
{
    *(struct answer *)state = ask_within("last(range(1e15))", LONG_MS, -1);
    return NULL;
}

static void an_evaluation_ends_with_the_lease(void **state)
{
    (void)state;
    pthread_t thread;
    struct answer answer = {0};
    struct error error = {0};
    expect("1", "1");
    await_helper(0);
    assert_int_equal(pthread_create(&thread, NULL, ask_for_long, &answer), 0);
    guard_lease_end(guard);
    pthread_join(thread, NULL);
    assert_int_equal(answer.end, EVALUATION_LOST);
    answer = ask_within("1", LONG_MS, -1);
    assert_int_equal(answer.end, EVALUATION_LOST);
    assert_true(guard_lease_begin(guard, clock_boottime_ms() + LONG_MS, 1000, &error));
    expect("2", "2");
}

static void *ask_often(void *state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct answer answer = ask_within(".params.size * 2", LIMIT_EXPRESSION_MS, -1);
        if (answer.end != EVALUATION_DONE || strcmp(answer.value, "6") != 0) {
            return answer.value;
        }
        free(answer.value);
    }
    return NULL;
}

static void more_threads_than_helpers_take_turns(void **state)
{
    (void)state;
    pthread_t threads[LIMIT_EXPRESSION_HELPERS * 3];
    size_t count = sizeof threads / sizeof *threads;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, NULL), 0);
    }
    for (size_t i = 0; i < count; i++) {
        void *wrong = &wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

/* ---------------------------------------------------------------- tasks */

static const struct step_result results[] = {
    {.step = S("list"), .success = true, .data = S("{\"files\": [\"a\", {\"b\": 1}, null], \"big\": 9007199254740993}")},
    {.step = S("cache"), .skipped = true},
    {.step = S("outer"), .success = true, .scope = true, .data = S("{\"size\": 5, \"of\": \"outer\"}")},
    {.step = S("outer/load"), .success = true, .data = S("{\"n\": 1}")},
    {.step = S("outer/deep"), .success = true, .scope = true, .data = S("{\"size\": 6}")},
    {.step = S("outer/deep/load"), .success = true, .data = S("{\"n\": 2}")},
    {.step = S("outermost"), .success = true, .data = S("{\"n\": 3}")},
};
static const struct span sets[] = {S("{\"color\": \"red\", \"tone\": 1}"), S("{\"color\": \"blue\"}")};

static struct task task_with(struct task task)
{
    task.run_id = (struct span)S("run-1");
    task.pipeline = (struct span)S("p");
    task.step = (struct span)S("it");
    task.handler = (struct span)S("echo");
    task.attempt = 1;
    task.ticket.number = 1;
    task.params = (struct span)S("{\"size\": 3, \"name\": \"Ada\", \"none\": null}");
    task.results = results;
    task.result_count = sizeof results / sizeof *results;
    task.sets = sets;
    task.set_count = 2;
    return task;
}

static int echoed;

static enum backstep_outcome echo(struct backstep_context *context, struct backstep_result *result)
{
    char *input = backstep_json_text(backstep_input(context));
    echoed++;
    enum backstep_outcome outcome = backstep_succeed(result, "%s", input);
    free(input);
    return outcome;
}

static enum backstep_outcome echo_back(struct backstep_context *context, const struct backstep_result *done,
                                       struct backstep_result *result)
{
    (void)done;
    return echo(context, result);
}

static const struct backstep_step echo_step = {.name = "echo", .execute = echo, .rollback = echo_back};

static void ignore(void *state, uint64_t current, uint64_t total, struct span metrics)
{
    (void)state;
    (void)current;
    (void)total;
    (void)metrics;
}

static struct attempt attempt_by(const struct backstep_step *step, struct task task)
{
    struct task whole = task_with(task);
    struct attempt attempt = {0};
    struct cancellation never = {0};
    struct context_listener listener = {.progressed = ignore, .evaluator = evaluator};
    attempt_run(&attempt, &whole, step, &never, &listener);
    cancellation_fini(&never);
    return attempt;
}

#define TEMPLATED .templated = true, .input

/* data NULL: not executed. */
static const struct {
    struct task task;
    enum outcome outcome;
    const char *data, *error;
    bool permanent;
} rows[] = {
    /* when */
    {{.when = S(".params.size > 2")}, OUTCOME_OK, "{}", NULL, false},
    {{.when = S(".params.size > 3")}, OUTCOME_SKIPPED, NULL, NULL, false},
    {{.when = S(".params.none")}, OUTCOME_SKIPPED, NULL, NULL, false},
    {{.when = S(".steps.cache")}, OUTCOME_SKIPPED, NULL, NULL, false},
    {{.when = S("0")}, OUTCOME_OK, "{}", NULL, false},
    {{.when = S(".params.size | keys")}, OUTCOME_FAILED, NULL, "when: '.params.size | keys' fails: number (3) has no keys", true},
    {{.when = S(".params.size.more")},
     OUTCOME_FAILED,
     NULL,
     "when: '.params.size.more' fails: Cannot index number with string \"more\"",
     true},
    {{.when = S(".a +")}, OUTCOME_FAILED, NULL, "when: '.a +' fails: line 1: syntax error, unexpected end", true},
    {{.when = S("false"), TEMPLATED = S("{\"a\": \"${ error }\"}")},
     OUTCOME_SKIPPED,
     NULL,
     NULL,
     false}, /* nothing more is evaluated */
    /* with */
    {{.input = S("{\"a\": \"${ .params }\"}")}, OUTCOME_OK, "{\"a\":\"${ .params }\"}", NULL, false}, /* not templated */
    {{TEMPLATED = S("{\"a\": \"${ .params.size }\"}")}, OUTCOME_OK, "{\"a\":3}", NULL, false},
    {{TEMPLATED = S("{\"a\": \"${ .params.size + 1 }\"}")}, OUTCOME_OK, "{\"a\":4}", NULL, false},
    {{TEMPLATED = S("{\"a\": \"${.params}\"}")}, OUTCOME_OK, "{\"a\":{\"size\":3,\"name\":\"Ada\",\"none\":null}}", NULL, false},
    {{TEMPLATED =
          S("{\"a\": \"Hello ${ .params.name }, ${ .params.size * 2 } files, ${ .steps.list.files }, ${ .params.none }\"}")},
     OUTCOME_OK,
     "{\"a\":\"Hello Ada, 6 files, [\\\"a\\\",{\\\"b\\\":1},null], null\"}",
     NULL,
     false},
    {{TEMPLATED = S("{\"a\": [1, \"${ .shared.color }\", {\"b\": \"${ .shared.tone }${ .shared.tone }\"}], \"c\": true}")},
     OUTCOME_OK,
     "{\"a\":[1,\"blue\",{\"b\":\"11\"}],\"c\":true}",
     NULL,
     false},
    {{TEMPLATED = S("{\"a\": \"$${ .params }\", \"${ .params.name }\": 1}")},
     OUTCOME_OK,
     "{\"a\":\"${ .params }\",\"${ .params.name }\":1}",
     NULL,
     false},
    {{TEMPLATED = S("{\"a\": \"${ .steps.list.big }\"}")},
     OUTCOME_OK,
     "{\"a\":9007199254740993}",
     NULL,
     false}, /* jq would round it */
    {{TEMPLATED = S("{\"a\": \"${ .steps.none.at.all }\"}")}, OUTCOME_OK, "{\"a\":null}", NULL, false},
    {{TEMPLATED = S("{\"a\": \"${ .params.\"}")}, OUTCOME_FAILED, NULL, "with: '${ .params.' has no end: '}' is missing", true},
    {{TEMPLATED = S("{\"a\": \"${ .params.name | tonumber }\"}")},
     OUTCOME_FAILED,
     NULL,
     "with: '.params.name | tonumber' fails: Invalid numeric literal at EOF at line 1, column 3 (while parsing 'Ada')",
     true},
    {{TEMPLATED = S("{\"a\": \"${ \\\"x\\\" * 400000 }\", \"b\": \"${ \\\"y\\\" * 400000 }\"}")},
     OUTCOME_FAILED,
     NULL,
     "with: bytes of the step's input: 800015; the most is 524288",
     true},
    /* what is seen from within pipelines in pipelines */
    {{TEMPLATED = S("{\"a\": \"${ [.steps.outer, .steps.outermost.n, .params.size] }\"}")},
     OUTCOME_OK,
     "{\"a\":[{\"load\":{\"n\":1},\"deep\":{\"load\":{\"n\":2}}},3,3]}",
     NULL,
     false},
    {{.scope = S("outer"), TEMPLATED = S("{\"a\": \"${ [.steps, .params] }\"}")},
     OUTCOME_OK,
     "{\"a\":[{\"load\":{\"n\":1},\"deep\":{\"load\":{\"n\":2}}},{\"size\":5,\"of\":\"outer\"}]}",
     NULL,
     false},
    {{.scope = S("outer/deep"), TEMPLATED = S("{\"a\": \"${ [.steps, .params, .shared.color] }\"}")},
     OUTCOME_OK,
     "{\"a\":[{\"load\":{\"n\":2}},{\"size\":6},\"blue\"]}",
     NULL,
     false},
    /* instances */
    {{.ticket = {.instance = 3},
      .element = S("{\"b\": 1}"),
      .elements = 5,
      TEMPLATED = S("{\"a\": \"${ [.element.b, .index] }\"}")},
     OUTCOME_OK,
     "{\"a\":[1,2]}",
     NULL,
     false},
    {{.ticket = {.instance = 1}, .element = S("7"), .elements = 5, .when = S(".element > 7")}, OUTCOME_SKIPPED, NULL, NULL, false},
    {{TEMPLATED = S("{\"a\": \"${ has(\\\"element\\\") }\"}")}, OUTCOME_OK, "{\"a\":false}", NULL, false},
    /* validate and scope */
    {{.kind = PLAN_VALIDATE, .assert = S(".params.size == 3")}, OUTCOME_OK, "{}", NULL, false},
    {{.kind = PLAN_VALIDATE, .assert = S(".params.size == 4"), .message = S("the size is wrong")},
     OUTCOME_FAILED,
     NULL,
     "the size is wrong",
     false},
    {{.kind = PLAN_VALIDATE, .assert = S(".params.none")},
     OUTCOME_FAILED,
     NULL,
     "'.params.none' does not hold: it gives false or null",
     false},
    {{.kind = PLAN_VALIDATE, .assert = S("error"), .message = S("not this")},
     OUTCOME_FAILED,
     NULL,
     "assert: 'error' fails: "
     "{\"params\":{\"size\":3,\"name\":\"Ada\",\"none\":null},\"steps\":{\"list\":{\"files\":[\"a\",{\"b\":1},null],\"big\":"
     "9007199254740992},\"cache\":null,\"outer\":{\"load\":{\"n\":1},\"deep\":{\"load\":{\"n\":2}}},\"outermost\":{\"n\":3}},"
     "\"shared\":{\"color\":"
     "\"blue\",\"tone\":1}}",
     true},
    {{.kind = PLAN_VALIDATE, .when = S("false"), .assert = S("false")}, OUTCOME_SKIPPED, NULL, NULL, false},
    {{.kind = PLAN_SCOPE, TEMPLATED = S("{\"a\": \"${ .params.size }\"}")}, OUTCOME_OK, "{\"a\":3}", NULL, false},
    /* rollback: only templates */
    {{.ticket = {.direction = DIRECTION_ROLLBACK}, .when = S("false"), TEMPLATED = S("{\"a\": \"${ .params.size + 2 }\"}")},
     OUTCOME_OK,
     "{\"a\":5}",
     NULL,
     false},
};

static const struct backstep_step *step_of(enum plan_kind kind)
{
    return kind == PLAN_VALIDATE ? builtin_find(span_of(PLAN_HANDLER_VALIDATE))
           : kind == PLAN_SCOPE  ? builtin_find(span_of(PLAN_HANDLER_SCOPE))
                                 : &echo_step;
}

static void a_task_is_evaluated_before_its_step_is_called(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        echoed = 0;
        struct attempt attempt = attempt_by(step_of(rows[i].task.kind), rows[i].task);
        assert_string_equal(attempt.error != NULL ? attempt.error : "", rows[i].error != NULL ? rows[i].error : "");
        assert_string_equal(attempt.data != NULL ? attempt.data : "-", rows[i].data != NULL ? rows[i].data : "-");
        assert_int_equal(attempt.outcome, rows[i].outcome);
        assert_int_equal(attempt.permanent, rows[i].permanent);
        assert_int_equal(echoed, rows[i].data != NULL && rows[i].task.kind == PLAN_HANDLER);
        attempt_fini(&attempt);
    }
}

static void a_list_makes_elements_and_nothing_is_executed(void **state)
{
    (void)state;
    echoed = 0;
    struct attempt attempt = attempt_by(&echo_step, (struct task){.each = S(".steps.list.files")});
    assert_true(attempt.expanded);
    assert_int_equal(attempt.element_count, 3);
    assert_memory_equal(attempt.elements[0].bytes, "\"a\"", 4);
    assert_memory_equal(attempt.elements[1].bytes, "{\"b\":1}", 8);
    assert_memory_equal(attempt.elements[2].bytes, "null", 5);
    attempt_fini(&attempt);
    attempt = attempt_by(&echo_step, (struct task){.each = S("[range(10000)]")});
    assert_int_equal(attempt.element_count, LIMIT_ELEMENTS);
    attempt_fini(&attempt);
    attempt = attempt_by(&echo_step, (struct task){.each = S("[]")});
    assert_true(attempt.expanded);
    assert_int_equal(attempt.element_count, 0);
    attempt_fini(&attempt);
    assert_int_equal(echoed, 0);
}

static void what_is_no_list_makes_none(void **state)
{
    static const struct {
        struct span each;
        const char *error;
    } bad[] = {
        {S(".params"), "each: '.params' is not for each: it gives an object, not a list"},
        {S(".steps.list.files[]"),
         "each: '.steps.list.files[]' fails: it gives more than one value; for a list of them put it in [ ]"},
        {S("[range(10001)]"), "each: elements of the list: 10001; the most is 10000"},
        {S("[range(400000) | \"x\"]"), "each: '[range(400000) | \"x\"]' fails: it gives 1600001 bytes; the most is 524288"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct attempt attempt = attempt_by(&echo_step, (struct task){.each = bad[i].each});
        assert_string_equal(attempt.error, bad[i].error);
        assert_int_equal(attempt.outcome, OUTCOME_FAILED);
        assert_true(attempt.permanent);
        assert_false(attempt.expanded);
        attempt_fini(&attempt);
    }
}

static void what_an_expression_gives_has_a_bound(void **state)
{
    (void)state;
    expect_failure("[range(200000)]", "'[range(200000)]' fails: it gives 1288891 bytes; the most is 524288");
    expect("[range(50000)] | length", "50000");
    struct attempt attempt = attempt_by(&echo_step, (struct task){.when = S("reduce range(200) as $i (1; [.])")});
    assert_non_null(strstr(attempt.error, "' gives what is of no use: "));
    attempt_fini(&attempt);
}

static void an_attempts_timeout_is_its_expressions_too(void **state)
{
    (void)state;
    struct attempt attempt = attempt_by(&echo_step, (struct task){.when = S("last(range(1e15))"), .timeout_ms = 400});
    assert_string_equal(attempt.error, "when: 'last(range(1e15))' fails: it takes longer than the 0.4 s there are for it");
    assert_true(attempt.permanent);
    attempt_fini(&attempt);
}

static void a_step_without_a_rollback_needs_no_templates_for_it(void **state)
{
    (void)state;
    struct task task = {.ticket = {.direction = DIRECTION_ROLLBACK}, TEMPLATED = S("{\"a\": \"${ error }\"}")};
    struct attempt attempt = attempt_by(builtin_find(span_of(PLAN_HANDLER_SCOPE)), task);
    assert_int_equal(attempt.outcome, OUTCOME_SKIPPED);
    attempt_fini(&attempt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_expression_gives_one_value),
        cmocka_unit_test(several_expressions_are_answered_in_their_order),
        cmocka_unit_test(expressions_compiled_together_stay_apart),
        cmocka_unit_test(an_expression_sees_neither_environment_nor_files_nor_input),
        cmocka_unit_test(an_endless_expression_is_ended),
        cmocka_unit_test(an_expression_that_eats_memory_is_ended),
        cmocka_unit_test(a_recursion_without_end_is_ended),
        cmocka_unit_test(what_an_expression_gives_has_a_bound),
        cmocka_unit_test(a_helper_is_kept_and_another_made_after_trouble),
        cmocka_unit_test(a_helper_has_nothing_of_the_workers),
        cmocka_unit_test(a_cancelled_evaluation_stops),
        cmocka_unit_test(an_evaluation_ends_with_the_lease),
        cmocka_unit_test(a_task_is_evaluated_before_its_step_is_called),
        cmocka_unit_test(a_list_makes_elements_and_nothing_is_executed),
        cmocka_unit_test(what_is_no_list_makes_none),
        cmocka_unit_test(an_attempts_timeout_is_its_expressions_too),
        cmocka_unit_test(a_step_without_a_rollback_needs_no_templates_for_it),
        cmocka_unit_test(more_threads_than_helpers_take_turns),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
