/* SPDX-License-Identifier: Apache-2.0 */
/* Adds what a step took to what it says. */
#include "common/clock.h"
#include "worker/wrap.h"

static enum backstep_outcome around(struct backstep_call *call, struct backstep_context *context, struct backstep_result *result)
{
    int64_t begun_us = clock_monotonic_us();
    enum backstep_outcome outcome = backstep_proceed(call);
    if (!backstep_is_rollback(context)) {
        backstep_result_merge_data(result, "{\"duration_seconds\": %.6f}", (double)(clock_monotonic_us() - begun_us) / 1e6);
    }
    return outcome;
}

const struct backstep_wrapper wrapper_timing = {.prefix = "timed_", .around = around};

const struct backstep_step *backstep_timing(struct backstep_registry *registry, const struct backstep_step *step)
{
    return backstep_wrap(registry, &wrapper_timing, step);
}
