/* SPDX-License-Identifier: Apache-2.0 */
/* backstep_main(): the whole of a program whose steps are C functions. One row and one function a subcommand. */
#include "common/clock.h"
#include "common/defaults.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/names.h"
#include "common/pipeline.h"
#include "worker/attempt.h"
#include "worker/backstep.h"
#include "worker/in_process.h"
#include "worker/settings.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define USAGE 2

/* One call of the program. */
struct call {
    const char *program; /* without its directory: also the pipeline's name */
    struct backstep_registry *registry;
    struct options *options;
    const char *const *arguments;
    size_t argument_count;
};

struct subcommand {
    const char *name, *arguments, *summary;
    const char *example; /* what may stand behind the name */
    unsigned sets;
    bool daemon;
    size_t arguments_most;
    int (*run)(const struct call *call);
};

const char *backstep_version(void)
{
    return BACKSTEP_VERSION;
}

static int complain(const struct call *call, const char *message)
{
    fprintf(stderr, "%s: %s\n", call->program, message);
    return USAGE;
}

/* Print it with a newline; a full disk or a closed pipe is not success. */
static int print(const struct text *text, int code)
{
    size_t written = fwrite(text_string(text), 1, text->size, stdout);
    bool ends = text->size > 0 && text->bytes[text->size - 1] == '\n';
    bool ok = written == text->size && (ends || putchar('\n') != EOF) && fflush(stdout) == 0;
    return ok ? code : 1;
}

/* ---------------------------------------------------------------- run */

static struct cancellation interrupted; /* signal handlers know nothing else */

static void on_signal(int signal)
{
    if (cancellation_requested(&interrupted)) {
        _Exit(128 + signal);
    }
    cancellation_request(&interrupted);
}

/* KEY=VALUE over what --params has; VALUE is JSON if it parses, else a string. */
static bool add_param(json_t *params, const char *pair, struct error *error)
{
    const char *equals = strchr(pair, '=');
    if (equals == NULL || equals == pair) {
        return error_set(error, ERROR_INVALID, "'%s': expected KEY=VALUE", pair);
    }
    json_t *value = json_read(span_of(equals + 1), NULL);
    value = value != NULL ? value : json_string(equals + 1);
    if (value == NULL || json_object_setn_new(params, pair, (size_t)(equals - pair), value) != 0) {
        return error_set(error, ERROR_INVALID, "'%s': is no UTF-8", pair);
    }
    return true;
}

static json_t *read_params_file(const char *path, struct error *error)
{
    json_error_t problem;
    json_t *params = json_load_file(path, JSON_REJECT_DUPLICATES, &problem);
    if (!json_is_object(params)) {
        error_set(error, ERROR_INVALID, "%s: %s", path, params == NULL ? problem.text : "is not a JSON object");
        json_decref(params);
        return NULL;
    }
    return params;
}

static bool read_params(const struct options *options, struct text *text, struct error *error)
{
    size_t count = 0;
    const char *const *pairs = option_list(options, "param", &count);
    const char *path = option_text(options, "params");
    json_t *params = path != NULL ? read_params_file(path, error) : json_object();
    bool ok = params != NULL;
    for (size_t i = 0; i < count && ok; i++) {
        ok = add_param(params, pairs[i], error);
    }
    if (ok && !json_write(params, text)) {
        ok = error_set(error, ERROR_INVALID, "the parameters have more than %d bytes", LIMIT_CONTEXT_BYTES);
    }
    json_decref(params);
    return ok;
}

static int run_with(const struct call *call, const struct plan *plan, struct span params)
{
    char generated[RUN_ID_BYTES];
    const char *id = option_text(call->options, "id");
    if (id == NULL) {
        run_id_generate(generated, plan->name, clock_realtime_ms() / 1000);
        id = generated;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct in_process_options run = {
        .registry = call->registry, .plan = plan, .run_id = id, .params = params, .cancellation = &interrupted};
    struct text summary;
    text_init(&summary, SIZE_MAX / 2);
    int code = in_process_run(&run, &summary);
    code = print(&summary, code);
    text_fini(&summary);
    cancellation_fini(&interrupted);
    return code;
}

static int run_run(const struct call *call)
{
    struct error error = {0};
    struct arena arena;
    struct plan plan;
    struct text params;
    int code = USAGE;
    arena_init(&arena, 4096, 16 * MIB);
    text_init(&params, LIMIT_CONTEXT_BYTES);
    if (!plan_of_registry(call->registry, call->program, &arena, &plan, &error) || !read_params(call->options, &params, &error)) {
        complain(call, error.message);
    } else {
        code = run_with(call, &plan, text_span(&params));
    }
    text_fini(&params);
    arena_fini(&arena);
    return code;
}

/* ---------------------------------------------------------------- worker, plan, steps */

static int run_worker(const struct call *call)
{
    struct error error = {0};
    settings_log(call->options);
    if (backstep_registry_count(call->registry) == 0) {
        return complain(call, "there is no step to serve");
    }
    struct guard *guard = guard_start(&error); /* before there are threads */
    if (guard == NULL) {
        complain(call, error.message);
        return 1;
    }
    struct serve_options serve = {.guard = guard, .registry = call->registry};
    settings_of(call->options, &serve);
    int code = settings_serve(call->program, &serve);
    guard_free(guard);
    return code;
}

static int run_plan(const struct call *call)
{
    struct error error = {0};
    struct arena arena;
    struct plan plan;
    struct text text;
    int code = 1;
    arena_init(&arena, 4096, 16 * MIB);
    text_init(&text, SIZE_MAX / 2);
    if (plan_of_registry(call->registry, call->program, &arena, &plan, &error)) {
        pipeline_append_json(&plan, &text);
        code = print(&text, 0);
    } else {
        complain(call, error.message);
    }
    text_fini(&text);
    arena_fini(&arena);
    return code;
}

static int run_steps(const struct call *call)
{
    double total = backstep_registry_total_weight(call->registry);
    int count = backstep_registry_count(call->registry);
    for (int i = 0; i < count; i++) {
        const struct backstep_step *step = backstep_registry_step(call->registry, i);
        double share = total > 0 ? step->weight / total : 1.0 / count;
        printf("%-24s %5.1f %%%s%s\n", step->name, share * 100, step->rollback != NULL ? "   rollback" : "",
               step->can_skip != NULL ? "   may be skipped" : "");
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

/* ---------------------------------------------------------------- test: one step, called with a context from standard input */

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

static void sample_fill(struct sample *sample, const struct call *call)
{
    const json_t *attempt = json_object_get(sample->root, "attempt");
    bool rolls_back = span_equal(string_member(sample->root, "direction", "execute"), span_of("rollback"));
    sample->input = json_text(json_object_get(sample->root, "input"));
    sample->params = json_text(json_object_get(sample->root, "params"));
    sample->shared = json_text(json_object_get(sample->root, "shared"));
    sample->set = span_of(sample->shared);
    sample->task = (struct task){.run_id = string_member(sample->root, "run_id", "test"),
                                 .pipeline = string_member(sample->root, "pipeline", call->program),
                                 .step = string_member(sample->root, "step", call->arguments[0]),
                                 .handler = span_of(call->arguments[0]),
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
    json_decref(sample->root);
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

static int print_attempt(const struct attempt *attempt)
{
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    text_format(&text, "{\"outcome\":\"%s\",\"permanent\":%s", outcome_name(attempt->outcome),
                attempt->permanent ? "true" : "false");
    append_member(&text, "data", attempt->data);
    append_member(&text, "rollback_data", attempt->rollback_data);
    append_member(&text, "set", attempt->set);
    append_member(&text, "metrics", attempt->metrics);
    text_append_string(&text, ",\"error\":");
    if (attempt->error != NULL) {
        text_append_json_string(&text, span_of(attempt->error));
    } else {
        text_append_string(&text, "null");
    }
    text_append_char(&text, '}');
    bool well = attempt->outcome == OUTCOME_OK || attempt->outcome == OUTCOME_SKIPPED;
    int code = print(&text, well ? 0 : 1);
    text_fini(&text);
    return code;
}

static int test_step(const struct call *call, const struct backstep_step *step, struct sample *sample)
{
    struct attempt attempt = {0};
    struct cancellation never = {0};
    sample_fill(sample, call);
    attempt_run(&attempt, &sample->task, step, &never, &(struct context_listener){.progressed = ignore_progress});
    int code = print_attempt(&attempt);
    attempt_fini(&attempt);
    cancellation_fini(&never);
    sample_fini(sample);
    return code;
}

static int run_test(const struct call *call)
{
    json_error_t problem;
    const struct backstep_step *step =
        call->argument_count == 1 ? backstep_registry_find(call->registry, call->arguments[0]) : NULL;
    if (step == NULL) {
        return complain(call, call->argument_count == 1 ? "there is no such step; 'steps' lists them" : "test: name one step");
    }
    struct sample *sample = calloc(1, sizeof *sample);
    if (sample == NULL) {
        return complain(call, "out of memory");
    }
    sample->root = json_loadf(stdin, JSON_REJECT_DUPLICATES, &problem);
    int code = sample->root != NULL ? test_step(call, step, sample) : complain(call, problem.text);
    free(sample);
    return code;
}

/* ---------------------------------------------------------------- the table */

static const struct subcommand subcommands[] = {
    {"run", "", "execute the steps in order, in this process; prints one JSON object", " -p size=3", OPTIONS_COMMON | OPTIONS_JOB,
     false, 0, run_run},
    {"worker", "", "serve the steps on Kafka", " -b 127.0.0.1:9092 --concurrency 8", SETTINGS_WORKER, true, 0, run_worker},
    {"plan", "", "print the steps as a pipeline, for `backstep start -`", " | backstep start - --wait", OPTIONS_COMMON, false, 0,
     run_plan},
    {"steps", "", "list the steps, with their share of the progress", "", OPTIONS_COMMON, false, 0, run_steps},
    {"test", " STEP", "call one step with a JSON context from standard input", " load_data <context.json", OPTIONS_COMMON, false, 1,
     run_test},
};
#define SUBCOMMANDS (sizeof subcommands / sizeof *subcommands)

static void print_usage(const char *program, FILE *file)
{
    fprintf(file, "Usage: %s COMMAND [OPTIONS]\n\n", program);
    for (size_t i = 0; i < SUBCOMMANDS; i++) {
        fprintf(file, "  %s%s%*s%s\n", subcommands[i].name, subcommands[i].arguments,
                (int)(14 - strlen(subcommands[i].name) - strlen(subcommands[i].arguments)), "", subcommands[i].summary);
    }
    fprintf(file, "\n%s COMMAND --help tells more.\n", program);
}

static const struct subcommand *find_subcommand(const char *name)
{
    for (size_t i = 0; i < SUBCOMMANDS; i++) {
        if (strcmp(subcommands[i].name, name) == 0) {
            return &subcommands[i];
        }
    }
    return NULL;
}

static int print_help(const struct call *call, const struct subcommand *subcommand)
{
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    text_format(&text, "Usage: %s %s%s [OPTIONS]\n\n%s\n\n", call->program, subcommand->name, subcommand->arguments,
                subcommand->summary);
    options_append_help(&text, default_options, subcommand->sets, 0);
    text_format(&text, "\nExample:\n  %s %s%s\n", call->program, subcommand->name, subcommand->example);
    int code = print(&text, 0);
    text_fini(&text);
    return code;
}

static int dispatch(struct call *call, const struct subcommand *subcommand)
{
    call->arguments = options_arguments(call->options, &call->argument_count);
    if (options_help_wanted(call->options)) {
        return print_help(call, subcommand);
    }
    if (call->argument_count > subcommand->arguments_most) {
        fprintf(stderr, "%s: '%s' was not expected\n", call->program, call->arguments[subcommand->arguments_most]);
        return USAGE;
    }
    return subcommand->run(call);
}

static int call_subcommand(struct call *call, const char *name, const char *const *arguments, size_t count)
{
    struct error error = {0};
    const struct subcommand *subcommand = find_subcommand(name);
    if (subcommand == NULL) {
        fprintf(stderr, "%s: there is no command '%s'\n", call->program, SHOWN(span_of(name)));
        print_usage(call->program, stderr);
        return USAGE;
    }
    struct options_input input = {.specs = default_options,
                                  .sets = subcommand->sets,
                                  .daemon = subcommand->daemon,
                                  .arguments = arguments,
                                  .argument_count = count};
    call->options = options_read(&input, &error);
    if (call->options == NULL) {
        return complain(call, error.message);
    }
    int code = dispatch(call, subcommand);
    options_free(call->options);
    return code;
}

int backstep_main(int argc, char **argv, struct backstep_registry *registry)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    struct call call = {.program = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "backstep", .registry = registry};
    int code = USAGE;
    if (registry == NULL || backstep_registry_error(registry)[0] != '\0') {
        complain(&call, registry == NULL ? "out of memory" : backstep_registry_error(registry));
    } else if (argc < 2) {
        print_usage(call.program, stderr);
    } else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(call.program, stdout);
        code = 0;
    } else {
        code = call_subcommand(&call, argv[1], (const char *const *)argv + 2, (size_t)argc - 2);
    }
    backstep_registry_free(registry);
    return code;
}
