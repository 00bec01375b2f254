/* SPDX-License-Identifier: Apache-2.0 */
/* AWS Signature Version 4, for S3: a function of its arguments.
 *
 * source   "Authenticating Requests (AWS Signature Version 4)" in Amazon's S3 API reference; its examples are rows of a test */
#ifndef SIGV4_H
#define SIGV4_H

#include "common/text.h"

#include <stddef.h>

struct sigv4_key {
    const char *id, *secret;
    const char *region;
};

struct sigv4_request {
    const char *method;
    const char *path; /* percent-encoded, from its first '/' */
    const char *query; /* sorted, percent-encoded, each name with its '='; "": none */
    const char *const *headers; /* "name: value", names in lower case, sorted; with host, x-amz-date and x-amz-content-sha256 */
    size_t header_count;
    const char *payload_sha256; /* hexadecimal */
    const char *time; /* "20130524T000000Z", as in x-amz-date */
};

/* Append the value of the Authorization header. */
bool sigv4_authorize(struct text *text, const struct sigv4_key *key, const struct sigv4_request *request);

#endif
