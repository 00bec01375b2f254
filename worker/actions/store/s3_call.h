/* SPDX-License-Identifier: Apache-2.0 */
/* One signed request to an S3-compatible store. */
#ifndef S3_CALL_H
#define S3_CALL_H

#include "worker/actions/store/http.h"
#include "worker/actions/store/store.h"

#define S3_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define S3_HEADERS 4

struct s3 {
    struct store store;
    struct http *http;
    char *endpoint; /* without a slash at its end */
    char *host; /* as in the Host header */
    char *bucket, *prefix; /* prefix: "" or "a/b/" */
    char *key_id, *secret, *token, *region; /* token NULL: none */
};

struct s3_call {
    const char *method;
    const char *key; /* any bytes; NULL: the bucket */
    const char *query; /* sorted and encoded; NULL: none */
    /* Names in lower case, x-amz-...: signed. NULL-terminated. */
    const char *amz_headers[S3_HEADERS + 1];
    const char *plain_header; /* not signed; NULL: none */
    const char *sha256; /* of the body; NULL: there is none */
    int fd; /* as in http_request; -1 */
    uint64_t offset, size;
    struct span body;
    void (*sent)(void *state, int64_t bytes);
    void (*received)(void *state, const void *bytes, size_t size);
    void *state;
};

/* Any status is an answer, as with http_exchange(). */
bool s3_exchange(struct s3 *s3, const struct s3_call *call, struct http_answer *answer, struct error *error);
/* The error of an answer that is none: the store's own code ("NoSuchBucket") where it gave one. Returns false. */
bool s3_refused(const struct http_answer *answer, const char *what, struct error *error);
/* What stands between <name> and </name>, from `*at` on; moves `*at` behind it. Empty: there is none. */
struct span s3_element(const char **at, const char *name);

#endif
