/* SPDX-License-Identifier: Apache-2.0 */
/* Times that were taken, as a benchmark says them. */
#ifndef BENCH_TIMES_H
#define BENCH_TIMES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static int times_compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* Three members of a JSON object, of at least one time. Sorts them. */
static void times_print(int64_t *times_ns, size_t count)
{
    qsort(times_ns, count, sizeof *times_ns, times_compare);
    printf("\"count\":%zu,\"p50_us\":%.1f,\"p99_us\":%.1f", count, (double)times_ns[count / 2] / 1e3, (double)times_ns[count * 99 / 100] / 1e3);
}

#endif
