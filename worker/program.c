/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/program.h"

#include "common/clock.h"
#include "common/limits.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES (64 * KIB)
#define DRAIN_BYTES MIB /* read at most after the end: a full pipe, and not what a stranger goes on writing into it */
#define EXIT_NOTHING_TO_UNDO 64
#define EXIT_PERMANENT 65
#define EXIT_SKIPPED 77

enum { INPUT, OUTPUT, ERRORS, PIPE_COUNT };

/* One program that runs. Descriptors are ours to close; -1: closed. */
struct process {
    struct guard *guard;
    const struct program_request *request;
    struct program_output *output;
    struct guard_program program;
    int fds[PIPE_COUNT];    /* our ends */
    int theirs[PIPE_COUNT]; /* of output and errors kept until its end is told: without them that end would wake us twice */
    struct span input;   /* not written yet */
    bool cancelled;
    int64_t kill_at_ms; /* monotonic; 0: no */
    bool ended;
    struct guard_status status; /* kind 0: the guard died */
};

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

/* ---- outcomes */

static void fail(struct program_outcome *outcome, bool permanent, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fail(struct program_outcome *outcome, bool permanent, const char *format, ...)
{
    char message[LIMIT_MESSAGE_BYTES + 1];
    struct text visible;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    text_init(&visible, LIMIT_MESSAGE_BYTES);
    text_append_visible(&visible, span_of(message));
    free(outcome->error);
    outcome->error = text_take(&visible);
    outcome->kind = PROGRAM_FAILED;
    outcome->permanent = permanent;
}

static void lose(struct program_outcome *outcome, const char *reason)
{
    fail(outcome, false, "%s", reason);
    outcome->kind = PROGRAM_LOST;
}

void program_outcome_fini(struct program_outcome *outcome)
{
    free(outcome->data);
    free(outcome->rollback_data);
    free(outcome->set);
    free(outcome->error);
    *outcome = (struct program_outcome){0};
}

/* execve()'s errno, for whoever put the file there. Some pass: the file is just being written, or memory is short. */
static void judge_not_runnable(const char *path, int failure, struct program_outcome *outcome)
{
    bool permanent = failure != ETXTBSY && failure != ENOMEM && failure != EAGAIN && failure != EMFILE && failure != ENFILE;
    switch (failure) {
    case EACCES:  fail(outcome, true, "%s: cannot be executed: permission denied; is it marked executable?", path); break;
    case ENOEXEC: fail(outcome, true, "%s: cannot be executed: neither a binary nor a script that begins with #!", path); break;
    case ENOENT:  fail(outcome, true, "%s: cannot be executed: it, or the interpreter it names, does not exist", path); break;
    default:      fail(outcome, permanent, "%s: cannot be executed: %s", path, strerror(failure)); break;
    }
}

static bool succeeded(const struct process *process, int status, enum program_outcome_kind *kind)
{
    bool rollback = process->request->direction == PROGRAM_ROLLBACK;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    *kind = code == 0 ? PROGRAM_SUCCEEDED : PROGRAM_SKIPPED;
    return code == 0 || code == EXIT_SKIPPED || (rollback && code == EXIT_NOTHING_TO_UNDO);
}

static void judge_failed(const struct process *process, int status, struct program_outcome *outcome)
{
    const char *reason = program_output_reason(process->output);
    bool permanent = process->request->direction == PROGRAM_EXECUTE && WIFEXITED(status) &&
                     WEXITSTATUS(status) == EXIT_PERMANENT;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && guard_lease_is_over(process->guard)) {
        lose(outcome, "killed: the worker's lease is over");
    } else if (reason != NULL) {
        fail(outcome, permanent, "%s", reason);
    } else if (WIFEXITED(status)) {
        fail(outcome, permanent, "exit status %d", WEXITSTATUS(status));
    } else {
        const char *name = sigabbrev_np(WTERMSIG(status));
        fail(outcome, permanent, "signal SIG%s", name != NULL ? name : "?");
    }
}

static void judge_ended(struct process *process, int status, struct program_outcome *outcome)
{
    const char *violation = program_output_violation(process->output);
    outcome->started = true;
    outcome->data = program_output_take_data(process->output);
    outcome->rollback_data = program_output_take_rollback_data(process->output);
    outcome->set = program_output_take_set(process->output);
    if (!succeeded(process, status, &outcome->kind)) {
        judge_failed(process, status, outcome);
    }
    if (violation != NULL && outcome->kind != PROGRAM_LOST) {
        fail(outcome, true, "%s", violation);
    }
}

static void judge(struct process *process, struct program_outcome *outcome)
{
    int value = process->status.value;
    outcome->cancelled = process->cancelled;
    outcome->dropped_lines = program_output_dropped_lines(process->output);
    outcome->dropped_bytes = program_output_dropped_bytes(process->output);
    switch (process->status.kind) {
    case GUARD_STATUS_ENDED:        judge_ended(process, value, outcome); break;
    case GUARD_STATUS_LEASE_OVER:   lose(outcome, "not started: the worker's lease is over"); break;
    case GUARD_STATUS_NOT_RUNNABLE: judge_not_runnable(process->request->path, value, outcome); break;
    case GUARD_STATUS_NOT_STARTED:
        fail(outcome, false, "%s: not started: %s", process->request->path, strerror(value));
        break;
    default:
        outcome->started = true; /* for all we know */
        lose(outcome, "the guard died");
        break;
    }
}

/* ---- while it runs */

static void send_input(struct process *process)
{
    ssize_t sent = write(process->fds[INPUT], process->input.bytes, process->input.size);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        process->input.size = 0; /* EPIPE: it does not want the rest, which is its own affair */
    } else if (sent > 0) {
        process->input.bytes += sent;
        process->input.size -= (size_t)sent;
    }
    if (process->input.size == 0) {
        close_fd(&process->fds[INPUT]);
    }
}

/* Returns how much was there; 0: nothing now. Closes at the end. */
static size_t receive(struct process *process, int which)
{
    char chunk[CHUNK_BYTES];
    ssize_t got = read(process->fds[which], chunk, sizeof chunk);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        close_fd(&process->fds[which]);
    }
    if (got <= 0) {
        return 0;
    }
    enum program_stream stream = which == OUTPUT ? PROGRAM_STDOUT : PROGRAM_STDERR;
    program_output_feed(process->output, stream, (struct span){chunk, (size_t)got});
    return (size_t)got;
}

static void on_cancel(struct process *process)
{
    process->cancelled = true;
    process->kill_at_ms = clock_monotonic_ms() + process->request->grace_ms;
    guard_kill(process->guard, process->program.token, SIGTERM, NULL); /* a guard that is dead has killed it */
    if (process->request->grace_ms <= 0) {
        guard_kill(process->guard, process->program.token, SIGKILL, NULL);
        process->kill_at_ms = 0;
    }
}

static void on_time(struct process *process)
{
    if (process->kill_at_ms != 0 && clock_monotonic_ms() >= process->kill_at_ms) {
        process->kill_at_ms = 0;
        guard_kill(process->guard, process->program.token, SIGKILL, NULL);
    }
}

static void on_status(struct process *process)
{
    struct guard_status status;
    process->ended = true;
    if (read(process->program.status_fd, &status, sizeof status) == (ssize_t)sizeof status) {
        process->status = status;
    }
}

static int timeout_ms(const struct process *process)
{
    if (process->kill_at_ms == 0) {
        return -1;
    }
    int64_t left_ms = process->kill_at_ms - clock_monotonic_ms();
    return left_ms < 0 ? 0 : left_ms > 60000 ? 60000 : (int)left_ms;
}

static void wait_for_something(struct process *process)
{
    enum { STATUS = PIPE_COUNT, CANCEL, POLLED_COUNT };
    struct pollfd fds[POLLED_COUNT] = {
        [INPUT] = {.fd = process->fds[INPUT], .events = POLLOUT},
        [OUTPUT] = {.fd = process->fds[OUTPUT], .events = POLLIN},
        [ERRORS] = {.fd = process->fds[ERRORS], .events = POLLIN},
        [STATUS] = {.fd = process->program.status_fd, .events = POLLIN},
        [CANCEL] = {.fd = process->cancelled ? -1 : process->request->cancel_fd, .events = POLLIN},
    };
    if (poll(fds, POLLED_COUNT, timeout_ms(process)) > 0) {
        if (fds[INPUT].revents != 0) {
            send_input(process);
        }
        if (fds[OUTPUT].revents != 0) {
            receive(process, OUTPUT);
        }
        if (fds[ERRORS].revents != 0) {
            receive(process, ERRORS);
        }
        if (fds[STATUS].revents != 0) {
            on_status(process);
        }
        if (fds[CANCEL].revents != 0) {
            on_cancel(process);
        }
    }
    on_time(process);
}

/* It has ended, and everybody of it that the guard knows: take what still stands in the pipes, and wait for nobody. */
static void drain(struct process *process, int which)
{
    size_t total = 0;
    for (size_t got = 1; got > 0 && process->fds[which] >= 0 && total < DRAIN_BYTES; total += got) {
        got = receive(process, which);
    }
}

static void close_theirs(struct process *process)
{
    for (int i = 0; i < PIPE_COUNT; i++) {
        close_fd(&process->theirs[i]);
    }
}

static void follow(struct process *process)
{
    while (!process->ended) {
        wait_for_something(process);
    }
    close_theirs(process);
    drain(process, OUTPUT);
    drain(process, ERRORS);
    program_output_end(process->output);
}

/* ---- starting */

/* `ours` of each pipe never blocks; `theirs` is for the program. */
static bool make_pipes(int *ours, int *theirs)
{
    for (int i = 0; i < PIPE_COUNT; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) {
            return false;
        }
        ours[i] = ends[i == INPUT];
        theirs[i] = ends[i != INPUT];
        if (fcntl(ours[i], F_SETFL, O_NONBLOCK) != 0) {
            return false;
        }
    }
    return true;
}

static bool spawn(struct process *process, struct program_outcome *outcome)
{
    const struct program_request *request = process->request;
    const int *theirs = process->theirs;
    struct error error = {0};
    struct guard_spawn spawn = {
        .path = request->path,
        .argument = request->direction == PROGRAM_EXECUTE ? "execute" : "rollback",
        .environment = request->environment,
        .input_fd = theirs[INPUT],
        .output_fd = theirs[OUTPUT],
        .error_fd = theirs[ERRORS],
    };
    if (guard_spawn(process->guard, &spawn, &process->program, &error)) {
        return true;
    }
    if (error.kind == ERROR_INVALID) {
        fail(outcome, true, "%s", error.message);
    } else {
        lose(outcome, error.message);
    }
    return false;
}

/* What the pipe takes of the input stands in it when the program begins: most often all, and nobody has to wait for that. */
static bool start(struct process *process, struct program_outcome *outcome)
{
    if (!make_pipes(process->fds, process->theirs)) {
        fail(outcome, false, "%s: not started: %s", process->request->path, strerror(errno));
        return false;
    }
    send_input(process);
    if (!spawn(process, outcome)) {
        return false;
    }
    close_fd(&process->theirs[INPUT]);
    return true;
}

static bool is_cancelled(int cancel_fd)
{
    return cancel_fd >= 0 && poll(&(struct pollfd){.fd = cancel_fd, .events = POLLIN}, 1, 0) > 0;
}

static void run(struct process *process, struct program_outcome *outcome)
{
    if (is_cancelled(process->request->cancel_fd)) {
        outcome->cancelled = true;
        fail(outcome, false, "cancelled before it began");
    } else if (process->output == NULL) {
        fail(outcome, false, "%s: not started: no memory", process->request->path);
    } else if (start(process, outcome)) {
        follow(process);
        judge(process, outcome);
    }
}

/* ---- a pipe that nobody reads must not end the worker, whatever its program does with SIGPIPE: held back in this thread only */

static bool hold_pipe_signal(sigset_t *before)
{
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    return pthread_sigmask(SIG_BLOCK, &pipe_signal, before) == 0 && !sigismember(before, SIGPIPE);
}

static void release_pipe_signal(const sigset_t *before)
{
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    while (sigtimedwait(&pipe_signal, NULL, &(struct timespec){0}) == SIGPIPE) {
    }
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

void program_run(struct guard *guard, const struct program_request *request, struct program_outcome *outcome)
{
    struct process process = {
        .guard = guard,
        .request = request,
        .output = program_output_new(&request->listener),
        .program = {.status_fd = -1},
        .fds = {-1, -1, -1},
        .theirs = {-1, -1, -1},
        .input = request->input,
    };
    sigset_t before;
    *outcome = (struct program_outcome){0};
    bool held = hold_pipe_signal(&before);
    run(&process, outcome);
    close_theirs(&process);
    for (int i = 0; i < PIPE_COUNT; i++) {
        close_fd(&process.fds[i]);
    }
    close_fd(&process.program.status_fd);
    program_output_free(process.output);
    if (held) {
        release_pipe_signal(&before);
    }
}
