/* SPDX-License-Identifier: Apache-2.0 */
/* Tab completion as a script of a shell, made of the tables of commands and options. Pure. */
#ifndef COMPLETION_H
#define COMPLETION_H

#include "common/text.h"

#include <stdbool.h>

/* Append the script for `shell`: bash, zsh or fish. false: no such shell, nothing was appended. */
bool completion_append(struct text *out, const char *shell);

#endif
