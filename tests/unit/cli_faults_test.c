/* SPDX-License-Identifier: Apache-2.0 */
/* The timetable of faults: what is read from the command line, and what it says is to be when. */
#include "coordinator/cli/faults.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BEGUN_MS 1000000

static void begin(struct faults *faults, const char *const *texts)
{
    struct error error;
    *faults = (struct faults){0};
    for (; *texts != NULL; texts++) {
        if (!faults_add(faults, *texts, &error)) {
            fail_msg("%s", error.message);
        }
    }
    faults_begin(faults, BEGUN_MS);
}

static struct faults_state at(struct faults *faults, int64_t ms)
{
    struct faults_state state;
    faults_at(faults, BEGUN_MS + ms, &state);
    return state;
}

static void it_is_down_for_as_long_as_was_said(void **state)
{
    (void)state;
    struct faults faults;
    begin(&faults, (const char *const[]){"down=2s,after=1s,every=10s", NULL});
    static const struct {
        int64_t ms;
        bool down;
        int64_t next_ms;
    } rows[] = {{0, false, 1000},     {999, false, 1000},   {1000, true, 3000},    {2999, true, 3000},
                {3000, false, 11000}, {11500, true, 13500}, {13500, false, 21500}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct faults_state now = at(&faults, rows[i].ms);
        assert_int_equal(now.down, rows[i].down);
        assert_int_equal(now.next_ms - BEGUN_MS, rows[i].next_ms);
        assert_int_equal(now.failure_count, 0);
    }
}

static void the_longest_round_trip_counts(void **state)
{
    (void)state;
    struct faults faults;
    begin(&faults, (const char *const[]){"rtt=20ms", "rtt=300ms,after=5s,for=2s", NULL});
    assert_int_equal(at(&faults, 0).round_trip_ms, 20);
    assert_int_equal(at(&faults, 5000).round_trip_ms, 300);
    assert_int_equal(at(&faults, 7000).round_trip_ms, 20);
    assert_true(at(&faults, 7001).next_ms == FAULTS_NEVER_MS);
}

static void a_failure_is_told_each_time_once(void **state)
{
    (void)state;
    struct faults faults;
    begin(&faults, (const char *const[]){"error=OUT_OF_ORDER_SEQUENCE_NUMBER,every=1s", "error=none,request=fetch,count=3,delay=2s", NULL});
    struct faults_state now = at(&faults, 0);
    assert_int_equal(now.failure_count, 2);
    assert_int_equal(now.failures[0]->error_code, 45);
    assert_int_equal(now.failures[0]->request, embedded_request_find("produce"));
    assert_int_equal(now.failures[0]->count, 1);
    assert_int_equal(now.failures[1]->error_code, 0);
    assert_int_equal(now.failures[1]->request, embedded_request_find("fetch"));
    assert_int_equal(now.failures[1]->count, 3);
    assert_int_equal(now.failures[1]->delay_ms, 2000);
    assert_int_equal(at(&faults, 500).failure_count, 0);
    assert_int_equal(at(&faults, 1000).failure_count, 1);
    assert_int_equal(at(&faults, 9000).failure_count, 1); /* what was missed is not made good */
    assert_int_equal(at(&faults, 9001).failure_count, 0);
}

static void a_slip_is_refused_and_said(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } rows[] = {
        {"", "write down=TIME"},
        {"down", "'down' cannot stand there"},
        {"down=", "down="},
        {"down=soon", "down=soon"},
        {"down=0", "must be from 1ms to 600s"},
        {"down=11m", "must be from 1ms to 600s"},
        {"down=1s,", "'' cannot stand there"},
        {"down=1s,rtt=5ms", "'rtt=5ms' cannot stand there"},
        {"down=1s,for=5s", "'for=5s' cannot stand there"},
        {"down=2s,every=2s", "it would never end"},
        {"down=2s,every=50ms", "every=50ms"},
        {"after=2s,down=2s", "'after=2s' cannot stand there"},
        {"rtt=5ms,for=2s,after=1s,for=3s", "'for' stands there twice"},
        {"error=none,count=2,count=2", "'count' stands there twice"},
        {"rtt=61s", "must be from 1ms to 60s"},
        {"error=BAD_LUCK", "is no error of Kafka's protocol"},
        {"error=_TRANSPORT", "is no error of Kafka's protocol"},
        {"error=none,request=conjure", "there are produce, fetch, list_offsets"},
        {"error=none,count=0", "must be a number from 1 to 1000"},
        {"error=none,count=1001", "must be a number from 1 to 1000"},
        {"error=none,count=2x", "must be a number from 1 to 1000"},
        {"error=none,delay=1h", "must be from 1ms to 60s"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct faults faults = {0};
        struct error error = {0};
        assert_false(faults_add(&faults, rows[i].text, &error));
        assert_int_equal(error.kind, ERROR_INVALID);
        if (strstr(error.message, rows[i].said) == NULL) {
            fail_msg("'%s': %s", rows[i].text, error.message);
        }
        assert_int_equal(faults.count, 0);
    }
}

static void there_is_an_end_to_it(void **state)
{
    (void)state;
    struct faults faults = {0};
    struct error error = {0};
    for (int i = 0; i < LIMIT_FAULTS; i++) {
        assert_true(faults_add(&faults, "rtt=5ms", &error));
    }
    assert_false(faults_add(&faults, "rtt=5ms", &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_down_for_as_long_as_was_said), cmocka_unit_test(the_longest_round_trip_counts),
        cmocka_unit_test(a_failure_is_told_each_time_once),   cmocka_unit_test(a_slip_is_refused_and_said),
        cmocka_unit_test(there_is_an_end_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
