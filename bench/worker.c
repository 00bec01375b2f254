/* SPDX-License-Identifier: Apache-2.0 */
/* A worker whose steps do nothing: what a step costs is then what Backstep costs. */
#include "worker/backstep.h"

#include <poll.h>
#include <string.h>

#define RESULT_BYTES_MAX 65000

static enum backstep_outcome do_nothing(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome undo_nothing(struct backstep_context *context, const struct backstep_result *done,
                                          struct backstep_result *result)
{
    (void)context;
    (void)done;
    return backstep_succeed(result, NULL);
}

static enum backstep_outcome do_fail(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    return backstep_fail(result, "asked to");
}

/* Until it is cancelled. */
static enum backstep_outcome do_hold(struct backstep_context *context, struct backstep_result *result)
{
    struct pollfd cancelled = {.fd = backstep_cancel_fd(context), .events = POLLIN};
    while (!backstep_cancelled(context)) {
        poll(&cancelled, 1, -1);
    }
    return backstep_fail(result, "cancelled");
}

/* Answers with so many bytes: `with: {bytes: N}`. */
static enum backstep_outcome do_fill(struct backstep_context *context, struct backstep_result *result)
{
    char bytes[RESULT_BYTES_MAX + 1];
    int64_t size = backstep_json_integer(backstep_json_member(backstep_input(context), "bytes"), 0);
    if (size < 0 || size > RESULT_BYTES_MAX) {
        return backstep_fail_permanently(result, "bytes: expected 0 to %d", RESULT_BYTES_MAX);
    }
    memset(bytes, 'x', (size_t)size);
    bytes[size] = '\0';
    return backstep_succeed(result, "{\"filler\":\"%s\"}", bytes);
}

static const struct backstep_step steps[] = {
    {.name = "nothing", .weight = 1, .execute = do_nothing, .rollback = undo_nothing},
    {.name = "fail", .weight = 1, .execute = do_fail, .rollback = undo_nothing},
    {.name = "hold", .weight = 1, .execute = do_hold, .rollback = undo_nothing},
    {.name = "fill", .weight = 1, .execute = do_fill, .rollback = undo_nothing},
};

int main(int argc, char **argv)
{
    struct backstep_registry *registry = backstep_registry_new();
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        backstep_register(registry, &steps[i]);
    }
    return backstep_main(argc, argv, registry);
}
