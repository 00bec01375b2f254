/* SPDX-License-Identifier: Apache-2.0 */
/* What unfinished runs take in a coordinator's table of runs, and how fast it folds their Starts: N runs of one pipeline of three steps. What the
 * service keeps beside the table, a job and an open ticket before each run, is not in it. One JSON object.
 *
 *     bench/memory [RUNS...]          by default 10000 100000 */
#include "bench/three_steps.h"
#include "common/limits.h"
#include "common/messages.h"
#include "common/runs.h"
#include "common/text.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PARTITIONS 4
#define REQUEST "rrrrrrrrrrrrrrrr"

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static size_t allocated_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static size_t resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu %lu", &size, &resident) != 2) {
        exit(1);
    }
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void start_record(struct text *bytes)
{
    const struct plan *plan = three_steps("bench");
    struct message message = {.kind = MESSAGE_START, .progress_partitions = PARTITIONS};
    struct error error;
    message.event.plan = plan;
    memcpy(message.event.request_id, REQUEST, REQUEST_ID_BYTES);
    message.event.params = span_of("{}");
    message.event.fold_version = plan_fold_version_ahead(plan);
    if (!message_encode(&message, bytes, &error)) {
        fprintf(stderr, "memory: %s\n", error.message);
        exit(1);
    }
}

static void fold(struct runs *runs, const struct text *bytes, char *request, long number)
{
    char id[32];
    struct message message;
    struct run *run;
    struct error error;
    int size = snprintf(id, sizeof id, "bench-%010ld", number);
    memcpy(request, &number, sizeof number);
    if (!message_decode_known(&message, runs_plans(runs), (struct span){id, (size_t)size}, text_span(bytes), &error)) {
        fprintf(stderr, "memory: %s\n", error.message);
        exit(1);
    }
    runs_apply(runs, &message, number, 1700000000000 + number, &run);
    message_free(&message);
}

static void measure(long count, const char *separator)
{
    struct text bytes;
    text_init(&bytes, LIMIT_RECORD_BYTES);
    start_record(&bytes);
    char *request = memmem(bytes.bytes, bytes.size, REQUEST, REQUEST_ID_BYTES);
    size_t allocated = allocated_bytes(), resident = resident_bytes();
    double begun = cpu_seconds();
    struct runs *runs = runs_new(PARTITIONS);
    for (long i = 0; i < count; i++) {
        fold(runs, &bytes, request, i);
    }
    double taken = cpu_seconds() - begun;
    printf("%s{\"runs\": %ld, \"start_bytes\": %zu, \"allocated_bytes_per_run\": %.0f, \"resident_bytes_per_run\": %.0f, "
           "\"cpu_ns_per_start\": %.0f}",
           separator, count, bytes.size, (double)(allocated_bytes() - allocated) / (double)count,
           (double)(resident_bytes() - resident) / (double)count, taken * 1e9 / (double)count);
    runs_free(runs);
    text_fini(&bytes);
    malloc_trim(0);
}

int main(int argc, char **argv)
{
    static const long usual[] = {10000, 100000};
    printf("{\"runs_table\": [");
    for (int i = 0; i < (argc > 1 ? argc - 1 : 2); i++) {
        measure(argc > 1 ? atol(argv[i + 1]) : usual[i], i > 0 ? ", " : "");
    }
    printf("]}\n");
    return 0;
}
