/* SPDX-License-Identifier: Apache-2.0 */
/* Load, process, finalize: three steps that share a list. Not one line knows whether they run in this process or on Kafka.
 *
 *     quickstart run                                 here and now, no broker
 *     quickstart worker -b BROKERS                   serve them
 *     quickstart plan | backstep start - -b BROKERS  run them there */
#include <backstep.h>

static enum backstep_outcome load_data(struct backstep_context *context, struct backstep_result *result)
{
    backstep_context_set(context, "data", "[1, 2, 3]");
    return backstep_succeed(result, "{\"loaded\": 3}");
}

static enum backstep_outcome process_data(struct backstep_context *context, struct backstep_result *result)
{
    const struct backstep_json *data = backstep_context_get(context, "data");
    int count = backstep_json_count(data);
    int64_t sum = 0;
    for (int i = 0; i < count; i++) {
        if (backstep_cancelled(context)) {
            return backstep_fail(result, "cancelled after %d of %d", i, count);
        }
        sum += 2 * backstep_json_integer(backstep_json_element(data, i), 0);
        backstep_set_progress(context, i + 1, count);
    }
    backstep_context_set(context, "sum", "%lld", (long long)sum);
    return backstep_succeed(result, "{\"count\": %d}", count);
}

/* What was shared is only this run's, so there is nothing to undo but to say so. */
static enum backstep_outcome forget_data(struct backstep_context *context, const struct backstep_result *done,
                                         struct backstep_result *result)
{
    int count = (int)backstep_json_integer(backstep_json_member(backstep_result_data(done), "count"), 0);
    backstep_log(context, "forgetting %d values", count);
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome finalize(struct backstep_context *context, struct backstep_result *result)
{
    int count = (int)backstep_json_integer(backstep_json_member(backstep_step_data(context, "process_data"), "count"), 0);
    return backstep_succeed(result, "{\"processed\": %d}", count);
}

static const struct backstep_step load_data_step = {.name = "load_data", .weight = 0.2, .execute = load_data};
static const struct backstep_step process_data_step = {
    .name = "process_data", .weight = 0.7, .execute = process_data, .rollback = forget_data};
static const struct backstep_step finalize_step = {.name = "finalize", .weight = 0.1, .execute = finalize};

int main(int argc, char **argv)
{
    struct backstep_registry *registry = backstep_registry_new();
    backstep_register(registry, &load_data_step);
    backstep_register(registry, &process_data_step);
    backstep_register(registry, &finalize_step);
    return backstep_main(argc, argv, registry);
}
