/* SPDX-License-Identifier: Apache-2.0 */
/* The files of one upload: found, named, and grouped to units. Kept in the workspace, one line a file. */
#ifndef UPLOAD_LISTING_H
#define UPLOAD_LISTING_H

#include "worker/actions/workspace.h"

#include <stdint.h>

#define LIMIT_UPLOAD_FILES 100000 /* about 300 bytes each are held while they are sent */
#define LIMIT_UPLOAD_PATH_BYTES 4096 /* PATH_MAX; longer ones cannot be opened */
#define LIMIT_UPLOAD_DEPTH 64 /* of directories: one is held open for each */

struct listed {
    char *path; /* relative to the source, any bytes */
    char *key; /* in the store; NULL: not organised yet */
    char *unit;
    uint64_t size;
    int64_t mtime_ns;
};

struct listing {
    struct listed *files;
    size_t count, capacity;
};

void listing_fini(struct listing *listing);
/* The strings are copied. */
void listing_add(struct listing *listing, const char *path, uint64_t size, int64_t mtime_ns);
void listing_sort(struct listing *listing); /* by path, byte by byte */

bool listing_write(const struct listing *listing, const struct workspace *workspace, const char *name, struct error *error);
/* Caller owes listing_fini(), also after a failure. */
bool listing_read(struct listing *listing, const struct workspace *workspace, const char *name, struct error *error);

/* Walk `source`, a directory or a single file. What is neither file nor directory is refused, or left out where `skip_special`; names that
 * begin with a dot are left out where `skip_hidden`. INVALID: it is not there, or has more than the limits. */
struct walk {
    const char *source;
    bool skip_special, skip_hidden;
    size_t left_out; /* filled in */
    bool (*stop)(void *state);
    void *state;
};
bool listing_walk(struct listing *listing, struct walk *walk, struct error *error);

#endif
