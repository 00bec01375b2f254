/* SPDX-License-Identifier: Apache-2.0 */
/* Records through jq in a helper: what becomes of each, and what the helper is given. */
#include "worker/actions/export/sieve.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static FILE *file_of(const char *text)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    fputs(text, file);
    rewind(file);
    return file;
}

static void assert_holds(FILE *file, const char *expected)
{
    char text[1000];
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(text, expected);
}

static void on_counted(void *state, const struct sieve_counts *counts)
{
    *(struct sieve_counts *)state = *counts;
}

static void each_record_is_exported_or_kept_aside(void **state)
{
    (void)state;
    struct error error = {0};
    struct sieve_counts counts, told = {0};
    struct sieve sieve = {.source = file_of("{\"a\":1}\n{\"a\":\nnot\n{\"a\":3}\n"), .items = tmpfile(), .aside = tmpfile()};
    sieve.filter = span_of(".a | select(. != null)");
    sieve.max_failed = 2;
    sieve.cancel_fd = -1;
    sieve.counted = on_counted;
    sieve.state = &told;
    assert_true(sieve_run(&sieve, &counts, &error));
    assert_int_equal(told.read, 4);
    assert_int_equal(counts.items, 2);
    assert_int_equal(counts.failed, 2);
    fclose(sieve.source);
    fclose(sieve.aside);
    assert_holds(sieve.items, "1\n3\n");
}

/* `filter` is what makes the sieve end so. */
static const struct {
    const char *filter, *error;
} ends[] = {
    {".a | explode", "more than 0 records failed; see max_failed"},
    {"lenght", "param 'filter': is not jq"},
    {"[limit(1e9; repeat(\"x\" * 1000))]", "jq needs more than 256 MiB for a record after the first 0"},
};

static void it_is_said_why_one_ended(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct error error = {0};
        struct sieve_counts counts;
        struct sieve sieve = {.source = file_of("{\"a\":1}\n"), .items = tmpfile(), .aside = tmpfile()};
        sieve.filter = span_of(ends[i].filter);
        sieve.cancel_fd = -1;
        sieve.counted = on_counted;
        sieve.state = &counts;
        assert_false(sieve_run(&sieve, &counts, &error));
        assert_string_equal(error.message, ends[i].error);
        fclose(sieve.source);
        fclose(sieve.items);
        fclose(sieve.aside);
    }
}

static _Noreturn void refuse_to_live(void)
{
    _exit(99);
}

/* What a worker forks holds its locks as they were: it has to execute something at once, and then runs no such handler. */
static void nothing_runs_in_a_fork_of_this_process(void **state)
{
    assert_int_equal(pthread_atfork(NULL, NULL, refuse_to_live), 0);
    each_record_is_exported_or_kept_aside(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_record_is_exported_or_kept_aside),
        cmocka_unit_test(it_is_said_why_one_ended),
        cmocka_unit_test(nothing_runs_in_a_fork_of_this_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
