/* SPDX-License-Identifier: Apache-2.0 */
/* Between guard.c (the worker's side) and guard_process.c (the guard's): the shared page and the requests. */
#ifndef GUARD_PROTOCOL_H
#define GUARD_PROTOCOL_H

#include "common/limits.h"
#include "worker/guard.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/types.h>

#define GUARD_STRINGS_BYTES (32 * KIB) /* path, argument and environment of one program */
#define GUARD_PLACES (LIMIT_CONCURRENCY + LIMIT_EXPRESSION_HELPERS) /* a program for each thread, and who evaluates for them */
#define GUARD_VARIABLES 64             /* the most variables a spawn may add */

/* Every process of an attempt carries it, so that those that left its group are found. Value: "<guard>-<token>". */
#define GUARD_MARK "BACKSTEP_GUARD_TOKEN="
#define GUARD_MARK_BYTES 96

/* Shared memory, so that a frozen worker need not be asked, and a dead guard neither. */
struct guard_page {
    /* > 0: it lasts until then · < 0: over, and that was its end, negated · 0: none yet. Over is for good: only the guard, once
     * everything is swept away, puts a positive value where a negative one was. */
    _Atomic int64_t lease_ms;
    _Atomic int64_t grace_ms;
    _Atomic int32_t functions_running;
    _Atomic int32_t programs[GUARD_PLACES]; /* process ids, 0: none; each is its group's id too */
    char mark[GUARD_MARK_BYTES];            /* GUARD_MARK "<guard>-"; constant */
};

enum guard_request_kind { GUARD_SPAWN = 1, GUARD_KILL, GUARD_LEASE_BEGIN, GUARD_LEASE_END };

struct guard_request {
    int32_t kind;
    int32_t signal;
    int64_t token;
    int64_t until_ms;
    int64_t grace_ms;
    int32_t has_argument;
    int32_t variable_count;
    int32_t bare;
    char strings[GUARD_STRINGS_BYTES]; /* path, argument, variables, each with its NUL; only what is used is sent */
};

#define GUARD_REQUEST_BYTES offsetof(struct guard_request, strings)

/* File descriptors beside a request. GUARD_LEASE_BEGIN brings only one, for the answer. */
enum { GUARD_INPUT, GUARD_OUTPUT, GUARD_ERROR, GUARD_STATUS, GUARD_FD_COUNT };

/* Answers to GUARD_LEASE_BEGIN, as a struct guard_status. */
enum { GUARD_ANSWER_BEGUN = 100, GUARD_ANSWER_FUNCTION_RUNS };

/* The guard's life, after fork(), with all signals blocked. Only async-signal-safe calls: other threads held locks. */
_Noreturn void guard_process(struct guard_page *page, int socket_fd, int worker_fd);

#endif
