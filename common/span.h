/* SPDX-License-Identifier: Apache-2.0 */
/* A run of bytes somebody else owns. Never NUL-terminated by contract; size 0 means empty, whatever `bytes` is. */
#ifndef SPAN_H
#define SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
    const char *bytes; /* borrowed */
    size_t size;
};

/* For printf("%.*s"): precision and pointer. */
#define SPAN_ARGS(span) (int)(span).size, (span).size > 0 ? (span).bytes : ""

static inline struct span span_of(const char *string)
{
    return (struct span){string, string != NULL ? strlen(string) : 0};
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.bytes, b.bytes, a.size) == 0);
}

/* Copy its bytes to `*at`, which has room for them, and go on behind them. Returns the copy. */
static inline struct span span_copy_to(char **at, struct span from)
{
    struct span copy = {*at, from.size};
    if (from.size > 0) {
        memcpy(*at, from.bytes, from.size);
        *at += from.size;
    }
    return copy;
}

#endif
