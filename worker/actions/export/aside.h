/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_ASIDE_H
#define EXPORT_ASIDE_H

#include "common/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define LIMIT_ASIDE_BYTES 4096 /* shown of a record that was kept aside; it still stands in its source */

/* Write {"WHAT": number, "error": ..., "record": ...}: a record that could not be exported. false: the file's error. */
bool aside_write(FILE *file, const char *what, uint64_t number, const char *error, struct span record);

#endif
