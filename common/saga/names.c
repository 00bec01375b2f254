/* SPDX-License-Identifier: Apache-2.0 */
#include "common/saga/saga.h"

static const char *const run_names[] = {
    [RUN_NONE] = "unknown",
    [RUN_PENDING] = "pending",
    [RUN_RUNNING] = "running",
    [RUN_PAUSED] = "paused",
    [RUN_ROLLING_BACK] = "rolling_back",
    [RUN_SUCCEEDED] = "succeeded",
    [RUN_ROLLED_BACK] = "rolled_back",
    [RUN_CANCELLED] = "cancelled",
    [RUN_ROLLBACK_INCOMPLETE] = "rollback_incomplete",
};

static const char *const step_names[] = {
    [STEP_WAITING] = "waiting",         [STEP_READY] = "ready",
    [STEP_RUNNING] = "running",         [STEP_RETRYING] = "retrying",
    [STEP_SUCCEEDED] = "succeeded",     [STEP_SKIPPED] = "skipped",
    [STEP_FAILED] = "failed",           [STEP_ROLLING_BACK] = "rolling_back",
    [STEP_ROLLED_BACK] = "rolled_back", [STEP_ROLLBACK_FAILED] = "rollback_failed",
    [STEP_NOT_RUN] = "not_run",
};

static const char *const outcome_names[] = {"ok", "skipped", "failed", "cancelled", "cancelled before it began"};
static const char *const cancel_names[] = {
    [CANCEL_REQUESTED] = "a cancel was requested",
    [CANCEL_SIBLING_FAILED] = "another step failed",
    [CANCEL_TIMEOUT] = "its timeout was over",
    [CANCEL_HEARTBEAT] = "it reported nothing for too long",
    [CANCEL_START_TIMEOUT] = "no worker began it in time",
    [CANCEL_RUN_TIMEOUT] = "the run's timeout was over",
    [CANCEL_AHEAD] = "it is not to begin yet",
};

const char *run_status_name(enum run_status status)
{
    return run_names[status];
}

const char *step_status_name(enum step_status status)
{
    return step_names[status];
}

const char *outcome_name(enum outcome outcome)
{
    return outcome_names[outcome];
}

const char *cancel_reason_name(enum cancel_reason reason)
{
    return cancel_names[reason];
}
