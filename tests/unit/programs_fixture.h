/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that a test writes into a directory of its own, and the processes that are left of them. For the main file of a test. */
#ifndef PROGRAMS_FIXTURE_H
#define PROGRAMS_FIXTURE_H

#include "worker/descendants.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

static char directory[] = "/tmp/backstep-programs-XXXXXX";

/* Good until the next call. */
static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static const char *write_program(const char *name, const char *text, mode_t mode)
{
    const char *path = path_of(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

/* So that a test that fails takes no other with it. */
static int kill_everybody(void **state)
{
    (void)state;
    pid_t pids[64];
    for (size_t count; (count = descendants_children_of_threads(pids, 64)) > 0;) {
        for (size_t i = 0; i < count; i++) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], NULL, 0);
        }
    }
    return 0;
}

#define TEST(function) cmocka_unit_test_teardown(function, kill_everybody)

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) != NULL ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[160];
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    return system(command);
}

#endif
