/* SPDX-License-Identifier: Apache-2.0 */
/* From the command line to a worker: what the stock worker and a program on the library have in common. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "common/defaults.h"
#include "worker/serve.h"

#define SETTINGS_WORKER (OPTIONS_COMMON | OPTIONS_CLUSTER | OPTIONS_SLOTS | OPTIONS_WORKER)

/* Fill in what the options say; the rest stays. What it points to is borrowed from `options`. */
void settings_of(const struct options *options, struct serve_options *serve);
void settings_log(const struct options *options);

/* Serve, and put what went wrong on standard error, after `program`. Returns the exit code. */
int settings_serve(const char *program, const struct serve_options *serve);

#endif
