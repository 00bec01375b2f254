/* SPDX-License-Identifier: Apache-2.0 */
/* Signals as things to look at: handlers only count, and wake the bus that waits. */
#ifndef SIGNALS_H
#define SIGNALS_H

#include "common/bus.h"

#include <stdbool.h>

/* From here on SIGINT and SIGTERM are counted; SIGHUP is the first of them, or none, and stays ignored where it was. SIGWINCH is remembered,
 * SIGCHLD wakes, SIGPIPE is ignored. */
void signals_install(void);
/* Whom to wake; NULL: nobody. Set it back to NULL before the bus is closed. */
void signals_set_bus(struct bus *bus);
int signals_interrupts(void); /* how many have come */
bool signals_take_resize(void); /* has the terminal been resized since the last call? */
/* Wait until a signal comes, at most so long. */
void signals_wait(int timeout_ms);

#endif
