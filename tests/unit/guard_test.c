/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/guard.h"

#include "common/clock.h"
#include "tests/unit/programs_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 30000 /* for what must happen; nothing waits so long when all is well */
#define LONG_MS 600000

/* ---- what the tests are made of */

static bool is_readable(int fd, int64_t within_ms)
{
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, (int)within_ms) == 1;
}

static void wait_until(int64_t boottime_ms)
{
    for (int64_t left; (left = boottime_ms - clock_boottime_ms()) > 0;) {
        poll(NULL, 0, (int)left);
    }
}

/* A program, and the reading end of its standard output: its end comes when everybody who holds it is gone. */
struct started {
    struct guard_program program;
    int output_fd;
    char text[4096]; /* what read_all() read */
};

static void start_with(struct guard *guard, const char *path, const char *const *environment, struct started *started)
{
    int ends[2];
    struct error error = {0};
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct guard_spawn spawn = {path, "execute", environment, null_fd, ends[1], STDERR_FILENO, false};
    if (!guard_spawn(guard, &spawn, &started->program, &error)) {
        fail_msg("%s", error.message);
    }
    close(null_fd);
    close(ends[1]);
    started->output_fd = ends[0];
}

static struct guard_status status_of(struct started *started)
{
    struct guard_status status = {0};
    assert_true(is_readable(started->program.status_fd, DEADLINE_MS));
    ssize_t got = read(started->program.status_fd, &status, sizeof status);
    assert_true(got == 0 || got == (ssize_t)sizeof status);
    close(started->program.status_fd);
    return status;
}

/* Wait until the program has said `word`: then it has done what it does before that. */
static void wait_for_word(struct started *started, const char *word)
{
    size_t size = strlen(started->text);
    while (strstr(started->text, word) == NULL) {
        assert_true(is_readable(started->output_fd, DEADLINE_MS));
        ssize_t got = read(started->output_fd, started->text + size, sizeof started->text - 1 - size);
        assert_true(got > 0);
        size += (size_t)got;
    }
}

static void read_all(struct started *started)
{
    size_t size = strlen(started->text);
    for (ssize_t got = 1; got > 0; size += (size_t)got) {
        assert_true(is_readable(started->output_fd, DEADLINE_MS));
        got = read(started->output_fd, started->text + size, sizeof started->text - 1 - size);
        assert_true(got >= 0);
    }
    close(started->output_fd);
}

static struct guard *guard_with_lease(int64_t lease_ms, int64_t grace_ms)
{
    struct error error = {0};
    struct guard *guard = guard_start(&error);
    if (guard == NULL || !guard_lease_begin(guard, clock_boottime_ms() + lease_ms, grace_ms, &error)) {
        fail_msg("%s", error.message);
    }
    return guard;
}

/* Every child of this process, those inherited from the dead included, ends within the deadline. */
static void expect_nobody_left(void)
{
    pid_t pid;
    int64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;
    while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0) {
        assert_true(clock_monotonic_ms() < deadline_ms);
        poll(NULL, 0, pid == 0 ? 1 : 0);
    }
    assert_int_equal(errno, ECHILD);
}

static pid_t only_child(void)
{
    pid_t pids[4];
    assert_int_equal(descendants_children_of_threads(pids, 4), 1);
    return pids[0];
}

#define HANGS "#!/bin/sh\necho ready\nexec sleep 1000\n"
#define HANGS_WITH_FAMILY                                                                                              \
    "#!/bin/sh\nsleep 1001 &\nsetsid sh -c 'sleep 1002 & echo ready; exec sleep 1003' &\nwait\n"
#define LEAVES_FAMILY                                                                                                  \
    "#!/bin/sh\nsleep 1004 &\nsetsid sh -c 'setsid sleep 1005 & echo ready; exec sleep 1006' &\n"                   \
    "while [ ! -e \"$READY\" ]; do sleep 0.01; done\nexit 3\n"

/* ---- starting */

static void program_gets_a_clean_environment_and_a_group_of_its_own(void **state)
{
    (void)state;
    setenv("BACKSTEP_PASSWORD", "secret", 1);
    setenv("GUARD_TEST", "kept", 1);
    struct guard *guard = guard_with_lease(LONG_MS, 0);
    struct started started = {0};
    const char *environment[] = {"BACKSTEP_RUN_ID=run one", "BACKSTEP_STEP=l\xc3\xa4" "d 'x'", NULL};
    const char *path = write_program("shows",
                                     "#!/bin/sh\necho \"$1|$BACKSTEP_PASSWORD|$GUARD_TEST|$BACKSTEP_RUN_ID|$BACKSTEP_STEP|\"\n"
                                     "grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\\n'\n"
                                     "echo; cut -d' ' -f1,5 /proc/$$/stat; ls /proc/$$/fd | tr '\\n' ' '\n",
                                     0755);
    start_with(guard, path, environment, &started);
    read_all(&started);
    struct guard_status status = status_of(&started);
    assert_int_equal(status.kind, GUARD_STATUS_ENDED);
    assert_int_equal(status.value, 0);
    assert_non_null(strstr(started.text, "execute||kept|run one|l\xc3\xa4" "d 'x'|\n"));
    assert_non_null(strstr(started.text, "SigBlk:\t0000000000000000SigIgn:\t0000000000000000\n"));
    int pid = 0;
    int group = 0;
    assert_int_equal(sscanf(strstr(started.text, "\n") + 1, "%*[^\n] %d %d", &pid, &group), 2);
    assert_int_equal(pid, group);
    assert_non_null(strstr(started.text, "\n0 1 10 2 ")); /* 10: the script itself, opened by sh */
    guard_free(guard);
    unsetenv("BACKSTEP_PASSWORD");
    expect_nobody_left();
}

static void what_cannot_be_run_is_told_with_its_reason(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
        mode_t mode;
        int errno_wanted;
    } rows[] = {
        {"plain", "#!/bin/sh\n", 0644, EACCES},
        {"garbage", "\x01\x02\x03", 0755, ENOEXEC},
        {"orphan", "#!/no/such/interpreter\n", 0755, ENOENT},
        {"missing", NULL, 0, ENOENT},
    };
    struct guard *guard = guard_with_lease(LONG_MS, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct started started = {0};
        const char *path = rows[i].text != NULL ? write_program(rows[i].name, rows[i].text, rows[i].mode) : path_of("missing");
        start_with(guard, path, NULL, &started);
        struct guard_status status = status_of(&started);
        assert_int_equal(status.kind, GUARD_STATUS_NOT_RUNNABLE);
        assert_int_equal(status.value, rows[i].errno_wanted);
        close(started.output_fd);
    }
    guard_free(guard);
    expect_nobody_left();
}

/* A lease on a file, which is given up for nobody, holds up who wants to execute it, for /proc/sys/fs/lease-break-time. */
static void a_file_that_hangs_holds_up_only_its_own_program(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease(LONG_MS, 0);
    struct started hangs = {0}, runs = {0};
    const char *path = write_program("leased", "#!/bin/sh\n", 0755);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    signal(SIGIO, SIG_IGN);
    assert_int_equal(fcntl(fd, F_SETLEASE, F_WRLCK), 0);
    start_with(guard, path, NULL, &hangs);
    start_with(guard, "/bin/true", NULL, &runs);
    struct guard_status status = status_of(&runs);
    assert_int_equal(status.kind, GUARD_STATUS_ENDED);
    assert_int_equal(status.value, 0);
    assert_false(is_readable(hangs.program.status_fd, 0));
    assert_true(guard_kill(guard, hangs.program.token, SIGTERM, NULL));
    status = status_of(&hangs);
    assert_int_equal(status.kind, GUARD_STATUS_ENDED);
    assert_int_equal(WTERMSIG(status.value), SIGTERM);
    close(fd);
    signal(SIGIO, SIG_DFL);
    close(hangs.output_fd);
    close(runs.output_fd);
    guard_free(guard);
    expect_nobody_left();
}

static void too_long_a_request_is_refused(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease(LONG_MS, 0);
    char *path = malloc(40000);
    memset(path, 'x', 39999);
    path[39999] = '\0';
    struct error error = {0};
    struct guard_program program;
    assert_false(guard_spawn(guard, &(struct guard_spawn){.path = path}, &program, &error));
    assert_int_equal(error.kind, ERROR_INVALID);
    free(path);
    guard_free(guard);
}

static void a_signal_reaches_the_whole_group(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease(LONG_MS, 0);
    struct started started = {0};
    start_with(guard, write_program("traps", "#!/bin/sh\ntrap 'echo bye; exit 7' TERM\nsleep 1000 &\necho ready\nwait\n", 0755),
               NULL, &started);
    wait_for_word(&started, "ready");
    assert_true(guard_kill(guard, started.program.token, SIGTERM, NULL));
    struct guard_status status = status_of(&started);
    read_all(&started);
    assert_true(WIFEXITED(status.value));
    assert_int_equal(WEXITSTATUS(status.value), 7);
    assert_non_null(strstr(started.text, "bye"));
    assert_true(guard_kill(guard, started.program.token, SIGTERM, NULL));
    guard_free(guard);
    expect_nobody_left();
}

static void *run_many(void *context)
{
    struct guard *guard = context;
    for (int i = 0; i < 30; i++) {
        struct started started = {0};
        start_with(guard, "/bin/true", NULL, &started);
        struct guard_status status = status_of(&started);
        close(started.output_fd);
        if (status.kind != GUARD_STATUS_ENDED || status.value != 0 ||
            !guard_lease_renew(guard, clock_boottime_ms() + LONG_MS)) {
            return guard; /* cmocka may be told of it in the test's own thread only */
        }
    }
    return NULL;
}

static void many_threads_may_ask_at_once(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease(LONG_MS, 0);
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, guard), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        void *failure = NULL;
        pthread_join(threads[i], &failure);
        assert_null(failure);
    }
    guard_free(guard);
    expect_nobody_left();
}

/* ---- nobody is left behind */

static void family_of_an_ended_program_is_gone_before_its_end_is_told(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease(LONG_MS, 0);
    struct started other = {0};
    struct started started = {0};
    char ready[160];
    snprintf(ready, sizeof ready, "READY=%s/ready", directory);
    const char *environment[] = {ready, NULL};
    start_with(guard, write_program("hangs", HANGS_WITH_FAMILY, 0755), NULL, &other);
    wait_for_word(&other, "ready");
    start_with(guard, write_program("leaves", LEAVES_FAMILY, 0755), environment, &started);
    wait_for_word(&started, "ready");
    write_program("ready", "", 0644);
    struct guard_status status = status_of(&started);
    assert_int_equal(WEXITSTATUS(status.value), 3);
    struct pollfd end = {.fd = started.output_fd, .events = POLLIN};
    assert_int_equal(poll(&end, 1, 0), 1);
    assert_int_equal(end.revents, POLLHUP);
    close(started.output_fd);
    assert_int_equal(poll(&(struct pollfd){.fd = other.output_fd, .events = POLLIN}, 1, 0), 0); /* untouched */
    guard_free(guard);
    read_all(&other);
    status_of(&other);
    expect_nobody_left();
}

/* ---- the lease */

static void nothing_starts_without_a_lease(void **state)
{
    (void)state;
    struct guard *guard = guard_start(NULL);
    struct started started = {0};
    assert_true(guard_lease_is_over(guard));
    assert_false(guard_lease_renew(guard, clock_boottime_ms() + LONG_MS));
    assert_false(guard_function_begin(guard));
    start_with(guard, "/bin/true", NULL, &started);
    assert_int_equal(status_of(&started).kind, GUARD_STATUS_LEASE_OVER);
    close(started.output_fd);
    guard_free(guard);
    expect_nobody_left();
}

static void when_the_lease_ends_programs_die_and_nothing_starts(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease(LONG_MS, 0);
    struct started started = {0};
    start_with(guard, write_program("hangs", HANGS_WITH_FAMILY, 0755), NULL, &started);
    wait_for_word(&started, "ready");
    guard_free(guard);
    status_of(&started);
    read_all(&started);

    guard = guard_with_lease(1000, 0);
    start_with(guard, path_of("hangs"), NULL, &started);
    struct guard_status status = status_of(&started);
    assert_int_equal(status.kind, GUARD_STATUS_ENDED);
    assert_int_equal(WTERMSIG(status.value), SIGKILL);
    read_all(&started);
    assert_true(guard_lease_is_over(guard));
    assert_false(guard_lease_renew(guard, clock_boottime_ms() + LONG_MS));
    start_with(guard, "/bin/true", NULL, &started);
    assert_int_equal(status_of(&started).kind, GUARD_STATUS_LEASE_OVER);
    close(started.output_fd);

    assert_true(guard_lease_begin(guard, clock_boottime_ms() + LONG_MS, 0, NULL));
    start_with(guard, "/bin/true", NULL, &started);
    assert_int_equal(status_of(&started).kind, GUARD_STATUS_ENDED);
    close(started.output_fd);
    guard_free(guard);
    expect_nobody_left();
}

static void a_renewed_lease_lasts(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease(500, 0);
    int64_t first_end_ms = clock_boottime_ms() + 500;
    struct started started = {0};
    start_with(guard, write_program("hangs", HANGS, 0755), NULL, &started);
    assert_true(guard_lease_renew(guard, clock_boottime_ms() + LONG_MS));
    wait_for_word(&started, "ready");
    wait_until(first_end_ms + 100);
    assert_false(is_readable(started.program.status_fd, 0));
    guard_lease_end(guard);
    assert_int_equal(WTERMSIG(status_of(&started).value), SIGKILL);
    read_all(&started);
    guard_free(guard);
    expect_nobody_left();
}

static void a_new_lease_waits_for_functions_of_the_old_one(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease(LONG_MS, 0);
    struct error error = {0};
    assert_true(guard_function_begin(guard));
    guard_lease_end(guard);
    assert_false(guard_function_begin(guard));
    assert_false(guard_lease_begin(guard, clock_boottime_ms() + LONG_MS, 0, &error));
    assert_int_equal(error.kind, ERROR_TRANSIENT);
    guard_function_end(guard);
    assert_true(guard_lease_begin(guard, clock_boottime_ms() + LONG_MS, 0, &error));
    guard_free(guard);
    expect_nobody_left();
}

/* ---- deaths */

static void what_a_killed_guard_leaves_is_killed_by_the_worker(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease(LONG_MS, 0);
    struct started started = {0};
    start_with(guard, write_program("hangs", HANGS_WITH_FAMILY, 0755), NULL, &started);
    wait_for_word(&started, "ready");
    assert_false(is_readable(guard_fd(guard), 0));
    kill(only_child(), SIGKILL);
    assert_true(is_readable(guard_fd(guard), DEADLINE_MS));
    assert_int_equal(status_of(&started).kind, 0);
    assert_false(guard_lease_begin(guard, clock_boottime_ms() + LONG_MS, 0, NULL));
    assert_true(guard_restart(guard, NULL));
    read_all(&started);
    only_child(); /* the new guard: all others are dead and reaped */
    assert_true(guard_lease_is_over(guard));
    assert_true(guard_lease_begin(guard, clock_boottime_ms() + LONG_MS, 0, NULL));
    start_with(guard, "/bin/true", NULL, &started);
    assert_int_equal(status_of(&started).kind, GUARD_STATUS_ENDED);
    close(started.output_fd);
    guard_free(guard);
    expect_nobody_left();
}

static void a_polite_signal_does_not_end_the_guard(void **state)
{
    (void)state;
    struct guard *guard = guard_with_lease(LONG_MS, 0);
    struct started started = {0};
    kill(only_child(), SIGTERM);
    kill(only_child(), SIGINT);
    kill(only_child(), SIGHUP);
    start_with(guard, "/bin/true", NULL, &started);
    assert_int_equal(status_of(&started).kind, GUARD_STATUS_ENDED);
    close(started.output_fd);
    guard_free(guard);
    expect_nobody_left();
}

/* A worker in a process of its own: it starts a program that hangs, then does as it is told. Output: the program's pipe. */
struct stand_in {
    int64_t lease_ms, grace_ms;
    bool function_runs;
    int64_t function_ms; /* how long; it freezes instead when 0 */
};

static _Noreturn void be_worker(const struct stand_in *how)
{
    struct guard *guard = guard_with_lease(how->lease_ms, how->grace_ms);
    int64_t end_ms = clock_boottime_ms() + how->lease_ms;
    struct started started = {0};
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct guard_spawn spawn = {path_of("hangs"), NULL, NULL, null_fd, STDOUT_FILENO, STDERR_FILENO, false};
    bool ok = guard_spawn(guard, &spawn, &started.program, NULL);
    ok = ok && (!how->function_runs || guard_function_begin(guard));
    if (how->function_ms > 0) {
        wait_until(end_ms + how->function_ms);
        guard_function_end(guard);
        wait_until(end_ms + how->grace_ms + 200);
    } else {
        raise(SIGSTOP);
    }
    guard_free(guard);
    _exit(ok ? 0 : 1);
}

static pid_t start_stand_in(struct stand_in how, struct started *started)
{
    int ends[2];
    *started = (struct started){.output_fd = -1};
    write_program("hangs", HANGS_WITH_FAMILY, 0755);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        be_worker(&how);
    }
    close(ends[1]);
    started->output_fd = ends[0];
    return pid;
}

static int wait_status(pid_t pid, int options)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, options), pid);
    return status;
}

static void programs_of_a_killed_worker_die_and_so_does_the_guard(void **state)
{
    (void)state;
    struct started started;
    pid_t pid = start_stand_in((struct stand_in){.lease_ms = LONG_MS}, &started);
    wait_for_word(&started, "ready");
    kill(pid, SIGKILL);
    assert_true(WIFSIGNALED(wait_status(pid, 0)));
    read_all(&started);
    expect_nobody_left();
}

static void a_worker_frozen_in_a_function_past_its_lease_is_killed(void **state)
{
    (void)state;
    struct started started;
    pid_t pid = start_stand_in((struct stand_in){.lease_ms = 1000, .grace_ms = 100, .function_runs = true}, &started);
    assert_true(WIFSTOPPED(wait_status(pid, WUNTRACED)));
    int status = wait_status(pid, 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    read_all(&started);
    expect_nobody_left();
}

static void a_frozen_worker_without_a_function_is_left_alive_and_its_programs_are_not(void **state)
{
    (void)state;
    struct started started;
    pid_t pid = start_stand_in((struct stand_in){.lease_ms = 1000, .grace_ms = 100}, &started);
    assert_true(WIFSTOPPED(wait_status(pid, WUNTRACED)));
    int64_t killed_by_ms = clock_boottime_ms() + 1000 + 100;
    wait_for_word(&started, "ready");
    wait_until(killed_by_ms + 200);
    kill(pid, SIGCONT);
    int status = wait_status(pid, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    read_all(&started);
    expect_nobody_left();
}

static void a_function_that_returns_within_the_grace_spares_the_worker(void **state)
{
    (void)state;
    struct started started;
    pid_t pid = start_stand_in(
        (struct stand_in){.lease_ms = 500, .grace_ms = 2000, .function_runs = true, .function_ms = 100}, &started);
    int status = wait_status(pid, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    read_all(&started);
    expect_nobody_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(program_gets_a_clean_environment_and_a_group_of_its_own),
        TEST(what_cannot_be_run_is_told_with_its_reason),
        TEST(a_file_that_hangs_holds_up_only_its_own_program),
        TEST(too_long_a_request_is_refused),
        TEST(a_signal_reaches_the_whole_group),
        TEST(many_threads_may_ask_at_once),
        TEST(family_of_an_ended_program_is_gone_before_its_end_is_told),
        TEST(nothing_starts_without_a_lease),
        TEST(when_the_lease_ends_programs_die_and_nothing_starts),
        TEST(a_renewed_lease_lasts),
        TEST(a_new_lease_waits_for_functions_of_the_old_one),
        TEST(what_a_killed_guard_leaves_is_killed_by_the_worker),
        TEST(a_polite_signal_does_not_end_the_guard),
        TEST(programs_of_a_killed_worker_die_and_so_does_the_guard),
        TEST(a_worker_frozen_in_a_function_past_its_lease_is_killed),
        TEST(a_frozen_worker_without_a_function_is_left_alive_and_its_programs_are_not),
        TEST(a_function_that_returns_within_the_grace_spares_the_worker),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
