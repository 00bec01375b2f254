/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP exchange at a time, over libcurl: no redirects, no proxies of its own, no body in memory. The one file that knows libcurl. */
#ifndef HTTP_H
#define HTTP_H

#include "common/error.h"
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http;

struct http_options {
    int64_t stall_ms; /* nothing moved for so long: TRANSIENT */
    const char *user_password; /* "user:password" for Basic; NULL: none */
    bool (*stop)(void *state); /* asked several times a second */
    void *state;
};

struct http *http_open(const struct http_options *options); /* aborts without memory; caller owes http_close() */
void http_close(struct http *http);

#define HTTP_HEADERS_MAX 12
#define HTTP_BODY_BYTES (64 * 1024) /* kept of an answer */

struct http_request {
    const char *method, *url;
    const char *headers[HTTP_HEADERS_MAX + 1]; /* "Name: value", NULL-terminated */
    int fd; /* the body: `size` bytes from `offset`, by pread(); -1: `body` */
    uint64_t offset, size;
    struct span body;
    bool has_body;
    void (*sent)(void *state, int64_t bytes); /* NULL: nobody */
    void (*received)(void *state, const void *bytes, size_t size); /* the answer's body, of a 2xx; NULL: kept */
    void *state;
};

bool http_names_host(const char *url); /* what stands behind its "://" is more than a port or a path */

struct http_answer {
    int status;
    uint64_t content_length; /* 0: not said */
    char tag[160]; /* ETag, without its quotes; "": none */
    char digest[65]; /* hexadecimal SHA-256 the server states (Repr-Digest, Digest); "": none */
    char owner[160]; /* x-amz-meta-backstep-owner */
    char sha256[65]; /* x-amz-meta-backstep-sha256 */
    char server_time[40]; /* Date */
    struct text body; /* at most HTTP_BODY_BYTES */
};

/* Any status is an answer. TRANSIENT: there was none; INVALID: nor will there be, its certificate is not to be trusted. Caller owes http_answer_fini() where it is true. */
bool http_exchange(struct http *http, const struct http_request *request, struct http_answer *answer, struct error *error);
void http_answer_fini(struct http_answer *answer);

/* An error for a status that is no success: TRANSIENT for 408, 425, 429 and 5xx (but 501, 505, 507), else INVALID. Returns false. */
bool http_refused(const struct http_answer *answer, const char *what, struct error *error);

#endif
