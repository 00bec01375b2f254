/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/descendants.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_BYTES 64
#define MAX_ENVIRONMENT_BYTES (4u * 1024 * 1024) /* what execve() may take, and more than anybody has */

static char *append(char *at, const char *string)
{
    size_t length = strlen(string);
    memcpy(at, string, length + 1);
    return at + length;
}

static char *append_number(char *at, pid_t number)
{
    char digits[16];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0) {
        *at++ = digits[--count];
    }
    *at = '\0';
    return at;
}

/* /proc/<pid>/<file> */
static int open_of(pid_t pid, const char *file)
{
    char path[PATH_BYTES];
    append(append(append_number(append(path, "/proc/"), pid), "/"), file);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static ssize_t read_again(int fd, char *bytes, size_t size)
{
    ssize_t got;
    do {
        got = read(fd, bytes, size);
    } while (got < 0 && errno == EINTR);
    return got;
}

/* Numbers separated by blanks, in pieces. */
static size_t read_numbers(int fd, pid_t *pids, size_t capacity)
{
    char bytes[4096];
    size_t count = 0;
    pid_t number = 0;
    for (ssize_t got; (got = read_again(fd, bytes, sizeof bytes)) > 0;) {
        for (ssize_t i = 0; i < got; i++) {
            if (bytes[i] >= '0' && bytes[i] <= '9') {
                number = number * 10 + (bytes[i] - '0');
            } else if (number > 0 && count < capacity) {
                pids[count++] = number;
                number = 0;
            }
        }
    }
    return count;
}

size_t descendants_children(pid_t *pids, size_t capacity)
{
    char path[PATH_BYTES];
    append(append_number(append(path, "/proc/self/task/"), getpid()), "/children");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return descendants_children_of_threads(pids, capacity); /* a kernel without CONFIG_PROC_CHILDREN */
    }
    size_t count = read_numbers(fd, pids, capacity);
    close(fd);
    return count;
}

/* The fourth field of /proc/<pid>/stat; the second is a name in parentheses that may hold anything. */
static pid_t parent_of(pid_t pid)
{
    char bytes[512];
    int fd = open_of(pid, "stat");
    if (fd < 0) {
        return 0;
    }
    ssize_t got = read_again(fd, bytes, sizeof bytes - 1);
    close(fd);
    if (got <= 0) {
        return 0;
    }
    bytes[got] = '\0';
    const char *at = strrchr(bytes, ')');
    if (at == NULL || strlen(at) < 5) {
        return 0;
    }
    pid_t parent = 0;
    for (at += 4; *at >= '0' && *at <= '9'; at++) { /* ") S 123" */
        parent = parent * 10 + (*at - '0');
    }
    return parent;
}

static pid_t number_of(const char *name)
{
    pid_t number = 0;
    for (; *name >= '0' && *name <= '9'; name++) {
        number = number * 10 + (*name - '0');
    }
    return *name == '\0' ? number : 0;
}

size_t descendants_children_of_threads(pid_t *pids, size_t capacity)
{
    _Alignas(struct dirent64) char bytes[8192];
    size_t count = 0;
    int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (long got; fd >= 0 && (got = syscall(SYS_getdents64, fd, bytes, sizeof bytes)) > 0;) {
        for (long at = 0; at < got;) {
            const struct dirent64 *entry = (const struct dirent64 *)(const void *)(bytes + at);
            pid_t pid = number_of(entry->d_name);
            if (pid > 0 && count < capacity && parent_of(pid) == getpid()) {
                pids[count++] = pid;
            }
            at += entry->d_reclen;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return count;
}

/* `matched` goes from piece to piece: bytes of the prefix seen in the present entry; SIZE_MAX: this entry is another. */
static bool feed(const char *bytes, size_t size, const char *prefix, size_t *matched)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\0') {
            *matched = 0;
        } else if (*matched != SIZE_MAX && bytes[i] == prefix[*matched]) {
            if (prefix[++*matched] == '\0') {
                return true;
            }
        } else {
            *matched = SIZE_MAX;
        }
    }
    return false;
}

/* Its arguments are empty only then. */
bool descendants_has_no_memory(pid_t pid)
{
    char byte;
    int fd = open_of(pid, "cmdline");
    ssize_t got = fd >= 0 ? read_again(fd, &byte, 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    return got == 0;
}

/* `empty`: there was nothing to read. */
static bool environment_has(pid_t pid, const char *prefix, bool *empty)
{
    char bytes[4096];
    bool found = false;
    size_t matched = 0;
    size_t total = 0;
    int fd = open_of(pid, "environ");
    bool gone = fd < 0 && errno == ESRCH; /* newer kernels open nothing for a process without memory */
    for (ssize_t got; fd >= 0 && !found && total < MAX_ENVIRONMENT_BYTES && (got = read_again(fd, bytes, sizeof bytes)) > 0;) {
        found = feed(bytes, (size_t)got, prefix, &matched);
        total += (size_t)got;
    }
    *empty = gone || (fd >= 0 && total == 0);
    if (fd >= 0) {
        close(fd);
    }
    return found;
}

enum descendant_mark descendants_carries(pid_t pid, const char *prefix)
{
    bool empty;
    for (int look = 0; look < 2; look++) { /* again where it had none yet, but has executed its program since */
        if (environment_has(pid, prefix, &empty)) {
            return MARK_YES;
        }
        if (!empty) {
            return MARK_NO;
        }
        if (descendants_has_no_memory(pid)) {
            return MARK_UNKNOWN;
        }
    }
    return MARK_NO;
}

bool descendants_is_dead_child(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}
