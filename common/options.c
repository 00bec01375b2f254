/* SPDX-License-Identifier: Apache-2.0 */
#include "common/options.h"

#include "common/arena.h"
#include "common/file.h"
#include "common/limits.h"
#include "common/names.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sources, the strongest last. */
enum source { FROM_FILE, FROM_ENVIRONMENT, FROM_COMMAND_LINE, SOURCE_COUNT };

struct entry {
    struct entry *next;
    const char *value;
    const char *origin;
};

struct entries {
    struct entry *first, *last;
    size_t count;
};

/* One option of this command. */
struct setting {
    const struct option_spec *spec;
    struct entries given[SOURCE_COUNT];
    const char **list; /* repeatable: all of them, the strongest last */
    size_t list_count;
};

struct options {
    struct arena arena;
    const struct option_spec *specs;
    unsigned sets;
    struct setting *settings;
    size_t setting_count;
    const char **arguments;
    size_t argument_count;
    bool help;
};

static void *must(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* ---- finding */

static struct setting *find_setting(const struct options *options, struct span name)
{
    for (size_t i = 0; i < options->setting_count; i++) {
        if (span_equal(name, span_of(options->settings[i].spec->name))) {
            return &options->settings[i];
        }
    }
    return NULL;
}

static struct setting *find_letter(const struct options *options, char letter)
{
    for (size_t i = 0; i < options->setting_count; i++) {
        if (letter != 0 && options->settings[i].spec->letter == letter) {
            return &options->settings[i];
        }
    }
    return NULL;
}

static bool is_known_elsewhere(const struct options *options, struct span name)
{
    for (const struct option_spec *spec = options->specs; spec->name != NULL; spec++) {
        if (span_equal(name, span_of(spec->name))) {
            return true;
        }
    }
    return false;
}

/* The first row of a name within the sets is the one that counts. */
static void choose_settings(struct options *options)
{
    size_t count = 0;
    while (options->specs[count].name != NULL) {
        count++;
    }
    options->settings = must(arena_take_array(&options->arena, count, sizeof *options->settings));
    for (const struct option_spec *spec = options->specs; spec->name != NULL; spec++) {
        if ((spec->sets & options->sets) != 0 && find_setting(options, span_of(spec->name)) == NULL) {
            options->settings[options->setting_count++].spec = spec;
        }
    }
}

static const char *suggest(const struct options *options, struct span name)
{
    const char **names = calloc(options->setting_count + 1, sizeof *names);
    for (size_t i = 0; names != NULL && i < options->setting_count; i++) {
        names[i] = options->settings[i].spec->name;
    }
    const char *suggestion = names != NULL ? name_suggest(name, names) : NULL;
    free(names);
    return suggestion;
}

/* ---- checking a value. Messages follow the option's name: "--lease: ..." */

static bool parse_integer(const char *value, int64_t *number)
{
    char *end;
    errno = 0;
    *number = strtoll(value, &end, 10);
    return errno == 0 && end != value && *end == '\0' && !isspace((unsigned char)value[0]);
}

static int64_t most_of(const struct option_spec *spec)
{
    return spec->least == 0 && spec->most == 0 ? INT64_MAX : spec->most;
}

static bool check_number(const struct option_spec *spec, const char *value, struct error *error)
{
    int64_t number, most = most_of(spec);
    if (parse_integer(value, &number) && number >= spec->least && number <= most) {
        return true;
    }
    if (most == INT64_MAX) {
        return error_set(error, ERROR_INVALID, "'%s' is no integer from %lld on", SHOWN(span_of(value)), (long long)spec->least);
    }
    return error_set(error, ERROR_INVALID, "'%s' is no integer from %lld to %lld", SHOWN(span_of(value)), (long long)spec->least,
                     (long long)most);
}

static bool check_duration(const struct option_spec *spec, const char *value, struct error *error)
{
    int64_t duration_ms;
    if (!duration_parse(span_of(value), &duration_ms, error)) {
        return false;
    }
    if (duration_ms >= spec->least && duration_ms <= most_of(spec)) {
        return true;
    }
    struct text range;
    text_init(&range, 100);
    duration_append(&range, spec->least);
    text_append_string(&range, " to ");
    duration_append(&range, spec->most);
    error_set(error, ERROR_INVALID, "'%s' is not within %s", SHOWN(span_of(value)), text_string(&range));
    text_fini(&range);
    return false;
}

static bool check_choice(const struct option_spec *spec, const char *value, struct error *error)
{
    struct text expected;
    text_init(&expected, 400);
    for (const char *const *choice = spec->choices; *choice != NULL; choice++) {
        if (strcmp(*choice, value) == 0) {
            text_fini(&expected);
            return true;
        }
        const char *before = choice == spec->choices ? "" : choice[1] == NULL ? " or " : ", ";
        text_format(&expected, "%s%s", before, *choice);
    }
    error_set(error, ERROR_INVALID, "'%s' is none of %s", SHOWN(span_of(value)), text_string(&expected));
    text_fini(&expected);
    return false;
}

static bool is_secret(const struct option_spec *spec, struct span name)
{
    for (const char *const *secret = spec->secrets; *secret != NULL; secret++) {
        if (span_equal(name, span_of(*secret))) {
            return true;
        }
    }
    return false;
}

static bool refuse_secret(const char *shown, struct error *error)
{
    return error_set(error, ERROR_INVALID,
                     "%s is a secret, and everybody sees the command line of a process; write it in a file, or in the environment",
                     shown);
}

static bool check_pair(const struct option_spec *spec, enum source source, const char *value, struct error *error)
{
    const char *equals = strchr(value, '=');
    bool is_pair = equals != NULL && equals != value;
    if (!is_pair && spec->secrets != NULL && source != FROM_COMMAND_LINE) {
        return error_set(error, ERROR_INVALID, "is no NAME=VALUE");
    }
    if (!is_pair) {
        return error_set(error, ERROR_INVALID, "'%s' is no NAME=VALUE", SHOWN(span_of(value)));
    }
    struct span name = {value, (size_t)(equals - value)};
    if (spec->secrets != NULL && source == FROM_COMMAND_LINE && is_secret(spec, name)) {
        return refuse_secret(SHOWN(name), error);
    }
    return true;
}

static bool parse_flag(const char *value, bool *flag)
{
    static const char *const words[][2] = {{"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};
    for (size_t i = 0; i < 2 * (sizeof words / sizeof *words); i++) {
        if (strcasecmp(value, words[i / 2][i % 2]) == 0) {
            *flag = i % 2 == 1;
            return true;
        }
    }
    return false;
}

static bool check_value(const struct option_spec *spec, enum source source, const char *value, struct error *error)
{
    bool flag;
    switch (spec->kind) {
    case OPTION_FLAG:
        return parse_flag(value, &flag) ||
               error_set(error, ERROR_INVALID, "'%s' is neither true nor false", SHOWN(span_of(value)));
    case OPTION_NUMBER: return check_number(spec, value, error);
    case OPTION_DURATION: return check_duration(spec, value, error);
    case OPTION_CHOICE: return check_choice(spec, value, error);
    case OPTION_IDENTIFIER: return identifier_check(span_of(value), error);
    case OPTION_ADDRESSES: return addresses_check(span_of(value), error);
    case OPTION_PAIR: return check_pair(spec, source, value, error);
    case OPTION_TEXT: break;
    }
    return value[0] != '\0' || error_set(error, ERROR_INVALID, "is empty; %s is expected", spec->value);
}

/* `value` is copied. */
static bool add_entry(struct options *options, struct setting *setting, enum source source, struct span value, const char *origin,
                      struct error *error)
{
    struct entry *entry = must(arena_take(&options->arena, sizeof *entry));
    entry->value = must(arena_copy(&options->arena, value));
    entry->origin = must(arena_copy(&options->arena, span_of(origin)));
    if (!check_value(setting->spec, source, entry->value, error)) {
        return source == FROM_COMMAND_LINE ? error_prefix(error, "--%s", setting->spec->name) : error_prefix(error, "%s", origin);
    }
    struct entries *given = &setting->given[source];
    if (given->last != NULL) {
        given->last->next = entry;
    } else {
        given->first = entry;
    }
    given->last = entry;
    given->count++;
    return true;
}

/* ---- the command line */

struct line {
    const char *const *words;
    size_t count, at;
};

#define COMMAND_LINE "the command line"

static bool want_value(const struct option_spec *spec, struct error *error)
{
    return error_set(error, ERROR_INVALID, "--%s needs a value: --%s %s", spec->name, spec->name, spec->value);
}

/* The value of an option is what is stuck to it, else the next word. */
static bool take_value(struct options *options, struct setting *setting, const char *stuck, struct line *line, struct error *error)
{
    if (stuck == NULL && line->at == line->count) {
        return want_value(setting->spec, error);
    }
    const char *value = stuck != NULL ? stuck : line->words[line->at];
    if (stuck == NULL && value[0] == '-' && value[1] == '-') {
        return want_value(setting->spec, error); /* --opt=--value says it where it is meant */
    }
    line->at += stuck == NULL;
    return add_entry(options, setting, FROM_COMMAND_LINE, span_of(value), COMMAND_LINE, error);
}

static bool refuse_unknown(const struct options *options, struct span name, struct error *error)
{
    const char *suggestion = suggest(options, name);
    if (is_known_elsewhere(options, name)) {
        return error_set(error, ERROR_INVALID, "--%s is no option of this command", SHOWN(name));
    }
    if (suggestion != NULL) {
        return error_set(error, ERROR_INVALID, "there is no option '--%s'; did you mean '--%s'?", SHOWN(name), suggestion);
    }
    return error_set(error, ERROR_INVALID, "there is no option '--%s'", SHOWN(name));
}

static bool read_long(struct options *options, const char *word, struct line *line, struct error *error)
{
    struct span name = {word, strcspn(word, "=")};
    const char *stuck = word[name.size] == '=' ? word + name.size + 1 : NULL;
    struct setting *setting = find_setting(options, name);
    if (span_equal(name, span_of("help"))) {
        options->help = true;
        return true;
    }
    if (setting == NULL) {
        return refuse_unknown(options, name, error);
    }
    if (setting->spec->kind != OPTION_FLAG) {
        return take_value(options, setting, stuck, line, error);
    }
    return add_entry(options, setting, FROM_COMMAND_LINE, span_of(stuck != NULL ? stuck : "true"), COMMAND_LINE, error);
}

/* -q, -bVALUE, -b VALUE, -qb VALUE */
static bool read_letters(struct options *options, const char *word, struct line *line, struct error *error)
{
    for (; *word != '\0'; word++) {
        struct setting *setting = find_letter(options, *word);
        if (*word == 'h') {
            options->help = true;
            return true;
        }
        if (setting == NULL) {
            return error_set(error, ERROR_INVALID, "there is no option '-%s'", SHOWN(((struct span){word, 1})));
        }
        if (setting->spec->kind != OPTION_FLAG) {
            return take_value(options, setting, word[1] != '\0' ? word + 1 : NULL, line, error);
        }
        if (!add_entry(options, setting, FROM_COMMAND_LINE, span_of("true"), COMMAND_LINE, error)) {
            return false;
        }
    }
    return true;
}

static bool asks_for_help(const struct options_input *input)
{
    for (size_t i = 0; i < input->argument_count && strcmp(input->arguments[i], "--") != 0; i++) {
        if (strcmp(input->arguments[i], "--help") == 0 || strcmp(input->arguments[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

static bool read_command_line(struct options *options, const struct options_input *input, struct error *error)
{
    struct line line = {input->arguments, input->argument_count, 0};
    bool only_arguments = false;
    options->arguments = must(arena_take_array(&options->arena, input->argument_count + 1, sizeof *options->arguments));
    while (line.at < line.count && !options->help) {
        const char *word = line.words[line.at++];
        if (only_arguments || word[0] != '-' || word[1] == '\0') {
            options->arguments[options->argument_count++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_arguments = true;
        } else if (word[1] == '-' ? !read_long(options, word + 2, &line, error) : !read_letters(options, word + 1, &line, error)) {
            return false;
        }
    }
    return true;
}

/* ---- the environment */

static void environment_name(char *to, size_t size, const char *name)
{
    snprintf(to, size, "BACKSTEP_%s", name);
    for (; *to != '\0'; to++) {
        *to = *to == '-' ? '_' : (char)toupper((unsigned char)*to);
    }
}

static bool add_lines(struct options *options, struct setting *setting, const char *value, const char *origin, struct error *error)
{
    while (*value != '\0') {
        struct span line = {value, strcspn(value, "\n")};
        if (line.size > 0 && !add_entry(options, setting, FROM_ENVIRONMENT, line, origin, error)) {
            return false;
        }
        value += line.size + (value[line.size] == '\n');
    }
    return true;
}

static bool read_environment(struct options *options, const struct options_input *input, struct error *error)
{
    for (size_t i = 0; i < options->setting_count; i++) {
        struct setting *setting = &options->settings[i];
        char name[80];
        environment_name(name, sizeof name, setting->spec->name);
        const char *value = !input->daemon && !setting->spec->environment ? NULL
                            : input->environment != NULL                  ? input->environment(name)
                                                                          : getenv(name);
        if (value == NULL || value[0] == '\0') {
            continue;
        }
        bool ok = setting->spec->repeatable ? add_lines(options, setting, value, name, error)
                                            : add_entry(options, setting, FROM_ENVIRONMENT, span_of(value), name, error);
        if (!ok) {
            return false;
        }
        if (setting->spec->secrets != NULL && input->environment == NULL) {
            unsetenv(name); /* what we start inherits no secret */
        }
    }
    return true;
}

/* ---- the configuration file */

static struct span trimmed(struct span span)
{
    while (span.size > 0 && isspace((unsigned char)span.bytes[0])) {
        span.bytes++;
        span.size--;
    }
    while (span.size > 0 && isspace((unsigned char)span.bytes[span.size - 1])) {
        span.size--;
    }
    return span;
}

static bool refuse_name(const struct options *options, struct span name, struct error *error)
{
    const char **names = calloc(256, sizeof *names);
    size_t count = 0;
    for (const struct option_spec *spec = options->specs; names != NULL && spec->name != NULL && count < 255; spec++) {
        names[count++] = spec->name;
    }
    const char *suggestion = names != NULL ? name_suggest(name, names) : NULL;
    free(names);
    if (suggestion != NULL) {
        return error_set(error, ERROR_INVALID, "there is no option '%s'; did you mean '%s'?", SHOWN(name), suggestion);
    }
    return error_set(error, ERROR_INVALID, "there is no option '%s'", SHOWN(name));
}

/* An option of another command is none of ours: one file may serve all of them. */
static bool add_file_entry(struct options *options, struct span name, struct span value, const char *where, struct error *error)
{
    char origin[300];
    struct setting *setting = find_setting(options, name);
    snprintf(origin, sizeof origin, "%s: %s", where, SHOWN(name));
    if (span_equal(name, span_of("config"))) {
        error_set(error, ERROR_INVALID, "a configuration file names no other");
        return error_prefix(error, "%s", where);
    }
    if (setting != NULL) {
        return add_entry(options, setting, FROM_FILE, value, origin, error);
    }
    return is_known_elsewhere(options, name) || (refuse_name(options, name, error), error_prefix(error, "%s", where));
}

/* X.name = value */
static bool add_property(struct options *options, struct span name, struct span value, const char *where, struct error *error)
{
    struct setting *setting = find_setting(options, span_of("property"));
    struct text pair;
    text_init(&pair, LIMIT_CONFIG_FILE_BYTES);
    text_append(&pair, name.bytes + 2, name.size - 2);
    text_append_char(&pair, '=');
    text_append_span(&pair, value);
    bool ok = setting == NULL || add_entry(options, setting, FROM_FILE, text_span(&pair), where, error);
    text_fini(&pair);
    return ok;
}

static bool read_config_line(struct options *options, struct span line, const char *where, struct error *error)
{
    line = trimmed(line);
    if (line.size == 0 || line.bytes[0] == '#') {
        return true;
    }
    const char *equals = memchr(line.bytes, '=', line.size);
    if (equals == NULL || equals == line.bytes) {
        size_t word = 0; /* what follows may be a secret */
        while (word < line.size && !isspace((unsigned char)line.bytes[word])) {
            word++;
        }
        return error_set(error, ERROR_INVALID, "%s: '%s' is no 'option = value'", where, SHOWN(((struct span){line.bytes, word})));
    }
    struct span name = trimmed((struct span){line.bytes, (size_t)(equals - line.bytes)});
    struct span value = trimmed((struct span){equals + 1, line.size - (size_t)(equals - line.bytes) - 1});
    if (name.size > 2 && name.bytes[0] == 'X' && name.bytes[1] == '.') {
        return add_property(options, name, value, where, error);
    }
    return add_file_entry(options, name, value, where, error);
}

/* What a line of a file is given to; `setting`: what the file fills, NULL for a configuration file. */
static bool take_config_line(struct options *options, struct setting *setting, struct span line, const char *where,
                             struct error *error)
{
    if (setting == NULL) {
        return read_config_line(options, line, where, error);
    }
    line = trimmed(line);
    if (line.size == 0 || line.bytes[0] == '#') {
        return true;
    }
    const char *equals = memchr(line.bytes, '=', line.size);
    size_t size = equals != NULL ? (size_t)(equals - line.bytes) : line.size;
    struct span name = trimmed((struct span){line.bytes, size});
    struct text pair;
    text_init(&pair, LIMIT_CONFIG_FILE_BYTES);
    text_append_span(&pair, name);
    if (equals != NULL) {
        text_append_char(&pair, '=');
        text_append_span(&pair, trimmed((struct span){equals + 1, line.size - size - 1}));
    }
    bool ok = add_entry(options, setting, FROM_FILE, text_span(&pair), where, error);
    text_fini(&pair);
    return ok;
}

static bool read_config_text(struct options *options, struct setting *setting, struct span text, const char *path,
                             struct error *error)
{
    if (text.size > LIMIT_CONFIG_FILE_BYTES) {
        return error_set(error, ERROR_INVALID, "%s: is larger than %d KiB", path, LIMIT_CONFIG_FILE_BYTES / KIB);
    }
    if (text.size > 0 && memchr(text.bytes, '\0', text.size) != NULL) {
        return error_set(error, ERROR_INVALID, "%s: is no text: it holds NUL bytes", path);
    }
    int number = 1;
    for (size_t at = 0; at < text.size; number++) {
        const char *end = memchr(text.bytes + at, '\n', text.size - at);
        size_t size = end != NULL ? (size_t)(end - text.bytes) - at : text.size - at;
        char where[250];
        snprintf(where, sizeof where, "%.200s:%d", path, number);
        if (!take_config_line(options, setting, (struct span){text.bytes + at, size}, where, error)) {
            return false;
        }
        at += size + 1;
    }
    return true;
}

static bool read_config_file(struct options *options, struct setting *setting, const char *path, struct error *error)
{
    struct text text;
    text_init(&text, LIMIT_CONFIG_FILE_BYTES + 64 * KIB);
    bool ok = file_read(path, &text, LIMIT_CONFIG_FILE_BYTES, error) || error_prefix(error, "%s", path);
    ok = ok && read_config_text(options, setting, text_span(&text), path, error);
    text_fini(&text);
    return ok;
}

static bool read_config(struct options *options, struct error *error)
{
    const char *path = find_setting(options, span_of("config")) != NULL ? option_text(options, "config") : NULL;
    if (path != NULL && !read_config_file(options, NULL, path, error)) {
        return false;
    }
    for (size_t i = 0; i < options->setting_count; i++) {
        const struct option_spec *spec = options->settings[i].spec;
        path = spec->fills != NULL ? option_text(options, spec->name) : NULL;
        if (path != NULL && !read_config_file(options, find_setting(options, span_of(spec->fills)), path, error)) {
            return false;
        }
    }
    return true;
}

/* ---- all of it */

static void collect_lists(struct options *options)
{
    for (size_t i = 0; i < options->setting_count; i++) {
        struct setting *setting = &options->settings[i];
        size_t count = 0;
        for (int source = 0; source < SOURCE_COUNT; source++) {
            count += setting->given[source].count;
        }
        setting->list = must(arena_take_array(&options->arena, count + 1, sizeof *setting->list));
        for (int source = 0; source < SOURCE_COUNT; source++) {
            for (const struct entry *entry = setting->given[source].first; entry != NULL; entry = entry->next) {
                setting->list[setting->list_count++] = entry->value;
            }
        }
    }
}

struct options *options_read(const struct options_input *input, struct error *error)
{
    struct options *options = must(calloc(1, sizeof *options));
    arena_init(&options->arena, 4 * KIB, (size_t)64 * MIB);
    options->specs = input->specs;
    options->sets = input->sets;
    options->help = asks_for_help(input);
    choose_settings(options);
    bool ok = options->help || (read_command_line(options, input, error) && (options->help || (read_environment(options, input, error) &&
                                                                                              read_config(options, error))));
    if (!ok) {
        options_free(options);
        return NULL;
    }
    collect_lists(options);
    return options;
}

void options_free(struct options *options)
{
    if (options != NULL) {
        arena_fini(&options->arena);
        free(options);
    }
}

bool options_help_wanted(const struct options *options)
{
    return options->help;
}

const char *const *options_arguments(const struct options *options, size_t *count)
{
    *count = options->argument_count;
    return options->arguments;
}

/* ---- asking */

static const struct setting *setting_of(const struct options *options, const char *name)
{
    const struct setting *setting = find_setting(options, span_of(name));
    assert(setting != NULL); /* a name that no row of this command's sets has */
    return setting;
}

static const struct entry *strongest(const struct setting *setting)
{
    for (int source = SOURCE_COUNT - 1; source >= 0; source--) {
        if (setting->given[source].last != NULL) {
            return setting->given[source].last;
        }
    }
    return NULL;
}

bool option_given(const struct options *options, const char *name)
{
    return strongest(setting_of(options, name)) != NULL;
}

const char *option_text(const struct options *options, const char *name)
{
    const struct setting *setting = setting_of(options, name);
    const struct entry *entry = strongest(setting);
    return entry != NULL ? entry->value : setting->spec->fallback;
}

bool option_flag(const struct options *options, const char *name)
{
    const char *value = option_text(options, name);
    bool flag = false;
    assert(setting_of(options, name)->spec->kind == OPTION_FLAG);
    return value != NULL && parse_flag(value, &flag) && flag;
}

int64_t option_number(const struct options *options, const char *name)
{
    const char *value = option_text(options, name);
    int64_t number = 0;
    assert(setting_of(options, name)->spec->kind == OPTION_NUMBER);
    return value != NULL && parse_integer(value, &number) ? number : 0;
}

int64_t option_duration_ms(const struct options *options, const char *name)
{
    const char *value = option_text(options, name);
    int64_t duration_ms = 0;
    assert(setting_of(options, name)->spec->kind == OPTION_DURATION); /* read as a number it would be 0 */
    return value != NULL && duration_parse(span_of(value), &duration_ms, NULL) ? duration_ms : 0;
}

const char *const *option_list(const struct options *options, const char *name, size_t *count)
{
    const struct setting *setting = setting_of(options, name);
    assert(setting->spec->repeatable);
    *count = setting->list_count;
    return setting->list;
}

const char *option_origin(const struct options *options, const char *name)
{
    const struct entry *entry = strongest(setting_of(options, name));
    return entry != NULL ? entry->origin : "default";
}

/* ---- help */

#define HELP_WIDTH 100
#define HELP_GAP 2

static void append_left(struct text *text, const struct option_spec *spec)
{
    if (spec->letter != 0) {
        text_format(text, "  -%c, --%s", spec->letter, spec->name);
    } else {
        text_format(text, "      --%s", spec->name);
    }
    if (spec->value != NULL) {
        text_format(text, " %s", spec->value);
    }
}

/* Words, broken where a line would be longer than `width`; further lines begin in `column`. */
static void append_wrapped(struct text *text, const char *words, size_t column, size_t width)
{
    size_t at = column;
    while (*words != '\0') {
        size_t size = strcspn(words, " ");
        if (at > column && at + 1 + size > width) {
            text_format(text, "\n%*s", (int)column, "");
            at = column;
        } else if (at > column) {
            text_append_char(text, ' ');
            at++;
        }
        text_append(text, words, size);
        at += size;
        words += size + (words[size] == ' ');
    }
    text_append_char(text, '\n');
}

static void append_row(struct text *text, const struct option_spec *spec, size_t column, size_t width)
{
    struct text left, right;
    text_init(&left, 200);
    text_init(&right, 1000);
    append_left(&left, spec);
    text_append_string(&right, spec->help);
    if (spec->fallback != NULL && spec->kind != OPTION_FLAG) {
        text_format(&right, " (default: %s)", spec->fallback);
    }
    text_append_string(text, text_string(&left));
    if (left.size + HELP_GAP > column) {
        text_format(text, "\n%*s", (int)column, "");
    } else {
        text_format(text, "%*s", (int)(column - left.size), "");
    }
    append_wrapped(text, text_string(&right), column, width);
    text_fini(&left);
    text_fini(&right);
}

static size_t left_width(const struct options *options)
{
    size_t widest = 0;
    for (size_t i = 0; i < options->setting_count; i++) {
        struct text left;
        text_init(&left, 200);
        append_left(&left, options->settings[i].spec);
        widest = left.size > widest ? left.size : widest;
        text_fini(&left);
    }
    return widest;
}

void options_append_help(struct text *text, const struct option_spec *specs, unsigned sets, size_t width)
{
    static const struct option_spec help = {.name = "help", .letter = 'h', .help = "Show this help."};
    struct options options = {.specs = specs, .sets = sets};
    arena_init(&options.arena, 4 * KIB, MIB);
    choose_settings(&options);
    size_t column = left_width(&options) + HELP_GAP;
    column = column > 36 ? 36 : column;
    for (size_t i = 0; i < options.setting_count; i++) {
        append_row(text, options.settings[i].spec, column, width > 0 ? width : HELP_WIDTH);
    }
    append_row(text, &help, column, width > 0 ? width : HELP_WIDTH);
    arena_fini(&options.arena);
}
