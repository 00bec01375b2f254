/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands, and slips. */
#include "coordinator/cli/commands.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void every_command_has_a_function_a_summary_and_an_example_of_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++) {
        char start[64];
        snprintf(start, sizeof start, "backstep %s", commands[i].name);
        assert_non_null(commands[i].run);
        assert_non_null(commands[i].summary);
        assert_non_null(strstr(commands[i].example, start));
        assert_true(commands[i].arguments_min <= commands[i].arguments_max);
        assert_true((commands[i].arguments_max > 0) == (commands[i].arguments != NULL));
        assert_ptr_equal(command_find(commands[i].name), &commands[i]);
    }
}

static void every_command_stands_in_the_overview(void **state)
{
    (void)state;
    struct text out;
    text_init(&out, 1 << 16);
    commands_append_overview(&out);
    for (size_t i = 0; i < command_count; i++) {
        assert_non_null(strstr(text_string(&out), commands[i].name));
    }
    assert_false(out.overflow);
    text_fini(&out);
}

static void help_has_usage_example_and_options(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++) {
        struct text out;
        text_init(&out, 1 << 16);
        command_append_help(&commands[i], &out);
        assert_non_null(strstr(text_string(&out), "Usage: backstep "));
        assert_non_null(strstr(text_string(&out), commands[i].example));
        assert_non_null(strstr(text_string(&out), "--log-level"));
        text_fini(&out);
    }
}

static void a_slip_is_understood(void **state)
{
    static const struct {
        const char *typed, *meant;
    } rows[] = {{"strat", "start"}, {"stauts", "status"}, {"lst", "list"}, {"wacth", "watch"}, {"xyzzy", NULL}, {"", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *meant = command_suggest(rows[i].typed);
        assert_null(command_find(rows[i].typed));
        if (rows[i].meant == NULL) {
            assert_null(meant);
        } else {
            assert_non_null(meant);
            assert_string_equal(meant, rows[i].meant);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_has_a_function_a_summary_and_an_example_of_itself),
        cmocka_unit_test(every_command_stands_in_the_overview),
        cmocka_unit_test(help_has_usage_example_and_options),
        cmocka_unit_test(a_slip_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
