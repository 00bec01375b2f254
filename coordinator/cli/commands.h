/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands, and how people find their way in it. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "common/text.h"
#include "coordinator/cli/command.h"

#include <stddef.h>

extern const struct command commands[];
extern const size_t command_count;

const struct command *command_find(const char *name); /* NULL: there is none */
const char *command_suggest(const char *name); /* what may have been meant, or NULL */
/* What `backstep` alone prints, and what `backstep COMMAND --help` does. */
void commands_append_overview(struct text *out);
void command_append_help(const struct command *command, struct text *out);

#endif
