/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/store/store.h"

#include <string.h>

/* Of "user:password@host" nothing is shown, not even in the error. */
static bool has_credentials(const char *target)
{
    const char *host = strstr(target, "://");
    return host != NULL && memchr(host + 3, '@', strcspn(host + 3, "/?#")) != NULL;
}

static bool is_scheme(const char *target, const char *scheme)
{
    return strncmp(target, scheme, strlen(scheme)) == 0;
}

bool store_check_url_key(const char *key, struct error *error)
{
    for (const char *at = key; *at != '\0'; at += *at == '/') {
        size_t size = strcspn(at, "/");
        if (size == 0 || (size <= 2 && strncmp(at, "..", size) == 0)) {
            return error_set(error, ERROR_INVALID, "a URL cannot have such a part");
        }
        at += size;
    }
    return true;
}

bool store_check(const struct store_options *options, struct error *error)
{
    struct store *store = store_open(options, error);
    bool ok = store != NULL;
    store_close(store);
    return ok;
}

struct store *store_open(const struct store_options *options, struct error *error)
{
    const char *target = options->target;
    if (has_credentials(target) || (options->endpoint != NULL && has_credentials(options->endpoint))) {
        error_set(error, ERROR_INVALID,
                  "the target holds a user name: credentials go into the worker's environment, never into a run's params");
        return NULL;
    }
    if (is_scheme(target, "http://") || is_scheme(target, "https://")) {
        return store_http_open(options, error);
    }
    if (is_scheme(target, "s3://")) {
        return store_s3_open(options, error);
    }
    if (is_scheme(target, "file://")) {
        return store_directory_open(options, target + strlen("file://"), error);
    }
    if (strstr(target, "://") != NULL || target[0] == '\0') {
        error_set(error, ERROR_INVALID, "target '%s': expected a directory, http://, https:// or s3://", target);
        return NULL;
    }
    return store_directory_open(options, target, error);
}
