/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/wrap.h"

#include "common/limits.h"
#include "common/names.h"
#include "worker/registry.h"

#include <string.h>

/* One wrapper at work, and what is within: more wrappers that the task names, then the step. */
struct backstep_call {
    const struct backstep_wrapper *wrapper;
    const struct backstep_step *step;
    struct backstep_context *context;
    const struct backstep_result *done;
    struct backstep_result *result;
    size_t next; /* of the task's wrappers; none is left where it is their count */
    bool proceeded;
};

static enum backstep_outcome call_named(const struct backstep_call *outer);

enum backstep_outcome backstep_proceed(struct backstep_call *call)
{
    if (call == NULL) {
        return BACKSTEP_FAILED_PERMANENTLY;
    }
    if (call->proceeded) {
        return backstep_fail_permanently(call->result, "a wrapper of step '%s' called it twice", call->step->name);
    }
    call->proceeded = true;
    bool more = call->next < call->context->task->wrap_count;
    enum backstep_outcome outcome = more ? call_named(call) : step_call(call->step, call->context, call->done, call->result);
    call->result->outcome = outcome; /* a step need not have used the result to say it */
    return outcome;
}

void *backstep_call_state(const struct backstep_call *call)
{
    if (call == NULL) {
        return NULL;
    }
    return call->wrapper->state;
}

const struct backstep_step *backstep_call_step(const struct backstep_call *call)
{
    if (call == NULL) {
        return NULL;
    }
    return call->step;
}

const struct backstep_result *backstep_call_done(const struct backstep_call *call)
{
    if (call == NULL) {
        return NULL;
    }
    return call->done;
}

/* ---------------------------------------------------------------- wrappers by name */

static const struct {
    const char *name;
    const struct backstep_wrapper *wrapper;
} known[] = {{"logging", &wrapper_logging}, {"timing", &wrapper_timing}, {"fault", &wrapper_fault}};

static enum backstep_outcome call_named(const struct backstep_call *outer)
{
    struct backstep_call call = *outer;
    struct span name = call.context->task->wrap[call.next++];
    call.proceeded = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (span_equal(name, span_of(known[i].name))) {
            call.wrapper = known[i].wrapper;
            return call.wrapper->around(&call, call.context, call.result);
        }
    }
    return backstep_fail_permanently(call.result, "this worker has no wrapper '%s'; there are logging, timing and fault",
                                     SHOWN(name));
}

enum backstep_outcome wrap_call(const struct backstep_step *step, struct backstep_context *context,
                                const struct backstep_result *done, struct backstep_result *result)
{
    struct backstep_call call = {.step = step, .context = context, .done = done, .result = result};
    return call_named(&call);
}

/* ---------------------------------------------------------------- wrapped steps */

struct wrapped {
    struct backstep_step step; /* first: a context's step is one of these */
    struct backstep_wrapper wrapper;
    const struct backstep_step *inner;
    int depth;
    char name[];
};

static const struct wrapped *wrapped_of(const struct backstep_context *context)
{
    return (const struct wrapped *)context->step;
}

static enum backstep_outcome around(struct backstep_context *context, const struct backstep_result *done,
                                    struct backstep_result *result)
{
    const struct wrapped *wrapped = wrapped_of(context);
    struct backstep_call call = {.wrapper = &wrapped->wrapper,
                                 .step = wrapped->inner,
                                 .context = context,
                                 .done = done,
                                 .result = result,
                                 .next = SIZE_MAX}; /* those the task names are around all of it */
    return wrapped->wrapper.around(&call, context, result);
}

static enum backstep_outcome execute(struct backstep_context *context, struct backstep_result *result)
{
    return around(context, NULL, result);
}

static bool can_skip(struct backstep_context *context)
{
    const struct backstep_step *outer = context->step;
    context->step = wrapped_of(context)->inner;
    bool skips = context->step->can_skip(context);
    context->step = outer;
    return skips;
}

static int depth_of(const struct backstep_step *step)
{
    return step->execute == execute ? ((const struct wrapped *)step)->depth : 0;
}

static void fill(struct wrapped *wrapped, const struct backstep_wrapper *wrapper, const struct backstep_step *step)
{
    strcpy(wrapped->name, wrapper->prefix != NULL ? wrapper->prefix : "");
    strcat(wrapped->name, step->name);
    wrapped->wrapper = *wrapper;
    wrapped->inner = step;
    wrapped->depth = depth_of(step) + 1;
    wrapped->step = *step;
    wrapped->step.name = wrapped->name;
    wrapped->step.execute = execute;
    wrapped->step.rollback = step->rollback != NULL ? around : NULL;
    wrapped->step.can_skip = step->can_skip != NULL ? can_skip : NULL;
}

const struct backstep_step *backstep_wrap(struct backstep_registry *registry, const struct backstep_wrapper *wrapper,
                                          const struct backstep_step *step)
{
    if (registry == NULL || wrapper == NULL || wrapper->around == NULL || step == NULL || step->name == NULL ||
        step->execute == NULL) {
        registry_fail(registry, "a wrapper, or the step in it, is NULL or has no function");
        return NULL;
    }
    if (depth_of(step) >= LIMIT_WRAPS) {
        registry_fail(registry, "step '%.120s': more than %d wrappers", step->name, LIMIT_WRAPS);
        return NULL;
    }
    size_t size = strlen(step->name) + (wrapper->prefix != NULL ? strlen(wrapper->prefix) : 0) + 1;
    struct wrapped *wrapped = registry_take(registry, sizeof *wrapped + size);
    if (wrapped == NULL) {
        return NULL;
    }
    fill(wrapped, wrapper, step);
    return &wrapped->step;
}
