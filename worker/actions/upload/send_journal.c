/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/upload/send_journal.h"

#include "worker/actions/encoding.h"

#include <stdlib.h>
#include <string.h>

struct reading {
    struct send_job *job;
    struct send_directories *directories;
};

static void replace(char **field, const char *text)
{
    free(*field);
    *field = strdup(text);
    if (*field == NULL) {
        abort();
    }
}

static bool add_directory(struct send_directories *directories, const char *path)
{
    char **paths = realloc(directories->paths, (directories->count + 1) * sizeof *paths);
    if (paths == NULL) {
        abort();
    }
    directories->paths = paths;
    paths[directories->count] = NULL;
    replace(&paths[directories->count], path);
    return percent_decode(paths[directories->count++]);
}

static void on_begun(struct send_file *file, const char *sha256)
{
    file->memory.begun = true;
    replace(&file->sha256, sha256);
    free(file->memory.proof); /* of an earlier try */
    file->memory.proof = NULL;
}

static bool on_line(void *state, char *line)
{
    struct reading *reading = state;
    char *end = NULL;
    size_t index = line[0] != '\0' && line[1] == ' ' ? strtoul(line + 2, &end, 10) : 0;
    if (end == NULL || *end != ' ') {
        return false;
    }
    const char *text = end + 1;
    if (line[0] == 'k') {
        return add_directory(reading->directories, text);
    }
    if (index >= reading->job->count) {
        return false;
    }
    struct send_file *file = &reading->job->files[index];
    switch (line[0]) {
    case 'b': on_begun(file, text); return true;
    case 'p': replace(&file->memory.proof, text); return percent_decode(file->memory.proof);
    case 'm': replace(&file->memory.parts, text); return true;
    case 'd': replace(&file->sha256, text); return file->done = true;
    case 's': replace(&file->sha256, text); return file->was_there = true;
    default: return false;
    }
}

bool send_journal_read(struct send_job *job, struct send_directories *directories, struct error *error)
{
    struct reading reading = {.job = job, .directories = directories};
    *directories = (struct send_directories){0};
    return journal_read(job->workspace, job->journal, on_line, &reading, error);
}

void send_directories_fini(struct send_directories *directories)
{
    for (size_t i = 0; i < directories->count; i++) {
        free(directories->paths[i]);
    }
    free(directories->paths);
    *directories = (struct send_directories){0};
}

/* What must be known before the thing happens has to be on the disk; that it is done may be found out again. */
bool send_journal_note(struct journal *journal, char kind, size_t index, const char *text, struct error *error)
{
    char *line = NULL;
    if (asprintf(&line, "%c %zu %s", kind, index, text) < 0) {
        abort();
    }
    bool ok = journal_append(journal, line, kind != 'd' && kind != 's', error);
    free(line);
    return ok;
}
