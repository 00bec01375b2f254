/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/cancellation.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void ring(int fd)
{
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written; /* it can only fail because it is readable already */
}

/* Flag and descriptor are each set before the other is looked at: whoever comes second rings. */
void cancellation_request(struct cancellation *cancellation)
{
    atomic_store(&cancellation->requested, true);
    int fd = atomic_load(&cancellation->fd) - 1;
    if (fd >= 0) {
        ring(fd);
    }
}

bool cancellation_requested(const struct cancellation *cancellation)
{
    return atomic_load(&((struct cancellation *)cancellation)->requested);
}

int cancellation_fd(struct cancellation *cancellation)
{
    int fd = atomic_load(&cancellation->fd) - 1;
    if (fd >= 0) {
        return fd;
    }
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return -1;
    }
    atomic_store(&cancellation->fd, fd + 1);
    if (cancellation_requested(cancellation)) {
        ring(fd);
    }
    return fd;
}

void cancellation_reset(struct cancellation *cancellation)
{
    uint64_t rung;
    int fd = atomic_load(&cancellation->fd) - 1;
    atomic_store(&cancellation->requested, false);
    ssize_t size = fd >= 0 ? read(fd, &rung, sizeof rung) : 0;
    (void)size; /* nothing was there, or it is gone now */
}

void cancellation_fini(struct cancellation *cancellation)
{
    int fd = atomic_exchange(&cancellation->fd, 0) - 1;
    if (fd >= 0) {
        close(fd);
    }
}
