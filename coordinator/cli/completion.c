/* SPDX-License-Identifier: Apache-2.0 */
/* Three writers over the same two tables. What the scripts share: the run ids come from `backstep list`, asked of the brokers that stand
 * on the command line, for two seconds at most. */
#include "coordinator/cli/completion.h"

#include "coordinator/cli/commands.h"

#include <string.h>

/* ---- what the tables say */

/* What stands where a value or an argument is wanted. */
enum wanted { WANTED_NOTHING, WANTED_FILE, WANTED_DIRECTORY, WANTED_WORDS, WANTED_RUN };

static enum wanted wanted_of_option(const struct option_spec *spec)
{
    if (spec->kind == OPTION_CHOICE) {
        return WANTED_WORDS;
    }
    bool is_text = spec->kind == OPTION_TEXT && spec->value != NULL;
    return is_text && strcmp(spec->value, "FILE") == 0  ? WANTED_FILE
           : is_text && strcmp(spec->value, "DIR") == 0 ? WANTED_DIRECTORY
                                                        : WANTED_NOTHING;
}

/* Of a command's first argument, by how the usage line shows it. */
static enum wanted wanted_of_argument(const struct command *command)
{
    const char *shown = command->arguments != NULL ? command->arguments : "";
    shown += shown[0] == '[';
    return strncmp(shown, "RUN", 3) == 0    ? WANTED_RUN
           : strncmp(shown, "FILE", 4) == 0 ? WANTED_FILE
           : strchr(shown, '|') != NULL     ? WANTED_WORDS
                                            : WANTED_NOTHING;
}

/* "bash|zsh|fish" as words. */
static void append_words(struct text *out, const char *bars)
{
    for (; *bars != '\0'; bars++) {
        text_append_char(out, *bars == '|' ? ' ' : *bars);
    }
}

static void append_choices(struct text *out, const struct option_spec *spec)
{
    for (size_t i = 0; spec->choices[i] != NULL; i++) {
        text_format(out, "%s%s", i > 0 ? " " : "", spec->choices[i]);
    }
}

/* The first row of a name within a command's sets is the one that counts. */
static bool is_option_of(const struct command *command, const struct option_spec *spec)
{
    unsigned sets = command->options | OPTIONS_COMMON;
    for (const struct option_spec *row = default_options; row < spec; row++) {
        if ((row->sets & sets) != 0 && strcmp(row->name, spec->name) == 0) {
            return false;
        }
    }
    return (spec->sets & sets) != 0;
}

static const struct option_spec *next_option(const struct command *command, const struct option_spec *spec)
{
    for (spec = spec == NULL ? default_options : spec + 1; spec->name != NULL; spec++) {
        if (is_option_of(command, spec)) {
            return spec;
        }
    }
    return NULL;
}

/* Within single quotes of a shell, backslashing those of `special`. */
static void append_quoted(struct text *out, const char *words, const char *special)
{
    for (; *words != '\0'; words++) {
        if (*words == '\'') {
            text_append_string(out, "'\\''");
        } else {
            text_append_string(out, strchr(special, *words) != NULL ? "\\" : "");
            text_append_char(out, *words);
        }
    }
}

/* ---- bash */

static const char bash_begin[] =
    "# Tab completion of backstep for bash; printed by: backstep completion bash\n"
    "_backstep_runs()\n"
    "{\n"
    "    local words where=() i id rest\n"
    "    read -ra words <<<\"${COMP_LINE:0:COMP_POINT}\"\n"
    "    for ((i = 1; i + 1 < ${#words[@]}; i++)); do\n"
    "        case ${words[i]} in\n"
    "        -b | --brokers | --prefix | -X | --property | --kafka-config | -F | --config) where+=(\"${words[i]}\" \"${words[i + "
    "1]}\") ;;\n"
    "        esac\n"
    "    done\n"
    "    \"${words[0]}\" list --quiet --timeout 2s \"${where[@]}\" 2>/dev/null | while read -r id rest; do echo \"$id\"; done\n"
    "}\n"
    "\n"
    "_backstep()\n"
    "{\n"
    "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
    "    local options='' argument='' value='' i\n"
    "    COMPREPLY=()\n"
    "    if [ \"$current\" = = ]; then\n"
    "        current=\n"
    "    elif [ \"$previous\" = = ]; then\n"
    "        previous=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    fi\n"
    "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
    "        COMPREPLY=($(compgen -W '";
static const char bash_commands[] = "--help --version' -- \"$current\"))\n"
                                    "        return\n"
                                    "    fi\n"
                                    "    case ${COMP_WORDS[1]} in\n";
static const char bash_end[] = "    esac\n"
                               "    case $value in\n"
                               "    '') ;;\n"
                               "    none) return ;;\n"
                               "    file) COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n"
                               "    directory) COMPREPLY=($(compgen -d -- \"$current\")); return ;;\n"
                               "    *) COMPREPLY=($(compgen -W \"$value\" -- \"$current\")); return ;;\n"
                               "    esac\n"
                               "    case $current,$argument in\n"
                               "    -*) COMPREPLY=($(compgen -W \"$options --help\" -- \"$current\")) ;;\n"
                               "    *,run) COMPREPLY=($(compgen -W \"$(_backstep_runs)\" -- \"$current\")) ;;\n"
                               "    *,file) COMPREPLY=($(compgen -f -- \"$current\")) ;;\n"
                               "    *,) ;;\n"
                               "    *) COMPREPLY=($(compgen -W \"$argument\" -- \"$current\")) ;;\n"
                               "    esac\n"
                               "}\n"
                               "\n"
                               "complete -o filenames -F _backstep backstep\n";

static void bash_value(struct text *out, const struct option_spec *spec)
{
    text_append_string(out, "        ");
    if (spec->letter != 0) {
        text_format(out, "-%c | ", spec->letter);
    }
    text_format(out, "--%s) value='", spec->name);
    switch (wanted_of_option(spec)) {
    case WANTED_WORDS: append_choices(out, spec); break;
    case WANTED_FILE: text_append_string(out, "file"); break;
    case WANTED_DIRECTORY: text_append_string(out, "directory"); break;
    default: text_append_string(out, "none"); break;
    }
    text_append_string(out, "' ;;\n");
}

static void bash_argument(struct text *out, const struct command *command)
{
    switch (wanted_of_argument(command)) {
    case WANTED_RUN: text_append_string(out, "run"); break;
    case WANTED_FILE: text_append_string(out, "file"); break;
    case WANTED_WORDS: append_words(out, command->arguments); break;
    default: break;
    }
}

static void bash_command(struct text *out, const struct command *command)
{
    const struct option_spec *spec = NULL;
    text_format(out, "    %s)\n        options='", command->name);
    while ((spec = next_option(command, spec)) != NULL) {
        text_format(out, "--%s ", spec->name);
    }
    text_append_string(out, "'\n        argument='");
    bash_argument(out, command);
    text_append_string(out, "'\n        case $previous in\n");
    while ((spec = next_option(command, spec)) != NULL) {
        if (spec->kind != OPTION_FLAG) {
            bash_value(out, spec);
        }
    }
    text_append_string(out, "        esac\n        ;;\n");
}

static void append_bash(struct text *out)
{
    text_append_string(out, bash_begin);
    for (size_t i = 0; i < command_count; i++) {
        text_format(out, "%s ", commands[i].name);
    }
    text_append_string(out, bash_commands);
    for (size_t i = 0; i < command_count; i++) {
        bash_command(out, &commands[i]);
    }
    text_append_string(out, bash_end);
}

/* ---- zsh */

static const char zsh_begin[] =
    "#compdef backstep\n"
    "# Tab completion of backstep for zsh; printed by: backstep completion zsh\n"
    "_backstep_runs()\n"
    "{\n"
    "    local -a where ids\n"
    "    local i\n"
    "    for ((i = 2; i < ${#backstep_words}; i++)); do\n"
    "        case ${backstep_words[i]} in\n"
    "        -b | --brokers | --prefix | -X | --property | --kafka-config | -F | --config) where+=(\"${backstep_words[i]}\" "
    "\"${backstep_words[i + 1]}\") ;;\n"
    "        esac\n"
    "    done\n"
    "    ids=(${${(f)\"$(${backstep_words[1]} list --quiet --timeout 2s $where 2>/dev/null)\"}%% *})\n"
    "    compadd -a ids\n"
    "}\n"
    "\n"
    "_backstep()\n"
    "{\n"
    "    local -a backstep_words\n"
    "    backstep_words=($words)\n"
    "    if ((CURRENT == 2)); then\n"
    "        local -a found\n"
    "        found=(\n";
static const char zsh_commands[] = "        )\n"
                                   "        _describe command found\n"
                                   "        return\n"
                                   "    fi\n"
                                   "    local command=$words[2]\n"
                                   "    shift words\n"
                                   "    ((CURRENT--))\n"
                                   "    case $command in\n";
static const char zsh_end[] = "    esac\n"
                              "}\n"
                              "\n"
                              "if [ \"$funcstack[1]\" = _backstep ]; then\n"
                              "    _backstep \"$@\"\n"
                              "else\n"
                              "    compdef _backstep backstep\n"
                              "fi\n";

static void zsh_option(struct text *out, const struct option_spec *spec)
{
    text_append_string(out, " \\\n            ");
    text_append_string(out, spec->repeatable ? "\\*" : "");
    if (spec->letter != 0) {
        if (!spec->repeatable) {
            text_format(out, "'(-%c --%s)'", spec->letter, spec->name);
        }
        text_format(out, "{-%c,--%s}", spec->letter, spec->name);
    } else {
        text_format(out, "--%s", spec->name);
    }
    text_append_string(out, "'[");
    append_quoted(out, spec->help, "[]:\\");
    text_append_char(out, ']');
    if (spec->kind != OPTION_FLAG) {
        text_append_char(out, ':');
        append_quoted(out, spec->value, ":\\");
        text_append_char(out, ':');
        switch (wanted_of_option(spec)) {
        case WANTED_WORDS:
            text_append_char(out, '(');
            append_choices(out, spec);
            text_append_char(out, ')');
            break;
        case WANTED_FILE: text_append_string(out, "_files"); break;
        case WANTED_DIRECTORY: text_append_string(out, "_files -/"); break;
        default: text_append_char(out, ' '); break;
        }
    }
    text_append_char(out, '\'');
}

static void zsh_argument(struct text *out, const struct command *command)
{
    switch (wanted_of_argument(command)) {
    case WANTED_RUN: text_append_string(out, " \\\n            '1:run:_backstep_runs'"); break;
    case WANTED_FILE: text_append_string(out, " \\\n            '*:file:_files'"); break;
    case WANTED_WORDS:
        text_append_string(out, " \\\n            '1:word:(");
        append_words(out, command->arguments);
        text_append_string(out, ")'");
        break;
    default: break;
    }
}

static void zsh_command(struct text *out, const struct command *command)
{
    text_format(out, "    %s)\n        _arguments", command->name);
    for (const struct option_spec *spec = NULL; (spec = next_option(command, spec)) != NULL;) {
        zsh_option(out, spec);
    }
    text_append_string(out, " \\\n            '(-h --help)'{-h,--help}'[Show this help.]'");
    zsh_argument(out, command);
    text_append_string(out, "\n        ;;\n");
}

static void append_zsh(struct text *out)
{
    text_append_string(out, zsh_begin);
    for (size_t i = 0; i < command_count; i++) {
        text_format(out, "            '%s:", commands[i].name);
        append_quoted(out, commands[i].summary, ":\\");
        text_append_string(out, "'\n");
    }
    text_append_string(out, zsh_commands);
    for (size_t i = 0; i < command_count; i++) {
        zsh_command(out, &commands[i]);
    }
    text_append_string(out, zsh_end);
}

/* ---- fish */

static const char fish_begin[] =
    "# Tab completion of backstep for fish; printed by: backstep completion fish\n"
    "function __backstep_command\n"
    "    set -l words (commandline -opc)\n"
    "    test (count $words) -ge 2; and contains -- $words[2] $argv\n"
    "end\n"
    "\n"
    "function __backstep_no_command\n"
    "    test (count (commandline -opc)) -eq 1\n"
    "end\n"
    "\n"
    "function __backstep_runs\n"
    "    set -l words (commandline -opc)\n"
    "    set -l where\n"
    "    for i in (seq 2 (math (count $words) - 1))\n"
    "        if contains -- $words[$i] -b --brokers --prefix -X --property --kafka-config -F --config\n"
    "            set -a where $words[$i] $words[(math $i + 1)]\n"
    "        end\n"
    "    end\n"
    "    $words[1] list --quiet --timeout 2s $where 2>/dev/null | string replace -r ' .*' ''\n"
    "end\n"
    "\n"
    "complete -c backstep -f\n";

static void fish_begin_row(struct text *out, const struct command *command)
{
    text_format(out, "complete -c backstep -n '__backstep_command %s'", command->name);
}

static void fish_option(struct text *out, const struct command *command, const struct option_spec *spec)
{
    fish_begin_row(out, command);
    text_format(out, " -l %s", spec->name);
    if (spec->letter != 0) {
        text_format(out, " -s %c", spec->letter);
    }
    switch (spec->kind == OPTION_FLAG ? WANTED_RUN : wanted_of_option(spec)) {
    case WANTED_WORDS:
        text_append_string(out, " -x -a '");
        append_choices(out, spec);
        text_append_char(out, '\'');
        break;
    case WANTED_FILE: text_append_string(out, " -r -F"); break;
    case WANTED_DIRECTORY: text_append_string(out, " -x -a '(__fish_complete_directories)'"); break;
    case WANTED_NOTHING: text_append_string(out, " -x"); break;
    case WANTED_RUN: break; /* a flag */
    }
    text_append_string(out, " -d '");
    append_quoted(out, spec->help, "\\");
    text_append_string(out, "'\n");
}

static void fish_argument(struct text *out, const struct command *command)
{
    enum wanted wanted = wanted_of_argument(command);
    if (wanted == WANTED_NOTHING) {
        return;
    }
    fish_begin_row(out, command);
    if (wanted == WANTED_FILE) {
        text_append_string(out, " -F\n");
        return;
    }
    text_append_string(out, " -a '");
    append_words(out, wanted == WANTED_RUN ? "(__backstep_runs)" : command->arguments);
    text_append_string(out, "'\n");
}

static void append_fish(struct text *out)
{
    text_append_string(out, fish_begin);
    for (size_t i = 0; i < command_count; i++) {
        text_format(out, "\ncomplete -c backstep -n __backstep_no_command -a %s -d '", commands[i].name);
        append_quoted(out, commands[i].summary, "\\");
        text_append_string(out, "'\n");
        fish_argument(out, &commands[i]);
        for (const struct option_spec *spec = NULL; (spec = next_option(&commands[i], spec)) != NULL;) {
            fish_option(out, &commands[i], spec);
        }
        fish_begin_row(out, &commands[i]);
        text_append_string(out, " -l help -s h -d 'Show this help.'\n");
    }
}

/* ---- all */

static const struct {
    const char *shell;
    void (*append)(struct text *out);
} shells[] = {{"bash", append_bash}, {"zsh", append_zsh}, {"fish", append_fish}};

bool completion_append(struct text *out, const char *shell)
{
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (strcmp(shells[i].shell, shell) == 0) {
            shells[i].append(out);
            return true;
        }
    }
    return false;
}
