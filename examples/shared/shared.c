/* SPDX-License-Identifier: Apache-2.0 */
/* Two actions share a step: `train` (dataset 20 %, train 60 %, upload 20 %) and `publish` (dataset, upload). The first argument says which.
 *
 *     shared train run -p rows=8
 *     shared publish run */
#include <backstep.h>

#include <stdio.h>
#include <string.h>

static enum backstep_outcome dataset(struct backstep_context *context, struct backstep_result *result)
{
    int64_t rows = backstep_json_integer(backstep_param(context, "rows"), 4);
    if (rows <= 0) {
        return backstep_fail_permanently(result, "rows must be greater than 0, got %lld", (long long)rows);
    }
    return backstep_succeed(result, "{\"rows\": %lld}", (long long)rows);
}

/* The mean of 1..rows by steps in its direction, as a stand-in for what takes long. */
static enum backstep_outcome train(struct backstep_context *context, struct backstep_result *result)
{
    int64_t rows = backstep_json_integer(backstep_json_member(backstep_step_data(context, "dataset"), "rows"), 0);
    double mean = 0;
    for (int64_t i = 1; i <= rows; i++) {
        if (backstep_cancelled(context)) {
            return backstep_fail(result, "cancelled after %lld rows", (long long)(i - 1));
        }
        mean += ((double)i - mean) / (double)i;
        backstep_set_metrics(context, "{\"mean\": %.3f}", mean);
        backstep_set_progress(context, i, rows);
    }
    backstep_context_set(context, "model", "%.3f", mean);
    return backstep_succeed(result, "{\"mean\": %.3f}", mean);
}

static enum backstep_outcome upload(struct backstep_context *context, struct backstep_result *result)
{
    const struct backstep_json *model = backstep_context_get(context, "model");
    return backstep_succeed(result, "{\"uploaded\": \"%s\"}", model != NULL ? "model" : "dataset");
}

static enum backstep_outcome withdraw(struct backstep_context *context, const struct backstep_result *done,
                                      struct backstep_result *result)
{
    (void)context, (void)done;
    return backstep_succeed(result, NULL);
}

static const struct backstep_step dataset_step = {.name = "dataset", .weight = 0.2, .execute = dataset};
static const struct backstep_step train_step = {.name = "train", .weight = 0.6, .execute = train};
static const struct backstep_step upload_step = {.name = "upload", .weight = 0.2, .execute = upload, .rollback = withdraw};

static void train_steps(const struct backstep_action *action, struct backstep_registry *registry, const struct backstep_json *given)
{
    (void)action, (void)given;
    backstep_register(registry, &dataset_step);
    backstep_register(registry, &train_step);
    backstep_register(registry, &upload_step);
}

static void publish_steps(const struct backstep_action *action, struct backstep_registry *registry,
                          const struct backstep_json *given)
{
    train_steps(action, registry, given);
    backstep_unregister(registry, "train");
}

static const struct backstep_param_spec params[] = {{.name = "rows", .description = "rows of the dataset", .fallback = "4"}, {0}};
static const struct backstep_action actions[] = {
    {.name = "train", .params = params, .default_steps = train_steps},
    {.name = "publish", .params = params, .default_steps = publish_steps},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(argv[1], actions[i].name) == 0) {
            return backstep_action_main(argc - 1, argv + 1, &actions[i]);
        }
    }
    fprintf(stderr, "usage: %s train|publish COMMAND\n", argv[0]);
    return 2;
}
