/* SPDX-License-Identifier: Apache-2.0 */
#include "common/defaults.h"
#include "common/limits.h"
#include "common/names.h"
#include "common/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { COMMON = 1, OTHER = 2, DAEMON = 4 };

static const char *const colours[] = {"red", "green", NULL};
static const char *const secrets[] = {"pass", NULL};
static const struct option_spec specs[] = {
    {.name = "brokers",
     .letter = 'b',
     .sets = COMMON,
     .kind = OPTION_ADDRESSES,
     .value = "HOST:PORT",
     .fallback = "127.0.0.1:9092",
     .environment = true,
     .help = "Kafka brokers."},
    {.name = "limit",
     .letter = 'n',
     .sets = COMMON,
     .kind = OPTION_NUMBER,
     .value = "N",
     .least = -1,
     .most = 10,
     .fallback = "5",
     .help = "At most so many, and a text that is long enough to be wrapped to another line of the help."},
    {.name = "lease",
     .sets = COMMON,
     .kind = OPTION_DURATION,
     .value = "TIME",
     .least = 2000,
     .most = 600000,
     .fallback = "30s",
     .help = "How long."},
    {.name = "colour", .sets = COMMON, .kind = OPTION_CHOICE, .value = "COLOUR", .choices = colours, .help = "Of it."},
    {.name = "param", .letter = 'p', .sets = COMMON, .kind = OPTION_PAIR, .value = "KEY=VALUE", .repeatable = true, .help = "One."},
    {.name = "property",
     .letter = 'X',
     .sets = COMMON,
     .kind = OPTION_PAIR,
     .value = "NAME=VALUE",
     .repeatable = true,
     .help = "One.",
     .secrets = secrets},
    {.name = "secrets",
     .sets = COMMON,
     .kind = OPTION_TEXT,
     .value = "FILE",
     .environment = true,
     .fills = "property",
     .help = "One."},
    {.name = "prefix", .sets = COMMON, .kind = OPTION_IDENTIFIER, .value = "P", .help = "One."},
    {.name = "quiet", .letter = 'q', .sets = COMMON, .kind = OPTION_FLAG, .help = "Say nothing."},
    {.name = "all", .letter = 'a', .sets = COMMON, .kind = OPTION_FLAG, .help = "All."},
    {.name = "config", .letter = 'F', .sets = COMMON, .kind = OPTION_TEXT, .value = "FILE", .environment = true, .help = "A file."},
    {.name = "wait", .sets = OTHER, .kind = OPTION_FLAG, .help = "Of another command."},
    {.name = NULL},
};

static const char *const *environment; /* NAME=VALUE, NULL at its end */

static const char *look_up(const char *name)
{
    for (const char *const *entry = environment; entry != NULL && *entry != NULL; entry++) {
        size_t size = strlen(name);
        if (strncmp(*entry, name, size) == 0 && (*entry)[size] == '=') {
            return *entry + size + 1;
        }
    }
    return NULL;
}

#define WORDS_MAX 8

struct given {
    const char *words[WORDS_MAX];
    const char *environment[4];
    bool daemon;
};

static struct options *read_given(const struct given *given, struct error *error)
{
    size_t count = 0;
    while (count < WORDS_MAX && given->words[count] != NULL) {
        count++;
    }
    environment = given->environment;
    struct options_input input = {
        .specs = specs, .sets = COMMON, .daemon = given->daemon, .arguments = given->words, .argument_count = count, .environment = look_up};
    return options_read(&input, error);
}

/* Everything that was given or has a default, in one line. */
static void describe(const struct options *options, struct text *text)
{
    size_t count;
    text_format(text, "b=%s n=%lld lease=%lld", option_text(options, "brokers"), (long long)option_number(options, "limit"),
                (long long)option_duration_ms(options, "lease"));
    text_format(text, "%s%s", option_flag(options, "quiet") ? " quiet" : "", option_flag(options, "all") ? " all" : "");
    static const char *const texts[] = {"colour", "prefix"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        if (option_given(options, texts[i])) {
            text_format(text, " %s=%s", texts[i], option_text(options, texts[i]));
        }
    }
    static const char *const lists[] = {"param", "property"};
    for (size_t i = 0; i < COUNT(lists); i++) {
        const char *const *list = option_list(options, lists[i], &count);
        for (size_t j = 0; j < count; j++) {
            text_format(text, " %s[%s]", lists[i], list[j]);
        }
    }
    const char *const *arguments = options_arguments(options, &count);
    for (size_t i = 0; i < count; i++) {
        text_format(text, " <%s>", arguments[i]);
    }
}

struct row {
    struct given given;
    const char *expected;
};

static void check(const struct row *row)
{
    struct error error = {0};
    struct text text;
    text_init(&text, 2000);
    struct options *options = read_given(&row->given, &error);
    if (options != NULL) {
        describe(options, &text);
    } else {
        assert_int_equal(error.kind, ERROR_INVALID);
        text_append_string(&text, error.message);
    }
    if (strcmp(text_string(&text), row->expected) != 0) {
        fail_msg("'%s'\n instead of '%s'", text_string(&text), row->expected);
    }
    text_fini(&text);
    options_free(options);
}

#define DEFAULTS "b=127.0.0.1:9092 n=5 lease=30000"

static void command_lines_are_read(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {{{NULL}, {NULL}, false}, DEFAULTS},
        {{{"--brokers", "k:1"}, {NULL}, false}, "b=k:1 n=5 lease=30000"},
        {{{"--brokers=k:1"}, {NULL}, false}, "b=k:1 n=5 lease=30000"},
        {{{"-b", "k:1"}, {NULL}, false}, "b=k:1 n=5 lease=30000"},
        {{{"-bk:1"}, {NULL}, false}, "b=k:1 n=5 lease=30000"},
        {{{"-qab", "k:1"}, {NULL}, false}, "b=k:1 n=5 lease=30000 quiet all"},
        {{{"-b", "a", "-b", "b"}, {NULL}, false}, "b=b n=5 lease=30000"},
        {{{"-n", "-1"}, {NULL}, false}, "b=127.0.0.1:9092 n=-1 lease=30000"},
        {{{"--lease=10m"}, {NULL}, false}, "b=127.0.0.1:9092 n=5 lease=600000"},
        {{{"-p", "a=1", "-pb=2", "--param=c=3=4"}, {NULL}, false}, DEFAULTS " param[a=1] param[b=2] param[c=3=4]"},
        {{{"one", "-q", "two", "--", "-q", "--x"}, {NULL}, false}, DEFAULTS " quiet <one> <two> <-q> <--x>"},
        {{{"-"}, {NULL}, false}, DEFAULTS " <->"},
        {{{"--quiet=false", "--all=yes"}, {NULL}, false}, DEFAULTS " all"},
        {{{"--colour", "green", "--prefix=p.1"}, {NULL}, false}, DEFAULTS " colour=green prefix=p.1"},
        {{{"--brokers=--x"}, {NULL}, false}, "b=--x n=5 lease=30000"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        check(&rows[i]);
    }
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {{{"--brokes=x"}, {NULL}, false}, "there is no option '--brokes'; did you mean '--brokers'?"},
        {{{"--zzzzzz"}, {NULL}, false}, "there is no option '--zzzzzz'"},
        {{{"--wait"}, {NULL}, false}, "--wait is no option of this command"},
        {{{"-z"}, {NULL}, false}, "there is no option '-z'"},
        {{{"-qz"}, {NULL}, false}, "there is no option '-z'"},
        {{{"--brokers"}, {NULL}, false}, "--brokers needs a value: --brokers HOST:PORT"},
        {{{"-b"}, {NULL}, false}, "--brokers needs a value: --brokers HOST:PORT"},
        {{{"--brokers", "--quiet"}, {NULL}, false}, "--brokers needs a value: --brokers HOST:PORT"},
        {{{"--brokers="}, {NULL}, false}, "--brokers: is empty; HOST:PORT is expected"},
        {{{"--brokers=a:1,,b:2"}, {NULL}, false}, "--brokers: '' has no host; write HOST:PORT, more of them separated by commas"},
        {{{"--brokers=a:1,"}, {NULL}, false}, "--brokers: '' has no host; write HOST:PORT, more of them separated by commas"},
        {{{"--brokers=:9092"}, {NULL}, false}, "--brokers: ':9092' has no host; write HOST:PORT, more of them separated by commas"},
        {{{"--brokers=a:1,b:99999"}, {NULL}, false}, "--brokers: 'b:99999' has no port from 1 to 65535 behind its colon"},
        {{{"--brokers=a:0"}, {NULL}, false}, "--brokers: 'a:0' has no port from 1 to 65535 behind its colon"},
        {{{"--brokers=a:"}, {NULL}, false}, "--brokers: 'a:' has no port from 1 to 65535 behind its colon"},
        {{{"--brokers=a:kafka"}, {NULL}, false}, "--brokers: 'a:kafka' has no port from 1 to 65535 behind its colon"},
        {{{"--brokers=[::1]:0x1"}, {NULL}, false}, "--brokers: '[::1]:0x1' has no port from 1 to 65535 behind its colon"},
        {{{"--limit", "many"}, {NULL}, false}, "--limit: 'many' is no integer from -1 to 10"},
        {{{"--limit", "11"}, {NULL}, false}, "--limit: '11' is no integer from -1 to 10"},
        {{{"--limit", "5x"}, {NULL}, false}, "--limit: '5x' is no integer from -1 to 10"},
        {{{"--limit", " 5"}, {NULL}, false}, "--limit: ' 5' is no integer from -1 to 10"},
        {{{"--limit", "99999999999999999999"}, {NULL}, false}, "--limit: '99999999999999999999' is no integer from -1 to 10"},
        {{{"--lease", "30"}, {NULL}, false}, "--lease: '30' is not a duration; write 500ms, 10s, 5m or 2h"},
        {{{"--lease", "1s"}, {NULL}, false}, "--lease: '1s' is not within 2s to 10m"},
        {{{"--colour", "blue"}, {NULL}, false}, "--colour: 'blue' is none of red or green"},
        {{{"-p", "novalue"}, {NULL}, false}, "--param: 'novalue' is no NAME=VALUE"},
        {{{"-p", "=1"}, {NULL}, false}, "--param: '=1' is no NAME=VALUE"},
        {{{"--prefix", "a b"}, {NULL}, false},
         "--prefix: 'a b' is no identifier: a blank stands in it; write a letter or digit, then letters, digits, '.', '_' and '-'"},
        {{{"--quiet=perhaps"}, {NULL}, false}, "--quiet: 'perhaps' is neither true nor false"},
        {{{"--\x1b[31m"}, {NULL}, false}, "there is no option '--\\x1b[31m'"},
        {{{"--config", "/nowhere/x"}, {NULL}, false}, "/nowhere/x: No such file or directory"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        check(&rows[i]);
    }
}

static void the_environment_is_under_the_command_line(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {{{NULL}, {"BACKSTEP_BROKERS=e:1"}, false}, "b=e:1 n=5 lease=30000"},
        {{{"-b", "c:1"}, {"BACKSTEP_BROKERS=e:1"}, false}, "b=c:1 n=5 lease=30000"},
        {{{"-b", "c, [::1]:65535, PLAINTEXT://d:9092,::1"}, {NULL}, false}, "b=c, [::1]:65535, PLAINTEXT://d:9092,::1 n=5 lease=30000"},
        {{{NULL}, {"BACKSTEP_BROKERS="}, false}, DEFAULTS},
        {{{NULL}, {"BACKSTEP_LIMIT=7"}, false}, DEFAULTS},
        {{{NULL}, {"BACKSTEP_LIMIT=7", "BACKSTEP_QUIET=1"}, true}, "b=127.0.0.1:9092 n=7 lease=30000 quiet"},
        {{{NULL}, {"BACKSTEP_LIMIT=x"}, true}, "BACKSTEP_LIMIT: 'x' is no integer from -1 to 10"},
        {{{"-X", "c=3"}, {"BACKSTEP_PROPERTY=a=1\nb=2\n"}, true}, DEFAULTS " property[a=1] property[b=2] property[c=3]"},
        {{{NULL}, {"BACKSTEP_UNKNOWN=x"}, true}, DEFAULTS},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        check(&rows[i]);
    }
}

/* Read `contents` as the file that option `name` names; PATH in the expectation stands for its name. */
static void check_file_of(const char *name, const char *contents, size_t size, const struct given *given, const char *expected)
{
    char path[] = "/tmp/backstep-options-XXXXXX", full[600];
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, contents, size), size);
    const char *mark = strstr(expected, "PATH");
    snprintf(full, sizeof full, "%s%s", mark != NULL ? path : "", mark != NULL ? mark + 4 : expected);
    struct row row = {*given, full};
    char option[60];
    snprintf(option, sizeof option, "--%s=%s", name, path);
    for (size_t i = 0; i < WORDS_MAX; i++) {
        if (row.given.words[i] == NULL) {
            row.given.words[i] = option;
            break;
        }
    }
    check(&row);
    close(file);
    unlink(path);
}

static void check_file(const char *contents, size_t size, const struct given *given, const char *expected)
{
    check_file_of("config", contents, size, given, expected);
}

static void files_are_under_the_environment(void **state)
{
    (void)state;
    static const struct {
        const char *contents;
        struct given given;
        const char *expected;
    } rows[] = {
        {"", {{NULL}, {NULL}, false}, DEFAULTS},
        {"# a comment\n\n  brokers = f:1  \r\n\tlimit=3\nquiet = true", {{NULL}, {NULL}, false}, "b=f:1 n=3 lease=30000 quiet"},
        {"brokers = f:1\n", {{"-b", "c:1"}, {NULL}, false}, "b=c:1 n=5 lease=30000"},
        {"brokers = f:1\n", {{NULL}, {"BACKSTEP_BROKERS=e:1"}, false}, "b=e:1 n=5 lease=30000"},
        {"X.security.protocol = SSL\nX.a=b=c\n",
         {{"-X", "a=z"}, {NULL}, false},
         DEFAULTS " property[security.protocol=SSL] property[a=b=c] property[a=z]"},
        {"wait = true\n", {{NULL}, {NULL}, false}, DEFAULTS},
        {"\nbrokes = x\n", {{NULL}, {NULL}, false}, "PATH:2: there is no option 'brokes'; did you mean 'brokers'?"},
        {"zzzzzz = x\n", {{NULL}, {NULL}, false}, "PATH:1: there is no option 'zzzzzz'"},
        {"brokers\n", {{NULL}, {NULL}, false}, "PATH:1: 'brokers' is no 'option = value'"},
        {"X.sasl.password hunter2\n", {{NULL}, {NULL}, false}, "PATH:1: 'X.sasl.password' is no 'option = value'"},
        {"= x\n", {{NULL}, {NULL}, false}, "PATH:1: '=' is no 'option = value'"},
        {"limit = x\n", {{NULL}, {NULL}, false}, "PATH:1: limit: 'x' is no integer from -1 to 10"},
        {"limit =\n", {{NULL}, {NULL}, false}, "PATH:1: limit: '' is no integer from -1 to 10"},
        {"config = x\n", {{NULL}, {NULL}, false}, "PATH:1: a configuration file names no other"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        check_file(rows[i].contents, strlen(rows[i].contents), &rows[i].given, rows[i].expected);
    }
    static const struct given nothing = {{NULL}, {NULL}, false};
    static char large[LIMIT_CONFIG_FILE_BYTES + 1];
    check_file("a\0b", 3, &nothing, "PATH: is no text: it holds NUL bytes");
    memset(large, '\n', sizeof large);
    check_file(large, sizeof large, &nothing, "PATH: is larger than 64 KiB");
    check_file(large, sizeof large - 1, &nothing, DEFAULTS);
}

/* A file of nothing but pairs, and what must not be seen. */
static void a_secret_comes_from_a_file_or_the_environment(void **state)
{
    (void)state;
    static const struct {
        const char *contents;
        struct given given;
        const char *expected;
    } rows[] = {
        {"# who\n\n user = me \npass = a=b \n", {{NULL}, {NULL}, false}, DEFAULTS " property[user=me] property[pass=a=b]"},
        {"user = me\n",
         {{"-X", "user=you"}, {"BACKSTEP_PROPERTY=pass=x"}, true},
         DEFAULTS " property[user=me] property[pass=x] property[user=you]"},
        {"",
         {{"-X", "pass=hunter2"}, {NULL}, false},
         "--property: pass is a secret, and everybody sees the command line of a process; write it in a file, or in the "
         "environment"},
        {"pass hunter2\n", {{NULL}, {NULL}, false}, "PATH:1: is no NAME=VALUE"},
        {"", {{NULL}, {"BACKSTEP_PROPERTY=hunter2"}, true}, "BACKSTEP_PROPERTY: is no NAME=VALUE"},
        {"= hunter2\n", {{NULL}, {NULL}, false}, "PATH:1: is no NAME=VALUE"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        check_file_of("secrets", rows[i].contents, strlen(rows[i].contents), &rows[i].given, rows[i].expected);
    }
}

static void where_a_value_came_from_is_known(void **state)
{
    (void)state;
    struct error error;
    static const struct given given = {{"-n", "3"}, {"BACKSTEP_BROKERS=e:1"}, false};
    struct options *options = read_given(&given, &error);
    assert_non_null(options);
    assert_string_equal(option_origin(options, "limit"), "the command line");
    assert_string_equal(option_origin(options, "brokers"), "BACKSTEP_BROKERS");
    assert_string_equal(option_origin(options, "lease"), "default");
    assert_true(option_given(options, "limit"));
    assert_false(option_given(options, "lease"));
    options_free(options);
}

static void help_comes_before_all_mistakes(void **state)
{
    (void)state;
    static const struct given rows[] = {
        {{"--nonsense", "--help"}, {NULL}, false}, {{"-h"}, {NULL}, false}, {{"-qh"}, {NULL}, false}, {{"x", "-b", "--help"}, {NULL}, false}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct error error;
        struct options *options = read_given(&rows[i], &error);
        assert_non_null(options);
        assert_true(options_help_wanted(options));
        options_free(options);
    }
    struct error error;
    static const struct given argument = {{"--", "--help"}, {NULL}, false};
    struct options *options = read_given(&argument, &error);
    assert_false(options_help_wanted(options));
    options_free(options);
}

static void help_is_aligned_and_wrapped(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, 10000);
    options_append_help(&text, specs, COMMON, 80);
    assert_string_equal(text_string(&text), "  -b, --brokers HOST:PORT    Kafka brokers. (default: 127.0.0.1:9092)\n"
                                            "  -n, --limit N              At most so many, and a text that is long enough to\n"
                                            "                             be wrapped to another line of the help. (default:\n"
                                            "                             5)\n"
                                            "      --lease TIME           How long. (default: 30s)\n"
                                            "      --colour COLOUR        Of it.\n"
                                            "  -p, --param KEY=VALUE      One.\n"
                                            "  -X, --property NAME=VALUE  One.\n"
                                            "      --secrets FILE         One.\n"
                                            "      --prefix P             One.\n"
                                            "  -q, --quiet                Say nothing.\n"
                                            "  -a, --all                  All.\n"
                                            "  -F, --config FILE          A file.\n"
                                            "  -h, --help                 Show this help.\n");
    text_fini(&text);
}

/* ---- the table of the stock programs */

static bool fallback_is_legal(const struct option_spec *spec)
{
    char word[200];
    snprintf(word, sizeof word, "--%s=%s", spec->name, spec->fallback);
    const char *words[] = {word};
    struct error error = {0};
    struct options_input input = {.specs = spec, .sets = spec->sets, .arguments = words, .argument_count = 1, .environment = look_up};
    struct option_spec alone[2] = {*spec, {.name = NULL}};
    input.specs = alone;
    struct options *options = options_read(&input, &error);
    options_free(options);
    return options != NULL;
}

static void every_row_of_the_table_is_complete(void **state)
{
    (void)state;
    for (const struct option_spec *spec = default_options; spec->name != NULL; spec++) {
        size_t size = strlen(spec->help);
        assert_true(size > 0 && spec->help[size - 1] == '.' && size <= 100);
        assert_true(spec->sets != 0);
        assert_int_equal(spec->kind == OPTION_FLAG, spec->value == NULL);
        assert_int_equal(spec->kind == OPTION_CHOICE, spec->choices != NULL);
        assert_true(spec->fallback == NULL || (!spec->repeatable && fallback_is_legal(spec)));
        for (const struct option_spec *other = default_options; other < spec; other++) {
            assert_true(spec->letter == 0 || spec->letter != other->letter || strcmp(spec->name, other->name) == 0);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_lines_are_read),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(the_environment_is_under_the_command_line),
        cmocka_unit_test(files_are_under_the_environment),
        cmocka_unit_test(a_secret_comes_from_a_file_or_the_environment),
        cmocka_unit_test(where_a_value_came_from_is_known),
        cmocka_unit_test(help_comes_before_all_mistakes),
        cmocka_unit_test(help_is_aligned_and_wrapped),
        cmocka_unit_test(every_row_of_the_table_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
