/* SPDX-License-Identifier: Apache-2.0 */
/* backstep-worker: a program on libbackstep whose steps are the programs in its directory, and the actions. Nothing else can run. */
#include "common/defaults.h"
#include "common/log.h"
#include "worker/actions/action.h"
#include "worker/program_step.h"
#include "worker/settings.h"
#include "worker/steps_directory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM "backstep-worker"
#define USAGE 2

/* What one reading of the directory gave. An old shelf stays until none of its steps runs any more. */
struct shelf {
    struct shelf *older;
    struct backstep_registry *registry;
    struct program_step **steps;
    size_t count;
};

struct stock {
    const char *directory;
    bool no_actions;
    struct guard *guard;
    int64_t grace_ms;
    struct shelf *shelf;
};

static void shelf_free(struct shelf *shelf)
{
    while (shelf != NULL) {
        struct shelf *older = shelf->older;
        for (size_t i = 0; i < shelf->count; i++) {
            program_step_free(shelf->steps[i]);
        }
        backstep_registry_free(shelf->registry);
        free(shelf->steps);
        free(shelf);
        shelf = older;
    }
}

static void warn_of(const struct steps_directory_entry *entry)
{
    if (entry->reason != NULL) {
        fprintf(stderr, PROGRAM ": %s is no step: %s\n", entry->path, entry->reason);
    } else if (entry->ignores_rollback) {
        fprintf(stderr,
                PROGRAM ": the word 'rollback' does not stand in %s: if it does not look at its first argument it will act again "
                        "on rollback; give it 'rollback: none' in the pipeline\n",
                entry->path);
    }
}

static struct shelf *fill_shelf(const struct stock *stock, const struct steps_directory *directory)
{
    struct shelf *shelf = calloc(1, sizeof *shelf);
    if (shelf == NULL || (shelf->registry = backstep_registry_new()) == NULL ||
        (shelf->steps = calloc(directory->count + 1, sizeof(struct program_step *))) == NULL) {
        abort();
    }
    for (size_t i = 0; i < directory->count; i++) {
        const struct steps_directory_entry *entry = &directory->entries[i];
        warn_of(entry);
        if (entry->reason == NULL) {
            struct program_step *step = program_step_new(entry->name, entry->path, stock->guard, stock->grace_ms);
            shelf->steps[shelf->count++] = step;
            backstep_register(shelf->registry, program_step_of(step));
        }
    }
    if (!stock->no_actions) {
        actions_register(shelf->registry);
    }
    return shelf;
}

static bool read_directory(struct stock *stock, struct error *error)
{
    struct steps_directory directory = {0};
    if (stock->directory[0] != '\0' && !steps_directory_read(&directory, stock->directory, error)) {
        return false;
    }
    struct shelf *shelf = fill_shelf(stock, &directory);
    steps_directory_fini(&directory);
    if (backstep_registry_error(shelf->registry)[0] != '\0') {
        error_set(error, ERROR_INVALID, "%s: %s", stock->directory, backstep_registry_error(shelf->registry));
        shelf_free(shelf);
        return false;
    }
    shelf->older = stock->shelf;
    stock->shelf = shelf;
    return true;
}

static const struct backstep_registry *reload(void *state)
{
    struct stock *stock = state;
    struct error error = {0};
    if (!read_directory(stock, &error)) {
        log_event(LOG_ERROR, "steps_not_read", "error=%s", LOG_QUOTED(error.message));
        return NULL;
    }
    log_event(LOG_WARN, "steps_read_again", "handlers=%d", backstep_registry_count(stock->shelf->registry));
    return stock->shelf->registry;
}

static void release(void *state)
{
    struct stock *stock = state;
    shelf_free(stock->shelf->older);
    stock->shelf->older = NULL;
}

static int complain(const struct error *error, int code)
{
    fprintf(stderr, PROGRAM ": %s\n", error->message);
    return code;
}

static int serve(const struct options *options, struct stock *stock)
{
    struct error error = {0};
    if (!read_directory(stock, &error)) {
        return complain(&error, USAGE);
    }
    if (stock->shelf->count == 0 && stock->directory[0] != '\0') {
        fprintf(stderr, PROGRAM ": %s: there is no executable file in it: only what every worker brings is served\n", stock->directory);
    }
    struct serve_options serve = {.guard = stock->guard,
                                  .registry = stock->shelf->registry,
                                  .reload = reload,
                                  .release = release,
                                  .is_program = program_step_is,
                                  .state = stock};
    settings_of(options, &serve);
    return settings_serve(PROGRAM, &serve);
}

static int run(const struct options *options)
{
    struct error error = {0};
    size_t count = 0;
    const char *const *arguments = options_arguments(options, &count);
    if (count > 0) {
        error_set(&error, ERROR_INVALID, "'%s' was not expected", arguments[0]);
        return complain(&error, USAGE);
    }
    settings_log(options);
    struct stock stock = {.directory = option_text(options, "steps"),
                          .grace_ms = option_duration_ms(options, "cancel-grace"),
                          .no_actions = option_flag(options, "no-actions")};
    stock.directory = stock.directory != NULL ? stock.directory : ""; /* the actions alone */
    stock.guard = guard_start(&error); /* before there are threads */
    if (stock.guard == NULL) {
        return complain(&error, 1);
    }
    int code = serve(options, &stock);
    guard_free(stock.guard);
    shelf_free(stock.shelf);
    return code;
}

static int print_help(void)
{
    struct text text;
    text_init(&text, SIZE_MAX / 2);
    text_append_string(&text, "Usage: " PROGRAM " [--steps DIR] [OPTIONS]\n\n"
                              "Serves every executable file in DIR as a step of that name, and the steps of the actions\n"
                              "upload, export and train (upload.files ...).\n\n");
    options_append_help(&text, default_options, SETTINGS_WORKER | OPTIONS_PROGRAMS, 0);
    text_append_string(&text, "\nExample:\n  " PROGRAM " -b 127.0.0.1:9092 --steps steps --concurrency 8\n\n"
                              "SIGTERM drains; SIGHUP reads DIR again. Exit codes: 0 drained, 2 wrong usage, 5 no broker at start.\n");
    bool ok = fputs(text_string(&text), stdout) != EOF && fflush(stdout) == 0;
    text_fini(&text);
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct error error = {0};
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        return puts(PROGRAM " " BACKSTEP_VERSION) == EOF;
    }
    struct options_input input = {.specs = default_options,
                                  .sets = SETTINGS_WORKER | OPTIONS_PROGRAMS,
                                  .daemon = true,
                                  .arguments = (const char *const *)argv + 1,
                                  .argument_count = argc > 0 ? (size_t)argc - 1 : 0};
    struct options *options = options_read(&input, &error);
    if (options == NULL) {
        return complain(&error, USAGE);
    }
    int code = options_help_wanted(options) ? print_help() : run(options);
    options_free(options);
    return code;
}
