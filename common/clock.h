/* SPDX-License-Identifier: Apache-2.0 */
/* The only place that reads a clock. Everything that decides takes the time as an argument. */
#ifndef CLOCK_H
#define CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

int64_t clock_monotonic_us(void); /* CLOCK_MONOTONIC: for waits and durations */
int64_t clock_monotonic_ms(void);
int64_t clock_boottime_ms(void); /* CLOCK_BOOTTIME: for leases, since it counts a suspended machine too */
int64_t clock_realtime_ms(void); /* Unix time: for people */

/* For pthread_cond_timedwait(): a condition whose waits nobody shortens or draws out by setting a clock, and the end of one of so many
 * milliseconds, at least 0. */
void clock_condition_init(pthread_cond_t *condition);
struct timespec clock_deadline(int64_t timeout_ms);

#endif
