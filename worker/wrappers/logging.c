/* SPDX-License-Identifier: Apache-2.0 */
/* Says when a step begins and how it ends. */
#include "common/clock.h"
#include "worker/wrap.h"

static const char *yes_or_no(bool yes)
{
    return yes ? "true" : "false";
}

static enum backstep_outcome around(struct backstep_call *call, struct backstep_context *context, struct backstep_result *result)
{
    const char *name = backstep_quote(context, backstep_call_step(call)->name);
    int64_t begun_us = clock_monotonic_us();
    if (backstep_is_rollback(context)) {
        backstep_log_event(context, BACKSTEP_INFO, "step_rollback", "{\"step\": %s}", name);
        return backstep_proceed(call);
    }
    backstep_log_event(context, BACKSTEP_INFO, "step_start", "{\"step\": %s}", name);
    enum backstep_outcome outcome = backstep_proceed(call);
    backstep_log_event(context, BACKSTEP_INFO, "step_end", "{\"step\": %s, \"elapsed\": %.6f, \"success\": %s, \"skipped\": %s}",
                       name, (double)(clock_monotonic_us() - begun_us) / 1e6, yes_or_no(backstep_result_success(result)),
                       yes_or_no(backstep_result_skipped(result)));
    return outcome;
}

const struct backstep_wrapper wrapper_logging = {.prefix = "logged_", .around = around};

const struct backstep_step *backstep_logging(struct backstep_registry *registry, const struct backstep_step *step)
{
    return backstep_wrap(registry, &wrapper_logging, step);
}
