/* SPDX-License-Identifier: Apache-2.0 */
#include "common/jq_compile.h"

#include "common/clock.h"
#include "common/jq.h"
#include "common/jq_helper.h"
#include "common/limits.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROLE "compile"

/* ---------------------------------------------------------------- the helper */

/* Asked: a size, and the expression. Said: nothing, if all is well, else the message. */
__attribute__((constructor)) static void become_helper(void)
{
    struct error error = {0};
    uint64_t size = 0;
    if (!jq_helper_begin(ROLE)) {
        return;
    }
    jq_helper_read(&size, sizeof size);
    char *bytes = malloc(size + 1);
    if (bytes == NULL) {
        _exit(JQ_EXIT_MEMORY);
    }
    jq_helper_read(bytes, size);
    if (jq_program_new((struct span){bytes, size}, &error) != NULL) { /* it goes with the process */
        _exit(0);
    }
    jq_helper_write(error.message, strlen(error.message));
    _exit(2);
}

/* ---------------------------------------------------------------- who asks */

/* SIZE_MAX: it takes too long. */
static size_t hear(int fd, char *message, size_t room, int64_t deadline_ms)
{
    size_t size = 0;
    for (;;) {
        int64_t left_ms = deadline_ms - clock_monotonic_ms();
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        int ready = left_ms > 0 ? poll(&readable, 1, (int)left_ms) : 0;
        if (ready == 0) {
            return SIZE_MAX;
        }
        ssize_t got = ready > 0 ? read(fd, message + size, room - size) : -1;
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return size;
        }
        size += got > 0 ? (size_t)got : 0;
    }
}

static bool judge(int status, size_t size, const char *message, struct error *error)
{
    if (size == SIZE_MAX) {
        return error_set(error, ERROR_INVALID, "compiling it takes longer than %d s", LIMIT_EXPRESSION_MS / 1000);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == JQ_EXIT_MEMORY) {
        return error_set(error, ERROR_INVALID, "compiling it needs more than %d MiB", LIMIT_EXPRESSION_MEMORY_BYTES / MIB);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2) {
        return error_set(error, ERROR_INVALID, "%.*s", (int)size, message);
    }
    if (WIFSIGNALED(status)) {
        return error_set(error, ERROR_INVALID, "jq crashes on it");
    }
    return WEXITSTATUS(status) == 0 || error_set(error, ERROR_TRANSIENT, "jq could not be confined");
}

bool jq_compile_apart(struct span expression, struct error *error)
{
    char message[ERROR_MESSAGE_BYTES];
    struct jq_helper helper;
    if (!jq_helper_start(&helper, ROLE, NULL, 0, error)) {
        return false;
    }
    uint64_t size_asked = expression.size;
    jq_helper_ask(&helper, (struct span){(const char *)&size_asked, sizeof size_asked});
    jq_helper_ask(&helper, expression);
    size_t size = hear(helper.fd, message, sizeof message - 1, clock_monotonic_ms() + LIMIT_EXPRESSION_MS);
    return judge(jq_helper_end(&helper, size == SIZE_MAX), size, message, error);
}
