/* SPDX-License-Identifier: Apache-2.0 */
/* Records through jq, in a process of its own: libjq cannot be stopped, and some input ends it. */
#ifndef EXPORT_SIEVE_H
#define EXPORT_SIEVE_H

#include "common/error.h"
#include "common/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define LIMIT_SIEVE_OUTPUT_BYTES                                                                                                   \
    (16 * 1024 * 1024) /* what one record may become: held whole, so that it is exported whole or kept aside */

struct sieve_counts {
    uint64_t read, items, failed;
};

struct sieve {
    FILE *source, *items, *aside; /* from their places on; flushed when it ends well */
    bool csv;
    struct span filter;
    uint64_t max_failed;
    int cancel_fd; /* readable: stop */
    void (*counted)(void *state, const struct sieve_counts *counts); /* several times a second */
    void *state;
};

/* INVALID: more failed than may, or jq crashes; TRANSIENT: stopped, or the disk. */
bool sieve_run(const struct sieve *sieve, struct sieve_counts *counts, struct error *error);

#endif
