/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FILE_H
#define FILE_H

#include "common/error.h"
#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>

/* Append all of a file ("-": standard input), and stop once more than `max_bytes` are there: look at the size. `text` must have room
 * for 64 KiB more. INVALID: "No such file or directory", "is a directory" ...; the path is the caller's to name. */
bool file_read(const char *path, struct text *text, size_t max_bytes, struct error *error);

#endif
