/* SPDX-License-Identifier: Apache-2.0 */
/* A pipeline of actions: count the words of files, make a label of the numbers, publish it. What one action's steps say are params of the next.
 *
 *     catalog run -p 'files=["README.md"]' -p path=label.txt
 *     catalog plan | backstep start - --wait -p 'files=["README.md"]' -p path=label.txt       (and `catalog worker` beside it) */
#include <backstep.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- count: its steps know nothing of the actions after it */

static int64_t words_of(FILE *file)
{
    int64_t words = 0;
    bool within = false;
    for (int character; (character = fgetc(file)) != EOF;) {
        bool blank = isspace(character) != 0;
        words += !blank && !within;
        within = !blank;
    }
    return words;
}

static enum backstep_outcome read_files(struct backstep_context *context, struct backstep_result *result)
{
    const struct backstep_json *files = backstep_param(context, "files");
    int64_t words = 0;
    int count = backstep_json_count(files);
    for (int i = 0; i < count; i++) {
        const char *path = backstep_json_string(backstep_json_element(files, i), "");
        FILE *file = fopen(path, "r");
        if (file == NULL) {
            return backstep_fail_permanently(result, "cannot read %s", path);
        }
        words += words_of(file);
        fclose(file);
        backstep_set_progress(context, i + 1, count);
    }
    return backstep_succeed(result, "{\"words\": %lld, \"count\": %d}", (long long)words, count);
}

static const struct backstep_step read_step = {.name = "read", .execute = read_files};

static void count_steps(const struct backstep_action *action, struct backstep_registry *registry,
                        const struct backstep_json *params)
{
    (void)action, (void)params;
    backstep_register(registry, &read_step);
}

static const struct backstep_param_spec count_params[] = {{.name = "files", .description = "a list of paths", .required = true},
                                                          {0}};

/* ---- label: `words` and `count` come from the action before it */

static enum backstep_outcome label(struct backstep_context *context, struct backstep_result *result)
{
    return backstep_succeed(result, "{\"label\": \"%lld %s in %lld files\"}",
                            (long long)backstep_json_integer(backstep_param(context, "words"), 0),
                            backstep_json_string(backstep_param(context, "unit"), ""),
                            (long long)backstep_json_integer(backstep_param(context, "count"), 0));
}

static const struct backstep_step label_step = {.name = "label", .execute = label};

static void label_steps(const struct backstep_action *action, struct backstep_registry *registry,
                        const struct backstep_json *params)
{
    (void)action, (void)params;
    backstep_register(registry, &label_step);
}

static const struct backstep_param_spec label_params[] = {
    {.name = "words", .required = true}, {.name = "unit", .description = "what is counted", .fallback = "\"words\""}, {0}};

/* ---- publish */

static enum backstep_outcome write_label(struct backstep_context *context, struct backstep_result *result)
{
    const char *path = backstep_json_string(backstep_param(context, "path"), "");
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        return backstep_fail(result, "cannot write %s", path);
    }
    fprintf(file, "%s\n", backstep_json_string(backstep_param(context, "label"), ""));
    return fclose(file) == 0 ? backstep_succeed(result, NULL) : backstep_fail(result, "cannot write %s", path);
}

static enum backstep_outcome remove_label(struct backstep_context *context, const struct backstep_result *done,
                                          struct backstep_result *result)
{
    (void)done;
    remove(backstep_json_string(backstep_param(context, "path"), ""));
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome check_label(struct backstep_context *context, struct backstep_result *result)
{
    const char *made = backstep_json_string(backstep_param(context, "label"), "");
    const char *expected = backstep_json_string(backstep_param(context, "expected"), made);
    return strcmp(made, expected) == 0 ? backstep_succeed(result, NULL)
                                       : backstep_fail(result, "the label is '%s', not '%s'", made, expected);
}

static const struct backstep_step write_step = {.name = "write", .weight = 1, .execute = write_label, .rollback = remove_label};
static const struct backstep_step check_step = {.name = "check", .weight = 1, .execute = check_label};

static void publish_steps(const struct backstep_action *action, struct backstep_registry *registry,
                          const struct backstep_json *params)
{
    (void)action, (void)params;
    backstep_register(registry, &write_step);
    backstep_register(registry, &check_step);
}

static const struct backstep_param_spec publish_params[] = {{.name = "path", .description = "where it goes", .required = true},
                                                            {.name = "expected", .description = "what the label has to be"},
                                                            {0}};

/* ---- all of it */

static const struct backstep_action count_action = {.name = "count", .params = count_params, .default_steps = count_steps};
static const struct backstep_action label_action = {.name = "label", .params = label_params, .default_steps = label_steps};
static const struct backstep_action publish_action = {.name = "publish", .params = publish_params, .default_steps = publish_steps};

int main(int argc, char **argv)
{
    static const struct backstep_pipeline_action actions[] = {{.action = &count_action, .weight = 2},
                                                              {.action = &label_action, .weight = 1},
                                                              {.action = &publish_action, .weight = 1},
                                                              {0}};
    static const struct backstep_action_pipeline pipeline = {
        .name = "catalog", .description = "Count the words of files and publish the number", .actions = actions};
    return backstep_actions_main(argc, argv, &pipeline);
}
