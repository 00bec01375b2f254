/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/steps_directory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* In the order in which they are to be found. */
static const struct row {
    const char *name, *text;
    mode_t mode;
    const char *reason; /* a part of it; NULL: a handler */
    bool ignores_rollback;
} rows[] = {
    {"a b", "#!/bin/sh\n", 0755, "blank", false},
    {"binary", "\x7f" "ELF", 0755, NULL, false},
    {"careful", "#!/bin/sh\ncase $1 in rollback) ;; esac\n", 0755, NULL, false},
    {"careless", "#!/bin/sh\necho\n", 0755, NULL, true},
    {"empty", "", 0755, "is empty", false},
    {"first", "#!/bin/sh\nrollback", 0755, NULL, false},
    {"lost", "#! /no/such/sh -e\nrollback", 0755, "names an interpreter that is not there: '/no/such/sh'", false},
    {"notes.txt", "#!/bin/sh\n", 0644, "is not executable", false},
    {"of-windows", "#!/bin/sh\r\nrollback\r\n", 0755, "names an interpreter that is not there: '/bin/sh\\x0d'", false},
    {"part-of-word", "#!/bin/sh\nno_rollback rollbacks\n", 0755, NULL, true},
    {"relative", "#!sh\nrollback", 0755, NULL, false},
    {"spaced", "#! \t/bin/sh -e\nrollback", 0755, NULL, false},
};

#define COUNT (sizeof rows / sizeof rows[0])

static void write_file(const char *directory, const char *name, const char *text, mode_t mode)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static void remove_all(const char *directory)
{
    char command[160];
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    assert_int_equal(system(command), 0);
}

static void executables_are_handlers_and_the_rest_is_listed_with_its_reason(void **state)
{
    (void)state;
    char path[] = "/tmp/backstep-steps-XXXXXX";
    struct steps_directory directory;
    struct error error = {0};
    assert_non_null(mkdtemp(path));
    for (size_t i = 0; i < COUNT; i++) {
        write_file(path, rows[COUNT - 1 - i].name, rows[COUNT - 1 - i].text, rows[COUNT - 1 - i].mode);
    }
    write_file(path, ".hidden", "#!/bin/sh\n", 0755);
    if (!steps_directory_read(&directory, path, &error)) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(directory.count, COUNT);
    assert_int_equal(directory.handler_count, 7);
    for (size_t i = 0; i < COUNT; i++) {
        const struct steps_directory_entry *entry = &directory.entries[i];
        assert_string_equal(entry->name, rows[i].name);
        assert_int_equal(entry->reason == NULL, rows[i].reason == NULL);
        assert_true(entry->reason == NULL || strstr(entry->reason, rows[i].reason) != NULL);
        assert_int_equal(entry->ignores_rollback, rows[i].ignores_rollback);
        assert_int_equal(access(entry->path, F_OK), 0);
        assert_int_equal(entry->path[0], '/');
    }
    steps_directory_fini(&directory);
    remove_all(path);
}

static void what_is_no_file_is_no_handler(void **state)
{
    (void)state;
    char path[] = "/tmp/backstep-steps-XXXXXX";
    char name[256];
    struct steps_directory directory;
    assert_non_null(mkdtemp(path));
    snprintf(name, sizeof name, "%s/directory", path);
    assert_int_equal(mkdir(name, 0755), 0);
    snprintf(name, sizeof name, "%s/link", path);
    assert_int_equal(symlink("/bin/true", name), 0);
    snprintf(name, sizeof name, "%s/nowhere", path);
    assert_int_equal(symlink("/no/such/file", name), 0);
    snprintf(name, sizeof name, "%s/pipe", path);
    assert_int_equal(mkfifo(name, 0755), 0);
    assert_true(steps_directory_read(&directory, path, NULL));
    assert_int_equal(directory.count, 4);
    assert_string_equal(directory.entries[0].reason, "is a directory");
    assert_null(directory.entries[1].reason);
    assert_string_equal(directory.entries[2].reason, "is a link to nothing");
    assert_string_equal(directory.entries[3].reason, "is no file");
    steps_directory_fini(&directory);
    remove_all(path);
}

static void a_directory_that_is_not_there_is_an_error_that_names_it(void **state)
{
    (void)state;
    struct steps_directory directory;
    struct error error = {0};
    assert_false(steps_directory_read(&directory, "/no/such/steps", &error));
    assert_int_equal(error.kind, ERROR_INVALID);
    assert_string_equal(error.message, "/no/such/steps: No such file or directory");
}

static void an_empty_directory_is_fine(void **state)
{
    (void)state;
    char path[] = "/tmp/backstep-steps-XXXXXX";
    struct steps_directory directory;
    assert_non_null(mkdtemp(path));
    assert_true(steps_directory_read(&directory, path, NULL));
    assert_int_equal(directory.count, 0);
    steps_directory_fini(&directory);
    remove_all(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(executables_are_handlers_and_the_rest_is_listed_with_its_reason),
        cmocka_unit_test(what_is_no_file_is_no_handler),
        cmocka_unit_test(a_directory_that_is_not_there_is_an_error_that_names_it),
        cmocka_unit_test(an_empty_directory_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
