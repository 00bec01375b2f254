/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/embedded.h"

#include "common/clock.h"
#include "common/span.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS_MAX 40
#define COMPLAINT_BYTES 600

struct child {
    pid_t pid; /* 0: it has ended and was waited for */
    int status;
    int errors; /* what it wrote to standard error: a file in memory; -1: shown at once */
    const char *label;
};

static bool path_beside(const char *program, char *path, size_t size, struct error *error)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0) {
        return error_set(error, ERROR_INVALID, "/proc/self/exe: %s", strerror(errno));
    }
    self[length] = '\0';
    char *slash = strrchr(self, '/');
    int directory = slash != NULL ? (int)(slash - self) : 0;
    int written = snprintf(path, size, "%.*s/%s", directory, self, program);
    if (written < 0 || (size_t)written >= size || access(path, X_OK) != 0) {
        return error_set(error, ERROR_INVALID, "the program '%s' is not beside this one, in %.*s", program, directory, self);
    }
    return true;
}

/* Between fork and exec: only what is safe there. */
static _Noreturn void become(const char *path, char *const *arguments, int errors, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    int nothing = open("/dev/null", O_RDWR);
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC); /* librdkafka leaves some of its own open to children */
    bool ready = getppid() == parent && nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 && dup2(nothing, STDOUT_FILENO) >= 0 &&
                 (errors < 0 || dup2(errors, STDERR_FILENO) >= 0);
    if (ready) {
        execv(path, arguments);
    }
    _exit(127);
}

struct child *child_start(const struct child_options *options, struct error *error)
{
    char path[PATH_MAX];
    char *arguments[ARGUMENTS_MAX] = {path};
    size_t count = 1;
    for (const char *const *argument = options->arguments; *argument != NULL; argument++) {
        if (count == ARGUMENTS_MAX - 1) {
            error_set(error, ERROR_INVALID, "more than %d arguments for %s", ARGUMENTS_MAX, options->program);
            return NULL;
        }
        arguments[count++] = (char *)(uintptr_t)*argument; /* execv() does not write to them */
    }
    if (!path_beside(options->program, path, sizeof path, error)) {
        return NULL;
    }
    struct child *child = calloc(1, sizeof *child);
    if (child == NULL) {
        abort();
    }
    child->label = options->label;
    child->errors = options->show_errors ? -1 : memfd_create("stderr", MFD_CLOEXEC);
    pid_t parent = getpid();
    child->pid = fork();
    if (child->pid == 0) {
        become(path, arguments, child->errors, parent);
    }
    if (child->pid < 0) {
        error_set(error, ERROR_TRANSIENT, "cannot start %s: %s", options->program, strerror(errno));
        child->pid = 0;
        child_stop(child, 0);
        return NULL;
    }
    return child;
}

static bool collect(struct child *child)
{
    if (child->pid != 0 && waitpid(child->pid, &child->status, WNOHANG) == child->pid) {
        child->pid = 0;
    }
    return child->pid == 0;
}

static void pause_ms(int milliseconds)
{
    struct timespec pause = {.tv_sec = milliseconds / 1000, .tv_nsec = (milliseconds % 1000) * 1000000L};
    nanosleep(&pause, NULL); /* a signal cuts it short: fine */
}

static bool all_collected(struct child **children, int count)
{
    bool all = true;
    for (int i = 0; i < count; i++) {
        all = (children[i] == NULL || collect(children[i])) && all;
    }
    return all;
}

static void signal_all(struct child **children, int count, int number)
{
    for (int i = 0; i < count; i++) {
        if (children[i] != NULL && children[i]->pid != 0) {
            kill(children[i]->pid, number);
        }
    }
}

void children_stop(struct child **children, int count, int grace_ms)
{
    signal_all(children, count, SIGTERM);
    int64_t until_ms = clock_monotonic_ms() + grace_ms;
    while (!all_collected(children, count) && clock_monotonic_ms() < until_ms) {
        pause_ms(5);
    }
    signal_all(children, count, SIGKILL);
    while (!all_collected(children, count)) {
        pause_ms(5);
    }
    for (int i = 0; i < count; i++) {
        if (children[i] != NULL && children[i]->errors >= 0) {
            close(children[i]->errors);
        }
        free(children[i]);
    }
}

void child_stop(struct child *child, int grace_ms)
{
    children_stop(&child, 1, grace_ms);
}

/* The end of what it said, newlines made visible as " | ". */
static void complaint(const struct child *child, char *words, size_t size)
{
    words[0] = '\0';
    if (child->errors < 0) {
        return;
    }
    off_t end = lseek(child->errors, 0, SEEK_END);
    off_t from = end > COMPLAINT_BYTES ? end - COMPLAINT_BYTES : 0;
    ssize_t got = pread(child->errors, words, size - 1, from);
    words[got > 0 ? got : 0] = '\0';
    for (char *end_of = words + strlen(words); end_of > words && end_of[-1] == '\n';) {
        *--end_of = '\0';
    }
    for (char *c = words; *c != '\0'; c++) {
        *c = *c == '\n' ? '|' : *c;
    }
}

bool child_has_ended(struct child *child, struct error *error)
{
    if (!collect(child)) {
        return false;
    }
    char words[COMPLAINT_BYTES + 1];
    complaint(child, words, sizeof words);
    char how[64];
    if (WIFSIGNALED(child->status)) {
        snprintf(how, sizeof how, "signal %s", sigabbrev_np(WTERMSIG(child->status)));
    } else {
        snprintf(how, sizeof how, "exit status %d", WEXITSTATUS(child->status));
    }
    error_set(error, ERROR_FATAL, "%s has ended (%s)%s%s", child->label, how, words[0] != '\0' ? ": " : "", words);
    return true;
}
