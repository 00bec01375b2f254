/* SPDX-License-Identifier: Apache-2.0 */
/* One attempt's request to stop: a flag that any thread or signal handler may raise, and a descriptor to wait for it. */
#ifndef CANCELLATION_H
#define CANCELLATION_H

#include <stdatomic.h>
#include <stdbool.h>

struct cancellation {
    atomic_bool requested;
    atomic_int fd; /* 1 + the descriptor; 0: nobody has asked for one */
};

void cancellation_request(struct cancellation *cancellation); /* async-signal-safe */
bool cancellation_requested(const struct cancellation *cancellation);
int cancellation_fd(struct cancellation *cancellation); /* readable once requested; -1: none could be made. One thread asks */
void cancellation_reset(struct cancellation *cancellation); /* as if it had never been requested; keeps the descriptor */
void cancellation_fini(struct cancellation *cancellation); /* nobody uses it any more. All zero is a fresh one */

#endif
