/* SPDX-License-Identifier: Apache-2.0 */
/* The guard's side. Everything here runs in a process forked from one with threads: no heap, no stdio, static tables. */
#include "common/rules.h"
#include "worker/descendants.h"
#include "worker/guard_launch.h"
#include "worker/guard_protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_CHILDREN 8192  /* looked at in one pass; more wait for the next */
#define MAX_INHERITED 4096 /* variables of the worker's environment */
#define LOOK_AGAIN_MS 20   /* while something killed is not gone: not every death is told to us */

enum { SOCKET_FD = 3, WORKER_FD, FIRST_OTHER_FD };

struct program {
    pid_t pid; /* 0: this place is free */
    int64_t token;
    int status_fd;
    bool ending;   /* its leader is dead, and kept unreaped so that the group's number stays taken */
    bool leftover; /* somebody of it was still there in this pass */
};

static struct {
    struct guard_page *page;
    pid_t pid;
    int child_fd, timer_fd;
    int64_t armed_ms; /* what timer_fd is set to; 0: nothing */
    struct program programs[GUARD_PLACES];
    bool worker_gone;
    bool worker_killed;
    bool child_died; /* since the last survey */
    bool sweeping; /* every descendant is to die */
    size_t alive;  /* children seen and not given up in the last pass */
    int answer_fd; /* a new lease is begun once all is swept; -1: none asked for */
    int64_t next_until_ms, next_grace_ms;
    char *inherited[MAX_INHERITED];
    size_t inherited_count;
    pid_t children[MAX_CHILDREN];
    struct guard_request request;
} guard;

extern char **environ;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void say(int fd, int32_t kind, int32_t value)
{
    struct guard_status status = {kind, value};
    /* A pipe nobody reads any more is nobody's loss. */
    ssize_t ignored = write(fd, &status, sizeof status);
    (void)ignored;
}

/* ---- setting up */

/* What is sent to a worker's whole group, or by hand, is held back for good, not ignored: what is ignored a program would inherit. */
static void hold_signals(void)
{
    static const int kept_from_us[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE, SIGUSR1,
                                       SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU, SIGALRM, SIGCHLD};
    sigset_t held;
    sigemptyset(&held);
    for (size_t i = 0; i < sizeof kept_from_us / sizeof kept_from_us[0]; i++) {
        sigaddset(&held, kept_from_us[i]);
    }
    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_DFL); /* fails for those that have no other */
    }
    sigprocmask(SIG_SETMASK, &held, NULL);
}

/* Keep the two given, at fixed places, and standard error; the rest would keep the worker's connections and pipes open. */
static void keep_only(int socket_fd, int worker_fd)
{
    int high_socket = fcntl(socket_fd, F_DUPFD_CLOEXEC, FIRST_OTHER_FD);
    int high_worker = fcntl(worker_fd, F_DUPFD_CLOEXEC, FIRST_OTHER_FD);
    int null_fd = open("/dev/null", O_RDWR);
    if (high_socket < 0 || high_worker < 0 || null_fd < 0) {
        _exit(1);
    }
    dup2(null_fd, STDIN_FILENO);
    dup2(null_fd, STDOUT_FILENO);
    if (fcntl(STDERR_FILENO, F_GETFD) < 0) {
        dup2(null_fd, STDERR_FILENO);
    }
    dup3(high_socket, SOCKET_FD, O_CLOEXEC);
    dup3(high_worker, WORKER_FD, O_CLOEXEC);
    close_range(FIRST_OTHER_FD, ~0u, 0);
}

/* The worker's environment, without what is ours: credentials among it. */
static void inherit_environment(void)
{
    static const char ours[] = "BACKSTEP_";
    for (char **variable = environ; variable != NULL && *variable != NULL; variable++) {
        if (strncmp(*variable, ours, sizeof ours - 1) != 0 && guard.inherited_count < MAX_INHERITED) {
            guard.inherited[guard.inherited_count++] = *variable;
        }
    }
}

static void set_up(struct guard_page *page, int socket_fd, int worker_fd)
{
    memset(&guard, 0, sizeof guard);
    guard.page = page;
    guard.pid = getpid();
    guard.answer_fd = -1;
    hold_signals(); /* SIGCHLD is read from a descriptor */
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    prctl(PR_SET_NAME, "backstep-guard", 0, 0, 0);
    keep_only(socket_fd, worker_fd);
    inherit_environment();
    guard_launch_set_up();
    for (size_t i = 0; i < GUARD_PLACES; i++) {
        atomic_store(&page->programs[i], 0);
    }
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    guard.child_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    guard.timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (guard.child_fd < 0 || guard.timer_fd < 0) {
        _exit(1);
    }
}

/* ---- starting a program */

static void mark_of(char *mark, int64_t token)
{
    char digits[24];
    size_t count = 0;
    size_t size = strlen(guard.page->mark);
    memcpy(mark, guard.page->mark, size);
    do {
        digits[count++] = (char)('0' + token % 10);
        token /= 10;
    } while (token > 0);
    while (count > 0) {
        mark[size++] = digits[--count];
    }
    mark[size++] = '.'; /* so that no mark is the beginning of another */
    mark[size] = '\0';
}

/* The `count` strings of a request, checked: false where it is not made as guard.c makes it. */
static bool split_strings(char *strings, size_t size, char **at, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *end = memchr(strings, '\0', size);
        if (end == NULL) {
            return false;
        }
        at[i] = strings;
        size -= (size_t)(end + 1 - strings);
        strings = end + 1;
    }
    return true;
}

static struct program *free_place(void)
{
    for (size_t i = 0; i < GUARD_PLACES; i++) {
        if (guard.programs[i].pid == 0) {
            return &guard.programs[i];
        }
    }
    return NULL;
}

static bool lease_holds(void)
{
    return now_ms() < atomic_load(&guard.page->lease_ms) && !guard.sweeping;
}

/* Returns the process id, or -errno. */
static pid_t start_program(struct program *place, const struct guard_request *request, size_t strings_size, const int *fds)
{
    static char *strings[2 + GUARD_VARIABLES];
    static char *variables[1 + GUARD_VARIABLES + MAX_INHERITED + 1];
    static char mark[GUARD_MARK_BYTES + 24];
    size_t first = request->has_argument ? 2 : 1;
    size_t added = (size_t)request->variable_count;
    if (added > GUARD_VARIABLES || !split_strings(guard.request.strings, strings_size, strings, first + added)) {
        return -EINVAL;
    }
    char *arguments[] = {strings[0], request->has_argument ? strings[1] : NULL, NULL};
    mark_of(mark, request->token);
    variables[0] = mark;
    memcpy(variables + 1, strings + first, added * sizeof variables[0]);
    size_t inherited = request->bare ? 0 : guard.inherited_count;
    memcpy(variables + 1 + added, guard.inherited, inherited * sizeof variables[0]);
    variables[1 + added + inherited] = NULL;
    struct guard_launch launch = {.guard = guard.pid,
                                  .place = &guard.page->programs[place - guard.programs],
                                  .fds = fds,
                                  .arguments = arguments,
                                  .variables = variables};
    return guard_launch(&launch);
}

/* Where this process may open no more, some are cut off. */
static bool all_came(const int *fds)
{
    bool all = true;
    for (int i = 0; i < GUARD_FD_COUNT; i++) {
        all &= fds[i] >= 0;
    }
    return all;
}

static void on_spawn(const struct guard_request *request, size_t strings_size, int *fds)
{
    if (!lease_holds()) {
        say(fds[GUARD_STATUS], GUARD_STATUS_LEASE_OVER, 0);
        return;
    }
    struct program *place = free_place();
    pid_t pid = !all_came(fds) ? -EMFILE : place != NULL ? start_program(place, request, strings_size, fds) : -EAGAIN;
    if (pid < 0) {
        say(fds[GUARD_STATUS], GUARD_STATUS_NOT_STARTED, -pid);
        return;
    }
    *place = (struct program){.pid = pid, .token = request->token, .status_fd = fds[GUARD_STATUS]};
    fds[GUARD_STATUS] = -1;
}

/* ---- requests */

static void on_kill(const struct guard_request *request)
{
    for (size_t i = 0; i < GUARD_PLACES; i++) {
        const struct program *program = &guard.programs[i];
        if (program->pid != 0 && program->token == request->token && !program->ending) {
            kill(-program->pid, request->signal);
        }
    }
}

/* Over for programs now; functions still have what the lease gave them. */
static void end_lease(void)
{
    int64_t lease = atomic_load(&guard.page->lease_ms);
    while (lease > 0 && !atomic_compare_exchange_weak(&guard.page->lease_ms, &lease, -lease)) {
    }
    guard.sweeping = true;
}

static void on_lease_begin(const struct guard_request *request, int *fds)
{
    if (guard.answer_fd >= 0) {
        close(guard.answer_fd); /* who asked first waits in vain: there is but one worker */
    }
    end_lease();
    if (atomic_load(&guard.page->functions_running) > 0) {
        say(fds[0], GUARD_ANSWER_FUNCTION_RUNS, 0);
        guard.answer_fd = -1;
        return;
    }
    guard.answer_fd = fds[0];
    guard.next_until_ms = request->until_ms;
    guard.next_grace_ms = request->grace_ms;
    fds[0] = -1;
}

/* What came with a message; places without one are -1. */
static void take_fds(struct msghdr *message, int *fds)
{
    for (int i = 0; i < GUARD_FD_COUNT; i++) {
        fds[i] = -1;
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        size_t size = header->cmsg_len - CMSG_LEN(0);
        memcpy(fds, CMSG_DATA(header), size < GUARD_FD_COUNT * sizeof(int) ? size : GUARD_FD_COUNT * sizeof(int));
    }
}

static void on_request(size_t size, int *fds)
{
    const struct guard_request *request = &guard.request;
    switch (request->kind) {
    case GUARD_SPAWN:       on_spawn(request, size - GUARD_REQUEST_BYTES, fds); break;
    case GUARD_KILL:        on_kill(request); break;
    case GUARD_LEASE_BEGIN: on_lease_begin(request, fds); break;
    case GUARD_LEASE_END:   end_lease(); break;
    default:                break;
    }
}

/* One request; false when there is none now. */
static bool read_request(void)
{
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(GUARD_FD_COUNT * sizeof(int))];
    } control;
    struct iovec part = {&guard.request, sizeof guard.request};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t size = recvmsg(SOCKET_FD, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0) {
        return errno == EINTR;
    }
    if (size == 0) {
        guard.worker_gone = true;
        return false;
    }
    int fds[GUARD_FD_COUNT];
    take_fds(&message, fds);
    if ((size_t)size >= GUARD_REQUEST_BYTES) {
        on_request((size_t)size, fds);
    }
    for (int i = 0; i < GUARD_FD_COUNT; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    return true;
}

/* ---- the dead, and those who are to die */

static struct program *program_of(pid_t pid)
{
    for (size_t i = 0; i < GUARD_PLACES; i++) {
        if (guard.programs[i].pid == pid) {
            return &guard.programs[i];
        }
    }
    return NULL;
}

static void look_at_leader(struct program *program)
{
    if (program->pid == 0 || program->ending) {
        return;
    }
    if (descendants_is_dead_child(program->pid)) {
        program->ending = true;
        kill(-program->pid, SIGKILL);
        return;
    }
    guard.alive++;
    if (guard.sweeping) {
        kill(-program->pid, SIGKILL);
    }
}

static enum descendant_mark belongs_to(pid_t stray, const struct program *program)
{
    char mark[GUARD_MARK_BYTES + 24];
    mark_of(mark, program->token);
    return getpgid(stray) == program->pid ? MARK_YES : descendants_carries(stray, mark);
}

static bool is_anybody_running(void)
{
    for (size_t i = 0; i < GUARD_PLACES; i++) {
        if (guard.programs[i].pid != 0 && !guard.programs[i].ending) {
            return true;
        }
    }
    return false;
}

/* False: it may not be killed (it has become another user's), and is given up. */
static bool kill_stray(pid_t pid)
{
    return kill(pid, SIGKILL) == 0;
}

static bool is_leftover_of(pid_t pid, const struct program *program, bool nobody_runs)
{
    enum descendant_mark mark = nobody_runs ? MARK_YES : belongs_to(pid, program);
    return mark == MARK_YES ? kill_stray(pid) : mark == MARK_UNKNOWN;
}

/* Kill a child that is no leader if it is left over from an ended program, or must be: nothing else runs. */
static void look_at_stray(pid_t pid)
{
    bool nobody_runs = !is_anybody_running();
    for (size_t i = 0; i < GUARD_PLACES; i++) {
        struct program *program = &guard.programs[i];
        if (program->ending && is_leftover_of(pid, program, nobody_runs)) {
            program->leftover = true;
        }
    }
    if ((!guard.sweeping && !nobody_runs) || kill_stray(pid)) {
        guard.alive++;
    }
}

/* True: it was dead, so there may be children of its that came to us only now. */
static bool look_at(pid_t pid)
{
    if (program_of(pid) != NULL) {
        return false;
    }
    if (descendants_is_dead_child(pid)) {
        waitpid(pid, NULL, 0);
        return true;
    }
    look_at_stray(pid);
    return false;
}

/* Nobody of it is left: now its end may be told, and the next attempt, or the rollback, may begin. */
static void conclude(struct program *program)
{
    int status = 0;
    atomic_store(&guard.page->programs[program - guard.programs], 0);
    waitpid(program->pid, &status, 0);
    say(program->status_fd, GUARD_STATUS_ENDED, status);
    close(program->status_fd);
    *program = (struct program){0};
}

static bool is_ending(void)
{
    for (size_t i = 0; i < GUARD_PLACES; i++) {
        if (guard.programs[i].ending) {
            return true;
        }
    }
    return false;
}

/* The leaders first: whoever was the child of one that is dead is ours by then, and among the children read next. */
static bool look_at_all(void)
{
    bool somebody_died = false;
    guard.alive = 0;
    for (size_t i = 0; i < GUARD_PLACES; i++) {
        guard.programs[i].leftover = false;
        look_at_leader(&guard.programs[i]);
    }
    size_t count = descendants_children(guard.children, MAX_CHILDREN);
    for (size_t i = 0; i < count; i++) {
        somebody_died |= look_at(guard.children[i]);
    }
    return somebody_died;
}

static void survey(void)
{
    if (!guard.child_died && !guard.sweeping && !is_ending()) {
        return;
    }
    guard.child_died = false;
    while (look_at_all()) {
    }
    for (size_t i = 0; i < GUARD_PLACES; i++) {
        if (guard.programs[i].ending && !guard.programs[i].leftover) {
            conclude(&guard.programs[i]);
        }
    }
}

/* ---- the lease */

static void watch_lease(void)
{
    int64_t lease = atomic_load(&guard.page->lease_ms);
    if (!rule_holds(RULE_GUARD)) {
        return;
    }
    if (lease > 0 && now_ms() >= lease && atomic_compare_exchange_strong(&guard.page->lease_ms, &lease, -lease)) {
        guard.sweeping = true; /* where the exchange failed, it was renewed just in time */
        return;
    }
    if (lease < 0 && !guard.worker_killed && atomic_load(&guard.page->functions_running) > 0 &&
        now_ms() >= -lease + atomic_load(&guard.page->grace_ms)) {
        guard.worker_killed = true;
        pidfd_send_signal(WORKER_FD, SIGKILL, NULL, 0);
    }
}

/* When the clock must wake us: at the end of the lease, or of the grace while a function runs. After the end no function
 * begins, so that once none runs none will. */
static int64_t next_deadline_ms(void)
{
    int64_t lease = atomic_load(&guard.page->lease_ms);
    if (lease >= 0) {
        return lease;
    }
    bool wait_for_functions = atomic_load(&guard.page->functions_running) > 0 && !guard.worker_killed;
    return wait_for_functions ? -lease + atomic_load(&guard.page->grace_ms) : 0;
}

static void arm_timer(void)
{
    int64_t at_ms = next_deadline_ms();
    if (at_ms == guard.armed_ms) {
        return;
    }
    struct itimerspec when = {.it_value = {at_ms / 1000, at_ms % 1000 * 1000000}};
    timerfd_settime(guard.timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    guard.armed_ms = at_ms;
}

static void conclude_sweep(void)
{
    if (!guard.sweeping || guard.alive > 0 || is_ending()) {
        return;
    }
    if (guard.worker_gone) {
        _exit(0);
    }
    guard.sweeping = false;
    if (guard.answer_fd >= 0) {
        atomic_store(&guard.page->grace_ms, guard.next_grace_ms);
        atomic_store(&guard.page->lease_ms, guard.next_until_ms);
        say(guard.answer_fd, GUARD_ANSWER_BEGUN, 0);
        close(guard.answer_fd);
        guard.answer_fd = -1;
    }
}

/* ---- the loop */

static void wait_for_something(void)
{
    struct pollfd fds[] = {
        {.fd = SOCKET_FD, .events = POLLIN},
        {.fd = WORKER_FD, .events = POLLIN},
        {.fd = guard.child_fd, .events = POLLIN},
        {.fd = guard.timer_fd, .events = POLLIN},
    };
    if (guard.worker_gone) {
        fds[0].fd = fds[1].fd = -1;
    }
    arm_timer();
    if (poll(fds, sizeof fds / sizeof fds[0], guard.sweeping || is_ending() ? LOOK_AGAIN_MS : -1) <= 0) {
        return;
    }
    char bytes[4096];
    while (read(guard.child_fd, bytes, sizeof bytes) > 0) {
        guard.child_died = true;
    }
    if (fds[3].revents != 0 && read(guard.timer_fd, bytes, sizeof bytes) > 0) {
        guard.armed_ms = 0;
    }
    guard.worker_gone = guard.worker_gone || fds[1].revents != 0;
}

_Noreturn void guard_process(struct guard_page *page, int socket_fd, int worker_fd)
{
    set_up(page, socket_fd, worker_fd);
    for (;;) {
        wait_for_something();
        while (!guard.worker_gone && read_request()) {
        }
        watch_lease();
        if (guard.worker_gone) {
            end_lease();
        }
        survey();
        conclude_sweep();
    }
}
