/* SPDX-License-Identifier: Apache-2.0 */
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)16 * 1024)

static bool open_file(const char *path, int *file, struct error *error)
{
    struct stat status;
    *file = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (*file < 0) {
        return error_set(error, ERROR_INVALID, "%s", strerror(errno));
    }
    if (fstat(*file, &status) == 0 && S_ISDIR(status.st_mode)) {
        close(*file);
        return error_set(error, ERROR_INVALID, "is a directory");
    }
    return true;
}

bool file_read(const char *path, struct text *text, size_t max_bytes, struct error *error)
{
    int file;
    if (!open_file(path, &file, error)) {
        return false;
    }
    bool ok = true;
    while (ok && text->size <= max_bytes) {
        ssize_t got = text_reserve(text, PIECE_BYTES) ? read(file, text->bytes + text->size, PIECE_BYTES) : -1;
        if (got < 0 && errno == EINTR && !text->overflow) {
            continue;
        }
        if (got < 0) {
            ok = error_set(error, ERROR_INVALID, "%s", text->overflow ? "there is no memory to read it" : strerror(errno));
        }
        if (got <= 0) {
            break;
        }
        text->size += (size_t)got;
        text->bytes[text->size] = '\0';
    }
    close(file);
    return ok;
}
