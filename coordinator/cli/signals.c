/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

/* The one place with globals: a signal handler is given nothing else. */
static volatile sig_atomic_t interrupts;
static volatile sig_atomic_t resized;
static struct bus *volatile waiting_bus;
static int pipe_ends[2] = {-1, -1};

static void on_signal(int number)
{
    int saved_errno = errno;
    if (number == SIGINT || number == SIGTERM) {
        interrupts = interrupts + 1;
    } else if (number == SIGHUP && interrupts == 0) {
        interrupts = 1; /* the kernel and a shell both say that the terminal is gone: that is no second Ctrl-C */
    } else if (number == SIGWINCH) {
        resized = 1;
    }
    if (pipe_ends[1] >= 0) {
        ssize_t written = write(pipe_ends[1], "", 1);
        (void)written; /* full: then it wakes anyway */
    }
    struct bus *bus = waiting_bus;
    if (bus != NULL) {
        bus_wake(bus);
    }
    errno = saved_errno;
}

void signals_install(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGWINCH, SIGCHLD};
    if (pipe_ends[0] < 0 && pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        pipe_ends[0] = pipe_ends[1] = -1;
    }
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        sigaction(numbers[i], &action, NULL);
    }
    struct sigaction before;
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) { /* else nohup wants it to go on */
        sigaction(SIGHUP, &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
}

void signals_set_bus(struct bus *bus)
{
    waiting_bus = bus;
}

int signals_interrupts(void)
{
    return interrupts;
}

bool signals_take_resize(void)
{
    bool was = resized != 0;
    resized = 0;
    return was;
}

void signals_wait(int timeout_ms)
{
    struct pollfd wait = {.fd = pipe_ends[0], .events = POLLIN};
    if (poll(&wait, 1, timeout_ms) > 0) {
        char bytes[64];
        while (read(pipe_ends[0], bytes, sizeof bytes) > 0) {
        }
    }
}
