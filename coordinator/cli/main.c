/* SPDX-License-Identifier: Apache-2.0 */
/* backstep COMMAND ...: find the row, read the options, call the function. */
#include "common/log.h"
#include "coordinator/cli/commands.h"

#include <stdio.h>
#include <string.h>

#define HELP_BYTES_MAX (64 * 1024)

/* For jemalloc, which looks for it by this name (jemalloc(3), TUNING). As lean as an idle coordinator should be: few arenas, since one thread
 * does the work, and what is freed goes back to the system after a second. MALLOC_CONF overrides it. */
extern const char *malloc_conf;
const char *malloc_conf = "narenas:2,lg_tcache_max:12,dirty_decay_ms:1000";

static int print_overview(void)
{
    struct text out;
    text_init(&out, HELP_BYTES_MAX);
    commands_append_overview(&out);
    print_text(&out);
    text_fini(&out);
    return EXIT_DONE;
}

static int print_help(const struct command *command)
{
    struct text out;
    text_init(&out, HELP_BYTES_MAX);
    command_append_help(command, &out);
    print_text(&out);
    text_fini(&out);
    return EXIT_DONE;
}

static int complain_of_unknown(const char *name)
{
    const char *meant = command_suggest(name);
    struct text visible;
    text_init(&visible, HELP_BYTES_MAX);
    text_append_visible(&visible, span_of(name));
    if (name[0] == '-') {
        complain("the command comes first: backstep COMMAND %s", text_string(&visible));
    } else if (meant != NULL) {
        complain("there is no command '%s'; did you mean '%s'?", text_string(&visible), meant);
    } else {
        complain("there is no command '%s'; backstep alone lists them", text_string(&visible));
    }
    text_fini(&visible);
    return EXIT_USAGE;
}

static bool arguments_fit(const struct call *call)
{
    const struct command *command = call->command;
    const char *wanted = command->arguments != NULL ? command->arguments : "no argument";
    if (call->argument_count < command->arguments_min) {
        complain("%s needs %s; see backstep %s --help", command->name, wanted, command->name);
        return false;
    }
    if (call->argument_count > command->arguments_max) {
        complain("%s takes %s, and '%s' is one more; see backstep %s --help", command->name, wanted,
                 call->arguments[command->arguments_max], command->name);
        return false;
    }
    return true;
}

static void take_common_options(struct call *call)
{
    unsigned sets = call->command->options;
    struct options *options = call->options;
    enum log_level level = LOG_WARN;
    call->quiet = option_flag(options, "quiet");
    if (log_level_parse(option_text(options, "log-level"), &level)) {
        log_set_level(call->quiet && level < LOG_ERROR ? LOG_ERROR : level);
    }
    if (sets & OPTIONS_OUTPUT) {
        call->json = strcmp(option_text(options, "output"), "json") == 0;
    }
    if (sets & (OPTIONS_CLUSTER | OPTIONS_DEV)) {
        call->client.prefix = option_text(options, "prefix");
        call->client.timeout_ms = (int)option_duration_ms(options, "timeout");
    }
    if (sets & OPTIONS_CLUSTER) {
        call->client.brokers = option_text(options, "brokers");
        call->client.properties = option_list(options, "property", &call->client.property_count);
        call->client.only_reads = call->command->only_reads;
        call->brokers_given = option_given(options, "brokers");
    }
}

static int run_command(struct call *call)
{
    call->arguments = options_arguments(call->options, &call->argument_count);
    if (options_help_wanted(call->options)) {
        return print_help(call->command);
    }
    if (!arguments_fit(call)) {
        return EXIT_USAGE;
    }
    take_common_options(call);
    return call->command->run(call);
}

/* Output that went nowhere is not success. A reader that has left, `| head`, has what it wanted. */
static int code_of_output(int code)
{
    if ((fflush(stdout) == 0 && !ferror(stdout)) || output_is_closed()) {
        return code;
    }
    complain("standard output could not be written");
    return code == EXIT_DONE ? EXIT_UNREACHABLE : code;
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        const struct command *command = argc > 2 ? command_find(argv[2]) : NULL;
        return command != NULL ? print_help(command) : print_overview();
    }
    const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    struct call call = {.command = command_find(name)};
    if (call.command == NULL) {
        return complain_of_unknown(name);
    }
    struct error error = {0};
    struct options_input input = {
        .specs = default_options,
        .sets = call.command->options | OPTIONS_COMMON,
        .daemon = call.command->options & OPTIONS_SERVE,
        .arguments = (const char *const *)argv + 2,
        .argument_count = (size_t)argc - 2,
    };
    call.options = options_read(&input, &error);
    if (call.options == NULL) {
        return complain_of(&error);
    }
    int code = run_command(&call);
    options_free(call.options);
    return code_of_output(code);
}
