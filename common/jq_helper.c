/* SPDX-License-Identifier: Apache-2.0 */
#include "common/jq_helper.h"

#include "common/clock.h"
#include "common/jq.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUT_OF_THE_WAY                                                                                                             \
    16 /* beyond the places of a helper's descriptors, so that none is moved onto one that is still to be moved */

#define NOT_CONFINED 1 /* exit status of a helper */

/* ---------------------------------------------------------------- starting one */

/* What a dynamic linker and a sanitizer must be told; nothing else of ours is the helper's business. */
static const char *const let_through[] = {"LD_LIBRARY_PATH", "LD_PRELOAD", "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"};
#define LET_THROUGH (sizeof let_through / sizeof *let_through)

static char *joined(const char *name, const char *value)
{
    char *whole = NULL;
    if (asprintf(&whole, "%s=%s", name, value) < 0) {
        abort();
    }
    return whole;
}

char **jq_helper_environment(const char *role)
{
    char **environment = calloc(LET_THROUGH + 2, sizeof *environment);
    size_t count = 0;
    if (environment == NULL) {
        abort();
    }
    environment[count++] = joined(JQ_HELPER_VARIABLE, role);
    for (size_t i = 0; i < LET_THROUGH; i++) {
        const char *value = getenv(let_through[i]);
        if (value != NULL) {
            environment[count++] = joined(let_through[i], value);
        }
    }
    return environment;
}

void jq_helper_environment_free(char **environment)
{
    for (size_t i = 0; environment != NULL && environment[i] != NULL; i++) {
        free(environment[i]);
    }
    free(environment);
}

/* What becomes of descriptors, in the new process. An error shows where it is executed: there is no such descriptor. */
static void place_files(posix_spawn_file_actions_t *actions, const int *moved, size_t count)
{
    posix_spawn_file_actions_adddup2(actions, moved[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(actions, moved[0], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0); /* jq writes to it when it gives up */
    for (size_t i = 1; i < count; i++) {
        posix_spawn_file_actions_adddup2(actions, moved[i], JQ_HELPER_FIRST_FILE + (int)i - 1);
    }
    posix_spawn_file_actions_addclosefrom_np(actions, JQ_HELPER_FIRST_FILE + (int)count - 1);
}

/* Returns 0 or an errno. */
static int spawn_with(pid_t *pid, const char *role, const int *moved, size_t count)
{
    static char name[] = "backstep-jq";
    char *arguments[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    char **environment = jq_helper_environment(role);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    place_files(&actions, moved, count);
    int failure =
        posix_spawn(pid, "/proc/self/exe", &actions, &attributes, arguments, environment); /* ours, as it was when it began */
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    jq_helper_environment_free(environment);
    return failure;
}

/* Returns 0 or an errno. */
static int spawn(pid_t *pid, const char *role, int socket_fd, const int *files, size_t count)
{
    int moved[1 + JQ_HELPER_FILES] = {fcntl(socket_fd, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY)};
    bool ok = moved[0] >= 0;
    for (size_t i = 0; i < count; i++) {
        moved[1 + i] = fcntl(files[i], F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
        ok = ok && moved[1 + i] >= 0;
    }
    int failure = ok ? spawn_with(pid, role, moved, 1 + count) : errno;
    for (size_t i = 0; i < 1 + count; i++) {
        if (moved[i] >= 0) {
            close(moved[i]);
        }
    }
    return failure;
}

static bool hear_greeting(int fd)
{
    char greeting[sizeof JQ_HELPER_GREETING - 1];
    int64_t deadline_ms = clock_monotonic_ms() + JQ_HELPER_GREETING_MS;
    for (size_t size = 0; size < sizeof greeting;) {
        int64_t left_ms = deadline_ms - clock_monotonic_ms();
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        int ready = left_ms > 0 ? poll(&readable, 1, (int)left_ms) : 0;
        ssize_t got = ready > 0 ? read(fd, greeting + size, sizeof greeting - size) : -1;
        if (ready == 0 || got == 0 || (got < 0 && errno != EINTR)) {
            return false;
        }
        size += got > 0 ? (size_t)got : 0;
    }
    return memcmp(greeting, JQ_HELPER_GREETING, sizeof greeting) == 0;
}

bool jq_helper_start(struct jq_helper *helper, const char *role, const int *files, size_t count, struct error *error)
{
    assert(count <= JQ_HELPER_FILES);
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return error_set(error, ERROR_TRANSIENT, "no socket for jq: %s", strerror(errno));
    }
    *helper = (struct jq_helper){.fd = ends[0]};
    int failure = spawn(&helper->pid, role, ends[1], files, count);
    close(ends[1]);
    if (failure != 0) {
        close(ends[0]);
        return error_set(error, ERROR_TRANSIENT, "no process for jq: %s", strerror(failure));
    }
    if (!hear_greeting(helper->fd)) {
        int status = jq_helper_end(helper, true);
        bool unconfined = WIFEXITED(status) && WEXITSTATUS(status) == NOT_CONFINED;
        return error_set(error, ERROR_TRANSIENT,
                         unconfined ? "jq could not be confined" : "the process for jq does not answer as one of ours");
    }
    return true;
}

void jq_helper_ask(const struct jq_helper *helper, struct span bytes)
{
    while (bytes.size > 0) {
        ssize_t put = send(helper->fd, bytes.bytes, bytes.size, MSG_NOSIGNAL);
        if (put < 0 && errno != EINTR) {
            return;
        }
        bytes.bytes += put > 0 ? put : 0;
        bytes.size -= put > 0 ? (size_t)put : 0;
    }
}

int jq_helper_end(struct jq_helper *helper, bool unwanted)
{
    int status = 0;
    if (unwanted) {
        kill(helper->pid, SIGKILL);
    }
    while (waitpid(helper->pid, &status, 0) < 0 && errno == EINTR) {
    }
    close(helper->fd);
    return status;
}

/* ---------------------------------------------------------------- in the helper */

/* Whoever has our variable in his environment for another reason has hardly a socket as his standard input. */
static bool is_helper(const char *role)
{
    const char *value = getenv(JQ_HELPER_VARIABLE);
    struct stat input;
    return value != NULL && strcmp(value, role) == 0 && fstat(STDIN_FILENO, &input) == 0 && S_ISSOCK(input.st_mode);
}

bool jq_helper_begin(const char *role)
{
    if (!is_helper(role)) {
        return false;
    }
    prctl(PR_SET_NAME, "backstep-jq", 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!jq_confine()) {
        _exit(NOT_CONFINED);
    }
    jq_helper_write(JQ_HELPER_GREETING, sizeof JQ_HELPER_GREETING - 1);
    return true;
}

void jq_helper_read(void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = read(STDIN_FILENO, (char *)bytes + done, size - done);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            _exit(0);
        }
        done += got > 0 ? (size_t)got : 0;
    }
}

void jq_helper_write(const void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t put = write(STDOUT_FILENO, (const char *)bytes + done, size - done);
        if (put < 0 && errno != EINTR) {
            _exit(0);
        }
        done += put > 0 ? (size_t)put : 0;
    }
}
