/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/digest.h"

#include "common/limits.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (128 * KIB) /* large enough for the disk, small enough for a stack */

struct digest {
    EVP_MD_CTX *context;
    const EVP_MD *kind;
};

static void need(bool ok)
{
    if (!ok) {
        abort();
    }
}

static struct digest *digest_new(const EVP_MD *kind)
{
    struct digest *digest = calloc(1, sizeof *digest);
    need(digest != NULL);
    *digest = (struct digest){.context = EVP_MD_CTX_new(), .kind = kind};
    need(digest->context != NULL && EVP_DigestInit_ex(digest->context, kind, NULL) == 1);
    return digest;
}

struct digest *digest_sha256(void)
{
    return digest_new(EVP_sha256());
}

struct digest *digest_md5(void)
{
    return digest_new(EVP_md5());
}

void digest_add(struct digest *digest, const void *bytes, size_t size)
{
    need(EVP_DigestUpdate(digest->context, bytes, size) == 1);
}

void digest_finish(struct digest *digest, unsigned char *bytes)
{
    need(EVP_DigestFinal_ex(digest->context, bytes, NULL) == 1);
    need(EVP_DigestInit_ex(digest->context, digest->kind, NULL) == 1);
}

void digest_free(struct digest *digest)
{
    if (digest != NULL) {
        EVP_MD_CTX_free(digest->context);
        free(digest);
    }
}

void sha256_of(const void *bytes, size_t size, unsigned char sha256[SHA256_BYTES])
{
    struct digest *digest = digest_sha256();
    digest_add(digest, bytes, size);
    digest_finish(digest, sha256);
    digest_free(digest);
}

void hmac_sha256(const void *key, size_t key_size, const char *text, unsigned char mac[SHA256_BYTES])
{
    unsigned int size = SHA256_BYTES;
    need(HMAC(EVP_sha256(), key, (int)key_size, (const unsigned char *)text, strlen(text), mac, &size) != NULL);
}

void digest_hex(const unsigned char *bytes, size_t size, char *hex)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    hex[2 * size] = '\0';
}

/* ---------------------------------------------------------------- a file, whole and by parts */

struct reading {
    struct content *content;
    struct digest *whole, *sha256, *md5;
    uint64_t in_part;
};

static bool end_part(struct reading *reading)
{
    struct content *content = reading->content;
    struct content_part *parts = realloc(content->parts, (content->part_count + 1) * sizeof *parts);
    if (parts == NULL) {
        return false;
    }
    content->parts = parts;
    struct content_part *part = &parts[content->part_count++];
    digest_finish(reading->sha256, part->sha256);
    digest_finish(reading->md5, part->md5);
    reading->in_part = 0;
    return true;
}

static bool take(struct reading *reading, const char *bytes, size_t size)
{
    digest_add(reading->whole, bytes, size);
    reading->content->size += size;
    while (size > 0) {
        if (reading->in_part == reading->content->part_bytes && !end_part(reading)) {
            return false;
        }
        uint64_t room = reading->content->part_bytes - reading->in_part;
        size_t now = size < room ? size : (size_t)room;
        digest_add(reading->sha256, bytes, now);
        digest_add(reading->md5, bytes, now);
        reading->in_part += now;
        bytes += now;
        size -= now;
    }
    return true;
}

static bool read_all(struct reading *reading, int fd, bool (*stop)(void *state), void *state, struct error *error)
{
    char bytes[READ_BYTES];
    for (uint64_t offset = 0;;) {
        ssize_t got = pread(fd, bytes, sizeof bytes, (off_t)offset);
        if (got < 0) {
            return error_set(error, ERROR_TRANSIENT, "it cannot be read: %s", strerror(errno));
        }
        if (got == 0) {
            break;
        }
        if (!take(reading, bytes, (size_t)got)) {
            return error_set(error, ERROR_TRANSIENT, "out of memory");
        }
        if (stop != NULL && stop(state)) {
            return error_set(error, ERROR_TRANSIENT, "stopped");
        }
        offset += (uint64_t)got;
    }
    return end_part(reading) || error_set(error, ERROR_TRANSIENT, "out of memory");
}

bool content_read(struct content *content, int fd, uint64_t part_bytes, bool (*stop)(void *state), void *state, struct error *error)
{
    *content = (struct content){.part_bytes = part_bytes};
    struct reading reading = {.content = content, .whole = digest_sha256(), .sha256 = digest_sha256(), .md5 = digest_md5()};
    bool ok = read_all(&reading, fd, stop, state, error);
    unsigned char sha256[SHA256_BYTES];
    digest_finish(reading.whole, sha256);
    digest_hex(sha256, sizeof sha256, content->sha256);
    digest_free(reading.whole);
    digest_free(reading.sha256);
    digest_free(reading.md5);
    if (!ok) {
        content_fini(content);
    }
    return ok;
}

void content_fini(struct content *content)
{
    free(content->parts);
    *content = (struct content){0};
}

bool sha256_of_file(int fd, char hex[SHA256_HEX_BYTES], struct error *error)
{
    struct digest *digest = digest_sha256();
    char bytes[READ_BYTES];
    ssize_t got = 0;
    for (off_t offset = 0; (got = pread(fd, bytes, sizeof bytes, offset)) > 0; offset += got) {
        digest_add(digest, bytes, (size_t)got);
    }
    unsigned char sha256[SHA256_BYTES];
    digest_finish(digest, sha256);
    digest_free(digest);
    digest_hex(sha256, sizeof sha256, hex);
    return got == 0 || error_set(error, ERROR_TRANSIENT, "it cannot be read: %s", strerror(errno));
}
