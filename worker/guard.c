/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's side of the guard. */
#include "worker/guard.h"

#include "common/clock.h"
#include "worker/descendants.h"
#include "worker/guard_protocol.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS 10000    /* a guard that does not answer for so long is frozen, or something cannot be killed */
#define LOOK_AGAIN_MS 2    /* for what a dead guard left; it is killed already */
#define MAX_LEFTOVERS 4096 /* in one look */

struct guard {
    struct guard_page *page; /* shared; the same for every guard process in turn */
    pid_t pid;               /* 0: none */
    int process_fd;          /* a pidfd; -1: none */
    int socket_fd;
    pthread_mutex_t socket_lock; /* held while socket_fd is used, so that a restart does not pull it away */
    _Atomic int64_t next_token;
};

static bool fail_errno(struct error *error, const char *what)
{
    return error_set(error, ERROR_TRANSIENT, "%s: %s", what, strerror(errno));
}

/* ---- starting and ending */

static bool share_page(struct guard *guard, struct error *error)
{
    static _Atomic int instances;
    void *page = mmap(NULL, sizeof *guard->page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return fail_errno(error, "cannot share memory with the guard");
    }
    guard->page = page;
    snprintf(guard->page->mark, sizeof guard->page->mark, GUARD_MARK "%d.%d-", (int)getpid(),
             atomic_fetch_add(&instances, 1));
    return true;
}

/* The child begins with every signal blocked: no handler of the worker's may run in it. */
static pid_t fork_guard(struct guard *guard, int socket_fd, int worker_fd)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) {
        guard_process(guard->page, socket_fd, worker_fd);
    }
    int saved_errno = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = saved_errno;
    return pid;
}

static bool launch_with(struct guard *guard, const int *sockets, struct error *error)
{
    int worker_fd = pidfd_open(getpid(), 0);
    if (worker_fd < 0) {
        return fail_errno(error, "cannot open this process for the guard");
    }
    pid_t pid = fork_guard(guard, sockets[1], worker_fd);
    int failure = errno;
    close(worker_fd);
    if (pid < 0) {
        errno = failure;
        return fail_errno(error, "cannot fork the guard");
    }
    int process_fd = pidfd_open(pid, 0);
    if (process_fd < 0) {
        fail_errno(error, "cannot watch the guard");
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return false;
    }
    pthread_mutex_lock(&guard->socket_lock);
    guard->pid = pid;
    guard->process_fd = process_fd;
    guard->socket_fd = sockets[0];
    pthread_mutex_unlock(&guard->socket_lock);
    return true;
}

static bool launch(struct guard *guard, struct error *error)
{
    int sockets[2];
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
        return fail_errno(error, "cannot prepare the guard");
    }
    bool ok = launch_with(guard, sockets, error);
    close(sockets[1]);
    if (!ok) {
        close(sockets[0]);
    }
    return ok;
}

static struct guard *the_guard; /* there is one a process */

struct guard *guard_of_process(void)
{
    return the_guard;
}

struct guard *guard_start(struct error *error)
{
    struct guard *guard = calloc(1, sizeof *guard);
    if (guard == NULL) {
        error_set(error, ERROR_TRANSIENT, "no memory for the guard");
        return NULL;
    }
    guard->process_fd = guard->socket_fd = -1;
    guard->next_token = 1;
    pthread_mutex_init(&guard->socket_lock, NULL);
    if (!share_page(guard, error) || !launch(guard, error)) {
        guard_free(guard);
        return NULL;
    }
    the_guard = guard;
    return guard;
}

static bool wait_readable(int fd, int64_t within_ms)
{
    int64_t deadline_ms = clock_monotonic_ms() + within_ms;
    for (;;) {
        int64_t left_ms = deadline_ms - clock_monotonic_ms();
        struct pollfd wanted = {.fd = fd, .events = POLLIN};
        int ready = poll(&wanted, 1, left_ms > 0 ? (int)left_ms : 0);
        if (ready > 0 || left_ms <= 0) {
            return ready > 0;
        }
    }
}

/* ---- what a dead guard leaves: its children have become ours */

static bool is_leader(const struct guard *guard, pid_t pid)
{
    for (size_t i = 0; i < GUARD_PLACES; i++) {
        if (atomic_load(&guard->page->programs[i]) == pid) {
            return true;
        }
    }
    return false;
}

/* Its environment is gone with its death, so that a later look would not know it again. */
static void reap_killed(pid_t pid)
{
    int64_t deadline_ms = clock_monotonic_ms() + ANSWER_MS;
    while (waitpid(pid, NULL, WNOHANG) == 0 && clock_monotonic_ms() < deadline_ms) {
        nanosleep(&(struct timespec){.tv_nsec = LOOK_AGAIN_MS * 1000000}, NULL);
    }
}

/* Kill and reap one child if it was the guard's; other children of this process are not ours to touch. True: look again. */
static bool bury(const struct guard *guard, pid_t pid)
{
    bool leader = is_leader(guard, pid);
    enum descendant_mark mark =
        leader || is_leader(guard, getpgid(pid)) ? MARK_YES : descendants_carries(pid, guard->page->mark);
    if (mark != MARK_YES) {
        return mark == MARK_UNKNOWN && !descendants_is_dead_child(pid);
    }
    if (leader) {
        kill(-pid, SIGKILL); /* first, while the unreaped leader keeps the group's number taken */
    }
    if (kill(pid, SIGKILL) == 0) {
        reap_killed(pid);
    }
    return true;
}

/* A pass kills what has come to us by now; a killed one's own children come to us when it is dead. */
static bool bury_some(const struct guard *guard)
{
    static _Thread_local pid_t pids[MAX_LEFTOVERS];
    size_t count = descendants_children_of_threads(pids, MAX_LEFTOVERS);
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        found |= pids[i] != guard->pid && bury(guard, pids[i]);
    }
    return found;
}

static bool bury_all(const struct guard *guard, struct error *error)
{
    int64_t deadline_ms = clock_monotonic_ms() + ANSWER_MS;
    while (bury_some(guard)) {
        if (clock_monotonic_ms() > deadline_ms) {
            return error_set(error, ERROR_TRANSIENT, "programs of a dead guard do not die within %d s", ANSWER_MS / 1000);
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_AGAIN_MS * 1000000}, NULL);
    }
    return true;
}

static void close_guard(struct guard *guard)
{
    pthread_mutex_lock(&guard->socket_lock);
    close(guard->socket_fd);
    close(guard->process_fd);
    guard->socket_fd = guard->process_fd = -1;
    guard->pid = 0;
    pthread_mutex_unlock(&guard->socket_lock);
}

/* Afterwards the process is gone and reaped; what it left may be alive. */
static void kill_guard(struct guard *guard)
{
    if (guard->pid == 0) {
        return;
    }
    kill(guard->pid, SIGKILL);
    while (waitpid(guard->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    close_guard(guard);
}

/* Over for programs now; functions still have what the lease gave them. */
static void end_lease(struct guard *guard)
{
    int64_t lease = atomic_load(&guard->page->lease_ms);
    while (lease > 0 && !atomic_compare_exchange_weak(&guard->page->lease_ms, &lease, -lease)) {
    }
}

bool guard_restart(struct guard *guard, struct error *error)
{
    end_lease(guard);
    kill_guard(guard);
    return bury_all(guard, error) && launch(guard, error);
}

void guard_free(struct guard *guard)
{
    if (guard == NULL) {
        return;
    }
    the_guard = NULL;
    if (guard->pid != 0) {
        shutdown(guard->socket_fd, SHUT_RDWR); /* to the guard, as good as our death */
        wait_readable(guard->process_fd, ANSWER_MS);
        kill_guard(guard);
    }
    if (guard->page != NULL) {
        bury_all(guard, NULL);
        munmap(guard->page, sizeof *guard->page);
    }
    pthread_mutex_destroy(&guard->socket_lock);
    free(guard);
}

int guard_fd(const struct guard *guard)
{
    return guard->process_fd;
}

/* ---- requests */

struct message {
    struct guard_request request;
    size_t size;
    int fds[GUARD_FD_COUNT];
    size_t fd_count;
};

static bool send_now(int socket_fd, const struct message *message)
{
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(GUARD_FD_COUNT * sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec part = {(void *)(uintptr_t)&message->request, message->size};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (message->fd_count > 0) {
        size_t size = message->fd_count * sizeof(int);
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        *rights = (struct cmsghdr){.cmsg_len = CMSG_LEN(size), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(rights), message->fds, size);
    }
    return sendmsg(socket_fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

/* A socket that is full belongs to a guard that is frozen: wait, but not for ever. */
static bool send_within(int socket_fd, const struct message *message)
{
    int64_t deadline_ms = clock_monotonic_ms() + ANSWER_MS;
    while (!send_now(socket_fd, message)) {
        if ((errno != EAGAIN && errno != EINTR) || clock_monotonic_ms() > deadline_ms) {
            return false;
        }
        poll(&(struct pollfd){.fd = socket_fd, .events = POLLOUT}, 1, 100);
    }
    return true;
}

static bool send_message(struct guard *guard, const struct message *message, struct error *error)
{
    pthread_mutex_lock(&guard->socket_lock);
    bool ok = guard->socket_fd >= 0 ? send_within(guard->socket_fd, message)
                                    : (errno = ESRCH, false);
    int failure = errno;
    pthread_mutex_unlock(&guard->socket_lock);
    if (!ok) {
        errno = failure;
        return fail_errno(error, "the guard cannot be reached");
    }
    return true;
}

/* Send with the write end of a new pipe as the last descriptor; `read_fd` is the other end. */
static bool send_with_pipe(struct guard *guard, struct message *message, int *read_fd, struct error *error)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return fail_errno(error, "cannot make a pipe");
    }
    message->fds[message->fd_count++] = ends[1];
    bool ok = send_message(guard, message, error);
    close(ends[1]);
    if (!ok) {
        close(ends[0]);
        return false;
    }
    *read_fd = ends[0];
    return true;
}

static bool add_string(struct message *message, const char *string)
{
    size_t size = strlen(string) + 1;
    size_t used = message->size - GUARD_REQUEST_BYTES;
    if (size > GUARD_STRINGS_BYTES - used) {
        return false;
    }
    memcpy(message->request.strings + used, string, size);
    message->size += size;
    return true;
}

static bool add_strings(struct message *message, const struct guard_spawn *spawn)
{
    if (!add_string(message, spawn->path) || (spawn->argument != NULL && !add_string(message, spawn->argument))) {
        return false;
    }
    message->request.has_argument = spawn->argument != NULL;
    for (const char *const *at = spawn->environment; at != NULL && *at != NULL; at++) {
        if (message->request.variable_count == GUARD_VARIABLES || !add_string(message, *at)) {
            return false;
        }
        message->request.variable_count++;
    }
    return true;
}

bool guard_spawn(struct guard *guard, const struct guard_spawn *spawn, struct guard_program *program, struct error *error)
{
    int64_t token = atomic_fetch_add(&guard->next_token, 1);
    struct message message = {
        .size = GUARD_REQUEST_BYTES,
        .fds = {spawn->input_fd, spawn->output_fd, spawn->error_fd},
        .fd_count = GUARD_STATUS,
    };
    message.request.kind = GUARD_SPAWN;
    message.request.token = token;
    message.request.bare = spawn->bare;
    if (!add_strings(&message, spawn)) {
        return error_set(error, ERROR_INVALID, "path and environment of a program are limited to %d bytes and %d variables",
                         GUARD_STRINGS_BYTES, GUARD_VARIABLES);
    }
    int status_fd = -1;
    if (!send_with_pipe(guard, &message, &status_fd, error)) {
        return false;
    }
    *program = (struct guard_program){token, status_fd};
    return true;
}

bool guard_kill(struct guard *guard, int64_t token, int signal, struct error *error)
{
    struct message message = {.size = GUARD_REQUEST_BYTES};
    message.request.kind = GUARD_KILL;
    message.request.token = token;
    message.request.signal = signal;
    return send_message(guard, &message, error);
}

/* ---- the lease */

/* A guard that is frozen is no guard: its death makes guard_fd() readable, and guard_restart() makes another. */
static void give_up(struct guard *guard)
{
    pthread_mutex_lock(&guard->socket_lock);
    if (guard->process_fd >= 0) {
        pidfd_send_signal(guard->process_fd, SIGKILL, NULL, 0);
    }
    pthread_mutex_unlock(&guard->socket_lock);
}

static bool await_begun(struct guard *guard, int fd, struct error *error)
{
    struct guard_status answer;
    if (!wait_readable(fd, ANSWER_MS)) {
        give_up(guard);
        return error_set(error, ERROR_TRANSIENT, "the guard did not answer within %d s and was killed", ANSWER_MS / 1000);
    }
    if (read(fd, &answer, sizeof answer) != (ssize_t)sizeof answer) {
        return error_set(error, ERROR_TRANSIENT, "the guard has died");
    }
    if (answer.kind == GUARD_ANSWER_FUNCTION_RUNS) {
        return error_set(error, ERROR_TRANSIENT, "a function of the lease before is still running");
    }
    return true;
}

bool guard_lease_begin(struct guard *guard, int64_t until_ms, int64_t grace_ms, struct error *error)
{
    assert(until_ms > 0 && grace_ms >= 0);
    struct message message = {.size = GUARD_REQUEST_BYTES};
    message.request.kind = GUARD_LEASE_BEGIN;
    message.request.until_ms = until_ms;
    message.request.grace_ms = grace_ms;
    int answer_fd = -1;
    if (!send_with_pipe(guard, &message, &answer_fd, error)) {
        return false;
    }
    bool ok = await_begun(guard, answer_fd, error);
    close(answer_fd);
    return ok;
}

bool guard_lease_is_over(const struct guard *guard)
{
    return clock_boottime_ms() >= atomic_load(&guard->page->lease_ms);
}

bool guard_lease_renew(struct guard *guard, int64_t until_ms)
{
    int64_t lease = atomic_load(&guard->page->lease_ms);
    do {
        if (clock_boottime_ms() >= lease) {
            return false;
        }
    } while (until_ms > lease && !atomic_compare_exchange_weak(&guard->page->lease_ms, &lease, until_ms));
    return true;
}

void guard_lease_end(struct guard *guard)
{
    end_lease(guard);
    struct message message = {.size = GUARD_REQUEST_BYTES};
    message.request.kind = GUARD_LEASE_END;
    send_message(guard, &message, NULL); /* a dead guard's programs are dead */
}

bool guard_function_begin(struct guard *guard)
{
    if (guard_lease_is_over(guard)) {
        return false;
    }
    atomic_fetch_add(&guard->page->functions_running, 1);
    if (guard_lease_is_over(guard)) { /* counted first, then looked: frozen in between, it is known to run */
        guard_function_end(guard);
        return false;
    }
    return true;
}

void guard_function_end(struct guard *guard)
{
    int32_t before = atomic_fetch_sub(&guard->page->functions_running, 1);
    assert(before > 0);
    (void)before;
}
