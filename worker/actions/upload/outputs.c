/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/upload/outputs.h"

#include "worker/actions/formatted.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void job_of(struct send_job *job, struct action_call *call, const char *journal)
{
    *job = (struct send_job){.context = call->context,
                             .workspace = &call->workspace,
                             .journal = journal,
                             .parallel = (uint32_t)value_integer(&call->values, "parallel"),
                             .tries = (uint32_t)value_integer(&call->values, "tries"),
                             .existing = SEND_REFUSE};
    store_options_of(call, "target", &job->store);
}

void job_reserve(struct send_job *job, size_t count)
{
    job->files = calloc(count + 1, sizeof *job->files);
    if (job->files == NULL) {
        abort();
    }
}

bool job_add_output(struct send_job *job, const char *file, char *key_take)
{
    struct stat status;
    char *path = workspace_file(job->workspace, file);
    bool there = stat(path, &status) == 0;
    job->files[job->count++] =
        (struct send_file){.path = path,
                           .key = key_take,
                           .name = formatted("%s", key_take),
                           .size = there ? (uint64_t)status.st_size : 0,
                           .mtime_ns = there ? (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec : 0};
    return there;
}

bool output_checksum(const struct workspace *workspace, const char *file, char sha256[SHA256_HEX_BYTES], struct error *error)
{
    char *path = workspace_file(workspace, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 ? sha256_of_file(fd, sha256, error) : error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
    if (fd >= 0) {
        close(fd);
    }
    free(path);
    return ok;
}

bool output_write_checksum(const struct workspace *workspace, const char *file, const char *name, char sha256[SHA256_HEX_BYTES],
                           struct error *error)
{
    struct text text;
    char *checksum_file = formatted("%s.sha256", file);
    text_init(&text, SIZE_MAX / 2);
    bool ok = output_checksum(workspace, file, sha256, error) && text_format(&text, "%s  %s\n", sha256, name) &&
              workspace_write(workspace, checksum_file, &text, error);
    text_fini(&text);
    free(checksum_file);
    return ok;
}

bool job_take_back(struct send_job *job, struct action_call *call, struct error *error)
{
    struct send_undone undone = {0};
    if (!workspace_has(&call->workspace, job->journal)) {
        return call->skipped = true;
    }
    if (!send_undo(job, &undone, error)) {
        return false;
    }
    char *path = workspace_file(&call->workspace, job->journal);
    bool ok = unlink(path) == 0 || error_set(error, ERROR_TRANSIENT, "%s: %s", path, strerror(errno));
    free(path);
    text_format(&call->data, "{\"removed\":%zu,\"left_alone\":%zu}", undone.removed, undone.left_alone);
    return ok;
}
