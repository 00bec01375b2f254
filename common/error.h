/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong, in one line, and what the caller can do about it. */
#ifndef ERROR_H
#define ERROR_H

#include <stdbool.h>

enum error_kind {
    ERROR_NONE,
    ERROR_INVALID,   /* wrong input: report it */
    ERROR_TRANSIENT, /* not now: try later */
    ERROR_REJECTED,  /* refused by a rule: undo */
    ERROR_FATAL,     /* this process no longer knows what it published: drop all, begin anew */
};

#define ERROR_MESSAGE_BYTES 1024

struct error {
    enum error_kind kind;
    char message[ERROR_MESSAGE_BYTES]; /* one line, NUL-terminated, cut where it does not fit */
};

/* Fill `error` (NULL is fine) and return false, so that a caller can write `return error_set(...)`. */
bool error_set(struct error *error, enum error_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "<what>: " before the message; the kind stays. Returns false. */
bool error_prefix(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
