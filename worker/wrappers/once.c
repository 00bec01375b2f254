/* SPDX-License-Identifier: Apache-2.0 */
/* Remembers how far a step has come, so that a second delivery does not act twice, whatever order things arrive in.
 *
 *     nothing ── execute ──► begun ── it succeeds ──► done ── rollback ──► rolled_back
 *        └────────────── rollback, nothing to undo ───────────────────────────▲
 *                        (begun ── rollback: undo what there may be ──────────┘)
 *
 * Only the first step away from `nothing` can be contended for: it is a claim, which one of them wins. */
#include "common/json.h"
#include "worker/registry.h"
#include "worker/wrap.h"
#include "worker/wrappers/memory.h"

#include <stdlib.h>
#include <string.h>

#define BEGUN "{\"state\":\"begun\"}"
#define ROLLED_BACK "{\"state\":\"rolled_back\"}"

static bool claim(const struct backstep_memory *memory, const char *key, const char *value, char **there)
{
    *there = NULL;
    return memory->directory != NULL ? memory_claim(memory->directory, key, value, there)
                                     : memory->claim(memory->state, key, value, there);
}

static bool store(const struct backstep_memory *memory, const char *key, const char *value)
{
    return memory->directory != NULL ? memory_store(memory->directory, key, value) : memory->store(memory->state, key, value);
}

/* The idempotency key without its direction: both directions are about the same piece of work. */
static const char *key_of(struct backstep_context *context)
{
    const char *key = backstep_idempotency_key(context);
    const char *slash = strrchr(key, '/');
    return slash != NULL ? backstep_format(context, "%.*s", (int)(slash - key), key) : key;
}

static enum backstep_outcome unreachable(struct backstep_result *result, const char *key)
{
    return backstep_fail(result, "the memory of what was done cannot be reached, for %s", key);
}

static bool remember_done(const struct backstep_memory *memory, const char *key, struct backstep_context *context,
                          const struct backstep_result *result)
{
    json_t *value = json_pack("{s:s, s:b, s:O*, s:O*, s:O*}", "state", "done", "skipped", (int)backstep_result_skipped(result),
                              "data", (const json_t *)backstep_result_data(result), "rollback_data",
                              (const json_t *)backstep_result_rollback_data(result), "set", context->set);
    char *text = json_text(value);
    bool ok = text != NULL && store(memory, key, text);
    free(text);
    json_decref(value);
    return ok;
}

static char *member_text(const json_t *value, const char *name)
{
    const json_t *member = json_object_get(value, name);
    return member != NULL ? json_text(member) : NULL;
}

static enum backstep_outcome replay(const json_t *value, struct backstep_context *context, struct backstep_result *result)
{
    char *data = member_text(value, "data"), *rollback_data = member_text(value, "rollback_data");
    if (rollback_data != NULL) {
        backstep_result_set_rollback_data(result, "%s", rollback_data);
    }
    json_decref(context->set);
    context->set = json_incref(json_object_get(value, "set"));
    enum backstep_outcome outcome = json_is_true(json_object_get(value, "skipped")) ? backstep_skip(result)
                                    : data != NULL                                  ? backstep_succeed(result, "%s", data)
                                                                                    : backstep_succeed(result, NULL);
    free(data);
    free(rollback_data);
    return outcome;
}

static bool state_is(const json_t *value, const char *state)
{
    const char *is = json_string_value(json_object_get(value, "state"));
    return is != NULL && strcmp(is, state) == 0;
}

static enum backstep_outcome begin(struct backstep_call *call, struct backstep_context *context, struct backstep_result *result)
{
    const struct backstep_memory *memory = backstep_call_state(call);
    const char *key = key_of(context);
    enum backstep_outcome outcome = backstep_proceed(call);
    bool ended = outcome == BACKSTEP_SUCCEEDED || outcome == BACKSTEP_SKIPPED;
    return ended && !remember_done(memory, key, context, result) ? unreachable(result, key) : outcome;
}

static enum backstep_outcome execute_once(struct backstep_call *call, struct backstep_context *context,
                                          struct backstep_result *result)
{
    const struct backstep_memory *memory = backstep_call_state(call);
    const char *key = key_of(context);
    char *there = NULL;
    if (!claim(memory, key, BEGUN, &there)) {
        return unreachable(result, key);
    }
    json_t *value = there != NULL ? json_read_wrapped(span_of(there), NULL) : NULL;
    enum backstep_outcome outcome;
    if (there == NULL || state_is(value, "begun")) {
        outcome = begin(call, context, result);
    } else if (state_is(value, "done")) {
        outcome = replay(value, context, result);
    } else if (state_is(value, "rolled_back")) {
        outcome = backstep_fail_permanently(result, "it was rolled back already, and does not begin again");
    } else {
        outcome = backstep_fail_permanently(result, "the memory of %s holds what was not written here", key);
    }
    json_decref(value);
    free(there);
    return outcome;
}

static enum backstep_outcome roll_back_once(struct backstep_call *call, struct backstep_context *context,
                                            struct backstep_result *result)
{
    const struct backstep_memory *memory = backstep_call_state(call);
    const char *key = key_of(context);
    char *there = NULL;
    if (!claim(memory, key, ROLLED_BACK, &there)) {
        return unreachable(result, key);
    }
    json_t *value = there != NULL ? json_read_wrapped(span_of(there), NULL) : NULL;
    bool nothing = there == NULL || state_is(value, "rolled_back");
    json_decref(value);
    free(there);
    if (nothing) {
        return backstep_skip(result);
    }
    enum backstep_outcome outcome = backstep_proceed(call);
    bool undone = outcome == BACKSTEP_SUCCEEDED || outcome == BACKSTEP_SKIPPED;
    return undone && !store(memory, key, ROLLED_BACK) ? unreachable(result, key) : outcome;
}

static enum backstep_outcome around(struct backstep_call *call, struct backstep_context *context, struct backstep_result *result)
{
    return backstep_is_rollback(context) ? roll_back_once(call, context, result) : execute_once(call, context, result);
}

const struct backstep_step *backstep_once(struct backstep_registry *registry, const struct backstep_step *step,
                                          const struct backstep_memory *memory)
{
    bool sound = memory != NULL && (memory->directory != NULL || (memory->claim != NULL && memory->store != NULL));
    if (!sound) {
        registry_fail(registry, "once: a memory has a directory, or both functions");
        return NULL;
    }
    struct backstep_wrapper wrapper = {.prefix = "once_", .around = around, .state = (void *)(uintptr_t)memory}; /* only read */
    return backstep_wrap(registry, &wrapper, step);
}
