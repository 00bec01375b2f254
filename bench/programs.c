/* SPDX-License-Identifier: Apache-2.0 */
/* What the guard costs: `bench_programs COUNT PARALLEL PROGRAM` runs a program COUNT times as a worker's threads do, without Kafka, and
 * says as one line of JSON how long that took, and the processor time and context switches of each; bench_programs --bare forks and
 * executes it with nothing around it. */
#include "common/clock.h"
#include "common/limits.h"
#include "worker/program.h"

#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

extern char **environ;

static struct {
    struct guard *guard; /* NULL: bare */
    const char *path;
    _Atomic long left;
    _Atomic long failed;
} bench;

static void on_progress(void *state, int64_t current, int64_t total)
{
    (void)state;
    (void)current;
    (void)total;
}

static void on_span(void *state, struct span metrics)
{
    (void)state;
    (void)metrics;
}

static void on_line(void *state, enum program_stream stream, struct span line)
{
    (void)state;
    (void)stream;
    (void)line;
}

static bool run_guarded(void)
{
    static const char *const environment[] = {"BACKSTEP_RUN_ID=bench", NULL};
    static const char input[] = "{\"params\":{},\"steps\":{}}";
    struct program_request request = {.path = bench.path,
                                      .input = {input, sizeof input - 1},
                                      .environment = environment,
                                      .cancel_fd = -1,
                                      .grace_ms = 1000,
                                      .listener = {.progressed = on_progress, .measured = on_span, .logged = on_line}};
    struct program_outcome outcome = {0};
    program_run(bench.guard, &request, &outcome);
    bool ok = outcome.kind == PROGRAM_SUCCEEDED;
    if (!ok) {
        fprintf(stderr, "bench_programs: %s\n", outcome.error);
    }
    program_outcome_fini(&outcome);
    return ok;
}

static bool run_bare(void)
{
    pid_t pid;
    int status = -1;
    static char argument[] = "execute"; /* as a step is given one: `true` does more then */
    char *arguments[] = {(char *)(uintptr_t)bench.path, argument, NULL};
    return posix_spawn(&pid, bench.path, NULL, NULL, arguments, environ) == 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void *run_all(void *state)
{
    while (atomic_fetch_sub(&bench.left, 1) > 0) {
        if (!(bench.guard != NULL ? run_guarded() : run_bare())) {
            atomic_fetch_add(&bench.failed, 1);
        }
    }
    return state;
}

static double seconds_of(const struct timeval *time)
{
    return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

static void print_usage(const char *who, int whose, long count)
{
    struct rusage usage;
    getrusage(whose, &usage);
    printf(",\"%s_us\":%.1f,\"%s_switches\":%.2f", who, (seconds_of(&usage.ru_stime) + seconds_of(&usage.ru_utime)) * 1e6 / (double)count,
           who, (double)(usage.ru_nvcsw + usage.ru_nivcsw) / (double)count);
}

static void run_threads(long parallel)
{
    pthread_t threads[LIMIT_CONCURRENCY];
    for (long i = 0; i < parallel; i++) {
        if (pthread_create(&threads[i], NULL, run_all, NULL) != 0) {
            abort();
        }
    }
    for (long i = 0; i < parallel; i++) {
        pthread_join(threads[i], NULL);
    }
}

int main(int argc, char **argv)
{
    bool bare = argc == 5 && strcmp(argv[1], "--bare") == 0;
    if (argc != 4 + bare) {
        fputs("usage: bench_programs [--bare] COUNT PARALLEL PROGRAM\n", stderr);
        return 2;
    }
    long count = atol(argv[1 + bare]), parallel = atol(argv[2 + bare]);
    bench.path = argv[3 + bare];
    bench.left = count;
    struct error error = {0};
    if (count < 1 || parallel < 1 || parallel > LIMIT_CONCURRENCY ||
        (!bare && ((bench.guard = guard_start(&error)) == NULL ||
                   !guard_lease_begin(bench.guard, clock_boottime_ms() + LIMIT_DURATION_MS, 0, &error)))) {
        fprintf(stderr, "bench_programs: %s\n", error.message);
        return 1;
    }
    int64_t begun_us = clock_monotonic_us();
    run_threads(parallel);
    int64_t spent_us = clock_monotonic_us() - begun_us;
    guard_free(bench.guard);
    printf("{\"per_s\":%.0f,\"failed\":%ld", (double)count * 1e6 / (double)spent_us, bench.failed);
    print_usage("self", RUSAGE_SELF, count);
    print_usage("children", RUSAGE_CHILDREN, count);
    puts("}");
    return bench.failed == 0 ? 0 : 1;
}
