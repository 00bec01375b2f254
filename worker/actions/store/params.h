/* SPDX-License-Identifier: Apache-2.0 */
/* The params of whoever puts something into a store. */
#ifndef STORE_PARAMS_H
#define STORE_PARAMS_H

#include "worker/actions/action.h"
#include "worker/actions/store/store.h"

#define LIMIT_UPLOAD_PARALLEL 32 /* threads and connections of one step: more slow a store down */
#define LIMIT_UPLOAD_TRIES 100

#define STORE_PARAMS                                                                                                               \
    {.name = "parallel",                                                                                                           \
     .kind = PARAM_INTEGER,                                                                                                        \
     .fallback = "4",                                                                                                              \
     .least = 1,                                                                                                                   \
     .most = LIMIT_UPLOAD_PARALLEL,                                                                                                \
     .unit = "files",                                                                                                              \
     .help = "sent at once"},                                                                                                      \
        {.name = "tries",                                                                                                          \
         .kind = PARAM_INTEGER,                                                                                                    \
         .fallback = "3",                                                                                                          \
         .least = 1,                                                                                                               \
         .most = LIMIT_UPLOAD_TRIES,                                                                                               \
         .unit = "tries",                                                                                                          \
         .help = "of a file, within one attempt of the step"},                                                                     \
        {.name = "stall_timeout",                                                                                                  \
         .kind = PARAM_DURATION,                                                                                                   \
         .fallback = "30s",                                                                                                        \
         .least = 1000,                                                                                                            \
         .most = 3600000,                                                                                                          \
         .unit = "ms",                                                                                                             \
         .help = "a transfer that moves nothing for so long has failed"},                                                          \
        {.name = "verify",                                                                                                         \
         .kind = PARAM_CHOICE,                                                                                                     \
         .choices = "checksum|size",                                                                                               \
         .fallback = "checksum",                                                                                                   \
         .help = "HTTP: read back what the server says no checksum of, or trust its size"},                                        \
        {.name = "endpoint", .kind = PARAM_TEXT, .unit = "URL", .help = "S3: the store's address; none: Amazon's"},                \
    {                                                                                                                              \
        .name = "region", .kind = PARAM_TEXT, .fallback = "us-east-1", .unit = "name", .help = "S3: the region"                    \
    }

/* `target` is the name of the param that has it. The rest is borrowed from the call. */
void store_options_of(const struct action_call *call, const char *target, struct store_options *options);

#endif
