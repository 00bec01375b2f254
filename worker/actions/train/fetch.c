/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/train/fetch.h"

#include "common/limits.h"
#include "common/names.h"
#include "worker/actions/formatted.h"
#include "worker/actions/store/http.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <zlib.h>

#define PACKED "fetched"

/* Where the bytes go. */
struct sink {
    struct action_call *call;
    FILE *file;
    struct digest *digest;
    int64_t left;
    int reason; /* errno; -1: too many bytes */
};

static bool is_cancelled(void *state)
{
    struct sink *sink = state;
    return sink->reason != 0 || backstep_cancelled(sink->call->context);
}

static void take(void *state, const void *bytes, size_t size)
{
    struct sink *sink = state;
    if (sink->reason != 0) {
        return;
    }
    if ((int64_t)size > sink->left) {
        sink->reason = -1;
        return;
    }
    sink->left -= (int64_t)size;
    digest_add(sink->digest, bytes, size);
    if (fwrite(bytes, 1, size, sink->file) != size) {
        sink->reason = errno;
    }
}

static bool download(struct sink *sink, const struct fetch *fetch, struct error *error)
{
    struct http_answer answer;
    struct http *http = http_open(&(struct http_options){.stall_ms = fetch->stall_ms, .stop = is_cancelled, .state = sink});
    struct http_request request = {.method = "GET", .url = fetch->from, .fd = -1, .received = take, .state = sink};
    bool ok = http_exchange(http, &request, &answer, error) || error_prefix(error, "GET");
    if (ok) {
        ok = answer.status == 200 || http_refused(&answer, "GET", error);
        http_answer_fini(&answer);
    }
    http_close(http);
    return ok;
}

static bool copy(struct sink *sink, const struct fetch *fetch, struct error *error)
{
    char bytes[64 * KIB];
    int fd = open(fetch->from, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_set(error, ERROR_INVALID, "%s", strerror(errno));
    }
    ssize_t got = 0;
    while (!is_cancelled(sink) && (got = read(fd, bytes, sizeof bytes)) > 0) {
        take(sink, bytes, (size_t)got);
    }
    int reason = errno;
    close(fd);
    return got >= 0 || error_set(error, ERROR_TRANSIENT, "%s", strerror(reason));
}

static bool judge(struct sink *sink, const struct fetch *fetch, bool ok, struct error *error)
{
    if (sink->reason == -1) {
        return error_set(error, ERROR_INVALID, "more than %lld bytes; see max_dataset_size", (long long)fetch->max_bytes);
    }
    if (sink->reason > 0) {
        return error_set(error, ERROR_TRANSIENT, "the workspace cannot be written: %s", strerror(sink->reason));
    }
    if (backstep_cancelled(sink->call->context)) {
        return error_set(error, ERROR_TRANSIENT, "it was cancelled");
    }
    if (ok && fetch->sha256 != NULL && strcasecmp(fetch->sha256, fetch->found) != 0) {
        return error_set(error, ERROR_INVALID, "its SHA-256 is %s, not %s", fetch->found, SHOWN(span_of(fetch->sha256)));
    }
    return ok;
}

static bool fetch_packed(struct fetch *fetch, struct action_call *call, const char *path, struct error *error)
{
    unsigned char sha256[SHA256_BYTES];
    bool is_url = strncmp(fetch->from, "http://", 7) == 0 || strncmp(fetch->from, "https://", 8) == 0;
    struct sink sink = {.call = call, .file = fopen(path, "we"), .digest = digest_sha256(), .left = fetch->max_bytes};
    bool ok = sink.file != NULL || error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
    ok = ok && (is_url ? download(&sink, fetch, error) : copy(&sink, fetch, error));
    digest_finish(sink.digest, sha256);
    digest_free(sink.digest);
    digest_hex(sha256, sizeof sha256, fetch->found);
    if (sink.file != NULL && fclose(sink.file) != 0 && sink.reason == 0) {
        sink.reason = errno;
    }
    return judge(&sink, fetch, ok, error);
}

/* zlib hands out what is not packed as it is. */
static bool unpack(const struct fetch *fetch, gzFile from, FILE *to, struct error *error)
{
    char bytes[64 * KIB];
    int64_t left = fetch->max_bytes;
    int got = 0;
    while ((got = gzread(from, bytes, sizeof bytes)) > 0) {
        left -= got;
        if (left < 0) {
            return error_set(error, ERROR_INVALID, "unpacks to more than %lld bytes; see max_dataset_size",
                             (long long)fetch->max_bytes);
        }
        if (fwrite(bytes, 1, (size_t)got, to) != (size_t)got) {
            return error_set(error, ERROR_TRANSIENT, "the workspace cannot be written: %s", strerror(errno));
        }
    }
    int code = Z_OK;
    const char *reason = gzerror(from, &code);
    return (got == 0 && (code == Z_OK || code == Z_STREAM_END)) ||
           error_set(error, ERROR_INVALID, "cannot be unpacked: %s", reason);
}

static bool unpack_file(const struct fetch *fetch, const char *packed, const char *path, struct error *error)
{
    gzFile from = gzopen(packed, "rbe");
    FILE *to = fopen(path, "we");
    bool ok = (from != NULL && to != NULL) || error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
    ok = ok && unpack(fetch, from, to, error);
    if (to != NULL && fclose(to) != 0 && ok) {
        ok = error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
    }
    if (from != NULL) {
        gzclose(from);
    }
    return ok;
}

bool fetch_file(struct fetch *fetch, struct action_call *call, const char *name, struct error *error)
{
    char *packed = workspace_file(&call->workspace, PACKED), *path = workspace_file(&call->workspace, name);
    bool ok = fetch_packed(fetch, call, packed, error) && unpack_file(fetch, packed, path, error);
    unlink(packed);
    free(packed);
    free(path);
    return ok || error_prefix(error, "%s", fetch->from);
}
