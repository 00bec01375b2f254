/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/upload/listing.h"

#include "common/names.h"
#include "worker/actions/encoding.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *copy(const char *string)
{
    char *text = string != NULL ? strdup(string) : NULL;
    if (text == NULL && string != NULL) {
        abort();
    }
    return text;
}

void listing_fini(struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++) {
        free(listing->files[i].path);
        free(listing->files[i].key);
        free(listing->files[i].unit);
    }
    free(listing->files);
    *listing = (struct listing){0};
}

void listing_add(struct listing *listing, const char *path, uint64_t size, int64_t mtime_ns)
{
    if (listing->count == listing->capacity) {
        listing->capacity = listing->capacity > 0 ? listing->capacity * 2 : 64;
        listing->files = realloc(listing->files, listing->capacity * sizeof listing->files[0]);
        if (listing->files == NULL) {
            abort();
        }
    }
    listing->files[listing->count++] = (struct listed){.path = copy(path), .size = size, .mtime_ns = mtime_ns};
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct listed *)a)->path, ((const struct listed *)b)->path);
}

void listing_sort(struct listing *listing)
{
    if (listing->count > 0) {
        qsort(listing->files, listing->count, sizeof listing->files[0], by_path);
    }
}

/* ---------------------------------------------------------------- on the disk: SIZE MTIME PATH KEY UNIT */

static void append_field(struct text *text, const char *string)
{
    text_append_char(text, ' ');
    if (string == NULL) {
        text_append_char(text, '%'); /* what percent-encoding never gives */
    } else {
        percent_append(text, string, true);
    }
}

bool listing_write(const struct listing *listing, const struct workspace *workspace, const char *name, struct error *error)
{
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    for (size_t i = 0; i < listing->count; i++) {
        const struct listed *file = &listing->files[i];
        text_format(&text, "%" PRIu64 " %" PRId64, file->size, file->mtime_ns);
        append_field(&text, file->path);
        append_field(&text, file->key);
        append_field(&text, file->unit);
        text_append_char(&text, '\n');
    }
    bool ok = workspace_write(workspace, name, &text, error);
    text_fini(&text);
    return ok;
}

static bool take_field(char **at, char **field)
{
    char *text = strsep(at, " ");
    if (text == NULL) {
        return false;
    }
    *field = strcmp(text, "%") == 0 ? NULL : copy(text);
    return *field == NULL || percent_decode(*field);
}

static bool on_line(void *state, char *line)
{
    struct listing *listing = state;
    char *at = NULL;
    uint64_t size = strtoull(line, &at, 10);
    int64_t mtime_ns = at != NULL && *at == ' ' ? strtoll(at + 1, &at, 10) : 0;
    if (at == NULL || *at != ' ') {
        return false;
    }
    at++;
    listing_add(listing, "", size, mtime_ns);
    struct listed *file = &listing->files[listing->count - 1];
    free(file->path);
    file->path = NULL;
    return take_field(&at, &file->path) && take_field(&at, &file->key) && take_field(&at, &file->unit) && file->path != NULL;
}

bool listing_read(struct listing *listing, const struct workspace *workspace, const char *name, struct error *error)
{
    *listing = (struct listing){0};
    if (!workspace_has(workspace, name)) {
        return error_set(error, ERROR_INVALID, "%s/%s is not there: an earlier step of the action has not run", workspace->path,
                         name);
    }
    return journal_read(workspace, name, on_line, listing, error);
}

/* ---------------------------------------------------------------- walking */

struct walking {
    struct walk *walk;
    struct listing *listing;
    char path[LIMIT_UPLOAD_PATH_BYTES]; /* of the entry, relative */
    int depth;
};

static bool refuse(const struct walking *walking, const char *reason, struct error *error)
{
    return error_set(error, ERROR_INVALID, "%s: %s", SHOWN(span_of(walking->path)), reason);
}

static bool on_directory(struct walking *walking, int parent, const char *name, size_t size, struct error *error);

static bool on_entry(struct walking *walking, int parent, const char *name, size_t size, struct error *error)
{
    struct stat status;
    struct walk *walk = walking->walk;
    if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT || refuse(walking, strerror(errno), error); /* gone meanwhile: not found */
    }
    if (S_ISDIR(status.st_mode)) {
        return on_directory(walking, parent, name, size, error);
    }
    if (!S_ISREG(status.st_mode)) {
        walk->left_out++;
        return walk->skip_special || refuse(walking,
                                            S_ISLNK(status.st_mode) ? "is a link; set special: skip to leave such out"
                                                                    : "is no file; set special: skip to leave such out",
                                            error);
    }
    if (walking->listing->count == LIMIT_UPLOAD_FILES) {
        return error_set(error, ERROR_INVALID, "more than %d files; split the source", LIMIT_UPLOAD_FILES);
    }
    int64_t mtime_ns = (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
    listing_add(walking->listing, walking->path, (uint64_t)status.st_size, mtime_ns);
    return true;
}

static bool on_name(struct walking *walking, int parent, const char *name, size_t size, struct error *error)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return true;
    }
    if (name[0] == '.' && walking->walk->skip_hidden) {
        walking->walk->left_out++;
        return true;
    }
    int written = snprintf(walking->path + size, sizeof walking->path - size, "%s%s", size > 0 ? "/" : "", name);
    bool ok = written >= 0 && size + (size_t)written < sizeof walking->path;
    ok = ok ? on_entry(walking, parent, name, size + (size_t)written, error)
            : refuse(walking, "its path is longer than 4095 bytes", error);
    walking->path[size] = '\0';
    return ok;
}

static bool on_directory(struct walking *walking, int parent, const char *name, size_t size, struct error *error)
{
    if (walking->depth == LIMIT_UPLOAD_DEPTH) {
        return refuse(walking, "directories nest deeper than 64", error);
    }
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (stream == NULL) {
        refuse(walking, strerror(errno), error);
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    walking->depth++;
    bool ok = true;
    for (const struct dirent *entry; ok && (entry = readdir(stream)) != NULL;) {
        ok = on_name(walking, fd, entry->d_name, size, error);
        if (ok && walking->walk->stop(walking->walk->state)) {
            ok = error_set(error, ERROR_TRANSIENT, "it was cancelled");
        }
    }
    walking->depth--;
    closedir(stream);
    return ok;
}

static bool add_single(struct listing *listing, const char *source, const struct stat *status)
{
    const char *slash = strrchr(source, '/');
    int64_t mtime_ns = (int64_t)status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec;
    listing_add(listing, slash != NULL ? slash + 1 : source, (uint64_t)status->st_size, mtime_ns);
    return true;
}

bool listing_walk(struct listing *listing, struct walk *walk, struct error *error)
{
    struct stat status;
    struct walking *walking = calloc(1, sizeof *walking);
    *listing = (struct listing){0};
    if (walking == NULL) {
        abort();
    }
    *walking = (struct walking){.walk = walk, .listing = listing};
    bool ok = stat(walk->source, &status) == 0 || error_set(error, ERROR_INVALID, "%s", strerror(errno));
    if (ok && S_ISREG(status.st_mode)) {
        ok = add_single(listing, walk->source, &status);
    } else if (ok && S_ISDIR(status.st_mode)) {
        int fd = open(walk->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ok = fd >= 0 ? on_directory(walking, fd, ".", 0, error) : error_set(error, ERROR_INVALID, "%s", strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
    } else if (ok) {
        ok = error_set(error, ERROR_INVALID, "is neither a file nor a directory");
    }
    free(walking);
    listing_sort(listing);
    return ok || error_prefix(error, "%s", walk->source);
}
