/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/workspace.h"

#include "worker/actions/formatted.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SETTLED "settled"
#define DIRECTORY_TRIES 100 /* each costs another run its end just then */

/* 0, or errno. */
static int try_directories(char *path)
{
    for (char *at = path + 1;; at++) {
        char ends = *at;
        if (ends != '/' && ends != '\0') {
            continue;
        }
        *at = '\0';
        int reason = mkdir(path, 0777) == 0 || errno == EEXIST ? 0 : errno;
        *at = ends;
        if (reason != 0 || ends == '\0') {
            return reason;
        }
    }
}

/* Another run that ends meanwhile removes what is empty, and what is above would then be missing: again. */
bool make_directories(const char *path, struct error *error)
{
    char *copy = formatted("%s", path);
    int reason = ENOENT;
    for (int i = 0; i < DIRECTORY_TRIES && reason == ENOENT; i++) {
        reason = try_directories(copy);
    }
    free(copy);
    return reason == 0 || error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(reason));
}

static bool make_private(const char *path, struct error *error)
{
    struct stat status;
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
    }
    if (lstat(path, &status) != 0) {
        return error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
    }
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 077) != 0) {
        return error_set(error, ERROR_INVALID, "%s: is not a directory of this user alone; set 'work' to another", path);
    }
    return true;
}

static bool open_base(struct workspace *workspace, const char *base, struct error *error)
{
    if (base != NULL) {
        workspace->base = formatted("%s", base);
        return true;
    }
    const char *temporary = getenv("TMPDIR");
    workspace->base = formatted("%s/backstep-%u", temporary != NULL ? temporary : "/tmp", (unsigned)geteuid());
    return make_private(workspace->base, error);
}

bool workspace_open(struct workspace *workspace, const char *base, const char *run_id, const char *job, bool create,
                    struct error *error)
{
    struct stat status;
    *workspace = (struct workspace){0};
    if (!open_base(workspace, base, error)) {
        return false;
    }
    workspace->path = formatted("%s/%s/%s", workspace->base, run_id, job);
    if (create) {
        return make_directories(workspace->path, error);
    }
    return stat(workspace->path, &status) == 0 ||
           error_set(error, ERROR_TRANSIENT, "%s: %s; the steps of a run must all see it: set 'work' to a directory they share",
                     workspace->path, strerror(errno));
}

void workspace_fini(struct workspace *workspace)
{
    free(workspace->base);
    free(workspace->path);
    *workspace = (struct workspace){0};
}

char *workspace_file(const struct workspace *workspace, const char *name)
{
    return formatted("%s/%s", workspace->path, name);
}

bool workspace_has(const struct workspace *workspace, const char *name)
{
    char *path = workspace_file(workspace, name);
    bool has = access(path, F_OK) == 0;
    free(path);
    return has;
}

static bool write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        bytes += written > 0 ? written : 0;
        size -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

bool workspace_write(const struct workspace *workspace, const char *name, const struct text *text, struct error *error)
{
    char *path = workspace_file(workspace, name);
    char *fresh = formatted("%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && !text->overflow && write_all(fd, text_string(text), text->size) && fdatasync(fd) == 0;
    int reason = errno;
    if (fd >= 0) {
        close(fd);
    }
    ok = ok && rename(fresh, path) == 0;
    if (!ok) {
        error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(reason));
    }
    free(fresh);
    free(path);
    return ok;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

bool remove_tree(const char *path, struct error *error)
{
    bool gone = nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT ||
                errno == ENOTDIR; /* below a file is nothing */
    return gone || error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
}

/* The directory of the run goes with its last job. */
static void remove_run(const struct workspace *workspace)
{
    char *run = formatted("%s", workspace->path);
    *strrchr(run, '/') = '\0';
    rmdir(run);
    free(run);
}

bool workspace_remove(const struct workspace *workspace, struct error *error)
{
    bool ok = remove_tree(workspace->path, error);
    remove_run(workspace);
    return ok;
}

bool workspace_settle(const struct workspace *workspace, struct error *error)
{
    struct text text;
    text_init(&text, 1);
    bool ok = workspace_write(workspace, SETTLED, &text, error);
    text_fini(&text);
    return ok;
}

static void prune_job(const char *run, const char *job, time_t before)
{
    struct stat status;
    char *mark = formatted("%s/%s/" SETTLED, run, job);
    char *path = formatted("%s/%s", run, job);
    if (stat(mark, &status) == 0 && status.st_mtime < before) {
        remove_tree(path, NULL);
    }
    free(mark);
    free(path);
}

static void for_each_entry(const char *path, time_t before, void (*each)(const char *path, const char *name, time_t before))
{
    DIR *stream = opendir(path);
    for (const struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        if (entry->d_name[0] != '.') {
            each(path, entry->d_name, before);
        }
    }
    if (stream != NULL) {
        closedir(stream);
    }
}

static void prune_run(const char *base, const char *run, time_t before)
{
    struct stat status;
    char *path = formatted("%s/%s", base, run);
    for_each_entry(path, before, prune_job);
    if (stat(path, &status) == 0 && status.st_mtime < before) { /* a young one that is empty is about to be filled */
        rmdir(path); /* not while a job is left */
    }
    free(path);
}

void workspace_prune(const struct workspace *workspace, int64_t age_s)
{
    for_each_entry(workspace->base, time(NULL) - (time_t)age_s, prune_run);
}

/* ---------------------------------------------------------------- journals */

/* What a crash has cut off must not become the beginning of the next line. */
static bool cut_to_last_line(int fd)
{
    char byte = 0;
    off_t size = lseek(fd, 0, SEEK_END);
    off_t end = size;
    while (end > 0 && pread(fd, &byte, 1, end - 1) == 1 && byte != '\n') {
        end--;
    }
    return size >= 0 && (end == size || ftruncate(fd, end) == 0);
}

bool journal_open(struct journal *journal, const struct workspace *workspace, const char *name, struct error *error)
{
    char *path = workspace_file(workspace, name);
    journal->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    bool ok = journal->fd >= 0 && cut_to_last_line(journal->fd);
    if (!ok) {
        error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
        if (journal->fd >= 0) {
            close(journal->fd);
        }
    } else {
        pthread_mutex_init(&journal->mutex, NULL);
    }
    free(path);
    return ok;
}

void journal_close(struct journal *journal)
{
    close(journal->fd);
    pthread_mutex_destroy(&journal->mutex);
}

bool journal_append(struct journal *journal, const char *line, bool durable, struct error *error)
{
    char *whole = formatted("%s\n", line);
    pthread_mutex_lock(&journal->mutex);
    bool ok = write_all(journal->fd, whole, strlen(whole)) && (!durable || fdatasync(journal->fd) == 0);
    pthread_mutex_unlock(&journal->mutex);
    free(whole);
    return ok || error_set(error, ERROR_TRANSIENT, "the journal cannot be written: %s", strerror(errno));
}

bool journal_read(const struct workspace *workspace, const char *name, bool (*each)(void *state, char *line), void *state,
                  struct error *error)
{
    char *path = workspace_file(workspace, name);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        bool absent = errno == ENOENT;
        error_set(absent ? NULL : error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
        free(path);
        return absent;
    }
    char *line = NULL;
    size_t capacity = 0;
    bool ok = true;
    for (ssize_t size; ok && (size = getline(&line, &capacity, file)) > 0;) {
        if (line[size - 1] != '\n') {
            break;
        }
        line[size - 1] = '\0';
        ok = each(state, line) || error_set(error, ERROR_INVALID, "%s: a line that is none: %.80s", path, line);
    }
    ok = ok && !ferror(file);
    free(line);
    fclose(file);
    free(path);
    return ok;
}
