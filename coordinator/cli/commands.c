/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/cli/commands.h"

#include "common/names.h"

#include <stdint.h>
#include <string.h>

#define TO_CLUSTER (OPTIONS_CLUSTER | OPTIONS_OUTPUT)
#define ANY_NUMBER SIZE_MAX
#define EXIT_CODES_OF_A_RUN                                                                                                        \
    "Exit codes: 0 succeeded, 1 failed and rolled back, 3 rollback incomplete, 4 cancelled, 6 paused; 2 wrong usage or\n"          \
    "input, 5 broker or coordinator not reachable, or a wait that ran out, 7 refused, 8 a run of that id exists.\n"
#define EXIT_CODES_OF_A_REQUEST                                                                                                    \
    "Exit codes: 0 accepted, 7 refused, 2 wrong usage or no such run, 5 no broker or coordinator in time; with --wait those of "   \
    "the\nrun too: 1 failed and rolled back, 3 rollback incomplete, 4 cancelled, 6 paused.\n"

const struct command commands[] = {
    {
        .name = "run",
        .arguments = "FILE",
        .summary = "Run a pipeline and follow it to its end.",
        .example = "  backstep run upload.yaml --steps steps -p source=photos\n"
                   "  backstep run upload.yaml -b kafka:9092 -o json\n",
        .notes =
            "Without --brokers everything happens here: a broker in this process, a coordinator and one worker beside it, and all\n"
            "steps on that worker's queue, whatever the file says. With --brokers the run is started on that cluster; with "
            "--brokers\n"
            "and --steps this process also serves those programs, for this run only, on a queue of its own.\n"
            "Ctrl-C, or the end of the terminal, asks for a cancel, with rollback; Ctrl-C again leaves at once.\n" EXIT_CODES_OF_A_RUN,
        .arguments_min = 1,
        .arguments_max = 1,
        .options = TO_CLUSTER | OPTIONS_SHOW_LOGS | OPTIONS_JOB | OPTIONS_STEPS | OPTIONS_SLOTS,
        .run = cmd_run,
    },
    {
        .name = "serve",
        .summary = "Be a coordinator, until stopped.",
        .example = "  backstep serve -b kafka:9092\n",
        .notes = "All coordinators of a prefix share its progress partitions. Where it has one, as by default, the others are spares.\n"
                 "What one had goes to the others at once when it is stopped, and after its session timeout when it dies. With --own\n"
                 "it takes what it is told, from whoever has it; that one exits 5 and names it. On an embedded broker it takes all. Broker outages are waited out, once it has worked.\n"
                 "Every long option may also be given as BACKSTEP_<OPTION>.\n",
        .options = OPTIONS_CLUSTER | OPTIONS_SERVE,
        .run = cmd_serve,
    },
    {
        .name = "start",
        .arguments = "FILE",
        .summary = "Start a run on a cluster, and print its id.",
        .example = "  backstep start upload.yaml -b kafka:9092 -p source=photos\n"
                   "  quickstart plan | backstep start - -b kafka:9092 --wait\n",
        .notes =
            "A run is never started twice. Where a run of that --id exists, --if-exists says what to do: 'fail' (exit 8, with the\n"
            "state of that run), 'return' (as if this start had been it), or 'new' (another id).\n"
            "Without --wait the exit code says only whether a coordinator has accepted the run.\n" EXIT_CODES_OF_A_RUN,
        .arguments_min = 1,
        .arguments_max = 1,
        .options = TO_CLUSTER | OPTIONS_SHOW_LOGS | OPTIONS_JOB | OPTIONS_START,
        .run = cmd_start,
    },
    {
        .name = "status",
        .arguments = "RUN",
        .summary = "Show what has become of a run so far.",
        .example = "  backstep status upload-1k7qj4m9x2 -b kafka:9092\n"
                   "  backstep status upload-1k7qj4m9x2 -o json | jq .progress\n",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = TO_CLUSTER,
        .only_reads = true,
        .run = cmd_status,
    },
    {
        .name = "list",
        .summary = "List runs, the newest first.",
        .example = "  backstep list --status running --limit 50\n",
        .options = TO_CLUSTER | OPTIONS_LIST,
        .only_reads = true,
        .run = cmd_list,
    },
    {
        .name = "watch",
        .arguments = "RUN",
        .summary = "Follow a run to its end. Ctrl-C leaves, and the run goes on.",
        .example = "  backstep watch upload-1k7qj4m9x2 -b kafka:9092\n",
        .notes = EXIT_CODES_OF_A_RUN,
        .arguments_min = 1,
        .arguments_max = 1,
        .options = TO_CLUSTER | OPTIONS_SHOW_LOGS,
        .only_reads = true,
        .run = cmd_watch,
    },
    {
        .name = "events",
        .arguments = "[RUN]",
        .summary = "Follow what happens, one line an event.",
        .example = "  backstep events -b kafka:9092\n"
                   "  backstep events upload-1k7qj4m9x2 --from-beginning -o json\n",
        .notes = "Ends on Ctrl-C, and when nobody reads it any more; with RUN also when that run is over.\n",
        .arguments_max = 1,
        .options = TO_CLUSTER | OPTIONS_EVENTS,
        .only_reads = true,
        .run = cmd_events,
    },
    {
        .name = "history",
        .arguments = "RUN",
        .summary = "Tell the whole story of a run, one line an event.",
        .example = "  backstep history upload-1k7qj4m9x2 -b kafka:9092\n"
                   "  backstep history upload-1k7qj4m9x2 -o json | jq 'select(.type == \"Done\")'\n",
        .notes = "A run is found as long as the log has it: by the second in its id, else backwards from the end.\n",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = TO_CLUSTER,
        .only_reads = true,
        .run = cmd_history,
    },
    {
        .name = "logs",
        .arguments = "RUN",
        .summary = "Show what the steps of a run have logged.",
        .example = "  backstep logs upload-1k7qj4m9x2 -b kafka:9092\n"
                   "  backstep logs upload-1k7qj4m9x2 --step upload --level warn -f\n",
        .notes =
            "Times are by the clock of the worker that wrote the line. What a step says beyond 1 MiB an attempt is dropped, and "
            "what\n"
            "was dropped is said. With -f it ends when the run is over, on Ctrl-C, and when nobody reads it any more.\n",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = TO_CLUSTER | OPTIONS_LOGS,
        .only_reads = true,
        .run = cmd_logs,
    },
    {
        .name = "cancel",
        .arguments = "RUN",
        .summary = "Stop a run, and roll back what it did.",
        .example = "  backstep cancel upload-1k7qj4m9x2 -b kafka:9092\n",
        .notes = EXIT_CODES_OF_A_REQUEST,
        .arguments_min = 1,
        .arguments_max = 1,
        .options = TO_CLUSTER | OPTIONS_CONTROL,
        .run = cmd_control,
    },
    {
        .name = "pause",
        .arguments = "RUN",
        .summary = "Let what runs end, and begin nothing else until resumed.",
        .example = "  backstep pause upload-1k7qj4m9x2 --reason 'the store is being moved'\n",
        .notes = "With --wait it ends, with 0, when nothing of the run is at work any more.\n" EXIT_CODES_OF_A_REQUEST,
        .arguments_min = 1,
        .arguments_max = 1,
        .options = TO_CLUSTER | OPTIONS_CONTROL,
        .run = cmd_control,
    },
    {
        .name = "resume",
        .arguments = "RUN",
        .summary = "Let a paused run go on.",
        .example = "  backstep resume upload-1k7qj4m9x2 -b kafka:9092\n",
        .notes = EXIT_CODES_OF_A_REQUEST,
        .arguments_min = 1,
        .arguments_max = 1,
        .options = TO_CLUSTER | OPTIONS_CONTROL,
        .run = cmd_control,
    },
    {
        .name = "retry",
        .arguments = "RUN",
        .summary = "Try again what has failed: steps of a paused run, or what could not be undone.",
        .example = "  backstep retry upload-1k7qj4m9x2 --wait\n",
        .notes = "A run is paused after a failure where its file says 'on_failure: pause'. Steps that have failed are given as "
                 "many attempts as at\n"
                 "first; of a run whose rollback is incomplete only what is still undone is tried again.\n" EXIT_CODES_OF_A_REQUEST,
        .arguments_min = 1,
        .arguments_max = 1,
        .options = TO_CLUSTER | OPTIONS_CONTROL,
        .run = cmd_control,
    },
    {
        .name = "rollback",
        .arguments = "RUN",
        .summary = "Roll back a paused run.",
        .example = "  backstep rollback upload-1k7qj4m9x2 --wait\n",
        .notes = EXIT_CODES_OF_A_REQUEST,
        .arguments_min = 1,
        .arguments_max = 1,
        .options = TO_CLUSTER | OPTIONS_CONTROL,
        .run = cmd_control,
    },
    {
        .name = "resolve",
        .arguments = "RUN STEP",
        .summary = "Say how a step stands that a person has seen to.",
        .example = "  backstep resolve upload-1k7qj4m9x2 cleanup --undone --reason 'removed it by hand'\n"
                   "  backstep resolve upload-1k7qj4m9x2 upload --done --data '{\"files\": 25}' --reason 'copied it over'\n",
        .notes = "For a step that has failed in a paused run, one that waits for its next attempt, and one whose rollback has "
                 "failed for good. The\n"
                 "reason is kept in the history of the run.\n" EXIT_CODES_OF_A_REQUEST,
        .arguments_min = 2,
        .arguments_max = 2,
        .options = TO_CLUSTER | OPTIONS_CONTROL | OPTIONS_RESOLVE,
        .run = cmd_control,
    },
    {
        .name = "workers",
        .summary = "Show who is there, what they serve and how busy they are.",
        .example = "  backstep workers -b kafka:9092\n",
        .options = TO_CLUSTER,
        .only_reads = true,
        .run = cmd_workers,
    },
    {
        .name = "topics",
        .summary = "Make the topics that are missing, verify and show them.",
        .example = "  backstep topics -b kafka:9092 --progress-partitions 8 --replication 3\n",
        .options = TO_CLUSTER | OPTIONS_TOPICS,
        .run = cmd_topics,
    },
    {
        .name = "check",
        .arguments = "FILE...",
        .summary = "Read pipeline files and name every mistake in them.",
        .example = "  backstep check upload.yaml --steps steps\n",
        .notes = "With --steps it also names the handlers that no program there serves, and the programs that do not look at their "
                 "first\n"
                 "argument: they would act again on rollback.\n",
        .arguments_min = 1,
        .arguments_max = ANY_NUMBER,
        .options = OPTIONS_OUTPUT | OPTIONS_CHECK,
        .run = cmd_check,
    },
    {
        .name = "plan",
        .arguments = "FILE",
        .summary = "Draw the order of a pipeline's steps, with the share of each.",
        .example = "  backstep plan upload.yaml\n"
                   "  backstep plan upload.yaml -o json | backstep start -\n",
        .notes = "Steps in one bracket may run at the same time. With -o json it prints one file that needs no other.\n",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = OPTIONS_OUTPUT,
        .run = cmd_plan,
    },
    {
        .name = "dev",
        .summary = "A broker, a coordinator and a worker to play with, until Ctrl-C.",
        .example = "  backstep dev --steps steps\n"
                   "  backstep dev --address-file /tmp/address &\n"
                   "  backstep dev --steps steps --fault down=3s,every=20s --fault rtt=50ms\n",
        .notes =
            "Nothing is kept: the broker lives and dies with this process.\n"
            "\n"
            "FAULT says what shall go wrong with the broker, to see what comes of it:\n"
            "  down=TIME                it is away for so long\n"
            "  rtt=TIME[,for=TIME]      each of its answers takes so much longer (for good, if it is not said for how long)\n"
            "  error=NAME[,request=REQUEST][,count=N][,delay=TIME]\n"
            "                           the next N requests (1) of that kind (produce) are answered with that error of Kafka's\n"
            "                           protocol (NOT_LEADER_FOR_PARTITION, OUT_OF_ORDER_SEQUENCE_NUMBER, ...), with 'disconnect'\n"
            "                           not at all, with 'none' as ever, so much later\n"
            "and each may go on with ,after=TIME (from when all is up) and ,every=TIME (again and again). Errors that no request has\n"
            "met when it is time for the next are not added to.\n",
        .options = OPTIONS_OUTPUT | OPTIONS_DEV | OPTIONS_SLOTS,
        .run = cmd_dev,
    },
    {
        .name = "completion",
        .arguments = "bash|zsh|fish",
        .summary = "Print a script for the shell's tab completion.",
        .example = "  . <(backstep completion bash)\n"
                   "  backstep completion zsh >~/.zsh/completions/_backstep\n"
                   "  backstep completion fish >~/.config/fish/completions/backstep.fish\n",
        .notes =
            "It completes commands, options, and the ids of runs on the brokers that the command line names. An installation has\n"
            "put all three where the shells look for them.\n",
        .arguments_min = 1,
        .arguments_max = 1,
        .run = cmd_completion,
    },
    {
        .name = "version",
        .summary = "Print the version.",
        .example = "  backstep version\n",
        .options = OPTIONS_OUTPUT,
        .run = cmd_version,
    },
};

const size_t command_count = sizeof commands / sizeof *commands;

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

const char *command_suggest(const char *name)
{
    const char *names[sizeof commands / sizeof *commands + 1] = {NULL};
    for (size_t i = 0; i < command_count; i++) {
        names[i] = commands[i].name;
    }
    return name_suggest(span_of(name), names);
}

void commands_append_overview(struct text *out)
{
    text_append_string(out, "Backstep runs pipelines of steps on Kafka, and rolls them back in order when one fails.\n"
                            "\n"
                            "Try it         backstep run FILE --steps DIR      everything at once, no Kafka needed\n"
                            "Develop        backstep dev                       a broker, a coordinator and a worker to play with\n"
                            "In production  backstep serve -b BROKERS          the coordinator\n"
                            "               backstep-worker -b BROKERS --steps DIR\n"
                            "Runs           start  status  list  watch  events  history  logs\n"
                            "               cancel  pause  resume  retry  rollback  resolve\n"
                            "Files          check  plan\n"
                            "Cluster        workers  topics\n"
                            "Shell          completion\n"
                            "\n"
                            "backstep COMMAND --help tells more, with an example; backstep version says which one this is.\n");
}

void command_append_help(const struct command *command, struct text *out)
{
    text_format(out, "%s\n\nUsage: backstep %s%s%s [OPTION...]\n\n", command->summary, command->name,
                command->arguments != NULL ? " " : "", command->arguments != NULL ? command->arguments : "");
    text_append_string(out, command->example);
    if (command->notes != NULL) {
        text_format(out, "\n%s", command->notes);
    }
    text_append_string(out, "\nOptions:\n");
    options_append_help(out, default_options, command->options | OPTIONS_COMMON, 0);
}
