/* SPDX-License-Identifier: Apache-2.0 */
/* One step, called as a worker would call it: for `test STEP` and for the test kit. */
#include "common/json.h"
#include "common/limits.h"
#include "worker/attempt.h"
#include "worker/library.h"

#include <stdio.h>
#include <stdlib.h>

/* The context, as backstep_context_json() writes it; whatever is missing is empty. */
struct sample {
    json_t *root;
    char *input, *params, *shared, *data, *rollback_data;
    struct step_result results[LIMIT_STEPS], result;
    char *datas[LIMIT_STEPS];
    struct span set;
    struct task task;
};

static struct span string_member(const json_t *object, const char *name, const char *otherwise)
{
    const json_t *value = json_object_get(object, name);
    return json_is_string(value) ? (struct span){json_string_value(value), json_string_length(value)} : span_of(otherwise);
}

static void sample_results(struct sample *sample)
{
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(sample->root, "steps"), name, value)
    {
        size_t at = sample->task.result_count;
        if (at == LIMIT_STEPS) {
            break;
        }
        sample->datas[at] = json_text(value);
        sample->results[at] = (struct step_result){
            .step = span_of(name), .success = true, .skipped = json_is_null(value), .data = span_of(sample->datas[at])};
        sample->task.result_count++;
    }
    sample->task.results = sample->results;
}

static void sample_result(struct sample *sample)
{
    const json_t *result = json_object_get(sample->root, "result");
    sample->data = json_text(json_object_get(result, "data"));
    sample->rollback_data = json_text(json_object_get(result, "rollback_data"));
    sample->result = (struct step_result){.success = json_is_true(json_object_get(result, "success")),
                                          .data = span_of(sample->data),
                                          .rollback_data = span_of(sample->rollback_data),
                                          .error = string_member(result, "error", "")};
    sample->task.result = &sample->result;
}

static void sample_fill(struct sample *sample, const struct backstep_step *step, const char *pipeline)
{
    const json_t *attempt = json_object_get(sample->root, "attempt");
    bool rolls_back = span_equal(string_member(sample->root, "direction", "execute"), span_of("rollback"));
    sample->input = json_text(json_object_get(sample->root, "input"));
    sample->params = json_text(json_object_get(sample->root, "params"));
    sample->shared = json_text(json_object_get(sample->root, "shared"));
    sample->set = span_of(sample->shared);
    sample->task = (struct task){.run_id = string_member(sample->root, "run_id", "test"),
                                 .pipeline = string_member(sample->root, "pipeline", pipeline),
                                 .step = string_member(sample->root, "step", step->name),
                                 .handler = span_of(step->name),
                                 .attempt = json_is_integer(attempt) ? (uint32_t)json_integer_value(attempt) : 1,
                                 .ticket = {.direction = rolls_back ? DIRECTION_ROLLBACK : DIRECTION_EXECUTE, .number = 1},
                                 .input = span_of(sample->input),
                                 .params = span_of(sample->params),
                                 .sets = &sample->set,
                                 .set_count = sample->shared != NULL ? 1 : 0};
    sample_results(sample);
    sample_result(sample);
}

static void sample_fini(struct sample *sample)
{
    for (size_t i = 0; i < sample->task.result_count; i++) {
        free(sample->datas[i]);
    }
    free(sample->input);
    free(sample->params);
    free(sample->shared);
    free(sample->data);
    free(sample->rollback_data);
}

static void ignore_progress(void *state, uint64_t current, uint64_t total, struct span metrics)
{
    (void)state;
    if (total > 0) {
        fprintf(stderr, "progress %llu of %llu\n", (unsigned long long)current, (unsigned long long)total);
    } else {
        fprintf(stderr, "metrics %.*s\n", SPAN_ARGS(metrics));
    }
}

static void append_member(struct text *text, const char *name, const char *json)
{
    text_format(text, ",\"%s\":%s", name, json != NULL ? json : "null");
}

static void append_attempt(const struct attempt *attempt, struct text *text)
{
    text_format(text, "{\"outcome\":\"%s\",\"permanent\":%s", outcome_name(attempt->outcome),
                attempt->permanent ? "true" : "false");
    append_member(text, "data", attempt->data);
    append_member(text, "rollback_data", attempt->rollback_data);
    append_member(text, "set", attempt->set);
    append_member(text, "metrics", attempt->metrics);
    text_append_string(text, ",\"error\":");
    if (attempt->error != NULL) {
        text_append_json_string(text, span_of(attempt->error));
    } else {
        text_append_string(text, "null");
    }
    text_append_char(text, '}');
}

bool library_call_step(const struct backstep_step *step, const char *pipeline, json_t *context,
                       const struct context_listener *listener, struct text *text)
{
    struct attempt attempt = {0};
    struct cancellation never = {0};
    struct sample *sample = calloc(1, sizeof *sample);
    if (sample == NULL) {
        return false;
    }
    sample->root = context;
    sample_fill(sample, step, pipeline);
    attempt_run(&attempt, &sample->task, step, &never, listener);
    append_attempt(&attempt, text);
    bool well = attempt.outcome == OUTCOME_OK || attempt.outcome == OUTCOME_SKIPPED;
    attempt_fini(&attempt);
    cancellation_fini(&never);
    sample_fini(sample);
    free(sample);
    return well;
}

static int test_step(const struct library_call *call, const struct backstep_step *step)
{
    json_error_t problem;
    struct text text;
    json_t *context = json_loadf(stdin, JSON_REJECT_DUPLICATES, &problem);
    if (!json_is_object(context)) {
        library_complain(call, context == NULL ? problem.text : "the context is not a JSON object");
        json_decref(context);
        return LIBRARY_USAGE;
    }
    text_init(&text, SIZE_MAX / 2);
    bool well = library_call_step(step, call->pipeline, context, &(struct context_listener){.progressed = ignore_progress}, &text);
    int code = library_print(&text, well ? 0 : 1);
    text_fini(&text);
    json_decref(context);
    return code;
}

int library_test_step(const struct library_call *call)
{
    const struct backstep_step *step =
        call->argument_count == 1 ? backstep_registry_find(call->registry, call->arguments[0]) : NULL;
    if (step == NULL) {
        return library_complain(call,
                                call->argument_count == 1 ? "there is no such step; 'steps' lists them" : "test: name one step");
    }
    return test_step(call, step);
}
