/* SPDX-License-Identifier: Apache-2.0 */
/* Any HTTP server that takes PUT and DELETE. Where it has WebDAV's MOVE, a file is put beside its place, verified there, and appears by one
 * MOVE that replaces nothing; else it is put in its place at once. The proof is the ETag; where the server gives none, or the answer was
 * lost, it is the content. What the server says no checksum of is read back. Basic credentials come from BACKSTEP_HTTP_USER and
 * BACKSTEP_HTTP_PASSWORD. */
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
    enum { MOVES_UNKNOWN, MOVES, MOVES_NOT } moves; /* has the server MOVE? */
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

/* In the target itself; the owner's token keeps it apart from all others. */
static char *stage_of(const struct store *store, const char *stage)
{
    char *key = NULL;
    if (asprintf(&key, ".backstep-%s-%s", store->options.owner, stage) < 0) {
        abort();
    }
    for (char *at = key; *at != '\0'; at++) {
        *at = *at == '/' ? '-' : *at;
    }
    return key;
}

static bool is_success(const struct http_answer *answer)
{
    return answer->status >= 200 && answer->status < 300;
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
    bool found = is_success(&answer);
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
        ok = is_success(&answer) || http_refused(&answer, "GET", error);
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

/* Is what stands under `key` what was sent? `object` is what the server says of it. */
static bool verify(struct store *store, const struct store_put *put, const char *key, struct store_object *object,
                   struct error *error)
{
    bool is_same = true;
    if (!look(store, key, object, error)) {
        return false;
    }
    if (!object->exists) {
        return error_set(error, ERROR_TRANSIENT, "the server took it, and does not have it");
    }
    if (object->size != put->content->size && object->size != 0) {
        return error_set(error, ERROR_TRANSIENT, "the server says it has %llu bytes of %llu", (unsigned long long)object->size,
                         (unsigned long long)put->content->size);
    }
    bool checks = object->sha256[0] != '\0' || store->options.verify;
    if (checks && !same(store, key, object, put->content->sha256, &is_same, error)) {
        return false;
    }
    return is_same || error_set(error, ERROR_TRANSIENT, "what the server has differs from the file: its checksum is another");
}

/* `condition` is a header, or NULL. */
static bool send_body(struct store *store, const struct store_put *put, const char *key, const char *condition, struct error *error)
{
    struct http_answer answer;
    char *url = url_of(store, key);
    struct http_request request = {.method = "PUT",
                                   .url = url,
                                   .headers = {"Content-Type: application/octet-stream", condition},
                                   .fd = put->fd,
                                   .size = put->content->size,
                                   .has_body = true,
                                   .sent = put->sent,
                                   .state = put->state};
    bool ok = http_exchange(http_of(store), &request, &answer, error) || error_prefix(error, "PUT");
    free(url);
    if (!ok) {
        return false;
    }
    int status = answer.status;
    ok = is_success(&answer) || http_refused(&answer, "PUT", error);
    http_answer_fini(&answer);
    if (!ok) {
        put->sent(put->state, -(int64_t)put->content->size);
    }
    return ok || (status == 412 && error_set(error, ERROR_REJECTED, "is in the store already"));
}

static bool put_in_place(struct store *store, const struct store_put *put, struct error *error)
{
    struct store_object object = {0};
    if (!send_body(store, put, put->key, "If-None-Match: *", error)) {
        return false;
    }
    bool ok = verify(store, put, put->key, &object, error);
    if (object.exists && !put->note(put->state, STORE_PROOF, object.tag, error)) {
        return false;
    }
    if (!ok) { /* what is ours but not right must not stand in the way of the next try */
        store_remove(store, put->key, NULL);
        put->sent(put->state, -(int64_t)put->content->size);
    }
    return ok;
}

/* ---------------------------------------------------------------- putting beside, and moving */

/* Of an answer to MOVE only the status is of interest. 0: there was none. */
static int move(struct store *store, const char *from, const char *to, struct error *error)
{
    struct http_answer answer;
    char *url = url_of(store, from), *target = url_of(store, to), *destination = NULL;
    const char *path = strchr(strstr(target, "://") + 3, '/'); /* a path: the server may stand behind another name, or behind TLS */
    if (asprintf(&destination, "Destination: %s", path) < 0) {
        abort();
    }
    struct http_request request = {.method = "MOVE", .url = url, .headers = {destination, "Overwrite: F"}, .fd = -1};
    int status = 0;
    if (http_exchange(http_of(store), &request, &answer, error)) {
        status = answer.status;
        http_answer_fini(&answer);
    } else {
        error_prefix(error, "MOVE");
    }
    free(destination);
    free(target);
    free(url);
    return status;
}

/* A server that has it does not find what is not there; one that has it not says so, or something else. */
static bool find_out_moves(struct store *store, struct error *error)
{
    struct store_http *http = (struct store_http *)store;
    if (http->moves != MOVES_UNKNOWN) {
        return true;
    }
    char *nothing = stage_of(store, "nothing"), *nowhere = stage_of(store, "nowhere");
    int status = move(store, nothing, nowhere, error);
    free(nothing);
    free(nowhere);
    if (status == 429 || status == 503) {
        return http_refused(&(struct http_answer){.status = status}, "MOVE", error);
    }
    http->moves = status == 0 ? MOVES_UNKNOWN : status == 404 || status == 409 ? MOVES : MOVES_NOT;
    return status != 0;
}

/* It was verified before it was moved; its tag may be another now. */
static bool verify_moved(struct store *store, const struct store_put *put, struct error *error)
{
    struct store_object object;
    if (!look(store, put->key, &object, error)) {
        return false;
    }
    return object.exists ? put->note(put->state, STORE_PROOF, object.tag, error)
                         : error_set(error, ERROR_TRANSIENT, "the server moved it, and does not have it");
}

/* `*moved` is false where the server refused to move it at all: then it has to be put in its place. */
static bool put_beside(struct store *store, const struct store_put *put, const char *stage, bool *moved, struct error *error)
{
    struct store_object object = {0};
    bool ok = send_body(store, put, stage, NULL, error) && verify(store, put, stage, &object, error);
    int status = ok ? move(store, stage, put->key, error) : 0;
    *moved = status >= 200 && status < 300;
    if (*moved) {
        return verify_moved(store, put, error);
    }
    store_remove(store, stage, NULL);
    put->sent(put->state, ok ? -(int64_t)put->content->size : 0);
    if (status == 412) {
        return error_set(error, ERROR_REJECTED, "is in the store already");
    }
    bool passing = status == 429 || (status >= 500 && status != 501);
    return ok && status != 0 && (!passing || http_refused(&(struct http_answer){.status = status}, "MOVE", error));
}

static bool put_file(struct store *store, const struct store_put *put, struct error *error)
{
    struct store_http *http = (struct store_http *)store;
    char *stage = stage_of(store, put->stage);
    bool moved = false;
    bool ok = put->note(put->state, STORE_BEGUN, "", error) && find_out_moves(store, error);
    if (ok && http->moves == MOVES) {
        ok = put_beside(store, put, stage, &moved, error);
        http->moves = ok && !moved ? MOVES_NOT : MOVES;
    }
    free(stage);
    return ok && (moved || put_in_place(store, put, error));
}

/* ---------------------------------------------------------------- taking back */

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
    ok = is_success(&answer) || answer.status == 404 || answer.status == 410 || http_refused(&answer, "DELETE", error);
    http_answer_fini(&answer);
    return ok;
}

/* What was put beside its place and not moved. A server without MOVE has no such thing, and is asked no more. */
static bool forget(struct store *store, const char *key, const char *stage, const struct store_memory *memory, struct error *error)
{
    (void)key;
    if (!memory->begun) {
        return true;
    }
    char *name = stage_of(store, stage);
    bool ok = find_out_moves(store, error);
    ok = ok && (((struct store_http *)store)->moves != MOVES || remove_file(store, name, error));
    free(name);
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
    .forget = forget,
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
    if (!http_names_host(options->target)) {
        error_set(error, ERROR_INVALID, "target '%s': names no host", options->target);
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
