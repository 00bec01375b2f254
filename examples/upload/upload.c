/* SPDX-License-Identifier: Apache-2.0 */
/* Put the files of a directory into another one, all or none: init, validate, upload, cleanup, each with its rollback.
 *
 *     upload run -p source=examples/upload/photos -p target=/tmp/store
 *     upload run -p source=examples/upload/photos -p target=/tmp/store2 -p fail=true      the store is as it was
 *
 * A file appears in the target as a second link to its copy in a working directory of the run's own: so after a crash at any point one can see
 * which files are the run's, and a file of somebody else is never taken away. */
#define _XOPEN_SOURCE 700
#include <backstep.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *text_param(struct backstep_context *context, const char *name)
{
    return backstep_json_string(backstep_param(context, name), "");
}

static const char *work_of(struct backstep_context *context)
{
    return backstep_format(context, "%s/.upload-%s", text_param(context, "target"), backstep_run_id(context));
}

static enum backstep_outcome fail_at(struct backstep_result *result, const char *path)
{
    return backstep_fail(result, "%s: %s", path, strerror(errno));
}

/* ---- init: what is to be done, and where */

/* The names of the regular files in `path` as a JSON array; NULL: it cannot be read. */
static const char *files_in(struct backstep_context *context, const char *path, int64_t *bytes)
{
    const char *list = "";
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        struct stat found;
        if (fstatat(dirfd(directory), entry->d_name, &found, 0) == 0 && S_ISREG(found.st_mode)) {
            list = backstep_format(context, "%s%s%s", list, *list != '\0' ? "," : "", backstep_quote(context, entry->d_name));
            *bytes += found.st_size;
        }
    }
    return directory != NULL && closedir(directory) == 0 ? backstep_format(context, "[%s]", list) : NULL;
}

static enum backstep_outcome init(struct backstep_context *context, struct backstep_result *result)
{
    int64_t bytes = 0;
    const char *source = text_param(context, "source"), *files = files_in(context, source, &bytes);
    if (files == NULL) {
        return fail_at(result, source);
    }
    if ((mkdir(text_param(context, "target"), 0755) != 0 && errno != EEXIST) ||
        (mkdir(work_of(context), 0700) != 0 && errno != EEXIST)) { /* begun before, it finds its own */
        return fail_at(result, work_of(context));
    }
    return backstep_succeed(result, "{\"files\": %s, \"bytes\": %lld}", files, (long long)bytes);
}

static enum backstep_outcome undo_init(struct backstep_context *context, const struct backstep_result *done,
                                       struct backstep_result *result)
{
    (void)done;
    return rmdir(work_of(context)) == 0 || errno == ENOENT ? backstep_succeed(result, NULL) : fail_at(result, work_of(context));
}

/* ---- the others go through these files */

static int file_count(struct backstep_context *context)
{
    return backstep_json_count(backstep_json_member(backstep_step_data(context, "init"), "files"));
}

/* File number `i` in the directory of that name: "source", "target" or the working directory. */
static const char *path_of(struct backstep_context *context, const char *directory, int i)
{
    const struct backstep_json *files = backstep_json_member(backstep_step_data(context, "init"), "files");
    return backstep_format(context, "%s/%s", directory, backstep_json_string(backstep_json_element(files, i), ""));
}

static bool is_ours(const char *target, const char *copy)
{
    struct stat there, here;
    return lstat(target, &there) == 0 && lstat(copy, &here) == 0 && there.st_dev == here.st_dev && there.st_ino == here.st_ino;
}

static enum backstep_outcome validate(struct backstep_context *context, struct backstep_result *result)
{
    int64_t limit = backstep_json_integer(backstep_param(context, "max_bytes"), 0);
    for (int i = 0; i < file_count(context); i++) {
        struct stat found;
        const char *target = path_of(context, text_param(context, "target"), i);
        const char *source = path_of(context, text_param(context, "source"), i);
        if (stat(source, &found) != 0) {
            return fail_at(result, source);
        }
        if (found.st_size > limit) {
            return backstep_fail_permanently(result, "%s: %lld bytes are more than %lld", source, (long long)found.st_size,
                                             (long long)limit);
        }
        if (lstat(target, &found) == 0) {
            return backstep_fail_permanently(result, "%s is there already", target);
        }
    }
    return backstep_succeed(result, "{\"validated\": %d}", file_count(context));
}

static bool copy_file(const char *from, const char *to)
{
    char buffer[1 << 14];
    FILE *in = fopen(from, "rb"), *out = in != NULL ? fopen(to, "wb") : NULL;
    bool well = out != NULL;
    for (size_t size; well && (size = fread(buffer, 1, sizeof buffer, in)) > 0;) {
        well = fwrite(buffer, 1, size, out) == size;
    }
    well = well && !ferror(in);
    if (in != NULL) {
        fclose(in);
    }
    return out != NULL && fclose(out) == 0 && well;
}

static enum backstep_outcome upload(struct backstep_context *context, struct backstep_result *result)
{
    int count = file_count(context);
    for (int i = 0; i < count; i++) {
        const char *target = path_of(context, text_param(context, "target"), i), *copy = path_of(context, work_of(context), i);
        if (backstep_cancelled(context)) {
            return backstep_fail(result, "cancelled after %d of %d files", i, count);
        }
        if (!is_ours(target, copy) &&
            (!copy_file(path_of(context, text_param(context, "source"), i), copy) || link(copy, target) != 0)) {
            return fail_at(result, target);
        }
        backstep_set_progress(context, i + 1, count);
    }
    return backstep_succeed(result, "{\"uploaded\": %d}", count);
}

static enum backstep_outcome undo_upload(struct backstep_context *context, const struct backstep_result *done,
                                         struct backstep_result *result)
{
    (void)done; /* how far it came is seen in the directories */
    if (access(work_of(context), F_OK) != 0) {
        return backstep_fail_permanently(result, "%s is gone: nobody knows which files are the run's", work_of(context));
    }
    for (int i = file_count(context) - 1; i >= 0; i--) {
        const char *target = path_of(context, text_param(context, "target"), i), *copy = path_of(context, work_of(context), i);
        if ((is_ours(target, copy) && unlink(target) != 0) || (unlink(copy) != 0 && errno != ENOENT)) {
            return fail_at(result, target);
        }
    }
    return backstep_succeed(result, NULL);
}

/* The point of no return is one rename: before it all can be undone, after it nobody knows any more which files were the run's. */
static enum backstep_outcome cleanup(struct backstep_context *context, struct backstep_result *result)
{
    const char *over = backstep_format(context, "%s/.uploaded-%s", text_param(context, "target"), backstep_run_id(context));
    if (backstep_json_bool(backstep_param(context, "fail"), false)) {
        return backstep_fail_permanently(result, "as it was asked to");
    }
    if (rename(work_of(context), over) != 0 && errno != ENOENT) { /* ENOENT: an attempt before this one came so far */
        return fail_at(result, over);
    }
    for (int i = 0; i < file_count(context); i++) {
        if (unlink(path_of(context, over, i)) != 0 && errno != ENOENT) {
            return fail_at(result, path_of(context, over, i));
        }
    }
    return rmdir(over) == 0 || errno == ENOENT ? backstep_succeed(result, NULL) : fail_at(result, over);
}

static const struct backstep_step steps[] = {
    {.name = "init", .weight = 5, .execute = init, .rollback = undo_init},
    {.name = "validate", .weight = 10, .execute = validate}, /* changes nothing */
    {.name = "upload", .weight = 80, .execute = upload, .rollback = undo_upload, .policy = {.max_attempts = 3, .backoff_ms = 200}},
    {.name = "cleanup", .weight = 5, .execute = cleanup},
};

static void upload_steps(const struct backstep_action *action, struct backstep_registry *registry,
                         const struct backstep_json *given)
{
    (void)action, (void)given;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        backstep_register(registry, &steps[i]);
    }
}

static const struct backstep_param_spec params[] = {
    {.name = "source", .description = "a directory of files", .required = true},
    {.name = "target", .description = "the directory they are put into", .required = true},
    {.name = "max_bytes", .description = "of one file", .fallback = "10000000"},
    {.name = "fail", .description = "whether the last step is to fail", .fallback = "false"},
    {0},
};

static const struct backstep_action upload_action = {
    .name = "upload", .description = "Puts files into a store, all or none.", .params = params, .default_steps = upload_steps};

int main(int argc, char **argv)
{
    return backstep_action_main(argc, argv, &upload_action);
}
