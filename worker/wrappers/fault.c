/* SPDX-License-Identifier: Apache-2.0 */
/* Trouble on demand. */
#include "worker/context.h"
#include "worker/wrap.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>

/* What the run's parameter says of the step goes before what the program says. */
static struct backstep_fault asked_for(struct backstep_call *call, struct backstep_context *context)
{
    const struct backstep_fault *own = backstep_call_state(call);
    struct backstep_fault fault = own != NULL ? *own : (struct backstep_fault){0};
    const struct backstep_json *all = backstep_param(context, "fault");
    const struct backstep_json *json = backstep_json_member(all, backstep_call_step(call)->name);
    json = json != NULL ? json : backstep_json_member(all, backstep_step_name(context));
    fault.fails = (int)backstep_json_integer(backstep_json_member(json, "fails"), fault.fails);
    fault.message = backstep_json_string(backstep_json_member(json, "message"), fault.message);
    fault.permanent = backstep_json_bool(backstep_json_member(json, "permanent"), fault.permanent);
    fault.after = backstep_json_bool(backstep_json_member(json, "after"), fault.after);
    fault.crashes = (int)backstep_json_integer(backstep_json_member(json, "crashes"), fault.crashes);
    fault.delay_ms = backstep_json_integer(backstep_json_member(json, "delay_ms"), fault.delay_ms);
    fault.rollback = backstep_json_bool(backstep_json_member(json, "rollback"), fault.rollback);
    return fault;
}

static void delay(struct backstep_context *context, int64_t delay_ms)
{
    struct pollfd cancel = {.fd = backstep_cancel_fd(context), .events = POLLIN};
    if (delay_ms > 0) {
        poll(&cancel, 1, delay_ms < INT_MAX ? (int)delay_ms : INT_MAX);
    }
}

static enum backstep_outcome fail(const struct backstep_fault *fault, struct backstep_result *result)
{
    const char *message = fault->message != NULL ? fault->message : "fault injected";
    return fault->permanent ? backstep_fail_permanently(result, "%s", message) : backstep_fail(result, "%s", message);
}

static enum backstep_outcome around(struct backstep_call *call, struct backstep_context *context, struct backstep_result *result)
{
    struct backstep_fault fault = asked_for(call, context);
    if (fault.rollback != backstep_is_rollback(context)) {
        return backstep_proceed(call);
    }
    delay(context, fault.delay_ms);
    if (context->task->ticket.number <= (uint32_t)(fault.crashes > 0 ? fault.crashes : 0)) { /* a lost one is no attempt */
        raise(SIGKILL);
    }
    bool fails = backstep_attempt(context) <= fault.fails;
    if (fails && !fault.after) {
        return fail(&fault, result);
    }
    enum backstep_outcome outcome = backstep_proceed(call);
    return fails ? fail(&fault, result) : outcome;
}

const struct backstep_wrapper wrapper_fault = {.prefix = "fault_", .around = around};

const struct backstep_step *backstep_faulty(struct backstep_registry *registry, const struct backstep_step *step,
                                            const struct backstep_fault *fault)
{
    struct backstep_wrapper wrapper = wrapper_fault;
    wrapper.state = (void *)(uintptr_t)fault; /* only read */
    return backstep_wrap(registry, &wrapper, step);
}
