/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/store/sigv4.h"

#include "worker/actions/digest.h"

#include <string.h>

#define DAY_BYTES 8 /* "20130524" */

static void append_names(struct text *text, const struct sigv4_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        text_format(text, "%s%.*s", i > 0 ? ";" : "", (int)strcspn(request->headers[i], ":"), request->headers[i]);
    }
}

/* "name:value" a line, the blank after the colon gone. */
static void append_headers(struct text *text, const struct sigv4_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        const char *header = request->headers[i];
        size_t name = strcspn(header, ":");
        text_format(text, "%.*s:%s\n", (int)name, header, header + name + 2);
    }
}

static void hash_canonical_request(const struct sigv4_request *request, char hex[SHA256_HEX_BYTES])
{
    unsigned char sha256[SHA256_BYTES];
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    text_format(&text, "%s\n%s\n%s\n", request->method, request->path, request->query);
    append_headers(&text, request);
    text_append_char(&text, '\n');
    append_names(&text, request);
    text_format(&text, "\n%s", request->payload_sha256);
    sha256_of(text_string(&text), text.size, sha256);
    text_fini(&text);
    digest_hex(sha256, sizeof sha256, hex);
}

/* The key of one day, region and service. */
static void derive(const struct sigv4_key *key, const char *day, unsigned char derived[SHA256_BYTES])
{
    struct text secret;
    text_init(&secret, SIZE_MAX / 2);
    text_format(&secret, "AWS4%s", key->secret);
    hmac_sha256(text_string(&secret), secret.size, day, derived);
    hmac_sha256(derived, SHA256_BYTES, key->region, derived);
    hmac_sha256(derived, SHA256_BYTES, "s3", derived);
    hmac_sha256(derived, SHA256_BYTES, "aws4_request", derived);
    explicit_bzero(secret.bytes, secret.size);
    text_fini(&secret);
}

static void sign(const struct sigv4_key *key, const struct sigv4_request *request, const char *scope, const char *day,
                 char signature[SHA256_HEX_BYTES])
{
    char canonical[SHA256_HEX_BYTES];
    unsigned char derived[SHA256_BYTES], mac[SHA256_BYTES];
    struct text text;
    hash_canonical_request(request, canonical);
    text_init(&text, SIZE_MAX / 2);
    text_format(&text, "AWS4-HMAC-SHA256\n%s\n%s\n%s", request->time, scope, canonical);
    derive(key, day, derived);
    hmac_sha256(derived, sizeof derived, text_string(&text), mac);
    digest_hex(mac, sizeof mac, signature);
    text_fini(&text);
}

bool sigv4_authorize(struct text *text, const struct sigv4_key *key, const struct sigv4_request *request)
{
    char day[DAY_BYTES + 1] = "", signature[SHA256_HEX_BYTES];
    struct text scope;
    memcpy(day, request->time, DAY_BYTES);
    text_init(&scope, SIZE_MAX / 2);
    text_format(&scope, "%s/%s/s3/aws4_request", day, key->region);
    sign(key, request, text_string(&scope), day, signature);
    text_format(text, "AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=", key->id, text_string(&scope));
    append_names(text, request);
    text_format(text, ",Signature=%s", signature);
    text_fini(&scope);
    return !text->overflow;
}
