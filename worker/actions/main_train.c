/* SPDX-License-Identifier: Apache-2.0 */
/* backstep-train: the train action as a program. */
#include "worker/actions/action.h"

#include "common/clock.h"
#include "common/limits.h"
#include "worker/guard.h"

#include <stdio.h>
#include <string.h>

static int run(int argc, char **argv)
{
    struct backstep_action published;
    action_publish(&train_action, &published);
    return backstep_action_main(argc, argv, &published);
}

/* In process nobody begins a lease, and a trainer of the user's own needs one: it lasts as long as the run. */
static int run_guarded(int argc, char **argv)
{
    struct error error = {0};
    struct guard *guard = guard_start(&error); /* before there are threads */
    int code = 1;
    if (guard != NULL && guard_lease_begin(guard, clock_boottime_ms() + LIMIT_DURATION_MS, 0, &error)) {
        code = run(argc, argv);
    } else {
        fprintf(stderr, "backstep-train: %s\n", error.message);
    }
    guard_free(guard);
    return code;
}

int main(int argc, char **argv)
{
    return argc > 1 && strcmp(argv[1], "run") == 0 ? run_guarded(argc, argv) : run(argc, argv);
}
