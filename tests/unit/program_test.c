/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/program.h"

#include "common/clock.h"
#include "common/limits.h"
#include "tests/unit/programs_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_MS 600000

static struct guard *guard_with_lease(void)
{
    struct error error = {0};
    struct guard *guard = guard_start(&error);
    if (guard == NULL || !guard_lease_begin(guard, clock_boottime_ms() + LONG_MS, 0, &error)) {
        fail_msg("%s", error.message);
    }
    return guard;
}

static void expect_nobody_left(void)
{
    pid_t pids[4];
    assert_int_equal(descendants_children_of_threads(pids, 4), 0);
}

static void expect_text(const char *what, const char *got, const char *wanted)
{
    if ((got == NULL) != (wanted == NULL) || (got != NULL && strcmp(got, wanted) != 0)) {
        fail_msg("%s: got %s, wanted %s", what, got != NULL ? got : "nothing", wanted != NULL ? wanted : "nothing");
    }
}

/* ---- how programs end */

#define E PROGRAM_EXECUTE
#define R PROGRAM_ROLLBACK

static const struct row {
    const char *what, *text;
    enum program_direction direction;
    enum program_outcome_kind kind;
    bool permanent;
    const char *error, *data;
} rows[] = {
    {"success", "exit 0", E, PROGRAM_SUCCEEDED, false, NULL, NULL},
    {"data", "echo '{\"data\":{\"a\":1}}'", E, PROGRAM_SUCCEEDED, false, NULL, "{\"a\":1}"},
    {"its direction", "[ $1 = execute ] && echo \"{\\\"data\\\":{\\\"step\\\":\\\"$BACKSTEP_STEP\\\"}}\"", E,
     PROGRAM_SUCCEEDED, false, NULL, "{\"step\":\"a b\"}"},
    {"its input", "read line; echo \"{\\\"data\\\":$line}\"", E, PROGRAM_SUCCEEDED, false, NULL, "{\"run_id\":\"r\"}"},
    {"skipped", "exit 77", E, PROGRAM_SKIPPED, false, NULL, NULL},
    {"64 is a failure of execute", "exit 64", E, PROGRAM_FAILED, false, "exit status 64", NULL},
    {"permanent failure", "echo no such file >&2; exit 65", E, PROGRAM_FAILED, true, "no such file", NULL},
    {"failure", "echo one >&2; echo two >&2; echo >&2; exit 1", E, PROGRAM_FAILED, false, "two", NULL},
    {"failure without a word", "exit 255", E, PROGRAM_FAILED, false, "exit status 255", NULL},
    {"failure with data", "echo '{\"data\":{\"a\":1}}'; exit 1", E, PROGRAM_FAILED, false, "exit status 1", "{\"a\":1}"},
    {"killed", "kill -KILL $$", E, PROGRAM_FAILED, false, "signal SIGKILL", NULL},
    {"killed, with a word", "echo alas >&2; kill -SEGV $$", E, PROGRAM_FAILED, false, "alas", NULL},
    {"garbage", "head -c 100000 /dev/urandom | tr -d '{'; exit 0", E, PROGRAM_SUCCEEDED, false, NULL, NULL},
    {"a violation", "echo '{\"date\":{}}'", E, PROGRAM_FAILED, true,
     "standard output: unknown key \"date\"; did you mean 'data'?", NULL},
    {"undone", "[ $1 = rollback ]", R, PROGRAM_SUCCEEDED, false, NULL, NULL},
    {"nothing to undo", "exit 64", R, PROGRAM_SKIPPED, false, NULL, NULL},
    {"nothing to undo, too", "exit 77", R, PROGRAM_SKIPPED, false, NULL, NULL},
    {"65 of a rollback may be tried again", "exit 65", R, PROGRAM_FAILED, false, "exit status 65", NULL},
};

static const char *const environment[] = {"BACKSTEP_STEP=a b", NULL};

static struct program_request request_for(const char *path)
{
    return (struct program_request){
        .path = path, .input = span_of("{\"run_id\":\"r\"}\n"), .environment = environment, .cancel_fd = -1};
}

static void programs_are_judged_by_how_they_end(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, "#!/bin/sh\n%s\n", rows[i].text);
        struct program_request request = request_for(write_program("step", text, 0755));
        struct program_outcome outcome;
        request.direction = rows[i].direction;
        program_run(guard, &request, &outcome);
        expect_text(rows[i].what, outcome.error, rows[i].error);
        expect_text(rows[i].what, outcome.data, rows[i].data);
        assert_int_equal(outcome.kind, rows[i].kind);
        assert_int_equal(outcome.permanent, rows[i].permanent);
        assert_true(outcome.started);
        assert_false(outcome.cancelled);
        program_outcome_fini(&outcome);
    }
    guard_free(guard);
    expect_nobody_left();
}

static void what_cannot_be_run_fails_for_good_and_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
        mode_t mode;
        const char *error;
    } programs[] = {
        {"plain", "#!/bin/sh\n", 0644, "/plain: cannot be executed: permission denied; is it marked executable?"},
        {"garbage", "\x01\x02", 0755, "/garbage: cannot be executed: neither a binary nor a script that begins with #!"},
        {"orphan", "#!/no/such\n", 0755, "/orphan: cannot be executed: it, or the interpreter it names, does not exist"},
    };
    struct guard *guard = guard_with_lease();
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        struct program_request request = request_for(write_program(programs[i].name, programs[i].text, programs[i].mode));
        struct program_outcome outcome;
        program_run(guard, &request, &outcome);
        assert_int_equal(outcome.kind, PROGRAM_FAILED);
        assert_true(outcome.permanent);
        assert_false(outcome.started);
        assert_memory_equal(outcome.error, directory, strlen(directory));
        expect_text(programs[i].name, outcome.error + strlen(directory), programs[i].error);
        program_outcome_fini(&outcome);
    }
    guard_free(guard);
    expect_nobody_left();
}

/* ---- much of everything */

struct counted {
    size_t lines, bytes;
    int64_t current;
};

static void count_log(void *state, enum program_stream stream, struct span line)
{
    (void)stream;
    struct counted *counted = state;
    counted->lines++;
    counted->bytes += line.size;
}

static void count_progress(void *state, int64_t current, int64_t total)
{
    (void)total;
    ((struct counted *)state)->current = current;
}

static void a_hundred_megabytes_are_read_and_dropped(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease();
    struct counted counted = {0};
    struct program_outcome outcome;
    struct program_request request = request_for(
        write_program("prints", "#!/bin/sh\nyes 0123456789 | head -c 55000000\nhead -c 50000000 /dev/zero >&2\n"
                                "echo '{\"progress\":[5,5]}'\necho '{\"data\":{\"done\":true}}'\n", 0755));
    request.listener = (struct program_listener){.logged = count_log, .progressed = count_progress, .state = &counted};
    program_run(guard, &request, &outcome);
    assert_int_equal(outcome.kind, PROGRAM_SUCCEEDED);
    expect_text("data", outcome.data, "{\"done\":true}");
    assert_int_equal(counted.current, 5);
    assert_in_range(counted.bytes, LIMIT_PROGRAM_LOG_BYTES - 100, LIMIT_PROGRAM_LOG_BYTES);
    assert_true(outcome.dropped_bytes > 90 * (uint64_t)MIB);
    program_outcome_fini(&outcome);
    guard_free(guard);
    expect_nobody_left();
}

static char *large_input(size_t size)
{
    char *input = malloc(size);
    assert_non_null(input);
    memset(input, 'i', size);
    return input;
}

static void a_program_need_not_read_its_input(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease();
    char *input = large_input(MIB);
    struct program_outcome outcome;
    struct program_request request = request_for(write_program("deaf", "#!/bin/sh\nexec <&-\nexec sleep 0.05\n", 0755));
    request.input = (struct span){input, MIB};
    program_run(guard, &request, &outcome);
    assert_int_equal(outcome.kind, PROGRAM_SUCCEEDED);
    program_outcome_fini(&outcome);
    request.path = write_program("deafer", "#!/bin/sh\nexit 0\n", 0755);
    program_run(guard, &request, &outcome);
    assert_int_equal(outcome.kind, PROGRAM_SUCCEEDED);
    program_outcome_fini(&outcome);
    free(input);
    guard_free(guard);
    expect_nobody_left();
}

static void input_and_output_flow_at_once(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease();
    char *input = large_input(MIB);
    struct counted counted = {0};
    struct program_outcome outcome;
    struct program_request request = request_for(write_program("echoes", "#!/bin/sh\nfold -w 1000\n", 0755));
    request.input = (struct span){input, 900000};
    request.listener = (struct program_listener){.logged = count_log, .state = &counted};
    program_run(guard, &request, &outcome);
    assert_int_equal(outcome.kind, PROGRAM_SUCCEEDED);
    assert_int_equal(counted.lines, 900);
    assert_int_equal(counted.bytes, 900000);
    program_outcome_fini(&outcome);
    free(input);
    guard_free(guard);
    expect_nobody_left();
}

static void a_result_of_sixty_kilobytes_arrives(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease();
    struct program_outcome outcome;
    struct program_request request = request_for(write_program(
        "large", "#!/bin/sh\nprintf '{\"data\":{\"a\":\"'; head -c 65528 /dev/zero | tr '\\0' x; printf '\"}}'\n", 0755));
    program_run(guard, &request, &outcome);
    expect_text("error", outcome.error, NULL);
    assert_int_equal(strlen(outcome.data), LIMIT_RESULT_BYTES);
    program_outcome_fini(&outcome);
    guard_free(guard);
    expect_nobody_left();
}

/* ---- stopping: the program says when it is ready, by a progress line, and then it is told to stop */

struct stopping {
    int cancel_fd;
    struct guard *guard;
    bool kill_guard, end_lease;
};

static void stop_it(void *state, int64_t current, int64_t total)
{
    (void)current;
    (void)total;
    const struct stopping *stopping = state;
    pid_t pids[4];
    if (stopping->kill_guard) {
        assert_int_equal(descendants_children_of_threads(pids, 4), 1);
        kill(pids[0], SIGKILL);
    } else if (stopping->end_lease) {
        guard_lease_end(stopping->guard);
    } else {
        assert_int_equal(eventfd_write(stopping->cancel_fd, 1), 0);
    }
}

static void run_and_stop(struct guard *guard, const char *text, int64_t grace_ms, struct stopping how,
                         struct program_outcome *outcome)
{
    how.cancel_fd = eventfd(0, EFD_CLOEXEC);
    how.guard = guard;
    struct program_request request = request_for(write_program("stops", text, 0755));
    request.cancel_fd = how.cancel_fd;
    request.grace_ms = grace_ms;
    request.listener = (struct program_listener){.progressed = stop_it, .state = &how};
    program_run(guard, &request, outcome);
    close(how.cancel_fd);
}

#define READY "echo '{\"progress\":[0,1]}'\n"

static void a_cancel_is_a_polite_signal_first(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease();
    struct program_outcome outcome;
    run_and_stop(guard, "#!/bin/sh\ntrap 'echo stopped >&2; exit 9' TERM\n" READY "while :; do sleep 0.01; done\n", LONG_MS,
                 (struct stopping){0}, &outcome);
    assert_int_equal(outcome.kind, PROGRAM_FAILED);
    assert_true(outcome.cancelled);
    assert_true(outcome.started);
    expect_text("error", outcome.error, "stopped");
    program_outcome_fini(&outcome);

    run_and_stop(guard, "#!/bin/sh\ntrap 'exit 0' TERM\n" READY "while :; do sleep 0.01; done\n", LONG_MS,
                 (struct stopping){0}, &outcome);
    assert_int_equal(outcome.kind, PROGRAM_SUCCEEDED);
    assert_true(outcome.cancelled);
    program_outcome_fini(&outcome);

    run_and_stop(guard, "#!/bin/sh\n" READY "exec sleep 1000\n", LONG_MS, (struct stopping){0}, &outcome);
    expect_text("error", outcome.error, "signal SIGTERM");
    program_outcome_fini(&outcome);
    guard_free(guard);
    expect_nobody_left();
}

static void a_program_that_ignores_the_signal_is_killed_after_the_grace(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease();
    struct program_outcome outcome;
    int64_t begun_ms = clock_monotonic_ms();
    run_and_stop(guard, "#!/bin/sh\ntrap '' TERM\n" READY "sleep 1000\n", 200, (struct stopping){0}, &outcome);
    assert_true(clock_monotonic_ms() - begun_ms >= 200);
    assert_int_equal(outcome.kind, PROGRAM_FAILED);
    assert_true(outcome.cancelled);
    expect_text("error", outcome.error, "signal SIGKILL");
    program_outcome_fini(&outcome);
    guard_free(guard);
    expect_nobody_left();
}

static void what_is_cancelled_before_it_begins_does_not_begin(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease();
    struct program_outcome outcome;
    struct program_request request = request_for("/bin/true");
    request.cancel_fd = eventfd(1, EFD_CLOEXEC);
    program_run(guard, &request, &outcome);
    assert_true(outcome.cancelled);
    assert_false(outcome.started);
    program_outcome_fini(&outcome);
    close(request.cancel_fd);
    guard_free(guard);
    expect_nobody_left();
}

static void grandchildren_are_not_waited_for(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease();
    struct program_outcome outcome;
    struct program_request request = request_for(write_program(
        "leaves", "#!/bin/sh\nsleep 1000 &\nsetsid sleep 1000 &\nenv -i setsid sleep 1000 &\necho '{\"data\":{}}'\n", 0755));
    program_run(guard, &request, &outcome);
    assert_int_equal(outcome.kind, PROGRAM_SUCCEEDED);
    expect_text("data", outcome.data, "{}");
    program_outcome_fini(&outcome);
    guard_free(guard);
    expect_nobody_left();
}

/* ---- what ends the incarnation */

static void without_a_lease_a_program_is_lost_and_not_started(void **state)
{
    (void)state;
    struct guard *guard = guard_start(NULL);
    struct program_outcome outcome;
    struct program_request request = request_for("/bin/true");
    program_run(guard, &request, &outcome);
    assert_int_equal(outcome.kind, PROGRAM_LOST);
    assert_false(outcome.started);
    expect_text("error", outcome.error, "not started: the worker's lease is over");
    program_outcome_fini(&outcome);
    guard_free(guard);
    expect_nobody_left();
}

static void a_program_that_runs_when_the_lease_ends_is_lost(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease();
    struct program_outcome outcome;
    run_and_stop(guard, "#!/bin/sh\n" READY "exec sleep 1000\n", 0, (struct stopping){.end_lease = true}, &outcome);
    assert_int_equal(outcome.kind, PROGRAM_LOST);
    assert_true(outcome.started);
    expect_text("error", outcome.error, "killed: the worker's lease is over");
    program_outcome_fini(&outcome);
    guard_free(guard);
    expect_nobody_left();
}

static void a_program_whose_guard_dies_is_lost(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease();
    struct program_outcome outcome;
    run_and_stop(guard, "#!/bin/sh\nsetsid sleep 1000 &\n" READY "exec sleep 1000\n", 0, (struct stopping){.kill_guard = true},
                 &outcome);
    assert_int_equal(outcome.kind, PROGRAM_LOST);
    assert_true(outcome.started);
    expect_text("error", outcome.error, "the guard died");
    program_outcome_fini(&outcome);
    assert_true(guard_restart(guard, NULL));
    assert_true(guard_lease_begin(guard, clock_boottime_ms() + LONG_MS, 0, NULL));
    struct program_request request = request_for("/bin/true");
    program_run(guard, &request, &outcome);
    assert_int_equal(outcome.kind, PROGRAM_SUCCEEDED);
    program_outcome_fini(&outcome);
    guard_free(guard);
    expect_nobody_left();
}

static void *run_some(void *context)
{
    char path[128];
    snprintf(path, sizeof path, "%s/many", directory);
    struct program_request request = request_for(path);
    struct counted counted = {0};
    request.listener = (struct program_listener){.logged = count_log, .state = &counted};
    for (int i = 0; i < 10; i++) {
        struct program_outcome outcome;
        program_run(context, &request, &outcome);
        if (outcome.kind != PROGRAM_SUCCEEDED) {
            return outcome.error; /* cmocka may be told of it in the test's own thread only */
        }
        program_outcome_fini(&outcome);
    }
    return counted.lines == 10 ? NULL : strdup("not every line was heard");
}

static void many_threads_run_programs_at_once(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease();
    pthread_t threads[8];
    write_program("many", "#!/bin/sh\ncat >&2\n", 0755);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run_some, guard), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        void *failure = NULL;
        pthread_join(threads[i], &failure);
        expect_text("a thread", failure, NULL);
    }
    guard_free(guard);
    expect_nobody_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(programs_are_judged_by_how_they_end),
        TEST(what_cannot_be_run_fails_for_good_and_is_named),
        TEST(a_hundred_megabytes_are_read_and_dropped),
        TEST(a_program_need_not_read_its_input),
        TEST(input_and_output_flow_at_once),
        TEST(a_result_of_sixty_kilobytes_arrives),
        TEST(a_cancel_is_a_polite_signal_first),
        TEST(a_program_that_ignores_the_signal_is_killed_after_the_grace),
        TEST(what_is_cancelled_before_it_begins_does_not_begin),
        TEST(grandchildren_are_not_waited_for),
        TEST(without_a_lease_a_program_is_lost_and_not_started),
        TEST(a_program_that_runs_when_the_lease_ends_is_lost),
        TEST(a_program_whose_guard_dies_is_lost),
        TEST(many_threads_run_programs_at_once),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
