/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/steps_directory.h"

#include "common/limits.h"
#include "common/names.h"
#include "common/text.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCRIPT_BYTES MIB /* a longer one is read so far */
#define INTERPRETER_SHOWN_BYTES 1024 /* of a message; the kernel reads 256 of a script's first line */

static bool is_word_character(char character)
{
    return isalnum((unsigned char)character) || character == '_';
}

static bool has_word(struct span text, const char *word)
{
    size_t size = strlen(word);
    const char *end = text.bytes + text.size;
    for (const char *at = text.bytes; (at = memmem(at, (size_t)(end - at), word, size)) != NULL; at++) {
        bool begins = at == text.bytes || !is_word_character(at[-1]);
        bool ends = at + size == end || !is_word_character(at[size]);
        if (begins && ends) {
            return true;
        }
    }
    return false;
}

/* What can be read of a script; empty where it is none, or may not be read. */
static void read_script(const char *path, struct text *text)
{
    char bytes[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t got; fd >= 0 && (got = read(fd, bytes, sizeof bytes)) > 0;) {
        bool script = text->size > 0 || (got >= 2 && memcmp(bytes, "#!", 2) == 0);
        if (!script || !text_append(text, bytes, (size_t)got)) {
            break;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* What the kernel will look for: a line that ends as on Windows names "/bin/sh\r". One that is no absolute path is not judged. NULL: nothing is
 * wrong; else the caller owes free(). */
static char *interpreter_refusal(struct span script)
{
    const char *at = script.size > 2 ? script.bytes + 2 : NULL, *end = script.bytes + script.size;
    while (at != NULL && at < end && (*at == ' ' || *at == '\t')) {
        at++;
    }
    if (at == NULL || at == end || *at != '/') {
        return NULL;
    }
    size_t size = 0;
    while (at + size < end && memchr(" \t\n", at[size], 4) == NULL) { /* or a NUL */
        size++;
    }
    char *path = text_must_copy((struct span){at, size});
    bool there = access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
    free(path);
    if (there) {
        return NULL;
    }
    struct text reason;
    text_init(&reason, INTERPRETER_SHOWN_BYTES);
    text_append_string(&reason, "names an interpreter that is not there: '");
    text_append_visible(&reason, (struct span){at, size});
    text_append_char(&reason, '\'');
    return text_take(&reason);
}

/* NULL: it is a handler. Else the reason, to follow the name; the caller owes free(). */
static char *refusal_of(const char *name, const char *path)
{
    struct stat status;
    struct error error = {0};
    if (stat(path, &status) != 0) {
        return strdup(errno == ENOENT ? "is a link to nothing" : strerror(errno));
    }
    if (S_ISDIR(status.st_mode)) {
        return strdup("is a directory");
    }
    if (!S_ISREG(status.st_mode)) {
        return strdup("is no file");
    }
    if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0) {
        return strdup("is not executable");
    }
    if (status.st_size == 0) {
        return strdup("is empty");
    }
    return identifier_check(span_of(name), &error) ? NULL : strdup(error.message);
}

static char *join(const char *directory, const char *name)
{
    size_t size = strlen(directory) + strlen(name) + 2;
    char *path = malloc(size);
    if (path != NULL) {
        stpcpy(stpcpy(stpcpy(path, directory), "/"), name);
    }
    return path;
}

static void judge_script(struct steps_directory_entry *entry)
{
    struct text text;
    text_init(&text, SCRIPT_BYTES);
    read_script(entry->path, &text);
    entry->reason = interpreter_refusal(text_span(&text));
    entry->ignores_rollback = entry->reason == NULL && text.size > 0 && !has_word(text_span(&text), "rollback");
    text_fini(&text);
}

static bool add(struct steps_directory *directory, const char *parent, const char *name)
{
    struct steps_directory_entry *entries = realloc(directory->entries, (directory->count + 1) * sizeof directory->entries[0]);
    if (entries == NULL) {
        return false;
    }
    directory->entries = entries;
    struct steps_directory_entry *entry = &entries[directory->count++];
    *entry = (struct steps_directory_entry){.name = strdup(name), .path = join(parent, name)};
    if (entry->name == NULL || entry->path == NULL) {
        return false;
    }
    entry->reason = refusal_of(name, entry->path);
    if (entry->reason == NULL) {
        judge_script(entry);
    }
    directory->handler_count += entry->reason == NULL;
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct steps_directory_entry *)a)->name, ((const struct steps_directory_entry *)b)->name);
}

static bool read_all(struct steps_directory *directory, DIR *stream, const char *parent, struct error *error)
{
    for (const struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        if (entry->d_name[0] != '.' && !add(directory, parent, entry->d_name)) {
            return error_set(error, ERROR_TRANSIENT, "%s: no memory for its entries", parent);
        }
    }
    if (directory->handler_count > LIMIT_HANDLERS) {
        return error_set(error, ERROR_INVALID, "%s: %zu programs; a worker serves at most %d", parent, directory->handler_count,
                         LIMIT_HANDLERS);
    }
    return true;
}

bool steps_directory_read(struct steps_directory *directory, const char *path, struct error *error)
{
    struct steps_directory found = {0};
    char *parent = realpath(path, NULL);
    DIR *stream = parent != NULL ? opendir(parent) : NULL;
    bool ok =
        stream != NULL ? read_all(&found, stream, parent, error) : error_set(error, ERROR_INVALID, "%s: %s", path, strerror(errno));
    if (stream != NULL) {
        closedir(stream);
    }
    free(parent);
    if (!ok) {
        steps_directory_fini(&found);
        return false;
    }
    if (found.count > 0) {
        qsort(found.entries, found.count, sizeof found.entries[0], by_name);
    }
    *directory = found;
    return true;
}

void steps_directory_fini(struct steps_directory *directory)
{
    for (size_t i = 0; i < directory->count; i++) {
        free(directory->entries[i].name);
        free(directory->entries[i].path);
        free(directory->entries[i].reason);
    }
    free(directory->entries);
    *directory = (struct steps_directory){0};
}
