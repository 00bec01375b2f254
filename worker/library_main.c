/* SPDX-License-Identifier: Apache-2.0 */
/* backstep_main() and backstep_action_main(): the whole of a program whose steps are C functions. One row and one function a subcommand. */
#include "common/limits.h"
#include "common/log.h"
#include "common/names.h"
#include "worker/library.h"
#include "worker/orchestrator.h"
#include "worker/registry.h"
#include "worker/settings.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct subcommand {
    const char *name, *arguments, *summary;
    const char *example; /* what may stand behind the name */
    unsigned sets;
    bool daemon;
    size_t arguments_most;
    int (*run)(const struct library_call *call);
};

const char *backstep_version(void)
{
    return BACKSTEP_VERSION;
}

int library_complain(const struct library_call *call, const char *message)
{
    fprintf(stderr, "%s: %s\n", call->program, message);
    return LIBRARY_USAGE;
}

/* Print it with a newline; a full disk or a closed pipe is not success. */
int library_print(const struct text *text, int code)
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
    if (cancellation_requested(&interrupted) && signal != SIGHUP) { /* the kernel and a shell both say that the terminal is gone */
        _Exit(128 + signal);
    }
    cancellation_request(&interrupted);
}

/* Parameters first: an action's steps may depend on them. `params` NULL: there is no run, and every step that may be wanted is registered. */
static bool set_up(const struct library_call *call, const struct text *params, struct error *error)
{
    if (call->action == NULL) {
        return true;
    }
    const struct backstep_json *json = params != NULL ? backstep_json_parse(text_string(params)) : NULL;
    bool ok = backstep_action_setup(call->action, call->registry, json);
    backstep_json_free(json);
    return ok || error_set(error, ERROR_INVALID, "%s", backstep_registry_error(call->registry));
}

static int run_with(const struct library_call *call, const char *params)
{
    struct backstep_orchestrator *orchestrator = backstep_orchestrator_new(call->registry);
    if (orchestrator == NULL) {
        return library_complain(call, "out of memory");
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction before;
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) { /* else nohup wants it to go on */
        sigaction(SIGHUP, &action, NULL);
    }
    backstep_orchestrator_set_name(orchestrator, call->pipeline);
    orchestrator_set_cancellation(orchestrator, &interrupted);
    if (call->actions != NULL) {
        struct plan plan = call->actions->plan;
        plan.pause_on_failure = false; /* nobody could resume it once this process is gone */
        orchestrator_set_plan(orchestrator, &plan, call->actions->steps);
    }
    backstep_execute(orchestrator, option_text(call->options, "id"), params);
    int code = orchestrator_exit_code(orchestrator);
    if (code == LIBRARY_USAGE) {
        library_complain(call, backstep_orchestrator_error(orchestrator));
    } else {
        struct text result;
        text_init(&result, SIZE_MAX / 2);
        text_append_string(&result, backstep_orchestrator_result(orchestrator));
        code = library_print(&result, code);
        text_fini(&result);
    }
    backstep_orchestrator_free(orchestrator);
    cancellation_fini(&interrupted);
    return code;
}

static int run_run(const struct library_call *call)
{
    struct error error = {0};
    struct text params;
    int code = LIBRARY_USAGE;
    settings_log(call->options);
    text_init(&params, LIMIT_CONTEXT_BYTES);
    if (library_params(call, &params, &error) && set_up(call, &params, &error)) {
        code = run_with(call, text_string(&params));
    } else {
        library_complain(call, error.message);
    }
    text_fini(&params);
    return code;
}

/* ---------------------------------------------------------------- worker, plan, steps */

static int run_worker(const struct library_call *call)
{
    struct error error = {0};
    settings_log(call->options);
    if (!set_up(call, NULL, &error)) {
        return library_complain(call, error.message);
    }
    if (backstep_registry_count(call->registry) == 0) {
        return library_complain(call, "there is no step to serve");
    }
    struct guard *guard = guard_start(&error); /* before there are threads */
    if (guard == NULL) {
        library_complain(call, error.message);
        return 1;
    }
    struct serve_options serve = {.guard = guard, .registry = call->registry};
    settings_of(call->options, &serve);
    int code = settings_serve(call->program, &serve);
    guard_free(guard);
    return code;
}

static bool make_plan(const struct library_call *call, struct arena *arena, struct plan *plan, struct error *error)
{
    if (call->actions != NULL) {
        *plan = call->actions->plan;
        return true;
    }
    return plan_of_registry(call->registry, call->pipeline, arena, plan, error);
}

static bool append_plan(const struct library_call *call, struct arena *arena, struct text *text, struct error *error)
{
    struct plan plan;
    struct text params;
    text_init(&params, LIMIT_CONTEXT_BYTES);
    bool ok = library_params(call, &params, error) && set_up(call, &params, error) && make_plan(call, arena, &plan, error);
    if (ok && call->action != NULL) {
        plan.description = span_of(call->action->description);
    }
    ok = ok && library_append_plan(call, &plan, text_span(&params), text, error);
    text_fini(&params);
    return ok;
}

static int run_plan(const struct library_call *call)
{
    struct error error = {0};
    struct arena arena;
    struct text text;
    arena_init(&arena, 4096, 16 * MIB);
    text_init(&text, SIZE_MAX / 2);
    bool ok = append_plan(call, &arena, &text, &error);
    int code = ok ? library_print(&text, 0) : library_complain(call, error.message);
    text_fini(&text);
    arena_fini(&arena);
    return code;
}

static void print_step(const char *name, double share, const struct backstep_step *step)
{
    printf("%-24s %5.1f %%%s%s\n", name, share * 100, step->rollback != NULL ? "   rollback" : "",
           step->can_skip != NULL ? "   may be skipped" : "");
}

static int run_steps(const struct library_call *call)
{
    struct error error = {0};
    if (!set_up(call, NULL, &error)) {
        return library_complain(call, error.message);
    }
    double total = backstep_registry_total_weight(call->registry);
    int count = backstep_registry_count(call->registry);
    for (int i = 0; call->actions == NULL && i < count; i++) {
        const struct backstep_step *step = backstep_registry_step(call->registry, i);
        print_step(step->name, total > 0 ? step->weight / total : 1.0 / count, step);
    }
    const struct plan *plan = call->actions != NULL ? &call->actions->plan : &(struct plan){0};
    for (uint32_t i = 0; i < plan->step_count; i++) {
        if (plan->steps[i].kind == PLAN_HANDLER) {
            print_step(plan->steps[i].name.bytes, (double)plan->steps[i].weight / LIMIT_WEIGHT, call->actions->steps[i]);
        }
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

static int run_test(const struct library_call *call)
{
    struct error error = {0};
    return set_up(call, NULL, &error) ? library_test_step(call) : library_complain(call, error.message);
}

/* ---------------------------------------------------------------- the table */

static const struct subcommand subcommands[] = {
    {"run", "", "execute the steps in order, in this process; prints one JSON object", " -p size=3", OPTIONS_COMMON | OPTIONS_JOB,
     false, 0, run_run},
    {"worker", "", "serve the steps on Kafka", " -b 127.0.0.1:9092 --concurrency 8", SETTINGS_WORKER, true, 0, run_worker},
    {"plan", "", "print the steps as a pipeline, for `backstep start -`", " | backstep start - --wait",
     OPTIONS_COMMON | OPTIONS_JOB, false, 0, run_plan},
    {"steps", "", "list the steps, with their share of the progress", "", OPTIONS_COMMON, false, 0, run_steps},
    {"test", " STEP", "call one step with a JSON context from standard input", " load_data <context.json", OPTIONS_COMMON, false, 1,
     run_test},
};
#define SUBCOMMANDS (sizeof subcommands / sizeof *subcommands)

static void print_usage(const struct library_call *call, FILE *file)
{
    const char *program = call->program;
    fprintf(file, "Usage: %s COMMAND [OPTIONS]\n\n", program);
    const char *description = call->actions != NULL  ? call->actions->pipeline->description
                              : call->action != NULL ? call->action->description
                                                     : NULL;
    if (description != NULL) {
        fprintf(file, "%s\n\n", description);
    }
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

static int print_help(const struct library_call *call, const struct subcommand *subcommand)
{
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    text_format(&text, "Usage: %s %s%s [OPTIONS]\n\n%s\n\n", call->program, subcommand->name, subcommand->arguments,
                subcommand->summary);
    options_append_help(&text, default_options, subcommand->sets, 0);
    if ((subcommand->sets & OPTIONS_JOB) != 0) {
        library_append_params(call, &text);
    }
    text_format(&text, "\nExample:\n  %s %s%s\n", call->program, subcommand->name, subcommand->example);
    int code = library_print(&text, 0);
    text_fini(&text);
    return code;
}

static int dispatch(struct library_call *call, const struct subcommand *subcommand)
{
    call->arguments = options_arguments(call->options, &call->argument_count);
    if (options_help_wanted(call->options)) {
        return print_help(call, subcommand);
    }
    if (call->argument_count > subcommand->arguments_most) {
        fprintf(stderr, "%s: '%s' was not expected\n", call->program, call->arguments[subcommand->arguments_most]);
        return LIBRARY_USAGE;
    }
    return subcommand->run(call);
}

static int call_subcommand(struct library_call *call, const char *name, const char *const *arguments, size_t count)
{
    struct error error = {0};
    const struct subcommand *subcommand = find_subcommand(name);
    if (subcommand == NULL) {
        fprintf(stderr, "%s: there is no command '%s'\n", call->program, SHOWN(span_of(name)));
        print_usage(call, stderr);
        return LIBRARY_USAGE;
    }
    struct options_input input = {.specs = default_options,
                                  .sets = subcommand->sets,
                                  .daemon = subcommand->daemon,
                                  .arguments = arguments,
                                  .argument_count = count};
    call->options = options_read(&input, &error);
    if (call->options == NULL) {
        return library_complain(call, error.message);
    }
    int code = dispatch(call, subcommand);
    options_free(call->options);
    return code;
}

/* What is wrong with the program itself, before its first argument is looked at. NULL: nothing. */
static const char *program_problem(const struct library_call *call)
{
    if (call->registry == NULL) {
        return "out of memory";
    }
    return backstep_registry_error(call->registry)[0] != '\0' ? backstep_registry_error(call->registry) : NULL;
}

static int main_with(struct library_call *call, int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    call->program = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "backstep";
    bool named = call->action != NULL && call->action->name != NULL;
    call->pipeline = call->actions != NULL ? call->actions->pipeline->name : named ? call->action->name : call->program;
    int code = LIBRARY_USAGE;
    if (program_problem(call) != NULL) {
        library_complain(call, program_problem(call));
    } else if (argc < 2) {
        print_usage(call, stderr);
    } else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(call, stdout);
        code = 0;
    } else {
        code = call_subcommand(call, argv[1], (const char *const *)argv + 2, (size_t)argc - 2);
    }
    return code;
}

int backstep_main(int argc, char **argv, struct backstep_registry *registry)
{
    int code = main_with(&(struct library_call){.registry = registry}, argc, argv);
    backstep_registry_free(registry);
    return code;
}

int backstep_actions_main(int argc, char **argv, const struct backstep_action_pipeline *pipeline)
{
    struct action_plan plan = {0};
    struct error error = {0};
    int code = LIBRARY_USAGE;
    if (pipeline == NULL) {
        error_set(&error, ERROR_INVALID, "the pipeline is NULL");
    } else if (action_plan_init(&plan, pipeline, &error)) {
        code = main_with(&(struct library_call){.registry = plan.registry, .actions = &plan}, argc, argv);
    }
    if (error.message[0] != '\0') {
        fprintf(stderr, "%s: %s\n", argc > 0 ? argv[0] : "backstep", error.message);
    }
    action_plan_fini(&plan);
    return code;
}

bool backstep_action_setup(const struct backstep_action *action, struct backstep_registry *registry,
                           const struct backstep_json *params)
{
    if (action == NULL || registry == NULL || (action->setup_steps == NULL && action->default_steps == NULL)) {
        return registry_fail(registry, "the action is NULL, or says nothing of its steps");
    }
    void (*setup)(const struct backstep_action *, struct backstep_registry *, const struct backstep_json *) =
        action->setup_steps != NULL ? action->setup_steps : action->default_steps;
    setup(action, registry, params);
    return backstep_registry_error(registry)[0] == '\0';
}

int backstep_action_main(int argc, char **argv, const struct backstep_action *action)
{
    struct backstep_registry *registry = backstep_registry_new();
    if (action == NULL) {
        registry_fail(registry, "the action is NULL");
    }
    int code = main_with(&(struct library_call){.registry = registry, .action = action}, argc, argv);
    backstep_registry_free(registry);
    return code;
}
