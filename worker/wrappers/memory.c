/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/wrappers/memory.h"

#include "common/file.h"
#include "common/limits.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NAME_BYTES 255 /* what file systems allow */

/* Everything but [A-Za-z0-9._-] becomes %XX: a key has slashes, and a step's name may have anything. */
static bool append_name(struct text *path, const char *key)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t before = path->size;
    for (const char *at = key; *at != '\0'; at++) {
        if (strchr(plain, *at) != NULL) {
            text_append_char(path, *at);
        } else {
            text_format(path, "%%%02X", (unsigned char)*at);
        }
    }
    return !path->overflow && path->size - before <= NAME_BYTES;
}

static bool path_of(const char *directory, const char *key, struct text *path)
{
    text_init(path, SIZE_MAX / 2);
    text_format(path, "%s/", directory);
    return append_name(path, key);
}

/* A new file beside the others, complete and on the disk. "" in `path` where there is none. */
static bool write_beside(const char *directory, const char *value, char *path, size_t size)
{
    int needed = snprintf(path, size, "%s/.new-XXXXXX", directory);
    int fd = needed > 0 && (size_t)needed < size ? mkstemp(path) : -1;
    if (fd < 0) {
        path[0] = '\0';
        return false;
    }
    size_t length = strlen(value);
    bool ok = write(fd, value, length) == (ssize_t)length && fsync(fd) == 0;
    return close(fd) == 0 && ok;
}

static bool sync_directory(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static char *read_whole(const char *path)
{
    struct error error = {0};
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    char *bytes = file_read(path, &text, LIMIT_MEMORY_BYTES, &error) ? text_take(&text) : NULL;
    text_fini(&text);
    return bytes;
}

bool memory_claim(const char *directory, const char *key, const char *value, char **there)
{
    char new_path[4096] = "";
    struct text path;
    *there = NULL;
    bool ok = path_of(directory, key, &path) && write_beside(directory, value, new_path, sizeof new_path);
    if (ok && link(new_path, text_string(&path)) != 0) { /* a link never takes another's place */
        *there = errno == EEXIST ? read_whole(text_string(&path)) : NULL;
        ok = *there != NULL;
    }
    if (new_path[0] != '\0') {
        unlink(new_path);
    }
    text_fini(&path);
    return ok && sync_directory(directory);
}

bool memory_store(const char *directory, const char *key, const char *value)
{
    char new_path[4096] = "";
    struct text path;
    bool ok = path_of(directory, key, &path) && write_beside(directory, value, new_path, sizeof new_path) &&
              rename(new_path, text_string(&path)) == 0;
    if (!ok && new_path[0] != '\0') {
        unlink(new_path);
    }
    text_fini(&path);
    return ok && sync_directory(directory);
}
