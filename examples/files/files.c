/* SPDX-License-Identifier: Apache-2.0 */
/* Count the words of files in a working directory of the run's own, which is gone afterwards, however it ends.
 *
 *     files run -p 'files=["README.md"]'
 *     files run -p 'files=["README.md", "nowhere"]'      fails, and leaves nothing behind */
#include <backstep.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *work_of(struct backstep_context *context)
{
    return backstep_format(context, "/tmp/backstep-files-%s", backstep_run_id(context));
}

static const char *counts_of(struct backstep_context *context)
{
    return backstep_format(context, "%s/counts", work_of(context));
}

/* Run twice, as after a crash, it finds its own directory. */
static enum backstep_outcome prepare(struct backstep_context *context, struct backstep_result *result)
{
    if (mkdir(work_of(context), 0700) != 0 && errno != EEXIST) {
        return backstep_fail(result, "%s: %s", work_of(context), strerror(errno));
    }
    return backstep_succeed(result, "{\"directory\": %s}", backstep_quote(context, work_of(context)));
}

static enum backstep_outcome clean_up(struct backstep_context *context, struct backstep_result *result)
{
    if ((unlink(counts_of(context)) != 0 && errno != ENOENT) || (rmdir(work_of(context)) != 0 && errno != ENOENT)) {
        return backstep_fail(result, "%s: %s", work_of(context), strerror(errno));
    }
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome undo_prepare(struct backstep_context *context, const struct backstep_result *done,
                                          struct backstep_result *result)
{
    (void)done;
    return clean_up(context, result);
}

static long words_of(FILE *file)
{
    long words = 0;
    for (int before = ' ', now; (now = getc(file)) != EOF; before = now) {
        words += !isspace(now) && isspace(before);
    }
    return words;
}

static enum backstep_outcome count(struct backstep_context *context, struct backstep_result *result)
{
    const struct backstep_json *files = backstep_param(context, "files");
    int total = backstep_json_count(files);
    long words = 0;
    FILE *out = fopen(counts_of(context), "w");
    for (int i = 0; i < total && out != NULL; i++) {
        const char *path = backstep_json_string(backstep_json_element(files, i), "");
        FILE *file = fopen(path, "r");
        if (file == NULL) {
            fclose(out);
            return backstep_fail_permanently(result, "%s: %s", path, strerror(errno));
        }
        long more = words_of(file);
        fclose(file);
        fprintf(out, "%ld %s\n", more, path);
        words += more;
        backstep_set_progress(context, i + 1, total);
    }
    if (out == NULL || fclose(out) != 0) {
        return backstep_fail(result, "%s: %s", counts_of(context), strerror(errno));
    }
    return backstep_succeed(result, "{\"files\": %d, \"words\": %ld}", total, words);
}

static const struct backstep_step steps[] = {
    {.name = "prepare", .weight = 5, .execute = prepare, .rollback = undo_prepare},
    {.name = "count", .weight = 90, .execute = count},
    {.name = "clean_up", .weight = 5, .execute = clean_up},
};

static const struct backstep_param_spec params[] = {
    {.name = "files", .description = "a list of paths", .fallback = "[]"},
    {0},
};

static void files_steps(const struct backstep_action *action, struct backstep_registry *registry, const struct backstep_json *given)
{
    (void)action, (void)given;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        backstep_register(registry, &steps[i]);
    }
}

static const struct backstep_action files_action = {
    .name = "files", .description = "Counts the words of files.", .params = params, .default_steps = files_steps};

int main(int argc, char **argv)
{
    return backstep_action_main(argc, argv, &files_action);
}
