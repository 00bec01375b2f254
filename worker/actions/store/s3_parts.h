/* SPDX-License-Identifier: Apache-2.0 */
/* Multipart uploads: a file in parts, of which the store keeps those it has until it is told otherwise. */
#ifndef S3_PARTS_H
#define S3_PARTS_H

#include "worker/actions/store/s3_call.h"

#define S3_PART_BYTES ((uint64_t)8 * 1024 * 1024) /* at least: S3 takes no less than 5 MiB; what a broken attempt loses */
#define S3_PARTS_MAX 10000 /* S3's own limit */
#define S3_KEY_BYTES 1024 /* likewise */

/* `owner` and `sha256`: whole headers, the object's metadata. Notes the upload's id, and goes on with the one it is reminded of. */
bool s3_put_parts(struct s3 *s3, const struct store_put *put, const char *owner, const char *sha256, struct error *error);
bool s3_abort_parts(struct s3 *s3, const char *key, const char *upload, struct error *error);
/* Is the answer's ETag this MD5? FATAL: what is there is wrong. One that is no MD5 says nothing: then the store has checked the signed SHA-256 itself. */
bool s3_tag_matches(const struct http_answer *answer, const unsigned char md5[MD5_BYTES], struct error *error);

#endif
