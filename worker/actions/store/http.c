/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/store/http.h"

#include "common/clock.h"
#include "common/names.h"
#include "worker/actions/digest.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define CONNECT_MS 10000L
#define BUFFER_BYTES 65536L

struct http {
    CURL *curl;
    struct http_options options;
};

/* What the callbacks of one exchange share. */
struct exchange {
    const struct http *http;
    const struct http_request *request;
    struct http_answer *answer;
    uint64_t done; /* of the body */
    uint64_t told; /* to `sent` */
    int read_errno;
    bool short_file;
    uint64_t moved; /* bytes, both ways; and when the last of them did */
    int64_t moved_ms;
    bool stalled;
    char detail[CURL_ERROR_SIZE]; /* what curl says of a failure; "": nothing */
};

static void start_library(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        abort();
    }
}

struct http *http_open(const struct http_options *options)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_library);
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL || (http->curl = curl_easy_init()) == NULL) {
        abort();
    }
    http->options = *options;
    return http;
}

void http_close(struct http *http)
{
    if (http != NULL) {
        curl_easy_cleanup(http->curl);
        free(http);
    }
}

/* ---------------------------------------------------------------- callbacks */

static uint64_t body_size(const struct http_request *request)
{
    return request->fd >= 0 ? request->size : request->body.size;
}

static size_t on_read(char *buffer, size_t size, size_t count, void *state)
{
    struct exchange *exchange = state;
    const struct http_request *request = exchange->request;
    uint64_t left = body_size(request) - exchange->done;
    size_t want = size * count < left ? size * count : (size_t)left;
    ssize_t got = (ssize_t)want;
    if (want == 0) {
        return 0;
    }
    if (request->fd >= 0) {
        got = pread(request->fd, buffer, want, (off_t)(request->offset + exchange->done));
    } else {
        memcpy(buffer, request->body.bytes + exchange->done, want);
    }
    if (got <= 0) {
        exchange->read_errno = got < 0 ? errno : 0;
        exchange->short_file = got == 0;
        return CURL_READFUNC_ABORT;
    }
    exchange->done += (uint64_t)got;
    return (size_t)got;
}

/* curl asks for it again from its beginning after a connection that was kept turned out to be closed. */
static int on_seek(void *state, curl_off_t offset, int origin)
{
    struct exchange *exchange = state;
    if (origin != SEEK_SET || offset < 0) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    exchange->done = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static size_t on_write(char *bytes, size_t size, size_t count, void *state)
{
    struct exchange *exchange = state;
    long status = 0;
    curl_easy_getinfo(exchange->http->curl, CURLINFO_RESPONSE_CODE, &status);
    if (exchange->request->received != NULL && status >= 200 && status < 300) {
        exchange->request->received(exchange->request->state, bytes, size * count);
    } else {
        size_t room = HTTP_BODY_BYTES - exchange->answer->body.size;
        text_append(&exchange->answer->body, bytes, size * count < room ? size * count : room);
    }
    return size * count;
}

/* curl's own bound looks at the mean of five seconds, and so comes that much later. */
static bool is_stalled(struct exchange *exchange, uint64_t moved)
{
    int64_t now_ms = clock_monotonic_ms();
    if (moved != exchange->moved) {
        exchange->moved = moved;
        exchange->moved_ms = now_ms;
    }
    exchange->stalled = now_ms - exchange->moved_ms >= exchange->http->options.stall_ms;
    return exchange->stalled;
}

/* Called about once a second where nothing moves. */
static int on_progress(void *state, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    struct exchange *exchange = state;
    (void)down_total;
    (void)up_total;
    if (exchange->request->sent != NULL && up > 0 && (uint64_t)up != exchange->told) {
        exchange->request->sent(exchange->request->state, (int64_t)up - (int64_t)exchange->told);
        exchange->told = (uint64_t)up;
    }
    return is_stalled(exchange, (uint64_t)up + (uint64_t)down) || exchange->http->options.stop(exchange->http->options.state);
}

struct header_copy {
    const char *name;
    char *to;
    size_t size;
};

/* Without blanks and quotes around it; a weak tag's W/ stays, so that it equals none that is strong. */
static void copy_value(const struct header_copy *copy, const char *value, size_t size)
{
    while (size > 0 && strchr(" \t\"\r\n", value[size - 1]) != NULL) {
        size--;
    }
    while (size > 0 && strchr(" \t\"", *value) != NULL) {
        value++;
        size--;
    }
    size = size < copy->size - 1 ? size : copy->size - 1;
    memcpy(copy->to, value, size);
    copy->to[size] = '\0';
}

/* "sha-256=:BASE64=:" (RFC 9530) and "SHA-256=BASE64" (RFC 3230) to hexadecimal. */
static void read_digest(const char *header, char digest[SHA256_HEX_BYTES])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char bytes[SHA256_BYTES + 2];
    size_t count = 0;
    unsigned bits = 0, pending = 0;
    const char *at = strncasecmp(header, "sha-256=", 8) == 0 ? header + 8 : "";
    for (at += *at == ':'; *at != '\0' && strchr(alphabet, *at) != NULL && count < sizeof bytes; at++) {
        pending = (pending << 6 | (unsigned)(strchr(alphabet, *at) - alphabet)) & 0xffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes[count++] = (unsigned char)(pending >> bits);
        }
    }
    digest[0] = '\0';
    if (count == SHA256_BYTES) {
        digest_hex(bytes, count, digest);
    }
}

static size_t on_header(char *bytes, size_t size, size_t count, void *state)
{
    struct http_answer *answer = ((struct exchange *)state)->answer;
    char digest[128];
    const struct header_copy copies[] = {
        {"etag:", answer->tag, sizeof answer->tag},
        {"repr-digest:", digest, sizeof digest},
        {"digest:", digest, sizeof digest},
        {"date:", answer->server_time, sizeof answer->server_time},
        {"x-amz-meta-backstep-owner:", answer->owner, sizeof answer->owner},
        {"x-amz-meta-backstep-sha256:", answer->sha256, sizeof answer->sha256},
    };
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
        size_t length = strlen(copies[i].name);
        if (size * count > length && strncasecmp(bytes, copies[i].name, length) == 0) {
            copy_value(&copies[i], bytes + length, size * count - length);
            if (copies[i].to == digest) {
                read_digest(digest, answer->digest);
            }
        }
    }
    return size * count;
}

/* ---------------------------------------------------------------- an exchange */

static struct curl_slist *header_list(const struct http_request *request)
{
    /* Some servers never answer "100 Continue", and waiting for it costs a second. */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    for (size_t i = 0; request->headers[i] != NULL; i++) {
        list = curl_slist_append(list, request->headers[i]);
    }
    return list;
}

static void set_limits(CURL *curl, const struct http_options *options)
{
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_BYTES);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "backstep/" BACKSTEP_VERSION);
    if (options->user_password != NULL) {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        curl_easy_setopt(curl, CURLOPT_USERPWD, options->user_password);
    }
    const char *authorities = getenv("SSL_CERT_FILE");
    if (authorities != NULL) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, authorities);
    }
}

static void set_callbacks(CURL *curl, struct exchange *exchange)
{
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, exchange->detail);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, exchange);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(curl, CURLOPT_READDATA, exchange);
    curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(curl, CURLOPT_SEEKDATA, exchange);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, exchange);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

static void set_request(CURL *curl, const struct http_request *request)
{
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (request->has_body) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)body_size(request));
    }
    if (strcmp(request->method, "HEAD") != 0) {
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    }
}

/* Nothing that trying again would change: a certificate that is not to be trusted, or a file of authorities that cannot be read. */
static bool is_lasting(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_URL_MALFORMAT;
}

static bool fail(const struct exchange *exchange, CURLcode code, struct error *error)
{
    if (exchange->short_file) {
        return error_set(error, ERROR_TRANSIENT, "the file became shorter while it was read");
    }
    if (exchange->read_errno != 0) {
        return error_set(error, ERROR_TRANSIENT, "the file cannot be read: %s", strerror(exchange->read_errno));
    }
    if (code == CURLE_ABORTED_BY_CALLBACK && !exchange->stalled) {
        return error_set(error, ERROR_TRANSIENT, "stopped");
    }
    if (exchange->stalled) {
        return error_set(error, ERROR_TRANSIENT, "the server did not answer, or nothing moved, for %lld ms",
                         (long long)exchange->http->options.stall_ms);
    }
    return error_set(error, is_lasting(code) ? ERROR_INVALID : ERROR_TRANSIENT, "%s",
                     exchange->detail[0] != '\0' ? exchange->detail : curl_easy_strerror(code));
}

bool http_exchange(struct http *http, const struct http_request *request, struct http_answer *answer, struct error *error)
{
    struct exchange exchange = {.http = http, .request = request, .answer = answer, .moved_ms = clock_monotonic_ms()};
    *answer = (struct http_answer){0};
    text_init(&answer->body, HTTP_BODY_BYTES);
    struct curl_slist *headers = header_list(request);
    curl_easy_reset(http->curl); /* connections stay */
    set_limits(http->curl, &http->options);
    set_callbacks(http->curl, &exchange);
    set_request(http->curl, request);
    curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, headers);
    CURLcode code = curl_easy_perform(http->curl);
    curl_easy_setopt(http->curl, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(headers);
    long status = 0;
    curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_off_t length = 0;
    curl_easy_getinfo(http->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    answer->status = (int)status;
    answer->content_length = length > 0 ? (uint64_t)length : 0;
    bool refused_early = status >= 400 && (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR);
    if (code == CURLE_OK || refused_early) {
        return true;
    }
    if (request->sent != NULL) { /* what was sent is worth nothing */
        request->sent(request->state, -(int64_t)exchange.told);
    }
    http_answer_fini(answer);
    return fail(&exchange, code, error);
}

void http_answer_fini(struct http_answer *answer)
{
    text_fini(&answer->body);
}

static bool is_passing(int status)
{
    static const int passing[] = {408, 425, 429, 500, 502, 503, 504};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
        if (passing[i] == status) {
            return true;
        }
    }
    return false;
}

static const char *meaning_of(int status)
{
    static const struct {
        int status;
        const char *meaning;
    } meanings[] = {
        {301, "the store is somewhere else"},
        {400, "bad request"},
        {401, "the credentials are wrong or missing"},
        {403, "the credentials do not allow it, or are wrong"},
        {404, "not found"},
        {405, "the server does not take this method here"},
        {409, "conflict"},
        {412, "something is there already"},
        {413, "the file is larger than the server takes"},
        {429, "too many requests"},
        {500, "the server failed"},
        {502, "the server behind the server failed"},
        {503, "the server cannot do it now"},
        {504, "the server behind the server did not answer"},
        {507, "the store has no room left"},
    };
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        if (meanings[i].status == status) {
            return meanings[i].meaning;
        }
    }
    return "that is no success";
}

bool http_refused(const struct http_answer *answer, const char *what, struct error *error)
{
    return error_set(error, is_passing(answer->status) ? ERROR_TRANSIENT : ERROR_INVALID, "%s: HTTP %d: %s", what, answer->status,
                     meaning_of(answer->status));
}

bool http_names_host(const char *url)
{
    const char *host = strstr(url, "://");
    return host != NULL && strcspn(host + 3, ":/") > 0;
}
