/* SPDX-License-Identifier: Apache-2.0 */
/* Any HTTP server that takes PUT and DELETE. The proof is the ETag; where the server gives none, or the answer was lost, it is the content.
 * What the server says no checksum of is read back. Basic credentials come from BACKSTEP_HTTP_USER and BACKSTEP_HTTP_PASSWORD. */
#include "worker/actions/encoding.h"
#include "worker/actions/store/http.h"
#include "worker/actions/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct store_http {
    struct store store;
    struct http *http;
    char *base; /* without a slash at its end */
    char *user_password;
};

static struct http *http_of(struct store *store)
{
    return ((struct store_http *)store)->http;
}

static char *url_of(const struct store *store, const char *key)
{
    const struct store_http *http = (const struct store_http *)store;
    char *encoded = percent_encode(key, true);
    char *url = NULL;
    if (encoded == NULL || asprintf(&url, "%s/%s", http->base, encoded) < 0) {
        abort();
    }
    free(encoded);
    return url;
}

static bool check_key(const struct store *store, const char *key, struct error *error)
{
    (void)store;
    return store_check_url_key(key, error);
}

static bool look(struct store *store, const char *key, struct store_object *object, struct error *error)
{
    struct http_answer answer;
    char *url = url_of(store, key);
    *object = (struct store_object){0};
    bool ok = http_exchange(http_of(store), &(struct http_request){.method = "HEAD", .url = url, .fd = -1}, &answer, error);
    free(url);
    if (!ok) {
        return error_prefix(error, "HEAD");
    }
    bool found = answer.status >= 200 && answer.status < 300;
    ok = found || answer.status == 404 || answer.status == 410 || http_refused(&answer, "HEAD", error);
    *object = (struct store_object){.exists = found, .size = answer.content_length};
    snprintf(object->tag, sizeof object->tag, "%s", answer.tag);
    snprintf(object->sha256, sizeof object->sha256, "%s", answer.digest);
    http_answer_fini(&answer);
    return ok;
}

static void on_received(void *state, const void *bytes, size_t size)
{
    digest_add(state, bytes, size);
}

/* The SHA-256 of what the server gives out. */
static bool read_back(struct store *store, const char *key, char sha256[SHA256_HEX_BYTES], struct error *error)
{
    struct http_answer answer;
    unsigned char bytes[SHA256_BYTES];
    struct digest *digest = digest_sha256();
    char *url = url_of(store, key);
    struct http_request request = {.method = "GET", .url = url, .fd = -1, .received = on_received, .state = digest};
    bool ok = http_exchange(http_of(store), &request, &answer, error) || error_prefix(error, "GET");
    if (ok) {
        ok = (answer.status >= 200 && answer.status < 300) || http_refused(&answer, "GET", error);
        http_answer_fini(&answer);
    }
    digest_finish(digest, bytes);
    digest_hex(bytes, sizeof bytes, sha256);
    digest_free(digest);
    free(url);
    return ok;
}

static bool same(struct store *store, const char *key, const struct store_object *object, const char *sha256, bool *is_same,
                 struct error *error)
{
    char found[SHA256_HEX_BYTES];
    snprintf(found, sizeof found, "%s", object->sha256);
    if (found[0] == '\0' && !read_back(store, key, found, error)) {
        return false;
    }
    *is_same = strcmp(found, sha256) == 0;
    return true;
}

static bool is_ours(struct store *store, const char *key, const struct store_object *object, const struct store_memory *memory,
                    const char *sha256, bool *ours, struct error *error)
{
    *ours = false;
    if (!object->exists || !memory->begun) {
        return true;
    }
    if (memory->proof != NULL && memory->proof[0] != '\0' && object->tag[0] != '\0') {
        *ours = strcmp(memory->proof, object->tag) == 0;
        return true;
    }
    return same(store, key, object, sha256, ours, error);
}

static bool verify(struct store *store, const struct store_put *put, struct error *error)
{
    struct store_object object;
    bool is_same = true;
    if (!look(store, put->key, &object, error)) {
        return false;
    }
    if (!object.exists) {
        return error_set(error, ERROR_TRANSIENT, "the server took it, and does not have it");
    }
    if (!put->note(put->state, STORE_PROOF, object.tag, error)) {
        return false;
    }
    if (object.size != put->content->size && object.size != 0) {
        return error_set(error, ERROR_TRANSIENT, "the server says it has %llu bytes of %llu", (unsigned long long)object.size,
                         (unsigned long long)put->content->size);
    }
    bool checks = object.sha256[0] != '\0' || store->options.verify;
    if (checks && !same(store, put->key, &object, put->content->sha256, &is_same, error)) {
        return false;
    }
    return is_same || error_set(error, ERROR_TRANSIENT, "what the server has differs from the file: its checksum is another");
}

/* What is ours but not right must not stand in the way of the next try. */
static void take_back(struct store *store, const struct store_put *put)
{
    store_remove(store, put->key, NULL);
}

static bool put_file(struct store *store, const struct store_put *put, struct error *error)
{
    struct http_answer answer;
    char *url = url_of(store, put->key);
    struct http_request request = {.method = "PUT",
                                   .url = url,
                                   .headers = {"If-None-Match: *", "Content-Type: application/octet-stream"},
                                   .fd = put->fd,
                                   .size = put->content->size,
                                   .has_body = true,
                                   .sent = put->sent,
                                   .state = put->state};
    bool ok = put->note(put->state, STORE_BEGUN, "", error);
    ok = ok && (http_exchange(http_of(store), &request, &answer, error) || error_prefix(error, "PUT"));
    free(url);
    if (!ok) {
        return false;
    }
    int status = answer.status;
    ok = (status >= 200 && status < 300) || http_refused(&answer, "PUT", error);
    http_answer_fini(&answer);
    if (!ok) {
        put->sent(put->state, -(int64_t)put->content->size);
        return status == 412 ? error_set(error, ERROR_REJECTED, "is in the store already") : false;
    }
    if (!verify(store, put, error)) {
        take_back(store, put);
        put->sent(put->state, -(int64_t)put->content->size);
        return false;
    }
    return true;
}

static bool remove_file(struct store *store, const char *key, struct error *error)
{
    struct http_answer answer;
    char *url = url_of(store, key);
    bool ok = http_exchange(http_of(store), &(struct http_request){.method = "DELETE", .url = url, .fd = -1}, &answer, error) ||
              error_prefix(error, "DELETE");
    free(url);
    if (!ok) {
        return false;
    }
    ok = (answer.status >= 200 && answer.status < 300) || answer.status == 404 || answer.status == 410 ||
         http_refused(&answer, "DELETE", error);
    http_answer_fini(&answer);
    return ok;
}

static void close_http(struct store *store)
{
    struct store_http *http = (struct store_http *)store;
    http_close(http->http);
    free(http->base);
    free(http->user_password);
    free(http);
}

static const struct store_operations operations = {
    .check_key = check_key,
    .look = look,
    .is_ours = is_ours,
    .same = same,
    .put = put_file,
    .remove = remove_file,
    .close = close_http,
};

static char *credentials(void)
{
    const char *user = getenv("BACKSTEP_HTTP_USER");
    const char *password = getenv("BACKSTEP_HTTP_PASSWORD");
    char *both = NULL;
    if (user != NULL && asprintf(&both, "%s:%s", user, password != NULL ? password : "") < 0) {
        abort();
    }
    return both;
}

struct store *store_http_open(const struct store_options *options, struct error *error)
{
    if (strchr(options->target, '?') != NULL || strchr(options->target, '#') != NULL) {
        error_set(error, ERROR_INVALID, "target '%.*s': must end with its path", (int)strcspn(options->target, "?#"),
                  options->target);
        return NULL;
    }
    struct store_http *http = calloc(1, sizeof *http);
    if (http == NULL || (http->base = strdup(options->target)) == NULL) {
        abort();
    }
    for (size_t size = strlen(http->base); size > 0 && http->base[size - 1] == '/'; size--) {
        http->base[size - 1] = '\0';
    }
    http->store = (struct store){.operations = &operations, .options = *options};
    http->user_password = credentials();
    http->http = http_open(&(struct http_options){
        .stall_ms = options->stall_ms, .user_password = http->user_password, .stop = options->stop, .state = options->state});
    return &http->store;
}
