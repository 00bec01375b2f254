/* SPDX-License-Identifier: Apache-2.0 */
#include "common/bus.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct row {
    const char *key;
    int32_t hash; /* as the Java client's own tests have it */
} rows[] = {
    {"21", -973932308},
    {"foobar", -790332482},
    {"a-little-bit-long-string", -985981536},
    {"a-little-bit-longer-string", -1486304829},
    {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
    {"abc", 479470107},
};

static int32_t positive(int32_t hash)
{
    return (int32_t)((uint32_t)hash & 0x7fffffffu);
}

static void a_key_has_the_hash_of_the_java_client(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(bus_partition_of(span_of(rows[i].key), INT32_MAX), positive(rows[i].hash));
        for (int32_t count = 1; count < 100; count++) {
            assert_int_equal(bus_partition_of(span_of(rows[i].key), count), positive(rows[i].hash) % count);
        }
    }
}

static void bytes_beyond_ascii_count_as_unsigned(void **state)
{
    (void)state;
    static const char high[] = "\xff\xfe\x80\xc3\xa9\xff\xff";
    for (size_t size = 0; size < sizeof high; size++) {
        int32_t partition = bus_partition_of((struct span){high, size}, 7);
        assert_in_range(partition, 0, 6);
    }
}

static void run_ids_spread_over_all_partitions(void **state)
{
    (void)state;
    enum { PARTITIONS = 8, RUNS = 8000 };
    int counts[PARTITIONS] = {0};
    for (int i = 0; i < RUNS; i++) {
        char id[] = "upload-0000";
        for (int rest = i, at = 10; at > 6; at--, rest /= 10) {
            id[at] = (char)('0' + rest % 10);
        }
        counts[bus_partition_of(span_of(id), PARTITIONS)]++;
    }
    for (int i = 0; i < PARTITIONS; i++) {
        assert_in_range(counts[i], RUNS / PARTITIONS / 2, RUNS / PARTITIONS * 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_has_the_hash_of_the_java_client),
        cmocka_unit_test(bytes_beyond_ascii_count_as_unsigned),
        cmocka_unit_test(run_ids_spread_over_all_partitions),
    };
    return cmocka_run_group_tests_name("partition", tests, NULL, NULL);
}
