/* SPDX-License-Identifier: Apache-2.0 */
/* How many steps a second a program runs in process: a pipeline of 100 empty steps, again and again for a second, five times; one JSON object.
 *
 *     bench/in_process [STEPS]        a release build; `best` is what the machine can do, `median` what it did */
#include "worker/backstep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 5
#define MOST_STEPS 1000

static enum backstep_outcome nothing(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_succeed(result, NULL);
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Steps a second, and steps a second of the processor's time, which other programs do not take away. */
static double round_of(struct backstep_orchestrator *orchestrator, int steps, double *of_cpu)
{
    double begun = seconds(CLOCK_MONOTONIC), begun_cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), taken;
    int64_t done = 0;
    do {
        if (!backstep_execute(orchestrator, "bench", NULL)) {
            fprintf(stderr, "in_process: %s\n", backstep_orchestrator_error(orchestrator));
            exit(1);
        }
        done += steps;
        taken = seconds(CLOCK_MONOTONIC) - begun;
    } while (taken < 1);
    *of_cpu = (double)done / (seconds(CLOCK_PROCESS_CPUTIME_ID) - begun_cpu);
    return (double)done / taken;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
    static char names[MOST_STEPS][8];
    static struct backstep_step steps[MOST_STEPS];
    int count = argc > 1 ? atoi(argv[1]) : 100;
    struct backstep_registry *registry = backstep_registry_new();
    for (int i = 0; i < count && i < MOST_STEPS; i++) {
        snprintf(names[i], sizeof names[i], "s%d", i);
        steps[i] = (struct backstep_step){.name = names[i], .weight = 1, .execute = nothing};
        backstep_register(registry, &steps[i]);
    }
    struct backstep_orchestrator *orchestrator = backstep_orchestrator_new(registry);
    double rates[ROUNDS], of_cpu[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        rates[i] = round_of(orchestrator, backstep_registry_count(registry), &of_cpu[i]);
    }
    qsort(rates, ROUNDS, sizeof *rates, compare);
    qsort(of_cpu, ROUNDS, sizeof *of_cpu, compare);
    printf("{\"bench\": \"in_process\", \"steps\": %d, \"steps_per_second\": {\"median\": %.0f, \"best\": %.0f}, "
           "\"steps_per_cpu_second\": {\"median\": %.0f, \"best\": %.0f}}\n",
           backstep_registry_count(registry), rates[ROUNDS / 2], rates[ROUNDS - 1], of_cpu[ROUNDS / 2], of_cpu[ROUNDS - 1]);
    backstep_orchestrator_free(orchestrator);
    backstep_registry_free(registry);
    return 0;
}
