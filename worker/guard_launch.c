/* SPDX-License-Identifier: Apache-2.0 */
/* fork() copies what the worker had mapped when it made the guard, and cost more than most small programs do. vfork() copies nothing, but
 * holds the guard until the program is executed, and a file system that hangs may hold that for ever: so the process that is to execute it
 * kills itself if it could not for PATIENCE_MS, and is then forked, to hang alone. */
#include "worker/guard_launch.h"

#include "worker/descendants.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 200   /* well below a quarter of the shortest lease, which is what the guard has to kill everything */
#define FORK_FOR_MS 1000  /* after such a wait: where one file hangs the next may, too */
#define SIGNAL_OF_PATIENCE SIGPROF /* as fatal as SIGKILL for who has no handler, and yet told from another's SIGKILL */

static int64_t fork_until_ms; /* monotonic */

/* Where vfork() only forks, as under some tools, it does not wait, and nobody would see that patience was lost. */
void guard_launch_set_up(void)
{
    static volatile bool shared;
    pid_t pid = vfork();
    if (pid == 0) {
        shared = true;
        _exit(0);
    }
    if (pid > 0) {
        waitpid(pid, NULL, 0);
    }
    fork_until_ms = shared ? 0 : INT64_MAX;
}

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void say_not_runnable(const struct guard_launch *launch, int failure)
{
    struct guard_status status = {GUARD_STATUS_NOT_RUNNABLE, failure};
    ssize_t ignored = write(launch->fds[GUARD_STATUS], &status, sizeof status); /* a pipe nobody reads any more is nobody's loss */
    (void)ignored;
}

/* A timer of the process, which execve() takes away. Not by glibc: it may want the heap. */
static void lose_patience_in(int64_t after_ms)
{
    int timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGNAL_OF_PATIENCE};
    struct itimerspec when = {.it_value = {after_ms / 1000, after_ms % 1000 * 1000000}};
    if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) == 0) {
        syscall(SYS_timer_settime, timer, 0, &when, NULL);
    }
}

static void unblock_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the new process; after vfork() its memory is the guard's. `patience_ms` 0: endless. */
static _Noreturn void become_program(const struct guard_launch *launch, int64_t patience_ms)
{
    setpgid(0, 0);
    atomic_store(launch->place, (int32_t)getpid());
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != launch->guard) {
        _exit(127); /* the guard died before we asked to be told */
    }
    for (int fd = 0; fd < GUARD_STATUS; fd++) {
        dup2(launch->fds[fd], fd);
    }
    unblock_signals();
    if (patience_ms > 0) {
        lose_patience_in(patience_ms);
    }
    execve(launch->arguments[0], launch->arguments, launch->variables);
    say_not_runnable(launch, errno);
    _exit(127);
}

static pid_t launch_by_fork(const struct guard_launch *launch)
{
    pid_t pid = fork();
    if (pid == 0) {
        become_program(launch, 0);
    }
    if (pid < 0) {
        return -errno;
    }
    setpgid(pid, pid); /* both sides: whoever comes first */
    atomic_store(launch->place, (int32_t)pid);
    return pid;
}

/* Whether it ended itself before it could execute anything; then it is reaped. vfork() returns when its memory is no longer ours, so it
 * has by now a memory of its own, or none and is dying. */
static bool lost_patience(pid_t pid)
{
    siginfo_t end;
    for (;;) {
        end.si_pid = 0;
        bool dead = waitid(P_PID, (id_t)pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_pid == pid;
        if (dead) {
            break;
        }
        if (!descendants_has_no_memory(pid)) {
            return false;
        }
        sched_yield();
    }
    if (end.si_code != CLD_KILLED || end.si_status != SIGNAL_OF_PATIENCE) {
        return false;
    }
    waitpid(pid, NULL, 0);
    return true;
}

pid_t guard_launch(const struct guard_launch *launch)
{
    int64_t begun_ms = monotonic_ms();
    if (begun_ms < fork_until_ms) {
        return launch_by_fork(launch);
    }
    pid_t pid = vfork();
    if (pid == 0) {
        become_program(launch, PATIENCE_MS);
    }
    if (pid < 0) {
        return -errno;
    }
    int64_t now_ms = monotonic_ms();
    if (now_ms - begun_ms < PATIENCE_MS || !lost_patience(pid)) {
        return pid;
    }
    fork_until_ms = now_ms + FORK_FOR_MS;
    return launch_by_fork(launch);
}
