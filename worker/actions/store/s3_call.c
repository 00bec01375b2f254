/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/store/s3_call.h"

#include "worker/actions/encoding.h"
#include "worker/actions/store/sigv4.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIGNED_MAX (S3_HEADERS + 4)

struct signing {
    char *lines[SIGNED_MAX];
    size_t count;
    char time[20];
};

static void add_line(struct signing *signing, const char *name, const char *value)
{
    if (value != NULL && asprintf(&signing->lines[signing->count++], "%s: %s", name, value) < 0) {
        abort();
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void collect(struct signing *signing, const struct s3 *s3, const struct s3_call *call, const char *sha256)
{
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(signing->time, sizeof signing->time, "%Y%m%dT%H%M%SZ", &parts);
    add_line(signing, "host", s3->host);
    add_line(signing, "x-amz-content-sha256", sha256);
    add_line(signing, "x-amz-date", signing->time);
    add_line(signing, "x-amz-security-token", s3->token);
    for (size_t i = 0; call->amz_headers[i] != NULL; i++) {
        signing->lines[signing->count] = strdup(call->amz_headers[i]);
        if (signing->lines[signing->count++] == NULL) {
            abort();
        }
    }
    qsort(signing->lines, signing->count, sizeof signing->lines[0], by_name);
}

static void append_path(struct text *path, const struct s3 *s3, const struct s3_call *call)
{
    text_append_char(path, '/');
    percent_append(path, s3->bucket, false);
    if (call->key != NULL) {
        text_append_char(path, '/');
        percent_append(path, s3->prefix, true);
        percent_append(path, call->key, true);
    }
}

static void authorize(struct text *header, const struct s3 *s3, const struct s3_call *call, const struct signing *signing,
                      const char *path, const char *sha256)
{
    struct sigv4_key key = {.id = s3->key_id, .secret = s3->secret, .region = s3->region};
    struct sigv4_request request = {.method = call->method,
                                    .path = path,
                                    .query = call->query != NULL ? call->query : "",
                                    .headers = (const char *const *)signing->lines,
                                    .header_count = signing->count,
                                    .payload_sha256 = sha256,
                                    .time = signing->time};
    text_append_string(header, "Authorization: ");
    sigv4_authorize(header, &key, &request);
}

static bool send_signed(struct s3 *s3, const struct s3_call *call, const struct signing *signing, const char *url,
                        const char *authorization, struct http_answer *answer, struct error *error)
{
    struct http_request request = {.method = call->method,
                                   .url = url,
                                   .fd = call->sha256 != NULL && call->body.bytes == NULL ? call->fd : -1,
                                   .offset = call->offset,
                                   .size = call->size,
                                   .body = call->body,
                                   .has_body = call->sha256 != NULL,
                                   .sent = call->sent,
                                   .received = call->received,
                                   .state = call->state};
    size_t count = 0;
    request.headers[count++] = authorization;
    for (size_t i = 0; i < signing->count; i++) {
        if (strncmp(signing->lines[i], "host:", 5) != 0) { /* curl's own says the same */
            request.headers[count++] = signing->lines[i];
        }
    }
    request.headers[count++] = call->plain_header;
    return http_exchange(s3->http, &request, answer, error) || error_prefix(error, "%s", call->method);
}

bool s3_exchange(struct s3 *s3, const struct s3_call *call, struct http_answer *answer, struct error *error)
{
    struct signing signing = {0};
    struct text path, url, authorization;
    const char *sha256 = call->sha256 != NULL ? call->sha256 : S3_EMPTY_SHA256;
    text_init(&path, SIZE_MAX / 2);
    text_init(&url, SIZE_MAX / 2);
    text_init(&authorization, SIZE_MAX / 2);
    collect(&signing, s3, call, sha256);
    append_path(&path, s3, call);
    authorize(&authorization, s3, call, &signing, text_string(&path), sha256);
    text_format(&url, "%s%s%s%s", s3->endpoint, text_string(&path), call->query != NULL ? "?" : "",
                call->query != NULL ? call->query : "");
    bool ok = send_signed(s3, call, &signing, text_string(&url), text_string(&authorization), answer, error);
    for (size_t i = 0; i < signing.count; i++) {
        free(signing.lines[i]);
    }
    text_fini(&path);
    text_fini(&url);
    text_fini(&authorization);
    return ok;
}

struct span s3_element(const char **at, const char *name)
{
    char tag[64];
    snprintf(tag, sizeof tag, "<%s>", name);
    const char *begin = strstr(*at, tag);
    if (begin == NULL) {
        return (struct span){0};
    }
    begin += strlen(tag);
    snprintf(tag, sizeof tag, "</%s>", name);
    const char *end = strstr(begin, tag);
    if (end == NULL) {
        return (struct span){0};
    }
    *at = end;
    return (struct span){.bytes = begin, .size = (size_t)(end - begin)};
}

/* The code only: messages of a store quote the key's id. */
bool s3_refused(const struct http_answer *answer, const char *what, struct error *error)
{
    const char *at = text_string(&answer->body);
    struct span code = s3_element(&at, "Code");
    http_refused(answer, what, error);
    if (code.size > 0 && code.size < 100 && error != NULL) {
        size_t size = strlen(error->message);
        snprintf(error->message + size, sizeof error->message - size, " (%.*s)", SPAN_ARGS(code));
    }
    return false;
}
