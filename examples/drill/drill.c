/* SPDX-License-Identifier: Apache-2.0 */
/* What can go wrong, on demand: see what is tried again, what is undone, and what a run says of it.
 *
 *     drill run -p failures=2           the step `work` fails twice, and is tried a third time
 *     drill run -p failures=3           it fails for good: what was reserved is released
 *     drill run -p slow=true            it takes longer than it may, each time
 *     drill run -p failures=3 -p stuck=true      what was reserved cannot be released: the run ends rollback_incomplete
 *     drill run -p hold=/tmp/here       the step `hold` makes this file and waits for the end: Ctrl-C cancels, and all is undone */
#include <backstep.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static enum backstep_outcome reserve(struct backstep_context *context, struct backstep_result *result)
{
    (void)context;
    backstep_result_set_rollback_data(result, "{\"seat\": \"12A\"}");
    return backstep_succeed(result, "{\"reserved\": 1}");
}

static enum backstep_outcome release(struct backstep_context *context, const struct backstep_result *done,
                                     struct backstep_result *result)
{
    const char *seat = backstep_json_string(backstep_json_member(backstep_result_rollback_data(done), "seat"), "none");
    if (backstep_json_bool(backstep_param(context, "stuck"), false)) {
        return backstep_fail_permanently(result, "seat %s is stuck", seat);
    }
    return backstep_succeed(result, NULL);
}

/* Until somebody wants it to end: the run is cancelled, or its time is over. In process nobody wakes it at the end of its time, so it looks. */
static void wait_for_the_end(struct backstep_context *context)
{
    struct pollfd cancelled = {.fd = backstep_cancel_fd(context), .events = POLLIN};
    while (!backstep_cancelled(context)) {
        poll(&cancelled, cancelled.fd >= 0, 20);
    }
}

static enum backstep_outcome work(struct backstep_context *context, struct backstep_result *result)
{
    if (backstep_json_bool(backstep_param(context, "slow"), false)) {
        wait_for_the_end(context);
        poll(NULL, 0, 300); /* to put its tools away */
        return backstep_fail(result, "gave up in attempt %d", backstep_attempt(context));
    }
    if (backstep_attempt(context) <= backstep_json_integer(backstep_param(context, "failures"), 0)) {
        return backstep_fail(result, "no luck in attempt %d", backstep_attempt(context));
    }
    return backstep_succeed(result, "{\"attempts\": %d}", backstep_attempt(context));
}

static enum backstep_outcome rework(struct backstep_context *context, const struct backstep_result *done,
                                    struct backstep_result *result)
{
    backstep_log(context, "undone: %s", backstep_result_success(done) ? "what was done" : "what was only begun");
    return backstep_succeed(result, NULL);
}

static bool nothing_to_hold(struct backstep_context *context)
{
    return backstep_param(context, "hold") == NULL;
}

static enum backstep_outcome hold(struct backstep_context *context, struct backstep_result *result)
{
    const char *path = backstep_json_string(backstep_param(context, "hold"), "");
    FILE *here = fopen(path, "w");
    if (here == NULL || fclose(here) != 0) {
        return backstep_fail(result, "%s: %s", path, strerror(errno));
    }
    wait_for_the_end(context);
    return backstep_fail(result, "let go");
}

static const struct backstep_step steps[] = {
    {.name = "reserve", .weight = 10, .execute = reserve, .rollback = release},
    {.name = "work",
     .weight = 80,
     .execute = work,
     .rollback = rework,
     .policy = {.max_attempts = 3, .backoff_ms = 50, .multiplier = 1, .timeout_ms = 1000}},
    {.name = "hold", .weight = 10, .execute = hold, .can_skip = nothing_to_hold},
};

static void drill_steps(const struct backstep_action *action, struct backstep_registry *registry, const struct backstep_json *given)
{
    (void)action, (void)given;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        backstep_register(registry, &steps[i]);
    }
}

static const struct backstep_param_spec params[] = {
    {.name = "failures", .description = "so many attempts of `work` fail", .fallback = "0"},
    {.name = "slow", .description = "whether `work` takes longer than it may", .fallback = "false"},
    {.name = "stuck", .description = "whether the rollback of `reserve` fails", .fallback = "false"},
    {.name = "hold", .description = "a file that `hold` makes before it waits to be cancelled"},
    {0},
};

static const struct backstep_action drill = {
    .name = "drill", .description = "Trouble on demand.", .params = params, .default_steps = drill_steps};

int main(int argc, char **argv)
{
    return backstep_action_main(argc, argv, &drill);
}
