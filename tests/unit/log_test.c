/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that are held go out together, and never later than a warning. */
#include "common/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* What a thread writes to standard error goes into a pipe here. */
static int pipe_ends[2], true_stderr;

static int redirect(void **state)
{
    (void)state;
    assert_int_equal(pipe2(pipe_ends, O_NONBLOCK | O_CLOEXEC), 0);
    true_stderr = dup(STDERR_FILENO);
    assert_true(dup2(pipe_ends[1], STDERR_FILENO) >= 0);
    log_set_level(LOG_INFO);
    return 0;
}

static int restore(void **state)
{
    (void)state;
    dup2(true_stderr, STDERR_FILENO);
    close(true_stderr);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return 0;
}

/* How many lines have come; the bytes are in `bytes`. */
static int lines(char *bytes, size_t size)
{
    ssize_t got = read(pipe_ends[0], bytes, size - 1);
    int count = 0;
    bytes[got > 0 ? got : 0] = '\0';
    for (const char *at = bytes; (at = strchr(at, '\n')) != NULL; at++) {
        count++;
    }
    return count;
}

static void a_line_goes_out_at_once(void **state)
{
    (void)state;
    char bytes[4096];
    log_event(LOG_INFO, "one", "number=%d error=%s", 1, LOG_QUOTED("a b"));
    assert_int_equal(lines(bytes, sizeof bytes), 1);
    assert_non_null(strstr(bytes, " level=info event=one number=1 error=\"a b\"\n"));
    assert_int_equal(strncmp(bytes, "ts=20", 5), 0);
    log_event(LOG_INFO, "none", "error=%s", LOG_QUOTED(""));
    assert_int_equal(lines(bytes, sizeof bytes), 1);
    assert_non_null(strstr(bytes, "error=\"\"\n"));
}

static void held_lines_go_out_when_released(void **state)
{
    (void)state;
    char bytes[4096];
    log_hold();
    log_event(LOG_INFO, "one", "number=%d", 1);
    log_event(LOG_INFO, "two", "number=%d", 2);
    assert_int_equal(lines(bytes, sizeof bytes), 0);
    log_release();
    assert_int_equal(lines(bytes, sizeof bytes), 2);
    assert_true(strstr(bytes, "event=one") < strstr(bytes, "event=two"));
    log_event(LOG_INFO, "three", "number=%d", 3);
    assert_int_equal(lines(bytes, sizeof bytes), 1);
}

static void a_warning_takes_along_what_waits(void **state)
{
    (void)state;
    char bytes[4096];
    log_hold();
    log_event(LOG_INFO, "one", "number=%d", 1);
    log_event(LOG_WARN, "two", "number=%d", 2);
    assert_int_equal(lines(bytes, sizeof bytes), 2);
    log_release();
    assert_int_equal(lines(bytes, sizeof bytes), 0);
}

static void none_of_many_held_lines_is_lost(void **state)
{
    (void)state;
    static char bytes[60000]; /* a pipe holds 64 KiB */
    log_hold();
    for (int i = 0; i < 500; i++) {
        log_event(LOG_INFO, "one", "number=%d", i);
    }
    log_release();
    assert_int_equal(lines(bytes, sizeof bytes), 500);
    assert_non_null(strstr(bytes, "number=0\n"));
    assert_non_null(strstr(bytes, "number=499\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_goes_out_at_once, redirect, restore),
        cmocka_unit_test_setup_teardown(held_lines_go_out_when_released, redirect, restore),
        cmocka_unit_test_setup_teardown(a_warning_takes_along_what_waits, redirect, restore),
        cmocka_unit_test_setup_teardown(none_of_many_held_lines_is_lost, redirect, restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
