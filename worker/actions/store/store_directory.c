/* SPDX-License-Identifier: Apache-2.0 */
/* A directory. A file is copied to .backstep/OWNER/STAGE within the target, verified there, and appears under its name by one rename that
 * replaces nothing. The proof is what the rename keeps: device, inode, size, and the time of the last change of its bytes. */
#include "common/limits.h"
#include "worker/actions/formatted.h"
#include "worker/actions/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAGES ".backstep"
#define COPY_BYTES (256 * KIB)

struct store_directory {
    struct store store;
    char *root, *stages; /* ROOT/.backstep/OWNER, its slashes as '-' */
};

static char *path_of(const struct store *store, const char *key)
{
    return formatted("%s/%s", ((const struct store_directory *)store)->root, key);
}

static char *stage_of(const struct store *store, const char *stage)
{
    return formatted("%s/%s", ((const struct store_directory *)store)->stages, stage);
}

static bool fail_with(struct error *error, const char *path, int reason)
{
    return error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(reason));
}

static bool check_key(const struct store *store, const char *key, struct error *error)
{
    (void)store;
    if (strcmp(key, STAGES) == 0 || strncmp(key, STAGES "/", strlen(STAGES "/")) == 0) {
        return error_set(error, ERROR_INVALID, "the name " STAGES " is taken by the upload itself");
    }
    return true;
}

static void tag_of(const struct stat *status, struct store_object *object)
{
    snprintf(object->tag, sizeof object->tag, "%ju:%ju:%jd:%jd.%09ld", (uintmax_t)status->st_dev, (uintmax_t)status->st_ino,
             (intmax_t)status->st_size, (intmax_t)status->st_mtim.tv_sec, status->st_mtim.tv_nsec);
}

static bool look(struct store *store, const char *key, struct store_object *object, struct error *error)
{
    struct stat status;
    char *path = path_of(store, key);
    *object = (struct store_object){0};
    bool ok = true;
    if (lstat(path, &status) == 0) {
        object->exists = true;
        object->size = (uint64_t)status.st_size;
        tag_of(&status, object);
    } else if (errno == ENOTDIR) {
        ok = error_set(error, ERROR_REJECTED, "%s: a part of its path is a file in the store", path);
    } else if (errno != ENOENT) {
        ok = fail_with(error, path, errno);
    }
    free(path);
    return ok;
}

static bool is_ours(struct store *store, const char *key, const struct store_object *object, const struct store_memory *memory,
                    const char *sha256, bool *ours, struct error *error)
{
    (void)store;
    (void)key;
    (void)sha256;
    (void)error;
    *ours = object->exists && memory->proof != NULL && strcmp(memory->proof, object->tag) == 0;
    return true;
}

static bool hash_path(const char *path, char sha256[SHA256_HEX_BYTES], struct error *error)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return fail_with(error, path, errno);
    }
    bool ok = sha256_of_file(fd, sha256, error) || error_prefix(error, "%s", path);
    close(fd);
    return ok;
}

static bool same(struct store *store, const char *key, const struct store_object *object, const char *sha256, bool *is_same,
                 struct error *error)
{
    char found[SHA256_HEX_BYTES];
    struct stat status;
    char *path = path_of(store, key);
    (void)object;
    *is_same = false;
    bool ok = true;
    if (lstat(path, &status) == 0 && S_ISREG(status.st_mode)) {
        ok = hash_path(path, found, error);
        *is_same = ok && strcmp(found, sha256) == 0;
    }
    free(path);
    return ok;
}

/* ---------------------------------------------------------------- putting */

/* Make `path` and say so first, where it is not there; true also where it is. */
static bool make_noted(struct store *store, const struct store_put *put, const char *path, const char *relative,
                       struct error *error)
{
    struct stat status;
    (void)store;
    if (lstat(path, &status) == 0) {
        return S_ISDIR(status.st_mode) || error_set(error, ERROR_REJECTED, "%s: is in the store already, and no directory", path);
    }
    if (errno != ENOENT) {
        return fail_with(error, path, errno);
    }
    if (!put->note(put->state, STORE_DIRECTORY, relative, error)) {
        return false;
    }
    return mkdir(path, 0777) == 0 || errno == EEXIST || fail_with(error, path, errno);
}

/* Every directory above the target, and the target: noted with its whole path. */
static bool make_root(struct store *store, const struct store_put *put, struct error *error)
{
    char *path = formatted("%s", ((struct store_directory *)store)->root);
    bool ok = true;
    for (char *at = path + 1; ok; at++) {
        char ends = *at;
        if (ends == '/' || ends == '\0') {
            *at = '\0';
            ok = make_noted(store, put, path, path, error);
            *at = ends;
        }
        if (ends == '\0') {
            break;
        }
    }
    free(path);
    return ok;
}

static bool make_parents(struct store *store, const struct store_put *put, struct error *error)
{
    char *path = path_of(store, put->key);
    char *key = path + strlen(path) - strlen(put->key);
    bool ok = make_root(store, put, error);
    for (char *at = key; ok && *at != '\0'; at++) {
        if (*at == '/') {
            *at = '\0';
            ok = make_noted(store, put, path, path, error);
            *at = '/';
        }
    }
    free(path);
    return ok;
}

/* Hidden, and gone with the run: not noted. */
static bool make_stages(const struct store *store, struct error *error)
{
    const struct store_directory *directory = (const struct store_directory *)store;
    char *parent = formatted("%s/" STAGES, directory->root);
    bool ok = (mkdir(parent, 0777) == 0 || errno == EEXIST) && (mkdir(directory->stages, 0777) == 0 || errno == EEXIST);
    if (!ok) {
        fail_with(error, directory->stages, errno);
    }
    free(parent);
    return ok;
}

static bool write_all(int fd, const char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t written = write(fd, bytes + done, size - done);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        done += written > 0 ? (size_t)written : 0;
    }
    return true;
}

/* Go on where an earlier attempt broke off; what it left is verified with all the rest at the end. */
static bool copy(struct store *store, const struct store_put *put, int to, const char *path, struct error *error)
{
    char *bytes = malloc(COPY_BYTES);
    off_t offset = lseek(to, 0, SEEK_END);
    ssize_t got = bytes == NULL || offset < 0 ? -1 : 1;
    /* A file that grows for ever is not followed: the checksum tells that it is another. */
    while (got > 0 && (uint64_t)offset <= put->content->size && (got = pread(put->fd, bytes, COPY_BYTES, offset)) > 0) {
        if (store->options.stop(store->options.state)) {
            free(bytes);
            return error_set(error, ERROR_TRANSIENT, "stopped");
        }
        if (!write_all(to, bytes, (size_t)got)) {
            int reason = errno;
            free(bytes);
            return fail_with(error, path, reason);
        }
        offset += got;
        put->sent(put->state, got);
    }
    free(bytes);
    return got >= 0 || error_set(error, ERROR_TRANSIENT, "it cannot be read: %s", strerror(errno));
}

static bool verify_stage(const struct store_put *put, const char *path, struct error *error)
{
    char found[SHA256_HEX_BYTES];
    if (!hash_path(path, found, error)) {
        return false;
    }
    if (strcmp(found, put->content->sha256) == 0) {
        return true;
    }
    unlink(path);
    return error_set(error, ERROR_TRANSIENT,
                     "the copy differs from the file: it changed while it was read, or the disk did not keep it");
}

static bool fill_stage(struct store *store, const struct store_put *put, const char *path, struct error *error)
{
    struct stat status;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) {
        return fail_with(error, path, errno);
    }
    bool too_long = fstat(fd, &status) == 0 && (uint64_t)status.st_size > put->content->size;
    bool ok = !too_long || ftruncate(fd, 0) == 0 || fail_with(error, path, errno);
    ok = ok && copy(store, put, fd, path, error);
    ok = ok && (fsync(fd) == 0 || fail_with(error, path, errno));
    return close(fd) == 0 ? ok : ok && fail_with(error, path, errno);
}

/* Where the file system cannot rename without replacing, a link cannot replace either. */
static int rename_to_nothing(const char *from, const char *to)
{
    int result = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
    if (result == 0 || (errno != EINVAL && errno != ENOSYS)) {
        return result;
    }
    result = link(from, to);
    return result == 0 ? unlink(from) : result;
}

static bool appear(struct store *store, const struct store_put *put, const char *stage, struct error *error)
{
    struct stat status;
    struct store_object object = {0};
    if (lstat(stage, &status) != 0) {
        return fail_with(error, stage, errno);
    }
    tag_of(&status, &object);
    char *path = path_of(store, put->key);
    bool ok = put->note(put->state, STORE_PROOF, object.tag, error);
    if (ok && rename_to_nothing(stage, path) != 0) {
        ok = errno == EEXIST ? error_set(error, ERROR_REJECTED, "is in the store already") : fail_with(error, path, errno);
    }
    free(path);
    return ok;
}

static bool put_file(struct store *store, const struct store_put *put, struct error *error)
{
    char *stage = stage_of(store, put->stage);
    bool ok = make_parents(store, put, error) && make_stages(store, error) && fill_stage(store, put, stage, error) &&
              verify_stage(put, stage, error) && appear(store, put, stage, error);
    free(stage);
    return ok;
}

/* ---------------------------------------------------------------- taking back */

static bool remove_path(const char *path, struct error *error)
{
    return unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR || fail_with(error, path, errno);
}

static bool remove_file(struct store *store, const char *key, struct error *error)
{
    char *path = path_of(store, key);
    bool ok = remove_path(path, error);
    free(path);
    return ok;
}

static bool forget(struct store *store, const char *key, const char *stage, const struct store_memory *memory, struct error *error)
{
    (void)key;
    (void)memory;
    char *path = stage_of(store, stage);
    bool ok = remove_path(path, error);
    free(path);
    return ok;
}

static bool remove_directory(struct store *store, const char *path, struct error *error)
{
    (void)store;
    return rmdir(path) == 0 || errno == ENOENT || errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR ||
           fail_with(error, path, errno);
}

static bool settle(struct store *store, struct error *error)
{
    const struct store_directory *directory = (const struct store_directory *)store;
    char *parent = formatted("%s/" STAGES, directory->root);
    bool ok = remove_directory(store, directory->stages, error) && remove_directory(store, parent, error);
    free(parent);
    return ok;
}

static void close_directory(struct store *store)
{
    struct store_directory *directory = (struct store_directory *)store;
    free(directory->root);
    free(directory->stages);
    free(directory);
}

static const struct store_operations operations = {
    .check_key = check_key,
    .look = look,
    .is_ours = is_ours,
    .same = same,
    .put = put_file,
    .remove = remove_file,
    .forget = forget,
    .remove_directory = remove_directory,
    .settle = settle,
    .close = close_directory,
};

/* Absolute and without a slash at its end, so that a note of a directory says the same from everywhere. */
static char *absolute(const char *path)
{
    char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
    char *whole = here != NULL ? formatted("%s/%s", here, path) : formatted("%s", path);
    for (size_t size = strlen(whole); size > 1 && whole[size - 1] == '/'; size--) {
        whole[size - 1] = '\0';
    }
    free(here);
    return whole;
}

struct store *store_directory_open(const struct store_options *options, const char *path, struct error *error)
{
    if (path[0] == '\0') {
        error_set(error, ERROR_INVALID, "target '%s': names no directory", options->target);
        return NULL;
    }
    struct store_directory *directory = calloc(1, sizeof *directory);
    if (directory == NULL) {
        abort();
    }
    directory->store = (struct store){.operations = &operations, .options = *options};
    directory->root = absolute(path);
    char *owner = formatted("%s", options->owner);
    for (char *at = owner; *at != '\0'; at++) {
        *at = *at == '/' ? '-' : *at;
    }
    directory->stages = formatted("%s/" STAGES "/%s", directory->root, owner);
    free(owner);
    return &directory->store;
}
