/* SPDX-License-Identifier: Apache-2.0 */
/* An S3-compatible store, addressed by path. The proof is a piece of metadata that only this run's objects have. A larger file goes up in
 * parts, and the next attempt sends those the store has not got. Credentials come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
 * AWS_SESSION_TOKEN. */
#include "common/limits.h"
#include "common/names.h"
#include "worker/actions/encoding.h"
#include "worker/actions/formatted.h"
#include "worker/actions/store/http.h"
#include "worker/actions/store/s3_call.h"
#include "worker/actions/store/s3_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct s3 *s3_of(struct store *store)
{
    return (struct s3 *)store;
}

static uint64_t part_bytes(const struct store *store, uint64_t size)
{
    (void)store;
    uint64_t least = (size + S3_PARTS_MAX - 1) / S3_PARTS_MAX;
    uint64_t rounded = (least + MIB - 1) / MIB * MIB;
    return rounded > S3_PART_BYTES ? rounded : S3_PART_BYTES;
}

static bool check_key(const struct store *store, const char *key, struct error *error)
{
    size_t size = strlen(((const struct s3 *)store)->prefix) + strlen(key);
    if (!utf8_is_valid(span_of(key))) {
        return error_set(error, ERROR_INVALID, "an S3 store takes UTF-8 only");
    }
    if (size > S3_KEY_BYTES) {
        return error_set(error, ERROR_INVALID, "%zu bytes long; an S3 store takes %d", size, S3_KEY_BYTES);
    }
    return store_check_url_key(key, error);
}

static bool look(struct store *store, const char *key, struct store_object *object, struct error *error)
{
    struct http_answer answer;
    *object = (struct store_object){0};
    if (!s3_exchange(s3_of(store), &(struct s3_call){.method = "HEAD", .key = key, .fd = -1}, &answer, error)) {
        return false;
    }
    bool ok = answer.status == 200 || answer.status == 404 || s3_refused(&answer, "HEAD", error);
    *object = (struct store_object){.exists = answer.status == 200, .size = answer.content_length};
    snprintf(object->tag, sizeof object->tag, "%s", answer.tag);
    snprintf(object->owner, sizeof object->owner, "%s", answer.owner);
    snprintf(object->sha256, sizeof object->sha256, "%s", answer.sha256);
    http_answer_fini(&answer);
    return ok;
}

static bool is_ours(struct store *store, const char *key, const struct store_object *object, const struct store_memory *memory,
                    const char *sha256, bool *ours, struct error *error)
{
    (void)key;
    (void)memory;
    (void)sha256;
    (void)error;
    *ours = object->exists && strcmp(object->owner, store->options.owner) == 0;
    return true;
}

struct reading {
    struct digest *digest;
};

static void on_received(void *state, const void *bytes, size_t size)
{
    digest_add(((struct reading *)state)->digest, bytes, size);
}

/* Whoever else put it there may have said anything of its checksum: it is read. */
static bool same(struct store *store, const char *key, const struct store_object *object, const char *sha256, bool *is_same,
                 struct error *error)
{
    (void)object;
    unsigned char bytes[SHA256_BYTES];
    char found[SHA256_HEX_BYTES];
    struct http_answer answer;
    struct reading reading = {.digest = digest_sha256()};
    struct s3_call call = {.method = "GET", .key = key, .fd = -1, .received = on_received, .state = &reading};
    bool ok = s3_exchange(s3_of(store), &call, &answer, error);
    if (ok) {
        ok = answer.status == 200 || s3_refused(&answer, "GET", error);
        http_answer_fini(&answer);
    }
    digest_finish(reading.digest, bytes);
    digest_free(reading.digest);
    digest_hex(bytes, sizeof bytes, found);
    *is_same = ok && strcmp(found, sha256) == 0;
    return ok;
}

/* ---------------------------------------------------------------- putting */

static bool put_whole(struct s3 *s3, const struct store_put *put, const char *owner, const char *sha256, struct error *error)
{
    char payload[SHA256_HEX_BYTES];
    struct http_answer answer;
    digest_hex(put->content->parts[0].sha256, SHA256_BYTES, payload);
    struct s3_call call = {.method = "PUT",
                           .key = put->key,
                           .amz_headers = {owner, sha256},
                           .plain_header = "If-None-Match: *",
                           .sha256 = payload,
                           .fd = put->fd,
                           .size = put->content->size,
                           .sent = put->sent,
                           .state = put->state};
    if (!s3_exchange(s3, &call, &answer, error)) {
        return false;
    }
    bool ok = answer.status == 200 || s3_refused(&answer, "PUT", error);
    ok = ok && s3_tag_matches(&answer, put->content->parts[0].md5, error);
    if (!ok) {
        put->sent(put->state, -(int64_t)put->content->size);
    }
    if (answer.status == 412 || answer.status == 409) {
        error_set(error, answer.status == 412 ? ERROR_REJECTED : ERROR_TRANSIENT, "is in the store already, or being put there");
    }
    http_answer_fini(&answer);
    return ok;
}

static bool confirm(struct store *store, const struct store_put *put, struct error *error)
{
    struct store_object object;
    if (!look(store, put->key, &object, error)) {
        return false;
    }
    if (!object.exists || strcmp(object.owner, store->options.owner) != 0) {
        return error_set(error, ERROR_TRANSIENT, "the store took it, and has none of this run's");
    }
    if (object.size != put->content->size) {
        return error_set(error, ERROR_TRANSIENT, "the store says it has %llu bytes of %llu", (unsigned long long)object.size,
                         (unsigned long long)put->content->size);
    }
    return put->note(put->state, STORE_PROOF, object.tag, error);
}

/* A lost answer is no reason to remove it: the next try finds it. What is ours but not what was sent must not be found. */
static void take_back(struct store *store, const struct store_put *put, struct error *error)
{
    struct store_object object;
    if (error != NULL && error->kind == ERROR_FATAL) {
        error->kind = ERROR_TRANSIENT;
        if (look(store, put->key, &object, NULL) && object.exists && strcmp(object.owner, store->options.owner) == 0) {
            store_remove(store, put->key, NULL);
        }
    }
}

static bool put_file(struct store *store, const struct store_put *put, struct error *error)
{
    char owner[240], sha256[128];
    snprintf(owner, sizeof owner, "x-amz-meta-backstep-owner: %s", store->options.owner);
    snprintf(sha256, sizeof sha256, "x-amz-meta-backstep-sha256: %s", put->content->sha256);
    bool ok = put->note(put->state, STORE_BEGUN, "", error);
    ok = ok && (put->content->part_count > 1 ? s3_put_parts(s3_of(store), put, owner, sha256, error)
                                             : put_whole(s3_of(store), put, owner, sha256, error));
    ok = ok && confirm(store, put, error);
    if (!ok) {
        take_back(store, put, error);
    }
    return ok;
}

/* ---------------------------------------------------------------- taking back */

static bool remove_file(struct store *store, const char *key, struct error *error)
{
    struct http_answer answer;
    if (!s3_exchange(s3_of(store), &(struct s3_call){.method = "DELETE", .key = key, .fd = -1}, &answer, error)) {
        return false;
    }
    bool ok = answer.status == 200 || answer.status == 204 || answer.status == 404 || s3_refused(&answer, "DELETE", error);
    http_answer_fini(&answer);
    return ok;
}

static bool forget(struct store *store, const char *key, const char *stage, const struct store_memory *memory, struct error *error)
{
    (void)stage;
    return memory->parts == NULL || s3_abort_parts(s3_of(store), key, memory->parts, error);
}

static void close_s3(struct store *store)
{
    struct s3 *s3 = s3_of(store);
    char *const strings[] = {s3->endpoint, s3->host, s3->bucket, s3->prefix, s3->key_id, s3->secret, s3->token, s3->region};
    if (s3->secret != NULL) {
        explicit_bzero(s3->secret, strlen(s3->secret));
    }
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        free(strings[i]);
    }
    http_close(s3->http);
    free(s3);
}

static const struct store_operations operations = {
    .part_bytes = part_bytes,
    .check_key = check_key,
    .look = look,
    .is_ours = is_ours,
    .same = same,
    .put = put_file,
    .remove = remove_file,
    .forget = forget,
    .close = close_s3,
};

/* ---------------------------------------------------------------- opening */

static bool read_target(struct s3 *s3, struct error *error)
{
    const char *target = s3->store.options.target + strlen("s3://");
    size_t bucket = strcspn(target, "/");
    const char *prefix = target[bucket] == '/' ? target + bucket + 1 : "";
    s3->bucket = formatted("%.*s", (int)bucket, target);
    size_t size = strlen(prefix);
    s3->prefix = formatted("%s%s", prefix, size > 0 && prefix[size - 1] != '/' ? "/" : "");
    return bucket > 0 || error_set(error, ERROR_INVALID, "target '%s': names no bucket", s3->store.options.target);
}

static bool read_endpoint(struct s3 *s3, struct error *error)
{
    const char *given = s3->store.options.endpoint;
    s3->endpoint = given != NULL ? formatted("%s", given) : formatted("https://s3.%s.amazonaws.com", s3->region);
    for (size_t size = strlen(s3->endpoint); size > 0 && s3->endpoint[size - 1] == '/'; size--) {
        s3->endpoint[size - 1] = '\0';
    }
    const char *host = strstr(s3->endpoint, "://");
    bool known = strncmp(s3->endpoint, "http://", 7) == 0 || strncmp(s3->endpoint, "https://", 8) == 0;
    if (!known || host == NULL || strcspn(host + 3, "/?#") != strlen(host + 3) || !http_names_host(s3->endpoint)) {
        return error_set(error, ERROR_INVALID, "param 'endpoint': expected http(s)://HOST[:PORT], found '%s'", s3->endpoint);
    }
    s3->host = formatted("%s", host + 3);
    return true;
}

static bool read_credentials(struct s3 *s3, struct error *error)
{
    const char *id = getenv("AWS_ACCESS_KEY_ID");
    const char *secret = getenv("AWS_SECRET_ACCESS_KEY");
    const char *token = getenv("AWS_SESSION_TOKEN");
    if (id == NULL || secret == NULL) {
        return error_set(error, ERROR_INVALID, "%s is not set in the worker's environment",
                         id == NULL ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY");
    }
    s3->key_id = formatted("%s", id);
    s3->secret = formatted("%s", secret);
    s3->token = token != NULL && token[0] != '\0' ? formatted("%s", token) : NULL;
    return true;
}

struct store *store_s3_open(const struct store_options *options, struct error *error)
{
    struct s3 *s3 = calloc(1, sizeof *s3);
    if (s3 == NULL) {
        abort();
    }
    s3->store = (struct store){.operations = &operations, .options = *options};
    s3->region = formatted("%s", options->region != NULL ? options->region : "us-east-1");
    if (!read_target(s3, error) || !read_endpoint(s3, error) || !read_credentials(s3, error)) {
        close_s3(&s3->store);
        return NULL;
    }
    s3->http = http_open(&(struct http_options){.stall_ms = options->stall_ms, .stop = options->stop, .state = options->state});
    return &s3->store;
}
