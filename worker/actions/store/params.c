/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/actions/store/params.h"

#include <string.h>

static bool is_cancelled(void *state)
{
    return backstep_cancelled(state);
}

void store_options_of(const struct action_call *call, const char *target, struct store_options *options)
{
    const struct action_values *values = &call->values;
    *options = (struct store_options){.target = value_text(values, target),
                                      .owner = call->owner,
                                      .endpoint = value_text(values, "endpoint"),
                                      .region = value_text(values, "region"),
                                      .stall_ms = value_integer(values, "stall_timeout"),
                                      .verify = strcmp(value_text(values, "verify"), "checksum") == 0,
                                      .stop = is_cancelled,
                                      .state = call->context};
}
