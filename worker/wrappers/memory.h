/* SPDX-License-Identifier: Apache-2.0 */
/* Small values by key in a directory that several processes share: each call is atomic, and what was stored survives a crash. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>

/* As struct backstep_memory asks for it. `directory` must exist. */
bool memory_claim(const char *directory, const char *key, const char *value, char **there);
bool memory_store(const char *directory, const char *key, const char *value);

#endif
