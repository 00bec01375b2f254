/* SPDX-License-Identifier: Apache-2.0 */
/* A data set from a path or a URL into the workspace, checked and unpacked. */
#ifndef TRAIN_FETCH_H
#define TRAIN_FETCH_H

#include "worker/actions/action.h"
#include "worker/actions/digest.h"

struct fetch {
    const char *from; /* a path, or http(s)://... */
    const char *sha256; /* what it has to be, as it is fetched; NULL: anything */
    int64_t stall_ms, max_bytes; /* max_bytes: unpacked */
    char found[SHA256_HEX_BYTES]; /* filled in */
};

/* Fetch to the workspace's file `name`; gzip is unpacked. TRANSIENT: again may help. */
bool fetch_file(struct fetch *fetch, struct action_call *call, const char *name, struct error *error);

#endif
