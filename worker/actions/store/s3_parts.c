/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/store/s3_parts.h"
#include "common/text.h"

#include "worker/actions/encoding.h"
#include "worker/actions/formatted.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_PARTS 100 /* of a list: its XML stays below what is kept of an answer */

struct parts {
    struct s3 *s3;
    const struct store_put *put;
    char *upload; /* its id */
    bool *there; /* by part: the store has it, as it is */
};

static bool is_md5(const char *tag)
{
    size_t size = 0;
    while (isxdigit((unsigned char)tag[size])) {
        size++;
    }
    return size == 2 * MD5_BYTES && tag[size] == '\0';
}

bool s3_tag_matches(const struct http_answer *answer, const unsigned char md5[MD5_BYTES], struct error *error)
{
    char expected[MD5_HEX_BYTES];
    digest_hex(md5, MD5_BYTES, expected);
    return !is_md5(answer->tag) || strcmp(answer->tag, expected) == 0 ||
           error_set(error, ERROR_FATAL, "what the store has differs from the file: its ETag is %s, not %s", answer->tag, expected);
}

/* ---------------------------------------------------------------- what is there already */

static void mark_part(struct parts *parts, struct span part)
{
    char expected[MD5_HEX_BYTES];
    char *text = text_must_copy(part);
    const char *number_at = text, *tag_at = text;
    struct span number = s3_element(&number_at, "PartNumber");
    struct span tag = s3_element(&tag_at, "ETag");
    size_t index = number.size > 0 ? strtoul(number.bytes, NULL, 10) : 0;
    const struct content *content = parts->put->content;
    if (index >= 1 && index <= content->part_count) {
        digest_hex(content->parts[index - 1].md5, MD5_BYTES, expected);
        parts->there[index - 1] = memmem(tag.bytes, tag.size, expected, strlen(expected)) != NULL;
    }
    free(text);
}

/* One page of the list. `*marker` becomes where the next begins, 0 at the end. */
static bool list_page(struct parts *parts, unsigned long *marker, bool *known, struct error *error)
{
    struct http_answer answer;
    char *query = formatted("max-parts=%d&part-number-marker=%lu&uploadId=%s", PAGE_PARTS, *marker, parts->upload);
    bool ok = s3_exchange(parts->s3, &(struct s3_call){.method = "GET", .key = parts->put->key, .query = query, .fd = -1}, &answer,
                          error);
    free(query);
    if (!ok) {
        return false;
    }
    *known = answer.status == 200;
    ok = *known || answer.status == 404 || s3_refused(&answer, "ListParts", error);
    const char *at = text_string(&answer.body), *tail = at;
    for (struct span part; *known && (part = s3_element(&at, "Part")).size > 0;) {
        mark_part(parts, part);
    }
    bool more = *known && strstr(tail, "<IsTruncated>true") != NULL;
    struct span next = s3_element(&tail, "NextPartNumberMarker");
    unsigned long begins = next.size > 0 ? strtoul(next.bytes, NULL, 10) : 0;
    *marker = more && begins > *marker ? begins : 0;
    http_answer_fini(&answer);
    return ok;
}

/* What an earlier attempt has brought up. An upload the store has forgotten is begun anew. */
static bool resume(struct parts *parts, struct error *error)
{
    unsigned long marker = 0;
    bool known = true;
    if (parts->put->memory->parts == NULL) {
        return true;
    }
    parts->upload = strdup(parts->put->memory->parts);
    do {
        if (!list_page(parts, &marker, &known, error)) {
            return false;
        }
    } while (known && marker > 0);
    if (!known) {
        free(parts->upload);
        parts->upload = NULL;
    }
    return true;
}

static bool begin(struct parts *parts, const char *owner, const char *sha256, struct error *error)
{
    struct http_answer answer;
    struct s3_call call = {.method = "POST",
                           .key = parts->put->key,
                           .query = "uploads=",
                           .amz_headers = {owner, sha256},
                           .sha256 = S3_EMPTY_SHA256,
                           .body = {.bytes = "", .size = 0},
                           .fd = -1};
    if (!s3_exchange(parts->s3, &call, &answer, error)) {
        return false;
    }
    bool ok = answer.status == 200 || s3_refused(&answer, "CreateMultipartUpload", error);
    const char *at = text_string(&answer.body);
    struct span id = s3_element(&at, "UploadId");
    if (ok && id.size == 0) {
        ok = error_set(error, ERROR_TRANSIENT, "CreateMultipartUpload: the store gave no UploadId");
    }
    char *plain = text_must_copy(id);
    parts->upload = percent_encode(plain, false);
    free(plain);
    http_answer_fini(&answer);
    return ok && parts->put->note(parts->put->state, STORE_PARTS, parts->upload, error);
}

/* ---------------------------------------------------------------- sending */

static uint64_t size_of_part(const struct content *content, size_t index)
{
    uint64_t begins = index * content->part_bytes;
    uint64_t left = content->size - begins;
    return left < content->part_bytes ? left : content->part_bytes;
}

static bool send_part(struct parts *parts, size_t index, struct error *error)
{
    const struct content *content = parts->put->content;
    char sha256[SHA256_HEX_BYTES];
    struct http_answer answer;
    digest_hex(content->parts[index].sha256, SHA256_BYTES, sha256);
    char *query = formatted("partNumber=%zu&uploadId=%s", index + 1, parts->upload);
    struct s3_call call = {.method = "PUT",
                           .key = parts->put->key,
                           .query = query,
                           .sha256 = sha256,
                           .fd = parts->put->fd,
                           .offset = index * content->part_bytes,
                           .size = size_of_part(content, index),
                           .sent = parts->put->sent,
                           .state = parts->put->state};
    bool ok = s3_exchange(parts->s3, &call, &answer, error);
    free(query);
    if (!ok) {
        return error_prefix(error, "part %zu", index + 1);
    }
    ok = answer.status == 200 || s3_refused(&answer, "UploadPart", error);
    ok = ok && s3_tag_matches(&answer, content->parts[index].md5, error);
    if (!ok) {
        parts->put->sent(parts->put->state, -(int64_t)size_of_part(content, index));
    }
    http_answer_fini(&answer);
    return ok;
}

static bool send_missing(struct parts *parts, struct error *error)
{
    for (size_t i = 0; i < parts->put->content->part_count; i++) {
        if (!parts->there[i] && !send_part(parts, i, error)) {
            return false;
        }
        parts->there[i] = true;
    }
    return true;
}

/* ---------------------------------------------------------------- completing */

/* S3's tag of a whole: the MD5 of the parts' MD5s, and their number. */
static void tag_of_whole(const struct content *content, char tag[64])
{
    unsigned char md5[MD5_BYTES];
    char hex[MD5_HEX_BYTES];
    struct digest *digest = digest_md5();
    for (size_t i = 0; i < content->part_count; i++) {
        digest_add(digest, content->parts[i].md5, MD5_BYTES);
    }
    digest_finish(digest, md5);
    digest_free(digest);
    digest_hex(md5, sizeof md5, hex);
    snprintf(tag, 64, "%s-%zu", hex, content->part_count);
}

static void append_list(struct text *xml, const struct content *content)
{
    char md5[MD5_HEX_BYTES];
    text_append_string(xml, "<CompleteMultipartUpload>");
    for (size_t i = 0; i < content->part_count; i++) {
        digest_hex(content->parts[i].md5, MD5_BYTES, md5);
        text_format(xml, "<Part><PartNumber>%zu</PartNumber><ETag>\"%s\"</ETag></Part>", i + 1, md5);
    }
    text_append_string(xml, "</CompleteMultipartUpload>");
}

/* The answer may be 200 and hold an error: S3 says the status before it knows. */
static bool judge(const struct http_answer *answer, const struct content *content, struct error *error)
{
    char expected[64];
    const char *at = text_string(&answer->body);
    if (answer->status == 412) {
        return error_set(error, ERROR_REJECTED, "is in the store already");
    }
    if (answer->status != 200) {
        return s3_refused(answer, "CompleteMultipartUpload", error);
    }
    if (strstr(at, "<Error>") != NULL) {
        struct span code = s3_element(&at, "Code");
        return error_set(error, ERROR_TRANSIENT, "CompleteMultipartUpload: %.*s", SPAN_ARGS(code));
    }
    struct span tag = s3_element(&at, "ETag");
    tag_of_whole(content, expected);
    bool says_md5 = memchr(tag.bytes, '-', tag.size) != NULL;
    return !says_md5 || memmem(tag.bytes, tag.size, expected, strlen(expected)) != NULL ||
           error_set(error, ERROR_FATAL, "what the store has differs from the file: its ETag is %.*s, not %s", SPAN_ARGS(tag),
                     expected);
}

static bool complete(struct parts *parts, struct error *error)
{
    unsigned char bytes[SHA256_BYTES];
    char sha256[SHA256_HEX_BYTES];
    struct http_answer answer;
    struct text xml;
    text_init(&xml, SIZE_MAX / 2);
    append_list(&xml, parts->put->content);
    sha256_of(text_string(&xml), xml.size, bytes);
    digest_hex(bytes, sizeof bytes, sha256);
    char *query = formatted("uploadId=%s", parts->upload);
    struct s3_call call = {.method = "POST",
                           .key = parts->put->key,
                           .query = query,
                           .plain_header = "If-None-Match: *",
                           .sha256 = sha256,
                           .body = text_span(&xml),
                           .fd = -1};
    bool ok = s3_exchange(parts->s3, &call, &answer, error);
    if (ok) {
        ok = judge(&answer, parts->put->content, error);
        http_answer_fini(&answer);
    }
    free(query);
    text_fini(&xml);
    return ok;
}

bool s3_put_parts(struct s3 *s3, const struct store_put *put, const char *owner, const char *sha256, struct error *error)
{
    struct parts parts = {.s3 = s3, .put = put, .there = calloc(put->content->part_count, sizeof(bool))};
    if (parts.there == NULL) {
        return error_set(error, ERROR_TRANSIENT, "out of memory");
    }
    bool ok = resume(&parts, error) && (parts.upload != NULL || begin(&parts, owner, sha256, error)) &&
              send_missing(&parts, error) && complete(&parts, error);
    free(parts.upload);
    free(parts.there);
    return ok;
}

bool s3_abort_parts(struct s3 *s3, const char *key, const char *upload, struct error *error)
{
    struct http_answer answer;
    char *query = formatted("uploadId=%s", upload);
    bool ok = s3_exchange(s3, &(struct s3_call){.method = "DELETE", .key = key, .query = query, .fd = -1}, &answer, error);
    free(query);
    if (!ok) {
        return false;
    }
    ok = answer.status == 204 || answer.status == 200 || answer.status == 404 || s3_refused(&answer, "AbortMultipartUpload", error);
    http_answer_fini(&answer);
    return ok;
}
