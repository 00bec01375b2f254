/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums, over libcrypto. Failing to compute one is failing to have memory: it aborts. */
#ifndef ACTION_DIGEST_H
#define ACTION_DIGEST_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_HEX_BYTES 65 /* with the NUL */
#define MD5_BYTES 16
#define MD5_HEX_BYTES 33

struct digest;

struct digest *digest_sha256(void); /* caller owes digest_free() */
struct digest *digest_md5(void);
void digest_add(struct digest *digest, const void *bytes, size_t size);
void digest_finish(struct digest *digest, unsigned char *bytes); /* and begin anew */
void digest_free(struct digest *digest); /* NULL is fine */

void sha256_of(const void *bytes, size_t size, unsigned char sha256[SHA256_BYTES]);
void hmac_sha256(const void *key, size_t key_size, const char *text, unsigned char mac[SHA256_BYTES]);
/* `size` bytes as lower-case hexadecimal, NUL-terminated. */
void digest_hex(const unsigned char *bytes, size_t size, char *hex);

/* What a file holds, whole and by parts of `part_bytes` (the last may be shorter; an empty file has one). */
struct content_part {
    unsigned char sha256[SHA256_BYTES], md5[MD5_BYTES];
};
struct content {
    uint64_t size, part_bytes;
    char sha256[SHA256_HEX_BYTES];
    struct content_part *parts;
    size_t part_count;
};

/* Read `fd` from its beginning to its end, in constant memory but for 48 bytes a part. `stop` (may be NULL) is asked now and then.
 * Caller owes content_fini(). TRANSIENT: it cannot be read, or was stopped. */
bool content_read(struct content *content, int fd, uint64_t part_bytes, bool (*stop)(void *state), void *state,
                  struct error *error);
void content_fini(struct content *content);

/* SHA-256 of all `fd` holds, in hexadecimal. */
bool sha256_of_file(int fd, char hex[SHA256_HEX_BYTES], struct error *error);

#endif
